"""Receive: requests of partners, many at a time, each answered row by row once what it brought is durable.

Requests that wait at the same moment are checked together and acknowledged in one transaction, so a thousand callers
cost the disk what one does. Rules of a row are those of :mod:`tanzhang.service.intake`; larger files go that way.
Accepted rows wait in the inbox until a settlement gathers them (:mod:`tanzhang.service.gather`).
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.methodology import Plan
from tanzhang.engine.screen import screen
from tanzhang.service.intake import resolver
from tanzhang.service.moments import received_at, received_day
from tanzhang.stores.formats import read_events
from tanzhang.stores.home import Home
from tanzhang.stores.register.deliveries import Delivered

MOST_ROWS = 100_000
"""How many events one request may hold."""

LONGEST_KEY = 255


@dataclass(frozen=True, slots=True)
class Request:
    """A partner's request: events as JSON texts, one a row. ``key`` is its Idempotency-Key; ``body`` what was sent."""

    partner: str
    events: Sequence[bytes]
    key: str | None = None
    body: bytes = field(default=b"", repr=False)

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

    def __init__(self, home: Home) -> None:
        self._home = home
        self._con = home.connect()
        self._resolve = resolver(home)

    def receive(self, requests: Sequence[Request], *, now: datetime, dry_run: bool = False) -> list[Answer]:
        """Answer requests that came in together, each row by row; what they brought is durable, unless ``dry_run``.

        A request with a key that was answered before gets that answer again. Errors of a request, in its answer:
        ``idempotency-key-reused``, ``idempotency-answer-forgotten``, ``too-many-rows``, ``no-rows``.
        """
        home = self._home
        if not dry_run:
            home.check_storage()
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
        delivered, reports, plans = self._screened([requests[place] for place in new], now)
        if delivered and not dry_run:
            bodies = home.deliveries.keep(delivered, reports, received_day(home, now).isoformat(), plans)
        else:
            bodies = [each.answer for each in delivered]
        for place, each, body in zip(new, delivered, bodies, strict=True):
            answers[place] = Answer(body, repeated=body is not each.answer)
        for place, request in enumerate(requests):  # one that came twice in this very group
            if answers[place] is None and request.key is not None:
                first = seen[request.partner, request.key]
                answers[place] = _repeat(request, requests[first].digest, (answers[first] or Answer()).body)
        return [answer for answer in answers if answer is not None]

    def _screened(self, requests: Sequence[Request], now: datetime) -> tuple[list[Delivered], pa.Table, dict[str, str]]:
        """Requests with their answers, the rows accepted of all of them numbered through from 1, and their plans."""
        if not requests:
            return [], pa.table({}), {}
        before, rows_before = 0, []
        for request in requests:
            rows_before.append(before)
            before += len(request.events)
        accepted: list[pa.Table] = []
        problems: dict[int, list[dict[str, Any]]] = {}
        plans: dict[str, Plan] = {}
        for partner in dict.fromkeys(request.partner for request in requests):
            own = [place for place, request in enumerate(requests) if request.partner == partner]
            lines = [event for place in own for event in requests[place].events]
            numbers = [rows_before[place] + 1 + n for place in own for n in range(len(requests[place].events))]
            raw = read_events(self._con, lines, numbers)
            screened = screen(
                self._con,
                raw,
                programme=self._home.programme,
                partner=partner,
                identity_key=self._home.identity_key,
                now=now,
                resolve=self._resolve,
                accept=accepted.append,
            )
            plans |= screened.plans
            found = self._con.execute(
                f"SELECT row, reference, code, field, message, remedy FROM {screened.problems} ORDER BY row, code"
            ).fetchall()
            for row, _, *rest in found:
                named = dict(zip(("code", "field", "message", "remedy"), rest, strict=True))
                problems.setdefault(row, []).append(named)
        table = _plain(accepted)
        verdicts = _Verdicts(table, problems, plans)
        received = received_at(now)
        delivered = []
        for request, first in zip(requests, rows_before, strict=True):
            count, body = verdicts.of(first, request.events)
            delivered.append(
                Delivered(
                    request.partner, request.key, request.digest, received, first, len(request.events), count, body
                )
            )
        return delivered, table, {plan.digest: plan.document for plan in plans.values()}


class _Verdicts:
    """Answers from accepted rows and problems."""

    def __init__(
        self, accepted: pa.Table, problems: Mapping[int, list[dict[str, Any]]], plans: Mapping[str, Plan]
    ) -> None:
        self._problems = problems
        actions = accepted["action_id"].cast(pa.binary(16)).to_pylist() if accepted.num_rows else []
        rows, *columns = (accepted[name].to_pylist() for name in ("row", "quantified_mg", "close_day", "plan"))
        self._accepted = dict(zip(rows, zip(actions, *columns, strict=True), strict=True))
        self._plans = {
            digest: (f"{plan.methodology.id}@{plan.methodology.version}", plan.methodology.kind)
            for digest, plan in plans.items()
        }

    def of(self, before: int, events: Sequence[bytes]) -> tuple[int, bytes]:
        """How many rows of a request are accepted, and the answer to it."""
        rows = [self._row(before + position, position, event) for position, event in enumerate(events, start=1)]
        accepted = sum(row["verdict"] == "accepted" for row in rows)
        answer = {"rows": len(rows), "accepted": accepted, "refused": len(rows) - accepted, "verdicts": rows}
        return accepted, json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()

    def _row(self, number: int, position: int, event: bytes) -> dict[str, Any]:
        found = self._accepted.get(number)
        if found is None:
            return {
                "position": position,
                "id": _reference(event),
                "verdict": "refused",
                "problems": self._problems.get(number, []),
            }
        action, quantified, close_day, plan = found
        row = {
            "position": position,
            "id": _reference(event),
            "verdict": "accepted",
            "action": str(uuid.UUID(bytes=action)),
        }
        if plan is not None:
            methodology, kind = self._plans[plan]
            row |= {"kind": kind, "quantified_mg": str(quantified), "methodology": methodology}
        return {**row, "closes_on": close_day.isoformat()}


def _reference(event: bytes) -> str | None:
    try:
        found = json.loads(event)
    except ValueError:
        return None
    reference = found.get("id") if isinstance(found, dict) else None
    return reference if isinstance(reference, str) else None


def _plain(accepted: Iterable[pa.Table]) -> pa.Table:
    """All accepted rows as one table whose columns do not depend on which plans there were."""
    tables = []
    for table in accepted:
        fields = [
            pa.field(each.name, each.type.value_type) if pa.types.is_dictionary(each.type) else each
            for each in table.schema
        ]
        tables.append(table.cast(pa.schema(fields)))
    if not tables:
        return pa.table({})
    everything = pa.concat_tables(tables, promote_options="permissive")
    return everything.take(pc.sort_indices(everything["row"]))


def _refused(request: Request) -> Answer | None:
    """Why a request gets no answer row by row."""
    rows = len(request.events)
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
