"""Carbon units for tests, made by the register alone."""

from __future__ import annotations

from tanzhang.core.serial import lot_name
from tanzhang.core.units import PROGRAMME, Block, Kind, State
from tanzhang.stores.home import Home
from tanzhang.stores.register.units import Begun

AT = "2026-07-01T04:00:00+00:00"
TIER = "inclusion"


def begin(
    home: Home, lot: int, units: int, *, holder: str = PROGRAMME, vintage: int = 2025, reference: str | None = None
) -> list[Block]:
    """Let a lot begin as one block, through the register alone."""
    begun = Begun(lot, Kind.ISSUE, "CN-110000", "BEIJING", vintage, "T", units)
    with home.book.transaction() as con:
        blocks = [Block(lot, 0, units, vintage, holder, State.HELD, TIER)]
        return home.units.begin(con, begun, blocks, reference or lot_name(lot), AT, actor="olga")
