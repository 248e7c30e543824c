"""Lists page by page; cursors are opaque to callers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar.params import QueryParameter

from tanzhang.core.errors import refuse
from tanzhang.service.cursors import cursor_of, malformed, place_after

MOST_ITEMS, USUAL_ITEMS = 200, 50


Cursor = Annotated[str | None, QueryParameter(description="`next` of the page before.")]
Limit = Annotated[int | None, QueryParameter(description="How many items a page has, 1 to 200; 50 by default.")]


class Page(msgspec.Struct):
    """One page of a list; ``next`` is the cursor of the next page, null on the last."""

    items: list[dict[str, Any]]
    next: str | None = None


def size_of(limit: int | None) -> int:
    """How many items a page has; ``request-malformed`` for none or too many."""
    wanted = USUAL_ITEMS if limit is None else limit
    if not 1 <= wanted <= MOST_ITEMS:
        raise refuse(
            "request-malformed",
            f"a page of {wanted} items cannot be given",
            where="query: limit",
            remedy=f"use 1 to {MOST_ITEMS}",
        )
    return wanted


def page_of(items: Sequence[dict[str, Any]], size: int, key: str) -> Page:
    """A page of the first ``size`` of ``size + 1`` items that were asked for; pages go on after member ``key``."""
    shown = list(items[:size])
    return Page(shown, cursor_of(shown[-1][key]) if len(items) > size else None)


def text_after(cursor: str | None) -> str:
    """The text that a cursor goes on after, empty without a cursor; ``cursor-malformed``."""
    return "" if cursor is None else str(place_after(cursor, str)[0])


def number_after(cursor: str | None) -> int | None:
    """The number that a cursor goes on after; ``cursor-malformed``."""
    return None if cursor is None else int(place_after(cursor, int)[0])


def with_offset(moment: datetime | None, name: str) -> datetime | None:
    """A moment that a query names; ``request-malformed`` if nobody can tell which one it is."""
    if moment is not None and moment.tzinfo is None:
        remedy = "end it with Z or +08:00"
        raise refuse("request-malformed", f"{name} has no offset", where=f"query: {name}", remedy=remedy)
    return moment


def number_named(text: str, what: str) -> int:
    """The number that names something in a path; ``not-found`` for what is none."""
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise refuse("not-found", f"there is no {what} {text[:40]}", where=what, remedy="use a number as it was given")
    return int(text)


def ledger_place(cursor: str | None, batches: int) -> tuple[int, int]:
    """As of how many batches a list of totals is given, and its first item; the beginning without a cursor."""
    if cursor is None:
        return batches, 0
    asked, first = place_after(cursor, int, int)
    if not 0 <= asked <= batches or first < 0:
        raise malformed()
    return asked, first
