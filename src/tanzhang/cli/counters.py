"""The folder in which the processes of a server count together, for as long as the server lives.

Counters are mapped files. They are kept in memory where there is a file system for that: on a disk that is full the
first touch of a page of one would end the process.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
_PREFIX = "tanzhang-metrics-"
_NEW_S = 60.0


@contextmanager
def counters(memory: Path = _MEMORY) -> Iterator[str]:
    """A new folder, gone at the end; what servers left there that were killed is removed."""
    place = memory if os.access(memory, os.W_OK) else Path(gettempdir())
    for left in place.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # of a server that lives, or of somebody else
            if time.time() - left.stat().st_mtime > _NEW_S:
                with _held(left):
                    shutil.rmtree(left)
    with TemporaryDirectory(prefix=_PREFIX, dir=place) as folder, _held(Path(folder)):
        yield folder


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a folder as long as this process lives and the block lasts; ``BlockingIOError`` if another one does."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)
