"""A simulation is the same bytes for the same seed, says what it wrote, and refuses what it cannot make."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.engine.kernel import connect
from tanzhang.engine.screen import TEXT_COLUMNS
from tanzhang.service.simulate import SUMMARY, simulate
from tanzhang.stores.catalogue import Catalogue, shipped_folder
from tanzhang.stores.formats import read_submission

CATALOGUE = Catalogue()
SCENARIO = "green-life-season-2022"
SMALL: dict[str, Any] = {"people": 2_000, "actions": 8_000, "days": 3}


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def season(in_memory: Path) -> tuple[Path, dict[str, Any]]:
    folder = in_memory / "unit-season"
    return folder, simulate(CATALOGUE, SCENARIO, folder, seed=5, **SMALL)


def test_the_same_seed_gives_the_same_bytes_whatever_the_threads(
    season: tuple[Path, dict[str, Any]], quick: Path
) -> None:
    folder, summary = season
    assert simulate(CATALOGUE, SCENARIO, quick / "again", seed=5, threads=3, **SMALL) == summary
    assert digests(quick / "again") == digests(folder)
    assert len(digests(folder)) == 3 * 15 + 3 + 2


def test_another_seed_gives_another_season_of_the_same_size(season: tuple[Path, dict[str, Any]], quick: Path) -> None:
    folder, summary = season
    other = simulate(CATALOGUE, SCENARIO, quick / "other", seed=6, **SMALL)
    assert not set(digests(quick / "other").values()) & set(digests(folder).values())
    assert other["actions"] == summary["actions"] == 8_000
    assert abs(other["rows"] - summary["rows"]) < 300


def test_the_summary_counts_what_the_files_hold(season: tuple[Path, dict[str, Any]]) -> None:
    folder, summary = season
    assert json.loads((folder / SUMMARY).read_text(encoding="utf-8")) == summary
    assert summary["simulated"] is True
    rows = {
        day: {
            partner: pq.read_metadata(folder / "reports" / day / f"{partner}.parquet").num_rows for partner in partners
        }
        for day, partners in summary["rows_by_day_and_partner"].items()
    }
    assert rows == summary["rows_by_day_and_partner"]
    assert sum(sum(partners.values()) for partners in rows.values()) == summary["rows"]
    truth = [pq.read_table(path) for path in sorted((folder / "truth").iterdir())]
    assert sum(table.num_rows for table in truth) == sum(summary["rows_by_kind"].values())
    assert pq.read_metadata(folder / "links.parquet").num_rows == summary["links"] > 500
    # Every row is an act, or was planted beside one; acts of these kinds stand in no other row.
    own = ("late", "withdrawn_before", "withdrawn_after")
    planted = sum(count for kind, count in summary["rows_by_kind"].items() if kind not in own)
    assert summary["rows"] == summary["actions"] + planted


def test_totals_come_near_those_of_the_scenario(season: tuple[Path, dict[str, Any]]) -> None:
    """429 g an act and 10,069,459 people were published; what an act is worth comes from the catalogue."""
    folder, summary = season
    con = connect()
    con.execute(f"CREATE VIEW reports AS FROM read_parquet('{folder}/reports/*/*.parquet', union_by_name = true)")
    grams = dict(
        con.execute(
            """
            SELECT type, CASE type WHEN 'food.clean_plate' THEN 449 WHEN 'travel.bicycle' THEN 52
                WHEN 'travel.metro' THEN 46 WHEN 'travel.bus' THEN 80 WHEN 'clothing.used_clothes_recycling' THEN 790
                WHEN 'travel.new_energy_car' THEN 0.511 * avg(energy_wh) FILTER (energy_wh < 200000)
                WHEN 'food.no_disposable_cutlery' THEN 23 ELSE 30 END * count(*) FROM reports GROUP BY 1
            """
        ).fetchall()
    )
    assert 400 < float(sum(grams.values())) / summary["rows"] < 450
    # One person is one subject with each partner; the largest partner knows most people, and nobody is known twice.
    ((known,),) = con.execute("SELECT count(DISTINCT subject) FROM reports WHERE id LIKE 'LP%'").fetchall()
    assert 0.4 * SMALL["people"] < known < SMALL["people"]


def test_an_act_of_the_sold_season_is_worth_what_its_total_needs(quick: Path) -> None:
    """26,020 t of 60 million acts: 24,500 t sold, 500 t of reserve, and what is not entrusted."""
    simulate(CATALOGUE, "beijing-maas-2021", quick / "out", people=6_000, days=2, seed=5)
    con = connect()
    reports = f"read_parquet('{quick}/out/reports/*/*.parquet', union_by_name = true)"
    ((mg, acts),) = con.execute(
        f"""
        SELECT sum(distance_m * CASE type WHEN 'travel.metro' THEN 72 WHEN 'travel.bus' THEN 52
            WHEN 'travel.bicycle' THEN 95.3 WHEN 'travel.walking' THEN 104 END), count(*)
        FROM {reports} WHERE distance_m < 60000 AND withdraws IS NULL
        """
    ).fetchall()
    assert acts > 11_000
    assert 0.94 < float(mg) / acts / (26_020_000 * 1_000_000 / 60_000_000) < 1.06


def test_a_partner_has_only_the_columns_that_it_uses(season: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = season
    day = folder / "reports" / "2022-08-10"
    cainiao, didi = (pq.read_schema(day / f"{name}.parquet") for name in ("cainiao", "didi"))
    assert "distance_m" not in cainiao.names
    assert "started_at" not in cainiao.names
    assert [name for name in didi.names if name not in TEXT_COLUMNS] == ["energy_wh"]
    assert str(didi.field("time").type) == "timestamp[us, tz=UTC]"


def test_ndjson_and_csv_say_the_same(quick: Path) -> None:
    tables = {}
    for kind in ("ndjson", "csv"):
        summary = simulate(CATALOGUE, SCENARIO, quick / kind, people=300, actions=400, days=1, seed=3, format=kind)
        con = connect()
        texts = map(_named, TEXT_COLUMNS[:1] + TEXT_COLUMNS[2:])
        columns = f"{', '.join(texts)}, distance_m::VARCHAR, energy_wh::VARCHAR, count::VARCHAR"
        for partner in ("amap", "lvpuhui"):
            file = quick / kind / "reports" / "2022-08-10" / f"{partner}.{kind}"
            raw = read_submission(con, file)
            empty = "COLUMNS(* EXCLUDE (problem_code)) IS NOT NULL OR problem_code IS NULL"
            assert con.execute(f"SELECT count(*) FROM {raw} WHERE problem_code IS NOT NULL").fetchall() == [(0,)], empty
            rows = con.execute(f"SELECT {columns} FROM {raw}").fetchall()
            tables[kind, partner] = [tuple(value or None for value in row) for row in rows]
            assert len(rows) == summary["rows_by_day_and_partner"]["2022-08-10"][partner]
    assert tables["ndjson", "amap"] == tables["csv", "amap"]
    assert tables["ndjson", "lvpuhui"] == tables["csv", "lvpuhui"]


def _named(column: str) -> str:
    return f'"{column}"'


def test_what_is_left_out_is_in_proportion(quick: Path) -> None:
    of_people = simulate(CATALOGUE, SCENARIO, quick / "people", people=1_000)
    assert (of_people["days"], of_people["actions"]) == (15, 21_527)
    of_acts = simulate(CATALOGUE, SCENARIO, quick / "acts", actions=1_000, days=1)
    assert (of_acts["days"], of_acts["people"]) == (1, 697)


def test_different_subjects_of_a_partner_are_different_people(season: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = season
    links = pq.read_table(folder / "links.parquet")
    pairs = pc.binary_join_element_wise(links["partner"].cast("string"), links["subject"], ":")
    assert len(pairs.unique()) == len(pairs)


@pytest.mark.parametrize(
    ("arguments", "code", "place"),
    [
        ({"people": 0}, "simulation-size", "--people"),
        ({"days": 16}, "simulation-size", "--days"),
        ({"people": 10, "actions": 10_000, "days": 1}, "simulation-size", "--actions"),
        ({"format": "xlsx"}, "format-unknown", "--format"),
    ],
)
def test_what_cannot_be_made_is_refused(quick: Path, arguments: dict[str, Any], code: str, place: str) -> None:
    with pytest.raises(TanzhangError) as refused:
        simulate(CATALOGUE, SCENARIO, quick / "out", **arguments)
    assert refused.value.code == code
    assert refused.value.problems[0].where == place
    assert not (quick / "out").exists()


def test_a_folder_with_anything_in_it_is_left_alone(quick: Path) -> None:
    (quick / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(TanzhangError) as refused:
        simulate(CATALOGUE, SCENARIO, quick, **SMALL)
    assert refused.value.code == "folder-not-empty"
    assert [path.name for path in quick.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("was", "becomes", "code"),
    [
        ("id: travel.etc_toll", "id: travel.not_driving", "no-methodology"),
        ("{partner: didi, share: 30", "{partner: ele_me, share: 30", "behaviour-not-agreed"),
        ("map_app: amap", "map_app: baidu", "unknown-partner"),
        ("share: 60, evidence: measured, issuer: meituan-order", "share: 60, evidence: declared, issuer: meituan-order",
         "evidence-not-accepted"),
        ("programme: green-life-season-2022", "programme: nowhere", "unknown-programme"),
    ],
)  # fmt: skip
def test_acts_that_the_programme_cannot_take_are_refused_before_a_file_is_written(
    quick: Path, was: str, becomes: str, code: str
) -> None:
    text = (shipped_folder() / "scenarios" / f"{SCENARIO}.yaml").read_text(encoding="utf-8")
    assert was in text
    text = text.replace(was, becomes).replace("  amap: AM", "  amap: AM\n  baidu: BD")
    (quick / "own" / "scenarios").mkdir(parents=True)
    (quick / "own" / "scenarios" / f"{SCENARIO}.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(TanzhangError) as refused:
        simulate(Catalogue(quick / "own"), SCENARIO, quick / "out", **SMALL)
    assert {problem.code for problem in refused.value.problems} == {code}
    assert not (quick / "out").exists()
