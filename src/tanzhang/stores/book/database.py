"""What the databases of a book have to do differently, each in its own module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa

from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.stores.book.address import BookAddress
from tanzhang.stores.files import step


class Database(Protocol):
    """One book's database. Connections do not open transactions by themselves."""

    engine: sa.Engine
    name: str  # what problems call the book in ``where``
    written_as: Path  # the name under which the hook of stores/files.py sees commits
    begin_reading: str  # begins a transaction that only reads, all as of its first question

    @property
    def place(self) -> Path | BookAddress:
        """Its file, or its address on a server."""
        ...

    def exists(self, *, after_writers: bool = False) -> bool:
        """Whether there is a book, whole; if ``after_writers``, once nobody is making one at this moment."""
        ...

    def making(self) -> AbstractContextManager[sa.Connection]:
        """A transaction to make a new book in: it is there whole at the end, or not at all. ``home-exists``."""
        ...

    def guard(self, con: sa.Connection) -> None:
        """Have the database refuse whatever would change what is booked; guards that there are, are made anew."""
        ...

    def begin(self, con: sa.Connection) -> None:
        """Begin a transaction that writes, alone; waits at most ten seconds for another one."""
        ...

    def session(self) -> AbstractContextManager[sa.Connection]:
        """A connection to write by: the one that holds the write lock, if there is one."""
        ...

    def writing(self) -> AbstractContextManager[None]:
        """Hold the book's write lock across machines; ``home-busy``. One thread at a time."""
        ...

    def moment(self) -> datetime | None:
        """What the database's own clock says; None where it is the clock of this machine."""
        ...

    def is_unusable(self, error: BaseException) -> bool:
        """Whether an error says that the database cannot be used; a broken constraint does not."""
        ...

    @property
    def integrity_check(self) -> str:
        """What :meth:`check_pages` does here, in words."""
        ...

    def check_pages(self) -> list[Problem]:
        """The database's own integrity check."""
        ...

    def forget_deleted(self) -> None:
        """Have no copy of deleted or changed rows left, as far as can be done from here."""
        ...

    def copy_to(self, folder: Path) -> Path:
        """Copy the whole book as of one moment, while others write, into a file of a folder; ``book-copy-failed``."""
        ...

    def load(self, file: Path) -> None:
        """Make the book out of such a copy, where there is none. ``home-exists``, ``book-copy-failed``."""
        ...

    def disk_bytes(self) -> int:
        """What the book takes on disk."""
        ...


def shown(place: Path | BookAddress) -> str:
    """Where a book is, for messages: never with a password."""
    return place.shown if isinstance(place, BookAddress) else str(place)


def unusable(place: Path | BookAddress, error: object) -> TanzhangError:
    """``book-unusable`` with the first line of what the database said."""
    reason = str(error).strip().partition("\n")[0]
    return refuse(
        "book-unusable",
        f"the book cannot be used: {reason}",
        where=shown(place),
        remedy="free space, allow writing, reach the server or wait for other writers, then run the same command "
        "again; a damaged book is restored from a backup",
    )


def copy_failed(what: str, error: object, where: str) -> TanzhangError:
    """``book-copy-failed`` with the first line of what the database's program said."""
    reason = str(error).strip().partition("\n")[0]
    return refuse(
        "book-copy-failed",
        f"{what}: {reason}",
        where=where,
        remedy="free space, reach the server, and check that the role may read or make every table; then try again",
    )


def listen_for_errors(database: Database) -> None:
    """A database that cannot be used is said in our words; a broken constraint is a bug and stays as it is."""

    def refuse_unusable(context: sa.ExceptionContext) -> None:
        if context.is_pre_ping and context.is_disconnect:
            return  # one of the pool that was lost while nobody used it; there will be another
        if database.is_unusable(context.original_exception):
            raise unusable(database.place, context.original_exception) from None

    sa.event.listen(database.engine, "handle_error", refuse_unusable)


@contextmanager
def undone(con: sa.Connection) -> Iterator[sa.Connection]:
    """Undo what was begun when the block ends, however it does."""
    try:
        yield con
    finally:
        with suppress(Exception):
            con.connection.rollback()


@contextmanager
def committing(con: sa.Connection, written_as: Path) -> Iterator[sa.Connection]:
    """Commit what was begun when the block ends without an error, and undo it otherwise."""
    try:
        yield con
        with step("commit", written_as):
            con.exec_driver_sql("COMMIT")
    except BaseException:
        with suppress(Exception):  # where the connection is lost, the database has undone it already
            con.connection.rollback()
        raise
