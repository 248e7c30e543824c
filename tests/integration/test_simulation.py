"""A small simulated season goes the whole way, and the pipeline finds exactly what the simulator planted."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tanzhang.core.claim import ACTION, identity
from tanzhang.service.accounts import account_named
from tanzhang.service.intake import intake
from tanzhang.service.settle import settle
from tanzhang.service.simulate import simulate
from tanzhang.stores.catalogue import Catalogue
from tanzhang.stores.home import Home

from ..homes import records

CATALOGUE = Catalogue()
SCENARIO = "green-life-season-2022"
PEOPLE, ACTIONS, DAYS = 3_000, 50_000, 5
# A report that repeats a reference stands beside the one that it repeats; all others are the only one of theirs.
_AGAIN = ("retry", "conflict")


@dataclass(frozen=True)
class Taken:
    """A simulated season after intake and settlement: what was expected of each reference, and what came of it."""

    folder: Path
    home: Home
    rows: int
    expected: dict[tuple[str, str | None], Counter[str]]
    found: dict[tuple[str, str | None], Counter[str]]


def morning_after(day: date) -> datetime:
    """Ten o'clock of the next day in Beijing."""
    return datetime(day.year, day.month, day.day, 2, tzinfo=UTC) + timedelta(days=1)


def take_in_and_settle(folder: Path, summary: dict, where: Path, *, every_day: bool) -> Taken:
    home = Home.create(
        where, programme=summary["programme"], origin="log.example/season", seed=b"season",
        now=datetime(2022, 8, 1, tzinfo=UTC),
    )  # fmt: skip
    link_all(home, folder)
    expected: dict[tuple[str, str | None], Counter[str]] = {}
    references: dict[object, tuple[str, str]] = {}
    refused: dict[tuple[str, str | None], set[str]] = {}
    for text, partners in summary["rows_by_day_and_partner"].items():
        day = date.fromisoformat(text)
        for partner in partners:
            file = folder / "reports" / text / f"{partner}.{summary['format']}"
            if summary["format"] == "parquet":
                for reference in pq.read_table(file, columns=["id"])["id"].to_pylist():
                    references[identity(home.identity_key, ACTION, partner, reference)] = (partner, reference)
                    expected.setdefault((partner, reference), Counter())["granted"] += 1
            answer = intake(home, file, partner=partner, now=morning_after(day))
            assert answer["rows"] == partners[partner]
            with (home.folder / answer["verdicts"]).open(newline="") as lines:
                for line in csv.DictReader(lines):
                    refused.setdefault((partner, line["reference"]), set()).add(line["code"])
        if every_day:
            settle(home, through=day, now=morning_after(day))
    settle(home, through=day + timedelta(days=10), now=morning_after(day + timedelta(days=10)))
    for row in truth(folder):
        of_reference = expected[row["partner"], row["id"]]
        of_reference["granted"] -= 1
        of_reference[row["expected" if every_day else "expected_at_once"]] += 1
    found = {reference: Counter({"+".join(sorted(codes)): 1}) for reference, codes in refused.items()}
    for row in records(home).select(["action_id", "outcome"]).to_pylist():
        found.setdefault(references[row["action_id"]], Counter())[row["outcome"]] += 1
    return Taken(folder, home, summary["rows"], {key: +count for key, count in expected.items()}, found)


def link_all(home: Home, folder: Path) -> None:
    for row in pq.read_table(folder / "links.parquet").to_pylist():
        home.book.add_link(
            {
                "child": str(account_named(home, f"{row['partner']}:{row['subject']}")),
                "account": str(account_named(home, f"{row['with_partner']}:{row['with_subject']}")),
                "valid_from": row["valid_from"].isoformat(),
                "valid_until": None,
                "recorded_at": "2022-08-01T00:00:00+00:00",
            }
        )


def truth(folder: Path) -> Iterator[dict]:
    for file in sorted((folder / "truth").iterdir()):
        yield from pq.read_table(file).to_pylist()


@pytest.fixture(scope="module")
def season(in_memory: Path) -> Taken:
    folder = in_memory / "simulated"
    summary = simulate(CATALOGUE, SCENARIO, folder, people=PEOPLE, actions=ACTIONS, days=DAYS, seed=7)
    return take_in_and_settle(folder, summary, in_memory / "season-home", every_day=True)


def test_every_planted_report_gets_exactly_its_verdict_and_no_honest_one_is_refused_or_denied(season: Taken) -> None:
    wrong = {
        reference: (dict(season.expected[reference]), dict(season.found.get(reference, {})))
        for reference in season.expected
        if season.expected[reference] != season.found.get(reference)
    }
    total = sum((count for count in season.found.values()), Counter())
    print(dict(total), len(wrong))
    kinds = {(row["partner"], row["id"]): row["kind"] for row in truth(season.folder)}
    assert {(kinds.get(reference, "honest"), *map(str, pair)) for reference, pair in list(wrong.items())[:20]} == set()
    assert sum(total.values()) == season.rows
