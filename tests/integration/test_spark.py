"""Settlement on a real Spark cluster: a master and two workers, started and stopped with the tests.

The same reports leave the same records, roots, totals and postings as in one process; so they do when a worker is
killed in the middle, and when the driver is killed and somebody starts again.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.engine.spark.blocks import Block
from tanzhang.service.accounts import statement
from tanzhang.service.intake import intake
from tanzhang.service.receipt import check_receipt, create_receipt
from tanzhang.service.replay import replay
from tanzhang.service.settle import settle
from tanzhang.service.simulate import simulate
from tanzhang.service.spark.session import coded, spark_settlement
from tanzhang.service.spark.settle import ClusterSettlement
from tanzhang.service.spark.stages import Shared
from tanzhang.stores.book import batch, submission
from tanzhang.stores.catalogue import Catalogue
from tanzhang.stores.home import Home
from tanzhang.stores.parts import PARTS, record_files

from ..homes import (
    account,
    assert_verified,
    booked,
    box,
    local,
    new_home,
    on,
    records,
    ride,
    settle_on,
    withdrawal,
    write,
)
from ..spark import SETTINGS, Cluster
from .test_replay import SCENARIO
from .test_replay import new_home as season_home

_DRIVER = """
import json, os, signal, sys
from datetime import datetime
from pathlib import Path
from tanzhang.service.settle import settle
from tanzhang.service.spark.session import spark_settlement
from tanzhang.stores import files
from tanzhang.stores.home import Home
home, master, now, at, settings = sys.argv[1:]
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
def seen(point, path):
    if f"{point} {path.name}" == at:
        die()
files.on_write = seen
with spark_settlement(master, settings=json.loads(settings)) as engine:
    settle(Home(Path(home)), now=datetime.fromisoformat(now), engine=engine)
"""


@pytest.fixture(scope="module")
def engine(spark_cluster: Cluster) -> Iterator[ClusterSettlement]:
    with spark_settlement(spark_cluster.master, settings=SETTINGS) as found:
        yield found


def check_receipts(home: Home) -> None:
    """Of records at both ends of every file of the last batch."""
    row = home.book.rows(batch)[-1]
    table = records(home)["action_id"]
    before = table.length() - row.records
    for file in record_files(home.folder, row):
        for index in {file.first, file.first + file.rows - 1}:
            answer = check_receipt(create_receipt(home, table[before + index].as_py()), home.values["vkey"])
            assert answer["status"] == "verified"


def test_a_season_replayed_on_spark_has_the_records_roots_and_postings_of_one_process(
    engine: ClusterSettlement, tmp_path: Path
) -> None:
    simulate(Catalogue(), SCENARIO, tmp_path / "s", people=200, actions=1_000, days=2, seed=5)
    alone, spread = season_home(tmp_path / "alone"), season_home(tmp_path / "spread")
    expected = replay(alone, tmp_path / "s")
    found = replay(spread, tmp_path / "s", engine=engine)
    assert booked(spread) == booked(alone)
    assert len(expected["outcomes"]) >= 6, "the season is too plain to say much"
    same = ("records", "outcomes", "net", "by_behaviour", "batches", "rows", "refused_by_code")
    assert {name: found[name] for name in same} == {name: expected[name] for name in same}
    assert found["bytes"]["records"] > 0
    assert all(len(record_files(spread.folder, row)) == 2 for row in spread.book.rows(batch))
    assert_verified(spread)
    check_receipts(spread)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A home with one batch and reports for a second, 60 % of them of one partner; and what the second comes to."""
    folder = tmp_path_factory.mktemp("skewed")
    home = new_home(folder / "home")
    first = [ride(f"a{n}", f"u{n}", hour=8 + n % 9) for n in range(60)] + [box(f"b{n}", f"c{n}") for n in range(40)]
    intake(home, write(folder / "first.ndjson", first), now=on(6))
    settle_on(home, 9)
    home.book.add_link(
        {
            "child": str(account(home, "amap", "u1")),
            "account": str(account(home, "cainiao", "c1")),
            "valid_from": "2025-06-06",
            "valid_until": None,
            "recorded_at": "2025-06-09T00:00:00+00:00",
        },
        home.book.heads(),
    )
    later = local(8).date() + timedelta(days=3)
    many = [ride(f"d{n}", f"u{n % 200}", hour=6 + n % 12, minute=n % 50, day=later) for n in range(360)]
    few = [box(f"e{n}", f"c{n}", day=later) for n in range(180)]
    undone = [withdrawal(first[1], "undo-1"), withdrawal(first[70], "undo-2"), withdrawal(few[3], "undo-3")]
    again = [box(f"f{n}", f"c{n + 7}", number=f"YT-e{n}", day=later) for n in range(50)]  # of another account
    same = [few[5], {**few[6], "subject": "somebody else"}]
    intake(home, write(folder / "second.ndjson", [*many, *few, *undone, *again, *same]), now=on(9))
    whole = Home(shutil.copytree(home.folder, folder / "whole"))
    settle_on(whole, 12)
    expected = booked(whole)
    assert {"duplicate_of", "withdrawal", "withdrawn", "repeat", "conflict"} <= expected["manifests"][1][
        "outcomes"
    ].keys()
    return home.folder, expected


def test_one_partner_with_most_of_the_reports_changes_nothing(
    engine: ClusterSettlement, ready: Any, tmp_path: Path
) -> None:
    home = Home(shutil.copytree(ready[0], tmp_path / "home"))
    answer = settle(home, now=on(12), engine=engine)
    assert answer["records"] == sum(int(count) for count in answer["outcomes"].values())
    assert booked(home) == ready[1]
    assert (home.folder / home.book.rows(batch)[1].folder / PARTS).is_file()
    assert settle(home, now=on(12), engine=engine)["batch"] is None
    assert_verified(home)
    check_receipts(home)
    assert statement(home, account(home, "cainiao", "c1"))["latest"]


def test_a_worker_killed_in_the_middle_costs_time_and_nothing_else(
    engine: ClusterSettlement, spark_cluster: Cluster, ready: Any, tmp_path: Path
) -> None:
    home = Home(shutil.copytree(ready[0], tmp_path / "home"))
    killed = threading.Event()

    def kill() -> None:
        spark_cluster.kill_a_worker()
        killed.set()

    def progress(stage: str, *_: int) -> None:
        if stage == "deciding":
            threading.Timer(0.2, kill).start()

    settle(home, now=on(12), engine=engine, progress=progress)
    assert killed.is_set()
    assert booked(home) == ready[1]
    assert_verified(home)


@pytest.mark.parametrize("at", ["before write parts.json", "after commit book.sqlite"])
def test_a_driver_that_is_killed_is_followed_by_one_that_comes_to_the_same_records(
    engine: ClusterSettlement, spark_cluster: Cluster, ready: Any, tmp_path: Path, at: str
) -> None:
    folder = Path(shutil.copytree(ready[0], tmp_path / "home"))
    now: datetime = on(12)
    arguments = [str(folder), spark_cluster.master, now.isoformat(), at, json.dumps(SETTINGS)]
    driver = subprocess.run([sys.executable, "-c", _DRIVER, *arguments], check=False, stderr=subprocess.DEVNULL)
    assert driver.returncode == -signal.SIGKILL
    home = Home(folder)
    committed = at.startswith("after commit")
    assert len(home.book.rows(batch)) == 1 + committed
    assert settle(home, now=now, engine=engine)["batch"] == (None if committed else 1)
    assert booked(home) == ready[1]
    assert_verified(home)


_REPLAY = """
import json, os, signal, sys, threading
from pathlib import Path
from tanzhang.service.replay import replay
from tanzhang.service.settle import settle
from tanzhang.service import replay as module
from tanzhang.service.spark.session import spark_settlement
from tanzhang.stores.home import Home
home, season, master, day, stage, settings = sys.argv[1:]
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
def killed(home, *, through, **how):
    def progress(name, *_):
        if (str(through), name) == (day, stage):
            threading.Timer(0.3, die).start()
    return settle(home, through=through, **{**how, "progress": progress})
module.settle = killed
with spark_settlement(master, settings=json.loads(settings)) as engine:
    replay(Home(Path(home)), Path(season), engine=engine)
"""


def test_a_replay_that_is_killed_again_and_again_comes_to_the_same_records(
    engine: ClusterSettlement, spark_cluster: Cluster, tmp_path: Path
) -> None:
    season = tmp_path / "season"
    simulate(Catalogue(), SCENARIO, season, people=300, actions=2_000, days=3, seed=11)
    alone = season_home(tmp_path / "alone")
    replay(alone, season)
    home = season_home(tmp_path / "home")
    for day, stage in (("2022-08-10", "writing"), ("2022-08-11", "deciding"), ("2022-08-11", "surveying reports")):
        arguments = [str(home.folder), str(season), spark_cluster.master, day, stage, json.dumps(SETTINGS)]
        driver = subprocess.run([sys.executable, "-c", _REPLAY, *arguments], check=False, stderr=subprocess.DEVNULL)
        assert driver.returncode == -signal.SIGKILL
    replay(Home(home.folder), season, engine=engine)
    assert booked(Home(home.folder)) == booked(alone)
    assert_verified(Home(home.folder))


def test_what_is_shared_reaches_the_executors_however_large(engine: ClusterSettlement) -> None:
    """Encrypted broadcasts of pyspark 4.3 fail for large arrays as they are."""
    large = np.arange(1 << 20)

    def add_up(shared: Shared, blocks: Iterator[Block]) -> Iterator[Block]:
        for block in blocks:
            yield Block(block.part, int(shared.value.sum()), b"")

    stages = engine._stages
    found = stages.each(3, partial(add_up, stages.shared(large))).blocks()
    assert sorted(found) == [Block(part, int(large.sum()), b"") for part in range(3)]


def test_a_job_that_fails_for_good_is_a_refusal_that_books_nothing_and_shows_no_key(
    spark_cluster: Cluster, engine: ClusterSettlement, ready: Any, tmp_path: Path
) -> None:
    home = Home(shutil.copytree(ready[0], tmp_path / "home"))
    (file,) = {home.folder / row.file for row in home.book.rows(submission) if row.seq == 1}
    good = file.read_bytes()
    file.write_bytes(
        good[:4] + bytes(len(good) // 2) + good[4 + len(good) // 2 :]
    )  # the footer is whole, pages are not
    with pytest.raises(TanzhangError, match="spark-failed") as error, coded(spark_cluster.master):
        settle(home, now=on(12), engine=engine)
    assert home.identity_key.hex() not in str(error.value)
    assert len(home.book.rows(batch)) == 1


@pytest.mark.usefixtures("spark_cluster")
def test_a_master_that_is_no_master_is_a_refusal(tmp_path: Path) -> None:
    home = new_home(tmp_path / "home")
    program = "from tanzhang.cli.main import run; run()"
    command = ["settle", "--home", str(home.folder), "--engine", "spark", "--master", "nonsense"]
    answer = subprocess.run([sys.executable, "-c", program, *command], capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert "spark-unreachable: no Spark application could be started at nonsense" in answer.stderr


@pytest.mark.parametrize(
    ("java", "said"), [("exit 1", "none was found"), ("echo 'version \"11.0.2\"' >&2", "found 11")]
)
def test_a_machine_without_a_new_enough_java_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, java: str, said: str
) -> None:
    from tanzhang.service.spark.session import check_java

    program = tmp_path / "bin" / "java"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{java}\n")
    program.chmod(0o700)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(TanzhangError, match=f"java-missing: .*{said}"):
        check_java()
