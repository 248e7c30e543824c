"""The page that checks receipts, served."""

from __future__ import annotations

from functools import cache
from typing import Any

from litestar import MediaType, Request, Response, get

from tanzhang.api.access import EVERYBODY
from tanzhang.api.public import AN_HOUR, public_answer
from tanzhang.web.verify import page


@cache
def _page() -> bytes:
    return page().encode()


@get("/verify", media_type=MediaType.HTML, opt=EVERYBODY, sync_to_thread=True, tags=["log"])
def verify_page(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The page that checks receipts: one file that loads and sends nothing; keep it and use it offline."""
    return public_answer(request, _page(), content_type="text/html; charset=utf-8", keep=AN_HOUR)


handlers = [verify_page]
