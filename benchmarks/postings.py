"""Postings and commit of one batch on both databases, in one run: ``python -m benchmarks.postings``.

SQLite and a PostgreSQL server of its own, both with everything synced to the same disk, take the same batches in turn.
What is timed is :meth:`Book.commit_batch` alone: checks, postings, the rows of the batch and the commit; and at the end
one account's balance over all batches.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tests.postgres import running_server

from tanzhang.engine.tally import SCHEMA as TALLY
from tanzhang.stores.book import Book, BookAddress, batch


def measure(postings: int, batches: int) -> dict[str, Any]:
    """Seconds of each of ``batches`` batches of so many postings, by database."""
    spent: dict[str, list[float]] = {"sqlite": [], "postgresql": []}
    with (
        tempfile.TemporaryDirectory(prefix="tanzhang-bench-") as scratch,
        running_server({}, in_memory=False) as server,
    ):
        places = {
            "sqlite": Path(scratch) / "book.sqlite",
            "postgresql": BookAddress.parse(server.address(server.database(), "bench"), where="bench"),
        }
        books = {name: Book.create(place, {"programme": "bench"}, bytes(32)) for name, place in places.items()}
        for number in range(batches):
            table = one_batch(postings, seed=number)
            for name, book in books.items():
                heads = book.heads()
                start = time.perf_counter()
                book.commit_batch(batch_row, number, [], table, TALLY.empty_table(), bytes(32), heads)
                spent[name].append(time.perf_counter() - start)
        own = uuid.UUID(bytes=table["account"][postings // 2].as_py())
        balance_ms = {name: round(1000 * seconds_of(book, own), 1) for name, book in books.items()}
        problems = [problem.message for book in books.values() for problem in book.check_pages()]
        for book in books.values():
            book.close()
    median = {name: statistics.median(times) for name, times in spent.items()}
    return {
        "postings": postings,
        "batches": batches,
        "seconds": {name: [round(each, 3) for each in times] for name, times in spent.items()},
        "median_s": {name: round(each, 3) for name, each in median.items()},
        "postgresql_to_sqlite": round(median["postgresql"] / median["sqlite"], 2),
        "balance_ms": balance_ms,
        "problems": problems,
    }


def seconds_of(book: Book, account: uuid.UUID) -> float:
    """How long an account's balance takes, the median of nine."""
    times = []
    for _ in range(9):
        start = time.perf_counter()
        found = book.balance(account)
        times.append(time.perf_counter() - start)
        assert found
    return statistics.median(times)


def one_batch(postings: int, *, seed: int) -> pa.Table:
    """Postings of as many accounts, sorted by account, in one unit; they sum to zero."""
    draw = np.random.default_rng(seed)
    accounts = draw.integers(0, 256, (postings, 16), dtype=np.uint8)
    accounts = np.sort(np.ascontiguousarray(accounts).view("S16"), axis=0)
    amounts = draw.integers(1, 1_000_000, postings)
    amounts[-1] = -int(amounts[:-1].sum())
    return pa.table(
        {
            "account": pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), postings, [None, pa.py_buffer(accounts)]),
            "unit": pa.array(["co2e_mg"] * postings),
            "amount": pa.array(amounts),
        }
    )


def batch_row() -> dict[str, Any]:
    """A row of table ``batch``, as the record files would give it."""
    names = [column.name for column in batch.c if column.name not in ("seq", "chain")]
    return {**dict.fromkeys(names, "bench"), "records": 0}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postings", type=int, default=2_000_000)
    parser.add_argument("--batches", type=int, default=5)
    options = parser.parse_args()
    sys.stdout.write(json.dumps(measure(options.postings, options.batches), indent=2) + "\n")


if __name__ == "__main__":
    main()
