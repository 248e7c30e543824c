"""Errors found after a lot was frozen (误差补偿): what is taken back of its members is replaced by cancelled units.

Each new batch is looked at once for acts of lots that it takes back. What is in a lot stays in it, and its units stay
as they are, retired ones too; of the lot's error reserve as many units are cancelled in all as cover all that was taken
back of it, rounded up to whole units. Where the reserve does not reach, the shortfall is public, until the operator
cancels other units in the lot's name. A lot that is not issued yet is compensated in the transaction that issues it.
docs/units.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from tanzhang.core.access import Actor, Role
from tanzhang.core.errors import refuse
from tanzhang.core.lot import lot_number
from tanzhang.core.units import Pick
from tanzhang.engine.columns import IDENTITY_BYTES, Numbers, fixed_bytes, identities
from tanzhang.engine.lot import Members, batches_of, keys_of, places_of
from tanzhang.service.award import accounts_at, places_taken_back
from tanzhang.service.market.due import cancel_due, due_of
from tanzhang.service.market.units import cancel, lot_units, named
from tanzhang.service.moments import received_at
from tanzhang.stores.home import Home
from tanzhang.stores.lot_files import members_at
from tanzhang.stores.register.lots import COMPENSATED

WORKER = Actor(Role.OPERATOR, "worker", "settlement")
"""Who compensates where nobody has to decide anything."""


def is_due(home: Home) -> bool:
    """Whether a batch was settled that no lot was compared with."""
    return bool(_waiting(home))


def compensate_due(home: Home, *, now: datetime) -> dict[str, Any]:
    """Look at every new batch, and cancel what it makes due; how many batches were looked at and units cancelled.

    ``home-busy``, ``lot-file-changed``.
    """
    with home.settling():
        batches, cancelled = look(home, now=now)
    return {"status": "done", "batches": batches, "cancelled": str(cancelled)}


def look(home: Home, *, now: datetime) -> tuple[int, int]:
    """As :func:`compensate_due`, by whoever holds the home's lock: batches, units that were cancelled."""
    waiting, cancelled = _waiting(home), 0
    for row in waiting:
        keys = _keys(places_taken_back(home, row))
        parts = {
            lot.number: _taken_of(home, lot, keys)
            for lot in home.lots.holding()
            if len(keys) and lot.batches <= row.seq
        }
        found = {number: members for number, members in parts.items() if len(members)}
        at = received_at(now)
        with home.book.transaction() as con:
            home.units.add_reversals(con, row.seq, {number: each.total_mg for number, each in found.items()}, at)
            for number, members in found.items():
                accounts, sums = members.by_account()
                named = accounts.any(axis=1)  # of erased persons nobody says any more whose it was
                shares = pa.table({"account": identities(accounts[named]), "amount": pa.array(sums[named])})
                home.lots.add_shares(con, number, COMPENSATED, shares)
                cancelled += cancel_due(home, con, number, f"batch {row.seq}", at, WORKER)
    return len(waiting), cancelled


def compensation(home: Home, name: str) -> dict[str, str]:
    """What was taken back of a lot since it was frozen, how many units that makes due, and how many were cancelled.

    ``shortfall`` is what the error reserve did not reach for. ``lot-malformed``, ``unknown-lot``.
    """
    row = home.lots.one(lot_number(name))
    with home.book.reading() as con:
        reversed_mg, (due, done, shortfall) = home.units.reversed_mg(con, row.number), due_of(home, con, row)
    return {"reversed_mg": str(reversed_mg), "due": str(due), "made_good": str(done), "shortfall": str(shortfall)}


def lot_with_compensation(home: Home, name: str) -> dict[str, Any]:
    """The units of a lot by state, with its :func:`compensation`, None for imported ones. ``not-issued``."""
    said = lot_units(home, name)
    return {**said, "compensation": compensation(home, name) if said["kind"] == "issue" else None}


def make_good(
    home: Home, name: str, serials: Sequence[str], *, reference: str, why: str, actor: Actor, now: datetime
) -> dict[str, Any]:
    """Cancel other units, which the operator has or bought, for the shortfall of a lot.

    ``no-shortfall`` for more than is missing, ``blocks-differ`` for units of another mass, and what cancelling raises.
    """
    row = home.lots.one(lot_number(name))

    def check(con: sa.Connection, picks: Sequence[Pick]) -> None:
        begun, count = home.units.begun_in(con, row.number), sum(each.count for each in picks)
        missing = due_of(home, con, row)[2]
        if begun is None or count > missing:
            raise refuse(
                "no-shortfall",
                f"of what was taken back of {name} {missing} units are left to be made good, and {count} are named",
                where="lot",
                remedy="name fewer; cancel units by themselves for any other reason",
            )
        if any(named(home, serial)[0].unit != begun.unit for serial in serials):
            raise refuse(
                "blocks-differ",
                "a unit of another mass does not replace one of these",
                where="serials",
                remedy="name units of the lot's own mass",
            )

    return cancel(home, None, serials, reference=reference, why=why, for_lot=name, check=check, actor=actor, now=now)


def _waiting(home: Home) -> list[Any]:
    """The batches that were not looked at, from the first one that any lot does not know."""
    holding = home.lots.holding()
    if not holding:
        return []
    first = max(home.units.looked_through() + 1, min(each.batches for each in holding))
    return home.book.batch_files(first) if first < home.book.batch_count() else []


def _keys(places: Sequence[tuple[int, int]]) -> Numbers:
    """Records as keys of members, sorted."""
    batches = np.array([batch for batch, _ in places], np.int64)
    return np.sort(keys_of(batches, np.array([place for _, place in places], np.int64)))


def _taken_of(home: Home, lot: Any, keys: Numbers) -> Members:
    """The members of a lot among some records, each with what of it is in the lot; erased persons' have no account."""
    indexes, amounts = members_at(home.storage, lot, keys)
    there = indexes >= 0
    keys, amounts = keys[there], amounts[there]
    accounts = np.zeros((len(keys), IDENTITY_BYTES), np.uint8)
    rows = {row.seq: row for row in home.book.batch_files()} if len(keys) else {}
    for batch in np.unique(batches_of(keys)).tolist():
        own = np.flatnonzero(batches_of(keys) == batch)
        places = pa.chunked_array([pa.array(places_of(keys[own]).astype(np.uint32))])
        found = accounts_at(home, rows[batch], places)
        accounts[own] = fixed_bytes(found, IDENTITY_BYTES)
    return Members(keys, amounts, accounts)
