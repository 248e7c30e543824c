"""What the log commits to of retirements: rows are what their serial numbers say, commitments open one way."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tanzhang.core.errors import TanzhangError
from tanzhang.core.log_tree import added, leaf_of
from tanzhang.core.retirement import RETIREMENTS, Opening, Retirement, serials_of
from tanzhang.core.serial import Serial

LOT = Serial("CN-110000", "BJGT", 42, 2025, "T", 0, 1)
ROW = Retirement(
    "id", serials_of(LOT, [(0, 10), (20, 30)]), 20, "p", "m@1", "2025-06-01", "2025-06-30", "00", "2025-06-03T00:00:00"
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def other(lot: int) -> str:
    return replace(LOT, lot=lot).text


@pytest.mark.parametrize(
    "members",
    [
        {"serials": []},
        {"units": "19"},
        {"serials": [*ROW.serials[::-1]]},
        {"serials": [ROW.serials[0], ROW.serials[0]]},
        {"serials": [ROW.serials[0], other(43)], "units": "11"},
        {"serials": ["x"]},
        {"more": "x"},
        {"units": "twenty"},
    ],
)
def test_a_row_that_is_not_what_its_serial_numbers_say_is_refused(members: dict[str, object]) -> None:
    assert Retirement.read(ROW.as_dict()) == ROW
    with pytest.raises((ValueError, TypeError, TanzhangError)):
        Retirement.read({**ROW.as_dict(), **members})


@given(ranges=st.lists(st.tuples(st.integers(0, 50), st.integers(1, 5)), min_size=1, max_size=6))
def test_serial_numbers_of_ranges_are_exactly_their_units_with_neighbours_joined(ranges: list[tuple[int, int]]) -> None:
    found, units = [], set[int]()
    for lo, length in ranges:
        if not units & {*range(lo, lo + length)}:
            found.append((lo, lo + length))
            units |= {*range(lo, lo + length)}
    parsed = [Serial.parse(each) for each in serials_of(LOT, found)]
    assert [unit for each in parsed for unit in range(each.lo, each.hi)] == sorted(units)
    assert all(left.hi < right.lo for left, right in pairwise(parsed))


@given(texts=st.tuples(TEXT, TEXT, TEXT, TEXT), others=st.tuples(TEXT, TEXT, TEXT, TEXT))
def test_an_opening_is_read_as_it_was_written_and_another_one_has_another_commitment(
    texts: tuple[str, ...], others: tuple[str, ...]
) -> None:
    opening = Opening("00" * 32, *texts)
    assert Opening.parse(opening.to_text()) == opening
    assert (Opening("00" * 32, *others).commitment == opening.commitment) == (texts == others)
    assert Opening("11" * 32, *texts).commitment != opening.commitment


@pytest.mark.parametrize("text", ["", "{}", "[]", "5", '{"format":"x"}', "{" * 100_000])
def test_what_is_no_opening_is_refused(text: str) -> None:
    with pytest.raises(TanzhangError, match="retirement-opening-malformed"):
        Opening.parse(text)
    said = json.loads(Opening("00" * 32, "a", "", "", "").to_text())
    for members in ({"salt": "00"}, {"more": "x"}, {"note": 5}):
        with pytest.raises(TanzhangError, match="retirement-opening-malformed"):
            Opening.parse(json.dumps({**said, **members}))


def test_entries_add_up_units_by_lot_and_are_read_byte_for_byte() -> None:
    later = replace(ROW, id="later", serials=(replace(LOT, lo=40, hi=41).text,), units=1)
    totals = added(added({}, [ROW]), [later])
    assert totals == {"L000042": {"units:T": 21}}
    entry = RETIREMENTS.entry("p", 1, [later], totals)
    text = RETIREMENTS.text(entry)
    assert RETIREMENTS.parse(text) == entry
    assert leaf_of(ROW) != leaf_of(later)
    for wrong in (f"{text} ", text.replace('"1"', '"01"'), text.replace("retirements/1", "retirements/2"), "{}"):
        with pytest.raises(TanzhangError, match="retirement-proof-malformed"):
            RETIREMENTS.parse(wrong)
