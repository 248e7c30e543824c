"""Uploads: large files of partners that come in pieces; what is acknowledged of each is on disk.

The bytes are in ``uploads/`` of the home until the file is taken in; how many of them count says the table alone, so
that what a crash left behind them is cut off.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import sqlalchemy as sa

from tanzhang.core.errors import refuse
from tanzhang.stores.book import Book
from tanzhang.stores.book.schema import NUMBER, TEXT, metadata
from tanzhang.stores.files import make_folder, sync_again

FOLDER = "uploads"
RECEIVING, DONE, REFUSED, CHECKED = "receiving", "done", "refused", "checked"
TAKING_IN = "taking-in"

upload = sa.Table(
    "upload",
    metadata,
    sa.Column("id", TEXT, primary_key=True),
    sa.Column("partner", TEXT, nullable=False),
    sa.Column("name", TEXT, nullable=False),
    sa.Column("ending", TEXT, nullable=False),  # by which the readers of files know the format
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("sha256", TEXT, nullable=False),
    sa.Column("received", sa.BigInteger, nullable=False),  # bytes that are durable
    sa.Column("state", TEXT, nullable=False),
    sa.Column("dry_run", sa.Boolean, nullable=False),
    sa.Column("created_at", TEXT, nullable=False),
    sa.Column("changed_at", TEXT, nullable=False),
    sa.Column("submission", NUMBER),
    sa.Column("answer", TEXT),  # JSON: the counts, or the problems of a file that was refused whole
    sa.Index("upload_partner", "partner", "created_at"),
    sa.Index("upload_state", "state"),
)


class Uploads:
    """The uploads of a home; ``folder`` is the home's own."""

    def __init__(self, book: Book, folder: Path) -> None:
        self._book, self._folder = book, folder / FOLDER

    def path(self, row: Any) -> Path:
        """Where the bytes of an upload are."""
        return self._folder / f"{row.id}{row.ending}"

    def verdicts(self, row: Any) -> Path:
        """Where the verdicts of an upload are that was checked and not taken in."""
        return self._folder / f"{row.id}.verdicts.csv"

    def add(self, values: Mapping[str, Any]) -> None:
        """Begin an upload: its empty file is there before its row."""
        path = self._folder / f"{values['id']}{values['ending']}"
        if not self._folder.is_dir():
            make_folder(self._folder)
            self._folder.chmod(0o700)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        sync_again(path)
        with self._book.transaction() as con:
            con.execute(upload.insert(), dict(values))

    def get(self, name: str) -> Any | None:
        """The row of an upload."""
        rows = self._book.query(sa.select(upload).where(upload.c.id == name))
        return rows[0] if rows else None

    def of_partner(self, partner: str, *, after: tuple[str, str] = ("", ""), limit: int = -1) -> list[Any]:
        """A partner's uploads in the order of their beginning, behind the one of this moment and id."""
        later = sa.tuple_(upload.c.created_at, upload.c.id) > sa.tuple_(*map(sa.literal, after))
        own = sa.select(upload).where(upload.c.partner == partner, later).order_by(upload.c.created_at, upload.c.id)
        return self._book.query(own if limit < 0 else own.limit(limit))

    def taken_in(self, partner: str, first: int) -> list[tuple[int, str]]:
        """Submissions from number ``first`` on that a partner's uploads became, each with the upload it first was."""
        done = (upload.c.partner == partner) & (upload.c.state == DONE) & (upload.c.submission >= first)
        rows = self._book.query(sa.select(upload).where(done).order_by(upload.c.submission, upload.c.created_at))
        found: dict[int, str] = {}
        for row in rows:
            found.setdefault(row.submission, row.id)
        return list(found.items())

    def unfinished(self, partner: str) -> tuple[int, int]:
        """How many uploads of a partner are not taken in yet, and what they come to in bytes."""
        count, size = sa.func.count().label("n"), sa.func.coalesce(sa.func.sum(upload.c.size), 0).label("size")
        own = upload.c.state.in_((RECEIVING, TAKING_IN)) & (upload.c.partner == partner)
        (row,) = self._book.query(sa.select(count, size).select_from(upload).where(own))
        return int(row.n), int(row.size)

    def in_state(self, state: str) -> list[Any]:
        """All uploads in a state."""
        return self._book.query(sa.select(upload).where(upload.c.state == state).order_by(upload.c.created_at))

    def change(self, row: Any, at: str, **values: Any) -> bool:
        """Whether an upload was still as in this row (state and bytes); then it has other values now."""
        same = (upload.c.id == row.id) & (upload.c.state == row.state) & (upload.c.received == row.received)
        with self._book.transaction() as con:
            return bool(con.execute(upload.update().where(same).values(changed_at=at, **values)).rowcount)

    def remove(self, row: Any) -> bool:
        """Forget an upload and its bytes, if it is still as in this row."""
        same = (upload.c.id == row.id) & (upload.c.state == row.state) & (upload.c.received == row.received)
        with self._book.transaction() as con:
            gone = bool(con.execute(upload.delete().where(same)).rowcount)
        if gone:
            self.clear(row)
        return gone

    def clear(self, row: Any) -> None:
        """Remove the bytes of an upload that are no longer needed."""
        self.path(row).unlink(missing_ok=True)
        if row.state == CHECKED:
            self.verdicts(row).unlink(missing_ok=True)

    def stray_files(self) -> list[Path]:
        """Files in the folder that no unfinished upload needs."""
        if not self._folder.is_dir():
            return []
        found = sorted(self._folder.iterdir())
        needed = {self.path(row) for state in (RECEIVING, TAKING_IN) for row in self.in_state(state)}
        needed |= {self.verdicts(row) for row in self.in_state(CHECKED)}
        return [path for path in found if path not in needed]

    @contextmanager
    def alone(self, row: Any) -> Iterator[BinaryIO]:
        """The file of an upload, open for reading and writing by this process alone; ``upload-busy``."""
        with ExitStack() as opened:
            try:
                file = opened.enter_context(open(self.path(row), "r+b"))
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (FileNotFoundError, BlockingIOError):  # taken in, or expired, at this moment; or in work
                raise _busy() from None
            yield file


def _busy() -> Exception:
    return refuse(
        "upload-busy",
        "another request is working on this upload",
        where="upload",
        remedy="ask for its offset or its state, then go on",
    )
