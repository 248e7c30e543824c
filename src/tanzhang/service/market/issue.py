"""Issue (签发): the units of a registered lot, once, and into whose hands they go.

One transaction: the units as the log's entry of the lot has them, cut into sub-ranges for the programme, the error
reserve and every levy; what levies are to be cancelled is cancelled in it, and so is of the reserve what was taken back
of the lot's members since it was frozen; the lot is issued; the log says so. Its key is the lot: whoever asks again,
from any process and after any crash, is told what was done the first time.
docs/units.md, docs/adr/0033-units.md.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tanzhang.core.access import Actor
from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.lot import LotEntry, LotState, lot_text
from tanzhang.core.market import MarketRules
from tanzhang.core.methodology import canonical_json
from tanzhang.core.serial import code_of, letter_of
from tanzhang.core.units import Block, Kind, parts_of_issue
from tanzhang.service.market.compensate import look
from tanzhang.service.market.due import cancel_due
from tanzhang.service.market.rules import market_rules_of
from tanzhang.service.moments import received_at
from tanzhang.stores.book import append, entry
from tanzhang.stores.home import Home
from tanzhang.stores.register.units import Begun, actor_text, answer_of, reference_taken

ENTRY = "units-issued"
"""The kind of entries of the log that say into which blocks a lot was issued."""
FORMAT = "tanzhang.units-issued/1"


def issue(home: Home, number: int, *, reference: str, actor: Actor, now: datetime) -> dict[str, Any]:
    """Issue the units of a lot; the same ``reference`` again answers the same.

    ``unknown-lot``, ``lot-state`` unless it is registered, ``lot-issued``, ``lot-too-small``, ``lot-not-logged`` where
    the lot is not what the log says, ``reference-taken``, ``home-busy``.
    """
    with home.settling():
        row = home.lots.one(number)
        begun, blocks = _of_lot(home, row)
        look(home, now=now)
        with home.book.transaction() as con:
            known = home.units.event_in(con, Kind.ISSUE, reference)
            if known is None:
                _issue(home, con, begun, blocks, reference, actor, received_at(now))
            elif known.lot != number:
                raise reference_taken(Kind.ISSUE, reference)
        home.publish()
    return issued(home, number)


def issued(home: Home, number: int) -> dict[str, Any]:
    """Into what a lot was issued, as it was then; ``not-issued``."""
    row = next((each for each in home.units.events(lot=number, limit=1) if each.kind == Kind.ISSUE), None)
    begun = home.units.begun(number)
    if row is None or begun is None:
        raise refuse(
            "not-issued", f"{lot_text(number)} has no units", where="lot", remedy="issue it once it is registered"
        )
    detail = json.loads(row.detail)
    return {
        "status": "issued",
        "lot": lot_text(number),
        "units": str(begun.units),
        "parts": parts_shown(begun, answer_of(row)),
        "issued_at": row.made_at,
        "reference": row.reference,
        "entry": str(detail["entry"]),
    }


def _of_lot(home: Home, row: Any) -> tuple[Begun, list[Block]]:
    """What a lot is to be issued as: the units of its entry in the log, by the rules it was frozen under."""
    if row.entry is None:
        raise _wrong_state(row)
    said = _entry_of(home, row)
    rules = market_rules_of(home, said.terms)
    units = said.total_mg // said.unit_mass_mg
    begun = Begun(
        said.number,
        Kind.ISSUE,
        said.region,
        code_of(home.programme.id),
        said.vintage,
        letter_of(said.unit_mass_mg),
        units,
        rules.default_tier,
    )
    return begun, _blocks(begun, rules)


def _blocks(begun: Begun, rules: MarketRules) -> list[Block]:
    """The parts of an issue as explicit sub-ranges, the programme's first."""
    blocks, lo = [], 0
    for part in parts_of_issue(begun.units, rules):
        blocks.append(Block(begun.lot, lo, lo + part.count, begun.vintage, part.holder, part.state, begun.tier))
        lo += part.count
    return blocks


def _entry_of(home: Home, row: Any) -> LotEntry:
    """What the log says of a lot; ``lot-not-logged`` where its row in the book is not that."""
    texts = [text for index, text in home.lots.sealed() if index == row.entry]
    try:
        said = LotEntry.parse(texts[0]) if texts else None
    except TanzhangError:
        said = None
    own = (row.number, row.vintage, row.region, row.terms, row.unit_mass_mg, row.units, row.total_mg, row.root)
    if (
        said is None
        or (said.number, said.vintage, said.region, said.terms) != own[:4]
        or (said.unit_mass_mg, said.units, said.total_mg, said.root.hex()) != own[4:]
        or said.units * said.unit_mass_mg != said.total_mg
    ):
        raise refuse(
            "lot-not-logged",
            f"{lot_text(row.number)} is not what the log says of it",
            where=f"entry {row.entry}",
            remedy="run 'tanzhang verify', and restore the book from a backup; nothing is issued meanwhile",
        )
    return said


def _issue(
    home: Home, con: sa.Connection, begun: Begun, blocks: Sequence[Block], reference: str, actor: Actor, at: str
) -> None:
    """The one transaction of an issue."""
    index = append(con, entry, {"kind": ENTRY, "text": entry_text(home.programme.id, begun, blocks)})
    said = {"entry": index}
    home.units.begin(con, begun, blocks, reference, at, actor=actor_text(actor), detail=said)
    detail = {"units": begun.units, "reference": reference, "entry": index}
    home.lots.advance(con, begun.lot, LotState.ISSUED, detail=detail, actor=actor, at=at)
    cancel_due(home, con, begun.lot, "at issue", at, actor)


def entry_text(programme: str, begun: Begun, blocks: Sequence[Block]) -> str:
    """What the log says of an issue: every part with its serial number, and no person."""
    members = {"format": FORMAT, "programme": programme, "lot": lot_text(begun.lot), "units": str(begun.units)}
    return canonical_json({**members, "parts": parts_shown(begun, blocks)})


def parts_shown(begun: Begun, blocks: Sequence[Block]) -> list[dict[str, str]]:
    """Blocks of a lot as JSON members, each with its serial number."""
    return [
        {
            "serial": begun.serial(each.lo, each.hi).text,
            "count": str(each.count),
            "holder": each.holder,
            "state": str(each.state),
            "tier": each.tier,
        }
        for each in blocks
    ]


def _wrong_state(row: Any) -> TanzhangError:
    return refuse(
        "lot-state",
        f"{lot_text(row.number)} is {row.state}, and only what is {LotState.REGISTERED} is issued",
        where=lot_text(row.number),
        remedy="freeze it, have it verified and register it first; tanzhang lot show says what is next",
    )
