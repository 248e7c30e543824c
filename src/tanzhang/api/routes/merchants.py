"""Merchants of the mall: vouchers that they take, goods that they send, and what they are owed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath, JSONBody, QueryParameter

from tanzhang.api.access import allow
from tanzhang.api.actors import partner_meant
from tanzhang.api.conditional import private_json
from tanzhang.api.given import Now, TheCaller, TheHome
from tanzhang.api.paging import Cursor, Limit, Page, page_of, size_of, text_after
from tanzhang.core.access import Caller, Role, Scope
from tanzhang.core.errors import refuse
from tanzhang.service import merchants as service
from tanzhang.service import vouchers
from tanzhang.service.mall import send
from tanzhang.service.staff import MERCHANT, OWNER
from tanzhang.stores.home import Home

_TILL = allow(Role.PARTNER, Role.ENTERPRISE, scope=Scope.MALL)
_REPORT = allow(Role.PARTNER, Role.ENTERPRISE, Role.OPERATOR, Role.AUDITOR, scope=Scope.MALL)
_TAGS = ["merchants"]
Of = Annotated[str | None, QueryParameter(name="partner", description="Whose; callers of a partner leave it out.")]


class Shown(msgspec.Struct, forbid_unknown_fields=True):
    """The text of a voucher, as it was scanned or typed."""

    voucher: Annotated[str, msgspec.Meta(max_length=100, examples=["0123-4567-89AB-CDEF-GHJK-58"])]


class Sent(msgspec.Struct, forbid_unknown_fields=True):
    """By what goods can be followed on their way."""

    tracking: Annotated[str, msgspec.Meta(min_length=1, max_length=200, examples=["SF1234567890"])]


@post("/v1/merchant/vouchers:check", opt=_TILL, sync_to_thread=True, status_code=200, tags=_TAGS)
def check(home: TheHome, now: Now, caller: TheCaller, data: JSONBody[Shown]) -> dict[str, Any]:
    """What a voucher is for, without taking it; refused as it would be when it is taken."""
    return vouchers.check_voucher(home, _till_of(home, caller), data.voucher, now=now)


@post("/v1/merchant/vouchers:redeem", opt=_TILL, sync_to_thread=True, status_code=200, tags=_TAGS)
def redeem(home: TheHome, now: Now, caller: TheCaller, data: JSONBody[Shown]) -> dict[str, Any]:
    """Take a voucher, once. One that was taken before is refused with the moment when it was."""
    merchant, by = _till_of(home, caller), f"{caller.role} {caller.subject}"
    return vouchers.redeem(home, merchant, data.voucher, by=by, now=now)


@get("/v1/merchant/orders", opt=_TILL, sync_to_thread=True, tags=_TAGS)
def to_send(home: TheHome, now: Now, caller: TheCaller, cursor: Cursor = None, limit: Limit = None) -> Page:
    """Orders of goods that have to be sent, with where they go; each person can see that it was read."""
    size, merchant = size_of(limit), _till_of(home, caller)
    after, who = text_after(cursor), f"{caller.partner} {caller.subject}"
    found = service.goods_to_send(home, merchant, after, size + 1, role=caller.role, who=who, now=now)
    return page_of(found, size, "order")


@post("/v1/merchant/orders/{number:str}/sent", opt=_TILL, sync_to_thread=True, status_code=200, tags=_TAGS)
def sent(home: TheHome, now: Now, caller: TheCaller, number: FromPath[str], data: JSONBody[Sent]) -> dict[str, str]:
    """Say that goods were sent; whoever ordered them sees by what they can be followed."""
    by = f"{caller.role} {caller.subject}"
    send(home, _till_of(home, caller), number, tracking=data.tracking, by=by, now=now)
    return {"order": number, "state": "redeemed"}


@get(
    "/v1/merchant/reports/{month:str}",
    opt={**_REPORT, "also_answers": ("text/csv",)},
    sync_to_thread=True,
    tags=_TAGS,
)
def report(
    home: TheHome,
    caller: TheCaller,
    request: Request[Any, Any, Any],
    month: FromPath[str],
    of: Of = None,
    form: Annotated[Literal["json", "csv"], QueryParameter(name="format")] = "json",
) -> Response[Any]:
    """The settlement report of a month (YYYY-MM): orders, delivered, refunded, points, and fen that are owed."""
    merchant = partner_meant(caller, of)
    if form == "csv":
        name = f'attachment; filename="settlement-{merchant}-{month}.csv"'
        data = service.settlement_csv(home, merchant, month)
        return Response(data, headers={"content-disposition": name, "content-type": "text/csv; charset=utf-8"})
    return private_json(request, service.settlement_report(home, merchant, month))


def _till_of(home: Home, caller: Caller) -> str:
    """The merchant whose till this is; ``not-allowed`` for staff of an enterprise who only read."""
    if caller.role is Role.ENTERPRISE:
        row = home.staff.row(caller.subject)
        if row is None or row.position not in (OWNER, MERCHANT):
            remedy = "ask an owner of your enterprise"
            raise refuse("not-allowed", "this is for owners and merchants", where="position", remedy=remedy)
    return str(caller.partner)


handlers = [check, redeem, to_send, sent, report]
