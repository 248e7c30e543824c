"""What a batch comes to: the totals its manifest states and its double entry, summed along the order of its records."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tanzhang.core.record import OUTCOMES, UNIT_OF_KIND
from tanzhang.engine.columns import IDENTITY_BYTES, Numbers, fixed_bytes, identities, run_starts, runs, text_codes
from tanzhang.engine.records import KINDS, Decision
from tanzhang.stores.book import system_account

_LARGEST = 2**63 - 1


def batch_totals(decision: Decision) -> dict[str, Any]:
    """What a manifest says of its records: how many of each outcome, and the amounts granted and reversed by unit."""
    counts = np.bincount(decision.outcome, minlength=len(OUTCOMES)).tolist()
    amounts = [
        (UNIT_OF_KIND[kind], chosen)
        for place, kind in enumerate(KINDS)
        for chosen in (decision.kind == place,)
        if chosen.any()
    ]
    return {
        "outcomes": {outcome: str(count) for outcome, count in sorted(zip(OUTCOMES, counts, strict=True)) if count},
        "granted": {unit: str(_sum(decision.granted_mg[chosen])) for unit, chosen in amounts},
        "reversed": {unit: str(_sum(decision.reversed_mg[chosen])) for unit, chosen in amounts},
    }


def batch_postings(decision: Decision) -> pa.Table:
    """The double entry of a batch: each account's net amount by unit, against the partners who reported it.

    Columns account, unit and amount, sorted by unit and account; amounts of one unit sum to zero; no zero amounts.
    Raises OverflowError for an account whose net amount is no 64-bit number.
    """
    accounts = fixed_bytes(decision.account, IDENTITY_BYTES)
    codes, partners = text_codes(decision.reports["partner"])
    net, partner = decision.granted_mg - decision.reversed_mg, codes[decision.order]
    own = [np.frombuffer(system_account(f"partner:{name}").bytes, np.uint8) for name in partners]
    parts = []
    for place, unit in sorted(enumerate(UNIT_OF_KIND[kind] for kind in KINDS), key=lambda each: each[1]):
        rows = np.flatnonzero(decision.kind == place)
        if not len(rows):
            continue
        run = runs(accounts[rows])
        starts = run_starts(run)
        amount = _sums(net[rows], starts)
        against = [-_sum(net[rows][partner[rows] == number]) for number in range(len(partners))]
        account = np.concatenate([accounts[rows[starts]], *(each.reshape(1, -1) for each in own)])
        table = pa.table(
            {
                "account": identities(account),
                "unit": pa.repeat(unit, len(account)),
                "amount": pa.concat_arrays([pa.array(amount), pa.array(against, pa.int64())]),
            }
        ).filter(pc.field("amount") != 0)
        order = pc.sort_indices(table["account"].combine_chunks().storage)
        parts.append(table.take(order))
    empty = pa.table({"account": identities(accounts[:0]), "unit": pa.array([], pa.string()), "amount": net[:0]})
    return pa.concat_tables([empty, *parts])


def _sum(amounts: Numbers) -> int:
    """The exact sum, however large."""
    if not len(amounts) or max(int(amounts.max()), -int(amounts.min())) <= _LARGEST // len(amounts):
        return int(amounts.sum())
    return sum(amounts.tolist())


def _sums(amounts: Numbers, starts: Numbers) -> Numbers:
    """The sum of each run that begins at one of ``starts``."""
    longest = int(np.diff(np.concatenate([starts, [len(amounts)]])).max())
    if max(int(amounts.max()), -int(amounts.min())) <= _LARGEST // longest:
        sums: Numbers = np.add.reduceat(amounts, starts)
        return sums
    exact = np.add.reduceat(amounts.astype(object), starts)
    return np.array([int(each) for each in exact], dtype=np.int64)
