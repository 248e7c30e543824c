"""Answers that a client may have already: an ETag over what is answered, 304 where it is the same."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from litestar import Request, Response

_NOT_MODIFIED = 304


def answered(request: Request[Any, Any, Any], content: Any) -> Response[Any]:
    """JSON for its owner alone, or 304 if the client names its ETag in ``If-None-Match``."""
    data = msgspec.json.encode(content)
    tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    headers = {"etag": tag, "cache-control": "private, no-cache"}
    known = [each.strip().removeprefix("W/") for each in request.headers.get("If-None-Match", "").split(",")]
    if tag in known or "*" in known:
        return Response(None, status_code=_NOT_MODIFIED, headers=headers)
    return Response(data, headers={**headers, "content-type": "application/json"})
