"""What has to hold in a market after whatever was done in it; each method is one statement, worked out by itself.

The numbers are those of the rules of units (docs/market.md has the short form): 1 states of a record, 2 one record for
one act, 3 members of a lot, 4 and 5 all units once, 6 what is final, 8 what a sale brought, 9 the overview, 10 serial
numbers and the log, 11 how serials are written, 12 what is taken back. Number 7, one effect and one answer for one
key, is how steps are done (market_walk.py). Of a home that was looked at before, its end is remembered, so that what
must never change can be compared.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction
from typing import Any

import numpy as np

from tanzhang.core.donation import DONATED
from tanzhang.core.lot import HOLDING, ISSUED, LotState
from tanzhang.core.passing import PASSED, PASSINGS
from tanzhang.core.payback import Divided
from tanzhang.core.serial import FIRST_IMPORT, Serial, lot_name
from tanzhang.core.units import PROGRAMME, RESERVE, TERMINAL, Block, State, covered, totals
from tanzhang.engine.lot import keys_of
from tanzhang.service.donations import allocated
from tanzhang.service.giving import given_by
from tanzhang.service.joining import own_accounts
from tanzhang.service.market.available import available_mg
from tanzhang.service.market.compensate import compensation
from tanzhang.service.market.holdings import record_states
from tanzhang.service.market.reports import STATES, market_overview
from tanzhang.service.moments import received_day
from tanzhang.service.reading import Reader
from tanzhang.stores.book import batch, replacement, transfer
from tanzhang.stores.home import Home
from tanzhang.stores.lot_files import read_members
from tanzhang.stores.parts import record_files
from tanzhang.stores.register.auctions import CLEARED, LOST, WON
from tanzhang.stores.register.auctions import OPEN as TAKES_BIDS
from tanzhang.stores.register.auctions import reference_of as auction_reference
from tanzhang.stores.register.deals import reference_of
from tanzhang.stores.register.units import standing_facts
from tanzhang.stores.storage import parquet_file

_COLUMNS = ["action_id", "account", "claim", "granted_mg", "reversed_mg", "withdraws", "outcome"]
_MG = ("confirmed_mg", "reserved_mg", "issued_mg", "used_mg", "reversed_mg")


@dataclass(frozen=True, slots=True)
class Settled:
    """A record as its file says it; of an erased one ``account`` is None."""

    key: int
    action: str | None
    account: uuid.UUID | None
    claim: bytes | None
    granted_mg: int
    reversed_mg: int
    withdraws: str | None
    outcome: str


class Holds:
    """What has to hold in one home; what came to its end there is remembered."""

    def __init__(self, home: Home, people: list[uuid.UUID]) -> None:
        self.home, self.people = home, people
        self._ended: dict[tuple[int, int], tuple[str, str, str]] = {}
        self._logged: list[bytes] = []
        self._numbers: dict[int, str] = {}
        self._divided: set[int] = set()
        self._records: dict[int, Settled] = {}
        self._today = ""
        self._grams_before: Any = None

    def check(self, now: datetime) -> None:
        """Everything that always holds."""
        self._today = received_day(self.home, now).isoformat()
        grams = self._grams()
        if grams != self._grams_before:  # most steps of trade move none
            self._records = {each.key: self._as_it_was(each) for each in self._read_records()}
            self._members = {row.number: _members(self.home, row) for row in self.home.lots.all(states=HOLDING)}
            self.each_milligram_of_a_record_is_in_one_state()
            self.gifts_and_passings_are_of_milligrams_that_are_there()
            self.no_act_is_credited_twice()
            self.lots_are_of_whole_units_and_hold_no_gram_twice()
            self._grams_before = grams
        self.units_of_a_lot_are_all_there_once()
        self.what_ended_stays_as_it_is()
        self.the_overview_counts_each_milligram_once()
        self.serials_and_the_log_only_grow()
        self.what_was_taken_back_is_cancelled_of_the_reserve_in_whole_units()
        self.the_reserve_is_nobodys_to_use()
        self.labels_agree_with_tiers()
        self.what_is_promised_is_reserved_and_nothing_else_is()
        self.auctions_award_the_best_bids_at_one_price()
        self.pledges_add_no_more_than_they_say()
        self.what_was_passed_on_is_in_the_log_once()
        self.money_is_somewhere_and_what_sales_brought_is_divided_to_the_fen()
        self.each_sale_is_divided_as_anybody_can_work_it_out()

    # -- grams --------------------------------------------------------------------------------------------------

    def each_milligram_of_a_record_is_in_one_state(self) -> None:
        """1: the states of a record come to what it was granted, and lots have what their files say."""
        taken_back = self._taken_back()
        in_lots: Counter[tuple[str | None, int]] = Counter()
        for number, members in self._members.items():
            for key, mg in members.items():
                in_lots[self._records[key].action, number] += mg
        for root in self._roots():
            own = {str(each) for each in own_accounts(self.home, root)}
            said = {each["action_id"]: each for each in record_states(Reader(self.home), root)["records"]}
            there = {
                each.action: each for each in self._records.values() if str(each.account) in own and each.granted_mg
            }
            assert said.keys() == there.keys()
            for action, each in said.items():
                parts = [int(each[name]) for name in _MG]
                assert min(parts) >= 0
                assert sum(parts) == int(each["granted_mg"]) == there[action].granted_mg
                assert int(each["reversed_mg"]) == taken_back[action]
                for lot in each["lots"]:
                    assert int(lot["mg"]) == in_lots[action, int(lot["lot"][1:])]
                assert sum(int(lot["mg"]) for lot in each["lots"]) == sum(
                    mg for (of, _), mg in in_lots.items() if of == action
                )

    def gifts_and_passings_are_of_milligrams_that_are_there(self) -> None:
        """Nobody has less than nothing, but for acts that were taken back after they were used."""
        reader, short = Reader(self.home), 0
        for root in self._roots():
            found, given = allocated(reader, root), given_by(self.home, own_accounts(self.home, root))
            taken = sum(mg for parts in found.taken.values() for mg in parts.values())
            owed, free = sum(found.owed.values()), available_mg(self.home, root)
            assert taken + owed == sum(each.amount_mg for each in given)
            assert free == sum(found.left.values()) - owed
            short -= min(free, 0)
        for each in {*self.people} - {*self._roots()}:
            assert self.home.book.balance(each).get("co2e_mg", 0) == 0  # it is where its holdings are
        assert short <= sum(each.reversed_mg for each in self._records.values())

    def no_act_is_credited_twice(self) -> None:
        """2: of one reference, and of one act, one record counts."""
        credited = [each for each in self._records.values() if each.granted_mg and each.action is not None]
        assert len({each.action for each in credited}) == len(credited)
        back = self._taken_back()
        claims = [each.claim for each in credited if each.claim is not None and not back[each.action]]
        assert len({*claims}) == len(claims)

    def lots_are_of_whole_units_and_hold_no_gram_twice(self) -> None:
        """3: members sum to whole units, and lots together hold no more of a record than it was granted."""
        taken: Counter[int] = Counter()
        for row in self.home.lots.all(states=HOLDING):
            members = self._members[row.number]
            assert sum(members.values()) == row.units * row.unit_mass_mg == row.total_mg
            taken.update(members)
        assert all(0 < mg <= self._records[key].granted_mg for key, mg in taken.items())

    def what_was_taken_back_is_cancelled_of_the_reserve_in_whole_units(self) -> None:
        """12: as many units as cover all that was taken back, of the reserve while it has any."""
        for row in self.home.lots.all(states=ISSUED):
            said = {name: int(text) for name, text in compensation(self.home, lot_name(row.number)).items()}
            assert said["due"] == -(-said["reversed_mg"] // row.unit_mass_mg)
            assert said["made_good"] == said["due"] - said["shortfall"]
            if said["shortfall"]:
                left = self.home.units.blocks(holder=RESERVE, lot=row.number, states=[State.HELD])
                assert left == []

    def the_overview_counts_each_milligram_once(self) -> None:
        """9: what the overview calls confirmed is what people have, and in lots is what lots have."""
        said = {name: int(text) for name, text in market_overview(self.home).items() if name.endswith("_mg")}
        assert sum(said[f"{name}_mg"] for name in STATES) == said["granted_mg"] + said["compensated_mg"]
        net = sum(each.granted_mg - each.reversed_mg for each in self._records.values())
        assert said["granted_mg"] == net
        units = {
            name: sum(each.count for each in self._own_blocks() if each.state in states)
            for name, states in {"retired": [State.RETIRED], "cancelled": [State.CANCELLED]}.items()
        }
        mass = {row.unit_mass_mg for row in self.home.lots.all(states=ISSUED)}
        assert len(mass) == 1
        assert all(said[f"{name}_mg"] == count * min(mass) for name, count in units.items())
        free = sum(available_mg(self.home, each) for each in self._roots())
        nobodys = self.home.lots.erased_of(self.people) - sum(self._given_by_erased())
        assert said["confirmed_mg"] == free + nobodys

    def what_was_passed_on_is_in_the_log_once(self) -> None:
        """Entries follow one another over all that was passed on, each with the sums by then."""
        rows, entries, seen = self.home.passings.rows(), self.home.passings.sealed(), 0
        assert len({row.id for row in rows}) == len(rows)
        for _, text in entries:
            sealed = PASSINGS.parse(text)
            assert sealed.first == seen < sealed.rows <= len(rows)
            seen = sealed.rows
            sums: Counter[str] = Counter()
            for row in rows[:seen]:
                sums[row.scheme] += row.amount
            assert {name: units[PASSED] for name, units in sealed.totals.items()} == dict(sums)

    # -- units --------------------------------------------------------------------------------------------------

    def units_of_a_lot_are_all_there_once(self) -> None:
        """4 and 5: blocks tile a lot, their states sum to what was issued, of one vintage."""
        begun = self.home.units.lots()
        for row in self.home.lots.all():
            assert (row.number in begun) == (row.state in (LotState.ISSUED, LotState.CLOSED))
        for lot, each in begun.items():
            blocks = self.home.units.blocks(lot=lot)
            assert covered(blocks) == [(0, each.units)]
            assert sum(totals(blocks).values()) == each.units
            assert lot > FIRST_IMPORT or each.units == self.home.lots.one(lot).units
            assert {block.vintage for block in blocks} == {each.vintage}
        foreign = [(each.registry, each.foreign) for each in begun.values() if each.registry is not None]
        assert len({*foreign}) == len(foreign)

    def what_ended_stays_as_it_is(self) -> None:
        """6: no final unit changes again."""
        now = {
            (block.lot, unit): (str(block.state), block.holder, block.tier)
            for block in self.home.units.blocks(states=TERMINAL)
            for unit in range(block.lo, block.hi)
        }
        assert self._ended.items() <= now.items()
        self._ended = now

    def the_reserve_is_nobodys_to_use(self) -> None:
        for block in self.home.units.blocks(holder=RESERVE):
            assert block.state in (State.HELD, State.FROZEN, State.CANCELLED)

    def serials_and_the_log_only_grow(self) -> None:
        """10 and 11: whatever is done, numbers stay, entries of the log stay, and each number is read as written."""
        begun = self.home.units.lots()
        for block in self.home.units.blocks():
            serial = begun[block.lot].serial(block.lo, block.hi)
            assert Serial.parse(serial.text) == serial
            assert serial.count == block.count
        numbers = {lot: each.serial(0, each.units).text for lot, each in begun.items()}
        assert self._numbers.items() <= numbers.items()
        entries = self.home.log_entries()
        assert entries[: len(self._logged)] == self._logged
        assert self.home.log.size <= len(entries)
        self._numbers, self._logged = numbers, entries

    def labels_agree_with_tiers(self) -> None:
        """Labels in force or to come over a unit are of one tier, its own; without any, nothing says another one."""
        for lot, begun in self.home.units.lots().items():
            standing = standing_facts(self.home.units.labels(lot))
            for block in self.home.units.blocks(lot=lot, states=[each for each in State if each not in TERMINAL]):
                over = [fact for fact in standing if fact.lo < block.hi and fact.hi > block.lo]
                assert all(fact.lo <= block.lo and block.hi <= fact.hi for fact in over)
                tiers = {fact.tier for fact in over if (fact.until_day or "9999") > self._today}
                assert len(tiers) <= 1
                assert block.tier in (tiers or {begun.tier, *(fact.tier for fact in over)})

    # -- trade --------------------------------------------------------------------------------------------------

    def what_is_promised_is_reserved_and_nothing_else_is(self) -> None:
        promised = {reference_of(row.id): row.units for row in self.home.deals.page(None, 10_000, state="agreed")}
        promised |= {
            auction_reference(row.id): row.units for row in self.home.auctions.all() if row.state == TAKES_BIDS
        }
        reserved: Counter[str] = Counter()
        for block in self.home.units.blocks(states=[State.RESERVED]):
            reserved[block.held_for] += block.count
        assert dict(reserved) == promised
        for row in self.home.deals.offers(None, 10_000):
            sold = sum(each.units for each in self.home.deals.all() if each.source == f"offer:{row.id}")
            assert row.left == row.units - sold >= 0

    def auctions_award_the_best_bids_at_one_price(self) -> None:
        for row in self.home.auctions.all():
            bids = self.home.auctions.bids(row.id)
            won = [each for each in bids if each.state == WON]
            if row.state != CLEARED:
                assert not won
                assert all(each.units is None for each in bids)  # nobody has opened one
                continue
            assert sum(each.awarded for each in won) == row.sold <= row.units
            assert all(each.price_fen >= row.price_fen >= row.reserve_fen for each in won)
            assert all(each.price_fen <= row.price_fen for each in bids if each.state == LOST and won)
            made = [each for each in self.home.deals.all() if each.source == auction_reference(row.id)]
            assert sorted(each.id for each in made) == sorted(each.deal for each in won)
            assert {each.price_fen for each in made} <= {row.price_fen}

    def pledges_add_no_more_than_they_say(self) -> None:
        """What a sponsor added is what it owes or has paid; of no pledge more than its cap."""
        added, owed = Counter[int](), Counter[str]()
        for use in self.home.pledges.uses():
            added[use.pledge] += use.amount_fen
            deal = self.home.deals.deal(use.deal)
            assert deal is not None
            assert (deal.state, deal.seller) == ("delivered", PROGRAMME)
        for row in self.home.pledges.all():
            assert added[row.id] == row.spent_fen <= row.cap_fen
            owed[f"sponsor:{row.sponsor}"] += row.spent_fen
        for payment in self.home.payments.uses():
            if payment.purpose.startswith("pledge:"):
                paid_for = self.home.pledges.one(int(payment.purpose.partition(":")[2]))
                assert paid_for is not None
                owed[f"sponsor:{paid_for.sponsor}"] -= payment.amount_fen
        assert min(owed.values(), default=0) >= 0
        for row in self.home.payments.all():
            if row.holder.startswith("sponsor:"):
                owed[row.holder] -= row.amount_fen - row.used_fen - row.sent_fen
        balances = self.home.money.balances()
        assert all(balances.get(name, 0) == -fen for name, fen in owed.items())

    # -- money --------------------------------------------------------------------------------------------------

    def money_is_somewhere_and_what_sales_brought_is_divided_to_the_fen(self) -> None:
        """8: what a sale brought is on its account until it is divided, and then with persons or in escrow."""
        balances, divided = self.home.money.balances(), 0
        assert sum(balances.values()) == 0
        assert all(fen >= 0 for name, fen in balances.items() if name != "bank" and not name.startswith("sponsor:"))
        for row in self.home.deals.page(None, 10_000, state="delivered"):
            if row.seller == PROGRAMME:
                run = self.home.payback.run_of(row.id)
                left = 0 if run is not None else row.gross_fen + row.topup_fen
                assert balances.get(f"sale:{row.id}", 0) == left
                divided += 0 if run is None else run.shared_fen
        sums = self.home.payback.sums()
        assert sums["share"] + sums["escrow_run"] == divided
        assert balances.get("payback", 0) + balances.get("escrow", 0) == divided

    def each_sale_is_divided_as_anybody_can_work_it_out(self) -> None:
        """8: each record's payment is within a fen of its exact share, and all come to what is divided."""
        for run in self.home.payback.runs():
            if run.seq in self._divided:
                continue
            self._divided.add(run.seq)
            said = Divided.parse(run.text)
            shares, before, total = Counter[uuid.UUID | None](), 0, said.shared_fen
            for key, mg in _members(self.home, self.home.lots.one(run.lot)).items():
                fen = total * (before + mg) // said.total_mg - total * before // said.total_mg
                assert abs(fen - Fraction(total * mg, said.total_mg)) < 1
                shares[self._records[key].account] += fen
                before += mg
            assert before == said.total_mg
            assert sum(shares.values()) == total
            nobodys = shares.pop(None, 0)
            got = {each: self.home.payback.shares_of(each).get(run.seq, 0) for each in shares}
            assert (got, run.nobodys_fen) == (dict(shares), nobodys)

    # -- looking ------------------------------------------------------------------------------------------------

    def _read_records(self) -> Iterator[Settled]:
        for row in self.home.book.batch_files():
            for file in record_files(self.home.storage, row):
                table = parquet_file(file.path).read(columns=_COLUMNS)
                keys = keys_of(row.seq, np.arange(file.first, file.first + table.num_rows)).tolist()
                for key, each in zip(keys, table.to_pylist(), strict=True):
                    action, withdraws = (_text(each[name]) for name in ("action_id", "withdraws"))
                    who = None if each["account"] is None else uuid.UUID(_text(each["account"]))
                    amounts = int(each["granted_mg"] or 0), int(each["reversed_mg"] or 0)
                    yield Settled(key, action, who, each["claim"], *amounts, withdraws, str(each["outcome"]))

    def _grams(self) -> Any:
        """What tells where each milligram is: batches, erasings, transfers, joinings, lots and units that ended."""
        ended: Counter[int] = Counter()
        for block in self.home.units.blocks(states=TERMINAL):
            ended[block.lot] += block.count
        lots = [(row.number, row.state) for row in self.home.lots.all()]
        carried = [(row.source, row.target) for row in self.home.joinings.carrying()]
        shares = [len(self.home.book.rows(table)) for table in (batch, replacement, transfer)]
        return ended, lots, carried, shares, self.home.units.looked_through()

    def _as_it_was(self, record: Settled) -> Settled:
        """A record with the amounts that it had before it was erased; they never change."""
        if record.account is None:
            known = self._records[record.key]
            return replace(record, granted_mg=known.granted_mg, reversed_mg=known.reversed_mg)
        return record

    def _taken_back(self) -> Counter[str | None]:
        """Action -> what was taken back of it."""
        found: Counter[str | None] = Counter()
        for each in self._records.values():
            if each.outcome not in ("repeat", "conflict"):
                found[each.withdraws] += each.reversed_mg
        return found

    def _roots(self) -> list[uuid.UUID]:
        """Everybody whose holdings are in no other account."""
        return [each for each in self.people if self.home.joinings.holder(str(each)) == str(each)]

    def _own_blocks(self) -> list[Block]:
        return [each for each in self.home.units.blocks() if each.lot < FIRST_IMPORT]

    def _given_by_erased(self) -> list[int]:
        """What was given and passed on by who is gone: all of it, less what those gave who are there."""
        everything = [*self.home.donations.rows(), *self.home.passings.rows()]
        alive = sum(
            each.amount_mg for root in self._roots() for each in given_by(self.home, own_accounts(self.home, root))
        )
        return [sum(row.amount for row in everything if row.unit in (DONATED, PASSED)) - alive]


def _members(home: Home, row: Any) -> dict[int, int]:
    """Key -> mg of the members of a lot, in their order."""
    keys, amounts = read_members(home.storage, row)
    return dict(zip(keys.tolist(), amounts.tolist(), strict=True))


def _text(value: Any) -> str | None:
    return None if value is None else str(value if isinstance(value, uuid.UUID) else uuid.UUID(bytes=value))
