"""Auctions and pledges on both databases: bids nobody reads before the close, one price, what sponsors add."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from tanzhang.core.auction import commitment
from tanzhang.core.errors import TanzhangError
from tanzhang.core.payment_reference import payment_reference
from tanzhang.service.market.auctions import (
    AuctionSaid,
    bid,
    call_off,
    close,
    close_due,
    listed,
    open_auction,
    own_bids,
    result,
    withdraw,
)
from tanzhang.service.market.check_deals import check_deals
from tanzhang.service.market.deals import deal_named, described
from tanzhang.service.market.parties import set_state
from tanzhang.service.market.pledges import PledgeSaid, end_pledge, pledge
from tanzhang.service.market.returns import send_back
from tanzhang.service.privacy import rotate_keys
from tanzhang.service.verify import verify
from tanzhang.stores.book import entry
from tanzhang.stores.home import Home
from tanzhang.stores.register.auctions import auction_bid
from tanzhang.stores.register.audit import audit

from ..homes import on
from ..trading import OPERATOR, approved, begin, bought, held, market_home, money, offered, paid

BIDDERS = ("steel", "iron", "zinc")


@pytest.fixture
def home(place: Callable[[str], str | None], quick: Path) -> Home:
    """A home with a market, 1,000 units of lot 1 and three approved bidders, each with an account of its own."""
    home = market_home(quick / "home", place("auctions"))
    for number, each in enumerate(BIDDERS):
        approved(home, each, bank_account=account_of(each) if number else "6222 0000 0001")
    return home


def account_of(name: str) -> str:
    return f"6222 0000 000{1 + BIDDERS.index(name)}"


def refused(call: Any, *arguments: Any, **named: Any) -> str:
    with pytest.raises(TanzhangError) as caught:
        call(*arguments, **named)
    return caught.value.code


def opened(home: Home, units: int = 100, **more: Any) -> int:
    said = {"seller": "programme", "reference": "a-1", "lot": "L000001", "units": str(units), "reserve_fen": "5000"}
    said |= {"opens_at": on(8), "closes_at": on(10), **more}
    return int(open_auction(home, msgspec.convert(said, AuctionSaid), actor=OPERATOR, now=on(7))["number"])


def bids(home: Home, bidder: str, units: int, price_fen: int, reference: str = "b", day: int = 8) -> dict[str, Any]:
    return bid(home, 1, bidder, units, price_fen, reference, actor=OPERATOR, now=on(day))


def closed(home: Home, day: int = 10) -> dict[str, Any]:
    return close(home, 1, actor=OPERATOR, now=on(day))


def sound(home: Home) -> None:
    assert check_deals(home)[1] == []


def test_winners_pay_the_marginal_price_and_the_last_of_them_gets_what_is_left(home: Home) -> None:
    opened(home)
    assert held(home, "programme") == 1_000
    bids(home, "steel", 60, 7_000)
    bids(home, "iron", 60, 6_000)
    bids(home, "zinc", 60, 6_000)
    found = closed(home)
    assert (found["state"], found["price_fen"], found["sold"], found["marginal"]) == ("cleared", "6000", "100", 2)
    assert [(each["state"], each["awarded"]) for each in found["result"]] == [
        ("won", "60"),
        ("won", "40"),
        ("lost", "0"),
    ]
    assert closed(home, 11) == found
    deals = [described(home, deal_named(home, number)) for number in (1, 2)]
    assert [(each["buyer"], each["units"], each["gross_fen"]) for each in deals] == [
        ("steel", "60", "360000"), ("iron", "40", "240000")
    ]  # fmt: skip
    ref = payment_reference("D", 1)
    assert paid(home, ("E1", 11, 360_000, ref, account_of("steel")), day=12)["delivered"] == [1]
    assert held(home, "party:steel") == 60
    sound(home)


def test_nobody_reads_a_bid_before_the_close_and_each_can_be_checked_after_it(home: Home) -> None:
    opened(home)
    receipt = bids(home, "steel", 60, 7_123)
    assert bids(home, "steel", 60, 7_123) == receipt
    assert refused(bids, home, "steel", 60, 7_124) == "reference-taken"
    shown = json.dumps([own_bids(home, 1, "steel"), listed(home), result(home, 1)])
    kept = repr(home.book.query(sa.select(auction_bid))) + repr(home.book.query(sa.select(audit)))
    assert "7123" not in shown + kept
    assert (receipt["units"], listed(home)[0]["bids"]) == (None, None)
    assert refused(closed, home, 9) == "auction-not-over"
    rotate_keys(home)
    found = closed(home)
    said = commitment(1, "steel", 60, 7_123, bytes.fromhex(receipt["salt"]))
    assert found["result"] == [
        {
            "place": 1, "commitment": said, "state": "won", "units": "60", "price_fen": "7123", "awarded": "60",
        }
    ]  # fmt: skip
    assert receipt["commitment"] == said
    (logged,) = home.book.query(sa.select(entry.c.text).where(entry.c.kind == "auction"))
    assert json.loads(logged.text)["digest"] == found["digest"]
    assert "steel" not in logged.text
    assert own_bids(home, 1, "iron") == []
    sound(home)


def test_bids_are_taken_between_opening_and_close_from_whoever_may_buy(home: Home) -> None:
    opened(home)
    assert refused(bids, home, "steel", 10, 7_000, day=7) == "auction-not-open"
    assert refused(bids, home, "steel", 10, 7_000, day=10) == "auction-not-open"
    assert refused(bids, home, "steel", 10, 4_999) == "bid-below-reserve"
    assert refused(bids, home, "steel", 101, 7_000) == "bid-too-large"
    assert refused(bids, home, "nobody", 10, 7_000) == "unknown-party"
    assert refused(bid, home, 9, "steel", 1, 7_000, "b", actor=OPERATOR, now=on(8)) == "unknown-auction"
    for number in range(20):
        bids(home, "steel", 1, 7_000, f"b-{number}")
    assert refused(bids, home, "steel", 1, 7_000, "b-20") == "too-many-bids"
    set_state(home, "iron", "suspended", note=None, actor=OPERATOR, now=on(8))
    assert refused(bids, home, "iron", 10, 7_000) == "party-not-approved"
    sound(home)


def test_a_bid_that_is_taken_back_keeps_its_place_and_is_never_opened(home: Home) -> None:
    opened(home)
    bids(home, "steel", 100, 9_000)
    bids(home, "iron", 100, 6_000)
    gone = withdraw(home, 1, "steel", 1, actor=OPERATOR, now=on(9))
    assert withdraw(home, 1, "steel", 1, actor=OPERATOR, now=on(11)) == gone
    assert refused(withdraw, home, 1, "steel", 2, actor=OPERATOR, now=on(9)) == "unknown-bid"
    assert refused(withdraw, home, 1, "iron", 2, actor=OPERATOR, now=on(10)) == "auction-not-open"
    found = closed(home)
    assert [(each["state"], each["units"]) for each in found["result"]] == [("withdrawn", None), ("won", "100")]
    assert found["price_fen"] == "6000"
    sound(home)


def test_a_bidder_who_may_not_buy_any_more_is_left_out_when_it_is_closed(home: Home) -> None:
    opened(home)
    bids(home, "steel", 100, 9_000)
    bids(home, "iron", 50, 6_000)
    set_state(home, "steel", "suspended", note=None, actor=OPERATOR, now=on(9))
    found = closed(home)
    assert [(each["state"], each["awarded"]) for each in found["result"]] == [("excluded", "0"), ("won", "50")]
    assert sum(each.count for each in home.units.blocks(lot=1, states=["held"])) == 950  # type: ignore[list-item]
    sound(home)


def test_an_auction_without_bids_or_that_is_called_off_gives_its_units_back(home: Home) -> None:
    opened(home)
    assert refused(opened, home, 901, reference="a-2") == "units-short"
    assert opened(home) == 1
    assert refused(opened, home, 99) == "reference-taken"
    assert closed(home)["price_fen"] is None
    second = opened(home, 1_000, reference="a-2")
    bid(home, second, "steel", 5, 9_000, "b", actor=OPERATOR, now=on(8))
    assert call_off(home, second, "the lot is looked at", actor=OPERATOR, now=on(9))["state"] == "void"
    assert call_off(home, second, "again", actor=OPERATOR, now=on(9))["note"] == "the lot is looked at"
    assert refused(close, home, second, actor=OPERATOR, now=on(11)) == "auction-void"
    assert refused(call_off, home, 1, "x", actor=OPERATOR, now=on(11)) == "auction-not-open"
    assert all(row.units is row.sealed is None for row in home.auctions.bids(second))
    assert opened(home, 1_000, reference="a-3") == 3
    assert close_due(home, now=on(9)) == []
    assert close_due(home, now=on(10)) == [3]
    for wrong in ({"closes_at": on(6)}, {"opens_at": on(11)}, {"closes_at": on(10).replace(tzinfo=None)}):
        assert refused(opened, home, 5, reference="a-4", **wrong) == "auction-malformed"
    sound(home)


def test_a_bid_that_somebody_changed_in_the_book_stops_the_close(home: Home) -> None:
    opened(home)
    bids(home, "steel", 10, 9_000)
    forged = home.personal_keys.seal('{"units": 10, "price_fen": 8000}', "auction_bid.sealed:1.1")
    with home.book.transaction() as con:
        con.execute(auction_bid.update().values(sealed=forged))
    assert refused(closed, home) == "bid-changed"
    assert home.auctions.one(1).state == "open"  # type: ignore[union-attr]


def test_what_is_wrong_with_a_closed_auction_is_found(home: Home) -> None:
    opened(home)
    bids(home, "steel", 10, 9_000)
    bids(home, "iron", 95, 8_000)
    closed(home)
    sound(home)
    for values in ({"awarded": 11}, {"price_fen": 9_500}, {"deal": 2}, {"commitment": "0" * 64}):
        with home.book.transaction() as con:
            (before,) = con.execute(sa.select(auction_bid).where(auction_bid.c.id == "1.1"))
            con.execute(auction_bid.update().where(auction_bid.c.id == "1.1").values(**values))
        assert {each.code for each in check_deals(home)[1]} == {"trade-mismatch"}, values
        with home.book.transaction() as con:
            old = {name: getattr(before, name) for name in values}
            con.execute(auction_bid.update().where(auction_bid.c.id == "1.1").values(**old))
    sound(home)
    checks = {each["check"]: each for each in verify(home)["checks"]}
    assert checks["deals"]["count"] == 3  # two deals and an auction
    wrong = {name for name, each in checks.items() if each["problems"]}
    assert wrong == {"units"}  # those of these tests begin without a lot


# -- pledges --------------------------------------------------------------------------------------------------


def pledged(home: Home, fen: int, cap: int, sponsor: str = "zinc", **more: Any) -> dict[str, Any]:
    said = {"sponsor": sponsor, "reference": "p-1", "fen": str(fen), "per": "unit", "cap_fen": str(cap)}
    said |= {"source": "an example of ours", **more}
    return pledge(home, msgspec.convert(said, PledgeSaid), actor=OPERATOR, now=on(7))


def sold(home: Home, units: int, number: int, lot_price: int = 6_000) -> None:
    """A sale of the programme that is paid for at once."""
    bought(home, "steel", units, reference=f"d-{number}", offer=1)
    paid(home, (f"E{number}", 9, units * lot_price, payment_reference("D", number), account_of("steel")))


def test_a_sponsor_adds_to_each_unit_until_the_pledge_is_spent_and_owes_it(home: Home) -> None:
    made = pledged(home, 500, 12_000)
    assert pledged(home, 500, 12_000) == made
    assert refused(pledged, home, 501, 12_000) == "reference-taken"
    assert refused(pledged, home, 1, 1, sponsor="nobody") == "unknown-party"
    offered(home)
    for number, units in ((1, 20), (2, 10), (3, 5)):
        sold(home, units, number)
    assert [each.topup_fen for each in home.deals.sales()] == [10_000, 2_000, 0]  # the last one gets what is left
    assert (money(home, "sale:1"), money(home, "sponsor:zinc")) == (130_000, -12_000)
    assert home.pledges.one(1).state == "spent"  # type: ignore[union-attr]
    sound(home)
    ref = payment_reference("P", 1)
    assert paid(home, ("E9", 9, 12_000, ref, account_of("steel")))["reasons"] == {"other-payer": 1}
    assert paid(home, ("E8", 9, 12_000, ref, account_of("zinc")))["reasons"] == {"exact": 1}
    assert money(home, "sponsor:zinc") == 0
    sound(home)


def test_what_a_sponsor_pays_beyond_what_it_owes_can_go_back(home: Home) -> None:
    pledged(home, 500, 12_000)
    offered(home)
    ref = payment_reference("P", 1)
    assert paid(home, ("E7", 8, 50, ref, account_of("zinc")))["reasons"] == {"more": 1}  # nothing is owed yet
    sold(home, 10, 1)
    assert money(home, "sponsor:zinc") == 50 - 5_000
    paid(home, ("E8", 9, 5_000, ref, account_of("zinc")), ("E9", 9, 5_000, ref, account_of("zinc")))
    assert [(row.state, row.reason) for row in home.payments.all() if row.pledge] == [
        ("surplus", "more"), ("settled", "exact"), ("surplus", "more")
    ]  # fmt: skip
    sound(home)
    for entry_ in ("E7", "E9"):
        send_back(home, entry_, "nothing is owed", actor=OPERATOR, now=on(10))
    assert (money(home, "sponsor:zinc"), money(home, "returning")) == (0, 5_050)
    sound(home)


def test_pledges_are_for_a_lot_or_a_vintage_add_up_and_end(home: Home) -> None:
    begin(home, 2, 100, vintage=2024)
    pledged(home, 2_000, 10**6, per="tonne", vintage=2025)
    pledged(home, 7, 10**6, sponsor="iron", lot="L000001")
    pledged(home, 9, 10**6, reference="p-2", lot="L000002")
    offered(home)
    sold(home, 10, 1)
    assert home.deals.sales()[0].topup_fen == 20_070  # units of a tonne
    assert end_pledge(home, 1, actor=OPERATOR, now=on(9))["state"] == "ended"
    assert end_pledge(home, 1, actor=OPERATOR, now=on(10))["ended_at"] is not None
    assert refused(end_pledge, home, 7, actor=OPERATOR, now=on(9)) == "unknown-pledge"
    sold(home, 10, 2)
    assert home.deals.sales(1)[0].topup_fen == 70
    assert (money(home, "sponsor:zinc"), money(home, "sponsor:iron")) == (-20_000, -140)
    sound(home)


def test_what_parties_sell_each_other_no_sponsor_adds_to(home: Home) -> None:
    pledged(home, 500, 10**6)
    offered(home)
    sold(home, 10, 1)
    offered(home, 10, 7_000, seller="steel", reference="s-1")
    bought(home, "iron", 10, offer=2)
    paid(home, ("E2", 9, 70_000, payment_reference("D", 2), account_of("iron")))
    assert (home.deals.deal(2).topup_fen, money(home, "sponsor:zinc")) == (0, -5_000)  # type: ignore[union-attr]
    sound(home)


def test_the_moments_of_an_auction_are_of_any_time_zone(home: Home) -> None:
    shanghai = timezone(timedelta(hours=8))
    opened(home, closes_at=on(10).astimezone(shanghai))
    assert listed(home)[0]["closes_at"] == on(10).isoformat(timespec="microseconds")


def test_an_auction_that_cannot_be_closed_keeps_no_other_one_open(home: Home) -> None:
    opened(home)
    bids(home, "steel", 10, 9_000)
    second = opened(home, 50, reference="a-2")
    bid(home, second, "iron", 5, 6_000, "b", actor=OPERATOR, now=on(8))
    forged = home.personal_keys.seal('{"units": 10, "price_fen": 8000}', "auction_bid.sealed:1.1")
    with home.book.transaction() as con:
        con.execute(auction_bid.update().where(auction_bid.c.id == "1.1").values(sealed=forged))
    assert refused(close_due, home, now=on(10)) == "bid-changed"
    assert [row.state for row in home.auctions.all()] == ["open", "cleared"]
    call_off(home, 1, "a bid was changed", actor=OPERATOR, now=on(10))
    assert close_due(home, now=on(10)) == []
    sound(home)


def test_a_seller_who_is_suspended_before_the_close_sells_nothing_by_it(home: Home) -> None:
    offered(home)
    bought(home, "steel", 100)
    paid(home, ("E1", 9, 600_000, payment_reference("D", 1)))
    opened(home, 50, seller="steel", opens_at=on(10), closes_at=on(12))
    bids(home, "iron", 5, 6_000, day=10)
    set_state(home, "steel", "suspended", note=None, actor=OPERATOR, now=on(11))
    assert refused(closed, home, 12) == "party-not-approved"
    assert len(home.deals.all()) == 1
    assert home.auctions.bids(1)[0].units is None
    set_state(home, "steel", "approved", note=None, actor=OPERATOR, now=on(12))
    assert closed(home, 12)["sold"] == "5"
    sound(home)
