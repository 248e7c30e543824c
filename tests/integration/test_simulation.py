"""A small simulated season goes the whole way, and the pipeline finds exactly what the simulator planted."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from tanzhang.core.claim import ACTION, CHILD, identity
from tanzhang.engine.kernel import connect
from tanzhang.engine.simulate.plant import RATES, WITHDRAWAL
from tanzhang.service.intake import intake
from tanzhang.service.settle import settle
from tanzhang.service.simulate import simulate
from tanzhang.stores.catalogue import Catalogue, shipped_folder
from tanzhang.stores.formats import read_submission
from tanzhang.stores.home import Home

from ..homes import records

SCENARIO = "green-life-season-2022"
FEW = {"alipay", "amap", "beijing_subway", "lvpuhui", "meituan", "yikatong"}
Reference = tuple[str, str]
Outcomes = dict[Reference, Counter[str]]


@dataclass(frozen=True)
class Taken:
    """A simulated season after intake and settlement.

    ``expected`` and ``found`` hold what was to come of each reference and what came of it: outcomes of settlement,
    or the codes of a refusal joined by ``+``. ``kinds`` names the planted ones.
    """

    summary: dict[str, Any]
    home: Home
    expected: Outcomes
    found: Outcomes
    kinds: dict[Reference, set[str]]

    def wrong(self) -> dict[Reference, tuple[set[str], dict[str, int], dict[str, int]]]:
        """Where the two differ: kinds, expected, found."""
        return {
            reference: (
                self.kinds.get(reference, {"honest"}),
                dict(self.expected.get(reference, {})),
                dict(self.found.get(reference, {})),
            )
            for reference in self.expected.keys() | self.found.keys()
            if self.expected.get(reference) != self.found.get(reference)
        }


def eventful(folder: Path) -> Catalogue:
    """The shipped scenario with higher rates of what is rare, so that a small season has all of it.

    Of the partners only some are left, since every file costs time.
    """
    data = yaml.safe_load((shipped_folder() / "scenarios" / f"{SCENARIO}.yaml").read_text(encoding="utf-8"))
    data["first_day"]["value"] = str(data["first_day"]["value"])
    for behaviour in data["mix"]["behaviours"]:
        behaviour["channels"] = [channel for channel in behaviour["channels"] if channel["partner"] in FEW]
    data["mix"]["behaviours"] = [behaviour for behaviour in data["mix"]["behaviours"] if behaviour["channels"]]
    for cheat in data["cheats"]["kinds"]:
        cheat["per_10000"] = 400
    data["rates"]["per_10000"] |= dict.fromkeys(("overlap", "overlap_linked", "companion", "conflict"), 150)
    (folder / "scenarios").mkdir(parents=True)
    (folder / "scenarios" / f"{SCENARIO}.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    return Catalogue(folder)


def take_in_and_settle(folder: Path, summary: dict[str, Any], where: Path, *, every_day: bool) -> Taken:
    """Take in each day's files on the next morning; then settle that day, or everything when the season is over."""
    home = Home.create(
        where,
        programme=summary["programme"],
        origin="log.example/season",
        now=datetime(2022, 8, 1, tzinfo=UTC),
        seed=b"season",
    )
    key = home.identity_key
    link_all(home, key, folder)
    expected: Outcomes = {}
    named: dict[object, Reference] = {}
    refused: dict[Reference, set[str]] = {}
    for text, partners in summary["rows_by_day_and_partner"].items():
        day = date.fromisoformat(text)
        for partner, rows in partners.items():
            file = folder / "reports" / text / f"{partner}.{summary['format']}"
            for id_ in references_of(file):
                named[identity(key, ACTION, partner, id_)] = partner, id_
                expected.setdefault((partner, id_), Counter())["granted"] += 1
            answer = intake(home, file, partner=partner, now=morning_after(day))
            assert answer["rows"] == rows
            with (home.folder / answer["verdicts"]).open(newline="") as lines:
                for line in csv.DictReader(lines):
                    refused.setdefault((partner, line["reference"]), set()).add(line["code"])
        if every_day:
            settle(home, through=day, now=morning_after(day))
    settle(home, through=day + timedelta(days=10), now=morning_after(day + timedelta(days=10)))
    kinds: dict[Reference, set[str]] = {}
    for row in truth(folder):
        reference = row["partner"], row["id"]
        kinds.setdefault(reference, set()).add(row["kind"])
        expected[reference]["granted"] -= 1
        expected[reference][row["expected" if every_day else "expected_at_once"]] += 1
    found = {reference: Counter({"+".join(sorted(codes)): 1}) for reference, codes in refused.items()}
    for row in records(home).select(["action_id", "outcome"]).to_pylist():
        found.setdefault(named[row["action_id"]], Counter())[row["outcome"]] += 1
    return Taken(summary, home, {each: +count for each, count in expected.items()}, found, kinds)


def morning_after(day: date) -> datetime:
    """Ten o'clock of the next day in Beijing."""
    return datetime(day.year, day.month, day.day, 2, tzinfo=UTC) + timedelta(days=1)


def references_of(file: Path) -> list[str]:
    con = connect()
    return [text for (text,) in con.execute(f"SELECT id FROM {read_submission(con, file)}").fetchall()]


def link_all(home: Home, key: bytes, folder: Path) -> None:
    for row in pq.read_table(folder / "links.parquet").to_pylist():
        home.book.add_link(
            {
                "child": str(identity(key, CHILD, row["partner"], row["subject"])),
                "account": str(identity(key, CHILD, row["with_partner"], row["with_subject"])),
                "valid_from": row["valid_from"].isoformat(),
                "valid_until": None,
                "recorded_at": "2022-08-01T00:00:00+00:00",
            },
            home.book.heads(),
        )


def truth(folder: Path) -> Iterator[dict[str, Any]]:
    for file in sorted((folder / "truth").iterdir()):
        yield from pq.read_table(file).to_pylist()


@pytest.fixture(scope="module")
def season(in_memory: Path) -> Taken:
    """Four days of 1,000 people, settled every morning."""
    folder = in_memory / "season"
    catalogue = eventful(in_memory / "eventful")
    summary = simulate(catalogue, SCENARIO, folder, people=1_000, actions=15_000, days=4, seed=7)
    return take_in_and_settle(folder, summary, in_memory / "season-home", every_day=True)


def test_every_planted_report_gets_exactly_its_verdict_and_no_honest_one_is_refused_or_denied(season: Taken) -> None:
    assert season.wrong() == {}
    assert sum(sum(season.found.values(), Counter()).values()) == season.summary["rows"] > 15_000


def test_every_kind_and_every_verdict_is_there_to_be_found(season: Taken) -> None:
    cheats = {"cheat_speed", "cheat_steps", "cheat_energy", "cheat_count", "cheat_burst"}
    assert set(season.summary["rows_by_kind"]) == {*RATES, WITHDRAWAL} | cheats
    verdicts = sum((count for reference, count in season.found.items() if reference in season.kinds), Counter())
    assert set(verdicts) == {
        "granted", "repeat", "conflict", "duplicate_of", "overlap_of", "capped", "withdrawn", "withdrawal",
        "missing-field", "unknown-behaviour", "behaviour-not-agreed+unknown-behaviour", "region-malformed",
        "unknown-evidence", "time-in-future", "out-of-range", "started-after-end", "claim-incomplete",
        "withdraws-itself", "no-methodology",
    }  # fmt: skip


def test_what_is_withdrawn_after_settlement_is_reversed_to_the_milligram(season: Taken) -> None:
    after = sum("withdrawn_after" in kinds for kinds in season.kinds.values())
    table = records(season.home)
    reversals = [row for row in table.select(["reversed_mg", "withdraws"]).to_pylist() if row["reversed_mg"]]
    granted = dict(zip(table["action_id"].to_pylist(), table["granted_mg"].to_pylist(), strict=True))
    assert len(reversals) == after > 0
    assert all(row["reversed_mg"] == granted[row["withdraws"]] for row in reversals)


def test_a_season_of_events_settled_in_one_go_is_what_the_truth_says_of_that(in_memory: Path) -> None:
    folder = in_memory / "events"
    summary = simulate(Catalogue(), SCENARIO, folder, people=900, actions=6_000, days=2, seed=11, format="ndjson")
    taken = take_in_and_settle(folder, summary, in_memory / "events-home", every_day=False)
    assert taken.wrong() == {}
    verdicts = sum(taken.found.values(), Counter())
    assert verdicts["bad-time"] > 0
    assert verdicts["not-a-whole-number"] > 0
    kinds = summary["rows_by_kind"]
    assert verdicts["withdrawn"] == kinds["withdrawn_before"] + kinds["withdrawn_after"]
