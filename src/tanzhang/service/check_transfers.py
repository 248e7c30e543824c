"""What verification asks of transfers: double entry, nothing left where something is carried on, the log's word."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from tanzhang.core.errors import Problem
from tanzhang.engine.columns import IDENTITY_BYTES, fixed_column
from tanzhang.service.epoch_trees import RunningTotals
from tanzhang.service.findings import RESTORE, SHOWN
from tanzhang.stores.book import entry, transfer
from tanzhang.stores.home import Home
from tanzhang.stores.register.donations import account_of
from tanzhang.stores.register.joinings import KIND, entry_text
from tanzhang.stores.register.passings import legs_of


def check_transfers(home: Home, heads: Mapping[str, Sequence[str]]) -> tuple[int, list[Problem]]:
    """How many legs were looked at, and what is wrong.

    ``heads`` has the heads of every chained table after each row. Each transfer's legs have to sum to zero; what all
    of them come to in an account has to be what joinings that stand brought it and carried on; an account that is
    carried holds nothing; every entry of the log names the head of so many rows.
    """
    problems: list[Problem] = []
    where = f"{home.book.name}: transfer"

    def wrong(message: str, place: str = where) -> None:
        problems.append(Problem("transfer-mismatch", message, place, RESTORE))

    total = sa.func.sum(transfer.c.amount)
    by_number = sa.select(transfer.c.number, transfer.c.unit).group_by(transfer.c.number, transfer.c.unit)
    for number, unit in home.book.query(by_number.having(total != 0).order_by(transfer.c.number)):
        wrong(f"transfer {number} does not sum to zero in {unit}")
    _check_order(home, wrong)
    _check_accounts(home, wrong)
    own = sa.select(entry.c.seq, entry.c.text).where(entry.c.kind == KIND).order_by(entry.c.seq)
    known = heads[transfer.name]
    for row in home.book.query(own):
        rows = _rows_said(row.text)
        if not 0 < rows < len(known) or row.text != entry_text(home.programme.id, rows, known[rows]):
            wrong("the entry is not that of the transfers of then", f"{home.book.name}: entry {row.seq}")
    return home.joinings.end()[0], problems


def _check_order(home: Home, wrong: Callable[[str], None]) -> None:
    count, last = home.book.batch_count(), 0
    for row in home.book.query(sa.select(transfer.c.seq, transfer.c.batches).order_by(transfer.c.seq)):
        if not last <= row.batches <= count:
            wrong(f"leg {row.seq} says {row.batches} batches after {last}, and there are {count}")
        last = max(last, row.batches)


def _check_accounts(home: Home, wrong: Callable[[str], None]) -> None:
    columns = (transfer.c.account, transfer.c.unit, sa.func.sum(transfer.c.amount))
    sums = sa.select(*columns).where(transfer.c.account != "").group_by(transfer.c.account, transfer.c.unit)
    found = {(account, unit): int(amount) for account, unit, amount in home.book.query(sums)}
    wanted: dict[tuple[str, str], int] = {}
    carrying = home.joinings.carrying()
    for row, source, target in _given(home):
        for account, part in ((source, -row.amount), (target, row.amount)):
            if account:
                wanted[account, row.unit] = wanted.get((account, row.unit), 0) + part
    for row in carrying:
        for unit, amount in json.loads(row.flows).items():
            for account, part in ((row.target, int(amount)), (row.source, -int(amount))):
                wanted[account, unit] = wanted.get((account, unit), 0) + part
    for account, unit in sorted(found.keys() | wanted.keys()):
        said, right = found.get((account, unit), 0), wanted.get((account, unit), 0)
        if said != right:
            wrong(f"{unit} of {said} came to account {account}; joinings, gifts and what was passed on say {right}")
    sources = pa.array([uuid.UUID(row.source).bytes for row in carrying], pa.binary(IDENTITY_BYTES))
    if not carrying:
        return
    for unit, running in RunningTotals(home).through(home.book.batch_count(), home.joinings.end()[0]).items():
        holds = np.asarray(pc.is_in(fixed_column(running.accounts), value_set=sources)) & (running.amounts != 0)
        for place in np.flatnonzero(holds)[:SHOWN].tolist():
            carried = uuid.UUID(bytes=running.accounts[place].tobytes())
            wrong(f"account {carried} is carried on and still holds {running.amounts[place]} {unit}")


def _given(home: Home) -> Iterator[tuple[Any, str, str]]:
    """What was given, passed on or received, or went along with who parted: from and to whom, empty if erased."""
    for row in home.donations.rows():
        if row.transfer is not None:
            yield row, row.account, str(account_of(row.project))
    for row in home.passings.rows():
        yield row, *legs_of(row)
    for row in home.joinings.uses():
        yield row, row.source, row.giver


def _rows_said(text: str) -> int:
    try:
        return int(json.loads(text)["rows"])
    except (ValueError, KeyError, TypeError):
        return 0
