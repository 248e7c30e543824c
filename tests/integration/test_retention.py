"""What the calendar no longer keeps goes, what it keeps stays, and verification says what it can no longer check."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from tanzhang.core.programme import Retention
from tanzhang.service.erase import erase
from tanzhang.service.intake import intake
from tanzhang.service.receive import Receiver, Request
from tanzhang.service.retention import tidy
from tanzhang.service.verify import verify
from tanzhang.stores.book import replacement
from tanzhang.stores.home import Home
from tanzhang.stores.register.deliveries import delivery, inbox
from tanzhang.stores.storage import files_under

from ..homes import account, assert_verified, box, new_home, on, problems, records, ride, settle_on, write
from ..postgres import Server
from ..s3 import Bucket

DAYS = {"report_files": 180, "verdict_files": 90, "answers": 30, "requests": 365}  # as programme beijing says
SETTLED = on(20)


def after(days: int):
    return SETTLED + timedelta(days=days)


@pytest.fixture(params=["sqlite", "postgresql", "bucket"])
def home(request: pytest.FixtureRequest, quick: Path) -> Home:
    if request.param == "postgresql":
        server: Server = request.getfixturevalue("postgres")
        return new_home(quick / "home", book=server.address(server.database()))
    if request.param == "bucket":
        bucket: Bucket = request.getfixturevalue("bucket")
        return new_home(quick / "home", storage=bucket.address())
    return new_home(quick / "home")


@pytest.fixture
def lived(home: Home, quick: Path) -> Home:
    refused = {**box("b9"), "type": "use.nothing"}
    intake(home, write(quick / "a.ndjson", [box("b1"), ride("r1"), box("x1", "bob"), refused]), now=on(6))
    sent = Request("cainiao", [json.dumps(box("s1", "bob")).encode()], "key-1")
    Receiver(home).receive([sent], now=on(6))
    settle_on(home, 20)
    return home


def names(home: Home, folder: str) -> list[str]:
    return sorted(name.name for name, _ in files_under(home.storage / folder))


def test_the_calendar_is_read_from_the_programme(lived: Home) -> None:
    kept = lived.programme.retention
    assert {name: getattr(kept, name) for name in DAYS} == DAYS
    assert kept.why
    assert Retention() == Retention(None, None, None, None, None)


def test_nothing_goes_before_its_day(lived: Home) -> None:
    before = names(lived, "reports")
    for days in (0, 15):
        done = tidy(lived, now=after(days))
        assert {name: done[name] for name in ("report_files", "verdict_files", "answers", "requests", "bytes")} == {
            "report_files": 0, "verdict_files": 0, "answers": 0, "requests": 0, "bytes": 0
        }  # fmt: skip
    assert names(lived, "reports") == before
    assert lived.book.rows(replacement) == []


def test_report_files_go_when_all_their_reports_have_been_settled_for_long_enough(lived: Home, quick: Path) -> None:
    intake(lived, write(quick / "late.ndjson", [box("open", day=(after(179)).date())]), now=after(179))
    would = tidy(lived, now=after(180), dry_run=True)
    assert (would["status"], would["report_files"]) == ("due", 2)
    assert names(lived, "reports").count("accepted.parquet") == 3
    size = sum(size for name, size in files_under(lived.storage / "reports"))
    done = tidy(lived, now=after(180))
    assert (done["status"], done["report_files"], done["verdict_files"], done["bytes"]) == (
        "tidied",
        2,
        2,
        would["bytes"],
    )
    assert size - sum(size for name, size in files_under(lived.storage / "reports")) == done["bytes"]
    assert names(lived, "reports").count("accepted.parquet") == 1  # that of the open report
    assert tidy(lived, now=after(180))["report_files"] == 0
    assert_verified(lived)
    notes = [note for check in verify(lived)["checks"] for note in check["notes"]]
    assert notes == [
        "2 report files were disposed of", "2 verdict files were disposed of",
        "4 settled reports were disposed of: records are not held against reports",
    ]  # fmt: skip


def test_what_was_settled_still_meets_what_comes_later_and_is_erased(lived: Home, quick: Path) -> None:
    tidy(lived, now=after(200))
    intake(lived, write(quick / "again.ndjson", [box("b1"), box("b2", "bob", number="YT-b1")]), now=after(200))
    from tanzhang.service.settle import settle

    assert settle(lived, now=after(230))["outcomes"] == {"duplicate_of": "1", "repeat": "1"}
    said = erase(lived, [account(lived, "cainiao", "anna")], now=after(231))
    assert (said["records"], said["reports"]) == (2, 1)  # of the first record the report was disposed of
    assert_verified(lived)
    assert tidy(lived, now=after(230 + 181))["report_files"] == 1
    assert_verified(lived)


def test_a_submission_sent_again_gets_its_answer_without_the_verdicts_that_are_gone(lived: Home, quick: Path) -> None:
    tidy(lived, now=after(100))
    again = intake(lived, quick / "a.ndjson", now=after(100))
    assert (again["accepted"], again["refused"], again["verdicts"], again["first_problems"]) == (3, 1, None, [])


def test_answers_go_before_requests_and_a_key_is_free_when_its_request_is_forgotten(lived: Home) -> None:
    sent = Request("cainiao", [json.dumps(box("s1", "bob")).encode()], "key-1")
    assert tidy(lived, now=after(31))["answers"] == 1
    (answer,) = Receiver(lived).receive([sent], now=after(31))
    assert answer.error is not None
    assert answer.error.code == "idempotency-answer-forgotten"
    assert tidy(lived, now=after(366))["requests"] == 1
    assert lived.book.query(sa.select(delivery)) == lived.book.query(sa.select(inbox)) == []
    (answer,) = Receiver(lived).receive([sent], now=after(366))
    assert answer.error is None
    assert_verified(lived)


def test_orphans_older_than_a_day_go_and_younger_ones_stay(lived: Home) -> None:
    if not isinstance(lived.storage, Path):
        pytest.skip("the time of an object is the server's")
    row = lived.book.batches()[0]
    old, young = (lived.storage / "reports" / f"nobody-{name}" / "accepted.parquet" for name in ("old", "young"))
    beside = lived.storage / row.folder / "records-00000-dead.parquet"
    for path in (old, young, beside):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    named = sorted(path for path in lived.storage.rglob("*") if path.is_file())
    for path in named:
        os.utime(path, (after(2).timestamp(),) * 2 if path == young else (after(1).timestamp(),) * 2)
    done = tidy(lived, now=after(2) + timedelta(hours=1))
    assert (done["orphans"], done["bytes"]) == (2, 2)
    assert not old.parent.exists()
    assert not beside.exists()
    assert young.exists()
    assert_verified(lived)


def test_a_programme_without_a_calendar_keeps_everything(quick: Path) -> None:
    home = new_home(quick / "home", programme="cainiao")
    intake(home, write(quick / "a.ndjson", [box("b1")]), now=on(6))
    settle_on(home, 20)
    done = tidy(home, now=after(10_000))
    assert (done["report_files"], done["verdict_files"], done["answers"], done["requests"]) == (0, 0, 0, 0)
    assert_verified(home)


def test_a_file_that_is_gone_without_a_row_that_says_so_is_missing(lived: Home) -> None:
    if not isinstance(lived.storage, Path):
        pytest.skip("the same in a bucket")
    (lived.storage / lived.book.submissions()[0].file).unlink()
    assert "report-file-missing" in {problem["code"] for problem in problems(lived)}
    assert records(lived).num_rows == 4
