"""Answers that anyone may read and keep: entity tags, how long they hold, pages of lists; for scripts of any site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from litestar import MediaType, Request, Response
from litestar.openapi.datastructures import ResponseSpec

from tanzhang.api.access import EVERYBODY
from tanzhang.api.conditional import NOT_MODIFIED, names_tag, tag_of
from tanzhang.api.problems import problem_response
from tanzhang.core.errors import TanzhangError
from tanzhang.service.cursors import cursor_of, place_after

FOR_GOOD = "public, max-age=31536000, immutable"
A_MOMENT = "public, max-age=5"
AN_HOUR = "public, max-age=3600"
OPEN: Mapping[str, str] = {"access-control-allow-origin": "*", "access-control-expose-headers": "etag, x-request-id"}
"""Scripts of any site may read what is public; none of it depends on who asks."""
JSON = "application/json"
MOST_ITEMS = 1_000


def public_answer(
    request: Request[Any, Any, Any], body: bytes, *, content_type: str, keep: str, tag: str | None = None
) -> Response[bytes]:
    """A public answer with its entity tag; 304 without a body if ``If-None-Match`` names it.

    ``tag`` is what changes whenever the body does, by default a hash of the body. ``keep`` is its ``Cache-Control``.
    """
    etag = tag_of(body) if tag is None else f'"{tag}"'
    headers = {**OPEN, "cache-control": keep, "etag": etag}
    if names_tag(request, etag):
        return Response(b"", status_code=NOT_MODIFIED, headers=headers)
    return Response(body, headers={**headers, "content-type": content_type, "x-content-type-options": "nosniff"})


def public_json(request: Request[Any, Any, Any], said: Any, *, keep: str, tag: str | None = None) -> Response[bytes]:
    """As :func:`public_answer`, of something that becomes JSON."""
    return public_answer(request, msgspec.json.encode(said), content_type=JSON, keep=keep, tag=tag)


def on_public_refusal(_: Request[Any, Any, Any], error: TanzhangError) -> Response[bytes]:
    """A refusal that scripts of other sites may read too."""
    return problem_response(error, OPEN)


def public_route(
    tags: list[str],
    answer: Any,
    description: str,
    *,
    opt: dict[str, Any] = EVERYBODY,
    media_type: str | MediaType = MediaType.JSON,
) -> dict[str, Any]:
    """What every route says whose answer is public: by default everybody may ask; other sites can read refusals."""
    spec = ResponseSpec(answer, description=description, generate_examples=False, media_type=media_type)
    return {
        "opt": opt,
        "sync_to_thread": True,
        "tags": tags,
        "exception_handlers": {TanzhangError: on_public_refusal},
        "responses": {200: spec},
    }


def page_of(items: Sequence[Any], cursor: str | None, limit: int) -> tuple[Sequence[Any], str | None]:
    """The items of a page and the cursor of the next one; ``cursor-malformed``. The list may grow at its end only."""
    start = 0 if cursor is None else max(place_after(cursor, int)[0], 0)
    stop = min(start + limit, len(items))
    return items[start:stop], cursor_of(stop) if stop < len(items) else None
