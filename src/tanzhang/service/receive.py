"""Receive: requests of partners, many at a time, each answered row by row once what it brought is durable.

Requests that wait at the same moment are checked together and acknowledged in one transaction, so a thousand callers
cost the disk what one does. Rules of a row are those of :mod:`tanzhang.service.intake`; larger files go that way.
Few rows are screened one by one, more of them in columns; answers do not tell which it was. Accepted rows wait in the
inbox until a settlement gathers them (:mod:`tanzhang.service.gather`).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.methodology import Plan
from tanzhang.engine.columns import values_of
from tanzhang.engine.few import ACCEPTED_SCHEMA, FewRows, RawRow, accepted_table
from tanzhang.engine.screen import PROBLEM_ORDER, RAW_COLUMNS, screen
from tanzhang.service.intake import resolver
from tanzhang.service.limits import day_is_full, rows_a_day, too_fast
from tanzhang.service.moments import received_at, received_day
from tanzhang.service.observe import step, stepped, tell_rows
from tanzhang.stores.events import raw_table, read_events
from tanzhang.stores.home import Home
from tanzhang.stores.register.deliveries import DayFull, Delivered, Repeat

if TYPE_CHECKING:
    import duckdb

MOST_ROWS = 100_000
"""How many events one request may hold."""

FEW_ROWS = 2_000
"""Up to how many rows of one partner are screened one by one.

There the two ways take as long, some 40 ms; a single row takes 0.15 ms one by one and 33 ms in columns.
"""

LONGEST_KEY = 255


@dataclass(frozen=True, slots=True)
class Request:
    """A partner's request: events as JSON texts, one a row. ``key`` is its Idempotency-Key; ``body`` what was sent.

    Rows that came in columns are ``table`` instead, raw rows in their order, and ``body`` has to be given.
    ``signature`` is what :func:`tanzhang.service.signatures.check_signature` says of it.
    """

    partner: str
    events: Sequence[bytes]
    key: str | None = None
    body: bytes = field(default=b"", repr=False)
    table: pa.Table | None = field(default=None, repr=False)
    signature: str | None = None

    @property
    def rows(self) -> int:
        """How many acts it reports."""
        return len(self.events) if self.table is None else int(self.table.num_rows)

    @property
    def digest(self) -> str:
        """What makes two requests the same: SHA-256 of what was sent."""
        return hashlib.sha256(self.body or b"\n".join(self.events)).hexdigest()


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one request as JSON bytes, or why it got none; ``repeated`` if it was given before."""

    body: bytes = b""
    error: TanzhangError | None = None
    repeated: bool = False


class Receiver:
    """Takes requests in for one home. Holds an engine, so one thread at a time may use it."""

    def __init__(self, home: Home, *, few_rows: int = FEW_ROWS) -> None:
        self._home = home
        self._resolve = resolver(home)
        self._identity_key = home.identity_key
        self._programme = home.programme
        self._few = FewRows(self._programme, self._identity_key, self._resolve)
        self._few_rows = few_rows

    @cached_property
    def _con(self) -> duckdb.DuckDBPyConnection:
        return self._home.connect()

    def receive(self, requests: Sequence[Request], *, now: datetime, dry_run: bool = False) -> list[Answer]:
        """Answer requests that came in together, each row by row; what they brought is durable, unless ``dry_run``.

        A request with a key that was answered before gets that answer again. Errors of a request, in its answer:
        ``idempotency-key-reused``, ``idempotency-answer-forgotten``, ``too-many-rows``, ``no-rows``,
        ``too-many-requests``, ``daily-limit-reached``.
        """
        home = self._home
        if not dry_run:
            home.check_storage()
        self._catch_up()
        answers: list[Answer | None] = [_refused(request) for request in requests]
        keyed = {(each.partner, each.key) for each in requests if each.key is not None}
        earlier = home.deliveries.earlier((partner, key) for partner, key in keyed if key is not None) if keyed else {}
        seen: dict[tuple[str, str], int] = {}
        for place, request in enumerate(requests):
            if answers[place] is not None or request.key is None:
                continue
            found = earlier.get((request.partner, request.key))
            if found is not None:
                answers[place] = _repeat(request, found.request_digest, found.answer)
            else:
                seen.setdefault((request.partner, request.key), place)
        new = [
            place
            for place, request in enumerate(requests)
            if answers[place] is None and (request.key is None or seen.get((request.partner, request.key)) == place)
        ]
        for place in new:
            error = too_fast(home, requests[place].partner, requests[place].rows)
            if error is not None:
                answers[place] = Answer(error=error)
        new = [place for place in new if answers[place] is None]
        delivered, reports, plans, codes = self._screened([requests[place] for place in new], now)
        kept: Sequence[Repeat | DayFull | None] = [None] * len(delivered)
        if delivered and not dry_run:
            limits = rows_a_day(self._programme, (each.partner for each in delivered))
            with step("commit"):
                kept = home.deliveries.keep(delivered, reports, received_day(home, now).isoformat(), plans, limits)
            fresh = [each for each, other in zip(delivered, kept, strict=True) if other is None]
            accepted = sum(each.accepted for each in fresh)
            tell_rows(accepted, sum(each.rows for each in fresh) - accepted, codes)
        for place, each, other in zip(new, delivered, kept, strict=True):
            if other is None:
                answers[place] = Answer(each.answer)
            elif isinstance(other, Repeat):
                answers[place] = _repeat(requests[place], other.request_digest, other.answer)
            else:
                answers[place] = Answer(error=day_is_full(self._programme, each.partner, now))
        for place, request in enumerate(requests):  # one that came twice in this very group
            if answers[place] is None and request.key is not None:
                first = seen[request.partner, request.key]
                given = answers[first] or Answer()
                refused = Answer(error=given.error)
                answers[place] = refused if given.error else _repeat(request, requests[first].digest, given.body)
        return [answer for answer in answers if answer is not None]

    def _catch_up(self) -> None:
        """Screen by what holds of partners now."""
        programme = self._home.programme
        if programme is not self._programme:
            self._programme = programme
            self._few = FewRows(programme, self._identity_key, self._resolve)

    @stepped("screen")
    def _screened(
        self, requests: Sequence[Request], now: datetime
    ) -> tuple[list[Delivered], pa.Table, dict[str, str], Mapping[str, int]]:
        """Requests with their answers, the rows accepted of all of them numbered through from 1, their plans.

        The last are refused rows by code.
        """
        rows_before = [0]
        for request in requests:
            rows_before.append(rows_before[-1] + request.rows)
        found = _Found()
        for partner in dict.fromkeys(request.partner for request in requests):
            own = [place for place, request in enumerate(requests) if request.partner == partner]
            for place in own:
                table = requests[place].table
                if table is not None:  # columns of another request may be of other types
                    self._screen_many(_numbered(table, rows_before[place] + 1), partner, now, found)
            own = [place for place in own if requests[place].table is None]
            events = [event for place in own for event in requests[place].events]
            numbers = [number for place in own for number in range(rows_before[place] + 1, rows_before[place + 1] + 1)]
            if 0 < len(events) <= self._few_rows:
                self._screen_few(read_events(events, numbers), partner, now, found)
            elif events:
                self._screen_many(raw_table(read_events(events, numbers)), partner, now, found)
        received = received_at(now)
        delivered = []
        for request, first in zip(requests, rows_before, strict=False):
            rows = request.rows
            count, body = found.answer(first, rows)
            delivered.append(
                Delivered(
                    request.partner, request.key, request.digest, received, first, rows, count, body, request.signature
                )
            )
        return delivered, found.table, {plan.digest: plan.document for plan in found.plans.values()}, found.codes()

    def _screen_few(self, raw: Iterable[RawRow], partner: str, now: datetime, found: _Found) -> None:
        rows = list(raw)
        screened = self._few.screen(rows, partner=partner, now=now)
        found.references.update((row[0], row[_REFERENCE]) for row in rows)
        found.add(accepted_table(screened.accepted), screened.problems, screened.plans)

    def _screen_many(self, table: pa.Table, partner: str, now: datetime, found: _Found) -> None:
        tables: list[pa.Table] = []
        references = table["id"].cast(pa.string())
        found.references.update(zip(values_of(table["row"]), values_of(references), strict=True))
        self._con.register("raw_events", table)
        screened = screen(
            self._con,
            "raw_events",
            programme=self._programme,
            partner=partner,
            identity_key=self._identity_key,
            now=now,
            resolve=self._resolve,
            accept=lambda table: tables.append(table.cast(ACCEPTED_SCHEMA)),
        )
        problems = self._con.execute(
            f"SELECT row, reference, code, field, message, remedy FROM {screened.problems} ORDER BY {PROBLEM_ORDER}"
        ).fetchall()
        self._con.unregister("raw_events")
        found.add(pa.concat_tables(tables), problems, screened.plans)


_REFERENCE = RAW_COLUMNS.index("id")


def _numbered(table: pa.Table, first: int) -> pa.Table:
    """Raw rows numbered through from ``first``."""
    numbers = pa.array(range(first, first + table.num_rows), pa.int64())
    return table.set_column(table.column_names.index("row"), "row", numbers)


class _Problem(msgspec.Struct):
    code: str
    field: str | None
    message: str
    remedy: str


class _RefusedRow(msgspec.Struct):
    position: int
    id: str | None
    verdict: str
    problems: list[_Problem]


class _AcceptedRow(msgspec.Struct):
    position: int
    id: str | None
    verdict: str
    action: str
    kind: str | msgspec.UnsetType
    quantified_mg: str | msgspec.UnsetType
    methodology: str | msgspec.UnsetType
    closes_on: str


class _Answer(msgspec.Struct):
    rows: int
    accepted: int
    refused: int
    verdicts: list[_AcceptedRow | _RefusedRow]


_encode = msgspec.json.Encoder().encode


class _Found:
    """What screening found of the rows of some requests, by their numbers."""

    def __init__(self) -> None:
        self.references: dict[int, str | None] = {}
        self.plans: dict[str, Plan] = {}
        self._tables: list[pa.Table] = []
        self._accepted: dict[int, tuple[bytes, str, str | None, str | None]] = {}
        self._problems: dict[int, list[_Problem]] = {}

    def add(self, accepted: pa.Table, problems: Sequence[tuple[Any, ...]], plans: Mapping[str, Plan]) -> None:
        """What was found of one partner's rows."""
        self.plans |= plans
        self._tables.append(accepted)
        texts = (accepted[name].cast(pa.string()) for name in ("close_day", "quantified_mg", "plan"))
        columns = (values_of(column) for column in (accepted["action_id"], *texts))
        self._accepted.update(zip(values_of(accepted["row"]), zip(*columns, strict=True), strict=True))
        for row, _, *said in problems:
            self._problems.setdefault(row, []).append(_Problem(*said))

    @property
    def table(self) -> pa.Table:
        """All accepted rows in the order of their numbers."""
        if len(self._tables) == 1:
            return self._tables[0]
        everything = pa.concat_tables([accepted_table([]), *self._tables])
        return everything.take(pc.sort_indices(everything["row"]))

    def codes(self) -> Mapping[str, int]:
        """How many refused rows have each code."""
        return Counter(code for problems in self._problems.values() for code in {each.code for each in problems})

    def answer(self, before: int, rows: int) -> tuple[int, bytes]:
        """How many rows of a request are accepted, and the answer to it; its rows follow ``before``."""
        verdicts = [self._row(before + position, position) for position in range(1, rows + 1)]
        accepted = sum(each.verdict == "accepted" for each in verdicts)
        return accepted, _encode(_Answer(rows, accepted, rows - accepted, verdicts))

    def _row(self, number: int, position: int) -> _AcceptedRow | _RefusedRow:
        reference, found = self.references[number], self._accepted.get(number)
        if found is None:
            return _RefusedRow(position, reference, "refused", self._problems[number])
        action, close_day, quantified, plan = found
        kind: str | msgspec.UnsetType = msgspec.UNSET
        amount: str | msgspec.UnsetType = msgspec.UNSET
        key: str | msgspec.UnsetType = msgspec.UNSET
        if plan is not None and quantified is not None:
            methodology = self.plans[plan].methodology
            kind, amount, key = methodology.kind, quantified, methodology.key
        text = action.hex()
        named = f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
        return _AcceptedRow(position, reference, "accepted", named, kind, amount, key, close_day)


def _refused(request: Request) -> Answer | None:
    """Why a request gets no answer row by row."""
    rows = request.rows
    if rows > MOST_ROWS:
        return Answer(
            error=refuse(
                "too-many-rows",
                f"the request holds {rows:,} events, and {MOST_ROWS:,} are the most",
                where="body",
                remedy="send them in several requests, or upload a file",
            )
        )
    if rows == 0:
        return Answer(
            error=refuse("no-rows", "the request holds no event", where="body", remedy="send at least one event")
        )
    return None


def _repeat(request: Request, digest: str, answer: bytes | None) -> Answer:
    """The answer to a request whose key was used before."""
    if digest != request.digest:
        return Answer(
            error=refuse(
                "idempotency-key-reused",
                f"key {request.key!r} was used for another request",
                where="Idempotency-Key",
                remedy="use a new key for each new request; the same key only to send the same bytes again",
            )
        )
    if not answer:
        return Answer(
            error=refuse(
                "idempotency-answer-forgotten",
                f"the request with key {request.key!r} was taken in, but its answer is no longer kept",
                where="Idempotency-Key",
                remedy="ask for the verdict of each reference; nothing was taken in again",
            )
        )
    return Answer(answer, repeated=True)
