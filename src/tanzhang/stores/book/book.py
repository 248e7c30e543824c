"""What can be asked of a book and added to it, the same on every database."""

from __future__ import annotations

import json
import uuid
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar
from datetime import date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from tanzhang.core.epoch import first_epoch_key
from tanzhang.core.errors import Problem, refuse
from tanzhang.core.record import UNIT_OF_KIND
from tanzhang.engine.tally import merged
from tanzhang.stores.book.address import BookAddress
from tanzhang.stores.book.database import Database, committing, shown, undone
from tanzhang.stores.book.revision import check_revision
from tanzhang.stores.book.schema import (
    CHAINED,
    SCHEMA_REVISION,
    SCHEMA_VERSION,
    append,
    batch,
    consumption,
    end_of,
    entry,
    epoch_key,
    erasure,
    genesis,
    home,
    leftover,
    link,
    link_file,
    metadata,
    plan,
    posting,
    replacement,
    schema_revision,
    seal_key,
    settings_check,
    submission,
    tally,
    transfer,
    unsettled,
)
from tanzhang.stores.book.sqlite import SqliteDatabase
from tanzhang.stores.postings import amount_in, pages, postings_of
from tanzhang.stores.tallies import rows_to_add, runs_covering, tally_in

_FEW, _ALL = 100, 2**31 - 1


def database_at(place: Path | BookAddress) -> Database:
    """The database of a place; PostgreSQL's driver is loaded for an address only (``postgres-driver-missing``)."""
    if isinstance(place, BookAddress):
        from tanzhang.stores.book.postgres import PostgresDatabase

        return PostgresDatabase(place)
    return SqliteDatabase(place)


class Book:
    """One book: one writer at a time, many readers. Its connections are closed with it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._engine = database.engine
        self._snapshot: ContextVar[sa.Connection | None] = ContextVar("snapshot", default=None)
        weakref.finalize(self, database.engine.dispose)

    @classmethod
    def create(cls, place: Path | BookAddress, values: Mapping[str, str], first_seal_key: bytes) -> Book:
        """A new, empty book that says what it was set up with; it is there whole or not at all. ``home-exists``."""
        book = cls(database_at(place))
        with book._database.making() as con:
            metadata.create_all(con)
            everything = {**values, "schema_version": str(SCHEMA_VERSION)}
            everything["settings_check"] = settings_check(everything)
            con.execute(home.insert(), [{"key": key, "value": value} for key, value in everything.items()])
            con.execute(schema_revision.insert(), {"version_num": SCHEMA_REVISION})
            con.execute(seal_key.insert(), {"only": 1, "batch": 0, "key": first_seal_key})
            con.execute(epoch_key.insert(), {"only": 1, "key": first_epoch_key(first_seal_key)})
            append(con, entry, {"kind": "genesis", "text": genesis(everything)})
            book._database.guard(con)
        return book

    @classmethod
    def open(cls, place: Path | BookAddress, *, migrating: bool = False) -> Book:
        """An existing book of a schema that this program works on: its own major revision, its own minor or later.

        Raises ``home-missing``, ``schema-unknown``, ``book-unusable``, and unless it is opened for ``migrating``,
        ``schema-outdated``.
        """
        book = cls(database_at(place))
        if not book._database.exists():
            raise refuse(
                "home-missing",
                f"there is no book at {shown(place)}",
                where=shown(place),
                remedy="run 'tanzhang init --home DIR --programme NAME' first, or give the right --home",
            )
        check_revision(book.values().get("schema_version"), book.revision(), shown(place), migrating=migrating)
        return book

    @classmethod
    def load(cls, place: Path | BookAddress, file: Path) -> Book:
        """The book that a copy by :meth:`copy_to` holds, brought back. ``home-exists``, ``book-copy-failed``."""
        database_at(place).load(file)
        return cls.open(place)

    @staticmethod
    def is_at(place: Path | BookAddress) -> bool:
        """Whether there is a book at a place; waits for one that is being made there at this moment."""
        book = Book(database_at(place))
        return book._database.exists(after_writers=True)

    @staticmethod
    def check_free(place: Path | BookAddress) -> None:
        """Refuse a place where a book stands already (``home-exists``) or cannot be made (``book-unusable``)."""
        if Book.is_at(place):
            raise refuse(
                "home-exists",
                f"there is a book at {shown(place)} already",
                where=shown(place),
                remedy="choose another folder, or another schema with ?schema=NAME at the end of the address",
            )

    @property
    def place(self) -> Path | BookAddress:
        """The book's file, or its address on a server."""
        return self._database.place

    @property
    def name(self) -> str:
        """What problems call the book in ``where``."""
        return self._database.name

    def close(self) -> None:
        """Close all connections; the next use opens new ones."""
        self._engine.dispose()

    def moment(self) -> datetime | None:
        """What the clock of the database says, which all machines share; None where it is this machine's own."""
        return self._database.moment()

    def revision(self) -> str | None:
        """The revision that the schema has come to; None in a book from before there were any."""
        with self.reading() as con:
            if not sa.inspect(con).has_table(schema_revision.name):
                return None
            return con.scalar(sa.select(schema_revision.c.version_num))

    # -- reading ----------------------------------------------------------------------------------------------

    def values(self) -> dict[str, str]:
        """What the home was set up with."""
        return {row.key: row.value for row in self.query(sa.select(home))}

    def rows(self, table: sa.Table) -> list[Any]:
        """All rows of a chained table in order."""
        return self.query(sa.select(table).order_by(table.c.seq))

    def query(self, statement: sa.Select[Any], values: Mapping[str, Any] | None = None) -> list[Any]:
        """The rows of a query, as named tuples."""
        with self.reading() as con:
            return list(con.execute(statement, values))

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection to ask by: that of the snapshot, if there is one."""
        con = self._snapshot.get()
        if con is not None:
            yield con
            return
        with self._engine.connect() as con:
            yield con

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All that is asked in this block, by this task, is answered as of one moment, whatever is booked meanwhile."""
        if self._snapshot.get() is not None:
            yield
            return
        with self._engine.connect() as con:
            con.exec_driver_sql(self._database.begin_reading)
            token = self._snapshot.set(con)
            try:
                yield
            finally:
                self._snapshot.reset(token)
                with suppress(Exception):  # a connection that is lost has ended it already
                    con.connection.rollback()

    @contextmanager
    def within(self, con: sa.Connection) -> Iterator[None]:
        """All that is asked in this block, by this task, is answered by a transaction, with what it wrote so far."""
        token = self._snapshot.set(con)
        try:
            yield
        finally:
            self._snapshot.reset(token)

    def entries(self, first: int = 0) -> list[Any]:
        """What the log publishes from index ``first`` on: seq, kind, text."""
        text = sa.func.coalesce(entry.c.text, batch.c.manifest).label("text")
        joined = entry.outerjoin(batch, batch.c.entry == entry.c.seq)
        statement = sa.select(entry.c.seq, entry.c.kind, text).select_from(joined)
        return self.query(statement.where(entry.c.seq >= first).order_by(entry.c.seq))

    def batches(self) -> list[Any]:
        """The batches in order, each with the record files that stand for it now.

        Beside its columns a row has ``erased``, how many of its records are, and ``totals``, what they came to (JSON).
        """
        return self._standing(self.rows(batch), {"records": ("records_file", "records_digest")})

    def batch_files(self, first: int = 0) -> list[Any]:
        """What :meth:`batches` returns from number ``first`` on, without the texts of manifests and of chains."""
        columns = [column for column in batch.c if column.name not in ("manifest", "chain")]
        rows = self.query(sa.select(*columns).where(batch.c.seq >= first).order_by(batch.c.seq))
        return self._standing(rows, {"records": ("records_file", "records_digest")})

    def version(self) -> tuple[int, int]:
        """How many batches and how many replaced files there are: as long as both stay, so do all record files."""
        last = self.query(sa.select(sa.func.max(replacement.c.seq)))[0][0]
        return self.batch_count(), 0 if last is None else int(last) + 1

    def submissions(self, rows: list[Any] | None = None) -> list[Any]:
        """Submissions, all by default, with the files that stand for them now; None where one was disposed of.

        Beside its columns a row has ``erased``, how many of its reports are.
        """
        files = {"reports": ("file", "file_digest"), "verdicts": ("verdicts", "verdicts_digest")}
        return self._standing(self.rows(submission) if rows is None else rows, files)

    def link_files(self) -> list[Any]:
        """The files of links that stand now."""
        return self._standing(self.rows(link_file), {"links": ("file", "file_digest")})

    def _standing(self, rows: list[Any], files: Mapping[str, tuple[str, str]]) -> list[Any]:
        """Rows of a catalogue with, by kind of file, the last replacement's file and digest in these columns."""
        latest = sa.select(sa.func.max(replacement.c.seq)).where(replacement.c.kind.in_(files))
        statement = sa.select(replacement).where(
            replacement.c.seq.in_(latest.group_by(replacement.c.kind, replacement.c.number))
        )
        if len(rows) < _FEW:
            statement = statement.where(replacement.c.number.in_([row.seq for row in rows]))
        found = [SimpleNamespace(**{**row._mapping, "erased": 0, "totals": None}) for row in rows]
        numbered = {row.seq: row for row in found}
        for each in self.query(statement):
            row = numbered.get(each.number)
            if row is not None:
                for name, value in zip(files[each.kind], (each.file, each.file_digest), strict=True):
                    setattr(row, name, value)
                if each.kind != "verdicts":
                    row.erased, row.totals = each.erased, each.totals
        return list(found)

    def open_submissions(self, through: str | None = None, *, at_once: bool = False) -> list[Any]:
        """Submissions with reports that are not settled yet, in order, with the day ``settled_through`` or None.

        With ``through`` those are left out of which nothing closes by that day; with ``at_once`` all but those whose
        reports are settled as soon as they come.
        """
        joined = submission.join(unsettled, unsettled.c.submission == submission.c.seq)
        statement = sa.select(submission, unsettled.c.reports, unsettled.c.settled_through).select_from(joined)
        if through is not None:
            statement = statement.where(unsettled.c.next_close_day <= through)
        if at_once:
            statement = statement.where(unsettled.c.at_once)
        return self.submissions(self.query(statement.order_by(submission.c.seq)))

    def find_submission(self, fingerprint: str, received_at: str) -> Any | None:
        """The submission of the same bytes, if there is one whose verdicts the time since cannot have changed.

        One with rows from the future, whose fingerprint has its number behind it, is such only up to when it came.
        """
        same = submission.c.fingerprint == fingerprint
        dated = submission.c.fingerprint.startswith(f"{fingerprint}-") & (submission.c.received_at >= received_at)
        rows = self.query(sa.select(submission).where(same | dated).order_by(submission.c.seq))
        return self.submissions(rows[:1])[0] if rows else None

    def leftovers(self, kind: str) -> list[str]:
        """What an erasing still has to clear away: names of kind ``file`` or ``keys``."""
        return [row.name for row in self.query(sa.select(leftover.c.name).where(leftover.c.kind == kind))]

    def next_seal_key(self) -> tuple[int, bytes]:
        """The next batch's number and key."""
        rows = self.query(sa.select(seal_key.c.batch, seal_key.c.key))
        if len(rows) != 1:
            raise refuse(
                "book-damaged",
                f"table seal_key has {len(rows)} rows instead of one",
                where=f"{self.name}: seal_key",
                remedy="restore the book from a backup",
            )
        return rows[0].batch, rows[0].key

    def settled_through(self) -> dict[int, tuple[str, int]]:
        """Submission -> last day through which its reports are settled, and how many are; others are left out."""
        statement = sa.select(
            consumption.c.submission, sa.func.max(consumption.c.through), sa.func.sum(consumption.c.rows)
        ).group_by(consumption.c.submission)
        return {row[0]: (row[1], int(row[2])) for row in self.query(statement)}

    def plans(self, digests: Iterable[str] | None = None) -> dict[str, str]:
        """Plan documents by digest; all of them by default."""
        statement = sa.select(plan.c.digest, plan.c.document)
        if digests is not None:
            statement = statement.where(plan.c.digest.in_(list(digests)))
        return {row.digest: row.document for row in self.query(statement)}

    def plan_count(self) -> int:
        """How many plans there are."""
        return int(self.query(sa.select(sa.func.count()).select_from(plan))[0][0])

    def postings(self, number: int) -> pa.Table:
        """A batch's postings (account, unit, amount), sorted by unit and account."""
        own = sa.select(posting).where(posting.c.batch == number)
        return postings_of(self.query(own.order_by(posting.c.unit, posting.c.first)))

    def balance(self, account: uuid.UUID) -> dict[str, int]:
        """Unit -> what an account holds, of units it has any of: postings, one look-up a batch, and transfers."""
        sums = {unit: sum(amounts.values()) for unit, amounts in self.posted(account).items()}
        for unit, amount in self.transferred(account).items():
            sums[unit] = sums.get(unit, 0) + amount
        return sums

    def transferred(self, account: uuid.UUID, batches: int | None = None) -> dict[str, int]:
        """Unit -> what came to an account from other accounts, less what went to them; before a batch was settled."""
        rows = self.query(_TRANSFERRED, {"account": str(account), "batches": _ALL if batches is None else batches})
        return {unit: int(amount) for unit, amount in rows}

    def transfers(self, account: uuid.UUID) -> list[Any]:
        """The legs of transfers that are an account's, in order."""
        own = sa.select(transfer).where(transfer.c.account == str(account))
        return self.query(own.order_by(transfer.c.seq))

    def transfer_legs(self, first: int, stop: int, batches: int) -> list[Any]:
        """Legs ``first`` to ``stop - 1`` that were made before batch ``batches`` was settled, in order."""
        wanted = (transfer.c.seq >= first) & (transfer.c.seq < stop) & (transfer.c.batches <= batches)
        return self.query(sa.select(transfer).where(wanted).order_by(transfer.c.seq))

    def posted(self, account: uuid.UUID, since: int = 0) -> dict[str, dict[int, int]]:
        """Unit -> batch -> what it posts to an account, where that is anything; in order, from batch ``since`` on."""
        page, others = posting.alias(), posting.alias()
        first = (
            sa.select(others.c.first)
            .where(
                others.c.batch == batch.c.seq, others.c.unit == sa.bindparam("unit"), others.c.first <= account.bytes
            )
            .order_by(others.c.first.desc())
            .limit(1)
            .correlate(batch)
            .scalar_subquery()
        )
        statement = (
            sa.select(page)
            .where(
                batch.c.seq >= since,
                page.c.batch == batch.c.seq,
                page.c.unit == sa.bindparam("unit"),
                page.c.first == first,
                page.c.last >= account.bytes,
            )
            .order_by(page.c.batch)
        )
        found = {}
        for unit in UNIT_OF_KIND.values():
            rows = self.query(statement, {"unit": unit})
            amounts = {row.batch: amount for row in rows if (amount := amount_in(row, account.bytes))}
            if amounts:
                found[unit] = amounts
        return found

    def balances(self) -> pa.Table:
        """What every account holds by unit, sorted: account, unit, amount; memory is that of all postings."""
        tables = [self.postings(row.seq) for row in self.query(sa.select(batch.c.seq))]
        columns = (transfer.c.account, transfer.c.unit, transfer.c.amount)
        legs = self.query(sa.select(*columns).where(transfer.c.account != ""))
        if legs:
            own = pa.array([uuid.UUID(row.account).bytes for row in legs], pa.uuid())
            named = {"account": own, "unit": [row.unit for row in legs], "amount": [row.amount for row in legs]}
            tables.append(pa.table(named))
        if not tables:
            return postings_of([])
        everything = pa.concat_tables(tables)
        storage = pa.table(
            {"account": everything["account"].cast(pa.binary(16)), **{n: everything[n] for n in ("unit", "amount")}}
        )
        sums = storage.group_by(["account", "unit"]).aggregate([("amount", "sum")])
        sums = sums.sort_by([("account", "ascending"), ("unit", "ascending")])
        return pa.table({"account": sums["account"], "unit": sums["unit"], "amount": sums["amount_sum"]})

    def tallies(
        self, batches: int | None = None, *, since: str | None = None, until: str | None = None
    ) -> list[pa.Table]:
        """Tallies that add up to the first ``batches`` batches (None: all), see :mod:`tanzhang.engine.tally`.

        Those without a record of local days ``since`` to ``until`` are left out; others may hold other days too.
        """
        with self.snapshot():
            count = self.batch_count() if batches is None else batches
            wanted = sa.select(tally).where(tally.c.cells > 0)
            if since is not None:
                wanted = wanted.where(tally.c.last_day >= since)
            if until is not None:
                wanted = wanted.where(tally.c.first_day <= until)
            wanted = wanted.where(tally.c.last == sa.bindparam("last"), tally.c.first == sa.bindparam("first"))
            found = []
            for first, last in runs_covering(count):
                found += [tally_in(row) for row in self.query(wanted, {"first": first, "last": last})]
            return found

    def tally_between(self, first: int, stop: int) -> pa.Table:
        """The tally of batches ``first`` to ``stop - 1``, from the row of each."""
        single = (tally.c.first == tally.c.last) & (tally.c.last >= first) & (tally.c.last < stop)
        return merged([tally_in(row) for row in self.query(sa.select(tally).where(single).order_by(tally.c.last))])

    def batch_count(self) -> int:
        """How many batches there are."""
        last = self.query(sa.select(sa.func.max(batch.c.seq)))[0][0]
        return 0 if last is None else int(last) + 1

    def heads(self) -> dict[str, dict[str, str]]:
        """Table -> number of rows and chain head, of every chained table."""
        with self.reading() as con:
            ends = {table.name: end_of(con, table) for table in CHAINED}
        return {name: {"rows": str(rows), "head": head} for name, (rows, head) in ends.items()}

    # -- writing ----------------------------------------------------------------------------------------------

    def add_submission(
        self,
        fingerprint: str,
        values: Callable[[int], Mapping[str, Any]],
        plans: Mapping[str, str],
        next_close: date,
        also: Callable[[sa.Connection], None] | None = None,
    ) -> Mapping[str, Any]:
        """Acknowledge a submission whose file is on disk; returns its row. Keeps its plans in the same step.

        ``values`` is called with the number; ``next_close`` is the first day on which a report of it closes. If one
        with the same fingerprint came first, that one is returned and nothing is kept. ``also`` writes what else
        belongs to it, or refuses it.
        """
        with self.transaction() as con:
            first = con.execute(sa.select(submission).where(submission.c.fingerprint == fingerprint)).mappings().first()
            if first is not None:
                return dict(first)
            if also is not None:
                also(con)
            add_plans(con, plans)
            return add_submission(con, values, next_close)

    def add_link(self, values: Mapping[str, Any], heads: Mapping[str, Any]) -> int:
        """Record a person's consent to link a child account; ``book-moved`` if links changed since ``heads``."""
        with self.transaction() as con:
            _check_heads(con, (link, link_file), heads)
            return append(con, link, values)

    def add_links(
        self,
        rows: Iterable[Mapping[str, Any]],
        heads: Mapping[str, Any],
        also: Callable[[sa.Connection], None],
    ) -> None:
        """Record consents and ends of consents at once, with what ``also`` writes; ``book-moved`` as above."""
        with self.transaction() as con:
            _check_heads(con, (link, link_file), heads)
            for values in rows:
                append(con, link, values)
            also(con)

    def add_link_file(self, values: Mapping[str, Any], heads: Mapping[str, Any]) -> int:
        """Acknowledge a file of consents that is on disk; ``book-moved`` if links changed since ``heads``."""
        with self.transaction() as con:
            _check_heads(con, (link, link_file), heads)
            return append(con, link_file, values)

    def add_entry(self, kind: str, text: str) -> int:
        """Give the log something to publish that is no batch; returns its index in the log."""
        with self.transaction() as con:
            return append(con, entry, {"kind": kind, "text": text})

    def commit_batch(
        self,
        finish: Callable[[], Mapping[str, Any]],
        number: int,
        consumed: Iterable[Mapping[str, Any]],
        postings: pa.Table,
        counted: pa.Table,
        next_key: bytes,
        heads: Mapping[str, Any],
        *,
        also: Callable[[sa.Connection], None] | None = None,
    ) -> None:
        """The one commit point of a settlement, batch ``number``; ``also`` writes what else follows from it.

        ``postings`` (account, unit, amount) are sorted by account, ``counted`` is the batch's tally. ``finish`` waits
        for the batch's files and returns its row; nothing waits inside the transaction, so that others can write.
        Refuses postings that do not sum to zero per unit (``unbalanced``), and a book in which another batch was
        settled since ``heads`` were read (``book-moved``), so two settlements at once cannot both commit.
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
        with self.reading() as con:
            tallies = rows_to_add(con, tally, number, counted)
        values = finish()
        with self.transaction() as con:
            _check_heads(con, (batch, consumption), heads)
            if rows:
                con.execute(posting.insert(), rows)
            con.execute(tally.insert(), tallies)
            index = append(con, entry, {"kind": "batch"})
            append(con, batch, {**values, "entry": index})  # from here on the batch takes no more postings
            for each in consumed:
                append(con, consumption, {**each, "batch": number})
                one = unsettled.c.submission == each["submission"]
                following = date.fromisoformat(each["through"]) + timedelta(days=1)
                now = {"settled_through": each["through"], "next_close_day": following.isoformat()}
                con.execute(unsettled.update().where(one).values(reports=unsettled.c.reports - each["rows"], **now))
            con.execute(unsettled.delete().where(unsettled.c.reports <= 0))
            con.execute(seal_key.update().values(batch=number + 1, key=next_key))
            if also is not None:
                also(con)

    def replace_files(
        self,
        heads: Mapping[str, Any],
        replaced: Sequence[Mapping[str, Any]],
        leftovers: Iterable[tuple[str, str]],
        *,
        erased: Mapping[str, Any] | None = None,
        links: Sequence[int] = (),
        also: Callable[[sa.Connection], None] | None = None,
    ) -> int | None:
        """The one commit point of an erasing, or of disposing of files: what stands for which from now on.

        ``replaced`` are rows of table replacement, their files on disk; ``erased`` is the row of table erasure if there
        is one, whose number is returned; ``links`` the rows of table link that say no more whose they were; ``also``
        writes what else belongs to it. ``book-moved`` if a batch was settled or a link made since ``heads``.
        """
        with self.transaction() as con:
            _check_heads(con, (batch, consumption, link, link_file, replacement), heads)
            number = None if erased is None else append(con, erasure, {**erased, "links": json.dumps(list(links))})
            for each in replaced:
                append(con, replacement, {**each, "erasure": number})
            for start in range(0, len(links), 500):
                some = link.c.seq.in_(links[start : start + 500])
                con.execute(link.update().where(some).values(child="", account=""))
            rows = [{"kind": kind, "name": name} for kind, name in leftovers]
            if rows:
                con.execute(leftover.insert(), rows)
            if also is not None:
                also(con)
        return number

    def cleared(self, kind: str, names: Sequence[str]) -> None:
        """What an erasing left over is cleared away."""
        with self.transaction() as con:
            for start in range(0, len(names), 500):
                some = leftover.c.name.in_(names[start : start + 500])
                con.execute(leftover.delete().where((leftover.c.kind == kind) & some))

    def forget_deleted(self) -> None:
        """Overwrite what was deleted or changed, as far as the database can: SQLite does, PostgreSQL at its VACUUM."""
        self._database.forget_deleted()

    def writing(self) -> AbstractContextManager[None]:
        """Hold the write lock of a book that several machines can reach; ``home-busy``.

        What is added meanwhile goes through the connection that holds it, so that a lost lock is a failed commit.
        """
        return self._database.writing()

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """A transaction that writes, alone; what it wrote survives a power cut when the block has ended."""
        with self._database.session() as con:
            self._database.begin(con)
            with committing(con, self._database.written_as):
                yield con

    def copy_to(self, folder: Path) -> Path:
        """Copy all of it, as of one moment, into a file of a folder, while others write; ``book-copy-failed``.

        The copy has every secret that the book has: keys of salts, secrets of accounts, hashes of keys.
        """
        return self._database.copy_to(folder)

    def migrate(self, run: Callable[[sa.Connection], None], *, keep: bool) -> None:
        """Change the schema in one transaction, and make its guards anew; undone again unless ``keep``."""
        with self._database.session() as con:
            self._database.begin(con)
            with committing(con, self._database.written_as) if keep else undone(con):
                run(con)
                self._database.guard(con)

    # -- checking ---------------------------------------------------------------------------------------------

    @property
    def integrity_check(self) -> str:
        """What :meth:`check_pages` does on this database, in words."""
        return self._database.integrity_check

    def check_pages(self) -> list[Problem]:
        """The database's own integrity check."""
        return self._database.check_pages()

    def disk_bytes(self) -> int:
        """What the book takes on disk."""
        return self._database.disk_bytes()


# Asked with every balance, so it is not put together each time.
_TRANSFERRED = (
    sa.select(transfer.c.unit, sa.func.sum(transfer.c.amount))
    .where(transfer.c.account == sa.bindparam("account"), transfer.c.batches <= sa.bindparam("batches"))
    .group_by(transfer.c.unit)
)


def add_plans(con: sa.Connection, plans: Mapping[str, str]) -> None:
    """Keep plan documents that are not kept yet, in somebody's transaction."""
    if plans:
        known = {row.digest for row in con.execute(sa.select(plan.c.digest).where(plan.c.digest.in_(plans)))}
        for digest in sorted(plans.keys() - known):
            append(con, plan, {"digest": digest, "document": plans[digest]})


def add_submission(
    con: sa.Connection, values: Callable[[int], Mapping[str, Any]], next_close: date, *, at_once: bool = False
) -> dict[str, Any]:
    """Add a submission and what is unsettled of it, in somebody's transaction; returns its row.

    ``values`` is called with its number; ``at_once`` if all its reports are to be settled as soon as they come.
    """
    number, _ = end_of(con, submission)
    row = {**values(number), "seq": number}
    append(con, submission, row)
    if row["accepted"]:
        kept = {"submission": number, "reports": row["accepted"], "next_close_day": next_close.isoformat()}
        con.execute(unsettled.insert(), {**kept, "at_once": at_once})
    return row


def _check_heads(con: sa.Connection, tables: Iterable[sa.Table], heads: Mapping[str, Any]) -> None:
    for table in tables:
        if end_of(con, table)[1] != heads[table.name]["head"]:
            raise refuse("book-moved", f"{table.name} changed meanwhile", where="the book", remedy="try again")
