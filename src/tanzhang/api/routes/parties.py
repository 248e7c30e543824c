"""Parties of the market: applying, documents, approving; a buyer's staff sees and adds to its own."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get, post, put
from litestar.params import FromPath, JSONBody

from tanzhang.api.access import allow
from tanzhang.api.actors import actor_of, check_own_party
from tanzhang.api.conditional import check_if_match, private_json
from tanzhang.api.given import Now, TheCaller, TheHome
from tanzhang.api.paging import Cursor, Limit, Page, page_of, size_of, text_after
from tanzhang.core.access import Role
from tanzhang.service.market import parties as service

_OPERATOR = allow(Role.OPERATOR)
_OWN = allow(Role.OPERATOR, Role.BUYER)
_TAGS = ["market"]
AnyRequest = Request[Any, Any, Any]
Note = Annotated[str, msgspec.Meta(max_length=1_000)] | None


class Application(service.PartySaid, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A party that applies, and the id it is to have."""

    id: service.Id


class Document(msgspec.Struct, forbid_unknown_fields=True):
    """A document; ``content`` is base64, of at most 2 MiB before it."""

    kind: service.DocumentKind
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200, examples=["licence.pdf"])]
    content: Annotated[bytes, msgspec.Meta(min_length=1, max_length=service.MOST_BYTES)]


class Judgement(msgspec.Struct, forbid_unknown_fields=True):
    """What is thought of a document."""

    accepted: bool
    note: Note = None


class StateSaid(msgspec.Struct, forbid_unknown_fields=True):
    """The state a party comes to, and why."""

    state: Literal["approved", "refused", "suspended", "closed"]
    note: Note = None


@post("/v1/market/parties", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS)
def apply(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, data: JSONBody[Application]
) -> dict[str, Any]:
    """Take an application; the same again gets the same answer."""
    return service.apply(home, data.id, data, actor=actor_of(request, caller), now=now)


@get("/v1/market/parties", opt=allow(Role.OPERATOR, Role.AUDITOR), sync_to_thread=True, tags=_TAGS)
def list_(home: TheHome, cursor: Cursor = None, limit: Limit = None) -> Page:
    """Parties by id, without whom to ask there and where its money is."""
    size = size_of(limit)
    return page_of(service.listed(home, text_after(cursor), size + 1), size, "id")


@get("/v1/market/parties/{party:str}", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def show(home: TheHome, caller: TheCaller, request: AnyRequest, party: FromPath[str]) -> Response[Any]:
    """A party with its documents, as the operator and its own staff see it."""
    check_own_party(caller, party)
    return private_json(request, service.described(home, service.party_named(home, party)))


@put("/v1/market/parties/{party:str}/state", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS)
def set_state(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, party: FromPath[str], data: JSONBody[StateSaid]
) -> dict[str, Any]:
    """Approve, refuse, suspend or close a party."""
    check_if_match(request, lambda: service.described(home, service.party_named(home, party)))
    return service.set_state(home, party, data.state, note=data.note, actor=actor_of(request, caller), now=now)


@post("/v1/market/parties/{party:str}/documents", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def add_document(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, party: FromPath[str], data: JSONBody[Document]
) -> dict[str, Any]:
    """Hand in a document; it is sealed at rest."""
    check_own_party(caller, party)
    actor = actor_of(request, caller)
    return service.add_document(home, party, data.kind, data.name, data.content, actor=actor, now=now)


@get(
    "/v1/market/parties/{party:str}/documents/{digest:str}",
    opt={**_OWN, "also_answers": ("application/octet-stream",)},
    sync_to_thread=True,
    tags=_TAGS,
)
def read_document(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, party: FromPath[str], digest: FromPath[str]
) -> Response[bytes]:
    """What a document says, as it was handed in; that it was read is in the audit trail."""
    check_own_party(caller, party)
    data = service.document_data(home, party, digest, actor=actor_of(request, caller), now=now)
    headers = {"content-type": "application/octet-stream", "content-disposition": "attachment"}
    return Response(
        data, headers={**headers, "cache-control": "private, no-store", "x-content-type-options": "nosniff"}
    )


@put("/v1/market/parties/{party:str}/documents/{digest:str}", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS)
def judge_document(
    home: TheHome,
    now: Now,
    caller: TheCaller,
    request: AnyRequest,
    party: FromPath[str],
    digest: FromPath[str],
    data: JSONBody[Judgement],
) -> dict[str, Any]:
    """Say what is thought of a document."""
    actor = actor_of(request, caller)
    return service.judge_document(home, party, digest, accepted=data.accepted, note=data.note, actor=actor, now=now)


@post("/v1/market/parties/{party:str}/forget", opt=_OPERATOR, sync_to_thread=True, status_code=200, tags=_TAGS)
def forget(home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, party: FromPath[str]) -> dict[str, Any]:
    """Let go whom to ask at a party that is over, its bank account and what its documents say, for good."""
    return service.forget(home, party, actor=actor_of(request, caller), now=now)


handlers = [apply, list_, show, set_state, add_document, read_document, judge_document, forget]
