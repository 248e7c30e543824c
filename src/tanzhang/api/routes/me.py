"""What a person sees of their own: account, statement, records and why each is so, receipts, grade, share, rank."""

from __future__ import annotations

import threading
from datetime import date
from typing import Annotated, Any, Literal
from uuid import UUID

from litestar import Request, Response, get
from litestar.params import FromPath, FromQuery, QueryParameter

from tanzhang.api.access import EVERYBODY, allow
from tanzhang.api.conditional import private_json
from tanzhang.api.given import Now, TheCaller, TheHome, TheReader
from tanzhang.core.access import Role
from tanzhang.core.errors import refuse
from tanzhang.service.accounts import action_named
from tanzhang.service.badges import badges_of
from tanzhang.service.consents import ShownNames
from tanzhang.service.epoch import Prover, latest_epoch
from tanzhang.service.grading import grade_account
from tanzhang.service.moments import received_day
from tanzhang.service.own import MOST_AT_ONCE, check_own, overview, own_record, own_records, own_statement, receipt_qr
from tanzhang.service.ranking import Scope, ranking
from tanzhang.service.receipt import create_receipt
from tanzhang.stores.home import Home

OWN = allow(Role.PERSON)
_TAGS = ["own data"]
_PROOF = "text/plain; charset=utf-8"
_MOST_RANKED = 1_000
AnyRequest = Request[Any, Any, Any]
Cursor = Annotated[str | None, QueryParameter(description="What `next` of the page before said.", max_length=512)]
Limit = Annotated[int, QueryParameter(ge=1, le=MOST_AT_ONCE, description="How many at most.")]


@get("/v1/me", opt=OWN, sync_to_thread=True, tags=_TAGS)
def me(reader: TheReader, now: Now, caller: TheCaller, request: AnyRequest) -> Response[Any]:
    """The account, what it holds by unit in mg, the accounts that are part of it, this month's grade."""
    return private_json(request, overview(reader, UUID(caller.subject), now=now))


@get("/v1/me/statement", opt=OWN, sync_to_thread=True, tags=_TAGS)
def my_statement(reader: TheReader, caller: TheCaller, request: AnyRequest) -> Response[Any]:
    """Of each own account: confirmed and provisional amounts, totals by behaviour, the latest and the open acts."""
    return private_json(request, own_statement(reader, UUID(caller.subject)))


@get("/v1/me/records", opt=OWN, sync_to_thread=True, tags=_TAGS)
def my_records(
    reader: TheReader,
    caller: TheCaller,
    request: AnyRequest,
    kind: FromQuery[Literal["reduction", "emission"] | None] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response[Any]:
    """Settled records, the latest day first; ``kind=emission`` are the entries of the footprint."""
    return private_json(request, own_records(reader, UUID(caller.subject), kind=kind, cursor=cursor, limit=limit))


@get("/v1/me/records/{action:str}", opt=OWN, sync_to_thread=True, tags=_TAGS)
def my_record(reader: TheReader, caller: TheCaller, request: AnyRequest, action: FromPath[str]) -> Response[Any]:
    """One record, by id or PARTNER:REFERENCE, with the steps of its computation and the plan it was computed by."""
    return private_json(request, own_record(reader, UUID(caller.subject), action_named(reader.home, action)))


@get("/v1/me/records/{action:str}/receipt", opt=OWN, sync_to_thread=True, tags=_TAGS)
def my_receipt(reader: TheReader, caller: TheCaller, action: FromPath[str]) -> Response[bytes]:
    """The receipt of a record, a file that proves it offline and for good."""
    named = action_named(reader.home, action)
    check_own(reader, UUID(caller.subject), named)
    return _file(create_receipt(reader.home, named, reader=reader), f"{named}.tlog-proof")


@get("/v1/me/records/{action:str}/qr", opt=OWN, sync_to_thread=True, tags=_TAGS)
def my_receipt_qr(reader: TheReader, caller: TheCaller, action: FromPath[str]) -> dict[str, str]:
    """A QR code of a receipt as SVG: of the receipt itself (``holds: receipt``), or of its digest if it is too large.

    A digest proves nothing by itself: it shows that a receipt file somebody brings is this one.
    """
    named = action_named(reader.home, action)
    check_own(reader, UUID(caller.subject), named)
    return receipt_qr(create_receipt(reader.home, named, reader=reader))


@get("/v1/me/grade", opt=OWN, sync_to_thread=True, tags=_TAGS)
def my_grade(
    home: TheHome,
    now: Now,
    caller: TheCaller,
    request: AnyRequest,
    month: Annotated[str | None, QueryParameter(pattern="^[0-9]{4}-(0[1-9]|1[0-2])$")] = None,
) -> Response[Any]:
    """The grade of a month, by default the one that it is, by the scheme that the programme names."""
    day = received_day(home, now) if month is None else _day(f"{month}-01", "query: month")
    return private_json(request, grade_account(home, UUID(caller.subject), day))


@get("/v1/me/badges", opt=OWN, sync_to_thread=True, tags=_TAGS)
def my_badges(reader: TheReader, caller: TheCaller, request: AnyRequest) -> Response[Any]:
    """Each badge of the programme: what it needs, how far one is, since when one has it; from confirmed records."""
    return private_json(request, badges_of(reader, UUID(caller.subject)))


@get("/v1/me/epochs/{day:str}/proof", opt=OWN, sync_to_thread=True, tags=_TAGS)
def my_share(home: TheHome, caller: TheCaller, day: FromPath[str]) -> Response[bytes]:
    """The proof that one's share is part of the total of a sealed day, or of the last one (``latest``)."""
    wanted = None if day == "latest" else _day(day, "path: day")
    return _file(_prover(home, wanted).prove(UUID(caller.subject)), f"epoch-{day}.tlog-proof")


@get("/v1/rankings", opt=EVERYBODY, sync_to_thread=True, tags=_TAGS)
def rankings(
    home: TheHome,
    now: Now,
    caller: TheCaller,
    request: AnyRequest,
    period: FromQuery[Literal["day", "week", "month"]] = "month",
    day: FromQuery[date | None] = None,
    region: FromQuery[str | None] = None,
    partner: FromQuery[str | None] = None,
    top: Annotated[int, QueryParameter(ge=1, le=_MOST_RANKED)] = 100,
) -> Response[Any]:
    """Who was confirmed most, under pseudonyms of this board alone or a name that somebody agreed to show; own rank."""
    scope = Scope.of(period, day or received_day(home, now), region, partner)
    own = UUID(caller.subject) if caller.role is Role.PERSON else None
    return private_json(request, ranking(home, scope, top=top, account=own, names=ShownNames(home)))


_held: dict[str, Prover] = {}
_holding = threading.Lock()


def _prover(home: Home, day: date | None) -> Prover:
    """The trees of a day; those that were asked for last are held, some 100 bytes an account."""
    latest = latest_epoch(home)
    name = f"{home.folder} {day or (latest or {}).get('day')}"
    with _holding:
        if name not in _held:
            made = Prover(home, day)
            _held.clear()
            _held[name] = made
        return _held[name]


def _file(data: bytes, name: str) -> Response[bytes]:
    headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "private, no-store"}
    return Response(data, headers={**headers, "content-type": _PROOF})


def _day(text: str, where: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        remedy = "write YYYY-MM-DD"
        raise refuse("request-malformed", f"{text[:20]!r} is no day", where=where, remedy=remedy) from None


handlers = [me, my_statement, my_records, my_record, my_receipt, my_receipt_qr, my_grade, my_badges, my_share, rankings]
