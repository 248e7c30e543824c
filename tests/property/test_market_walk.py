"""Whatever is done with units and money, in any order, repeated, refused or broken off: the books hold after each step.

A step is a verb of the market under a reference. Before some of them the transaction is broken off at its end; then
nothing may have changed, and the same call again does it. After some the same call comes once more: it answers the
same and changes nothing. What a step refuses changes nothing either.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tanzhang.core.errors import TanzhangError
from tanzhang.core.units import PROGRAMME, RESERVE, TERMINAL, Block, Kind, Pick, State, covered, totals
from tanzhang.service.market.deals import Terms, agree_directly, cancel, lapse_due
from tanzhang.service.market.payments import confirm
from tanzhang.service.market.returns import send_back
from tanzhang.stores.bank_statements import Line
from tanzhang.stores.book import Book
from tanzhang.stores.home import Home
from tanzhang.stores.register.deals import reference_of
from tanzhang.stores.register.units import Begun, unit_block

from ..homes import market_home, on
from ..trading import ACCOUNT, OPERATOR, approved

EXAMPLES = int(os.environ.get("TANZHANG_EXAMPLES", "20"))
PARTIES = ("steel", "paper")
NOW = on(20)
AT = "2025-06-20T02:00:00.000000+00:00"
_small = st.integers(1, 6)
_places = st.integers(0, 30)


class BrokenOffError(Exception):
    """What a process that dies at the end of its transaction leaves of it: nothing."""


@contextmanager
def broken_off() -> Iterator[None]:
    """Every transaction ends before it is committed."""
    whole = Book.transaction

    @contextmanager
    def broken(book: Book) -> Iterator[sa.Connection]:
        with whole(book) as con:
            yield con
            raise BrokenOffError

    with patch.object(Book, "transaction", broken):
        yield


class Market(RuleBasedStateMachine):
    """One home; what is known of it beside its books are the units that came to an end."""

    folder: tempfile.TemporaryDirectory[str]

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory(dir=_PLACE)
        shutil.copytree(_template(), Path(self.folder.name) / "market")
        self.home = Home(Path(self.folder.name) / "market" / "home")
        self.ended: dict[tuple[int, int], tuple[str, str, str]] = {}
        self.lots = self.number = 0
        self.issue(30, 3, "once")

    def teardown(self) -> None:
        if hasattr(self, "home"):
            self.home.book.close()
            self.folder.cleanup()

    # -- what is done -------------------------------------------------------------------------------------------

    def step(self, verb: Callable[[], Any], how: str) -> Any:
        """Do something, ``how``: once, again, or broken off before."""
        before = self.seen()
        if how == "broken off":
            with broken_off(), suppress(BrokenOffError, TanzhangError):
                verb()
            assert self.seen() == before
        try:
            answer = verb()
        except TanzhangError:
            assert self.seen() == before
            return None
        after = self.seen()
        if how == "again":
            assert verb() == answer
            assert self.seen() == after
        return answer

    def booked(self, verb: Callable[[sa.Connection], Any]) -> Callable[[], Any]:
        """A verb of a register, in a transaction of its own."""

        def once() -> Any:
            with self.home.book.transaction() as con:
                return verb(con)

        return once

    def seen(self) -> Any:
        """Everything that a step could change: blocks, events, money, deals, payments."""
        home = self.home
        deals = [(row.id, row.state, row.topup_fen) for row in home.deals.page(None, 10_000)]
        payments = [(row.entry, row.state, row.used_fen, row.sent_fen) for row in home.payments.page(None, 10_000)]
        events = [(row.seq, row.kind) for row in home.units.events()]
        return home.units.blocks(), events, home.money.balances(), deals, payments

    def next(self, what: str) -> str:
        self.number += 1
        return f"{what}-{self.number}"

    def block(self, place: int, *states: State) -> Block | None:
        """One of the blocks in some states, if there are any."""
        found = self.home.units.blocks(states=states or None)
        return found[place % len(found)] if found else None

    @precondition(lambda self: self.lots)
    @rule(units=st.integers(4, 40), reserve=st.integers(0, 4), how=st.sampled_from(["once", "again", "broken off"]))
    def issue(self, units: int, reserve: int, how: str) -> None:
        if self.lots == 3:
            return
        lot = self.lots + 1
        begun = Begun(lot, Kind.ISSUE, "CN-110000", "BEIJINGMARKET", 2025, "K", units, "carbon_inclusion")
        parts = [(PROGRAMME, State.HELD, units - reserve - 1), (RESERVE, State.HELD, reserve)]
        parts.append(("levy:overall_mitigation", State.CANCELLED, 1))
        blocks, lo = [], 0
        for holder, state, count in parts:
            if count:
                blocks.append(Block(lot, lo, lo + count, 2025, holder, state, "carbon_inclusion"))
                lo += count
        if self.step(self.booked(lambda con: self.home.units.begin(con, begun, blocks, f"lot {lot}", AT)), how):
            self.lots = lot

    @precondition(lambda self: self.lots)
    @rule(place=_places, cuts=st.lists(_small, min_size=1, max_size=3), how=st.sampled_from(["once", "again"]))
    def split(self, place: int, cuts: list[int], how: str) -> None:
        block = self.block(place)
        if block is not None:
            places, name = [block.lo + cut for cut in cuts], self.next("split")
            units = self.home.units
            self.step(self.booked(lambda con: units.split(con, block.lot, block.lo, places, name, AT)), how)

    @precondition(lambda self: self.lots)
    @rule(place=_places, more=st.integers(1, 40), how=st.sampled_from(["once", "again", "broken off"]))
    def merge(self, place: int, more: int, how: str) -> None:
        block = self.block(place)
        if block is not None:
            hi, name = block.hi + more, self.next("merge")
            units = self.home.units
            self.step(self.booked(lambda con: units.merge(con, block.lot, block.lo, hi, name, AT)), how)

    @precondition(lambda self: self.lots)
    @rule(
        kind=st.sampled_from(["retire", "cancel", "expire", "freeze", "thaw", "export"]),
        place=_places, first=st.integers(0, 3), count=_small, how=st.sampled_from(["once", "again", "broken off"]),
    )  # fmt: skip
    def take(self, kind: str, place: int, first: int, count: int, how: str) -> None:
        """Let somebody do something with a range of what they hold, or with what they cannot."""
        block = self.block(place)
        if block is not None:
            picks = [Pick(block.lot, block.lo + first, block.lo + first + count)]
            verb, name = getattr(self.home.units, kind), self.next(kind)
            self.step(self.booked(lambda con: verb(con, block.holder, picks, name, {}, AT)), how)

    @precondition(lambda self: self.lots)
    @rule(place=_places, back=st.booleans(), how=st.sampled_from(["once", "again", "broken off"]))
    def end_export(self, place: int, back: bool, how: str) -> None:
        block = self.block(place, State.PENDING_EXPORT)
        if block is not None:
            verb = self.home.units.export_back if back else self.home.units.exported
            self.step(self.booked(lambda con: verb(con, block.held_for, {}, AT)), how)

    @precondition(lambda self: self.lots)
    @rule(lot=st.integers(1, 3), count=_small, how=st.sampled_from(["once", "again", "broken off"]))
    def compensate(self, lot: int, count: int, how: str) -> None:
        name, units = self.next("error"), self.home.units
        self.step(self.booked(lambda con: units.compensate(con, lot, count, name, {}, AT)), how)

    @precondition(lambda self: self.lots)
    @rule(
        place=_places, buyer=st.sampled_from(PARTIES), count=_small, price=st.integers(1, 9_999),
        how=st.sampled_from(["once", "again", "broken off"]),
    )  # fmt: skip
    def agree(self, place: int, buyer: str, count: int, price: int, how: str) -> None:
        block = self.block(place, State.HELD)
        if block is not None and block.holder in (PROGRAMME, *(f"party:{each}" for each in PARTIES)):
            seller = block.holder.removeprefix("party:")
            terms = Terms("contract", seller, buyer, block.lot, count, price, self.next("deal"))
            self.step(lambda: agree_directly(self.home, terms, actor=OPERATOR, now=NOW), how)

    @rule(
        place=_places, share=st.sampled_from(["all", "less", "more", "half"]),
        how=st.sampled_from(["once", "again", "broken off"]),
    )  # fmt: skip
    def pay(self, place: int, share: str, how: str) -> None:
        """Money comes in for a deal, whatever has become of it: exactly, too little, too much, in parts."""
        agreed = self.home.deals.page(None, 10_000, state="agreed")
        deals = agreed if agreed and place % 4 else self.home.deals.page(None, 10_000)
        if deals:
            deal = deals[place % len(deals)]
            fen = {"all": deal.gross_fen, "less": deal.gross_fen - 1, "more": deal.gross_fen + 7}
            amount = max(fen.get(share, deal.gross_fen // 2), 1)
            line = Line(self.next("bank"), NOW.date(), amount, "Example", ACCOUNT, "", "a test")
            self.step(lambda: confirm(self.home, deal.id, line, actor=OPERATOR, now=NOW), how)

    @rule(place=_places, how=st.sampled_from(["once", "again", "broken off"]))
    def call_off(self, place: int, how: str) -> None:
        deals = self.home.deals.page(None, 10_000)
        if deals:
            number = deals[place % len(deals)].id
            self.step(lambda: cancel(self.home, number, "a test", actor=OPERATOR, now=NOW), how)

    @rule(place=_places, how=st.sampled_from(["once", "again", "broken off"]))
    def give_back(self, place: int, how: str) -> None:
        """Money that nobody needs goes back to who paid it."""
        payments = self.home.payments.page(None, 10_000)
        if payments:
            entry, name = payments[place % len(payments)].entry, self.next("back")
            self.step(lambda: send_back(self.home, entry, name, actor=OPERATOR, now=NOW), how)

    @rule()
    def time_passes(self) -> None:
        """Deals that nobody paid lapse; a second look finds none."""
        lapse_due(self.home, now=NOW + timedelta(days=40))
        assert lapse_due(self.home, now=NOW + timedelta(days=40)) == 0

    # -- what has to hold ---------------------------------------------------------------------------------------

    @invariant()
    def units_of_a_lot_are_all_there_once(self) -> None:
        for lot, begun in self.home.units.lots().items():
            blocks = self.home.units.blocks(lot=lot)
            assert covered(blocks) == [(0, begun.units)]
            assert sum(totals(blocks).values()) == begun.units
            assert {block.vintage for block in blocks} == {begun.vintage}

    @invariant()
    def what_ended_stays_as_it_is(self) -> None:
        now = {
            (block.lot, unit): (str(block.state), block.holder, block.tier)
            for block in self.home.units.blocks(states=TERMINAL)
            for unit in range(block.lo, block.hi)
        }
        assert self.ended.items() <= now.items()
        self.ended = now

    @invariant()
    def what_deals_promise_is_reserved_and_nothing_else_is(self) -> None:
        promised = {reference_of(row.id): row.units for row in self.home.deals.page(None, 10_000, state="agreed")}
        reserved: Counter[str] = Counter()
        for block in self.home.units.blocks(states=[State.RESERVED]):
            reserved[block.held_for] += block.count
        assert dict(reserved) == promised

    @invariant()
    def money_is_somewhere_and_a_sale_has_brought_its_price(self) -> None:
        balances = self.home.money.balances()
        assert sum(balances.values()) == 0
        assert all(fen >= 0 for account, fen in balances.items() if account != "bank")
        for row in self.home.deals.page(None, 10_000, state="delivered"):
            if row.seller == PROGRAMME:
                assert balances[f"sale:{row.id}"] == row.gross_fen + row.topup_fen

    @invariant()
    def the_database_has_what_the_register_shows(self) -> None:
        ((units,),) = self.home.book.query(
            sa.select(sa.func.coalesce(sa.func.sum(unit_block.c.hi - unit_block.c.lo), 0))
        )
        assert units == sum(begun.units for begun in self.home.units.lots().values())


_PLACE = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - folders of our own are made in it
_TEMPLATE: list[tempfile.TemporaryDirectory[str]] = []


def _template() -> Path:
    """A home with a market and two parties, made once."""
    if not _TEMPLATE:
        _TEMPLATE.append(tempfile.TemporaryDirectory(dir=_PLACE))
        home = market_home(Path(_TEMPLATE[0].name) / "home")
        for name in PARTIES:
            approved(home, name)
        home.book.close()
    return Path(_TEMPLATE[0].name)


TestMarket = Market.TestCase
TestMarket.settings = settings(max_examples=EXAMPLES, stateful_step_count=40, deadline=None)
