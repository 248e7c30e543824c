"""What somebody lets go into lots and what became of it; lots of the operator, and what everybody sees of them."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.params import FromPath, JSONBody

from tanzhang.api.access import allow
from tanzhang.api.actors import actor_of
from tanzhang.api.conditional import private_json
from tanzhang.api.given import Now, TheCaller, TheHome, TheReader
from tanzhang.api.paging import Cursor, Limit, size_of
from tanzhang.api.public import A_MOMENT, public_json, public_route
from tanzhang.core.access import Role
from tanzhang.core.lot import lot_number
from tanzhang.service.market import authorise as authorising
from tanzhang.service.market import lots as service
from tanzhang.service.market.holdings import record_states
from tanzhang.service.market.share import share_proof

_OWN = allow(Role.PERSON)
_OPERATOR = allow(Role.OPERATOR)
_AUDITED = allow(Role.OPERATOR, Role.AUDITOR)
_TAGS = ["lots"]
AnyRequest = Request[Any, Any, Any]
LotNumber = Annotated[str, msgspec.Meta(examples=["L000042"])]
Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$", examples=["0" * 64])]


class Authorisation(msgspec.Struct, forbid_unknown_fields=True, rename={"since": "from"}):
    """What may go into lots: acts of local days ``[from, until)``, of some ``behaviours`` (null: all).

    ``terms`` is the digest of the terms that were shown, of ``/v1/market/terms``: whoever authorises agrees to these.
    """

    since: date
    terms: Digest
    until: date | None = None
    behaviours: Annotated[list[str], msgspec.Meta(min_length=1, max_length=200)] | None = None


class Why(msgspec.Struct, forbid_unknown_fields=True):
    """Why a lot is given up; kept for good, so it must name nobody."""

    why: service.Why


class ShownLot(msgspec.Struct):
    """A lot. What the log says of it is its entry number ``entry``; amounts are texts of whole numbers."""

    lot: str
    state: str
    vintage: int
    region: str
    behaviours: list[str] | None
    frozen_at: str | None
    market: str | None
    terms: str | None
    methodologies: dict[str, list[str]] | None
    unit_mass_mg: str | None
    units: str | None
    total_mg: str | None
    members: str | None
    leaves: str | None
    root: str | None
    entry: int | None
    early: str | None


class LotList(msgspec.Struct):
    """A page of lots, the latest first."""

    items: list[ShownLot]
    next: str | None


class LotEvent(msgspec.Struct):
    """A state that a lot came to."""

    state: str
    at: str


class LotPage(ShownLot):
    """A lot and what became of it, in order."""

    events: list[LotEvent]
    log: str


# -- everybody --------------------------------------------------------------------------------------------------


@get("/v1/market/lots", **public_route(_TAGS, LotList, "Lots."))
def lots(home: TheHome, request: AnyRequest, cursor: Cursor = None, limit: Limit = None) -> Response[bytes]:
    """Every lot that was frozen, whatever became of it."""
    return public_json(request, service.lots(home, cursor=cursor, limit=size_of(limit), public=True), keep=A_MOMENT)


@get("/v1/market/lots/{lot:str}", **public_route(_TAGS, LotPage, "The lot."))
def lot(home: TheHome, request: AnyRequest, lot: FromPath[str]) -> Response[bytes]:
    """A lot that was frozen: what is in it, its entry of the log, its states."""
    return public_json(request, service.lot_page(home, lot_number(lot), public=True), keep=A_MOMENT)


# -- the operator -----------------------------------------------------------------------------------------------


@get("/v1/market/lot-register", opt=_AUDITED, sync_to_thread=True, tags=_TAGS)
def all_lots(home: TheHome, cursor: Cursor = None, limit: Limit = None) -> dict[str, Any]:
    """Every lot, drafts among them, the latest first."""
    return service.lots(home, cursor=cursor, limit=size_of(limit))


@get("/v1/market/lot-register/{lot:str}", opt=_AUDITED, sync_to_thread=True, tags=_TAGS)
def whole_lot(home: TheHome, lot: FromPath[str]) -> dict[str, Any]:
    """A lot with the reasons of what became of it."""
    return service.lot_page(home, lot_number(lot))


@post("/v1/market/lots", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS)
def draft(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, data: JSONBody[service.LotSaid]
) -> dict[str, Any]:
    """Draft a lot: ``{"reference": "2025-first", "vintage": 2025, "region": "CN-110000"}``; nothing is taken yet."""
    return service.draft(home, data, actor=actor_of(request, caller), now=now)


@post("/v1/market/lots/{lot:str}/freeze", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS, status_code=200)
def freeze(home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, lot: FromPath[str]) -> dict[str, Any]:
    """Fix the members of a draft for good. Of millions of records this takes a minute; the command does the same."""
    return service.freeze(home, lot_number(lot), actor=actor_of(request, caller), now=now)


@post("/v1/market/lots/{lot:str}/dissolve", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS, status_code=200)
def dissolve(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, lot: FromPath[str], data: JSONBody[Why]
) -> dict[str, Any]:
    """Give a lot up that is not being verified; what it held is free again."""
    return service.dissolve(home, lot_number(lot), why=data.why, actor=actor_of(request, caller), now=now)


# -- a person ---------------------------------------------------------------------------------------------------


@post("/v1/me/authorisations", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def authorise(home: TheHome, now: Now, caller: TheCaller, data: JSONBody[Authorisation]) -> dict[str, Any]:
    """Let own reductions go into lots. What stands and says the same is that one."""
    return authorising.authorise(
        home,
        UUID(caller.subject),
        since=data.since,
        until=data.until,
        behaviours=data.behaviours,
        terms=data.terms,
        now=now,
    )


@get("/v1/me/authorisations", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def my_authorisations(home: TheHome, caller: TheCaller, cursor: Cursor = None, limit: Limit = None) -> dict[str, Any]:
    """Own authorisations, the latest first."""
    return authorising.authorisations(home, UUID(caller.subject), cursor=cursor, limit=size_of(limit))


@delete("/v1/me/authorisations/{authorisation:int}", opt=_OWN, sync_to_thread=True, tags=_TAGS, status_code=200)
def revoke(home: TheHome, now: Now, caller: TheCaller, authorisation: FromPath[int]) -> dict[str, Any]:
    """Revoke an authorisation for the future; what is in a frozen lot stays there."""
    return authorising.revoke(home, UUID(caller.subject), authorisation, now=now)


@get("/v1/me/lots", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def my_lots(home: TheHome, caller: TheCaller, request: AnyRequest) -> Response[Any]:
    """What lots have of the own acts, by lot."""
    return private_json(request, {"lots": service.shares_of(home, UUID(caller.subject))})


@get("/v1/me/states", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def my_states(reader: TheReader, caller: TheCaller, request: AnyRequest) -> Response[Any]:
    """Of each own reduction, how many milligrams are confirmed, reserved, issued, used and reversed."""
    return private_json(request, record_states(reader, UUID(caller.subject)))


@get("/v1/me/lots/{lot:str}/{action:uuid}/proof", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def my_share(
    home: TheHome, reader: TheReader, caller: TheCaller, lot: FromPath[str], action: FromPath[UUID]
) -> Response[bytes]:
    """The proof of what a lot has of an own act: a file that holds offline and names nobody."""
    data = share_proof(home, UUID(caller.subject), action, lot_number(lot), reader=reader)
    headers = {
        "content-disposition": 'attachment; filename="share.tlog-proof"',
        "cache-control": "private, no-store",
        "content-type": "text/plain; charset=utf-8",
    }
    return Response(data, headers=headers)


handlers = [
    lots,
    lot,
    all_lots,
    whole_lot,
    draft,
    freeze,
    dissolve,
    authorise,
    my_authorisations,
    revoke,
    my_lots,
    my_states,
    my_share,
]
