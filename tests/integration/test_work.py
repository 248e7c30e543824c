"""Workers: what is due is done, once, whoever does it, whatever fails and however the clock is set."""

from __future__ import annotations

import errno
import json
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tanzhang.core.access import Role
from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.service.access import open_session
from tanzhang.service.by_account import is_kept
from tanzhang.service.epoch import epochs
from tanzhang.service.receive import Receiver, Request
from tanzhang.service.work import SET_FORWARD_S, TRUSTED_AFTER_S, Chore, Clock, Daily, Every, Worker, chores
from tanzhang.stores.home import Home

from ..homes import ZONE, assert_verified, at_once_home, box, on, outcome, ride
from ..postgres import Server

NOON = on(5, 4)


class Watch:
    """A clock of the system and one that nobody can set, both moved by hand."""

    def __init__(self, now: datetime) -> None:
        self.now, self.steady_s = now, 1_000.0

    def pass_by(self, **span: float) -> None:
        self.now += timedelta(**span)
        self.steady_s += timedelta(**span).total_seconds()

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.now, lambda: self.steady_s)


@pytest.fixture(params=["sqlite", "postgresql"])
def home(request: pytest.FixtureRequest, quick: Path) -> Home:
    if request.param == "sqlite":
        return at_once_home(quick / "home")
    server: Server = request.getfixturevalue("postgres")
    return at_once_home(quick / "home", book=server.address(server.database(), "work"))


def send(home: Home, *events: dict[str, Any], now: datetime = NOON) -> None:
    requests = [Request(each["source"], [json.dumps(each).encode()]) for each in events]
    assert all(json.loads(answer.body)["accepted"] == 1 for answer in Receiver(home).receive(requests, now=now))


def worker(home: Home, watch: Watch, *todo: Chore) -> Worker:
    return Worker(lambda: Home(home.folder), todo or chores(), clock=watch.clock)


def results(done: list[dict[str, Any]]) -> dict[str, str]:
    return {each["chore"]: each["result"] for each in done}


def test_a_day_of_work_settles_at_once_then_the_day_then_closes_it(home: Home) -> None:
    watch = Watch(NOON)
    working = worker(home, watch)
    first = results(working.round(home, chores()))
    nothing = ("settle", "points", "epoch", "publish", "tidy_log", "forget", "erase")
    assert first == dict.fromkeys(nothing, "nothing") | {"tidy": "done"}
    early = box("b1")
    early["time"] = "2025-06-05T11:00:00+08:00"
    send(home, early, ride("r1"))
    watch.pass_by(seconds=1)
    assert results(working.round(home, chores())) == {
        "settle_at_once": "done",
        "award": "done",
        "by_account": "done",
    }
    assert is_kept(home)
    assert outcome(home, box("b1")) == ["granted"]
    assert working.round(home, chores()) == []
    watch.pass_by(hours=12)  # one minute after midnight has come, ten minutes after not
    watch.now = on(5, 16) + timedelta(minutes=2)
    assert results(working.round(home, chores())) == dict.fromkeys(
        ("settle", "publish", "tidy_log", "forget", "erase"), "nothing"
    )
    watch.pass_by(minutes=10)
    assert results(working.round(home, chores()))["epoch"] == "done"
    assert [each["day"] for each in epochs(home)] == ["2025-06-05"]
    watch.pass_by(days=2)
    assert results(working.round(home, chores()))["settle"] == "done"
    assert outcome(home, ride("r1")) == ["granted"]
    assert_verified(home)


def test_what_fails_is_tried_again_later_each_time_and_stops_nothing_else(home: Home) -> None:
    watch, calls = Watch(NOON), list[str]()

    def failing(_home: Home, _now: datetime) -> Mapping[str, Any] | None:
        calls.append("failing")
        if len(calls) < 4:
            raise RuntimeError("the disk is on fire")
        return {"calls": len(calls)}

    def good(_home: Home, _now: datetime) -> None:
        calls.append("good")

    todo = (Chore("failing", Every(timedelta(hours=1)), failing), Chore("good", Every(timedelta(hours=1)), good))
    working = worker(home, watch, *todo)
    assert results(working.round(home, todo)) == {"failing": "failed", "good": "nothing"}
    (failed, _) = home.chores.rows()
    assert (failed.result, failed.failures, json.loads(failed.said)["code"]) == ("failed", 1, "internal-error")
    waited = []
    for _ in range(2):
        seconds = 0
        while not (done := working.round(home, todo)):
            watch.pass_by(seconds=1)
            seconds += 1
        assert results(done) in ({"failing": "failed"}, {"failing": "done"})
        waited.append(seconds)
    assert waited == [2, 4]
    (done_row, _) = home.chores.rows()
    assert (done_row.result, done_row.failures, done_row.said) == ("done", 0, '{"calls": 4}')


def test_a_busy_home_and_an_epoch_that_has_to_wait_are_no_failures(home: Home) -> None:
    watch = Watch(NOON)

    def waits(_home: Home, _now: datetime) -> None:
        raise refuse("epoch-unsettled", "three reports wait", where="--day", remedy="settle")

    todo = (*chores()[1:2], Chore("epoch", Every(timedelta(hours=1)), waits))
    with home.settling():
        done = worker(home, watch, *todo).round(Home(home.folder), todo)
    assert results(done) == {"settle": "busy", "epoch": "busy"}
    assert {row.failures for row in home.chores.rows()} == {0}
    watch.pass_by(seconds=2)
    assert results(worker(home, watch, *todo).round(home, todo)) == {"settle": "nothing"}


def test_a_worker_that_died_leaves_its_chore_to_the_next(home: Home) -> None:
    watch = Watch(NOON)
    chore = chores()[1]
    assert home.chores.take(chore.name, "dead:1", now=watch.now, lease=chore.lease)
    assert worker(home, watch, chore).round(home, [chore]) == []
    watch.pass_by(seconds=11)
    assert results(worker(home, watch, chore).round(home, [chore])) == {"settle": "nothing"}
    assert home.chores.rows()[0].worker != "dead:1"


def test_five_workers_settle_each_act_once(home: Home) -> None:
    watch = Watch(NOON)
    send(home, *(box(f"b{n}", f"s{n}") | {"time": "2025-06-05T11:00:00+08:00"} for n in range(20)))
    done: list[dict[str, Any]] = []

    def one() -> None:
        own = Home(home.folder)
        done.extend(worker(home, watch).round(own, chores()))
        own.book.close()

    threads = [threading.Thread(target=one) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {each["result"] for each in done} <= {"done", "nothing", "busy"}
    watch.pass_by(seconds=2)  # where publishing kept all of them from settling
    done += worker(home, watch).round(home, chores())
    settled = [each["said"] for each in done if each["chore"].startswith("settle") and each["result"] == "done"]
    assert [each["records"] for each in settled] == [20]
    assert home.book.batch_count() == 1
    assert_verified(home)


def test_a_clock_set_back_neither_stops_the_chores_nor_books_twice(home: Home) -> None:
    watch = Watch(on(6))
    working = worker(home, watch)
    send(home, box("b1"), now=watch.now)
    assert results(working.round(home, chores()))["settle_at_once"] == "done"
    watch.now -= timedelta(days=1)
    send(home, box("b1"), box("b2") | {"time": "2025-06-05T08:00:00+08:00"}, now=watch.now + timedelta(hours=12))
    assert results(working.round(home, chores()))["settle_at_once"] == "done"  # though it was taken tomorrow
    watch.now += timedelta(days=1)
    watch.pass_by(seconds=TRUSTED_AFTER_S + 1)
    working.round(home, chores())
    watch.pass_by(seconds=TRUSTED_AFTER_S + 1)
    working.round(home, chores())
    assert sorted(outcome(home, box("b1"))) == ["granted", "repeat"]
    assert outcome(home, box("b2")) == ["granted"]
    assert_verified(home)


def test_a_clock_set_forward_closes_no_day_until_it_has_stood_for_a_while(home: Home) -> None:
    watch = Watch(NOON)
    working = worker(home, watch)
    working.round(home, chores())
    send(home, ride("r1"))
    watch.now += timedelta(days=30)
    done = results(working.round(home, chores()))
    assert set(done) == {"publish", "tidy_log"}
    watch.now -= timedelta(days=30)  # somebody noticed
    watch.pass_by(seconds=2)
    working.round(home, chores())
    assert home.book.batch_count() == 0
    watch.now += timedelta(days=3)  # it was wrong before: the machine had slept without its battery
    assert "settle" not in results(working.round(home, chores()))
    watch.pass_by(seconds=TRUSTED_AFTER_S)
    assert results(working.round(home, chores()))["settle"] == "done"
    assert outcome(home, ride("r1")) == ["granted"]
    assert_verified(home)


def test_small_corrections_of_the_clock_are_none() -> None:
    watch = Watch(NOON)
    clock = watch.clock
    for _ in range(10):
        watch.now += timedelta(seconds=SET_FORWARD_S)
        assert clock.read()[1]
    watch.now += timedelta(seconds=SET_FORWARD_S + 1)
    assert not clock.read()[1]


def test_a_daily_chore_is_due_after_each_local_midnight() -> None:
    daily = Daily(timedelta(minutes=10))
    for now, due in (
        (datetime(2025, 6, 5, 0, 5, tzinfo=ZONE), datetime(2025, 6, 5, 0, 10, tzinfo=ZONE)),
        (datetime(2025, 6, 5, 0, 10, tzinfo=ZONE), datetime(2025, 6, 6, 0, 10, tzinfo=ZONE)),
        (datetime(2025, 6, 5, 23, 59, tzinfo=ZONE), datetime(2025, 6, 6, 0, 10, tzinfo=ZONE)),
    ):
        assert daily.following(now, now.astimezone(UTC), ZONE) == due


def test_sessions_that_ended_are_forgotten(home: Home) -> None:
    open_session(home, Role.OPERATOR, "ops", now=on(1))
    open_session(home, Role.OPERATOR, "ops", now=on(5))
    assert results(worker(home, Watch(NOON)).round(home, chores()))["forget"] == "done"
    assert len(home.access.sessions(Role.OPERATOR, "ops")) == 1


def test_once_does_every_chore_whenever_it_would_be_due(home: Home) -> None:
    watch = Watch(on(6))
    send(home, box("b1"), now=watch.now)
    for wanted in ("done", "nothing"):
        done = results(worker(home, watch).once())
        assert set(done) == {each.name for each in chores()}
        assert done["settle_at_once"] == wanted


def test_a_clock_that_is_ahead_of_the_databases_closes_nothing(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    """Where the book is in a file there is no other clock to ask, and it is believed."""
    watch = Watch(datetime.now(UTC) + timedelta(minutes=2))
    yesterday = {"time": (watch.now - timedelta(days=1)).astimezone(ZONE).isoformat()}
    send(home, box("b1") | yesterday, now=watch.now)
    done = results(worker(home, watch).round(home, chores()))
    if home.book.moment() is None:
        assert done["settle_at_once"] == "done"
        return
    assert done == dict.fromkeys(("publish", "tidy_log"), "nothing")
    worker(home, watch).round(home, chores())
    assert [line.getMessage().partition(":")[0] for line in caplog.records] == 2 * ["clock-ahead"]
    with pytest.raises(TanzhangError, match="clock-ahead"):
        worker(home, watch).once()
    watch.now -= timedelta(minutes=1, seconds=30)  # by so much clocks may differ
    assert results(worker(home, watch).round(home, chores()))["settle_at_once"] == "done"
    assert outcome(home, box("b1")) == ["granted"]


def test_a_disk_that_is_full_is_said_so_and_tried_again_twice_a_minute(home: Home) -> None:
    def full(_home: Home, _now: datetime) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "records/00000000/records.parquet")

    todo = (Chore("settle", Every(timedelta(hours=1)), full),)
    watch = Watch(NOON)
    for _ in range(7):
        assert results(worker(home, watch, *todo).round(home, todo)) == {"settle": "failed"}
        watch.pass_by(seconds=30)
    (row,) = home.chores.rows()
    said = json.loads(row.said)
    assert (row.failures, said["code"], said["where"]) == (7, "file-system", "records/00000000/records.parquet")
