"""Requests to addresses that strangers chose: over TLS alone, to public addresses alone, and never for long.

The name is resolved once, every address it has is looked at, and the connection goes to one that was looked at; so a
name that resolves to something else a moment later reaches nothing inside. Redirects are not followed, and of the
answer nothing but its status is read. For development, :data:`PRIVATE_VARIABLE` allows HTTP and private addresses.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
import time
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

import httpcore

from tanzhang.core.errors import refuse

PRIVATE_VARIABLE = "TANZHANG_WEBHOOKS_PRIVATE"
LONGEST_S = 15.0
"""How long a request may take in all, from the connection to the status of the answer."""
LONGEST_URL = 2_000
# Networks that reach others behind them by an IPv6 address: NAT64 and 6to4.
_WRAPPING = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("2002::/16"))


class UnreachableError(Exception):
    """A request got no answer; says why, without what was sent."""


def check_url(url: str, *, where: str) -> None:
    """Refuse a URL that nothing is sent to; ``url-refused``. Names are not resolved yet."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        parts = SplitResult("", "", "", "", "")
    wrong = None
    if len(url) > LONGEST_URL or not parts.hostname or not url.isascii() or not url.isprintable() or " " in url:
        wrong = "it is no URL, or a very long one"
    elif parts.scheme != "https" and not (parts.scheme == "http" and allows_private()):
        wrong = "its scheme is not https"
    elif parts.username is not None or parts.password is not None or parts.fragment:
        wrong = "it has a user, a password or a fragment"
    elif not allows_private() and _is_private_literal(parts.hostname):
        wrong = "its address is not a public one"
    if wrong is not None:
        raise refuse("url-refused", f"nothing is sent there: {wrong}", where=where, remedy="use a public https:// URL")


class Outgoing:
    """Sends requests; threads may share it. Each has a connection of its own."""

    def __init__(self, *, longest_s: float = LONGEST_S, private: bool | None = None) -> None:
        self._longest_s = longest_s
        self._private = allows_private() if private is None else private
        self._tls = httpcore.default_ssl_context()

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """Send a body; returns the status of the answer. Raises :class:`UnreachableError`."""
        if urlsplit(url).scheme != "https" and not self._private:
            raise UnreachableError("its scheme is not https")
        backend = _Guarded(self._private, time.monotonic() + self._longest_s)
        sent = [(name.encode(), value.encode()) for name, value in headers.items()]
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), self._longest_s)
        try:
            with (
                httpcore.ConnectionPool(
                    ssl_context=self._tls, network_backend=backend, max_connections=1, max_keepalive_connections=0
                ) as pool,
                pool.stream("POST", url, headers=sent, content=body, extensions={"timeout": timeouts}) as answer,
            ):
                return answer.status
        except httpcore.TimeoutException:
            raise UnreachableError(f"no answer within {self._longest_s:g} s") from None
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol, OSError) as error:
            raise UnreachableError(str(error)[:200] or type(error).__name__) from None


def allows_private() -> bool:
    """Whether this process may send to private addresses and over plain HTTP: for development alone."""
    return os.environ.get(PRIVATE_VARIABLE) == "1"


def is_public(address: str) -> bool:
    """Whether an IP address is one that anybody can reach, so that nothing inside is reached by it."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        elif any(ip in network for network in _WRAPPING):
            return False
    return ip.is_global and not ip.is_multicast


def _is_private_literal(host: str) -> bool:
    try:
        return not is_public(host)
    except ValueError:
        return host == "localhost" or host.endswith((".localhost", ".local", ".internal"))


class _Guarded(httpcore.NetworkBackend):
    """Connects to public addresses, until a moment of the monotonic clock."""

    def __init__(self, private: bool, deadline: float) -> None:
        self._private, self._deadline = private, deadline
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            found = [each[4][0] for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        except (OSError, UnicodeError):
            raise httpcore.ConnectError("the name cannot be resolved") from None
        if not found or (not self._private and not all(is_public(str(address)) for address in found)):
            raise httpcore.ConnectError("the name has an address that is not public")
        left = _left(self._deadline)
        inner = self._inner.connect_tcp(str(found[0]), port, left, local_address, socket_options)
        return _Timed(inner, self._deadline)

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        raise httpcore.ConnectError("sockets of the machine are not reached")


class _Timed(httpcore.NetworkStream):
    """A connection on which nothing takes longer than until a moment, however slowly the other side drips."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: float) -> None:
        self._inner, self._deadline = inner, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _left(self._deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _left(self._deadline))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Timed(self._inner.start_tls(ssl_context, server_hostname, _left(self._deadline)), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the time is over")
    return left
