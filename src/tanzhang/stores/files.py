"""Writing files so that a crash leaves the old file or the new one, and an acknowledged one is never lost.

A module-level hook sees every step, so that tests can end the process before and after each of them. Errors of the
file system are passed on as they are; nothing is retried.
"""

from __future__ import annotations

import glob
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def _nothing(_point: str, _path: Path) -> None:
    pass


on_write: Callable[[str, Path], None] = _nothing
"""Called as ``on_write("before rename", path)`` around each step; replaced by tests only."""


def write_durably(path: Path, data: bytes | memoryview, *, up_to: Path | None = None) -> None:
    """Put ``data`` at ``path``, whole or not at all; when this returns, it survives a power cut.

    As :func:`durable_file`.
    """
    with durable_file(path, up_to=up_to) as file:
        file.write(data)


@contextmanager
def durable_file(path: Path, *, up_to: Path | None = None) -> Iterator[BinaryIO]:
    """A new file to write ``path`` by: it is there whole when the block ends without an error, or not at all.

    Steps: make the folder, write under a temporary name that starts with a dot, sync, rename, sync the folders
    from the file's own up to ``up_to`` (by default the lowest one that existed already). One process at a time may
    write a path: what an earlier one left under a temporary name when it died is removed.
    """
    folder = path.parent
    top = up_to or next(each for each in (folder, *folder.parents) if each.exists())
    is_new = not folder.exists()
    temporary = folder / f".{path.name}.{secrets.token_hex(4)}.tmp"
    with step("make-folder", path):
        folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob(f".{glob.escape(path.name)}.*.tmp"):
        stale.unlink()
    try:
        with open(temporary, "xb") as file:
            with step("write", path):
                yield file
                file.flush()
            with step("sync", path):
                os.fsync(file.fileno())
        with step("rename", path):
            os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        if is_new and not any(folder.iterdir()):
            folder.rmdir()
        raise
    _sync_folders(path, top)


def rename_durably(temporary: Path, path: Path) -> None:
    """Put a finished file in its place in the same folder; when this returns, it survives a power cut."""
    with open(temporary, "rb") as file, step("sync", path):
        os.fsync(file.fileno())
    with step("rename", path):
        os.replace(temporary, path)
    _sync_folders(path, path.parent)


def make_folder(path: Path) -> None:
    """Make a folder and those above it that are missing, durably."""
    lowest = next(each for each in (path, *path.parents) if each.exists())
    with step("make-folder", path):
        path.mkdir(parents=True, exist_ok=True)
    if lowest != path:
        _sync_folders(path, lowest)


def sync_again(path: Path, *, up_to: Path | None = None) -> None:
    """Make a file durable that an interrupted run may have renamed but not synced."""
    with open(path, "rb") as file, step("sync", path):
        os.fsync(file.fileno())
    _sync_folders(path, up_to or path.parent)


def _sync_folders(path: Path, top: Path) -> None:
    folder = path.parent
    while True:
        with step("sync-folder", path):
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        if folder in (top, folder.parent):
            return
        folder = folder.parent


@contextmanager
def step(name: str, path: Path) -> Iterator[None]:
    """One step of a write, seen by :data:`on_write` before and after."""
    on_write(f"before {name}", path)
    yield
    on_write(f"after {name}", path)
