"""Health of the shipped catalogue: what must be in it, and what it must not pretend to know."""

from __future__ import annotations

import json
import re
from fractions import Fraction

import pytest
from jsonschema import Draft202012Validator

from tanzhang.service.catalogue import check_catalogue, listing
from tanzhang.stores.catalogue import KINDS, Catalogue

CATALOGUE = Catalogue()
REQUIRED = [
    "travel.metro",
    "travel.bus",
    "travel.bicycle",
    "travel.e_bike",
    "travel.walking",
    "travel.etc_toll",
    "travel.new_energy_car",
    "travel.ride_sharing",
    "use.parcel_box_return",
    "use.second_hand_trade",
    "use.own_cup",
    "clothing.used_clothes_recycling",
    "food.clean_plate",
    "food.no_disposable_cutlery",
    "living.electricity_saving",
    "finance.e_invoice",
    "finance.mobile_payment",
    "finance.online_bill_payment",
    "footprint.electricity",
    "footprint.flight",
    "footprint.high_speed_rail",
]


def test_there_is_something_to_look_at() -> None:
    counts = check_catalogue(CATALOGUE).counts
    for kind in KINDS:
        assert counts[f"{kind}_files"] > 0, kind
    for what in ("factor_values", "variants", "plans", "cases", "partners", "behaviours", "sources", "methodologies"):
        assert counts[what] > 0, what
    assert counts["slots"] == 40


def test_every_file_is_right() -> None:
    assert check_catalogue(CATALOGUE).problems == ()


@pytest.mark.parametrize("behaviour", REQUIRED)
def test_a_behaviour_that_programmes_count_on_exists_with_a_methodology(behaviour: str) -> None:
    assert CATALOGUE.methodologies(behaviour)


def test_nothing_but_what_is_confirmed_is_presented_as_the_standards() -> None:
    answer = listing(CATALOGUE)
    behaviours = {entry["id"]: entry for category in answer["categories"] for entry in category["behaviours"]}
    assert len(behaviours) == len(CATALOGUE.behaviours["behaviours"]) > 0
    assert all(b["of_the_standard"] == (b["confirmation"] == "confirmed") for b in behaviours.values())
    for slot in CATALOGUE.behaviours["slots"]:
        if slot["behaviour"] is None:
            assert slot["confirmation"] == "unknown", slot
        else:
            assert slot["confirmation"] in ("confirmed", "named"), slot
            assert behaviours[slot["behaviour"]]["confirmation"] == slot["confirmation"], slot
    assert sum(slot["confirmation"] == "confirmed" for slot in CATALOGUE.behaviours["slots"]) == 14


def test_no_methodology_claims_to_be_of_the_standard_itself() -> None:
    """Its annex was not seen, so no number may cite it; texts about it serve as evidence of slots only."""
    about = {"beijing_news_031_2022", "fairplanet_031_2022"}
    assert about <= CATALOGUE.sources.keys()
    rows = [row for factor_id in CATALOGUE.factor_ids() for row in CATALOGUE.factor(factor_id).values]
    assert len(rows) > 100
    assert not about & {row.source for row in rows}
    assert not about & {m.source for m in CATALOGUE.all_methodologies()}


def test_a_value_read_in_third_party_code_is_never_called_published() -> None:
    code = {source for source, entry in CATALOGUE.sources.items() if entry["quality"] == "third_party_code"}
    rows = [row for factor_id in CATALOGUE.factor_ids() for row in CATALOGUE.factor(factor_id).values]
    weak = [row for row in rows if row.source in code]
    assert len(weak) > 50
    assert all(row.status == "provisional" and row.mark == "weak" for row in weak)


def test_a_published_methodology_rests_on_published_values() -> None:
    for methodology in CATALOGUE.all_methodologies():
        if methodology.status == "published":
            for rule in methodology.parameters.values():
                if rule.factor is not None:
                    assert all(row.status == "published" for row in CATALOGUE.factor(rule.factor).values), (
                        methodology.key
                    )


def test_a_saving_never_counts_more_than_once_its_published_value() -> None:
    for methodology in CATALOGUE.all_methodologies():
        if methodology.kind == "reduction":
            assert max(methodology.evidence.values()) <= Fraction(1), methodology.key
        else:
            assert set(methodology.evidence.values()) == {Fraction(1)}, f"{methodology.key} makes an emission smaller"


def test_dates_of_values_are_explained_and_gaps_have_words() -> None:
    for factor_id in CATALOGUE.factor_ids():
        series = CATALOGUE.factor(factor_id)
        assert series.values or series.gaps, factor_id
        assert all(len(row.why_these_dates) > 20 for row in series.values), factor_id


def test_every_schema_is_a_schema_and_every_kind_has_one() -> None:
    folder = CATALOGUE.folders[0] / "schemas"
    found = {path.name.removesuffix(".schema.json"): path for path in folder.glob("*.schema.json")}
    assert set(KINDS) <= set(found)
    for path in found.values():
        Draft202012Validator.check_schema(json.loads(path.read_text(encoding="utf-8")))


def test_the_readme_names_the_factors_that_have_no_value() -> None:
    text = (CATALOGUE.folders[0] / "README.md").read_text(encoding="utf-8")
    drafts = {m.behaviour for m in CATALOGUE.all_methodologies() if m.status == "draft"}
    assert drafts
    assert drafts <= set(re.findall(r"`([a-z]+\.[a-z_]+)`", text))
