"""Chores: what workers do by themselves, when each is due, and what became of its last run.

A worker takes a chore by moving its next time into the future, in one transaction; if it dies, the chore is due again
at that time. Nothing here is chained: a row says what to do next, not what was done to the book.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from tanzhang.stores.book import Book
from tanzhang.stores.book.schema import TEXT, metadata

chore = sa.Table(
    "chore",
    metadata,
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("worker", TEXT, nullable=False),  # host and process that took it last
    sa.Column("taken_at", TEXT, nullable=False),
    sa.Column("next_at", TEXT, nullable=False),
    sa.Column("ended_at", TEXT),  # of the last run that ended
    sa.Column("took_ms", sa.BigInteger),
    sa.Column("result", TEXT),  # done, nothing, busy or failed
    sa.Column("said", TEXT),  # JSON: what it did, or the problem
    sa.Column("failures", sa.Integer, nullable=False),  # in a row
)

CLOCKS_DIFFER = timedelta(minutes=1)
"""By how much clocks of machines may differ. A chore taken later than this after now was taken by a wrong clock."""


class Chores:
    """The chores of a home."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def rows(self) -> list[Any]:
        """Every chore that was ever taken, by name."""
        return self._book.query(sa.select(chore).order_by(chore.c.name))

    def worker_seen_since(self, moment: datetime) -> bool:
        """Whether any worker took a chore, or ended one, since a moment."""
        text = _text(moment)
        lately = sa.select(chore.c.name).where((chore.c.taken_at >= text) | (chore.c.ended_at >= text))
        return bool(self._book.query(lately.limit(1)))

    def take(self, name: str, worker: str, *, now: datetime, lease: timedelta, always: bool = False) -> bool:
        """Whether a chore is this worker's now: it is due, was never taken, or is taken ``always``.

        Unless :meth:`ended` is called it is due again after ``lease``.
        """
        values = {"worker": worker, "taken_at": _text(now), "next_at": _text(now + lease)}
        own = chore.c.name == name
        with self._book.transaction() as con:
            if con.execute(chore.update().where(own if always else own & _is_due(now)).values(values)).rowcount:
                return True
            if con.execute(sa.select(chore.c.name).where(own)).first() is not None:
                return False
            con.execute(chore.insert(), {"name": name, "failures": 0, **values})
        return True

    def ended(
        self,
        name: str,
        result: str,
        *,
        now: datetime,
        next_at: datetime,
        took_ms: int,
        failures: int,
        said: Mapping[str, Any] | None,
    ) -> None:
        """What became of a chore, and when it is due again."""
        values = {
            "ended_at": _text(now),
            "next_at": _text(next_at),
            "took_ms": took_ms,
            "result": result,
            "said": None if said is None else json.dumps(said, ensure_ascii=False),
            "failures": failures,
        }
        with self._book.transaction() as con:
            con.execute(chore.update().where(chore.c.name == name).values(values))


def is_due(row: Any, now: datetime) -> bool:
    """Whether a chore may be taken; one that was taken in the future may, since that clock was wrong."""
    return bool(row.next_at <= _text(now) or row.taken_at > _text(now + CLOCKS_DIFFER))


def _is_due(now: datetime) -> sa.ColumnElement[bool]:
    return (chore.c.next_at <= _text(now)) | (chore.c.taken_at > _text(now + CLOCKS_DIFFER))


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
