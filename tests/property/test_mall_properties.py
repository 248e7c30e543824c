"""Any sequence of orders, payments, takings, cancellations and times keeps stock, points, codes and history in step."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tanzhang.core.errors import TanzhangError
from tanzhang.core.order import State
from tanzhang.service.check_mall import check_mall
from tanzhang.service.mall import Wanted, cancel, expire, own_order, pay, place, refund, send
from tanzhang.service.merchants import FIGURES, settlement_report
from tanzhang.service.vouchers import redeem, what_it_brings
from tanzhang.stores.home import Home

from ..homes import new_home
from ..mall import ADDRESS, MERCHANT, NOW, UNIT, grant, offer
from ..postgres import Server

BUYERS, GRANTED, PRICE = 3, 350, 100
KINDS = {
    "voucher": {"stock": 2},
    "goods": {"stock": 2},
    "code": {"codes": 2},
    "money": {"stock": 2, "price_fen": "990"},
}
REFUSED = {
    "sold-out", "limit-reached", "points-short", "order-not-cancellable", "order-not-open",
    "voucher-expired", "voucher-redeemed", "voucher-cancelled",
}  # fmt: skip


@pytest.fixture(params=["sqlite", "postgresql"])
def home(request: pytest.FixtureRequest, quick: Path) -> Home:
    if request.param == "sqlite":
        return new_home(quick / "home")
    server: Server = request.getfixturevalue("postgres")
    return new_home(quick / "home", book=server.address(server.database(), "mall"))


ONE = st.tuples(st.integers(0, BUYERS - 1), st.sampled_from([*KINDS]), st.sampled_from("abc"))


class Shopping(RuleBasedStateMachine):
    """Three people in a mall of four offers, each offer and person new in each run."""

    home: Home

    def __init__(self) -> None:
        super().__init__()
        self.now, self.run = NOW, uuid.uuid4().hex[:12]
        self.people = [uuid.uuid4() for _ in range(BUYERS)]
        self.orders: list[tuple[uuid.UUID, str, str]] = []
        self.keys: dict[tuple[uuid.UUID, str], str] = {}

    def offer(self, kind: str) -> str:
        return f"{kind}-{self.run}"

    @initialize()
    def open(self) -> None:
        grant(self.home, self.people, GRANTED)
        for kind, terms in KINDS.items():
            made: dict[str, Any] = {"kind": "voucher" if kind == "money" else kind, **terms}
            offer(self.home, self.offer(kind), limit={"count": 2, "per": "offer"}, refund_expired=True, **made)

    def tried(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        try:
            return call(self.home, *arguments, now=self.now, **named)
        except TanzhangError as error:
            if error.code not in REFUSED:
                raise
            return None

    @rule(
        asked=st.lists(
            st.tuples(st.integers(0, BUYERS - 1), st.sampled_from([*KINDS]), st.sampled_from("abc")), max_size=4
        )
    )
    def order(self, asked: list[tuple[int, str, str]]) -> None:
        wanted = [
            Wanted(self.people[who], self.offer(kind), f"{kind}-{key}", ADDRESS if kind == "goods" else None)
            for who, kind, key in asked
        ]
        for each, placed in zip(wanted, place(self.home, wanted, now=self.now), strict=True):
            if placed.order is None:
                assert placed.error is not None
                assert placed.error.code in REFUSED
                assert (each.account, each.key) not in self.keys, "an order that was placed is not refused later"
                continue
            number = placed.order["order"]
            assert self.keys.setdefault((each.account, each.key), number) == number
            if not placed.repeated:
                self.orders.append((each.account, number, each.offer))

    def chosen(self, which: int) -> tuple[uuid.UUID, Any] | None:
        if not self.orders:
            return None
        account, number, _ = self.orders[which % len(self.orders)]
        return account, own_order(self.home, [account], number)

    @rule(which=st.integers(0, 20), what=st.sampled_from(["cancel", "refund", "pay", "send", "redeem"]))
    def change(self, which: int, what: str) -> None:
        found = self.chosen(which)
        if found is None:
            return
        account, row = found
        if what == "cancel":
            self.tried(cancel, [account], row.id)
        elif what == "refund":
            self.tried(refund, row.id, by="operator")
        elif what == "pay" and row.price_fen:
            payment = {"order": row.id, "amount_fen": str(row.price_fen), "reference": f"r {row.id}"}
            assert self.tried(pay, [payment], by="operator")["items"][0]["result"] in ("paid", "known", "refused")
        elif what == "send":
            self.tried(send, MERCHANT, row.id, tracking="t", by="merchant")
        elif what == "redeem":
            text = what_it_brings(self.home, row).get("voucher")
            if text is not None and self.tried(redeem, MERCHANT, text, by="merchant") is not None:
                assert self.tried(redeem, MERCHANT, text, by="merchant") is None, "taken twice"

    @rule(hours=st.sampled_from([1, 24, 24 * 8]))
    def wait(self, hours: int) -> None:
        self.now += timedelta(hours=hours)
        expire(self.home, now=self.now)

    @invariant()
    def everything_adds_up(self) -> None:
        states = {number: str(self.home.mall.order(number).state) for _, number, _ in self.orders}  # type: ignore[union-attr]
        for person in self.people:
            kept = sum(states[number] != State.REFUNDED for account, number, _ in self.orders if account == person)
            assert self.home.points.usable(UNIT, person, NOW.date()) == GRANTED - PRICE * kept
        assert check_mall(self.home)[1] == []

    def teardown(self) -> None:
        report = settlement_report(self.home, MERCHANT, "2025-06")
        for each in report["offers"]:
            figures = {name: int(each[name]) for name in FIGURES}
            assert figures["points"] == PRICE * figures["placed"]
            assert figures["points_back"] == PRICE * figures["refunded"]
            assert figures["delivered"] + figures["refunded"] <= figures["placed"]


def test_any_sequence_keeps_stock_points_codes_and_history_in_step(home: Home) -> None:
    machine = type("AnyShopping", (Shopping,), {"home": home})
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=12, stateful_step_count=15, deadline=None, suppress_health_check=[*HealthCheck]),
    )
