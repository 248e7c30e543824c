"""The shipped mappings over the real data sets; the expected figures were counted by a separate program."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pytest

from tanzhang.stores.catalogue import Catalogue
from tanzhang.stores.mapping import Mapped, apply_mapping, load_mapping

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
CARDS = "shenzhen_tong_smartcard_201809/szt_20180901_morning.csv.gz"

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not (DATA / "real").is_dir(), reason="the real data sets are not beside the checkout"),
]


@dataclass(frozen=True)
class Case:
    source: str
    rows: int  # of the source file
    actions: int
    total: tuple[str, int]  # an input and its sum over the actions
    refused: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    paired: int = 0
    withdrawing: int = 0
    days: tuple[str, str] = ("", "")


CASES = {
    "mobike_shanghai": Case(
        "mobike_shanghai_201608/orders.csv.gz",
        rows=12_792,
        actions=12_792,
        total=("distance_m", 19_898_328),
        days=("2025-08-04", "2025-09-03"),
    ),
    "shenzhen_tong_metro": Case(
        CARDS,
        rows=37_000,
        actions=412,
        total=("distance_m", 984_783),
        refused={"not-in-table": 74, "unpaired-entry": 9_134, "unpaired-exit": 8_775},
        skipped={"bus": 18_119},
        paired=486,
        days=("2025-09-06", "2025-09-06"),
    ),
    "shenzhen_tong_bus": Case(
        CARDS,
        rows=37_000,
        actions=18_119,
        total=("count", 18_119),
        skipped={"metro": 18_881},
        days=("2025-09-06", "2025-09-06"),
    ),
    "ev_charging": Case(
        "ev_workplace_charging_us/station_data_dataverse.csv.gz",
        rows=3_395,
        actions=3_340,
        total=("energy_wh", 19_723_690),
        refused={"no-energy": 55},
        days=("2025-01-07", "2025-11-23"),
    ),
    "fitbit_steps_daily": Case(
        "fitbit_steps_201604/daily_activity.csv",
        rows=940,
        actions=863,
        total=("steps", 7_179_636),
        skipped={"not_worn": 77},
        days=("2025-04-15", "2025-05-15"),
    ),
    "uk_invoices": Case(
        "uk_online_retail_invoices_2010_2011/invoices.csv.gz",
        rows=25_943,
        actions=22_260,
        total=("count", 22_103),
        refused={"withdrawal-without-target": 3_680},
        skipped={"bad_debt_adjustment": 3},
        withdrawing=157,
        days=("2025-01-08", "2026-01-16"),
    ),
    "swiss_household": Case(
        "household_electricity_ch_2018/daily_kwh.csv.gz",
        rows=26_313,
        actions=26_313,
        total=("energy_wh", 1_334_592_242),
        days=("2025-10-27", "2025-12-14"),
    ),
}


def run(con: duckdb.DuckDBPyConnection, name: str, *, rehearse: bool = True) -> Mapped:
    mapping = load_mapping(ROOT / "examples" / "mappings" / f"{name}.yaml")
    tables = {"stations": DATA / "reference" / "shenzhen_metro_2020" / "stations.csv"} if mapping.tables else {}
    return apply_mapping(con, DATA / "real" / CASES[name].source, mapping, tables, rehearse=rehearse)


@pytest.mark.parametrize("name", CASES)
def test_every_row_is_an_action_a_refusal_half_a_pair_or_a_counted_skip(name: str) -> None:
    case, con = CASES[name], duckdb.connect()
    mapped = run(con, name)
    refused = dict(
        con.execute(
            f"SELECT problem_code, count(*) FROM {mapped} WHERE problem_code IS NOT NULL GROUP BY problem_code"
        ).fetchall()
    )
    assert (mapped.source_rows, mapped.paired, mapped.skipped, refused) == (
        case.rows,
        case.paired,
        case.skipped,
        case.refused,
    )
    actions, total, first, last, withdrawing = con.execute(
        f"SELECT count(*), sum({case.total[0]}::BIGINT), min(time)[:10], max(time)[:10], count(withdraws) "
        f"FROM {mapped} WHERE problem_code IS NULL"
    ).fetchall()[0]
    assert (actions, total, (first, last), withdrawing) == (case.actions, case.total[1], case.days, case.withdrawing)
    assert case.rows == actions + sum(refused.values()) + case.paired + sum(case.skipped.values())


@pytest.mark.parametrize("name", CASES)
def test_rehearsal_programme_serves_the_partner_and_the_behaviour(name: str) -> None:
    catalogue = Catalogue(ROOT / "examples" / "rehearsal")
    programme = catalogue.programme("rehearsal")
    con = duckdb.connect()
    mapped = run(con, name)
    kinds = con.execute(
        f"SELECT DISTINCT source, type, region, strptime(time[:10], '%Y-%m-%d')::DATE FROM {mapped} "
        "WHERE problem_code IS NULL AND withdraws IS NULL"
    ).fetchall()
    assert kinds
    for partner, behaviour, region, day in kinds:
        assert behaviour in (programme.partners[partner].behaviours or ())
        chosen = catalogue.choose(behaviour, region, day, programme.methodologies)
        assert chosen.methodology is not None


def test_weekdays_stay_and_clock_times_stay_in_a_rehearsal() -> None:
    con = duckdb.connect()
    moved, kept = run(con, "mobike_shanghai"), run(con, "mobike_shanghai", rehearse=False)
    days = con.execute(
        f"SELECT count(*), count(DISTINCT m.time[:10]::DATE - k.time[:10]::DATE), "
        f"count(*) FILTER (dayname(m.time[:10]::DATE) <> dayname(k.time[:10]::DATE) OR m.time[11:] <> k.time[11:]) "
        f"FROM {moved} m JOIN {kept} k USING (row)"
    ).fetchall()
    assert days == [(12_792, 1, 0)]


def test_a_cancelled_invoice_is_named_by_its_reference() -> None:
    con = duckdb.connect()
    mapped = run(con, "uk_invoices")
    found = con.execute(
        f"SELECT c.row, i.id, c.subject = i.subject, i.time <= c.time FROM {mapped} c "
        f"LEFT JOIN {mapped} i ON i.id = c.withdraws WHERE c.withdraws IS NOT NULL ORDER BY c.row"
    ).fetchall()
    assert found[0] == (611, "537217/2010-12-05 15:40:00", True, True)
    assert len(found) == 157
    assert all(row[2] and row[3] for row in found)
