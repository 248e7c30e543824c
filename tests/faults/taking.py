"""Serves a home as ``tanzhang serve`` does, with a route that takes reports in: ``python taking.py HOME PORT WORKERS``.

``FILE_BYTES`` in the environment bounds every file that is written, as a disk that fills up does.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
from multiprocessing import set_start_method
from pathlib import Path
from typing import Any

from granian import Granian
from granian.constants import Interfaces
from litestar import Litestar, Request, Response, post

from tanzhang.api.access import EVERYBODY
from tanzhang.api.app import HOME_VARIABLE, create_app
from tanzhang.api.given import Now, TheHome
from tanzhang.cli.beside import worker_beside
from tanzhang.service.receive import Receiver
from tanzhang.service.receive import Request as Reported
from tanzhang.stores.home import Home

PATH = "/test/actions"
_lock = threading.Lock()
_receivers: dict[Home, Receiver] = {}


@post(PATH, opt=EVERYBODY, sync_to_thread=True)
def take_in(request: Request[Any, Any, Any], home: TheHome, now: Now, data: list[Any]) -> Response[bytes]:
    """Events of one partner, whoever asks."""
    events = [json.dumps(each).encode() for each in data]
    key = request.headers.get("idempotency-key")
    with _lock:
        receiver = _receivers.setdefault(home, Receiver(home))
        (answer,) = receiver.receive([Reported(data[0]["source"], events, key)], now=now)
    if answer.error is not None:
        raise answer.error
    return Response(answer.body, media_type="application/json")


def served() -> Litestar:
    """The application with that route."""
    app = create_app(Home(Path(os.environ[HOME_VARIABLE])))
    app.register(take_in)
    return app


def main() -> None:
    """Serve until stopped."""
    folder, port, workers = sys.argv[1:]
    os.environ[HOME_VARIABLE] = folder
    limit = int(os.environ.get("FILE_BYTES", "0"))
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    set_start_method("spawn", force=True)
    server = Granian(
        "tests.faults.taking:served",
        port=int(port),
        interface=Interfaces.ASGI,
        factory=True,
        workers=int(workers),
        websockets=False,
        respawn_failed_workers=True,
        respawn_interval=0.1,
        log_enabled=False,
    )
    with worker_beside(folder):
        server.serve()


if __name__ == "__main__":
    main()
