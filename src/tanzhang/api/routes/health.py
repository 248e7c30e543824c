"""Whether the process lives, and whether it can serve."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from litestar import Request, Response, get

from tanzhang.api.access import EVERYBODY
from tanzhang.api.description import described
from tanzhang.api.given import TheHome
from tanzhang.core.errors import TanzhangError
from tanzhang.stores.book import home as settings


@get("/healthz", opt=EVERYBODY, sync_to_thread=False, tags=["operations"])
def alive() -> dict[str, str]:
    """That the process answers; nothing else is looked at."""
    return {"status": "alive"}


@get("/readyz", opt=EVERYBODY, sync_to_thread=True, tags=["operations"])
def ready(home: TheHome) -> Response[dict[str, Any]]:
    """Whether book, keys and log can be used; 503 if one cannot, with the code of why."""
    checks = {
        "book": lambda: home.book.query(sa.select(sa.func.count()).select_from(settings)),
        "keys": lambda: home.identity_key,
        "log": lambda: home.log.size,
    }
    found = {name: _said(check) for name, check in checks.items()}
    good = all(said == "ready" for said in found.values())
    return Response({"status": "ready" if good else "unready", "checks": found}, status_code=200 if good else 503)


def _said(check: Any) -> str:
    try:
        check()
    except TanzhangError as error:
        return error.code
    except Exception:
        return "internal-error"
    return "ready"


@get("/openapi.json", opt=EVERYBODY, sync_to_thread=False, include_in_schema=False)
def document(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """What the service can be asked, as an OpenAPI document."""
    return described(request.app)


handlers = [alive, ready, document]
