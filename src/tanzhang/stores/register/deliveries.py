"""Deliveries: each request by which a partner reported, with the answer it got, and the reports it brought.

Accepted reports of requests that came in together are one row of ``inbox``, durable when its transaction is committed,
until the next settlement gathers them into a report file (service/gather.py); requests of which every report is to be
settled at once are in a row of their own. A request that is repeated with its key gets the first answer again, from any
process, also after a crash.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
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
    sa.Column("at_once", sa.Boolean, nullable=False),  # all its reports are to be settled as soon as they come
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
    sa.Column("signature", TEXT),  # JSON: what the partner signed, where it did (service/signatures.py)
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
    signature: str | None = None


@dataclass(frozen=True, slots=True)
class Repeat:
    """What is kept of an earlier request with the same key; ``answer`` None once it is forgotten."""

    request_digest: str
    answer: bytes | None


@dataclass(frozen=True, slots=True)
class DayFull:
    """That a partner sent as many rows as it may on a day."""


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
        self,
        delivered: Sequence[Delivered],
        reports: pa.Table,
        received_day: str,
        plans: Mapping[str, str],
        limits: Mapping[str, int] | None = None,
    ) -> list[Repeat | DayFull | None]:
        """Acknowledge requests that came in together, with the rows accepted of all of them (column ``row`` from 1).

        Returns for each None if it is kept; what another process kept that was faster with the same key, for that
        request or another one; or that the partner sent as many rows as it may on this day (``limits``, rows by
        partner). When this returns, everything that is kept survives a power cut.
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
            for at_once, own, rows in _apart(new, reports):
                values = {
                    "received_day": received_day,
                    "rows": own[-1].rows_before + own[-1].rows,
                    "accepted": rows.num_rows,
                    "reports": _stream(rows),
                    "at_once": at_once,
                }
                number = con.execute(inbox.insert().values(values).returning(inbox.c.id)).scalar_one()
                con.execute(delivery.insert(), [_row(each, number) for each in own])
        return [
            DayFull() if each.rows_before in full else None if each.key is None else known.get((each.partner, each.key))
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

    def waiting(self, *, at_once: bool = False) -> list[tuple[str, bool, list[int]]]:
        """Received day, whether to be settled at once, and ids of what waits in the inbox, in order.

        With ``at_once`` only what is to be settled at once.
        """
        statement = sa.select(inbox.c.received_day, inbox.c.at_once, inbox.c.id).where(inbox.c.submission.is_(None))
        if at_once:
            statement = statement.where(inbox.c.at_once)
        days: dict[tuple[str, bool], list[int]] = {}
        for row in self._book.query(statement.order_by(inbox.c.id)):
            days.setdefault((row.received_day, row.at_once), []).append(row.id)
        return [(*day, numbers) for day, numbers in sorted(days.items())]

    def is_waiting_at_once(self) -> bool:
        """Whether anything in the inbox is to be settled at once."""
        return bool(
            self._book.query(sa.select(inbox.c.id).where(inbox.c.submission.is_(None) & inbox.c.at_once).limit(1))
        )

    def reports_of(self, number: int) -> tuple[Any, pa.Table]:
        """A row of the inbox that was not gathered yet, and its reports."""
        (row,) = self._book.query(sa.select(inbox).where(inbox.c.id == number))
        return row, pa.ipc.open_stream(row.reports).read_all()

    def waiting_reports(self, actions: Sequence[bytes]) -> pa.Table:
        """Reports in the inbox that have one of some references, or take back one that has.

        There is no index of references, which would make every report dearer; what waits is looked through once, and
        of each row of the inbox it is remembered what it names, 16 bytes a report, until it is gathered.
        """
        numbers = [number for *_, some in self.waiting() for number in some]
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

    def gathered(
        self, numbers: Sequence[int], rows_before: Sequence[int], row: Any, next_close: date, *, at_once: bool
    ) -> int:
        """Acknowledge the file that reports of the inbox were gathered in as a submission; returns its number.

        ``row`` and ``next_close`` as in :meth:`tanzhang.stores.book.Book.add_submission`.
        """
        with self._book.transaction() as con:
            submission: int = add_submission(con, row, next_close, at_once=at_once)["seq"]
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
        "signature": each.signature,
    }


def _apart(delivered: Sequence[Delivered], reports: pa.Table) -> list[tuple[bool, Sequence[Delivered], pa.Table]]:
    """Requests of which every report is to be settled at once apart from the others, each kind numbered from row 1."""
    if not delivered:
        return []
    at_once = np.asarray(pc.less(reports["close_day"], reports["day"]))
    first = np.array([each.rows_before for each in delivered], np.int64)
    row = np.asarray(reports["row"])
    request = np.searchsorted(first, row - 1, side="right") - 1
    count = np.bincount(request[at_once], minlength=len(delivered))
    chosen = np.array([each.accepted > 0 for each in delivered]) & (count == [each.accepted for each in delivered])
    found: list[tuple[bool, Sequence[Delivered], pa.Table]] = []
    for kind in (False, True):
        places = np.flatnonzero(chosen == kind).tolist()
        if not places:
            continue
        before = np.zeros(len(delivered), np.int64)
        before[places] = np.concatenate([[0], np.cumsum([delivered[place].rows for place in places])[:-1]])
        own = chosen[request] == kind
        part = reports.filter(pa.array(own))
        numbers = pa.array((row - first[request] + before[request])[own])
        part = part.set_column(part.schema.get_field_index("row"), "row", numbers)
        found.append((kind, [replace(delivered[place], rows_before=int(before[place])) for place in places], part))
    return found


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
