"""What an act earns: amounts, days, streaks, limits and budgets, worked by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

import pytest

from tanzhang.core.factors import Period
from tanzhang.core.points import (
    EVER,
    MAX_POINTS,
    NEVER_ENDS,
    Act,
    Campaign,
    Lasting,
    PointsCap,
    PointsProgramme,
    PointsRule,
    Sponsor,
    Start,
    Streak,
    Tier,
    award_exact,
    days_of,
    period_start,
)

ADA, BOB = b"a" * 16, b"b" * 16
DAY = date(2025, 4, 6)
FULL = {"measured": Fraction(1), "sensed": Fraction(1), "declared": Fraction(1)}


def rule(name: str = "ride", points: int = 10, **changes: Any) -> PointsRule:
    made = PointsRule(
        id=name,
        title="-",
        title_zh="-",
        behaviours=frozenset({"travel.bus"}),
        partners=None,
        regions=None,
        evidence=FULL,
        measure=None,
        tiers=(Tier(0, Fraction(points)),),
        first=None,
        streak=None,
        sponsor=None,
        start=Start("final"),
        collect_days=None,
        lasting=Lasting("never"),
    )
    return replace(made, **changes)


def programme(*rules: PointsRule, **changes: Any) -> PointsProgramme:
    made = PointsProgramme(
        id="made_up",
        version=1,
        title="-",
        title_zh="-",
        unit_name="-",
        unit_name_zh="-",
        valid=Period(date(2025, 1, 1), None),
        rounding="down",
        rules=rules,
        caps=(),
        sponsors={},
        campaigns=(),
        debt="owe",
        refund_days=0,
        switch="points_independent",
        source="-",
        status="draft",
        unknown=(),
        digest="",
        where="-",
    )
    return replace(made, **changes)


def act(place: int = 0, day: date = DAY, account: bytes = ADA, **changes: Any) -> Act:
    made = Act(place, account, "travel.bus", "a", "CN-110101", "measured", day, place, place.to_bytes(16), 2_500_000)
    return replace(made, **changes)


def points(acts: list[Act], rules: PointsProgramme, used: Any = None, left: Any = None) -> list[int]:
    """Points of each act."""
    awards = award_exact(acts, rules, used or {}, left or {}, DAY)
    return [sum(row.points for row in awards.rows if row.place == one.place) for one in acts]


def test_rules_that_fit_add_up_and_others_give_nothing() -> None:
    both = programme(rule("a", 3), rule("b", 4), rule("c", 5, partners=frozenset({"other"})))
    assert points([act()], both) == [7]
    assert points([act(region="CN-510500")], programme(rule(regions=frozenset({"CN-110000"})))) == [0]
    assert points([act(region="CN-110101")], programme(rule(regions=frozenset({"CN-110000"})))) == [10]


def test_an_act_of_which_a_cap_left_nothing_earns_nothing() -> None:
    assert points([act(granted_mg=0), act(1, granted_mg=1)], programme(rule())) == [0, 10]


def test_share_multiplier_and_amount_are_rounded_once_together() -> None:
    by_gram = rule(
        measure="granted_mg",
        tiers=(Tier(0, Fraction(0), Fraction(1), 1000),),
        evidence=FULL | {"declared": Fraction(1, 3)},
    )
    half_more = Campaign("k", "-", "-", Period(DAY, None), frozenset({"ride"}), Fraction(3, 2), None)
    acts = [act(evidence="declared", granted_mg=4_999)]
    assert points(acts, programme(by_gram)) == [1]  # 1.666
    assert points(acts, programme(by_gram, campaigns=(half_more,))) == [2]  # 2.4995, and not 1.5
    assert points(acts, programme(by_gram, rounding="up")) == [2]
    assert points(acts, programme(by_gram, rounding="nearest")) == [2]


def test_the_highest_tier_that_is_reached_counts_with_what_lies_above_it() -> None:
    steps = rule(
        measure="steps",
        tiers=(Tier(5_000, Fraction(10)), Tier(10_000, Fraction(20), Fraction(1), 1_000, whole=True)),
    )
    acts = [act(n, inputs={"steps": count}) for n, count in enumerate((4_999, 5_000, 9_999, 10_000, 12_999))]
    assert points([*acts, act(9)], programme(steps)) == [0, 10, 10, 20, 22, 0]


def test_no_line_exceeds_what_is_plausible() -> None:
    assert points([act()], programme(rule(points=2**41))) == [MAX_POINTS]


def test_only_the_first_act_of_a_period_counts_by_the_end_of_the_act_not_by_arrival() -> None:
    once = programme(rule(first="month"))
    later, earlier = act(1, ended=20), act(2, ended=10)
    assert points([later, earlier], once) == [0, 10]
    assert points([act(day=date(2025, 5, 1))], once, used={(ADA, "first:ride", date(2025, 4, 1)): 1}) == [10]
    assert points([act()], once, used={(ADA, "first:ride", date(2025, 4, 1)): 1}) == [0]


def test_a_cap_gives_the_act_at_its_edge_the_rest_and_counts_what_was_used() -> None:
    capped = programme(rule(), caps=(PointsCap("day", "points", 25, "day", frozenset({"ride"})),))
    assert points([act(n) for n in range(4)], capped) == [10, 10, 5, 0]
    assert points([act(0), act(1, account=BOB)], capped, used={(ADA, "cap:day", DAY): 21}) == [4, 10]
    awards = award_exact([act(n) for n in range(4)], capped, {}, {}, DAY)
    assert awards.used == {(ADA, "cap:day", DAY): 25}


def test_a_cap_of_acts_counts_an_act_once_however_many_rules_reward_it() -> None:
    ids = frozenset({"a", "b"})
    capped = programme(rule("a", 3), rule("b", 4), caps=(PointsCap("two", "acts", 2, "ever", ids),))
    awards = award_exact([act(n) for n in range(3)], capped, {}, {}, DAY)
    assert sum(row.points for row in awards.rows) == 14
    assert awards.used == {(ADA, "cap:two", EVER): 2}


def test_a_sponsor_pays_what_a_campaign_adds_until_the_budget_is_spent() -> None:
    triple = Campaign("k", "-", "-", Period(DAY, DAY + timedelta(days=1)), frozenset({"ride"}), Fraction(3), "bank")
    paid = programme(rule(), campaigns=(triple,), sponsors={"bank": Sponsor("bank", "-", "-", 50)})
    acts = [act(0), act(1, account=BOB), act(2), act(3), act(4, day=DAY + timedelta(days=1))]
    awards = award_exact(acts, paid, {}, {}, DAY)
    assert [(row.place, row.points, row.sponsor) for row in awards.rows] == [
        (0, 10, None), (0, 20, "bank"), (1, 10, None), (1, 20, "bank"), (2, 10, None), (2, 10, "bank"),
        (3, 10, None), (4, 10, None),
    ]  # fmt: skip
    assert awards.spent == {"bank": 50}
    assert points(acts, paid, left={"bank": 0}) == [10] * 5


def test_a_rule_whose_sponsor_has_nothing_left_uses_no_limit() -> None:
    paid = programme(rule(sponsor="bank", first="ever"), sponsors={"bank": Sponsor("bank", "-", "-", 50)})
    assert award_exact([act()], paid, {}, {"bank": 0}, DAY).used == {}


def test_a_streak_pays_on_the_first_act_of_the_day_that_completes_it() -> None:
    three = programme(rule(streak=Streak(3, repeats=True)))
    days = [DAY + timedelta(days=n) for n in (0, 1, 1, 2, 2, 4, 5, 6)]
    assert points([act(n, day) for n, day in enumerate(days)], three) == [0, 0, 0, 10, 0, 0, 0, 10]
    once = programme(rule(streak=Streak(2, repeats=False)))
    assert points([act(n, DAY + timedelta(days=n)) for n in range(4)], once) == [0, 10, 0, 0]


def test_a_streak_goes_on_in_the_next_batch_and_a_day_that_comes_too_late_counts_no_more() -> None:
    three = programme(rule(streak=Streak(3, repeats=True)))
    first = award_exact([act(0), act(1, DAY + timedelta(days=1))], three, {}, {}, DAY)
    assert first.used == {(ADA, "streak:ride", DAY): 2}
    assert points([act(0, DAY + timedelta(days=2))], three, used=first.used) == [10]
    assert points([act(0, DAY + timedelta(days=3))], three, used=first.used) == [0]
    assert award_exact([act(0, DAY - timedelta(days=1))], three, first.used, {}, DAY).used == {}


def test_acts_of_days_on_which_the_version_is_not_in_force_earn_nothing() -> None:
    ended = programme(rule(), valid=Period(DAY, DAY + timedelta(days=1)))
    days = (DAY - timedelta(days=1), DAY, DAY + timedelta(days=1))
    assert points([act(n, day) for n, day in enumerate(days)], ended) == [0, 10, 0]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (DAY, NEVER_ENDS, None)),
        ({"start": Start("after_act", days=2)}, (date(2025, 4, 8), NEVER_ENDS, None)),
        ({"start": Start("on", day=date(2025, 6, 1))}, (date(2025, 6, 1), NEVER_ENDS, None)),
        ({"start": Start("on", day=date(2025, 1, 1))}, (DAY, NEVER_ENDS, None)),
        ({"lasting": Lasting("days", 1)}, (DAY, DAY, None)),
        ({"lasting": Lasting("years", 10)}, (DAY, date(2035, 4, 5), None)),
        ({"lasting": Lasting("year_end")}, (DAY, date(2025, 12, 31), None)),
        ({"lasting": Lasting("month_end", 10)}, (DAY, date(2026, 2, 28), None)),
        ({"collect_days": 7}, (DAY, NEVER_ENDS, date(2025, 4, 12))),
        ({"collect_days": 7, "lasting": Lasting("days", 3)}, (DAY, date(2025, 4, 8), date(2025, 4, 8))),
        ({"lasting": Lasting("on", day=date(2025, 4, 5))}, None),
    ],
)
def test_points_begin_and_end_on_days(changes: Any, expected: Any) -> None:
    assert days_of(rule(**changes), DAY, DAY) == expected


def test_a_leap_day_ends_on_the_last_day_that_there_is() -> None:
    leap = date(2024, 2, 29)
    assert days_of(rule(lasting=Lasting("years", 1)), leap, leap) == (leap, date(2025, 2, 27), None)


def test_points_that_would_end_before_they_begin_are_not_given() -> None:
    assert points([act()], programme(rule(lasting=Lasting("on", day=date(2025, 4, 5))))) == [0]


def test_periods_begin_on_their_first_day() -> None:
    found = [period_start(per, DAY) for per in ("day", "month", "year", "ever")]
    assert found == [DAY, date(2025, 4, 1), date(2025, 1, 1), EVER]
    with pytest.raises(ValueError, match="act"):
        period_start("act", DAY)
