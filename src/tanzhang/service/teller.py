"""Teller: orders that wait at one moment are placed together, by one thread of each process that serves.

How they wait, and how much of them may, is that of every :mod:`tanzhang.service.line` (docs/adr/0020, 0028).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from tanzhang.core.errors import TanzhangError
from tanzhang.service import line
from tanzhang.service.line import Line, Room
from tanzhang.service.mall import Placed, Wanted, place
from tanzhang.stores.home import Home


@dataclass(frozen=True, slots=True)
class Limits(line.Limits):
    """How many orders are placed together, and how many may wait; 8 of one account. A row is an order."""

    group_rows: int = 1_000
    group_bytes: int = 8 << 20
    waiting_requests: int = 20_000
    waiting_rows: int = 20_000
    waiting_bytes: int = 64 << 20
    share: float = 8 / 20_000


class Teller(Line[Wanted, Placed]):
    """The orders that wait in this process. Started by the first of them; :meth:`close` ends it."""

    name = "teller"

    def __init__(self, home: Home, now: Callable[[], datetime], limits: Limits | None = None) -> None:
        super().__init__(limits or Limits())
        self._home, self._now = home, now

    def submit(self, wanted: Wanted, room: Room, done: Callable[[Placed], None]) -> None:
        """Have an order placed; see :meth:`Line.enter`."""
        self.enter(wanted, room, done, rows=1, size=0)

    def answers_to(self, requests: Sequence[Wanted], dry_run: bool) -> Sequence[Placed]:
        """Each order placed or refused, once what was placed is durable."""
        return place(self._home, requests, now=self._now())

    def refusal(self, error: TanzhangError) -> Placed:
        """Why an order was not placed."""
        return Placed(error=error)
