"""Lots: their states, numbers, leaves, entries of the log, and proofs of a share."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tanzhang.core import sum_tree
from tanzhang.core.errors import TanzhangError
from tanzhang.core.lot import (
    HOLDING,
    TRANSITIONS,
    Evidence,
    LotEntry,
    LotState,
    Share,
    before_mg,
    check_transition,
    leaf,
    lot_number,
    lot_text,
    used_part,
    used_parts,
    zero_leaf,
)

ENTRY = LotEntry(
    number=42,
    programme="beijing",
    vintage=2025,
    region="CN-110000",
    methodologies={"beijing.metro@1": ("b" * 64, "a" * 64)},
    terms="c" * 64,
    unit_mass_mg=1_000,
    units=3,
    members=2,
    leaves=1_024,
    root=bytes(32),
    total_mg=3_000,
    first_batch=0,
    last_batch=7,
)


def test_a_lot_moves_along_its_states_and_never_out_of_a_final_one() -> None:
    way = [LotState.DRAFT, LotState.FROZEN, LotState.IN_VERIFICATION, LotState.VERIFIED, LotState.REGISTERED]
    way += [LotState.ISSUED, LotState.CLOSED]
    for here, following in pairwise(way):
        check_transition(1, here, following)
    for state, following in TRANSITIONS.items():
        for to in LotState:
            if to not in following:
                with pytest.raises(TanzhangError, match="lot-state"):
                    check_transition(1, state, to)
    assert [state for state in LotState if not TRANSITIONS[state]] == [
        LotState.CLOSED,
        LotState.REJECTED,
        LotState.DISSOLVED,
    ]


def test_whatever_leaves_the_states_that_hold_milligrams_is_rejected_or_dissolved() -> None:
    left = {to for state in HOLDING for to in TRANSITIONS[state]} - HOLDING
    assert left == {LotState.REJECTED, LotState.DISSOLVED}


@pytest.mark.parametrize("text", ["", "L42", "l000042", "L0000042", "000042", "L00004x", "L٠٠٠٠٤٢"])
def test_a_number_that_is_not_written_as_ours_are_is_refused(text: str) -> None:
    with pytest.raises(TanzhangError, match="lot-malformed"):
        lot_number(text)


def test_an_entry_is_read_back_as_it_was_written_and_in_no_other_spelling() -> None:
    text = ENTRY.to_text()
    assert LotEntry.parse(text).to_text() == text
    changed = [
        text.replace('"L000042"', '"42"'),
        text.replace('"units":"3"', '"units":"4"'),
        text.replace('"units":"3"', '"units":"03"'),
        text.replace('"units":"3"', '"units":3'),
        text.replace('"members":"2"', '"members":"1025"'),
        text.replace("tanzhang.lot/1", "tanzhang.lot/2"),
        text[:-1] + " }",
        "[]",
    ]
    for other in changed:
        assert other != text
        with pytest.raises(TanzhangError, match="lot-proof-malformed"):
            LotEntry.parse(other)


def test_a_leaf_binds_record_batch_place_and_milligrams() -> None:
    own = leaf(bytes(32), 1, 2, 3)
    others = [leaf(b"\x01" * 32, 1, 2, 3), leaf(bytes(32), 2, 2, 3), leaf(bytes(32), 1, 3, 3), leaf(bytes(32), 1, 2, 4)]
    assert len({own.hash, *(each.hash for each in others)}) == 5
    assert zero_leaf(5).amount == 0
    assert zero_leaf(5) != zero_leaf(6)


@given(amounts=st.lists(st.integers(1, 10**6), min_size=1, max_size=40), chosen=st.data())
def test_what_came_before_a_member_is_the_sum_of_the_left_siblings_on_its_path(
    amounts: list[int], chosen: st.DataObject
) -> None:
    leaves = [leaf(bytes(32), 0, place, amount) for place, amount in enumerate(amounts)]
    leaves += [zero_leaf(place) for place in range(len(amounts), sum_tree.padded_leaves(len(amounts)))]
    leaves += [zero_leaf(place) for place in range(len(leaves), len(leaves) + chosen.draw(st.integers(0, 3)))]
    index = chosen.draw(st.integers(0, len(amounts) - 1))
    path = sum_tree.inclusion_proof(index, leaves)
    assert before_mg(index, len(leaves), path) == sum(amounts[:index])


def test_evidence_is_read_back_as_it_was_written_and_in_no_other_spelling() -> None:
    evidence = Evidence(Share(b"\x07" * 32, 3, 4, 5, 1), (sum_tree.Node(9, bytes(32)),), ENTRY.to_text())
    assert Evidence.parse(evidence.to_bytes()) == evidence
    for other in (evidence.to_bytes()[:-1], evidence.to_bytes().replace(b'"5"', b'"05"'), b"{}", b"7"):
        with pytest.raises(TanzhangError, match="lot-proof-malformed"):
            Evidence.parse(other)


@given(amounts=st.lists(st.integers(1, 10**7), min_size=1, max_size=60), share=st.integers(0, 1_000))
def test_what_is_used_is_shared_out_exactly_and_no_member_gives_more_than_it_has(
    amounts: list[int], share: int
) -> None:
    used = sum(amounts) * share // 1_000
    parts = used_parts(used, amounts)
    assert sum(parts) == used
    assert all(0 <= part <= amount for part, amount in zip(parts, amounts, strict=True))
    again = [used_part(used, sum(amounts), sum(amounts[:n]), amount) for n, amount in enumerate(amounts)]
    assert again == parts


def test_more_than_there_is_cannot_be_used() -> None:
    with pytest.raises(ValueError, match="cannot be used"):
        used_parts(11, [5, 5])


def test_a_lot_has_one_way_to_be_written() -> None:
    assert lot_text(lot_number("L000007")) == "L000007"
    assert replace(ENTRY, methodologies={"beijing.metro@1": ("a" * 64, "b" * 64)}).to_text() == ENTRY.to_text()
