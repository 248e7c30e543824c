"""Totals by any cut are what adding up every cell one by one gives, however batches are gathered into runs."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tanzhang.core.region import ancestors
from tanzhang.engine.tally import AMOUNTS, COUNTS, DIMENSIONS, SCHEMA, in_order, merged
from tanzhang.service.city import CUTS, chosen, cut
from tanzhang.stores.tallies import RUN, runs_covering, runs_ending, tally_in, tally_row

FIRST = date(2024, 12, 27)  # the first week of 2025 begins in 2024
REGIONS = ("CN", "CN-110000", "CN-110108", "CN-440300", "CN-440305", "CN-440106")
WORDS = {
    "kind": ("reduction", "emission"),
    "behaviour": ("travel.metro", "travel.bus", "use.own_cup"),
    "variant": (None, "battery_bus"),
    "region": REGIONS,
    "partner": ("amap", "cainiao"),
    "outcome": ("granted", "capped", "withdrawal"),
}


@st.composite
def cells(draw: st.DrawFn) -> dict[str, Any]:
    cell: dict[str, Any] = {"day": FIRST + timedelta(days=draw(st.integers(0, 40)))}
    cell |= {name: draw(st.sampled_from(words)) for name, words in WORDS.items()}
    return cell | {name: draw(st.integers(0, 1000)) for name in (*COUNTS, *AMOUNTS)}


def tally(rows: list[dict[str, Any]]) -> pa.Table:
    return merged([in_order(pa.Table.from_pylist(rows, schema=SCHEMA))])


tallies = st.lists(st.lists(cells(), max_size=12).map(tally), max_size=6)


def label(cell: dict[str, Any], name: str) -> Any:
    match name:
        case "day":
            return cell["day"].isoformat()
        case "week":
            year, week, _ = cell["day"].isocalendar()
            return f"{year}-W{week:02}"
        case "month":
            return cell["day"].isoformat()[:7]
        case "category":
            return cell["behaviour"].split(".")[0]
        case "province" | "city" | "district":
            own = ancestors(cell["region"])[-2::-1]  # province, city, district
            return own[: {"province": 1, "city": 2, "district": 3}[name]][-1] if own else "CN"
    return cell[name]


@settings(deadline=None)
@given(tallies, st.lists(st.sampled_from(CUTS), max_size=3, unique=True), st.data())
def test_every_cut_is_the_sum_of_its_cells(held: list[pa.Table], by: list[str], data: st.DataObject) -> None:
    since, until = (data.draw(st.none() | st.dates(FIRST, FIRST + timedelta(days=41))) for _ in range(2))
    region = data.draw(st.none() | st.sampled_from(REGIONS))
    partner = data.draw(st.none() | st.sampled_from(["amap", "nobody"]))
    names = tuple(dict.fromkeys((*by, "kind")))
    expected: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for cell in (cell for each in held for cell in each.to_pylist()):
        if (since and cell["day"] < since) or (until and cell["day"] > until):
            continue
        if (region and region not in ancestors(cell["region"])) or (partner and cell["partner"] != partner):
            continue
        sums = expected[tuple(label(cell, name) for name in names)]
        for place, name in enumerate(("granted_mg", "reversed_mg", "credited", "taken_back")):
            sums[place] += cell[name]
    found = {
        tuple(row[name] for name in names): (row["mg"], row["granted_mg"], row["reversed_mg"], row["acts"])
        for row in cut(chosen(held, since, until, region, partner), by)
    }
    assert found == {
        key: (str(granted - reversed_), str(granted), str(reversed_), str(credited - back))
        for key, (granted, reversed_, credited, back) in expected.items()
    }


@settings(deadline=None)
@given(tallies)
def test_adding_up_some_first_changes_nothing(held: list[pa.Table]) -> None:
    everything = merged(held)
    assert everything.schema == SCHEMA
    assert merged([merged(held[:2]), merged(held[2:])]).to_pylist() == everything.to_pylist()
    keys = [tuple(row[name] for name in DIMENSIONS) for row in everything.to_pylist()]
    assert len(set(keys)) == len(keys)


@settings(deadline=None)
@given(tallies.filter(bool))
def test_a_row_of_the_book_gives_its_tally_back(held: list[pa.Table]) -> None:
    row = tally_row(0, 0, held[0])
    again = tally_in(type("Row", (), row))
    assert again.to_pylist() == held[0].to_pylist()
    days = [cell["day"].isoformat() for cell in held[0].to_pylist()]
    assert (row["first_day"], row["last_day"], row["cells"]) == (
        min(days, default=None),
        max(days, default=None),
        len(days),
    )


@given(st.integers(0, 5_000))
def test_runs_cover_every_batch_once_and_are_all_written_by_then(batches: int) -> None:
    runs = list(runs_covering(batches))
    assert [number for first, last in runs for number in range(first, last + 1)] == list(range(batches))
    for first, last in runs:
        assert (first, last - first + 1) in list(runs_ending(last))
    assert len(runs) <= (RUN - 1) * 4


@pytest.mark.parametrize("batches", [0, 1, RUN, RUN * RUN])
def test_full_runs_are_read_as_one(batches: int) -> None:
    assert len(list(runs_covering(batches))) == (batches > 0)
