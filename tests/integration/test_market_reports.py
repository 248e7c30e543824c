"""Reports of the market: each milligram is counted once, prices by day and vintage, open data without small cells."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.core.payment_reference import payment_reference
from tanzhang.core.units import PROGRAMME, Pick
from tanzhang.service.donations import ProjectSaid, donate, put_project
from tanzhang.service.market.issue import issue
from tanzhang.service.market.open_data import export_open_data, open_data
from tanzhang.service.market.reports import STATES, market_overview, price_history
from tanzhang.service.market.verification import Decision, Finding, decide, file_findings
from tanzhang.service.moments import received_at
from tanzhang.stores.home import Home

from ..homes import account, market_home
from ..lots import LATER
from ..trading import OPERATOR, approved, bought, offered, paid
from ..verifying import AUDITOR, DIGEST, PEOPLE, VERIFIER, frozen_lot, in_verification, registered

PROJECT = {
    "title": "A wood", "title_zh": "树林", "text": "An example.", "text_zh": "示例。", "recipient": "Hill Trust",
    "takes": ["grams"], "open": {"from": "2025-06-01", "until": None}, "source": "none", "status": "example",
}  # fmt: skip


@pytest.fixture
def home(place: Callable[[str], str | None], quick: Path) -> Home:
    return market_home(quick / "home", book=place("tests"))


def counted_once(home: Home) -> dict[str, int]:
    """The overview as numbers, once every milligram is in exactly one state."""
    said: dict[str, Any] = market_overview(home)
    stand = {name: int(said[f"{name}_mg"]) for name in STATES}
    assert sum(stand.values()) == int(said["granted_mg"]) + int(said["compensated_mg"])
    assert all(amount >= 0 for amount in stand.values())
    in_lots = {name: sum(int(lot.get(f"{name}_mg", 0)) for lot in said["lots"]) for name in STATES[3:]}
    assert in_lots == {name: stand[name] for name in STATES[3:]}
    return stand


def test_each_milligram_is_in_one_state_at_every_step_of_the_way(home: Home, tmp_path: Path) -> None:
    number = frozen_lot(home, tmp_path)
    row = home.lots.one(number)
    before = counted_once(home)
    assert before["reserved"] == row.total_mg
    put_project(home, "wood", _project(), actor=OPERATOR, now=LATER)
    donate(home, account(home, "cainiao", PEOPLE[1]), "wood", "1", grams_mg=20_000, now=LATER)
    given = counted_once(home)
    assert (given["donated"], given["confirmed"]) == (20_000, before["confirmed"] - 20_000)
    registered(home, number)
    assert counted_once(home) == given
    issue(home, number, reference="i", actor=OPERATOR, now=LATER)
    stand = counted_once(home)
    assert stand["reserved"] == 0
    assert stand["issued"] + stand["cancelled"] == row.total_mg
    (block, *_) = home.units.blocks(lot=number, holder=PROGRAMME)
    with home.book.transaction() as con:
        picks = [Pick(number, block.lo, block.lo + 1)]
        home.units.retire(con, PROGRAMME, picks, "r", {}, received_at(LATER), actor="a test")
    retired = counted_once(home)
    assert retired["retired"] == row.unit_mass_mg
    assert retired["issued"] == stand["issued"] - row.unit_mass_mg


def _project() -> ProjectSaid:
    import msgspec

    return msgspec.convert(PROJECT, ProjectSaid)


def test_what_a_rejected_lot_held_is_confirmed_again(home: Home, tmp_path: Path) -> None:
    number = frozen_lot(home, tmp_path)
    held = home.lots.one(number).total_mg
    before = counted_once(home)
    in_verification(home, number)
    bad = Finding("material", "not so")
    file_findings(home, number, VERIFIER, [bad], reference="f", actor=AUDITOR, now=LATER)
    decide(home, number, VERIFIER, Decision("rejected", "not so", DIGEST), reference="v", actor=AUDITOR, now=LATER)
    assert counted_once(home) == before | {"confirmed": before["confirmed"] + held, "reserved": 0}
    assert open_data(home, now=LATER)["lots"] == []


def test_open_data_are_files_whose_cells_come_to_the_lot_and_hide_small_ones(home: Home, tmp_path: Path) -> None:
    number = frozen_lot(home, tmp_path)
    assert open_data(home, now=LATER)["lots"] == [], "it is not registered yet"
    registered(home, number)
    said = export_open_data(home, tmp_path / "open.zip", now=LATER)
    with pytest.raises(TanzhangError, match="export-exists"):
        export_open_data(home, tmp_path / "open.zip", now=LATER)
    with zipfile.ZipFile(tmp_path / "open.zip") as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read("cells.csv").decode())))
        table = pq.read_table(io.BytesIO(archive.read("cells.parquet")))
        description = json.loads(archive.read("description.json"))
    assert (said["lots"], len(rows), table.num_rows) == ("1", int(said["cells"]), int(said["cells"]))
    assert list(description["columns"]) == table.column_names == list(rows[0])
    totals = [row for row in rows if row["total"] == "true"]
    assert sum(int(row["reduction_mg"]) for row in totals) == home.lots.one(number).total_mg
    least = home.programme.disclosure.least_accounts_in_cell
    assert all(row["accounts"] == "" or int(row["accounts"]) >= least for row in rows)
    assert table["reduction_mg"].to_pylist() == [int(row["reduction_mg"]) for row in rows]


def test_prices_are_those_of_delivered_deals_by_day_and_vintage_and_name_nobody(home: Home, tmp_path: Path) -> None:
    number = frozen_lot(home, tmp_path)
    registered(home, number)
    issue(home, number, reference="i", actor=OPERATOR, now=LATER)
    for name in ("steel", "cement"):
        approved(home, name)
    offered(home, 2, 6_000)
    offered(home, 2, 6_101, reference="o-2")
    assert bought(home, "steel", 2)["state"] == "agreed"
    assert price_history(home)["prices"] == [], "what is not delivered has no price"
    bought(home, "cement", 1, reference="d-2", offer=2)
    paid(home, ("E1", 9, 12_000, payment_reference("D", 1)), ("E2", 9, 6_101, payment_reference("D", 2)))
    said = price_history(home)
    assert said["prices"] == [
        {
            "day": "2025-06-10",
            "vintage": "2025",
            "unit_mass_mg": str(10**6),
            "deals": "2",
            "units": "3",
            "gross_fen": "18101",
            "lowest_fen": "6000",
            "highest_fen": "6101",
            "average_fen": "6033",
        }
    ]
    assert "steel" not in json.dumps(said)
