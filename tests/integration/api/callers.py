"""Callers for the tests of routes: what each kind of caller sends."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from tanzhang.api.access import COOKIE, CSRF_HEADER
from tanzhang.core.access import Role, Scope
from tanzhang.service.access import csrf_token, issue_key, open_session
from tanzhang.stores.home import Home

from ...homes import on

NOW = on(8)
Headers = dict[str, str]


def by_key(home: Home, partner: str, scopes: Iterable[str] = tuple(Scope), *, now: datetime = NOW) -> Headers:
    """What a program of a partner sends."""
    return {"authorization": f"Bearer {issue_key(home, partner, scopes, now=now)['key']}"}


def by_cookie(
    home: Home, role: Role, subject: str = "somebody", *, partner: str | None = None, now: datetime = NOW
) -> Headers:
    """What the browser of somebody who signed in sends."""
    token = open_session(home, role, subject, partner=partner, now=now)
    return {"cookie": f"{COOKIE}={token}", CSRF_HEADER: csrf_token(token)}
