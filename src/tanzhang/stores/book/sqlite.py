"""The book in one SQLite file (write-ahead log, synchronous FULL): one writer, many readers."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.stores.book.database import committing, listen_for_errors
from tanzhang.stores.book.schema import (
    APPEND_ONLY,
    CHAINED,
    ERASABLE,
    ONLY_ADDED,
    WITH_BATCH,
    Refusal,
    append_only,
    erasing_sql,
    kept_apart,
    refusal_of,
    refusals,
)
from tanzhang.stores.files import rename_durably


class SqliteDatabase:
    """A book's file."""

    integrity_check = "the database's own integrity check"
    begin_reading = "BEGIN"

    def __init__(self, path: Path) -> None:
        self.place = self.written_as = path
        self.name = path.name
        self.engine = sa.create_engine(f"sqlite:///{path}", isolation_level="AUTOCOMMIT")
        sa.event.listen(self.engine, "connect", _pragmas)
        listen_for_errors(self)

    def exists(self, *, after_writers: bool = False) -> bool:
        return self.place.is_file()

    @contextmanager
    def making(self) -> Iterator[sa.Connection]:
        path = self.place
        if path.exists():
            raise refuse("home-exists", f"{path} exists already", where=str(path), remedy="choose another folder")
        new = SqliteDatabase(path.with_name(f".{path.name}.new"))
        for suffix in ("", "-wal", "-shm"):  # of an interrupted run
            new.place.with_name(new.place.name + suffix).unlink(missing_ok=True)
        with new.session() as con:
            new.begin(con)
            with committing(con, new.written_as):
                yield con
        new.engine.dispose()  # the last connection moves the write-ahead log into the file
        new.place.chmod(0o600)
        rename_durably(new.place, path)

    def guard(self, con: sa.Connection) -> None:
        for table, name, event in _guards():
            answer = f"RAISE(ABORT, '{refusal_of(table)}')"
            con.exec_driver_sql(f"DROP TRIGGER IF EXISTS {table.name}_{name}")
            con.exec_driver_sql(f"CREATE TRIGGER {table.name}_{name} BEFORE {event} BEGIN SELECT {answer}; END")
        for table, each in [*refusals(), *_overlaps()]:
            con.exec_driver_sql(f"DROP TRIGGER IF EXISTS {table.name}_{each.name}")
            con.exec_driver_sql(
                f"CREATE TRIGGER {table.name}_{each.name} BEFORE {each.event} ON {table.name} WHEN {each.condition} "
                f"BEGIN SELECT RAISE(ABORT, '{each.answer}'); END"
            )

    def begin(self, con: sa.Connection) -> None:
        con.exec_driver_sql("BEGIN IMMEDIATE")

    def session(self) -> AbstractContextManager[sa.Connection]:
        return self.engine.connect()

    def writing(self) -> AbstractContextManager[None]:
        return nullcontext()  # the file is in the home, whose own lock holds

    def moment(self) -> None:
        return None

    def is_unusable(self, error: BaseException) -> bool:
        return isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.IntegrityError)

    def forget_deleted(self) -> None:
        with self.engine.connect() as con:  # rows are overwritten in the file (secure_delete), not in the log before it
            con.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def copy_to(self, folder: Path) -> Path:
        file = folder / self.place.name
        new = file.with_name(f".{file.name}.new")
        new.unlink(missing_ok=True)
        new.touch(mode=0o600)
        with self.engine.connect() as con, closing(sqlite3.connect(new)) as target:
            source: Any = con.connection.driver_connection
            source.backup(target)  # in one step, so that no writer makes it begin again
        rename_durably(new, file)
        return file

    def load(self, file: Path) -> None:
        if self.place.exists():
            raise refuse(
                "home-exists", f"{self.place} exists already", where=str(self.place), remedy="choose another folder"
            )
        new = self.place.with_name(f".{self.place.name}.new")
        shutil.copyfile(file, new)
        new.chmod(0o600)
        rename_durably(new, self.place)

    def disk_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.place.parent.glob(f"{self.place.name}*"))

    def check_pages(self) -> list[Problem]:
        try:
            with self.engine.connect() as con:
                answers = [row[0] for row in con.execute(sa.text("PRAGMA integrity_check"))]
        except TanzhangError as error:
            return list(error.problems)
        return [
            Problem("book-damaged", answer, self.name, "restore the book from a backup")
            for answer in answers
            if answer != "ok"
        ]


def _guards() -> Iterator[tuple[sa.Table, str, str]]:
    """Table, name and event of each trigger that keeps rows as they are, against INSERT OR REPLACE too."""
    for table in append_only():
        for verb in ("UPDATE", "DELETE"):
            but = f" WHEN NOT ({erasing_sql(table, 'IS')})" if verb == "UPDATE" and table in ERASABLE else ""
            yield table, f"no_{verb.lower()}", f"{verb} ON {table.name}{but}"
        if table.info.get(ONLY_ADDED):
            known = f"EXISTS (SELECT 1 FROM {table.name} WHERE id = NEW.id)"
            yield table, "no_other_insert", f"INSERT ON {table.name} WHEN {known}"
    following = "SELECT coalesce(max(seq), -1) + 1 FROM"
    by_name = {table.name: table for table in APPEND_ONLY}
    yield by_name["home"], "no_insert", "INSERT ON home"
    for table, column in WITH_BATCH:
        yield table, "no_late_insert", f"INSERT ON {table.name} WHEN NEW.{column} <> ({following} batch)"
    for table in CHAINED:
        taken = [f"NEW.seq <> ({following} {table.name})"]
        taken += [
            f"EXISTS (SELECT 1 FROM {table.name} WHERE {column.name} = NEW.{column.name})"
            for column in table.c
            if column.unique
        ]
        yield table, "no_other_insert", f"INSERT ON {table.name} WHEN {' OR '.join(taken)}"


def _overlaps() -> Iterator[tuple[sa.Table, Refusal]]:
    """What PostgreSQL has an exclusion constraint for: a range that overlaps another one of its owner."""
    for table, (owner, lo, hi) in kept_apart():
        other = (
            f"SELECT 1 FROM {table.name} AS o WHERE o.{owner} = NEW.{owner} AND o.{lo} < NEW.{hi} AND o.{hi} > NEW.{lo}"
        )
        answer = f"{table.name}: ranges of one {owner} do not overlap"
        yield table, Refusal("apart", "INSERT", f"EXISTS ({other})", answer)
        yield table, Refusal("apart_still", "UPDATE", f"EXISTS ({other} AND o.rowid <> OLD.rowid)", answer)


def _pragmas(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON", "busy_timeout = 10000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
