"""What executors do between two shuffles. Every function runs the embedded engine's own code over its part.

A task may run twice, at once or after a failure: it reads files that do not change, gives equal blocks for equal
blocks, and writes under a name that no other try has. Keys come with the task itself, never with what is shared.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tanzhang.core.recipe import Recipe, read_recipe
from tanzhang.core.settlement import Rules
from tanzhang.engine.columns import fixed_bytes
from tanzhang.engine.kernel import connect
from tanzhang.engine.records import RECORD_COLUMNS
from tanzhang.engine.settle import settle
from tanzhang.engine.spark import survey as look
from tanzhang.engine.spark.blocks import (
    Block,
    as_records,
    from_bytes,
    in_batch_order,
    part_of,
    range_of,
    split,
    table_of,
    to_bytes,
    together,
)
from tanzhang.engine.spark.sieve import Sieve
from tanzhang.engine.spark.subtrees import Piece, piece
from tanzhang.engine.tally import AMOUNTS, DIMENSIONS
from tanzhang.service.links import Consents, relation_of
from tanzhang.service.recount import account_postings_sql, record_sums_sql
from tanzhang.service.seal import salted
from tanzhang.service.spark.stages import Shared
from tanzhang.stores.parts import RecordSlice, part_name, read_record_slice, row_group_bounds
from tanzhang.stores.records import writing_table
from tanzhang.stores.reports import ReportSlice, read_report_slice
from tanzhang.stores.storage import Place, let_read

if TYPE_CHECKING:
    import duckdb

COUNTED, SIFTED, CORRECTED = -1, -2, -3  # messages of a survey
_UNUSED = ("row", "close_day")  # columns of a report that decide nothing
_SHARE_BITS = 40


@dataclass(frozen=True, slots=True)
class Work:
    """What all executors have to know of a settlement. No key is in it.

    Task n of those that read takes the n-th share of slices.
    """

    reports: tuple[tuple[ReportSlice, ...], ...]
    settled: tuple[tuple[RecordSlice, ...], ...]
    consents: Consents
    plans: tuple[tuple[str, str], ...]
    parts: int
    sieve_keys: int
    storage: Any = None
    """Where the home's files are; None if all are given by paths that every node has."""

    @property
    def recipes(self) -> dict[str, Recipe]:
        """Every plan as arithmetic."""
        return _recipes(self.plans)


@lru_cache(maxsize=2)
def _recipes(plans: tuple[tuple[str, str], ...]) -> dict[str, Recipe]:
    return {digest: read_recipe(document) for digest, document in plans}


def survey(work: Shared, rules: Rules, blocks: Iterator[Block]) -> Iterator[Block]:
    """Of each share of reports: how many rows, what settled records may matter, and the keys, to their part."""
    job: Work = work.value
    for block in blocks:
        con = _own()
        counts, read = _pending(con, job, block.part, look.SURVEYED)
        if not read.num_rows:
            continue
        pending = look.surveyable(read)
        window = look.Window.of(pending)
        counted = {
            "counts": list(counts.items()),
            "start": window.start,
            "day": None if window.day is None else window.day.isoformat(),
        }
        yield Block(COUNTED, pending.num_rows, json.dumps(counted).encode())
        if job.settled:
            sieve = Sieve(job.sieve_keys)
            look.sift(sieve, look.with_claims(con, pending, job.recipes, rules))
            yield Block(SIFTED, pending.num_rows, sieve.packed())
            corrected = look.corrections(pending)
            if corrected.num_rows:
                yield Block(CORRECTED, corrected.num_rows, to_bytes(corrected.select(look.SURVEYED)))
        keys = look.pending_keys(pending)
        yield from split(keys, part_of(fixed_bytes(keys["key"], 16), job.parts), job.parts)


def counted_window(message: dict[str, object]) -> look.Window:
    """The window of a ``COUNTED`` message."""
    start, day = message["start"], message["day"]
    return look.Window(
        start if isinstance(start, int) else None, date.fromisoformat(day) if isinstance(day, str) else None
    )


def targets(work: Shared, wanted: Shared, blocks: Iterator[Block]) -> Iterator[Block]:
    """Settled records that corrections take the place of: action_id, account."""
    job: Work = work.value
    for block in blocks:
        names = ("action_id", "account", "outcome")
        records = together([read_record_slice(part, names) for part in job.settled[block.part]])
        con = _own()
        con.register("records", records)
        con.register("wanted", table_of(wanted.value))
        found = con.sql(
            "SELECT action_id, account FROM records SEMI JOIN wanted ON action_id = withdraws "
            "WHERE outcome NOT IN ('repeat', 'conflict', 'erased')"
        ).to_arrow_table()
        if found.num_rows:
            yield Block(0, found.num_rows, to_bytes(found))


def settled(work: Shared, sieve: Shared, window: look.Window, rules: Rules, blocks: Iterator[Block]) -> Iterator[Block]:
    """Of each share of settled records those that may matter, whole."""
    job: Work = work.value
    for block in blocks:
        tables = []
        for part in job.settled[block.part]:
            mask = look.may_matter(read_record_slice(part, look.LOOKED_AT), sieve.value, window, job.recipes, rules)
            if mask.any():
                tables.append(as_records(read_record_slice(part, tuple(RECORD_COLUMNS)).filter(pa.array(mask))))
        if tables:
            found = together(tables)
            yield Block(0, found.num_rows, to_bytes(found))


def settled_keys(parts: int, blocks: Iterator[Block]) -> Iterator[Block]:
    """The keys of settled records, to their part."""
    for block in blocks:
        keys = look.settled_keys(table_of(block.data))
        yield from split(keys, part_of(fixed_bytes(keys["key"], 16), parts), parts)


def edges(blocks: Iterator[Block]) -> Iterator[Block]:
    """Pairs of accounts that meet in a key of this part."""
    keys = from_bytes(block.data for block in blocks)
    if keys.num_rows:
        found = look.edges(_own(), keys)
        if found.num_rows:
            yield Block(0, found.num_rows, to_bytes(found))


def route_pending(work: Shared, components: Shared, blocks: Iterator[Block]) -> Iterator[Block]:
    """Reports, to the part of their component, with their place in the order in which one process reads them."""
    job: Work = work.value
    for block in blocks:
        _, pending = _pending(_own(), job, block.part, None)
        if not pending.num_rows:
            continue
        first = block.part << _SHARE_BITS
        pending = pending.drop_columns([name for name in _UNUSED if name in pending.column_names])
        pending = pending.append_column("seq", pa.array(np.arange(first, first + pending.num_rows)))
        labels = components.value.of(fixed_bytes(pending["account"], 16))
        yield from split(pending, part_of(labels, job.parts), job.parts)


def route_settled(components: Shared, parts: int, blocks: Iterator[Block]) -> Iterator[Block]:
    """Settled records, to the part of their component."""
    for block in blocks:
        records = table_of(block.data)
        labels = components.value.of(fixed_bytes(records["account"], 16))
        yield from split(records, part_of(labels, parts), parts)


def decide(work: Shared, rules: Rules, ranges: int, blocks: Iterator[Block]) -> Iterator[Block]:
    """Decide whole components, and send each record to the range of its account."""
    tables = [table_of(block.data) for block in blocks]
    pending = together([table for table in tables if "seq" in table.column_names])
    if not pending.num_rows:
        return
    earlier = together([table for table in tables if "seq" not in table.column_names])
    pending = pending.take(pc.sort_indices(pending["seq"])).combine_chunks().drop_columns(["seq"])
    con = _connect()
    if earlier.num_rows:
        con.register("earlier_records", earlier)
    decision = settle(
        con,
        pending=pending,
        settled="earlier_records" if earlier.num_rows else None,
        links=None,
        recipes=work.value.recipes,
        rules=rules,
    )
    records = as_records(decision.records()).append_column("place", pa.array(np.arange(len(decision))))
    yield from split(records, range_of(fixed_bytes(records["account"], 16), ranges), ranges)


def write(
    home: Place, folder: Place, seal_key: bytes, firsts: tuple[int, ...], blocks: Iterator[Block]
) -> Iterator[Block]:
    """Write the records of a range of accounts as a part of the batch; says what is in it."""
    waiting = list(blocks)
    if not waiting:
        return
    number = waiting[0].part
    records = in_batch_order(from_bytes(block.data for block in waiting)).drop_columns(["place"])
    del waiting
    first = firsts[number]
    path = folder / part_name(number, secrets.token_hex(8))
    leaves = []
    with writing_table(path, home=home) as file:
        for start, stop in row_group_bounds(first, records.num_rows):
            seeded, own = salted(records.slice(start, stop - start), seal_key, first + start)
            file.add(seeded)
            leaves.append(own)
    cut = piece(first, np.concatenate(leaves))
    con = _connect()
    con.register("decided", records.select(["account", *DIMENSIONS, *AMOUNTS]))
    report = {
        "name": path.name,
        "digest": file.digest,
        "head": cut.head.tobytes(),
        "whole": cut.whole.tobytes(),
        "tail": cut.tail.tobytes(),
        "sums": to_bytes(con.sql(record_sums_sql("decided")).to_arrow_table()),
        "postings": to_bytes(con.sql(account_postings_sql("decided")).to_arrow_table()),
    }
    yield Block(number, records.num_rows, to_bytes(pa.Table.from_pylist([report])))


@dataclass(frozen=True, slots=True)
class Part:
    """A part that was written: its file, its piece of the record tree, sums and postings."""

    name: str
    digest: str
    piece: Piece
    sums: pa.Table
    postings: pa.Table

    @staticmethod
    def read(block: Block, first: int) -> Part:
        """What :func:`write` said of a part that begins at record ``first``."""
        (report,) = table_of(block.data).to_pylist()
        head, whole, tail = (
            np.frombuffer(report[name], dtype=np.uint8).reshape(-1, 32) for name in ("head", "whole", "tail")
        )
        return Part(
            report["name"],
            report["digest"],
            Piece(first, block.rows, head, whole, tail),
            table_of(report["sums"]),
            table_of(report["postings"]),
        )


def _pending(
    con: duckdb.DuckDBPyConnection, job: Work, number: int, names: tuple[str, ...] | None
) -> tuple[dict[int, int], pa.Table]:
    """The wanted reports of a share with their accounts, and how many are of which submission."""
    counts: dict[int, int] = {}
    tables = []
    for part in job.reports[number]:
        table = read_report_slice(part, names)
        if table.num_rows:
            counts[part.file.submission] = counts.get(part.file.submission, 0) + table.num_rows
            tables.append(table)
    pending = together(tables)
    if not tables:
        return counts, pending
    if job.storage is not None and job.consents.files:
        let_read(con, job.storage)
    return counts, look.with_accounts(con, pending, relation_of(job.consents, con))


@cache
def _own() -> duckdb.DuckDBPyConnection:
    """An engine that this process keeps for what is small: starting one costs more than most tasks."""
    return _connect()


def _connect() -> duckdb.DuckDBPyConnection:
    """The engine on one core: the cluster decides how many run at once."""
    con = connect()
    con.execute("SET threads = 1")
    return con
