"""``tanzhang serve``: the service over HTTP, and a worker beside it."""

from __future__ import annotations

import os
from multiprocessing import set_start_method
from typing import Annotated

import typer

from tanzhang.cli.beside import worker_beside
from tanzhang.cli.common import HomeOption, answering, folder_of, home_of
from tanzhang.cli.counters import counters


def serve(
    home: HomeOption = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen on.")] = 8080,
    workers: Annotated[int, typer.Option("--workers", min=1, help="How many processes answer.")] = 1,
    no_work: Annotated[
        bool, typer.Option("--no-work", help="Start no worker: 'tanzhang work' runs elsewhere, or nothing is settled.")
    ] = False,
) -> None:
    """Serve a home over HTTP, with a worker beside it."""
    with answering(as_json=False):
        from granian import Granian
        from granian.constants import Interfaces, Loops

        home_of(home)  # what is wrong with it is said here and not by every process
        with counters() as folder:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder  # looked at when the client is imported
            from tanzhang.api.app import HOME_VARIABLE
            from tanzhang.api.logs import SERVER_LOGGING
            from tanzhang.web.app import served

            set_start_method("spawn", force=True)  # engines have threads, which a fork would not take along
            os.environ[HOME_VARIABLE] = str(folder_of(home).resolve())
            target = f"{served.__module__}:{served.__name__}"
            server = Granian(
                target,
                address=host,
                port=port,
                interface=Interfaces.ASGI,
                loop=Loops.uvloop,
                factory=True,
                workers=workers,
                websockets=False,
                respawn_failed_workers=True,
                respawn_interval=0.2,
                log_dictconfig=SERVER_LOGGING,
            )
            with worker_beside(os.environ[HOME_VARIABLE], wanted=not no_work):
                server.serve()
