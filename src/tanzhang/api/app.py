"""The service over HTTP: one application for one home; every process that serves it holds its own.

Routes stand in :mod:`tanzhang.api.routes`, who may use them beside each (:mod:`tanzhang.api.access`), errors in
:mod:`tanzhang.api.problems`. Handlers read and write through the verbs of :mod:`tanzhang.service` alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from litestar import Litestar, Request
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from tanzhang.api import problems
from tanzhang.api.access import FRAMEWORK_PATH, Recogniser, check_access, check_declared
from tanzhang.api.routes import accounts, health
from tanzhang.core.access import Caller
from tanzhang.core.errors import TanzhangError
from tanzhang.service.reading import Reader
from tanzhang.stores.home import ACCESS_VARIABLE, Home

HOME_VARIABLE = "TANZHANG_HOME"
"""Names the environment variable that tells a server's processes which home they serve."""
MAX_BODY_BYTES = 64 << 20
HANDLERS = [*health.handlers, *accounts.handlers]


def create_app(home: Home, *, now: Callable[[], datetime] | None = None, sorts: bool = False) -> Litestar:
    """The application over a home; ``now`` is the clock, the system's by default.

    With ``sorts`` what settlement adds is sorted by account in the background, so that reads stay fast.
    """
    clock = now or (lambda: datetime.now(UTC))
    reader = Reader(home, sorts=sorts)

    def provide_home() -> Home:
        return home

    def provide_reader() -> Reader:
        return reader

    def provide_now() -> datetime:
        return clock()

    def provide_caller(request: Request[Any, Any, Any]) -> Caller:
        caller: Caller = request.state.caller
        return caller

    app = Litestar(
        HANDLERS,
        guards=[check_access],
        dependencies={
            "home": Provide(provide_home, sync_to_thread=False),
            "reader": Provide(provide_reader, sync_to_thread=False),
            "now": Provide(provide_now, sync_to_thread=False),
            "caller": Provide(provide_caller, sync_to_thread=False),
        },
        exception_handlers={
            TanzhangError: problems.on_refusal,
            HTTPException: problems.on_http_exception,
            Exception: problems.on_anything,
        },
        openapi_config=OpenAPIConfig(
            title="Tanzhang 碳账",
            version="1",
            path=FRAMEWORK_PATH,
            render_plugins=[JsonRenderPlugin()],
            use_handler_docstrings=True,
        ),
        request_max_body_size=MAX_BODY_BYTES,
        state=State({"home": home, "recogniser": Recogniser(home, clock)}),
    )
    check_declared(app)
    return app


def served() -> Litestar:
    """The application of the home that the environment names: what a server's process loads."""
    home = Home(Path(os.environ[HOME_VARIABLE]), book_access=os.environ.get(ACCESS_VARIABLE) or None)
    return create_app(home, sorts=True)
