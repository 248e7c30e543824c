"""Auctions of units: the public list with results, opening, sealed bids, closing."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.params import FromPath, JSONBody, QueryParameter

from tanzhang.api.access import allow
from tanzhang.api.actors import actor_of, check_own_party, party_meant
from tanzhang.api.given import Now, TheCaller, TheHome
from tanzhang.api.paging import Cursor, Limit, Page, number_after, number_named, page_of, size_of
from tanzhang.api.public import A_MOMENT, public_json, public_route
from tanzhang.api.routes.deals import Reason
from tanzhang.core.access import Role
from tanzhang.service.donations import Amount
from tanzhang.service.market import auctions as service
from tanzhang.service.market.parties import Id, Reference

_OPERATOR = allow(Role.OPERATOR)
_TRADING = allow(Role.OPERATOR, Role.BUYER)
_TAGS = ["market"]
AnyRequest = Request[Any, Any, Any]
Of = Annotated[str | None, QueryParameter(name="party", description="Whose bids; a buyer leaves it out.")]


class BidSaid(msgspec.Struct, forbid_unknown_fields=True):
    """So many units at up to so many fen each; ``party`` is named by the operator, a buyer's own is its own."""

    units: Amount
    price_fen: Amount
    reference: Reference
    party: Id | None = None


class BidResult(msgspec.Struct):
    """What was bid in a place, under its commitment, and what it got; no bidder is named."""

    place: int
    commitment: str
    state: str
    units: str | None
    price_fen: str | None
    awarded: str | None


class Auction(msgspec.Struct):
    """An auction; what closing decides is null before it is closed."""

    number: int
    seller: str
    lot: str
    units: str
    reserve_fen: str
    price_fen: str | None
    sold: str | None
    state: str
    opens_at: str
    closes_at: str
    made_at: str
    changed_at: str
    note: str | None
    digest: str | None
    entry: int | None
    marginal: int | None
    bids: int | None
    rule: str


class AuctionPage(Auction):
    """An auction and its result by place."""

    result: list[BidResult]


@get("/v1/market/auctions", **public_route(_TAGS, Page, "Auctions."))
def auctions(home: TheHome, request: AnyRequest, cursor: Cursor = None, limit: Limit = None) -> Response[bytes]:
    """Every auction, the latest first; the price once it is closed."""
    size = size_of(limit)
    page = page_of(service.listed(home, number_after(cursor), size + 1), size, "number")
    return public_json(request, page, keep=A_MOMENT)


@get("/v1/market/auctions/{number:str}", **public_route(_TAGS, AuctionPage, "The auction."))
def auction(home: TheHome, request: AnyRequest, number: FromPath[str]) -> Response[bytes]:
    """An auction and, once it is closed, each bid under its commitment, so that anybody can clear it again."""
    return public_json(request, service.result(home, number_named(number, "auction")), keep=A_MOMENT)


@post("/v1/market/auctions", opt=_TRADING, sync_to_thread=True, tags=_TAGS)
def open_(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, data: JSONBody[service.AuctionSaid]
) -> dict[str, Any]:
    """Announce an auction of units that the seller holds; they are reserved until it is closed."""
    check_own_party(caller, data.seller)
    return service.open_auction(home, data, actor=actor_of(request, caller), now=now)


@post("/v1/market/auctions/{number:str}/bids", opt=_TRADING, sync_to_thread=True, tags=_TAGS)
def bid(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, number: FromPath[str], data: JSONBody[BidSaid]
) -> Response[dict[str, Any]]:
    """Bid, sealed; the receipt with its salt proves later what was bid. Keep it: it is not shown in lists."""
    wanted, bidder, actor = number_named(number, "auction"), party_meant(caller, data.party), actor_of(request, caller)
    units, price_fen = int(data.units), int(data.price_fen)
    said = service.bid(home, wanted, bidder, units, price_fen, data.reference, actor=actor, now=now)
    return Response(said, headers={"cache-control": "no-store"})


@get("/v1/market/auctions/{number:str}/bids", opt=_TRADING, sync_to_thread=True, tags=_TAGS)
def bids(home: TheHome, caller: TheCaller, number: FromPath[str], of: Of = None) -> Response[dict[str, Any]]:
    """The bids of one party: places, commitments, states; what they say only once the auction is closed."""
    found = service.own_bids(home, number_named(number, "auction"), party_meant(caller, of))
    return Response({"items": found}, headers={"cache-control": "private, no-store"})


@delete(
    "/v1/market/auctions/{number:str}/bids/{place:str}", opt=_TRADING, sync_to_thread=True, status_code=200, tags=_TAGS
)
def withdraw(
    home: TheHome,
    now: Now,
    caller: TheCaller,
    request: AnyRequest,
    number: FromPath[str],
    place: FromPath[str],
    of: Of = None,
) -> dict[str, Any]:
    """Take a bid back before the close."""
    wanted, named, bidder = number_named(number, "auction"), number_named(place, "bid"), party_meant(caller, of)
    return service.withdraw(home, wanted, bidder, named, actor=actor_of(request, caller), now=now)


@post("/v1/market/auctions/{number:str}/close", opt=_OPERATOR, sync_to_thread=True, status_code=200, tags=_TAGS)
def close(home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, number: FromPath[str]) -> dict[str, Any]:
    """Close an auction whose time is over, as a worker does by itself."""
    return service.close(home, number_named(number, "auction"), actor=actor_of(request, caller), now=now)


@post("/v1/market/auctions/{number:str}/call-off", opt=_OPERATOR, sync_to_thread=True, status_code=200, tags=_TAGS)
def call_off(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, number: FromPath[str], data: JSONBody[Reason]
) -> dict[str, Any]:
    """Call an auction off before it is closed; its bids are never opened."""
    wanted = number_named(number, "auction")
    return service.call_off(home, wanted, data.note, actor=actor_of(request, caller), now=now)


handlers = [auctions, auction, open_, bid, bids, withdraw, close, call_off]
