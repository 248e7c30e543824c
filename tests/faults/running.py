"""The service as its operator runs it, under faults: real processes, callers who ask again, and the history of it all.

Processes are commands of ours that somebody keeps up: what has ended is started again. Callers report over HTTP with an
Idempotency-Key, each time to whichever process, and ask again until they have an answer. In the end the history is
counted: what was acknowledged has exactly one record, what was not has at most one, whoever asked again was told the
same, and verification finds nothing.

Chance is seeded. ``TANZHANG_FAULT_ROUNDS`` has so many times as many faults done, ``TANZHANG_FAULT_SEED`` other ones;
``make faults`` sets both.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from tanzhang.service.award import award_due
from tanzhang.service.settle import settle
from tanzhang.stores.home import Home
from tanzhang.stores.register.points_runs import AWARD

from ..homes import Event, assert_verified, at_once_home, balance, event, outcomes
from ..postgres import Server

ROOT = Path(__file__).parents[2]
ROUNDS = int(os.environ.get("TANZHANG_FAULT_ROUNDS", "1"))
BOTH = ("sqlite", "postgresql")
PARTNERS = ("cainiao", "amap")
_log = logging.getLogger("tanzhang.faults")
_WAITS_S = 60.0


def chance_of(*named: object) -> random.Random:
    """The chance of one test; its seed is printed, so that a failure shows it."""
    seed = " ".join(map(str, (*named, os.environ.get("TANZHANG_FAULT_SEED", "0"))))
    _log.warning("seed: %s", seed)
    return random.Random(seed)


def served_home(kind: str, quick: Path, request: pytest.FixtureRequest) -> Home:
    """A home whose parcel boxes are settled at once, its book on one of the databases."""
    if kind == "sqlite":
        return at_once_home(quick / "home")
    server: Server = request.getfixturevalue("postgres")
    return at_once_home(quick / "home", book=server.address(server.database(), "service"))


# -- acts -----------------------------------------------------------------------------------------------------


def box(reference: str, *, ago: timedelta = timedelta(hours=1)) -> Event:
    """A returned parcel box, which is settled at once."""
    claim = {"issuer": "cainiao", "identifier": f"YT-{reference}"}
    moment = datetime.now(UTC) - ago
    return event("cainiao", reference, "use.parcel_box_return", f"s-{reference}", moment, claim=claim)


def ride(reference: str, *, ago: timedelta = timedelta(minutes=1)) -> Event:
    """A metro ride that ended just now, which waits until its window has closed."""
    moment = datetime.now(UTC) - ago
    start = (moment - timedelta(minutes=30)).isoformat()
    return event("amap", reference, "travel.metro", f"s-{reference}", moment, distance_m=10_000, started_at=start)


def mixed(reference: str, chance: random.Random) -> list[Event]:
    """One request: some boxes, or a ride."""
    if chance.random() < 0.2:
        return [ride(reference)]
    return [box(f"{reference}-{n}") for n in range(chance.randint(1, 3))]


def post(client: httpx.Client, port: int, keys: Mapping[str, str], events: list[Event], key: str) -> httpx.Response:
    """Report some events of one partner to one process: the one place that knows the route."""
    content_type = "application/cloudevents-batch+json"
    headers = {"Authorization": f"Bearer {keys[events[0]['source']]}", "Content-Type": content_type}
    url = f"http://127.0.0.1:{port}/v1/actions:batch"
    return client.post(url, content=json.dumps(events), headers={**headers, "Idempotency-Key": key})


# -- processes ------------------------------------------------------------------------------------------------


@dataclass
class Program:
    """One command of ours with the processes that it starts."""

    arguments: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    file_bytes: int | None = None  # bounds every file that is written, as a disk that fills up does
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def main(self) -> subprocess.Popen[bytes]:
        return self.started[-1]

    def keep_up(self) -> None:
        """Start it, or start it again where it has ended."""
        if self.started and self.main.poll() is None:
            return
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "tanzhang", *self.arguments]
            bound = None if self.file_bytes is None else self._bound
            named = {"env": {**os.environ, **self.environment}, "start_new_session": True}
            self.started.append(
                subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, preexec_fn=bound, **named)  # type: ignore[call-overload]
            )

    def _bound(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.file_bytes or 0, resource.RLIM_INFINITY))

    def pids(self) -> list[int]:
        """Its main process, then those that it started and that live, those of a main process that is gone too."""
        groups = {each.pid for each in self.started}
        own = [pid for pid, group in _groups().items() if group in groups and pid not in groups]
        return ([self.main.pid] if self.main.poll() is None else []) + own

    def end(self) -> None:
        """Kill all of it at once; what a main process that is killed cannot clear away is cleared away."""
        counters = {_variable(pid, "PROMETHEUS_MULTIPROC_DIR") for pid in self.pids()}
        for each in self.started:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(each.pid, signal.SIGKILL)
            each.wait()
        for folder in counters - {""}:
            shutil.rmtree(folder, ignore_errors=True)


def _variable(pid: int, name: str) -> str:
    """What a variable of the environment of a process is set to; empty when either is gone."""
    with suppress(FileNotFoundError, ProcessLookupError):
        variables = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
        return next((each.partition("=")[2] for each in variables if each.startswith(f"{name}=")), "")
    return ""


def _groups() -> dict[int, int]:
    """Process -> process group, of all that live."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            state, _, group = (place / "stat").read_text().rpartition(")")[2].split()[:3]
            if state != "Z":
                found[int(place.name)] = int(group)
    return found


def command_of(pid: int) -> str:
    """What a process was started as; empty when it is gone."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


@dataclass
class Service:
    """Servers and workers of one home."""

    home: Path
    keys: Mapping[str, str]
    servers: list[Program] = field(default_factory=list)
    workers: list[Program] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def programs(self) -> list[Program]:
        return [*self.servers, *self.workers]

    def keep_up(self) -> None:
        """As a supervisor does: start what has ended."""
        for each in self.programs:
            each.keep_up()

    def kill_one(self, chance: random.Random) -> None:
        """Kill a process of the service, whichever it is."""
        self.kill(chance.choice([pid for each in self.programs for pid in each.pids()]))

    def kill_a_main(self, chance: random.Random) -> None:
        """Kill the main process of a server, which cannot end the others any more."""
        self.kill(chance.choice(self.servers).main.pid)

    def kill(self, pid: int) -> None:
        _log.warning("kill %s", command_of(pid))
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def wait_until_ready(self) -> None:
        with httpx.Client(timeout=5) as client:
            for port in self.ports:
                for _ in range(600):
                    with suppress(httpx.TransportError):
                        client.get(f"http://127.0.0.1:{port}/healthz")
                        break
                    time.sleep(0.1)

    def end(self) -> None:
        self.over.set()
        for each in self.programs:
            each.end()


@contextmanager
def serving(
    home: Home,
    *,
    servers: int = 1,
    processes: int = 1,
    workers: int = 0,
    file_bytes: int | None = None,
    environment: Callable[[str], Mapping[str, str]] = lambda _name: {},
) -> Iterator[Service]:
    """So many servers of so many processes each, and workers; ``environment`` of a program by its name.

    Names are ``server-0``, ``worker-0`` and so on. Without workers each server has the one that it starts itself.
    """
    now = datetime.now(UTC)
    service = Service(home.folder, {each: issue_key(home, each, [Scope.REPORT], now=now)["key"] for each in PARTNERS})
    logs = Path(home.folder.with_name(f"{home.folder.name}-logs"))
    logs.mkdir(exist_ok=True)
    for number in range(servers):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        service.ports.append(port)
        command = ["serve", "--home", str(home.folder), "--port", str(port), "--workers", str(processes)]
        command += ["--no-work"] if workers else []
        name = f"server-{number}"
        service.servers.append(Program(command, logs / name, environment(name), file_bytes))
    for number in range(workers):
        name = f"worker-{number}"
        command = ["work", "--home", str(home.folder), "--every", "0.2"]
        service.workers.append(Program(command, logs / name, environment(name), file_bytes))
    try:
        service.keep_up()
        service.wait_until_ready()
        yield service
    finally:
        service.end()


# -- callers --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """What was asked and what was answered first."""

    events: list[Event]
    key: str
    answer: bytes


class Callers:
    """Callers that report until they are told to stop, and what they were told."""

    def __init__(
        self,
        service: Service,
        count: int,
        chance: random.Random,
        make: Callable[[str, random.Random], list[Event]] = mixed,
    ) -> None:
        self._service, self._make, self._stop = service, make, threading.Event()
        self._numbers = itertools.count()
        self.told: list[Told] = []
        self.abandoned: list[Event] = []
        self.retries = 0
        self.wrong: list[str] = []
        own = [random.Random(chance.random()) for _ in range(count)]
        self._threads = [threading.Thread(target=self._call, args=(each,)) for each in own]
        for thread in self._threads:
            thread.start()

    @property
    def acknowledged(self) -> int:
        """How many requests were."""
        return len(self.told)

    def _call(self, chance: random.Random) -> None:
        try:
            with httpx.Client(timeout=10) as client:
                while not (self._stop.is_set() or self._service.over.is_set()):
                    self._report(client, self._make(str(next(self._numbers)), chance), chance)
        except Exception as error:
            self.wrong.append(repr(error))

    def _report(self, client: httpx.Client, events: list[Event], chance: random.Random) -> None:
        """Ask until there is an answer; some callers give up after the first time, some ask again though they know."""
        key = f"key-{events[0]['id']}"
        answer = self._asked(client, events, key, chance, once=chance.random() < 0.1)
        if answer is None:
            self.abandoned += events
            return
        if [each["verdict"] for each in answer.json()["verdicts"]] != ["accepted"] * len(events):
            self.wrong.append(answer.text)
        told = Told(events, key, answer.content)
        self.told.append(told)
        for _ in range(chance.choice((0, 0, 0, 5))):  # a storm of the same again
            self._ask_again(client, told, chance)

    def _ask_again(self, client: httpx.Client, told: Told, chance: random.Random) -> None:
        again = self._asked(client, told.events, told.key, chance, once=False)
        if again is not None and again.content != told.answer:
            self.wrong.append(f"{again.text} instead of {told.answer.decode()}")

    def _asked(
        self, client: httpx.Client, events: list[Event], key: str, chance: random.Random, *, once: bool
    ) -> httpx.Response | None:
        until, last = time.monotonic() + _WAITS_S, ""
        while time.monotonic() < until and not self._service.over.is_set():
            with suppress(httpx.TransportError):
                answer = post(client, chance.choice(self._service.ports), self._service.keys, events, key)
                if answer.is_success:
                    return answer
                if answer.status_code < 500:
                    self.wrong.append(answer.text)
                    return None
                if answer.json()["code"] == "internal-error":
                    self.wrong.append(answer.text)
                last = answer.text
            if once:
                return None
            self.retries += 1
            time.sleep(0.2)
        self.wrong.append(f"no answer to {key}: {last}")
        return None

    def add(self, other: Callers) -> None:
        """Count what others were told, too."""
        self.told += other.told
        self.abandoned += other.abandoned
        self.wrong += other.wrong

    def stop(self) -> None:
        """No more requests; those that were answered are asked once more, a part of them."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        chance = random.Random(len(self.told))
        with httpx.Client(timeout=10) as client:
            for told in chance.sample(self.told, min(30, len(self.told))):
                self._ask_again(client, told, chance)


def faults(
    service: Service,
    callers: Callers,
    todo: Sequence[Callable[[], None]],
    chance: random.Random,
    settling: Home | None = None,
) -> None:
    """These faults, each once callers were answered after the one before it; then some peace, and the callers stop.

    With ``settling`` workers have settled something of that home before the first fault, and do again after the last.
    """
    if settling is not None:
        wait_for_more_batches(service, settling)
    for do in todo:
        _some_answers(service, callers, 5, 20)
        time.sleep(chance.uniform(0, 0.3))
        do()
    if settling is not None:
        wait_for_more_batches(service, settling)
    _some_answers(service, callers, 10, _WAITS_S)
    callers.stop()


def wait_for_more_batches(service: Service, home: Home) -> None:
    """Until workers have settled something more; the book may be lost for a while meanwhile."""
    before, until = home.book.batch_count(), time.monotonic() + _WAITS_S
    while home.book.batch_count() == before:
        assert time.monotonic() < until, [tuple(row) for row in home.chores.rows()]
        service.keep_up()
        time.sleep(0.1)


def _some_answers(service: Service, callers: Callers, count: int, most_s: float) -> None:
    before, until = callers.acknowledged, time.monotonic() + most_s
    while callers.acknowledged < before + count and time.monotonic() < until:
        service.keep_up()
        time.sleep(0.02)


# -- the history ----------------------------------------------------------------------------------------------


def assert_counted_once(home: Home, callers: Callers) -> None:
    """One record for what was acknowledged, at most one for what was not, none for anything else; and the book."""
    assert callers.wrong == []
    assert callers.acknowledged >= 10
    settle_the_rest(home)
    found = outcomes(home)
    for told in callers.told:
        kept = home.deliveries.page(told.events[0]["source"], told.key, None, 3)
        assert [each.accepted for each in kept] == [len(told.events)], told.key
        verdicts = json.loads(told.answer)["verdicts"]
        for each, verdict in zip(told.events, verdicts, strict=True):
            assert found.pop(_action(home, each), None) == ["granted"], each
            own = balance(home, each["source"], each["subject"])
            assert own == int(verdict["quantified_mg"]) > 0, each
    for each in callers.abandoned:
        assert found.pop(_action(home, each), ["granted"]) == ["granted"], each
    assert found == {}
    award_due(home, now=datetime.now(UTC))
    for unit in home.points_runs.units():  # what each batch gave, once; verification computes it again
        assert [run.batch for run in home.points_runs.of(unit) if run.kind == AWARD] == [
            *range(home.book.batch_count())
        ]
    assert_verified(home)
    counts = callers.acknowledged, callers.retries, home.book.batch_count()
    _log.warning("%d requests acknowledged, %d tries more, %d batches", *counts)


def settled_references(home: Home, events: Sequence[Event]) -> set[str]:
    """Of some acts those that have a record."""
    found = outcomes(home) if home.book.batch_count() else {}
    return {each["id"] for each in events if _action(home, each) in found}


def _action(home: Home, each: Event) -> Any:
    return identity(home.identity_key, ACTION, each["source"], each["id"])


def settle_the_rest(home: Home) -> None:
    """What waits for its day; a worker whose server was killed may be at it for a moment still."""
    until = time.monotonic() + 20
    while True:
        try:
            settle(home, now=datetime.now(UTC) + timedelta(days=6))
        except TanzhangError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return
