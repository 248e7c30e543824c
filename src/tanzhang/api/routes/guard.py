"""Acts that the guard holds: the operator's queue and decisions, and what a person sees of and says to their own."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery, JSONBody

from tanzhang.api.access import allow
from tanzhang.api.actors import actor_of
from tanzhang.api.conditional import private_json
from tanzhang.api.given import Now, TheCaller, TheHome
from tanzhang.api.paging import Cursor, Limit, Page, number_named, size_of
from tanzhang.core.access import Role
from tanzhang.service import guard as service
from tanzhang.service.accounts import action_named
from tanzhang.service.held import LONGEST_APPEAL, appeal, own_held, queue

_OPERATOR, _READERS, _OWN = allow(Role.OPERATOR), allow(Role.OPERATOR, Role.AUDITOR), allow(Role.PERSON)
_TAGS = ["guard"]
AnyRequest = Request[Any, Any, Any]


class Decision(msgspec.Struct, forbid_unknown_fields=True):
    """Why a case is decided so. The person and the partner read it, so it names nobody."""

    reason: Annotated[
        str, msgspec.Meta(min_length=1, max_length=500, examples=["the partner confirmed the trip by its gate"])
    ]


class Words(msgspec.Struct, forbid_unknown_fields=True):
    """What a person says to an act of theirs that is held."""

    text: Annotated[
        str, msgspec.Meta(min_length=1, max_length=LONGEST_APPEAL, examples=["I took the airport express, it is fast"])
    ]


@get("/v1/guard", opt=_READERS, sync_to_thread=True, tags=_TAGS)
def guard_overview(home: TheHome) -> dict[str, Any]:
    """The programme's guard, how many cases there are by state, and partners whose means moved."""
    return service.overview(home)


@get("/v1/guard/cases", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS)
def cases(
    home: TheHome,
    status: FromQuery[Literal["noted", "held", "released", "refused"] | None] = "held",
    partner: FromQuery[str | None] = None,
    appealed: FromQuery[bool] = False,
    cursor: Cursor = None,
    limit: Limit = None,
) -> Page:
    """Cases, the latest first; by default those that wait for a decision. ``appealed``: those a person spoke to."""
    return Page(**queue(home, state=status, partner=partner, appealed=appealed, cursor=cursor, limit=size_of(limit)))


@get("/v1/guard/cases/{case:str}", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS)
def one_case(home: TheHome, case: FromPath[str]) -> dict[str, Any]:
    """A case with all its reasons and what the person said."""
    return service.shown_with_appeal(home, service.case_of(home, number_named(case, "case")))


@post("/v1/guard/cases/{case:str}/release", opt=_OPERATOR, sync_to_thread=True, status_code=200, tags=_TAGS)
def release(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, case: FromPath[str], data: JSONBody[Decision]
) -> dict[str, Any]:
    """Let the act be settled by the next settlement, as any act."""
    numbers = [number_named(case, "case")]
    return service.release(home, numbers, data.reason, actor=actor_of(request, caller), now=now)


@post("/v1/guard/cases/{case:str}/refuse", opt=_OPERATOR, sync_to_thread=True, status_code=200, tags=_TAGS)
def refuse(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, case: FromPath[str], data: JSONBody[Decision]
) -> dict[str, Any]:
    """Keep the act from ever being settled; it stays visible with the reason."""
    numbers = [number_named(case, "case")]
    return service.refuse(home, numbers, data.reason, actor=actor_of(request, caller), now=now)


@get("/v1/me/held", opt=_OWN, sync_to_thread=True, tags=["own data"])
def my_held(home: TheHome, caller: TheCaller, request: AnyRequest) -> Response[Any]:
    """Own acts that were held, with every reason, the operator's decision and one's own words."""
    return private_json(request, {"items": own_held(home, UUID(caller.subject))})


@post("/v1/me/records/{action:str}/appeal", opt=_OWN, sync_to_thread=True, status_code=200, tags=["own data"])
def my_appeal(
    home: TheHome, now: Now, caller: TheCaller, action: FromPath[str], data: JSONBody[Words]
) -> dict[str, Any]:
    """Say why an act that is held, or was refused, was as it was reported; the operator reads it."""
    return appeal(home, UUID(caller.subject), action_named(home, action), data.text, now=now)


handlers = [guard_overview, cases, one_case, release, refuse, my_held, my_appeal]
