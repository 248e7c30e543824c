"""The log in public, as :mod:`tanzhang.stores.log` lays it out (C2SP tlog-tiles).

Anyone may read these and keep copies; a static web server or a content network can serve the same files instead.
"""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, Response, get
from litestar.params import PathParameter

from tanzhang.api.access import EVERYBODY
from tanzhang.api.given import TheHome
from tanzhang.api.public import A_MOMENT, AN_HOUR, FOR_GOOD, JSON, on_public_refusal, public_answer
from tanzhang.core.errors import TanzhangError
from tanzhang.service.public import log_entry, tile_bytes

TEXT = "text/plain; charset=utf-8"
BYTES = "application/octet-stream"
_PUBLIC: dict[str, Any] = {
    "opt": EVERYBODY,
    "sync_to_thread": True,
    "tags": ["log"],
    "exception_handlers": {TanzhangError: on_public_refusal},
}
Index = Annotated[int, PathParameter(ge=0, le=2**53, description="Index of an entry, from 0.")]


@get("/log/checkpoint", media_type="text/plain", **_PUBLIC)
def checkpoint(home: TheHome, request: Request[Any, Any, Any]) -> Response[bytes]:
    """The signed checkpoint of the log, with the cosignatures that it has so far (C2SP tlog-checkpoint)."""
    return public_answer(request, home.log.checkpoint_bytes(), content_type=TEXT, keep=A_MOMENT)


@get("/log/tile/{path:path}", media_type=BYTES, **_PUBLIC)
def tile(
    home: TheHome,
    request: Request[Any, Any, Any],
    path: Annotated[str, PathParameter(description="`<level>/<index>[.p/<width>]`, level 0 to 63 or `entries`.")],
) -> Response[bytes]:
    """A tile of the tree, or a bundle of entries (C2SP tlog-tiles). What is published never changes.

    A partial tile may be gone once the full one is there; take the full one then.
    """
    return public_answer(request, tile_bytes(home, path.removeprefix("/")), content_type=BYTES, keep=FOR_GOOD)


@get("/log/entries/{index:int}", **_PUBLIC)
def entry(home: TheHome, request: Request[Any, Any, Any], index: Index) -> Response[bytes]:
    """One entry of the log, byte for byte as it is in its bundle: the hash of its leaf is of these bytes."""
    return public_answer(request, log_entry(home, index), content_type=JSON, keep=FOR_GOOD)


@get("/log/vkey", media_type="text/plain", **_PUBLIC)
def verifier_key(home: TheHome, request: Request[Any, Any, Any]) -> Response[bytes]:
    """The key that checkpoints are verified with. Get it in a second way too: who lies about the log lies about it."""
    return public_answer(request, f"{home.values['vkey']}\n".encode(), content_type=TEXT, keep=AN_HOUR)


handlers = [checkpoint, tile, entry, verifier_key]
