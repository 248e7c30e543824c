"""Clocks that are wrong, in real processes: nothing is lost, nothing counted twice, no window closed before its day.

A process gets another clock by a library that is loaded before all others (clock.c); what nobody can set, the steady
clocks, it leaves alone. A clock is set while its process runs.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from tanzhang.stores.home import Home

from .running import (
    BOTH,
    Callers,
    Program,
    Service,
    assert_counted_once,
    box,
    chance_of,
    faults,
    ride,
    served_home,
    serving,
    settled_references,
)


class Clocks:
    """Clocks of programs, each set by so much against the system's."""

    def __init__(self, folder: Path, library: Path) -> None:
        self._folder, self._library = folder, library

    def set(self, name: str, ahead: timedelta) -> Mapping[str, str]:
        """Set the clock of a program, which may be running; returns what it has to be started with."""
        file = self._folder / f"clock-{name}"
        with open(file, "r+b" if file.exists() else "xb") as opened:
            opened.write(round(ahead.total_seconds()).to_bytes(8, "little", signed=True))
        return {"LD_PRELOAD": str(self._library), "OTHER_CLOCK": str(file)}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("no C compiler (cc) is installed")
    library = tmp_path_factory.mktemp("clock") / "clock.so"
    source = Path(__file__).with_name("clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, source], check=True)
    return library


@pytest.fixture
def clocks(quick: Path, library: Path) -> Clocks:
    return Clocks(quick, library)


HOUR, DAYS = timedelta(hours=1), timedelta(days=2)
LONG_AGO = timedelta(days=4)


def said(program: Program, text: str) -> bool:
    return text in program.log.read_text(encoding="utf-8")


def wait_for(what: Callable[[], bool], most_s: float = 30) -> None:
    until = time.monotonic() + most_s
    while not what():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize("kind", BOTH)
def test_servers_and_workers_with_clocks_of_their_own_lose_and_double_nothing(
    quick: Path, request: pytest.FixtureRequest, clocks: Clocks, kind: str
) -> None:
    """Acts of some days ago, so that for none of these clocks they lie in the future."""
    home, chance = served_home(kind, quick, request), chance_of("clocks", kind)
    wrong = {"server-0": HOUR, "server-1": -DAYS, "worker-0": DAYS, "worker-1": -HOUR}
    with serving(
        home, servers=2, workers=2, environment=lambda name: clocks.set(name, wrong.get(name, timedelta()))
    ) as service:
        callers = Callers(service, 3, chance, lambda number, _chance: [box(number, ago=LONG_AGO)])
        jumps = [lambda: clocks.set("server-0", -HOUR), lambda: clocks.set("server-1", DAYS)]
        jumps += [lambda: clocks.set("worker-1", HOUR), lambda: clocks.set("worker-1", timedelta())]
        faults(service, callers, [each_of(jump) for jump in jumps], chance)
        wait_for(lambda: home.book.batch_count() > 0)
    assert_counted_once(home, callers)


def each_of(jump: Callable[[], object]) -> Callable[[], None]:
    def do() -> None:
        jump()

    return do


@pytest.mark.parametrize("kind", BOTH)
def test_a_clock_set_forward_under_a_worker_closes_no_window_and_set_right_again_it_goes_on(
    quick: Path, request: pytest.FixtureRequest, clocks: Clocks, kind: str
) -> None:
    home, chance = served_home(kind, quick, request), chance_of("forward", kind)
    with serving(home, workers=1, environment=lambda name: clocks.set(name, timedelta())) as service:
        (worker,) = service.workers
        wait_for(lambda: home.book.batch_count() > 0 or bool(home.chores.rows()))
        clocks.set("worker-0", timedelta(days=30))
        wait_for(lambda: said(worker, "clock-set-forward"))
        settled = home.book.batch_count()
        callers = rides_and_boxes(service, chance)
        time.sleep(1)
        assert home.book.batch_count() == settled
        clocks.set("worker-0", timedelta())
        assert_settles_boxes_alone(home, callers)
    assert_counted_once(home, callers)


def test_a_worker_whose_clock_is_ahead_of_the_databases_from_the_start_settles_nothing(
    quick: Path, request: pytest.FixtureRequest, clocks: Clocks
) -> None:
    """A worker on another machine, which comes up with a clock on which today is over; and a command there."""
    home, chance = served_home("postgresql", quick, request), chance_of("ahead")
    ahead = {"worker-0": timedelta(minutes=2), "worker-1": timedelta(days=30)}
    with serving(home, workers=2, environment=lambda name: clocks.set(name, ahead.get(name, timedelta()))) as service:
        callers = rides_and_boxes(service, chance)
        wait_for(lambda: all(said(each, "clock-ahead") for each in service.workers))
        time.sleep(1)
        assert home.book.batch_count() == 0
        for command in (["settle"], ["work", "--once"]):
            ended = subprocess.run(
                [sys.executable, "-m", "tanzhang", *command, "--home", home.folder, "--json"],
                env={**os.environ, **clocks.set("command", timedelta(minutes=2))},
                capture_output=True,
            )
            assert (ended.returncode, json.loads(ended.stdout)["code"]) == (1, "clock-ahead")
        clocks.set("worker-1", timedelta())
        assert_settles_boxes_alone(home, callers)
    assert_counted_once(home, callers)


def rides_and_boxes(service: Service, chance: random.Random) -> Callers:
    """Acts that wait for their day, and some that wait for nothing."""
    callers = Callers(service, 2, chance, lambda number, _: [box(number) if int(number) % 2 else ride(number)])
    faults(service, callers, [], chance)
    return callers


def assert_settles_boxes_alone(home: Home, callers: Callers) -> None:
    """What waits for nothing is settled soon; what waits for its day is not."""
    acknowledged = [each for told in callers.told for each in told.events]
    boxes = {each["id"] for each in acknowledged if each["source"] == "cainiao"}
    assert 0 < len(boxes) < len(acknowledged)
    wait_for(lambda: settled_references(home, acknowledged) >= boxes)
    assert settled_references(home, acknowledged) == boxes
