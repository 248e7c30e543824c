"""The service with its pages: the application of :mod:`tanzhang.api.app` and what browsers are shown beside it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from litestar import Litestar

from tanzhang.api.app import create_app as create_api
from tanzhang.api.app import home_served
from tanzhang.stores.home import Home
from tanzhang.web.till import route as till
from tanzhang.web.verify import route as verify

HANDLERS = [*verify.handlers, *till.handlers]


def create_app(home: Home, *, now: Callable[[], datetime] | None = None, sorts: bool = False) -> Litestar:
    """As :func:`tanzhang.api.app.create_app`, with the pages."""
    return create_api(home, now=now, sorts=sorts, also=HANDLERS)


def served() -> Litestar:
    """The application of the home that the environment names: what a server's process loads."""
    return create_app(home_served(), sorts=True)
