"""Movements of money: legs that sum to zero, names that are taken once, on both databases."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tanzhang.core.errors import TanzhangError
from tanzhang.service.market.check_money import check_money
from tanzhang.stores.book import money_move
from tanzhang.stores.book.chains import check_chains
from tanzhang.stores.home import Home

from ..homes import as_attacker, new_home

AT = "2026-07-01T04:00:00+00:00"
PAID = {"bank": -1_000, "sale:d1": 1_000}


def post(home: Home, kind: str, legs: dict[str, int], reference: str) -> int:
    with home.book.transaction() as con:
        return home.money.post(con, kind, legs, reference, AT)


def test_what_an_account_has_is_the_sum_of_its_legs_and_all_accounts_together_have_nothing(home: Home) -> None:
    assert home.money.balances() == {}
    post(home, "payment", PAID, "b-1")
    post(home, "payback", {"sale:d1": -1_000, "payback": 900, "fee:verification": 100, "sponsor:s": 0}, "d1")
    assert home.money.balances() == {"bank": -1_000, "fee:verification": 100, "payback": 900, "sale:d1": 0}
    assert home.money.balance("payback") == 900
    assert home.money.balance("party:nobody") == 0
    assert [(move.kind, dict(move.legs)) for move in home.money.moves("sale:d1", limit=1)] == [
        ("payback", {"fee:verification": 100, "payback": 900, "sale:d1": -1_000})
    ]
    assert [move.number for move in home.money.moves()] == [1, 0]
    assert [move.number for move in home.money.moves(before=1)] == [0]


def test_a_move_is_booked_once_and_its_name_is_no_other_ones(home: Home) -> None:
    first = post(home, "payment", PAID, "b-1")
    assert post(home, "payment", {**PAID, "sponsor:s": 0}, "b-1") == first
    with pytest.raises(TanzhangError) as refused:
        post(home, "payment", {"bank": -1_001, "sale:d1": 1_001}, "b-1")
    assert refused.value.code == "reference-taken"
    assert post(home, "refund", {"bank": 1_000, "sale:d1": -1_000}, "b-1") == first + 1
    assert home.money.balances() == {"bank": 0, "sale:d1": 0}
    found = home.money.move("payment", "b-1")
    assert found is not None
    assert dict(found.legs) == PAID
    assert home.money.move("payment", "b-2") is None


def test_many_moves_of_one_kind_are_numbered_in_their_order_and_a_repeat_among_them_is_one(home: Home) -> None:
    def out(fen: int) -> dict[str, int]:
        return {"payback": -fen, "bank": fen}

    with home.book.transaction() as con:
        asked = [("p-1", out(5)), ("p-2", out(7)), ("p-1", out(5))]
        assert home.money.post_many(con, "payout", asked, AT) == [0, 1, 0]
        assert home.money.balance("bank", con) == 12
    assert home.money.balance("bank") == 12


@pytest.mark.parametrize(
    "legs",
    [
        {"bank": 1},
        {"bank": 0, "payback": 0},
        {"bank": -1, "person 7": 1},
        {"bank": -1, "sale:": 1},
        {"bank": -(2**62), "payback": 2**62},
    ],
)
def test_what_is_no_movement_of_money_is_never_booked(home: Home, legs: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"zero|accounts|nothing"):
        post(home, "payment", legs, "b-1")
    assert home.money.moves() == []


def test_moves_are_chained_and_refuse_to_change(home: Home) -> None:
    for number in range(3):
        post(home, "payment", PAID, f"b-{number}")
    assert check_chains(home.book)[1] == []
    with pytest.raises(Exception, match="append-only"), home.book.transaction() as con:  # the driver's own error
        con.execute(money_move.update().values(amount_fen=0))
    with pytest.raises(Exception, match="append-only"), home.book.transaction() as con:
        con.execute(money_move.delete())


def post_and_fail(home: Home) -> None:
    with home.book.transaction() as con:
        home.money.post(con, "payment", PAID, "b-1", AT)
        raise RuntimeError("after it")


def test_a_move_goes_with_the_transaction_that_booked_it(home: Home) -> None:
    with pytest.raises(RuntimeError, match="after it"):
        post_and_fail(home)
    assert home.money.balances() == {}


ACCOUNTS = ("bank", "payback", "escrow", "sale:1", "fee:a")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(-50, 50), min_size=4, max_size=4)), max_size=8))
def test_no_sequence_of_moves_makes_money_or_books_one_twice(home: Home, asked: list[tuple[int, list[int]]]) -> None:
    run, before = uuid.uuid4().hex, home.money.balances()  # the home is the same for all examples
    booked: dict[int, dict[str, int]] = {}
    for name, amounts in asked:
        legs = dict(zip(ACCOUNTS, [*amounts, -sum(amounts)], strict=True))
        if not any(legs.values()):
            continue
        if booked.setdefault(name, legs) == legs:
            post(home, "payment", legs, f"{run}-{name}")
            continue
        with pytest.raises(TanzhangError) as refused:
            post(home, "payment", legs, f"{run}-{name}")
        assert refused.value.code == "reference-taken"
    after = home.money.balances()
    assert sum(after.values()) == 0
    for account in ACCOUNTS:
        added = sum(legs[account] for legs in booked.values())
        assert after.get(account, 0) - before.get(account, 0) == added


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE money_move SET amount_fen = amount_fen + 1 WHERE seq = 0",
        "UPDATE money_move SET account = 'nobody' WHERE seq = 0",
        "UPDATE money_move SET kind = 'other' WHERE seq = 0",
        "UPDATE money_move SET number = 7 WHERE seq > 1",
        "DELETE FROM money_move WHERE seq = 3",
    ],
)
def test_a_movement_that_was_changed_behind_the_book_is_found(quick: Path, change: str) -> None:
    home = new_home(quick / "home")
    for number in range(2):
        post(home, "payment", PAID, f"b-{number}")
    assert check_money(home) == (2, [])
    as_attacker(quick / "home").execute(change)
    assert {problem.code for problem in check_money(home)[1]} == {"money-mismatch"}
