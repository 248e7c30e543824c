"""Give grams away for good: to a project, to another scheme."""

from __future__ import annotations

import uuid

import sqlalchemy as sa

from tanzhang.core.errors import refuse
from tanzhang.service.market.available import available_mg
from tanzhang.stores.home import Home


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
