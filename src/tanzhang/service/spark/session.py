"""Spark as a cluster for settlement: one DataFrame of blocks, ``mapInArrow`` for tasks, one partition for each part.

The only module that imports pyspark, and only when Spark is asked for. Blocks on the executors' disks and between them
are encrypted. Refused are a machine without pyspark or Java (``spark-missing``, ``java-missing``), a master that does
not answer (``spark-unreachable``) and a job that failed for good (``spark-failed``).
"""

from __future__ import annotations

import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.engine.spark.blocks import Block
from tanzhang.service.spark.settle import ROWS_A_PART, ClusterSettlement
from tanzhang.service.spark.stages import Shared, Task

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

OLDEST_JAVA = 17
_COLUMNS = "part int, rows long, block binary"
_SCHEMA = pa.schema([("part", pa.int32()), ("rows", pa.int64()), ("block", pa.binary())])
# What has to be so; everything else (memory, cores, folders) is the operator's, in spark-defaults.conf.
_SETTINGS = {
    "spark.sql.adaptive.enabled": "false",  # one partition is one part
    "spark.sql.execution.arrow.maxRecordsPerBatch": "16",  # a record is a block of megabytes
    "spark.sql.execution.arrow.maxBytesPerBatch": str(64 << 20),
    "spark.driver.maxResultSize": "0",  # every account's posting of a batch comes to the driver
    "spark.io.encryption.enabled": "true",
}
_QUIET = {"spark.log.level": "ERROR", "spark.ui.showConsoleProgress": "false"}


@contextmanager
def spark_settlement(
    master: str, *, settings: Mapping[str, str] | None = None, rows_a_part: int = ROWS_A_PART
) -> Iterator[ClusterSettlement]:
    """An engine for :func:`tanzhang.service.settle.settle` on the Spark cluster at ``master``, until the block ends.

    ``settings`` are Spark's own, over those of spark-defaults.conf.
    """
    session = _session(master, settings or {})
    try:
        with coded(master):
            yield ClusterSettlement(SparkStages(session), rows_a_part=rows_a_part)
    finally:
        session.stop()


class SparkStages:
    """A running Spark application."""

    def __init__(self, session: SparkSession) -> None:
        self._session = session

    @property
    def cores(self) -> int:
        """About how many tasks run at once."""
        return max(int(self._session.sparkContext.defaultParallelism), 1)

    def each(self, count: int, task: Task) -> SparkFlow:
        """What a task makes of the numbers 0 to ``count`` - 1, each in a partition of its own."""
        numbers = self._session.range(0, count, 1, count)
        empty = numbers.selectExpr("int(id) AS part", "0L AS rows", "binary('') AS block")
        return SparkFlow(empty).through(task)

    def shared(self, value: Any) -> Shared:
        """Bring something to every executor, as a broadcast variable."""
        return _Sent(self._session.sparkContext.broadcast(pickle.dumps(value)))


class _Sent:
    """A broadcast variable. It is pickled here, since pyspark cannot encrypt a large array on its way."""

    def __init__(self, broadcast: Any) -> None:
        self._broadcast = broadcast

    @property
    def value(self) -> Any:
        """The thing itself, made once in each process."""
        return _loaded(self._broadcast.value)


@lru_cache(maxsize=4)
def _loaded(data: bytes) -> Any:
    return pickle.loads(data)  # noqa: S301 - the driver made it


class SparkFlow:
    """Blocks in a DataFrame of part, rows and block."""

    def __init__(self, frame: DataFrame) -> None:
        self._frame = frame

    def through(self, task: Task) -> SparkFlow:
        """What a task makes of each partition."""
        return SparkFlow(self._frame.mapInArrow(partial(_run, task), _COLUMNS))

    def shuffled(self, parts: int) -> SparkFlow:
        """Blocks brought together by part."""
        return SparkFlow(self._frame.filter("part >= 0").repartitionById(parts, "part"))

    def plus(self, other: Any) -> SparkFlow:
        """The partitions of both."""
        return SparkFlow(self._frame.unionAll(other._frame))

    def kept(self) -> SparkFlow:
        """The same, on the executors' disks."""
        from pyspark import StorageLevel

        return SparkFlow(self._frame.persist(StorageLevel.DISK_ONLY))

    def release(self) -> None:
        """Off the disks again."""
        self._frame.unpersist()

    def messages(self) -> list[Block]:
        """Blocks with a negative part."""
        return _collected(self._frame.filter("part < 0"))

    def sizes(self) -> list[tuple[int, int]]:
        """Part and number of rows of each block."""
        found = self._frame.select("part", "rows").toArrow()
        return list(zip(found["part"].to_pylist(), found["rows"].to_pylist(), strict=True))

    def blocks(self) -> list[Block]:
        """All blocks."""
        return _collected(self._frame)


def _collected(frame: DataFrame) -> list[Block]:
    found = frame.toArrow()
    return [Block(*row.values()) for batch in found.to_batches() for row in batch.to_pylist()]


def _run(task: Task, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """On an executor: a task over Spark's batches. What DuckDB complains of is said without its SQL, which has keys."""
    received = (Block(*row.values()) for batch in batches for row in batch.to_pylist())
    try:
        for block in task(received):
            yield pa.record_batch([[block.part], [block.rows], [block.data]], schema=_SCHEMA)
    except duckdb.Error as error:
        raise RuntimeError(f"{type(error).__name__}: {str(error).splitlines()[0]}") from None


def _session(master: str, settings: Mapping[str, str]) -> SparkSession:
    try:
        import pandas  # noqa: F401 - mapInArrow asks for it before it does anything
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise refuse(
            "spark-missing",
            f"Spark's Python side is not installed: {error.name} cannot be imported",
            where="--engine spark",
            remedy="pip install 'tanzhang[spark]' here and on every node",
        ) from None
    check_java()
    # Executors use the interpreter of the same path; PYSPARK_PYTHON says where it is elsewhere.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.master(master).appName("tanzhang settle")
    for name, value in {**_QUIET, **settings, **_SETTINGS}.items():
        builder = builder.config(name, value)
    try:
        return builder.getOrCreate()
    except (PySparkException, _java_error(), OSError, ValueError) as error:
        raise refuse(
            "spark-unreachable",
            f"no Spark application could be started at {master}: {_reason(error)}",
            where="--master",
            remedy="check that the master runs there and that its Spark has the version of your pyspark; "
            "nothing was settled",
        ) from None


def check_java() -> None:
    """``java-missing`` where there is no Java of the version that Spark needs."""
    home = os.environ.get("JAVA_HOME")
    found = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    said = ""
    if found is not None and Path(found).exists():
        said = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr  # noqa: S603
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version[1]) < OLDEST_JAVA:
        raise refuse(
            "java-missing",
            f"Spark needs Java {OLDEST_JAVA} or newer, " + (f"found {version[1]}" if version else "none was found"),
            where="JAVA_HOME" if home else "PATH",
            remedy=f"install it (Debian: apt-get install openjdk-{OLDEST_JAVA}-jre-headless) here and on every node",
        )


@contextmanager
def coded(master: str) -> Iterator[None]:
    """What Spark says in the middle of a job, as a coded refusal."""
    from pyspark.errors import PySparkException

    try:
        yield
    except TanzhangError:
        raise
    except (PySparkException, _java_error(), ConnectionError) as error:
        raise refuse(
            "spark-failed",
            f"the job on {master} failed: {_reason(error)}",
            where="settlement on Spark",
            remedy="nothing of it was booked; see the executors' logs, then run the same command again",
        ) from None


def _java_error() -> type[Exception]:
    from py4j.protocol import Py4JError

    error: type[Exception] = Py4JError
    return error


def _reason(error: BaseException) -> str:
    """The line that says most: the last of a Python traceback, else the first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    raised = [line for line in lines if re.match(r"[A-Za-z_.]+(Error|Exception|Refused)\b", line)]
    text = (raised or lines or [type(error).__name__])[-1 if raised else 0]
    return text[:300]
