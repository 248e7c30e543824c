"""Reception: requests that wait at one moment are taken in together, by one thread of each process that serves.

An answer is given once the transaction that keeps what it acknowledges is durable. How much may wait is bounded, by
partner and in all; what does not find room is refused at once and may come again (docs/adr/0020).
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.service.receive import MOST_ROWS, Answer, Receiver, Request
from tanzhang.stores.home import Home

Done = Callable[[Answer], None]
_log = logging.getLogger("tanzhang.reception")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is taken in together, and how much may wait.

    A group ends at ``group_rows`` or ``group_bytes``, but holds one request at least. ``waiting_*`` bound what all
    partners together have in this process, from the first byte of a body to its answer; one of them may have its
    ``partner_share`` of that, and always one request.
    """

    group_rows: int = 50_000
    group_bytes: int = 32 << 20
    waiting_requests: int = 20_000
    waiting_rows: int = 4 * MOST_ROWS
    waiting_bytes: int = 256 << 20
    partner_share: float = 0.5


@dataclass(slots=True)
class Room:
    """What one request takes of what may wait."""

    partner: str
    size: int
    rows: int = 0
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class _Waiting:
    request: Request
    room: Room
    done: Done


@dataclass(slots=True)
class _Load:
    """What waits, of one partner or of all."""

    requests: int = 0
    rows: int = 0
    size: int = 0

    def add(self, requests: int, rows: int, size: int) -> None:
        self.requests += requests
        self.rows += rows
        self.size += size

    def exceeds(self, limits: Limits, share: float) -> bool:
        return (
            self.requests > limits.waiting_requests * share
            or self.rows > limits.waiting_rows * share
            or self.size > limits.waiting_bytes * share
        )


class Reception:
    """The requests that wait in this process. Started by the first of them; :meth:`close` ends it."""

    def __init__(self, home: Home, now: Callable[[], datetime], limits: Limits | None = None) -> None:
        self._home, self._now, self.limits = home, now, limits or Limits()
        self._queue: deque[_Waiting] = deque()
        self._all = _Load()
        self._by_partner: dict[str, _Load] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False
        self.counts: Counter[str] = Counter()
        """How many ``groups``, ``requests`` and ``rows`` were taken in, and how many requests were ``refused``."""

    @property
    def load(self) -> tuple[int, int, int]:
        """Requests, rows and bytes that wait at this moment."""
        return self._all.requests, self._all.rows, self._all.size

    @contextmanager
    def room(self, partner: str, size: int, *, dry_run: bool = False) -> Iterator[Room]:
        """Room for a request of so many bytes while its body is read and until it is answered.

        ``too-many-requests`` if this partner has its share already, ``overloaded`` if all of it is taken,
        ``shutting-down``.
        """
        room = Room(partner, 0, dry_run=dry_run)
        with self._changed:
            self._take(room, 1, 0, size)
        try:
            yield room
        finally:
            with self._changed:
                own = self._by_partner[partner]
                for load in (own, self._all):
                    load.add(-1, -room.rows, -room.size)
                if not own.requests:
                    del self._by_partner[partner]

    def submit(self, request: Request, room: Room, done: Done) -> None:
        """Have a request taken in; ``done`` is called with its answer, by another thread, once it is durable.

        A body that was packed may need more room now: refused as :meth:`room` does.
        """
        size = max(len(request.body), 0 if request.table is None else request.table.nbytes)
        with self._changed:
            self._take(room, 0, request.rows, max(size - room.size, 0))
            self._queue.append(_Waiting(request, room, done))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="reception", daemon=True)
                self._thread.start()
            self._changed.notify()

    def open(self) -> None:
        """Take requests in again after :meth:`close`."""
        with self._changed:
            self._closed, self._thread = False, None

    def close(self) -> None:
        """Refuse what waits with ``shutting-down`` and end, once the group that is being taken in is answered."""
        with self._changed:
            self._closed = True
            left = list(self._queue)
            self._queue.clear()
            self._changed.notify_all()
        for each in left:
            each.done(Answer(error=_shutting_down()))
        if self._thread is not None:
            self._thread.join()

    def _take(self, room: Room, requests: int, rows: int, size: int) -> None:
        """Give more room to a request, or refuse it; under the lock."""
        if self._closed:
            raise _shutting_down()
        own = self._by_partner.setdefault(room.partner, _Load())
        for load, share, refused in (
            (own, self.limits.partner_share, _too_many),
            (self._all, 1.0, _overloaded),
        ):
            load.add(requests, rows, size)
            alone = load.requests <= 1
            if load.exceeds(self.limits, share) and not alone:
                for added in (own, self._all) if load is self._all else (own,):
                    added.add(-requests, -rows, -size)
                if not own.requests:
                    del self._by_partner[room.partner]
                self.counts["refused"] += 1
                raise refused(room.partner)
        room.rows += rows
        room.size += size

    def _run(self) -> None:
        receiver: Receiver | None = None
        while True:
            group = self._next_group()
            if not group:
                return
            if receiver is None:
                try:
                    receiver = Receiver(self._home)
                except TanzhangError as error:
                    _answer(group, [Answer(error=error)] * len(group))
                    continue
            for dry_run in (False, True):
                some = [each for each in group if each.room.dry_run == dry_run]
                if some:
                    self._serve(receiver, some, dry_run)

    def _next_group(self) -> list[_Waiting]:
        """What waits, as much as one group may hold; empty when the reception is closed."""
        with self._changed:
            while not self._queue and not self._closed:
                self._changed.wait()
            group: list[_Waiting] = []
            rows = size = 0
            while self._queue:
                following = self._queue[0].room
                rows, size = rows + following.rows, size + following.size
                if group and (rows > self.limits.group_rows or size > self.limits.group_bytes):
                    break
                group.append(self._queue.popleft())
            return group

    def _serve(self, receiver: Receiver, group: Sequence[_Waiting], dry_run: bool) -> None:
        requests = [each.request for each in group]
        try:
            answers = receiver.receive(requests, now=self._now(), dry_run=dry_run)
        except TanzhangError as error:  # of the book or the storage, so of all of them
            answers = [Answer(error=error)] * len(group)
        except Exception:
            _log.exception("a group of %d requests failed", len(group))
            if len(group) > 1:  # one that cannot be taken in must not take the others down
                for each in group:
                    self._serve(receiver, [each], dry_run)
                return
            answers = [Answer(error=_failed())]
        self.counts.update(groups=1, requests=len(group), rows=sum(each.rows for each in requests))
        _answer(group, answers)


def _answer(group: Sequence[_Waiting], answers: Sequence[Answer]) -> None:
    for each, answer in zip(group, answers, strict=True):
        try:
            each.done(answer)
        except Exception:
            _log.exception("nobody took the answer")


def _too_many(partner: str) -> TanzhangError:
    return refuse(
        "too-many-requests",
        f"{partner} has as much waiting here as one partner may",
        where="request",
        remedy="wait as long as header Retry-After says and send it again, with the same Idempotency-Key",
    )


def _overloaded(_: str) -> TanzhangError:
    return refuse(
        "overloaded",
        "more is waiting here than can be taken in soon",
        where="request",
        remedy="wait as long as header Retry-After says and send it again, with the same Idempotency-Key",
    )


def _shutting_down() -> TanzhangError:
    return refuse(
        "shutting-down",
        "this process is ending; nothing of the request was taken in",
        where="request",
        remedy="send it again, with the same Idempotency-Key",
    )


def _failed() -> TanzhangError:
    return TanzhangError(
        Problem("internal-error", "something went wrong inside", "request", "try again; then report it")
    )
