"""Erasing, or disposing of files, dies before and after every step of writing; the same call again ends it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from tanzhang.service.accounts import statement
from tanzhang.service.erase import erase
from tanzhang.service.history import History
from tanzhang.service.intake import intake
from tanzhang.service.links import link_child
from tanzhang.service.settle import settle
from tanzhang.service.spark.settle import ClusterSettlement
from tanzhang.stores.book import erasure
from tanzhang.stores.home import Home
from tanzhang.stores.storage import files_under

from ..homes import account, assert_verified, box, new_home, on, power, problems, records, ride, settle_on, write
from ..postgres import Server
from ..stages import LocalStages
from .test_crash_everywhere import Dying, copy


@pytest.fixture(scope="module")
def dying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dying]:
    server = Dying(tmp_path_factory.mktemp("dying"))
    yield server
    server.close()


def live(home: Home, folder: Path) -> Path:
    """Anna, linked, and Bob, over two batches, the second in parts."""
    child, parent = account(home, "cainiao", "anna"), account(home, "amap", "anna")
    link_child(home, child, parent, valid_from=date(2025, 1, 1), valid_until=None, now=on(1))
    refused = {**box("b2"), "type": "use.nothing"}
    intake(home, write(folder / "a.ndjson", [box("b1"), box("x1", "bob"), ride("r1"), refused]), now=on(6))
    settle_on(home, 7)
    intake(home, write(folder / "b.ndjson", [power("p1"), box("b2"), power("q1", "bob")]), now=on(7))
    settle(home, now=on(20), engine=ClusterSettlement(LocalStages(cores=4)))
    return home.folder


@pytest.fixture(scope="module")
def base(in_memory: Path) -> Path:
    folder = in_memory / "erase-base"
    folder.mkdir()
    return live(new_home(folder / "home"), folder)


def standing(home: Path) -> int:
    """How many files a home has, but for those that a database keeps beside its own."""
    return sum(path.is_file() and not path.name.startswith("book.sqlite-") for path in home.rglob("*"))


def ended(home: Home) -> None:
    """That nothing of Anna is left and nothing of Bob is lost, wherever the first try died."""
    assert_verified(home)
    assert sum(outcome == "erased" for outcome in records(home)["outcome"].to_pylist()) == 3
    assert len(home.book.rows(erasure)) == 1
    assert (home.book.leftovers("file"), home.book.leftovers("keys")) == ([], [])
    assert statement(home, account(home, "cainiao", "bob"))["confirmed"]["reduction_mg"] == "37000"
    history = History(home)
    kept = sorted(entry for run in history._known._runs for entry in run.entries.tolist())
    assert kept == sorted(entry for row in home.book.batches() for entry in history._made(row.seq).tolist())


def test_erasing_that_dies_anywhere_and_is_repeated_erases_once_and_whole(
    dying: Dying, base: Path, quick: Path
) -> None:
    whole = copy(base, quick / "whole")
    points = dying.points("erase", whole, on(21))
    ended(Home(whole))
    names = {name.name.split("-")[0] for name, _ in files_under(whole / "records")}
    assert names == {"records", "parts", "erased", "subtrees.bin"}
    commit = points.index("after commit book.sqlite")
    written = [point for point in points[:commit] if point.startswith("after rename")]
    assert len(written) > 6
    kept = standing(whole)
    for at in [at for at, point in enumerate(points) if not point.startswith(("before sync", "after sync"))]:
        folder = copy(base, quick / "home")
        dying.die("erase", folder, on(21), at)
        home = Home(folder)
        codes = {problem["code"] for problem in problems(home)}
        assert codes <= ({"erasure-unfinished"} if at >= commit else set())
        again = erase(home, [account(home, "amap", "anna")], now=on(21))
        assert again["status"] == ("nothing" if at >= commit else "erased")
        ended(home)
        if at >= commit:  # what was written before the commit and is named by nothing waits to be tidied away
            assert standing(folder) == kept
    shutil.rmtree(quick / "home")


def test_erasing_from_a_book_on_postgresql_dies_at_its_commit_and_is_repeated(
    dying: Dying, postgres: Server, quick: Path
) -> None:
    folder = quick / "origin"
    folder.mkdir()
    origin = live(new_home(folder / "home", book=postgres.address(postgres.database(), "tanzhang_beijing")), folder)
    points = dying.points("erase", postgres.copy(origin, quick / "whole"), on(21))
    commits = [at for at, point in enumerate(points) if "commit" in point]
    assert len(commits) >= 4
    for at in commits:
        copied = postgres.copy(origin, quick / "home")
        dying.die("erase", copied, on(21), at)
        home = Home(copied)
        erase(home, [account(home, "amap", "anna")], now=on(21))
        ended(home)
        home.book.close()


def test_settling_goes_on_where_erasing_died(dying: Dying, base: Path, quick: Path) -> None:
    points = dying.points("erase", copy(base, quick / "whole"), on(21))
    folder = copy(base, quick / "home")
    dying.die("erase", folder, on(21), points.index("after commit book.sqlite"))
    home = Home(folder)
    intake(home, write(quick / "c.ndjson", [box("b1"), box("n1", "bob", number="YT-b1")]), now=on(21))
    assert settle(home, now=on(29))["outcomes"] == {"duplicate_of": "1", "repeat": "1"}
    erase(home, [account(home, "amap", "anna")], now=on(30))
    assert_verified(home)
