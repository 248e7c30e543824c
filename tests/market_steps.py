"""How steps are done: once, again, broken off before, or at once by two; what a step could change is looked at.

Once; again afterwards, when the same call answers the same and changes nothing; broken off at the end of its
transaction before, when nothing has changed and the same call does it; or at once by two, under one reference, when
one of them books, both get one answer or the second a refusal, and nothing is booked twice. What a step refuses
changes nothing either.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import sqlalchemy as sa

from tanzhang.core.errors import TanzhangError
from tanzhang.stores.book import Book
from tanzhang.stores.book.schema import append_only, metadata
from tanzhang.stores.home import Home

from .lots import LATER

HOWS = ("once", "again", "broken off", "at once")
Verb = Callable[[Home], Any]


class BrokenOffError(Exception):
    """What a process that dies at the end of a transaction leaves of it: nothing."""


@contextmanager
def broken_off(look: Callable[[sa.Connection], object] = lambda _: None) -> Iterator[None]:
    """Every transaction ends before it is committed; ``look`` sees what it wrote."""
    whole = Book.transaction

    @contextmanager
    def broken(book: Book) -> Iterator[sa.Connection]:
        with whole(book) as con:
            yield con
            look(con)
            raise BrokenOffError

    with patch.object(Book, "transaction", broken):
        yield


class Steps:
    """One home and what time it is; two more of its own look at the same book, for what is done at once."""

    def __init__(self, home: Home) -> None:
        self.home, self.now = home, LATER
        self.last: Any = None  # the last answer of a step, None where it was refused
        self._number, self._two = 0, (Home(home.folder), Home(home.folder))

    def close(self) -> None:
        """Let go of the book."""
        for each in (self.home, *self._two):
            each.book.close()

    def take(self, name: str, arguments: dict[str, Any]) -> bool:
        """A step by its name; whether anything changed."""
        before = self.seen()
        getattr(self, name)(**arguments)
        self.now += timedelta(minutes=1)
        return self.seen() != before

    def step(self, verb: Verb, how: str, *, has_key: bool = True) -> None:
        """Do something ``how``; :attr:`last` is what came of it.

        Without a key (a draft that is frozen, a file that is read) a repeat may be answered otherwise, or refused; that
        a file was read is in the audit trail each time.
        """
        before = self.seen()
        if how == "broken off":
            with broken_off(), suppress(BrokenOffError, TanzhangError):
                verb(self.home)
            assert self.seen() == before
        answer = self._at_once(verb, has_key=has_key) if how == "at once" else _answer(verb, self.home)
        self.last = None if isinstance(answer, TanzhangError) else answer
        if self.last is None:
            assert self.seen() == before
        elif how == "again":
            after, apart = self.seen(), () if has_key else ("audit",)
            again = _answer(verb, self.home)
            assert again == answer or not has_key
            assert _without(self.seen(), apart) == _without(after, apart)

    def _at_once(self, verb: Verb, *, has_key: bool) -> Any:
        """Two do one thing at one moment: what is added to the book is what one of them adds."""
        before, adds = self._counts(), Counter[str]()
        with broken_off(lambda con: adds.update(_grown(before, _counted(con)))):
            refused = isinstance(_answer(verb, self._two[0], BrokenOffError), TanzhangError)
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda home: _answer(verb, home), self._two))
        booked = [each for each in answers if not isinstance(each, TanzhangError)]
        assert bool(booked) != refused
        assert not has_key or all(each == booked[0] for each in booked)
        grown = _grown(before, self._counts())
        assert all(grown.get(name, 0) - adds[name] in (0, 1, 2) for name in _AFTERWARDS)
        assert _without(grown, _AFTERWARDS) == _without(adds, _AFTERWARDS)
        return booked[0] if booked else answers[0]

    def _counts(self) -> dict[str, int]:
        with self.home.book.reading() as con:
            return _counted(con)

    def seen(self) -> dict[str, Any]:
        """Everything that a step could change: how many rows each table has, and all of those that are not final."""
        with self.home.book.reading() as con:
            counts = _counted(con)
            rows = {
                table.name: con.execute(sa.select(table).order_by(*table.primary_key)).all()
                for table in _CHANGING
                if counts[table.name]
            }
        return {**counts, **rows}

    def next(self, what: str) -> str:
        """A reference of its own."""
        self._number += 1
        return f"{what}-{self._number}"


def _answer(verb: Verb, home: Home, *also: type[Exception]) -> Any:
    """What a call comes to: its answer or its refusal; None for one that is broken off."""
    try:
        return verb(home)
    except TanzhangError as error:
        return error
    except also:
        return None


_AFTERWARDS = ("audit", "lot_cells")
"""Tables to which whoever asks may add a row in a transaction of its own, after the one that does it."""
_FINAL = {table.name for table in append_only()}
_CHANGING = [table for name, table in sorted(metadata.tables.items()) if name not in _FINAL]
_COUNTS = sa.select(
    *(
        sa.select(sa.func.count()).select_from(table).scalar_subquery().label(name)
        for name, table in sorted(metadata.tables.items())
    )
)


def _counted(con: sa.Connection) -> dict[str, int]:
    """How many rows each table has."""
    return dict(con.execute(_COUNTS).one()._mapping)


def _without(rows: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: count for name, count in rows.items() if name not in names}


def _grown(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """By how many rows each table is larger, of those that are not as before."""
    return {name: after[name] - count for name, count in before.items() if after[name] != count}
