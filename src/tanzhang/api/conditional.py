"""Answers that a client may have already: entity tags, the conditions that name them, and 304 where nothing changed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec
from litestar import Request, Response

from tanzhang.core.errors import refuse

NOT_MODIFIED = 304


def tag_of(data: bytes) -> str:
    """The entity tag of bytes that are answered as they are."""
    return f'"{hashlib.sha256(data).hexdigest()[:32]}"'


def names_tag(request: Request[Any, Any, Any], tag: str) -> bool:
    """Whether ``If-None-Match`` names a tag, or any; the comparison is the weak one (RFC 9110, section 13.1.2)."""
    named = [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]
    return tag in named or "*" in named


def private_json(request: Request[Any, Any, Any], said: Any, status: int = 200) -> Response[bytes]:
    """JSON for its owner alone, or 304 if the client has it already."""
    data = msgspec.json.encode(said)
    tag = tag_of(data)
    headers = {"etag": tag, "cache-control": "private, no-cache"}
    if names_tag(request, tag):
        return Response(b"", status_code=NOT_MODIFIED, headers=headers)
    return Response(data, status_code=status, headers={**headers, "content-type": "application/json"})


def check_if_match(request: Request[Any, Any, Any], current: Callable[[], Any]) -> None:
    """Refuse a change whose header If-Match names another state than the one that there is: ``resource-changed``.

    ``current`` is what GET answers for the resource by :func:`private_json`; it is asked for only where the header was
    sent. The comparison is the strong one (RFC 9110, section 13.1.1). Two changes at one moment may both pass;
    where one would overwrite the other the store itself compares versions, as of partners, offers and projects.
    """
    sent = request.headers.get("if-match")
    if sent is None or sent.strip() == "*":
        return
    if tag_of(msgspec.json.encode(current())) not in [each.strip() for each in sent.split(",")]:
        raise refuse(
            "resource-changed",
            "it is not as it was when you read it",
            where="header: If-Match",
            remedy="read it again, and repeat the change with its new ETag if you still want it",
        )


def versioned(request: Request[Any, Any, Any], version: object, body: dict[str, Any]) -> Response[Any]:
    """An answer with the entity tag of its version; 304 without a body to whoever has it already."""
    headers = {"etag": version_tag(version)}
    if version_known(request, version):
        return Response(None, status_code=NOT_MODIFIED, headers=headers)
    return Response(body, headers=headers)


def version_tag(version: object) -> str:
    """The entity tag of a version."""
    return f'"{version}"'


def version_known(request: Request[Any, Any, Any], version: object) -> bool:
    """Whether the caller has this version already, as header If-None-Match says."""
    return names_tag(request, version_tag(version))


def version_seen(request: Request[Any, Any, Any]) -> int | None:
    """The version that header If-Match names; None without it, -1 for what never was one."""
    sent = request.headers.get("if-match")
    if sent is None or sent.strip() == "*":
        return None
    text = sent.strip().strip('"')
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
