"""Dividing a sale's money over records: the vectors of both methods, what a share is told, entries of the log."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.core.payback import Divided, FeeTaken, explained, largest_remainder, payment_fen, running_total

# Worked out by hand from the two definitions: fen, weights, method A, method B.
VECTORS = [
    (100, [1, 1, 1], [34, 33, 33], [33, 33, 34]),
    (7, [5, 3, 2], [4, 2, 1], [3, 2, 2]),
    (1, [1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 1]),
    (
        1_000_001,
        [37_000, 16_400, 2_517_000, 99_999, 1],
        [13_856, 6_142, 942_556, 37_447, 0],
        [13_855, 6_142, 942_556, 37_447, 1],
    ),
]
FEES = (FeeTaken.of("platform", Fraction(3, 100), 60_999), FeeTaken.of("exchange", Fraction(1, 200), 60_999))
SOLD = Divided("beijing", 42, 7, 10**10, 3, 10, 60_999, 1_000, FEES)


@pytest.mark.parametrize(("fen", "weights", "by_a", "by_b"), VECTORS)
def test_both_methods_give_what_was_worked_out_by_hand(
    fen: int, weights: list[int], by_a: list[int], by_b: list[int]
) -> None:
    assert largest_remainder(fen, weights) == by_a
    assert running_total(fen, weights) == by_b


def test_a_record_of_sixteen_grams_at_sixty_yuan_a_ton_earns_a_tenth_of_a_fen_and_mostly_gets_none_of_it() -> None:
    sale = Divided("beijing", 1, 60_976, 10**9, 1, 1, 6_000, 0, ())
    assert explained(sale, 0, 16_400) == {"exact_fen": "0.098", "from_fen": "0.000", "to_fen": "0.098", "fen": "0"}
    passing = explained(sale, 10 * 16_400, 16_400)
    assert passing == {"exact_fen": "0.098", "from_fen": "0.984", "to_fen": "1.082", "fen": "1"}
    assert payment_fen(6_000, 10**9, 164_000, 16_400) == 1


@pytest.mark.parametrize(("fen", "weights"), [(-1, [1]), (1, [0, 0]), (1, [2, -1])])
def test_nothing_is_divided_over_nothing_or_over_less(fen: int, weights: list[int]) -> None:
    for method in (running_total, largest_remainder):
        with pytest.raises(ValueError, match="below zero"):
            method(fen, weights)


def test_fees_are_whole_fen_of_what_the_units_brought_and_a_top_up_pays_none() -> None:
    assert [(fee.id, fee.fen) for fee in SOLD.fees] == [("platform", 1_829), ("exchange", 304)]
    assert SOLD.shared_fen == 60_999 - 1_829 - 304 + 1_000
    assert json.loads(SOLD.to_text())["shared_fen"] == "59866"


def test_an_entry_is_read_as_it_was_written_and_any_other_is_refused() -> None:
    text = SOLD.to_text()
    assert Divided.parse(text) == SOLD
    for before, after in (
        ('"shared_fen":"59866"', '"shared_fen":"59867"'),
        ('"fen":"304"', '"fen":"305"'),
        ('"members":"7"', '"members":"07"'),
        ('"method":"running-total"', '"method":"largest-remainder"'),
        ('"share":"1/200"', '"share":"1/0"'),
        ('"share":"1/200"', '"share":"3"'),
        ('"lot":"L000042"', '"lot":"42"'),
        (text, "[]"),
    ):
        assert before in text
        with pytest.raises(TanzhangError) as refused:
            Divided.parse(text.replace(before, after))
        assert refused.value.code == "payback-proof-malformed"
