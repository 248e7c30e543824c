from __future__ import annotations

import time
import uuid
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tanzhang.core.claim import Span, keep_greedily, overlap_conflict
from tanzhang.core.settlement import Rules
from tanzhang.engine.contest import keep_in_order
from tanzhang.engine.kernel import connect

from ...agreement.worlds import KEY, PLANS, RECIPES, report, settle_columns

FREE = Rules(KEY, Fraction(7, 10), None, ())


@pytest.fixture(scope="module")
def con():
    return connect()


def decide(acts: list[tuple[int, int, int, int, int]], threshold: Fraction) -> list[int]:
    """keep_in_order over (ring, island, start, stop, companions)."""
    ring, island, start, stop, companions = (np.array(column, dtype=np.int64) for column in zip(*acts, strict=True))
    needed = -(-(stop - start) * threshold.numerator // threshold.denominator)
    return keep_in_order(
        ring=ring, island=island, start=start, stop=stop, needed=needed, companions=companions
    ).tolist()


ACTS = st.tuples(
    st.integers(-1, 3), st.integers(-1, 2), st.integers(0, 30), st.integers(1, 20), st.sampled_from((-1, -1, 0, 1))
).map(lambda act: (act[0], act[1], act[2], act[2] + act[3], act[4]))


@settings(max_examples=400, deadline=None)
@given(acts=st.lists(ACTS, min_size=1, max_size=40), percent=st.integers(0, 100))
def test_rounds_in_columns_keep_the_same_acts_as_one_after_the_other(acts, percent):
    threshold = Fraction(percent, 100)
    spans = [Span(start, stop, None if group < 0 else uuid.UUID(int=group)) for _, _, start, stop, group in acts]

    def rivals(n: int) -> list[int]:
        return [
            other
            for other in range(len(acts))
            if other != n
            and (
                (acts[n][0] >= 0 and acts[n][0] == acts[other][0])
                or (
                    acts[n][1] >= 0
                    and acts[n][1] == acts[other][1]
                    and overlap_conflict(spans[n], spans[other], threshold)
                )
            )
        ]

    expected = keep_greedily(range(len(acts)), rivals)
    assert decide(acts, threshold) == [-1 if winner is None else winner for winner in expected.values()]


def test_three_thousand_times_the_same_trip_is_one_trip_within_seconds(con):
    trips = [
        report(reference=1000 + n, ended=600 + n % 7, minutes=30 + n % 5, partner=f"p{n % 2}") for n in range(3000)
    ]
    started = time.monotonic()
    records = settle_columns(con, trips, [], [], RECIPES, FREE)
    assert time.monotonic() - started < 10
    assert sum(record.outcome == "granted" for record in records) == 2  # one for each of the two persons
    assert {record.outcome for record in records} == {"granted", "overlap_of"}


def test_three_thousand_trips_in_a_chain_settle_within_seconds(con):
    trips = [report(reference=1000 + n, ended=30 + 9 * n, minutes=10) for n in range(3000)]
    started = time.monotonic()
    records = settle_columns(con, trips, [], [], RECIPES, FREE)
    assert time.monotonic() - started < 10
    assert {record.outcome for record in records} == {"granted"}


def test_one_claim_replayed_twenty_thousand_times_is_granted_once(con):
    replays = [report(reference=1000 + n, subject=n, plan=PLANS[4], claim=1, ended=n) for n in range(20_000)]
    started = time.monotonic()
    records = settle_columns(con, replays, [], [], RECIPES, FREE)
    assert time.monotonic() - started < 15
    assert sum(record.outcome == "granted" for record in records) == 1
    winner = next(record for record in records if record.outcome == "granted")
    assert {record.related for record in records if record.outcome == "duplicate_of"} == {winner.action_id}
