"""Award runs booked in slices, stopped between any two of them, and what people do meanwhile: on both databases.

A run is stopped by what is told of its progress, which is told before each slice; the next call goes on with it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tanzhang.core.errors import TanzhangError
from tanzhang.service import award_booking
from tanzhang.service.award import award_due, expire_due, is_due
from tanzhang.service.erase import erase
from tanzhang.service.intake import intake
from tanzhang.service.joining import join
from tanzhang.service.parting import part
from tanzhang.service.points import figures_of, points_of
from tanzhang.service.reading import Reader
from tanzhang.service.retention import tidy
from tanzhang.service.verify import verify
from tanzhang.stores.book import points_move
from tanzhang.stores.home import Home
from tanzhang.stores.register.points import Spending, points_lot
from tanzhang.stores.register.points_runs import EXPIRE, points_budget, points_open, points_used

from ..homes import account, assert_verified, box, on, settle_on, withdrawal, write
from ..points_city import POINTS, UNIT, box_rule, points_home, ride_rule, rules

PEOPLE = ("anna", "bo", "carl", "dora", "emil")
SLICES = len(PEOPLE)
DAILY = {"id": "day", "counts": "points", "limit": 90, "per": "day", "mark": "example", "locator": "x", "why": "y"}
MOTHER = uuid.UUID(int=7 << 100)

Make = Callable[..., Home]


class StopError(Exception):
    """The run stops here."""


def stopping(after: int) -> Callable[[str, int, int], None]:
    """Progress that lets so many slices pass."""
    left = [after]

    def told(_: str, __: int, ___: int) -> None:
        if not left[0]:
            raise StopError
        left[0] -= 1

    return told


@pytest.fixture(autouse=True)
def one_account_a_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(award_booking, "SLICE_ROWS", 1)


@pytest.fixture
def make(place: Callable[[str], str | None], quick: Path) -> Make:
    """A home with a limit of 90 points a day, whose first batch of five people is not awarded yet."""

    def made(name: str = "home", *versions: Any) -> Home:
        home = points_home(quick / name, *(versions or (rules(caps=[DAILY]),)), book=place(name))
        events = [box(f"{who}-{number}", who) for who in PEOPLE for number in (1, 2)]
        settle(home, 6, *events)
        return home

    return made


def settle(home: Home, day: int, *events: Any) -> None:
    intake(home, write(home.folder.parent / f"acts-{uuid.uuid4().hex}.ndjson", events), now=on(day, 1))
    settle_on(home, day)


def stop(home: Home, after: int, day: int = 6) -> None:
    """Award until so many slices are booked."""
    with pytest.raises(StopError):
        award_due(home, now=on(day), progress=stopping(after))


def child(home: Home, name: str) -> uuid.UUID:
    return account(home, "cainiao", name)


def in_order(home: Home) -> list[uuid.UUID]:
    """The people in the order in which slices give them points."""
    return sorted((child(home, name) for name in PEOPLE), key=lambda each: each.bytes)


def usable(home: Home, who: uuid.UUID, day: int = 6) -> int:
    return home.points.usable(UNIT, who, date(2025, 6, day))


def spend(home: Home, who: uuid.UUID, amount: int, day: int = 6) -> TanzhangError | None:
    with home.book.transaction() as con:
        spending = Spending(who, amount, "redeem", "mall", f"{who}")
        (answer,) = home.points.spend(con, UNIT, [spending], at=on(day).isoformat(), day=date(2025, 6, day))
    return answer


def books(home: Home) -> Any:
    """All that runs and moves come to, but for moments and the names of joinings, which are never the same."""
    run = ("unit", "batch", "rules", "rows", "granted", "taken_back", "ended", "sponsors", "file_digest")
    moved = (points_move.c.unit, points_move.c.kind, points_move.c.account, points_move.c.amount, points_move.c.lots)
    tables = (points_lot.c, points_used.c, points_budget.c, points_open.c, moved)
    return (
        [tuple(getattr(each, name) for name in run) for each in home.points_runs.of(UNIT)],
        [sorted(map(tuple, home.book.query(sa.select(*columns)))) for columns in tables],
    )


def notes(home: Home) -> list[str]:
    return [note for check in verify(home)["checks"] for note in check["notes"]]


def second_batch(home: Home) -> None:
    """Anna's second act is taken back after she spent all, Bo's account is joined, its acts are late."""
    award_due(home, now=on(6))
    assert spend(home, child(home, "anna"), 90) is None
    join(home, child(home, "bo"), MOTHER, now=on(6))
    boxes = [box(f"{who}-3", who, day=date(2025, 6, 4)) for who in PEOPLE[1:]]
    settle(home, 14, withdrawal(box("anna-2"), "w"), *boxes)


def test_a_run_in_slices_comes_to_the_same_books_as_a_run_in_one(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    home = make("sliced")
    second_batch(home)
    assert award_due(home, now=on(14))["programmes"][POINTS] == {"granted": "200", "taken_back": "50"}
    monkeypatch.setattr(award_booking, "SLICE_ROWS", 1_000)
    whole = make("whole")
    second_batch(whole)
    award_due(whole, now=on(14))
    assert books(home) == books(whole)
    assert usable(home, child(home, "bo"), 14) == 0
    assert usable(home, MOTHER, 14) == 140
    assert_verified(home)


def test_a_run_that_stops_anywhere_is_gone_on_with_and_comes_to_the_same_books(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make("whole")
    award_due(whole, now=on(6))
    for after in (1, SLICES - 1):
        home = make(f"home{after}")
        stop(home, after)
        (run,) = home.points_runs.open_runs()
        assert (run.batch, run.granted, 0 < run.done < 10) == (0, 450, True)
        (said,) = points_of(Reader(home), child(home, "anna"), now=on(6))["items"]
        assert (said["as_of_batch"], said["batches_waiting"]) == (None, 1)
        assert sum(usable(home, who) for who in in_order(home)) == 90 * after
        assert_verified(home)
        assert any("is open" in note for note in notes(home))
        assert is_due(home)
        with monkeypatch.context() as patched:
            patched.setattr("tanzhang.service.award.compute", None)  # a run whose mark stands is not computed again
            assert award_due(home, now=on(6)) == {
                "batches": 1,
                "programmes": {POINTS: {"granted": "450", "taken_back": "0"}},
            }
        assert books(home) == books(whole)
        assert not is_due(home)
        assert_verified(home)


def test_a_run_may_stop_after_every_slice(make: Make) -> None:
    home, whole = make(), make("whole")
    award_due(whole, now=on(6))
    for _ in range(SLICES - 1):
        stop(home, 1)
    award_due(home, now=on(6))
    assert books(home) == books(whole)


def test_people_spend_what_slices_gave_them_and_no_more(make: Make) -> None:
    home = make()
    stop(home, 2)
    first, second, third = in_order(home)[:3]
    assert spend(home, first, 90) is None
    refused = spend(home, third, 1)
    assert refused is not None
    assert refused.code == "points-short"
    award_due(home, now=on(6))
    assert [usable(home, who) for who in (first, second, third)] == [0, 90, 90]
    assert_verified(home)


def test_points_of_a_run_that_is_open_end_on_their_days(make: Make) -> None:
    home = make("home", rules(caps=[DAILY], lasts={"until": "days", "number": 2}))
    stop(home, 2)
    assert expire_due(home, now=on(20))[POINTS]["points"] == "180"
    assert_verified(home)
    award_due(home, now=on(20))
    assert expire_due(home, now=on(20))[POINTS]["points"] == str(450 - 180)
    assert_verified(home)


def test_what_ends_on_one_day_is_ended_by_some_accounts_at_a_time(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    home = make("home", rules(caps=[DAILY], lasts={"until": "days", "number": 2}))
    award_due(home, now=on(6))
    erase(home, [in_order(home)[1]], now=on(6))
    monkeypatch.setattr("tanzhang.service.award.END_LOTS", 2)
    assert expire_due(home, now=on(20))[POINTS] == {"lots": 5, "points": "450"}
    assert [(run.rows, run.ended) for run in home.points_runs.of(UNIT, EXPIRE)] == [(2, 180), (2, 180), (1, 90)]
    assert expire_due(home, now=on(20)) == {}
    assert_verified(home)


@pytest.mark.parametrize(("after", "few"), [(1, 0), (2, 1_000)])
def test_accounts_that_are_joined_or_parted_between_slices_hold_what_they_would_without(
    make: Make, monkeypatch: pytest.MonkeyPatch, after: int, few: int
) -> None:
    monkeypatch.setattr(award_booking, "_FEW", few)
    home = make()
    own = in_order(home)
    before = [join(home, who, MOTHER, since=date(2025, 6, 6), now=on(6)) for who in own[:2]]
    stop(home, after)
    join(home, own[2], MOTHER, since=date(2025, 6, 6), now=on(6))
    assert_verified(home)
    part(home, before[0]["id"], now=on(6))
    assert usable(home, own[1]) == 0
    award_due(home, now=on(6))
    assert [usable(home, who) for who in (*own[:3], MOTHER)] == [90, 0, 0, 180]
    assert_verified(home)


def test_who_is_erased_between_slices_keeps_no_points_and_sums_stay(make: Make) -> None:
    home = make()
    stop(home, 2)
    first, last = in_order(home)[0], in_order(home)[-1]
    assert erase(home, [first, last], now=on(6))["accounts"] == 2
    assert_verified(home)
    award_due(home, now=on(6))
    assert [home.points.lots(UNIT, who) for who in (first, last)] == [[], []]
    left = home.points_runs.used(UNIT, [each.bytes for each in in_order(home)])["account"].to_pylist()
    assert not {first.bytes, last.bytes} & set(left)
    figures = figures_of(home, POINTS, now=on(6))
    assert (figures["granted"], figures["outstanding"]["nobodys"]) == ("450", "180")
    assert_verified(home)


def test_what_is_owed_is_repaid_by_a_persons_account_in_a_later_slice(make: Make) -> None:
    home = make("home", rules(when_withdrawn="forgive"))
    award_due(home, now=on(6))
    own = in_order(home)
    name = {child(home, each): each for each in PEOPLE}
    assert spend(home, own[0], 100) is None
    for who in own[:2]:
        join(home, who, MOTHER, since=date(2025, 6, 6), now=on(6))
    assert spend(home, MOTHER, 100) is None  # it has nothing to repay what is owed from before its last slice
    late = box("late", name[own[1]], day=date(2025, 6, 4))
    settle(home, 14, withdrawal(box(f"{name[own[0]]}-1", name[own[0]]), "w"), late)
    stop(home, 1, day=14)
    assert usable(home, MOTHER, 14) == -50
    assert_verified(home)
    award_due(home, now=on(14))
    assert usable(home, MOTHER, 14) == 0
    assert home.points_runs.moved(UNIT).get("written_off") is None
    assert_verified(home)


def test_a_batch_that_is_settled_while_a_run_is_open_is_awarded_after_it(make: Make) -> None:
    home = make()
    stop(home, 3)
    settle(home, 7, box("next", "bo", day=date(2025, 6, 6)))
    assert_verified(home)
    assert award_due(home, now=on(7))["batches"] == 2
    assert [run.batch for run in home.points_runs.of(UNIT)] == [0, 1]
    assert_verified(home)


def test_each_programme_has_a_run_and_a_mark_of_its_own(make: Make) -> None:
    other = rules(id="other_points", rules=[box_rule(points="1"), ride_rule(points="1")])
    home = make("home", rules(caps=[DAILY]), other)
    stop(home, SLICES + 3)
    assert [(run.unit, run.batch) for run in home.points_runs.open_runs()] == [("points:other_points", 0)]
    assert_verified(home)
    home.kept.clear()
    assert award_due(home, now=on(6))["programmes"] == {
        POINTS: {"granted": "0", "taken_back": "0"},
        "other_points": {"granted": "10", "taken_back": "0"},
    }
    assert_verified(home)


def test_files_of_a_run_that_is_open_are_kept_and_those_it_needs_no_more_are_tidied_away(make: Make) -> None:
    home = make()
    stop(home, 2)
    (run,) = home.points_runs.open_runs()
    later = on(6) + timedelta(days=4_000)  # files are as old as the clock of this machine says
    tidy(home, now=later)
    assert run.file is not None
    assert run.used_file is not None
    assert (home.folder / run.file).is_file()
    award_due(home, now=on(6))
    assert tidy(home, now=later)["orphans"] == 1
    assert not (home.folder / run.used_file).exists()
    assert_verified(home)


@pytest.mark.parametrize("which", ["file", "used_file"])
def test_a_file_of_an_open_run_that_is_changed_or_missing_is_found_and_never_booked(make: Make, which: str) -> None:
    home = make()
    stop(home, 2)
    (run,) = home.points_runs.open_runs()
    path = home.folder / getattr(run, which)
    kept = path.read_bytes()
    for content, code in ((kept[:-1] + b"x", "points-file-changed"), (None, "points-file-missing")):
        path.unlink() if content is None else path.write_bytes(content)
        found = [each["code"] for check in verify(home)["checks"] for each in check["problems"]]
        assert set(found) == {"points-mismatch"}
        with pytest.raises(TanzhangError, match=code):
            award_due(home, now=on(6))
    path.write_bytes(kept)
    award_due(home, now=on(6))
    assert_verified(home)


@pytest.mark.parametrize("change", ["done = done + 2", "granted = granted + 1", "batch = 1"])
def test_a_mark_that_says_something_else_is_found(make: Make, change: str) -> None:
    home = make()
    stop(home, 2)
    with home.book.transaction() as con:
        con.exec_driver_sql(f"UPDATE points_open SET {change}")
    found = [each["code"] for check in verify(home)["checks"] for each in check["problems"]]
    assert set(found) == {"points-mismatch"}
