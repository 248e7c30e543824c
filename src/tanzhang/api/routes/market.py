"""The terms of the market, for everybody; the operator publishes them."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.openapi.datastructures import ResponseSpec

from tanzhang.api.access import EVERYBODY, allow
from tanzhang.api.actors import actor_of
from tanzhang.api.given import Now, TheCaller, TheHome
from tanzhang.api.public import A_MOMENT, on_public_refusal, public_json
from tanzhang.core.access import Role
from tanzhang.core.errors import TanzhangError
from tanzhang.service.market.terms import publish_terms, terms_shown

_TAGS = ["market"]
AnyRequest = Request[Any, Any, Any]


class Publication(msgspec.Struct):
    """Terms in the log. ``version`` and ``lots_may_freeze_from`` are null where the catalogue has them no more."""

    terms_digest: str
    entry: int
    version: int | None
    public_since: str
    lots_may_freeze_from: str | None


class Terms(msgspec.Struct):
    """Market rules in force today (``terms``, as in the catalogue), the SHA-256 that names them, and what is public."""

    programme: str
    market: str
    terms_digest: str
    terms: dict[str, Any]
    log: str
    published: list[Publication]


class Published(Publication, kw_only=True):
    """What was published, now or before."""

    status: str
    market: str


@get(
    "/v1/market/terms",
    opt=EVERYBODY,
    sync_to_thread=True,
    tags=_TAGS,
    exception_handlers={TanzhangError: on_public_refusal},
    responses={200: ResponseSpec(Terms, description="Terms.", generate_examples=False)},
)
def terms(home: TheHome, now: Now, request: AnyRequest) -> Response[bytes]:
    """Today's market rules, and every publication of them with the day from which lots may freeze."""
    return public_json(request, terms_shown(home, now), keep=A_MOMENT)


@post(
    "/v1/market/terms",
    opt=allow(Role.OPERATOR),
    sync_to_thread=True,
    tags=_TAGS,
    responses={201: ResponseSpec(Published, description="Published.", generate_examples=False)},
)
def publish(home: TheHome, now: Now, caller: TheCaller, request: AnyRequest) -> dict[str, Any]:
    """Publish today's terms in the log; a repeat changes nothing and gives the first answer."""
    return publish_terms(home, actor=actor_of(request, caller), now=now)


handlers = [terms, publish]
