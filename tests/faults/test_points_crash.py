"""Awarding dies before and after every step of writing; the same call again gives every point once."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tanzhang.service.award import award_due
from tanzhang.service.intake import intake
from tanzhang.service.joining import join
from tanzhang.stores.book import points_move, points_run
from tanzhang.stores.home import Home
from tanzhang.stores.register.points import points_lot
from tanzhang.stores.register.points_runs import points_used

from ..homes import account, assert_verified, box, on, ride, settle_on, withdrawal, write
from ..points_city import POINTS, UNIT, points_home, rules
from ..postgres import Server
from .test_crash_everywhere import Dying, copy


@pytest.fixture(scope="module")
def dying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dying]:
    server = Dying(tmp_path_factory.mktemp("dying"))
    yield server
    server.close()


def two_batches(home: Home, folder: Path) -> Path:
    """One batch that is awarded, and one that takes back and is not."""
    intake(home, write(folder / "a.ndjson", [box("a"), box("b"), ride("r")]), now=on(6))
    settle_on(home, 8)
    award_due(home, now=on(8))
    intake(home, write(folder / "b.ndjson", [withdrawal(box("a"), "w"), box("c", "bo")]), now=on(8))
    settle_on(home, 20)
    return home.folder


def held(home: Home) -> Any:
    """What runs gave, without when."""
    runs = [(run.batch, run.rows, run.granted, run.taken_back, run.file_digest) for run in home.points_runs.of(UNIT)]
    return runs, home.points_runs.totals(UNIT), home.points_runs.held(UNIT, "2025-06-20")


def test_awarding_that_dies_anywhere_and_is_repeated_gives_every_point_once(
    dying: Dying, in_memory: Path, quick: Path
) -> None:
    base = two_batches(points_home(quick / "base"), quick)
    points = dying.points("award", copy(base, quick / "whole"), on(20))
    whole = held(Home(quick / "whole"))
    assert whole[1] == {"granted": 160, "taken_back": 50, "ended": 0}
    commit = points.index("after commit book.sqlite")
    assert any(f"points-{POINTS}.parquet" in point for point in points[:commit])
    skipped = ("before sync", "after sync", "before make-folder", "after make-folder")
    for at in [at for at, point in enumerate(points) if not point.startswith(skipped)]:
        folder = copy(base, quick / "home")
        dying.die("award", folder, on(20), at)
        home = Home(folder)
        assert len(home.book.rows(points_run)) == (2 if at >= commit else 1)
        assert award_due(home, now=on(20))["batches"] == (0 if at >= commit else 1)
        assert held(home) == whole
        if at in (commit - 1, commit):
            settle_on(home, 20)
            assert_verified(home)
        shutil.rmtree(folder)


def test_awarding_into_a_book_on_postgresql_dies_at_its_commit_and_is_repeated(
    dying: Dying, postgres: Server, quick: Path
) -> None:
    made = points_home(quick / "origin", book=postgres.address(postgres.database(), "points"))
    origin = two_batches(made, quick)
    points = dying.points("award", postgres.copy(origin, quick / "whole"), on(20))
    whole = held(Home(quick / "whole"))
    for at in [at for at, point in enumerate(points) if "commit" in point]:
        copied = postgres.copy(origin, quick / "home")
        dying.die("award", copied, on(20), at)
        home = Home(copied)
        award_due(home, now=on(20))
        assert held(home) == whole
        home.book.close()


DAILY = {"id": "day", "counts": "points", "limit": 90, "per": "day", "mark": "example", "locator": "x", "why": "y"}


def batch_of_three(folder: Path, book: str | None = None) -> Path:
    """A batch over three accounts, one of them joined to another person's since, that is not awarded."""
    home = points_home(folder, rules(caps=[DAILY]), book=book)
    events = [box(f"{who}-{number}", who) for who in ("anna", "bo", "carl") for number in (1, 2)]
    intake(home, write(folder.parent / "c.ndjson", events), now=on(6))
    settle_on(home, 7)
    for who in ("anna", "carl"):
        join(home, account(home, "cainiao", who), uuid.UUID(int=9 << 100), since=on(7).date(), now=on(7))
    home.book.close()
    return home.folder


def all_held(home: Home) -> Any:
    """As :func:`held`, and every lot, limit and move, but for when."""
    moved = (points_move.c.kind, points_move.c.reference, points_move.c.account, points_move.c.lots)
    tables = [home.book.query(sa.select(*each)) for each in (points_lot.c, points_used.c, moved)]
    return held(home), [sorted(map(tuple, rows)) for rows in tables]


def test_a_run_in_slices_that_dies_anywhere_goes_on_from_its_mark_and_gives_every_point_once(
    dying: Dying, in_memory: Path, quick: Path
) -> None:
    base = batch_of_three(quick / "base")
    points = dying.points("award in slices", copy(base, quick / "whole"), on(8))
    whole = all_held(Home(quick / "whole"))
    assert whole[0][1]["granted"] == 270
    commits = [at for at, point in enumerate(points) if point == "after commit book.sqlite"]
    files = [point.removeprefix("after rename ") for point in points if point.startswith("after rename")]
    assert files == [f"points-{POINTS}.parquet", f"used-{POINTS}.parquet"]
    assert len(commits) == 3
    skipped = ("before sync", "after sync", "before make-folder", "after make-folder")
    for at in [at for at, point in enumerate(points) if not point.startswith(skipped)]:
        folder = copy(base, quick / "home")
        dying.die("award in slices", folder, on(8), at)
        home = Home(folder)
        booked = sum(at >= commit for commit in commits)
        assert len(home.points_runs.open_runs()) == (booked in (1, 2))
        assert len(home.book.rows(points_run)) == (booked == 3)
        if at in commits:
            assert_verified(home)
        assert award_due(home, now=on(8))["batches"] == (booked < 3)
        assert all_held(home) == whole
        shutil.rmtree(folder)


def test_a_run_in_slices_on_postgresql_dies_at_its_commits_and_goes_on_from_its_mark(
    dying: Dying, postgres: Server, quick: Path
) -> None:
    base = batch_of_three(quick / "base", book=postgres.address(postgres.database(), "points"))
    points = dying.points("award in slices", postgres.copy(base, quick / "whole"), on(8))
    whole = all_held(Home(quick / "whole"))
    commits = [at for at, point in enumerate(points) if "commit" in point]
    assert len(commits) == 6
    for at in commits:
        home = Home(die_on_a_copy(dying, postgres, base, quick / "home", at))
        assert len(home.points_runs.open_runs()) == (commits[1] <= at < commits[5])
        award_due(home, now=on(8))
        assert all_held(home) == whole
        home.book.close()


def die_on_a_copy(dying: Dying, postgres: Server, base: Path, to: Path, at: int) -> Path:
    copied = postgres.copy(base, to)
    dying.die("award in slices", copied, on(8), at)
    return copied
