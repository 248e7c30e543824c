"""One process writes at a time, any number reads, and readers never see half of anything."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.service import accounts
from tanzhang.service.accounts import action_named, balances, statement
from tanzhang.service.intake import intake
from tanzhang.service.receipt import check_receipt, create_receipt
from tanzhang.stores import files
from tanzhang.stores.book import batch
from tanzhang.stores.home import Home

from ..homes import (
    BOX_MG,
    account,
    assert_verified,
    balance,
    box,
    new_home,
    on,
    partner_totals,
    problems,
    ride,
    settle_on,
    write,
)


@pytest.fixture
def home(quick: Path) -> Home:
    """A home with one batch, and reports that are ready to settle."""
    home = new_home(quick / "home")
    intake(home, write(quick / "a.ndjson", [box("b1"), ride("r1")]), now=on(6))
    settle_on(home, 7)
    intake(home, write(quick / "b.ndjson", [box("b2"), ride("r2", hour=20)]), now=on(7))
    return home


def command(home: Home, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tanzhang", *arguments, "--home", str(home.folder), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_settlements_at_once_book_everything_once_and_the_others_say_that_they_must_wait(home: Home) -> None:
    running = [command(home, "settle") for _ in range(3)]
    answers = [json.loads(each.communicate()[0]) for each in running]
    batches = [answer["batch"] for answer in answers if "batch" in answer]
    assert sorted(batch for batch in batches if batch is not None) == [1]
    assert {answer["code"] for answer in answers if "code" in answer} <= {"home-busy"}
    assert balance(home, "cainiao", "anna") == 2 * BOX_MG
    assert_verified(home)


def test_intakes_at_once_are_all_taken_and_the_same_file_once(home: Home, quick: Path) -> None:
    paths = [write(quick / f"{number}.ndjson", [box(f"c{number}")]) for number in range(3)]
    running = [command(home, "intake", str(path)) for path in [*paths, paths[0]]]
    answers = [json.loads(each.communicate()[0]) for each in running]
    assert answers[0] == answers[3]
    assert {answer["submission"] for answer in answers} == {2, 3, 4}
    settle_on(home, 9)
    assert balance(home, "cainiao", "anna") == 5 * BOX_MG
    assert_verified(home)


def test_reports_come_in_at_every_step_of_a_settlement_and_are_settled_by_the_next(
    home: Home, quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []
    inside = False

    def report(point: str, path: Path) -> None:
        nonlocal inside
        if inside or point == "before commit":  # the one moment at which another writer waits
            return
        inside = True
        late = write(quick / f"late {len(taken)}.ndjson", [box(f"late{len(taken)}")])
        assert intake(Home(home.folder), late, now=on(9))["accepted"] == 1
        taken.append(point)
        inside = False

    with monkeypatch.context() as patch:
        patch.setattr(files, "on_write", report)
        first = settle_on(home, 9)
    assert len(taken) > 10
    second = settle_on(home, 9)
    assert first["records"] + second["records"] == 3 + len(taken)  # a ride of the fixture was open too
    assert second["records"] > 10
    assert balance(home, "cainiao", "anna") == (2 + len(taken)) * BOX_MG
    assert_verified(home)


def test_a_report_that_comes_in_while_a_batch_is_committed_waits_for_it(
    home: Home, quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = write(quick / "late.ndjson", [box("b9")])
    waiting: list[subprocess.Popen[str]] = []

    def report(point: str, path: Path) -> None:
        if point == "before commit":
            waiting.append(command(home, "intake", str(late)))
            time.sleep(1)

    with monkeypatch.context() as patch:
        patch.setattr(files, "on_write", report)
        settle_on(home, 9)
    (process,) = waiting
    assert json.loads(process.communicate()[0])["accepted"] == 1
    assert_verified(home)


def test_readers_at_any_step_of_intake_and_settle_see_a_whole_home(
    home: Home, quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = action_named(home, "cainiao:b1"), action_named(home, "cainiao:b2")
    anna = account(home, "cainiao", "anna")
    seen = []

    def look() -> None:
        with monkeypatch.context() as inner:
            inner.setattr(files, "on_write", files._nothing)
            reader = Home(home.folder)
            (row,) = [row for row in balances(reader)[1] if row.account == anna]
            assert row.reduction_mg + row.provisional_reduction_mg == 2 * BOX_MG
            told = statement(reader, anna)
            assert len(told["latest"]) + len(told["open"]) == 2
            assert partner_totals(reader)["cainiao"] == {"co2e_mg": row.reduction_mg}
            assert check_receipt(create_receipt(reader, old), reader.values["vkey"])["outcome"] == "granted"
            if row.provisional_reduction_mg:
                with pytest.raises(TanzhangError, match="not-settled"):
                    create_receipt(reader, new)
            seen.append(row.reduction_mg)
            assert {problem["code"] for problem in problems(reader)} <= {"log-behind-book"}

    def at_renames(point: str, path: Path) -> None:
        if point in ("after rename", "before commit", "after commit"):
            look()

    with monkeypatch.context() as patch:
        patch.setattr(files, "on_write", at_renames)
        intake(home, write(quick / "c.ndjson", [ride("r5", "carla")]), now=on(8))
        settle_on(home, 9)
    assert seen == sorted(seen)
    assert set(seen) == {BOX_MG, 2 * BOX_MG}


def test_a_settlement_between_two_reads_of_one_answer_does_not_show_in_it(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, times = accounts._provisional, []

    def disturbed(*arguments: object) -> object:
        times.append(1)
        if len(times) == 1:
            settle_on(Home(home.folder), 9)
        return honest(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(accounts, "_provisional", disturbed)
    (row,) = [row for row in balances(home)[1] if row.account == account(home, "cainiao", "anna")]
    assert (row.reduction_mg, row.provisional_reduction_mg) == (BOX_MG, BOX_MG)
    assert len(Home(home.folder).book.rows(batch)) == 2


def test_a_book_that_moved_since_it_was_read_refuses_the_batch(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the lock of the folder does not hold, as on some network file systems."""
    monkeypatch.setattr("tanzhang.stores.home.fcntl.flock", lambda *_: None)
    other = Home(home.folder)
    done = []
    real = home.book.heads

    def heads() -> dict[str, dict[str, str]]:
        found = real()
        if not done:
            done.append(1)
            settle_on(other, 9)
        return found

    monkeypatch.setattr(home.book, "heads", heads)
    with pytest.raises(TanzhangError, match="book-moved"):
        settle_on(home, 9)
    assert balance(home, "cainiao", "anna") == 2 * BOX_MG
    assert_verified(Home(home.folder))


def test_a_copy_of_a_home_taken_between_two_writes_is_a_whole_home(home: Home, quick: Path) -> None:
    settle_on(home, 9)
    moved = Path(shutil.copytree(home.folder, quick / "moved"))
    assert_verified(Home(moved))
    assert balance(Home(moved), "cainiao", "anna") == 2 * BOX_MG
