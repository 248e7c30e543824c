"""Reception: reports of partners that wait at one moment are taken in together, by one thread of each process.

How they wait, and how much of them may, is that of every :mod:`tanzhang.service.line` (docs/adr/0020).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from tanzhang.core.errors import TanzhangError
from tanzhang.service import line
from tanzhang.service.line import Line, Room
from tanzhang.service.receive import MOST_ROWS, Answer, Receiver, Request
from tanzhang.stores.home import Home


@dataclass(frozen=True, slots=True)
class Limits(line.Limits):
    """How many rows of reports are taken in together, and how many may wait; half of it for one partner."""

    group_rows: int = 50_000
    group_bytes: int = 32 << 20
    waiting_requests: int = 20_000
    waiting_rows: int = 4 * MOST_ROWS
    waiting_bytes: int = 256 << 20


class Reception(Line[Request, Answer]):
    """The requests that wait in this process. Started by the first of them; :meth:`close` ends it."""

    name = "reception"

    def __init__(self, home: Home, now: Callable[[], datetime], limits: Limits | None = None) -> None:
        super().__init__(limits or Limits())
        self._home, self._now = home, now
        self._receiver: Receiver | None = None

    def submit(self, request: Request, room: Room, done: Callable[[Answer], None]) -> None:
        """Have a request taken in; see :meth:`Line.enter`. A body that was packed may need more room now."""
        size = max(len(request.body), 0 if request.table is None else request.table.nbytes)
        self.enter(request, room, done, rows=request.rows, size=size)

    def open(self) -> None:
        """Take requests in again after :meth:`close`, in a new thread with an engine of its own."""
        super().open()
        self._receiver = None

    def answers_to(self, requests: Sequence[Request], dry_run: bool) -> Sequence[Answer]:
        """Each request answered row by row, once what all of them brought is durable."""
        self._receiver = self._receiver or Receiver(self._home)
        return self._receiver.receive(requests, now=self._now(), dry_run=dry_run)

    def refusal(self, error: TanzhangError) -> Answer:
        """Why a request was refused as a whole."""
        return Answer(error=error)
