"""What a report costs on its way in: reading, screening, answering, keeping; ``python -m benchmarks.few``.

Seconds are those of the processor, of all cores together, the least of some repetitions; ``wall_ms`` is the clock's.
Everything is warm: plans are resolved and SQL was used before.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from tanzhang.engine.few import ACCEPTED_SCHEMA, FewRows, accepted_table
from tanzhang.engine.screen import screen
from tanzhang.service.intake import resolver
from tanzhang.service.receive import Receiver, Request
from tanzhang.stores.events import raw_table, read_carefully, read_events
from tanzhang.stores.home import Home

NOW = datetime(2025, 6, 6, 2, tzinfo=UTC)
ENDED = datetime(2025, 6, 5, 0, 30, tzinfo=UTC)


def measure(rows: int, repetitions: int) -> dict[str, Any]:
    """Every figure, for groups of up to ``rows`` rows."""
    with tempfile.TemporaryDirectory(prefix="tanzhang-bench-") as scratch:
        home = Home.create(Path(scratch) / "home", programme="beijing", origin="bench.example/log", now=NOW, seed=b"b")
        return {
            "rows": rows,
            "read_us_a_row": reading(rows, repetitions),
            "screen_us_a_row": one_by_one(home, rows, repetitions),
            "screen_ms_by_rows": crossing(home, rows, repetitions),
            "receive": receiving(home, rows, repetitions),
        }


def event(number: int, **changes: Any) -> bytes:
    """A metro ride, or every second time a returned parcel box."""
    ended = ENDED + timedelta(seconds=number % 40_000)
    if number % 2:
        partner, behaviour = "cainiao", "use.parcel_box_return"
        data: dict[str, Any] = {"claim": {"issuer": "cainiao", "identifier": f"YT-{number}"}}
    else:
        partner, behaviour = "amap", "travel.metro"
        data = {"distance_m": 10_000, "started_at": (ended - timedelta(minutes=30)).isoformat()}
    found = {
        "specversion": "1.0",
        "id": f"r{number}",
        "source": partner,
        "type": behaviour,
        "subject": f"s{number % 997}",
        "time": ended.isoformat(),
        "data": data,
    }
    return json.dumps(found | changes).encode()


def reading(rows: int, repetitions: int) -> dict[str, float]:
    """Microseconds a row from JSON to rows, to columns, and by the careful reader."""
    events = [event(number) for number in range(rows)]
    numbers = range(1, rows + 1)
    spent = {
        "to_rows": least(lambda: list(read_events(events, numbers)), repetitions),
        "to_columns": least(lambda: raw_table(read_events(events, numbers)), repetitions),
        "carefully": least(lambda: [read_carefully(each) for each in events], repetitions),
    }
    return {name: round(1e6 * each / rows, 2) for name, each in spent.items()}


def one_by_one(home: Home, rows: int, repetitions: int) -> dict[str, float]:
    """Microseconds a row of :class:`FewRows`, of good rows and of bad ones."""
    few = FewRows(home.programme, home.identity_key, resolver(home))
    kinds = {
        "accepted": {},
        "unreadable_time": {"time": "yesterday"},
        "unknown_behaviour": {"type": "travel.rocket"},
        "four_mistakes": {"time": "yesterday", "subject": "", "data": {"distance_m": "far", "region": "here"}},
    }
    found = {}
    for name, changes in kinds.items():
        raw = list(read_events([event(number, **changes) for number in range(rows)], range(1, rows + 1)))
        spent = least(lambda raw=raw: few.screen(raw, partner=None, now=NOW), repetitions)  # type: ignore[misc]
        found[name] = round(1e6 * spent / rows, 2)
    return found


def crossing(home: Home, rows: int, repetitions: int) -> dict[str, dict[str, float]]:
    """Milliseconds of both ways to the accepted table, by how many rows there are."""
    con, resolve = home.connect(), resolver(home)
    few = FewRows(home.programme, home.identity_key, resolve)
    found: dict[str, dict[str, float]] = {}
    for count in (each for each in (1, 64, 500, 1_000, 2_000, 3_000, 5_000, 10_000) if each <= rows):
        raw = list(read_events([event(number) for number in range(count)], range(1, count + 1)))

        def one_way(raw: list[Any] = raw) -> Any:
            return accepted_table(few.screen(raw, partner=None, now=NOW).accepted)

        def other_way(raw: list[Any] = raw) -> Any:
            tables: list[pa.Table] = []
            con.register("raw_events", raw_table(raw))
            screen(
                con,
                "raw_events",
                programme=home.programme,
                partner=None,
                identity_key=home.identity_key,
                now=NOW,
                resolve=resolve,
                accept=lambda table: tables.append(table.cast(ACCEPTED_SCHEMA)),
            )
            return tables

        ways = {"few": least(one_way, repetitions), "many": least(other_way, repetitions)}
        found[str(count)] = {name: round(1e3 * each, 2) for name, each in ways.items()}
    return found


def receiving(home: Home, rows: int, repetitions: int) -> dict[str, dict[str, float]]:
    """Requests that come together, from their bytes to durable answers: so many of so many rows."""
    receiver = Receiver(home)
    found = {}
    for requests, each in ((1, 1), (64, 1), (50, max(rows // 50, 1))):
        cores, walls = [], []
        for repetition in range(repetitions):
            group = [request(number, each, f"{repetition}-{requests}-{each}") for number in range(requests)]
            core, wall = time.process_time(), time.perf_counter()
            answers = receiver.receive(group, now=NOW)
            cores.append(time.process_time() - core)
            walls.append(time.perf_counter() - wall)
            assert all(json.loads(answer.body)["accepted"] == each for answer in answers)
        found[f"{requests} of {each}"] = {
            "core_ms": round(1e3 * min(cores), 2),
            "wall_ms": round(1e3 * min(walls), 2),
            "core_us_a_row": round(1e6 * min(cores) / requests / each, 1),
        }
    return found


def request(number: int, rows: int, key: str) -> Request:
    """One partner's request; even ones are of the metro, odd ones of parcel boxes."""
    events = [event(2 * (number * rows + place) + number % 2) for place in range(rows)]
    return Request(("amap", "cainiao")[number % 2], events, f"{key}-{number}")


def least(work: Callable[[], Any], repetitions: int) -> float:
    """Seconds of the processor, the least of some repetitions after one that does not count."""
    work()
    spent: Sequence[float] = [_core_seconds(work) for _ in range(repetitions)]
    return min(spent)


def _core_seconds(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    sys.stdout.write(json.dumps(measure(options.rows, options.repetitions), indent=2) + "\n")


if __name__ == "__main__":
    main()
