"""Paying back in columns, for lots of millions of records. Equal to :mod:`tanzhang.core.payback`, which defines it.

Products have up to 125 bits: the engine's whole numbers of 128 bits hold them, and refuse what they do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tanzhang.engine.columns import IDENTITY_BYTES, Bytes, Numbers, fixed_column

if TYPE_CHECKING:
    import duckdb

LARGEST_FEN = 2**62
"""More than can be divided."""
SHARES = pa.schema({"account": pa.binary(IDENTITY_BYTES), "amount": pa.int64()})


def running_total(
    con: duckdb.DuckDBPyConnection, mg: Numbers, *, revenue_fen: int, total_mg: int, before_mg: int = 0
) -> Numbers:
    """Method B: what each of some records that follow one another gets of ``revenue_fen``.

    Shape:  int64 (n) [mg] -> int64 (n) [fen], same order. ``before_mg`` is what the records before them have, so that
            a lot can be worked out in parts.
    Raises: ValueError for weights that are negative or go beyond ``total_mg``, and for ``revenue_fen`` out of bounds.
    """
    if not 0 <= revenue_fen < LARGEST_FEN or not 0 <= before_mg <= total_mg < 2**63 or not total_mg:
        raise ValueError("what is divided, or what it is divided over, is out of bounds")
    if not len(mg):
        return np.zeros(0, np.int64)
    until = np.cumsum(mg) + np.int64(before_mg)
    if int(mg.min()) < 0 or int(until.min()) < before_mg or int(until.max()) > total_mg:
        raise ValueError("weights are negative, or more than the whole")
    passed = _quotients(con, until, revenue_fen, total_mg)
    return np.diff(passed, prepend=np.int64(revenue_fen * before_mg // total_mg))


def largest_remainder(con: duckdb.DuckDBPyConnection, mg: Numbers, *, revenue_fen: int) -> Numbers:
    """Method A over a whole lot: the whole fen of each share, and one more where the largest parts are left.

    Shape:  int64 (n) [mg] -> int64 (n) [fen], same order.
    """
    total = sum(mg.tolist())
    if not 0 <= revenue_fen < LARGEST_FEN or not 0 < total < 2**63 or int(mg.min()) < 0:
        raise ValueError("what is divided, or what it is divided over, is out of bounds")
    payments = _quotients(con, mg, revenue_fen, total)
    # Both products modulo 2^64; the remainder is less than 2^63, so their difference is exact.
    left = mg.astype(np.uint64) * np.uint64(revenue_fen) - payments.astype(np.uint64) * np.uint64(total)
    missing = revenue_fen - int(payments.sum())
    payments[np.argsort(-left.astype(np.int64), kind="stable")[:missing]] += 1
    return payments


def by_account(con: duckdb.DuckDBPyConnection, accounts: Bytes, fen: Numbers) -> tuple[pa.Table, int]:
    """What accounts get in all (:data:`SHARES`, sorted, without those that get nothing), and what is nobody's.

    Shape:  uint8 (n, 16), zeros where it is not known any more whose a record was; int64 (n) [fen].
    """
    paid = fen != 0
    rows = pa.table({"account": fixed_column(accounts[paid]), "amount": pa.array(fen[paid], pa.int64())})
    return summed(con, rows)


def summed(con: duckdb.DuckDBPyConnection, rows: pa.Table) -> tuple[pa.Table, int]:
    """Rows (account, amount) with each account once, sorted, without amounts of 0, and what account zero has."""
    con.register("payments", rows)
    sums = con.sql("SELECT account, sum(amount)::BIGINT AS amount FROM payments GROUP BY account ORDER BY account")
    found = sums.to_arrow_table().cast(SHARES)
    con.unregister("payments")
    nobodys = 0
    if found.num_rows and found["account"][0].as_py() == bytes(IDENTITY_BYTES):
        nobodys, found = int(found["amount"][0].as_py()), found.slice(1)
    return found.filter(np.asarray(found["amount"]) != 0), nobodys


def _quotients(con: duckdb.DuckDBPyConnection, mg: Numbers, revenue_fen: int, total_mg: int) -> Numbers:
    """``floor(revenue_fen * mg / total_mg)`` of each, exactly, in order."""
    con.register("weights", pa.table({"mg": mg}))
    query = f"SELECT ((mg::HUGEINT * {revenue_fen}) // {total_mg}::HUGEINT)::BIGINT AS fen FROM weights"
    found = con.sql(query).to_arrow_table()
    con.unregister("weights")
    return np.asarray(found["fen"], np.int64).copy()
