"""Who asks, and whether they may: every route names the roles it is for, or the application does not start.

A program sends a partner's key as ``Authorization: Bearer tz_...``; a browser sends the cookie of its session and, with
whatever changes something, header ``X-CSRF-Token``.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import anyio.to_thread
from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler

from tanzhang.api.partner_requests import check_request
from tanzhang.core.access import STRANGER, Caller, Role, Scope, secret_hash
from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.service.access import caller_of_key, caller_of_session, csrf_token
from tanzhang.stores.home import Home

COOKIE = "__Host-tanzhang"
CSRF_HEADER = "x-csrf-token"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
REMEMBERED_S = 2.0
"""For how long a recognised caller is not looked up again: a revoked key or session ends within this time."""
_MOST_REMEMBERED = 10_000
_OPT = "access"
FRAMEWORK_PATH = "/openapi"

Connection = ASGIConnection[Any, Any, Any, Any]


def allow(*roles: Role, scope: Scope | None = None) -> dict[str, Any]:
    """What a route is for, to be given as ``opt``; ``scope`` is what a partner's key needs."""
    return {_OPT: (frozenset(roles), scope)}


EVERYBODY = allow(*Role)


class Recogniser:
    """Finds callers by what they send, and remembers them for a moment."""

    def __init__(self, home: Home, now: Callable[[], datetime]) -> None:
        self._home, self._now = home, now
        self._known: dict[str, tuple[float, Caller]] = {}

    async def caller(self, connection: Connection) -> Caller:
        """Who asks; ``key-unknown``, ``key-expired`` or ``session-ended`` for what is not valid (any more)."""
        sent = connection.headers.get("authorization")
        cookie = connection.cookies.get(COOKIE)
        if sent is not None:
            kind, _, text = sent.partition(" ")
            if kind.lower() != "bearer":
                raise refuse(
                    "key-unknown",
                    f"{kind!r} is not a kind of authorization here",
                    where="header: Authorization",
                    remedy="send 'Authorization: Bearer ' and the key",
                )
            return await self._remembered(text.strip(), caller_of_key)
        if cookie is not None:
            return await self._remembered(cookie, caller_of_session)
        return STRANGER

    async def _remembered(self, text: str, find: Callable[..., Caller]) -> Caller:
        name, moment = secret_hash(text), time.monotonic()
        found = self._known.get(name)
        if found is not None and found[0] > moment:
            return found[1]
        caller = await anyio.to_thread.run_sync(lambda: find(self._home, text, now=self._now()))
        if len(self._known) >= _MOST_REMEMBERED:
            self._known.clear()
        self._known[name] = moment + REMEMBERED_S, caller
        return caller

    def forget(self) -> None:
        """Look everybody up again, since somebody signed out or a key was revoked here."""
        self._known.clear()


async def check_access(connection: Connection, handler: BaseRouteHandler) -> None:
    """The guard of every route: recognises the caller, keeps them in the request's state, refuses who may not."""
    roles, scope = allowed_by(handler)
    recogniser: Recogniser = connection.app.state.recogniser
    try:
        caller = await recogniser.caller(connection)
    except TanzhangError:
        if Role.STRANGER not in roles:
            raise
        caller = STRANGER  # somebody whose session ended may still read what everybody may
    connection.state.caller = caller
    if caller.role not in roles:
        if caller is STRANGER:
            raise refuse(
                "not-signed-in",
                "this needs a key or a session",
                where=connection.url.path,
                remedy="send a key as 'Authorization: Bearer tz_...', or sign in",
            )
        raise refuse(
            "not-allowed",
            f"this is not for callers of role {caller.role}",
            where=connection.url.path,
            remedy=f"it is for {', '.join(sorted(roles))}",
        )
    if caller.role is Role.PARTNER and scope is not None and scope not in caller.scopes:
        raise refuse(
            "scope-missing",
            f"this key may not {scope}",
            where=connection.url.path,
            remedy="use a key with this scope; the operator issues it",
        )
    if caller.role is Role.PARTNER:
        await check_request(connection, caller)
    if caller.by_cookie and str(connection.scope.get("method")) not in _SAFE:
        sent = connection.headers.get(CSRF_HEADER, "")
        if not hmac.compare_digest(sent.encode(), csrf_token(connection.cookies[COOKIE]).encode()):
            raise refuse(
                "csrf-missing",
                "the request does not carry the token of its page",
                where="header: X-CSRF-Token",
                remedy="send what GET /v1/session answers as 'csrf'",
            )


def check_declared(app: Litestar) -> None:
    """Refuse to start with a route that does not say whom it is for."""
    for path, handler in routes_of(app):
        if _OPT not in handler.opt:
            raise RuntimeError(f"route {path} does not say who may use it")


def routes_of(app: Litestar) -> Iterable[tuple[str, HTTPRouteHandler]]:
    """Path and handler of every route; those of the framework itself, OPTIONS and its OpenAPI pages, are left out."""
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            own = isinstance(handler, HTTPRouteHandler) and handler.http_methods != {"OPTIONS"}
            if own and not f"{route.path}/".startswith(f"{FRAMEWORK_PATH}/"):
                yield route.path, handler


def allowed_by(handler: BaseRouteHandler) -> tuple[frozenset[Role], Scope | None]:
    """Whom a route is for, and what scope a partner's key needs."""
    found: tuple[frozenset[Role], Scope | None] = handler.opt.get(_OPT, EVERYBODY[_OPT])
    return found
