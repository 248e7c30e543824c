"""The book (账本): the one place where things are decided, in one SQL transaction each.

It names every file that exists, holds the double-entry postings and the links between accounts, and gives the log its
entries. Postings, batches and every other row are only ever added: the database itself refuses to change, delete or
replace one.
Rows of the small tables form a chain (each row's ``chain`` is a hash over the row and the chain before it), whose head
every batch manifest commits to, so that a changed value shows. Integers are exact; amounts are in the unit named.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.core.methodology import canonical_json
from tanzhang.core.record import UNIT_OF_KIND
from tanzhang.stores.files import rename_durably, step
from tanzhang.stores.postings import amount_in, pages, postings_of

SCHEMA_VERSION = 2
_metadata = sa.MetaData()


def _chained(name: str, *columns: sa.Column[Any]) -> sa.Table:
    return sa.Table(
        name,
        _metadata,
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        *columns,
        sa.Column("chain", sa.Text, nullable=False),
    )


# What the home was set up with; written once, repeated in the log's first entry.
home = sa.Table(
    "home",
    _metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
# Plan documents by digest: what every record's number can be recomputed from.
plan = _chained(
    "plan", sa.Column("digest", sa.Text, nullable=False, unique=True), sa.Column("document", sa.Text, nullable=False)
)
# One per accepted file: the catalogue of report files.
submission = _chained(
    "submission",
    sa.Column("partner", sa.Text),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("received_at", sa.Text, nullable=False),
    sa.Column("received_day", sa.Text, nullable=False),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("accepted", sa.Integer, nullable=False),
    sa.Column("refused", sa.Integer, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False, unique=True),
    sa.Column("answer", sa.Text, nullable=False),
    sa.Column("file", sa.Text, nullable=False),
    sa.Column("file_digest", sa.Text, nullable=False),
    sa.Column("verdicts", sa.Text, nullable=False),
    sa.Column("verdicts_digest", sa.Text, nullable=False),
)
# Child account -> account with the person's consent from-to (1+N, 子母账户).
link = _chained(
    "link",
    sa.Column("child", sa.Text, nullable=False),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("valid_from", sa.Text, nullable=False),
    sa.Column("valid_until", sa.Text),
    sa.Column("recorded_at", sa.Text, nullable=False),
)
# One per file of consents: the catalogue of link files.
link_file = _chained(
    "link_file",
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False, unique=True),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("file", sa.Text, nullable=False),
    sa.Column("file_digest", sa.Text, nullable=False),
    sa.Column("recorded_at", sa.Text, nullable=False),
)
# The catalogue of record files; the manifest is the log entry of the same index.
batch = _chained(
    "batch",
    sa.Column("through", sa.Text, nullable=False),
    sa.Column("records", sa.Integer, nullable=False),
    sa.Column("folder", sa.Text, nullable=False),
    sa.Column("records_digest", sa.Text, nullable=False),
    sa.Column("subtrees_digest", sa.Text, nullable=False),
    sa.Column("manifest", sa.Text, nullable=False),
    sa.Column("sealed_at", sa.Text, nullable=False),
)
# Which reports a batch consumed: all rows of the submission whose window closed by ``through``.
consumption = _chained(
    "consumption",
    sa.Column("batch", sa.Integer, nullable=False),
    sa.Column("submission", sa.Integer, nullable=False),
    sa.Column("through", sa.Text, nullable=False),
    sa.Column("rows", sa.Integer, nullable=False),
)
# Double entry: per batch and unit the amounts sum to zero. A row is a page of many accounts: stores/postings.py.
posting = sa.Table(
    "posting",
    _metadata,
    sa.Column("batch", sa.Integer, nullable=False),
    sa.Column("unit", sa.Text, nullable=False),
    sa.Column("first", sa.LargeBinary, nullable=False),
    sa.Column("last", sa.LargeBinary, nullable=False),
    sa.Column("accounts", sa.Integer, nullable=False),
    sa.Column("amount", sa.Integer, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
    sa.PrimaryKeyConstraint("batch", "unit", "first"),
)
# The key of the next batch's salts. The one row that is overwritten: what is gone cannot be made again.
seal_key = sa.Table(
    "seal_key",
    _metadata,
    sa.Column("only", sa.Integer, sa.CheckConstraint("only = 1"), primary_key=True),
    sa.Column("batch", sa.Integer, nullable=False),
    sa.Column("key", sa.LargeBinary, nullable=False),
)

CHAINED: tuple[sa.Table, ...] = (plan, submission, link, link_file, batch, consumption)
_APPEND_ONLY = (home, posting, *CHAINED)


def system_account(name: str) -> uuid.UUID:
    """The counter-account of a name such as ``partner:amap``; the other side of what its citizens were granted."""
    return uuid.UUID(bytes=hashlib.sha256(f"tanzhang account {name}".encode()).digest()[:16])


class Book:
    """One book in one SQLite file (write-ahead log, synchronous FULL): one writer, many readers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._engine = sa.create_engine(f"sqlite:///{path}", isolation_level="AUTOCOMMIT")
        sa.event.listen(self._engine, "connect", _pragmas)
        sa.event.listen(self._engine, "handle_error", self._refuse)

    @classmethod
    def create(cls, path: Path, values: Mapping[str, str], first_seal_key: bytes) -> Book:
        """A new, empty book that says what it was set up with; the file is there whole or not at all."""
        if path.exists():
            raise refuse("home-exists", f"{path} exists already", where=str(path), remedy="choose another folder")
        temporary = path.with_name(f".{path.name}.new")
        for suffix in ("", "-wal", "-shm"):  # of an interrupted run
            temporary.with_name(temporary.name + suffix).unlink(missing_ok=True)
        book = cls(temporary)
        with book._begin() as con:
            _metadata.create_all(con)
            everything = {**values, "schema_version": str(SCHEMA_VERSION)}
            everything["settings_check"] = _settings_check(everything)
            con.execute(home.insert(), [{"key": key, "value": value} for key, value in everything.items()])
            con.execute(seal_key.insert(), {"only": 1, "batch": 0, "key": first_seal_key})
            for table, name, event in _guards():
                answer = f"RAISE(ABORT, '{table} is append-only: book an opposite entry')"
                con.exec_driver_sql(f"CREATE TRIGGER {table}_{name} BEFORE {event} BEGIN SELECT {answer}; END")
        book._engine.dispose()  # the last connection moves the write-ahead log into the file
        temporary.chmod(0o600)
        rename_durably(temporary, path)
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> Book:
        """An existing book; ``home-missing`` or ``schema-unknown``."""
        if not path.is_file():
            raise refuse(
                "home-missing",
                f"there is no book at {path}",
                where=str(path),
                remedy="run 'tanzhang init --home DIR --programme NAME' first, or give the right --home",
            )
        book = cls(path)
        version = book.values().get("schema_version")
        if version != str(SCHEMA_VERSION):
            raise refuse(
                "schema-unknown",
                f"the book has schema version {version}, this program knows {SCHEMA_VERSION}",
                where=str(path),
                remedy="use the version of Tanzhang that made it, or a newer one",
            )
        return book

    # -- reading ----------------------------------------------------------------------------------------------

    def values(self) -> dict[str, str]:
        """What the home was set up with."""
        return {row.key: row.value for row in self.query(sa.select(home))}

    def rows(self, table: sa.Table) -> list[Any]:
        """All rows of a chained table in order."""
        return self.query(sa.select(table).order_by(table.c.seq))

    def query(self, statement: sa.Select[Any], values: Mapping[str, Any] | None = None) -> list[Any]:
        """The rows of a query, as named tuples."""
        with self._engine.connect() as con:
            return list(con.execute(statement, values))

    def next_submission(self) -> int:
        """The number the next submission will get, under the home's write lock."""
        ((last,),) = self.query(sa.select(sa.func.max(submission.c.seq)))
        return 0 if last is None else last + 1

    def find_submission(self, fingerprint: str, received_at: str) -> Any | None:
        """The submission of the same bytes, if there is one whose verdicts the time since cannot have changed.

        One with rows from the future, whose fingerprint has its number behind it, is such only up to when it came.
        """
        same = submission.c.fingerprint == fingerprint
        dated = submission.c.fingerprint.startswith(f"{fingerprint}-") & (submission.c.received_at >= received_at)
        rows = self.query(sa.select(submission).where(same | dated).order_by(submission.c.seq))
        return rows[0] if rows else None

    def next_seal_key(self) -> tuple[int, bytes]:
        """The next batch's number and key."""
        rows = self.query(sa.select(seal_key.c.batch, seal_key.c.key))
        if len(rows) != 1:
            raise refuse(
                "book-damaged",
                f"table seal_key has {len(rows)} rows instead of one",
                where=f"{self.path.name}: seal_key",
                remedy="restore the book from a backup",
            )
        return rows[0].batch, rows[0].key

    def settled_through(self) -> dict[int, tuple[str, int]]:
        """Submission -> last day through which its reports are settled, and how many are; others are left out."""
        statement = sa.select(
            consumption.c.submission, sa.func.max(consumption.c.through), sa.func.sum(consumption.c.rows)
        ).group_by(consumption.c.submission)
        return {row[0]: (row[1], int(row[2])) for row in self.query(statement)}

    def plans(self) -> dict[str, str]:
        """Every plan document by digest."""
        return {row.digest: row.document for row in self.query(sa.select(plan.c.digest, plan.c.document))}

    def postings(self, number: int) -> pa.Table:
        """A batch's postings (account, unit, amount), sorted by unit and account."""
        statement = sa.select(posting).where(posting.c.batch == number).order_by(posting.c.unit, posting.c.first)
        return postings_of(self.query(statement))

    def balance(self, account: uuid.UUID) -> dict[str, int]:
        """Unit -> sum of an account's postings, of the units it has any of. One look-up in each batch."""
        page, others = posting.alias(), posting.alias()
        first = (
            sa.select(sa.func.max(others.c.first))
            .where(
                others.c.batch == batch.c.seq, others.c.unit == sa.bindparam("unit"), others.c.first <= account.bytes
            )
            .scalar_subquery()
        )
        statement = sa.select(page).where(
            page.c.batch == batch.c.seq,
            page.c.unit == sa.bindparam("unit"),
            page.c.first == first,
            page.c.last >= account.bytes,
        )
        found = {}
        for unit in UNIT_OF_KIND.values():
            amounts = [amount_in(row, account.bytes) for row in self.query(statement, {"unit": unit})]
            if any(amounts):
                found[unit] = sum(amounts)
        return found

    def balances(self) -> pa.Table:
        """The sum of every account's postings by unit: account, unit, amount; memory is that of all accounts."""
        tables = [self.postings(row.seq) for row in self.query(sa.select(batch.c.seq))]
        if not tables:
            return postings_of([])
        everything = pa.concat_tables(tables)
        storage = pa.table(
            {"account": everything["account"].cast(pa.binary(16)), **{n: everything[n] for n in ("unit", "amount")}}
        )
        sums = storage.group_by(["account", "unit"]).aggregate([("amount", "sum")])
        return pa.table({"account": sums["account"], "unit": sums["unit"], "amount": sums["amount_sum"]})

    def heads(self) -> dict[str, dict[str, str]]:
        """Table -> number of rows and chain head, of every chained table."""
        result = {}
        for table in CHAINED:
            rows = self.query(sa.select(table.c.seq, table.c.chain).order_by(table.c.seq.desc()).limit(1))
            result[table.name] = {"rows": str(rows[0].seq + 1), "head": rows[0].chain} if rows else _EMPTY_HEAD
        return result

    # -- writing ----------------------------------------------------------------------------------------------

    def add_submission(self, values: Mapping[str, Any], plans: Mapping[str, str]) -> int:
        """Acknowledge a submission whose file is on disk; returns its number. Keeps its plans in the same step."""
        with self._begin() as con:
            known = {row.digest for row in con.execute(sa.select(plan.c.digest))}
            for digest in sorted(plans.keys() - known):
                _append(con, plan, {"digest": digest, "document": plans[digest]})
            return _append(con, submission, values)

    def add_link(self, values: Mapping[str, Any]) -> int:
        """Record a person's consent to link a child account."""
        with self._begin() as con:
            return _append(con, link, values)

    def add_link_file(self, values: Mapping[str, Any]) -> int:
        """Acknowledge a file of consents that is on disk."""
        with self._begin() as con:
            return _append(con, link_file, values)

    def commit_batch(
        self,
        finish: Callable[[], Mapping[str, Any]],
        number: int,
        consumed: Iterable[Mapping[str, Any]],
        postings: pa.Table,
        next_key: bytes,
        heads: Mapping[str, Any],
    ) -> None:
        """The one commit point of a settlement, batch ``number``.

        ``postings`` has account, unit and amount, sorted by account. ``finish`` waits for the batch's files and returns
        its row; it is called with the postings inserted and nothing committed. Refuses postings that do not sum to zero
        per unit (``unbalanced``) and a book that changed since ``heads`` were read (``book-moved``), so two settlements
        at once cannot both commit.
        """
        units: list[str] = pc.unique(postings["unit"]).to_pylist()
        rows = [
            {"batch": number, **page}
            for unit in sorted(units)
            for page in pages(postings.filter(pc.field("unit") == unit), unit)
        ]
        sums = dict.fromkeys(units, 0)
        for row in rows:
            sums[row["unit"]] += row["amount"]
        if any(sums.values()):
            raise refuse("unbalanced", f"postings sum to {sums}", where="settlement", remedy="report this as a bug")
        with self._begin() as con:
            for table in CHAINED:
                last = con.execute(sa.select(table.c.chain).order_by(table.c.seq.desc()).limit(1)).scalar()
                if (last or _EMPTY_HEAD["head"]) != heads[table.name]["head"]:
                    raise refuse(
                        "book-moved", f"{table.name} changed meanwhile", where="settlement", remedy="settle again"
                    )
            if rows:
                con.execute(posting.insert(), rows)
            _append(con, batch, finish())  # from here on the batch takes no more postings
            for each in consumed:
                _append(con, consumption, {**each, "batch": number})
            con.execute(seal_key.update().values(batch=number + 1, key=next_key))

    def _refuse(self, context: sa.ExceptionContext) -> None:
        """A database that cannot be used is said in our words; a broken constraint is a bug and stays as it is."""
        error = context.original_exception
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.IntegrityError):
            raise refuse(
                "book-unusable",
                f"the book cannot be used: {error}",
                where=str(self.path),
                remedy="free space, allow writing, or wait for other writers; a damaged book is restored from a backup",
            ) from None

    @contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        with self._engine.connect() as con:
            con.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield con
            except BaseException:
                con.exec_driver_sql("ROLLBACK")
                raise
            with step("commit", self.path):
                con.exec_driver_sql("COMMIT")

    # -- checking ---------------------------------------------------------------------------------------------

    def check_chains(self) -> tuple[int, list[Problem], dict[str, list[str]]]:
        """Rebuild every chain; returns rows checked, what is wrong, and the heads after each row by table."""
        problems, heads = [], {}
        settings = self.values()
        count = len(settings)
        if settings.pop("settings_check", None) != _settings_check(settings):
            problems.append(_row_changed("table home is not what the home was set up with", f"{self.path.name}: home"))
        for table in CHAINED:
            head = _EMPTY_HEAD["head"]
            heads[table.name] = [head]
            for expected, row in enumerate(self.rows(table)):
                count += 1
                values = {name: value for name, value in row._mapping.items() if name != "chain"}
                if row.seq != expected or _link(head, table.name, values) != row.chain:
                    what = f"row {expected} of table {table.name} is not what was written"
                    problems.append(_row_changed(what, f"{self.path.name}: {table.name} {expected}"))
                head = row.chain
                heads[table.name].append(head)
        return count, problems, heads

    def check_pages(self) -> list[Problem]:
        """SQLite's own integrity check."""
        try:
            with self._engine.connect() as con:
                answers = [row[0] for row in con.execute(sa.text("PRAGMA integrity_check"))]
        except TanzhangError as error:
            return list(error.problems)
        return [
            Problem("book-damaged", answer, str(self.path.name), "restore the book from a backup")
            for answer in answers
            if answer != "ok"
        ]


def _row_changed(message: str, where: str) -> Problem:
    return Problem(
        "book-row-changed", message, where, "restore the book from a backup; the log shows up to where it was sealed"
    )


def _settings_check(settings: Mapping[str, str]) -> str:
    """What shows a changed, missing or added row of table ``home``; itself in the log's first entry."""
    return hashlib.sha256(canonical_json(dict(settings)).encode()).hexdigest()


_EMPTY_HEAD = {"rows": "0", "head": "0" * 64}


def _guards() -> Iterator[tuple[str, str, str]]:
    """Table, name and event of each trigger that keeps rows as they are, against INSERT OR REPLACE too."""
    for table in _APPEND_ONLY:
        for verb in ("UPDATE", "DELETE"):
            yield table.name, f"no_{verb.lower()}", f"{verb} ON {table.name}"
    following = "SELECT coalesce(max(seq), -1) + 1 FROM"
    yield "home", "no_insert", "INSERT ON home"
    yield "posting", "no_late_insert", f"INSERT ON posting WHEN NEW.batch <> ({following} batch)"
    for table in CHAINED:
        taken = [f"NEW.seq <> ({following} {table.name})"]
        taken += [
            f"EXISTS (SELECT 1 FROM {table.name} WHERE {column.name} = NEW.{column.name})"
            for column in table.c
            if column.unique
        ]
        yield table.name, "no_other_insert", f"INSERT ON {table.name} WHEN {' OR '.join(taken)}"


def _append(con: sa.Connection, table: sa.Table, values: Mapping[str, Any]) -> int:
    last = con.execute(sa.select(table.c.seq, table.c.chain).order_by(table.c.seq.desc()).limit(1)).first()
    seq, head = (last.seq + 1, last.chain) if last else (0, _EMPTY_HEAD["head"])
    row = {column.name: values.get(column.name) for column in table.c if column.name != "chain"} | {"seq": seq}
    con.execute(table.insert(), {**row, "chain": _link(head, table.name, row)})
    return seq


def _link(head: str, table: str, values: Mapping[str, Any]) -> str:
    text = {name: None if value is None else str(value) for name, value in values.items()}
    return hashlib.sha256(f"{head}|{table}|{canonical_json(text)}".encode()).hexdigest()


def _pragmas(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON", "busy_timeout = 10000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def manifest_of(row: Any) -> dict[str, Any]:
    """A batch row's manifest as data."""
    manifest: dict[str, Any] = json.loads(row.manifest)
    return manifest
