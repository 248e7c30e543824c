"""What sales brought: to everybody what was divided, to a person what theirs is, to the operator runs and pay-outs."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody

from tanzhang.api.access import EVERYBODY, allow
from tanzhang.api.actors import actor_of
from tanzhang.api.conditional import private_json
from tanzhang.api.given import Now, TheCaller, TheHome, TheReader
from tanzhang.api.paging import Cursor, Limit, Page, number_after, page_of, size_of
from tanzhang.api.public import A_MOMENT, on_public_refusal, public_json
from tanzhang.core.access import Role
from tanzhang.core.errors import TanzhangError
from tanzhang.service import payouts as files
from tanzhang.service.benefits import PAYEE
from tanzhang.service.market import payback as service
from tanzhang.service.market import payback_payouts, payback_statement
from tanzhang.service.market.payback_payouts import PAYBACKS

_OWN, _OPERATOR = allow(Role.PERSON), allow(Role.OPERATOR)
_TAGS = ["payback"]
AnyRequest = Request[Any, Any, Any]


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """A person asks for all that is owed. The same ``reference`` again is the same pay-out.

    ``payee`` is what a bank or a wallet knows the person by.
    """

    payee: Annotated[str, msgspec.Meta(pattern=PAYEE, examples=["6222-0000-0001"])]
    reference: Annotated[str, msgspec.Meta(min_length=1, max_length=100, examples=["payout-1"])]


class NewFile(msgspec.Struct, forbid_unknown_fields=True):
    """All pay-outs that are in no file yet go into a new one of an adapter."""

    adapter: Annotated[str, msgspec.Meta(max_length=64, examples=["bank_file"])] = "bank_file"


class Answers(msgspec.Struct, forbid_unknown_fields=True):
    """What became of pay-outs: the text of a file of whoever paid."""

    data: Annotated[str, msgspec.Meta(max_length=4_000_000, examples=["reference,status,reason\n"])]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200, examples=["paid.csv"])] = "answers"
    adapter: Annotated[str, msgspec.Meta(max_length=64, examples=["bank_file"])] = "bank_file"


@get(
    "/v1/payback",
    opt=EVERYBODY,
    sync_to_thread=True,
    tags=_TAGS,
    exception_handlers={TanzhangError: on_public_refusal},
    responses={200: ResponseSpec(Page, description="Sales that were divided.", generate_examples=False)},
)
def divided(home: TheHome, request: AnyRequest, cursor: Cursor = None, limit: Limit = None) -> Response[bytes]:
    """Every sale that was divided, the latest first: what it brought, fees, what was shared, ``entry`` of the log."""
    size = size_of(limit)
    page = page_of(service.runs(home, number_after(cursor), size + 1), size, "number")
    return public_json(request, page, keep=A_MOMENT)


@get("/v1/me/payback", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def mine(home: TheHome, now: Now, request: AnyRequest, caller: TheCaller) -> Response[bytes]:
    """What one is owed, from how much on it can be asked for, and how whole fen come of shares."""
    return private_json(request, payback_statement.overview(home, UUID(caller.subject), now=now))


@get("/v1/me/payback/sales", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def my_sales(home: TheHome, caller: TheCaller, cursor: Cursor = None, limit: Limit = None) -> Page:
    """What each sale brought: one's milligrams in the lot, the exact share, the fen that one got of it."""
    size = size_of(limit)
    found = payback_statement.sales(home, UUID(caller.subject), number_after(cursor), size + 1)
    return page_of(found, size, "number")


@get("/v1/me/payback/sales/{deal:int}/records/{action:uuid}", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def my_payment(
    reader: TheReader, caller: TheCaller, deal: FromPath[int], action: FromPath[UUID]
) -> Response[dict[str, Any]]:
    """What a record of one's own got of a sale, and the steps of the computation."""
    said = payback_statement.payment(reader, UUID(caller.subject), action, deal)
    return Response(said, headers={"cache-control": "private, no-store"})


@get("/v1/me/payback/sales/{deal:int}/records/{action:uuid}/proof", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def my_proof(reader: TheReader, caller: TheCaller, deal: FromPath[int], action: FromPath[UUID]) -> Response[bytes]:
    """The proof of what a record had to get: a file that holds offline and names nobody."""
    headers = {
        "content-disposition": 'attachment; filename="payment.tlog-proof"',
        "cache-control": "private, no-store",
        "content-type": "text/plain; charset=utf-8",
    }
    return Response(payback_statement.payment_proof(reader, UUID(caller.subject), action, deal), headers=headers)


@get("/v1/me/payback/payouts", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def my_payouts(home: TheHome, caller: TheCaller, cursor: Cursor = None, limit: Limit = None) -> Page:
    """Own pay-outs, the latest first, each with its state."""
    size = size_of(limit)
    found = payback_payouts.payouts(home, UUID(caller.subject), number_after(cursor), size + 1)
    return page_of(found, size, "number")


@post("/v1/me/payback/payouts", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def ask(home: TheHome, now: Now, caller: TheCaller, data: JSONBody[Wanted]) -> dict[str, Any]:
    """Ask for all that is owed: ``{"payee": "6222-0000-0001", "reference": "payout-1"}``."""
    row = payback_payouts.ask(home, UUID(caller.subject), data.payee, data.reference, now=now)
    return payback_payouts.described(row)


# -- the operator ---------------------------------------------------------------------------------------------


@post("/v1/payback/runs", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS, status_code=200)
def run(home: TheHome, now: Now) -> dict[str, Any]:
    """Divide every sale that was delivered and is not divided; a worker does that by itself."""
    return service.run_due(home, now=now)


@get("/v1/payback/sums", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS)
def sums(home: TheHome) -> dict[str, Any]:
    """What is owed to all persons, on its way, paid, in escrow."""
    return service.sums(home)


@post("/v1/payback/files", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS)
def new_file(
    home: TheHome, now: Now, request: AnyRequest, caller: TheCaller, data: JSONBody[NewFile]
) -> dict[str, Any]:
    """Put what is asked for into a new file for whoever pays."""
    return files.new_file(home, data.adapter, actor=actor_of(request, caller), now=now, of=PAYBACKS)


@get("/v1/payback/files", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS)
def all_files(home: TheHome) -> dict[str, Any]:
    """Every file, the latest first, and how many of its pay-outs have not ended."""
    return {"items": files.files(home, of=PAYBACKS), "next": None}


@get("/v1/payback/files/{file:str}", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS)
def one_file(home: TheHome, file: FromPath[str]) -> Response[bytes]:
    """The file itself, as often as it is needed; it names people."""
    headers = {
        "content-disposition": 'attachment; filename="payouts.csv"',
        "cache-control": "private, no-store",
        "content-type": "text/csv; charset=utf-8",
    }
    return Response(files.file_data(home, file, of=PAYBACKS), headers=headers)


@post("/v1/payback/answers", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS, status_code=200)
def answers(home: TheHome, now: Now, request: AnyRequest, caller: TheCaller, data: JSONBody[Answers]) -> dict[str, Any]:
    """Take over what became of pay-outs: all of it, or nothing if any of it is wrong."""
    actor, text = actor_of(request, caller), data.data.encode()
    return files.take_answers(home, data.adapter, text, data.name, actor=actor, now=now, of=PAYBACKS)


@post("/v1/payback/escrow", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS, status_code=200)
def escrow(home: TheHome, now: Now, request: AnyRequest, caller: TheCaller) -> dict[str, Any]:
    """Give what was long enough in escrow to the purpose that today's rules declare."""
    return service.end_escrow(home, actor=actor_of(request, caller), now=now)


handlers = [
    divided,
    mine,
    my_sales,
    my_payment,
    my_proof,
    my_payouts,
    ask,
    run,
    sums,
    new_file,
    all_files,
    one_file,
    answers,
    escrow,
]
