"""Partners: registering, changing and suspending them (the operator), and what was said of each before."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, patch, post
from litestar.params import FromPath, JSONBody

from tanzhang.api.access import allow
from tanzhang.api.actors import actor_of, check_own
from tanzhang.api.conditional import version_seen, version_tag, versioned
from tanzhang.api.given import Now, TheCaller, TheHome
from tanzhang.api.paging import Cursor, Limit, Page, number_after, page_of, size_of, text_after
from tanzhang.core.access import Role
from tanzhang.service import partners as service

_OPERATOR = allow(Role.OPERATOR)
_TAGS = ["partners"]


class Limits(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """How much a partner may send; null for no limit, left out for what holds already."""

    requests_per_s: int | msgspec.UnsetType | None = msgspec.UNSET
    rows_per_s: int | msgspec.UnsetType | None = msgspec.UNSET
    rows_per_day: int | msgspec.UnsetType | None = msgspec.UNSET


class Contract(msgspec.Struct, forbid_unknown_fields=True, rename={"since": "from"}):
    """Facts of the contract; nothing is decided by them."""

    also_serves: (
        Annotated[
            list[Annotated[str, msgspec.Meta(max_length=200)]],
            msgspec.Meta(max_length=50, description="Other schemes the partner reports to.", examples=[["gd-pht"]]),
        ]
        | msgspec.UnsetType
    ) = msgspec.UNSET
    since: Annotated[str | msgspec.UnsetType | None, msgspec.Meta(examples=["2025-01-01"])] = msgspec.UNSET
    until: str | msgspec.UnsetType | None = msgspec.UNSET


Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class PartnerChange(msgspec.Struct, forbid_unknown_fields=True):
    """What is to be said anew of a partner; what is left out stays as it is."""

    name: Name | msgspec.UnsetType = msgspec.UNSET
    name_zh: Name | msgspec.UnsetType = msgspec.UNSET
    behaviours: Annotated[
        list[str] | msgspec.UnsetType | None,
        msgspec.Meta(description="What it may report; null for all of the programme's.", examples=[["travel.metro"]]),
    ] = msgspec.UNSET
    evidence: Annotated[
        str | msgspec.UnsetType | None,
        msgspec.Meta(description="Best class of evidence it may claim; null for any.", examples=["sensed"]),
    ] = msgspec.UNSET
    limits: Limits | msgspec.UnsetType = msgspec.UNSET
    signed: Annotated[bool | msgspec.UnsetType, msgspec.Meta(description="Each request needs a signature.")] = (
        msgspec.UNSET
    )
    certificate: Annotated[
        str | msgspec.UnsetType | None, msgspec.Meta(description="SHA-256 of the client certificate it connects with.")
    ] = msgspec.UNSET
    contract: Contract | msgspec.UnsetType = msgspec.UNSET


class NewPartner(PartnerChange, kw_only=True, forbid_unknown_fields=True):
    """A partner to be registered."""

    id: Annotated[str, msgspec.Meta(examples=["metro_co"])]
    name: Annotated[Name, msgspec.Meta(examples=["Metro Co"])]
    name_zh: Annotated[Name, msgspec.Meta(examples=["某某地铁"])]


class Reason(msgspec.Struct, forbid_unknown_fields=True):
    """Why a partner is suspended; it sees this."""

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=500, examples=["reports under investigation"])]


@post("/v1/partners", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS)
def add(
    home: TheHome, now: Now, caller: TheCaller, request: Request[Any, Any, Any], data: JSONBody[NewPartner]
) -> Response[Any]:
    """Register a partner. It may report within seconds, in every process."""
    found = service.add_partner(home, msgspec.to_builtins(data), actor=actor_of(request, caller), now=now)
    return Response(found, status_code=201, headers={"etag": version_tag(found["version"])})


@get("/v1/partners", opt=allow(Role.OPERATOR, Role.AUDITOR, Role.CITY), sync_to_thread=True, tags=_TAGS)
def list_(home: TheHome, cursor: Cursor = None, limit: Limit = None) -> Page:
    """Partners by id, those of the programme's own list (version 0) among them."""
    size = size_of(limit)
    return page_of(service.listed_partners(home, text_after(cursor), size + 1), size, "id")


@get(
    "/v1/partners/{partner:str}",
    opt=allow(Role.OPERATOR, Role.AUDITOR, Role.PARTNER, Role.ENTERPRISE),
    sync_to_thread=True,
    tags=_TAGS,
)
def show(
    home: TheHome, now: Now, caller: TheCaller, request: Request[Any, Any, Any], partner: FromPath[str]
) -> Response[dict[str, Any]]:
    """What holds of a partner, and how many rows it sent today; a partner sees itself."""
    check_own(caller, partner)
    found = service.described_partner(home, partner, now=now)
    return versioned(
        request, f"{found['version']}-{found['rows_today']}" if found["rows_today"] else found["version"], found
    )


@patch("/v1/partners/{partner:str}", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS)
def change(
    home: TheHome,
    now: Now,
    caller: TheCaller,
    request: Request[Any, Any, Any],
    partner: FromPath[str],
    data: JSONBody[PartnerChange],
) -> Response[Any]:
    """Say something of a partner anew. If-Match with the version that was read refuses to overwrite another change."""
    changes = msgspec.to_builtins(data)
    actor, seen = actor_of(request, caller), version_seen(request)
    found = service.change_partner(home, partner, changes, version=seen, actor=actor, now=now)
    return Response(found, headers={"etag": version_tag(found["version"])})


@post("/v1/partners/{partner:str}/suspend", opt=_OPERATOR, sync_to_thread=True, status_code=200, tags=_TAGS)
def suspend(
    home: TheHome,
    now: Now,
    caller: TheCaller,
    request: Request[Any, Any, Any],
    partner: FromPath[str],
    data: JSONBody[Reason],
) -> dict[str, Any]:
    """Let a partner report nothing more; its keys open nothing. What it reported stands."""
    actor, seen = actor_of(request, caller), version_seen(request)
    return service.suspend_partner(home, partner, data.reason, version=seen, actor=actor, now=now)


@post("/v1/partners/{partner:str}/resume", opt=_OPERATOR, sync_to_thread=True, status_code=200, tags=_TAGS)
def resume(
    home: TheHome, now: Now, caller: TheCaller, request: Request[Any, Any, Any], partner: FromPath[str]
) -> dict[str, Any]:
    """Let a suspended partner report again."""
    actor, seen = actor_of(request, caller), version_seen(request)
    return service.resume_partner(home, partner, version=seen, actor=actor, now=now)


@get("/v1/partners/{partner:str}/history", opt=allow(Role.OPERATOR, Role.AUDITOR), sync_to_thread=True, tags=_TAGS)
def history(home: TheHome, partner: FromPath[str], cursor: Cursor = None, limit: Limit = None) -> Page:
    """What was said of a partner, version by version, the latest first, with who said it and when."""
    size = size_of(limit)
    found = service.partner_history(home, partner, number_after(cursor), size + 1)
    return page_of(found, size, "version")


handlers = [add, list_, show, change, suspend, resume, history]
