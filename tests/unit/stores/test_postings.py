"""Pages give back the postings that were put in, find one account's amount, and say what they add up to."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tanzhang.core.errors import TanzhangError
from tanzhang.stores import postings as module
from tanzhang.stores.postings import amount_in, pages, postings_of

AMOUNTS = st.dictionaries(st.binary(min_size=16, max_size=16), st.integers(-(2**62), 2**62), max_size=40)


def table(amounts: dict[bytes, int]) -> pa.Table:
    ordered = sorted(amounts.items())
    return pa.table(
        {
            "account": pa.array([account for account, _ in ordered], pa.binary(16)),
            "amount": pa.array([amount for _, amount in ordered], pa.int64()),
        }
    )


@given(amounts=AMOUNTS, size=st.integers(1, 9), stranger=st.binary(min_size=16, max_size=16))
def test_pages_hold_what_was_posted(amounts: dict[bytes, int], size: int, stranger: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PAGE_ACCOUNTS", size)
        rows = [SimpleNamespace(**page) for page in pages(table(amounts), "co2e_mg")]
    assert [row.accounts for row in rows[:-1]] == [size] * (len(rows) - 1 if rows else 0)
    assert sum(row.amount for row in rows) == sum(amounts.values())
    back = postings_of(rows)
    accounts = [each.bytes for each in back["account"].to_pylist()]
    assert dict(zip(accounts, back["amount"].to_pylist(), strict=True)) == amounts
    assert accounts == sorted(amounts)
    assert set(back["unit"].to_pylist()) <= {"co2e_mg"}
    for row, following in itertools.pairwise(rows):
        assert row.first <= row.last < following.first
    for account in (*amounts, stranger):
        holding = [row for row in rows if row.first <= account <= row.last]
        assert sum(amount_in(row, account) for row in holding) == amounts.get(account, 0)


def test_a_page_of_a_wrong_length_is_refused() -> None:
    with pytest.raises(TanzhangError, match="page-damaged: a page of postings has 23 bytes"):
        postings_of([SimpleNamespace(unit="co2e_mg", data=bytes(23))])
