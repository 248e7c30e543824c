"""Groups of friends: forming, joining by code, leaving, and the ranking inside a group."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, delete, get, patch, post
from litestar.params import FromPath, FromQuery, JSONBody

from tanzhang.api.conditional import check_if_match, private_json
from tanzhang.api.given import Now, TheCaller, TheHome, TheReader
from tanzhang.api.routes.me import OWN, AnyRequest
from tanzhang.service.friends import (
    form_group,
    group_of,
    group_ranking,
    groups_of,
    join_group,
    leave_group,
    new_code,
    rename,
)
from tanzhang.service.moments import received_day
from tanzhang.service.ranking import Scope

_TAGS = ["friends"]
_NO_STORE = {"cache-control": "no-store"}
Name = Annotated[
    str,
    msgspec.Meta(min_length=1, max_length=100, description="Shown to this group alone.", examples=["Panda"]),
]


class GroupFormed(msgspec.Struct, forbid_unknown_fields=True):
    """A new group: ``{"title": "Office, third floor"}``; with ``name`` one is shown under it and not a pseudonym."""

    title: Annotated[str, msgspec.Meta(min_length=1, max_length=200, examples=["Office, third floor"])]
    name: Name | None = None


class GroupJoined(msgspec.Struct, forbid_unknown_fields=True):
    """The code of a group: ``{"code": "7KQ2M-..."}``. To join is to agree that its members see one's amounts."""

    code: Annotated[str, msgspec.Meta(min_length=1, max_length=100, examples=["7KQ2M-XW9HT-4RBVN"])]
    name: Name | None = None


class MemberNamed(msgspec.Struct, forbid_unknown_fields=True):
    """Under what name a group shows one; null for a pseudonym."""

    name: Name | None


@get("/v1/me/groups", opt=OWN, sync_to_thread=True, tags=_TAGS)
def my_groups(home: TheHome, caller: TheCaller, request: AnyRequest) -> Response[Any]:
    """The groups one is in, the earliest joined first; all on one page."""
    return private_json(request, {"items": groups_of(home, caller.subject), "next": None})


@post("/v1/me/groups", opt=OWN, sync_to_thread=True, tags=_TAGS)
def form(home: TheHome, now: Now, caller: TheCaller, data: JSONBody[GroupFormed]) -> Response[dict[str, Any]]:
    """Form a group. Whoever has ``code``, which is shown this once, may join it until ``code_ends_at``."""
    made = form_group(home, caller.subject, data.title, name=data.name, now=now)
    return Response(made, status_code=201, headers=_NO_STORE)


@post("/v1/me/groups/join", opt=OWN, sync_to_thread=True, status_code=200, tags=_TAGS)
def join(home: TheHome, now: Now, caller: TheCaller, data: JSONBody[GroupJoined]) -> dict[str, Any]:
    """Join the group of a code, and agree that its members see one's amounts; leaving takes that back."""
    return join_group(home, caller.subject, data.code, name=data.name, now=now)


@get("/v1/me/groups/{group:str}", opt=OWN, sync_to_thread=True, tags=_TAGS)
def my_group(home: TheHome, caller: TheCaller, request: AnyRequest, group: FromPath[str]) -> Response[Any]:
    """One group that one is in."""
    return private_json(request, group_of(home, caller.subject, group))


@post("/v1/me/groups/{group:str}/code", opt=OWN, sync_to_thread=True, tags=_TAGS)
def invite(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, group: FromPath[str]
) -> Response[dict[str, Any]]:
    """A new code for a group one is in, shown this once; the code before it invites to nothing any more."""
    check_if_match(request, lambda: group_of(home, caller.subject, group))
    return Response(new_code(home, caller.subject, group, now=now), status_code=201, headers=_NO_STORE)


@patch("/v1/me/groups/{group:str}", opt=OWN, sync_to_thread=True, tags=_TAGS)
def name(
    home: TheHome, caller: TheCaller, request: AnyRequest, group: FromPath[str], data: JSONBody[MemberNamed]
) -> dict[str, Any]:
    """Be shown under a name in a group, or under a pseudonym again."""
    check_if_match(request, lambda: group_of(home, caller.subject, group))
    return rename(home, caller.subject, group, data.name)


@delete("/v1/me/groups/{group:str}", opt=OWN, sync_to_thread=True, status_code=200, tags=_TAGS)
def leave(home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, group: FromPath[str]) -> dict[str, Any]:
    """Leave a group at once; nobody in it sees anything of one any more."""
    check_if_match(request, lambda: group_of(home, caller.subject, group))
    return leave_group(home, caller.subject, group, now=now)


@get("/v1/rankings/groups/{group:str}", opt=OWN, sync_to_thread=True, tags=_TAGS)
def ranking(
    reader: TheReader,
    now: Now,
    caller: TheCaller,
    request: AnyRequest,
    group: FromPath[str],
    period: FromQuery[Literal["day", "week", "month"]] = "week",
    day: FromQuery[date | None] = None,
) -> Response[Any]:
    """Who of a group one is in was confirmed how much; equal amounts have equal ranks, nothing has none."""
    scope = Scope.of(period, day or received_day(reader.home, now))
    return private_json(request, group_ranking(reader, caller.subject, group, scope))


handlers = [my_groups, form, join, my_group, invite, name, leave, ranking]
