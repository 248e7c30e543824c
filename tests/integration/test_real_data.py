"""Six real data sets, and the one of CONTRIBUTING's example, from the file to verified receipts; figures are golden.

``UPDATE_GOLDEN=1 pytest tests/integration/test_real_data.py`` writes the figures again. Look at each line that moved.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tanzhang.service.accounts import action_named, statement
from tanzhang.service.intake import intake
from tanzhang.service.receipt import check_receipt, create_receipt
from tanzhang.service.settle import settle
from tanzhang.service.verify import verify
from tanzhang.stores.home import Home

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
MAPPINGS = ROOT / "examples" / "mappings"
GOLDEN = ROOT / "tests" / "golden" / "real" / "results.json"
NOW = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)  # after the last shifted day, 2026-01-16
LAST = date(2026, 2, 28)

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not (DATA / "real").is_dir(), reason="the real data sets are not beside the checkout"),
]

_CARDS = "shenzhen_tong_smartcard_201809/szt_20180901_morning.csv.gz"
SOURCES = {
    "mobike_shanghai": "mobike_shanghai_201608/orders.csv.gz",
    "shenzhen_tong_metro": _CARDS,
    "shenzhen_tong_bus": _CARDS,
    "ev_charging": "ev_workplace_charging_us/station_data_dataverse.csv.gz",
    "fitbit_steps_daily": "fitbit_steps_201604/daily_activity.csv",
    "uk_invoices": "uk_online_retail_invoices_2010_2011/invoices.csv.gz",
    "swiss_household": "household_electricity_ch_2018/daily_kwh.csv.gz",
    "sube_buenos_aires": "sube_buenos_aires_201911/martes_trx.csv.gz",
}
# One record of each data set by its reference, as the mapping writes it.
PROVED = {
    "mobike_shanghai": ("mobike", None),
    "shenzhen_tong_metro": ("shenzhen_tong", "travel.metro"),
    "shenzhen_tong_bus": ("shenzhen_tong", "travel.bus"),
    "ev_charging": ("ev_workplace", None),
    "fitbit_steps_daily": ("fitbit", None),
    "uk_invoices": ("uk_retail", None),
    "swiss_household": ("swiss_meters", None),
    "sube_buenos_aires": ("sube", None),
}


@dataclass(frozen=True)
class Season:
    """A home in which every data set was taken in and settled."""

    home: Home
    answers: dict[str, dict[str, Any]]
    settlement: dict[str, Any]

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows over ``records``, and over ``reports``: accepted rows with their row number in the source file."""
        con = duckdb.connect()
        con.execute(f"CREATE VIEW records AS FROM read_parquet('{self.home.folder}/records/*/records.parquet')")
        con.execute(f"CREATE VIEW reports AS FROM read_parquet('{self.home.folder}/reports/*/accepted.parquet')")
        return con.execute(sql).fetchall()


def tables_of(name: str) -> dict[str, Path]:
    return {"stations": DATA / "reference" / "shenzhen_metro_2020" / "stations.csv"} if "metro" in name else {}


def new_home(folder: Path) -> Home:
    return Home.create(
        folder,
        programme="rehearsal",
        origin="rehearsal.example.org",
        overlays=(ROOT / "examples" / "rehearsal",),
        now=NOW,
        seed=b"real data",
    )


@pytest.fixture(scope="module")
def season(tmp_path_factory: pytest.TempPathFactory) -> Season:
    home = new_home(tmp_path_factory.mktemp("real") / "home")
    answers = {
        name: intake(home, DATA / "real" / source, mapping=MAPPINGS / f"{name}.yaml", tables=tables_of(name), now=NOW)
        for name, source in SOURCES.items()
    }
    return Season(home, answers, settle(home, through=LAST, now=NOW))


def figures(season: Season) -> dict[str, Any]:
    """Everything that is compared: per data set what intake said and what became of it."""
    kept = ("rows", "accepted", "refused", "refused_by_code", "skipped", "quantified")
    outcomes: dict[tuple[str, str], dict[str, Any]] = {}
    for partner, behaviour, outcome, count, granted in season.query(
        "SELECT partner, behaviour, outcome, count(*), sum(granted_mg - reversed_mg)::VARCHAR FROM records "
        "GROUP BY ALL ORDER BY ALL"
    ):
        entry = outcomes.setdefault((partner, behaviour), {"outcomes": {}, "granted_mg": "0"})
        entry["outcomes"][outcome] = count
        entry["granted_mg"] = str(int(entry["granted_mg"]) + int(granted))
    sets = {}
    for name, answer in season.answers.items():
        (behaviour,) = (row["behaviour"] for row in answer["quantified"])
        sets[name] = {member: answer[member] for member in kept} | outcomes[PROVED[name][0], behaviour]
    whole = {member: season.settlement[member] for member in ("records", "outcomes", "granted", "reversed")}
    return {"data_sets": sets, "settlement": whole}


def test_every_data_set_gives_the_recorded_figures(season: Season) -> None:
    found = figures(season)
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(json.dumps(found, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    assert found == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_everything_verifies_and_one_record_of_each_data_set_has_a_receipt(season: Season) -> None:
    verification = verify(season.home)
    assert verification["status"] == "verified", verification
    for name, (partner, behaviour) in PROVED.items():
        only = f"AND behaviour = '{behaviour}'" if behaviour else ""
        ((action, account, granted),) = season.query(
            f"SELECT action_id, account, granted_mg FROM records WHERE partner = '{partner}' {only} "
            "AND outcome = 'granted' AND granted_mg > 0 ORDER BY ended, action_id LIMIT 1"
        )
        receipt = check_receipt(create_receipt(season.home, action), season.home.values["vkey"])
        assert (receipt["status"], receipt["granted_mg"]) == ("verified", str(granted)), name
        assert len(receipt["checks"]) == 3, name
        assert receipt["provisional"] is True, name
        assert statement(season.home, account)["outcomes"]["granted"] >= 1, name


def test_a_row_that_stands_twice_is_one_ride_and_one_repeat(season: Season) -> None:
    ((outcomes, references),) = season.query(
        "SELECT list(outcome ORDER BY outcome), count(DISTINCT action_id) FROM records WHERE action_id IN "
        "(SELECT action_id FROM records WHERE outcome = 'repeat')"
    )
    assert (outcomes, references) == (["granted", "repeat"], 1)
    rows = season.query(
        "SELECT row FROM reports WHERE action_id = (SELECT action_id FROM records WHERE outcome = 'repeat') ORDER BY 1"
    )
    assert rows == [(14_676,), (22_492,)]  # equal in every column of the file


def test_an_invoice_written_in_two_parts_counts_once_and_its_first_part_stands(season: Season) -> None:
    pairs = season.query(
        "SELECT l.row - w.row, epoch(lost.ended) - epoch(won.ended), won.outcome FROM records lost "
        "JOIN records won ON won.action_id = lost.related JOIN reports l ON l.action_id = lost.action_id "
        "JOIN reports w ON w.action_id = won.action_id WHERE lost.outcome = 'duplicate_of'"
    )
    assert len(pairs) == 30  # of 43 numbers that stand twice: 12 name no customer, 1 is a cancellation without target
    assert {outcome for _, _, outcome in pairs} == {"granted"}
    assert {seconds for _, seconds, _ in pairs} == {60.0}
    assert {rows for rows, _, _ in pairs} <= {1, 2}


def test_five_invoices_a_day_are_credited_and_no_capped_day_has_fewer(season: Season) -> None:
    days = season.query(
        "SELECT count(*) FILTER (granted_mg > 0), count(*) FILTER (outcome = 'capped') FROM records "
        "WHERE behaviour = 'finance.e_invoice' GROUP BY account, day HAVING count(*) FILTER (granted_mg > 0) > 5 "
        "OR count(*) FILTER (outcome = 'capped') > 0"
    )
    assert len(days) == 15
    assert {credited for credited, _ in days} == {5}
    assert sum(capped for _, capped in days) == 50


def test_settling_every_fortnight_takes_back_what_is_cancelled_later(tmp_path: Path) -> None:
    """Settled is final: a cap used by an invoice that is cancelled later is not given to another one."""
    home = new_home(tmp_path / "home")
    intake(home, DATA / "real" / SOURCES["uk_invoices"], mapping=MAPPINGS / "uk_invoices.yaml", now=NOW)
    granted = reversed_mg = 0
    outcomes: dict[str, int] = {}
    for day in range(date(2025, 1, 15).toordinal(), date(2026, 2, 12).toordinal(), 14):
        answer = settle(home, through=date.fromordinal(day), now=NOW)
        for outcome, count in answer["outcomes"].items():
            outcomes[outcome] = outcomes.get(outcome, 0) + int(count)
        if answer["records"]:
            granted += int(answer["granted"]["co2e_mg"])
            reversed_mg += int(answer["reversed"]["co2e_mg"])
    assert outcomes == {"granted": 18_379, "capped": 52, "duplicate_of": 30, "withdrawal": 157, "withdrawn": 105}
    assert reversed_mg == 52 * 5_000  # 157 cancellations, 105 of them before their invoice was settled
    assert granted - reversed_mg == 91_645_000 - 2 * 5_000  # two places under the cap were used by cancelled ones
    assert verify(home)["status"] == "verified"


@pytest.mark.parametrize("name", SOURCES)
def test_unshifted_no_act_is_counted(tmp_path: Path, name: str) -> None:
    """The days as they were: 2010 to 2019, before every methodology. Nothing falls back on the nearest year."""
    text = (MAPPINGS / f"{name}.yaml").read_text(encoding="utf-8")
    unshifted = tmp_path / f"{name}.yaml"
    unshifted.write_text(re.sub(r"shift_days: \d+", "shift_days: 0", text), encoding="utf-8")
    home = new_home(tmp_path / "home")
    answer = intake(home, DATA / "real" / SOURCES[name], mapping=unshifted, tables=tables_of(name), now=NOW)
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))["data_sets"][name]
    withdrawals = golden["outcomes"].get("withdrawal", 0)  # a cancellation needs no methodology: it claims nothing
    assert answer["accepted"] == withdrawals
    assert answer["refused_by_code"]["methodology-not-in-force"] >= golden["accepted"] - withdrawals
    assert sum(int(row["quantified_mg"] or 0) for row in answer["quantified"]) == 0
    settlement = settle(home, through=LAST, now=NOW)
    assert set(settlement["outcomes"]) <= {"withdrawal"}
    assert set(settlement.get("granted", {}).values()) <= {"0"}


def test_a_receipt_can_be_asked_for_by_partner_and_reference(season: Season) -> None:
    action = action_named(season.home, "uk_retail:537217/2010-12-05 15:40:00")
    receipt = check_receipt(create_receipt(season.home, action), season.home.values["vkey"])
    assert (receipt["outcome"], receipt["granted_mg"]) == ("withdrawn", "0")
