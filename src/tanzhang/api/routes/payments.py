"""Money for the market: statements of the bank, payments and what is done about odd ones, returns, pledges."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath, JSONBody, QueryParameter

from tanzhang.api.access import allow
from tanzhang.api.actors import actor_of, check_own_party, own_party
from tanzhang.api.given import Now, TheCaller, TheHome
from tanzhang.api.paging import Cursor, Limit, Page, number_after, number_named, page_of, size_of
from tanzhang.api.routes.deals import Note
from tanzhang.core.access import Role
from tanzhang.service.donations import Amount
from tanzhang.service.market import payments as service
from tanzhang.service.market import pledges, returns
from tanzhang.service.market.parties import BankAccount, Reference
from tanzhang.stores.bank_statements import Line

_OPERATOR = allow(Role.OPERATOR)
_AUDITED = allow(Role.OPERATOR, Role.AUDITOR)
_TAGS = ["market"]
AnyRequest = Request[Any, Any, Any]
Entry = Annotated[str, msgspec.Meta(pattern="^[0-9A-Za-z][0-9A-Za-z._-]{0,63}$", examples=["20260718-0001"])]
Number = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
State = Annotated[
    Literal["unclear", "waiting", "surplus", "settled"] | None,
    QueryParameter(name="state", description="Only those in this state."),
]


class File(msgspec.Struct, forbid_unknown_fields=True):
    """A file of the bank; ``content`` is base64."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200, examples=["2026-07-18.csv"])]
    content: Annotated[bytes, msgspec.Meta(max_length=32 << 20)]


class Confirmed(msgspec.Struct, forbid_unknown_fields=True):
    """Money that the operator saw at the bank, under the bank's own number of it."""

    deal: Number
    entry: Entry
    booked_on: date
    amount_fen: Annotated[str, msgspec.Meta(pattern="^[1-9][0-9]{0,14}$", examples=["90000000"])]


class Use(msgspec.Struct, forbid_unknown_fields=True):
    """For which deal money is used, and why."""

    deal: Number
    note: Note


class Return(msgspec.Struct, forbid_unknown_fields=True):
    """Why money goes back; ``payee`` is where to if the statement did not say where it came from."""

    note: Note
    payee: BankAccount | None = None


class Payout(msgspec.Struct, forbid_unknown_fields=True):
    """How much of its proceeds a seller is paid."""

    amount_fen: Amount
    reference: Reference


@post("/v1/market/statements", opt=_OPERATOR, sync_to_thread=True, status_code=200, tags=_TAGS)
def take_statement(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, data: JSONBody[File]
) -> dict[str, Any]:
    """Take in what a bank's statement says came in; read again it adds nothing."""
    actor = actor_of(request, caller)
    return service.take_statement(home, "bank_statement", data.content, data.name, actor=actor, now=now)


@post("/v1/market/payments", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS)
def confirm(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, data: JSONBody[Confirmed]
) -> dict[str, Any]:
    """Confirm by hand that money came in for a deal."""
    line = Line(data.entry, data.booked_on, int(data.amount_fen), "", "", "", "#")
    return service.confirm(home, data.deal, line, actor=actor_of(request, caller), now=now)


@get("/v1/market/payments", opt=_AUDITED, sync_to_thread=True, tags=_TAGS)
def payments(home: TheHome, in_state: State = None, cursor: Cursor = None, limit: Limit = None) -> Page:
    """Payments, the latest first, with who paid; those to look at are ``unclear`` or a ``surplus``."""
    size = size_of(limit)
    return page_of(service.listed(home, number_after(cursor), size + 1, in_state), size, "number")


@post("/v1/market/payments/{entry:str}/use", opt=_OPERATOR, sync_to_thread=True, status_code=200, tags=_TAGS)
def use(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, entry: FromPath[str], data: JSONBody[Use]
) -> dict[str, Any]:
    """Use money that is unclear or a surplus for a deal that waits."""
    return service.use_payment(home, entry, data.deal, data.note, actor=actor_of(request, caller), now=now)


@post("/v1/market/payments/{entry:str}/return", opt=_OPERATOR, sync_to_thread=True, status_code=200, tags=_TAGS)
def send_back(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, entry: FromPath[str], data: JSONBody[Return]
) -> dict[str, Any]:
    """Send money back that is unclear or a surplus."""
    return returns.send_back(home, entry, data.note, payee=data.payee, actor=actor_of(request, caller), now=now)


@post("/v1/market/parties/{party:str}/payouts", opt=allow(Role.OPERATOR, Role.BUYER), sync_to_thread=True, tags=_TAGS)
def pay_out(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, party: FromPath[str], data: JSONBody[Payout]
) -> dict[str, Any]:
    """Have a seller's proceeds paid to the account that it named."""
    check_own_party(caller, party)
    amount, actor = int(data.amount_fen), actor_of(request, caller)
    return returns.pay_out(home, party, amount, data.reference, actor=actor, now=now)


@get("/v1/market/returns", opt=_AUDITED, sync_to_thread=True, tags=_TAGS)
def list_returns(home: TheHome) -> dict[str, Any]:
    """Money on its way back, and the files for the bank."""
    return {"returns": returns.listed(home), "files": returns.files(home)}


@post("/v1/market/returns/files", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS)
def new_file(home: TheHome, now: Now, caller: TheCaller, request: AnyRequest) -> dict[str, Any]:
    """Put what is to go back into a new file for the bank."""
    return returns.new_file(home, actor=actor_of(request, caller), now=now)


@get(
    "/v1/market/returns/files/{name:str}",
    opt={**_OPERATOR, "also_answers": ("text/csv",)},
    sync_to_thread=True,
    tags=_TAGS,
)
def file_data(home: TheHome, name: FromPath[str]) -> Response[bytes]:
    """A file for the bank, as often as it is needed; it names accounts."""
    headers = {"content-type": "text/csv; charset=utf-8", "cache-control": "private, no-store"}
    return Response(returns.file_data(home, name), headers={**headers, "content-disposition": "attachment"})


@post("/v1/market/returns/answers", opt=_OPERATOR, sync_to_thread=True, status_code=200, tags=_TAGS)
def answers(home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, data: JSONBody[File]) -> dict[str, Any]:
    """Take over what the bank says became of it: all of it, or nothing if any of it is wrong."""
    return returns.take_answers(home, data.content, data.name, actor=actor_of(request, caller), now=now)


@post("/v1/market/pledges", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS)
def pledge(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, data: JSONBody[pledges.PledgeSaid]
) -> dict[str, Any]:
    """Enter what a sponsor adds to sales."""
    return pledges.pledge(home, data, actor=actor_of(request, caller), now=now)


@get("/v1/market/pledges", opt=allow(Role.OPERATOR, Role.AUDITOR, Role.BUYER), sync_to_thread=True, tags=_TAGS)
def list_pledges(home: TheHome, caller: TheCaller, cursor: Cursor = None, limit: Limit = None) -> Page:
    """Pledges, the latest first; a party sees its own."""
    size, sponsor = size_of(limit), own_party(caller)
    return page_of(pledges.listed(home, number_after(cursor), size + 1, sponsor), size, "number")


@post("/v1/market/pledges/{number:str}/end", opt=_OPERATOR, sync_to_thread=True, status_code=200, tags=_TAGS)
def end_pledge(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, number: FromPath[str]
) -> dict[str, Any]:
    """Let a pledge add to nothing any more."""
    return pledges.end_pledge(home, number_named(number, "pledge"), actor=actor_of(request, caller), now=now)


handlers = [
    take_statement,
    confirm,
    payments,
    use,
    send_back,
    pay_out,
    list_returns,
    new_file,
    file_data,
    answers,
    pledge,
    list_pledges,
    end_pledge,
]
