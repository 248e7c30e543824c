"""Give grams away for good: to a project, to another scheme. What is free to be given, and the transfer."""

from __future__ import annotations

import uuid

import sqlalchemy as sa

from tanzhang.core.donation import DONATED
from tanzhang.core.errors import refuse
from tanzhang.core.passing import PASSED
from tanzhang.stores.home import Home

GIVEN = (DONATED, PASSED)
"""Units of grams that left their person, who has less than nothing of them."""


def free_mg(home: Home, account: uuid.UUID) -> int:
    """Confirmed grams of an account that were given to nobody yet; below zero where acts were taken back since."""
    held = home.book.balance(account)
    return held.get("co2e_mg", 0) + sum(held.get(unit, 0) for unit in GIVEN)


def give_grams(
    home: Home, con: sa.Connection, account: uuid.UUID, target: uuid.UUID, unit: str, amount: int, kind: str, at: str
) -> int:
    """In somebody's transaction: grams of an account go to another one in ``unit``; the transfer's number.

    ``grams-short``.
    """
    free = free_mg(home, account)
    if free < amount:
        raise refuse(
            "grams-short",
            f"{amount} mg are to be given, and {max(free, 0)} mg are confirmed and not given yet",
            where="grams_mg",
            remedy="give less, or wait until more acts are confirmed; an account that is part of another holds nothing",
        )
    return home.joinings.give(con, str(account), str(target), {unit: amount}, kind, at)
