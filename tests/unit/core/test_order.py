"""Numbers of vouchers, as they are shown and typed, and which state of an order follows which."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tanzhang.core.errors import TanzhangError
from tanzhang.core.order import ALPHABET, FOLLOWING, State, crockford, read_voucher, voucher_text

PLAIN = st.text(ALPHABET, min_size=20, max_size=20)


@given(PLAIN)
def test_a_voucher_is_read_as_it_is_shown_in_whatever_way_it_is_typed(body: str) -> None:
    text = voucher_text(body[:12], body[12:])
    for typed in (text, text.lower(), text.replace("-", " "), text.replace("-", ""), text.replace("0", "o")):
        assert read_voucher(typed) == (body[:12], body[12:])


@given(PLAIN, st.integers(0, 21), st.sampled_from(ALPHABET))
def test_one_wrong_character_is_always_seen(body: str, place: int, other: str) -> None:
    text = voucher_text(body[:12], body[12:]).replace("-", "")
    if other == text[place]:
        return
    with pytest.raises(TanzhangError, match="voucher-malformed"):
        read_voucher(text[:place] + other + text[place + 1 :])


@given(PLAIN, st.integers(0, 20))
def test_two_characters_changed_for_one_another_are_always_seen(body: str, place: int) -> None:
    text = voucher_text(body[:12], body[12:]).replace("-", "")
    swapped = text[:place] + text[place + 1] + text[place] + text[place + 2 :]
    if swapped == text:
        return
    with pytest.raises(TanzhangError, match="voucher-malformed"):
        read_voucher(swapped)


@pytest.mark.parametrize("text", ["", "-", "0" * 21, "0" * 23, "😀" * 22, "٣" * 22])
def test_what_is_no_voucher_is_refused(text: str) -> None:
    with pytest.raises(TanzhangError, match="voucher-malformed"):
        read_voucher(text)


def test_bits_become_characters_from_the_left() -> None:
    assert crockford(b"\xff" * 8, 12) == "Z" * 12
    assert crockford(b"\x08" + bytes(7), 12) == "1" + "0" * 11


def test_every_order_comes_to_an_end_and_nothing_is_redeemed_after_it_was_given_back() -> None:
    assert FOLLOWING.keys() == {*State}
    seen, waiting = set[State](), {State.CANCELLED, State.EXPIRED, State.REFUNDED}
    while waiting:
        seen |= waiting
        waiting = {after for state in waiting for after in FOLLOWING[state]} - seen
    assert State.REDEEMED not in seen
    assert not any(FOLLOWING[state] for state in (State.REDEEMED, State.REFUNDED))
