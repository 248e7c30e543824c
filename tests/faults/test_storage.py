"""Objects that are changed or missing are named; a process that dies at any step of an upload loses nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tanzhang.core.errors import TanzhangError
from tanzhang.service.intake import intake
from tanzhang.service.links import link_many
from tanzhang.service.settle import settle
from tanzhang.stores.book import batch, posting, submission
from tanzhang.stores.home import Home

from ..homes import CREATED, assert_verified, box, new_home, on, power, problems, ride, settle_on, withdrawal, write
from ..s3 import Bucket, S3Server
from .test_crash_everywhere import DIED, FINISHED, Dying


@pytest.fixture(scope="module")
def dying(s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Any:
    server = Dying(tmp_path_factory.mktemp("dying"))
    yield server
    server.close()


class World:
    """A home of two batches, its third taken in; copies of it with their objects, as many as are wanted."""

    def __init__(self, bucket: Bucket, folder: Path) -> None:
        self.bucket, self.folder = bucket, folder
        home = new_home(folder / "home", storage=bucket.address())
        links = folder / "links.csv"
        links.write_text("partner,subject,with_partner,with_subject,valid_from\ncainiao,bo,amap,bo,2025-06-01\n")
        link_many(home, links, now=on(1))
        for number, events in enumerate(([box("b1"), box("b2", "bo"), "not JSON"], [box("b3"), power("p1")])):
            intake(home, write(folder / f"{number}.ndjson", events), now=on(6))
            settle_on(home, 7 + number)
        events = [box("b4"), ride("r1"), withdrawal(box("b1"), "undo"), box("b2", "bo"), ride("r2", distance_m=-5)]
        self.file = write(folder / "2.ndjson", events)
        home.book.close()
        self._made = 0

    def copy(self) -> tuple[Path, str]:
        """A home folder and the prefix of its objects."""
        self._made += 1
        prefix = f"copy-{self._made}"
        return self.bucket.copy(self.folder / "home", self.folder / prefix, prefix), prefix


@pytest.fixture(scope="module")
def world(s3: S3Server, in_memory: Path) -> World:
    folder = in_memory / "storage"
    folder.mkdir()
    return World(s3.bucket(), folder)


def named(found: list[dict[str, str]], text: str) -> bool:
    return any(text in f"{problem['where']} {problem['message']}" for problem in found)


KINDS = {
    "records/00000001/records.parquet": "record-file",
    "records/00000000/subtrees.bin": "record-file",
    "reports/*/accepted.parquet": "report-file",
    "reports/*/verdicts.csv": "report-file",
    "links/*.parquet": "report-file",
    "log/checkpoint": "log-",
    "log/tile/0/000.p/3": "log-tile",
    "log/tile/entries/000.p/3": "log-entry",
}


@pytest.mark.parametrize("pattern", KINDS)
def test_a_changed_byte_and_a_missing_object_are_named(world: World, pattern: str) -> None:
    first, _, last = pattern.partition("*")
    name = next(each for each in world.bucket.names() if each.startswith(first) and each.endswith(last))
    good = world.bucket.read(name)
    bad = bytearray(good)
    bad[len(bad) // 2] ^= 1
    home = Home(world.folder / "home")
    try:
        world.bucket.write(name, bytes(bad))
        changed = problems(home)
        world.bucket.remove(name)
        missing = problems(home)
    finally:
        world.bucket.write(name, good)
    for found in (changed, missing):
        assert named(found, name), found
        assert all(problem["code"].startswith(KINDS[pattern]) for problem in found if name in problem["where"])


def test_objects_that_nobody_named_are_left_alone_and_do_no_harm(world: World) -> None:
    folder, prefix = world.copy()
    for name in ("records/00000002/records.parquet", "reports/00000009-x/accepted.parquet", "log/tile/0/000.p/4.tmp"):
        world.bucket.write(name, b"of an interrupted run", prefix)
    home = Home(folder)
    intake(home, world.file, now=on(6))
    assert settle_on(home, 9)["batch"] == 2
    assert_verified(home)


def state(world: World, home: Path, prefix: str) -> dict[str, Any]:
    """Everything that a run leaves and that must not depend on a crash in between."""
    book = Home(home).book
    found = {
        "reports": [(row.answer, row.file_digest) for row in book.rows(submission)],
        "batches": [(row.manifest, row.records_digest, row.subtrees_digest) for row in book.rows(batch)],
        "postings": sorted(map(tuple, book.query(sa.select(posting)))),
        "objects": world.bucket.objects(prefix),
    }
    book.close()
    return found


@pytest.mark.parametrize("part", [0, 1])
def test_settling_that_dies_at_any_step_is_finished_by_settling_again(world: World, dying: Dying, part: int) -> None:
    finished, prefix = world.copy()
    intake(Home(finished), world.file, now=on(6))
    points = dying.points("settle", finished, on(9))
    expected = state(world, finished, prefix)
    assert [point.rpartition(" ")[2] for point in points if point.startswith("after put")] == [
        "records.parquet", "subtrees.bin", "4", "4", "checkpoint",
    ]  # fmt: skip
    differing = [
        at for at, point in enumerate(points) if point.startswith(("before put", "before commit", "after commit"))
    ]
    assert len(differing) == 7
    for at in differing[part::2]:
        folder, prefix = world.copy()
        intake(Home(folder), world.file, now=on(6))
        dying.die("settle", folder, on(9), at)
        resumed = Home(folder)
        settle(resumed, now=on(9))
        resumed.book.close()
        assert state(world, folder, prefix) == expected, points[at]
    assert_verified(Home(folder))


def test_intake_that_dies_at_any_step_is_finished_by_sending_again(world: World, dying: Dying) -> None:
    finished, prefix = world.copy()
    points = dying.points("intake", finished, on(6), world.file)
    expected = state(world, finished, prefix)
    for at in [
        at for at, point in enumerate(points) if point.startswith("before put") or point == "after commit book.sqlite"
    ]:
        folder, prefix = world.copy()
        dying.die("intake", folder, on(6), at, world.file)
        resumed = Home(folder)
        intake(resumed, world.file, now=on(6))
        resumed.book.close()
        assert state(world, folder, prefix) == expected, points[at]


def test_setting_up_that_dies_is_done_again_and_nobody_else_gets_the_prefix(
    dying: Dying, bucket: Bucket, quick: Path
) -> None:
    points = dying.do("init", quick / "whole", CREATED, storage=bucket.address("whole"))["points"]
    puts = [at for at, point in enumerate(points) if "put" in point or point.endswith("storage.url")]
    marks = [at for at, point in enumerate(points) if point == "before rename unfinished-init"]
    assert len(puts) > 10
    assert marks
    for at in marks + puts[::5]:
        home, prefix = quick / f"home-{at}", f"home-{at}"
        answer = dying.do("init", home, CREATED, die_at=at, storage=bucket.address(prefix))
        assert answer["code"] == DIED
        if bucket.names(prefix):
            with pytest.raises(TanzhangError, match="storage-in-use"):
                new_home(quick / f"other-{at}", storage=bucket.address(prefix))
        answer = dying.do("init", home, CREATED, storage=bucket.address(prefix))
        if answer["code"] != FINISHED:  # it had been done but for the log's first entry
            settle(Home(home), now=on(9))
        assert sum(name.startswith("home-") for name in bucket.names(prefix)) == 1
        assert_verified(Home(home))


def test_an_upload_that_the_server_refuses_half_way_books_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tanzhang.stores.storage.s3 import S3Storage, unusable

    folder, prefix = world.copy()
    home = Home(folder)
    before = world.bucket.names(prefix)

    def refusing(self: S3Storage, place: Any) -> Any:
        raise unusable(place, "AWS Error SLOW_DOWN during UploadPart operation (Request ID: x)")

    with monkeypatch.context() as patch:
        patch.setattr(S3Storage, "_headers", refusing)
        with pytest.raises(TanzhangError, match=r"storage-unusable: .*SLOW_DOWN during UploadPart operation\n"):
            intake(home, world.file, now=on(6))
    assert world.bucket.names(prefix) == before
    assert len(home.book.rows(submission)) == 2
    assert json.loads(home.book.rows(submission)[0].answer)["accepted"] == 2
    intake(home, world.file, now=on(6))
    assert settle_on(home, 9)["batch"] == 2
