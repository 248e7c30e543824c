"""Amounts are written for people without losing a milligram."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tanzhang.cli.show import mass


@pytest.mark.parametrize(
    ("mg", "written"),
    [
        ("0", "0 g"),
        (1, "0.001 g"),
        ("343245", "343.245 g"),
        (999_999, "999.999 g"),
        (1_000_000, "1 kg"),
        (1_000_001, "1.000001 kg"),
        (-37_000, "-37 g"),
        ("9223372036854775807", "9223372036854.775807 kg"),
        (None, "-"),
    ],
)
def test_a_mass_is_written_in_grams_or_kilograms(mg: str | int | None, written: str) -> None:
    assert mass(mg) == written


@given(st.integers(-(2**63), 2**63))
def test_what_is_written_is_the_same_number_of_milligrams(mg: int) -> None:
    number, unit = mass(mg).split()
    assert Fraction(number) * {"g": 1_000, "kg": 1_000_000}[unit] == mg
