"""Requests of partners, many at a time: answered row by row, durable, once; gathered, settled and verified."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tanzhang.service.gather import gather
from tanzhang.service.intake import intake
from tanzhang.service.receive import MOST_ROWS, Answer, Receiver, Request
from tanzhang.service.verify import verify
from tanzhang.stores.book import submission
from tanzhang.stores.home import Home
from tanzhang.stores.register.deliveries import inbox

from ..homes import (
    BOX_MG,
    DAY,
    Event,
    account,
    assert_verified,
    balance,
    booked,
    box,
    new_home,
    on,
    ride,
    settle_on,
    write,
)
from ..postgres import Server


@pytest.fixture(params=["sqlite", "postgresql"])
def home(request: pytest.FixtureRequest, quick: Path) -> Home:
    if request.param == "sqlite":
        return new_home(quick / "home")
    server: Server = request.getfixturevalue("postgres")
    return new_home(quick / "home", book=server.address(server.database()))


def request(*events: Event, partner: str = "cainiao", key: str | None = None) -> Request:
    return Request(partner, [json.dumps(each).encode() for each in events], key)


def receive(home: Home, *requests: Request, day: int = 6) -> list[Answer]:
    return Receiver(home).receive(requests, now=on(day))


def answered(answer: Answer) -> dict[str, Any]:
    assert answer.error is None
    found: dict[str, Any] = json.loads(answer.body)
    return found


def test_every_row_gets_its_verdict_by_position_and_id(home: Home) -> None:
    (answer,) = receive(home, request(box("b1"), {**box("b2"), "time": "yesterday"}, box("b3")))
    found = answered(answer)
    assert (found["rows"], found["accepted"], found["refused"]) == (3, 2, 1)
    first, second, third = found["verdicts"]
    assert first["position"] == 1
    assert first["verdict"] == "accepted"
    assert first["quantified_mg"] == str(BOX_MG)
    assert first["methodology"].startswith("cainiao.")
    assert first["closes_on"] == DAY.isoformat()
    assert (second["id"], second["verdict"], second["problems"][0]["code"]) == ("b2", "refused", "bad-time")
    assert second["problems"][0]["remedy"]
    assert third["id"] == "b3"
    assert third["action"] != first["action"]


def test_requests_that_come_together_are_answered_apart_and_each_partner_by_its_own_rules(home: Home) -> None:
    answers = receive(
        home,
        request(box("b1")),
        request(ride("r1"), ride("r2", hour=10), partner="amap"),
        request(box("b9"), partner="amap"),
        request(box("b2")),
    )
    found = [answered(answer) for answer in answers]
    assert [(each["rows"], each["accepted"]) for each in found] == [(1, 1), (2, 2), (1, 0), (1, 1)]
    assert [row["id"] for row in found[1]["verdicts"]] == ["r1", "r2"]
    codes = {problem["code"] for problem in found[2]["verdicts"][0]["problems"]}
    assert codes == {"partner-mismatch"}


def test_what_is_not_an_event_is_refused_and_takes_no_other_down(home: Home) -> None:
    events = [b"", b"[]", b"{", b'"x"', b"\xff", json.dumps(box("b1")).encode()]
    (answer,) = Receiver(home).receive([Request("cainiao", events)], now=on(6))
    found = answered(answer)
    assert [row["verdict"] for row in found["verdicts"]] == ["refused"] * 5 + ["accepted"]
    assert {row["problems"][0]["code"] for row in found["verdicts"][:5]} == {"malformed-row"}


def test_a_request_sent_again_gets_its_first_answer_whole_from_any_process(home: Home) -> None:
    once = request(box("b1"), {**box("b2"), "time": "x"}, key="k1")
    (first,) = receive(home, once)
    (again,) = receive(Home(home.folder), once, day=9)
    assert (again.body, again.repeated, first.repeated) == (first.body, True, False)
    together = receive(home, request(box("b3"), key="k3"), request(box("b3"), key="k3"))
    assert together[0].body == together[1].body
    assert [answer.repeated for answer in together] == [False, True]
    settle_on(home, 9)
    assert balance(home, "cainiao", "anna") == 2 * BOX_MG
    assert_verified(home)


def test_two_partners_may_use_one_key_and_one_partner_not_for_two_requests(home: Home) -> None:
    answers = receive(
        home, request(box("b1"), key="k"), request(ride("r1"), key="k", partner="amap"), request(box("b2"), key="k")
    )
    assert [answer.error and answer.error.code for answer in answers] == [None, None, "idempotency-key-reused"]
    (later,) = receive(home, request(box("b2"), key="k"))
    assert later.error is not None
    assert later.error.code == "idempotency-key-reused"


def test_a_process_that_was_slower_with_the_same_key_keeps_nothing_and_gives_the_answer_of_the_other(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, once = Receiver(home), request(box("b1"), key="k")
    fast = Receiver(Home(home.folder))
    screened = slow._screened

    def meanwhile(*arguments: Any) -> Any:
        fast.receive([once, request(box("b3"), key="taken")], now=on(6))
        return screened(*arguments)

    monkeypatch.setattr(slow, "_screened", meanwhile)
    (late, other, reused) = slow.receive([once, request(box("b2")), request(box("b4"), key="taken")], now=on(6))
    assert late.repeated
    assert reused.error is not None
    assert reused.error.code == "idempotency-key-reused"
    assert answered(late)["accepted"] == answered(other)["accepted"] == 1
    settle_on(home, 9)
    assert balance(home, "cainiao", "anna") == 3 * BOX_MG
    assert_verified(home)


def test_a_rehearsal_answers_alike_and_keeps_nothing(home: Home) -> None:
    once = request(box("b1"), box("b1"), key="k")
    (dry,) = Receiver(home).receive([once], now=on(6), dry_run=True)
    assert home.book.query(sa.select(inbox)) == []
    (real,) = receive(home, once)
    assert dry.body == real.body


def test_a_request_without_events_or_with_too_many_is_refused_as_a_whole(home: Home) -> None:
    answers = receive(home, request(), Request("cainiao", [b"{}"] * (MOST_ROWS + 1)), request(box("b1")))
    assert [answer.error and answer.error.code for answer in answers] == ["no-rows", "too-many-rows", None]


def test_the_inbox_becomes_one_submission_that_names_every_request(home: Home) -> None:
    receive(home, request(box("b1")), request(ride("r1"), {**ride("r2"), "time": "x"}, partner="amap"))
    receive(home, request(box("b2")))
    assert verify(home)["status"] == "verified"
    with home.settling():
        assert gather(home, now=on(6)) == 3
        assert gather(home, now=on(6)) == 0
    (row,) = home.book.rows(submission)
    assert (row.rows, row.accepted, row.refused) == (4, 3, 1)
    named = json.loads(row.answer)["deliveries"]
    assert [(partner, rows, accepted) for _, partner, _, rows, accepted in named] == [
        ("cainiao", "1", "1"),
        ("amap", "2", "1"),
        ("cainiao", "1", "1"),
    ]
    lines = (home.folder / row.verdicts).read_text().splitlines()
    assert lines[1].startswith("3,r2,refused,bad-time")
    assert_verified(home)


def test_what_comes_in_by_requests_is_settled_as_what_comes_in_by_file(home: Home, quick: Path) -> None:
    events = [box("b1"), box("b2", "bo"), box("b1"), box("b3", number="YT-b1"), {**box("b4"), "subject": ""}]
    receive(home, *(request(each) for each in events))
    assert settle_on(home, 9)["batch"] == 0
    other = new_home(quick / "other")
    intake(other, write(quick / "events.ndjson", events), now=on(6))
    settle_on(other, 9)
    assert booked(home)["records"] == booked(other)["records"]
    assert balance(home, "cainiao", "anna") == BOX_MG
    assert account(home, "cainiao", "bo") == account(other, "cainiao", "bo")
    assert_verified(home)


def test_few_rows_and_many_leave_the_same_records_and_balances(home: Home, quick: Path) -> None:
    groups = [
        [request(box("b1"), box("b2", "bo"), {**box("b3"), "time": "x"}), request(ride("r1"), partner="amap")],
        [request(box("b4"), box("b1")), request(ride("r2", hour=11), ride("r1"), partner="amap", key="k")],
    ]
    other = new_home(quick / "other")
    ways = (Receiver(home), Receiver(other, few_rows=0), Receiver(other, few_rows=1))
    for group in groups:
        few, many, either = (way.receive(group, now=on(6), dry_run=way is ways[2]) for way in ways)
        assert [answer.body for answer in few] == [answer.body for answer in many]
        assert [answer.body for answer in few] == [answer.body for answer in either]
    assert settle_on(home, 9)["batch"] == settle_on(other, 9)["batch"] == 0
    assert booked(home)["records"] == booked(other)["records"]
    assert_verified(home)


def test_answers_are_forgotten_after_a_while_and_then_a_repeat_is_told_so(home: Home) -> None:
    once = request(box("b1"), key="k")
    receive(home, once)
    assert home.deliveries.forget_answers("2025-06-05") == 0
    assert home.deliveries.forget_answers("2025-06-07") == 1
    (later,) = receive(home, once, day=9)
    assert later.error is not None
    assert later.error.code == "idempotency-answer-forgotten"
