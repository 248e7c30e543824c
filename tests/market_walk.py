"""A walk through a market: one home, a clock, and everything that is done in a market, each as a step.

How steps are done is in market_steps.py, what has to hold after each in market_holds.py. Arguments are numbers that
choose among what there is; where there is nothing to choose, most steps make it first, so that a walk gets somewhere.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from tanzhang.core.access import Actor, Role
from tanzhang.core.errors import TanzhangError
from tanzhang.core.lot import LotState
from tanzhang.core.payment_reference import PLEDGE, payment_reference
from tanzhang.core.sample import LEAST_PICKS
from tanzhang.core.serial import lot_name
from tanzhang.core.units import PARTY, PROGRAMME, TERMINAL, Block, State
from tanzhang.service.donations import donate
from tanzhang.service.erase import erase
from tanzhang.service.intake import intake
from tanzhang.service.joining import join
from tanzhang.service.market import auctions, deals, labels, units
from tanzhang.service.market.authorise import authorisations, authorise, revoke
from tanzhang.service.market.available import available_mg
from tanzhang.service.market.compensate import compensate_due, compensation, make_good
from tanzhang.service.market.issue import issue
from tanzhang.service.market.lots import dissolve, freeze
from tanzhang.service.market.parties import set_state
from tanzhang.service.market.pass_on import pass_on
from tanzhang.service.market.payback import divide
from tanzhang.service.market.payments import confirm, deliver_again, take_statement, use_payment
from tanzhang.service.market.pledges import PledgeSaid, end_pledge, pledge
from tanzhang.service.market.retire import Asked, retire
from tanzhang.service.market.returns import new_file, pay_out, send_back, take_answers
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
from tanzhang.service.parting import part
from tanzhang.service.settle import settle
from tanzhang.stores.bank_statements import Line
from tanzhang.stores.home import Home
from tanzhang.stores.register.auctions import OPEN
from tanzhang.stores.register.units import standing_facts

from .homes import Event, account, ride, withdrawal, write
from .lots import drafted
from .market_steps import BrokenOffError, Steps, Verb, broken_off
from .postgres import Server
from .trading import ACCOUNT, OPERATOR, statement

PARTIES, PEOPLE, RIDES = ("steel", "paper"), 4, 5
RIDE_M, SHORT_M = 70_000, 3_000  # in half an hour; 5.04 kg and 0.216 kg, less than a unit
AUDIT, DIGEST = "audit", "0" * 64
PROJECT, SCHEME = "forest", "elsewhere"
KINDS = {
    "cancel": State.HELD,
    "expire": State.HELD,
    "freeze": State.HELD,
    "thaw": State.FROZEN,
    "export": State.HELD,
}
"""What is done with units that are named, and of which state they have to be."""
MAX, VERA = Actor(Role.OPERATOR, "max", "a test"), Actor(Role.VERIFIER, "vera", "a test")
_ON_THE_WAY = (LotState.FROZEN, LotState.IN_VERIFICATION, LotState.VERIFIED, LotState.REGISTERED)


class Market(Steps):
    """One home and everything that is done in its market, by name."""

    # -- lots ---------------------------------------------------------------------------------------------------

    def freeze(self, units: int, how: str) -> None:
        """A lot of what is left; of too many units it is refused, and its draft stays."""
        number, now = drafted(self.home, self.next("lot"), units=str(units)), self.now
        self.step(lambda home: freeze(home, number, actor=OPERATOR, now=now), how, has_key=False)

    def give_up(self, place: int, how: str) -> None:
        number, now = _one_of(self.home.lots.all(), place).number, self.now
        self.step(lambda home: dissolve(home, number, why="a test", actor=OPERATOR, now=now), how)

    def go_on(self, place: int, material: bool, how: str) -> None:
        """The next step of a lot on its way to being issued; or it is rejected."""
        if not self.home.lots.all(states=_ON_THE_WAY):
            self.freeze(5 + place % 8, "once")
        row = _one_of(self.home.lots.all(states=_ON_THE_WAY), place)
        for verb in [] if row is None else self.steps_of(row, material):
            self.step(verb, how)

    def steps_of(self, row: Any, material: bool) -> Iterator[Verb]:
        """What is next for a lot."""
        number, name = row.number, f"{row.number}"
        operator, vera = {"actor": OPERATOR, "now": self.now}, {"actor": VERA, "now": self.now}
        if row.state == LotState.FROZEN:
            yield lambda home: hand_over(home, number, AUDIT, reference=name, **operator)
        elif row.state == LotState.IN_VERIFICATION:
            yield lambda home: draw(home, number, AUDIT, LEAST_PICKS, reference=name, **vera)
            records = sample(self.home, number, AUDIT, **vera)["records"]
            findings = [Finding("none", "the same", RecordNamed(each["batch"], each["place"])) for each in records]
            findings += [Finding("material", "invented")] if material else []
            yield lambda home: file_findings(home, number, AUDIT, findings, reference=name, **vera)
            decision = Decision("rejected" if material else "verified", "a test", DIGEST)
            yield lambda home: decide(home, number, AUDIT, decision, reference=name, **vera)
        elif row.state == LotState.VERIFIED:
            yield lambda home: attest(home, number, Attestation("a test", DIGEST), reference=name, **operator)
            for registry in market_rules_of(self.home, row.terms).registries:
                found = LookUp(registry, self.now.date(), True, "nothing", DIGEST)
                reference = f"{name}-{registry}"
                yield lambda home, f=found, r=reference: look_up(home, number, f, reference=r, **operator)  # type: ignore[misc]
            now = self.now
            yield lambda home: register(home, number, reference=name, actor=MAX, now=now)
        else:
            yield lambda home: issue(home, number, reference=f"issue-{name}", **operator)

    # -- units --------------------------------------------------------------------------------------------------

    def block(self, place: int, *states: State) -> Block | None:
        """One of the blocks in some states, mostly one that is not final, if there are any."""
        open_ = [each for each in State if each not in TERMINAL] if place % 4 else None
        return _one_of(self.home.units.blocks(states=states or open_), place)

    def part_of(self, block: Block, first: int, count: int) -> str:
        """The serial number of some units of a block, and now and then of more than it has."""
        lo = min(block.lo + first, block.hi - 1)
        return self.serial(block.lot, lo, lo + count if first == 0 else min(lo + count, block.hi))

    def serial(self, lot: int, lo: int, hi: int) -> str:
        """The serial number of a range of units."""
        begun = self.home.units.begun(lot)
        assert begun is not None
        return begun.serial(lo, min(hi, begun.units)).text

    def split(self, place: int, cuts: list[int], how: str) -> None:
        """A block is cut, mostly one that is large enough."""
        said = {"reference": self.next("split"), **self.same()}
        large = [each for each in self.home.units.blocks(states=[State.HELD]) if each.count > sum(cuts)]
        block = (_one_of(large, place) if place % 4 else None) or self.block(place)
        if block is not None:
            serial = self.serial(block.lot, block.lo, block.hi)
            self.step(lambda home: units.split(home, serial, cuts, **said), how)

    def merge(self, place: int, how: str) -> None:
        """A block with the one after it, mostly one that is like it."""
        said = {"reference": self.next("merge"), **self.same()}
        if not self.neighbours(alike=True):
            self.split(1, [1], "once")
        found = self.neighbours(alike=place % 4 > 0)
        if found:
            left, right = found[place % len(found)]
            serial = self.serial(left.lot, left.lo, right.hi)
            self.step(lambda home: units.merge(home, serial, **said), how)

    def neighbours(self, *, alike: bool) -> list[tuple[Block, Block]]:
        """Blocks that lie side by side; those alone, if asked, that can be one."""
        found = [(a, b) for a, b in pairwise(self.home.units.blocks()) if a.lot == b.lot]
        return [(a, b) for a, b in found if not alike or (a.is_like(b) and a.state not in TERMINAL)]

    def move(self, kind: str, place: int, first: int, count: int, how: str) -> None:
        """Somebody does something with a range of what they hold, or with what they cannot."""
        if kind == "thaw" and self.block(place, State.FROZEN) is None:
            self.move("freeze", place, first, count, "once")
        block = (self.block(place, KINDS[kind]) if place % 4 else None) or self.block(place)
        said: dict[str, Any] = {"reference": self.next(kind), "actor": OPERATOR, "now": self.now}
        if block is not None:
            serials = [self.part_of(block, first, count)]
            if kind == "export":
                verb: Verb = lambda home: units.export(home, None, serials, registry="gold", **said)  # noqa: E731
            elif kind == "cancel":
                verb = lambda home: units.cancel(home, None, serials, why="a test", **said)  # noqa: E731
            else:
                verb = lambda home: getattr(units, kind)(home, serials, why="a test", **said)  # noqa: E731
            self.step(verb, how)

    def end_export(self, place: int, back: bool, how: str) -> None:
        if self.block(place, State.PENDING_EXPORT) is None:
            self.move("export", place, 0, 1, "once")
        block, there, said = self.block(place, State.PENDING_EXPORT), self.next("GS"), self.same()
        if block is not None:
            end = (units.export_back, {"why": "a test"}) if back else (units.exported, {"there": there})
            self.step(lambda home: end[0](home, block.held_for, **end[1], **said), how)

    def bring_in(self, holder: str, count: int, vintage: int, known: bool, how: str) -> None:
        """Units of another registry, under a number of theirs that is new, or was said before."""
        foreign = "GS-KNOWN" if known else self.next("GS")
        said = {"unit": "K", "vintage": vintage, "region": "CN-110000", "tier": "national_voluntary", **self.same()}
        said |= {"registry": "gold", "foreign": foreign, "units": count, "evidence": DIGEST, "holder": holder}
        reference = self.next("import")
        self.step(lambda home: units.import_units(home, reference=reference, **said), how)

    def label(self, place: int, first: int, count: int, scheme: str, days: int, how: str) -> None:
        """Units are labelled from today or later on; for ever where ``days`` is 0."""
        block, today = self.block(place), self.now.date()
        if block is not None:
            until = today + timedelta(days=days) if days else None
            said = {"scheme": scheme, "scope": "any", "granted_by": "a bureau", "evidence": DIGEST, **self.same()}
            said |= {
                "first_day": today + timedelta(days=days // 3),
                "until_day": until,
                "reference": self.next("label"),
            }
            serial = self.part_of(block, first, count)
            self.step(lambda home: labels.label(home, serial, **said), how)

    def revoke_label(self, place: int, how: str) -> None:
        if not any(self.home.units.labels(lot) for lot in self.home.units.lots()):
            self.label(1, 1, 1, "ccer", 0, "once")
        facts = [fact for lot in self.home.units.lots() for fact in self.home.units.labels(lot)]
        facts = standing_facts(facts) if place % 4 else facts
        fact, said = _one_of(facts, place), {"reference": self.next("revoke"), "why": "a test", **self.same()}
        if fact is not None:
            self.step(lambda home: labels.revoke(home, fact.seq, **said), how)

    def make_good(self, place: int, how: str) -> None:
        """Other units stand for what the reserve of a lot did not reach for."""
        block, said = self.block(place, State.HELD), {"reference": self.next("replace"), "why": "a test", **self.same()}
        short = [name for name in self.issued_lots() if int(compensation(self.home, name)["shortfall"])]
        if block is not None and short:
            count = min(block.count, int(compensation(self.home, short[0])["shortfall"]) + (place % 5 == 0))
            serials = [self.serial(block.lot, block.lo, block.lo + count)]
            self.step(lambda home: make_good(home, short[0], serials, **said), how)

    def issued_lots(self) -> list[str]:
        return [lot_name(row.number) for row in self.home.lots.all(states=[LotState.ISSUED, LotState.CLOSED])]

    def retire(self, party: str, place: int, count: int, how: str) -> None:
        block, day = _one_of(self.home.units.blocks(holder=f"{PARTY}{party}", states=[State.HELD]), place), self.today
        lot = lot_name(1 if block is None else block.lot)
        count = count if block is None or place % 4 == 0 else min(count, block.count)
        asked = Asked("voluntary_cancellation", day, day, "Example", lot=lot, count=count)
        name, said = self.next("retirement"), self.same()
        self.step(lambda home: retire(home, party, name, asked, **said), how)

    @property
    def today(self) -> date:
        return self.now.date()

    def same(self) -> dict[str, Any]:
        """Who does it and when."""
        return {"actor": OPERATOR, "now": self.now}

    # -- trade --------------------------------------------------------------------------------------------------

    def sellable(self, place: int, buyer: str = "") -> tuple[str, str] | None:
        """A seller and a lot that it holds units of; mostly another one than a buyer."""
        own = {PROGRAMME, *(f"{PARTY}{each}" for each in PARTIES)} - ({f"{PARTY}{buyer}"} if place % 4 else set())
        block = _one_of([each for each in self.home.units.blocks(states=[State.HELD]) if each.holder in own], place)
        return None if block is None else (block.holder.removeprefix(PARTY), lot_name(block.lot))

    def agree(self, place: int, buyer: str, count: int, price: int, how: str) -> None:
        found, name, said = self.sellable(place, buyer), self.next("deal"), self.same()
        if found is not None:
            number = units.lot_number(found[1])
            terms = deals.Terms("contract", found[0], buyer, number, count, price, name)
            self.step(lambda home: deals.agree_directly(home, terms, **said), how)

    def other(self, party: str, seller: str) -> str:
        """A party that does not deal with itself."""
        return next(each for each in PARTIES if each != seller) if party == seller else party

    def offer(self, place: int, count: int, price: int, buyer: str | None, how: str) -> None:
        """Units are offered for some days, to all or to one."""
        found, said = self.sellable(place), self.same()
        if found is not None:
            offered = {"seller": found[0], "lot": found[1], "units": str(count), "price_fen": str(price)}
            offered |= {"reference": self.next("offer"), "until": self.now + timedelta(days=20), "buyer": buyer}
            asked = msgspec.convert(offered, deals.OfferSaid)
            self.step(lambda home: deals.offer(home, asked, **said), how)

    def accept(self, place: int, buyer: str, count: int, how: str) -> None:
        if not self.home.deals.offers(None, 99, at=self.now.isoformat()):
            self.offer(place, 6, 50, None, "once")
        stand = self.home.deals.offers(None, 99, at=self.now.isoformat() if place % 4 else None)
        offer, name, said = _one_of(stand, place), self.next("deal"), self.same()
        if offer is not None:
            by = offer.buyer or self.other(buyer, offer.seller) if place % 4 else buyer
            self.step(lambda home: deals.accept(home, offer.id, by, count, name, **said), how)

    def end_offer(self, place: int, how: str) -> None:
        offer, said = _one_of(self.home.deals.offers(None, 99), place), self.same()
        if offer is not None:
            self.step(lambda home: deals.end_offer(home, offer.id, **said), how)

    def pay(self, place: int, share: str, how: str) -> None:
        """Money comes in for a deal, whatever has become of it: exactly, too little, too much, in parts."""
        if not self.agreed():
            self.agree(place, PARTIES[place % 2], 2, 500, "once")
        deal = _one_of(self.agreed() if self.agreed() and place % 4 else self.home.deals.page(None, 10_000), place)
        if deal is not None:
            fen = {"all": deal.gross_fen, "less": deal.gross_fen - 1, "more": deal.gross_fen + 7}
            self.pay_for(deal, max(fen.get(share, deal.gross_fen // 2), 1), how)

    def pay_for(self, deal: Any, fen: int, how: str) -> None:
        line, said = Line(self.next("bank"), self.today, fen, "Example", ACCOUNT, "", "a test"), self.same()
        self.step(lambda home: confirm(home, deal.id, line, **said), how)

    def use(self, place: int, other: int, how: str) -> None:
        """The operator uses money that is unclear or a surplus for a deal that waits."""
        payment, said = self.payment(place), self.same()
        buyer = PARTIES[0] if payment is None else payment.holder.removeprefix(PARTY)
        if buyer in PARTIES and not any(row.buyer == buyer for row in self.agreed()):
            self.agree(1, buyer, 1, 5, "once")
        own = [row for row in self.agreed() if row.buyer == buyer]
        deal = _one_of(own if own and place % 4 else self.agreed(), other)
        if payment is not None and deal is not None:
            self.step(lambda home: use_payment(home, payment.entry, deal.id, "a test", **said), how)

    def agreed(self) -> list[Any]:
        """The deals that wait for money."""
        return self.home.deals.page(None, 10_000, state="agreed")

    def payment(self, place: int) -> Any | None:
        """A payment of which something is left, or any; there is one after it."""
        if not any(row.state == "surplus" for row in self.home.payments.all()):
            self.pay(place, "more", "once")
        found = self.home.payments.all()
        left = [row for row in found if row.state in ("surplus", "unclear")]
        return _one_of(left if left and place % 4 else found, place)

    def hand_over(self, place: int, how: str) -> None:
        """What could not be delivered when its price came, once what kept it is over."""
        waiting = [row.deal for row in self.home.payments.all() if row.reason == "not-deliverable"]
        if not waiting and self.agreed():
            deal = _one_of(self.agreed(), place)
            self.stand(deal.buyer, "suspended", "once")
            self.pay_for(deal, deal.gross_fen, "once")
            self.stand(deal.buyer, "approved", "once")
            waiting = [deal.id]
        numbers = waiting if waiting and place % 4 else [row.id for row in self.home.deals.all()]
        number, said = _one_of(numbers, place), self.same()
        if number is not None:
            self.step(lambda home: deliver_again(home, number, **said), how)

    def call_off(self, place: int, how: str) -> None:
        deal, said = _one_of(self.home.deals.page(None, 10_000), place), self.same()
        if deal is not None:
            self.step(lambda home: deals.cancel(home, deal.id, "a test", **said), how)

    def give_back(self, place: int, how: str) -> None:
        """Money that nobody needs goes back to who paid it."""
        payment, name, said = self.payment(place), self.next("back"), self.same()
        if payment is not None:
            self.step(lambda home: send_back(home, payment.entry, name, **said), how)

    def pay_out(self, party: str, share: int, how: str) -> None:
        """A seller is paid what its units brought, or a part of it."""
        name, said = self.next("out"), self.same()
        party = party if self.home.money.balance(f"{PARTY}{party}") else self.other(party, party)
        fen = self.home.money.balance(f"{PARTY}{party}")
        self.step(lambda home: pay_out(home, party, max(fen // share, 1), name, **said), how)

    def bank(self, paid: bool, how: str) -> None:
        """All that is to go out is in a file, and the bank says what became of it."""
        if not self.home.payments.returns(state="asked"):
            self.give_back(1, "once")
        with suppress(TanzhangError):
            new_file(self.home, **self.same())
        names = [row.name for row in self.home.payments.returns(state="in_file")]
        lines = "".join(f"{name},{'paid' if paid else 'failed'},\n" for name in names)
        data, said = f"reference,status,reason\n{lines}".encode(), self.same()
        if names:
            self.step(lambda home: take_answers(home, data, "answers.csv", **said), how, has_key=False)

    def stand(self, party: str, state: str, how: str) -> None:
        """A party is suspended, or approved again."""
        said = self.same()
        self.step(lambda home: set_state(home, party, state, note=None, **said), how)

    def time_passes(self, days: int) -> None:
        """Deals that nobody paid lapse, and auctions that are over are closed; a second look finds none."""
        self.now += timedelta(days=days)
        with suppress(TanzhangError):  # one of a seller who may not sell any more stays open
            auctions.close_due(self.home, now=self.now)
        deals.lapse_due(self.home, now=self.now)
        after = self.seen()
        assert deals.lapse_due(self.home, now=self.now) == 0
        with suppress(TanzhangError):
            assert auctions.close_due(self.home, now=self.now) == []
        assert self.seen() == after

    # -- auctions and pledges -----------------------------------------------------------------------------------

    def auction(self, place: int, count: int, reserve: int, how: str) -> None:
        """Units are put up for bids, now and for six days."""
        found, said = self.sellable(place), self.same()
        if found is not None:
            asked = {"seller": found[0], "lot": found[1], "units": str(count), "reserve_fen": str(reserve)}
            asked |= {"opens_at": self.now, "closes_at": self.now + timedelta(days=6)}
            opened = msgspec.convert({**asked, "reference": self.next("auction")}, auctions.AuctionSaid)
            self.step(lambda home: auctions.open_auction(home, opened, **said), how)

    def one_auction(self, place: int) -> Any | None:
        """An auction, mostly one that takes bids; there is one after it."""
        if not any(row.state == OPEN and row.closes_at > self.now.isoformat() for row in self.home.auctions.all()):
            self.auction(place, 6, 50, "once")
        found = self.home.auctions.all()
        return _one_of([row for row in found if row.state == OPEN] if place % 4 else found, place)

    def bid(self, place: int, party: str, count: int, above: int, how: str) -> None:
        """A bid above the reserve price, or just below it."""
        auction, name, said = self.one_auction(place), self.next("bid"), self.same()
        if auction is not None:
            price, by = max(auction.reserve_fen + above, 1), self.other(party, auction.seller)
            self.step(lambda home: auctions.bid(home, auction.id, by, count, price, name, **said), how)

    def withdraw(self, place: int, other: int, how: str) -> None:
        auction, said = self.one_auction(place), self.same()
        if auction is not None and not self.home.auctions.bids(auction.id):
            self.bid(place, PARTIES[other % 2], 1, 5, "once")
        row = None if auction is None else _one_of(self.home.auctions.bids(auction.id), other)
        if row is not None:
            self.step(lambda home: auctions.withdraw(home, row.auction, row.bidder, row.place, **said), how)

    def close_auction(self, place: int, early: bool, how: str) -> None:
        """Bids are opened when time is over, and not before."""
        auction = self.one_auction(place)
        if auction is not None:
            self.bid(place, PARTIES[place % 2], 1, place, "once")
            if not early:
                self.now = max(self.now, datetime.fromisoformat(auction.closes_at))
            said = self.same()
            self.step(lambda home: auctions.close(home, auction.id, **said), how)

    def call_auction_off(self, place: int, how: str) -> None:
        auction, said = self.one_auction(place), self.same()
        if auction is not None:
            self.step(lambda home: auctions.call_off(home, auction.id, "a test", **said), how)

    def pledge(self, sponsor: str, fen: int, cap: int, per: str, how: str) -> None:
        """A sponsor adds to what a sale brings, up to a cap that the next sale may reach."""
        said = {"sponsor": sponsor, "reference": self.next("pledge"), "fen": str(fen), "cap_fen": str(cap), "per": per}
        asked, by = msgspec.convert({**said, "source": "a letter"}, PledgeSaid), self.same()
        self.step(lambda home: pledge(home, asked, **by), how)

    def end_pledge(self, place: int, how: str) -> None:
        row, said = _one_of(self.home.pledges.all(), place), self.same()
        if row is not None:
            self.step(lambda home: end_pledge(home, row.id, **said), how)

    def top_up(self, place: int, share: str, how: str) -> None:
        """A sponsor pays what it owes by now, or something else, by the bank's file."""
        if not any(row.spent_fen for row in self.home.pledges.all()):
            self.pledge(PARTIES[place % 2], 50, 120, "unit", "once")
            self.pay(place, "all", "once")
        row, said = _one_of(self.home.pledges.all(), place), self.same()
        if row is not None:
            owed = max(-self.home.money.balance(f"sponsor:{row.sponsor}"), 1)
            fen = {"all": owed, "more": owed + 7}.get(share, max(owed // 2, 1))
            line = (self.next("bank"), 9, fen, payment_reference(PLEDGE, row.id))
            data = statement(line)
            self.step(lambda home: take_statement(home, "bank_statement", data, "a.csv", **said), how, has_key=False)

    def pay_back(self, how: str) -> None:
        """The next sale is divided over the records of its lot."""
        if not self.home.deals.sales(self.home.payback.last_delivered(), 1):
            self.pay(1, "all", "once")
        sales, now = self.home.deals.sales(self.home.payback.last_delivered(), 1), self.now
        if sales:

            def verb(home: Home) -> Any:
                with home.settling():
                    run = divide(home, sales[0], now=now)
                    home.publish()
                    return run

            self.step(verb, how)

    # -- persons ------------------------------------------------------------------------------------------------

    def person(self, number: int) -> uuid.UUID:
        """The account of a person, by number."""
        return account(self.home, "amap", f"person-{number % PEOPLE}")

    def amount(self, own: uuid.UUID, share: str) -> int:
        """Milligrams of what an account has: a part of it, all or one too many."""
        free = max(available_mg(self.home, own), 0)
        return {"all": free, "more": free + 1}.get(share, free // 3) or 1

    def give(self, person: int, share: str, how: str) -> None:
        """Grams for a project, of what no lot has."""
        own, name, now = self.person(person), self.next("gift"), self.now
        mg = self.amount(own, share)
        self.step(lambda home: donate(home, own, PROJECT, name, grams_mg=mg, now=now), how)

    def pass_on(self, person: int, share: str, how: str) -> None:
        """Grams for another scheme, of what no lot has."""
        own, name, now = self.person(person), self.next("passing"), self.now
        mg = self.amount(own, share)
        self.step(lambda home: pass_on(home, own, SCHEME, name, grams_mg=mg, now=now), how)

    def join(self, source: int, target: int, carry: bool, how: str) -> None:
        one, other, now = self.person(source), self.person(target), self.now
        self.step(lambda home: join(home, one, other, carry=carry, now=now), how, has_key=False)

    def part(self, place: int, how: str) -> None:
        """Accounts part, now and then after what came from one was given away by the other."""
        if not self.home.joinings.carrying():
            self.join(place, place + 1, True, "once")
        stand = [self.home.joinings.of_source(str(self.person(each))) for each in range(PEOPLE)]
        row, now = _one_of([each for each in stand if each is not None], place), self.now
        if row is not None:
            if place % 3 == 0:  # whoever holds gives all of it away before
                holders = [
                    each for each in range(PEOPLE) if str(self.person(each)) == self.home.joinings.holder(row.source)
                ]
                self.give(holders[0], "all", "once")
            self.step(lambda home: part(home, row.id, now=now), how, has_key=False)

    def let_go(self, person: int, how: str) -> None:
        """Somebody takes back what they said about lots."""
        own, now = self.person(person), self.now
        given = _one_of([each for each in authorisations(self.home, own)["items"] if not each["revoked_at"]], person)
        if given is not None:
            self.step(lambda home: revoke(home, own, given["id"], now=now), how)

    def entrust(self, person: int, how: str) -> None:
        """Somebody lets acts go into lots."""
        own, now = self.person(person), self.now
        self.step(lambda home: authorise(home, own, since=date(2025, 1, 1), now=now), how)

    def erase(self, person: int, how: str) -> None:
        """A person goes, with whoever is joined to them alone; what they are part of keeps them from it."""
        own, now = self.person(person), self.now
        before = self.seen()
        if how == "broken off":
            with broken_off(), suppress(BrokenOffError, TanzhangError):
                erase(self.home, [own], now=now)
            assert self.seen() == before
        with suppress(TanzhangError):
            erase(self.home, [own], now=now)
            after = self.home.units.blocks(), self.home.money.balances()
            erase(self.home, [own], now=now)
            assert (self.home.units.blocks(), self.home.money.balances()) == after

    def take_back(self, place: int) -> None:
        """A partner takes a ride back, which may be in a lot, and the next batch is settled."""
        self.settle(withdrawal(ride_of(place % PEOPLE, place % RIDES), self.next("back")))

    def ride(self, person: int, hour: int, kind: str) -> None:
        """A person rides today; or what was reported is reported again, under its own reference or another one."""
        reference = f"r-{person}-{hour}" if kind == "the same" else self.next("ride")
        day = self.today if kind == "new" else ride_of(0, 0)["data"]["started_at"][:10]
        where = {"hour": 6 + hour, "distance_m": _metres(hour), "day": date.fromisoformat(str(day))}
        self.settle(ride(reference, f"person-{person}", **where))

    def settle(self, *events: Event) -> None:
        """Report and settle; what that takes back of lots is made good once."""
        folder = self.home.folder.parent
        intake(self.home, write(folder / f"{self.next('report')}.ndjson", events), now=self.now + timedelta(hours=16))
        self.now += timedelta(days=4)
        settle(self.home, now=self.now)
        compensate_due(self.home, now=self.now)
        assert compensate_due(self.home, now=self.now)["batches"] == 0


def ride_of(person: int, hour: int) -> Event:
    """One of the rides that a market begins with."""
    return ride(f"r-{person}-{hour}", f"person-{person}", hour=6 + hour, distance_m=_metres(hour))


def _metres(hour: int) -> int:
    return RIDE_M if hour else SHORT_M


def copied(template: Path, to: Path, server: Server | None) -> Home:
    """A home of its own with all that another one has, its book in the folder or on the server."""
    return Home(Path(shutil.copytree(template, to)) if server is None else server.copy(template, to))


def _one_of(found: Sequence[Any], place: int) -> Any | None:
    return found[place % len(found)] if found else None
