"""Schemes that grams go to and come from, and what whoever is signed in passes on and takes in."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post, put
from litestar.params import FromPath, JSONBody

from tanzhang.api.access import allow
from tanzhang.api.actors import actor_of
from tanzhang.api.given import Now, TheCaller, TheHome
from tanzhang.api.paging import Cursor, Limit, Page, number_after, page_of, size_of, text_after
from tanzhang.api.public import A_MOMENT, public_json, public_route
from tanzhang.core.access import Role
from tanzhang.service.donations import Amount
from tanzhang.service.market import pass_on as service

_OWN = allow(Role.PERSON)
_TAGS = ["passing on"]
AnyRequest = Request[Any, Any, Any]


class PassedOn(msgspec.Struct, forbid_unknown_fields=True):
    """What a person passes on. ``to`` is the account there, for a scheme with a log; the same ``reference`` is a retry.

    ``{"scheme": "shenzhen", "reference": "1", "grams_mg": "30000", "to": "00000000-0000-0000-0000-000000000001"}``
    """

    scheme: Annotated[str, msgspec.Meta(max_length=64, examples=["shenzhen"])]
    reference: Annotated[str, msgspec.Meta(min_length=1, max_length=100, examples=["2025-1"])]
    grams_mg: Amount
    to: UUID | None = None


class PassedFile(msgspec.Struct, forbid_unknown_fields=True):
    """A file of what was passed on to an account of one's own, as text."""

    file: Annotated[str, msgspec.Meta(min_length=1, max_length=service.MOST_BYTES, examples=["c2sp.org/tlog-proof@v1"])]


class ShownScheme(service.SchemeSaid, frozen=True, forbid_unknown_fields=False, kw_only=True):
    """A scheme, and what went to it and came from it in all, as texts of whole numbers."""

    id: str
    version: int
    passed_mg: str
    received_mg: str


class SealedSums(msgspec.Struct):
    """What went to a scheme and came from it by an entry of the log; ``root`` is over the rows since the one before."""

    entry: int
    rows: str
    root: str
    passed_mg: str
    received_mg: str


class SchemePage(ShownScheme, frozen=True, forbid_unknown_fields=False, kw_only=True):
    """A scheme and the last entries of this home's log that commit to its sums, the latest first."""

    own_log: str
    sealed: list[SealedSums]


class SchemeList(msgspec.Struct):
    """A page of schemes, by id."""

    items: list[ShownScheme]
    next: str | None


class KnownPassing(msgspec.Struct):
    """What went out or came in, without whose it was; ``log`` is that of the other side."""

    id: str
    way: str
    scheme: str
    log: str | None
    grams_mg: str
    made_at: str


class LookedUp(msgspec.Struct):
    """What this home knows of an id."""

    id: str
    items: list[KnownPassing]


@get("/v1/schemes", **public_route(_TAGS, SchemeList, "Schemes."))
def schemes(home: TheHome, request: AnyRequest, cursor: Cursor = None, limit: Limit = None) -> Response[bytes]:
    """Every scheme that grams can or could go to or come from, and how many did."""
    size = size_of(limit)
    page = page_of(service.schemes(home, text_after(cursor), size + 1), size, "id")
    return public_json(request, page, keep=A_MOMENT)


@get("/v1/schemes/{scheme:str}", **public_route(_TAGS, SchemePage, "The scheme."))
def scheme(home: TheHome, request: AnyRequest, scheme: FromPath[str]) -> Response[bytes]:
    """A scheme: what went to it and came from it, and the entries of the log by which anybody checks that."""
    return public_json(request, service.scheme_page(home, scheme), keep=A_MOMENT)


@put("/v1/schemes/{scheme:str}", opt=allow(Role.OPERATOR), sync_to_thread=True, tags=_TAGS)
def say_scheme(
    home: TheHome,
    now: Now,
    caller: TheCaller,
    request: AnyRequest,
    scheme: FromPath[str],
    data: JSONBody[service.SchemeSaid],
) -> dict[str, Any]:
    """Say a scheme as a whole, a new one or anew; what went and came stands."""
    return service.put_scheme(home, scheme, data, actor=actor_of(request, caller), now=now)


@get("/v1/passings/{passing:str}", **public_route(_TAGS, LookedUp, "What is known of it."))
def look_up(home: TheHome, request: AnyRequest, passing: FromPath[str]) -> Response[bytes]:
    """Whether what a file shows was passed on here, or taken in here; whose it was nobody is told."""
    return public_json(request, service.looked_up(home, passing), keep=A_MOMENT)


@post("/v1/me/passings", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def pass_on(home: TheHome, now: Now, caller: TheCaller, data: JSONBody[PassedOn]) -> dict[str, Any]:
    """Pass grams on to another scheme, for good."""
    account, grams_mg = UUID(caller.subject), int(data.grams_mg)
    return service.pass_on(home, account, data.scheme, data.reference, grams_mg=grams_mg, to=data.to, now=now)


@get("/v1/me/passings", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def passings(home: TheHome, caller: TheCaller, cursor: Cursor = None, limit: Limit = None) -> Page:
    """What one passed on and took in, the latest first."""
    size = size_of(limit)
    return page_of(service.passings(home, UUID(caller.subject), number_after(cursor), size + 1), size, "number")


@get("/v1/me/passings/{passing:str}/file", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def passed_file(home: TheHome, caller: TheCaller, passing: FromPath[str]) -> Response[bytes]:
    """The file by which the other scheme takes it in, and nobody else: it names that one and the account there."""
    data = service.passed_file(home, UUID(caller.subject), passing)
    headers = {
        "content-disposition": 'attachment; filename="passing.tlog-proof"',
        "cache-control": "private, no-store",
        "content-type": "text/plain; charset=utf-8",
    }
    return Response(data, headers=headers)


@post("/v1/me/passings/received", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def take_in(home: TheHome, now: Now, caller: TheCaller, data: JSONBody[PassedFile]) -> dict[str, Any]:
    """Take in what another scheme passed on to one's account here; the same file again has the same answer."""
    return service.take_in(home, UUID(caller.subject), data.file.encode(), now=now)


handlers = [schemes, scheme, say_scheme, look_up, pass_on, passings, passed_file, take_in]
