"""Proofs of rows that the log commits to some at a time, and what verification asks of the entries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.log_tree import Evidence, LogRow, Verified, added, leaf_of
from tanzhang.core.merkle import inclusion_proof
from tanzhang.stores.home import Home
from tanzhang.stores.register.log_rows import LogRows

R = TypeVar("R", bound=LogRow)


def proof_of(home: Home, register: LogRows[R], row: Any) -> bytes:
    """The proof file of a row of a register; ``not-sealed`` until an entry of the log commits to it."""
    tree = register.tree
    found = next(((index, text) for index, text in register.sealed() if row.seq < tree.parse(text).rows), None)
    if found is None:
        raise refuse(
            "not-sealed",
            f"the {tree.member} {row.id} is booked, and no entry of the log commits to it yet",
            where=tree.member,
            remedy="ask again after the next batch is settled or the next day is closed",
        )
    index, text = found
    sealed = tree.parse(text)
    leaves = [leaf_of(register.row_of(each)) for each in register.rows(sealed.first, sealed.rows)]
    place = row.seq - sealed.first
    evidence = Evidence(register.row_of(row), place, tuple(inclusion_proof(place, leaves)), text)
    if home.log.size <= index:  # a crash came between the book and the log
        with home.settling():
            home.publish()
    return home.log.prove(index, tree.evidence(evidence))


def described_proof(verified: Verified[R]) -> dict[str, Any]:
    """What a proof that holds proves, as JSON members."""
    return {
        "status": "verified",
        **verified.row.as_dict(),
        "programme": verified.sealed.programme,
        "log": verified.origin,
        "entry": verified.index,
        "log_size": verified.log_size,
        "checks": list(verified.checks),
    }


def check_entries(home: Home, register: LogRows[R], rows: Sequence[Any], wrong: Callable[[str, str], None]) -> int:
    """How many entries were looked at: each follows the one before, and has the root and totals of its rows."""
    tree, entries, before = register.tree, register.sealed(), 0
    totals: dict[str, dict[str, int]] = {}
    for index, text in entries:
        try:
            said = tree.parse(text)
        except TanzhangError:
            wrong(f"the entry is not one of {tree.kind}", f"entry {index}")
            continue
        own = [register.row_of(row) for row in rows[before : said.rows]]
        totals = added(totals, own)
        if said.first != before or not own:
            wrong("the entry does not follow the one before", f"entry {index}")
        elif tree.text(tree.entry(home.programme.id, before, own, totals)) != text:
            wrong(f"the entry is not that of the {tree.kind} of then", f"entry {index}")
        before = said.rows
    return len(entries)
