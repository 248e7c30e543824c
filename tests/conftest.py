"""Fixtures that several folders share."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from . import spark
from .memory import folder_in_memory
from .postgres import MISSING, QUICK, Server, programs, running_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from .s3 import Bucket, S3Server

# Who runs the tests in the background of a shell has SIGINT ignored, and each process started here would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes depends on who else is on the machine.
settings.register_profile("tanzhang", deadline=None)
settings.load_profile("tanzhang")


@pytest.fixture
def quick(in_memory: Path) -> Iterator[Path]:
    """An empty folder in memory for one test."""
    with tempfile.TemporaryDirectory(dir=in_memory) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def in_memory() -> Iterator[Path]:
    """A folder in memory, gone at the end."""
    with folder_in_memory("tests") as made:
        yield made


def need_postgres() -> None:
    """Skip where PostgreSQL is missing, and fail where all tests must run."""
    if programs() is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(MISSING)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server of this worker's own; skipped where there is none, a failure where all tests must run."""
    need_postgres()
    with running_server(QUICK) as server:
        yield server


@pytest.fixture
def own_postgres() -> Iterator[Server]:
    """A PostgreSQL server of one test's own, which it may stop."""
    need_postgres()
    with running_server(QUICK) as server:
        yield server


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless browser of this worker's own; skipped where there is none, a failure where all tests must run."""
    from .browser import MISSING as NO_BROWSER  # a fifth of a second to load
    from .browser import program, running_browser

    if program() is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(NO_BROWSER)
    with running_browser() as browser:
        yield browser


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


@pytest.fixture(scope="session")
def spark_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[spark.Cluster]:
    """A Spark cluster that all workers of this run share; skipped without Spark, a failure where all tests must run."""
    reason = spark.missing()
    if reason is not None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    base = tmp_path_factory.getbasetemp()
    run = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with spark.shared_cluster(run / "spark-cluster") as cluster:
        yield cluster
