"""Whatever is done in a market, in any order, repeated, refused or broken off: the books hold after each step.

A step is a verb of the market. Before some of them each transaction is broken off at its end; then nothing may have
changed, and the same call again does it. After some the same call comes once more: it answers the same and changes
nothing. What a step refuses changes nothing either. docs/market.md says what always holds.
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
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tanzhang.core.access import Actor, Role
from tanzhang.core.errors import TanzhangError
from tanzhang.core.lot import HOLDING, LotState
from tanzhang.core.sample import LEAST_PICKS
from tanzhang.core.units import PROGRAMME, RESERVE, TERMINAL, Block, Pick, State, covered, totals
from tanzhang.service.intake import intake
from tanzhang.service.market.compensate import compensate_due, compensation
from tanzhang.service.market.deals import Terms, agree_directly, cancel, lapse_due
from tanzhang.service.market.issue import issue
from tanzhang.service.market.lots import dissolve, freeze
from tanzhang.service.market.payback import divide
from tanzhang.service.market.payments import confirm
from tanzhang.service.market.retire import Asked, retire
from tanzhang.service.market.returns import send_back
from tanzhang.service.market.rules import market_rules_of
from tanzhang.service.market.verification import (
    Attestation,
    Decision,
    Finding,
    LookUp,
    RecordNamed,
    attest,
    decide,
    draw,
    file_findings,
    hand_over,
    look_up,
    register,
    sample,
)
from tanzhang.service.market.verifiers import VerifierSaid, put_verifier
from tanzhang.service.settle import settle
from tanzhang.stores.bank_statements import Line
from tanzhang.stores.book import Book, entry
from tanzhang.stores.home import Home
from tanzhang.stores.lot_files import read_members
from tanzhang.stores.register.deals import reference_of

from ..homes import Event, account, assert_verified, market_home, ride, withdrawal, write
from ..lots import LATER, drafted, entrusted, report
from ..trading import ACCOUNT, OPERATOR, approved

EXAMPLES = int(os.environ.get("TANZHANG_EXAMPLES", "5"))
PARTIES, PEOPLE, RIDES = ("steel", "paper"), 4, 5
RIDE_M = 70_000  # in half an hour, 5.04 kg
RIDE_MG = RIDE_M * 72
AUDIT, DIGEST = "audit", "0" * 64
MAX, VERA = Actor(Role.OPERATOR, "max", "a test"), Actor(Role.VERIFIER, "vera", "a test")
AT = LATER.isoformat(timespec="microseconds")
_small, _places = st.integers(1, 6), st.integers(0, 30)
_how = st.sampled_from(["once", "again", "broken off"])


class BrokenOffError(Exception):
    """What a process that dies at the end of a transaction leaves of it: nothing."""


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


class Market:
    """One home; what is known of it beside its books are the units that came to an end."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.ended: dict[tuple[int, int], tuple[str, str, str]] = {}
        self.number = 0

    def step(self, verb: Callable[[], Any], how: str) -> Any:
        """Do something ``how``: once, again afterwards, or broken off before."""
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
        """Everything that a step could change."""
        home = self.home
        deals = [(row.id, row.state, row.topup_fen) for row in home.deals.page(None, 10_000)]
        payments = [(row.entry, row.state, row.used_fen, row.sent_fen) for row in home.payments.page(None, 10_000)]
        lots = [(row.number, row.state, row.root) for row in home.lots.all()]
        events = [(row.seq, row.kind) for row in home.units.events()]
        ((entries,),) = home.book.query(sa.select(sa.func.count()).select_from(entry))
        sums = home.payback.sums()
        return home.units.blocks(), events, home.money.balances(), deals, payments, lots, entries, sums

    def next(self, what: str) -> str:
        """A reference of its own."""
        self.number += 1
        return f"{what}-{self.number}"

    def block(self, place: int, *states: State) -> Block | None:
        """One of the blocks in some states, if there are any."""
        found = self.home.units.blocks(states=states or None)
        return found[place % len(found)] if found else None

    # -- lots ---------------------------------------------------------------------------------------------------

    def freeze(self, units: int, how: str) -> None:
        """A lot of what is left; of too many units it is refused, and its draft stays."""
        number = drafted(self.home, self.next("lot"), units=str(units))
        self.step(lambda: freeze(self.home, number, actor=OPERATOR, now=LATER), how)

    def give_up(self, place: int, how: str) -> None:
        lots = self.home.lots.all()
        number = lots[place % len(lots)].number
        self.step(lambda: dissolve(self.home, number, why="a test", actor=OPERATOR, now=LATER), how)

    def go_on(self, place: int, material: bool, how: str) -> None:
        """The next step of a lot on its way to being issued; or it is rejected."""
        waiting = self.home.lots.all(states=_ON_THE_WAY)
        if waiting:
            row = waiting[place % len(waiting)]
            for verb in self.steps_of(row, material):
                self.step(verb, how)

    def steps_of(self, row: Any, material: bool) -> Iterator[Callable[[], Any]]:
        """What is next for a lot."""
        home, number, name = self.home, row.number, f"{row.number}"
        operator, vera = {"actor": OPERATOR, "now": LATER}, {"actor": VERA, "now": LATER}
        if row.state == LotState.FROZEN:
            yield lambda: hand_over(home, number, AUDIT, reference=name, **operator)
        elif row.state == LotState.IN_VERIFICATION:
            yield lambda: draw(home, number, AUDIT, LEAST_PICKS, reference=name, **vera)
            records = sample(home, number, AUDIT, **vera)["records"]
            findings = [Finding("none", "the same", RecordNamed(each["batch"], each["place"])) for each in records]
            findings += [Finding("material", "invented")] if material else []
            yield lambda: file_findings(home, number, AUDIT, findings, reference=name, **vera)
            decision = Decision("rejected" if material else "verified", "a test", DIGEST)
            yield lambda: decide(home, number, AUDIT, decision, reference=name, **vera)
        elif row.state == LotState.VERIFIED:
            yield lambda: attest(home, number, Attestation("a test", DIGEST), reference=name, **operator)
            for registry in market_rules_of(home, row.terms).registries:
                found = LookUp(registry, LATER.date(), True, "nothing", DIGEST)
                reference = f"{name}-{registry}"
                yield lambda f=found, r=reference: look_up(home, number, f, reference=r, **operator)  # type: ignore[misc]
            yield lambda: register(home, number, reference=name, actor=MAX, now=LATER)
        else:
            yield lambda: issue(home, number, reference=f"issue-{name}", **operator)

    # -- units --------------------------------------------------------------------------------------------------

    def split(self, place: int, cuts: list[int], how: str) -> None:
        block, name, units = self.block(place), self.next("split"), self.home.units
        if block is not None:
            places = [block.lo + cut for cut in cuts]
            self.step(self.booked(lambda con: units.split(con, block.lot, block.lo, places, name, AT)), how)

    def merge(self, place: int, how: str) -> None:
        """A block with the one after it, be they alike or not."""
        block, name, units = self.block(place), self.next("merge"), self.home.units
        if block is not None:
            after = next((each for each in units.blocks(lot=block.lot) if each.lo == block.hi), block)
            self.step(self.booked(lambda con: units.merge(con, block.lot, block.lo, after.hi, name, AT)), how)

    def take(self, kind: str, place: int, first: int, count: int, how: str) -> None:
        """Somebody does something with a range of what they hold, or with what they cannot."""
        block, name = self.block(place), self.next(kind)
        if block is not None:
            picks = [Pick(block.lot, block.lo + first, block.lo + first + count)]
            verb = getattr(self.home.units, kind)
            self.step(self.booked(lambda con: verb(con, block.holder, picks, name, {}, AT)), how)

    def end_export(self, place: int, back: bool, how: str) -> None:
        block = self.block(place, State.PENDING_EXPORT)
        if block is not None:
            verb = self.home.units.export_back if back else self.home.units.exported
            self.step(self.booked(lambda con: verb(con, block.held_for, {}, AT)), how)

    def retire(self, party: str, lot: int, count: int, how: str) -> None:
        name, year = self.next("retirement"), LATER.date()
        asked = Asked("voluntary_cancellation", year, year, "Example", lot=f"L{lot:06d}", count=count)
        self.step(lambda: retire(self.home, party, name, asked, actor=OPERATOR, now=LATER), how)

    # -- trade --------------------------------------------------------------------------------------------------

    def agree(self, place: int, buyer: str, count: int, price: int, how: str) -> None:
        block, name = self.block(place, State.HELD), self.next("deal")
        if block is not None and block.holder in (PROGRAMME, *(f"party:{each}" for each in PARTIES)):
            terms = Terms("contract", block.holder.removeprefix("party:"), buyer, block.lot, count, price, name)
            self.step(lambda: agree_directly(self.home, terms, actor=OPERATOR, now=LATER), how)

    def pay(self, place: int, share: str, how: str) -> None:
        """Money comes in for a deal, whatever has become of it: exactly, too little, too much, in parts."""
        agreed = self.home.deals.page(None, 10_000, state="agreed")
        deals = agreed if agreed and place % 4 else self.home.deals.page(None, 10_000)
        if deals:
            deal = deals[place % len(deals)]
            fen = {"all": deal.gross_fen, "less": deal.gross_fen - 1, "more": deal.gross_fen + 7}
            amount = max(fen.get(share, deal.gross_fen // 2), 1)
            line = Line(self.next("bank"), LATER.date(), amount, "Example", ACCOUNT, "", "a test")
            self.step(lambda: confirm(self.home, deal.id, line, actor=OPERATOR, now=LATER), how)

    def call_off(self, place: int, how: str) -> None:
        deals = self.home.deals.page(None, 10_000)
        if deals:
            number = deals[place % len(deals)].id
            self.step(lambda: cancel(self.home, number, "a test", actor=OPERATOR, now=LATER), how)

    def give_back(self, place: int, how: str) -> None:
        """Money that nobody needs goes back to who paid it."""
        payments = self.home.payments.page(None, 10_000)
        if payments:
            entry, name = payments[place % len(payments)].entry, self.next("back")
            self.step(lambda: send_back(self.home, entry, name, actor=OPERATOR, now=LATER), how)

    def time_passes(self) -> None:
        """Deals that nobody paid lapse; a second look finds none."""
        after = LATER + timedelta(days=40)
        lapse_due(self.home, now=after)
        assert lapse_due(self.home, now=after) == 0

    def pay_back(self, how: str) -> None:
        """The next sale is divided over the records of its lot."""
        sales = self.home.deals.sales(self.home.payback.last_delivered(), 1)
        if sales:

            def verb() -> Any:
                with self.home.settling():
                    run = divide(self.home, sales[0], now=LATER)
                    self.home.publish()
                    return run

            self.step(verb, how)

    def take_back(self, place: int) -> None:
        """A partner takes a ride back, which may be in a lot, and the next batch is settled."""
        person, hour = place % PEOPLE, place % RIDES
        back = withdrawal(_ride(person, hour), self.next("back"))
        with tempfile.TemporaryDirectory(dir=_PLACE) as folder:
            intake(self.home, write(Path(folder) / "back.ndjson", [back]), now=LATER)
        settle(self.home, now=LATER + timedelta(days=3))
        compensate_due(self.home, now=LATER + timedelta(days=3))
        assert compensate_due(self.home, now=LATER + timedelta(days=3))["batches"] == 0

    # -- what has to hold ---------------------------------------------------------------------------------------

    def check(self) -> None:
        """Everything that always holds."""
        self.no_gram_is_in_two_lots_and_a_lot_is_of_whole_units()
        self.units_of_a_lot_are_all_there_once()
        self.what_ended_stays_as_it_is()
        self.the_reserve_is_nobodys_to_use()
        self.what_was_taken_back_is_cancelled_of_the_reserve_in_whole_units()
        self.what_deals_promise_is_reserved_and_nothing_else_is()
        self.money_is_somewhere_and_what_sales_brought_is_divided_to_the_fen()

    def no_gram_is_in_two_lots_and_a_lot_is_of_whole_units(self) -> None:
        taken: Counter[int] = Counter()
        for row in self.home.lots.all(states=HOLDING):
            keys, amounts = read_members(self.home.storage, row)
            assert int(amounts.sum()) == row.units * row.unit_mass_mg == row.total_mg
            taken.update(dict(zip(keys.tolist(), amounts.tolist(), strict=True)))
        assert all(0 < mg <= RIDE_MG for mg in taken.values())
        assert len(taken) <= PEOPLE * RIDES

    def units_of_a_lot_are_all_there_once(self) -> None:
        begun = self.home.units.lots()
        for row in self.home.lots.all():
            assert (row.number in begun) == (row.state in (LotState.ISSUED, LotState.CLOSED))
        for lot, each in begun.items():
            blocks = self.home.units.blocks(lot=lot)
            assert covered(blocks) == [(0, each.units)]
            assert sum(totals(blocks).values()) == each.units == self.home.lots.one(lot).units
            assert {block.vintage for block in blocks} == {each.vintage}

    def what_ended_stays_as_it_is(self) -> None:
        now = {
            (block.lot, unit): (str(block.state), block.holder, block.tier)
            for block in self.home.units.blocks(states=TERMINAL)
            for unit in range(block.lo, block.hi)
        }
        assert self.ended.items() <= now.items()
        self.ended = now

    def the_reserve_is_nobodys_to_use(self) -> None:
        for block in self.home.units.blocks(holder=RESERVE):
            assert block.state in (State.HELD, State.FROZEN, State.CANCELLED)

    def what_was_taken_back_is_cancelled_of_the_reserve_in_whole_units(self) -> None:
        for row in self.home.lots.all(states=[LotState.ISSUED]):
            said = {name: int(text) for name, text in compensation(self.home, f"L{row.number:06d}").items()}
            assert said["due"] == -(-said["reversed_mg"] // row.unit_mass_mg)
            assert said["made_good"] == said["due"] - said["shortfall"]
            if said["shortfall"]:
                left = self.home.units.blocks(holder=RESERVE, lot=row.number, states=[State.HELD, State.FROZEN])
                assert not left or any(each.kind == "freeze" for each in self.home.units.events(lot=row.number))

    def what_deals_promise_is_reserved_and_nothing_else_is(self) -> None:
        promised = {reference_of(row.id): row.units for row in self.home.deals.page(None, 10_000, state="agreed")}
        reserved: Counter[str] = Counter()
        for block in self.home.units.blocks(states=[State.RESERVED]):
            reserved[block.held_for] += block.count
        assert dict(reserved) == promised

    def money_is_somewhere_and_what_sales_brought_is_divided_to_the_fen(self) -> None:
        balances, divided = self.home.money.balances(), 0
        assert sum(balances.values()) == 0
        assert all(fen >= 0 for account, fen in balances.items() if account != "bank")
        for row in self.home.deals.page(None, 10_000, state="delivered"):
            if row.seller == PROGRAMME:
                run = self.home.payback.run_of(row.id)
                left = 0 if run is not None else row.gross_fen + row.topup_fen
                assert balances.get(f"sale:{row.id}", 0) == left
                divided += 0 if run is None else run.shared_fen
        sums = self.home.payback.sums()
        assert sums["share"] + sums["escrow_run"] == divided
        assert balances.get("payback", 0) + balances.get("escrow", 0) == divided


_ON_THE_WAY = (LotState.FROZEN, LotState.IN_VERIFICATION, LotState.VERIFIED, LotState.REGISTERED)
_PLACE = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - folders of our own are made in it
_TEMPLATE: list[tempfile.TemporaryDirectory[str]] = []


def _template() -> Path:
    """A home with a market, two parties, people who entrusted 100.8 kg, and a lot of 40 that is issued; made once."""
    if not _TEMPLATE:
        _TEMPLATE.append(tempfile.TemporaryDirectory(dir=_PLACE))
        folder = Path(_TEMPLATE[0].name)
        home = market_home(folder / "home")
        for name in PARTIES:
            approved(home, name)
        report(home, folder, [_ride(each, hour) for each in range(PEOPLE) for hour in range(RIDES)])
        entrusted(home, *(account(home, "amap", f"person-{each}") for each in range(PEOPLE)))
        put_verifier(home, AUDIT, VerifierSaid("Audit", "核查", "nobody", "none"), actor=OPERATOR, now=LATER)
        walk = Market(home)
        number = drafted(home, "lot-0", units="40")
        freeze(home, number, actor=OPERATOR, now=LATER)
        while home.lots.one(number).state != LotState.ISSUED:
            for verb in walk.steps_of(home.lots.one(number), material=False):
                verb()
        home.book.close()
    return Path(_TEMPLATE[0].name)


def _ride(person: int, hour: int) -> Event:
    return ride(f"r-{person}-{hour}", f"person-{person}", hour=6 + hour, distance_m=RIDE_M)


def _step(name: str, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    return st.tuples(st.just(name), st.fixed_dictionaries(arguments))


_TRADE = (
    _step("agree", place=_places, buyer=st.sampled_from(PARTIES), count=_small, price=st.integers(1, 9_999), how=_how),
    _step("pay", place=_places, share=st.sampled_from(["all", "all", "less", "more", "half"]), how=_how),
)
_STEPS = st.one_of(
    *_TRADE * 3,
    _step("pay_back", how=_how),
    _step("freeze", units=st.integers(1, 70), how=_how),
    *[_step("go_on", place=_places, material=st.sampled_from([False, False, False, True]), how=_how)] * 3,
    _step("give_up", place=_places, how=_how),
    _step("split", place=_places, cuts=st.lists(_small, min_size=1, max_size=3), how=_how),
    _step("merge", place=_places, how=_how),
    _step(
        "take",
        kind=st.sampled_from(["cancel", "expire", "freeze", "thaw", "export"]),
        place=_places,
        first=st.integers(0, 3),
        count=_small,
        how=_how,
    ),
    _step("end_export", place=_places, back=st.booleans(), how=_how),
    *[_step("retire", party=st.sampled_from(PARTIES), lot=st.integers(1, 3), count=_small, how=_how)] * 2,
    _step("call_off", place=_places, how=_how),
    _step("give_back", place=_places, how=_how),
    _step("time_passes"),
    _step("take_back", place=_places),
)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(_STEPS, min_size=20, max_size=45))
def test_the_books_of_a_market_hold_after_each_step_of_any_walk(steps: list[tuple[str, dict[str, Any]]]) -> None:
    template = _template()
    with tempfile.TemporaryDirectory(dir=_PLACE) as folder:
        shutil.copytree(template, Path(folder) / "market")
        walk = Market(Home(Path(folder) / "market" / "home"))
        try:
            for name, arguments in steps:
                getattr(walk, name)(**arguments)
                walk.check()
            assert_verified(walk.home)
        finally:
            walk.home.book.close()
