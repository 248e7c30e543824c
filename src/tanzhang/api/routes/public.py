"""Totals, epochs, batches and the catalogue, for everybody; totals in every cut for the city and for auditors."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get
from litestar.params import PathParameter, QueryParameter

from tanzhang.api.access import allow
from tanzhang.api.given import TheHome
from tanzhang.api.public import AN_HOUR, MOST_ITEMS, page_of, public_json, public_route
from tanzhang.core.access import Role
from tanzhang.service import public
from tanzhang.service.catalogue import show
from tanzhang.service.city import CUTS

A_MINUTE = "public, max-age=60"
CursorParameter = Annotated[
    str | None, QueryParameter(name="cursor", description="Member `next` of the page before.", max_length=64)
]
LimitParameter = Annotated[int, QueryParameter(name="limit", ge=1, le=MOST_ITEMS, description="Items of a page.")]
DayParameter = Annotated[date, PathParameter(description="Local day, YYYY-MM-DD.")]
NumberParameter = Annotated[int, PathParameter(ge=0, le=2**31 - 1, description="Number of a batch, from 0.")]
_TAGS = ["public"]


class NamedEpoch(msgspec.Struct):
    """The epoch by which a total is checked: its day, its entry in which log, how many batches it rests on."""

    day: str
    log: str
    entry: int
    trees: dict[str, dict[str, Any]]
    batches: int


class Amounts(msgspec.Struct):
    """Acts and milligrams of one kind, as texts of whole numbers; granted less reversed is ``mg``."""

    kind: str
    acts: str
    mg: str
    granted_mg: str
    reversed_mg: str
    records: str


class SealedTotals(msgspec.Struct):
    """Totals of the latest epoch, and the sealed cells by behaviour and region of all epochs."""

    programme: str
    rehearsal: bool
    state: str
    epoch: NamedEpoch | None
    batches: int
    totals: list[Amounts]
    cells: dict[str, Any]


class CutTotals(msgspec.Struct):
    """Totals in a cut; each row has a member of each name in ``by`` beside its amounts."""

    programme: str
    rehearsal: bool
    state: str
    batches: int
    since: str | None
    until: str | None
    region: str | None
    partner: str | None
    totals: list[Amounts]
    rows: list[dict[str, str | None]]
    epoch: NamedEpoch | None


class ShownEpoch(msgspec.Struct):
    """A sealed epoch. ``sealed`` is the entry of the log, whose leaf has hash ``leaf``."""

    day: str
    programme: str
    rehearsal: bool
    state: str
    log: str
    entry: int
    batches: dict[str, int | None]
    trees: dict[str, dict[str, Any]]
    cells: dict[str, Any]
    sealed: str
    leaf: str


class ShownBatch(msgspec.Struct):
    """A sealed batch. ``manifest`` is the entry of the log, whose leaf has hash ``leaf``."""

    batch: int
    entry: int
    sealed_at: str
    through: str
    records: str
    root: str
    outcomes: dict[str, str]
    granted: dict[str, str]
    reversed: dict[str, str]
    manifest: str
    leaf: str


class EpochPage(msgspec.Struct):
    """A page of epochs, the first one first."""

    items: list[ShownEpoch]
    next: str | None


class BatchPage(msgspec.Struct):
    """A page of batches, the first one first."""

    items: list[ShownBatch]
    next: str | None


class CatalogueShown(msgspec.Struct):
    """The catalogue that the programme computes by; ``digest`` is of all its files."""

    digest: str
    programme: str
    listed: list[str]
    categories: list[dict[str, Any]]
    slots: dict[str, int]
    gaps: dict[str, Any]
    programmes: list[str]
    factors: list[dict[str, Any]]


@get("/v1/city", **public_route(_TAGS, SealedTotals, "Totals of the latest epoch."))
def city(home: TheHome, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Totals of the programme as of its latest epoch, by which they are checked; cells of few accounts are left out."""
    return public_json(request, public.sealed_totals(home), keep=A_MINUTE)


@get(
    "/v1/city/totals",
    **public_route(_TAGS, CutTotals, "Totals in a cut.", opt=allow(Role.CITY, Role.AUDITOR, Role.OPERATOR)),
)
def city_cut(
    home: TheHome,
    by: Annotated[
        list[str] | None, QueryParameter(description=f"Cut by some of {', '.join(CUTS)}; repeat it.", max_items=6)
    ] = None,
    since: Annotated[date | None, QueryParameter(description="First local day.")] = None,
    until: Annotated[date | None, QueryParameter(description="Last local day.")] = None,
    region: Annotated[str | None, QueryParameter(description="CN, or CN- and six digits: it and all in it.")] = None,
    partner: Annotated[str | None, QueryParameter(description="Id of a partner.")] = None,
    as_of: Annotated[Literal["now", "epoch"], QueryParameter(description="All that is settled, or sealed.")] = "now",
) -> Response[dict[str, Any]]:
    """Live totals in any cut, for the city's staff and auditors. Small cells are shown: they may tell of one person."""
    totals = public.current_totals(
        home,
        by=by or ("behaviour",),
        since=since,
        until=until,
        region=region,
        partner=partner,
        sealed=as_of == "epoch",
    )
    return Response(totals, headers={"cache-control": "no-store"})


@get("/v1/epochs", **public_route(_TAGS, EpochPage, "Epochs in order."))
def epochs(
    home: TheHome, request: Request[Any, Any, Any], cursor: CursorParameter = None, limit: LimitParameter = 50
) -> Response[bytes]:
    """Every sealed epoch: day, entry of the log, roots and totals, and the cells that are shown."""
    rows, following = page_of(public.epoch_rows(home), cursor, limit)
    return public_json(request, _page([public.epoch_shown(home, row) for row in rows], following), keep=A_MINUTE)


@get("/v1/epochs/{day:date}", **public_route(_TAGS, ShownEpoch, "The epoch."))
def epoch(home: TheHome, request: Request[Any, Any, Any], day: DayParameter) -> Response[bytes]:
    """The epoch of a local day. It is sealed once and never changes."""
    return public_json(request, public.epoch_of(home, day), keep=AN_HOUR)


@get("/v1/batches", **public_route(_TAGS, BatchPage, "Batches in order."))
def batches(
    home: TheHome, request: Request[Any, Any, Any], cursor: CursorParameter = None, limit: LimitParameter = 50
) -> Response[bytes]:
    """Every sealed batch: its manifest as the log has it, with totals by outcome and unit."""
    rows, following = page_of(range(home.book.batch_count()), cursor, limit)
    found = public.batch_rows(home, rows[0], len(rows)) if rows else []
    return public_json(request, _page([public.batch_shown(row) for row in found], following), keep=A_MINUTE)


@get("/v1/batches/{number:int}", **public_route(_TAGS, ShownBatch, "The batch."))
def batch(home: TheHome, request: Request[Any, Any, Any], number: NumberParameter) -> Response[bytes]:
    """One sealed batch; it never changes."""
    return public_json(request, public.batch_numbered(home, number), keep=AN_HOUR)


@get("/v1/catalogue", **public_route(_TAGS, CatalogueShown, "Methodologies, factors and their status."))
def catalogue(home: TheHome, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Every methodology and every factor the programme may compute by, each value with its source and status."""
    shown = public.catalogue_shown(home)
    return public_json(request, shown, keep=AN_HOUR)


@get("/v1/catalogue/{identifier:str}", **public_route(_TAGS, dict[str, Any], "All that the catalogue has under an id."))
def catalogue_entry(
    home: TheHome,
    request: Request[Any, Any, Any],
    identifier: Annotated[str, PathParameter(max_length=100, description="Id of a behaviour, factor, source ...")],
) -> Response[bytes]:
    """A behaviour, factor, methodology (also `id@version`), programme, grading scheme or source, with its sources."""
    return public_json(request, show(home.catalogue, identifier), keep=AN_HOUR)


def _page(items: list[Any], following: str | None) -> dict[str, Any]:
    return {"items": items, "next": following}


handlers = [city, city_cut, epochs, epoch, batches, batch, catalogue, catalogue_entry]
