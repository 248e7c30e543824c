"""A worker beside the server: a process of its own, started again when it dies, gone when the server is."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_LONGEST_PAUSE_S = 30.0
_STEADY_AFTER_S = 60.0
_PATIENCE_S = 20.0


@contextmanager
def worker_beside(folder: str, *, wanted: bool = True) -> Iterator[None]:
    """A process that works on a home as long as the block lasts; started again, after a pause, when it dies."""
    if not wanted:
        yield
        return
    command = [sys.executable, "-m", "tanzhang", "work", "--home", folder, "--with-parent", str(os.getpid())]
    ending = threading.Event()
    lock = threading.Lock()
    running: list[subprocess.Popen[bytes]] = []

    def watch() -> None:
        pause_s = 0.5
        while not ending.is_set():
            with lock:
                if ending.is_set():
                    return
                running[:] = [subprocess.Popen(command)]  # noqa: S603 - this program itself, with a folder we opened
            try:
                running[0].wait(_STEADY_AFTER_S)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            except subprocess.TimeoutExpired:
                pause_s = 0.5
                running[0].wait()
            ending.wait(pause_s)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        with lock:
            ending.set()
        for process in running:
            process.terminate()
            try:
                process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:  # in the middle of a large settlement, which the next worker does again
                process.kill()
        watcher.join()
