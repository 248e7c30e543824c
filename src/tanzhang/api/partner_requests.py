"""What a request of a partner's program has to be, beside its key: not too often, and as its agreement says."""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

import anyio.to_thread
from litestar import Request
from litestar.connection import ASGIConnection

from tanzhang.api.proxies import client_certificate
from tanzhang.core.access import Caller
from tanzhang.core.errors import refuse
from tanzhang.core.programme import Partner
from tanzhang.service.limits import too_many_requests
from tanzhang.service.signatures import SignedRequest, check_signature
from tanzhang.stores.home import Home

PUBLIC_VARIABLE = "TANZHANG_PUBLIC_URL"
"""Names the environment variable with what stands before the path in URLs that callers use, https://host."""

Connection = ASGIConnection[Any, Any, Any, Any]


async def check_request(connection: Connection, caller: Caller) -> None:
    """Refuse a partner's request: ``too-many-requests``, ``certificate-missing``, and what is wrong with its signature.

    What is kept of the signature is ``signature`` in the request's state, see :func:`signature_of`.
    """
    home: Home = connection.app.state.home
    name = str(caller.partner)
    # A thread is for what asks the book; for each request it would cost more than all else here.
    partner = await anyio.to_thread.run_sync(_allowed, home, name) if home.partners.is_due else _allowed(home, name)
    if partner.certificate is not None:
        shown = client_certificate(connection)
        if shown is None or not hmac.compare_digest(shown.encode(), partner.certificate.encode()):
            raise refuse(
                "certificate-missing",
                f"{partner.id} connects with its client certificate",
                where="connection",
                remedy="connect with the certificate that was agreed; ask the operator whether the proxy passes it on",
            )
    if partner.signed and isinstance(connection, Request):
        method, url, body = str(connection.method), _asked_url(connection), await connection.body()
        signed = SignedRequest(method, url, _Fields(connection.headers.multi_items()), body)
        now = connection.app.state.clock()
        connection.state.signature = await anyio.to_thread.run_sync(
            lambda: check_signature(home, partner.id, signed, now=now)
        )


def signature_of(request: Request[Any, Any, Any]) -> str | None:
    """What is to be kept of the signature of a request with the delivery it brings; None where it needs none."""
    found: str | None = getattr(request.state, "signature", None)
    return found


class _Fields:
    """Header fields one by one, as the library of signatures reads them."""

    def __init__(self, fields: Iterable[tuple[str, str]]) -> None:
        self._fields = list(fields)

    def items(self) -> list[tuple[str, str]]:
        return self._fields


def _asked_url(connection: Connection) -> str:
    """The URL that the sender asked for: behind a proxy, :data:`PUBLIC_VARIABLE` with the path of the request."""
    scope: Any = connection.scope
    raw = scope.get("raw_path") or quote(scope["path"]).encode()
    query = scope.get("query_string", b"")
    path = raw.partition(b"?")[0].decode("latin-1") + (f"?{query.decode('latin-1')}" if query else "")
    base = os.environ.get(PUBLIC_VARIABLE, "").rstrip("/") or f"{connection.url.scheme}://{connection.url.netloc}"
    return base + path


def _allowed(home: Home, name: str) -> Partner:
    error = too_many_requests(home, name)
    if error is not None:
        raise error
    partner = home.programme.partners[name]
    if partner.suspended:  # since the caller was recognised, a moment ago
        raise refuse(
            "partner-suspended", f"partner {name} is suspended", where="authorization", remedy="ask the operator"
        )
    return partner
