"""Settlement reads of the past only what shares a key with new reports, and decides as if it had read all of it."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tanzhang.engine.kernel import connect
from tanzhang.engine.settle import settle as decide
from tanzhang.service import settle as service
from tanzhang.service.history import History
from tanzhang.service.replay import replay
from tanzhang.service.simulate import simulate
from tanzhang.service.verify import verify
from tanzhang.stores.book import batch
from tanzhang.stores.catalogue import Catalogue
from tanzhang.stores.home import Home

SCENARIO = "green-life-season-2022"


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A season whose every settlement was decided both ways."""
    folder = tmp_path_factory.mktemp("history")
    simulate(Catalogue(), SCENARIO, folder / "season", people=150, actions=5_000, days=9, seed=3)
    home = Home.create(
        folder / "home",
        programme=SCENARIO,
        origin="simulated.example/history",
        now=datetime(2022, 8, 1, tzinfo=UTC),
        seed=b"history",
    )
    near, all_of_it = 0, 0

    def both(con, *, pending, settled, recipes, rules):
        nonlocal near, all_of_it
        found = decide(con, pending=pending, settled=settled, recipes=recipes, rules=rules)
        if settled is not None:
            near += con.execute(f"SELECT count(*) FROM {settled}").fetchall()[0][0]
            other = connect()
            everything = service.settled_records(home, other)
            all_of_it += other.execute(f"SELECT count(*) FROM {everything}").fetchall()[0][0]
            expected = decide(other, pending=pending, settled=everything, recipes=recipes, rules=rules)
            assert found.records().equals(expected.records())
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "decide", both)
        replay(home, folder / "season")
    assert 0 < near < all_of_it / 2
    return home


def test_what_is_found_by_keys_decides_as_all_of_the_past(replayed: Home) -> None:
    rows = replayed.book.rows(batch)
    assert len(rows) >= 9
    assert verify(replayed)["status"] == "verified"


def files(home: Home) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (home.folder / "known").glob("*/*.keys")}


def test_keys_are_made_again_from_the_records(replayed: Home, tmp_path: Path) -> None:
    copy = tmp_path / "home"
    shutil.copytree(replayed.folder, copy)
    shutil.rmtree(copy / "known")
    home = Home(copy)
    assert verify(home)["status"] == "verified"  # nothing is wrong where nothing is kept
    History(home).catch_up(keep=False)
    assert files(home) == {}  # a reader writes nothing
    History(home).catch_up(keep=True)
    assert files(home) == files(replayed)


@pytest.mark.parametrize("place", [0, -1])
def test_a_changed_key_is_told(replayed: Home, tmp_path: Path, place: int) -> None:
    copy = tmp_path / "home"
    shutil.copytree(replayed.folder, copy)
    path = max((copy / "known").glob("*/*.keys"), key=lambda each: each.stat().st_size)
    data = bytearray(path.read_bytes())
    data[8 * place + 5] ^= 255
    path.write_bytes(data)
    report = verify(Home(copy))
    problems = [problem for check in report["checks"] for problem in check["problems"]]
    assert {problem["code"] for problem in problems} == {"keys-incomplete"}
