"""The book in one schema of a PostgreSQL database, version 15 or newer: one writer at a time, from any machine.

Two advisory locks keep writers apart: one a home's writer holds as long as it works, over the very connection that it
commits by, so that a lost connection loses both; and one for the length of each transaction.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.stores.book.address import BookAddress
from tanzhang.stores.book.database import committing, listen_for_errors, unusable
from tanzhang.stores.book.postgres_guards import exclusions, guard_problems, guards
from tanzhang.stores.book.postgres_tools import run_tool
from tanzhang.stores.book.schema import metadata
from tanzhang.stores.files import sync_again

try:
    import psycopg
    from psycopg.adapt import Loader
except ImportError as error:
    raise refuse(
        "postgres-driver-missing",
        f"the driver for PostgreSQL cannot be loaded: {error}",
        where="psycopg",
        remedy="pip install 'tanzhang[postgres]'",
    ) from None

OLDEST_VERSION = 15
_HOME_LOCK, _COMMIT_LOCK = 1, 2
_LOCK_WAIT_S = 1.0
# What holds for every connection, whatever the server or the role is set to. A machine that vanished is noticed within
# about a minute, so that its lock does not stay. The temporary schema comes last, so that nothing can hide our tables.
_SETTINGS = (
    "plan_cache_mode = force_custom_plan",  # a plan made while a table was empty would be kept when it is large
    "lock_timeout = '10s'",
    "statement_timeout = 0",
    "idle_in_transaction_session_timeout = 0",
    "default_transaction_isolation = 'read committed'",
    "tcp_keepalives_idle = 30",
    "tcp_keepalives_interval = 10",
    "tcp_keepalives_count = 3",
)


class PostgresDatabase:
    """A book's schema."""

    written_as = Path("book.postgresql")
    begin_reading = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

    def __init__(self, place: BookAddress) -> None:
        self.place = place
        self.name = f"schema {place.schema}"
        self._schema = place.schema
        self._writer: sa.Connection | None = None
        digest = hashlib.sha256(f"tanzhang book {place.schema}".encode()).digest()
        self._lock = int.from_bytes(digest[:4], "big", signed=True)  # within one database; a collision only waits
        self.engine = sa.create_engine(
            place.url.set(drivername="postgresql+psycopg"),
            isolation_level="AUTOCOMMIT",
            use_native_hstore=False,
            pool_pre_ping=True,
            connect_args={} if "connect_timeout" in place.url.query else {"connect_timeout": 10},
        )
        sa.event.listen(self.engine, "connect", self._settle_connection)
        listen_for_errors(self)

    def exists(self, *, after_writers: bool = False) -> bool:
        with self.engine.connect() as con:
            if after_writers:
                self.begin(con)
                con.exec_driver_sql("COMMIT")
            return self._relations(con, "AND c.relname = ANY(:tables)") > 0

    @contextmanager
    def making(self) -> Iterator[sa.Connection]:
        where = self.place.shown
        with self.session() as con:
            self.begin(con)
            with committing(con, self.written_as):
                self._check_server(con)
                if self._relations(con, ""):
                    raise refuse(
                        "home-exists",
                        f"schema {self._schema} is not empty",
                        where=where,
                        remedy="choose another schema with ?schema=NAME at the end of the address",
                    )
                named = sa.text("SELECT count(*) FROM pg_namespace WHERE nspname = :schema")
                if not con.scalar(named, {"schema": self._schema}):  # one may be given to a role that can make none
                    con.exec_driver_sql(f'CREATE SCHEMA "{self._schema}"')
                yield con

    def guard(self, con: sa.Connection) -> None:
        for each in guards(self._schema):
            con.exec_driver_sql(each.function_sql)
            con.exec_driver_sql(f'DROP TRIGGER IF EXISTS "{each.name}" ON "{each.schema}"."{each.table}"')
            con.exec_driver_sql(each.trigger_sql)
        for taken_away, made in exclusions(self._schema):
            con.exec_driver_sql(taken_away)
            con.exec_driver_sql(made)

    def begin(self, con: sa.Connection) -> None:
        con.exec_driver_sql("BEGIN")
        try:
            con.execute(
                sa.text("SELECT pg_advisory_xact_lock(:book, :lock)"), {"book": self._lock, "lock": _COMMIT_LOCK}
            )
        except BaseException:
            with suppress(Exception):
                con.connection.rollback()
            raise

    @contextmanager
    def session(self) -> Iterator[sa.Connection]:
        if self._writer is not None:
            yield self._writer
        else:
            with self.engine.connect() as con:
                yield con

    @contextmanager
    def writing(self) -> Iterator[None]:
        with self.engine.connect() as con:
            self._take_lock(con)
            self._writer = con
            try:
                yield
            finally:
                self._writer = None
                if not con.invalidated:  # a connection that is lost has lost its lock too
                    self._release_lock(con)

    def moment(self) -> datetime:
        with self.engine.connect() as con:
            said: datetime = con.execute(sa.text("SELECT clock_timestamp()")).scalar_one()
        return said

    def is_unusable(self, error: BaseException) -> bool:
        return isinstance(error, psycopg.Error) and not isinstance(error, psycopg.IntegrityError)

    @property
    def integrity_check(self) -> str:
        with self.engine.connect() as con:
            if _amcheck(con):
                return "amcheck of every table and index; constraints and guards in place"
        return "rows counted by table and by index (amcheck is not there); constraints and guards in place"

    def forget_deleted(self) -> None:
        pass  # rows that nobody sees any more are overwritten after VACUUM, whose time is the database's

    def copy_to(self, folder: Path) -> Path:
        file = folder / f"book.{self._schema}.dump"
        run_tool("pg_dump", self.place, ["--format=custom", f"--schema={self._schema}", f"--file={file}"])
        file.chmod(0o600)
        sync_again(file)
        return file

    def load(self, file: Path) -> None:
        with self.engine.connect() as con:
            self._check_server(con)
            named = sa.text("SELECT count(*) FROM pg_namespace WHERE nspname = :schema")
            if con.scalar(named, {"schema": self._schema}):
                raise refuse(
                    "home-exists",
                    f"there is a schema {self._schema} already",
                    where=self.place.shown,
                    remedy="choose another database, or rename the schema; a book comes back under its own name",
                )
        run_tool("pg_restore", self.place, ["--single-transaction", "--exit-on-error", str(file)])

    def disk_bytes(self) -> int:
        statement = (
            "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c "
            "JOIN pg_namespace n ON c.relnamespace = n.oid WHERE n.nspname = :schema AND c.relkind = 'r'"
        )
        with self.engine.connect() as con:
            return int(con.execute(sa.text(statement), {"schema": self._schema}).scalar_one())

    def check_pages(self) -> list[Problem]:
        try:
            with self.engine.connect() as con:
                con.exec_driver_sql("BEGIN")
                try:
                    return [
                        *guard_problems(con, self._schema, self.name),
                        *self._invalid_indexes(con),
                        *self._pages(con),
                    ]
                finally:
                    con.exec_driver_sql("ROLLBACK")
        except TanzhangError as error:
            return list(error.problems)

    def _settle_connection(self, connection: Any, _record: Any) -> None:
        settings = [f'search_path = "{self._schema}", pg_temp', *_SETTINGS]
        cursor = connection.cursor()
        cursor.execute("; ".join(f"SET {setting}" for setting in settings))
        ((durable,),) = cursor.execute("SELECT current_setting('synchronous_commit')")
        if durable == "off":  # what is acknowledged is on the disk; anything stricter stays
            cursor.execute("SET synchronous_commit = on")
        cursor.close()
        # Nothing in the book is a fraction; the only numeric values are sums of whole numbers.
        connection.adapters.register_loader("numeric", _WholeNumber)

    def _check_server(self, con: sa.Connection) -> None:
        version = int(con.scalar(sa.text("SELECT current_setting('server_version_num')::int")) or 0) // 10_000
        if version < OLDEST_VERSION:
            raise unusable(self.place, f"the server is PostgreSQL {version}, and {OLDEST_VERSION} is the oldest usable")
        encoding = con.scalar(sa.text("SELECT current_setting('server_encoding')"))
        if encoding != "UTF8":
            raise unusable(self.place, f"the database is encoded in {encoding} instead of UTF8")

    def _relations(self, con: sa.Connection, condition: str) -> int:
        """How many tables, views and sequences the schema has."""
        statement = (
            "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            f"WHERE n.nspname = :schema AND c.relkind NOT IN ('i', 'I', 't', 'c') {condition}"
        )
        return con.scalar(sa.text(statement), {"schema": self._schema, "tables": list(metadata.tables)}) or 0

    def _locked(self, con: sa.Connection, function: str) -> bool:
        named = {"book": self._lock, "lock": _HOME_LOCK}
        return bool(con.scalar(sa.text(f"SELECT {function}(:book, :lock)"), named))

    def _take_lock(self, con: sa.Connection) -> None:
        """The home's lock; waits a moment, as the server may not have noticed yet that a writer died."""
        deadline = time.monotonic() + _LOCK_WAIT_S
        while not self._locked(con, "pg_try_advisory_lock"):
            if time.monotonic() > deadline:
                raise refuse(
                    "home-busy",
                    "another process is writing to this book",
                    where=self.place.shown,
                    remedy="wait until it has finished and try again",
                )
            time.sleep(0.05)

    def _release_lock(self, con: sa.Connection) -> None:
        """Give the home's lock back, or else the connection, and the lock with it."""
        try:
            self._locked(con, "pg_advisory_unlock")
        except TanzhangError:
            con.invalidate()

    def _invalid_indexes(self, con: sa.Connection) -> list[Problem]:
        """Indexes that the database itself does not hold to be valid."""
        invalid = sa.text(
            """
            SELECT t.relname::text, c.relname::text FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid
            JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = :schema AND NOT i.indisvalid
            """
        )
        found = con.execute(invalid, {"schema": self._schema})
        return [self._damaged(table, f"index {index} is not valid") for table, index in found]

    def _pages(self, con: sa.Connection) -> list[Problem]:
        schema = _amcheck(con)
        problems = []
        for table in metadata.tables:
            con.exec_driver_sql("SAVEPOINT one_table")
            try:
                found = self._by_amcheck(con, schema, table) if schema else self._by_counting(con, table)
            except TanzhangError as error:  # a page that cannot be read ends the statement
                found = [error.problems[0].message]
            con.exec_driver_sql("ROLLBACK TO SAVEPOINT one_table")
            problems += [self._damaged(table, each) for each in found]
        return problems

    def _by_amcheck(self, con: sa.Connection, schema: str, table: str) -> list[str]:
        """What the extension says of a table, then of its B-trees, each row looked up in them; it knows no others."""
        named = f'"{self._schema}"."{table}"'
        heap = con.exec_driver_sql(f"SELECT blkno, msg FROM \"{schema}\".verify_heapam('{named}')")
        found = [f"block {block}: {message}" for block, message in heap]
        if not found:
            con.exec_driver_sql(
                f'SELECT "{schema}".bt_index_check(i.indexrelid, true) FROM pg_index i '
                "JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam "
                f"WHERE i.indrelid = '{named}'::regclass AND i.indisvalid AND a.amname = 'btree'"
            )
        return found

    def _by_counting(self, con: sa.Connection, table: str) -> list[str]:
        """Read every row of a table, then count them again by its index."""
        named = f'"{self._schema}"."{table}"'
        counts = []
        for unwanted in (("indexscan", "indexonlyscan", "bitmapscan"), ("seqscan",)):
            for method in unwanted:
                con.exec_driver_sql(f"SET LOCAL enable_{method} = off")
            counts.append(con.exec_driver_sql(f"SELECT count(*) FROM {named}").scalar())
            for method in unwanted:
                con.exec_driver_sql(f"SET LOCAL enable_{method} = on")
        by_table, by_index = counts
        return [] if by_table == by_index else [f"{by_table} rows in the table, {by_index} in its index"]

    def _damaged(self, table: str, message: str) -> Problem:
        return Problem("book-damaged", message, f"{self.name}: {table}", "restore the book from a backup")


def _amcheck(con: sa.Connection) -> str | None:
    """The schema of extension amcheck, if it is there and this role may use it."""
    row = con.exec_driver_sql(
        "SELECT n.nspname::text FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace "
        "WHERE e.extname = 'amcheck' AND 2 = (SELECT count(*) FROM pg_proc p WHERE p.pronamespace = n.oid "
        "AND (p.proname = 'verify_heapam' OR p.proname = 'bt_index_check' AND p.pronargs = 2) "
        "AND has_function_privilege(p.oid, 'EXECUTE'))"
    ).first()
    return None if row is None else str(row[0])


class _WholeNumber(Loader):
    """A numeric value that is a whole number, as one."""

    def load(self, data: Any) -> int:
        return int(bytes(data))
