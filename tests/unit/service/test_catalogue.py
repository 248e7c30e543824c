from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from tanzhang.core.errors import TanzhangError
from tanzhang.service.catalogue import SNAPSHOT, check_catalogue, listing, resolve, show, snapshot, write_snapshot
from tanzhang.service.quantify import quantify
from tanzhang.stores.catalogue import Catalogue, shipped_folder

GOLDEN = Path(__file__).parents[2] / "golden" / "catalogue"
GOOD = GOLDEN / "good"
BAD = sorted((GOLDEN / "bad").glob("*.yaml"))
DEMO = "methodologies/demo_city/travel.bicycle"
URUMQI = "CN-650102"


def spoil(folder: Path, *mistakes: Path) -> list[dict[str, Any]]:
    """A copy of the good folder with the mistakes made in it; what the check must say of them."""
    if not folder.exists():
        shutil.copytree(GOOD, folder)
    expected: list[dict[str, Any]] = []
    for mistake in mistakes:
        described = yaml.safe_load(mistake.read_text(encoding="utf-8"))
        for change in described["change"]:
            path: Path = folder / change["file"]
            path.parent.mkdir(parents=True, exist_ok=True)
            if change.get("remove"):
                path.unlink()
            elif "write" in change:
                path.write_text(change["write"], encoding="utf-8")
            else:
                before = (path if path.exists() else shipped_folder() / change["file"]).read_text(encoding="utf-8")
                assert before.count(change["from"]) >= 1, f"{mistake.name}: {change['from']!r} is not in {path.name}"
                path.write_text(before.replace(change["from"], change["to"], 1), encoding="utf-8")
        expected += described["expect"]
    return expected


def line_of(folder: Path, relative: str, text: str) -> str:
    path = folder / relative if (folder / relative).exists() else shipped_folder() / relative
    lines = path.read_text(encoding="utf-8").splitlines()
    return f"{relative}:{next(n for n, line in enumerate(lines, 1) if text in line)}"


def assert_found(folder: Path, expected: list[dict[str, Any]]) -> None:
    problems = check_catalogue(Catalogue(folder)).problems
    shown = "\n".join(map(str, problems))
    assert sorted(p.code for p in problems) == sorted(e["code"] for e in expected), shown
    for wanted in expected:
        where = line_of(folder, wanted["file"], wanted["line"]) if "line" in wanted else wanted["file"]
        found = [p for p in problems if p.code == wanted["code"] and p.where == where]
        assert found, f"nothing at {where}:\n{shown}"
        assert any(wanted["says"] in p.message and wanted["remedy"] in p.remedy for p in found), shown


def test_the_shipped_catalogue_is_clean_and_checked_in_seconds() -> None:
    began = time.process_time()
    report = check_catalogue(Catalogue())
    assert report.ok, "\n".join(map(str, report.problems))
    assert report.counts["methodologies"] >= 60
    assert report.counts["cases"] >= 200
    assert report.counts["plans"] >= 300
    assert time.process_time() - began < 10


def test_the_folder_of_mistakes_is_full() -> None:
    assert len(BAD) > 60


def test_the_good_folder_is_good() -> None:
    report = check_catalogue(Catalogue(GOOD))
    assert report.ok, "\n".join(map(str, report.problems))


@pytest.mark.parametrize("mistake", BAD, ids=lambda path: path.stem)
def test_a_mistake_is_found_at_its_line_with_a_remedy_and_nothing_else(mistake: Path, tmp_path: Path) -> None:
    assert_found(tmp_path / "own", spoil(tmp_path / "own", mistake))


def test_all_mistakes_are_found_at_once_and_a_broken_file_hides_no_other(tmp_path: Path) -> None:
    several = (
        "yaml-tab",
        "unknown-file",
        "source-unused",
        "programme-time-zone",
        "slot-numbers",
        "ceiling-unknown",
        "unit-result",
        "rounding",
        "case-refusal",
    )
    folder = tmp_path / "own"
    expected = spoil(folder, *(GOLDEN / "bad" / f"{name}.yaml" for name in several))
    # The factor is unreadable, so neither what rests on it is computed, nor is a unit that it decides checked twice.
    assert {"yaml-malformed", "unit-error"} <= {wanted["code"] for wanted in expected}
    found = {problem.code for problem in check_catalogue(Catalogue(folder)).problems}
    assert found == {wanted["code"] for wanted in expected} - {"case-differs"}


def test_several_mistakes_of_one_file_are_found_together(tmp_path: Path) -> None:
    several = ("formula-malformed", "guard-name", "rounding", "methodology-id", "unknown-word", "unknown-key")
    folder = tmp_path / "own"
    spoil(folder, *(GOLDEN / "bad" / f"{name}.yaml" for name in several[:4]))
    assert {p.code for p in check_catalogue(Catalogue(folder)).problems} == {"formula-malformed"}
    spoil(folder, GOLDEN / "bad" / "unknown-word.yaml", GOLDEN / "bad" / "unknown-key.yaml")
    found = check_catalogue(Catalogue(folder)).problems
    assert sorted(p.code for p in found) == ["missing-key", "schema-mismatch", "unknown-key"]
    assert [p.where for p in found] == sorted((p.where for p in found), key=lambda w: int(w.split(":")[1]))


def test_independent_mistakes_of_one_readable_file_are_found_together(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    names = ("guard-name", "rounding", "default-outside", "unknown-input", "source-unregistered")
    expected = spoil(folder, *(p for name in names if (p := GOLDEN / "bad" / f"{name}.yaml").exists()))
    assert_found(folder, expected)


def test_a_file_that_is_not_utf_8_is_reported(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    spoil(folder)
    (folder / "programmes" / "demo-city.yaml").write_bytes("标题".encode("gb18030"))
    (problem,) = check_catalogue(Catalogue(folder)).problems
    assert problem.code == "not-utf-8"
    assert "save the file as UTF-8" in problem.remedy


def test_a_register_that_cannot_be_read_makes_no_reference_look_wrong(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    for name in ("behaviours.yaml", "units.yaml", "sources/use.yaml"):
        spoil(folder)
        broken = (shipped_folder() / name).read_text(encoding="utf-8") + "] not YAML\n"
        (folder / name).write_text(broken, encoding="utf-8")
        problems = check_catalogue(Catalogue(folder)).problems
        assert [p.code for p in problems] == ["yaml-malformed"], "\n".join(map(str, problems))
        shutil.rmtree(folder)


def test_a_hole_that_is_declared_with_its_first_day_is_allowed(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    spoil(folder, GOLDEN / "bad" / "factor-hole.yaml", GOLDEN / "bad" / "versions-hole.yaml")
    with (folder / "factors/demo/bicycle.yaml").open("a", encoding="utf-8") as file:
        file.write("gaps:\n  - from 2024-12-01 until the new year the table was withdrawn\n")
    version = folder / f"{DEMO}/v2.yaml"
    text = version.read_text(encoding="utf-8")
    version.write_text(
        text.replace("Rides from 2025-07-01.", "Nothing counts from 2025-06-01 to 2025-06-30."), encoding="utf-8"
    )
    report = check_catalogue(Catalogue(folder))
    assert report.ok, "\n".join(map(str, report.problems))


def test_an_input_that_only_limits_which_acts_count_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    spoil(folder, GOLDEN / "bad" / "unused-input.yaml")
    version = folder / f"{DEMO}/v1.yaml"
    text = version.read_text(encoding="utf-8")
    version.write_text(text.replace("why: one ride", 'why: "rule of the scheme: one ride"'), encoding="utf-8")
    assert check_catalogue(Catalogue(folder)).ok


# -- every number


def test_the_snapshot_of_the_shipped_catalogue_is_the_one_under_review() -> None:
    written = (shipped_folder() / SNAPSHOT).read_text(encoding="utf-8")
    assert snapshot(Catalogue()) == written, "look at the numbers that moved, then write the snapshot again"


def test_a_changed_factor_shows_as_the_numbers_it_moves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "shipped"
    shutil.copytree(shipped_folder(), folder)
    factor = folder / "factors/use/parcel_box_return.yaml"
    factor.write_text(factor.read_text(encoding="utf-8").replace('"37"', '"38"'), encoding="utf-8")
    cases = folder / "methodologies/cainiao/use.parcel_box_return/v1.cases.yaml"
    cases.write_text(cases.read_text(encoding="utf-8").replace('"37000"', '"38000"'), encoding="utf-8")
    monkeypatch.setattr("tanzhang.stores.catalogue.shipped_folder", lambda: folder)
    (problem,) = check_catalogue(Catalogue()).problems
    assert problem.code == "snapshot-stale"
    assert problem.where.startswith(f"{SNAPSHOT}:")
    assert "1 lines gone, 1 new" in problem.message
    assert "count=1: 38000 mg" in problem.message
    write_snapshot(Catalogue(), folder / SNAPSHOT)
    assert check_catalogue(Catalogue()).ok


def test_a_snapshot_line_holds_one_number_with_all_it_rests_on() -> None:
    lines = snapshot(Catalogue(GOOD)).splitlines()
    assert (
        "demo_city.travel.bicycle@2 | CN-650100 | shared | sensed | [2025-07-01, open) | "
        "operation=8.7 mg_CO2/m, saving=60.5 mg_CO2/m | distance_m=100: 2590 mg; distance_m=10000: 259000 mg"
    ) in lines
    assert (
        "shenzhen.living.electricity_saving@1 | CN-440300 | - | measured | [2022-06-21, open) | refused no-factor"
    ) in lines
    beijing = [line for line in lines if line.startswith("mee_nbs.footprint.electricity@1 | CN-110000 | - | measured")]
    assert [line.split(" | ")[4] for line in beijing] == [
        "[2024-04-12, 2024-12-20)",
        "[2024-12-20, 2025-12-31)",
        "[2025-12-31, open)",
    ]
    assert beijing[2].endswith("refused factor-gap")
    assert len(set(lines)) == len(lines)


# -- answers


def test_what_an_operator_adds_by_files_alone_resolves_and_quantifies() -> None:
    catalogue = Catalogue(GOOD)
    answer = quantify(
        catalogue,
        "travel.bicycle",
        region=URUMQI,
        on=date(2024, 5, 6),
        inputs={"distance_m": 2000},
        programme="demo-city",
    )
    assert (answer["methodology"], answer["reduction_mg"]) == ("demo_city.travel.bicycle@1", "100000")
    answer = quantify(
        catalogue,
        "travel.bicycle",
        region=URUMQI,
        on=date(2026, 5, 6),
        inputs={"distance_m": 2000},
        variant="shared",
        elapsed_s=600,
    )
    assert (answer["methodology"], answer["reduction_mg"]) == ("demo_city.travel.bicycle@2", "103600")
    box = quantify(
        catalogue, "use.parcel_box_return", region=URUMQI, on=date(2026, 5, 6), inputs={}, programme="demo-city"
    )
    assert box["reduction_mg"] == "37000"
    assert catalogue.programme("demo-city").window_days("trip", 9) == 2


def test_a_factor_resolves_to_its_value_with_the_reason_of_its_days() -> None:
    answer = resolve(Catalogue(), "electricity.grid_average", on=date(2025, 1, 15), region="CN-110108")
    assert (answer["value"], answer["unit"]) == ("0.5580", "kg_CO2/kWh")
    assert (answer["base_value"], answer["base_unit"]) == ("558", "mg_CO2/Wh")
    assert answer["value_of_region"] == "CN-110000"
    assert answer["applies"] == "[2024-12-20, 2025-12-31)"
    assert "day of its announcement" in answer["why_these_dates"]
    assert answer["source"]["date"] == "2024-12-20"


def test_a_methodology_resolves_to_its_parameters() -> None:
    answer = resolve(Catalogue(), "jing_jin_ji.travel.metro", on=date(2025, 3, 3), region="CN-110000")
    assert answer["parameters"]["baseline"] == {"value": "104", "unit": "mg_CO2/m"}
    assert answer["parameters"]["project"] == {"value": "32", "unit": "mg_CO2/m"}
    assert answer["formula"] == "max(0, baseline - project) * distance_m"


def test_a_methodology_with_variants_shows_all_of_them_or_the_one_named() -> None:
    catalogue = Catalogue(GOOD)
    asked: dict[str, Any] = {"on": date(2025, 8, 1), "region": URUMQI}
    every = resolve(catalogue, "demo_city.travel.bicycle", **asked)
    assert set(every["variants"]) == {"own", "shared"}
    one = resolve(catalogue, "demo_city.travel.bicycle@2", variant="shared", **asked)
    assert one["parameters"]["operation"]["value"] == "8.7"
    with pytest.raises(TanzhangError, match=r"demo_city\.travel\.bicycle@2 is") as refused:
        resolve(catalogue, "demo_city.travel.bicycle@1", **asked)
    assert refused.value.code == "methodology-not-in-force"


@pytest.mark.parametrize(
    ("identifier", "on", "region", "code"),
    [
        ("electricity.grid_average", date(2026, 6, 1), "CN-110000", "factor-gap"),
        ("electricity.grid_average", date(2025, 6, 1), "CN-540000", "no-factor"),
        ("electricity.grid_avarage", date(2025, 6, 1), "CN-110000", "unknown-id"),
        ("jing_jin_ji.travel.metro", date(2024, 9, 30), "CN-110000", "methodology-not-in-force"),
        ("jing_jin_ji.travel.metro", date(2025, 6, 1), "CN-440300", "no-methodology"),
        ("electricity.grid_average", date(2025, 6, 1), "Beijing", "region-malformed"),
    ],
)
def test_what_cannot_be_resolved_is_refused_with_its_code(identifier: str, on: date, region: str, code: str) -> None:
    with pytest.raises(TanzhangError) as refused:
        resolve(Catalogue(), identifier, on=on, region=region)
    assert refused.value.code == code


def test_the_list_presents_only_what_is_confirmed_as_the_standards() -> None:
    answer = listing(Catalogue())
    behaviours = [entry for category in answer["categories"] for entry in category["behaviours"]]
    assert len(behaviours) > 50
    assert {b["confirmation"] for b in behaviours if b["of_the_standard"]} == {"confirmed"}
    assert all(b["slot"] for b in behaviours if b["of_the_standard"])
    assert all(b["slot"] is None for b in behaviours if b["confirmation"] in ("candidate", "outside"))
    assert answer["slots"]["total"] == 40
    assert answer["slots"]["identified"] == 23


def test_the_list_declares_gaps_of_behaviours_and_factors() -> None:
    answer = listing(Catalogue())
    assert {"food.plant_based_meat", "travel.not_driving"} <= set(answer["gaps"]["behaviours"])
    assert "living.shenzhen_household_baseline" in {gap["factor"] for gap in answer["gaps"]["factors"]}


@pytest.mark.parametrize(
    ("identifier", "kinds"),
    [
        ("travel.metro", {"behaviour"}),
        ("use.parcel_box_return", {"behaviour", "factor"}),
        ("demo.bicycle", {"factor"}),
        ("demo_city.travel.bicycle", {"methodology"}),
        ("demo-city", {"programme"}),
        ("demo_city_notice", {"source"}),
    ],
)
def test_one_entry_is_shown_under_every_kind_it_is(identifier: str, kinds: set[str]) -> None:
    assert set(show(Catalogue(GOOD), identifier)) - {"id"} == kinds


def test_an_entry_says_what_uses_it() -> None:
    catalogue = Catalogue(GOOD)
    versions = ["demo_city.travel.bicycle@1", "demo_city.travel.bicycle@2"]
    assert show(catalogue, "demo.bicycle")["factor"]["used_by"] == versions
    assert show(catalogue, "demo_city_notice")["source"]["cited_by"] == ["demo.bicycle", *versions]
    assert [m["version"] for m in show(catalogue, "demo_city.travel.bicycle")["methodology"]] == [1, 2]
    assert [m["version"] for m in show(catalogue, "demo_city.travel.bicycle@2")["methodology"]] == [2]


def test_an_unknown_entry_is_refused_with_close_matches() -> None:
    with pytest.raises(TanzhangError) as refused:
        show(Catalogue(), "travel.metrro")
    assert refused.value.code == "unknown-id"
    assert "travel.metro" in refused.value.problems[0].remedy


def every_text(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for member in value.values():
            yield from every_text(member)
    elif isinstance(value, list):
        for member in value:
            yield from every_text(member)
    else:
        yield type(value).__name__


def test_answers_hold_no_binary_fractions() -> None:
    catalogue = Catalogue(GOOD)
    answers = [listing(catalogue), *(show(catalogue, name) for name in ("demo.bicycle", "demo_city.travel.bicycle"))]
    assert {name for answer in answers for name in every_text(answer)} <= {"str", "int", "bool", "NoneType"}


def test_a_points_programme_is_shown_with_what_it_pays_and_limits() -> None:
    answer = show(Catalogue(), "ant_forest_energy@1")
    (energy,) = answer["points"]
    assert energy["rules"][0]["points"] == "granted_mg from 0: 0 + 1 for each 1000"
    assert energy["caps"][0] == {
        "id": "walking",
        "limit": "296",
        "counts": "points",
        "per": "day",
        "rules": ["walking"],
    }
    assert len(energy["digest"]) == 64
    with pytest.raises(TanzhangError, match="unknown-id"):
        show(Catalogue(), "ant_forest_energy@7")
