"""Points to points of a bank: a real small bank over HTTP, unknown answers, killed processes, its file of the day."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import uuid
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.service.benefits import buy
from tanzhang.service.check_benefits import check_benefits
from tanzhang.service.transfers import bank_keys, pending, reconcile, settle_transfers
from tanzhang.stores.home import Home
from tanzhang.stores.outgoing import Outgoing
from tanzhang.stores.register.benefits import Benefits

from ..banks import Bank
from ..homes import on
from .test_benefits import ANNA, BO, COMMON, grant, load, points_of

DAY = date(2025, 6, 8)


def open_bank(home: Home, tmp_path: Path, bank: Bank, signature: str = "ed25519") -> None:
    offered = f"""
  bank_points:
    kind: bank_points{COMMON}    bank: {{id: hill_bank, url: "{bank.url}", signature: {signature}}}
    rates: [{{from: 2025-06-01, points: 100, gets: 10}}]
"""
    load(home, tmp_path, offered)
    (bank.key,) = bank_keys(home)
    for own in (ANNA, BO):
        grant(home, own, 1_000)


def ask(home: Home, reference: str = "t-1", own: uuid.UUID = ANNA, points: int = 300) -> Any:
    return buy(home, own, "bank_points", reference, points=points, payee="6222-0001", now=on(8))


def settled(home: Home, hours: int = 0) -> dict[str, int]:
    return settle_transfers(home, now=on(8) + timedelta(hours=hours), client=Outgoing(longest_s=2))


@pytest.mark.parametrize("signature", ["ed25519", "hmac-sha256"])
def test_points_are_reserved_booked_there_and_confirmed_here(
    home: Home, tmp_path: Path, bank: Bank, signature: str
) -> None:
    open_bank(home, tmp_path, bank, signature)
    row = ask(home)
    assert (row.state, row.value, points_of(home, ANNA)) == ("pending", 30, 700)
    assert "6222" not in str(row)
    assert settled(home) == {"confirmed": 1, "refunded": 0, "pending": 0}
    assert bank.booked == {row.id: ("6222-0001", 30)}
    done = home.benefits.use(row.id)
    assert done is not None
    assert (done.state, done.payee) == ("confirmed", None)
    assert settled(home, 1) == {"confirmed": 0, "refunded": 0, "pending": 0}
    assert check_benefits(home) == (1, [])


def test_what_the_bank_refuses_for_good_is_given_back_once(home: Home, tmp_path: Path, bank: Bank) -> None:
    open_bank(home, tmp_path, bank)
    bank.answers = [422]
    row = ask(home)
    assert settled(home)["refunded"] == 1
    assert points_of(home, ANNA) == 1_000
    assert settled(home, 1) == {"confirmed": 0, "refunded": 0, "pending": 0}
    assert ask(home).state == "refunded"
    assert (points_of(home, ANNA), bank.booked, row.state) == (1_000, {}, "pending")
    assert check_benefits(home) == (1, [])


def test_an_unknown_outcome_stays_pending_and_is_asked_again_with_the_same_id(
    home: Home, tmp_path: Path, bank: Bank
) -> None:
    open_bank(home, tmp_path, bank)
    bank.answers = [500, 202, 404, None]
    row = ask(home)
    for hours in range(4):
        assert settled(home, 2 * hours)["pending"] == 1
        assert settled(home, 2 * hours) == {"confirmed": 0, "refunded": 0, "pending": 0}  # not due again yet
    (waiting,) = pending(home)
    assert (waiting["id"], waiting["tries"], points_of(home, ANNA)) == (row.id, "4", 700)
    assert settled(home, 9)["confirmed"] == 1
    assert (bank.asked, bank.booked) == (5, {row.id: ("6222-0001", 30)})


@pytest.mark.parametrize("books_first", [False, True])
def test_a_process_killed_while_it_asked_books_each_transfer_once(
    home: Home, tmp_path: Path, bank: Bank, books_first: bool
) -> None:
    open_bank(home, tmp_path, bank)
    row = ask(home)
    bank.books_first, bank.answers = books_first, [None]
    command = [sys.executable, "-m", "tanzhang", "benefits", "transfer", "--home", str(home.folder)]
    bank.kills = subprocess.Popen(command, env={**os.environ}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert bank.kills.wait(60) == -signal.SIGKILL
    assert (len(bank.booked), home.benefits.use(row.id).state) == (int(books_first), "pending")  # type: ignore[union-attr]
    bank.kills = None
    later = datetime.now(UTC) + timedelta(minutes=11)
    assert settle_transfers(home, now=later, client=Outgoing(longest_s=2))["confirmed"] == 1
    assert (bank.booked, points_of(home, ANNA)) == ({row.id: ("6222-0001", 30)}, 700)
    assert check_benefits(home) == (1, [])


def test_two_workers_at_once_book_each_transfer_once(home: Home, tmp_path: Path, bank: Bank) -> None:
    open_bank(home, tmp_path, bank)
    for number in range(6):
        ask(home, f"t-{number}", (ANNA, BO)[number % 2], 100)
    bank.answers = [422, 500]
    counts: list[dict[str, int]] = []
    threads = [threading.Thread(target=lambda: counts.append(settled(Home(home.folder)))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: sum(each[name] for each in counts) for name in counts[0]} == {
        "confirmed": 4,
        "refunded": 1,
        "pending": 1,
    }
    assert settled(home, 1)["confirmed"] == 1
    assert len(bank.booked) == 5
    assert points_of(home, ANNA) + points_of(home, BO) == 2_000 - 5 * 100


def test_the_banks_file_of_a_day_is_compared_transfer_by_transfer(home: Home, tmp_path: Path, bank: Bank) -> None:
    open_bank(home, tmp_path, bank)
    bank.books_first = True
    bank.answers = [200, 500, 200, 200]
    rows = [ask(home, f"t-{number}", points=100) for number in range(4)]
    assert settled(home) == {"confirmed": 3, "refunded": 0, "pending": 1}
    file = tmp_path / "day.csv"

    def compared(*lines: str) -> dict[str, Any]:
        file.write_text("id,points\n" + "".join(f"{line}\n" for line in lines), encoding="utf-8")
        return reconcile(home, "hill_bank", DAY, file)

    said = compared(*(f"{row.id},10" for row in (rows[0], rows[2], rows[3])))
    assert (said["status"], said["pending"], said["here"]) == ("equal", "1", {"transfers": "3", "points": "30"})
    said = compared(f"{rows[0].id},11", f"{rows[1].id},10", f"{rows[2].id},10", "stranger,5")
    assert {each["id"]: each["what"] for each in said["differences"]} == {
        rows[0].id: "another amount",
        rows[1].id: "pending here, booked there",
        rows[3].id: "confirmed here, not there",
        "stranger": "not ours on this day",
    }
    with pytest.raises(TanzhangError) as error:
        compared(f"{rows[0].id},1.5", ",3", f"{rows[1].id},1", f"{rows[1].id},1")
    assert [each.where for each in error.value.problems] == ["day.csv:2", "day.csv:3", "day.csv:5"]


def test_what_is_asked_for_is_a_whole_multiple_at_a_rate_that_holds(home: Home, tmp_path: Path, bank: Bank) -> None:
    open_bank(home, tmp_path, bank)
    for points in (0, 99, 150, None):
        with pytest.raises(TanzhangError, match="benefit-asked-wrongly"):
            ask(home, points=points)  # type: ignore[arg-type]
    with pytest.raises(TanzhangError, match="reference-taken"):
        ask(home, points=ask(home).points + 100)


def test_a_transfer_of_somebody_who_is_erased_is_asked_about_no_more(home: Home, tmp_path: Path, bank: Bank) -> None:
    open_bank(home, tmp_path, bank)
    row = ask(home)
    with home.book.transaction() as con:
        Benefits(home.book).forget(con, [str(ANNA)])
    assert settled(home) == {"confirmed": 0, "refunded": 0, "pending": 0}
    kept = home.benefits.use(row.id)
    assert kept is not None
    assert (kept.state, kept.payee, kept.account, bank.asked) == ("erased", None, "", 0)
