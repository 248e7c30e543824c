"""A line: requests that wait at one moment are answered together, by one thread of each process that serves.

An answer is given once the transaction that keeps what it acknowledges is durable. How much may wait is bounded, for
one caller and in all; what does not find room is refused at once and may come again (docs/adr/0020). What is done with
a group is a subclass's: :mod:`tanzhang.service.reception` takes reports in, :mod:`tanzhang.service.teller` places
orders.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from tanzhang.core.errors import Problem, TanzhangError, refuse

Asked = TypeVar("Asked")
Given = TypeVar("Given")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is answered together, and how much may wait.

    A group ends at ``group_rows`` or ``group_bytes``, but holds one request at least. ``waiting_*`` bound what all
    callers together have in this process, from the first byte of a body to its answer; one of them may have its
    ``share`` of that, and always one request.
    """

    group_rows: int
    group_bytes: int
    waiting_requests: int
    waiting_rows: int
    waiting_bytes: int
    share: float = 0.5


@dataclass(slots=True)
class Room:
    """What one request of a caller takes of what may wait."""

    who: str
    size: int
    rows: int = 0
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Waiting(Generic[Asked, Given]):
    """A request in the line, and whom to give its answer."""

    request: Asked
    room: Room
    done: Callable[[Given], None]


@dataclass(slots=True)
class _Load:
    """What waits, of one caller or of all."""

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


class Line(Generic[Asked, Given]):
    """The requests that wait in this process. Started by the first of them; :meth:`close` ends it."""

    name = "line"
    """What its thread and its log are called."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._queue: deque[Waiting[Asked, Given]] = deque()
        self._all = _Load()
        self._by_caller: dict[str, _Load] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._log = logging.getLogger(f"tanzhang.{self.name}")
        self.counts: Counter[str] = Counter()
        """How many ``groups``, ``requests`` and ``rows`` were answered, and how many requests were ``refused``."""

    # -- what a subclass does ---------------------------------------------------------------------------------

    def answers_to(self, requests: Sequence[Asked], dry_run: bool) -> Sequence[Given]:
        """The answers to requests of one group, in their order; an error is the answer to each of them."""
        raise NotImplementedError

    def refusal(self, error: TanzhangError) -> Given:
        """An error as an answer."""
        raise NotImplementedError

    # -- what all have in common ------------------------------------------------------------------------------

    @property
    def load(self) -> tuple[int, int, int]:
        """Requests, rows and bytes that wait at this moment."""
        return self._all.requests, self._all.rows, self._all.size

    @contextmanager
    def room(self, who: str, size: int, *, dry_run: bool = False) -> Iterator[Room]:
        """Room for a request of so many bytes while its body is read and until it is answered.

        ``too-many-requests`` if this caller has its share already, ``overloaded`` if all of it is taken,
        ``shutting-down``.
        """
        room = Room(who, 0, dry_run=dry_run)
        with self._changed:
            self._take(room, 1, 0, size)
        try:
            yield room
        finally:
            with self._changed:
                own = self._by_caller[who]
                for load in (own, self._all):
                    load.add(-1, -room.rows, -room.size)
                if not own.requests:
                    del self._by_caller[who]

    def enter(self, request: Asked, room: Room, done: Callable[[Given], None], *, rows: int, size: int) -> None:
        """Have a request answered; ``done`` is called with its answer, by another thread, once it is durable.

        A request of more rows or bytes than its room may need more now: refused as :meth:`room` does.
        """
        with self._changed:
            self._take(room, 0, rows, max(size - room.size, 0))
            self._queue.append(Waiting(request, room, done))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
                self._thread.start()
            self._changed.notify()

    def open(self) -> None:
        """Take requests in again after :meth:`close`."""
        with self._changed:
            self._closed, self._thread = False, None

    def close(self) -> None:
        """Refuse what waits with ``shutting-down`` and end, once the group that is being answered has its answers."""
        with self._changed:
            self._closed = True
            left = list(self._queue)
            self._queue.clear()
            self._changed.notify_all()
        for each in left:
            each.done(self.refusal(_shutting_down()))
        if self._thread is not None:
            self._thread.join()

    def _take(self, room: Room, requests: int, rows: int, size: int) -> None:
        """Give more room to a request, or refuse it; under the lock."""
        if self._closed:
            raise _shutting_down()
        own = self._by_caller.setdefault(room.who, _Load())
        for load, share, refused in (
            (own, self.limits.share, _too_many),
            (self._all, 1.0, _overloaded),
        ):
            load.add(requests, rows, size)
            alone = load.requests <= 1
            if load.exceeds(self.limits, share) and not alone:
                for added in (own, self._all) if load is self._all else (own,):
                    added.add(-requests, -rows, -size)
                if not own.requests:
                    del self._by_caller[room.who]
                self.counts["refused"] += 1
                raise refused(room.who)
        room.rows += rows
        room.size += size

    def _run(self) -> None:
        while group := self._next_group():
            for dry_run in (False, True):
                some = [each for each in group if each.room.dry_run == dry_run]
                if some:
                    self._serve(some, dry_run)

    def _next_group(self) -> list[Waiting[Asked, Given]]:
        """What waits, as much as one group may hold; empty when the line is closed."""
        with self._changed:
            while not self._queue and not self._closed:
                self._changed.wait()
            group: list[Waiting[Asked, Given]] = []
            rows = size = 0
            while self._queue:
                following = self._queue[0].room
                rows, size = rows + following.rows, size + following.size
                if group and (rows > self.limits.group_rows or size > self.limits.group_bytes):
                    break
                group.append(self._queue.popleft())
            return group

    def _serve(self, group: Sequence[Waiting[Asked, Given]], dry_run: bool) -> None:
        answers: Iterable[Given]
        try:
            answers = self.answers_to([each.request for each in group], dry_run)
        except TanzhangError as error:  # of the book or the storage, so of all of them
            answers = [self.refusal(error)] * len(group)
        except Exception:
            self._log.exception("a group of %d requests failed", len(group))
            if len(group) > 1:  # one that cannot be answered must not take the others down
                for each in group:
                    self._serve([each], dry_run)
                return
            answers = [self.refusal(_failed())]
        self.counts.update(groups=1, requests=len(group), rows=sum(each.room.rows for each in group))
        for each, answer in zip(group, answers, strict=True):
            try:
                each.done(answer)
            except Exception:
                self._log.exception("nobody took the answer")


def _too_many(who: str) -> TanzhangError:
    return refuse(
        "too-many-requests",
        f"{who} has as much waiting here as one caller may",
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
