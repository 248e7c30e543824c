"""Grams given away for good, to a project or to another scheme: from whom, and what of it was whose."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tanzhang.core.allocation import Taking
from tanzhang.core.donation import DONATED
from tanzhang.core.errors import refuse
from tanzhang.core.passing import PASSED
from tanzhang.service.joining import own_accounts
from tanzhang.service.market.available import available_mg
from tanzhang.stores.home import Home
from tanzhang.stores.register.joinings import CARRIED, USED

USED_UNITS = (DONATED, PASSED)
"""What is given is booked in these units. Transfers of joinings only say in which account it stands."""


def give_grams(
    home: Home, con: sa.Connection, account: uuid.UUID, target: uuid.UUID, unit: str, amount: int, kind: str, at: str
) -> int:
    """In somebody's transaction: grams of an account go to another one in ``unit``; the transfer's number.

    ``grams-short``.
    """
    free = available_mg(home, account)
    if free < amount:
        raise refuse(
            "grams-short",
            f"{amount} mg are to be given, and {max(free, 0)} mg are confirmed and neither given yet nor in a lot",
            where="grams_mg",
            remedy="give less, or wait until more acts are confirmed; an account that is part of another holds nothing",
        )
    return home.joinings.give(con, str(account), str(target), {unit: amount}, kind, at)


@dataclass(slots=True)
class Given:
    """What an account gave by one transfer, less what of it went along with accounts that parted."""

    account: str
    unit: str
    number: int
    batches: int
    made_at: str
    amount_mg: int


def given_by(home: Home, pool: Iterable[uuid.UUID]) -> list[Given]:
    """What accounts whose holdings are together gave or passed on, in the order in which they did.

    What went along with an account that parted is given by that account then, and what was last given before by
    whoever gave it is smaller for it; if both are of the pool, it is as if they had never parted.
    """
    legs = [leg for account in pool for leg in home.book.transfers(account)]
    legs = sorted((leg for leg in legs if leg.unit in USED_UNITS and leg.kind not in CARRIED), key=lambda leg: leg.seq)
    sides = Counter(leg.number for leg in legs if leg.kind == USED)
    found: list[Given] = []
    for leg in legs:
        if sides[leg.number] > 1:
            continue
        if leg.amount < 0:
            found.append(Given(leg.account, leg.unit, leg.number, leg.batches, leg.made_at, -leg.amount))
        elif leg.kind == USED:
            _make_smaller(found, leg)
    return [each for each in found if each.amount_mg]


def _make_smaller(given: list[Given], leg: Any) -> None:
    left = leg.amount
    for each in reversed(given):
        if (each.account, each.unit) == (leg.account, leg.unit):
            part = min(left, each.amount_mg)
            each.amount_mg -= part
            left -= part


def takings_of(home: Home, pool: Iterable[uuid.UUID]) -> list[Taking]:
    """What was given by accounts whose holdings are together; a taking is called by the number of its transfer."""
    return [Taking(str(each.number), each.batches, each.amount_mg) for each in given_by(home, pool)]


def go_along(home: Home, con: sa.Connection, joining: Any, at: str) -> None:
    """Let what was given of a source's grams go along with it, in the transaction in which a joining ended.

    Whoever holds may have given more meanwhile than is left without the source. What is short is what was given last
    since they joined, and is the source's then, as far as that has so much: it cannot be given twice.
    """
    if not joining.carries:
        return
    with home.book.within(con):
        holder = uuid.UUID(home.joinings.holder(joining.target))
        source = uuid.UUID(joining.source)
        short = min(-available_mg(home, holder), available_mg(home, source))
        taken: dict[tuple[str, str], int] = {}
        for each in reversed(given_by(home, own_accounts(home, holder)) if short > 0 else []):
            part = min(short, each.amount_mg) if each.made_at >= joining.made_at else 0
            if part > 0:
                place = (each.account, each.unit)
                taken[place] = taken.get(place, 0) + part
                short -= part
        home.joinings.go_along(con, joining.source, taken, at)
