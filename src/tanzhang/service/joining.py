"""Join accounts into one (link, merge): acts of the person from a day on, and what they hold.

Two things happen at once. From day ``since`` of acts on, everything of the source that is settled later is decided as
the target's: one person, whose overlaps, claims and caps are judged together. And what the source holds is transferred,
and goes on being so, until they part (parting.py); then exactly that comes back. What was settled stays as it was
decided and where it was booked: no record changes, and nothing that was credited to both of them before is decided
again.

docs/people.md has an example, docs/adr/0022-people.md the reasons.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from tanzhang.core.errors import refuse
from tanzhang.core.methodology import canonical_json
from tanzhang.service.links import spans_of
from tanzhang.service.moments import received_at, received_day
from tanzhang.stores.home import Home

if TYPE_CHECKING:
    import duckdb

LINK, MERGE = "link", "merge"
_longest: dict[str, int] = {}


def join(
    home: Home,
    source: uuid.UUID,
    target: uuid.UUID,
    *,
    kind: str = LINK,
    partner: str | None = None,
    since: date | None = None,
    carry: bool = True,
    now: datetime,
    also: Callable[[sa.Connection, str], None] | None = None,
) -> dict[str, Any]:
    """Join an account and its platform accounts to another one; returns the joining.

    ``since`` is a day of acts, by default the first one whose window may still be open. Without ``carry`` what the
    source holds, and acts of earlier days, stay with it. ``also`` is called in the transaction with the joining's id.
    Raises ``join-itself``, ``already-joined``, ``link-overlaps`` if the source is linked to another account in some of
    these days, ``join-future``, ``book-moved`` if links changed at this moment.
    """
    today = received_day(home, now)
    first = since or first_open_day(home, today)
    if first > today:
        raise refuse("join-future", f"{first} is not here yet", where="from", remedy=f"give {today} or an earlier day")
    heads = home.book.heads()
    _check(home, source, target)
    con = home.connect()
    at = received_at(now)
    spans = spans_of(home, con, child=str(source))
    if since is None:  # not before a consent that has ended, nor another than the one that stands
        begins = [until for _, _, _, until in spans if until is not None]
        begins += [begin for _, into, begin, until in spans if into == str(target) and until is None]
        first = min(today, max([first, *map(date.fromisoformat, begins)]))
    rows = _taken_over(spans, source, target, first, at)
    moved = _moved(home, con, source, first)
    for child, begin, until in moved:
        rows.append(link_row(child, child, begin, None, at))
        rows.append(link_row(child, str(target), begin, until, at))
    values: dict[str, Any] = {
        "id": secrets.token_hex(16),
        "kind": kind,
        "source": str(source),
        "target": str(target),
        "partner": partner,
        "carries": int(carry),
        "valid_from": first.isoformat(),
        "moved": canonical_json(moved),
        "made_at": at,
        "ended_at": None,
        "valid_until": None,
    }

    def write(con: sa.Connection) -> None:
        if home.joinings.of_source(str(source)) is not None:
            raise _already(source)
        home.joinings.begin(con, values, home.book.balance(source) if carry else {})
        if also is not None:
            also(con, values["id"])

    home.book.add_links(rows, heads, write)
    return described(values)


def described(row: Mapping[str, Any]) -> dict[str, Any]:
    """A joining as JSON members."""
    return {
        "id": row["id"],
        "kind": row["kind"],
        "account": row["source"],
        "partner": row["partner"],
        "carries": bool(row["carries"]),
        "from": row["valid_from"],
        "until": row["valid_until"],
        "made_at": row["made_at"],
        "ended_at": row["ended_at"],
    }


def first_open_day(home: Home, today: date) -> date:
    """The first day of acts that may still be decided: the programme's longest window ago."""
    digest = home.values["catalogue_digest"]
    if digest not in _longest:  # reading the catalogue takes a moment
        served = (each for each in home.catalogue.all_methodologies() if each.id in home.programme.methodologies)
        windows = (home.programme.window_days(each.activity_family, each.window_days) for each in served)
        _longest[digest] = max(windows, default=0)
    return today - timedelta(days=_longest[digest])


def own_accounts(home: Home, account: uuid.UUID) -> list[uuid.UUID]:
    """An account and all whose holdings are in it: whose records explain what it holds."""
    return [account, *map(uuid.UUID, home.joinings.carried_into(str(account)))]


def _check(home: Home, source: uuid.UUID, target: uuid.UUID) -> None:
    if home.joinings.of_source(str(source)) is not None:
        raise _already(source)
    if home.joinings.root(str(target)) == str(source):
        raise refuse(
            "join-itself",
            f"{target} is {source}, or joined to it",
            where="link",
            remedy="join another account; an account is never part of itself",
        )


def _already(source: uuid.UUID) -> Exception:
    remedy = "end that link first; only whoever it is linked to can"
    return refuse("already-joined", f"{source} is part of an account already", where="link", remedy=remedy)


def _taken_over(spans: list[Any], source: uuid.UUID, target: uuid.UUID, first: date, at: str) -> list[dict[str, Any]]:
    """The source's own consent from a day on, if it does not stand already."""
    begin = first.isoformat()
    for _, account, since, until in spans:
        if until is not None and until <= begin:
            continue
        if account == str(target) and since <= begin and until is None:
            return []
        raise refuse(
            "link-overlaps",
            f"{source} is linked to {'this' if account == str(target) else 'another'} account from {since} "
            f"until {until or 'open'}",
            where="link",
            remedy="choose days after that consent ended",
        )
    return [link_row(str(source), str(target), begin, None, at)]


def _moved(
    home: Home, con: duckdb.DuckDBPyConnection, source: uuid.UUID, first: date
) -> list[tuple[str, str, str | None]]:
    """Platform accounts of the source, and the days from-to of their consents that go along."""
    begin = first.isoformat()
    spans = spans_of(home, con, account=str(source))
    return [(child, max(begin, since), until) for child, _, since, until in spans if until is None or until > begin]


def link_row(child: str, account: str, begin: str, until: str | None, at: str) -> dict[str, Any]:
    """A row of table link."""
    return {"child": child, "account": account, "valid_from": begin, "valid_until": until, "recorded_at": at}
