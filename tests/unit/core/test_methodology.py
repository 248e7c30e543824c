from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from fractions import Fraction

import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.core.factors import Period
from tanzhang.core.methodology import Methodology, canonical_json, choose
from tanzhang.stores.catalogue import Catalogue

CATALOGUE = Catalogue()
DAY = date(2025, 3, 1)


def shipped(methodology_id: str) -> Methodology:
    behaviour = methodology_id.split(".", 1)[1]
    return next(m for m in CATALOGUE.methodologies(behaviour) if m.id == methodology_id)


METRO = shipped("shenzhen.travel.metro")
NATIONAL = replace(METRO, id="national.travel.metro", regions=("CN",), scheme=None)
PROVINCE = replace(METRO, id="province.travel.metro", regions=("CN-440000",), scheme=None)
CITY = replace(METRO, id="city.travel.metro", regions=("CN-440300",), scheme=None)


def chosen(*versions: Methodology, region: str = "CN-440305", day: date = DAY, listed: list[str] | None = None) -> str:
    return choose(versions, behaviour="travel.metro", region=region, day=day, listed=listed).methodology.key


def refused(*versions: Methodology, region: str = "CN-440305", day: date = DAY, listed: list[str] | None = None) -> str:
    with pytest.raises(TanzhangError) as caught:
        chosen(*versions, region=region, day=day, listed=listed)
    return caught.value.code


def test_the_narrowest_region_in_force_wins_in_any_order():
    assert chosen(NATIONAL, PROVINCE, CITY) == chosen(CITY, PROVINCE, NATIONAL) == CITY.key
    assert chosen(NATIONAL, PROVINCE, CITY, region="CN-440100") == PROVINCE.key
    assert chosen(NATIONAL, PROVINCE, CITY, region="CN-110000") == NATIONAL.key
    assert chosen(NATIONAL, PROVINCE, CITY, listed=[NATIONAL.id, CITY.id]) == CITY.key


def test_a_version_serves_its_first_day_and_not_the_day_before():
    first, second = (
        replace(CITY, version=1, valid=Period(date(2024, 1, 1), DAY)),
        replace(CITY, version=2, valid=Period(DAY, None)),
    )
    assert chosen(first, second, day=DAY - timedelta(days=1)) == first.key
    assert chosen(first, second, day=DAY) == second.key
    assert refused(first, second, day=date(2023, 12, 31)) == "methodology-not-in-force"


def test_a_gap_in_the_city_is_filled_by_what_is_in_force_in_the_province():
    """A wider methodology is another sourced method; a missing factor would be a number from elsewhere."""
    old = replace(CITY, valid=Period(date(2020, 1, 1), date(2024, 1, 1)))
    assert chosen(old, PROVINCE) == PROVINCE.key
    assert refused(old) == "methodology-not-in-force"


def test_a_region_without_a_methodology_is_refused():
    assert refused(CITY, region="CN-110000") == "no-methodology"
    assert refused(CITY, region="CN-440000") == "no-methodology"  # a city's method does not serve its province
    assert refused() == "no-methodology"
    assert refused(CITY, listed=["other"]) == "no-methodology"


def test_schemes_of_equal_reach_are_ambiguous_without_a_programme_and_listed_in_order_with_one():
    ours, theirs = replace(NATIONAL, id="ours", scheme="ours"), replace(NATIONAL, id="theirs", scheme="theirs")
    assert refused(ours, theirs) == "ambiguous-methodology"
    assert chosen(ours, theirs, NATIONAL) == NATIONAL.key  # a region's own method before a scheme's
    assert chosen(ours, theirs, listed=["theirs", "ours"]) == theirs.key
    assert chosen(ours, theirs, listed=["ours", "theirs"]) == ours.key
    choice = choose([ours, theirs], behaviour="b", region="CN", day=DAY, listed=["theirs", "ours"])
    assert "listed before ours@1" in choice.why


def plan_code(methodology: Methodology, **question: object) -> str:
    asked = {"region": "CN-440300", "day": DAY, "variant": None, "evidence": "measured"} | question
    with pytest.raises(TanzhangError) as caught:
        CATALOGUE.plan(methodology, **asked)
    return caught.value.code


def test_what_a_plan_cannot_be_made_of_is_refused():
    bus = shipped("shenzhen.travel.bus")
    assert plan_code(bus) == "variant-required"
    assert plan_code(bus, variant="steam_bus") == "unknown-variant"
    assert plan_code(METRO, variant="fast") == "unknown-variant"
    assert plan_code(METRO, evidence="declared") == "evidence-not-accepted"
    assert plan_code(shipped("mee_nbs.footprint.electricity"), day=date(1999, 1, 1)) in ("factor-gap", "no-factor")


def test_equal_plans_have_equal_digests_and_any_difference_has_another():
    same = [CATALOGUE.plan(METRO, "CN-440300", DAY + timedelta(days=n), None, "measured") for n in range(3)]
    assert len({plan.digest for plan in same}) == 1
    sensed = CATALOGUE.plan(METRO, "CN-440300", DAY, None, "sensed")
    assert sensed.digest != same[0].digest
    assert json.loads(sensed.document)["evidence"] == "sensed"


def test_a_plan_document_holds_no_float_and_is_canonical():
    for methodology in CATALOGUE.all_methodologies():
        for variant in methodology.variants or (None,):
            for evidence in methodology.evidence:
                for region in methodology.regions:
                    try:
                        plan = CATALOGUE.plan(methodology, region, date(2025, 6, 1), variant, evidence)
                    except TanzhangError:
                        continue  # which ones, the agreement tests count
                    data = json.loads(plan.document, parse_float=_no_float)
                    assert canonical_json(data) == plan.document
                    assert all(type(plan.parameters[name].value) is Fraction for name in plan.parameters)


def _no_float(text: str) -> float:
    raise AssertionError(f"{text} is a float")


def test_canonical_json_has_one_spelling():
    assert canonical_json({"b": [1, None], "a": "碳"}) == '{"a":"碳","b":[1,null]}'
    with pytest.raises(ValueError, match="Out of range"):
        canonical_json(float("nan"))


def test_a_methodology_names_the_narrowest_of_its_regions():
    both = replace(METRO, regions=("CN", "CN-440000"))
    assert both.region_for("CN-440305") == "CN-440000"
    assert both.region_for("CN-110000") == "CN"
    assert METRO.region_for("CN-110000") is None
    assert METRO.key == "shenzhen.travel.metro@1"
