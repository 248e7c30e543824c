"""Award runs, what accounts have and why, collecting, ending, taking back, joining, erasing: on both databases."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.service.award import award_due, expire_due
from tanzhang.service.epoch import close
from tanzhang.service.erase import erase
from tanzhang.service.intake import intake
from tanzhang.service.joining import join
from tanzhang.service.parting import part
from tanzhang.service.points import collect, figures_of, points_of, statement_of
from tanzhang.service.reading import Reader
from tanzhang.service.verify import verify
from tanzhang.service.work import Clock, Worker, chores
from tanzhang.stores.home import Home
from tanzhang.stores.points_runs import read_run
from tanzhang.stores.register.points import Spending

from ..homes import Event, account, assert_verified, box, on, ride, settle_on, withdrawal, write
from ..points_city import POINTS, UNIT, box_rule, points_home, ride_rule, rules

Make = Callable[..., Home]


@pytest.fixture
def make(place: Callable[[str], str | None], quick: Path) -> Make:
    """A home with rules of one's own, its book on either database."""
    return lambda *versions: points_home(quick / "home", *versions, book=place("points"))


WITHDRAWN = 14
"""The day of June on which what was withdrawn on the sixth is settled: a week after it, as parcels are."""


def act(home: Home, day: int, *events: Event, award: bool = True, settled: int | None = None) -> None:
    """Take acts in on a day of June 2025, settle them on the next one (or ``settled``), and award them."""
    path = home.folder.parent / f"acts-{uuid.uuid4().hex}.ndjson"
    intake(home, write(path, events), now=on(day + 1, 1))
    settle_on(home, settled or day + 1)
    if award:
        award_due(home, now=on(settled or day + 1))


def june(day: int) -> date:
    return date(2025, 6, day)


def anna(home: Home) -> uuid.UUID:
    return account(home, "cainiao", "anna")


def has(home: Home, who: uuid.UUID, day: int) -> dict[str, Any]:
    """What an account has on a day of June."""
    (said,) = points_of(Reader(home), who, now=on(day))["items"]
    return said


def usable(home: Home, who: uuid.UUID, day: int) -> int:
    return int(has(home, who, day)["usable"])


def spend(home: Home, who: uuid.UUID, amount: int, day: int, reference: str = "o-1") -> TanzhangError | None:
    with home.book.transaction() as con:
        spending = Spending(who, amount, "redeem", "mall", reference)
        (answer,) = home.points.spend(con, UNIT, [spending], at=on(day).isoformat(), day=june(day))
    return answer


def test_a_sealed_batch_is_awarded_once_and_says_why(make: Make) -> None:
    home = make()
    act(home, 5, box("a"), box("b"), box("c", "bo"), award=False)
    assert has(home, anna(home), 6) | {"as_of_batch": None, "batches_waiting": 1, "usable": "0"} == has(
        home, anna(home), 6
    )
    done = award_due(home, now=on(6))
    assert done == {"batches": 1, "programmes": {POINTS: {"granted": "150", "taken_back": "0"}}}
    assert award_due(home, now=on(6))["batches"] == 0
    assert (usable(home, anna(home), 6), has(home, anna(home), 6)["as_of_batch"]) == (100, "0")
    said = statement_of(Reader(home), POINTS, anna(home))
    assert [(item["what"], item["points"]) for item in said["items"]] == [("award", "50"), ("award", "50")]
    why = said["items"][0]["why"]
    assert (why["rule"], why["title"]["zh"], why["before_limits"], why["limits"]) == ("box", "测试 box", "50", [])
    assert said["items"][0]["last_day"] == "2025-09-13"
    assert_verified(home)


def test_statements_page_through_awards_and_moves_without_losing_any(make: Make) -> None:
    home = make()
    for day in (5, 6, 7):
        act(home, day, *(box(f"{day}-{number}", day=june(day)) for number in range(2)))
        spend(home, anna(home), 7, day + 1, f"o-{day}")
    reader, seen, cursor = Reader(home), [], None
    for _ in range(20):
        page = statement_of(reader, POINTS, anna(home), cursor=cursor, limit=2)
        seen += page["items"]
        cursor = page["next"]
        if cursor is None:
            break
    assert sum(int(item["points"]) for item in seen) == usable(home, anna(home), 8) == 279
    assert [item["what"] for item in seen].count("award") == 6
    assert [item["reference"] for item in seen if item["what"] == "redeem"] == ["o-7", "o-6", "o-5"]
    with pytest.raises(TanzhangError, match="cursor-malformed"):
        statement_of(reader, POINTS, anna(home), cursor="x")
    with pytest.raises(TanzhangError, match="unknown-points-programme"):
        statement_of(reader, "nothing", anna(home))


def test_limits_and_streaks_go_on_from_run_to_run(make: Make) -> None:
    cap = {"id": "day", "counts": "points", "limit": 70, "per": "day", "mark": "example", "locator": "x", "why": "y"}
    home = make(rules(caps=[cap]))
    act(home, 5, box("a"))
    act(home, 6, box("b"), box("c", day=june(6)))
    assert usable(home, anna(home), 7) == 120
    items = statement_of(Reader(home), POINTS, anna(home))["items"]
    (cut,) = [item for item in items if item["points"] == "20"]
    assert (cut["why"]["before_limits"], cut["why"]["limits"]) == ("50", ["cap:day"])
    assert_verified(home)


def test_what_must_be_collected_waits_and_lapses_by_itself(make: Make) -> None:
    home = make()
    who = account(home, "amap", "anna")
    path = home.folder.parent / "rides.ndjson"
    intake(home, write(path, [ride("1"), ride("2", hour=12)]), now=on(5, 15))
    assert (has(home, who, 6)["expected"], usable(home, who, 6)) == ("20", 0)
    settle_on(home, 8)
    award_due(home, now=on(8))
    said = has(home, who, 8)
    assert (said["usable"], said["expected"], [each["points"] for each in said["waiting"]]) == ("0", "0", ["20"])
    assert said["waiting"][0]["collect_by"] == "2025-06-10"
    refusal = spend(home, who, 1, 8)
    assert refusal is not None
    assert refusal.code == "points-short"
    name = said["waiting"][0]["id"]
    assert collect(home, POINTS, who, [name], now=on(10))["collected"] == "20"
    assert collect(home, POINTS, who, [name], now=on(10))["collected"] == "0"
    assert usable(home, who, 10) == 20
    with pytest.raises(TanzhangError) as refused:
        collect(home, POINTS, who, ["x", name, "y_z"], now=on(10))
    assert [each.where for each in refused.value.problems] == ["#/items/0", "#/items/2"]
    act(home, 9, ride("3", day=june(9)), award=False)
    settle_on(home, 12)
    award_due(home, now=on(12))
    assert collect(home, POINTS, who, now=on(15))["collected"] == "0"
    assert has(home, who, 15)["waiting"] == []
    assert expire_due(home, now=on(15)) == {POINTS: {"lots": 1, "points": "10"}}
    assert expire_due(home, now=on(15)) == {}
    assert usable(home, who, 15) == 20
    assert_verified(home)


def test_points_that_ended_are_not_counted_before_the_chore_and_are_booked_by_it(make: Make) -> None:
    home = make(rules(lasts={"until": "days", "number": 3}))
    act(home, 5, box("a"), box("b", "bo"))
    assert has(home, anna(home), 6)["ending"] == [{"day": "2025-06-08", "points": "50"}]
    assert spend(home, anna(home), 20, 8) is None
    assert usable(home, anna(home), 9) == 0
    figures = figures_of(home, POINTS, now=on(9))
    assert (figures["granted"], figures["ended"], figures["spent"]) == ("100", "80", {"mall": "20"})
    assert expire_due(home, now=on(9)) == {POINTS: {"lots": 2, "points": "80"}}
    assert figures_of(home, POINTS, now=on(9)) | {"ended": "80"} == figures_of(home, POINTS, now=on(9))
    assert_verified(home)


def test_what_an_act_earned_is_taken_back_with_it_and_owed_where_it_was_spent(make: Make) -> None:
    home = make()
    act(home, 5, box("a"), box("b"))
    assert spend(home, anna(home), 80, 6) is None
    act(home, 6, withdrawal(box("a"), "w", day=june(6)), settled=WITHDRAWN)
    assert usable(home, anna(home), WITHDRAWN) == -30
    assert statement_of(Reader(home), POINTS, anna(home))["items"][0]["points"] == "-50"
    act(home, WITHDRAWN, box("c", day=june(WITHDRAWN)))
    assert usable(home, anna(home), 15) == 20
    assert [lot.available for lot in home.points.lots(UNIT, anna(home))] == [20]
    (repaid, _) = home.points.moves(UNIT, anna(home))
    assert (repaid.kind, repaid.amount) == ("repay", 0)
    assert_verified(home)


def test_nothing_is_owed_for_points_that_had_ended_before_they_were_taken_back(make: Make) -> None:
    home = make(rules(lasts={"until": "days", "number": 3}))
    act(home, 5, box("a"), box("b"))
    assert spend(home, anna(home), 30, 6) is None
    assert expire_due(home, now=on(9)) == {POINTS: {"lots": 1, "points": "70"}}
    act(home, 6, withdrawal(box("a"), "w", day=june(6)), settled=WITHDRAWN)
    assert usable(home, anna(home), WITHDRAWN) == 0
    assert figures_of(home, POINTS, now=on(WITHDRAWN))["ended"] == "20"
    assert_verified(home)


def test_what_cannot_be_taken_back_is_written_off_where_the_rules_say_so(make: Make) -> None:
    sponsor = {"id": "shop", "name": {"en": "Shop", "zh": "店"}, "budget": 150, "why": "y"}
    home = make(rules(when_withdrawn="forgive", sponsors=[sponsor], rules=[box_rule(sponsor="shop")]))
    act(home, 5, box("a"), box("b"), box("c"))
    assert usable(home, anna(home), 6) == 150
    (budget,) = figures_of(home, POINTS, now=on(6))["budgets"]
    assert (budget["spent"], budget["left"]) == ("150", "0")
    assert spend(home, anna(home), 110, 6) is None
    act(home, 6, withdrawal(box("a"), "w", day=june(6)), settled=WITHDRAWN)
    assert usable(home, anna(home), WITHDRAWN) == 0
    figures = figures_of(home, POINTS, now=on(WITHDRAWN))
    assert figures["spent"] == {"mall": "110", "written_off": "-10"}
    assert figures["budgets"][0]["left"] == "0"
    assert_verified(home)


def test_a_budget_gets_back_what_is_owed_and_is_never_exceeded(make: Make) -> None:
    sponsor = {"id": "shop", "name": {"en": "Shop", "zh": "店"}, "budget": 120, "why": "y"}
    home = make(rules(sponsors=[sponsor], rules=[box_rule(sponsor="shop")]))
    act(home, 5, box("a"), box("b"))
    act(home, 6, withdrawal(box("a"), "w", day=june(6)), settled=WITHDRAWN)
    assert figures_of(home, POINTS, now=on(WITHDRAWN))["budgets"][0]["left"] == "70"
    act(home, WITHDRAWN, *(box(f"c{number}", f"s{number}", day=june(WITHDRAWN)) for number in range(3)))
    (budget,) = figures_of(home, POINTS, now=on(15))["budgets"]
    assert (budget["spent"], budget["left"]) == ("120", "0")
    assert_verified(home)


def test_points_go_with_an_account_that_is_joined_and_come_back_as_far_as_they_are_left(make: Make) -> None:
    home = make()
    act(home, 5, box("a"), box("b"))
    mother = uuid.UUID(int=7 << 100)
    joined = join(home, anna(home), mother, now=on(7))
    assert (usable(home, anna(home), 7), usable(home, mother, 7)) == (0, 100)
    act(home, 7, box("late", day=june(4)), box("new", day=june(7)))
    assert usable(home, mother, 8) == 200
    items = statement_of(Reader(home), POINTS, mother)["items"]
    assert sum(int(item["points"]) for item in items) == 200
    assert {item["account"] for item in items if item["what"] == "award"} == {str(mother), str(anna(home))}
    assert_verified(home)
    assert spend(home, mother, 170, 8) is None
    part(home, joined["id"], now=on(9))
    assert usable(home, anna(home), 9) + usable(home, mother, 9) == 30
    assert usable(home, anna(home), 9) >= 0
    assert usable(home, mother, 9) >= 0
    assert_verified(home)


def test_what_is_given_back_to_a_joined_account_goes_on_and_parting_a_chain_of_accounts_loses_nothing(
    make: Make,
) -> None:
    home = make()
    act(home, 5, box("a"))
    assert spend(home, anna(home), 30, 6) is None
    one, two = uuid.UUID(int=7 << 100), uuid.UUID(int=9 << 100)
    first = join(home, anna(home), one, now=on(7))
    second = join(home, one, two, now=on(7))
    with home.book.transaction() as con:
        assert home.points.give_back(con, UNIT, "redeem", ["o-1"], at="2025-06-07T05:00", as_kind="refund") == 1
    assert [usable(home, who, 7) for who in (anna(home), one, two)] == [0, 0, 50]
    part(home, first["id"], now=on(8))
    assert [usable(home, who, 8) for who in (anna(home), one, two)] == [50, 0, 0]
    part(home, second["id"], now=on(8))
    assert [usable(home, who, 8) for who in (anna(home), one, two)] == [50, 0, 0]
    assert_verified(home)


def test_erasing_leaves_sums_that_verify_and_no_points_that_anybody_has(make: Make) -> None:
    home = make()
    act(home, 5, box("a"), box("b"), box("c", "bo"))
    spend(home, anna(home), 30, 6)
    close(home, now=on(7))
    assert json.loads(home.log_entries()[-2])["moves"]["rows"] == "1"
    erase(home, [anna(home)], now=on(7))
    assert home.points.lots(UNIT, anna(home)) == []
    assert home.points.moves(UNIT, anna(home)) == []
    figures = figures_of(home, POINTS, now=on(7))
    assert figures["outstanding"] == {"held": "50", "waiting": "0", "owed": "0", "nobodys": "70"}
    assert figures["granted"] == "150"
    assert_verified(home)
    expire_due(home, now=datetime(2026, 6, 7, tzinfo=UTC))
    assert_verified(home)


def test_a_new_version_holds_for_acts_of_its_days(make: Make) -> None:
    old = rules(valid={"from": "2025-01-01", "until": "2025-06-06"})
    new = rules(version=2, since_last_version="twice as much", valid={"from": "2025-06-06", "until": None},
                rules=[box_rule(points="100"), ride_rule()])  # fmt: skip
    home = make(old, new)
    act(home, 6, box("a"), box("b", day=june(6)))
    assert usable(home, anna(home), 7) == 150
    run = home.points_runs.of_batch(UNIT, 0)
    assert run is not None
    assert len(json.loads(run.rules)) == 2
    assert read_run(home.storage, run)["version"].to_pylist() == [0, 1]
    assert_verified(home)


@pytest.mark.parametrize("what", ["file", "lot", "used"])
def test_verification_names_what_was_changed(make: Make, what: str) -> None:
    cap = {"id": "day", "counts": "points", "limit": 70, "per": "day", "mark": "example", "locator": "x", "why": "y"}
    home = make(rules(caps=[cap]))
    act(home, 5, box("a"), box("b"))
    run = home.points_runs.of_batch(UNIT, 0)
    assert run is not None
    if what == "file":
        path = home.folder / run.file
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    else:
        statement = {"lot": "UPDATE points_lot SET available = available + 1, granted = granted + 1",
                     "used": "UPDATE points_used SET amount = amount - 1"}[what]  # fmt: skip
        with home.book.transaction() as con:
            con.exec_driver_sql(statement)
    found = [each for check in verify(home)["checks"] for each in check["problems"]]
    assert {each["code"] for each in found} == {"points-mismatch"}


def test_rules_that_use_grams_up_are_refused_and_not_taken_for_others(make: Make) -> None:
    home = make(rules(switch="points_consume"))
    act(home, 5, box("a"), award=False)
    with pytest.raises(TanzhangError, match="points-consume"):
        award_due(home, now=on(6))
    assert home.points_runs.of(UNIT) == []


def test_while_somebody_settles_nobody_awards_and_a_worker_does_it_afterwards(make: Make) -> None:
    home = make()
    act(home, 5, box("a"), award=False)
    again = Home(home.folder)
    with home.settling(), pytest.raises(TanzhangError, match="home-busy"):
        award_due(again, now=on(6))
    own = [each for each in chores() if each.name in ("award", "points")]
    worker = Worker(lambda: again, own, clock=Clock(lambda: on(6)))
    assert [each["result"] for each in worker.once()] == ["done", "nothing"]
    assert [each["result"] for each in worker.once()] == ["nothing", "nothing"]
    assert usable(home, anna(home), 6) == 50
