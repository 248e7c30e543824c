"""Whatever is awarded, taken back, spent, given back, collected, joined, parted and ended, in whatever order.

No points come from nothing, none are spent twice, and an account that is carried on holds none; on both databases.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tanzhang.stores.book import points_move
from tanzhang.stores.home import Home
from tanzhang.stores.register.points import Spending, points_lot
from tanzhang.stores.register.points_runs import LOTS

from ..homes import new_home
from ..postgres import Server

FIRST = date(2025, 6, 1)
ACCOUNT = st.integers(0, 2)
AMOUNT = st.integers(1, 60)


class PointsMachine(RuleBasedStateMachine):
    """One unit and three accounts of a home; what it should come to is counted beside it."""

    def __init__(self, home: Home, write_off: bool) -> None:
        super().__init__()
        self.home, self.write_off = home, write_off
        self.unit = f"points:{uuid.uuid4()}"
        self.accounts = [uuid.uuid4() for _ in range(3)]
        self.day = FIRST
        self.awards: list[tuple[uuid.UUID, int, str, str]] = []
        self.granted = self.written = self.ended = 0
        self.spent: dict[str, int] = {}
        self.target: dict[uuid.UUID, tuple[str, uuid.UUID]] = {}

    def give(self, account: uuid.UUID, amount: int, last: str, collect_by: str) -> None:
        """What an award run does, or, below zero, what it takes back."""
        row = [account.bytes, last, FIRST.isoformat(), collect_by, amount]
        lots = pa.table([pa.array([value], kind) for value, kind in zip(row, LOTS.types, strict=True)], schema=LOTS)
        with self.home.book.transaction() as con:
            self.home.points_runs.give(con, self.unit, lots)
            self.ended -= self.home.points.take_from_ended(con, self.unit)
            self.home.points.follow(con, [account], at="now")
            self.written += self.home.points.settle_debts(
                con, self.unit, at="now", day=self.day, write_off=self.write_off
            )
        self.granted += amount

    @rule(account=ACCOUNT, amount=AMOUNT, days=st.integers(0, 9), waits=st.booleans())
    def award(self, account: int, amount: int, days: int, waits: bool) -> None:
        last = (self.day + timedelta(days=days)).isoformat()
        by = min(last, (self.day + timedelta(days=2)).isoformat()) if waits else ""
        self.awards.append((self.accounts[account], amount, last, by))
        self.give(*self.awards[-1])

    @rule(number=st.integers(0, 5))
    def take_back(self, number: int) -> None:
        if number < len(self.awards):
            account, amount, last, by = self.awards.pop(number)
            self.give(account, -amount, last, by)

    @rule(account=ACCOUNT, amount=AMOUNT, order=st.integers(0, 3))
    def spend(self, account: int, amount: int, order: int) -> None:
        who, there = self.accounts[account], self.usable(account)
        with self.home.book.transaction() as con:
            spending = Spending(who, amount, "redeem", "mall", str(order))
            (refusal,) = self.home.points.spend(con, self.unit, [spending], at="now", day=self.day)
        if str(order) in self.spent:
            assert self.usable(account) == there
        elif there >= amount:
            assert refusal is None
            self.spent[str(order)] = amount
            assert self.usable(account) == there - amount
        else:
            assert refusal is not None
            assert refusal.code == "points-short"

    @rule(order=st.integers(0, 3), extended=st.booleans())
    def give_back(self, order: int, extended: bool) -> None:
        until = self.day + timedelta(days=3) if extended else None
        with self.home.book.transaction() as con:
            self.home.points.give_back(
                con, self.unit, "redeem", [str(order)], at="now", as_kind="refund", not_before=until
            )
        if str(order) in self.spent:
            self.spent[str(order)] = 0

    @rule(account=ACCOUNT)
    def collect(self, account: int) -> None:
        with self.home.book.transaction() as con:
            self.home.points.collect(con, self.unit, self.accounts[account], None, at="now", day=self.day)

    @rule(days=st.integers(1, 4))
    def pass_days(self, days: int) -> None:
        self.day += timedelta(days=days)
        before = [self.usable(account) for account in range(3)]
        with self.home.book.transaction() as con:
            self.ended += self.home.points.end(con, self.unit, self.day, (b"", b"\xff" * 16))[1]
        assert [self.usable(account) for account in range(3)] == before

    @rule(source=ACCOUNT, into=ACCOUNT)
    def join(self, source: int, into: int) -> None:
        first, root = self.accounts[source], self.accounts[into]
        while root in self.target:
            root = self.target[root][1]
        if first in self.target or root == first:
            return
        name = uuid.uuid4().hex
        said = {"id": name, "kind": "link", "source": str(first), "target": str(self.accounts[into]), "carries": 1}
        dated = {"valid_from": "2025-06-01", "moved": "[]", "made_at": "now"}
        with self.home.book.transaction() as con:
            self.home.joinings.begin(con, {**said, **dated}, {})
        self.target[first] = name, self.accounts[into]

    @rule(source=ACCOUNT)
    def part(self, source: int) -> None:
        first = self.accounts[source]
        if first in self.target:
            row = self.home.joinings.get(self.target.pop(first)[0])
            with self.home.book.transaction() as con:
                self.home.joinings.finish(con, row, at="now", valid_until="2025-06-02")

    def usable(self, account: int) -> int:
        return self.home.points.usable(self.unit, self.accounts[account], self.day)

    @invariant()
    def nothing_comes_from_nothing(self) -> None:
        lots = self.home.book.query(sa.select(points_lot).where(points_lot.c.unit == self.unit))
        moves = self.home.book.query(sa.select(points_move).where(points_move.c.unit == self.unit))
        assert sum(lot.granted for lot in lots) == self.granted
        assert sum(lot.ended for lot in lots) == self.ended
        left = sum(lot.available + lot.ended for lot in lots)
        assert left + sum(self.spent.values()) == self.granted + self.written
        assert left == self.granted + sum(int(part[2]) for move in moves for part in json.loads(move.lots))
        by_counter: dict[str, int] = {}
        for move in moves:
            by_counter[move.counter] = by_counter.get(move.counter, 0) + move.amount
            assert move.amount == sum(int(part[2]) for part in json.loads(move.lots))
        assert by_counter.pop("mall", 0) == -sum(self.spent.values())
        assert by_counter.pop("written_off", 0) == self.written
        assert not any(by_counter.values())
        carried = {account.bytes for account in self.target}
        assert not any(lot.available for lot in lots if bytes(lot.account) in carried)
        if self.write_off:
            assert all(lot.available >= 0 for lot in lots)


@pytest.fixture(params=["sqlite", "postgresql"], scope="module")
def home(request: pytest.FixtureRequest, in_memory: Path) -> Home:
    book = None
    if request.param == "postgresql":
        server: Server = request.getfixturevalue("postgres")
        book = server.address(server.database(), "points")
    folder = in_memory / f"points-{request.param}"
    folder.mkdir()
    return new_home(folder / "home", book=book)


@pytest.mark.parametrize("write_off", [False, True], ids=["owed", "written off"])
def test_no_sequence_makes_points_from_nothing_or_spends_them_twice(home: Home, write_off: bool) -> None:
    checks = (HealthCheck.too_slow, HealthCheck.filter_too_much)
    make: Callable[[], Any] = lambda: PointsMachine(home, write_off)  # noqa: E731 - hypothesis wants a factory
    run_state_machine_as_test(
        make, settings=settings(max_examples=8, stateful_step_count=20, deadline=None, suppress_health_check=checks)
    )
