"""The service over HTTP: one application for one home; every process that serves it holds its own.

Routes stand in :mod:`tanzhang.api.routes`, who may use them beside each (:mod:`tanzhang.api.access`), errors in
:mod:`tanzhang.api.problems`. Handlers read and write through the verbs of :mod:`tanzhang.service` alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from litestar import Litestar, Request, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.types import Method
from litestar.types.internal_types import PathParameterDefinition

from tanzhang.api import problems
from tanzhang.api.access import FRAMEWORK_PATH, Recogniser, check_access, check_declared
from tanzhang.api.given import Now, TheCaller, TheHome
from tanzhang.api.logs import start_logging
from tanzhang.api.observing import Service, watch_service
from tanzhang.api.orphans import end_with_server
from tanzhang.api.routes import (
    accounts,
    actions,
    auctions,
    benefits,
    certificates,
    consents,
    deals,
    deliveries,
    donations,
    friends,
    guard,
    health,
    keys,
    ledger,
    log,
    lots,
    mall,
    market,
    market_reports,
    me,
    merchants,
    metrics,
    parties,
    partners,
    passings,
    payback,
    payments,
    points,
    privacy,
    public,
    retirements,
    session,
    sign_in,
    staff,
    trail,
    units,
    uploads,
    verification,
    webhooks,
)
from tanzhang.api.taking_in import TakingIn
from tanzhang.api.traces import start_tracing
from tanzhang.api.waiting import MAX_BODY_BYTES
from tanzhang.core.access import Caller
from tanzhang.core.errors import TanzhangError
from tanzhang.service.reading import Reader
from tanzhang.service.reception import Reception
from tanzhang.service.teller import Teller
from tanzhang.stores.home import ACCESS_VARIABLE, Home

HOME_VARIABLE = "TANZHANG_HOME"
"""Names the environment variable that tells a server's processes which home they serve."""
HANDLERS = [
    *health.handlers,
    *accounts.handlers,
    *actions.handlers,
    *uploads.handlers,
    *partners.handlers,
    *payback.handlers,
    *keys.handlers,
    *deliveries.handlers,
    *ledger.handlers,
    *session.handlers,
    *staff.handlers,
    *trail.handlers,
    *webhooks.handlers,
    *sign_in.handlers,
    *me.handlers,
    *friends.handlers,
    *consents.handlers,
    *privacy.handlers,
    *certificates.handlers,
    *points.handlers,
    *guard.handlers,
    *log.handlers,
    *metrics.handlers,
    *public.handlers,
    *mall.handlers,
    *merchants.handlers,
    *donations.handlers,
    *passings.handlers,
    *retirements.handlers,
    *benefits.handlers,
    *market.handlers,
    *lots.handlers,
    *market_reports.handlers,
    *verification.handlers,
    *parties.handlers,
    *units.handlers,
    *deals.handlers,
    *auctions.handlers,
    *payments.handlers,
]


def create_app(
    home: Home, *, now: Callable[[], datetime] | None = None, sorts: bool = False, also: Sequence[Any] = ()
) -> Litestar:
    """The application over a home; ``now`` is the clock, the system's by default, ``also`` are handlers of pages.

    With ``sorts`` what settlement adds is sorted by account in the background where no worker does it, so that reads
    stay fast.
    """
    clock = now or (lambda: datetime.now(UTC))
    reader = Reader(home, sorts=sorts, now=clock)

    # Each asks for the one before, so that they are called one after the other: Litestar (2.25) makes a group of tasks
    # of those that it could call at once, which costs more than all of them.
    def provide_caller(request: Request[Any, Any, Any]) -> Caller:
        caller: Caller = request.state.caller
        return caller

    def provide_now(caller: TheCaller) -> datetime:  # noqa: ARG001
        return clock()

    def provide_home(now: Now) -> Home:  # noqa: ARG001
        return home

    def provide_reader(home: TheHome) -> Reader:  # noqa: ARG001
        return reader

    reception, teller, taking_in = Reception(home, clock), Teller(home, clock), TakingIn(home, clock)
    app = Service(
        # In one router, since the framework wraps a handler twice when a second one of its path is registered after it.
        [Router("/", route_handlers=[*HANDLERS, *also])],
        guards=[check_access],
        logging_config=None,  # whoever serves says where lines go: tanzhang.api.logs
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
            operation_id_creator=_operation_id,
        ),
        request_max_body_size=MAX_BODY_BYTES,
        state=State(
            {
                "home": home,
                "clock": clock,
                "recogniser": Recogniser(home, clock),
                "reception": reception,
                "teller": teller,
                "metrics_token": os.environ.get(metrics.TOKEN_VARIABLE) or None,
                "taking_in": taking_in,
            }
        ),
        on_startup=[reception.open, teller.open, taking_in.resume],
        on_shutdown=[reception.close, teller.close, taking_in.close],
    )
    check_declared(app)
    return app


def _operation_id(_: HTTPRouteHandler, method: Method, path: list[str | PathParameterDefinition]) -> str:
    """A name of its own for each operation, of its method and path; the framework's own names may repeat."""
    parts = [each if isinstance(each, str) else f"by_{each.name}" for each in path]
    return "_".join([method.lower(), *parts]).replace("-", "_").replace(".", "_")


def home_served() -> Home:
    """The home that the environment names, in a process of a server: logs, metrics and traces begin with it."""
    end_with_server()
    start_logging()
    start_tracing()
    watch_service()
    return Home(Path(os.environ[HOME_VARIABLE]), book_access=os.environ.get(ACCESS_VARIABLE) or None)
