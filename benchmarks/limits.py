"""What this machine can do at best, measured in the same run as everything that is held against it."""

from __future__ import annotations

import hashlib
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tanzhang.engine.hashing import sha256_here

_LEAF_BYTES = 317
_PAGE_BYTES = 4096


def limits(scratch: Path) -> dict[str, Any]:
    """Rates of hashing on one core, of memory and of the disk that ``scratch`` is on."""
    long = bytes(64 << 20)
    leaves = np.zeros((1 << 16, _LEAF_BYTES), dtype=np.uint8)
    block = np.ones(32 << 20, dtype=np.uint8)
    copy = np.empty_like(block)
    pages = (256 << 20) // _PAGE_BYTES
    return {
        "sha256_long_mb_per_s": round(len(long) / 1e6 / _median(lambda: hashlib.sha256(long).digest())),
        "sha256_leaf_ns": round(_median(lambda: sha256_here(leaves)) / len(leaves) * 1e9),
        "memory_copy_gb_per_s": round(len(block) / 1e9 / _median(lambda: np.copyto(copy, block)), 1),
        "fresh_page_us": round(_median(lambda: np.zeros(256 << 20, np.uint8)[::_PAGE_BYTES].fill(1)) / pages * 1e6, 2),
        "disk_write_mb_per_s": round(len(long) * 4 / 1e6 / _median(lambda: _write(scratch / "limits", long, 4))),
    }


def _write(path: Path, data: bytes, times: int) -> None:
    with path.open("wb") as file:
        for _ in range(times):
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
    path.unlink()


def _median(work: Callable[[], object]) -> float:
    spent = []
    for _ in range(5):
        start = time.perf_counter()
        work()
        spent.append(time.perf_counter() - start)
    return statistics.median(spent)
