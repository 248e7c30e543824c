"""The guard: what looks wrong is held with its reasons, kept out of settlement, and settled or refused by decision."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tanzhang.core.access import Actor, Role
from tanzhang.core.claim import ACTION, CHILD, identity
from tanzhang.core.errors import TanzhangError
from tanzhang.service.accounts import statement
from tanzhang.service.erase import erase
from tanzhang.service.guard import look, overview, refuse, release
from tanzhang.service.held import appeal, own_held, queue
from tanzhang.service.intake import intake
from tanzhang.service.links import link_child
from tanzhang.service.privacy import rotate_keys
from tanzhang.service.receive import Receiver, Request
from tanzhang.service.retention import tidy
from tanzhang.service.settle import settle
from tanzhang.service.standing import report_of
from tanzhang.stores.book import guard_move, manifest_of
from tanzhang.stores.home import Home
from tanzhang.stores.register.audit import audit
from tanzhang.stores.reports import ReportFile, read_report_slice, read_reports, report_slices

from ..homes import (
    DAY,
    FAST,
    METRO_MG_PER_M,
    Event,
    assert_verified,
    balance,
    booked,
    box,
    guarded,
    new_home,
    on,
    outcome,
    problems,
    ride,
    settle_on,
    withdrawal,
    write,
)

OPERATOR = Actor(Role.OPERATOR, "wang", "a test")


@pytest.fixture
def home(place: Callable[[str], str | None], quick: Path) -> Home:
    return guarded(quick / "home", place("guard"))


def take_in(home: Home, events: Iterable[Event], now: datetime | None = None) -> dict[str, Any]:
    listed = list(events)
    path = home.folder.parent / f"{uuid.uuid4().hex}.ndjson"
    return intake(home, write(path, listed), now=now or on(5, 15))


def held(home: Home, *states: str) -> list[Any]:
    return [row for row in home.guard.page(limit=1_000) if row.state in (states or ("held",))]


def rules_of(case: Any) -> list[str]:
    return [each["rule"] for each in json.loads(case.reasons)]


def test_a_held_act_is_durable_visible_and_not_settled_and_all_others_are(home: Home) -> None:
    take_in(home, [ride("honest"), ride("fast", "ben", distance_m=FAST)])
    settled = settle_on(home, 8)
    assert settled["records"] == 1
    assert outcome(home, ride("honest")) == ["granted"]
    assert outcome(home, ride("fast")) == []
    assert balance(home, "amap", "ben") == 0
    (case,) = held(home)
    (reason,) = json.loads(case.reasons)
    assert (case.score, reason["rule"]) == (100, "speed")
    assert reason["says"] == "40.0 m/s from start to end; at most 34.0 m/s for travel.metro"
    told = report_of(home, "amap", "fast")
    assert (told["state"], told["granted_mg"]) == ("held", None)
    assert "40.0 m/s" in told["reason"]
    (own,) = own_held(home, identity(home.identity_key, CHILD, "amap", "ben"))
    assert own["quantified_mg"] == str(FAST * METRO_MG_PER_M)
    assert settle_on(home, 9)["batch"] is None
    assert_verified(home)


def test_a_released_act_is_settled_by_the_next_batch_as_any_other(home: Home) -> None:
    fast = ride("fast", distance_m=FAST)
    take_in(home, [ride("honest", "ben"), fast])
    settle_on(home, 8)
    (case,) = held(home)
    said = release(home, [case.id], "the gate confirms it", actor=OPERATOR, now=on(9))
    assert said["status"] == "released"
    assert report_of(home, "amap", "fast")["state"] == "provisional"
    assert_verified(home)
    assert settle_on(home, 9)["records"] == 1
    assert outcome(home, fast) == ["granted"]
    assert balance(home, "amap", "anna") == FAST * METRO_MG_PER_M
    assert report_of(home, "amap", "fast")["state"] == "settled"
    with pytest.raises(TanzhangError, match="guard-case-decided"):
        refuse(home, [case.id], "too late", actor=OPERATOR, now=on(9))
    trail = home.book.query(sa.select(audit.c.act, audit.c.actor).where(audit.c.act.startswith("guard")))
    assert [tuple(row) for row in trail] == [("guard release", "wang")]
    assert_verified(home)


def test_released_before_its_batch_an_act_is_settled_as_if_it_had_never_been_held(
    place: Callable[[str], str | None], quick: Path
) -> None:
    """Whatever was held and released in time, records, postings and manifests are those of a programme without."""
    events = [ride("a"), ride("fast", "ben", distance_m=FAST), box("b"), ride("c", "cem", hour=9)]
    plain, watched = new_home(quick / "plain", book=place("plain")), guarded(quick / "watched", place("watched"))
    for home in (plain, watched):
        take_in(home, events)
    look(watched, now=on(6))
    release(watched, [case.id for case in held(watched)], "a test", actor=OPERATOR, now=on(6))
    for home in (plain, watched):
        settle_on(home, 8)

    def said(home: Home) -> Any:
        found = booked(home)
        return found["records"], [{**each, "programme": ""} for each in found["manifests"]], found["postings"]

    assert said(watched) == said(plain)
    assert_verified(watched)


def test_a_refused_act_stays_visible_with_its_reason_and_is_never_settled(home: Home) -> None:
    take_in(home, [ride("fast", distance_m=FAST)])
    look(home, now=on(6))
    (case,) = held(home)
    refuse(home, [case.id], "no such train", actor=OPERATOR, now=on(6))
    assert settle_on(home, 8)["batch"] is None
    told = report_of(home, "amap", "fast")
    assert (told["state"], told["reason"]) == ("refused", "refused by the operator: no such train")
    with pytest.raises(TanzhangError, match="guard-case-decided"):
        release(home, [case.id], "after all", actor=OPERATOR, now=on(9))
    assert_verified(home)


def test_sending_a_withheld_act_again_does_not_get_it_settled(home: Home) -> None:
    take_in(home, [ride("fast", distance_m=FAST)])
    settle_on(home, 8)
    take_in(home, [ride("fast", distance_m=20_000)], on(9))
    assert settle_on(home, 10)["batch"] is None
    first, second = reversed(held(home))
    assert (rules_of(first), rules_of(second)) == (["speed"], ["same_reference"])
    refuse(home, [first.id], "invented", actor=OPERATOR, now=on(10))
    assert {row.state for row in held(home, "held", "refused")} == {"refused"}
    take_in(home, [ride("fast", distance_m=19_000)], on(11))
    assert settle_on(home, 12)["batch"] is None
    assert [rules_of(case) for case in held(home)] == [["same_reference"]]
    assert_verified(home)


def test_a_released_act_of_a_claim_that_was_credited_meanwhile_is_its_duplicate(home: Home) -> None:
    claim = {"issuer": "gate", "identifier": "G-1"}
    take_in(home, [ride("fast", distance_m=FAST, claim=claim)])
    look(home, now=on(6))
    take_in(home, [ride("other", source="yikatong", claim=claim)], on(6))
    settle_on(home, 8)
    assert outcome(home, ride("other", source="yikatong")) == ["granted"]
    release(home, [held(home)[0].id], "a test", actor=OPERATOR, now=on(9))
    settle_on(home, 9)
    assert outcome(home, ride("fast")) == ["duplicate_of"]
    assert_verified(home)


def test_a_withdrawal_of_a_held_act_counts_once_it_is_released(home: Home) -> None:
    fast = ride("fast", distance_m=FAST)
    take_in(home, [fast])
    look(home, now=on(6))
    take_in(home, [withdrawal(fast, "back")], on(6))
    settle_on(home, 8)
    release(home, [held(home)[0].id], "a test", actor=OPERATOR, now=on(9))
    settle_on(home, 9)
    assert outcome(home, fast) == ["withdrawn"]
    assert balance(home, "amap", "anna") == 0
    assert_verified(home)


def test_each_rule_of_the_example_marks_what_it_is_for(home: Home) -> None:
    walks = [ride(f"walk-{n}", "shaker", hour=6 + n, distance_m=1_000) | {"type": "travel.walking"} for n in range(6)]
    cycling = {"type": "travel.bicycle"}
    farm = [ride(f"farm-{n}", f"farmer-{n}", device="phone-7") for n in range(4)]
    family = [ride(f"family-{n}", f"child-{n}", device="phone-8") for n in range(3)]
    shots = [ride(f"shot-{n}", f"friend-{n}", image_hash="ab12") for n in range(2)]
    inside = [
        ride("metro", "twin", hour=8, straight_m=9_000),
        ride("cycle", "twin", hour=8, minute=5, distance_m=5_000, straight_m=500) | cycling,
    ]
    around = [ride("around", "tourist", straight_m=1_000), ride("within", "flyer", straight_m=20_000)]
    take_in(home, [*walks, *farm, *family, *shots, *inside, *around, ride("honest", straight_m=8_000, device="p1")])
    assert look(home, now=on(6))["held"] == 6 + 4 + 2 + 1
    marked = {case.action: (case.state, sorted(rules_of(case))) for case in held(home, "held", "noted")}

    def of(reference: str) -> tuple[str, list[str]]:
        return marked.get(str(identity(home.identity_key, ACTION, "amap", reference)), ("", []))

    assert of("walk-0") == ("held", ["regular_lengths"])
    assert of("walk-3") == ("held", ["regular_intervals", "regular_lengths"])
    assert of("farm-1") == ("held", ["shared_device"])
    assert of("family-1") == of("honest") == ("", [])
    assert of("shot-0") == ("held", ["shared_image"])
    assert of("metro") == ("noted", ["overlapping"])
    assert of("cycle") == ("held", ["detour", "overlapping"])
    assert of("around") == of("within") == ("noted", ["detour"])
    assert_verified(home)


def test_what_is_told_for_the_guard_alone_is_hashed_and_in_no_record(home: Home) -> None:
    take_in(home, [ride("a", device="IMEI-356938035643809", image_hash="deadbeefdeadbeef", straight_m=9_000)])
    settle_on(home, 8)
    assert outcome(home, ride("a")) == ["granted"]
    files = [path for path in home.folder.rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        data = path.read_bytes()
        assert b"356938035643809" not in data, path
        assert b"deadbeefdeadbeef" not in data, path


def test_a_partner_whose_mean_moved_is_shown_and_its_acts_are_settled(home: Home) -> None:
    day_before = DAY.replace(day=4)
    before = [ride(f"b{n}", f"p{n}", day=day_before, distance_m=9_000 + n) for n in range(200)]
    after = [ride(f"a{n}", f"p{n}", distance_m=27_000 + n) for n in range(200)]
    take_in(home, before, on(4, 15))
    settle_on(home, 7)
    take_in(home, after, on(7, 15))
    assert look(home, now=on(7, 16)) == {"looked_at": 200, "held": 0, "noted": 0, "drifts": 1}
    (drift,) = overview(home)["drifts"]
    assert (drift["partner"], drift["behaviour"], drift["day"], drift["percent"]) == (
        "amap", "travel.metro", "2025-06-05", 297
    )  # fmt: skip
    assert settle_on(home, 8)["records"] == 200


def test_an_appeal_is_sealed_read_by_the_operator_and_goes_with_the_person(home: Home) -> None:
    take_in(home, [ride("fast", distance_m=FAST), ride("slow", "ben")])
    settle_on(home, 8)
    anna, action = (
        identity(home.identity_key, CHILD, "amap", "anna"),
        identity(home.identity_key, ACTION, "amap", "fast"),
    )
    ben = identity(home.identity_key, CHILD, "amap", "ben")
    with pytest.raises(TanzhangError, match="unknown-action"):
        appeal(home, ben, action, "it was mine", now=on(9))
    with pytest.raises(TanzhangError, match="appeal-malformed"):
        appeal(home, anna, action, "  ", now=on(9))
    appeal(home, anna, action, "I flew, sorry", now=on(9))
    assert appeal(home, anna, action, "I took the airport express", now=on(9))["appeal"] == "I took the airport express"
    (listed,) = queue(home, appealed=True)["items"]
    assert "appeal" not in listed
    (row,) = held(home)
    assert "airport" not in row.appeal
    rotate_keys(home)
    assert own_held(home, anna)[0]["appeal"] == "I took the airport express"
    assert_verified(home)
    assert erase(home, [anna], now=on(10))["open"] == [
        {"account": str(anna), "reports": 1, "last_closes_on": "2025-06-10"}
    ]
    refuse(home, [row.id], "by plane", actor=OPERATOR, now=on(10))
    assert erase(home, [anna], now=on(11))["reports"] == 1
    assert held(home, "held", "refused", "released") == []
    assert_verified(home)


def test_erasing_takes_a_released_act_out_of_both_files_it_stood_in(home: Home) -> None:
    take_in(home, [ride("fast", distance_m=FAST), ride("slow", "ben")])
    settle_on(home, 8)
    release(home, [held(home)[0].id], "a test", actor=OPERATOR, now=on(9))
    settle_on(home, 9)
    anna = identity(home.identity_key, CHILD, "amap", "anna")
    done = erase(home, [anna], now=on(10))
    assert (done["records"], done["reports"], done["open"]) == (1, 2, [])
    for path in (home.storage / "reports").rglob("*.parquet"):
        assert anna.bytes not in path.read_bytes()
    assert_verified(home)


def test_an_act_of_a_linked_account_is_held_and_shown_to_whose_it_was_on_its_day(home: Home) -> None:
    anna = uuid.UUID(int=7)
    child = identity(home.identity_key, CHILD, "amap", "anna")
    link_child(home, child, anna, valid_from=DAY, valid_until=None, now=on(5, 10))
    take_in(home, [ride("fast", distance_m=FAST)])
    look(home, now=on(6))
    assert [each["action"] for each in own_held(home, anna)] == [held(home)[0].action]
    assert own_held(home, child) == []


def test_open_acts_that_are_held_are_no_part_of_what_is_provisional(home: Home) -> None:
    take_in(home, [ride("fast", distance_m=FAST), ride("slow", hour=12)])
    child = identity(home.identity_key, CHILD, "amap", "anna")
    before = int(statement(home, child)["provisional"]["reduction_mg"])
    look(home, now=on(6))
    after = int(statement(home, child)["provisional"]["reduction_mg"])
    assert (before, after) == ((FAST + 10_000) * METRO_MG_PER_M, 10_000 * METRO_MG_PER_M)


def test_a_batch_commits_to_what_it_left_out(home: Home) -> None:
    take_in(home, [ride("fast", distance_m=FAST), ride("slow", "ben")])
    settle_on(home, 8)
    (row,) = home.book.batches()
    (move,) = home.book.rows(guard_move)
    assert (move.kind, json.loads(move.rows), move.batches) == ("hold", [1], 0)
    assert manifest_of(row)["book"]["guard_move"] == {"rows": "1", "head": move.chain}


def test_verification_finds_a_case_that_says_what_nobody_decided(home: Home) -> None:
    take_in(home, [ride("fast", distance_m=FAST)])
    look(home, now=on(6))
    with home.book.transaction() as con:
        con.execute(sa.text("UPDATE guard_case SET state = 'released'"))
    assert {each["code"] for each in problems(home)} == {"guard-mismatch"}


def test_a_file_with_a_held_act_is_kept_until_it_is_decided(home: Home) -> None:
    take_in(home, [ride("fast", distance_m=FAST), ride("slow", "ben")])
    settle_on(home, 8)
    later = on(8).replace(year=2026)
    assert tidy(home, now=later)["report_files"] == 0
    refuse(home, [held(home)[0].id], "a test", actor=OPERATOR, now=later)
    assert tidy(home, now=later)["report_files"] == 1
    assert_verified(home)


def test_a_programme_without_a_guard_holds_nothing(place: Callable[[str], str | None], quick: Path) -> None:
    home = new_home(quick / "plain", book=place("plain"))
    take_in(home, [ride("fast", distance_m=FAST)])
    assert look(home, now=on(6)) == {"looked_at": 0, "held": 0, "noted": 0, "drifts": 0}
    settle_on(home, 8)
    assert outcome(home, ride("fast")) == ["granted"]


def test_acts_that_are_settled_at_once_are_judged_before_they_are(
    place: Callable[[str], str | None], quick: Path
) -> None:
    home = guarded(quick / "home", place("at_once"), at_once="[parcel]")
    first = box("one")
    requests = [Request("cainiao", [json.dumps(first).encode()])]
    Receiver(home).receive(requests, now=on(5, 15))
    assert settle(home, now=on(5, 15), at_once=True)["records"] == 1
    assert outcome(home, first) == ["granted"]
    assert held(home, "held", "noted") == []
    assert_verified(home)


def test_every_way_to_read_open_reports_leaves_the_held_ones_out(home: Home) -> None:
    take_in(home, [ride(f"r{n}", f"p{n}", distance_m=FAST if n % 3 == 0 else 9_000) for n in range(12)])
    look(home, now=on(6))
    (row,) = home.book.open_submissions()
    left_out = home.guard.held_rows([row.seq])[row.seq]
    assert left_out == (1, 4, 7, 10)
    file = ReportFile(home.storage / row.file, row.seq, DAY, None, None, left_out)
    whole, counts = read_reports([file])
    slices = [read_report_slice(each, names) for each in report_slices([file], 5) for names in (None, ("close_day",))]
    assert (whole["row"].to_pylist(), counts) == ([2, 3, 5, 6, 8, 9, 11, 12], {row.seq: 8})
    assert [(each.num_rows, "row" in each.column_names) for each in slices] == [(8, True), (8, False)]
    assert not {"device", "image", "straight_m"} & {*whole.column_names}


def test_a_settlement_that_dies_after_holding_comes_to_the_same_when_it_is_run_again(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_in(home, [ride("fast", distance_m=FAST), ride("slow", "ben")])

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tanzhang.service.settle.seal", die)
        with pytest.raises(KeyboardInterrupt):
            settle_on(home, 8)
    assert (len(held(home)), home.book.batches()) == (1, [])
    assert_verified(home)
    assert settle_on(home, 8)["records"] == 1
    assert [move.kind for move in home.book.rows(guard_move)] == ["hold"]
    assert_verified(home)


def test_a_release_that_dies_before_its_commit_leaves_the_act_held(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    take_in(home, [ride("fast", distance_m=FAST)])
    look(home, now=on(6))

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tanzhang.stores.register.guard.append", die)
        with pytest.raises(KeyboardInterrupt):
            release(home, [held(home)[0].id], "a test", actor=OPERATOR, now=on(6))
    assert_verified(home)
    release(home, [held(home)[0].id], "a test", actor=OPERATOR, now=on(6))
    assert settle_on(home, 8)["records"] == 1
    assert_verified(home)
