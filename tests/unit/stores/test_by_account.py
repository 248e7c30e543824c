"""Runs of records by account: what is put in is found, merged or not, on disk or in memory."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tanzhang.engine.account_rows import ROW, place_of
from tanzhang.stores.by_account import BLOCK_ROWS, FOLDER, About, ByAccount, Part, Run, together

CHAINS = [f"chain {number}" for number in range(9)]
TEXTS = ("amap", "travel.metro", "CN-BJ", None, "measured", "reduction", "granted", None)


def name(number: int) -> bytes:
    return uuid.uuid5(uuid.NAMESPACE_URL, str(number)).bytes


def part(batch: int, accounts: list[int], amounts: dict[int, int]) -> Part:
    """A row for each of some accounts, of so many mg as its number, and what is booked in others."""
    own = sorted(accounts, key=name)
    rows = np.zeros(len(own), dtype=ROW)
    rows["place"] = place_of(batch, 0) + np.arange(len(own))
    rows["granted_mg"] = own
    identities = np.frombuffer(b"".join(map(name, own)), np.uint8).reshape(-1, 16)
    postings = pa.table(
        {
            "account": pa.array(list(map(name, amounts)), pa.uuid()),
            "unit": ["co2e_mg"] * len(amounts),
            "amount": pa.array(amounts.values(), pa.int64()),
        }
    )
    return together([Part.of_rows(identities, rows), Part.of_postings(postings)])


def about(batch: int) -> About:
    return About(batch, batch, CHAINS[batch], [TEXTS], [0])


def found(runs: list[Run], account: int) -> tuple[list[int], int]:
    """The places of an account's rows in the order of the batches, and what is booked in it."""
    rows: list[int] = []
    booked = 0
    for run in runs:
        own = run.of_account(name(account))
        if own is not None:
            assert set(own[0]["granted_mg"].tolist()) <= {account}
            assert run.booked_in(name(account)) == own[1]
            rows += own[0]["place"].tolist()
            booked += own[1][0]
    return rows, booked


def expected(parts: list[tuple[list[int], dict[int, int]]], account: int) -> tuple[list[int], int]:
    places = []
    for batch, (accounts, _) in enumerate(parts):
        own = sorted(accounts, key=name)
        places += [place_of(batch, place) for place, each in enumerate(own) if each == account]
    return places, sum(amounts.get(account, 0) for _, amounts in parts)


PARTS: list[tuple[list[int], dict[int, int]]] = [
    ([each % 50 for each in range(3 * BLOCK_ROWS + 7)], {1: 5, 2: 6, 77: -11}),
    ([3], {3: 9, 77: -9}),
    ([], {}),
    ([1, 1, 60], {1: 1, 60: 1, 77: -2}),
    ([each % 9 for each in range(40)], {}),
]


def kept(home: Path) -> ByAccount:
    store = ByAccount(home, CHAINS)
    with store.alone() as alone:
        assert alone
        for number in range(store.last + 1, len(PARTS)):
            store.add(about(number), [part(number, *PARTS[number])])
    return store


def test_an_account_has_its_rows_in_order_and_its_amounts_however_runs_are_merged(tmp_path: Path) -> None:
    home = Path(tmp_path)
    store = kept(home)
    again = ByAccount(home, CHAINS)
    assert [run.about.last for run in again.runs] == [run.about.last for run in store.runs]
    assert len(again.runs) < len(PARTS)
    assert (again.last, sum(run.rows for run in again.runs)) == (len(PARTS) - 1, sum(len(own) for own, _ in PARTS))
    single = [Run.of(about(number), part(number, *each)) for number, each in enumerate(PARTS)]
    packed = [Run.packed(about(number), part(number, *each)) for number, each in enumerate(PARTS)]
    for account in (*range(50), 60, 77, 1_000):
        wanted = expected(PARTS, account)
        assert found(again.runs, account) == found(single, account) == found(packed, account) == wanted
    assert sorted(path.name for path in (home / FOLDER).glob("*.run")) == sorted(
        run.path.name for run in again.runs if run.path is not None
    )


def test_every_row_tells_its_account(tmp_path: Path) -> None:
    for run in kept(tmp_path).runs:
        for number in range(run.rows):
            account, row = run.row(number)
            assert account == name(int(row["granted_mg"]))


def test_rows_that_are_taken_out_are_gone_from_the_files_and_amounts_stay(tmp_path: Path) -> None:
    store = kept(tmp_path)
    own, booked = found(store.runs, 1)
    gone: dict[int, Any] = {0: np.array([place for place in own if place < place_of(1, 0)])}
    with store.alone():
        store.without(gone)
    again = ByAccount(tmp_path, CHAINS)
    assert found(again.runs, 1) == ([place for place in own if place >= place_of(1, 0)], booked)
    assert found(again.runs, 2) == expected(PARTS, 2)
    assert [run.about.erased[0] for run in again.runs if run.about.first == 0] == [len(gone[0])]


def test_files_of_another_book_or_that_are_none_are_left_out(tmp_path: Path) -> None:
    kept(tmp_path)
    assert ByAccount(tmp_path, CHAINS[:2]).last == 0, "a run of batches that the book does not have"
    assert ByAccount(tmp_path, ["another", *["chain"] * 8]).last == -1
    for path in (tmp_path / FOLDER).glob("*.run"):
        path.write_bytes(path.read_bytes()[:-9])
    assert ByAccount(tmp_path, CHAINS).last == -1
    assert found(kept(tmp_path).runs, 3) == expected(PARTS, 3), "and made again"


def test_two_do_not_write_at_once(tmp_path: Path) -> None:
    store = ByAccount(tmp_path, CHAINS)
    with store.alone(), ByAccount(tmp_path, CHAINS).alone(wait=False) as alone:
        assert not alone
    with pytest.raises(AssertionError, match="does not follow"):
        store.add(about(3), [])
