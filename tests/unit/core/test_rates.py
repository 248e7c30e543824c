"""Token buckets let through what was agreed on average, and no more."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tanzhang.core.rates import BURST_S, Rates


@given(
    per_s=st.integers(1, 1_000),
    asked=st.lists(st.tuples(st.floats(0, 3), st.integers(1, 500)), min_size=1, max_size=60),
)
def test_no_sequence_of_requests_gets_more_than_rate_burst_and_one_request(
    per_s: int, asked: list[tuple[float, int]]
) -> None:
    rates, moment, taken, largest = Rates(), 0.0, 0, 0
    for pause_s, amount in asked:
        moment += pause_s
        if rates.wait_s("who", per_s, moment, amount) == 0:
            taken, largest = taken + amount, max(largest, amount)
    assert taken <= per_s * (moment + BURST_S) + largest


@given(per_s=st.integers(1, 1_000), amount=st.integers(1, 5_000))
def test_whoever_waits_as_long_as_was_said_is_let_through(per_s: int, amount: int) -> None:
    rates = Rates()
    assert rates.wait_s("who", per_s, 0.0, amount) == 0
    wait_s = rates.wait_s("who", per_s, 0.0)
    assert rates.wait_s("who", per_s, wait_s) == 0


def test_nobody_waits_for_another() -> None:
    rates = Rates()
    assert rates.wait_s("a", 1, 0.0, 100) == 0
    assert rates.wait_s("a", 1, 1.0) == 95.0
    assert rates.wait_s("b", 1, 1.0) == 0
