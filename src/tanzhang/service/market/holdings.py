"""Of which records one's milligrams are, and where each of them is: free, given, or in which lot.

Section 2.1 of the life cycle, for each reduction of a person: what is confirmed, reserved, issued, used and reversed is
what it was granted, none of it below zero. Used are milligrams given or passed on, and those of a lot's units that were
retired, cancelled or ended otherwise. Units are of a lot and not of single records: what is used of a lot is shared out
over its members by running total, in their order, so that all parts add up to it exactly. What was taken back of a
member (``compensated_mg``) counts as reversed; cancelled units of the reserve stand for it, so it is neither issued nor
used, and the other members share what was used beyond it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tanzhang.core.allocation import Allocation, Counted, allocate
from tanzhang.core.lot import ISSUED, LotState, lot_text, used_part
from tanzhang.core.units import TERMINAL
from tanzhang.engine.account_rows import PLACE_BITS
from tanzhang.engine.columns import Numbers
from tanzhang.engine.lot import keys_of
from tanzhang.service.giving import takings_of
from tanzhang.service.joining import own_accounts
from tanzhang.service.market.compensated import taken_back_members
from tanzhang.service.reading import Reader
from tanzhang.stores.home import Home
from tanzhang.stores.lot_files import members_at, read_members

_REDUCES = "reduction"
_SECOND = ("repeat", "conflict")
RULE = "running-total/1"
"""How what is used of a lot is shared out over its members."""


@dataclass(frozen=True, slots=True)
class Part:
    """What a lot has of a record: ``amount_mg`` at ``index`` of its members."""

    lot: int
    index: int
    amount_mg: int


@dataclass(slots=True)
class Holdings:
    """The reductions of accounts whose holdings are together, by key in the order of the log, and who has what of them.

    ``records`` are JSON members as everywhere; ``parts`` what lots have of each, by action.
    """

    records: dict[int, dict[str, Any]] = field(default_factory=dict)
    parts: dict[str, list[Part]] = field(default_factory=dict)
    allocation: Allocation = field(default_factory=Allocation)


def holdings(reader: Reader, account: uuid.UUID) -> Holdings:
    """The reductions of an account and of all whose holdings are in it, and who has what of them."""
    home = reader.home
    pool = own_accounts(home, account)
    found = Holdings(_records(reader, pool))
    granted = [key for key, each in found.records.items() if int(each["granted_mg"])]
    found.parts = _parts(home, pool, granted, found.records)
    named = {action: sum(part.amount_mg for part in parts) for action, parts in found.parts.items()}
    counted = [
        Counted(
            int(each["batch"]),
            (each["day"], each["ended"], each["action_id"]),
            int(each["granted_mg"]),
            0 if each["outcome"] in _SECOND else int(each["reversed_mg"]),
            each["withdraws"],
        )
        for each in found.records.values()
    ]
    found.allocation = allocate(counted, takings_of(home, pool), named)
    return found


def _records(reader: Reader, pool: Sequence[uuid.UUID]) -> dict[int, dict[str, Any]]:
    found = {}
    for account in pool:
        records = reader.account_records(account)
        places = records.rows["place"].tolist()
        for place, each in zip(places, records.json(np.arange(len(places))), strict=True):
            if each["kind"] == _REDUCES and (int(each["granted_mg"]) or int(each["reversed_mg"])):
                batch, number = place >> PLACE_BITS, place & ((1 << PLACE_BITS) - 1)
                found[int(keys_of(batch, np.array([number]))[0])] = {**each, "batch": batch, "place": number}
    return dict(sorted(found.items()))


def _parts(
    home: Home, pool: Sequence[uuid.UUID], keys: list[int], records: Mapping[int, Mapping[str, Any]]
) -> dict[str, list[Part]]:
    ordered: Numbers = np.array(keys, np.int64)
    found: dict[str, list[Part]] = {}
    for number in home.lots.lots_of(pool):
        indexes, amounts = members_at(home.storage, home.lots.one(number), ordered)
        for key, index, mg in zip(keys, indexes.tolist(), amounts.tolist(), strict=True):
            if mg:
                found.setdefault(records[key]["action_id"], []).append(Part(number, index, mg))
    return found


# -- states -----------------------------------------------------------------------------------------------------


def record_states(reader: Reader, account: uuid.UUID) -> dict[str, Any]:
    """Of each reduction of an account, and of all whose holdings are in it, how many milligrams are in which state."""
    home = reader.home
    found = holdings(reader, account)
    lots = {part.lot: _Lot(home, part.lot) for parts in found.parts.values() for part in parts}
    given: dict[str, int] = {}
    for parts in found.allocation.taken.values():
        for action, mg in parts.items():
            given[action] = given.get(action, 0) + mg
    items = []
    for each in found.records.values():
        if int(each["granted_mg"]):
            own = found.parts.get(each["action_id"], [])
            items.append(_states(each, own, lots, found.allocation, given.get(each["action_id"], 0)))
    names = ("granted_mg", *_STATES)
    totals = {name: str(sum(int(item[name]) for item in items)) for name in names}
    return {"account": str(account), "rule": RULE, "records": items, "totals": totals}


_STATES = ("confirmed_mg", "reserved_mg", "issued_mg", "used_mg", "reversed_mg")


def _states(
    record: Mapping[str, Any], parts: Sequence[Part], lots: Mapping[int, _Lot], allocation: Allocation, given: int
) -> dict[str, Any]:
    action, granted = record["action_id"], int(record["granted_mg"])
    confirmed = allocation.left.get(action, 0)
    in_lots = [lots[part.lot].states(part) for part in parts]
    sums = {name: sum(each[name] for each in in_lots) for name in ("reserved_mg", "issued_mg", "used_mg")}
    used = sums["used_mg"] + given
    reversed_mg = granted - confirmed - sums["reserved_mg"] - sums["issued_mg"] - used
    return {
        "action_id": action,
        "day": record["day"],
        "behaviour": record["behaviour"],
        "granted_mg": str(granted),
        "confirmed_mg": str(confirmed),
        "reserved_mg": str(sums["reserved_mg"]),
        "issued_mg": str(sums["issued_mg"]),
        "used_mg": str(used),
        "reversed_mg": str(reversed_mg),
        "given_mg": str(given),
        "lots": [
            {"lot": lot_text(part.lot), "mg": str(part.amount_mg), **{name: str(mg) for name, mg in each.items()}}
            for part, each in zip(parts, in_lots, strict=True)
        ],
    }


class _Lot:
    """What became of a lot's units and members, as far as single members ask."""

    def __init__(self, home: Home, number: int) -> None:
        row = home.lots.one(number)
        self.is_issued = LotState(row.state) in ISSUED
        indexes, amounts = taken_back_members(home, row)
        self.lost = dict(zip(indexes.tolist(), amounts.tolist(), strict=True))
        self._lost_at, self._lost_mg = indexes, np.concatenate([[0], np.cumsum(amounts)])
        self._ends: Numbers = np.cumsum(read_members(home.storage, row)[1]) if self.is_issued else np.zeros(0, np.int64)
        lost_mg = int(self._lost_mg[-1])
        self._total_mg = row.total_mg - lost_mg
        gone = 0
        if self.is_issued:
            blocks = home.units.blocks(lot=number)
            gone = sum(each.hi - each.lo for each in blocks if each.state in TERMINAL) * row.unit_mass_mg
        self._used_mg = max(gone - lost_mg, 0)

    def states(self, part: Part) -> dict[str, int]:
        """Where the milligrams of a member are."""
        lost = self.lost.get(part.index, 0)
        amount = part.amount_mg - lost
        if not self.is_issued:
            return {"reserved_mg": amount, "issued_mg": 0, "used_mg": 0, "compensated_mg": lost}
        before = int(self._ends[part.index]) - part.amount_mg
        before -= int(self._lost_mg[np.searchsorted(self._lost_at, part.index)])
        used = used_part(self._used_mg, self._total_mg, before, amount) if self._total_mg else 0
        return {"reserved_mg": 0, "issued_mg": amount - used, "used_mg": used, "compensated_mg": lost}
