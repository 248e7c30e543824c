"""Projects that grams and points can be given to, and the gifts of whoever is signed in."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post, put
from litestar.params import FromPath, JSONBody

from tanzhang.api.access import allow
from tanzhang.api.actors import actor_of
from tanzhang.api.conditional import private_json, version_seen, version_tag
from tanzhang.api.given import Now, TheCaller, TheHome, TheReader
from tanzhang.api.paging import Cursor, Limit, Page, number_after, page_of, size_of, text_after
from tanzhang.api.public import A_MOMENT, public_json, public_route
from tanzhang.core.access import Role
from tanzhang.service import donations as service

_OWN = allow(Role.PERSON)
_TAGS = ["donations"]
AnyRequest = Request[Any, Any, Any]


class Gift(msgspec.Struct, forbid_unknown_fields=True):
    """What a person gives: ``grams_mg`` or ``points``. The same ``reference`` again is the same gift."""

    project: Annotated[str, msgspec.Meta(max_length=64, examples=["forest_2026"])]
    reference: Annotated[str, msgspec.Meta(min_length=1, max_length=100, examples=["gift-1"])]
    grams_mg: service.Amount | None = None
    points: service.Amount | None = None


class Given(msgspec.Struct):
    """What a project was given in all, as texts of whole numbers."""

    grams_mg: str
    points: str


class ShownProject(service.ProjectSaid, frozen=True, forbid_unknown_fields=False, kw_only=True):
    """A project. ``givers`` is null while they are fewer than ``givers_least``."""

    id: str
    version: int
    given: Given
    givers: str | None
    givers_least: str


class SealedTotals(msgspec.Struct):
    """What a project was given by an entry of the log; the entry has ``root`` over the gifts since the one before."""

    entry: int
    gifts: str
    root: str
    grams_mg: str
    points: str


class ProjectPage(ShownProject, frozen=True, forbid_unknown_fields=False, kw_only=True):
    """A project and the last entries of the log that commit to what it was given, the latest first."""

    log: str
    sealed: list[SealedTotals]


class ProjectList(msgspec.Struct):
    """A page of projects, by id."""

    items: list[ShownProject]
    next: str | None


@get("/v1/projects", **public_route(_TAGS, ProjectList, "Projects."))
def projects(home: TheHome, request: AnyRequest, cursor: Cursor = None, limit: Limit = None) -> Response[bytes]:
    """Every project that can or could be given to, and what it was given."""
    size = size_of(limit)
    page = page_of(service.projects(home, text_after(cursor), size + 1), size, "id")
    return public_json(request, page, keep=A_MOMENT)


@get("/v1/projects/{project:str}", **public_route(_TAGS, ProjectPage, "The project."))
def project(home: TheHome, request: AnyRequest, project: FromPath[str]) -> Response[bytes]:
    """A project: what it was given, and the entries of the log by which anybody checks that."""
    return public_json(request, service.project_page(home, project), keep=A_MOMENT)


@put("/v1/projects/{project:str}", opt=allow(Role.OPERATOR), sync_to_thread=True, tags=_TAGS)
def say_project(
    home: TheHome,
    now: Now,
    caller: TheCaller,
    request: AnyRequest,
    project: FromPath[str],
    data: JSONBody[service.ProjectSaid],
) -> Response[dict[str, Any]]:
    """Say a project as a whole, a new one or anew; gifts stand. If-Match with its version overwrites no other one."""
    actor, seen = actor_of(request, caller), version_seen(request)
    said = service.put_project(home, project, data, version=seen, actor=actor, now=now)
    return Response(said, status_code=200, headers={"etag": version_tag(said["version"])})


@post("/v1/me/donations", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def give(home: TheHome, now: Now, caller: TheCaller, data: JSONBody[Gift]) -> dict[str, Any]:
    """Give grams or points to a project, for good: ``{"project": "forest_2026", "reference": "1", "points": "50"}``."""
    amounts = {"grams_mg": _whole(data.grams_mg), "points": _whole(data.points)}
    return service.donate(home, UUID(caller.subject), data.project, data.reference, **amounts, now=now)


@get("/v1/me/donations", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def gifts(home: TheHome, caller: TheCaller, cursor: Cursor = None, limit: Limit = None) -> Page:
    """Own gifts, the latest first."""
    size = size_of(limit)
    return page_of(service.gifts(home, UUID(caller.subject), number_after(cursor), size + 1), size, "number")


@get("/v1/me/donations/allocation", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def my_allocation(reader: TheReader, caller: TheCaller, request: AnyRequest) -> Response[Any]:
    """Of which own records the given grams are, by the declared rule, and what of them no record is left for."""
    return private_json(request, service.allocation(reader, UUID(caller.subject)))


@get("/v1/me/donations/{gift:str}/receipt", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def my_receipt(home: TheHome, caller: TheCaller, gift: FromPath[str]) -> Response[bytes]:
    """The proof that a gift is part of its project's sealed total: a file that holds offline and names nobody."""
    data = service.receipt(home, UUID(caller.subject), gift)
    headers = {
        "content-disposition": 'attachment; filename="donation.tlog-proof"',
        "cache-control": "private, no-store",
        "content-type": "text/plain; charset=utf-8",
    }
    return Response(data, headers=headers)


def _whole(text: str | None) -> int | None:
    return None if text is None else int(text)


handlers = [projects, project, say_project, give, gifts, my_allocation, my_receipt]
