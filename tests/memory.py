"""Folders of tests on a file system in memory, where there is one: what dies is a process, so syncing need not cost."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SHARED = Path("/dev/shm")  # noqa: S108 - folders of our own are made in it
MEMORY = _SHARED if os.access(_SHARED, os.W_OK) else Path(tempfile.gettempdir())
_OURS = re.compile(r"tanzhang-[a-z]+-(\d+)-")


@contextmanager
def folder_in_memory(kind: str) -> Iterator[Path]:
    """An empty folder, gone at the end; those that a killed run of tests left go too: they would fill the memory."""
    for each in MEMORY.iterdir():
        found = _OURS.match(each.name)
        if found is not None and not _runs(int(found[1])):
            shutil.rmtree(each, ignore_errors=True)
    made = Path(tempfile.mkdtemp(prefix=f"tanzhang-{kind}-{os.getpid()}-", dir=MEMORY))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
