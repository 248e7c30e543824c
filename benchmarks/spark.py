"""One day settled by the embedded engine and on Spark, in one run: ``python -m benchmarks.spark``.

The cluster is a master and two workers of one core each on this machine, so what shows is what Spark costs, not what
more machines gain. The session is started before the clock; its first settlement, which starts the Python workers, is
measured beside the second.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
import urllib.request
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from tests.homes import booked
from tests.spark import SETTINGS, shared_cluster

from benchmarks.actions import write_actions
from tanzhang.service.intake import intake
from tanzhang.service.settle import settle
from tanzhang.service.spark.session import spark_settlement
from tanzhang.stores.home import Home

_LAST, _NOW = date(2025, 6, 30), datetime(2025, 7, 2, tzinfo=UTC)
_MORE = {
    "spark.ui.enabled": "true",
    "spark.ui.port": "0",
    "spark.driver.memory": "1g",
    "spark.executor.memory": "1g",
    "spark.driver.extraJavaOptions": "",
    "spark.executor.extraJavaOptions": "",
}


def measure(rows: int) -> dict[str, Any]:
    """Seconds of either engine for the same reports, and what went over the network and disks of the cluster."""
    with tempfile.TemporaryDirectory(prefix="tanzhang-bench-") as scratch:
        folder = Path(scratch)
        write_actions(folder / "actions.parquet", rows)
        now = datetime(2025, 6, 6, 2, tzinfo=UTC)
        home = Home.create(folder / "home", programme="beijing", origin="bench.example/log", now=now, seed=b"bench")
        intake(home, folder / "actions.parquet", now=now)
        home.book.close()

        def timed(name: str, **how: Any) -> tuple[Home, float]:
            copied = Home(Path(shutil.copytree(home.folder, folder / name)))
            start = time.perf_counter()
            settle(copied, through=_LAST, now=_NOW, **how)
            return copied, round(time.perf_counter() - start, 2)

        alone, embedded_s = timed("alone")
        with shared_cluster(folder / "cluster") as cluster:
            start = time.perf_counter()
            with spark_settlement(cluster.master, settings=SETTINGS | _MORE) as engine:
                session_s = round(time.perf_counter() - start, 2)
                _, first_s = timed("first", engine=engine)
                before = _moved()
                spread, spark_s = timed("second", engine=engine)
                moved = {name: size - before[name] for name, size in _moved().items()}
        same = booked(spread) == booked(alone)
    return {
        "rows": rows,
        "embedded_s": embedded_s,
        "session_s": session_s,
        "spark_first_s": first_s,
        "spark_s": spark_s,
        "ratio": round(spark_s / embedded_s, 2),
        "shuffle_bytes_per_row": round(moved["shuffleWriteBytes"] / rows, 1),
        "stages": moved["stages"],
        "same_records": same,
    }


def _moved() -> dict[str, int]:
    """What Spark says it wrote for shuffles so far, from its own REST interface."""
    from pyspark.sql import SparkSession

    session = SparkSession.getActiveSession()
    assert session is not None
    context = session.sparkContext
    url = f"{context.uiWebUrl}/api/v1/applications/{context.applicationId}/stages?status=complete"
    with urllib.request.urlopen(url) as answer:
        stages = json.load(answer)
    return {"shuffleWriteBytes": sum(stage["shuffleWriteBytes"] for stage in stages), "stages": len(stages)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.spark")
    parser.add_argument("--rows", type=int, default=1_000_000)
    print(json.dumps(measure(parser.parse_args().rows), indent=2))


if __name__ == "__main__":
    main()
