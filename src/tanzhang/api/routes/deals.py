"""Offers and deals over units: what is offered, accepting it, and what became of each deal."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody

from tanzhang.api.access import EVERYBODY, allow
from tanzhang.api.actors import actor_of, check_own_party, own_party, party_meant
from tanzhang.api.conditional import private_json
from tanzhang.api.given import Now, TheCaller, TheHome
from tanzhang.api.paging import Cursor, Limit, Page, number_after, number_named, page_of, size_of
from tanzhang.api.public import A_MOMENT, on_public_refusal, public_json
from tanzhang.core.access import Role
from tanzhang.core.errors import TanzhangError
from tanzhang.core.serial import lot_number
from tanzhang.service.donations import Amount
from tanzhang.service.market import deals as service
from tanzhang.service.market.parties import Id, Reference, party_named
from tanzhang.service.market.payments import deliver_again
from tanzhang.service.market.pledges import LotName

_OPERATOR = allow(Role.OPERATOR)
_TRADING = allow(Role.OPERATOR, Role.BUYER)
_READING = allow(Role.OPERATOR, Role.AUDITOR, Role.BUYER)
_TAGS = ["market"]
AnyRequest = Request[Any, Any, Any]
Note = Annotated[str, msgspec.Meta(min_length=1, max_length=1_000, examples=["the buyer asked for it"])]


class Acceptance(msgspec.Struct, forbid_unknown_fields=True):
    """How many units of an offer are accepted; ``party`` is named by the operator, a buyer's own is its own."""

    units: Amount
    reference: Reference
    party: Id | None = None


class Agreed(msgspec.Struct, forbid_unknown_fields=True):
    """A deal that was agreed outside, as a contract says; ``reference`` is the buyer's name for it."""

    seller: Id
    buyer: Id
    lot: LotName
    units: Amount
    price_fen: Amount
    reference: Reference


class Reason(msgspec.Struct, forbid_unknown_fields=True):
    """Why."""

    note: Note


@get(
    "/v1/market/offers",
    opt=EVERYBODY,
    sync_to_thread=True,
    tags=_TAGS,
    exception_handlers={TanzhangError: on_public_refusal},
    responses={200: ResponseSpec(Page, description="Offers.", generate_examples=False)},
)
def offers(home: TheHome, now: Now, request: AnyRequest, cursor: Cursor = None, limit: Limit = None) -> Response[bytes]:
    """Offers that every approved party can accept, the latest first."""
    size = size_of(limit)
    found = service.offers(home, number_after(cursor), size + 1, now=now)
    return public_json(request, page_of([_public(each) for each in found], size, "number"), keep=A_MOMENT)


def _public(said: dict[str, Any]) -> dict[str, Any]:
    """An offer without its seller's own name for it."""
    return {name: value for name, value in said.items() if name != "reference"}


@get("/v1/market/parties/{party:str}/offers", opt=_TRADING, sync_to_thread=True, tags=_TAGS)
def offers_for(
    home: TheHome, now: Now, caller: TheCaller, party: FromPath[str], cursor: Cursor = None, limit: Limit = None
) -> Page:
    """Offers that a party can accept, those for it alone among them."""
    check_own_party(caller, party)
    size, buyer = size_of(limit), party_named(home, party).id
    found = service.offers(home, number_after(cursor), size + 1, now=now, buyer=buyer)
    return page_of([_public(each) for each in found], size, "number")


@post("/v1/market/offers", opt=_TRADING, sync_to_thread=True, tags=_TAGS)
def offer(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, data: JSONBody[service.OfferSaid]
) -> dict[str, Any]:
    """Offer units that the seller holds; a party offers its own alone."""
    check_own_party(caller, data.seller)
    return service.offer(home, data, actor=actor_of(request, caller), now=now)


@post("/v1/market/offers/{number:str}/end", opt=_TRADING, sync_to_thread=True, status_code=200, tags=_TAGS)
def end(home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, number: FromPath[str]) -> dict[str, Any]:
    """Let nobody accept an offer any more; deals that were made stand."""
    seller = own_party(caller)
    wanted = number_named(number, "offer")
    return service.end_offer(home, wanted, seller=seller, actor=actor_of(request, caller), now=now)


@post("/v1/market/offers/{number:str}/accept", opt=_TRADING, sync_to_thread=True, tags=_TAGS)
def accept(
    home: TheHome,
    now: Now,
    caller: TheCaller,
    request: AnyRequest,
    number: FromPath[str],
    data: JSONBody[Acceptance],
) -> dict[str, Any]:
    """Accept an offer, whole or in part: a deal, with what is to be written when it is paid, and until when."""
    wanted, buyer = number_named(number, "offer"), party_meant(caller, data.party)
    actor = actor_of(request, caller)
    return service.accept(home, wanted, buyer, int(data.units), data.reference, actor=actor, now=now)


@post("/v1/market/deals", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS)
def agree(home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, data: JSONBody[Agreed]) -> dict[str, Any]:
    """Enter a deal that was agreed outside; its units are reserved."""
    lot, units, price_fen = lot_number(data.lot, where="#/lot"), int(data.units), int(data.price_fen)
    terms = service.Terms("agreed", data.seller, data.buyer, lot, units, price_fen, data.reference)
    return service.agree_directly(home, terms, actor=actor_of(request, caller), now=now)


@get("/v1/market/deals", opt=_READING, sync_to_thread=True, tags=_TAGS)
def deals(home: TheHome, caller: TheCaller, cursor: Cursor = None, limit: Limit = None) -> Page:
    """Deals, the latest first; a party sees what it buys and sells."""
    size, party = size_of(limit), own_party(caller)
    return page_of(service.listed(home, number_after(cursor), size + 1, party=party), size, "number")


@get("/v1/market/deals/{number:str}", opt=_READING, sync_to_thread=True, tags=_TAGS)
def deal(home: TheHome, caller: TheCaller, request: AnyRequest, number: FromPath[str]) -> Response[Any]:
    """A deal with its changes."""
    party = own_party(caller)
    row = service.deal_named(home, number_named(number, "deal"), party)
    events = service.history(home, row.id)
    if party is not None:
        events = [{name: value for name, value in each.items() if name != "by"} for each in events]
    return private_json(request, {**service.described(home, row), "events": events})


@post("/v1/market/deals/{number:str}/cancel", opt=_OPERATOR, sync_to_thread=True, status_code=200, tags=_TAGS)
def cancel(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, number: FromPath[str], data: JSONBody[Reason]
) -> dict[str, Any]:
    """Cancel a deal that is not delivered; what was paid for it is its buyer's to have back."""
    return service.cancel(home, number_named(number, "deal"), data.note, actor=actor_of(request, caller), now=now)


@post("/v1/market/deals/{number:str}/deliver", opt=_OPERATOR, sync_to_thread=True, status_code=200, tags=_TAGS)
def deliver(home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, number: FromPath[str]) -> dict[str, Any]:
    """Try again to hand over what is paid for."""
    return deliver_again(home, number_named(number, "deal"), actor=actor_of(request, caller), now=now)


handlers = [offers, offers_for, offer, end, accept, agree, deals, deal, cancel, deliver]
