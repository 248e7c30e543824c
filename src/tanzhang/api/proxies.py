"""What a proxy in front says of a connection: from which address, and with which client certificate. Off by default.

``TANZHANG_TRUSTED_PROXIES``: addresses of proxies, with commas between. Of those alone are the headers believed:
``X-Forwarded-For``, and the one that ``TANZHANG_CERTIFICATE_HEADER`` names, with the SHA-256 of the client certificate
that the proxy has verified, hexadecimal. A proxy that is trusted has to remove both from what comes from outside.
"""

from __future__ import annotations

import os
from typing import Any

from litestar.connection import ASGIConnection

TRUSTED_VARIABLE = "TANZHANG_TRUSTED_PROXIES"
CERTIFICATE_VARIABLE = "TANZHANG_CERTIFICATE_HEADER"
NOWHERE = "unknown"

Connection = ASGIConnection[Any, Any, Any, Any]


def client_address(connection: Connection) -> str:
    """The address a request came from: the peer's, or what a trusted proxy says last."""
    peer = _peer(connection)
    if peer in _trusted():
        forwarded = connection.headers.getall("x-forwarded-for", [])
        last = ",".join(forwarded).rpartition(",")[2].strip()
        return last[:64] or peer
    return peer


def client_certificate(connection: Connection) -> str | None:
    """The certificate a trusted proxy verified, as 64 hexadecimal digits; None where none can be believed."""
    header = os.environ.get(CERTIFICATE_VARIABLE, "")
    if not header or _peer(connection) not in _trusted():
        return None
    sent = connection.headers.getall(header, [])
    return sent[0].replace(":", "").strip().lower() if len(sent) == 1 else None


def _peer(connection: Connection) -> str:
    return connection.client.host if connection.client is not None else NOWHERE


def _trusted() -> set[str]:
    return {each.strip() for each in os.environ.get(TRUSTED_VARIABLE, "").split(",") if each.strip()}
