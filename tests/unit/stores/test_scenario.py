"""The shipped scenario loads; a mistake in one is named with its line."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.core.region import is_region
from tanzhang.stores.catalogue import Catalogue, shipped_folder
from tanzhang.stores.scenario import load_scenario, scenario_ids

CATALOGUE = Catalogue()
SCENARIO = "green-life-season-2022"
TEXT = (shipped_folder() / "scenarios" / f"{SCENARIO}.yaml").read_text(encoding="utf-8")


def test_the_shipped_scenario_has_the_published_totals() -> None:
    scenario, digest = load_scenario(CATALOGUE, SCENARIO)
    assert scenario_ids(CATALOGUE) == ["beijing-maas-2021", SCENARIO]
    assert (scenario.first_day, scenario.days) == (date(2022, 8, 10), 15)
    assert (scenario.people, scenario.actions) == (10_069_459, 216_761_710)
    assert len(digest) == 64
    assert len(scenario.districts) == 16
    assert all(is_region(region) for region, _ in scenario.districts)
    assert sum(behaviour.share for behaviour in scenario.behaviours) == 10_000


def test_the_season_of_a_sale_says_that_nothing_of_it_was_published_but_what_its_data_are() -> None:
    scenario, _ = load_scenario(CATALOGUE, "beijing-maas-2021")
    assert (scenario.people, scenario.actions, scenario.days) == (2_000_000, 60_000_000, 31)
    data = CATALOGUE.open("scenarios/beijing-maas-2021.yaml", "scenario").data  # type: ignore[union-attr]
    assert {data[key]["basis"] for key in ("first_day", "days", "people", "actions", "total_kg")} == {"assumed"}
    assert {behaviour.id for behaviour in scenario.behaviours} == {
        "travel.bicycle", "travel.metro", "travel.bus", "travel.walking"
    }  # fmt: skip


def test_every_number_is_marked_and_what_is_published_cites_a_registered_source() -> None:
    data = CATALOGUE.open(f"scenarios/{SCENARIO}.yaml", "scenario").data  # type: ignore[union-attr]
    published = {key for key, part in data.items() if isinstance(part, dict) and part.get("basis") == "published"}
    assert published == {"first_day", "days", "people", "actions", "total_kg"}
    assert {data[key]["source"] for key in published} <= CATALOGUE.sources.keys()


@pytest.mark.parametrize(
    ("was", "becomes", "code"),
    [
        ("value: 2022-08-10", "value: 2022-08-32", "day-malformed"),
        ("points: [[0, 1200]", "points: [[5, 1200]", "quantiles-malformed"),
        ("[[0, 100], [1000, 600], [5000, 2500]", "[[0, 100], [1000, 600], [5000, 250]", "quantiles-malformed"),
        ("hours: metro", "hours: tram", "hours-malformed"),
        ("[2, 1, 0, 0, 0, 1, 3, 8, 14, 18, 20, 18, 16, 15, 17, 18, 18, 16, 15, 16, 17, 14, 8, 4]", f"[{'0, ' * 23}0]",
         "hours-malformed"),
        ("id: finance.e_statement", "id: finance.digital_card", "duplicate-id"),
        ("fallback: travel.bicycle", "fallback: travel.e_bike", "behaviour-not-in-mix"),
        ("fallback: travel.bicycle", "fallback: use.e_ticket", "behaviour-not-in-mix"),
        ("of: travel.metro", "of: travel.walking", "behaviour-not-in-mix"),
        ("  jd: JD\n", "", "prefix-missing"),
        ("retry: 50", "retry: 2000\n    late: 2000", "duplicate-key"),
        ("speed_dm_per_s: [70, 110]", "speed_dm_per_s: [110, 70]", "speed-reversed"),
        ("per_10000: 2500", "per_10000: 25000", "schema-mismatch"),
        ("basis: published", "basis: remembered", "schema-mismatch"),
        ("  locator: people until 24 August\n", "", "missing-key"),
        ("map_app:", "map_apps:", "unknown-key"),
    ],
)  # fmt: skip
def test_a_mistake_is_refused_with_its_line(tmp_path: Path, was: str, becomes: str, code: str) -> None:
    assert was in TEXT
    with pytest.raises(TanzhangError) as refused:
        load_scenario(written(tmp_path, TEXT.replace(was, becomes, 1)), SCENARIO)
    assert code in {problem.code for problem in refused.value.problems}
    assert all(problem.where.startswith(f"scenarios/{SCENARIO}.yaml") for problem in refused.value.problems)


def test_rates_that_leave_hardly_a_plain_act_are_refused(tmp_path: Path) -> None:
    text = TEXT
    for rate in ("retry: 50", "late: 100", "malformed: 60"):
        text = text.replace(rate, f"{rate.partition(':')[0]}: 2000")
    with pytest.raises(TanzhangError) as refused:
        load_scenario(written(tmp_path, text), SCENARIO)
    assert {problem.code for problem in refused.value.problems} == {"rates-too-high"}
    assert len(refused.value.problems) == 17


@pytest.mark.parametrize("name", ["nowhere", "../scenarios/green-life-season-2022", "*"])
def test_an_unknown_scenario_is_refused_with_those_that_exist(name: str) -> None:
    with pytest.raises(TanzhangError) as refused:
        load_scenario(CATALOGUE, name)
    assert refused.value.code == "unknown-scenario"
    assert SCENARIO in refused.value.problems[0].remedy


def written(folder: Path, text: str) -> Catalogue:
    (folder / "scenarios").mkdir()
    (folder / "scenarios" / f"{SCENARIO}.yaml").write_text(text, encoding="utf-8")
    return Catalogue(folder)
