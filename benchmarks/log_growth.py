"""How long publishing and proving take as the log grows: ``python -m benchmarks.log_growth [entries ...]``.

Each log is filled in one publication; then one entry is added and one proved, twenty times, each from a newly opened
log as a process that just started would.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

from tanzhang.engine.signing import NoteSigner
from tanzhang.stores.log import Log

SIGNER = NoteSigner("log.example/growth", bytes(32))
ENTRY_BYTES = 600
TIMES = 20


def entry(index: int) -> bytes:
    return f"manifest {index} ".encode().ljust(ENTRY_BYTES, b".")


def opened(folder: Path) -> Log:
    return Log.open(folder, SIGNER.name, SIGNER.verifier)


def measure(size: int, times: int) -> tuple[float, float, float]:
    """Seconds of filling, of publishing one more entry and of proving one."""
    with tempfile.TemporaryDirectory() as folder:
        log = Log.create(Path(folder) / "log", SIGNER.name, SIGNER)
        start = time.perf_counter()
        log.publish([entry(index) for index in range(size)], SIGNER, first_index=0)
        filled = time.perf_counter() - start
        publishing, proving = [], []
        for number in range(size, size + times):
            start = time.perf_counter()
            opened(Path(folder) / "log").publish([entry(number)], SIGNER, first_index=number)
            publishing.append(time.perf_counter() - start)
            start = time.perf_counter()
            opened(Path(folder) / "log").prove(number * 7919 % number)
            proving.append(time.perf_counter() - start)
        return filled, statistics.median(publishing), statistics.median(proving)


if __name__ == "__main__":
    for size in map(int, sys.argv[1:] or ("1", "10000", "1000000")):
        filled, publishing, proving = measure(size, TIMES)
        print(f"{size:>9} entries: filled in {filled:.2f} s", end=", ")
        print(f"publish one {publishing * 1000:.1f} ms, prove one {proving * 1000:.2f} ms")
