"""The ledger of a partner: what its users saved, for its own page, as a statement and as a file."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from litestar import Request, Response, get
from litestar.params import FromPath, QueryParameter

from tanzhang.api.access import allow
from tanzhang.api.actors import partner_meant
from tanzhang.api.conditional import version_known, versioned
from tanzhang.api.given import TheCaller, TheHome
from tanzhang.api.paging import Cursor, Limit, ledger_place, size_of
from tanzhang.core.access import Role, Scope
from tanzhang.core.errors import refuse
from tanzhang.service import ledger as service
from tanzhang.service.city import partner_ledger
from tanzhang.service.cursors import cursor_of
from tanzhang.service.grading import grade_partner
from tanzhang.stores.home import Home

_READING = allow(Role.PARTNER, Role.ENTERPRISE, Role.OPERATOR, Role.AUDITOR, scope=Scope.LEDGER)
_TAGS = ["ledger"]
_FINEST = ",".join(service.FINEST)
Of = Annotated[str | None, QueryParameter(name="partner", description="Whose; callers of a partner leave it out.")]
Since = Annotated[date | None, QueryParameter(name="from", description="First local day of the acts.")]
Until = Annotated[date | None, QueryParameter(name="to", description="Last local day of the acts.")]
By = Annotated[
    str,
    QueryParameter(
        name="by", description="Cuts with commas between: behaviour, variant (product line), district, day, month ..."
    ),
]
Form = Annotated[Literal["json", "csv"], QueryParameter(name="format")]


@get("/v1/ledger", opt=_READING, sync_to_thread=True, tags=_TAGS)
def ledger(
    home: TheHome,
    caller: TheCaller,
    request: Request[Any, Any, Any],
    of: Of = None,
    since: Since = None,
    until: Until = None,
    by: By = "behaviour",
    cursor: Cursor = None,
    limit: Limit = None,
) -> Response[Any]:
    """What a partner's users were credited with through it, cut as asked, in mg as text; facilitated, not owned.

    ``totals`` is of all days asked for; ``items`` are the cells, page by page, all as of the same batch.
    """
    partner, size = partner_meant(caller, of), size_of(limit)
    batches, first = ledger_place(cursor, home.book.batch_count())
    version = f"{batches}-{home.partners.revision()}-{first}-{size}"
    if version_known(request, version):
        return versioned(request, version, {})
    cuts = _cuts(by)
    found = partner_ledger(home, partner, since=since, until=until, by=cuts, batches=batches)
    rows = found.pop("rows")
    more = len(rows) > first + size
    said = {
        **found,
        "batches": str(batches),
        "outcomes": {name: str(records) for name, records in found["outcomes"].items()},
        "not_kept": str(found["not_kept"]),
        "items": rows[first : first + size],
        "next": cursor_of(batches, first + size) if more else None,
    }
    return versioned(request, version, said)


@get("/v1/ledger/export", opt=_READING, sync_to_thread=True, tags=_TAGS, media_type="text/csv")
def export(
    home: TheHome,
    caller: TheCaller,
    of: Of = None,
    since: Since = None,
    until: Until = None,
    by: By = _FINEST,
) -> Response[bytes]:
    """The ledger of some days as CSV, one line a cell; each line says that it is facilitated."""
    partner = partner_meant(caller, of)
    data = service.ledger_csv(home, partner, since=since, until=until, by=_cuts(by))
    return _file(data, f"ledger-{partner}.csv")


@get(
    "/v1/ledger/statements/{month:str}",
    opt={**_READING, "also_answers": ("text/csv",)},
    sync_to_thread=True,
    tags=_TAGS,
)
def statement(
    home: TheHome,
    caller: TheCaller,
    request: Request[Any, Any, Any],
    month: FromPath[str],
    of: Of = None,
    form: Form = "json",
) -> Response[Any]:
    """The statement of a month (YYYY-MM) as of now, as JSON or CSV."""
    partner = partner_meant(caller, of)
    if form == "csv":
        since, until = service.days_of(month)
        return _file(service.ledger_csv(home, partner, since=since, until=until), f"statement-{partner}-{month}.csv")
    version = _version(home)
    if version_known(request, version):
        return versioned(request, version, {})
    return versioned(request, version, service.statement(home, partner, month))


@get("/v1/ledger/grade", opt=_READING, sync_to_thread=True, tags=_TAGS)
def grade(
    home: TheHome,
    caller: TheCaller,
    request: Request[Any, Any, Any],
    month: Annotated[str, QueryParameter(description="YYYY-MM", pattern="^[0-9]{4}-(0[1-9]|1[0-2])$")],
    of: Of = None,
) -> Response[Any]:
    """The grade of a month by the scheme that the programme names for partners, from what its users were confirmed."""
    partner, version = partner_meant(caller, of), _version(home)
    if version_known(request, version):
        return versioned(request, version, {})
    since, _ = service.days_of(month)
    return versioned(request, version, grade_partner(home, partner, since))


def _version(home: Home) -> str:
    return f"{home.book.batch_count()}-{home.partners.revision()}"


def _cuts(by: str) -> tuple[str, ...]:
    cuts = tuple(dict.fromkeys(each.strip() for each in by.split(",") if each.strip()))
    if not cuts:
        raise refuse("unknown-cut", "no cut is named", where="query: by", remedy="name one, such as behaviour")
    return cuts


def _file(data: bytes, name: str) -> Response[bytes]:
    headers = {"content-disposition": f'attachment; filename="{name}"', "content-type": "text/csv; charset=utf-8"}
    return Response(data, headers=headers)


handlers = [ledger, export, statement, grade]
