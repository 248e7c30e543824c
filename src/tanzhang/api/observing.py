"""Every request, seen from outside: its id, one line in the log, its count and duration, and its span if there are any.

A request is known by its id, which ``X-Request-ID`` brings or gets. Of a caller no more than the role is written down,
and of a partner's key the id; paths are those of routes, since what stands in their place may name somebody.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import structlog
from litestar import Litestar

from tanzhang.api import metrics, traces
from tanzhang.api.logs import logger
from tanzhang.core.access import Caller, Role
from tanzhang.service import observe

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
UNMATCHED = "unmatched"
_log = logger("tanzhang.request")

Message = MutableMapping[str, Any]
Send = Callable[[Any], Awaitable[None]]


class Service(Litestar):
    """The application, watched; what fails before a route is found is seen too."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """As ASGI asks."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        await _observed(super().__call__, scope, receive, send)


async def _observed(app: Callable[..., Awaitable[None]], scope: Any, receive: Any, send: Send) -> None:
    headers = {name: value for name, value in scope["headers"] if name in (b"x-request-id", b"traceparent")}
    given = headers.get(b"x-request-id", b"").decode("ascii", "replace")
    request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)
    status = 500

    async def watched(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
            message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
        await send(message)

    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=request_id)
    method = scope["method"] if scope["method"] in _METHODS else "OTHER"
    began = time.perf_counter()
    with traces.request_span(method, headers.get(b"traceparent")) as span:
        try:
            await app(scope, receive, watched)
        finally:
            took = time.perf_counter() - began
            route = str(scope.get("path_template") or UNMATCHED)
            metrics.count_request(method, route, status, took)
            traces.end_request(span, method, route, status)
            if route not in _QUIET:
                said = {"method": method, "route": route, "status": status, "duration_ms": round(took * 1000, 2)}
                _log.info("request", **said, **_who(scope))


def _who(scope: Mapping[str, Any]) -> dict[str, str]:
    """Of a caller what may be written down."""
    caller = scope.get("state", {}).get("caller")
    if not isinstance(caller, Caller):
        return {}
    if caller.role is Role.PARTNER:
        return {"role": caller.role.value, "partner": str(caller.partner), "key": caller.subject}
    return {"role": caller.role.value}


class Watching:
    """Tells metrics and traces what the service's verbs do."""

    def step(self, name: str) -> AbstractContextManager[object]:
        return _Step(name)

    def rows(self, accepted: int, refused: int, codes: Mapping[str, int]) -> None:
        metrics.count_rows(accepted, refused, codes)


class _Step:
    def __init__(self, name: str) -> None:
        self._name = name
        self._span: AbstractContextManager[object] = nullcontext()

    def __enter__(self) -> None:
        self._began = time.perf_counter()
        self._span = traces.step_span(self._name)
        self._span.__enter__()

    def __exit__(self, *error: Any) -> None:
        metrics.count_step(self._name, time.perf_counter() - self._began)
        self._span.__exit__(*error)


def watch_service() -> None:
    """From now on the service's verbs are counted and timed in this process."""
    observe.watch(Watching())
