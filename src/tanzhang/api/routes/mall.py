"""The mall: offers that anybody sees, orders of a person, and what the operator adds, confirms and gives back."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated, Any
from uuid import UUID

import anyio.to_thread
import msgspec
from litestar import Request, Response, get, post, put
from litestar.params import FromPath, FromQuery, HeaderParameter, JSONBody

from tanzhang.api.access import EVERYBODY, allow
from tanzhang.api.actors import actor_of
from tanzhang.api.conditional import private_json, version_seen, version_tag
from tanzhang.api.given import Now, TheCaller, TheHome
from tanzhang.api.paging import Cursor, Limit, Page, page_of, size_of, text_after
from tanzhang.api.public import A_MOMENT, FOR_GOOD, public_answer, public_json
from tanzhang.api.waiting import KEY_HEADER, REPLAYED_HEADER, given_key, outbox_of
from tanzhang.core.access import Role
from tanzhang.core.errors import refuse
from tanzhang.service import mall as service
from tanzhang.service import offers
from tanzhang.service.cursors import cursor_of, place_after
from tanzhang.service.joining import own_accounts
from tanzhang.service.mall import Placed, Wanted
from tanzhang.service.moments import received_at
from tanzhang.service.offers import Amount, Offer
from tanzhang.service.teller import Teller
from tanzhang.service.vouchers import voucher_qr, what_it_brings
from tanzhang.stores.home import Home

_OPERATOR, _OWN = allow(Role.OPERATOR), allow(Role.PERSON)
_SEEING = allow(Role.OPERATOR, Role.AUDITOR)
_TAGS, _OPERATING = ["mall"], ["mall: operator"]
AnyRequest = Request[Any, Any, Any]
Line = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Number = Annotated[str, msgspec.Meta(max_length=40)]


class Address(msgspec.Struct, forbid_unknown_fields=True):
    """Where goods go; kept sealed until 90 days after they were sent."""

    name: Annotated[Line, msgspec.Meta(examples=["李娜"])]
    phone: Annotated[str, msgspec.Meta(min_length=1, max_length=40, examples=["+8613800000000"])]
    address: Annotated[str, msgspec.Meta(min_length=1, max_length=500, examples=["北京市东城区某街 1 号"])]


class NewOrder(msgspec.Struct, forbid_unknown_fields=True):
    """One of an offer; ``address`` for goods alone."""

    offer: Annotated[str, msgspec.Meta(max_length=64, examples=["coffee-2026"])]
    address: Address | None = None


class Codes(msgspec.Struct, forbid_unknown_fields=True):
    """Codes for a pool, one a line; those that are there already are left alone."""

    codes: Annotated[str, msgspec.Meta(max_length=20_000_000, examples=["AAAA-0001\nAAAA-0002"])]


class Payment(msgspec.Struct, forbid_unknown_fields=True):
    """Money that came in for an order, under a reference of its own."""

    order: Number
    amount_fen: Amount
    reference: Line


class Payments(msgspec.Struct, forbid_unknown_fields=True):
    """Payments to be confirmed."""

    payments: Annotated[list[Payment], msgspec.Meta(min_length=1, max_length=10_000)]


# -- offers ---------------------------------------------------------------------------------------------------


@get("/v1/mall/offers", opt=EVERYBODY, sync_to_thread=True, tags=_TAGS)
def list_offers(
    home: TheHome,
    now: Now,
    request: AnyRequest,
    merchant: FromQuery[str | None] = None,
    cursor: Cursor = None,
    limit: Limit = None,
) -> Response[Any]:
    """Offers that can be seen now, by id: price, times, how many are left; ``now`` is the server's clock."""
    size = size_of(limit)
    found = offers.listed_offers(home, text_after(cursor), size + 1, merchant=merchant, now=now)
    page = page_of([_public(each) for each in found], size, "id")
    return public_json(request, {"now": received_at(now), **msgspec.to_builtins(page)}, keep=A_MOMENT)


@get("/v1/mall/offers/{name:str}", opt=EVERYBODY, sync_to_thread=True, tags=_TAGS)
def see_offer(home: TheHome, now: Now, request: AnyRequest, name: FromPath[str]) -> Response[Any]:
    """One offer, also once it has closed."""
    return public_json(request, _public(offers.shown_offer(home, name, now=now)), keep=A_MOMENT)


def _public(offer: dict[str, Any]) -> dict[str, Any]:
    """An offer without what is between the programme and the merchant."""
    return {name: value for name, value in offer.items() if name not in ("settlement_fen", "sold", "version")}


@get("/v1/mall/pictures/{digest:str}", opt=EVERYBODY, sync_to_thread=True, tags=_TAGS, media_type="image/*")
def see_picture(home: TheHome, request: AnyRequest, digest: FromPath[str]) -> Response[bytes]:
    """A picture by its digest; it never changes."""
    data, kind = offers.picture(home, digest)
    return public_answer(request, data, content_type=kind, keep=FOR_GOOD, tag=digest)


# -- a person's orders ----------------------------------------------------------------------------------------


@post("/v1/me/orders", opt=_OWN, tags=_TAGS)
async def order(
    caller: TheCaller,
    request: AnyRequest,
    data: JSONBody[NewOrder],
    key: Annotated[str | None, HeaderParameter(name=KEY_HEADER, description="A new UUID for each new order.")] = None,
) -> Response[Any]:
    """Order one of an offer; its points are spent when this is answered. The same key gets the same answer again."""
    given = given_key(key)
    if given is None:
        raise refuse(
            "idempotency-key-missing",
            "an order needs a key, so that a retry is not a second order",
            where=f"header: {KEY_HEADER}",
            remedy="send a new UUID for each new order, and the same one to send the same order again",
        )
    address = None if data.address is None else msgspec.to_builtins(data.address)
    wanted = Wanted(UUID(caller.subject), data.offer, given, address)
    teller: Teller = request.app.state.teller
    with teller.room(caller.subject, 1_000) as room:
        future: asyncio.Future[Placed] = asyncio.get_running_loop().create_future()
        teller.submit(wanted, room, partial(outbox_of(request.app).put, future))
        placed = await future
    if placed.error is not None:
        raise placed.error
    headers = {REPLAYED_HEADER: "true"} if placed.repeated else {}
    return Response(placed.order, status_code=201, headers=headers)


@get("/v1/me/orders", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def my_orders(home: TheHome, caller: TheCaller, cursor: Cursor = None, limit: Limit = None) -> Page:
    """Own orders, the latest first, with every change of each."""
    size = size_of(limit)
    before = None if cursor is None else place_after(cursor, str, str)
    found = service.own_orders(home, _accounts(home, caller.subject), before, size + 1)
    last = found[size - 1] if len(found) > size else None
    return Page(found[:size], None if last is None else cursor_of(last["placed_at"], last["order"]))


@get("/v1/me/orders/{number:str}", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def my_order(home: TheHome, caller: TheCaller, request: AnyRequest, number: FromPath[str]) -> Response[Any]:
    """One order, with its code or the voucher to show."""
    row = service.own_order(home, _accounts(home, caller.subject), number)
    said = service.described_order(home, row, home.mall.events([row.id])[row.id])
    return private_json(request, {**said, **what_it_brings(home, row)})


@get("/v1/me/orders/{number:str}/qr", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def my_voucher(home: TheHome, caller: TheCaller, number: FromPath[str]) -> dict[str, str]:
    """The voucher of an order as text and as a QR code (SVG)."""
    return voucher_qr(home, service.own_order(home, _accounts(home, caller.subject), number))


@post("/v1/me/orders/{number:str}/cancel", opt=_OWN, sync_to_thread=True, status_code=200, tags=_TAGS)
def cancel(home: TheHome, now: Now, caller: TheCaller, number: FromPath[str]) -> dict[str, Any]:
    """Take an order back; its points come back at once."""
    accounts = _accounts(home, caller.subject)
    service.cancel(home, accounts, number, now=now)
    row = service.own_order(home, accounts, number)
    return service.described_order(home, row, home.mall.events([row.id])[row.id])


def _accounts(home: Home, account: str) -> list[UUID]:
    return own_accounts(home, UUID(account))


# -- the operator ---------------------------------------------------------------------------------------------


@get("/v1/operator/mall/offers", opt=_SEEING, sync_to_thread=True, tags=_OPERATING)
def all_offers(home: TheHome, now: Now, cursor: Cursor = None, limit: Limit = None) -> Page:
    """Every offer, also those to come and those that have ended, with how many are sold."""
    size = size_of(limit)
    return page_of(offers.listed_offers(home, text_after(cursor), size + 1, everything=True, now=now), size, "id")


@post("/v1/operator/mall/offers", opt=_OPERATOR, sync_to_thread=True, tags=_OPERATING)
def add_offer(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, data: JSONBody[Offer]
) -> Response[dict[str, Any]]:
    """Add an offer."""
    found = offers.add_offer(home, data, actor=actor_of(request, caller), now=now)
    return Response(found, status_code=201, headers={"etag": version_tag(found["version"])})


@put("/v1/operator/mall/offers/{name:str}", opt=_OPERATOR, sync_to_thread=True, tags=_OPERATING)
def change_offer(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, name: FromPath[str], data: JSONBody[Offer]
) -> Response[dict[str, Any]]:
    """Say all of an offer anew; orders keep what they were placed under. If-Match refuses to overwrite a change."""
    actor, seen = actor_of(request, caller), version_seen(request)
    found = offers.change_offer(home, name, data, version=seen, actor=actor, now=now)
    return Response(found, headers={"etag": version_tag(found["version"])})


@post("/v1/operator/mall/offers/{name:str}/end", opt=_OPERATOR, sync_to_thread=True, status_code=200, tags=_OPERATING)
def end_offer(home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, name: FromPath[str]) -> dict[str, Any]:
    """Sell no more of an offer."""
    return offers.end_offer(home, name, actor=actor_of(request, caller), now=now)


@post("/v1/operator/mall/offers/{name:str}/codes", opt=_OPERATOR, sync_to_thread=True, status_code=200, tags=_OPERATING)
def add_codes(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, name: FromPath[str], data: JSONBody[Codes]
) -> dict[str, str]:
    """Add codes to an offer's pool; they are sealed before they are kept."""
    said = offers.add_codes(home, name, data.codes, actor=actor_of(request, caller), now=now)
    return {key: str(count) for key, count in said.items()}


@post("/v1/operator/mall/pictures", opt=_OPERATOR, tags=_OPERATING)
async def add_picture(home: TheHome, request: AnyRequest) -> dict[str, Any]:
    """Keep a picture (PNG, JPEG or WebP, at most 1 MiB), sent as the body; its digest names it in an offer."""
    return await anyio.to_thread.run_sync(offers.add_picture, home, await request.body())


@post("/v1/operator/mall/payments", opt=_OPERATOR, sync_to_thread=True, status_code=200, tags=_OPERATING)
def confirm(home: TheHome, now: Now, caller: TheCaller, data: JSONBody[Payments]) -> dict[str, Any]:
    """Confirm money that came in, as a payment provider or a bank's file says; each is answered for itself."""
    payments = msgspec.to_builtins(data.payments)
    return service.pay(home, payments, by=f"{caller.role} {caller.subject}", now=now)


@post(
    "/v1/operator/mall/orders/{number:str}/refund", opt=_OPERATOR, sync_to_thread=True, status_code=200, tags=_OPERATING
)
def refund(home: TheHome, now: Now, caller: TheCaller, number: FromPath[str]) -> dict[str, Any]:
    """Cancel an order and give its points back; ``give_back_fen`` is the money that has to be given back elsewhere."""
    return service.refund(home, number, by=f"{caller.role} {caller.subject}", now=now)


handlers = [
    list_offers,
    see_offer,
    see_picture,
    order,
    my_orders,
    my_order,
    my_voucher,
    cancel,
    all_offers,
    add_offer,
    change_offer,
    end_offer,
    add_codes,
    add_picture,
    confirm,
    refund,
]
