"""Actions a second that are settled, booked and sealed while reports come in; ``python -m benchmarks.sustained``.

Processes take reports in, a group at a time and as fast as they are answered, or at ``--rate``; a worker settles at
once what has come. Counted is what got a record, from the first batch on until the time is over.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks.small_batches import at_once_home
from tanzhang.service.receive import Receiver, Request
from tanzhang.service.work import Worker, chores
from tanzhang.stores.book import batch
from tanzhang.stores.home import Home

_EVENT = (
    b'{"specversion":"1.0","id":"%s","source":"cainiao","type":"use.parcel_box_return","subject":"s%d",'
    b'"time":"%s","data":{"claim":{"issuer":"cainiao","identifier":"YT-%s"}}}'
)


def measure(seconds: float, senders: int, group: int, rate: float, every: float, book: str | None) -> dict[str, Any]:
    """Run it; ``rate`` 0 for as fast as it goes."""
    with tempfile.TemporaryDirectory(prefix="tanzhang-bench-") as scratch:
        home = at_once_home(Path(scratch), book, now=datetime.now(UTC))
        context = multiprocessing.get_context("spawn")
        stop, counts = context.Event(), [context.Value("q", 0) for _ in range(senders)]
        sending = [
            context.Process(target=_send, args=(home.folder, number, group, rate / senders, stop, counts[number]))
            for number in range(senders)
        ]
        working = context.Process(target=_work, args=(home.folder, every, stop))
        for process in (*sending, working):
            process.start()
        while not _done(home):
            time.sleep(0.05)
        began, first = time.perf_counter(), _done(home)
        samples = []
        while time.perf_counter() - began < seconds:
            time.sleep(min(1.0, seconds / 5))
            samples.append(_done(home))
        spent, last = time.perf_counter() - began, _done(home)
        stop.set()
        for process in (*sending, working):
            process.join()
        accepted = sum(count.value for count in counts)
        rows = home.book.query(sa.select(sa.func.count(), sa.func.max(batch.c.records)).select_from(batch))[0]
        return {
            "seconds": round(spent, 1),
            "completed_a_second": round((last - first) / spent),
            "accepted": accepted,
            "completed": _done(home),
            "waiting_at_the_end": accepted - _done(home),
            "batches": rows[0],
            "largest_batch": rows[1],
        }


def _done(home: Home) -> int:
    return int(home.book.query(sa.select(sa.func.coalesce(sa.func.sum(batch.c.records), 0)))[0][0])


def _send(folder: Path, number: int, group: int, rate: float, stop: Event, count: Any) -> None:
    receiver, sent, began = Receiver(Home(folder)), 0, time.monotonic()
    while not stop.is_set():
        now = datetime.now(UTC)
        ended = (now - timedelta(minutes=1)).isoformat().encode()
        names = [b"%d-%d" % (number, sent + row) for row in range(group)]
        events = [_EVENT % (name, hash(name) % 1_000_003, ended, name) for name in names]
        requests = [Request("cainiao", events, f"{number}-{sent}")]
        (answer,) = receiver.receive(requests, now=now)
        assert json.loads(answer.body)["accepted"] == group
        sent += group
        count.value = sent
        if rate:
            stop.wait(max(0.0, began + sent / rate - time.monotonic()))


def _work(folder: Path, every: float, stop: Event) -> None:
    worker = Worker(lambda: Home(folder), chores(every))
    worker.run(alive=lambda: not stop.is_set())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--senders", type=int, default=1)
    parser.add_argument("--group", type=int, default=2_000, help="events a request")
    parser.add_argument(
        "--rate", type=float, default=0.0, help="events a second that are sent; 0: as many as are taken"
    )
    parser.add_argument("--every", type=float, default=2.0, help="seconds between settlements")
    parser.add_argument("--book", help="address of a PostgreSQL database with an empty schema; default: SQLite")
    options = parser.parse_args()
    found = measure(options.seconds, options.senders, options.group, options.rate, options.every, options.book)
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
