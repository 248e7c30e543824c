"""Every step of every write fails once before and once after it happened; the process dies or gets an error."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tanzhang.core import merkle
from tanzhang.core.errors import TanzhangError
from tanzhang.core.merkle import leaf_hash
from tanzhang.engine.signing import NoteSigner
from tanzhang.stores import files
from tanzhang.stores.log import Log

SIGNER = NoteSigner("log.example/faults", bytes(32))
ENTRIES = [f"manifest {index}".encode() for index in range(260)]
OLD, NEW = 254, 258  # a full bundle, a full tile, a first level-1 tile and new partial ones
DIED = 77


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults") / "base"
    Log.create(folder, SIGNER.name, SIGNER).publish(ENTRIES[:OLD], SIGNER, first_index=0)
    return folder


@pytest.fixture
def fresh(base: Path, tmp_path: Path) -> Callable[[], Path]:
    def copy() -> Path:
        shutil.rmtree(tmp_path / "log", ignore_errors=True)
        return Path(shutil.copytree(base, tmp_path / "log"))

    return copy


def opened(folder: Path) -> Log:
    return Log.open(folder, SIGNER.name, SIGNER.verifier)


def publish(folder: Path) -> None:
    opened(folder).publish(ENTRIES[OLD:NEW], SIGNER, first_index=OLD)


def served(folder: Path) -> dict[str, bytes]:
    """All files that a web server would serve; temporary names start with a dot."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def points_of(action: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    points: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(files, "on_write", lambda point, path: points.append(f"{point} {path.name}"))
        action()
    return points


class DiskError(OSError):
    pass


def fail_at(count: int, monkeypatch: pytest.MonkeyPatch, action: Callable[[], None]) -> None:
    """Run the action; the step with this number raises."""
    seen = 0

    def hook(point: str, path: Path) -> None:
        nonlocal seen
        if seen == count:
            seen += 1
            raise DiskError(point)
        seen += 1

    with monkeypatch.context() as patch:
        patch.setattr(files, "on_write", hook)
        with pytest.raises(DiskError):
            action()


def die_at(count: int, action: Callable[[], None]) -> None:
    """Run the action in a child process that ends at the step with this number, without any clean-up."""
    child = os.fork()
    if child == 0:
        seen = 0

        def hook(point: str, path: Path) -> None:
            nonlocal seen
            if seen == count:
                os._exit(DIED)
            seen += 1

        files.on_write = hook
        try:
            action()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == DIED


def assert_healthy(folder: Path, before: dict[str, bytes], finished: dict[str, bytes]) -> int:
    """What is served is the old or the new log, sound, and a beginning of the new one; returns its size."""
    log = opened(folder)
    assert log.check() == []
    assert log.size in (OLD, NEW)
    assert log.entries() == ENTRIES[: log.size]
    now = served(folder)
    assert now["checkpoint"] == (before if log.size == OLD else finished)["checkpoint"]
    assert {name: now[name] for name in before if name != "checkpoint"} == {
        name: data for name, data in before.items() if name != "checkpoint"
    }
    assert all(finished[name] == data for name, data in now.items() if name != "checkpoint")
    return log.size


@pytest.mark.parametrize("how", ["error", "death"])
def test_publishing_that_fails_at_any_step_leaves_a_sound_log_and_is_finished_by_publishing_again(
    fresh: Callable[[], Path], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    folder = fresh()
    before = served(folder)
    points = points_of(lambda: publish(folder), monkeypatch)
    finished = served(folder)
    assert len(finished) == len(before) + 5
    assert len(points) > 60
    assert sum("rename" in point for point in points) == 12

    sizes = []
    for count in range(len(points)):
        folder = fresh()
        if how == "error":
            fail_at(count, monkeypatch, lambda: publish(folder))  # noqa: B023
        else:
            die_at(count, lambda: publish(folder))  # noqa: B023
        sizes.append(assert_healthy(folder, before, finished))
        publish(folder)
        assert assert_healthy(folder, before, finished) == NEW
        assert served(folder) == finished
    # Later failures never show less than earlier ones, and only the last rename shows the new size.
    assert sizes == sorted(sizes)
    assert points[sizes.index(NEW)] == "after rename checkpoint"


def test_failing_twice_and_then_publishing_more_ends_in_the_same_log(
    fresh: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fresh()
    count = len(points_of(lambda: publish(folder), monkeypatch))
    expected = opened(folder)
    expected.publish(ENTRIES[NEW:], SIGNER, first_index=NEW)
    checkpoint = expected.checkpoint_bytes()
    for first in range(0, count, 7):
        folder = fresh()
        die_at(first, lambda: publish(folder))  # noqa: B023
        left = 20 if opened(folder).size == OLD else 3  # what is published already is only synced again
        fail_at(min(first, left), monkeypatch, lambda: publish(folder))  # noqa: B023
        opened(folder).publish(ENTRIES[OLD:], SIGNER, first_index=OLD)
        assert opened(folder).checkpoint_bytes() == checkpoint
        assert opened(folder).check() == []


def test_a_reader_at_any_step_sees_a_sound_log_that_never_shrinks(
    fresh: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fresh()
    sizes = []

    def look(point: str, path: Path) -> None:
        log = opened(folder)
        assert log.check() == []
        leaves = [leaf_hash(entry) for entry in log.entries()]
        merkle.verify_consistency(OLD, log.size, merkle.root(leaves[:OLD]), log.root, log.consistency_proof(OLD))
        sizes.append(log.size)

    with monkeypatch.context() as patch:
        patch.setattr(files, "on_write", look)
        publish(folder)
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (OLD, NEW)


def test_bundles_are_written_before_tiles_from_the_leaves_up_and_the_checkpoint_last(
    fresh: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fresh()
    written: list[str] = []

    def note(point: str, path: Path) -> None:
        if point == "after rename":
            written.append(path.relative_to(folder).as_posix())

    with monkeypatch.context() as patch:
        patch.setattr(files, "on_write", note)
        publish(folder)
    assert written == [
        "tile/entries/000",
        "tile/entries/001.p/2",
        "tile/0/000",
        "tile/0/001.p/2",
        "tile/1/000.p/1",
        "checkpoint",
    ]


@pytest.mark.parametrize("how", ["error", "death"])
def test_creating_that_fails_at_any_step_is_finished_by_creating_again_or_was_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    points = points_of(lambda: void(Log.create(tmp_path / "first", SIGNER.name, SIGNER)), monkeypatch)
    for count in range(len(points)):
        folder = tmp_path / f"log-{count}"
        if how == "error":
            fail_at(count, monkeypatch, lambda: void(Log.create(folder, SIGNER.name, SIGNER)))  # noqa: B023
        else:
            die_at(count, lambda: void(Log.create(folder, SIGNER.name, SIGNER)))  # noqa: B023
        if (folder / "checkpoint").exists():
            with pytest.raises(TanzhangError, match="log-exists"):
                Log.create(folder, SIGNER.name, SIGNER)
        else:
            Log.create(folder, SIGNER.name, SIGNER)
        assert opened(folder).size == 0
        assert opened(folder).check() == []


def test_a_failed_write_leaves_no_temporary_file_and_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    files.write_durably(path, b"old")
    points = points_of(lambda: files.write_durably(path, b"old"), monkeypatch)
    for count, point in enumerate(points):
        files.write_durably(path, b"old")
        fail_at(count, monkeypatch, lambda: files.write_durably(path, b"new"))
        renamed = points.index("after rename file") <= count
        assert path.read_bytes() == (b"new" if renamed else b"old"), point
        assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_new_folders_are_synced_up_to_the_first_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = points_of(lambda: files.write_durably(tmp_path / "a" / "b" / "file", b""), monkeypatch)
    assert points.count("after sync-folder file") == 3  # b, a, and the folder that now holds a


def void(_: object) -> None:
    pass
