"""Part accounts that were joined (joining.py): acts are the source's again, and what it brought goes back to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from tanzhang.core.errors import refuse
from tanzhang.service.giving import go_along
from tanzhang.service.joining import described, link_row
from tanzhang.service.links import spans_of
from tanzhang.service.moments import received_at, received_day
from tanzhang.stores.book import link
from tanzhang.stores.home import Home

if TYPE_CHECKING:
    import duckdb


def part(
    home: Home, name: str, *, now: datetime, also: Callable[[sa.Connection], None] | None = None
) -> dict[str, Any]:
    """End a joining: acts from today on are the source's again, and what it brought goes back to it.

    Acts of the days between stay the target's. Raises ``joining-ended``, ``not-found``, ``book-moved``.
    """
    heads = home.book.heads()
    row = home.joinings.get(name)
    if row is None or row.ended_at is not None:
        raise refuse(
            "not-found" if row is None else "joining-ended",
            "there is no such link" if row is None else f"it ended on {row.valid_until}",
            where="link",
            remedy="look at the list of links",
        )
    con, at = home.connect(), received_at(now)
    day = received_day(home, now).isoformat()
    rows = _ended(home, con, row.source, row.target, day, at)
    for child, _, until in json.loads(row.moved):
        if until is not None and until <= day:
            continue
        ended = _ended(home, con, child, row.target, day, at)
        rows += ended
        if ended:  # not if the person let that platform account go meanwhile
            rows.append(link_row(child, row.source, ended[0]["valid_from"], until, at))

    def write(con: sa.Connection) -> None:
        standing = home.joinings.get(name)
        if standing is None or standing.ended_at is not None:
            raise refuse("book-moved", "the link changed meanwhile", where="the book", remedy="try again")
        home.joinings.finish(con, standing, at=at, valid_until=day)
        go_along(home, con, standing, at)
        if also is not None:
            also(con)

    home.book.add_links(rows, heads, write)
    return described({**row._mapping, "ended_at": at, "valid_until": day})


def _ended(
    home: Home, con: duckdb.DuckDBPyConnection, child: str, account: str, day: str, at: str
) -> list[dict[str, Any]]:
    """The row that ends what stands of a child's consent into an account, if anything does."""
    for _, into, since, until in spans_of(home, con, child=child):
        if into == account and (until is None or until > day):
            # What a file says of its first day cannot be told from what is said anew of that day.
            of_file = since == day and not _is_row(home, child, account)
            return [link_row(child, child, _after(day) if of_file else day, None, at)]
    return []


def _is_row(home: Home, child: str, account: str) -> bool:
    own = sa.select(link.c.seq).where((link.c.child == child) & (link.c.account == account))
    return bool(home.book.query(own.limit(1)))


def _after(day: str) -> str:
    return (date.fromisoformat(day) + timedelta(days=1)).isoformat()
