"""What reading one account or action costs where there are many; ``python -m benchmarks.reads``.

A season is simulated and settled day by day, but for the last days' reports, which stay open. Accounts and actions are
picked at random from the records, the same number of each batch, and accounts with open reports from those. Every
question is of another account. Milliseconds are those of the clock, ``core_ms`` those of the processor.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import json
import random
import resource
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from tanzhang.api.access import COOKIE
from tanzhang.core.access import Role
from tanzhang.service.access import open_session
from tanzhang.service.by_account import keep
from tanzhang.service.intake import intake
from tanzhang.service.links import link_many
from tanzhang.service.reading import Reader
from tanzhang.service.receipt import create_receipt
from tanzhang.service.replay import LINKS, home_for, season_days
from tanzhang.service.settle import settle
from tanzhang.service.simulate import simulate
from tanzhang.stores.by_account import FOLDER
from tanzhang.stores.catalogue import Catalogue
from tanzhang.stores.home import Home
from tanzhang.stores.parts import all_record_files
from tanzhang.stores.reports import ReportFile, read_reports
from tanzhang.stores.storage import parquet_file

SCENARIO = "green-life-season-2022"
CLIENTS = 4
Picked = list[tuple[uuid.UUID, uuid.UUID]]


def make_home(scratch: Path, *, people: int, actions: int, days: int) -> Home:
    """A home of a simulated season in which the last reports are not settled."""
    season = scratch / "season"
    simulate(Catalogue(), SCENARIO, season, people=people, actions=actions, days=days)
    home = home_for(season, scratch / "home")
    first = season_days(season)[0].day
    if (season / LINKS).is_file():
        link_many(home, season / LINKS, now=morning_after(first - timedelta(days=1)))
    for day in season_days(season):
        for partner, file in day.files.items():
            intake(home, file, partner=partner, now=morning_after(day.day))
        settle(home, through=day.day, now=morning_after(day.day))
    return home


def morning_after(day: date) -> datetime:
    """Ten o'clock in Beijing on the next day."""
    return datetime(day.year, day.month, day.day, 2, tzinfo=UTC) + timedelta(days=1)


def pick(home: Home, count: int) -> Picked:
    """Account and action of so many records, about as many of each file."""
    draw = random.Random(7)
    files = all_record_files(home.storage, home.book.batches())
    found: Picked = []
    for file in files:
        with parquet_file(file.path) as parquet:
            group = draw.randrange(parquet.num_row_groups)
            table = parquet.read_row_group(group, columns=["account", "action_id"])
        for row in draw.sample(range(table.num_rows), min(-(-count // len(files)), table.num_rows)):
            found.append((table["account"][row].as_py(), table["action_id"][row].as_py()))
    draw.shuffle(found)
    return found[:count]


def pick_open(home: Home, reader: Reader, count: int) -> Picked:
    """Account and action of open reports."""
    draw = random.Random(7)
    rows = home.book.open_submissions()
    row = max(rows, key=lambda each: each.reports)
    after = None if row.settled_through is None else date.fromisoformat(row.settled_through)
    table, _ = read_reports(
        [ReportFile(home.storage / row.file, row.seq, date.fromisoformat(row.received_day), after, None)]
    )
    places = draw.sample(range(table.num_rows), min(count, table.num_rows))
    actions = [table["action_id"][place].as_py() for place in places]
    return [(uuid.UUID(reader.record(action)["record"]["account"]), action) for action in actions]


def timed(ask: Callable[[Any], Any], wanted: Sequence[Any]) -> dict[str, Any]:
    """Ask one after the other."""
    spent = []
    core, started = time.process_time(), time.perf_counter()
    for each in wanted:
        before = time.perf_counter()
        ask(each)
        spent.append(time.perf_counter() - before)
    return said(spent, time.perf_counter() - started, time.process_time() - core)


def said(spent: list[float], wall_s: float, core_s: float | None = None) -> dict[str, Any]:
    """What times come to."""
    spent.sort()
    found = {
        "asked": len(spent),
        "per_s": round(len(spent) / wall_s),
        "p50_ms": round(1e3 * spent[len(spent) // 2], 2),
        "p99_ms": round(1e3 * spent[len(spent) * 99 // 100], 2),
    }
    return found if core_s is None else {**found, "core_ms": round(1e3 * core_s / len(spent), 2)}


def measure(home: Home, asked: int) -> dict[str, Any]:
    """All figures of a home."""
    started, core = time.perf_counter(), time.process_time()
    added = keep(home)
    kept = {"batches": added, "s": round(time.perf_counter() - started, 1)}
    kept["core_s"] = round(time.process_time() - core, 1)
    picked = pick(home, asked)
    started, core = time.perf_counter(), time.process_time()
    reader = Reader(home)
    reader.balance(picked[0][0])
    opened = {"s": round(time.perf_counter() - started, 1), "core_s": round(time.process_time() - core, 1)}
    waiting = pick_open(home, reader, asked)
    accounts, actions = [account for account, _ in picked], [action for _, action in picked]
    few = actions[: max(asked // 20, 1)]
    found = {
        "balance": timed(reader.balance, accounts),
        "statement": timed(reader.statement, accounts),
        "statement of an account with open reports": timed(reader.statement, [account for account, _ in waiting]),
        "page of 20 records": timed(reader.records, accounts),
        "state of a settled action": timed(reader.record, actions[: max(asked // 4, 1)]),
        "state of an open action": timed(reader.record, [action for _, action in waiting]),
        "receipt": timed(lambda action: create_receipt(home, action, reader=reader), few),
    }
    return {
        "records": sum(row.records for row in home.book.batches()),
        "batches": home.book.batch_count(),
        "open_reports": sum(row.reports for row in home.book.open_submissions()),
        "sorted": kept,
        "sorted_mb": sum(path.stat().st_size for path in (home.folder / FOLDER).glob("*.run")) >> 20,
        "first_question": opened,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        "reader": found,
        "http_statement": over_http(home, accounts),
        "http_statement_open": over_http(home, [account for account, _ in waiting]),
    }


def over_http(home: Home, accounts: Sequence[uuid.UUID]) -> dict[str, Any]:
    """Statements asked of one serving process by a few clients at once."""
    token = open_session(home, Role.AUDITOR, "benchmark", now=datetime.now(UTC))
    headers = {"cookie": f"{COOKIE}={token}"}
    with serving(home) as port:

        def client(own: Sequence[uuid.UUID]) -> list[float]:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
            spent = []
            for account in own:
                before = time.perf_counter()
                connection.request("GET", f"/v1/accounts/{account}/statement", headers=headers)
                answer = connection.getresponse()
                data = answer.read()
                spent.append(time.perf_counter() - before)
                if answer.status != 200:
                    raise RuntimeError(data.decode())
            return spent

        client(accounts[:1])  # the process gets to know the home
        started = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as pool:
            found = list(pool.map(client, [accounts[number::CLIENTS] for number in range(CLIENTS)]))
        return said(list(itertools.chain(*found)), time.perf_counter() - started)


@contextlib.contextmanager
def serving(home: Home) -> Iterator[int]:
    """One process of ``tanzhang serve``, no worker beside it: what that has to catch up with is another figure."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tanzhang", "serve", "--no-work", "--home", str(home.folder)]
    command += ["--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=60)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=1_000_000)
    parser.add_argument("--actions", type=int, default=20_000_000)
    parser.add_argument("--days", type=int, default=15)
    parser.add_argument("--asked", type=int, default=2_000)
    parser.add_argument("--home", type=Path, help="A home that is there, with open reports; nothing is simulated then.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tanzhang-reads-") as name:
        size = {"people": options.people, "actions": options.actions, "days": options.days}
        home = Home(options.home) if options.home else make_home(Path(name), **size)
        sys.stdout.write(json.dumps(measure(home, options.asked), indent=2) + "\n")


if __name__ == "__main__":
    main()
