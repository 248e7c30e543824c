"""Any sequence of offers, deals, bids, payments of any kind and their repair: verification finds nothing wrong.

Each sequence runs on a home in memory; after every event that was not refused, and at the end, deals, payments, units,
money, pledges and auctions are compared.
"""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tanzhang.core.errors import TanzhangError
from tanzhang.core.payment_reference import DEAL, PLEDGE, payment_reference
from tanzhang.service.market.auctions import AuctionSaid, bid, call_off, close, open_auction, withdraw
from tanzhang.service.market.check_deals import check_deals
from tanzhang.service.market.check_money import check_money
from tanzhang.service.market.deals import cancel, lapse_due
from tanzhang.service.market.parties import set_state
from tanzhang.service.market.payments import deliver_again, take_statement, use_payment
from tanzhang.service.market.pledges import PledgeSaid, end_pledge, pledge
from tanzhang.service.market.returns import new_file, pay_out, send_back, take_answers
from tanzhang.stores.home import Home

from ..homes import on
from ..trading import ACCOUNT, OPERATOR, approved, bought, market_home, offered, statement

PARTIES = ("steel", "iron")
ACCOUNTS = {"steel": ACCOUNT, "iron": "6222 0000 0009", "": "6222 0000 0077"}
UNITS, PRICE = 60, 100
EXAMPLES = 5
EVENTS = (
    "offer", "accept", "accept", "pay", "pay", "pay", "use", "return", "file", "answer", "cancel", "lapse", "deliver",
    "suspend", "approve", "pledge", "end pledge", "auction", "bid", "bid", "withdraw", "close", "call off", "pay out",
)  # fmt: skip
Event = tuple[str, int, int]


class World:
    """A home, a clock that goes on, and names that have not been used yet."""

    def __init__(self, folder: Path) -> None:
        self.home: Home = market_home(folder / "home", units=UNITS)
        for each in PARTIES:
            approved(self.home, each, bank_account=ACCOUNTS[each])
        self.now, self.number = on(8), 0

    def name(self) -> str:
        self.number += 1
        return f"n{self.number}"

    def do(self, kind: str, a: int, b: int) -> None:
        """One event; ``a`` and ``b`` choose whom and how much."""
        self.now += timedelta(hours=7)
        try:
            getattr(self, f"_{kind.replace(' ', '_')}")(a, b)
        except TanzhangError:
            return
        self.check()

    def _offer(self, a: int, b: int) -> None:
        seller = ("programme", *PARTIES)[a % 3]
        offered(self.home, 1 + b, PRICE, seller=seller, reference=self.name(), until=on(8) + timedelta(days=60))

    def _accept(self, a: int, b: int) -> None:
        offers = self.home.deals.offers(None, 9)
        if offers:
            number = offers[a % len(offers)].id
            bought(self.home, PARTIES[b % 2], 1 + b // 2, reference=self.name(), offer=number)

    def _pay(self, a: int, b: int) -> None:
        deals = self.home.deals.all()
        number = 1 + a % (len(deals) + 1)
        deal = self.home.deals.deal(number)
        whole = deal.gross_fen if deal is not None else PRICE
        fen = (whole, whole, whole, 1 + whole // 2, whole + 7, whole)[b % 6]
        memo = payment_reference(PLEDGE if b == 5 else DEAL, number) if b % 11 else "hello"
        account = ACCOUNTS["" if b % 7 == 6 else deal.buyer if deal is not None else "iron"]
        line = (self.name(), min(8 + a, 30), fen, memo, account)
        for _ in range(1 + b % 2):  # a file may be read twice
            take_statement(self.home, "bank_statement", statement(line), "a.csv", actor=OPERATOR, now=self.now)

    def _entry(self, a: int) -> str:
        payments = self.home.payments.all()
        return str(payments[a % len(payments)].entry) if payments else "none"

    def _use(self, a: int, b: int) -> None:
        use_payment(self.home, self._entry(a), 1 + b % 6, "x", actor=OPERATOR, now=self.now)

    def _return(self, a: int, _: int) -> None:
        send_back(self.home, self._entry(a), "x", actor=OPERATOR, now=self.now)

    def _file(self, _: int, __: int) -> None:
        new_file(self.home, actor=OPERATOR, now=self.now)

    def _answer(self, a: int, _: int) -> None:
        rows = [row for row in self.home.payments.returns() if row.state == "in_file"]
        lines = [f"{row.name},{('paid', 'failed')[(a + n) % 2]},\n" for n, row in enumerate(rows)]
        data = "".join(["reference,status,reason\n", *lines]).encode()
        take_answers(self.home, data, "b.csv", actor=OPERATOR, now=self.now)

    def _cancel(self, a: int, _: int) -> None:
        cancel(self.home, 1 + a % 6, "x", actor=OPERATOR, now=self.now)

    def _lapse(self, a: int, _: int) -> None:
        lapse_due(self.home, now=self.now + timedelta(days=a))

    def _deliver(self, a: int, _: int) -> None:
        deliver_again(self.home, 1 + a % 6, actor=OPERATOR, now=self.now)

    def _suspend(self, a: int, _: int) -> None:
        set_state(self.home, PARTIES[a % 2], "suspended", note=None, actor=OPERATOR, now=self.now)

    def _approve(self, _: int, __: int) -> None:
        for each in PARTIES:
            set_state(self.home, each, "approved", note=None, actor=OPERATOR, now=self.now)

    def _pledge(self, a: int, b: int) -> None:
        said: dict[str, Any] = {"sponsor": PARTIES[a % 2], "reference": self.name(), "fen": str(1 + b)}
        said |= {"per": ("unit", "tonne")[b % 2], "cap_fen": str(1 + 3 * b), "source": "x"}
        pledge(self.home, msgspec.convert(said, PledgeSaid), actor=OPERATOR, now=self.now)

    def _end_pledge(self, a: int, _: int) -> None:
        end_pledge(self.home, 1 + a % 3, actor=OPERATOR, now=self.now)

    def _auction(self, a: int, b: int) -> None:
        said: dict[str, Any] = {"seller": ("programme", *PARTIES)[a % 3], "reference": self.name(), "lot": "L000001"}
        said |= {"units": str(1 + b), "reserve_fen": "90", "opens_at": self.now}
        said |= {"closes_at": self.now + timedelta(days=2)}
        open_auction(self.home, msgspec.convert(said, AuctionSaid), actor=OPERATOR, now=self.now)

    def _bid(self, a: int, b: int) -> None:
        number = len(self.home.auctions.all())
        bid(self.home, number, PARTIES[a % 2], 1 + b, 85 + 5 * (b % 6), self.name(), actor=OPERATOR, now=self.now)

    def _withdraw(self, a: int, b: int) -> None:
        number = len(self.home.auctions.all())
        withdraw(self.home, number, PARTIES[a % 2], 1 + b % 3, actor=OPERATOR, now=self.now)

    def _close(self, a: int, _: int) -> None:
        number = len(self.home.auctions.all())
        close(self.home, number, actor=OPERATOR, now=self.now + timedelta(days=a % 4))

    def _call_off(self, _: int, __: int) -> None:
        call_off(self.home, len(self.home.auctions.all()), "x", actor=OPERATOR, now=self.now)

    def _pay_out(self, a: int, b: int) -> None:
        pay_out(self.home, PARTIES[a % 2], 1 + b, self.name(), actor=OPERATOR, now=self.now)

    def check(self) -> None:
        assert check_deals(self.home)[1] == []
        assert check_money(self.home)[1] == []
        held = sum(block.count for block in self.home.units.blocks(lot=1))
        assert held == UNITS


@pytest.fixture(scope="module")
def memory(in_memory: Path) -> Path:
    return in_memory


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 22), st.integers(0, 22)), min_size=25, max_size=40))
def test_after_any_events_units_money_deals_and_auctions_agree(memory: Path, events: list[Event]) -> None:
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        world = World(Path(folder))
        world._offer(0, 40)
        for kind, a, b in events:
            world.do(kind, a, b)
        world.check()
        world.home.book.close()


def test_the_events_reach_every_state(memory: Path) -> None:
    """A walk made by hand: otherwise refusals could hide that nothing ever happens."""
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        world = World(Path(folder))
        walk: list[Event] = [("offer", 0, 40), ("pledge", 1, 22), ("accept", 0, 4), ("pay", 0, 2), ("accept", 0, 4)]
        walk += [("pay", 1, 3), ("cancel", 1, 0), ("return", 1, 0), ("file", 0, 0), ("answer", 0, 0)]
        walk += [("auction", 0, 9), ("bid", 0, 5), ("bid", 1, 9), ("close", 3, 0), ("lapse", 22, 0)]
        for kind, a, b in walk:
            world.do(kind, a, b)
        states = [row.state for row in world.home.deals.all()]
        assert {*states} == {"delivered", "cancelled", "lapsed"}
        assert [row.state for row in world.home.payments.returns()] == ["sent"]
        assert world.home.auctions.all()[0].sold == 10
        assert world.home.pledges.all()[0].spent_fen > 0
