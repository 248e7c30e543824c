"""Acts that an issuer's identifier makes unique, settled as soon as they come where the programme says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.service.catalogue_check import check_catalogue
from tanzhang.service.intake import intake
from tanzhang.service.receive import Receiver, Request
from tanzhang.service.settle import settle
from tanzhang.stores.catalogue import Catalogue
from tanzhang.stores.home import Home

from ..homes import (
    BOX_MG,
    POWER_MG_PER_WH,
    Event,
    assert_verified,
    at_once_home,
    balance,
    box,
    on,
    outcome,
    power,
    ride,
    settle_on,
    withdrawal,
    write,
)
from ..postgres import Server

NOW = on(5, 15).replace(minute=45)  # a quarter before midnight of the day of the acts


@pytest.fixture(params=["sqlite", "postgresql"])
def home(request: pytest.FixtureRequest, quick: Path) -> Home:
    if request.param == "sqlite":
        return at_once_home(quick / "home", "parcel", "footprint")
    server: Server = request.getfixturevalue("postgres")
    return at_once_home(quick / "home", "parcel", "footprint", book=server.address(server.database(), "at_once"))


def send(home: Home, *events: Event, partner: str | None = None) -> list[dict[str, Any]]:
    """Each event as a request of its own, all of them together."""
    requests = [Request(partner or each["source"], [json.dumps(each).encode()]) for each in events]
    return [json.loads(answer.body) for answer in Receiver(home).receive(requests, now=NOW)]


def test_a_parcel_box_is_booked_on_the_evening_of_its_day_and_a_ride_waits_for_its_window(home: Home) -> None:
    boxed, ridden = send(home, box("b1"), ride("r1"))
    assert boxed["verdicts"][0]["closes_on"] == "2025-06-04"
    assert ridden["verdicts"][0]["closes_on"] == "2025-06-07"
    settled = settle(home, now=NOW, at_once=True)
    assert (settled["batch"], settled["records"]) == (0, 1)
    assert balance(home, "cainiao", "anna") == BOX_MG
    assert settle(home, now=NOW, at_once=True)["batch"] is None
    assert settle_on(home, 8)["records"] == 1
    assert outcome(home, ride("r1")) == ["granted"]
    assert_verified(home)


def test_what_came_second_is_a_duplicate_of_what_was_settled_first(home: Home) -> None:
    send(home, box("b1", "anna", number="YT-7"))
    settle(home, now=NOW, at_once=True)
    send(home, box("b2", "ben", number="YT-7"), box("b1", "anna", number="YT-7"))
    settle(home, now=NOW, at_once=True)
    assert outcome(home, box("b2")) == ["duplicate_of"]
    assert outcome(home, box("b1")) == ["granted", "repeat"]
    assert (balance(home, "cainiao", "anna"), balance(home, "cainiao", "ben")) == (BOX_MG, 0)
    assert_verified(home)


def test_a_request_with_anything_that_waits_for_its_day_waits_as_a_whole(home: Home) -> None:
    both = [json.dumps(each).encode() for each in (box("b1"), box("b2"), withdrawal(box("b9"), "w1"))]
    (answer, alone) = Receiver(home).receive(
        [Request("cainiao", both), Request("cainiao", [json.dumps(box("b3")).encode()])], now=NOW
    )
    assert [each["verdict"] for each in json.loads(answer.body)["verdicts"]] == ["accepted"] * 3
    assert json.loads(alone.body)["accepted"] == 1
    assert settle(home, now=NOW, at_once=True)["records"] == 1
    assert outcome(home, box("b3")) == ["granted"]
    assert settle_on(home, 6)["records"] == 3
    assert_verified(home)


def test_a_withdrawal_and_a_correction_of_what_was_settled_at_once_come_with_the_day(home: Home) -> None:
    bill = power("p1")
    corrected = power("p2", energy_wh=20_000)
    corrected["data"] |= {"claim": bill["data"]["claim"], "withdraws": "p1"}
    send(home, box("b1"), bill)
    assert settle(home, now=NOW, at_once=True)["records"] == 2
    send(home, withdrawal(box("b1"), "w1"), corrected)
    assert settle(home, now=NOW, at_once=True)["batch"] is None
    assert settle_on(home, 6)["records"] == 2
    assert outcome(home, corrected) == ["granted"]
    assert balance(home, "alipay", "anna", "footprint_mg") == 20_000 * POWER_MG_PER_WH
    assert balance(home, "cainiao", "anna") == 0
    send(home, box("b4", number="YT-b1"))  # the parcel is nobody's again
    assert settle(home, now=on(6), at_once=True)["records"] == 1
    assert balance(home, "cainiao", "anna") == BOX_MG
    assert_verified(home)


def test_refused_rows_of_requests_that_are_told_apart_are_in_the_verdict_files(home: Home) -> None:
    bad = {**box("b2"), "time": "yesterday"}
    requests = [
        Request("cainiao", [json.dumps(each).encode() for each in group]) for group in ([box("b1"), bad], [bad])
    ]
    requests.append(Request("amap", [json.dumps(ride("r1")).encode()]))
    Receiver(home).receive(requests, now=NOW)
    settle(home, now=NOW, at_once=True)
    settle_on(home, 8)
    rows = home.book.submissions()
    assert [(row.rows, row.accepted, row.refused) for row in rows] == [(2, 1, 1), (2, 1, 1)]
    for row, line in zip(rows, ("2,b2,refused", "1,b2,refused"), strict=True):
        (verdict,) = (home.storage / row.verdicts).read_text().splitlines()[1:]
        assert verdict.startswith(line)
    assert_verified(home)


def test_a_file_of_reports_waits_for_the_day_whatever_is_in_it(home: Home, tmp_path: Path) -> None:
    intake(home, write(tmp_path / "boxes.ndjson", [box("b1"), box("b2")]), now=NOW)
    assert settle(home, now=NOW, at_once=True)["batch"] is None
    assert settle_on(home, 6)["records"] == 2


def test_an_act_just_after_midnight_is_at_once_too_however_the_clock_jumps(home: Home) -> None:
    early = box("b1")
    early["time"] = "2025-06-06T00:00:01+08:00"
    request = Request("cainiao", [json.dumps(early).encode()])
    Receiver(home).receive([request], now=on(5, 15).replace(minute=58))  # two minutes before midnight, partner is ahead
    assert settle(home, now=on(5, 15).replace(minute=59), at_once=True)["batch"] is None
    assert settle(home, now=on(5, 16), at_once=True)["records"] == 1
    send(home, box("b2"))  # the clock is back by a day
    assert settle(home, now=on(4, 12), at_once=True)["batch"] is None
    assert settle(home, now=on(6, 12), at_once=True)["records"] == 1
    assert_verified(home)


@pytest.mark.parametrize(
    ("family", "why"), [("trip", "overlap"), ("payment", "counts its acts"), ("walk", "no act of family")]
)
def test_a_family_that_meets_other_acts_of_its_day_cannot_be_settled_at_once(
    quick: Path, family: str, why: str
) -> None:
    with pytest.raises(TanzhangError, match=why) as refused:
        at_once_home(quick / "home", family)
    assert {problem.code for problem in refused.value.problems} == {"at-once-unsafe"}
    report = check_catalogue(Catalogue(quick / "home-catalogue"))
    assert {problem.code for problem in report.problems} == {"at-once-unsafe"}
