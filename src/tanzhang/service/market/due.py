"""What is due of a lot for acts that were taken back, and how its error reserve is cancelled for it (docs/units.md)."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from tanzhang.core.access import Actor
from tanzhang.core.lot import ISSUED, lot_text
from tanzhang.core.market import UNIT_MASS_MG
from tanzhang.core.units import RESERVE, State
from tanzhang.stores.home import Home
from tanzhang.stores.register.units import actor_text


def cancel_due(home: Home, con: sa.Connection, number: int, why: str, at: str, actor: Actor) -> int:
    """Cancel of a lot's reserve what is due of it and not cancelled yet; nothing while it has no units."""
    begun = home.units.begun_in(con, number)
    if begun is None:
        return 0
    reversed_mg = home.units.reversed_mg(con, number)
    missing = -(-reversed_mg // UNIT_MASS_MG[begun.unit]) - home.units.made_good(con, number)
    own = home.units.blocks_in(con, holder=RESERVE, lot=number, states=[State.HELD])
    count = min(missing, sum(each.count for each in own))
    if count <= 0:
        return 0
    name = lot_text(number)
    detail = {"for_lot": name, "reversed_mg": str(reversed_mg), "why": why}
    home.units.compensate(con, number, count, f"{name} {why}", detail, at, actor=actor_text(actor))
    said = {**detail, "count": str(count), "shortfall": str(missing - count)}
    home.audit.write(con, actor, "unit compensate", f"lot {name}", at=at, detail=said)
    return count


def due_of(home: Home, con: sa.Connection, row: Any) -> tuple[int, int, int]:
    """How many units of a lot are due in all, how many were cancelled for it, and how many are missing."""
    reversed_mg, done = home.units.reversed_mg(con, row.number), home.units.made_good(con, row.number)
    due = -(-reversed_mg // row.unit_mass_mg) if row.unit_mass_mg and row.state in ISSUED else 0
    return due, done, max(due - done, 0)
