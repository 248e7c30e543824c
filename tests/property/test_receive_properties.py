"""Answers to requests do not tell how their rows were screened: one by one, in columns, or some so and some so."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tanzhang.core.action import INPUT_NAMES
from tanzhang.service.receive import Receiver, Request

from ..homes import box, new_home, on, power, ride, withdrawal

USUAL = [
    box("b1"),
    box("b2", number="ＹＴ 1"),
    ride("r1"),
    ride("r2", group="car"),
    power("p1"),
    withdrawal(box("b1"), "w"),
]
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(["", " ", "\u3000", "x" * 257, "CN-110000", "CN-440300", "measured", "declared", "5 km", "12000"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
    st.integers(-1, 10**6),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.just([1]),
    st.datetimes(datetime(2025, 1, 1), datetime(2025, 7, 1), timezones=st.just(UTC)).map(datetime.isoformat),  # noqa: DTZ001
)
NAMES = ("id", "source", "type", "subject", "time", "specversion", "data", "colour")
DATA_NAMES = ("started_at", "region", "variant", "evidence", "group", "withdraws", "claim", "colour", *INPUT_NAMES)


@st.composite
def events(draw: st.DrawFn) -> bytes:
    event: dict[str, Any] = dict(draw(st.sampled_from(USUAL)))
    if draw(st.booleans()):
        event |= draw(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=2))
        if isinstance(event.get("data"), dict):
            event["data"] = event["data"] | draw(st.dictionaries(st.sampled_from(DATA_NAMES), VALUES, max_size=2))
    text = json.dumps(event, ensure_ascii=draw(st.booleans())).encode()
    return draw(st.sampled_from([text] * 9 + [text[:-1], text + text, text[:40] + b"\xff" + text[40:]]))


REQUESTS = st.lists(
    st.builds(
        Request, st.sampled_from(["cainiao", "amap", "alipay", "stranger"]), st.lists(events(), min_size=1, max_size=6)
    ),
    min_size=1,
    max_size=5,
)


@pytest.fixture(scope="module")
def receivers(tmp_path_factory: pytest.TempPathFactory) -> list[Receiver]:
    home = new_home(Path(tmp_path_factory.mktemp("receive")) / "home")
    return [Receiver(home, few_rows=rows) for rows in (10**9, 0, 3)]


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(requests=REQUESTS)
def test_answers_are_the_same_bytes_however_rows_are_screened(
    receivers: list[Receiver], requests: list[Request]
) -> None:
    few, many, mixed = (each.receive(requests, now=on(6), dry_run=True) for each in receivers)
    assert [answer.body for answer in few] == [answer.body for answer in many] == [answer.body for answer in mixed]
    for answer, request in zip(few, requests, strict=True):
        verdicts = json.loads(answer.body)["verdicts"]
        assert [row["position"] for row in verdicts] == list(range(1, len(request.events) + 1))
        assert all(row["verdict"] == "accepted" or row["problems"] for row in verdicts)


@settings(deadline=None, max_examples=20, suppress_health_check=list(HealthCheck))
@given(requests=REQUESTS)
def test_what_is_kept_of_the_rows_is_the_same_table(receivers: list[Receiver], requests: list[Request]) -> None:
    tables: list[pa.Table] = []
    plans = []
    for each in receivers:
        _, table, documents, _ = each._screened(requests, on(6))
        tables.append(table)
        plans.append(documents)
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])
    assert plans[0] == plans[1] == plans[2]
