"""The process dies before and after every step of writing; the same command again ends as if nothing had happened.

What is compared with an undisturbed run of the same seed: every record, salts included, every posting, every root and
all published bytes of the log.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tanzhang.core.errors import TanzhangError
from tanzhang.service.epoch import close
from tanzhang.service.intake import intake
from tanzhang.service.settle import settle
from tanzhang.service.spark.settle import ClusterSettlement
from tanzhang.stores.book import batch, posting, submission
from tanzhang.stores.home import Home
from tanzhang.stores.parts import record_files
from tanzhang.stores.records import RECORDS, SUBTREES, digest_of

from ..homes import (
    CREATED,
    assert_verified,
    booked,
    box,
    new_home,
    on,
    power,
    problems,
    ride,
    settle_on,
    withdrawal,
    write,
)
from ..stages import LocalStages

DIED, FINISHED = 77, 0
PARTS = 4  # the points of one command are shared out, so that several workers take part


class Dying:
    """Commands in processes that end at a chosen point; see dying.py."""

    def __init__(self, folder: Path) -> None:
        script = Path(__file__).with_name("dying.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script), str(folder / "points")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def do(
        self,
        what: str,
        home: Path,
        now: datetime,
        die_at: int | None = None,
        file: Path | None = None,
        book: str | None = None,
        storage: str | None = None,
    ) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        job = {"do": what, "home": str(home), "now": now.isoformat(), "die_at": die_at, "file": str(file)}
        job |= {"book": book, "storage": storage}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def points(
        self, what: str, home: Path, now: datetime, file: Path | None = None, book: str | None = None
    ) -> list[str]:
        answer = self.do(what, home, now, file=file, book=book)
        assert answer["code"] == FINISHED
        return list(answer["points"])

    def die(
        self, what: str, home: Path, now: datetime, at: int, file: Path | None = None, book: str | None = None
    ) -> None:
        assert self.do(what, home, now, at, file, book)["code"] == DIED

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


@pytest.fixture(scope="module")
def dying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dying]:
    server = Dying(tmp_path_factory.mktemp("dying"))
    yield server
    server.close()


@pytest.fixture(scope="module")
def base(in_memory: Path) -> Path:
    """A home with one settled batch and a submission, some of whose windows are still open."""
    folder = in_memory / "base"
    folder.mkdir()
    home = new_home(folder / "home")
    intake(home, write(folder / "a.ndjson", [box("b1"), box("b2"), ride("r1"), power("p1")]), now=on(6))
    settle_on(home, 7)
    return folder / "home"


@pytest.fixture
def second(quick: Path) -> Path:
    """A file with a refusal, a duplicate and a withdrawal."""
    events = [box("b3"), box("b1"), ride("r1", distance_m=-5), ride("r2", hour=18), withdrawal(box("b2"), "undo")]
    return write(quick / "second.ndjson", events)


def copy(base: Path, to: Path) -> Path:
    shutil.rmtree(to, ignore_errors=True)
    return Path(shutil.copytree(base, to))


def state(folder: Path) -> dict[str, Any]:
    """Everything that a run leaves and that must not depend on a crash in between."""
    home = Home(folder)
    batches = home.book.rows(batch)
    return {
        "reports": [(row.answer, row.fingerprint, row.file_digest) for row in home.book.rows(submission)],
        "manifests": [row.manifest for row in batches],
        "files": [
            (digest_of(folder / row.folder / RECORDS), digest_of(folder / row.folder / SUBTREES)) for row in batches
        ],
        "postings": sorted(map(tuple, home.book.query(sa.select(posting)))),
        "log": {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in (folder / "log").rglob("*")
            if path.is_file() and not path.name.startswith(".")
        },
    }


def temporary_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob(".*.tmp") if path.is_file()]


def share(points: list[str], part: int) -> list[int]:
    """One part of the points at which something differs: before every step, after each that is seen from outside.

    After a sync or a write under a temporary name a dying process leaves what it leaves before the step that follows.
    """
    seen = ("before", "after rename", "after commit")
    differing = [at for at, point in enumerate(points) if point.startswith(seen) or at == len(points) - 1]
    return differing[part::PARTS]


@pytest.mark.parametrize("part", range(PARTS))
def test_init_that_dies_anywhere_is_no_home_or_a_whole_one_and_init_again_succeeds(
    dying: Dying, quick: Path, part: int
) -> None:
    points = dying.points("init", quick / "whole", CREATED)
    expected = state(quick / "whole")
    assert "after commit .book.sqlite.new" in points
    assert len(points) > 60
    for at in share(points, part):
        folder = quick / f"home-{at}"
        dying.die("init", folder, CREATED, at)
        is_home = (folder / "book.sqlite").exists()
        assert is_home == (at > points.index("before rename book.sqlite"))
        if is_home:  # nothing but the log's first entry can be missing, and whatever writes next publishes it
            with pytest.raises(TanzhangError, match="home-exists"):
                new_home(folder)
            settle_on(Home(folder), 7)
        else:
            with pytest.raises(TanzhangError, match="home-missing"):
                Home(folder)
            new_home(folder)
            names = {path.name for path in folder.iterdir() if not path.name.startswith("book.sqlite-")}
            assert names == {"book.sqlite", "keys", "known", "links", "log", "records", "reports", ".lock"}
        assert state(folder) == expected
        assert_verified(Home(folder))


def test_init_dying_twice_in_a_row_is_still_finished_by_init(dying: Dying, quick: Path) -> None:
    points = dying.points("init", quick / "whole", CREATED)
    for first, then in ((len(points) // 2, 3), (points.index("after commit .book.sqlite.new"), 20)):
        folder = quick / f"home-{first}"
        dying.die("init", folder, CREATED, first)
        dying.die("init", folder, CREATED, then)
        assert_verified(new_home(folder))


def test_init_never_clears_a_folder_whose_book_was_lost(base: Path, quick: Path) -> None:
    folder = copy(base, quick / "home")
    (folder / "book.sqlite").unlink()
    before = sorted(path for path in folder.rglob("*") if path.is_file())
    with pytest.raises(TanzhangError, match="home-exists"):
        new_home(folder)
    (folder / "unfinished-init").touch()  # even if an interrupted init had left its mark
    with pytest.raises(TanzhangError, match="home-exists"):
        new_home(folder)
    assert sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "unfinished-init") == before


@pytest.mark.parametrize("part", range(PARTS))
def test_intake_that_dies_anywhere_and_is_repeated_loses_nothing_and_takes_nothing_twice(
    dying: Dying, base: Path, second: Path, quick: Path, part: int
) -> None:
    whole = copy(base, quick / "whole")
    points = dying.points("intake", whole, on(8), second)
    commit = points.index("after commit book.sqlite")
    assert [point for point in points[:commit] if point.startswith("after rename")] == [
        "after rename accepted.parquet",
        "after rename verdicts.csv",
    ]
    assert points[commit:] == ["after commit book.sqlite"]  # durable files first, then the acknowledgement, last
    settle_on(Home(whole), 12)
    expected = state(whole)
    for at in share(points, part):
        folder = copy(base, quick / "home")
        dying.die("intake", folder, on(8), at, second)
        home = Home(folder)
        acknowledged = at == commit
        assert len(home.book.rows(submission)) == 1 + acknowledged
        assert_verified(home)  # whatever lies about is no part of the home yet
        answer = intake(home, second, now=on(8))
        assert (answer["accepted"], answer["refused"]) == (4, 1)
        settle_on(home, 12)
        assert state(folder) == expected
        assert_verified(home)


@pytest.mark.parametrize("part", range(PARTS))
def test_settle_that_dies_anywhere_and_is_repeated_books_everything_once(
    dying: Dying, base: Path, second: Path, quick: Path, part: int
) -> None:
    ready = copy(base, quick / "ready")
    intake(Home(ready), second, now=on(8))
    whole = copy(ready, quick / "whole")
    points = dying.points("settle", whole, on(12))
    expected = state(whole)
    commit = points.index("after commit book.sqlite")
    renamed = [point.removeprefix("after rename ") for point in points if point.startswith("after rename")]
    keys = "00000000-00000001.keys"  # merged with those of the first batch
    assert renamed == ["records.parquet", "subtrees.bin", "3", "3", "checkpoint", keys]
    assert points.index("after rename subtrees.bin") < commit < points.index("before write checkpoint")
    for at in share(points, part):
        folder = copy(ready, quick / "home")
        dying.die("settle", folder, on(12), at)
        home = Home(folder)
        assert len(home.book.rows(batch)) == (2 if at >= commit else 1)
        if not points[at].startswith(("before write", "before sync")):
            wrong = [problem["code"] for problem in problems(home)]
            assert wrong in ([], ["log-behind-book"])
        again = settle(home, now=on(12))
        assert again["batch"] == (None if at >= commit else 1)
        assert state(folder) == expected
        assert_verified(home)


def test_a_settlement_in_parts_that_dies_and_is_repeated_books_everything_once(
    dying: Dying, base: Path, second: Path, quick: Path
) -> None:
    ready = copy(base, quick / "ready")
    intake(Home(ready), second, now=on(8))
    whole, alone = copy(ready, quick / "whole"), copy(ready, quick / "alone")
    points = dying.points("settle in parts", whole, on(12))
    settle_on(Home(alone), 12)
    expected = booked(Home(alone))
    assert booked(Home(whole)) == expected
    commit = points.index("after commit book.sqlite")
    renamed = [point.removeprefix("after rename ") for point in points if point.startswith("after rename")]
    parts = [name for name in renamed if name.startswith("records-")]
    assert len(parts) == 2
    keys = "00000000-00000001.keys"  # merged with those of the first batch
    assert renamed == [*parts, "parts.json", "subtrees.bin", "3", "3", "checkpoint", keys]
    assert points.index("after rename subtrees.bin") < commit < points.index("before write checkpoint")
    visible = ("before rename", "before commit", "after commit")
    for at in [at for at, point in enumerate(points) if point.startswith(visible)]:
        folder = copy(ready, quick / "home")
        dying.die("settle in parts", folder, on(12), at)
        home = Home(folder)
        assert len(home.book.rows(batch)) == (2 if at >= commit else 1)
        # Whichever engine goes on, what the dead one left is neither used nor kept.
        engine = ClusterSettlement(LocalStages()) if at % 2 else None
        assert settle(home, now=on(12), engine=engine)["batch"] == (None if at >= commit else 1)
        assert booked(home) == expected
        row = home.book.rows(batch)[1]
        named = {file.path.name for file in record_files(folder, row)}
        lists = {row.records_file, SUBTREES}
        assert {path.name for path in (folder / row.folder).iterdir()} == named | lists
    assert_verified(home)


def test_an_epoch_that_dies_anywhere_and_is_closed_again_is_sealed_once(dying: Dying, base: Path, quick: Path) -> None:
    whole = copy(base, quick / "whole")
    points = dying.points("epoch", whole, on(7))
    expected = state(whole)
    (sealed,) = Home(whole).epochs.entries()
    commit = points.index("after commit book.sqlite")
    renamed = [point.removeprefix("after rename ") for point in points if point.startswith("after rename")]
    assert renamed == ["3", "3", "checkpoint"]
    assert commit < points.index("before write 3")
    for at in share(points, 0) + share(points, 1) + share(points, 2) + share(points, 3):
        folder = copy(base, quick / "home")
        dying.die("epoch", folder, on(7), at)
        home = Home(folder)
        assert len(home.epochs.entries()) == (at >= commit)
        assert close(home, now=on(7))["entry"] == sealed.seq
        assert [tuple(row) for row in home.epochs.entries()] == [tuple(sealed)]
        assert state(folder) == expected
        assert_verified(home)


def test_a_crash_between_book_and_log_is_mended_by_a_receipt_too(dying: Dying, base: Path, quick: Path) -> None:
    from tanzhang.core.claim import ACTION, identity
    from tanzhang.service.receipt import check_receipt, create_receipt

    whole = copy(base, quick / "whole")
    points = dying.points("settle", whole, on(12))
    folder = copy(base, quick / "home")
    dying.die("settle", folder, on(12), points.index("after commit book.sqlite"))
    home = Home(folder)
    data = create_receipt(home, identity(home.identity_key, ACTION, "amap", "r1"))
    assert check_receipt(data, home.values["vkey"])["batch"] == "1"
    assert state(folder) == state(whole)


def test_leftovers_of_a_dead_settlement_do_not_get_into_a_later_one(
    dying: Dying, base: Path, second: Path, quick: Path
) -> None:
    folder = copy(base, quick / "home")
    dying.die("settle", folder, on(12), dying_point(dying, base, quick, "before commit book.sqlite"))
    assert (folder / "records/00000001/records.parquet").exists()
    home = Home(folder)
    intake(home, second, now=on(13))
    settle_on(home, 15)
    undisturbed = Home(copy(base, quick / "undisturbed"))
    intake(undisturbed, second, now=on(13))
    settle_on(undisturbed, 15)
    assert state(folder) == state(undisturbed.folder)
    assert_verified(home)


def dying_point(dying: Dying, base: Path, quick: Path, name: str) -> int:
    return dying.points("settle", copy(base, quick / "probe"), on(12)).index(name)


def test_a_full_disk_at_any_step_is_an_error_that_leaves_no_temporary_file(
    base: Path, second: Path, quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tanzhang.stores import files

    expected = state(copy(base, quick / "home"))
    for step in ("before write", "after write", "before sync", "before rename", "before commit"):

        def full(point: str, path: Path, step: str = step) -> None:
            if point.startswith(step):
                raise OSError(28, "No space left on device", str(path))

        folder = copy(base, quick / "home")
        with monkeypatch.context() as patch:
            patch.setattr(files, "on_write", full)
            with pytest.raises(OSError, match="No space left"):
                intake(Home(folder), second, now=on(8))
            with pytest.raises(OSError, match="No space left"):
                settle_on(Home(folder), 12)
        assert state(folder) == expected
        assert temporary_files(folder) == []
        assert_verified(Home(folder))


def test_the_book_is_durable_before_an_answer_leaves(base: Path) -> None:
    home = Home(base)
    settings = [
        home.book.query(sa.select(sa.text(f"* FROM pragma_{name}"))) for name in ("synchronous", "journal_mode")
    ]
    assert settings == [[(2,)], [("wal",)]]  # FULL: the commit is on the disk when it returns
