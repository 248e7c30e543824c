"""Retirements of units: what everybody sees of them, what a buyer's staff asks for, and the pages of units."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath, JSONBody, QueryParameter

from tanzhang.api.access import allow
from tanzhang.api.actors import actor_of, check_own_party, party_meant
from tanzhang.api.given import Now, TheCaller, TheHome
from tanzhang.api.paging import Cursor, Limit, Page, number_after, page_of, size_of
from tanzhang.api.public import A_MOMENT, public_answer, public_json, public_route
from tanzhang.core.access import Caller, Role
from tanzhang.core.units import PARTY
from tanzhang.service.certificate_page import pdf_of
from tanzhang.service.market import retire as service
from tanzhang.service.market.retirement_certificate import retirement_certificate
from tanzhang.service.market.unit_pages import block_page, unit_totals
from tanzhang.stores.home import Home

_OWN = allow(Role.BUYER, Role.OPERATOR)
_OPERATOR = allow(Role.OPERATOR)
_TAGS = ["retirement"]
_ONE = "/v1/market/retirements/{retirement:str}"
_TEXT_PLAIN = "text/plain; charset=utf-8"
AnyRequest = Request[Any, Any, Any]
Reference = Annotated[str, msgspec.Meta(min_length=1, max_length=100, examples=["2025-games"])]
Line = Annotated[str, msgspec.Meta(max_length=service.MOST_TEXT)]


class RetirementAsked(msgspec.Struct, forbid_unknown_fields=True):
    """Units to be retired: ``serials``, or the lowest ``count`` that the party holds of ``lot``.

    ``since`` and ``until`` are the first and last day of the period of the claim, ``using_entity`` who makes it (the
    beneficiary if empty), ``party`` whose units they are where the operator asks. ``anonymous``: nobody sees for whom.
    The same ``reference`` again is the same retirement.
    """

    reference: Reference
    purpose: Annotated[str, msgspec.Meta(max_length=64, examples=["event_neutrality"])]
    since: date
    until: date
    beneficiary: Annotated[str, msgspec.Meta(max_length=service.MOST_TEXT, examples=["Example Games"])]
    beneficiary_id: Line = ""
    using_entity: Line = ""
    note: Line = ""
    anonymous: bool = False
    serials: Annotated[list[Annotated[str, msgspec.Meta(max_length=120)]], msgspec.Meta(max_length=1_000)] = []
    lot: Annotated[str, msgspec.Meta(max_length=20, examples=["L000042"])] | None = None
    count: Annotated[int, msgspec.Meta(ge=1, le=2**32)] | None = None
    party: Annotated[str, msgspec.Meta(max_length=64)] | None = None


class Addendum(msgspec.Struct, forbid_unknown_fields=True):
    """What puts a spelling right; the same ``reference`` again is the same addendum."""

    reference: Reference
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=service.MOST_TEXT, examples=["read: Example Games"])]


class TakenAway(msgspec.Struct, forbid_unknown_fields=True):
    """Why whom a retirement was for is taken away; it is kept for good, so it must name nobody."""

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=500, examples=["a person asked for it"])]


class ShownBeneficiary(msgspec.Struct):
    """For whom units were retired; texts that were not given are empty."""

    beneficiary: str
    beneficiary_id: str
    using_entity: str
    note: str


class ShownAddendum(msgspec.Struct):
    """An addendum."""

    text: str
    made_at: str


class ShownRetirement(msgspec.Struct):
    """A retirement. ``beneficiary`` and ``holder`` are null where they are not public; ``entry`` is the log's."""

    id: str
    state: str
    lot: str
    vintage: int
    region: str
    serials: list[str]
    units: str
    unit: str
    purpose: str
    market: str
    since: str
    until: str
    retired_at: str
    commitment: str
    public: bool
    beneficiary: ShownBeneficiary | None
    holder: str | None
    addenda: list[ShownAddendum]
    entry: int | None


class RetirementList(msgspec.Struct):
    """A page of retirements, the latest first."""

    items: list[ShownRetirement]
    next: str | None


class ShownBlock(msgspec.Struct):
    """A block as it stands."""

    serial: str
    units: str
    state: str
    tier: str


class UnitEvent(msgspec.Struct):
    """What was done to units; without who held them."""

    event: int
    kind: str
    made_at: str
    serials: list[str]


class BlockPage(msgspec.Struct):
    """Units of a serial number: how they stand and everything that was done to any of them."""

    serial: str
    lot: str
    vintage: int
    region: str
    unit: str
    units: str
    registry: str | None
    foreign: str | None
    blocks: list[ShownBlock]
    history: list[UnitEvent]
    retirements: list[ShownRetirement]


class LotTotals(msgspec.Struct):
    """Units of a lot by state; the states add up to ``issued``."""

    lot: str
    vintage: int
    unit: str
    issued: str
    states: dict[str, str]


class UnitTotals(msgspec.Struct):
    """Milligrams that were issued, and of these retired and cancelled; units by lot and state."""

    log: str
    issued_mg: str
    retired_mg: str
    cancelled_mg: str
    lots: list[LotTotals]


# -- what everybody sees --------------------------------------------------------------------------------------


@get("/v1/market/retirements", **public_route(_TAGS, RetirementList, "Retirements."))
def retirements(
    home: TheHome,
    request: AnyRequest,
    lot: Annotated[str | None, QueryParameter(description="Of this lot, such as L000042.")] = None,
    vintage: Annotated[int | None, QueryParameter(ge=1000, le=9999, description="Of this vintage.")] = None,
    purpose: Annotated[str | None, QueryParameter(description="For this purpose.")] = None,
    since: Annotated[date | None, QueryParameter(description="Whose period ends on this day or later.")] = None,
    until: Annotated[date | None, QueryParameter(description="Whose period begins on this day or earlier.")] = None,
    cursor: Cursor = None,
    limit: Limit = None,
) -> Response[bytes]:
    """Every retirement, the latest first, those of silent beneficiaries too."""
    size = size_of(limit)
    wanted: dict[str, Any] = {"lot": lot, "vintage": vintage, "purpose": purpose, "since": since, "until": until}
    found = service.retirements(home, before=number_after(cursor), limit=size + 1, **wanted)
    return public_json(request, page_of(found, size, "number"), keep=A_MOMENT)


@get(_ONE, **public_route(_TAGS, ShownRetirement, "The retirement."))
def show(home: TheHome, request: AnyRequest, retirement: FromPath[str]) -> Response[bytes]:
    """A retirement."""
    return public_json(request, service.retirement_page(home, retirement), keep=A_MOMENT)


@get(f"{_ONE}/proof", media_type=_TEXT_PLAIN, **public_route(_TAGS, bytes, "The proof."))
def proof(home: TheHome, request: AnyRequest, retirement: FromPath[str]) -> Response[bytes]:
    """The proof that a retirement is in the log: a file that holds offline and names nobody."""
    return public_answer(request, service.proof(home, retirement), content_type=_TEXT_PLAIN, keep=A_MOMENT)


@get("/v1/market/serials/{serial:str}", **public_route(_TAGS, BlockPage, "The units."))
def serial_page(home: TheHome, request: AnyRequest, serial: FromPath[str]) -> Response[bytes]:
    """Units by their serial number: how they stand, and their whole history."""
    return public_json(request, block_page(home, serial), keep=A_MOMENT)


@get("/v1/market/unit-totals", **public_route(_TAGS, UnitTotals, "Totals of units."))
def totals(home: TheHome, request: AnyRequest) -> Response[bytes]:
    """How much was issued, and what became of it: each milligram in one state."""
    return public_json(request, unit_totals(home), keep=A_MOMENT)


# -- what parties do ------------------------------------------------------------------------------------------


@post("/v1/market/retirements", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def retire(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, data: JSONBody[RetirementAsked]
) -> dict[str, Any]:
    """Retire units of one's party, for good."""
    party = party_meant(caller, data.party)
    given = {name: getattr(data, name) for name in service.Asked.__slots__}
    asked = service.Asked(**{**given, "serials": tuple(data.serials)})
    return service.retire(home, party, data.reference, asked, actor=actor_of(request, caller), now=now)


@get("/v1/market/parties/{party:str}/retirements", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def own(home: TheHome, caller: TheCaller, party: FromPath[str], cursor: Cursor = None, limit: Limit = None) -> Page:
    """What a party retired, with names that it keeps to itself."""
    check_own_party(caller, party)
    size = size_of(limit)
    found = service.own_retirements(home, party, before=number_after(cursor), limit=size + 1)
    return page_of(found, size, "number")


@get(f"{_ONE}/certificate", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def certificate(home: TheHome, now: Now, caller: TheCaller, retirement: FromPath[str]) -> Response[bytes]:
    """The certificate as a W3C Verifiable Credential, the same bytes each time."""
    _check_own(home, caller, retirement)
    return _file(retirement_certificate(home, retirement, now=now), "application/vc", f"{retirement}.json")


@get(f"{_ONE}/certificate/pdf", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def certificate_pdf(home: TheHome, now: Now, caller: TheCaller, retirement: FromPath[str]) -> Response[bytes]:
    """The certificate as a page to print, with the signed credential attached."""
    _check_own(home, caller, retirement)
    return _file(pdf_of(retirement_certificate(home, retirement, now=now)), "application/pdf", f"{retirement}.pdf")


@get(f"{_ONE}/opening", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def opening(home: TheHome, caller: TheCaller, retirement: FromPath[str]) -> Response[bytes]:
    """The file that shows whom a retirement was for, to be given to whoever is to know."""
    _check_own(home, caller, retirement)
    return _file(service.opening_of(home, retirement).to_text().encode(), "application/json", f"{retirement}.json")


@post(f"{_ONE}/opening", opt=_OWN, sync_to_thread=True, status_code=200, tags=_TAGS)
def open_to_all(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, retirement: FromPath[str]
) -> dict[str, Any]:
    """Let everybody see whom a silent retirement was for; once shown it stays so."""
    _check_own(home, caller, retirement)
    return service.open_to_all(home, retirement, actor=actor_of(request, caller), now=now)


@post(f"{_ONE}/removal", opt=_OPERATOR, sync_to_thread=True, status_code=200, tags=_TAGS)
def take_away(
    home: TheHome,
    now: Now,
    caller: TheCaller,
    request: AnyRequest,
    retirement: FromPath[str],
    data: JSONBody[TakenAway],
) -> dict[str, Any]:
    """Forget whom a retirement was for, where a person is named who wants that; the units stay retired."""
    return service.take_away(home, retirement, data.reason, actor=actor_of(request, caller), now=now)


@post(f"{_ONE}/addenda", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def add_addendum(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, retirement: FromPath[str], data: JSONBody[Addendum]
) -> dict[str, Any]:
    """Put a spelling right beside a retirement, which itself stays as it is."""
    _check_own(home, caller, retirement)
    actor = actor_of(request, caller)
    return service.add_addendum(home, retirement, data.reference, data.text, actor=actor, now=now)


def _check_own(home: Home, caller: Caller, retirement: str) -> None:
    """Refuse staff of a party what another one retired; ``unknown-retirement``, ``not-allowed``."""
    check_own_party(caller, service.retirement_row(home, retirement).holder.removeprefix(PARTY))


def _file(data: bytes, kind: str, name: str) -> Response[bytes]:
    headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "private, no-store"}
    return Response(data, headers={**headers, "content-type": kind})


handlers = [
    retirements,
    show,
    proof,
    serial_page,
    totals,
    retire,
    own,
    certificate,
    certificate_pdf,
    opening,
    open_to_all,
    take_away,
    add_addendum,
]
