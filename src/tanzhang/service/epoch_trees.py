"""The sum trees of an epoch: what every account was confirmed by its last batch, one tree for each unit.

Amounts come from the postings, so that the total of a tree is what the book holds; counter-accounts of partners are
left out. Leaves are in the order of their own bytes, which the salts decide: chance to everybody, another one each day.
What belongs to accounts that were forgotten before is in one leaf of nobody.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tanzhang.core.epoch import TreeHead
from tanzhang.core.errors import refuse
from tanzhang.core.record import UNIT_OF_KIND
from tanzhang.core.sum_tree import padded_leaves
from tanzhang.engine.columns import IDENTITY_BYTES, Bytes, Numbers, fixed_bytes, fixed_column, integers
from tanzhang.engine.epoch_leaves import account_leaves, zero_leaves
from tanzhang.engine.sum_tree import Tree, build, in_order
from tanzhang.stores.book import system_account
from tanzhang.stores.home import Home
from tanzhang.stores.register.epochs import Secrets

_FOLD_ROWS = 4_000_000  # postings of so many accounts wait until they are added up


@dataclass(frozen=True, slots=True)
class Running:
    """Accounts that were ever posted to in one unit, and the sum of each.

    ``nobodys`` is what legs of transfers say that were erased.
    """

    accounts: Bytes
    amounts: Numbers
    nobodys: int = 0


class RunningTotals:
    """What every account was confirmed by the end of some batch; goes forward batch by batch, never back."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._batches = 0
        partners = [system_account(f"partner:{name}").bytes for name in home.programme.partners]
        self._partners = pa.array(partners, pa.binary(IDENTITY_BYTES))
        self._sums: dict[str, pa.Table] = {}
        self._legs = 0
        self._nobodys = dict.fromkeys(UNIT_OF_KIND.values(), 0)

    def through(self, batches: int, legs: int) -> dict[str, Running]:
        """Unit -> sums over the first ``batches`` batches, of the units that have any.

        With those of the first ``legs`` legs of transfers that were made by then.
        """
        waiting: list[pa.Table] = []
        for number in range(self._batches, batches):
            waiting.append(self._home.book.postings(number))
            if sum(table.num_rows for table in waiting) > _FOLD_ROWS:
                self._fold(waiting)
                waiting = []
        self._fold(waiting)
        self._batches = max(self._batches, batches)
        self._fold([self._transferred(legs)])
        return {
            unit: Running(
                fixed_bytes(table["account"], IDENTITY_BYTES),
                integers(table["amount"], pa.int64()),
                self._nobodys[unit],
            )
            for unit, table in self._sums.items()
        }

    def _transferred(self, legs: int) -> pa.Table:
        """What legs add that were not counted yet; those of erased accounts are nobody's."""
        accounts, units, amounts = [], [], []
        for row in self._home.book.transfer_legs(self._legs, legs, self._batches):
            self._legs = row.seq + 1
            if row.unit not in self._nobodys:  # grams that were given away are still those of the acts they come from
                continue
            if row.account == "":
                self._nobodys[row.unit] += row.amount
                continue
            accounts.append(uuid.UUID(row.account).bytes)
            units.append(row.unit)
            amounts.append(row.amount)
        return pa.table(
            {
                "account": pa.array(accounts, pa.uuid()),
                "unit": pa.array(units, pa.string()),
                "amount": pa.array(amounts, pa.int64()),
            }
        )

    def _fold(self, waiting: list[pa.Table]) -> None:
        for unit in UNIT_OF_KIND.values():
            parts = [self._sums[unit]] if unit in self._sums else []
            for table in waiting:
                own = table.filter(pc.field("unit") == unit)
                plain = pa.table({"account": own["account"].cast(pa.binary(IDENTITY_BYTES)), "amount": own["amount"]})
                parts.append(plain.filter(pc.invert(pc.is_in(plain["account"], self._partners))))
            everything = pa.concat_tables(parts) if parts else None
            if everything is not None and everything.num_rows:
                sums = everything.group_by("account").aggregate([("amount", "sum")]).combine_chunks()
                self._sums[unit] = pa.table({"account": sums["account"], "amount": sums["amount_sum"]})


@dataclass(frozen=True, slots=True)
class EpochTree:
    """One tree; ``rows`` has the place in ``running`` of each leaf in the tree's order, -1 where it has none there."""

    tree: Tree
    running: Running
    living: int
    rows: Numbers

    @property
    def head(self) -> TreeHead:
        """What the entry says of it."""
        return TreeHead(self.tree.root, self.tree.leaves)

    def place(self, account: bytes) -> tuple[int, int] | None:
        """Amount and place in the tree of an account that is not forgotten; None if it has no leaf."""
        found = np.flatnonzero((self.running.accounts == np.frombuffer(account, np.uint8)).all(axis=1))
        if not len(found):
            return None
        places = np.flatnonzero(self.rows == found[0])
        return (int(self.running.amounts[found[0]]), int(places[0])) if len(places) else None


def epoch_trees(
    home: Home, running: Mapping[str, Running], secrets: Secrets, day: date, entry: int | None, *, keep: bool = False
) -> dict[str, EpochTree]:
    """The trees of local day ``day`` over what every account was confirmed.

    ``entry`` is the log entry of an epoch that is closed, some of whose accounts may have been forgotten since.
    ``epoch-negative`` for an account that was taken back more than it was granted, ``epoch-secret-missing``.
    """
    return {unit: _tree(home, unit, own, secrets, day, entry, keep) for unit, own in running.items()}


def _tree(
    home: Home, unit: str, running: Running, secrets: Secrets, day: date, entry: int | None, keep: bool
) -> EpochTree:
    _check(running, unit)
    own = _secrets_of(running.accounts, secrets)
    alive = (own.view(np.uint64) != 0).any(axis=1)
    living, forgotten = np.flatnonzero(alive), np.flatnonzero(~alive)
    kept, kept_amounts = home.epochs.forgotten(entry, unit) if entry is not None else (np.zeros((0, 32), np.uint8), [])
    nobodys = sum(running.amounts[forgotten].tolist()) - sum(kept_amounts) + running.nobodys
    filled = len(living) + len(kept)
    zeros = np.zeros(padded_leaves(filled + 1) - filled, np.int64)
    if nobodys < 0:
        raise refuse(
            "epoch-negative",
            f"forgotten accounts have {nobodys} {unit} beside the leaves that were kept of them",
            where=f"epoch of {day}",
            remedy="run 'tanzhang verify'; restore the book from a backup",
        )
    zeros[0] = nobodys
    persons = account_leaves(running.accounts, own, running.amounts, day, unit)
    leaves = np.concatenate([persons[living], kept, zero_leaves(home.identity_key, zeros, day, unit)])
    amounts = np.concatenate([running.amounts[living], np.array(kept_amounts, np.int64), zeros])
    order = in_order(leaves)
    tree = build(amounts[order], leaves[order], keep=keep)
    rows = np.full(len(leaves), -1, np.int64)
    rows[: len(living)] = living
    return EpochTree(tree, running, len(living), rows[order])


def unknown_accounts(running: Mapping[str, Running], secrets: Secrets) -> Bytes:
    """Accounts that have no secret yet, sorted, each once."""
    known = _column(secrets.accounts)
    parts = [_column(own.accounts) for own in running.values()]
    new = pc.unique(pa.concat_arrays([known[:0], *(part.filter(pc.invert(pc.is_in(part, known))) for part in parts)]))
    return fixed_bytes(new.take(pc.sort_indices(new)), IDENTITY_BYTES)


def _secrets_of(accounts: Bytes, secrets: Secrets) -> Bytes:
    """The secret of each account, zero for one that is forgotten."""
    places = pc.index_in(_column(accounts), _column(secrets.accounts))
    if places.null_count:
        raise refuse(
            "epoch-secret-missing",
            f"{places.null_count} accounts of the epoch have no secret",
            where="table epoch_secret",
            remedy="restore the book from a backup",
        )
    own: Bytes = secrets.secrets[np.asarray(places)]
    return own


def _check(running: Running, unit: str) -> None:
    if len(running.amounts) and int(running.amounts.min()) < 0:
        raise refuse(
            "epoch-negative",
            f"an account was taken back more {unit} than it was ever granted",
            where="postings",
            remedy="run 'tanzhang verify', which names the batch and the account",
        )


def _column(accounts: Bytes) -> pa.FixedSizeBinaryArray:
    return fixed_column(accounts)
