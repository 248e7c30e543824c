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

import pyarrow as pa
import sqlalchemy as sa

from tanzhang.stores.book import Book, add_plans, add_submission
from tanzhang.stores.book.schema import NUMBER, TEXT, metadata
from tanzhang.stores.register.partners import count_rows

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
    sa.Column("answer", sa.LargeBinary),  # deflated JSON; forgotten when the programme's time for repeats is over
    sa.Column("signature", TEXT),  # JSON: what the partner signed, where it did (service/signatures.py)
    sa.UniqueConstraint("partner", "key"),
    sa.Index("delivery_inbox", "inbox"),
    sa.Index("delivery_partner", "partner", "id"),
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
    signature: str | None = None


@dataclass(frozen=True, slots=True)
class Repeat:
    """What is kept of an earlier request with the same key; ``answer`` None once it is forgotten."""

    request_digest: str
    answer: bytes | None


class Deliveries:
    """The deliveries of a home."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def earlier(self, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Repeat]:
        """What was answered to requests with these (partner, key)."""
        with self._book.reading() as con:
            return _earlier(con, list(keys))

    def keep(
        self,
        delivered: Sequence[Delivered],
        reports: pa.Table,
        received_day: str,
        plans: Mapping[str, str],
        limits: Mapping[str, int] | None = None,
    ) -> list[bytes | None]:
        """Acknowledge requests that came in together, with the rows accepted of all of them (column ``row`` from 1).

        Returns the answer to each: the first one where another process was faster with the same key; then none of the
        request's rows is kept twice; None where the partner sent as many rows as it may on this day (``limits``, rows
        by partner), and nothing is kept. When this returns, everything survives a power cut.
        """
        full: set[int] = set()
        with self._book.transaction() as con:
            known = _earlier(con, [(each.partner, each.key) for each in delivered if each.key is not None])
            new = [each for each in delivered if each.key is None or (each.partner, each.key) not in known]
            for each in new:
                limit = (limits or {}).get(each.partner)
                if limit is not None and not count_rows(con, each.partner, received_day, each.rows, limit):
                    full.add(each.rows_before)
            new = [each for each in new if each.rows_before not in full]
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
        return [
            None
            if each.rows_before in full
            else each.answer
            if each.key is None or (each.partner, each.key) not in known
            else (known[each.partner, each.key].answer or b"")
            for each in delivered
        ]

    def row(self, number: int) -> Any | None:
        """A delivery, unless it was forgotten."""
        rows = self._book.query(sa.select(delivery).where(delivery.c.id == number))
        return rows[0] if rows else None

    def page(self, partner: str, key: str | None, before: int | None, limit: int) -> list[Any]:
        """A partner's deliveries below a number, the newest first; those with a key if one is named."""
        own = sa.select(delivery).where(delivery.c.partner == partner)
        if key is not None:
            own = own.where(delivery.c.key == key)
        if before is not None:
            own = own.where(delivery.c.id < before)
        return self._book.query(own.order_by(delivery.c.id.desc()).limit(limit))

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
            con.execute(delivery.update().where(kept).values(answer=zlib.compress(answer, 1)))

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


def inflated(answer: bytes) -> bytes:
    """An answer as it was given, from how it is kept."""
    return zlib.decompress(answer)


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
        "answer": zlib.compress(each.answer, 1),
        "signature": each.signature,
    }


def _rows_of(reports: pa.Table, delivered: Sequence[Delivered]) -> pa.Array:
    """Which accepted rows are of these requests."""
    wanted = {row for each in delivered for row in range(each.rows_before + 1, each.rows_before + each.rows + 1)}
    return pa.array([row in wanted for row in reports["row"].to_pylist()], pa.bool_())


def _stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())
