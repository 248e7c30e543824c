from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from fractions import Fraction

import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.core.formula import parse_formula
from tanzhang.core.recipe import LARGEST_MG, Recipe, compute, read_recipe, round_mg
from tanzhang.core.settlement import cap_order, caps_of, person_claim_fields, rank, rules_of
from tanzhang.stores.catalogue import Catalogue

CATALOGUE = Catalogue()
(METRO,) = (m for m in CATALOGUE.methodologies("travel.metro") if m.id == "shenzhen.travel.metro")
PLAN = CATALOGUE.plan(METRO, "CN-440300", date(2025, 3, 1), None, "measured")


def recipe(text: str, *, rounding: str = "down", discount: str = "1", **parameters: str) -> Recipe:
    return replace(
        read_recipe(PLAN.document),
        formula=parse_formula(text, where="test"),
        parameters={name: Fraction(value) for name, value in parameters.items()},
        rounding=rounding,
        discount=Fraction(discount),
    )


def test_a_plan_document_says_everything_that_a_recipe_needs():
    found = read_recipe(PLAN.document)
    assert found.methodology == "shenzhen.travel.metro@1"
    assert (found.behaviour, found.kind, found.evidence) == ("travel.metro", "reduction", "measured")
    assert found.parameters == {name: each.value for name, each in PLAN.parameters.items()}
    assert found.ranges == {"distance_m": (200, 150_000)}
    assert found.input_names == ("distance_m",)
    assert (found.family, found.claim_fields, found.overlap) == ("trip", ("issuer", "identifier"), True)


def test_a_trip_is_quantified_exactly_and_rounded_once():
    found = compute(recipe("saving * distance_m", saving="46.7"), {"distance_m": 12_001}, explain=True)
    assert (found.exact, found.mg) == (Fraction("560446.7"), 560_446)
    assert found.steps == (
        "result = saving * distance_m",
        "result = 46.7 * 12001 = 560446.7 mg",
        "rounded down once: 560446 mg",
    )


def test_the_discount_of_an_evidence_class_applies_before_rounding():
    found = compute(recipe("a * count", a="0.9", discount="0.5"), {"count": 3}, explain=True)
    assert (found.exact, found.mg) == (Fraction("1.35"), 1)
    assert "evidence class measured: × 0.5 = 1.35 mg" in found.steps


@pytest.mark.parametrize(("exact", "down", "up"), [("1.999", 1, 2), ("2", 2, 2), ("0", 0, 0), ("1/3", 0, 1)])
def test_rounding_gives_less_credit_and_more_emission(exact, down, up):
    assert round_mg(Fraction(exact), "down") == down
    assert round_mg(Fraction(exact), "up") == up


def test_a_result_beyond_63_bits_is_refused():
    assert compute(recipe("count"), {"count": LARGEST_MG}).mg == LARGEST_MG
    with pytest.raises(TanzhangError) as caught:
        compute(recipe("count + 1"), {"count": LARGEST_MG})
    assert caught.value.code == "result-too-large"


def test_a_document_of_another_format_is_refused():
    document = json.dumps(json.loads(PLAN.document) | {"format": "tanzhang.plan/2"})
    with pytest.raises(TanzhangError) as caught:
        read_recipe(document)
    assert caught.value.code == "plan-format-unknown"
    assert "newer version" in caught.value.problems[0].remedy


@pytest.mark.parametrize(
    "change",
    [
        {"formula": "saving < distance_m"},
        {"discount": "1/0"},
        {"parameters": {"saving": {"value": "many"}}},
        {"inputs": {"distance_m": {"min": "1"}}},
        {"caps": None},
    ],
)
def test_a_broken_document_is_refused_not_half_read(change):
    with pytest.raises(TanzhangError) as caught:
        read_recipe(json.dumps(json.loads(PLAN.document) | change))
    assert caught.value.code == "plan-malformed"


@pytest.mark.parametrize("document", ["", "[]", "{}", "null", '"text"', "[" * 100_000])
def test_what_is_no_plan_document_is_refused(document):
    with pytest.raises(TanzhangError) as caught:
        read_recipe(document)
    assert caught.value.code == "plan-malformed"


def test_better_evidence_comes_first_and_then_better_accuracy():
    base = read_recipe(PLAN.document)
    order = [
        replace(base, evidence=evidence, accuracy=accuracy)
        for evidence in ("measured", "sensed", "declared")
        for accuracy in ("activity_data", "per_act")
    ]
    assert [rank(each) for each in order] == sorted({rank(each) for each in order})


@pytest.mark.parametrize(
    ("fields", "overlap", "told_by"),
    [
        (("issuer", "identifier"), True, None),
        (("issuer", "identifier"), False, "moment"),
        (("person", "day"), False, "day"),
        (("person", "month"), True, "month"),
        (("issuer", "identifier", "month"), False, "moment"),
        ((), False, "moment"),
    ],
)
def test_acts_without_an_identifier_are_told_apart_by_person(fields, overlap, told_by):
    assert person_claim_fields(replace(read_recipe(PLAN.document), claim_fields=fields, overlap=overlap)) == told_by


def test_a_programmes_caps_bind_the_acts_of_their_behaviours():
    for programme_id in CATALOGUE.programme_ids():
        programme = CATALOGUE.programme(programme_id)
        rules = rules_of(programme, bytes(32))
        assert rules.overlap_threshold == programme.overlap_threshold
        assert len(rules.caps) == len(programme.caps)
        for cap, behaviours in rules.caps:
            for behaviour in behaviours:
                bound = replace(read_recipe(PLAN.document), behaviour=behaviour)
                assert cap in caps_of(bound, rules)
            assert cap not in caps_of(replace(read_recipe(PLAN.document), behaviour="none"), rules)


def test_caps_that_count_acts_apply_before_those_in_milligrams():
    document = json.loads(PLAN.document)
    document["caps"] = [
        {"id": "a", "period": "day", "limit_count": None, "limit_mg": "5"},
        {"id": "b", "period": "month", "limit_count": "9", "limit_mg": None},
        {"id": "b", "period": "day", "limit_count": "2", "limit_mg": None},
    ]
    caps = read_recipe(json.dumps(document)).caps
    assert [(cap.id, cap.period) for cap in sorted(caps, key=cap_order)] == [("b", "day"), ("b", "month"), ("a", "day")]
