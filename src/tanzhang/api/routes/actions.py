"""Partners report acts: one, or many at once; each row gets its verdict once it is durable."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery, HeaderParameter

from tanzhang.api.access import allow
from tanzhang.api.conditional import check_if_match, private_json
from tanzhang.api.documented import BINARY, EVENT, EVENTS, LINES, ROWS, WITHDRAWAL, answered, operation_with, refused
from tanzhang.api.given import TheCaller, TheHome, TheReader
from tanzhang.api.paging import Cursor, Limit, size_of, with_offset
from tanzhang.api.partner_requests import signature_of
from tanzhang.api.problems import UNPROCESSABLE, problem_response
from tanzhang.api.waiting import KEY_HEADER, REPLAYED_HEADER, given_key, in_thread, media_type, taken_in
from tanzhang.core.access import Caller, Role, Scope
from tanzhang.core.action import FOR_GUARD, INPUT_NAMES
from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.service.receive import MOST_ROWS, Answer
from tanzhang.service.receive import Request as Reports
from tanzhang.service.standing import correction_of, own_rows, report_of, withdrawal_of
from tanzhang.stores.bodies import CSV_TYPE, NDJSON_TYPE, PARQUET_TYPE, read_body, read_event

_Form = TypeVar("_Form", bound=msgspec.Struct)

FOR_REPORTS = allow(Role.PARTNER, scope=Scope.REPORT)
Key = Annotated[str | None, HeaderParameter(name=KEY_HEADER, description="Makes a retry get the first answer again.")]
_DATA_TEXTS = {"started_at", "region", "variant", "evidence", "group", "withdraws", "claim"}
_IN_DATA = frozenset({*_DATA_TEXTS, *FOR_GUARD, *INPUT_NAMES})


class RowProblem(msgspec.Struct):
    """One mistake of a row; ``field`` is the member of the event, or the column."""

    code: str
    field: str | None
    message: str
    remedy: str


class Verdict(msgspec.Struct, omit_defaults=True):
    """What became of a row. ``position`` counts from 1; ``id`` is the partner's reference.

    Accepted: ``action`` is its id here, ``quantified_mg`` what it comes to unless settlement decides otherwise, by
    ``methodology``, ``closes_on`` the local day on which its window closes. Refused: ``problems`` has every mistake.
    """

    position: int
    id: str | None
    verdict: str
    action: str | None = None
    kind: str | None = None
    quantified_mg: str | None = None
    methodology: str | None = None
    closes_on: str | None = None
    problems: list[RowProblem] = []


class Verdicts(msgspec.Struct):
    """The verdict of every row, in the order in which they were sent."""

    rows: int
    accepted: int
    refused: int
    verdicts: list[Verdict]


class _Told(msgspec.Struct):
    verdict: str
    problems: list[RowProblem] = []


class _One(msgspec.Struct):
    verdicts: list[msgspec.Raw]


_verdicts_of = msgspec.json.Decoder(_One).decode
_told = msgspec.json.Decoder(_Told).decode

RIDE = {
    "specversion": "1.0",
    "id": "trip-20250605-0042",
    "source": "amap",
    "type": "travel.metro",
    "subject": "u-7f3a",
    "time": "2025-06-05T08:40:00+08:00",
    "data": {"distance_m": 10_000, "started_at": "2025-06-05T08:10:00+08:00"},
}
"""The example of an act that the document shows."""
_WRONG = {**RIDE, "id": "trip-20250605-0043", "time": "yesterday", "data": {"distance_m": "far"}}
_LINE = msgspec.json.encode({**RIDE, "id": "trip-20250605-0044"}).decode()
_CSV = (
    "id,source,type,subject,time,started_at,distance_m\n"
    "trip-20250605-0045,amap,travel.metro,u-7f3a,2025-06-05T09:40:00+08:00,2025-06-05T09:10:00+08:00,10000\n"
)
_REFUSED = refused(400, 413, 415, 422, 429, 503)


@post(
    "/v1/actions",
    opt=FOR_REPORTS,
    tags=["reports"],
    status_code=202,
    summary="Report one act",
    responses={
        **answered(200, Verdict, "A dry run: nothing is kept"),
        **answered(202, Verdict, "Accepted, and durable"),
        **_REFUSED,
    },
    operation_class=operation_with(
        {
            "application/cloudevents+json": (EVENT, {"a ride": (RIDE, 202), "a ride with mistakes": (_WRONG, 422)}),
            "application/json": (EVENT, {"the same ride": (RIDE, 202)}),
        }
    ),
)
async def report_one(
    request: Request[Any, Any, Any], caller: TheCaller, idempotency_key: Key = None, dry_run: FromQuery[bool] = False
) -> Response[bytes]:
    """Report one act as a CloudEvent. Answered once it is durable: 202 with its verdict, or 422 with every mistake.

    With `dry_run=true` nothing is kept.
    """
    kind, key = media_type(request), given_key(idempotency_key)

    def read(data: bytes) -> Reports:
        return Reports(partner_of(caller), [read_event(data, kind)], key, data, signature=signature_of(request))

    return one_verdict(await taken_in(request, partner_of(caller), read, dry_run=dry_run), dry_run=dry_run)


@post(
    "/v1/actions:batch",
    opt=FOR_REPORTS,
    tags=["reports"],
    status_code=202,
    summary="Report many acts",
    responses={
        **answered(200, Verdicts, "A dry run: nothing is kept"),
        **answered(202, Verdicts, "Taken in; each row has its verdict"),
        **_REFUSED,
    },
    operation_class=operation_with(
        {
            "application/cloudevents-batch+json": (EVENTS, {"two acts, one of them wrong": ([RIDE, _WRONG], 202)}),
            NDJSON_TYPE: (LINES, {"one act a line": (f"{_LINE}\n", 202)}),
            CSV_TYPE: (ROWS, {"one act a row": (_CSV, 202), "a column nobody knows": ("id,shoe_size\n1,42\n", 422)}),
            PARQUET_TYPE: (BINARY, {}),
        }
    ),
)
async def report_many(
    request: Request[Any, Any, Any], caller: TheCaller, idempotency_key: Key = None, dry_run: FromQuery[bool] = False
) -> Response[bytes]:
    """Report up to 100,000 acts: a JSON array of CloudEvents, one a line (NDJSON), CSV or Parquet; gzip may pack them.

    Good rows are accepted whatever the others are. With `dry_run=true` nothing is kept.
    """
    kind, key = media_type(request), given_key(idempotency_key)

    def read(data: bytes) -> Reports:
        body = read_body(data, kind, most_rows=MOST_ROWS)
        return Reports(partner_of(caller), body.events, key, data, body.table, signature_of(request))

    answer = await taken_in(request, partner_of(caller), read, dry_run=dry_run)
    return given(answer.body, 200 if dry_run else 202, answer)


def partner_of(caller: Caller) -> str:
    """The partner whose key was sent."""
    if caller.partner is None:
        raise AssertionError("a caller without a partner came through the guard")
    return caller.partner


def given(body: bytes, status: int, answer: Answer) -> Response[bytes]:
    """An answer as it was kept; ``Idempotency-Replayed: true`` if it was given before."""
    headers = {"content-type": "application/json", "cache-control": "no-store"}
    if answer.repeated:
        headers[REPLAYED_HEADER] = "true"
    return Response(body, status_code=status, headers=headers)


def one_verdict(answer: Answer, *, dry_run: bool) -> Response[bytes]:
    """The answer to a request of one act: its verdict, or every mistake of it as problem+json."""
    (verdict,) = _verdicts_of(answer.body).verdicts
    told = _told(verdict)
    if told.verdict == "accepted":
        return given(bytes(verdict), 200 if dry_run else 202, answer)
    problems = [Problem(each.code, each.message, pointer_to(each.field), each.remedy) for each in told.problems]
    headers = {REPLAYED_HEADER: "true"} if answer.repeated else {}
    return problem_response(TanzhangError(problems), headers, status=UNPROCESSABLE)


def pointer_to(field: str | None) -> str:
    """A member of an event as a JSON pointer in a fragment.

    >>> pointer_to("distance_m"), pointer_to("data.claim.issuer"), pointer_to("subject")
    ('#/data/distance_m', '#/data/claim/issuer', '#/subject')
    """
    if field is None:
        return "#"
    path = f"data.{field}" if field in _IN_DATA else field
    return "#/" + path.replace("~", "~0").replace("/", "~1").replace(".", "/")


class Withdrawal(msgspec.Struct, forbid_unknown_fields=True):
    """Takes a report back. ``subject`` is that of the report; ``id`` and ``time`` of the withdrawal have defaults."""

    subject: str
    id: str | None = None
    time: str | None = None


class Report(msgspec.Struct):
    """Where an accepted report stands.

    ``state``: waiting, provisional, settled, withdrawn, erased, held (by the programme's guard) or refused (by the
    operator, after that). ``outcome`` once it is settled, ``reason`` then and of what is withheld; ``quantified_mg`` is
    what it comes to by itself, ``granted_mg`` what was credited and not taken back since.
    """

    id: str
    verdict: str
    action: str
    state: str
    outcome: str | None
    reason: str | None
    behaviour: str | None
    region: str | None
    day: str | None
    closes_on: str | None
    kind: str | None
    methodology: str | None
    quantified_mg: str | None
    granted_mg: str | None


class Listed(Verdict, omit_defaults=True):
    """A row: its verdict and, if accepted, where it stands now. One of a file has the id of its ``upload``.

    Of an accepted row of a file no reference is kept, so its ``id`` is null; ``position`` is its place in the file.
    """

    received_at: str = ""
    upload: str | None = None
    state: str | None = None
    outcome: str | None = None
    reason: str | None = None
    granted_mg: str | None = None


class Page(msgspec.Struct):
    """Some rows in the order they came, and the cursor of those that follow; null at the end."""

    items: list[Listed]
    next: str | None


_CORRECTED = {**RIDE, "id": "trip-20250605-0042-a", "data": {**RIDE["data"], "distance_m": 9_500}}  # type: ignore[dict-item]


@post(
    "/v1/actions/{reference:str}/withdraw",
    opt=FOR_REPORTS,
    tags=["reports"],
    status_code=202,
    summary="Take a report back",
    responses={
        **answered(200, Verdict, "A dry run: nothing is kept"),
        **answered(202, Verdict, "The withdrawal is accepted, and durable"),
        **refused(404, 409),
        **_REFUSED,
    },
    operation_class=operation_with(
        {
            "application/json": (
                WITHDRAWAL,
                {"the wrong subject": ({"subject": "u-0000"}, 422), "a withdrawal": ({"subject": "u-7f3a"}, 202)},
            )
        }
    ),
)
async def withdraw(
    request: Request[Any, Any, Any],
    home: TheHome,
    caller: TheCaller,
    reference: FromPath[str],
    idempotency_key: Key = None,
    dry_run: FromQuery[bool] = False,
) -> Response[bytes]:
    """Take a report back: before it is settled it never counts, afterwards an opposite posting is made.

    The same withdrawal sent again is the same report.
    """
    partner, key = partner_of(caller), given_key(idempotency_key)

    def read(data: bytes) -> Reports:
        check_if_match(request, lambda: report_of(home, partner, reference))
        asked = form_of(data, Withdrawal)
        event = withdrawal_of(home, partner, reference, subject=asked.subject, own=asked.id, time=asked.time)
        return Reports(partner, [event], key, event, signature=signature_of(request))

    return one_verdict(await taken_in(request, partner, read, dry_run=dry_run, slow=True), dry_run=dry_run)


@post(
    "/v1/actions/{reference:str}/correct",
    opt=FOR_REPORTS,
    tags=["reports"],
    status_code=202,
    summary="Correct a report",
    responses={
        **answered(200, Verdict, "A dry run: nothing is kept"),
        **answered(202, Verdict, "The correction is accepted, and durable"),
        **refused(404, 409),
        **_REFUSED,
    },
    operation_class=operation_with(
        {
            "application/cloudevents+json": (
                EVENT,
                {"without inputs": ({**RIDE, "id": "x", "data": {}}, 422), "a shorter ride": (_CORRECTED, 202)},
            ),
            "application/json": (EVENT, {}),
        }
    ),
)
async def correct(
    request: Request[Any, Any, Any],
    home: TheHome,
    caller: TheCaller,
    reference: FromPath[str],
    idempotency_key: Key = None,
    dry_run: FromQuery[bool] = False,
) -> Response[bytes]:
    """Put the act of the body, under a new id, in the place of a report: one report that takes the other back."""
    partner, kind, key = partner_of(caller), media_type(request), given_key(idempotency_key)

    def read(data: bytes) -> Reports:
        check_if_match(request, lambda: report_of(home, partner, reference))
        event = correction_of(home, partner, reference, read_event(data, kind))
        return Reports(partner, [event], key, event, signature=signature_of(request))

    return one_verdict(await taken_in(request, partner, read, dry_run=dry_run, slow=True), dry_run=dry_run)


@get(
    "/v1/actions",
    opt=FOR_REPORTS,
    tags=["reports"],
    summary="List own rows",
    responses={**answered(200, Page, "Some rows, in the order they came"), **refused(400)},
)
@in_thread
def list_rows(
    request: Request[Any, Any, Any],
    home: TheHome,
    reader: TheReader,
    caller: TheCaller,
    verdict: FromQuery[Literal["accepted", "refused"] | None] = None,
    since: FromQuery[datetime | None] = None,
    cursor: Cursor = None,
    limit: Limit = None,
) -> Response[bytes]:
    """Rows that were reported by request or in uploaded files, with their verdicts and, if accepted, where they stand.

    200 at most. `since` is a moment with offset.
    """
    moment = with_offset(since, "since")
    page = own_rows(
        home, partner_of(caller), verdict=verdict, since=moment, cursor=cursor, limit=size_of(limit), reader=reader
    )
    return private_json(request, page)


@get(
    "/v1/actions/{reference:str}",
    opt=FOR_REPORTS,
    tags=["reports"],
    summary="Where a report stands",
    responses={**answered(200, Report, "The accepted report"), **refused(404)},
)
@in_thread
def read_report(
    request: Request[Any, Any, Any], home: TheHome, reader: TheReader, caller: TheCaller, reference: FromPath[str]
) -> Response[bytes]:
    """Where an accepted report stands, by the partner's reference."""
    return private_json(request, report_of(home, partner_of(caller), reference, reader=reader))


def form_of(data: bytes, kind: type[_Form]) -> _Form:
    """A JSON body as a form; ``request-malformed`` with the place of what is wrong."""
    try:
        return msgspec.json.decode(data or b"{}", type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        message, _, place = str(error).partition(" - at `$")
        where = "#" + place.removesuffix("`").replace(".", "/") if place else "#"
        remedy = "the OpenAPI document says what the body may hold"
        raise refuse("request-malformed", message, where=where, remedy=remedy) from None


handlers = [report_one, report_many, withdraw, correct, list_rows, read_report]
