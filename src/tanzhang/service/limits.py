"""How much a partner may send: requests and rows a second in each process, rows a day in all of them together."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.programme import Partner, Programme
from tanzhang.service.moments import next_midnight, received_day
from tanzhang.stores.home import Home
from tanzhang.stores.register.partners import count_rows


def too_many_requests(home: Home, partner: str) -> TanzhangError | None:
    """Why a partner's request has to wait, or None; then it is counted."""
    named = home.programme.partners.get(partner)
    per_s = None if named is None else named.limits.requests_per_s
    return None if per_s is None else _waiting(home, partner, "requests", per_s, 1)


def too_fast(home: Home, partner: str, rows: int) -> TanzhangError | None:
    """Why a partner's rows have to wait, or None; then they are counted."""
    named = home.programme.partners.get(partner)
    per_s = None if named is None else named.limits.rows_per_s
    return None if per_s is None else _waiting(home, partner, "rows", per_s, rows)


def rows_a_day(programme: Programme, partners: Iterable[str]) -> dict[str, int]:
    """How many rows a day those of some partners may send that have such a limit."""
    named = [programme.partners[name] for name in {*partners} if name in programme.partners]
    return {each.id: each.limits.rows_per_day for each in named if each.limits.rows_per_day is not None}


def day_is_full(programme: Programme, partner: str, now: datetime) -> TanzhangError:
    """The refusal of rows beyond a partner's limit of a day, which ends at local midnight."""
    limit = programme.partners[partner].limits.rows_per_day
    return refuse(
        "daily-limit-reached",
        f"with these rows {partner} would have sent more than {limit:,} on this day",
        where="body",
        remedy=f"send the rest tomorrow, local day of {programme.time_zone}, or have the operator raise the limit",
        again_in_s=(next_midnight(programme, now) - now).total_seconds(),
    )


def counting(home: Home, partner: str | None, rows: int, now: datetime) -> Callable[[sa.Connection], None] | None:
    """What counts the rows of a partner's file in the transaction that takes it in, or refuses it; None if nothing."""
    programme = home.programme
    limits = {} if partner is None else rows_a_day(programme, [partner])
    if partner is None or not limits:
        return None

    day = received_day(home, now).isoformat()

    def count(con: sa.Connection) -> None:
        if not count_rows(con, partner, day, rows, limits[partner]):
            raise day_is_full(programme, partner, now)

    return count


def agreements(home: Home, partner: str | None) -> list[Any]:
    """What registered agreements say of a partner's rows, or of all partners'; nothing where none is registered."""
    own = home.catalogue.programme(home.programme.id).partners
    said = [
        _agreement(each)
        for name, each in sorted(home.programme.partners.items())
        if partner in (None, name) and (name not in own or _agreement(each) != _agreement(own[name]))
    ]
    return [said] if said else []


def _agreement(partner: Partner) -> list[Any]:
    behaviours = None if partner.behaviours is None else sorted(partner.behaviours)
    return [partner.id, behaviours, partner.evidence, partner.suspended]


def _waiting(home: Home, partner: str, what: str, per_s: int, amount: int) -> TanzhangError | None:
    wait_s = home.rates.wait_s((what, partner), per_s, time.monotonic(), amount)
    if wait_s == 0:
        return None
    return refuse(
        "too-many-requests",
        f"{partner} may send {per_s:,} {what} a second",
        where=what,
        remedy=f"send this again in {math.ceil(wait_s)} s",
        again_in_s=wait_s,
    )
