"""What everybody sees of units: the page of a block with its whole history, and totals by state.

Who holds or held units is nobody else's business and stands on no page; for whom they were retired does where the one
who retired them made it public.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from tanzhang.core.errors import refuse
from tanzhang.core.market import UNIT_MASS_MG
from tanzhang.core.serial import Serial, lot_name
from tanzhang.core.units import Block, Kind, State, totals
from tanzhang.service.market.retire import retirement_page
from tanzhang.stores.home import Home
from tanzhang.stores.register.units import Begun


def block_page(home: Home, text: str) -> dict[str, Any]:
    """The units of a serial number: how they stand now, block by block, and everything that was done to any of them.

    ``serial-malformed``, ``serial-check``, ``unknown-serial``.
    """
    serial = Serial.parse(text, where="path: serial")
    begun = home.units.begun(serial.lot)
    if begun is None or serial.hi > begun.units or begun.serial(serial.lo, serial.hi) != serial:
        remedy = "compare it with where it was taken from; nothing of this number was ever issued here"
        raise refuse("unknown-serial", f"there are no units {serial.text}", where="path: serial", remedy=remedy)
    standing = [block for block in home.units.blocks(lot=serial.lot) if _touches(serial, block.lo, block.hi)]
    history = [_event(begun, row) for row in home.units.events(lot=serial.lot) if _is_about(serial, row)]
    return {
        "serial": serial.text,
        "lot": lot_name(serial.lot),
        "vintage": serial.vintage,
        "region": serial.region,
        "unit": serial.unit,
        "units": str(serial.count),
        "registry": begun.registry,
        "foreign": begun.foreign,
        "blocks": [_block(begun, block) for block in standing],
        "history": history,
        "retirements": [
            retirement_page(home, row.id)
            for row in home.retirements.page(lot=serial.lot)
            if any(_overlap(serial, Serial.parse(each)) for each in json.loads(row.serials))
        ],
    }


def unit_totals(home: Home) -> dict[str, Any]:
    """Units by lot and state, of all that began here; each milligram is in one state, and the sums say which.

    ``issued`` is all that began, whatever became of it; the states below it add up to it.
    """
    lots = home.units.lots()
    blocks: dict[int, list[Block]] = {}
    for block in home.units.blocks():
        blocks.setdefault(block.lot, []).append(block)
    items = [_lot_totals(begun, blocks.get(number, [])) for number, begun in sorted(lots.items())]
    masses = {"issued_mg": 0, "retired_mg": 0, "cancelled_mg": 0}
    for number, begun in lots.items():
        mass, sums = UNIT_MASS_MG[begun.unit], totals(blocks.get(number, []))
        masses["issued_mg"] += begun.units * mass
        masses["retired_mg"] += sums[State.RETIRED] * mass
        masses["cancelled_mg"] += sums[State.CANCELLED] * mass
    return {"log": home.values["origin"], **{name: str(mg) for name, mg in masses.items()}, "lots": items}


def _lot_totals(begun: Begun, blocks: Iterable[Block]) -> dict[str, Any]:
    states = {str(state): str(count) for state, count in totals(blocks).items()}
    where = {"lot": lot_name(begun.lot), "vintage": begun.vintage, "unit": begun.unit}
    return {**where, "issued": str(begun.units), "states": states}


def _block(begun: Begun, block: Block) -> dict[str, Any]:
    return {
        "serial": begun.serial(block.lo, block.hi).text,
        "units": str(block.count),
        "state": str(block.state),
        "tier": block.tier,
    }


def _event(begun: Begun, row: Any) -> dict[str, Any]:
    """What was done to units, without who held them or did it."""
    ranges = json.loads(row.detail)["units"]
    named = [begun.serial(lo, hi).text for lo, hi in ranges]
    return {"event": row.seq, "kind": str(Kind(row.kind)), "made_at": row.made_at, "serials": named}


def _is_about(serial: Serial, row: Any) -> bool:
    return any(_touches(serial, lo, hi) for lo, hi in json.loads(row.detail)["units"])


def _overlap(one: Serial, other: Serial) -> bool:
    return one.lot == other.lot and _touches(one, other.lo, other.hi)


def _touches(serial: Serial, lo: int, hi: int) -> bool:
    return lo < serial.hi and serial.lo < hi
