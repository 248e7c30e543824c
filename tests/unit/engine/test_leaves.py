from __future__ import annotations

import uuid
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tanzhang.core.action import EVIDENCE, INPUT_NAMES
from tanzhang.core.record import (
    KIND_NUMBER,
    LAYOUT_BYTES,
    OUTCOMES,
    Record,
    context_digest,
    encode,
    leaf,
    salt,
    salt_seed,
)
from tanzhang.engine import hashing
from tanzhang.engine.columns import fixed_bytes
from tanzhang.engine.kernel import connect
from tanzhang.engine.leaves import layouts, leaf_hashes, salt_seeds
from tanzhang.stores.records import read_slice, to_record, write_table

from ...agreement.worlds import load_records

SEAL_KEY = bytes(range(32))
LARGEST = 2**63 - 1
_ids = st.uuids()
_amounts = st.integers(0, 5) | st.integers(0, LARGEST)
_texts = st.sampled_from(("p0", "p1", "深圳地铁"))
# Years that Python's own dates can hold, before and after 1970.
_times = st.integers(-(10**15), 4 * 10**15)
RECORDS = st.builds(
    Record,
    action_id=_ids,
    account=_ids | st.just(uuid.UUID(int=0)),
    child=_ids,
    partner=_texts,
    behaviour=st.sampled_from(("travel.metro", "use.own_cup")),
    region=st.sampled_from(("CN", "CN-440300")),
    variant=st.none() | st.sampled_from(("battery_bus", "")),
    evidence=st.sampled_from(tuple(EVIDENCE)),
    kind=st.sampled_from(tuple(KIND_NUMBER)),
    outcome=st.sampled_from(OUTCOMES),
    plan=st.none() | st.sampled_from(("ab" * 32, "00" * 32)),
    started=st.none() | _times,
    ended=_times,
    day=st.dates(date(1900, 1, 1), date(2200, 1, 1)),
    inputs=st.dictionaries(st.sampled_from(INPUT_NAMES), _amounts),
    quantified_mg=st.none() | _amounts,
    granted_mg=_amounts,
    reversed_mg=_amounts,
    group_id=st.none() | _ids,
    claim=st.none() | _ids,
    withdraws=st.none() | _ids,
    related=st.none() | _ids,
)
BARE = Record(
    action_id=uuid.UUID(int=1),
    account=uuid.UUID(int=2),
    child=uuid.UUID(int=3),
    partner="p0",
    behaviour="travel.metro",
    region="CN",
    variant=None,
    evidence="measured",
    kind="reduction",
    outcome="withdrawal",
    plan=None,
    started=None,
    ended=0,
    day=date(1970, 1, 1),
    inputs={},
    quantified_mg=None,
    granted_mg=0,
    reversed_mg=0,
)
RELAXED = settings(deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def con():
    return connect()


def table_of(con: Any, records: list[Record]) -> pa.Table:
    load_records(con, "some_records", records)
    return con.sql("SELECT * FROM some_records").to_arrow_table()


def expected_leaves(records: list[Record], first_index: int = 0) -> list[bytes]:
    return [
        leaf(salt(salt_seed(SEAL_KEY, record.account), index), encode(record))
        for index, record in enumerate(records, start=first_index)
    ]


def leaves_of(table: pa.Table, first_index: int = 0) -> list[bytes]:
    seeds = salt_seeds(fixed_bytes(table["account"], 16), SEAL_KEY)
    return [bytes(row) for row in leaf_hashes(table, seeds, first_index=first_index)]


@settings(RELAXED, max_examples=80)
@given(records=st.lists(RECORDS, max_size=12), first_index=st.integers(0, 2**40))
def test_columns_give_the_layout_and_leaf_of_each_record(con, records: list[Record], first_index: int):
    table = table_of(con, records)
    assert [bytes(row) for row in layouts(table)] == [encode(record) for record in records]
    assert leaves_of(table, first_index) == expected_leaves(records, first_index)


@settings(RELAXED, max_examples=25)
@given(records=st.lists(RECORDS, min_size=1, max_size=12), cut=st.integers(0, 12))
def test_pieces_of_a_table_give_the_leaves_of_the_whole(con, records: list[Record], cut: int):
    table = table_of(con, records)
    pieces = pa.concat_tables([table.slice(0, cut), table.slice(cut), table.slice(0, cut)])
    again = records[:cut] + records[cut:] + records[:cut]
    assert leaves_of(pieces) == expected_leaves(again)
    assert leaves_of(table.slice(cut), first_index=cut) == expected_leaves(records[cut:], first_index=cut)


@settings(RELAXED, max_examples=25)
@given(records=st.lists(RECORDS, min_size=1, max_size=12))
def test_record_files_read_back_give_the_same_leaves_and_records(con, tmp_path_factory, records: list[Record]):
    folder = tmp_path_factory.mktemp("home")
    table = table_of(con, records)
    seeds = salt_seeds(fixed_bytes(table["account"], 16), SEAL_KEY)
    seed = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(seeds), [None, pa.py_buffer(seeds)])
    write_table(folder / "records.parquet", table.append_column("seed", seed), home=folder)
    in_duckdb = con.sql(f"SELECT * FROM read_parquet('{folder}/records.parquet')").to_arrow_table()
    for read in (pq.read_table(folder / "records.parquet"), in_duckdb):
        assert leaves_of(read) == expected_leaves(records)
    part = read_slice(folder / "records.parquet", 0, len(records))
    assert [to_record(row) for row in part.to_pylist()] == records


def test_rows_are_hashed_in_chunks_without_a_seam(con, monkeypatch):
    monkeypatch.setattr(hashing, "FEW_ROWS", 5)
    monkeypatch.setattr(hashing, "_SLICE_ROWS", 7)
    records = [BARE] * 10 + [
        Record(**{name: getattr(BARE, name) for name in Record.__slots__} | {"variant": "x", "ended": n})
        for n in range(20)
    ]
    assert leaves_of(table_of(con, records)) == expected_leaves(records)


def test_dictionaries_that_differ_from_chunk_to_chunk_are_read_right(con):
    records = [
        Record(**{name: getattr(BARE, name) for name in Record.__slots__} | {"variant": variant, "partner": partner})
        for variant, partner in ((None, "b"), ("x", "a"), ("y", "b"), (None, "c"), ("x", "c"), ("y", "a"))
    ]
    table = table_of(con, records)
    encoded = pa.concat_tables(
        [
            part.set_column(part.schema.get_field_index(name), name, part[name].dictionary_encode())
            for part, name in ((table, "variant"),)
        ]
    )
    chunks = []
    for start in range(0, 6, 2):
        part = table.slice(start, 2)
        for name in ("partner", "variant", "kind", "outcome", "evidence"):
            part = part.set_column(part.schema.get_field_index(name), name, part[name].dictionary_encode())
        chunks.append(part)
    assert leaves_of(encoded) == leaves_of(pa.concat_tables(chunks)) == expected_leaves(records)


def test_no_records_have_no_leaves(con):
    table = table_of(con, [])
    assert layouts(table).shape == (0, LAYOUT_BYTES)
    assert leaves_of(table) == []


def test_absent_and_zero_are_two_leaves():
    zero = Record(**{name: getattr(BARE, name) for name in Record.__slots__} | {"quantified_mg": 0, "started": 0})
    assert encode(zero) != encode(BARE)


def test_the_context_tells_every_text_apart():
    base = context_digest("p", "b", "r", None)
    assert base == context_digest("p", "b", "r", None)
    others = [("x", "b", "r", None), ("p", "x", "r", None), ("p", "b", "x", None), ("p", "b", "r", "")]
    assert len({base, *(context_digest(*other) for other in others)}) == 5
