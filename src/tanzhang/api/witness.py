"""A witness over HTTP (C2SP tlog-witness): ``POST /add-checkpoint`` and ``GET /<origin hash>/checkpoint``.

Both prefixes of the protocol are the root of this application; a proxy may put it anywhere. Who may ask is decided by
the signature on the checkpoint alone, so there is no sign-in and no cookie.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio.to_thread
from granian import Granian
from granian.constants import Interfaces
from litestar import Litestar, Request, Response, get, post
from litestar.params import FromPath

from tanzhang.api.orphans import end_with_server
from tanzhang.core.witness import MAX_REQUEST_BYTES, TEXT_TYPE
from tanzhang.service.witness import add_checkpoint
from tanzhang.stores.witness_state import WitnessState

FOLDER_VARIABLE = "TANZHANG_WITNESS"
"""Names the environment variable that tells a server's workers which witness they are."""

_SHOWN_S = 60  # the protocol lets a monitor see what is at most an hour old


def witness_app(state: WitnessState, now: Callable[[], int] = lambda: int(time.time())) -> Litestar:
    """The application of one witness; ``now`` gives POSIX seconds."""

    @post("/add-checkpoint", request_max_body_size=MAX_REQUEST_BYTES)
    async def cosign(request: Request[Any, Any, Any]) -> Response[bytes]:
        body = await request.body()
        answer = await anyio.to_thread.run_sync(add_checkpoint, state, body, now)
        return _answer(answer.body, answer.status, {"content-type": answer.content_type})

    @get("/{origin_id:str}/checkpoint", sync_to_thread=True)
    def latest(origin_id: FromPath[str]) -> Response[bytes]:
        note = state.latest(origin_id)
        if note is None:
            return _answer(b"never cosigned\n", 404, {"content-type": TEXT_TYPE})
        return _answer(note, 200, {"content-type": TEXT_TYPE, "cache-control": f"max-age={_SHOWN_S}"})

    return Litestar([cosign, latest], openapi_config=None)


def served() -> Litestar:
    """The application of the witness that the environment names: what a server's worker loads."""
    end_with_server()
    return witness_app(WitnessState.open(Path(os.environ[FOLDER_VARIABLE])))


def serve(folder: Path, host: str, port: int) -> None:
    """Serve a witness until it is stopped, in one worker process. ``witness-missing``, ``private-key-invalid``."""
    WitnessState.open(folder)
    os.environ[FOLDER_VARIABLE] = str(folder.resolve())
    target = f"{__name__}:{served.__name__}"
    Granian(target, address=host, port=port, interface=Interfaces.ASGI, factory=True, websockets=False).serve()


def _answer(body: bytes, status: int, headers: dict[str, str]) -> Response[bytes]:
    """An answer with exactly this content type; a ``media_type`` of text would get a charset that is not asked for."""
    return Response(body, status_code=status, headers=headers)
