"""The whole service under faults: processes killed, connections cut, the disk full, callers who ask again and again.

Callers report over HTTP with an Idempotency-Key and ask again until they have an answer. In the end the history is
counted: what was acknowledged has exactly one record, what was not has at most one, and verification finds nothing.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tanzhang.core.access import Scope
from tanzhang.core.claim import ACTION, identity
from tanzhang.core.errors import TanzhangError
from tanzhang.service.access import issue_key
from tanzhang.service.settle import settle
from tanzhang.stores.home import Home

from ..homes import Event, assert_verified, at_once_home, event, outcomes
from ..postgres import Server

ROOT = Path(__file__).parents[2]


def send(client: httpx.Client, events: list[Event], key: str) -> httpx.Response:
    """Report some events of one partner: the one place that knows the route."""
    headers = {"Idempotency-Key": key, "Content-Type": "application/cloudevents-batch+json"}
    return client.post("/v1/actions:batch", content=json.dumps(events), headers=headers)


def new_home(kind: str, quick: Path, request: pytest.FixtureRequest) -> Home:
    if kind == "sqlite":
        return at_once_home(quick / "home")
    server: Server = request.getfixturevalue("postgres")
    return at_once_home(quick / "home", book=server.address(server.database(), "service"))


def box(reference: str) -> Event:
    """A returned parcel box of an hour ago."""
    claim = {"issuer": "cainiao", "identifier": f"YT-{reference}"}
    moment = datetime.now(UTC) - timedelta(hours=1)
    return event("cainiao", reference, "use.parcel_box_return", f"s-{reference}", moment, claim=claim)


@dataclass
class Service:
    """Processes that serve a home, and those that work for it."""

    home: Path
    port: int
    processes: int
    key: str
    file_bytes: int | None = None  # bounds every file that is written, as a disk that fills up does
    main: subprocess.Popen[bytes] = field(init=False)
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def client(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=10, headers=headers)

    def start(self) -> None:
        served = ["--home", str(self.home), "--port", str(self.port), "--workers", str(self.processes)]
        quiet = subprocess.DEVNULL
        self.main = subprocess.Popen(
            [sys.executable, "-m", "tanzhang", "serve", *served],
            cwd=ROOT,
            stdout=quiet,
            stderr=quiet,
            preexec_fn=self._bound if self.file_bytes else None,
        )

    def _bound(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.file_bytes or 0, self.file_bytes or 0))

    def start_worker(self) -> None:
        command = [sys.executable, "-m", "tanzhang", "work", "--home", str(self.home), "--every", "0.2"]
        self.workers.append(subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL))

    def kill_one(self, chance: random.Random) -> None:
        """Kill a process of the service, whichever it is; what its supervisor would start again is started."""
        with suppress(ProcessLookupError):
            os.kill(chance.choice([*_children(self.main.pid), *(each.pid for each in self.workers)]), signal.SIGKILL)
        for each in [each for each in self.workers if each.poll() is not None]:
            self.workers.remove(each)
            self.start_worker()

    def keep_up(self) -> None:
        """Start the server again where it has ended, which it does when its processes die too often."""
        if self.main.poll() is not None:
            self.start()

    def end(self) -> None:
        """Kill everything at once."""
        with suppress(ProcessLookupError):
            for pid in [self.main.pid, *_children(self.main.pid)]:
                os.kill(pid, signal.SIGKILL)
        for each in [*self.workers, self.main]:
            each.kill()
            each.wait()


def _children(pid: int) -> list[int]:
    """The processes that a process has started, by whichever of its threads."""
    found: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):
            found += [int(each) for each in file.read_text().split()]
    return found


@contextmanager
def serving(home: Home, *, processes: int, workers: int = 0, file_bytes: int | None = None) -> Iterator[Service]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    key = issue_key(home, "cainiao", [Scope.REPORT], now=datetime.now(UTC))["key"]
    service = Service(home.folder, port, processes, key, file_bytes)
    service.start()
    try:
        for _ in range(workers):
            service.start_worker()
        with service.client() as client:
            for _ in range(600):
                with suppress(httpx.TransportError):
                    client.get("/healthz")
                    break
                time.sleep(0.1)
        yield service
    finally:
        service.end()


class Callers:
    """Callers that report until they are told to stop, and what they were told."""

    def __init__(self, service: Service, count: int, seed: int) -> None:
        self._service, self._stop = service, threading.Event()
        self._numbers = itertools.count()
        self.acknowledged: set[str] = set()
        self.abandoned: set[str] = set()
        self.wrong: list[str] = []
        self._threads = [threading.Thread(target=self._call, args=(random.Random(seed + n),)) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def _call(self, chance: random.Random) -> None:
        try:
            with self._service.client() as client:
                while not self._stop.is_set():
                    number = next(self._numbers)
                    self._report(client, [box(f"{number}-{n}") for n in range(chance.randint(1, 3))], chance)
        except Exception as error:
            self.wrong.append(repr(error))

    def _report(self, client: httpx.Client, events: list[Event], chance: random.Random) -> None:
        """Ask until there is an answer; some callers give up after the first time, some ask again though they know."""
        key, references = f"key-{events[0]['id']}", {each["id"] for each in events}
        gives_up = chance.random() < 0.1
        answer = self._asked(client, events, key, once=gives_up)
        if answer is None:
            self.abandoned |= references
            return
        verdicts = [each["verdict"] for each in answer.json()["verdicts"]]
        if verdicts != ["accepted"] * len(events):
            self.wrong.append(answer.text)
        self.acknowledged |= references
        for _ in range(chance.choice((0, 0, 0, 5))):  # a storm of the same again
            again = self._asked(client, events, key, once=False)
            if again is not None and again.content != answer.content:
                self.wrong.append(f"{again.text} instead of {answer.text}")

    def _asked(self, client: httpx.Client, events: list[Event], key: str, *, once: bool) -> httpx.Response | None:
        until, last = time.monotonic() + 60, ""
        while time.monotonic() < until:
            with suppress(httpx.TransportError):
                answer = send(client, events, key)
                if answer.is_success:
                    return answer
                if answer.status_code < 500:
                    self.wrong.append(answer.text)
                    return None
                last = answer.text
            if once:
                return None
            time.sleep(0.05)
        self.wrong.append(f"no answer to {key}: {last}")
        return None

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def assert_counted_once(home: Home, callers: Callers) -> None:
    """The history: one record for what was acknowledged, at most one for what was not, none for anything else."""
    assert callers.wrong == []
    assert len(callers.acknowledged) > 20
    _settle_the_rest(home)

    def action(reference: str) -> Any:
        return identity(home.identity_key, ACTION, "cainiao", reference)

    found = outcomes(home)
    for reference in callers.acknowledged:
        assert found.pop(action(reference), None) == ["granted"], reference
    for reference in callers.abandoned:
        assert found.pop(action(reference), ["granted"]) == ["granted"], reference
    assert found == {}
    assert_verified(home)


def _settle_the_rest(home: Home) -> None:
    """What nobody came to settle; a worker whose server was killed may be at it for a moment still."""
    for _ in range(150):
        with suppress(TanzhangError):
            settle(home, now=datetime.now(UTC) + timedelta(days=3))
            return
        time.sleep(0.1)
    settle(home, now=datetime.now(UTC) + timedelta(days=3))


def faults(service: Service, callers: Callers, count: int, do: Callable[[], None], chance: random.Random) -> None:
    """So many faults, each once callers were answered after the one before it."""
    for _ in range(count):
        before, until = len(callers.acknowledged), time.monotonic() + 20
        while len(callers.acknowledged) < before + 5 and time.monotonic() < until:
            service.keep_up()
            time.sleep(0.02)
        time.sleep(chance.uniform(0, 0.3))
        do()
    before = len(callers.acknowledged)
    while len(callers.acknowledged) < max(before + 5, 21):
        service.keep_up()
        time.sleep(0.02)
    callers.stop()


@pytest.mark.parametrize(("kind", "processes", "workers"), [("sqlite", 1, 1), ("sqlite", 2, 5), ("postgresql", 2, 2)])
def test_killed_processes_lose_nothing_that_was_acknowledged_and_count_nothing_twice(
    quick: Path, request: pytest.FixtureRequest, kind: str, processes: int, workers: int
) -> None:
    home, chance = new_home(kind, quick, request), random.Random(f"{kind} {processes} {workers}")
    with serving(home, processes=processes, workers=workers) as service:
        callers = Callers(service, 3, seed=workers)
        faults(service, callers, 6, lambda: service.kill_one(chance), chance)
    assert_counted_once(home, callers)


def test_cut_connections_to_the_database_lose_and_double_nothing(quick: Path, request: pytest.FixtureRequest) -> None:
    home, chance = new_home("postgresql", quick, request), random.Random(7)
    server: Server = request.getfixturevalue("postgres")
    database = home.book.place.url.database  # type: ignore[union-attr]
    home.book.close()
    with server.connect() as con, serving(home, processes=1, workers=2) as service:

        def cut() -> None:
            con.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND random() < 0.7",
                [database],
            )

        callers = Callers(service, 3, seed=7)
        faults(service, callers, 15, cut, chance)
    assert_counted_once(home, callers)


def test_a_full_disk_acknowledges_nothing_and_loses_nothing(quick: Path, request: pytest.FixtureRequest) -> None:
    home = new_home("sqlite", quick, request)
    size = (home.folder / "book.sqlite").stat().st_size
    with serving(home, processes=1, file_bytes=size + 200_000) as service:
        taken: set[str] = set()
        with service.client() as client:
            for number in range(2_000):
                answer = send(client, [box(f"full-{number}")], f"full-{number}")
                if not answer.is_success:
                    break
                taken.add(f"full-{number}")
        assert (answer.status_code, answer.json()["code"]) == (503, "book-unusable")
        assert taken
        callers = Callers(service, 3, seed=1)
        time.sleep(0.5)
        assert not callers.acknowledged
        service.end()
        service.file_bytes = None  # somebody made room; callers still ask
        service.start()
        faults(service, callers, 0, lambda: None, random.Random(1))
    callers.acknowledged |= taken
    callers.abandoned.add(f"full-{number}")
    assert_counted_once(home, callers)


def test_a_worker_ends_with_the_server_that_started_it(quick: Path, request: pytest.FixtureRequest) -> None:
    home = new_home("sqlite", quick, request)
    with serving(home, processes=1) as service:
        found: list[int] = []
        for _ in range(200):
            if found:
                break
            found = [pid for pid in _children(service.main.pid) if b"\0work\0" in _command(pid)]
            time.sleep(0.02)
        (working,) = found
        os.kill(service.main.pid, signal.SIGKILL)
        service.main.wait()
        for _ in range(200):
            if b"\0work\0" not in _command(working):
                break
            time.sleep(0.1)
        else:
            pytest.fail("the worker goes on alone")


def _command(pid: int) -> bytes:
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""
