"""Reports of the market: what units were sold for, and where each milligram of the programme stands now.

The overview counts a milligram once: what is confirmed is in no lot and was given to nobody, what is in a lot that is
not issued yet is reserved, and what was issued stands where its unit does. Section 9, 9 of the rules of units.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow.compute as pc
import sqlalchemy as sa

from tanzhang.core.deal import DealState
from tanzhang.core.donation import DONATED
from tanzhang.core.lot import ISSUED, RESERVED
from tanzhang.core.market import UNIT_MASS_MG
from tanzhang.core.passing import PASSED
from tanzhang.core.units import State
from tanzhang.stores.book import system_account, transfer
from tanzhang.stores.home import Home
from tanzhang.stores.register.joinings import CARRIED, USED
from tanzhang.stores.register.lots import COMPENSATED

STATES = ("confirmed", "donated", "passed_on", "reserved", "issued", "retired", "cancelled", "expired", "exported")
_TERMINAL = {
    State.RETIRED: "retired",
    State.CANCELLED: "cancelled",
    State.EXPIRED: "expired",
    State.EXPORTED: "exported",
}
"""State of a block -> what its milligrams count as; of all other states they are ``issued``."""


def price_history(home: Home) -> dict[str, Any]:
    """Delivered deals by local day, vintage and unit mass, the earliest first: units, money, lowest and highest price.

    ``average_fen`` is money by units, rounded down to a whole fen. Who bought and sold is not told.
    """
    zone = ZoneInfo(home.programme.time_zone)
    lots = home.units.lots()
    found: dict[tuple[str, int, int], list[Any]] = {}
    for deal in home.deals.all():
        if deal.state == DealState.DELIVERED and deal.lot in lots:
            begun, day = lots[deal.lot], datetime.fromisoformat(deal.changed_at).astimezone(zone).date()
            found.setdefault((day.isoformat(), begun.vintage, UNIT_MASS_MG[begun.unit]), []).append(deal)
    return {
        "programme": home.programme.id,
        "currency": "CNY",
        "prices": [_priced(*key, deals) for key, deals in sorted(found.items())],
    }


def _priced(day: str, vintage: int, unit_mass_mg: int, deals: Iterable[Any]) -> dict[str, str]:
    own = list(deals)
    units, gross_fen = sum(deal.units for deal in own), sum(deal.gross_fen for deal in own)
    prices = [deal.price_fen for deal in own]
    return {
        "day": day,
        "vintage": str(vintage),
        "unit_mass_mg": str(unit_mass_mg),
        "deals": str(len(own)),
        "units": str(units),
        "gross_fen": str(gross_fen),
        "lowest_fen": str(min(prices)),
        "highest_fen": str(max(prices)),
        "average_fen": str(gross_fen // units),
    }


def market_overview(home: Home) -> dict[str, Any]:
    """Where each milligram of the programme stands, each in exactly one of :data:`STATES`; by lot as well.

    ``granted_mg`` is what acts came to, less what was taken back; ``compensated_mg`` was taken back after its lot was
    issued, when units of the reserve were cancelled for it, so the states come to ``granted_mg`` and that.
    """
    with home.book.snapshot():
        stand = dict.fromkeys(STATES, 0)
        granted = -sum(
            home.book.balance(system_account(f"partner:{name}")).get("co2e_mg", 0) for name in _partners(home)
        )
        stand["donated"], stand["passed_on"] = _used(home, DONATED), _used(home, PASSED)
        lots, compensated = [], 0
        for row in home.lots.all(states=RESERVED | ISSUED)[::-1]:
            own, again = _of_lot(home, row)
            for name, amount in own.items():
                stand[name] += amount
            compensated += again
            lots.append({"lot": f"L{row.number:06d}", "vintage": str(row.vintage), "state": row.state, **_texts(own)})
        in_lots = sum(stand[name] for name in STATES[3:])
        stand["confirmed"] = granted + compensated - stand["donated"] - stand["passed_on"] - in_lots
    return {
        "programme": home.programme.id,
        "granted_mg": str(granted),
        "compensated_mg": str(compensated),
        **_texts(stand),
        "lots": lots,
    }


def _of_lot(home: Home, row: Any) -> tuple[dict[str, int], int]:
    """Where a lot's milligrams stand, and what was taken back of it for which units stand, once it is issued."""
    taken_back = int(pc.sum(home.lots.shares(row.number, COMPENSATED)["amount"]).as_py() or 0)
    if row.state not in ISSUED:
        return {"reserved": row.total_mg - taken_back}, 0
    own: dict[str, int] = {}
    for block in home.units.blocks(lot=row.number):
        name = _TERMINAL.get(State(block.state), "issued")
        own[name] = own.get(name, 0) + block.count * row.unit_mass_mg
    return own, taken_back


def _used(home: Home, unit: str) -> int:
    """What went from persons to projects or schemes for good, in a unit that says so."""
    own = (transfer.c.unit == unit) & (transfer.c.amount > 0) & transfer.c.kind.not_in((*CARRIED, USED))
    return int(home.book.query(sa.select(sa.func.coalesce(sa.func.sum(transfer.c.amount), 0)).where(own))[0][0])


def _partners(home: Home) -> list[str]:
    home.partners.look_again()
    return list(home.programme.partners)


def _texts(amounts: dict[str, int]) -> dict[str, str]:
    return {f"{name}_mg": str(amount) for name, amount in amounts.items()}
