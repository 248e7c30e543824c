"""The columnar points engine equals the exact definition, to the point and to the day."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tanzhang.core.factors import Period
from tanzhang.core.points import (
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
)
from tanzhang.core.record import Record
from tanzhang.engine.points import ROW_SCHEMA, TEXTS, USED_SCHEMA, Awards, acts_of, award
from tanzhang.stores.catalogue import Catalogue
from tanzhang.stores.points_rules import POINTS

ACCOUNTS = [bytes([number]) * 16 for number in range(3)]
BEHAVIOURS = ("travel.bus", "travel.metro", "use.own_cup")
REGIONS = ("CN-110000", "CN-110101", "CN-510500")
FIRST = date(2025, 1, 29)
EVIDENCE = (
    {"measured": Fraction(1)},
    {"measured": Fraction(1), "declared": Fraction(1, 2)},
    {"declared": Fraction(2, 3)},
)
DAYS = [FIRST + timedelta(days=number) for number in range(9)]

amounts = st.builds(Fraction, st.integers(0, 40), st.sampled_from([1, 2, 3, 7, 1000]))
tiers = st.lists(
    st.builds(
        Tier, st.sampled_from([0, 1, 500, 20_000]), amounts, amounts, st.sampled_from([1, 3, 1000]), st.booleans()
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda tier: tier.start,
).map(lambda found: tuple(sorted(found, key=lambda tier: tier.start)))
starts = st.one_of(
    st.just(Start("final")),
    st.builds(Start, st.just("after_act"), st.integers(0, 4)),
    st.builds(Start, st.just("on"), st.just(0), st.sampled_from(DAYS)),
)
lastings = st.one_of(
    st.just(Lasting("never")),
    st.builds(Lasting, st.sampled_from(["days", "years"]), st.integers(1, 3)),
    st.builds(Lasting, st.sampled_from(["month_end", "year_end"]), st.integers(0, 2)),
    st.builds(Lasting, st.just("on"), st.just(0), st.sampled_from(DAYS)),
)
periods = st.sampled_from(["day", "month", "year", "ever"])


@st.composite
def rules(draw: Any, number: int, sponsors: list[str]) -> PointsRule:
    streak = draw(st.none() | st.builds(Streak, st.integers(2, 3), st.booleans()))
    subset = st.none() | st.frozensets(st.sampled_from(["a", "b"]), min_size=1)
    return PointsRule(
        id=f"r{number}",
        title="-",
        title_zh="-",
        behaviours=draw(st.frozensets(st.sampled_from(BEHAVIOURS), min_size=1)),
        partners=draw(subset),
        regions=draw(st.none() | st.frozensets(st.sampled_from(REGIONS), min_size=1)),
        evidence=draw(st.sampled_from(EVIDENCE)),
        measure=draw(st.sampled_from([None, "granted_mg", "distance_m"])),
        tiers=draw(tiers),
        first=None if streak else draw(st.none() | periods),
        streak=streak,
        sponsor=draw(st.sampled_from([None, *sponsors])),
        start=draw(starts),
        collect_days=draw(st.none() | st.integers(1, 5)),
        lasting=draw(lastings),
    )


@st.composite
def programmes(draw: Any) -> PointsProgramme:
    sponsors = ["s0", "s1"][: draw(st.integers(0, 2))]
    found = tuple(draw(rules(number, sponsors)) for number in range(draw(st.integers(1, 3))))
    ids = st.frozensets(st.sampled_from([rule.id for rule in found]), min_size=1)
    pers = draw(st.lists(st.sampled_from(["act", "day", "month", "year", "ever"]), max_size=3))
    caps = [
        PointsCap(f"c{number}", draw(st.sampled_from(["points", "acts"])), draw(st.integers(1, 60)), per, draw(ids))
        for number, per in enumerate(pers)
    ]
    campaigns = []
    if draw(st.booleans()):
        days = Period(DAYS[2], DAYS[draw(st.integers(3, 8))])
        multiplier = draw(st.sampled_from([Fraction(1), Fraction(3, 2), Fraction(2)]))
        campaigns = [Campaign("k", "-", "-", days, draw(ids), multiplier, draw(st.sampled_from([None, *sponsors])))]
    return PointsProgramme(
        id="made_up",
        version=1,
        title="-",
        title_zh="-",
        unit_name="-",
        unit_name_zh="-",
        valid=Period(DAYS[draw(st.integers(0, 2))], draw(st.sampled_from([None, DAYS[7]]))),
        rounding=draw(st.sampled_from(["down", "nearest", "up"])),
        rules=found,
        caps=tuple(caps),
        sponsors={name: Sponsor(name, "-", "-", draw(st.integers(0, 100))) for name in sponsors},
        campaigns=tuple(campaigns),
        debt="owe",
        refund_days=0,
        switch="points_independent",
        source="-",
        status="draft",
        unknown=(),
        digest="",
        where="-",
    )


@st.composite
def batches(draw: Any) -> list[Act]:
    found = []
    for place in range(draw(st.integers(0, 14))):
        inputs = {} if draw(st.integers(0, 4)) == 0 else {"distance_m": draw(st.integers(0, 30_000))}
        found.append(
            Act(
                place=place,
                account=draw(st.sampled_from(ACCOUNTS)),
                behaviour=draw(st.sampled_from(BEHAVIOURS)),
                partner=draw(st.sampled_from(["a", "b", "c"])),
                region=draw(st.sampled_from(REGIONS)),
                evidence=draw(st.sampled_from(["measured", "declared", "sensed"])),
                day=draw(st.sampled_from(DAYS)),
                ended=draw(st.integers(0, 3)),  # few moments, so that ids decide
                action_id=bytes([draw(st.integers(0, 255)), place]) + bytes(14),
                granted_mg=draw(st.integers(0, 50_000)),
                inputs=inputs,
            )
        )
    return found


@st.composite
def histories(draw: Any, programme: PointsProgramme) -> dict[tuple[bytes, str, date], int]:
    keys = [limit.id for limit in programme.limits()]
    keys += [f"streak:{rule.id}" for rule in programme.rules if rule.streak]
    starts_of = st.sampled_from([*DAYS, date(2025, 1, 1), date(2025, 2, 1), date(1970, 1, 1)])
    entries = st.tuples(st.sampled_from(ACCOUNTS), st.sampled_from([*keys, "cap:other"]), starts_of)
    return draw(st.dictionaries(entries, st.integers(1, 30), max_size=8))


def table(acts: list[Act]) -> pa.Table:
    """Acts as the engine takes them."""
    names = ("place", "account", *TEXTS, "day", "ended", "action_id", "granted_mg")
    types = (pa.uint32(), pa.binary(16), *[pa.string()] * 4, pa.date32(), pa.int64(), pa.binary(16), pa.int64())
    columns = {
        name: pa.array([getattr(act, name) for act in acts], type=of) for name, of in zip(names, types, strict=True)
    }
    columns["distance_m"] = pa.array([act.inputs.get("distance_m") for act in acts], type=pa.int64())
    return pa.table(columns)


def used_table(used: dict[tuple[bytes, str, date], int]) -> pa.Table:
    rows = [(*key, amount) for key, amount in used.items()]
    return pa.table([[row[place] for row in rows] for place in range(4)], schema=USED_SCHEMA)


def assert_equal(found: Awards, acts: list[Act], programme: PointsProgramme, used: Any, budgets: Any, on: date) -> None:
    exact = award_exact(acts, programme, used, budgets, on)
    assert found.rows.schema == ROW_SCHEMA
    rows = [tuple(row.values()) for row in found.rows.to_pylist()]
    assert rows == [
        (row.place, row.rule, row.points, row.first_day, row.last_day, row.collect_by, row.sponsor)
        for row in exact.rows
    ]
    added = {(row["account"], row["key"], row["period"]): row["amount"] for row in found.used.to_pylist()}
    assert len(added) == found.used.num_rows
    assert added == exact.used
    assert found.spent == exact.spent


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_columns_award_what_the_definition_awards(data: st.DataObject) -> None:
    programme, acts = data.draw(programmes()), data.draw(batches())
    used = data.draw(histories(programme))
    budgets = data.draw(st.dictionaries(st.sampled_from(["s0", "s1"]), st.integers(0, 60), max_size=2))
    on = data.draw(st.sampled_from(DAYS))
    found = award(table(acts), programme, used_table(used), budgets, settled_on=on)
    assert_equal(found, acts, programme, used, budgets, on)


@pytest.mark.parametrize("points_id", POINTS.ids(Catalogue()))
def test_every_shipped_programme_awards_the_same_in_columns(points_id: str) -> None:
    programme = POINTS.of(Catalogue(), points_id)[-1]
    pick = random.Random(points_id)
    behaviours = sorted({behaviour for rule in programme.rules for behaviour in rule.behaviours})
    start = programme.valid.start
    acts = [
        Act(
            place,
            pick.choice(ACCOUNTS),
            pick.choice(behaviours),
            "a",
            "CN-110000",
            pick.choice(("measured", "sensed", "declared")),
            start + timedelta(days=pick.randrange(12)),
            pick.randrange(10**6),
            pick.randbytes(16),
            pick.randrange(1, 10**7),
            {name: pick.randrange(1, 10**5) for name in ("steps", "mass_g", "duration_s")},
        )
        for place in range(400)
    ]
    records = table(acts)
    for name in ("steps", "mass_g", "duration_s"):
        records = records.append_column(name, pa.array([act.inputs[name] for act in acts]))
    found = award(records, programme, USED_SCHEMA.empty_table(), {}, settled_on=start + timedelta(days=14))
    assert found.rows.num_rows
    assert_equal(found, acts, programme, {}, {}, start + timedelta(days=14))


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_order_of_rows_gives_the_same_points(data: st.DataObject) -> None:
    programme, acts = data.draw(programmes()), data.draw(batches())
    shuffled = data.draw(st.permutations(acts))
    none = USED_SCHEMA.empty_table()
    one = award(table(acts), programme, none, {}, settled_on=DAYS[-1])
    other = award(table(shuffled), programme, none, {}, settled_on=DAYS[-1])
    assert one.rows.equals(other.rows)
    assert one.spent == other.spent
    assert Counter(map(str, one.used.to_pylist())) == Counter(map(str, other.used.to_pylist()))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=12), st.data())
def test_capped_totals_of_a_day_do_not_depend_on_which_act_came_first(grams: list[int], data: st.DataObject) -> None:
    programme = POINTS.of(Catalogue(), "ant_forest_energy")[0]

    def total(order: list[int]) -> int:
        acts = [
            Act(place, ACCOUNTS[0], "travel.walking", "a", "CN", "sensed", date(2025, 4, 6), place, bytes(16), g * 1000)
            for place, g in enumerate(order)
        ]
        used = USED_SCHEMA.empty_table()
        points = 0
        cut = data.draw(st.integers(0, len(acts)))  # in one batch, or in two of any size
        for part in (acts[:cut], acts[cut:]):
            found = award(table(part), programme, used, {}, settled_on=date(2025, 4, 7))
            used = pa.concat_tables([used, found.used])
            points += sum(found.rows["points"].to_pylist())
        return points

    assert total(grams) == total(data.draw(st.permutations(grams))) == min(296, sum(grams))


def test_amounts_beyond_64_bits_are_computed_exactly_and_cut_at_the_limit() -> None:
    programme = POINTS.of(Catalogue(), "wuhan_planet")[0]
    acts = [
        Act(place, ACCOUNTS[0], "travel.bus", "a", "CN-420100", "measured", date(2025, 4, 6), place, bytes(16), amount)
        for place, amount in enumerate([2**62, 2**40, 999, 1000])
    ]
    found = award(table(acts), programme, USED_SCHEMA.empty_table(), {}, settled_on=date(2025, 4, 7))
    assert found.rows["points"].to_pylist() == [2**40, 2**40 // 1000, 1]
    assert_equal(found, acts, programme, {}, {}, date(2025, 4, 7))


def test_only_savings_that_were_credited_earn() -> None:
    moment = datetime(2025, 4, 6, 12, tzinfo=UTC)
    columns: dict[str, list[Any]] = {
        "action_id": [bytes([number]) * 16 for number in range(5)],
        "account": [bytes(16)] * 5,
        **dict.fromkeys(("partner", "behaviour", "region", "evidence"), ["a"] * 5),
        "kind": ["reduction", "reduction", "emission", "reduction", "reduction"],
        "outcome": ["granted", "capped", "granted", "duplicate_of", "capped"],
        "day": [moment.date()] * 5,
        "ended": [moment.replace(tzinfo=None)] * 5,
        "granted_mg": [10, 5, 10, 0, 0],
    }
    assert columns.keys() <= set(Record.__slots__)
    found = acts_of(pa.table(columns), first=100)
    assert found["place"].to_pylist() == [100, 101]
    assert found["granted_mg"].to_pylist() == [10, 5]
