"""Benefits that are not goods: what there is, what a person gets for points, tokens that a partner's system takes."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath, JSONBody

from tanzhang.api.access import allow
from tanzhang.api.given import Now, TheCaller, TheHome
from tanzhang.api.paging import Cursor, Limit, Page, number_after, page_of, size_of, text_after
from tanzhang.api.public import A_MOMENT, AN_HOUR, public_json, public_route
from tanzhang.core.access import Role, Scope
from tanzhang.service import benefits as service
from tanzhang.service.benefit_tokens import own_token, public_keys, use_token
from tanzhang.service.donations import Amount

_OWN = allow(Role.PERSON)
_TAGS = ["benefits"]
AnyRequest = Request[Any, Any, Any]


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    """What a person gets for points. The same ``reference`` again is the same use.

    ``points`` and ``payee`` are for what is turned by a rate: how many points, and whom the bank or the wallet knows.
    """

    benefit: Annotated[str, msgspec.Meta(max_length=64, examples=["called_earlier"])]
    reference: Annotated[str, msgspec.Meta(min_length=1, max_length=100, examples=["use-1"])]
    points: Amount | None = None
    payee: Annotated[str, msgspec.Meta(pattern=service.PAYEE, examples=["6222-0000-0001"])] | None = None


class TokenShown(msgspec.Struct, forbid_unknown_fields=True):
    """A token as a person showed it; ``reference`` is the partner's own name of what it was used for."""

    token: Annotated[str, msgspec.Meta(min_length=1, max_length=4_000, examples=["eyJ..."])]
    reference: Annotated[str, msgspec.Meta(min_length=1, max_length=100, examples=["table-7"])] | None = None


class Keys(msgspec.Struct):
    """A JWK set (RFC 7517); ``aud`` of a key is the partner whose tokens it signs."""

    keys: list[dict[str, str]]


@get("/v1/benefits", **public_route(_TAGS, Page, "Benefits."))
def benefits(home: TheHome, request: AnyRequest, cursor: Cursor = None, limit: Limit = None) -> Response[bytes]:
    """Every benefit that there is or was: what it costs, for whom, how often, until when."""
    size = size_of(limit)
    page = page_of(service.offers(home, text_after(cursor), size + 1), size, "id")
    return public_json(request, page, keep=A_MOMENT)


@get("/v1/benefit-keys", **public_route(_TAGS, Keys, "Public keys."))
def keys(home: TheHome, request: AnyRequest) -> Response[bytes]:
    """The public keys by which partners verify tokens offline."""
    return public_json(request, public_keys(home), keep=AN_HOUR)


@post("/v1/me/benefits", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def get_one(home: TheHome, now: Now, caller: TheCaller, data: JSONBody[Asked]) -> dict[str, Any]:
    """Get a benefit for points: ``{"benefit": "called_earlier", "reference": "use-1"}``."""
    points = None if data.points is None else int(data.points)
    person = UUID(caller.subject)
    row = service.buy(home, person, data.benefit, data.reference, points=points, payee=data.payee, now=now)
    return service.described(row)


@get("/v1/me/benefits", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def mine(home: TheHome, caller: TheCaller, cursor: Cursor = None, limit: Limit = None) -> Page:
    """Own uses, the latest first, each with its state."""
    size = size_of(limit)
    return page_of(service.uses(home, UUID(caller.subject), number_after(cursor), size + 1), size, "number")


@get("/v1/me/benefits/{use:str}/token", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def my_token(home: TheHome, caller: TheCaller, use: FromPath[str]) -> Response[dict[str, Any]]:
    """The token of a use that is not over, as text and as a QR code, to be shown to the partner."""
    return Response(own_token(home, UUID(caller.subject), use), headers={"cache-control": "no-store"})


@post("/v1/benefit-tokens/use", opt=allow(Role.PARTNER, scope=Scope.BENEFITS), sync_to_thread=True, tags=_TAGS)
def use(home: TheHome, now: Now, caller: TheCaller, data: JSONBody[TokenShown]) -> Response[dict[str, Any]]:
    """Take a token, once: what it is worth. The same token with the same ``reference`` gets the same answer again."""
    said = use_token(home, str(caller.partner), data.token, data.reference, now=now)
    return Response(said, status_code=200, headers={"cache-control": "no-store"})


handlers = [benefits, keys, get_one, mine, my_token, use]
