"""From a file to booked accounts: every format, retries, corrections, windows, withdrawals, links, two programmes."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tanzhang.core.action import INPUT_NAMES
from tanzhang.core.errors import TanzhangError
from tanzhang.engine.screen import TEXT_COLUMNS
from tanzhang.service.accounts import balances, statement
from tanzhang.service.intake import intake
from tanzhang.service.links import link_child
from tanzhang.service.settle import settle
from tanzhang.stores.book import submission
from tanzhang.stores.home import Home

from ..homes import (
    BOX_MG,
    DAY,
    INVOICE_MG,
    METRO_MG_PER_M,
    POWER_MG_PER_WH,
    Event,
    account,
    assert_verified,
    balance,
    box,
    event,
    local,
    new_home,
    on,
    outcome,
    partner_totals,
    power,
    records,
    ride,
    settle_files,
    settle_on,
    withdrawal,
    write,
)

EVENTS = [
    box("b1", "anna"),
    box("b2", "李雷", number="ＹＴ－００７"),
    ride("r1", "anna"),
    ride("r2", "anna", hour=18, distance_m=7_350, group="two in one car"),
    power("p1", "bo", 4_321),
    withdrawal(box("b1", "anna"), "b1-undone"),
]
METRO_MG = 10_000 * METRO_MG_PER_M


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return new_home(tmp_path / "home")


def flat(each: Event) -> dict[str, Any]:
    data = {**each["data"]}
    claim = data.pop("claim", {})
    return {
        **{name: each[name] for name in ("id", "source", "type", "subject", "time")},
        **data,
        "claim_issuer": claim.get("issuer"),
        "claim_identifier": claim.get("identifier"),
    }


def as_json_lines(path: Path) -> Path:
    return write(path / "reports.ndjson", EVENTS)


def as_jsonl_in_json(path: Path) -> Path:
    return write(path / "reports.json", EVENTS)


def as_batch(path: Path) -> Path:
    return write(path / "reports.json", [json.dumps(EVENTS, indent=1, ensure_ascii=False)])


def as_csv(path: Path) -> Path:
    file = path / "reports.csv"
    with file.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, (*TEXT_COLUMNS, *INPUT_NAMES))
        writer.writeheader()
        writer.writerows(flat(each) for each in EVENTS)
    return file


def as_csv_with_mark_and_carriage_returns(path: Path) -> Path:
    file = as_csv(path)
    text = file.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    file.write_bytes(b"\xef\xbb\xbf" + text)
    return file


def as_few_columns(path: Path) -> Path:
    """Only the columns in use, in another order, with unix line ends and everything in quotes."""
    file = path / "reports.csv"
    rows = [flat(each) for each in EVENTS]
    names = sorted({name for row in rows for name, value in row.items() if value is not None})
    with file.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, names, quoting=csv.QUOTE_ALL, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return file


def as_parquet(path: Path) -> Path:
    rows = [{name: flat(each).get(name) for name in (*TEXT_COLUMNS, *INPUT_NAMES)} for each in EVENTS]
    types = {**dict.fromkeys(TEXT_COLUMNS, pa.string()), **dict.fromkeys(INPUT_NAMES, pa.int64())}
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(types.items())), path / "reports.parquet")
    return path / "reports.parquet"


def zipped(make: Callable[[Path], Path]) -> Callable[[Path], Path]:
    def as_gz(path: Path) -> Path:
        plain = make(path)
        packed = plain.with_name(f"{plain.name}.gz")
        packed.write_bytes(gzip.compress(plain.read_bytes(), mtime=0))
        return packed

    as_gz.__name__ = f"{make.__name__}_gz"
    return as_gz


FORMATS = [
    as_json_lines,
    as_jsonl_in_json,
    as_batch,
    as_csv,
    as_csv_with_mark_and_carriage_returns,
    as_few_columns,
    as_parquet,
    zipped(as_json_lines),
    zipped(as_batch),
    zipped(as_csv),
]


@pytest.fixture(scope="module")
def one_by_one(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, dict[str, Any]]:
    """The events as single CloudEvents, each a file of its own."""
    folder = tmp_path_factory.mktemp("single")
    home = new_home(folder / "home")
    files = [write(folder / f"{number}.json", [json.dumps(each)]) for number, each in enumerate(EVENTS)]
    return home, settle_files(home, files, now=on(20))["settlement"]


@pytest.mark.parametrize("make", FORMATS, ids=lambda make: make.__name__)
def test_the_same_actions_in_any_format_give_the_same_records_and_the_same_root(
    home: Home, tmp_path: Path, one_by_one: tuple[Home, dict[str, Any]], make: Callable[[Path], Path]
) -> None:
    single, expected = one_by_one
    answer = settle_files(home, [make(tmp_path)], now=on(20))
    (submission,) = answer["submissions"]
    assert (submission["rows"], submission["accepted"]) == (len(EVENTS), len(EVENTS))
    assert records(home).equals(records(single))
    assert answer["settlement"] == expected
    assert expected["outcomes"] == {"granted": "4", "withdrawal": "1", "withdrawn": "1"}
    assert_verified(home)


def test_a_file_sent_again_returns_the_first_answer_and_is_taken_in_once(home: Home, tmp_path: Path) -> None:
    file = write(tmp_path / "a.ndjson", [box("b1"), ride("r1")])
    first = intake(home, file, now=on(6))
    again = intake(home, shutil.copy(file, tmp_path / "renamed.ndjson"), now=on(7))
    assert again == first
    assert settle_on(home, 8)["records"] == 2
    assert intake(home, file, now=on(9)) == first
    assert settle_on(home, 10)["batch"] is None
    assert_verified(home)


def test_a_file_with_refusals_sent_again_unchanged_returns_the_first_answer_too(home: Home, tmp_path: Path) -> None:
    file = write(tmp_path / "a.ndjson", [box("b1"), ride("r1", distance_m=900_000)])
    first = intake(home, file, now=on(6))
    assert (first["accepted"], first["refused_by_code"]["out-of-range"]) == (1, 1)
    assert intake(home, file, now=on(7)) == first
    assert settle_on(home, 20)["records"] == 1


def test_rows_from_the_future_are_looked_at_again_when_their_file_is_sent_again(home: Home, tmp_path: Path) -> None:
    file = write(tmp_path / "a.ndjson", [box("b1"), box("b2", day=date(2025, 6, 9))])
    assert intake(home, file, now=on(6))["refused_by_code"] == {"time-in-future": 1}
    assert intake(home, file, now=on(10))["refused"] == 0
    settle_on(home, 11)
    assert outcome(home, box("b1")) == ["granted", "repeat"]
    assert outcome(home, box("b2")) == ["granted"]
    assert_verified(home)


def test_after_a_correction_the_good_rows_repeat_and_the_corrected_ones_count(home: Home, tmp_path: Path) -> None:
    wrong = intake(home, write(tmp_path / "a.ndjson", [box("b1"), ride("r1", distance_m=900_000)]), now=on(6))
    assert (wrong["accepted"], wrong["refused"]) == (1, 1)
    right = intake(home, write(tmp_path / "a.ndjson", [box("b1"), ride("r1")]), now=on(6, 5))
    assert (right["accepted"], right["submission"]) == (2, 1)
    settle_on(home, 9)
    assert outcome(home, box("b1")) == ["granted", "repeat"]
    assert outcome(home, ride("r1")) == ["granted"]
    assert balance(home, "amap", "anna") == METRO_MG
    assert_verified(home)


def test_verdict_files_name_every_mistake_with_row_field_and_remedy(home: Home, tmp_path: Path) -> None:
    events: list[Event | str] = [box("good"), {**ride("r1", distance_m=-1), "time": "yesterday"}, "not JSON", ""]
    answer = intake(home, write(tmp_path / "a.ndjson", events), now=on(6))
    with (home.folder / answer["verdicts"]).open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert answer["rows"] == 3
    assert {(line["row"], line["code"]) for line in lines} >= {("2", "bad-time"), ("3", "malformed-row")}
    assert all(line["verdict"] == "refused" and line["message"] and line["remedy"] for line in lines)
    assert {line["row"] for line in lines} == {"2", "3"}


def damaged(name: str, data: bytes) -> Any:
    return pytest.param(name, data, id=f"{name}-{len(data)}")


GOOD = "\n".join(json.dumps(box(f"b{number}")) for number in range(50)).encode()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        damaged("cut.ndjson.gz", gzip.compress(GOOD, mtime=0)[:-20]),
        damaged("cut-early.csv.gz", gzip.compress(GOOD, mtime=0)[:7]),
        damaged("noise.ndjson.gz", b"this is no gzip file at all"),
        damaged("cut.parquet", b"PAR1" + bytes(100)),
        damaged("empty.parquet", b""),
        damaged("wrong.csv", b"id,sourze,type\n1,2,3\n"),
        damaged("semicolons.csv", b"id;source;type\n1;2;3\n"),
        damaged("twice.csv", b"id,id,source\n1,2,3\n"),
        damaged("cut.json", b"[" + GOOD.replace(b"\n", b",\n")[:-20]),
        damaged("cut.json.gz", gzip.compress(GOOD, mtime=0)[:-20]),
        damaged("reports.xlsx", b"PK"),
        damaged("empty.csv", b""),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_as_a_whole_and_nothing_of_it_lands(
    home: Home, tmp_path: Path, name: str, data: bytes
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(TanzhangError) as caught:
        intake(home, tmp_path / name, now=on(6))
    assert all(problem.code and problem.where and problem.remedy for problem in caught.value.problems)
    assert list((home.folder / "reports").iterdir()) == []
    assert home.book.rows(submission) == []
    assert settle_on(home, 20)["batch"] is None
    assert_verified(home)


@pytest.mark.parametrize(
    ("name", "data", "rows", "accepted"),
    [
        ("not-json.ndjson", b"<html>gateway time-out</html>\n", 1, 0),
        ("cut.ndjson", GOOD[:-20], 50, 49),
        ("number.json", b"42", 1, 0),
        ("array.json", b"[1, null, {}]", 3, 0),
        ("empty.ndjson", b"", 0, 0),
        ("blank.ndjson", b"\n\n\n", 0, 0),
        ("empty-array.json", b"[]", 0, 0),
        ("header-only.csv", b"id,source,type,subject,time\n", 0, 0),
        ("mark.ndjson", b"\xef\xbb\xbf" + GOOD, 50, 50),
        ("crlf.ndjson", GOOD.replace(b"\n", b"\r\n") + b"\r\n", 50, 50),
        ("zero-byte.ndjson", GOOD + b"\n\x00\n", 51, 50),
        ("latin1.json", GOOD + b'\n{"id": "caf\xe9"}\n', 51, 50),
        ("latin1.ndjson", GOOD + b'\n{"id": "caf\xe9"}\n', 51, 50),
    ],
)
def test_rows_that_cannot_be_read_are_refused_one_by_one_and_the_others_stay(
    home: Home, tmp_path: Path, name: str, data: bytes, rows: int, accepted: int
) -> None:
    (tmp_path / name).write_bytes(data)
    answer = intake(home, tmp_path / name, now=on(6))
    assert (answer["rows"], answer["accepted"], answer["refused"]) == (rows, accepted, rows - accepted)
    assert settle_on(home, 20)["records"] == accepted
    assert_verified(home)


def test_a_file_that_is_still_being_written_is_refused_and_nothing_of_it_lands(home: Home, tmp_path: Path) -> None:
    file = write(tmp_path / "a.ndjson", [box("b1")])

    def meanwhile(stage: str, percent: int, rows: int) -> None:
        if rows:
            with file.open("a", encoding="utf-8") as more:
                more.write(json.dumps(box("b2")) + "\n")

    with pytest.raises(TanzhangError, match="file-changed"):
        intake(home, file, now=on(6), progress=meanwhile)
    assert list((home.folder / "reports").iterdir()) == []
    assert intake(home, file, now=on(6))["accepted"] == 2


def test_balances_are_provisional_until_the_window_closes_and_confirmed_after(home: Home, tmp_path: Path) -> None:
    intake(home, write(tmp_path / "a.ndjson", [ride("r1"), power("p1")]), now=on(6))

    def seen(source: str) -> tuple[int, ...]:
        own = account(home, source, "anna")
        (row,) = [row for row in balances(home)[1] if row.account == own]
        return row.reduction_mg, row.footprint_mg, row.provisional_reduction_mg, row.provisional_footprint_mg

    assert seen("amap") == (0, 0, METRO_MG, 0)
    assert settle(home, through=date(2025, 6, 6), now=on(8))["outcomes"] == {"granted": "1"}  # the meter: no window
    assert seen("amap") == (0, 0, METRO_MG, 0)
    assert seen("alipay") == (0, 10_000 * POWER_MG_PER_WH, 0, 0)
    assert settle_on(home, 8)["outcomes"] == {"granted": "1"}  # through the 7th, two days after the ride
    assert seen("amap") == (METRO_MG, 0, 0, 0)
    told = statement(home, account(home, "amap", "anna"))
    assert told["confirmed"] == {"reduction_mg": str(METRO_MG), "footprint_mg": "0"}
    assert told["outcomes"] == {"granted": 1}
    assert_verified(home)


def test_a_duplicate_within_the_window_is_decided_by_the_total_order_not_by_arrival(tmp_path: Path) -> None:
    seen = ride("nav", "u1", source="amap", evidence="sensed")
    gate = ride("gate", "u1", source="amap", minute=5)
    roots = []
    for name, order in (("one", [[seen], [gate]]), ("other", [[gate], [seen]]), ("together", [[seen, gate]])):
        home = new_home(tmp_path / name)
        for number, events in enumerate(order):
            intake(home, write(tmp_path / f"{name}{number}.ndjson", events), now=on(6, number))
        roots.append(settle_on(home, 9)["root"])
        assert (outcome(home, seen), outcome(home, gate)) == (["overlap_of"], ["granted"])
    assert len(set(roots)) == 1


def test_a_report_after_the_window_loses_to_what_was_settled_however_good_it_is(home: Home, tmp_path: Path) -> None:
    sensed = ride("nav", evidence="sensed")
    intake(home, write(tmp_path / "a.ndjson", [sensed]), now=on(6))
    settle_on(home, 9)
    late = ride("gate", minute=3)
    intake(home, write(tmp_path / "b.ndjson", [late, ride("evening", hour=18)]), now=on(9))
    assert settle_on(home, 10)["outcomes"] == {"granted": "1", "overlap_of": "1"}
    assert (outcome(home, sensed), outcome(home, late)) == (["granted"], ["overlap_of"])
    assert_verified(home)


def test_a_withdrawal_after_settlement_books_the_opposite_and_frees_nothing_twice(home: Home, tmp_path: Path) -> None:
    first = box("b1")
    intake(home, write(tmp_path / "a.ndjson", [first, box("b2")]), now=on(6))
    settle_on(home, 7)
    assert balance(home, "cainiao", "anna") == 2 * BOX_MG
    undo = withdrawal(first, "undo", day=date(2025, 6, 7))
    undo_again = withdrawal(first, "undo-again", day=date(2025, 6, 7))
    intake(home, write(tmp_path / "b.ndjson", [undo, undo_again]), now=on(8))
    answer = settle_on(home, 9)
    assert (answer["outcomes"], answer["reversed"]) == ({"withdrawal": "2"}, {"co2e_mg": str(BOX_MG)})
    assert balance(home, "cainiao", "anna") == BOX_MG
    assert partner_totals(home) == {"cainiao": {"co2e_mg": BOX_MG}}
    assert outcome(home, first) == ["granted"]  # what was decided stays; the posting is the opposite one
    assert_verified(home)


def test_a_correction_takes_the_old_act_back_and_grants_the_new_one(home: Home, tmp_path: Path) -> None:
    wrong = ride("r1", distance_m=20_000)
    intake(home, write(tmp_path / "a.ndjson", [wrong]), now=on(6))
    settle_on(home, 9)
    right = ride("r1-corrected", withdraws="r1")
    intake(home, write(tmp_path / "b.ndjson", [right]), now=on(9))
    answer = settle_on(home, 12)
    assert (answer["granted"], answer["reversed"]) == ({"co2e_mg": str(METRO_MG)}, {"co2e_mg": str(2 * METRO_MG)})
    assert outcome(home, right) == ["granted"]
    assert balance(home, "amap", "anna") == METRO_MG
    assert_verified(home)


def test_the_same_reference_with_another_content_is_a_conflict_and_books_nothing(home: Home, tmp_path: Path) -> None:
    intake(home, write(tmp_path / "a.ndjson", [box("b1")]), now=on(6))
    settle_on(home, 7)
    intake(home, write(tmp_path / "b.ndjson", [box("b1", number="YT-OTHER"), box("b1")]), now=on(8))
    assert settle_on(home, 9)["outcomes"] == {"conflict": "1", "repeat": "1"}
    assert balance(home, "cainiao", "anna") == BOX_MG
    assert_verified(home)


def test_one_order_replayed_by_another_person_counts_once(home: Home, tmp_path: Path) -> None:
    mine, replayed = box("b1", "anna", number="YT-1"), box("b2", "mallory", number=" yt-１ ")
    intake(home, write(tmp_path / "a.ndjson", [mine]), now=on(6))
    settle_on(home, 7)
    intake(home, write(tmp_path / "b.ndjson", [replayed]), now=on(8))
    assert settle_on(home, 9)["outcomes"] == {"duplicate_of": "1"}
    assert balance(home, "cainiao", "mallory") == 0
    assert_verified(home)


def test_linked_platforms_book_into_one_account_on_the_days_of_consent_only(home: Home, tmp_path: Path) -> None:
    child, person = account(home, "cainiao", "anna"), account(home, "amap", "anna")
    link_child(home, child, person, valid_from=date(2025, 6, 4), valid_until=date(2025, 6, 6), now=on(1))
    days = [3, 4, 5, 6]
    boxes = [box(f"b{day}", day=date(2025, 6, day)) for day in days]
    intake(home, write(tmp_path / "a.ndjson", [*boxes, ride("r1")]), now=on(7))
    settle_on(home, 9)
    assert balance(home, "cainiao", "anna") == 2 * BOX_MG  # the 3rd and the 6th
    assert balance(home, "amap", "anna") == METRO_MG + 2 * BOX_MG
    assert partner_totals(home) == {"amap": {"co2e_mg": METRO_MG}, "cainiao": {"co2e_mg": 4 * BOX_MG}}
    told = statement(home, person)
    assert told["children"] == [{"child": str(child), "from": "2025-06-04", "until": "2025-06-06"}]
    with pytest.raises(TanzhangError, match="link-overlaps"):
        link_child(home, child, account(home, "x", "y"), valid_from=date(2025, 6, 5), valid_until=None, now=on(9))
    link_child(home, child, person, valid_from=date(2025, 6, 6), valid_until=None, now=on(9))  # the day it ended
    with pytest.raises(TanzhangError, match="link-empty"):
        link_child(home, person, child, valid_from=date(2025, 6, 6), valid_until=date(2025, 6, 6), now=on(9))
    assert_verified(home)


def test_two_platforms_of_one_person_cannot_ride_at_the_same_time(home: Home, tmp_path: Path) -> None:
    link_child(
        home,
        account(home, "beijing_subway", "card"),
        account(home, "amap", "anna"),
        valid_from=DAY,
        valid_until=None,
        now=on(1),
    )
    gate = ride("gate", "card", source="beijing_subway")
    intake(home, write(tmp_path / "a.ndjson", [ride("nav", evidence="sensed"), gate]), now=on(6))
    assert settle_on(home, 9)["outcomes"] == {"granted": "1", "overlap_of": "1"}
    assert balance(home, "amap", "anna") == METRO_MG
    assert_verified(home)


def test_footprints_are_booked_in_their_own_unit_and_reduce_nothing(home: Home, tmp_path: Path) -> None:
    intake(home, write(tmp_path / "a.ndjson", [power("p1", energy_wh=4_321), box("b1")]), now=on(6))
    settle_on(home, 7)
    assert balance(home, "alipay", "anna", "footprint_mg") == 4_321 * POWER_MG_PER_WH
    assert balance(home, "alipay", "anna") == 0
    assert partner_totals(home) == {
        "alipay": {"footprint_mg": 4_321 * POWER_MG_PER_WH},
        "cainiao": {"co2e_mg": BOX_MG},
    }


def test_a_daily_cap_holds_across_batches(home: Home, tmp_path: Path) -> None:
    def invoice(number: int) -> Event:
        claim = {"issuer": "tax", "identifier": str(number)}
        return event("alipay", f"i{number}", "finance.e_invoice", "anna", local(9, number), claim=claim)

    for number, part in enumerate((range(4), range(4, 8))):
        intake(home, write(tmp_path / f"{number}.ndjson", map(invoice, part)), now=on(6 + number))
        settle_on(home, 7 + number)
    assert balance(home, "alipay", "anna") == 5 * INVOICE_MG
    assert_verified(home)


def test_two_programmes_in_two_homes_know_nothing_of_each_other(tmp_path: Path) -> None:
    beijing, shenzhen = new_home(tmp_path / "b"), new_home(tmp_path / "s", "shenzhen", seed=b"other")
    file = write(tmp_path / "a.ndjson", [box("b1")])
    roots = [settle_files(home, [file], now=on(8))["settlement"]["root"] for home in (beijing, shenzhen)]
    assert roots[0] != roots[1]
    assert account(beijing, "cainiao", "anna") != account(shenzhen, "cainiao", "anna")
    southern = write(tmp_path / "b.ndjson", [ride("r1", source="shenzhen_metro", region="CN-440300")])
    refused = intake(beijing, southern, now=on(6))["refused_by_code"]
    assert refused.keys() >= {"region-outside-programme", "unknown-partner"}
    assert intake(shenzhen, southern, now=on(6))["quantified"] == [
        {"behaviour": "travel.metro", "actions": 1, "quantified_mg": "467000"}
    ]
    for home in (beijing, shenzhen):
        assert_verified(home)


def test_settling_with_nothing_to_do_changes_nothing(home: Home, tmp_path: Path) -> None:
    before = home.log.checkpoint_bytes()
    assert settle_on(home, 9) == {"batch": None, "through": "2025-06-08", "records": 0, "outcomes": {}}
    intake(home, write(tmp_path / "a.ndjson", [ride("r1")]), now=on(6))
    assert settle_on(home, 7)["batch"] is None  # accepted, but its window is open
    assert home.log.checkpoint_bytes() == before
    assert_verified(home)


def test_settling_through_an_earlier_day_than_before_takes_only_what_is_new(home: Home, tmp_path: Path) -> None:
    intake(home, write(tmp_path / "a.ndjson", [box("b1"), ride("r1")]), now=on(6))
    settle_on(home, 9)
    assert settle(home, through=date(2025, 6, 5), now=on(9))["batch"] is None
    intake(home, write(tmp_path / "b.ndjson", [box("b2", day=date(2025, 6, 3)), box("b3")]), now=on(9))
    assert settle(home, through=date(2025, 6, 4), now=on(9))["records"] == 1
    assert settle_on(home, 9)["records"] == 1
    assert {outcome(home, box(name))[0] for name in ("b1", "b2", "b3")} == {"granted"}
    assert_verified(home)


def test_a_day_that_is_not_over_cannot_be_settled(home: Home, tmp_path: Path) -> None:
    intake(home, write(tmp_path / "a.ndjson", [box("b1")]), now=local(20))
    with pytest.raises(TanzhangError, match="day-not-over: 2025-06-05 is not over yet in Asia/Shanghai"):
        settle(home, through=DAY, now=local(23, 59))
    assert settle(home, now=local(23, 59))["batch"] is None
    assert settle(home, now=local(0, 1, day=date(2025, 6, 6)))["records"] == 1


def test_a_foreign_partner_or_source_is_refused_by_name(home: Home, tmp_path: Path) -> None:
    file = write(tmp_path / "a.ndjson", [box("b1"), ride("r1")])
    with pytest.raises(TanzhangError, match="unknown-partner"):
        intake(home, file, partner="nobody", now=on(6))
    answer = intake(home, file, partner="cainiao", now=on(6))
    assert answer["refused_by_code"] == {"partner-mismatch": 1}
