"""What a request of a partner's program has to be, beside its key: not too often, and as its agreement says."""

from __future__ import annotations

import hmac
from typing import Any

import anyio.to_thread
from litestar.connection import ASGIConnection

from tanzhang.api.proxies import client_certificate
from tanzhang.core.access import Caller
from tanzhang.core.errors import refuse
from tanzhang.core.programme import Partner
from tanzhang.service.limits import too_many_requests
from tanzhang.stores.home import Home

Connection = ASGIConnection[Any, Any, Any, Any]


async def check_request(connection: Connection, caller: Caller) -> None:
    """Refuse a partner's request: ``too-many-requests``, ``certificate-missing``."""
    home: Home = connection.app.state.home
    partner = await anyio.to_thread.run_sync(lambda: _allowed(home, str(caller.partner)))
    if partner.certificate is not None:
        shown = client_certificate(connection)
        if shown is None or not hmac.compare_digest(shown.encode(), partner.certificate.encode()):
            raise refuse(
                "certificate-missing",
                f"{partner.id} connects with its client certificate",
                where="connection",
                remedy="connect with the certificate that was agreed; ask the operator whether the proxy passes it on",
            )


def _allowed(home: Home, name: str) -> Partner:
    error = too_many_requests(home, name)
    if error is not None:
        raise error
    return home.programme.partners[name]
