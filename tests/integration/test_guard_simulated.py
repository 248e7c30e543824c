"""The guard on a simulated season: how many of its cheats are found, and how many honest acts are held."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tanzhang.engine.kernel import connect
from tanzhang.service.intake import intake
from tanzhang.service.simulate import simulate
from tanzhang.stores.catalogue import Catalogue

from ..homes import guarded, on

SCENARIO = "green-life-season-2022"
SMALL: dict[str, Any] = {"people": 600, "days": 1, "seed": 3}


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.guard", "4000", "2"]
    said = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True).stdout
    answer: dict[str, Any] = json.loads(said)
    return answer


def test_most_cheats_are_held_and_hardly_an_honest_act(found: dict[str, Any]) -> None:
    cheats = found["cheats"]
    assert {kind for kind, of in cheats.items() if of["accepted"] >= 4} == {
        "cheat_farm", "cheat_picture", "cheat_script", "cheat_speed"
    }  # fmt: skip
    assert cheats["cheat_farm"]["share_found"] >= 0.9
    assert cheats["cheat_script"]["share_found"] >= 0.9
    assert cheats["cheat_speed"]["share_found"] >= 0.8
    assert found["honest"] > 10_000
    assert found["honest_held_per_million"] < 500


def test_devices_are_the_same_bytes_for_the_same_seed_and_change_nothing_beneath(quick: Path) -> None:
    plain = simulate(Catalogue(), SCENARIO, quick / "plain", **SMALL)
    one, two = (simulate(Catalogue(), SCENARIO, quick / name, devices=True, **SMALL) for name in ("one", "two"))
    assert one == two
    files = sorted(path.relative_to(quick / "one") for path in (quick / "one").rglob("*.parquet"))
    assert len(files) > 15
    assert all((quick / "one" / name).read_bytes() == (quick / "two" / name).read_bytes() for name in files)
    con = connect()
    beneath = 0
    for path in sorted((quick / "plain" / "reports").rglob("*.parquet")):
        other = quick / "one" / path.relative_to(quick / "plain")
        names = ", ".join(f'"{name}"' for name in pq.read_schema(path).names)
        ((same,),) = con.execute(
            f"SELECT count(*) FROM (SELECT {names} FROM '{path}' EXCEPT ALL SELECT {names} FROM '{other}')"
        ).fetchall()
        assert same == 0, path
        beneath += pq.read_metadata(other).num_rows - pq.read_metadata(path).num_rows
    scripts = con.execute(f"SELECT count(*) FROM '{quick}/one/cheats/*.parquet' WHERE kind = 'cheat_script'").fetchone()
    assert scripts == (beneath,)
    assert one["rows"] - plain["rows"] == beneath > 0


def test_a_guarded_home_takes_devices_from_every_format(quick: Path) -> None:
    home = guarded(quick / "home")
    for kind in ("ndjson", "csv"):
        folder = quick / kind
        simulate(Catalogue(), SCENARIO, folder, people=100, days=1, format=kind, devices=True)
        (day,) = (folder / "reports").iterdir()
        said = intake(home, day / f"cainiao.{kind}", partner="cainiao", now=on(5, 15))
        assert "unknown-field" not in said["refused_by_code"]
        assert said["rows"] > 0
