"""Who did what dangerous thing, and who of the staff looked at persons' data: for operators and auditors."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from litestar import get
from litestar.params import QueryParameter

from tanzhang.api.access import allow
from tanzhang.api.given import TheHome
from tanzhang.api.paging import Cursor, Limit, Page, number_after, page_of, size_of, with_offset
from tanzhang.core.access import Role
from tanzhang.service import trail as service

_READING = allow(Role.OPERATOR, Role.AUDITOR)
_TAGS = ["operations"]
Who = Annotated[
    str | None, QueryParameter(name="actor", description="Whoever did it, as the rows say.", max_length=200)
]
Since = Annotated[datetime | None, QueryParameter(name="since", description="From this moment on, with offset.")]
Until = Annotated[datetime | None, QueryParameter(name="until", description="Before this moment, with offset.")]


@get("/v1/audit", opt=_READING, sync_to_thread=True, tags=_TAGS)
def acts(
    home: TheHome,
    who: Who = None,
    act: Annotated[
        str | None, QueryParameter(description="An act, or its first words: `key` for all about keys.", max_length=100)
    ] = None,
    since: Since = None,
    until: Until = None,
    cursor: Cursor = None,
    limit: Limit = None,
) -> Page:
    """Who did what dangerous thing, when and from where; the latest first. Nobody can change it."""
    size, span = size_of(limit), {"since": with_offset(since, "since"), "until": with_offset(until, "until")}
    rows = service.dangerous_acts(home, number_after(cursor), size + 1, actor=who, kind=act, **span)
    return page_of(rows, size, "id")


@get("/v1/audit/looks", opt=_READING, sync_to_thread=True, tags=_TAGS)
def looks(
    home: TheHome,
    who: Who = None,
    what: Annotated[
        str | None, QueryParameter(description="What was read, such as `statement`.", max_length=100)
    ] = None,
    since: Since = None,
    until: Until = None,
    cursor: Cursor = None,
    limit: Limit = None,
) -> Page:
    """Who of the staff read or copied whose data, the latest first; each person sees the rows about them too."""
    size, span = size_of(limit), {"since": with_offset(since, "since"), "until": with_offset(until, "until")}
    rows = service.looks_of_staff(home, number_after(cursor), size + 1, actor=who, kind=what, **span)
    return page_of(rows, size, "id")


handlers = [acts, looks]
