"""Deliveries: each request by which a partner reported, with the answer it got, and the reports it brought.

Accepted reports of requests that came in together are one row of ``inbox``, durable when its transaction is committed,
until the next settlement gathers them into a report file (service/gather.py). A request that is repeated with its key
gets the first answer again, from any process, also after a crash.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from tanzhang.stores.book import Book, add_plans, add_submission
from tanzhang.stores.book.schema import NUMBER, TEXT, metadata

inbox = sa.Table(
    "inbox",
    metadata,
    sa.Column("id", NUMBER, primary_key=True),
    sa.Column("received_day", TEXT, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("accepted", sa.BigInteger, nullable=False),
    sa.Column("reports", sa.LargeBinary),  # an Arrow stream of accepted rows, until they are in a report file
    sa.Column("submission", sa.Integer),
    sa.Column("rows_before", sa.BigInteger),  # in that submission
    sa.Index("inbox_submission", "submission"),  # what waits is asked for at every settlement
)
delivery = sa.Table(
    "delivery",
    metadata,
    sa.Column("id", NUMBER, primary_key=True),
    sa.Column("partner", TEXT, nullable=False),
    sa.Column("key", TEXT),
    sa.Column("request_digest", TEXT, nullable=False),
    sa.Column("received_at", TEXT, nullable=False),
    sa.Column("inbox", NUMBER, nullable=False),
    sa.Column("rows_before", sa.BigInteger, nullable=False),  # in that inbox
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("accepted", sa.BigInteger, nullable=False),
    sa.Column("answer", sa.LargeBinary),  # JSON, deflated unless short; forgotten when the time for repeats is over
    sa.UniqueConstraint("partner", "key"),
    sa.Index("delivery_inbox", "inbox"),
    sa.Index("delivery_partner", "partner", "id"),  # a partner's own, in order
)


@dataclass(frozen=True, slots=True)
class Delivered:
    """One request that was answered. ``key`` is its Idempotency-Key, ``rows_before`` its place in the group."""

    partner: str
    key: str | None
    request_digest: str
    received_at: str
    rows_before: int
    rows: int
    accepted: int
    answer: bytes


@dataclass(frozen=True, slots=True)
class Repeat:
    """What is kept of an earlier request with the same key; ``answer`` None once it is forgotten."""

    request_digest: str
    answer: bytes | None


class Deliveries:
    """The deliveries of a home."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._named: dict[int, npt.NDArray[np.uint64]] = {}

    def earlier(self, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Repeat]:
        """What was answered to requests with these (partner, key)."""
        with self._book.reading() as con:
            return _earlier(con, list(keys))

    def keep(
        self, delivered: Sequence[Delivered], reports: pa.Table, received_day: str, plans: Mapping[str, str]
    ) -> list[Repeat | None]:
        """Acknowledge requests that came in together, with the rows accepted of all of them (column ``row`` from 1).

        Returns for each what another process kept that was faster with the same key, for that request or another one;
        then none of its rows is kept here. When this returns, everything survives a power cut.
        """
        with self._book.transaction() as con:
            known = _earlier(con, [(each.partner, each.key) for each in delivered if each.key is not None])
            new = [each for each in delivered if each.key is None or (each.partner, each.key) not in known]
            if len(new) < len(delivered):
                reports = reports.filter(_rows_of(reports, new))
            if new:
                add_plans(con, plans)
                values = {
                    "received_day": received_day,
                    "rows": sum(each.rows for each in delivered),
                    "accepted": reports.num_rows,
                    "reports": _stream(reports),
                }
                number = con.execute(inbox.insert().values(values).returning(inbox.c.id)).scalar_one()
                con.execute(delivery.insert(), [_row(each, number) for each in new])
        return [None if each.key is None else known.get((each.partner, each.key)) for each in delivered]

    def waiting(self) -> list[tuple[str, list[int]]]:
        """Received day and ids of what waits in the inbox, a day's at a time, in order."""
        statement = sa.select(inbox.c.received_day, inbox.c.id).where(inbox.c.submission.is_(None)).order_by(inbox.c.id)
        days: dict[str, list[int]] = {}
        for row in self._book.query(statement):
            days.setdefault(row.received_day, []).append(row.id)
        return sorted(days.items())

    def reports_of(self, number: int) -> tuple[Any, pa.Table]:
        """A row of the inbox that was not gathered yet, and its reports."""
        (row,) = self._book.query(sa.select(inbox).where(inbox.c.id == number))
        return row, pa.ipc.open_stream(row.reports).read_all()

    def waiting_reports(self, actions: Sequence[bytes]) -> pa.Table:
        """Reports in the inbox that have one of some references, or take back one that has.

        There is no index of references, which would make every report dearer; what waits is looked through once, and
        of each row of the inbox it is remembered what it names, 16 bytes a report, until it is gathered.
        """
        numbers = [number for _, some in self.waiting() for number in some]
        for gone in self._named.keys() - set(numbers):
            self._named.pop(gone, None)
        wanted = np.frombuffer(b"".join(each[:8] for each in actions), dtype=np.uint64)
        asked = pa.array(actions, pa.binary(16))
        found = []
        for number in numbers:
            named = self._named.get(number)
            if named is not None and not np.isin(wanted, named, assume_unique=False).any():
                continue
            stored = self._book.query(sa.select(inbox.c.reports).where(inbox.c.id == number))
            if not stored or stored[0].reports is None:  # gathered since
                continue
            reports = pa.ipc.open_stream(stored[0].reports).read_all()
            own, takes = (_identities(reports[name]) for name in ("action_id", "withdraws"))
            if named is None:
                self._named[number] = np.concatenate([_halves(own), _halves(takes)])
            found.append(reports.filter(pc.or_(pc.is_in(own, asked), pc.is_in(takes, asked))))
        return pa.concat_tables(found) if found else pa.table({})

    def of_partner(self, partner: str, *, after: int, since: str | None, refused: bool | None, limit: int) -> list[Any]:
        """A partner's deliveries whose answer is kept, from the one with id ``after`` on, in order.

        ``refused``: only those with refused rows, or only those with accepted ones; None: all.
        """
        own = (delivery.c.partner == partner) & (delivery.c.id >= after) & delivery.c.answer.is_not(None)
        if since is not None:
            own &= delivery.c.received_at >= since
        if refused is not None:
            own &= (delivery.c.accepted < delivery.c.rows) if refused else (delivery.c.accepted > 0)
        return self._book.query(sa.select(delivery).where(own).order_by(delivery.c.id).limit(limit))

    def of_inbox(self, number: int) -> list[Any]:
        """The deliveries of a row of the inbox, in their order; ``answer`` is for :func:`inflated`, if it is kept."""
        own = sa.select(delivery).where(delivery.c.inbox == number)
        return self._book.query(own.order_by(delivery.c.rows_before))

    def answered(self, submissions: Sequence[int]) -> list[Any]:
        """Deliveries whose answer is kept: those in some submissions, and all with refused rows."""
        statement = (
            sa.select(delivery)
            .join(inbox, inbox.c.id == delivery.c.inbox)
            .where(delivery.c.answer.is_not(None))
            .order_by(delivery.c.id)
        )
        found: dict[int, Any] = {}
        conditions = [delivery.c.accepted < delivery.c.rows]
        conditions += [inbox.c.submission.in_(submissions[n : n + 500]) for n in range(0, len(submissions), 500)]
        for condition in conditions:
            found |= {row.id: row for row in self._book.query(statement.where(condition))}
        return list(found.values())

    def rewrite(self, con: sa.Connection, answers: Mapping[int, bytes]) -> None:
        """Other answers for some deliveries, in somebody's transaction; one that was forgotten stays so."""
        for number, answer in answers.items():
            kept = (delivery.c.id == number) & delivery.c.answer.is_not(None)
            con.execute(delivery.update().where(kept).values(answer=deflated(answer)))

    def gathered(self, numbers: Sequence[int], rows_before: Sequence[int], row: Any, next_close: date) -> int:
        """Acknowledge the file that reports of the inbox were gathered in as a submission; returns its number.

        ``row`` and ``next_close`` as in :meth:`tanzhang.stores.book.Book.add_submission`.
        """
        with self._book.transaction() as con:
            submission: int = add_submission(con, row, next_close)["seq"]
            places = [{"number": number, "before": before} for number, before in zip(numbers, rows_before, strict=True)]
            moved = inbox.update().where(inbox.c.id == sa.bindparam("number"))
            con.execute(moved.values(submission=submission, rows_before=sa.bindparam("before"), reports=None), places)
        return submission

    def forget_answers(self, received_before: str | None, *, dry_run: bool = False) -> int:
        """Forget the answers to requests that came before a moment; returns how many."""
        if received_before is None:
            return 0
        old = (delivery.c.received_at < received_before) & delivery.c.answer.is_not(None)
        if dry_run:
            return self._count(old)
        with self._book.transaction() as con:
            return int(con.execute(delivery.update().where(old).values(answer=None)).rowcount)

    def forget_requests(self, received_before: str | None, *, dry_run: bool = False) -> int:
        """Forget that requests came before a moment, once their reports are in a report file; returns how many.

        A key that such a request had may be used again; what it brought is known by its references.
        """
        if received_before is None:
            return 0
        gathered = sa.select(inbox.c.id).where(inbox.c.submission.is_not(None))
        old = (delivery.c.received_at < received_before) & delivery.c.inbox.in_(gathered)
        if dry_run:
            return self._count(old)
        with self._book.transaction() as con:
            count = int(con.execute(delivery.delete().where(old)).rowcount)
            unnamed = inbox.c.id.not_in(sa.select(delivery.c.inbox))
            con.execute(inbox.delete().where(unnamed & inbox.c.submission.is_not(None)))
        return count

    def _count(self, condition: sa.ColumnElement[bool]) -> int:
        (row,) = self._book.query(sa.select(sa.func.count().label("n")).select_from(delivery).where(condition))
        return int(row.n)


_SHORT = 1_000


def deflated(answer: bytes) -> bytes:
    """An answer as it is kept. A short one stays as it is: making room to pack it costs more than all else it does."""
    return answer if len(answer) < _SHORT else zlib.compress(answer, 1)


def inflated(answer: bytes) -> bytes:
    """An answer as it was given, from how it is kept: JSON begins with a brace, and what is packed never does."""
    return answer if answer.startswith(b"{") else zlib.decompress(answer)


def _earlier(con: sa.Connection, keys: Sequence[tuple[str, str | None]]) -> dict[tuple[str, str], Repeat]:
    found: dict[tuple[str, str], Repeat] = {}
    for start in range(0, len(keys), 500):
        named = sa.tuple_(delivery.c.partner, delivery.c.key).in_(keys[start : start + 500])
        for row in con.execute(
            sa.select(delivery.c.partner, delivery.c.key, delivery.c.request_digest, delivery.c.answer).where(named)
        ):
            answer = None if row.answer is None else inflated(row.answer)
            found[row.partner, row.key] = Repeat(row.request_digest, answer)
    return found


def _row(each: Delivered, number: int) -> dict[str, Any]:
    return {
        "partner": each.partner,
        "key": each.key,
        "request_digest": each.request_digest,
        "received_at": each.received_at,
        "inbox": number,
        "rows_before": each.rows_before,
        "rows": each.rows,
        "accepted": each.accepted,
        "answer": deflated(each.answer),
    }


def _rows_of(reports: pa.Table, delivered: Sequence[Delivered]) -> pa.Array:
    """Which accepted rows are of these requests."""
    wanted = {row for each in delivered for row in range(each.rows_before + 1, each.rows_before + each.rows + 1)}
    return pa.array([row in wanted for row in reports["row"].to_pylist()], pa.bool_())


def _identities(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(pa.binary(16))


def _halves(column: pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    """The first eight bytes of each identity that there is."""
    whole = b"".join(value for value in column.to_pylist() if value is not None)
    return np.frombuffer(whole, dtype=np.uint64)[::2]


_MANY = 10_000


def _stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    # Handing a few columns of a few rows to other threads costs more than packing them.
    options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=table.num_rows > _MANY)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())
