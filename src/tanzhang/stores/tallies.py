"""Tallies in the book: one row for each batch, and one for each run of 16, 256, 4,096 ... batches, added up.

A page that shows totals since the beginning reads at most fifteen rows of each length, however many batches there are,
and the totals as of any earlier batch are read the same way. Rows are added in the transaction of their batch's commit
and never changed; all of them can be made again from the records, which is how they are verified.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from tanzhang.core.errors import refuse
from tanzhang.engine.tally import SCHEMA, merged

RUN = 16
"""How many rows of one length are added up into one of the next."""


def runs_ending(batch: int) -> Iterator[tuple[int, int]]:
    """First batch and how many batches each row counts that is written when ``batch`` is committed, shortest first.

    >>> list(runs_ending(14)), list(runs_ending(15)), list(runs_ending(255))
    ([(14, 1)], [(15, 1), (0, 16)], [(255, 1), (240, 16), (0, 256)])
    """
    length = 1
    while (batch + 1) % length == 0:
        yield batch + 1 - length, length
        length *= RUN


def runs_covering(batches: int) -> Iterator[tuple[int, int]]:
    """First and last batch of the rows that add up to batches 0 to ``batches - 1``, longest first.

    >>> list(runs_covering(34))
    [(0, 15), (16, 31), (32, 32), (33, 33)]
    """
    length = 1
    while length * RUN <= batches:
        length *= RUN
    first = 0
    while first < batches:
        while first + length > batches:
            length //= RUN
        yield first, first + length - 1
        first += length


def tally_row(first: int, last: int, tally: pa.Table) -> dict[str, Any]:
    """The row of table ``tally`` for batches ``first`` to ``last``; days are NULL where they have no record."""
    days = pc.min_max(tally["day"])
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, SCHEMA, options=options) as writer:
        writer.write_table(tally.cast(SCHEMA).unify_dictionaries().combine_chunks())
    return {
        "last": last,
        "first": first,
        "first_day": _text(days["min"].as_py()),
        "last_day": _text(days["max"].as_py()),
        "cells": tally.num_rows,
        "data": sink.getvalue().to_pybytes(),
    }


def tally_in(row: Any) -> pa.Table:
    """The tally of a row; ``tally-damaged`` if it holds none."""
    try:
        with pa.ipc.open_stream(row.data) as reader:
            tally = reader.read_all()
        if tally.schema != SCHEMA:
            raise pa.ArrowInvalid("other columns")
        tally.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise refuse(
            "tally-damaged",
            f"the tally of batches {row.first} to {row.last} cannot be read: {error}",
            where="table tally",
            remedy="restore the book from a backup; 'tanzhang verify' counts tallies again from the records",
        ) from None
    return tally


def rows_to_add(con: sa.Connection, table: sa.Table, batch: int, tally: pa.Table) -> list[dict[str, Any]]:
    """The rows that the commit of a batch adds: its own tally, and each run of batches that it completes."""
    rows, known = [], {batch: tally}
    for first, length in runs_ending(batch):
        if length > 1:
            step = length // RUN
            tally = merged([*_held(con, table, first, batch - step, step), known[batch + 1 - step]])
            known[first] = tally
        rows.append(tally_row(first, batch, tally))
    return rows


def _held(con: sa.Connection, table: sa.Table, first: int, last: int, step: int) -> list[pa.Table]:
    """The tallies of runs of ``step`` batches from ``first`` on, up to the one that ends with ``last``."""
    of_length = table.c.last - table.c.first == step - 1
    statement = sa.select(table).where(of_length, table.c.first >= first, table.c.last <= last).order_by(table.c.first)
    return [tally_in(row) for row in con.execute(statement)]


def _text(day: date | None) -> str | None:
    return None if day is None else day.isoformat()
