"""Blocks of units: splitting, merging, cutting, and which event leads where."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tanzhang.core.errors import TanzhangError
from tanzhang.core.market import Levy, MarketRules
from tanzhang.core.units import (
    BEGINNINGS,
    MOVES,
    TERMINAL,
    Block,
    Kind,
    Part,
    Pick,
    Standing,
    State,
    covered,
    cut,
    lowest,
    merge,
    moved,
    parts_of_issue,
    split,
    totals,
)
from tanzhang.stores.catalogue import Catalogue
from tanzhang.stores.market_rules import MARKET

WHOLE = Block(1, 0, 1000, 2025, "programme", State.HELD, "inclusion")


def code(refused: pytest.ExceptionInfo[TanzhangError]) -> str:
    return refused.value.code


@given(st.sets(st.integers(1, 999), min_size=1, max_size=20))
def test_a_block_split_anywhere_is_tiled_by_its_parts_and_merges_back(places: set[int]) -> None:
    parts = split(WHOLE, places)
    assert len(parts) == len(places) + 1
    assert covered(parts) == [(0, 1000)]
    assert merge(parts[::-1]) == WHOLE


@pytest.mark.parametrize("place", [0, 1000, -1, 1001])
def test_a_block_is_cut_only_inside(place: int) -> None:
    with pytest.raises(TanzhangError) as refused:
        split(WHOLE, [place])
    assert code(refused) == "block-outside"


@pytest.mark.parametrize(
    "other",
    [
        replace(WHOLE, lo=1001, hi=1100),
        replace(WHOLE, lo=900, hi=1100),
        replace(WHOLE, lo=1000, hi=1100, holder="party:a"),
        replace(WHOLE, lo=1000, hi=1100, vintage=2026),
        replace(WHOLE, lo=1000, hi=1100, tier="compulsory"),
        replace(WHOLE, lo=1000, hi=1100, state=State.FROZEN),
        replace(WHOLE, lot=2, lo=1000, hi=1100),
    ],
)
def test_only_neighbours_equal_in_everything_merge(other: Block) -> None:
    with pytest.raises(TanzhangError) as refused:
        merge([WHOLE, other])
    assert code(refused) == "blocks-differ"


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(1, 30)), min_size=1, max_size=5))
def test_what_is_cut_out_and_what_is_left_tile_the_blocks_that_were_touched(wanted: list[tuple[int, int]]) -> None:
    blocks = list(split(replace(WHOLE, hi=100), [20, 21, 70]))
    picks = [Pick(1, lo, lo + count) for lo, count in wanted]
    named = [unit for pick in picks for unit in range(pick.lo, pick.hi)]
    if len(set(named)) != len(named) or max(named) >= 100:
        with pytest.raises(TanzhangError) as refused:
            cut(blocks, picks)
        assert code(refused) == "block-outside"
        return
    parts = cut(blocks, picks)
    assert sorted(unit for each in parts.wanted for unit in range(each.lo, each.hi)) == sorted(named)
    assert covered([*parts.wanted, *parts.rest]) == covered(parts.parents)
    assert all(any(each.lo <= pick.lo < each.hi for each in parts.parents) for pick in picks)


def test_nothing_and_empty_ranges_are_no_units() -> None:
    for picks in ([], [Pick(1, 5, 5)], [Pick(1, 6, 5)]):
        with pytest.raises(TanzhangError) as refused:
            cut([WHOLE], picks)
        assert code(refused) == "pick-empty"


def test_the_lowest_serials_go_first_over_several_blocks() -> None:
    blocks = [replace(WHOLE, lo=50, hi=60), replace(WHOLE, lo=10, hi=15)]
    assert lowest(blocks, 7) == [Pick(1, 10, 15), Pick(1, 50, 52)]
    for count in (16, 0, -1):
        with pytest.raises(TanzhangError) as refused:
            lowest(blocks, count)
        assert code(refused) == "units-short"


def test_from_a_terminal_state_no_event_leads_anywhere() -> None:
    for state in sorted(TERMINAL):
        block = replace(WHOLE, state=state)
        for kind in MOVES:
            with pytest.raises(TanzhangError) as refused:
                moved([block], kind)
            assert code(refused) == "unit-state"
        for act in (
            lambda block=block: split(block, [5]),
            lambda block=block: merge([block, replace(block, lo=1000, hi=1001)]),
        ):
            with pytest.raises(TanzhangError) as refused:
                act()
            assert code(refused) == "unit-state"


@given(
    st.sampled_from(sorted(Kind)),
    st.sampled_from(sorted(State)),
    st.sampled_from(sorted(State)),
    st.booleans(),
    st.booleans(),
)
def test_an_event_makes_its_own_step_and_no_other(
    kind: Kind, before: State, after: State, other: bool, tier: bool
) -> None:
    """The whole table of steps, written down a second time."""
    old = replace(WHOLE, state=before)
    new = replace(old, state=after, holder="party:b" if other else old.holder, tier="compulsory" if tier else old.tier)
    steps = {
        "reserve": ("held", "reserved"), "release": ("reserved", "held"), "deliver": ("reserved", "held"),
        "freeze": ("held", "frozen"), "thaw": ("frozen", "held"), "retire": ("held", "retired"),
        "cancel": ("held", "cancelled"), "compensate": ("held", "cancelled"), "expire": ("held", "expired"),
        "export": ("held", "pending_export"), "exported": ("pending_export", "exported"),
        "export_back": ("pending_export", "held"),
    }  # fmt: skip
    lawful = steps.get(kind) == (before, after) and (not other or kind == "deliver") and not tier
    unmoved = old == new and before not in TERMINAL and kind not in BEGINNINGS
    lawful |= unmoved or (kind == "label" and before == after and not other and before not in TERMINAL)
    standing = Standing([old])
    if lawful:
        standing.apply(kind, [(0, 1000)], [new])
        assert standing.blocks == [new]
        return
    with pytest.raises(TanzhangError) as refused:
        standing.apply(kind, [(0, 1000)], [new])
    assert code(refused) == "unit-event"
    assert standing.blocks == [old]


@pytest.mark.parametrize(
    ("parents", "children"),
    [
        ([(0, 999)], [(0, 999)]),
        ([(0, 1000), (0, 1000)], [(0, 1000)]),
        ([(0, 1000)], [(0, 999)]),
        ([(0, 1000)], [(0, 500), (501, 1000)]),
        ([(0, 1000)], [(0, 500), (499, 1000)]),
        ([(0, 1000)], [(0, 500), (500, 1001)]),
        ([(0, 1000)], []),
        ([], [(1000, 1100)]),
    ],
)
def test_children_that_do_not_tile_blocks_that_stand_are_refused(
    parents: list[tuple[int, int]], children: list[tuple[int, int]]
) -> None:
    standing = Standing([WHOLE])
    with pytest.raises(TanzhangError) as refused:
        standing.apply(Kind.SPLIT, parents, [replace(WHOLE, lo=lo, hi=hi) for lo, hi in children])
    assert code(refused) == "unit-event"
    assert standing.blocks == [WHOLE]


def test_a_lot_begins_once_from_its_first_unit_held_or_as_a_levy_that_is_cancelled() -> None:
    levy = Block(1, 1000, 1020, 2025, "levy:mitigation", State.CANCELLED, "inclusion")
    standing = Standing()
    standing.apply(Kind.ISSUE, [], [WHOLE, levy])
    assert totals(standing.blocks)[State.CANCELLED] == 20
    wrong = [
        [replace(WHOLE, lo=1)],
        [replace(WHOLE, state=State.RETIRED)],
        [replace(WHOLE, held_for="x")],
        [replace(WHOLE, state=State.CANCELLED)],
        [WHOLE, replace(levy, lo=1010)],
    ]
    for children in wrong:
        with pytest.raises(TanzhangError) as refused:
            Standing().apply(Kind.ISSUE, [], children)
        assert code(refused) == "unit-event"
    with pytest.raises(TanzhangError):
        standing.apply(Kind.ISSUE, [], [WHOLE])


def rules(reserve: str, *levies: Levy) -> MarketRules:
    """Market rules with these shares."""
    made = MARKET.of(Catalogue(), "example")[0]
    return replace(made, reserve_share=Fraction(reserve), levies=levies)


PROCEEDS, MITIGATION = (
    Levy("sop", Fraction(5, 100), "levy:sop", False),
    Levy("omge", Fraction(2, 100), "cancelled", True),
)


def test_a_thousand_units_with_two_levies_are_930_50_and_20() -> None:
    assert parts_of_issue(1_000, rules("0", PROCEEDS, MITIGATION)) == [
        Part("programme", "programme", State.HELD, 930),
        Part("sop", "levy:sop", State.HELD, 50),
        Part("omge", "levy:omge", State.CANCELLED, 20),
    ]


@given(st.integers(1, 10**6))
def test_a_levy_is_cut_and_what_is_for_the_environment_or_the_reserve_is_rounded_up(units: int) -> None:
    needed = -(-units * 2 // 100) * 2 + units * 5 // 100
    if needed >= units:
        with pytest.raises(TanzhangError) as refused:
            parts_of_issue(units, rules("0.02", PROCEEDS, MITIGATION))
        assert code(refused) == "lot-too-small"
        return
    parts = parts_of_issue(units, rules("0.02", PROCEEDS, MITIGATION))
    counts = {part.share: part.count for part in parts}
    assert sum(counts.values()) == units
    assert counts.get("sop", 0) == units * 5 // 100
    assert counts["reserve"] == counts["omge"] == -(-units * 2 // 100)
