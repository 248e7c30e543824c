"""The till, served."""

from __future__ import annotations

from functools import cache
from typing import Any

from litestar import MediaType, Request, Response, get

from tanzhang.api.access import EVERYBODY
from tanzhang.api.public import AN_HOUR, public_answer
from tanzhang.web.till import page


@cache
def _page() -> bytes:
    return page().encode()


@get("/merchant", media_type=MediaType.HTML, opt=EVERYBODY, sync_to_thread=True, tags=["merchants"])
def till_page(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The page at which a merchant signs in and takes vouchers; it holds nothing until somebody has signed in."""
    return public_answer(request, _page(), content_type="text/html; charset=utf-8", keep=AN_HOUR)


handlers = [till_page]
