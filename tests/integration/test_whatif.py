"""What changed rules would come to, against the definitions applied to every record by hand."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from tanzhang.cli.main import app
from tanzhang.core.action import INPUT_NAMES
from tanzhang.core.errors import TanzhangError
from tanzhang.core.factors import Period
from tanzhang.core.points import Act, PointsProgramme, award_exact
from tanzhang.core.record import HOLDERS
from tanzhang.service import whatif
from tanzhang.service.award import award_due
from tanzhang.service.intake import intake
from tanzhang.service.whatif import whatif_methodology, whatif_points
from tanzhang.stores.catalogue import shipped_folder
from tanzhang.stores.home import Home
from tanzhang.stores.parts import RecordFile, record_files, whole_accounts
from tanzhang.stores.points_rules import POINTS, read_points
from tanzhang.stores.storage import parquet_file
from tanzhang.stores.yaml_text import load_yaml

from ..homes import BOX_MG, assert_verified, box, new_home, on, ride, settle_on, withdrawal, write

ENERGY = "points/beijing_carbon_energy/v1.yaml"
BOX = "methodologies/cainiao/use.parcel_box_return/v1.yaml"


def submit(home: Home, day: int, events: list[Any]) -> None:
    intake(home, write(home.folder.parent / f"{day}.ndjson", events), now=on(day))
    settle_on(home, day)


@pytest.fixture
def season(home: Home) -> Home:
    return filled(home)


def filled(home: Home) -> Home:
    """Five batches: four persons' boxes and rides of a week, some long, one taken back."""
    for day in range(5, 10):
        of = date(2025, 6, day)
        events = [box(f"{who}-{day}-{n}", who, day=of) for n, who in enumerate(("anna", "bo", "chen", "anna"))]
        events += [ride(f"r-{who}-{day}", who, day=of, distance_m=4_000 * day) for who in ("anna", "dan")]
        events += [ride("long", "eva", day=of, distance_m=119_000)] if day == 6 else []
        submit(home, day + 1, events)
    submit(home, 12, [withdrawal(box("anna-5-0", "anna"), "undo", day=date(2025, 6, 10))])
    return home


def changed(folder: Path, relative: str, **texts: str) -> Path:
    """A shipped file with texts replaced; underscores of the names stand for nothing."""
    text = (shipped_folder() / relative).read_text(encoding="utf-8")
    for pair in texts.values():
        before, after = pair.split(" => ")
        assert before in text
        text = text.replace(before, after)
    path = folder / "changed.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def by_hand(home: Home, versions: tuple[PointsProgramme, ...]) -> dict[str, int]:
    """Points by behaviour, from every batch's records, by the definition."""
    used: dict[Any, int] = defaultdict(int)
    points: dict[str, int] = defaultdict(int)
    for row in home.book.batches():
        table = pa.concat_tables(
            [parquet_file(file.path).read() for file in record_files(home.storage, row)], promote_options="default"
        )
        acts = [act_of(place, record) for place, record in enumerate(table.to_pylist()) if earns(record)]
        settled_on = datetime.fromisoformat(row.sealed_at).astimezone(ZoneInfo("Asia/Shanghai")).date()
        for version in versions:
            found = award_exact(acts, version, used, {}, settled_on)
            for key, amount in found.used.items():
                used[key] += amount
            of = {act.place: act.behaviour for act in acts}
            for award in found.rows:
                points[of[award.place]] += award.points
    return dict(points)


def earns(record: dict[str, Any]) -> bool:
    return record["kind"] == "reduction" and record["outcome"] in HOLDERS


def act_of(place: int, record: dict[str, Any]) -> Act:
    inputs = {name: record[name] for name in INPUT_NAMES if record.get(name) is not None}
    account, action = (
        value if isinstance(value, bytes) else value.bytes for value in (record["account"], record["action_id"])
    )
    micros = int(record["ended"].replace(tzinfo=ZoneInfo("UTC")).timestamp()) * 1_000_000
    texts = (record["behaviour"], record["partner"], record["region"], record["evidence"])
    return Act(place, account, *texts, record["day"], micros, action, record["granted_mg"], inputs)


def points_of(answer: dict[str, Any], word: str) -> dict[str, int]:
    sums: dict[str, int] = defaultdict(int)
    for cell in answer["cells"]:
        sums[cell["behaviour"]] += sum(int(each[word]) for each in cell["points"].values())
    return {name: amount for name, amount in sums.items() if amount}


@pytest.mark.parametrize("few", [0, 8_000_000], ids=["added up after each batch", "as it came"])
def test_both_sides_are_what_the_definition_gives_batch_after_batch(
    kept: Home, tmp_path: Path, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whatif, "_FEW_USED", few)
    path = changed(
        tmp_path,
        ENERGY,
        a='points: "100"\n    first: ever => points: "7"\n    first: day',
        b="limit: 10000 => limit: 600",
        c="streak: {days: 7, repeats: true} => streak: {days: 2, repeats: true}",
        d="mark: example\n    locator: credited at => first: day\n    mark: example\n    locator: credited at",
    )
    answer = whatif_points(kept, path)
    new = replace(read_points(load_yaml(path.read_text(encoding="utf-8"), "new")), valid=Period(date.min, None))
    old = POINTS.of(kept.catalogue, "beijing_carbon_energy")
    assert points_of(answer, "now") == by_hand(kept, old)
    assert points_of(answer, "then") == by_hand(kept, (new,))
    assert points_of(answer, "now") != points_of(answer, "then")
    assert answer["total"]["granted_mg"]["now"] == answer["total"]["granted_mg"]["then"]
    assert answer["in_force"] == ["beijing_carbon_energy@1"]
    assert answer["batches"] == 6


def test_what_is_not_changed_comes_to_the_same_and_no_book_moves(season: Home, tmp_path: Path) -> None:
    heads = season.book.heads()
    points = whatif_points(season, shipped_folder() / ENERGY)
    grams = whatif_methodology(season, shipped_folder() / BOX)
    for answer in (points, grams):
        for cell in answer["cells"]:
            assert cell["acts"]["now"] == cell["acts"]["then"]
            assert cell["granted_mg"]["now"] == cell["granted_mg"]["then"]
            assert all(each["now"] == each["then"] for each in cell["points"].values())
    assert int(points["total"]["points"]["beijing_carbon_energy"]["now"]) > 1000
    assert grams["refused"] == {}
    assert season.book.heads() == heads
    assert_verified(season)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return filled(new_home(tmp_path_factory.mktemp("whatif") / "home"))


def test_what_is_in_force_comes_to_what_is_booked(season: Home) -> None:
    booked = award_due(season, now=on(13))["programmes"]["beijing_carbon_energy"]
    answer = whatif_points(season, shipped_folder() / ENERGY)
    assert answer["total"]["points"]["beijing_carbon_energy"]["now"] == booked["granted"]
    assert int(booked["taken_back"]) > 0


def test_days_outside_those_asked_for_count_on_neither_side(kept: Home) -> None:
    answer = whatif_points(kept, shipped_folder() / ENERGY, since=date(2025, 6, 6), until=date(2025, 6, 6))
    boxes = next(cell for cell in answer["cells"] if cell["behaviour"] == "use.parcel_box_return")
    assert boxes["acts"] == {"now": "4", "then": "4"}
    assert boxes["district"] == "CN-110000"
    with pytest.raises(TanzhangError, match="period-empty"):
        whatif_points(kept, shipped_folder() / ENERGY, since=date(2025, 6, 6), until=date(2025, 6, 5))


def test_a_budget_ends_on_the_day_on_which_its_last_point_is_given(kept: Home, tmp_path: Path) -> None:
    sponsored = "sponsors:\n  - {id: bank, name: {en: Bank, zh: 银行}, budget: 250, why: made up}\nrules:\n"
    path = changed(
        tmp_path, "points/cainiao_energy/v1.yaml", a="rules:\n => " + sponsored, b='"50"\n => "50"\n    sponsor: bank\n'
    )
    answer = whatif_points(kept, path)
    (bank,) = answer["sponsors"]
    # Four boxes of 50 are sealed on 6 June, four more on 7 June, of which one is paid.
    sealed = datetime.fromisoformat(kept.book.batches()[1].sealed_at).astimezone(ZoneInfo("Asia/Shanghai")).date()
    assert bank["then"] == {"budget": "250", "spent": "250", "ended_on": sealed.isoformat()}
    assert bank["now"] == {"budget": "0", "spent": "0", "ended_on": None}
    assert points_of(answer, "now") == {"use.parcel_box_return": 20 * 50}
    assert points_of(answer, "then") == {"use.parcel_box_return": 250}


def test_a_programme_that_is_not_there_yet_stands_beside_nothing(kept: Home, tmp_path: Path) -> None:
    path = changed(tmp_path, "points/cainiao_energy/v1.yaml", a="id: cainiao_energy => id: brand_new")
    answer = whatif_points(kept, path)
    assert (answer["in_force"], points_of(answer, "now")) == ([], {})
    assert points_of(answer, "then") == {"use.parcel_box_return": 20 * 50}


def test_a_changed_methodology_grants_other_grams_which_earn_other_points(kept: Home, tmp_path: Path) -> None:
    path = changed(tmp_path, BOX, a="formula: saving * count => formula: saving * count * 2")
    answer = whatif_methodology(kept, path)
    boxes = next(cell for cell in answer["cells"] if cell["behaviour"] == "use.parcel_box_return")
    assert boxes["granted_mg"] == {"now": str(20 * BOX_MG), "then": str(40 * BOX_MG)}
    (points,) = boxes["points"].values()
    bonus = int(points["now"]) - 20 * BOX_MG // 1000
    assert int(points["then"]) == 40 * BOX_MG // 1000 + bonus
    rides = next(cell for cell in answer["cells"] if cell["behaviour"] == "travel.metro")
    assert rides["granted_mg"]["now"] == rides["granted_mg"]["then"]


def test_acts_that_the_changed_methodology_gives_nothing_for_are_counted_by_their_reason(
    kept: Home, tmp_path: Path
) -> None:
    unfit = changed(
        tmp_path, BOX, a="    min: 1\n    max: 1\n    default: 1 => min: 2\n    max: 9".replace("=> min", "=>     min")
    )
    answer = whatif_methodology(kept, unfit)
    assert answer["refused"] == {"unfit": "20"}
    boxes = next(cell for cell in answer["cells"] if cell["behaviour"] == "use.parcel_box_return")
    assert (boxes["acts"]["then"], boxes["granted_mg"]["then"]) == ("0", "0")
    declared = changed(tmp_path, BOX, a='evidence: {measured: "1"} => evidence: {declared: "1"}')
    assert whatif_methodology(kept, declared)["refused"] == {"evidence-not-accepted": "20"}
    elsewhere = changed(tmp_path, BOX, a="regions: [CN] => regions: [CN-330000]")
    assert whatif_methodology(kept, elsewhere)["refused"] == {}


def test_mistakes_of_a_file_are_named_together_and_a_missing_one_is_said(kept: Home, tmp_path: Path) -> None:
    broken = changed(tmp_path, ENERGY, a="limit: 10000 => limit: many", b="switch: points_independent => switch: both")
    with pytest.raises(TanzhangError) as refusal:
        whatif_points(kept, broken)
    assert [problem.code for problem in refusal.value.problems] == ["schema-mismatch", "schema-mismatch"]
    with pytest.raises(TanzhangError, match="file-missing"):
        whatif_points(kept, tmp_path / "none.yaml")


def test_slices_are_of_whole_accounts_whatever_the_row_groups(tmp_path: Path) -> None:
    accounts = [bytes([number]) * 16 for number in (1, 1, 1, 2, 3, 3, 3, 3, 3, 4, 5, 5)]
    files = []
    for name, part in (("a", accounts[:5]), ("b", accounts[5:])):
        table = pa.table({"account": pa.array(part, pa.binary(16)), "n": list(range(len(part)))})
        pq.write_table(table, tmp_path / name, row_group_size=2)
        files.append(RecordFile(tmp_path / name, 0, len(part), ""))
    found = [set(table["account"].to_pylist()) for table in whole_accounts(files, ("account", "n"), 2)]
    assert len(found) == 4
    assert sum(len(part) for part in found) == len(set(accounts))
    assert [table.num_rows for table in whole_accounts(files, ("account",), None)] == [12]


def test_the_command_shows_cells_and_answers_as_json(kept: Home, tmp_path: Path) -> None:
    path = changed(tmp_path, BOX, a="formula: saving * count => formula: saving * count * 2")
    arguments = ["whatif", "methodology", str(path), "--home", str(kept.folder), "--from", "2025-06-05"]
    shown = CliRunner().invoke(app, arguments, env={"COLUMNS": "160"})
    assert shown.exit_code == 0, shown.output
    assert "use.parcel_box_return" in shown.output
    assert "1.48 kg" in shown.output
    answer = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).output)
    assert answer["changed"] == "cainiao.use.parcel_box_return@1"
    assert answer["from"] == "2025-06-05"
    wrong = CliRunner().invoke(app, ["whatif", "points", str(path), "--home", str(kept.folder), "--to", "soon"])
    assert wrong.exit_code == 1
