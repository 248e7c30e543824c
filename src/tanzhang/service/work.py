"""Work: what a home needs done again and again, by any number of workers, each chore at its time.

A chore that fails is tried again, later each time, and keeps no other from its turn. Whatever books something holds
the home's lock, so of several workers one settles and the others find the home busy, which is as it should be. Chores
that call others outside, or sort what was settled, have a thread and a home of their own, so that neither somebody's
slow server nor a large batch delays a settlement.

What is settled is final, so a clock that was set forward must not close days that are not over: while the system's
clock is ahead of where a clock that nobody can set says it should be, final chores wait (:class:`Clock`). So they do
while it is ahead of that of the database's server, which tells one that was wrong from the start. A clock that was set
back loses nothing: reports keep the day they came on, and what a batch consumed is known by its rows.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tanzhang.core.errors import TanzhangError, file_system_problem
from tanzhang.service.award import award_due, expire_due
from tanzhang.service.award import is_due as is_award_due
from tanzhang.service.benefit_tokens import expire_tokens
from tanzhang.service.by_account import is_kept, keep
from tanzhang.service.epoch import close
from tanzhang.service.guard import look
from tanzhang.service.log import tidy as tidy_log
from tanzhang.service.mall import expire as expire_orders
from tanzhang.service.mall import forget_addresses
from tanzhang.service.market.auctions import close_due
from tanzhang.service.market.compensate import compensate_due
from tanzhang.service.market.compensate import is_due as is_compensation_due
from tanzhang.service.market.deals import lapse_due
from tanzhang.service.market.payback import end_escrow
from tanzhang.service.market.payback import is_due as is_payback_due
from tanzhang.service.market.payback import run_due as pay_back_due
from tanzhang.service.moments import check_not_ahead, received_at
from tanzhang.service.privacy import erase_due
from tanzhang.service.retention import tidy
from tanzhang.service.settle import settle
from tanzhang.service.transfers import settle_transfers
from tanzhang.service.upload import expire
from tanzhang.service.webhooks import deliver_due
from tanzhang.stores.home import Home
from tanzhang.stores.register.benefits import ISSUED, PENDING
from tanzhang.stores.register.chores import is_due
from tanzhang.stores.register.payback import HELD

AT_ONCE_EVERY_S = 2.0
"""By default, after how many seconds at the least what waits for nothing is settled again."""
POLL_S = 0.2
_MOST_BACK_OFF, _MOST_OF_AN_OUTAGE = timedelta(minutes=5), timedelta(seconds=30)
_SOON, _LATER = timedelta(seconds=1), timedelta(minutes=1)
_WAITS = {"home-busy": _SOON, "book-moved": _SOON, "epoch-unsettled": _LATER}
"""Refusals that are no failures: somebody else is at it, or it is not its turn yet."""
_OUTAGES = frozenset({"book-unusable", "storage-unusable", "file-system"})
"""Failures that are nothing of the chore's: whoever ends them expects it to go on soon."""
_log = logging.getLogger("tanzhang.work")

Said = Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Every:
    """A schedule: again so long after the last run began."""

    interval: timedelta

    def following(self, taken: datetime, now: datetime, _zone: ZoneInfo) -> datetime:
        """When a chore is due that was taken at a moment and has ended now."""
        return max(taken + self.interval, now)


@dataclass(frozen=True, slots=True)
class Daily:
    """A schedule: once a local day, so long after midnight."""

    after_midnight: timedelta

    def following(self, _taken: datetime, now: datetime, zone: ZoneInfo) -> datetime:
        """When a chore is due that has ended now."""
        local = (now - self.after_midnight).astimezone(zone)
        midnight = datetime(local.year, local.month, local.day, tzinfo=zone) + timedelta(days=1)
        return midnight.astimezone(UTC) + self.after_midnight


@dataclass(frozen=True, slots=True)
class Chore:
    """Something to be done again and again.

    ``do`` returns what it did as JSON members, None for nothing. Without ``wanted`` it is not even taken. ``lease``: if
    its worker dies another one takes it after so long. ``outside``: it calls others, and may wait for them. ``beside``:
    it may take long, and books nothing. ``final``: what it does rests on days or hours being over, and stays so.
    """

    name: str
    schedule: Every | Daily
    do: Callable[[Home, datetime], Said]
    lease: timedelta = timedelta(seconds=10)
    wanted: Callable[[Home], bool] = lambda _home: True
    outside: bool = False
    beside: bool = False
    final: bool = False


def chores(at_once_every_s: float = AT_ONCE_EVERY_S) -> tuple[Chore, ...]:
    """What every home needs done, in the order in which it is done when all of it is due."""
    return (
        Chore(
            "settle_at_once",
            Every(timedelta(seconds=at_once_every_s)),
            _settle_at_once,
            wanted=_waits_for_nothing,
            final=True,
        ),
        # A minute after midnight: whoever was answered before it is in the inbox by then.
        Chore("settle", Daily(timedelta(minutes=1)), _settle, final=True),
        Chore("compensate", Every(timedelta(minutes=1)), _compensate, wanted=is_compensation_due),
        Chore("award", Every(timedelta(seconds=at_once_every_s)), _award, wanted=is_award_due),
        Chore("payback", Every(timedelta(seconds=at_once_every_s)), _pay_back, wanted=is_payback_due),
        Chore("escrow", Daily(timedelta(minutes=20)), _end_escrow, wanted=_has_escrow, final=True),
        # Five minutes after midnight: what ended on the day before is counted by nobody any more.
        Chore("points", Daily(timedelta(minutes=5)), _expire_points, final=True),
        Chore("guard", Every(timedelta(hours=1)), _look, wanted=_is_guarded),
        Chore("epoch", Daily(timedelta(minutes=10)), _close_epoch, final=True),
        Chore("publish", Every(timedelta(minutes=1)), _publish),
        Chore("tidy", Daily(timedelta(hours=3, minutes=30)), _tidy, final=True),
        Chore("tidy_log", Every(timedelta(hours=1)), _tidy_log),
        Chore("forget", Every(timedelta(hours=1)), _forget, outside=True, final=True),
        Chore("mall", Every(timedelta(minutes=1)), _expire_orders, wanted=_has_ordered, final=True),
        Chore("auctions", Every(timedelta(minutes=1)), _close_auctions, wanted=_has_auction, final=True),
        Chore("deals", Every(timedelta(hours=1)), _lapse_deals, wanted=_has_deal, final=True),
        Chore("erase", Every(timedelta(hours=1)), _erase_due, final=True),
        Chore(
            "webhooks",
            Every(timedelta(seconds=2)),
            _deliver,
            lease=timedelta(minutes=2),
            wanted=_has_told,
            outside=True,
        ),
        Chore(
            "benefit_tokens",
            Every(timedelta(minutes=1)),
            _expire_tokens,
            wanted=lambda home: home.benefits.has(ISSUED),
            final=True,
        ),
        Chore(
            "bank_transfers",
            Every(timedelta(seconds=2)),
            _transfer,
            lease=timedelta(minutes=6),
            wanted=lambda home: home.benefits.has(PENDING),
            outside=True,
        ),
        Chore(
            "by_account",
            Every(timedelta(seconds=2)),
            _sort_by_account,
            lease=timedelta(minutes=2),
            wanted=lambda home: not is_kept(home),
            beside=True,
        ),
    )


def _waits_for_nothing(home: Home) -> bool:
    """Whether there is anything to settle at once, by two look-ups in small tables."""
    return home.deliveries.is_waiting_at_once() or bool(home.book.open_submissions(at_once=True))


def _settle_at_once(home: Home, now: datetime) -> Said:
    return _settled(settle(home, now=now, at_once=True))


def _settle(home: Home, now: datetime) -> Said:
    return _settled(settle(home, now=now))


def _settled(answer: Mapping[str, Any]) -> Said:
    return None if answer["batch"] is None else {name: answer[name] for name in ("batch", "through", "records")}


def _compensate(home: Home, now: datetime) -> Said:
    done = compensate_due(home, now=now)
    return done if done["cancelled"] != "0" else None


def _award(home: Home, now: datetime) -> Said:
    done = award_due(home, now=now)
    return done if done["batches"] else None


def _pay_back(home: Home, now: datetime) -> Said:
    done = pay_back_due(home, now=now)
    return {"sales": done["sales"], "fen": done["fen"]} if done["sales"] else None


def _has_escrow(home: Home) -> bool:
    return bool(home.payback.escrow(state=HELD))


def _end_escrow(home: Home, now: datetime) -> Said:
    done = end_escrow(home, now=now)
    return {"amounts": done["amounts"], "fen": done["fen"]} if done["amounts"] else None


def _expire_points(home: Home, now: datetime) -> Said:
    return expire_due(home, now=now) or None


def _is_guarded(home: Home) -> bool:
    return home.programme.guard is not None


def _look(home: Home, now: datetime) -> Said:
    """Hold what looks wrong before its window closes, so that people are told early; settlement looks again."""
    said = look(home, now=now)
    return said if said["looked_at"] else None


def _close_epoch(home: Home, now: datetime) -> Said:
    try:
        return {"day": close(home, now=now)["day"]}
    except TanzhangError as error:
        if error.code in ("epoch-empty", "epoch-passed"):  # there is no batch yet, or somebody closed a later day
            return None
        raise


def _publish(home: Home, _now: datetime) -> Said:
    """What a worker that died booked and did not publish; signatures of witnesses that did not answer before."""
    with home.settling():
        home.publish()
    return None


def _tidy(home: Home, now: datetime) -> Said:
    return tidy(home, now=now)


def _tidy_log(home: Home, _now: datetime) -> Said:
    """Partial tiles are written anew with each batch, up to 256 times as long as what they end up as."""
    removed = tidy_log(home)["removed"]
    return {"removed": removed} if removed else None


def _forget(home: Home, now: datetime) -> Said:
    said = {"sessions": home.access.forget_sessions(received_at(now)), "uploads": expire(home, now=now)}
    said["addresses"] = forget_addresses(home, now=now)
    return {name: count for name, count in said.items() if count} or None


def _has_ordered(home: Home) -> bool:
    return home.mall.waits()


def _expire_orders(home: Home, now: datetime) -> Said:
    expired = expire_orders(home, now=now)
    return {"expired": expired} if expired else None


def _has_auction(home: Home) -> bool:
    return home.auctions.waits()


def _close_auctions(home: Home, now: datetime) -> Said:
    closed = close_due(home, now=now)
    return {"auctions": closed} if closed else None


def _has_deal(home: Home) -> bool:
    return home.deals.waits()


def _lapse_deals(home: Home, now: datetime) -> Said:
    lapsed = lapse_due(home, now=now)
    return {"lapsed": lapsed} if lapsed else None


def _erase_due(home: Home, now: datetime) -> Said:
    done = erase_due(home, now=now)
    return {"persons": done["persons"]} if done["persons"] else None


def _sort_by_account(home: Home, _now: datetime) -> Said:
    added = keep(home, wait=False)
    return {"batches": added} if added else None


def _has_told(home: Home) -> bool:
    return home.webhooks.waits()


def _deliver(home: Home, now: datetime) -> Said:
    tried = deliver_due(home, now)
    return {"tried": tried} if tried else None


def _expire_tokens(home: Home, now: datetime) -> Said:
    ended = expire_tokens(home, now=now)
    return {"ended": ended} if ended else None


def _transfer(home: Home, now: datetime) -> Said:
    said = settle_transfers(home, now=now)
    return said if any(said.values()) else None


def steady() -> float:
    """Seconds of a clock that nobody can set; it runs on while the machine sleeps, where the system has such a one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Clock:
    """The system's clock, and whether to trust it: by how much it was set forward is seen by a clock nobody can set.

    It is trusted again when it was set back, or has stood for :data:`TRUSTED_AFTER_S`: then it was wrong before.
    """

    def __init__(
        self, now: Callable[[], datetime] = lambda: datetime.now(UTC), steady: Callable[[], float] = steady
    ) -> None:
        self._now, self._steady = now, steady
        self._offset_s = now().timestamp() - steady()
        self._since_s: float | None = None
        self._lock = threading.Lock()

    def read(self) -> tuple[datetime, bool]:
        """The moment, and whether days that are over by it are over."""
        with self._lock:
            now, at_s = self._now(), self._steady()
            offset_s = now.timestamp() - at_s
            if offset_s - self._offset_s <= SET_FORWARD_S:
                self._offset_s, self._since_s = offset_s, None  # small corrections one by one are none
                return now, True
            if self._since_s is None:
                self._since_s = at_s
                by = timedelta(seconds=round(offset_s - self._offset_s))
                _log.error("clock-set-forward: the clock was set forward by %s; nothing is settled for a while", by)
            if at_s - self._since_s < TRUSTED_AFTER_S:
                return now, False
            self._offset_s, self._since_s = offset_s, None
            return now, True


SET_FORWARD_S = 300.0
"""By how much a clock may be set forward without asking."""
TRUSTED_AFTER_S = 900.0
"""How long a clock that was set forward is not trusted to say which days are over."""


class Worker:
    """Does the chores of one home until it is stopped. Every thread opens a home of its own."""

    def __init__(
        self,
        open_home: Callable[[], Home],
        todo: Sequence[Chore],
        *,
        clock: Clock | None = None,
        poll_s: float = POLL_S,
    ) -> None:
        self._open, self._todo, self._poll_s = open_home, tuple(todo), poll_s
        self._clock = clock or Clock()
        self._stop = threading.Event()
        self._ahead = False
        self.name = f"{socket.gethostname()}:{os.getpid()}"

    def stop(self) -> None:
        """End when the chores at hand are done."""
        self._stop.set()

    def run(self, *, alive: Callable[[], bool] = lambda: True) -> None:
        """Do what is due, until stopped or no longer ``alive``."""
        lanes: dict[tuple[bool, bool], list[Chore]] = {}
        for each in self._todo:
            lanes.setdefault((each.outside, each.beside), []).append(each)
        threads = [threading.Thread(target=self._lane, args=(lane,)) for lane in lanes.values()]
        for thread in threads:
            thread.start()
        try:
            while not self._stop.wait(self._poll_s):
                if not alive():
                    break
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def once(self) -> list[dict[str, Any]]:
        """Do every chore now, whenever it would be due; what became of each. ``clock-ahead``."""
        home = self._open()
        check_not_ahead(home, self._clock.read()[0])
        return [
            self._do(home, each, self._clock.read()[0], failures=0) for each in self._todo if self._took(home, each)
        ]

    def _took(self, home: Home, chore: Chore) -> bool:
        return home.chores.take(chore.name, self.name, now=self._clock.read()[0], lease=chore.lease, always=True)

    def _may_close(self, home: Home, now: datetime) -> bool:
        """Whether days that are over by this moment are over by the clock of the book, too."""
        try:
            check_not_ahead(home, now)
        except TanzhangError as error:
            if error.code != "clock-ahead":
                raise
            if not self._ahead:
                self._ahead = True
                _log.error("clock-ahead: %s; nothing is settled from here", error.problems[0].message)
            return False
        self._ahead = False
        return True

    def _lane(self, todo: Sequence[Chore]) -> None:
        home: Home | None = None
        failures = 0
        while not self._stop.is_set():
            wait_s = self._poll_s
            try:
                home = home or self._open()
                self.round(home, todo)
                failures = 0
            except Exception as error:  # the book cannot be asked what is due: try again, from the start
                failures += 1
                _say("work", _problem(error), error)
                if home is not None:
                    home.book.close()
                home, wait_s = None, min(2.0**failures * self._poll_s, 30.0)
            self._stop.wait(wait_s)
        if home is not None:
            home.book.close()

    def round(self, home: Home, todo: Sequence[Chore]) -> list[dict[str, Any]]:
        """Do those chores that are due; what became of each that was this worker's."""
        rows = {row.name: row for row in home.chores.rows()}
        done = []
        for each in todo:
            now, trusted = self._clock.read()
            row = rows.get(each.name)
            if self._stop.is_set() or (each.final and not trusted) or (row is not None and not is_due(row, now)):
                continue
            if not each.wanted(home) or (each.final and not self._may_close(home, now)):
                continue
            if home.chores.take(each.name, self.name, now=now, lease=each.lease):
                done.append(self._do(home, each, now, failures=0 if row is None else row.failures))
        return done

    def _do(self, home: Home, chore: Chore, taken: datetime, *, failures: int) -> dict[str, Any]:
        began = steady()
        waits: timedelta | None = None
        try:
            said = chore.do(home, taken)
            result, failures = ("nothing" if said is None else "done"), 0
        except Exception as error:  # whatever it is, the next chore still has its turn
            problem = _problem(error)
            waits = _WAITS.get(problem["code"])
            result, said = ("busy" if waits is not None else "failed"), problem
            if waits is None:
                failures += 1
                most = _MOST_OF_AN_OUTAGE if problem["code"] in _OUTAGES else _MOST_BACK_OFF
                waits = min(timedelta(seconds=2.0 ** min(failures, 16)), most)
                _say(chore.name, problem, error)
        now = self._clock.read()[0]
        zone = ZoneInfo(home.programme.time_zone)
        next_at = chore.schedule.following(taken, now, zone) if waits is None else now + waits
        took_ms = round(1e3 * (steady() - began))
        home.chores.ended(chore.name, result, now=now, next_at=next_at, took_ms=took_ms, failures=failures, said=said)
        if result == "done":
            _log.info("%s: %s in %d ms", chore.name, said, took_ms)
        return {"chore": chore.name, "result": result, "took_ms": took_ms, "said": said}


def _problem(error: Exception) -> dict[str, str]:
    if isinstance(error, TanzhangError):
        return dict(error.problems[0].as_dict())
    if isinstance(error, OSError):
        return file_system_problem(error).as_dict()
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    return {"code": "internal-error", "message": reason, "where": "work", "remedy": "report this as a bug"}


def _say(name: str, problem: Mapping[str, str], error: Exception) -> None:
    inside = None if isinstance(error, TanzhangError) else error
    _log.error("%s failed: %s: %s", name, problem["code"], problem["message"], exc_info=inside)
