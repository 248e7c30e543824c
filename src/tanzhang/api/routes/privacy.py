"""A person's sessions and identities, who looked at their data, a copy of it, and being erased."""

from __future__ import annotations

from typing import Any

from litestar import Response, delete, get, post
from litestar.params import FromPath, FromQuery

from tanzhang.api.access import COOKIE
from tanzhang.api.conditional import private_json
from tanzhang.api.given import Now, TheCaller, TheHome
from tanzhang.api.routes.me import OWN, AnyRequest, Cursor, Limit
from tanzhang.service.privacy import (
    ask_erasure,
    check_fresh,
    end_session,
    erasure_state,
    export_person,
    looks,
    sessions,
    think_again,
)
from tanzhang.service.sign_in import identities, remove_identity

_TAGS = ["privacy"]


@get("/v1/me/sessions", opt=OWN, sync_to_thread=True, tags=_TAGS)
def my_sessions(home: TheHome, caller: TheCaller, request: AnyRequest) -> Response[Any]:
    """Where one is signed in; ``this`` is the session that asks."""
    found = sessions(home, caller.subject, request.cookies.get(COOKIE))
    return private_json(request, {"items": found, "next": None})


@delete("/v1/me/sessions/{name:str}", opt=OWN, sync_to_thread=True, tags=_TAGS)
def sign_out(home: TheHome, caller: TheCaller, request: AnyRequest, name: FromPath[str]) -> None:
    """End a session of one's own."""
    end_session(home, caller.subject, name)
    request.app.state.recogniser.forget()


@get("/v1/me/identities", opt=OWN, sync_to_thread=True, tags=_TAGS)
def my_identities(home: TheHome, caller: TheCaller, request: AnyRequest) -> Response[Any]:
    """With what one signs in. Another one is added by signing in with it while signed in."""
    return private_json(request, {"items": identities(home, caller.subject), "next": None})


@delete("/v1/me/identities/{name:str}", opt=OWN, sync_to_thread=True, tags=_TAGS)
def drop_identity(home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, name: FromPath[str]) -> None:
    """Sign in with it no more; needs a fresh sign-in, and the last one stays."""
    check_fresh(home, request.cookies.get(COOKIE), now=now)
    remove_identity(home, caller.subject, name)


@get("/v1/me/access-log", opt=OWN, sync_to_thread=True, tags=_TAGS)
def my_access_log(
    home: TheHome, caller: TheCaller, request: AnyRequest, cursor: Cursor = None, limit: Limit = 50
) -> Response[Any]:
    """Who read one's data or was given a copy, the latest first: staff, commands of the operator, own exports."""
    return private_json(request, looks(home, caller.subject, cursor=cursor, limit=limit))


@post("/v1/me/export", opt=OWN, sync_to_thread=True, tags=_TAGS, status_code=200)
def my_export(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, receipts: FromQuery[bool] = False
) -> Response[bytes]:
    """Everything that is kept of a person, as one ZIP file (PIPL, article 45); needs a fresh sign-in."""
    check_fresh(home, request.cookies.get(COOKIE), now=now)
    data = export_person(home, caller.subject, now=now, receipts=receipts)
    headers = {"content-disposition": 'attachment; filename="tanzhang-export.zip"', "cache-control": "no-store"}
    return Response(data, headers={**headers, "content-type": "application/zip"})


@get("/v1/me/erasure", opt=OWN, sync_to_thread=True, tags=_TAGS)
def see_erasure(home: TheHome, caller: TheCaller, request: AnyRequest) -> Response[Any]:
    """Whether erasing was asked for, and when it will be done."""
    return private_json(request, erasure_state(home, caller.subject))


@post("/v1/me/erasure", opt=OWN, sync_to_thread=True, tags=_TAGS, status_code=202)
def erase_me(home: TheHome, now: Now, caller: TheCaller, request: AnyRequest) -> dict[str, Any]:
    """Have everything of oneself erased (PIPL, article 47) after a waiting time; needs a fresh sign-in."""
    check_fresh(home, request.cookies.get(COOKIE), now=now)
    return ask_erasure(home, caller.subject, now=now)


@delete("/v1/me/erasure", opt=OWN, sync_to_thread=True, tags=_TAGS, status_code=200)
def keep_me(home: TheHome, caller: TheCaller) -> dict[str, Any]:
    """Think again, while there is time."""
    return think_again(home, caller.subject)


handlers = [
    my_sessions,
    sign_out,
    my_identities,
    drop_identity,
    my_access_log,
    my_export,
    see_erasure,
    erase_me,
    keep_me,
]
