"""Standing: where a partner's own reports are on their way, and what became of them.

A report is found by its reference, which is hashed with the partner's name, so that nobody finds another's. It waits
in the inbox, is provisional in a report file, or settled; these are asked in the order in which a report moves, so it
is not missed while it does. What another report holds is never told: not whose it is, nor when, nor how much.
"""

from __future__ import annotations

import heapq
import itertools
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from tanzhang.core.action import INPUT_NAMES
from tanzhang.core.claim import ACTION, CHILD, identity
from tanzhang.core.errors import refuse
from tanzhang.core.record import ERASED, Record
from tanzhang.engine.kernel import quote
from tanzhang.engine.screen import RAW_COLUMNS
from tanzhang.service.cursors import cursor_of, place_after
from tanzhang.service.file_rows import FROM_THE_START, rows_of_file, taken_file
from tanzhang.service.guard import why_held
from tanzhang.service.history import History
from tanzhang.service.moments import received_at
from tanzhang.service.reading import Reader
from tanzhang.stores.book import plan
from tanzhang.stores.events import read_carefully
from tanzhang.stores.home import Home
from tanzhang.stores.register.deliveries import inflated
from tanzhang.stores.register.guard import WITHHELD

_FIELDS = ("action_id", "child", "behaviour", "region", "plan", "ended", "day", "quantified_mg", "withdraws")

REASONS: Mapping[str, str] = {
    "granted": "credited in full",
    "capped": "a cap of the person was reached; what is granted is what was left of it",
    "duplicate_of": "another report holds the claim of this act",
    "overlap_of": "another report holds the time of this act",
    "late": "reported after the programme's limit",
    "withdrawn": "taken back by its partner before it was settled",
    "withdrawal": "takes back another report",
}
"""What a partner is told of an outcome."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One accepted report. ``child`` and ``action`` are identities; amounts in mg, None where nothing is known yet.

    ``state``: ``waiting`` (taken in), ``provisional`` (its window is open, or nobody settled since), ``settled``,
    ``withdrawn`` (taken back by ``withdrawn_by``, whether that is settled or still waits), ``erased``, ``held`` by the
    guard or ``refused`` by the operator after that; ``withheld`` says why.
    """

    action: uuid.UUID
    state: str
    behaviour: str | None = None
    region: str | None = None
    child: uuid.UUID | None = None
    ended: datetime | None = None
    day: date | None = None
    closes_on: date | None = None
    plan: str | None = None
    kind: str | None = None
    quantified_mg: int | None = None
    outcome: str | None = None
    granted_mg: int | None = None
    withdrawn_by: uuid.UUID | None = None
    withheld: str | None = None


def standings(home: Home, actions: Iterable[uuid.UUID], *, reader: Reader | None = None) -> dict[uuid.UUID, Standing]:
    """Where accepted reports stand, by action; those that nobody reported are left out.

    With a ``reader`` that is kept nothing is opened anew.
    """
    wanted = set(actions)
    if not wanted:
        return {}
    names = sorted(each.bytes for each in wanted)
    if reader is not None:  # what is asked later is of later, so what moved on in between is met there
        waiting = home.deliveries.waiting_reports(names).to_pylist()
        provisional, settled = reader.reports(sorted(wanted))
        stages = [
            ("waiting", waiting),
            ("provisional", [_fields(each.record) | {"close_day": each.closes} for each in provisional]),
            *((state, _withheld(home, wanted, state)) for state in WITHHELD),
            ("settled", [_fields(each) | _decided(each) for each in settled]),
        ]
    else:
        with home.book.snapshot():
            stages = [
                ("waiting", home.deliveries.waiting_reports(names).to_pylist()),
                ("provisional", _open_reports(home, names).to_pylist()),
                *((state, _withheld(home, wanted, state)) for state in WITHHELD),
                ("settled", History(home).catch_up(keep=False).about(names).to_pylist()),
            ]
    found: dict[uuid.UUID, Standing] = {}
    takers: dict[uuid.UUID, tuple[uuid.UUID, int]] = {}
    for state, rows in stages:
        for row in rows:
            action, target = _uuid(row["action_id"]), _uuid(row.get("withdraws"))
            if action in wanted and action is not None:
                found[action] = _standing(action, state, row)
            if target in wanted and target is not None and action is not None:
                takers[target] = action, takers.get(target, (action, 0))[1] + (row.get("reversed_mg") or 0)
    return {
        action: standing if action not in takers else _taken_back(standing, *takers[action])
        for action, standing in found.items()
    }


def _fields(record: Record) -> dict[str, Any]:
    ended = datetime(1970, 1, 1) + timedelta(microseconds=record.ended)  # noqa: DTZ001 - as tables have it, in UTC
    return {name: getattr(record, name) for name in _FIELDS} | {"ended": ended}


def _decided(record: Record) -> dict[str, Any]:
    return {name: getattr(record, name) for name in ("outcome", "kind", "granted_mg", "reversed_mg")}


def _open_reports(home: Home, names: Sequence[bytes]) -> pa.Table:
    files = home.book.open_submissions()
    if not files:
        return pa.table({})
    con = home.connect()
    con.register("asked", pa.table({"id": pa.ExtensionArray.from_storage(pa.uuid(), pa.array(names, pa.binary(16)))}))
    named = ", ".join(quote(str(home.storage / row.file)) for row in files)
    return con.sql(
        f"SELECT {', '.join(_FIELDS)}, close_day FROM read_parquet([{named}], union_by_name = true) "
        "WHERE action_id IN (FROM asked) OR withdraws IN (FROM asked)"
    ).to_arrow_table()


def _withheld(home: Home, actions: Iterable[uuid.UUID], state: str) -> list[dict[str, Any]]:
    """The acts that the guard holds, or that the operator refused."""
    return [
        {
            "action_id": uuid.UUID(row.action).bytes,
            "child": uuid.UUID(row.child).bytes,
            "behaviour": row.behaviour,
            "region": row.region,
            "plan": row.plan,
            "ended": datetime.fromisoformat(row.ended).replace(tzinfo=None),
            "day": date.fromisoformat(row.day),
            "close_day": date.fromisoformat(row.close_day),
            "quantified_mg": row.quantified_mg,
            "withheld": why_held(row),
        }
        for row in home.guard.of_actions(map(str, actions), (state,))
    ]


def _standing(action: uuid.UUID, state: str, row: Mapping[str, Any]) -> Standing:
    outcome = row.get("outcome")
    if outcome == ERASED:
        return Standing(action, "erased")
    return Standing(
        action,
        "withdrawn" if outcome == "withdrawn" else state,
        row["behaviour"],
        row["region"],
        _uuid(row["child"]),
        row["ended"],
        row["day"],
        row.get("close_day"),
        row["plan"],
        row.get("kind"),
        row["quantified_mg"],
        outcome,
        row.get("granted_mg"),
        withheld=row.get("withheld"),
    )


def _taken_back(standing: Standing, by: uuid.UUID, reversed_mg: int) -> Standing:
    if standing.state == "erased":
        return standing
    values = {name: getattr(standing, name) for name in Standing.__slots__}
    granted = None if standing.granted_mg is None else standing.granted_mg - reversed_mg
    return Standing(**{**values, "state": "withdrawn", "granted_mg": granted, "withdrawn_by": by})


def _uuid(value: Any) -> uuid.UUID | None:
    return value if value is None or isinstance(value, uuid.UUID) else uuid.UUID(bytes=value)


# -- what a partner is told --------------------------------------------------------------------------------------


def report_of(home: Home, partner: str, reference: str, *, reader: Reader | None = None) -> dict[str, Any]:
    """Where a partner's report stands; ``unknown-report``."""
    return {"id": reference, "verdict": "accepted", **told(home, found_report(home, partner, reference, reader=reader))}


def found_report(home: Home, partner: str, reference: str, *, reader: Reader | None = None) -> Standing:
    """A partner's accepted report; ``unknown-report`` if there is none of this reference."""
    action = identity(home.identity_key, ACTION, partner, reference)
    found = standings(home, [action], reader=reader).get(action)
    if found is None:
        raise refuse(
            "unknown-report",
            f"no report {reference[:60]!r} of {partner} was accepted",
            where="reference",
            remedy="look for it among refused rows: GET /v1/actions?verdict=refused; or send it",
        )
    return found


def told(home: Home, standing: Standing) -> dict[str, Any]:
    """What a partner is told of its report, as JSON members."""
    methodology = None
    if standing.plan is not None:
        ((document,),) = home.book.query(sa.select(plan.c.document).where(plan.c.digest == standing.plan))
        said = json.loads(document)
        methodology = f"{said['methodology']}@{said['version']}"
    return {
        "action": str(standing.action),
        **_became(standing),
        "behaviour": standing.behaviour,
        "region": standing.region,
        "day": None if standing.day is None else standing.day.isoformat(),
        "closes_on": None if standing.closes_on is None else standing.closes_on.isoformat(),
        "kind": standing.kind,
        "methodology": methodology,
        "quantified_mg": _text(standing.quantified_mg),
    }


def _became(standing: Standing) -> dict[str, Any]:
    """State, outcome, reason and what was granted."""
    reason = None if standing.outcome is None else REASONS[standing.outcome]
    if standing.state in WITHHELD:
        reason = standing.withheld
    if standing.state == "withdrawn":
        reason = "taken back by a report of yours"
    granted = _text(standing.granted_mg)
    return {"state": standing.state, "outcome": standing.outcome, "reason": reason, "granted_mg": granted}


def _text(amount: int | None) -> str | None:
    return None if amount is None else str(amount)


def own_rows(
    home: Home,
    partner: str,
    *,
    verdict: str | None = None,
    since: datetime | None = None,
    cursor: str | None = None,
    limit: int = 50,
    reader: Reader | None = None,
) -> dict[str, Any]:
    """Rows that a partner reported by request or in uploaded files, in the order they came, and where each stands.

    Rows of a file have ``upload``, and if accepted no ``id``, since of them no reference is kept. ``next`` is the
    cursor of what follows, None at the end. What the programme no longer keeps (answers, files) is not among them.
    Raises ``cursor-malformed``.
    """
    place = _Place() if cursor is None else _Place(*place_after(cursor, int, int, int, int, str))
    moment = None if since is None else received_at(since)
    streams = (_of_requests(home, partner, place, verdict, moment), _of_files(home, partner, place, verdict, moment))
    taken = list(itertools.islice(heapq.merge(*streams, key=lambda each: each[0]), limit + 1))
    for _, _, behind in taken[:limit]:
        place = replace(place, **behind)
    items = [{"received_at": at, **row} for at, row, _ in taken[:limit]]
    _add_states(home, items, reader)
    return {"items": items, "next": cursor_of(*astuple(place)) if len(taken) > limit else None}


@dataclass(frozen=True, slots=True)
class _Place:
    """Behind which rows a list goes on: of which request, and of which file (its submission, and a mark in it)."""

    delivery: int = 0
    position: int = 0
    file: int = 0
    row: int = 0
    mark: str = FROM_THE_START


_AT_ONCE = 10  # an answer may hold as many verdicts as a request rows
_Rows = Iterator[tuple[str, dict[str, Any], dict[str, Any]]]


def _of_requests(home: Home, partner: str, place: _Place, verdict: str | None, since: str | None) -> _Rows:
    """When each row came, what is told of it, and what of the place it moves."""
    refused = None if verdict is None else verdict == "refused"
    first = place.delivery
    while True:
        deliveries = home.deliveries.of_partner(partner, after=first, since=since, refused=refused, limit=_AT_ONCE)
        for row in deliveries:
            for each in json.loads(inflated(row.answer))["verdicts"]:
                passed = row.id == place.delivery and each["position"] <= place.position
                if not passed and verdict in (None, each["verdict"]):
                    yield row.received_at, each, {"delivery": row.id, "position": each["position"]}
        if len(deliveries) < _AT_ONCE:
            return
        first = deliveries[-1].id + 1


def _of_files(home: Home, partner: str, place: _Place, verdict: str | None, since: str | None) -> _Rows:
    """The same of the rows of files; one that was sent twice is there once."""
    for number, upload in home.uploads.taken_in(partner, place.file):
        file = taken_file(home, number)
        if since is not None and file.received_at < since:
            continue
        begun = number == place.file
        after, mark = (place.row, place.mark) if begun else (0, FROM_THE_START)
        for row, behind in rows_of_file(home, file, after=after, mark=mark, verdict=verdict):
            moved = {"file": number, "row": row["position"], "mark": behind}
            yield file.received_at, {"upload": upload, **row}, moved


def _add_states(home: Home, rows: Sequence[dict[str, Any]], reader: Reader | None) -> None:
    accepted = {uuid.UUID(row["action"]): row for row in rows if row["verdict"] == "accepted"}
    stand = standings(home, accepted, reader=reader)
    for row in rows:
        if row["verdict"] == "accepted" and (found := stand.get(uuid.UUID(row["action"]))) is not None:
            row |= _became(found)


# -- taking back and correcting ----------------------------------------------------------------------------------


def withdrawal_of(
    home: Home, partner: str, reference: str, *, subject: str, own: str | None = None, time: str | None = None
) -> bytes:
    """The report that takes a partner's report back, as a CloudEvent.

    ``own`` is its reference, made of the first one by default. Its time is by default that of the act, so that a retry
    is the same report. Raises ``unknown-report``, ``record-erased``, ``already-withdrawn`` if another report took it
    back, and ``subject-differs``.
    """
    found = found_report(home, partner, reference)
    name = own or f"{reference}{WITHDRAWN_SUFFIX}"
    _check_free(home, partner, found, name)
    if found.child != identity(home.identity_key, CHILD, partner, subject.strip()):
        raise refuse(
            "subject-differs",
            "the act was reported of another subject",
            where="#/subject",
            remedy="give the subject of the report that is taken back",
        )
    event = {
        "specversion": "1.0",
        "id": name,
        "source": partner,
        "type": found.behaviour,
        "subject": subject,
        "time": time or (found.ended.isoformat(timespec="microseconds") + "Z" if found.ended else None),
        "data": {"withdraws": reference, "region": found.region},
    }
    return json.dumps(event, ensure_ascii=False).encode()


WITHDRAWN_SUFFIX = "~withdrawn"


def correction_of(home: Home, partner: str, reference: str, event: bytes) -> bytes:
    """A report that takes the place of a partner's report: the given CloudEvent, which now ``withdraws`` that one.

    An event that cannot be read is returned as it is, for its verdict. Raises ``unknown-report``, ``record-erased``,
    ``already-withdrawn`` and, for an event without inputs, which would only take back, ``correction-without-inputs``.
    """
    row = dict(zip(RAW_COLUMNS[1:], read_carefully(event), strict=True))
    if row["problem_code"] is not None:
        return event
    found = found_report(home, partner, reference)
    if row["withdraws"] not in (None, reference):
        raise refuse(
            "correction-of-another",
            "the event withdraws another report than the one that is corrected",
            where="#/data/withdraws",
            remedy="leave withdraws out",
        )
    if all(row[name] is None for name in INPUT_NAMES):
        raise refuse(
            "correction-without-inputs",
            "an event without inputs would take the report back and put nothing in its place",
            where="#/data",
            remedy="send two rows to /v1/actions:batch: one that withdraws the report, and the act under a new id",
        )
    _check_free(home, partner, found, str(row["id"]))
    corrected = json.loads(event)
    corrected["data"]["withdraws"] = reference
    return json.dumps(corrected, ensure_ascii=False).encode()


def _check_free(home: Home, partner: str, found: Standing, own: str) -> None:
    if found.state == "erased":
        raise refuse(
            "record-erased",
            "the record was erased with its person; nothing can be taken back or put in its place",
            where="reference",
            remedy="nothing is left to correct",
        )
    by = found.withdrawn_by
    if found.state == "withdrawn" and by != identity(home.identity_key, ACTION, partner, own.strip()):
        raise refuse(
            "already-withdrawn",
            "a report of yours has taken this one back already",
            where="reference",
            remedy="correct or withdraw the report that took its place",
        )
