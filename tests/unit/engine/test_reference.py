from __future__ import annotations

import uuid
from datetime import date

import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.engine.reference import Link, quantify_act
from tanzhang.stores.catalogue import Catalogue

CATALOGUE = Catalogue()


def plan_of(methodology_id: str):
    behaviour = methodology_id.split(".", 1)[1]
    methodology = next(m for m in CATALOGUE.methodologies(behaviour) if m.id == methodology_id)
    return CATALOGUE.plan(methodology, "CN-440300", date(2025, 3, 1), None, "measured")


METRO, INVOICE = plan_of("shenzhen.travel.metro"), plan_of("ant_forest.finance.e_invoice")


def codes(plan, inputs: dict[str, int], elapsed_s: int | None = None) -> list[str]:
    with pytest.raises(TanzhangError) as caught:
        quantify_act(plan, inputs, elapsed_s)
    return [problem.code for problem in caught.value.problems]


def test_every_problem_of_an_act_is_raised_together():
    assert codes(METRO, {"speed": 3, "distance_m": 1}) == ["unknown-input", "out-of-range"]
    assert codes(METRO, {}) == ["missing-input"]
    assert codes(METRO, {"distance_m": 90_000}, 60) == ["implausible-speed"]


def test_a_guard_is_not_asked_where_a_value_of_it_is_unknown():
    assert quantify_act(METRO, {"distance_m": 90_000}, None).mg > 0
    assert codes(METRO, {"distance_m": 10**9}, 60) == ["out-of-range"]


def test_a_default_is_taken_only_where_nothing_was_reported():
    assert quantify_act(INVOICE, {}, None).mg == quantify_act(INVOICE, {"count": 1}, None).mg > 0
    assert codes(INVOICE, {"count": 0}) == ["out-of-range"]


def test_a_link_covers_its_first_day_and_not_its_last():
    link = Link(uuid.UUID(int=1), uuid.UUID(int=2), date(2025, 3, 1), date(2025, 3, 3))
    assert [link.covers(date(2025, 3, day)) for day in (1, 2, 3)] == [True, True, False]
