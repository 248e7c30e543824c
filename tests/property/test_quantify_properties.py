"""What holds of screening whatever rows stand together in a submission."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tanzhang.engine.kernel import connect

from ..unit.engine.test_screen import BUS, INVOICE, METRO, ONE_MISTAKE, RIDE, TAKEN_BACK, Verdicts

GOOD = (METRO, INVOICE, BUS, RIDE, TAKEN_BACK, INVOICE | {"withdraws": "i0", "count": "1"})
BACK = tuple({key: row[key] for key in ("source", "type", "subject", "time")} for row in (METRO, INVOICE, BUS, RIDE))
CHANGES = (
    {},
    {"distance_m": "4000"},
    {"distance_m": None},
    {"count": "1"},
    {"count": "x"},
    {"started_at": None},
    {"region": None},
    {"region": "CN-440305"},
    {"evidence": "sensed"},
    {"time": "2025-03-01T23:59:59+08:00"},
    {"withdraws": "z"},
    {"claim_issuer": "gate", "claim_identifier": "x 1"},
)
_rows = st.one_of(
    st.builds(lambda row, change: row | change, st.sampled_from(GOOD), st.sampled_from(CHANGES)),
    st.sampled_from([row | {"id": "w", "withdraws": "z"} for row in BACK]),
    st.sampled_from([case[0] for case in ONE_MISTAKE]),
)


@pytest.fixture(scope="module")
def con():
    return connect()


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(_rows, min_size=1, max_size=12), cut=st.integers(0, 12))
def test_a_rows_verdict_does_not_depend_on_the_rows_beside_it(con, rows, cut):
    whole = Verdicts(con, *rows)
    first, second = Verdicts(con, *rows[:cut]), Verdicts(con, *rows[cut:])
    for number in range(1, len(rows) + 1):
        part, place = (first, number) if number <= cut else (second, number - cut)
        assert whole.problems.get(number) == part.problems.get(place)
        accepted, same = whole.accepted.get(number), part.accepted.get(place)
        assert (accepted and accepted | {"row": 0}) == (same and same | {"row": 0})


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(_rows, max_size=15))
def test_every_row_is_either_accepted_or_refused_with_a_reason_a_place_and_a_remedy(con, rows):
    verdicts = Verdicts(con, *rows)  # which itself checks that every row has one verdict
    for lines in verdicts.problems.values():
        assert len({line[:2] for line in lines}) == len(lines)  # no mistake is told twice
        assert all(code and message and remedy for code, _, message, remedy in lines)
    for row in verdicts.accepted.values():
        assert (row["plan"] is None) == (row["quantified_mg"] is None)
        assert row["plan"] is not None or row["withdraws"] is not None
        assert row["quantified_mg"] is None or row["quantified_mg"] >= 0
        assert row["close_day"] >= row["day"]
