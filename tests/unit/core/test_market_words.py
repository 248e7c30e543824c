"""Numbers of payments and of legal persons, what a sponsor adds, and states that stay terminal."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tanzhang.core import deal, party
from tanzhang.core.deal import DealState, pledged_fen
from tanzhang.core.errors import TanzhangError
from tanzhang.core.party import PartyState, credit_code
from tanzhang.core.payment_reference import DEAL, PLEDGE, payment_reference, references_in

NUMBERS = st.integers(0, 99_999_999)


@given(st.sampled_from([DEAL, PLEDGE]), NUMBERS)
def test_a_payment_reference_is_found_in_whatever_payers_write_around_it(kind: str, number: int) -> None:
    text = payment_reference(kind, number)
    grouped = " ".join(text[start : start + 4] for start in range(0, len(text), 4))
    for written in (text, f"购碳 {text.lower()}，谢谢", f"{grouped} 2 份", f"/{text}/", text.replace("R", "\uff32")):
        assert references_in(written) == [(kind, number)], written


@given(NUMBERS, st.data())
def test_a_wrong_character_or_two_that_were_exchanged_are_no_reference_to_another_deal(
    number: int, data: st.DataObject
) -> None:
    text = payment_reference(DEAL, number)
    place = data.draw(st.integers(2, len(text) - 1))
    other = data.draw(st.sampled_from(string.digits + string.ascii_uppercase).filter(lambda each: each != text[place]))
    assert references_in(text[:place] + other + text[place + 1 :]) == []
    swapped = text[: place - 1] + text[place] + text[place - 1] + text[place + 1 :]
    assert swapped == text or references_in(swapped) == []


def test_the_example_of_iso_11649_has_our_check_digits() -> None:
    """RF18 5390 0754 7034, of the standard's own leaflets: the same arithmetic over another reference."""
    plain = "RF18539007547034"
    assert int("".join(str(int(each, 36)) for each in plain[4:] + plain[:4])) % 97 == 1
    assert references_in(plain) == []


def test_several_references_are_all_found_and_one_written_twice_once() -> None:
    one, two = payment_reference(DEAL, 1), payment_reference(PLEDGE, 2)
    assert references_in(f"{one} {two} {one}") == [(DEAL, 1), (PLEDGE, 2)]
    assert references_in(f"{one}7") == []
    assert references_in(f"A{one}") == []


@pytest.mark.parametrize("wrong", ["", "91350100M000100Y44", "91350100M000100Y4", "9135010OM000100Y43", "x" * 18])
def test_a_credit_code_with_a_wrong_character_is_refused(wrong: str) -> None:
    with pytest.raises(TanzhangError, match="credit-code-wrong"):
        credit_code(wrong)


def test_a_credit_code_is_kept_in_one_form() -> None:
    assert credit_code(" 91350100m000100y43 ") == "91350100M000100Y43"


@pytest.mark.parametrize(
    ("units", "mass", "fen", "per_tonne", "left", "expected"),
    [
        (15_000, 10**9, 200, False, 10**9, 3_000_000),
        (15_000, 10**9, 200, True, 10**9, 3_000_000),
        (999, 10**6, 100, True, 10**9, 99),  # 99.9 fen, cut once
        (10, 10**9, 200, False, 1_999, 1_999),
        (10, 10**9, 200, False, 0, 0),
    ],
)
def test_a_pledge_adds_whole_fen_and_stops_when_it_is_spent(
    units: int, mass: int, fen: int, per_tonne: bool, left: int, expected: int
) -> None:
    assert pledged_fen(units, mass, fen=fen, per_tonne=per_tonne, left_fen=left) == expected


def test_nothing_follows_a_terminal_state() -> None:
    assert {state for state, following in deal.FOLLOWING.items() if not following} == {
        DealState.DELIVERED, DealState.LAPSED, DealState.CANCELLED
    }  # fmt: skip
    assert party.FOLLOWING[PartyState.CLOSED] == frozenset()
    assert {*deal.FOLLOWING} == {*DealState}
    assert {*party.FOLLOWING} == {*PartyState}
