"""Who asks: what the service takes a caller for, and signing out, for everybody with a cookie."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, delete, get

from tanzhang.api.access import COOKIE, EVERYBODY, Recogniser
from tanzhang.api.cookies import no_cookie
from tanzhang.api.given import TheCaller, TheHome
from tanzhang.core.access import Caller, secret_hash
from tanzhang.service.access import csrf_token

_PATH = "/v1/session"


@get(_PATH, opt=EVERYBODY, sync_to_thread=True, tags=["access"])
def who(home: TheHome, caller: TheCaller, request: Request[Any, Any, Any]) -> Response[dict[str, Any]]:
    """Who asks, and ``csrf``: what a page sends as X-CSRF-Token with whatever changes something."""
    return Response(described_caller(home, caller, request), headers={"cache-control": "no-store"})


@delete(_PATH, opt=EVERYBODY, sync_to_thread=True, status_code=200, tags=["access"])
def sign_out(home: TheHome, caller: TheCaller, request: Request[Any, Any, Any]) -> Response[dict[str, str]]:
    """End the session of the cookie that was sent; nothing happens without one."""
    if caller.by_cookie:
        home.access.end_session(secret_hash(request.cookies[COOKIE]))
        recogniser: Recogniser = request.app.state.recogniser
        recogniser.forget()
    return Response({"status": "signed out"}, cookies=[no_cookie()])


def described_caller(home: Any, caller: Caller, request: Request[Any, Any, Any]) -> dict[str, Any]:
    """A caller as they see themselves."""
    row = home.staff.row(caller.subject) if caller.by_cookie else None
    return {
        "role": caller.role.value,
        "subject": caller.subject or None,
        "partner": caller.partner,
        "scopes": sorted(caller.scopes),
        "name": None if row is None else row.name,
        "position": None if row is None else row.position,
        "csrf": csrf_token(request.cookies[COOKIE]) if caller.by_cookie else None,
    }


handlers = [who, sign_out]
