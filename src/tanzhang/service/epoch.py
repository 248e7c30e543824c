"""Epochs: close a local day over all accounts, list the days, prove a person's share, check a proof, forget a person.

An epoch is one entry of the log: of each unit the root and total of a sum tree over all accounts, and parts of the
total in cells that leave nobody recognisable. It rests on every batch sealed through its day, and is closed once: a
later batch is for a later epoch. One transaction adds the entry, secrets of accounts that are new, and the next key;
the log follows, as after a batch, so recovery is the same call again.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import sqlalchemy as sa

from tanzhang.core import sum_tree
from tanzhang.core.epoch import (
    UNIT_NUMBER,
    Epoch,
    Evidence,
    Share,
    account_commitment,
    account_salt,
    next_epoch_key,
    verify_epoch_proof,
)
from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.record import ERASED
from tanzhang.engine.epoch_leaves import account_secrets
from tanzhang.engine.kernel import quote
from tanzhang.engine.signing import verifier_of
from tanzhang.service.city import cut
from tanzhang.service.epoch_trees import EpochTree, RunningTotals, epoch_trees, unknown_accounts
from tanzhang.service.gather import gather
from tanzhang.service.progress import Progress, silent
from tanzhang.service.settle import reports_due
from tanzhang.stores.book import manifest_of
from tanzhang.stores.home import Home
from tanzhang.stores.parts import all_record_files
from tanzhang.stores.register.epochs import Secrets

CELLS = ("behaviour", "region")
"""By what an epoch's entry cuts the amounts of its own batches, each by itself."""


def close(home: Home, day: date | None = None, *, now: datetime, progress: Progress = silent) -> dict[str, Any]:
    """Close the epoch of a local day (default: yesterday) over all batches sealed through it. Twice is once.

    Returns what :func:`latest_epoch` says of it. Raises ``day-not-over``, ``epoch-passed`` for a day before the last
    epoch, ``epoch-unsettled`` while reports wait that came in and closed by that day, ``epoch-empty`` without a batch.
    """
    yesterday = now.astimezone(ZoneInfo(home.programme.time_zone)).date() - timedelta(days=1)
    wanted = day or yesterday
    if wanted > yesterday:
        raise refuse(
            "day-not-over",
            f"{wanted} is not over yet in {home.programme.time_zone}",
            where="--day",
            remedy=f"close {yesterday} at most; an epoch is closed when its day is over",
        )
    with home.settling():
        home.publish()
        epochs = [(row.seq, Epoch.parse(row.text)) for row in home.epochs.entries()]
        for index, epoch in epochs:
            if epoch.day == wanted:
                return describe(home, index, epoch)
        before = epochs[-1][1] if epochs else None
        if before is not None and before.day > wanted:
            raise refuse(
                "epoch-passed",
                f"the epoch of {before.day} is closed, and {wanted} lies before it",
                where="--day",
                remedy=f"close a day after {before.day}; what was sealed for {wanted} is in that epoch",
            )
        gather(home, now=now)
        waiting = reports_due(home, wanted)
        if waiting:
            raise refuse(
                "epoch-unsettled",
                f"{waiting} reports that came in and closed by {wanted} are not settled",
                where="--day",
                remedy=f"run 'tanzhang settle --through {wanted}' first",
            )
        index, epoch = _close(home, wanted, before, progress)
        home.publish()
    return describe(home, index, epoch)


def _close(home: Home, day: date, before: Epoch | None, progress: Progress) -> tuple[int, Epoch]:
    rows = home.book.batches()
    first = covered = 0 if before is None else before.covered
    while covered < len(rows) and rows[covered].through <= day.isoformat():
        covered += 1
    if covered == 0:
        raise refuse(
            "epoch-empty",
            f"no batch is sealed through {day}",
            where="--day",
            remedy="settle first; an epoch is over sealed batches",
        )
    progress("adding up accounts", 10, 0)
    legs = home.joinings.end()
    running = RunningTotals(home).through(covered, legs[0])
    secrets = home.epochs.secrets()
    key = home.epochs.key()
    new = unknown_accounts(running, secrets)
    own = account_secrets(key, new)
    everybody = Secrets(np.concatenate([secrets.accounts, new]), np.concatenate([secrets.secrets, own]))
    progress("building trees", 40, len(everybody.accounts))
    trees = epoch_trees(home, running, everybody, day, None)
    progress("sealing", 90, len(everybody.accounts))
    shown = _shown(_accounts_by_cell(home, rows[first:covered]), home.programme.disclosure.least_accounts_in_cell)
    epoch = _epoch(home, day, rows, first, covered, trees, _cells(home, first, covered, shown))

    def before_it(con: sa.Connection) -> None:
        home.joinings.seal(con, home.programme.id, legs)
        home.donations.seal(con, home.programme.id)
        home.passings.seal(con, home.programme.id)
        home.points_runs.seal(con, home.programme.id)

    index = home.epochs.close(epoch.to_text(), new, own, next_epoch_key(key), before_it)
    return index, epoch


def _epoch(
    home: Home,
    day: date,
    rows: Sequence[Any],
    first: int,
    covered: int,
    trees: Mapping[str, EpochTree],
    cells: Mapping[str, Any],
) -> Epoch:
    return Epoch(
        programme=home.programme.id,
        rehearsal=home.programme.rehearsal,
        day=day,
        covered=covered,
        new=covered - first,
        last_root=manifest_of(rows[covered - 1])["root"],
        trees={unit: tree.head for unit, tree in trees.items()},
        cells={"least_accounts": str(home.programme.disclosure.least_accounts_in_cell), **cells},
    )


# -- cells ----------------------------------------------------------------------------------------------------


def _accounts_by_cell(home: Home, rows: Sequence[Any]) -> dict[str, dict[tuple[str, str], int]]:
    """Cut -> (kind, label) -> how many accounts these batches granted or took back something in it."""
    files = all_record_files(home.storage, rows)
    if not files:
        return {name: {} for name in CELLS}
    con = home.connect()
    named = ", ".join(quote(str(file.path)) for file in files)
    found = {}
    for name in CELLS:
        counts = con.execute(
            f"SELECT kind, {name}, count(DISTINCT account) FROM read_parquet([{named}]) "
            f"WHERE (granted_mg <> 0 OR reversed_mg <> 0) AND outcome <> {quote(ERASED)} GROUP BY 1, 2"
        ).fetchall()
        found[name] = {(kind, label): count for kind, label, count in counts}
    return found


def _shown(accounts: Mapping[str, Mapping[tuple[str, str], int]], least: int) -> dict[str, set[tuple[str, str]]]:
    """The cells that may be shown: none with fewer than ``least`` accounts, nor one by which such a cell is found.

    The total of a batch is public, so what is hidden can be had as a whole by taking away what is shown. Of each kind
    there are therefore no hidden cells, or at least two with ``least`` accounts together, or nothing is shown.
    """
    return {name: _shown_of(counts, least) for name, counts in accounts.items()}


def _shown_of(counts: Mapping[tuple[str, str], int], least: int) -> set[tuple[str, str]]:
    shown: set[tuple[str, str]] = set()
    for kind in {kind for kind, _ in counts}:
        own = sorted((count, cell) for cell, count in counts.items() if cell[0] == kind)
        hidden = sum(count < least for count, _ in own)
        while 0 < hidden < len(own) and (hidden < 2 or sum(count for count, _ in own[:hidden]) < least):
            hidden += 1
        shown.update(cell for _, cell in own[hidden:])
    return shown


def _cells(home: Home, first: int, covered: int, shown: Mapping[str, set[tuple[str, str]]]) -> dict[str, Any]:
    """The cells as the entry has them: amounts of its own batches from their tallies, and how many are hidden."""
    tally = home.book.tally_between(first, covered)
    cells: dict[str, Any] = {}
    for name in CELLS:
        rows = [row for row in cut(tally, (name,)) if row["granted_mg"] != "0" or row["reversed_mg"] != "0"]
        visible = [row for row in rows if (row["kind"], row[name]) in shown[name]]
        cells[name] = [{key: row[key] for key in ("kind", name, "acts", "mg")} for row in visible]
        cells[f"{name}_hidden"] = str(len(rows) - len(visible))
    return cells


# -- what is shown --------------------------------------------------------------------------------------------


def epochs(home: Home) -> list[dict[str, Any]]:
    """Every closed epoch, the latest first."""
    return [describe(home, row.seq, Epoch.parse(row.text)) for row in reversed(home.epochs.entries())]


def latest_epoch(home: Home) -> dict[str, Any] | None:
    """The epoch that a total on any page names: its day, entry of the log, roots and totals. None before the first."""
    rows = home.epochs.entries()
    return describe(home, rows[-1].seq, Epoch.parse(rows[-1].text)) if rows else None


def describe(home: Home, index: int, epoch: Epoch) -> dict[str, Any]:
    """An epoch as JSON members."""
    return {
        "day": epoch.day.isoformat(),
        "programme": epoch.programme,
        "rehearsal": epoch.rehearsal,
        "state": "confirmed",
        "log": home.values["origin"],
        "entry": index,
        "batches": {"first": epoch.covered - epoch.new if epoch.new else None, "last": epoch.covered - 1},
        "trees": json.loads(epoch.to_text())["trees"],
        "cells": epoch.cells,
    }


# -- proofs ---------------------------------------------------------------------------------------------------


class Prover:
    """Proofs of one epoch. Its trees are built once and held, some 100 bytes an account, for as long as it is."""

    def __init__(self, home: Home, day: date | None = None) -> None:
        """Build the trees of a day's epoch (default: the latest).

        Raises ``epoch-unknown``; ``epoch-mismatch`` if the book does not give the sealed roots any more.
        """
        self._home = home
        with home.book.snapshot():
            self.index, self.text, self.epoch = _entry_of(home, day)
            running = RunningTotals(home).through(self.epoch.covered, home.joinings.sealed_before(self.index))
            self._trees = epoch_trees(home, running, home.epochs.secrets(), self.epoch.day, self.index, keep=True)
        for unit, tree in self._trees.items():
            if tree.head != self.epoch.trees.get(unit):
                raise refuse(
                    "epoch-mismatch",
                    f"the postings and secrets do not give the sealed root of {unit}",
                    where=f"epoch of {self.epoch.day}",
                    remedy="run 'tanzhang verify'; restore the book from a backup",
                )

    def prove(self, account: uuid.UUID) -> bytes:
        """The proof file of an account.

        Raises ``epoch-no-share`` for an account without a leaf, ``epoch-too-few`` where a path would show too much.
        """
        least = self._home.programme.disclosure.least_accounts_in_tree
        secret = self._home.epochs.secret(account)
        shares = {}
        for unit, tree in self._trees.items():
            found = tree.place(account.bytes) if secret is not None else None
            if found is None or secret is None:
                continue
            if tree.living < least:
                raise refuse(
                    "epoch-too-few",
                    f"the tree of {unit} has fewer than {least} accounts, so a path in it could show others' amounts",
                    where=f"epoch of {self.epoch.day}",
                    remedy="wait for more accounts; disclosure.least_accounts_in_tree of the programme says how many",
                )
            amount, place = found
            shares[unit] = Share(amount, account_salt(secret, self.epoch.day, unit), place, tree.tree.path(place))
        if not shares:
            raise refuse(
                "epoch-no-share",
                f"{account} has no share in the epoch of {self.epoch.day}",
                where="account",
                remedy="see 'tanzhang account show'; what was settled after that day is in a later epoch",
            )
        if self._home.log.size <= self.index:  # a crash came between the book and the log
            with self._home.settling():
                self._home.publish()
        return self._home.log.prove(self.index, Evidence(account, self.text, shares).to_bytes())


def prove(home: Home, account: uuid.UUID, day: date | None = None) -> bytes:
    """The proof file of one account in a day's epoch (default: the latest); see :class:`Prover`."""
    return Prover(home, day).prove(account)


def check(data: bytes, vkey: str) -> dict[str, Any]:
    """Verify a proof file without a home; what it proves, as JSON members. Raises at the first thing that is wrong."""
    verified = verify_epoch_proof(data, verifier_of(vkey))
    return {
        "status": "verified",
        "account": str(verified.account),
        "programme": verified.epoch.programme,
        "rehearsal": verified.epoch.rehearsal,
        "day": verified.epoch.day.isoformat(),
        "shares": {
            unit: {"amount": str(share.amount), "total": str(verified.epoch.trees[unit].root.amount)}
            for unit, share in verified.shares.items()
        },
        "log": verified.origin,
        "entry": verified.index,
        "log_size": verified.log_size,
        "checks": list(verified.checks),
    }


def _entry_of(home: Home, day: date | None) -> tuple[int, str, Epoch]:
    for row in reversed(home.epochs.entries()):
        epoch = Epoch.parse(row.text)
        if day is None or epoch.day == day:
            return row.seq, row.text, epoch
    raise refuse(
        "epoch-unknown",
        "no epoch is closed" if day is None else f"there is no epoch of {day}",
        where="--day",
        remedy="see 'tanzhang epoch list'; 'tanzhang epoch close' closes a day",
    )


# -- forgetting -----------------------------------------------------------------------------------------------


def leaves_of(home: Home, accounts: Iterable[uuid.UUID]) -> dict[uuid.UUID, list[dict[str, Any]]]:
    """Of each of these accounts that has a secret: its leaves in every epoch, as they are kept without it.

    Once the secrets are overwritten nobody can compute whose leaves they were, while every root and total stays as it
    was sealed. What an account holds is in a leaf of nobody from the next epoch on.
    """
    closed = [(row.seq, Epoch.parse(row.text)) for row in home.epochs.entries()]
    found = {}
    for account in accounts:
        secret = home.epochs.secret(account) if closed else None
        if secret is None:
            continue
        posted, legs = home.book.posted(account), home.book.transfers(account)
        found[account] = [
            _kept_leaf(account, secret, index, epoch, unit, sum(own))
            for index, epoch in closed
            for rows in (home.joinings.sealed_before(index) if legs else 0,)
            for unit in UNIT_NUMBER
            if (own := _amounts_in(epoch, rows, posted.get(unit, {}), [leg for leg in legs if leg.unit == unit]))
        ]
    return found


def _amounts_in(epoch: Epoch, rows: int, posted: Mapping[int, int], legs: Sequence[Any]) -> list[int]:
    """Of one unit, an account's amounts that an epoch with the first ``rows`` legs counts."""
    own = [amount for number, amount in posted.items() if number < epoch.covered]
    return own + [leg.amount for leg in legs if leg.seq < rows and leg.batches <= epoch.covered]


def _kept_leaf(account: uuid.UUID, secret: bytes, index: int, epoch: Epoch, unit: str, amount: int) -> dict[str, Any]:
    leaf = sum_tree.leaf(account_commitment(account), account_salt(secret, epoch.day, unit), amount)
    return {"entry": index, "unit": unit, "leaf": leaf.hash, "amount": leaf.amount}


# -- verification ---------------------------------------------------------------------------------------------


def recomputed(home: Home) -> Iterable[tuple[int, str, str | None]]:
    """Index, sealed text and the text that the book gives today of each epoch; None where no text can be made."""
    running, secrets = RunningTotals(home), home.epochs.secrets()
    rows = home.book.batches()
    first = 0
    for row in home.epochs.entries():
        try:
            sealed = Epoch.parse(row.text)
        except TanzhangError:
            yield row.seq, row.text, None
            continue
        known = running.through(sealed.covered, home.joinings.sealed_before(row.seq))
        trees = epoch_trees(home, known, secrets, sealed.day, row.seq)
        shown = {name: {(cell["kind"], cell[name]) for cell in sealed.cells[name]} for name in CELLS}
        cells = {"least_accounts": sealed.cells["least_accounts"], **_cells(home, first, sealed.covered, shown)}
        again = _epoch(home, sealed.day, rows, first, sealed.covered, trees, cells)
        yield row.seq, row.text, again.to_text()
        first = sealed.covered
