"""What everybody may know of the market: prices, where milligrams stand, open data of lots, public packages."""

from __future__ import annotations

from typing import Any

from litestar import MediaType, Request, Response, get, post
from litestar.params import FromPath

from tanzhang.api.access import allow
from tanzhang.api.actors import actor_of
from tanzhang.api.given import Now, TheCaller, TheHome
from tanzhang.api.public import A_MOMENT, public_answer, public_json, public_route
from tanzhang.core.access import Role
from tanzhang.core.lot import lot_number
from tanzhang.service.market.open_data import as_csv, open_data, rows_of
from tanzhang.service.market.published_packages import public_package, publish_package
from tanzhang.service.market.reports import market_overview, price_history

_TAGS = ["market"]
AnyRequest = Request[Any, Any, Any]


def _public(description: str, media_type: str | MediaType = MediaType.JSON) -> dict[str, Any]:
    answer = dict[str, Any] if media_type == MediaType.JSON else bytes
    return public_route(_TAGS, answer, description, media_type=media_type)


@get("/v1/market/prices", **_public("Prices."))
def prices(home: TheHome, request: AnyRequest) -> Response[bytes]:
    """What units were sold for: delivered deals by local day, vintage and unit mass."""
    return public_json(request, price_history(home), keep=A_MOMENT)


@get("/v1/market/overview", **_public("Where each milligram stands."))
def overview(home: TheHome, request: AnyRequest) -> Response[bytes]:
    """Where each milligram stands: confirmed, reserved, issued, retired and so on, each counted once."""
    return public_json(request, market_overview(home), keep=A_MOMENT)


@get("/v1/market/open-data", **_public("Registered lots by region and behaviour."))
def lots(home: TheHome, now: Now, request: AnyRequest) -> Response[bytes]:
    """Registered lots by region and behaviour, without cells of few accounts, and what each column means."""
    return public_json(request, open_data(home, now=now), keep=A_MOMENT)


@get("/v1/market/open-data.csv", **_public("The cells as CSV.", "text/csv"))
def cells(home: TheHome, now: Now, request: AnyRequest) -> Response[bytes]:
    """The cells of registered lots as CSV."""
    body = as_csv(rows_of(open_data(home, now=now))).encode()
    return public_answer(request, body, content_type="text/csv; charset=utf-8", keep=A_MOMENT)


@get("/v1/market/lots/{lot:str}/package", **_public("The package.", "application/zip"))
def package(home: TheHome, request: AnyRequest, lot: FromPath[str]) -> Response[bytes]:
    """The public data package of a lot, as it was last published; nobody is in it. For 'tanzhang verify --lot'."""
    body = public_package(home, lot_number(lot))
    return public_answer(request, body, content_type="application/zip", keep=A_MOMENT)


@post("/v1/market/lots/{lot:str}/package", opt=allow(Role.OPERATOR), sync_to_thread=True, tags=_TAGS)
def publish(home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, lot: FromPath[str]) -> dict[str, Any]:
    """Make the public data package of a registered lot as of now, and let everybody read it."""
    return publish_package(home, lot_number(lot), actor=actor_of(request, caller), now=now)


handlers = [prices, overview, lots, cells, package, publish]
