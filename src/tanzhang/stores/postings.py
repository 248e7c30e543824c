"""Posting pages: the amounts of many accounts in one row of the book.

A batch of a city books millions of accounts; a row for each costs more than everything else that is written. A page
holds the postings of up to :data:`PAGE_ACCOUNTS` accounts of one batch and unit, sorted by account: first all accounts,
16 bytes each, then all amounts, 8 bytes each, signed, big-endian. Pages of one batch and unit do not overlap, so one
account's amount is found by one look-up and a binary search. ``accounts`` and ``amount`` repeat what the page adds up
to, so the database itself can be asked whether a unit sums to zero.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from tanzhang.core.errors import refuse
from tanzhang.engine.columns import IDENTITY_BYTES, fixed_bytes, identities, integers

PAGE_ACCOUNTS = 1_024
_AMOUNT_BYTES = 8


def pages(postings: pa.Table, unit: str) -> Iterator[dict[str, Any]]:
    """Rows of table ``posting`` without their batch, for postings (account, amount) of one unit sorted by account."""
    accounts = fixed_bytes(postings["account"], IDENTITY_BYTES)
    amounts = integers(postings["amount"], pa.int64())
    for start in range(0, len(amounts), PAGE_ACCOUNTS):
        here = slice(start, start + PAGE_ACCOUNTS)
        own, amount = accounts[here], amounts[here]
        yield {
            "unit": unit,
            "first": own[0].tobytes(),
            "last": own[-1].tobytes(),
            "accounts": len(own),
            "amount": sum(amount.tolist()),
            "data": own.tobytes() + amount.astype(">i8").tobytes(),
        }


def postings_of(rows: Iterable[Any]) -> pa.Table:
    """The postings of pages, in their order: account, unit, amount. ``page-damaged`` for a page that is none."""
    accounts, amounts, units, counts = [], [], [], []
    for row in rows:
        own, amount = _parts(row.data)
        accounts.append(own)
        amounts.append(amount)
        units.append(row.unit)
        counts.append(len(amount))
    names = sorted(set(units))
    codes = np.repeat(np.array([names.index(unit) for unit in units], dtype=np.int8), counts)
    return pa.table(
        {
            "account": identities(np.concatenate(accounts) if accounts else np.zeros((0, IDENTITY_BYTES), np.uint8)),
            "unit": pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(names, pa.string())).cast(pa.string()),
            "amount": pa.array(np.concatenate(amounts).astype(np.int64) if amounts else [], pa.int64()),
        }
    )


def amount_in(row: Any, account: bytes) -> int:
    """What a page posts to an account, 0 if it is not in it."""
    own, amounts = _parts(row.data)
    place = bisect_left(range(len(own)), account, key=lambda number: own[number].tobytes())
    found = place < len(own) and own[place].tobytes() == account
    return int(amounts[place]) if found else 0


def _parts(data: bytes) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    count, rest = divmod(len(data), IDENTITY_BYTES + _AMOUNT_BYTES)
    if rest:
        raise refuse(
            "page-damaged",
            f"a page of postings has {len(data)} bytes",
            where="table posting",
            remedy="restore the book from a backup",
        )
    split = count * IDENTITY_BYTES
    accounts = np.frombuffer(data, np.uint8, count=split).reshape(count, IDENTITY_BYTES)
    return accounts, np.frombuffer(data, ">i8", offset=split)
