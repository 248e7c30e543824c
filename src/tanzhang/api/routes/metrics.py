"""Numbers for whoever watches the service: for the operator, and for a program that has the token."""

from __future__ import annotations

import hmac
from typing import Any

from litestar import Request, Response, get

from tanzhang.api.access import EVERYBODY
from tanzhang.api.given import Now, TheCaller, TheHome
from tanzhang.api.metrics import CONTENT_TYPE, exposition
from tanzhang.core.access import STRANGER, Role
from tanzhang.core.errors import refuse

TOKEN_VARIABLE = "TANZHANG_METRICS_TOKEN"  # noqa: S105 - the name of a variable
"""Names the environment variable with the token by which a program may read the metrics; unset: only the operator."""


@get("/metrics", opt=EVERYBODY, sync_to_thread=True, tags=["operations"], media_type="text/plain")
def metrics(home: TheHome, now: Now, caller: TheCaller, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Counts, durations and the home's figures for Prometheus, by `Authorization: Bearer` and the metrics token."""
    if caller.role is not Role.OPERATOR and not _has_token(request):
        raise refuse(
            "not-signed-in" if caller is STRANGER else "not-allowed",
            "the metrics are for the operator, and for whoever has their token",
            where=request.url.path,
            remedy=f"send the token that {TOKEN_VARIABLE} of the service names as 'Authorization: Bearer ...'",
        )
    headers = {"content-type": CONTENT_TYPE, "cache-control": "no-store"}
    return Response(exposition(home, now=now), headers=headers)


def _has_token(request: Request[Any, Any, Any]) -> bool:
    """Whether the request carries the token; an address proves nothing behind a proxy, so none is asked for."""
    token = request.app.state.metrics_token
    sent = request.headers.get("authorization", "")
    return bool(token) and hmac.compare_digest(sent.encode(), f"Bearer {token}".encode())


handlers = [metrics]
