"""Events are read alike by the quick reader, the careful one, and one in DuckDB's SQL that knows nothing of either."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tanzhang.core.action import FOR_GUARD, INPUT_NAMES
from tanzhang.engine.kernel import connect, quote
from tanzhang.engine.screen import RAW_COLUMNS
from tanzhang.stores.events import (
    DEEPEST,
    LONGEST_EVENT,
    _read_quickly,
    raw_table,
    read_carefully,
    read_events,
    split_batch,
)

RELAXED = settings(deadline=None, suppress_health_check=list(HealthCheck))
DATA_TEXTS = ("started_at", "region", "variant", "evidence", "group", "withdraws", *FOR_GUARD)
MEMBERS = sorted((*DATA_TEXTS, "claim", *INPUT_NAMES))
PATHS = {
    **{name: f"$.{name}" for name in ("id", "source", "type", "subject", "time")},
    **{name: f"$.data.{name}" for name in (*DATA_TEXTS, *INPUT_NAMES)},
    "claim_issuer": "$.data.claim.issuer",
    "claim_identifier": "$.data.claim.identifier",
}
RIDE = {
    "specversion": "1.0",
    "id": "r1",
    "source": "amap",
    "type": "travel.metro",
    "subject": "u1",
    "time": "2025-03-01T08:00:00+08:00",
    "data": {"distance_m": 5000, "claim": {"issuer": "gate", "identifier": "7"}},
}


@pytest.fixture(scope="module")
def con():
    return connect()


def read_in_sql(con: Any, events: Sequence[bytes]) -> list[tuple[Any, ...]]:
    """Raw rows of events by DuckDB's JSON functions; messages of unknown members only begin alike."""
    names = [name for name in RAW_COLUMNS if name in PATHS]
    paths = ", ".join(quote(PATHS[name]) for name in names)
    columns = ", ".join(f'found[{n}] AS "{name}"' for n, name in enumerate(names, start=1))
    known = ", ".join(map(quote, MEMBERS))
    texts = pa.table({"row": range(1, len(events) + 1), "text": [event.decode() for event in events]})
    con.register("texts", texts)
    return con.execute(  # type: ignore[no-any-return]
        f"""
        WITH valid AS (
            SELECT row, CASE WHEN json_valid(text) AND json_type(text) = 'OBJECT' THEN text END AS line FROM texts
        ), parsed AS (
            SELECT row, line, json_extract_string(line, [{paths}]) AS found,
                json_extract_string(line, '$.specversion') IS DISTINCT FROM '1.0' AS other,
                list_filter(json_keys(line, '$.data'), lambda member: member NOT IN ({known})) AS strangers
            FROM valid
        )
        SELECT row, {columns},
            CASE WHEN line IS NULL THEN 'malformed-row' WHEN other THEN 'not-a-cloudevent'
                WHEN len(strangers) > 0 THEN 'unknown-field' END,
            CASE WHEN line IS NULL THEN NULL WHEN other THEN 'specversion'
                WHEN len(strangers) > 0 THEN 'data.' || strangers[1] END
        FROM parsed ORDER BY row
        """
    ).fetchall()


def as_texts(row: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(None if value is None else str(value) for value in row)


def read(event: str | bytes) -> dict[str, str]:
    """What is in an event's raw row, after both readers agreed on it."""
    data = event.encode() if isinstance(event, str) else event
    careful, quick = read_carefully(data), _read_quickly(data)
    if quick is not None:
        assert as_texts(quick) == as_texts(careful)
    (row,) = read_events([data], [1])
    return {name: value for name, value in zip(RAW_COLUMNS, as_texts(row), strict=True) if value is not None}


# -- anything that may stand in an event ----------------------------------------------------------------------

TEXTS = st.one_of(
    st.sampled_from(["", " ", '"', "\\", "\\u0041", "\0", "\x7f", "车", "🚲", "\u2028", "1.0", "true", "null", "5000"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
)
# A float that Python writes as DuckDB does; how others are written is not what this compares.
SCALARS = st.one_of(
    TEXTS, st.none(), st.booleans(), st.integers(-10, 10**6), st.integers(-(2**70), 2**70), st.sampled_from([5.0, 0.5])
)
NESTED = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))
CLAIMS = st.none() | st.fixed_dictionaries({}, optional={"issuer": SCALARS, "identifier": SCALARS})
DATA = st.fixed_dictionaries({}, optional={**dict.fromkeys((*DATA_TEXTS, *INPUT_NAMES), SCALARS), "claim": CLAIMS})
STRANGE_DATA = st.builds(lambda data, more: {**more, **data}, DATA, st.dictionaries(TEXTS, NESTED, max_size=2))
EVENTS = st.builds(
    lambda known, more: {**more, **known},
    st.fixed_dictionaries(
        {"specversion": st.sampled_from(["1.0", "1.0", "1.0", 1.0, "0.3", None])},
        optional={
            **dict.fromkeys(("id", "source", "type", "subject", "time", "datacontenttype"), SCALARS),
            "data": st.none() | DATA | STRANGE_DATA,
        },
    ),
    st.just({}) | st.dictionaries(TEXTS.filter(lambda name: name not in RIDE), NESTED, max_size=2),
)
WRITTEN = st.builds(
    lambda event, ascii_, indent: json.dumps(event, ensure_ascii=ascii_, indent=indent).encode(),
    EVENTS,
    st.booleans(),
    st.sampled_from([None, 1]),
)


@settings(RELAXED, max_examples=150)
@given(events=st.lists(WRITTEN, min_size=1, max_size=20))
def test_any_event_is_read_as_duckdb_reads_it(con, events: list[bytes]) -> None:
    for row, other in zip(read_events(events, range(1, len(events) + 1)), read_in_sql(con, events), strict=True):
        assert as_texts(row[:-1]) == as_texts(other)
    for event in events:
        read(event)


@settings(RELAXED, max_examples=300)
@given(event=WRITTEN, data=st.data())
def test_a_damaged_event_is_read_alike_by_both_readers(con, event: bytes, data: st.DataObject) -> None:
    place, length = data.draw(st.integers(0, len(event))), data.draw(st.integers(0, 3))
    piece = data.draw(
        st.sampled_from([b"", b",", b'"', b"}", b"{", b"[", b"\\", b"\xff", b"\t", b'"id":1,', b"NaN", b"\\ud800"])
    )
    damaged = event[:place] + piece + event[place + length :]
    found = read(damaged)
    strict = _strictly(damaged)
    assume(strict is not None)
    if not isinstance(strict, dict) or _twice(damaged) or _is_nested(strict):
        assert found["problem_code"] == "malformed-row"
    else:
        (other,) = read_in_sql(con, [damaged])
        if not any(isinstance(value, float) and value not in (5.0, 0.5, 1.0) for value in _scalars(strict)):
            assert found.get("problem_code", None) in (other[-2], "unknown-field")


def _strictly(event: bytes) -> Any:
    """The event as Python reads it; None where it is not JSON in UTF-8."""

    def refused(text: str) -> Any:
        raise ValueError(text)

    try:
        text = event.decode()
        found = json.loads(text, parse_constant=refused)
        json.dumps(found, ensure_ascii=False).encode()
    except ValueError:
        return None
    return [] if found is None else found


def _twice(event: bytes) -> bool:
    found: list[bool] = []
    json.loads(event, object_pairs_hook=lambda pairs: found.append(len({n for n, _ in pairs}) < len(pairs)))
    return any(found)


def _is_nested(event: dict[str, Any]) -> bool:
    data = event.get("data")
    claim = data.get("claim") if isinstance(data, dict) else None
    if not isinstance(data, dict | None) or not isinstance(claim, dict | None):
        return True
    of_claim = [(claim or {}).get(name) for name in ("issuer", "identifier")]
    of_data = [(data or {}).get(name) for name in (*DATA_TEXTS, *INPUT_NAMES)]
    of_event = [event.get(name) for name in ("specversion", "id", "source", "type", "subject", "time")]
    return any(isinstance(value, dict | list) for value in (*of_claim, *of_data, *of_event))


def _scalars(value: Any) -> list[Any]:
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return [each for item in inner for each in _scalars(item)]
    return [value]


# -- what is decided here -------------------------------------------------------------------------------------


def test_a_usual_event_is_read_quickly() -> None:
    for event in (RIDE, {**RIDE, "datacontenttype": "application/json"}, {**RIDE, "data": {"distance_m": "5000"}}):
        assert _read_quickly(json.dumps(event).encode()) is not None


@pytest.mark.parametrize(
    ("number", "text"),
    [("5.0", "5.0"), ("5.10", "5.10"), ("1e3", "1e3"), ("-0", "-0"), ("1" * 5000, "1" * 5000), ("true", "true")],
)
def test_a_number_is_taken_as_it_was_written(number: str, text: str) -> None:
    found = read(f'{{"specversion": "1.0", "id": {number}, "data": {{"distance_m": {number}}}}}')
    assert (found["id"], found["distance_m"]) == (text, text)


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ("", "not a JSON object"),
        ("[]", "not a JSON object"),
        ("null", "not a JSON object"),
        ('{"a":1,}', "not a JSON object"),
        ('{"a":NaN}', "not a JSON object"),
        ('{"a":-Infinity}', "not a JSON object"),
        ('{"a":01}', "not a JSON object"),
        ('{"a":"\t"}', "not a JSON object"),
        ('{"a":1}{}', "not a JSON object"),
        ("\ufeff{}", "not a JSON object"),
        (b'{"a":"\xff"}', "not UTF-8"),
        (b'{"a":"\xed\xa0\x80"}', "not UTF-8"),
        ('{"a":"\\ud800"}', "half a character"),
        ('{"id":"\\udc00"}', "half a character"),
        ('{"specversion":"1.0","id":"a","id":"a"}', "member id stands twice"),
        ('{"specversion":"1.0","id":"a","\\u0069d":"b"}', "member id stands twice"),
        ('{"specversion":"1.0","data":{"count":1,"count":2}}', "member count stands twice"),
        ('{"specversion":"1.0","more":[{"x":1,"x":1}]}', "member x stands twice"),
        ('{"specversion":"1.0","id":"' + "x" * LONGEST_EVENT + '"}', "longer than 2 MB"),
        ('{"specversion":"1.0","more":' + "[" * DEEPEST + "]" * DEEPEST + "}", f"more than {DEEPEST} deep"),
        ('{"more":' + "[" * 100_000 + "]" * 100_000 + "}", f"more than {DEEPEST} deep"),
    ],
)
def test_what_is_not_one_strict_json_object_is_malformed_and_says_why(event: str | bytes, message: str) -> None:
    found = read(event)
    assert found["problem_code"] == "malformed-row"
    assert message in found["problem_message"]
    assert set(found) == {"row", "problem_code", "problem_message"}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"id": {"a": 1}}, "id"),
        ({"specversion": ["1.0"]}, "specversion"),
        ({"data": [1]}, "data"),
        ({"data": "x"}, "data"),
        ({"data": {"claim": "7"}}, "data.claim"),
        ({"data": {"claim": {"issuer": []}}}, "data.claim.issuer"),
        ({"data": {"distance_m": {"value": 5}}}, "data.distance_m"),
    ],
)
def test_an_object_where_a_value_belongs_is_refused_by_its_place_and_not_passed_over(changes: Any, field: str) -> None:
    found = read(json.dumps(RIDE | changes))
    assert (found["problem_code"], found["problem_field"]) == ("malformed-row", field)


def test_members_of_data_and_of_its_claim_that_are_not_known_are_named() -> None:
    found = read(json.dumps(RIDE | {"data": {"colour": 1, "claim": {"Issuer": "x"}, "group": "g"}}))
    assert (found["problem_code"], found["problem_field"], found["group"]) == ("unknown-field", "data.colour", "g")
    assert "colour, claim.Issuer; known are amount_fen, claim" in found["problem_message"]
    many = read(json.dumps(RIDE | {"data": {"x" * 1000 + str(n): 1 for n in range(1000)}}))
    assert len(many["problem_message"]) < 1000
    assert "and 990 more" in many["problem_message"]


def test_other_attributes_of_an_event_are_passed_over() -> None:
    plain = read(json.dumps(RIDE))
    assert read(json.dumps(RIDE | {"dataschema": "x", "traceparent": [1, {"id": "y"}], "nothing": None})) == plain
    assert read(json.dumps(RIDE | {"data": RIDE["data"], "id": "r1"}, indent=2)) == plain


def test_what_stands_half_a_hundred_deep_is_read_however_deep_the_caller_is() -> None:
    event = json.dumps(RIDE)[:-1] + ', "more": ' + "[" * (DEEPEST - 1) + "]" * (DEEPEST - 1) + "}"
    plain = read(json.dumps(RIDE))

    def deep(levels: int) -> dict[str, str]:
        return deep(levels - 1) if levels else read(event)

    assert read(event) == plain
    assert deep(sys.getrecursionlimit() // 2) == plain


def test_columns_hold_whole_numbers_where_nothing_else_stands_and_texts_otherwise() -> None:
    rows = list(read_events([json.dumps(RIDE).encode()] * 2, [3, 4]))
    assert raw_table(rows)["distance_m"].to_pylist() == [5000, 5000]
    assert raw_table(rows)["row"].to_pylist() == [3, 4]
    mixed = rows + list(read_events([json.dumps(RIDE | {"data": {"distance_m": 5.5}}).encode()], [5]))
    assert raw_table(mixed)["distance_m"].to_pylist() == ["5000", "5000", "5.5"]
    assert raw_table([]).schema.names == list(RAW_COLUMNS)


@pytest.mark.parametrize(
    ("data", "events"),
    [
        (b' [{"a":1}, 2 ,\n"x"]', [b'{"a":1}', b"2", b'"x"']),
        (b" []", []),
        (b'{"a":[1]}\n', [b'{"a":[1]}\n']),
        (b'{"a":1}\n{"a":2}', None),
        (b'[{"a":1}', None),
        (b"[1,]", None),
        (b"5", None),
        (b"", None),
    ],
)
def test_a_batch_is_split_into_its_events_as_they_were_written(data: bytes, events: list[bytes] | None) -> None:
    assert split_batch(data) == events
