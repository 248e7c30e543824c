"""Points programmes as the catalogue gives them: versions by day, and what they say."""

from __future__ import annotations

import re
import shutil
from datetime import date
from fractions import Fraction
from pathlib import Path

import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.core.points import Lasting, Start, Streak, Tier
from tanzhang.stores.catalogue import Catalogue, check_schema, shipped_folder
from tanzhang.stores.points_rules import POINTS, read_points
from tanzhang.stores.yaml_text import load_yaml


def test_the_schemes_are_there() -> None:
    assert POINTS.ids(Catalogue()) == [
        "ant_forest_energy", "beijing_carbon_energy", "cainiao_energy", "fuzhou_coin", "korea_net_zero",
        "luzhou_sprouts", "miotech_points", "wuhan_planet",
    ]  # fmt: skip


def test_a_rule_takes_from_its_programme_what_it_leaves_out() -> None:
    energy = POINTS.in_force(Catalogue(), "beijing_carbon_energy", date(2025, 4, 6), "points-not-in-force")
    walking, rail = energy.rules[:2]
    assert (walking.start, walking.collect_days) == (Start("final"), None)
    assert (rail.start, rail.collect_days) == (Start("after_act", days=2), 7)
    assert walking.lasting == rail.lasting == Lasting("years", 2)
    assert walking.tiers == (Tier(0, Fraction(0), Fraction(1), 1000),)
    assert energy.rules[-1].streak == Streak(7, repeats=True)
    assert energy.unit == "points:beijing_carbon_energy"


def test_limits_apply_first_times_before_caps() -> None:
    energy = POINTS.in_force(Catalogue(), "beijing_carbon_energy", date(2025, 4, 6), "points-not-in-force")
    assert [(limit.id, limit.counts, limit.limit) for limit in energy.limits()] == [
        ("first:welcome", "acts", 1),
        ("cap:travel_day", "points", 10_000),
    ]


def test_a_day_has_the_version_in_force_and_a_digest_that_names_it(tmp_path: Path) -> None:
    name = "points/cainiao_energy/v1.yaml"
    text = (shipped_folder() / name).read_text(encoding="utf-8")
    own = tmp_path / "points" / "cainiao_energy"
    own.mkdir(parents=True)
    (own / "v1.yaml").write_text(text.replace("until: null", "until: 2025-01-01"), encoding="utf-8")
    later = text.replace("version: 1", "version: 2").replace("from: 2022-08-08", "from: 2025-01-01")
    (own / "v2.yaml").write_text(later.replace('points: "50"', 'points: "37"'), encoding="utf-8")
    catalogue = Catalogue(tmp_path)
    before, after = POINTS.of(catalogue, "cainiao_energy")
    assert POINTS.in_force(catalogue, "cainiao_energy", date(2024, 12, 31), "points-not-in-force") == before
    assert POINTS.in_force(catalogue, "cainiao_energy", date(2025, 1, 1), "points-not-in-force") == after
    assert before.digest != after.digest
    assert len(before.digest) == 64


def test_a_day_without_a_version_is_refused() -> None:
    with pytest.raises(TanzhangError, match="points-not-in-force") as refusal:
        POINTS.in_force(Catalogue(), "cainiao_energy", date(2022, 8, 7), "points-not-in-force")
    assert "[2022-08-08, open)" in refusal.value.problems[0].remedy


def test_an_unknown_programme_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(TanzhangError, match="unknown-points-programme") as refusal:
        POINTS.of(Catalogue(), "cainiao")
    assert "cainiao_energy" in refusal.value.problems[0].remedy


def test_comments_and_layout_do_not_change_the_digest(tmp_path: Path) -> None:
    shutil.copytree(shipped_folder() / "points", tmp_path / "points")
    path = tmp_path / "points" / "cainiao_energy" / "v1.yaml"
    path.write_text("# ours\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    (shipped,), (copied,) = (POINTS.of(each, "cainiao_energy") for each in (Catalogue(), Catalogue(tmp_path)))
    assert shipped.digest == copied.digest


def test_the_example_of_the_docs_is_one_but_for_the_keys_that_it_leaves_out() -> None:
    text = (Path(__file__).parents[3] / "docs" / "points-rules.md").read_text(encoding="utf-8")
    block = re.search(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert block is not None
    document = load_yaml(block[1], "docs/points-rules.md")
    document.data.update(dict.fromkeys(("why_these_dates", "source", "locator"), "example"))
    document.data.update({"status": "provisional", "unknown": []})
    for entry in (*document.data["rules"], *document.data["caps"]):
        entry.update({"mark": "example", "locator": "example"})
    for rule in document.data["rules"]:
        rule["title"] = {"en": rule["id"], "zh": rule["id"]}
    assert check_schema(document, "points") == []
    read = read_points(document)
    assert [rule.id for rule in read.rules] == ["ride", "clothes", "walking", "welcome", "week"]
    assert read.campaigns[0].sponsor == "bank"
