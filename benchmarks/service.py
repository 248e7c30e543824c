"""Reports over HTTP: real processes of ``tanzhang serve`` under load from others; ``python -m benchmarks.service``.

Bodies are made before the clock starts, so that a load generator costs little more than its sockets. In the same run
the naive service of ``naive.py`` takes the same bodies on the same kind of database. The clock's seconds are those of a
machine that may be shared; ``core_us`` is what the processes of the service themselves spent on one act.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from tests.postgres import programs, running_server

from benchmarks.naive import ADDRESS_VARIABLE, prepare
from tanzhang.service.access import issue_key
from tanzhang.stores.home import Home

GENERATOR = Path(__file__).with_name("load.py")


def measure(
    rows: int, singles: int, *, workers: int, generators: int, connections: int, postgres: bool, naive: bool = True
) -> dict[str, Any]:
    """All figures: ``rows`` acts in requests of 1,000, then ``singles`` one by one, by database."""
    found: dict[str, Any] = {"workers": workers, "load_before": round(os.getloadavg()[0], 1)}
    with ExitStack() as opened:
        scratch = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="tanzhang-bench-")))
        databases = {"sqlite": (None, f"sqlite:///{scratch / 'naive.sqlite'}")}
        if postgres:
            server = opened.enter_context(running_server({}, in_memory=False))
            databases["postgresql"] = (
                server.address(server.database(), "bench"),
                server.address(server.database()).replace("postgresql://", "postgresql+psycopg://"),
            )
        for name, (book, naive_address) in databases.items():
            home = Home.create(
                scratch / name, programme="beijing", origin="bench.example/log", now=datetime.now(UTC), book=book
            )
            key, before = issue_key(home, "amap", ["report"], now=datetime.now(UTC))["key"], 0
            command = [sys.executable, "-m", "tanzhang", "serve", "--home", str(home.folder)]
            with serving([*command, "--workers", str(workers)]) as ours:
                spread = {"port": ours.port, "key": key, "generators": generators}
                for path, each in (("/v1/actions:batch", 1000), ("/v1/actions", 1)):  # plans are resolved once
                    warm = load(ours, path, 16 * workers, each, connections=8, **spread)
                    before += warm["actions"]
                many = load(ours, "/v1/actions:batch", rows // 1000, 1000, connections=16, **spread)
                one = load(ours, "/v1/actions", singles, 1, connections=connections, **spread)
                half = load(
                    ours, "/v1/actions", max(singles // 2, 100), 1, connections=connections, **spread,
                    rate=one["actions_per_s"] / 2,
                )  # fmt: skip
            accepted = sum(row.accepted for row in home.book.query(_accepted()))
            said = before + many["actions"] + one["actions"] + half["actions"]
            assert accepted == said, "what was acknowledged is not what is there"
            found[name] = {"requests_of_1000": many, "singles": one, "singles_at_half_load": half}
            if naive:
                smaller = {"rows": rows // 20, "singles": singles // 10}
                found[name] |= against_naive(
                    naive_address, key, found[name], workers=workers, generators=generators, **smaller
                )
    return found


def against_naive(
    address: str, key: str, ours: dict[str, Any], *, rows: int, singles: int, workers: int, generators: int
) -> dict[str, Any]:
    """The naive service under the same load, and how many times as many acts ours acknowledges."""
    prepare(address)
    os.environ[ADDRESS_VARIABLE] = address
    command = ["granian", "--interface", "asgi", "--factory", "benchmarks.naive:served", "--workers", str(workers)]
    with serving([sys.executable, "-m", *command], port_option="--port") as server:
        spread = {"port": server.port, "key": key, "generators": generators}
        many = load(server, "/v1/actions:batch", max(rows // 1000, 1), 1000, connections=16, **spread)
        one = load(server, "/v1/actions", max(singles, 50), 1, connections=32, **spread)
    return {
        "naive": {"requests_of_1000": many, "singles": one},
        "ratio": {
            name: round(ours[name]["actions_per_s"] / theirs["actions_per_s"], 1)
            for name, theirs in (("requests_of_1000", many), ("singles", one))
        },
    }


class Server:
    """A service that runs: its port, and the processor's seconds of all its processes."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.port, self._process = port, psutil.Process(process.pid)

    def core_s(self) -> float:
        family = [self._process, *self._process.children(recursive=True)]
        return sum(sum(each.cpu_times()[:2]) for each in family)


@contextmanager
def serving(command: list[str], port_option: str = "--port") -> Iterator[Server]:
    """A service on a free port, until the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([*command, port_option, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, "the service did not start"
                time.sleep(0.1)
        yield Server(process, port)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def load(
    server: Server, path: str, requests: int, rows: int, *, port: int, key: str, generators: int, connections: int,
    rate: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Send so many requests of so many rows from several processes; ``rate`` is requests a second in all."""
    share = max(requests // generators, 1)
    job = {"path": path, "requests": share, "rows": rows, "port": port, "key": key, "connections": connections}
    job["rate"] = None if rate is None else rate / generators
    processes = [
        subprocess.Popen([sys.executable, GENERATOR], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(generators)
    ]
    for number, process in enumerate(processes):
        tell(process, json.dumps({**job, "name": f"{time.time_ns():x}-{number}"}))
    for process in processes:
        assert hear(process) == "ready"
    spent, start = server.core_s(), time.perf_counter()
    for process in processes:
        tell(process, "go")
    found = [json.loads(hear(process)) for process in processes]
    wall, spent = time.perf_counter() - start, server.core_s() - spent
    for process in processes:
        process.communicate()
    statuses: dict[str, int] = {}
    for each in found:
        for status, count in each["statuses"].items():
            statuses[status] = statuses.get(status, 0) + count
    good = statuses.get("202", 0) * rows
    times = sorted(spent for each in found for spent in each["times"])
    return {
        "actions": good,
        "statuses": statuses,
        "seconds": round(wall, 2),
        "actions_per_s": round(good / wall),
        "core_us_per_action": round(1e6 * spent / max(good, 1), 1),
        "p50_ms": round(1000 * statistics.median(times), 1),
        "p99_ms": round(1000 * times[min(len(times) * 99 // 100, len(times) - 1)], 1),
    }


def tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def hear(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _accepted() -> Any:
    import sqlalchemy as sa

    from tanzhang.stores.register.deliveries import delivery

    return sa.select(delivery.c.accepted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=400_000, help="acts in requests of 1,000")
    parser.add_argument("--singles", type=int, default=20_000, help="acts one by one")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--generators", type=int, default=2)
    parser.add_argument("--connections", type=int, default=64, help="of each generator, for single acts")
    parser.add_argument("--sqlite-only", action="store_true")
    parser.add_argument("--without-naive", action="store_true")
    options = parser.parse_args()
    found = measure(
        options.rows,
        options.singles,
        workers=options.workers,
        generators=options.generators,
        connections=options.connections,
        postgres=programs() is not None and not options.sqlite_only,
        naive=not options.without_naive,
    )
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
