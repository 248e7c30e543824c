"""The city's and a partner's totals from a whole home, on both databases, against a recount of every record."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.service.city import city_totals, partner_ledger
from tanzhang.service.intake import intake
from tanzhang.service.settle import settle
from tanzhang.service.spark.settle import ClusterSettlement
from tanzhang.stores.home import Home

from ..homes import (
    BOX_MG,
    METRO_MG_PER_M,
    as_attacker,
    assert_verified,
    box,
    new_home,
    on,
    power,
    problems,
    records,
    ride,
    withdrawal,
    write,
)
from ..postgres import Server
from ..stages import LocalStages

BATCHES = 18  # a run of sixteen and two more


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Home:
    folder = tmp_path_factory.mktemp("city")
    book = None
    if request.param == "postgresql":
        server: Server = request.getfixturevalue("postgres")
        book = server.address(server.database(), "city")
    opened = new_home(folder / "home", book=book)
    for number in range(BATCHES):
        day = date(2025, 6, 2 + number)
        events: list[Any] = [box(f"b{number}", f"p{number % 3}", day=day), ride(f"r{number}", day=day)]
        if number == 4:
            events += [ride("twin", source="gaode" if "gaode" in opened.programme.partners else "amap", day=day)]
            events += [power("light", day=day), box("away", day=day)]
        if number == 7:
            events += [withdrawal(box("away"), "undo", day=day)]
        intake(opened, write(folder / f"{number}.ndjson", events), now=on(3 + number))
        engine = ClusterSettlement(LocalStages()) if number == 5 else None
        assert settle(opened, now=on(6 + number), engine=engine)["batch"] == number
    return opened


def recount(home: Home, *names: str) -> dict[tuple[Any, ...], tuple[int, int]]:
    """(labels) -> granted and reversed mg, from every record."""
    sums: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0])
    for row in records(home).to_pylist():
        row["day"] = row["day"].isoformat()
        sums[tuple(row[name] for name in names)][0] += row["granted_mg"]
        sums[tuple(row[name] for name in names)][1] += row["reversed_mg"]
    return {key: (granted, taken) for key, (granted, taken) in sums.items()}


@pytest.mark.parametrize("by", [(), ("day",), ("behaviour", "region"), ("partner", "variant"), ("outcome", "day")])
def test_totals_are_those_of_the_records(home: Home, by: tuple[str, ...]) -> None:
    names = (*by, "kind")
    found = city_totals(home, by=by)
    assert found["state"] == "confirmed"
    assert {
        tuple(row[name] for name in names): (int(row["granted_mg"]), int(row["reversed_mg"])) for row in found["rows"]
    } == recount(home, *names)
    assert_verified(home)


def test_a_withdrawn_act_is_no_longer_counted(home: Home) -> None:
    (row,) = [row for row in city_totals(home)["rows"] if row["behaviour"] == "use.parcel_box_return"]
    assert (row["acts"], row["mg"]) == (str(BATCHES), str(BATCHES * BOX_MG))
    assert (row["granted_mg"], row["reversed_mg"]) == (str((BATCHES + 1) * BOX_MG), str(BOX_MG))


def test_days_and_regions_are_chosen_from_the_cells(home: Home) -> None:
    day = date(2025, 6, 3)
    only = city_totals(home, by=("behaviour",), since=day, until=day)["rows"]
    assert {row["behaviour"]: row["mg"] for row in only} == {
        "use.parcel_box_return": str(BOX_MG),
        "travel.metro": str(10_000 * METRO_MG_PER_M),
    }
    assert city_totals(home, region="CN-440000")["rows"] == []
    assert city_totals(home, region="CN-110000")["rows"] == city_totals(home)["rows"]


def test_totals_as_of_an_earlier_batch_stay_what_they_were(home: Home) -> None:
    assert city_totals(home, batches=0)["rows"] == []
    for count in (1, 15, 16, 17):
        boxes = [row for row in city_totals(home, batches=count)["rows"] if row["behaviour"] == "use.parcel_box_return"]
        assert int(boxes[0]["records"]) >= count


def test_a_partner_sees_what_its_users_saved_and_what_was_not_kept(home: Home) -> None:
    ledger = partner_ledger(home, "amap", by=("behaviour", "day"))
    assert ledger["claim"] == "facilitated"
    assert "not owned" in ledger["says"]
    assert "不归企业所有" in ledger["says_zh"]
    total = sum(int(row["mg"]) for row in ledger["rows"])
    granted, taken = recount(home, "partner", "kind")["amap", "reduction"]
    assert total == granted - taken
    assert sum(ledger["outcomes"].values()) == BATCHES + 1
    assert ledger["not_kept"] == 1  # the same ride, reported under another reference
    with pytest.raises(TanzhangError, match="unknown-partner"):
        partner_ledger(home, "nobody")


def test_an_unknown_cut_is_refused_with_those_that_exist(home: Home) -> None:
    with pytest.raises(TanzhangError, match=r"unknown-cut[\s\S]*category"):
        city_totals(home, by=("colour",))


Tamper = Callable[[Any], Any]


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("UPDATE tally SET cells = cells + 1 WHERE last = 15 AND first = 0", "tally-mismatch"),
        ("UPDATE tally SET data = (SELECT data FROM tally WHERE last = 4) WHERE last = 3", "tally-mismatch"),
        ("UPDATE tally SET data = x'00' WHERE last = 3", "tally-damaged"),
        ("DELETE FROM tally WHERE last = 17", "tally-mismatch"),
        ("UPDATE tally SET first = 2 WHERE last = 3", "tally-stray"),
    ],
)
def test_a_changed_tally_is_found_by_verification(home: Home, tmp_path: Path, statement: str, code: str) -> None:
    if not isinstance(home.book.place, Path):
        pytest.skip("the file is what is copied here")
    import shutil

    home.book.close()
    copy = Path(shutil.copytree(home.folder, tmp_path / "home"))
    with as_attacker(copy) as con:
        con.execute(statement)
    assert code in [problem["code"] for problem in problems(Home(copy))]
