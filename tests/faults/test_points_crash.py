"""Awarding dies before and after every step of writing; the same call again gives every point once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tanzhang.service.award import award_due
from tanzhang.service.intake import intake
from tanzhang.stores.book import points_run
from tanzhang.stores.home import Home

from ..homes import assert_verified, box, on, ride, settle_on, withdrawal, write
from ..points_city import POINTS, UNIT, points_home
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
