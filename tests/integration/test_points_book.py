"""What accounts hold in points: lots, spendings and what is given back, on both databases."""

from __future__ import annotations

import json
import uuid
from datetime import date

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tanzhang.core.errors import TanzhangError
from tanzhang.stores.book import points_move
from tanzhang.stores.book.chains import check_chains
from tanzhang.stores.home import Home
from tanzhang.stores.register.points import Lot, Spending

from ..homes import grant_points

UNIT = "points:test"
ANNA, BO = uuid.UUID(int=7 << 100), uuid.UUID(int=9 << 100)
DAY = date(2026, 7, 1)
AT = "2026-07-01T04:00:00+00:00"


def grant(home: Home, account: uuid.UUID, amount: int, last: str, first: str = "2026-01-01") -> None:
    grant_points(home, UNIT, account, amount=amount, last=last, first=first)


def spend(home: Home, *spendings: Spending, day: date = DAY) -> list[TanzhangError | None]:
    with home.book.transaction() as con:
        return home.points.spend(con, UNIT, spendings, at=AT, day=day)


def give_back(home: Home, *references: str, not_before: date | None = None) -> int:
    with home.book.transaction() as con:
        return home.points.give_back(con, UNIT, "redeem", references, at=AT, as_kind="refund", not_before=not_before)


def buying(amount: int, reference: str, account: uuid.UUID = ANNA) -> Spending:
    return Spending(account, amount, "redeem", "mall", reference)


def test_points_that_end_first_are_spent_first_and_go_back_to_where_they_were(home: Home) -> None:
    grant(home, ANNA, 30, "2026-12-31")
    grant(home, ANNA, 20, "2026-07-01")
    grant(home, ANNA, 500, "2026-06-30")
    grant(home, ANNA, 500, "2027-12-31", first="2026-07-02")
    assert home.points.usable(UNIT, ANNA, DAY) == 50
    assert spend(home, buying(40, "o-1")) == [None]
    assert home.points.usable(UNIT, ANNA, DAY) == 10
    (move,) = home.points.moves(UNIT, ANNA)
    assert (move.amount, move.counter) == (-40, "mall")
    assert json.loads(move.lots) == [["2026-07-01", "2026-01-01", "-20"], ["2026-12-31", "2026-01-01", "-20"]]
    assert give_back(home, "o-1", "never-was") == 1
    assert home.points.lots(UNIT, ANNA)[1:3] == [
        Lot("2026-07-01", "2026-01-01", 20, 20),
        Lot("2026-12-31", "2026-01-01", 30, 30),
    ]
    assert give_back(home, "o-1") == 0
    assert home.points.usable(UNIT, ANNA, DAY) == 50


def test_points_given_back_after_their_last_day_can_be_used_until_the_day_that_is_said(home: Home) -> None:
    grant(home, ANNA, 20, "2026-07-01")
    spend(home, buying(20, "o-1"))
    give_back(home, "o-1", not_before=date(2026, 7, 31))
    assert home.points.usable(UNIT, ANNA, date(2026, 7, 20)) == 20
    assert home.points.usable(UNIT, ANNA, date(2026, 8, 1)) == 0


def test_a_spending_is_booked_once_and_its_name_is_no_other_ones(home: Home) -> None:
    grant(home, ANNA, 50, "2026-12-31")
    grant(home, BO, 50, "2026-12-31")
    assert spend(home, buying(20, "o-1"), buying(20, "o-1")) == [None, None]
    again, other, more = spend(home, buying(20, "o-1"), buying(20, "o-1", BO), buying(21, "o-1"))
    assert [each and each.code for each in (again, other, more)] == [None, *2 * ["points-reference-taken"]]
    assert (home.points.usable(UNIT, ANNA, DAY), home.points.usable(UNIT, BO, DAY)) == (30, 50)


def test_who_has_too_few_spends_nothing_and_others_of_the_group_do(home: Home) -> None:
    grant(home, ANNA, 50, "2026-12-31")
    grant(home, BO, 5, "2026-12-31")
    answers = spend(home, buying(6, "b-1", BO), buying(30, "a-1"), buying(30, "a-2"), buying(20, "a-3"))
    assert [answer and answer.code for answer in answers] == ["points-short", None, "points-short", None]
    assert (home.points.usable(UNIT, ANNA, DAY), home.points.usable(UNIT, BO, DAY)) == (0, 5)


def test_moves_are_chained_and_refuse_to_change(home: Home) -> None:
    grant(home, ANNA, 50, "2026-12-31")
    spend(home, *(buying(1, f"o-{number}") for number in range(5)))
    assert check_chains(home.book)[1] == []
    with pytest.raises(Exception, match="append-only"), home.book.transaction() as con:  # the driver's own error
        con.execute(points_move.update().values(amount=0))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["spend", "give back", "grant"]), st.integers(0, 3), st.integers(1, 60)), max_size=12
    )
)
def test_no_sequence_makes_points_from_nothing_or_spends_them_twice(
    home: Home, steps: list[tuple[str, int, int]]
) -> None:
    run = uuid.uuid4()  # the home is the same for all examples
    granted, spent = 0, dict[str, int]()
    for number, (what, order, amount) in enumerate(steps):
        reference = f"{run}-{order}"
        if what == "grant":
            grant(home, run, amount, f"2026-12-{number + 10}")
            granted += amount
        elif what == "spend" and spend(home, buying(amount, reference, run)) == [None]:
            assert spent.setdefault(reference, amount) in (amount, 0)
        elif what == "give back" and give_back(home, reference):
            spent[reference] = 0
        assert home.points.usable(UNIT, run, DAY) == granted - sum(spent.values()) >= 0
    moved = sum(row.amount for row in home.points.moves(UNIT, run))
    assert granted + moved == home.points.usable(UNIT, run, DAY)
