"""What verification asks of lots: members against records, root and entry, shares of accounts, what became of each.

Everything is made again from the record files: a member's leaf from its record, or, where that was erased, from the
leaf that was kept. No record is in lots with more than it was granted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tanzhang.core.errors import Problem, TanzhangError
from tanzhang.core.lot import HOLDING, TRANSITIONS, LotEntry, LotState, lot_text
from tanzhang.engine.columns import IDENTITY_BYTES, Bytes, Numbers, fixed_bytes, fixed_column, integers
from tanzhang.engine.lot import Members, lot_tree
from tanzhang.service.findings import RESTORE
from tanzhang.service.market.lot_leaves import Leaves, leaves_of_members
from tanzhang.stores.book import lot_event
from tanzhang.stores.home import Home
from tanzhang.stores.lot_files import is_as_written, read_lot_subtrees, read_members
from tanzhang.stores.register.lots import FROZEN

Wrong = Callable[[str, str], None]
_NUMBERS = ("unit_mass_mg", "units", "members", "leaves", "total_mg", "first_batch", "last_batch")


def check_lots(home: Home) -> tuple[int, list[Problem]]:
    """How many lots, events and members were looked at, and what is wrong."""
    problems: list[Problem] = []

    def wrong(message: str, place: str) -> None:
        problems.append(Problem("lot-mismatch", message, f"{home.book.name}: {place}", RESTORE))

    rows = home.lots.all()[::-1]
    count = len(rows) + _check_events(home, rows, wrong)
    entries = dict(home.lots.sealed())
    held: dict[int, tuple[Numbers, Numbers]] = {}
    for row in rows:
        if row.entry is None:
            continue
        try:
            count += _check_lot(home, row, entries.pop(row.entry, None), held, wrong)
        except TanzhangError as error:
            problems += error.problems
    for index in entries:
        wrong("an entry about a lot is no lot's", f"entry {index}")
    return count, problems


def _check_events(home: Home, rows: list[Any], wrong: Wrong) -> int:
    """Each lot came to its state along the way that lots go."""
    events: dict[int, list[str]] = {}
    for each in home.book.rows(lot_event):
        events.setdefault(each.lot, []).append(each.kind)
    for row in rows:
        kinds = events.pop(row.number, [])
        known = all(kind in LotState.__members__.values() for kind in kinds)
        steps = known and all(LotState(to) in TRANSITIONS[LotState(here)] for here, to in pairwise(kinds))
        if kinds[:1] != [LotState.DRAFT] or not steps or kinds[-1:] != [row.state]:
            wrong(f"{lot_text(row.number)} is {row.state}, and its events say {', '.join(kinds) or 'nothing'}", "lot")
        if (row.entry is not None) != (LotState.FROZEN in kinds):
            wrong(f"{lot_text(row.number)} was frozen, or was not, against its events", "lot")
    for number in events:
        wrong(f"events are of {lot_text(number)}, and there is no such lot", "lot_event")
    return sum(map(len, events.values())) + len(home.book.rows(lot_event))


def _check_lot(home: Home, row: Any, text: str | None, held: dict[int, tuple[Numbers, Numbers]], wrong: Wrong) -> int:
    name = lot_text(row.number)
    try:
        entry = LotEntry.parse(text or "")
    except TanzhangError:
        wrong(f"the entry of {name} cannot be read", f"entry {row.entry}")
        return 0
    said = {each: getattr(entry, each) for each in _NUMBERS}
    kept = {name: list(digests) for name, digests in entry.methodologies.items()}
    same = said == {each: getattr(row, each) for each in _NUMBERS} and (entry.number, entry.vintage, entry.region) == (
        row.number,
        row.vintage,
        row.region,
    )
    if not same or (entry.root.hex(), entry.terms) != (row.root, row.terms) or kept != json.loads(row.methodologies):
        wrong(f"{name} is not what its entry says", "lot")
    if not is_as_written(home.storage, row):
        wrong(f"the members of {name} are missing or not what was written", row.file)
        return 0
    subtrees = read_lot_subtrees(home.storage, row)
    keys, amounts = read_members(home.storage, row)
    if len(keys) != entry.members or not (keys[1:] > keys[:-1]).all() or int(amounts.min(initial=1)) <= 0:
        wrong(f"members of {name} are not in order, not as many as its entry says, or of nothing", row.file)
        return 0
    made = leaves_of_members(home, keys, amounts)
    tree = lot_tree(amounts, made.leaves)
    if (tree.root.hash, tree.root.amount, tree.leaves) != (entry.root, entry.total_mg, entry.leaves):
        wrong(f"members of {name} do not come to its root and total", row.file)
    if tree.subtrees != subtrees:
        wrong(f"sums kept beside {name} are not those of its members", row.subtrees)
    if made.plans - {digest for digests in entry.methodologies.values() for digest in digests}:
        wrong(f"a member of {name} was quantified by a plan that its entry does not name", f"entry {row.entry}")
    _check_shares(home, row, keys, amounts, made, wrong)
    if LotState(row.state) in HOLDING:
        _check_once(row, keys, amounts, made.granted, held, wrong)
    return len(keys)


def _check_shares(home: Home, row: Any, keys: Numbers, amounts: Numbers, made: Leaves, wrong: Wrong) -> None:
    """Shares are what members come to by account; of erased ones only the sum is known."""
    shares = home.lots.shares(row.number, FROZEN)
    accounts, sums = fixed_bytes(shares["account"], IDENTITY_BYTES), integers(shares["amount"], pa.int64())
    there = made.accounts.any(axis=1)
    own, own_sums = Members(keys[there], amounts[there], made.accounts[there]).by_account()
    known = _rows_of(accounts, own)
    right = bool((known >= 0).all()) and bool((sums[known] == own_sums).all())
    if not right or int(sums.sum()) != int(amounts.sum()) or len(accounts) != row.accounts:
        wrong(f"shares of {lot_text(row.number)} are not what its members come to by account", "lot_share")


def _rows_of(accounts: Bytes, wanted: Bytes) -> Numbers:
    """The row of each wanted account among sorted ones, each once; -1 where it is not there."""
    found: Numbers = np.asarray(pc.fill_null(pc.index_in(fixed_column(wanted), fixed_column(accounts)), -1))
    return found.astype(np.int64)


def _check_once(
    row: Any, keys: Numbers, amounts: Numbers, granted: Numbers, held: dict[int, tuple[Numbers, Numbers]], wrong: Wrong
) -> None:
    """With the lots before it, a lot holds of no record more than that was granted; erased ones say nothing."""
    before_keys, before_mg = held.get(row.vintage, (np.zeros(0, np.int64), np.zeros(0, np.int64)))
    together = np.concatenate([before_keys, keys])
    unique, inverse = np.unique(together, return_inverse=True)
    sums = np.zeros(len(unique), np.int64)
    np.add.at(sums, inverse, np.concatenate([before_mg, amounts]))
    own = sums[inverse[len(before_keys) :]]
    if ((own > granted) & (granted > 0)).any():
        wrong(f"{lot_text(row.number)} and lots before it hold more of a record than it was granted", row.file)
    held[row.vintage] = unique, sums
