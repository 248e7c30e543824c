"""Points: what a person has, why, and collecting what waits; what a programme has given, for its operator."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath, JSONBody

from tanzhang.api.access import allow
from tanzhang.api.conditional import private_json
from tanzhang.api.given import Now, TheCaller, TheHome, TheReader
from tanzhang.api.paging import Cursor, Limit, size_of
from tanzhang.core.access import Role
from tanzhang.service.points import collect, figures_of, points_of, statement_of

_OWN = allow(Role.PERSON)
_OPERATOR = allow(Role.OPERATOR, Role.AUDITOR)
_TAGS = ["points"]
_MOST_ITEMS = 1_000


class Collecting(msgspec.Struct, forbid_unknown_fields=True):
    """What to collect of a points programme; without ``items`` all that waits."""

    programme: Annotated[
        str,
        msgspec.Meta(description="Id of the points programme.", examples=["beijing_carbon_energy"], max_length=80),
    ]
    items: Annotated[
        Annotated[list[str], msgspec.Meta(max_length=_MOST_ITEMS)] | None,
        msgspec.Meta(description="Ids of what waits, as GET /v1/me/points gave them."),
    ] = None


@get("/v1/me/points", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def my_points(reader: TheReader, now: Now, caller: TheCaller, request: Request[Any, Any, Any]) -> Response[Any]:
    """Of each points programme what is usable (below zero: owed), expected, waiting to be collected, ending soon."""
    return private_json(request, points_of(reader, UUID(caller.subject), now=now))


@get("/v1/me/points/{programme:str}/moves", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def my_moves(
    reader: TheReader,
    caller: TheCaller,
    request: Request[Any, Any, Any],
    programme: FromPath[str],
    cursor: Cursor = None,
    limit: Limit = None,
) -> Response[Any]:
    """Awards by act, each with its rule and what limited it, and every other movement, the latest first."""
    own = UUID(caller.subject)
    return private_json(request, statement_of(reader, programme, own, cursor=cursor, limit=size_of(limit)))


@post("/v1/me/points:collect", opt=_OWN, sync_to_thread=True, status_code=200, tags=_TAGS)
def collect_mine(home: TheHome, now: Now, caller: TheCaller, data: JSONBody[Collecting]) -> dict[str, Any]:
    """Collect what waits, some or all of it; what was collected before is left alone, so it may be sent again."""
    return collect(home, data.programme, UUID(caller.subject), data.items, now=now)


@get("/v1/points/{programme:str}", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS)
def figures(home: TheHome, now: Now, request: Request[Any, Any, Any], programme: FromPath[str]) -> Response[Any]:
    """What was granted, taken back, spent and ended in all, what accounts hold, and budgets of sponsors."""
    return private_json(request, figures_of(home, programme, now=now))


handlers = [my_points, my_moves, collect_mine, figures]
