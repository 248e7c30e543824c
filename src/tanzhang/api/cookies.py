"""The cookie of a session: of this host and path alone, over TLS alone, out of reach of scripts."""

from __future__ import annotations

from datetime import timedelta

from litestar.datastructures import Cookie

from tanzhang.api.access import COOKIE


def session_cookie(token: str, lasts: timedelta) -> Cookie:
    """What signs a browser in."""
    age_s = int(lasts.total_seconds())
    return Cookie(COOKIE, value=token, path="/", max_age=age_s, secure=True, httponly=True, samesite="lax")


def no_cookie() -> Cookie:
    """What signs a browser out."""
    return Cookie(COOKIE, value="", path="/", max_age=0, secure=True, httponly=True, samesite="lax")
