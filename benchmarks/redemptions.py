"""Orders of the mall: tellers of several processes on one book; ``python -m benchmarks.redemptions``.

Buyers wait in each process, so many at a time as ``--waiting`` says in all, each for one order of an account of their
own; more than there is in stock are asked for. Seconds are the clock's, from the first order to the last answer, on a
machine that may be shared; ``core_us`` is what the processes spent on one order, placed or refused. In the end the book
is asked what was sold: one more than there was, or points for nothing, ends the run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from tests.postgres import programs, running_server

from tanzhang.core.access import Actor, Role
from tanzhang.service.check_mall import check_mall
from tanzhang.service.mall import Placed, Wanted
from tanzhang.service.offers import add_offer, offer_of
from tanzhang.service.teller import Teller
from tanzhang.stores.home import Home
from tanzhang.stores.register.mall import mall_order
from tanzhang.stores.register.points import UNIT, points_lot

OFFERS, PRICE, GRANTED = 10, 100, 150
POINTS = "beijing_carbon_energy"
OPERATOR = Actor(Role.OPERATOR, "bench", "benchmark")


def measure(orders: int, *, processes: int, waiting: int, postgres: bool, scratch: Path) -> dict[str, Any]:
    """Figures by database: ``orders`` are in stock, and a tenth more are asked for."""
    found: dict[str, Any] = {"orders": orders, "processes": processes, "waiting": waiting}
    found["load_before"] = round(os.getloadavg()[0], 1)
    with ExitStack() as opened:
        books: dict[str, str | None] = {"sqlite": None}
        if postgres:
            server = opened.enter_context(running_server({}, in_memory=False))
            books["postgresql"] = server.address(server.database(), "bench")
        for name, book in books.items():
            home = Home.create(
                scratch / name, programme="beijing", origin="bench.example/log", now=datetime.now(UTC), book=book
            )
            found[name] = sale(home, orders, processes, waiting)
    return found


def sale(home: Home, orders: int, processes: int, waiting: int) -> dict[str, Any]:
    """One sale: buyers of several processes, and what the book says of it."""
    asked = orders + orders // 10
    stocked(home, orders, asked)
    share = asked // processes
    begin = time.time() + 3 + processes
    command = [sys.executable, "-m", "benchmarks.redemptions", "--buy", str(home.folder), "--begin", str(begin)]
    running = [
        subprocess.Popen(
            [*command, "--orders", str(share), "--first", str(number * share), "--waiting", str(waiting // processes)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(processes)
    ]
    said = [json.loads(each.communicate()[0]) for each in running]
    answers: Counter[str] = Counter()
    for each in said:
        answers.update(each["answers"])
    wall_s = max(each["ended"] for each in said) - min(each["began"] for each in said)
    placed = answers["placed"]
    check(home, placed, orders)
    return {
        "placed": placed,
        "refused": answers.total() - placed,
        "placed_per_s": round(placed / wall_s),
        "core_us": round(1e6 * sum(each["core_s"] for each in said) / answers.total()),
        "largest_group": max(each["orders"] // max(each["groups"], 1) for each in said),
        "wait_ms": {name: max(each["wait_ms"][name] for each in said) for name in ("p50", "p99")},
    }


def stocked(home: Home, orders: int, buyers: int) -> None:
    """Offers with ``orders`` pieces in all, and buyers with points for one each."""
    for number in range(OFFERS):
        kind: dict[str, Any] = {"kind": "voucher", "voucher_days": 30, "limit": {"count": 1, "per": "offer"}}
        said = {"id": f"offer-{number}", "merchant": "cainiao", "title": "One", "title_zh": "一份", "points": POINTS}
        said |= {"price_points": str(PRICE), "stock": orders // OFFERS, "opens_at": "2025-01-01T00:00:00Z", **kind}
        add_offer(home, offer_of(said), actor=OPERATOR, now=datetime.now(UTC))
    lot = {"unit": f"{UNIT}{POINTS}", "last_day": "9999-12-31", "first_day": "2025-01-01", "granted": GRANTED}
    lot |= {"collect_by": "", "ended": 0}
    rows = [{**lot, "account": account(number).bytes, "available": GRANTED} for number in range(buyers)]
    with home.book.transaction() as con:
        con.execute(points_lot.insert(), rows)


def account(number: int) -> uuid.UUID:
    """The account of a buyer: as far from the next one as random ones are."""
    return uuid.uuid5(uuid.NAMESPACE_OID, str(number))


def check(home: Home, placed: int, stock: int) -> None:
    """End the run if the book does not say what the buyers were told."""
    rows = home.book.query(sa.select(mall_order.c.offer, sa.func.count().label("own")).group_by(mall_order.c.offer))
    if sum(row.own for row in rows) != placed or any(row.own > stock // OFFERS for row in rows):
        raise SystemExit(f"{placed} were told of an order, the book has {rows}")
    problems = check_mall(home)[1]
    if problems:
        raise SystemExit(f"the book is wrong: {problems}")


def buy(folder: Path, first: int, orders: int, waiting: int, begin: float) -> dict[str, Any]:
    """In a process of its own: so many orders, some of them waiting at any time; what they were told."""
    teller, free = Teller(Home(folder), lambda: datetime.now(UTC)), threading.Semaphore(waiting)
    answers, waits = Counter[str](), list[float]()
    time.sleep(max(begin - time.time(), 0))
    began, spent = time.time(), time.process_time()
    for number in range(first, first + orders):
        free.acquire()
        own, opened, asked = account(number), ExitStack(), time.perf_counter()
        room = opened.enter_context(teller.room(str(own), 200))

        def told(placed: Placed, opened: ExitStack = opened, asked: float = asked) -> None:
            answers["placed" if placed.error is None else placed.error.code] += 1
            waits.append(time.perf_counter() - asked)
            opened.close()
            free.release()

        teller.submit(Wanted(own, f"offer-{number % OFFERS}", f"key {number}"), room, told)
    for _ in range(waiting):
        free.acquire()
    ended, core_s = time.time(), time.process_time() - spent
    teller.close()
    waits.sort()
    return {
        "answers": answers,
        "orders": orders,
        "groups": teller.counts["groups"],
        "began": began,
        "ended": ended,
        "core_s": core_s,
        "wait_ms": {"p50": _ms(waits, 0.5), "p99": _ms(waits, 0.99)},
    }


def _ms(waits: list[float], share: float) -> int:
    return round(1e3 * waits[min(int(share * len(waits)), len(waits) - 1)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=20_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--waiting", type=int, default=1_000)
    parser.add_argument("--without-postgres", action="store_true")
    parser.add_argument("--scratch", type=Path)
    for name, kind in (("--buy", Path), ("--first", int), ("--begin", float)):
        parser.add_argument(name, type=kind, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.buy is not None:
        found = buy(given.buy, given.first, given.orders, given.waiting, given.begin)
    else:
        with tempfile.TemporaryDirectory(prefix="tanzhang-bench-", dir=given.scratch) as scratch:
            postgres = programs() is not None and not given.without_postgres
            spread = {"processes": given.processes, "waiting": given.waiting}
            found = measure(given.orders, postgres=postgres, scratch=Path(scratch), **spread)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
