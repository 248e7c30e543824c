"""What verification asks of carbon units: every block made again from its events, every lot from the log's word."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from tanzhang.core.errors import Problem, TanzhangError
from tanzhang.core.lot import ISSUED, LotEntry
from tanzhang.core.market import UNIT_MASS_MG
from tanzhang.core.serial import FIRST_IMPORT, lot_name
from tanzhang.core.units import BEGINNINGS, RESERVE, TERMINAL, Block, Kind, Standing, State, covered, totals
from tanzhang.service.findings import RESTORE
from tanzhang.service.market.compensated import taken_back_members
from tanzhang.service.market.issue import ENTRY, entry_text
from tanzhang.stores.book import entry
from tanzhang.stores.home import Home
from tanzhang.stores.register.units import Begun, children_of, parents_of, standing_facts

Wrong = Callable[[str, str], None]


def check_units(home: Home) -> tuple[int, list[Problem]]:
    """How many events, lots and labels were looked at, and what is wrong.

    Every event is booked again, from the first; what comes of them is what stands, tiles ``[0, n)`` and adds up to what
    was issued. A lot has as many units as its entry in the log says, and is in the parts that the log says; each issued
    lot has units and no other own one. Labels have their events, and those of one unit are of one tier, the block's.
    """
    problems: list[Problem] = []

    def wrong(message: str, place: str) -> None:
        problems.append(Problem("units-changed", message, f"{home.book.name}: {place}", RESTORE))

    lots, rows = home.units.lots(), home.units.events()
    stands = _booked_again(rows, wrong)
    blocks: dict[int, list[Block]] = {}
    for block in home.units.blocks():
        blocks.setdefault(block.lot, []).append(block)
    began = {row.lot: row for row in rows if row.kind in BEGINNINGS}
    for lot in sorted({*lots, *blocks, *stands, *began}):
        name, there = lot_name(lot), blocks.get(lot, [])
        if stands.get(lot) != there:
            wrong(f"blocks of {name} are not what their events come to", "unit_block")
        begun = lots.get(lot)
        if begun is None or lot not in began or began[lot].kind != begun.kind:
            wrong(f"units of {name} began without its row, or another one", "unit_lot")
        elif _tiled(there) != begun.units or sum(totals(there).values()) != begun.units:
            wrong(f"blocks of {name} do not tile its {begun.units} units", "unit_block")
    _check_lots(home, lots, began, wrong)
    _check_compensated(home, lots, blocks, wrong)
    facts = home.units.labels()
    _check_labels(facts, rows, blocks, lots, wrong)
    return len(rows) + len(lots) + len(facts), problems


def _booked_again(rows: list[Any], wrong: Wrong) -> dict[int, list[Block]]:
    """Lot -> the blocks that its events come to."""
    standing: dict[int, Standing] = {}
    for row in rows:
        try:
            own = standing.setdefault(row.lot, Standing())
            own.apply(Kind(row.kind), parents_of(row), children_of(row))
        except (TanzhangError, ValueError, KeyError, TypeError):
            wrong(f"event {row.seq} of {lot_name(row.lot)} does not lead from what stood before it", "unit_event")
    return {lot: each.blocks for lot, each in standing.items()}


def _tiled(blocks: list[Block]) -> int | None:
    """How many units blocks tile from 0; None where they do not."""
    try:
        ranges = covered(blocks)
    except TanzhangError:
        return None
    return ranges[0][1] if len(ranges) == 1 and ranges[0][0] == 0 else None


def _check_lots(home: Home, lots: dict[int, Begun], began: dict[int, Any], wrong: Wrong) -> None:
    """Compare lots of the programme with the log, both ways."""
    entries = dict(home.lots.sealed())
    said = {row.seq: row.text for row in home.book.query(sa.select(entry).where(entry.c.kind == ENTRY))}
    issued = {row.number: row for row in home.lots.all(states=ISSUED)}
    for lot, begun in lots.items():
        if lot > FIRST_IMPORT:
            continue
        row = issued.pop(lot, None)
        try:
            logged = LotEntry.parse(entries[row.entry]) if row is not None else None
        except (TanzhangError, KeyError):
            logged = None
        if logged is None or (logged.number, logged.units, logged.vintage) != (lot, begun.units, begun.vintage):
            wrong(f"units of {lot_name(lot)} are not those of an issued lot of the log", "unit_lot")
        event = began.get(lot)
        if event is None or event.kind != Kind.ISSUE:
            continue
        text = said.pop(json.loads(event.detail).get("entry"), None)
        if text != entry_text(home.programme.id, begun, children_of(event)):
            wrong(f"the log does not say how {lot_name(lot)} was issued", "unit_event")
    for lot in issued:
        wrong(f"lot {lot_name(lot)} is issued and has no units", "lot")
    for index in said:
        wrong(f"entry {index} says an issue that is not in the book", "entry")


def _check_compensated(home: Home, lots: dict[int, Begun], blocks: dict[int, list[Block]], wrong: Wrong) -> None:
    """What was taken back of a lot is what its batches say, and made good in whole units as far as its reserve goes."""
    rows = {row.number: row for row in home.lots.all(states=ISSUED)} if home.units.looked_through() >= 0 else {}
    is_all_seen = home.units.looked_through() + 1 >= home.book.batch_count()
    for lot, begun in lots.items():
        if lot in rows and is_all_seen:
            taken_mg = int(taken_back_members(home, rows[lot])[1].sum())
            with home.book.reading() as con:
                if taken_mg != home.units.reversed_mg(con, lot):
                    wrong(
                        f"{taken_mg} mg were taken back of {lot_name(lot)}, which is not what was noted",
                        "unit_reversal",
                    )
        with home.book.reading() as con:
            reversed_mg, done = home.units.reversed_mg(con, lot), home.units.made_good(con, lot)
        due = -(-reversed_mg // UNIT_MASS_MG[begun.unit])
        left = any(each.holder == RESERVE and each.state is State.HELD for each in blocks.get(lot, []))
        if done > due or (done < due and left):
            wrong(f"{due} units of {lot_name(lot)} are to be made good, and {done} are", "unit_reversal")


def _check_labels(
    facts: list[Any], rows: list[Any], blocks: dict[int, list[Block]], lots: dict[int, Begun], wrong: Wrong
) -> None:
    """Each fact has its event and each such event its fact; labels over a block are of one tier, which is its own."""
    events = {json.loads(row.detail).get("label"): (row.reference, row.lot) for row in rows if row.kind == Kind.LABEL}
    for fact in facts:
        if events.pop(fact.seq, None) != (fact.reference, fact.lot):
            wrong(f"label {fact.seq} of {lot_name(fact.lot)} has no event of its own", "unit_label")
    for number in events:
        wrong(f"an event says label {number}, which is not there", "unit_label")
    standing = standing_facts(facts)
    for lot in {fact.lot for fact in standing}:
        own = [fact for fact in standing if fact.lot == lot]
        for block in blocks.get(lot, []):
            over = [fact for fact in own if fact.lo < block.hi and fact.hi > block.lo]
            whole = all(fact.lo <= block.lo and block.hi <= fact.hi for fact in over)
            tiers = {fact.tier for fact in over}
            if all(fact.until_day is not None for fact in over) and lot in lots:
                tiers.add(lots[lot].tier)  # that it goes back to when no label is left
            if block.state not in TERMINAL and not (whole and block.tier in tiers):
                wrong(f"block {lot_name(lot)} {block.lo + 1}-{block.hi} is not in the tier of its labels", "unit_block")
