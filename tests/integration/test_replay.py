"""A season is replayed day by day; killed at any moment, it goes on to the same records, roots and balances."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.core.record import OUTCOMES
from tanzhang.service.replay import home_for, replay
from tanzhang.service.simulate import simulate
from tanzhang.service.verify import verify
from tanzhang.stores.book import batch
from tanzhang.stores.catalogue import Catalogue
from tanzhang.stores.home import Home

from ..postgres import Server

SCENARIO = "green-life-season-2022"
_RUN = """
import sys
from pathlib import Path
from tanzhang.service import replay
from tanzhang.stores.home import Home
replay.replay(Home(Path(sys.argv[1])), Path(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def season(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("season") / "s"
    simulate(Catalogue(), SCENARIO, folder, people=600, actions=4_000, days=2, seed=5)
    return folder


def new_home(folder: Path, book: str | None = None) -> Home:
    return Home.create(
        folder,
        book=book,
        programme=SCENARIO,
        origin="simulated.example/season",
        now=datetime(2022, 8, 1, tzinfo=UTC),
        seed=b"replay",
    )


def manifests(home: Home) -> list[str]:
    return [row.manifest for row in home.book.rows(batch)]


@pytest.fixture(scope="module")
def undisturbed(season: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], dict[str, Any]]:
    home = new_home(tmp_path_factory.mktemp("whole") / "home")
    answer = replay(home, season)
    assert verify(home)["status"] == "verified"
    return manifests(home), answer


def refused_rows(season: Path) -> int:
    """Rows whose planted verdict is not an outcome of settlement."""
    tables = [pq.read_table(file, columns=["expected"]) for file in (season / "truth").glob("*.parquet")]
    return sum(text not in OUTCOMES for table in tables for text in table["expected"].to_pylist())


def test_a_replay_takes_in_every_row_and_settles_it(season: Path, undisturbed: Any) -> None:
    kept, answer = undisturbed
    simulation = json.loads((season / "simulation.json").read_text())
    assert answer["rows"] == simulation["rows"]
    assert answer["records"] == sum(answer["outcomes"].values()) == simulation["rows"] - refused_rows(season)
    assert len(kept) == answer["batches"] == 3  # two days, and what closed after them
    assert int(answer["net"]["co2e_mg"]) == sum(int(each["net_mg"]) for each in answer["by_behaviour"])
    assert answer["bytes"]["records"] > 0


def test_a_replay_that_is_done_is_done_again_without_effect(season: Path, undisturbed: Any, tmp_path: Path) -> None:
    home = new_home(tmp_path / "home")
    first = replay(home, season)
    again = replay(Home(tmp_path / "home"), season)
    assert manifests(home) == undisturbed[0]
    assert {name: again[name] for name in ("records", "outcomes", "net", "rows")} == {
        name: first[name] for name in ("records", "outcomes", "net", "rows")
    }


def test_a_replay_that_is_killed_again_and_again_comes_to_the_same_batches(
    season: Path, undisturbed: Any, tmp_path: Path
) -> None:
    new_home(tmp_path / "home")
    command = [sys.executable, "-c", _RUN, str(tmp_path / "home"), str(season)]
    killed = 0
    for wait in (0.9, 1.4, 1.9, 2.4, 3.1):
        process = subprocess.Popen(command, env={**os.environ})
        time.sleep(wait)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
    subprocess.run(command, check=True)
    home = Home(tmp_path / "home")
    assert killed >= 2
    assert manifests(home) == undisturbed[0]
    assert verify(home)["status"] == "verified"


def test_a_season_comes_to_the_same_batches_on_postgresql(
    season: Path, undisturbed: Any, tmp_path: Path, postgres: Server
) -> None:
    place = postgres.address(postgres.database())
    home = new_home(tmp_path / "home", book=place)
    answer = replay(home, season)
    assert manifests(home) == undisturbed[0]
    assert answer["net"] == undisturbed[1]["net"]
    assert answer["bytes"]["book"] > 0
    assert home_for(season, tmp_path / "home").values == home.values


def test_a_home_is_set_up_for_the_programme_of_the_season(season: Path, tmp_path: Path) -> None:
    home = home_for(season, tmp_path / "home")
    assert home.programme.id == SCENARIO
    assert home.values["origin"] == f"simulated.example/{SCENARIO}"
    assert home_for(season, tmp_path / "home").values == home.values


def test_a_season_of_another_programme_is_refused(season: Path, tmp_path: Path) -> None:
    home = Home.create(tmp_path / "h", programme="beijing", origin="x.example/b", now=datetime(2022, 8, 1, tzinfo=UTC))
    with pytest.raises(TanzhangError, match="replay-programme: the season was simulated for programme green"):
        replay(home, season)


@pytest.mark.parametrize(("names", "what"), [((), "no report files"), (("monday",), "monday is not a day")])
def test_a_folder_that_is_no_season_is_refused(tmp_path: Path, names: tuple[str, ...], what: str) -> None:
    home = new_home(tmp_path / "home")
    for name in names:
        (tmp_path / "s" / "reports" / name).mkdir(parents=True)
    with pytest.raises(TanzhangError, match=f"replay-layout: .*{what}"):
        replay(home, tmp_path / "s")
