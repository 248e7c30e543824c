"""Awarding a large batch, in one transaction and in slices; ``python -m benchmarks.awards``.

One day of a season is simulated and settled in a home that awards Beijing's points, which the season's own programme
does not; each way awards a copy of it, in a process of its own. ``longest_ms`` is the longest transaction, from when it
has the book for itself to its commit, ``longest_core_ms`` the most that one took of this process's processor time;
``seconds`` are the clock's for the whole run, ``core_s`` the processor's. A second process asks for a transaction all
the time: ``waited_ms`` is its longest wait, ``refused`` how often it was told after ten seconds that the book is not to
be had. Both ways have to come to the same lots.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from tests.postgres import programs, running_server

from tanzhang.core.errors import TanzhangError
from tanzhang.service import award_booking
from tanzhang.service.award import award_due
from tanzhang.service.replay import replay
from tanzhang.service.simulate import simulate
from tanzhang.stores.catalogue import Catalogue, shipped_folder
from tanzhang.stores.home import Home
from tanzhang.stores.register.points import UNIT, points_lot

SCENARIO = "green-life-season-2022"
POINTS = "beijing_carbon_energy"
CREATED = datetime(2022, 6, 1, tzinfo=UTC)
PAUSE_S = 0.02
"""Between two transactions of the process that asks for the book."""


def measure(scratch: Path, *, people: int, actions: int, slice_rows: int, postgres: bool) -> dict[str, Any]:
    """Figures by database and way."""
    found: dict[str, Any] = {"people": people, "actions": actions, "slice_rows": slice_rows}
    found["load_before"] = round(os.getloadavg()[0], 1)
    season = scratch / "season"
    simulate(Catalogue(), SCENARIO, season, people=people, actions=actions, days=1)
    with ExitStack() as opened:
        server = opened.enter_context(running_server({})) if postgres else None
        books = {"sqlite": None} | (
            {} if server is None else {"postgresql": server.address(server.database(), "bench")}
        )
        for name, book in books.items():
            home = rewarding_home(scratch / name, book)
            replay(home, season)
            home.book.close()
            found[name] = {}
            for way, rows in (("one", actions * 100), ("slices", slice_rows)):
                copied = scratch / f"{name}-{way}"
                if book is None or server is None:
                    shutil.copytree(home.folder, copied)
                else:
                    server.copy(home.folder, copied)
                found[name][way] = awarded(copied, rows)
            if len({each.pop("lots") for each in found[name].values()}) != 1:
                raise SystemExit(f"the two ways gave different points: {found}")
    return found


def rewarding_home(folder: Path, book: str | None) -> Home:
    """A home of the season's programme that awards points; its file is beside it."""
    overlay, name = folder.with_name(f"{folder.name}-catalogue"), f"programmes/{SCENARIO}.yaml"
    (overlay / "programmes").mkdir(parents=True)
    own = (shipped_folder() / name).read_text(encoding="utf-8")
    (overlay / name).write_text(f"points: [{POINTS}]\n{own}", encoding="utf-8")
    origin = "bench.example/log"
    return Home.create(folder, programme=SCENARIO, origin=origin, overlays=(overlay,), now=CREATED, book=book)


def awarded(folder: Path, slice_rows: int) -> dict[str, Any]:
    """A home's batches are awarded in one process while another asks for the book."""
    command = [sys.executable, "-m", "benchmarks.awards"]
    asking = subprocess.Popen(
        [*command, "--ask", str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    run = [*command, "--award", str(folder), "--slice-rows", str(slice_rows)]
    done = json.loads(subprocess.run(run, stdout=subprocess.PIPE, text=True, check=True).stdout)
    return done | json.loads(asking.communicate("enough\n")[0])


def award_here(folder: Path, slice_rows: int) -> dict[str, Any]:
    """In a process of its own: award what waits, and say how long transactions were."""
    home, spent, of_core = Home(folder), list[float](), list[float]()
    own = home.book.transaction

    @contextmanager
    def timed() -> Iterator[sa.Connection]:
        with own() as con:
            began, core = time.perf_counter(), time.process_time()
            yield con
        spent.append(time.perf_counter() - began)
        of_core.append(time.process_time() - core)

    setattr(home.book, "transaction", timed)  # noqa: B010 - a method of one object, for this process alone
    award_booking.SLICE_ROWS = slice_rows
    began, core = time.perf_counter(), time.process_time()
    answer = award_due(home, now=datetime.now(UTC))
    seconds, core_s = time.perf_counter() - began, time.process_time() - core
    lots = home.book.query(sa.select(points_lot).order_by(*points_lot.primary_key))
    runs, digest = home.points_runs.of(f"{UNIT}{POINTS}"), hashlib.sha256()
    for row in lots:
        digest.update(repr(tuple(bytes(value) if isinstance(value, memoryview) else value for value in row)).encode())
    return {
        "granted": next(iter(answer["programmes"].values()))["granted"],
        "batches": len(runs),
        "rows_of_largest": max(run.rows for run in runs),
        "rows_of_lots": len(lots),
        "transactions": len(spent),
        "longest_ms": round(1e3 * max(spent)),
        "longest_core_ms": round(1e3 * max(of_core)),
        "seconds": round(seconds, 2),
        "core_s": round(core_s, 2),
        "lots": digest.hexdigest(),
    }


def ask(folder: Path) -> dict[str, Any]:
    """In a process of its own: ask for the book again and again until there is something to read; the longest wait."""

    home, waits, refused = Home(folder), list[float](), 0
    while not select.select([sys.stdin], [], [], PAUSE_S)[0]:
        began = time.perf_counter()
        try:
            with home.book.transaction():
                pass
        except TanzhangError:
            refused += 1
        waits.append(time.perf_counter() - began)
    return {"asked": len(waits), "refused": refused, "waited_ms": round(1e3 * max(waits, default=0))}


def main() -> None:
    """Award, and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=400_000)
    parser.add_argument("--actions", type=int, default=1_000_000)
    parser.add_argument("--slice-rows", type=int, default=award_booking.SLICE_ROWS)
    parser.add_argument("--without-postgres", action="store_true")
    parser.add_argument("--scratch", type=Path)
    for name in ("--award", "--ask"):
        parser.add_argument(name, type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.award is not None:
        found = award_here(given.award, given.slice_rows)
    elif given.ask is not None:
        found = ask(given.ask)
    else:
        with tempfile.TemporaryDirectory(prefix="tanzhang-bench-", dir=given.scratch) as scratch:
            postgres = programs() is not None and not given.without_postgres
            size = {"people": given.people, "actions": given.actions, "slice_rows": given.slice_rows}
            found = measure(Path(scratch), **size, postgres=postgres)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
