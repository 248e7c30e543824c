"""Runs by account in a home: verified against what they are made of, cleared of who is erased."""

from __future__ import annotations

import struct
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.service import view
from tanzhang.service.by_account import is_kept, keep
from tanzhang.service.erase import erase
from tanzhang.service.intake import intake
from tanzhang.service.reading import Reader
from tanzhang.stores.by_account import FOLDER, Run
from tanzhang.stores.home import Home

from ..homes import BOX_MG, account, assert_verified, box, new_home, on, power, problems, settle_on, write


@pytest.fixture
def home(quick: Path) -> Home:
    home = new_home(quick / "home")
    for day in (6, 7):
        events = [box(f"b{day}-{who}", who) for who in ("anna", "bob", "carl")] + [power(f"p{day}", "bob")]
        intake(home, write(quick / f"{day}.ndjson", events), now=on(day))
        settle_on(home, day + 1)
    assert keep(home) == 2
    return home


def run_file(home: Home) -> Path:
    (path,) = (home.folder / FOLDER).glob("*.run")
    return path


def test_another_amount_in_a_run_is_found(home: Home) -> None:
    assert_verified(home)
    path = run_file(home)
    data = bytearray(path.read_bytes())
    data[data.index(struct.pack("<q", 2 * BOX_MG))] ^= 1
    path.write_bytes(data)
    assert [(each["code"], each["where"]) for each in problems(home)] == [
        ("by-account-differs", f"{FOLDER}/{path.name}")
    ]


def test_another_byte_among_the_records_of_a_run_is_found(home: Home) -> None:
    path = run_file(home)
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    assert [each["code"] for each in problems(home)] == ["by-account-differs"]
    path.unlink()
    assert keep(home) == 2
    assert_verified(home)


def test_runs_of_which_everybody_is_erased_verify(home: Home) -> None:
    everybody = [account(home, "cainiao", who) for who in ("anna", "bob", "carl")]
    erase(home, [*everybody, account(home, "alipay", "bob")], now=on(9))
    assert_verified(home)
    keep(home)
    assert_verified(home)


def test_who_is_erased_is_gone_from_runs_and_from_readers_that_know_the_old_ones(home: Home) -> None:
    anna, bob = account(home, "cainiao", "anna"), account(home, "cainiao", "bob")
    reader = Reader(home)
    others = reader.statement(bob)
    places = [each["action_id"] for each in reader.statement(anna)["latest"]]
    erase(home, [anna], now=on(9))
    with pytest.raises(TanzhangError, match="account-erased"):
        reader.statement(anna)
    assert reader.balance(anna) == {"co2e_mg": 2 * BOX_MG}
    assert reader.statement(bob) == others
    run = Run.open(run_file(home))
    assert run is not None
    kept = [row["action_id"].tobytes().hex() for part in run.pieces() for row in part.rows]
    assert len(kept) == 6
    assert not {each.replace("-", "") for each in places} & set(kept)
    assert_verified(home)


@pytest.mark.parametrize("by_another", [False, True])
def test_a_reader_that_looks_through_files_goes_over_to_runs_as_soon_as_there_are_some(
    home: Home, quick: Path, monkeypatch: pytest.MonkeyPatch, by_another: bool
) -> None:
    monkeypatch.setattr(view, "AT_ONCE", 0)
    anna = account(home, "cainiao", "anna")
    run_file(home).unlink()
    asked = []
    looked_through = view.View._looked_up
    monkeypatch.setattr(view.View, "_looked_up", lambda *given: (asked.append(1), looked_through(*given))[1])
    reader = Reader(home, sorts=not by_another)
    before = reader.statement(anna)
    assert asked == [1]
    if by_another:
        keep(home)
        reader.sort()
    until = time.monotonic() + 30
    while len(asked) > 0 and time.monotonic() < until:
        asked.clear()
        assert reader.statement(anna) == before
        time.sleep(0.05)
    assert asked == []
    assert is_kept(home)


@pytest.mark.parametrize("ago_s", [10, 600])
def test_a_process_that_serves_leaves_sorting_to_a_worker_that_is_there(home: Home, quick: Path, ago_s: int) -> None:
    now = on(9)
    home.chores.take("publish", "another", now=now - timedelta(seconds=ago_s), lease=timedelta(seconds=1))
    intake(home, write(quick / "new.ndjson", [box("new", "bob")]), now=on(8))
    settle_on(home, 9)
    assert not is_kept(home)
    bob, reader = account(home, "cainiao", "bob"), Reader(home, sorts=True, now=lambda: now)
    before = reader.statement(bob)
    until = time.monotonic() + (30 if ago_s > 60 else 3)
    while not is_kept(home) and time.monotonic() < until:
        assert reader.statement(bob) == before
        time.sleep(0.05)
    assert is_kept(home) == (ago_s > 60)


def test_many_threads_ask_one_reader_while_batches_are_settled_and_sorted(home: Home, quick: Path) -> None:
    reader, bob = Reader(home), account(home, "cainiao", "bob")

    def seen(_: int) -> int:
        said = reader.statement(bob)
        total = int(said["confirmed"]["reduction_mg"]) + int(said["provisional"]["reduction_mg"])
        assert total == BOX_MG * (len(said["latest"]) + len(said["open"]))
        return total

    with ThreadPoolExecutor(4) as pool:
        for day in (8, 9, 10):
            asked = pool.map(seen, range(20))
            intake(home, write(quick / f"{day}.ndjson", [box(f"b{day}", "bob")]), now=on(day))
            settle_on(home, day + 1)
            keep(home)
            assert {*asked} <= {BOX_MG * number for number in range(2, 6)}
    assert seen(0) == 5 * BOX_MG
