"""Fixtures that several folders share."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .postgres import MISSING, QUICK, Server, programs, running_server

if TYPE_CHECKING:
    from .s3 import Bucket, S3Server

MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it


@pytest.fixture
def quick(in_memory: Path) -> Iterator[Path]:
    """An empty folder in memory for one test."""
    with tempfile.TemporaryDirectory(dir=in_memory) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def in_memory() -> Iterator[Path]:
    """A folder on a file system in memory where there is one: what dies is a process, so syncing need not cost."""
    with tempfile.TemporaryDirectory(prefix="tanzhang-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server of this worker's own; skipped where there is none, a failure where all tests must run."""
    if programs() is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(MISSING)
    with running_server(QUICK) as server:
        yield server


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """An S3-compatible server of this worker's own."""
    from .s3 import running_s3  # half a second to load

    with running_s3() as server:
        yield server


@pytest.fixture
def bucket(s3: S3Server) -> Bucket:
    """A new bucket."""
    return s3.bucket()
