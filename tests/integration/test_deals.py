"""Offers, deals and payments on both databases: delivery against payment, every odd payment, no way to oversell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from tanzhang.core.errors import TanzhangError
from tanzhang.core.payment_reference import payment_reference
from tanzhang.core.serial import lot_name
from tanzhang.core.units import Pick
from tanzhang.service.market.auctions import AuctionSaid, open_auction
from tanzhang.service.market.check_deals import check_deals
from tanzhang.service.market.deals import (
    Terms,
    agree_directly,
    cancel,
    deal_named,
    described,
    end_offer,
    history,
    lapse_due,
    offers,
)
from tanzhang.service.market.parties import set_state
from tanzhang.service.market.payback import run_due
from tanzhang.service.market.payments import confirm, deliver_again, listed, payment_named, take_statement, use_payment
from tanzhang.service.market.pledges import PledgeSaid, end_pledge, pledge
from tanzhang.service.market.returns import file_data, files, new_file, pay_out, send_back, take_answers
from tanzhang.service.privacy import rotate_keys
from tanzhang.stores.bank_statements import Line
from tanzhang.stores.home import Home
from tanzhang.stores.register.deals import market_deal
from tanzhang.stores.register.payments import market_payment, market_return

from ..homes import DAY, on
from ..trading import ACCOUNT, OPERATOR, approved, bought, held, market_home, money, offered, paid, statement
from ..units import imported

OTHER = "6222 0000 0009"
REF = payment_reference("D", 1)


@pytest.fixture
def home(place: Callable[[str], str | None], quick: Path) -> Home:
    """A home with a market, 1,000 units of lot 1 and an approved buyer."""
    home = market_home(quick / "home", place("trading"))
    approved(home, "steel")
    return home


def refused(call: Any, *arguments: Any, **named: Any) -> str:
    with pytest.raises(TanzhangError) as caught:
        call(*arguments, **named)
    return caught.value.code


def state(home: Home, deal: int = 1) -> tuple[str, str]:
    """The state of a deal, and what of it is paid."""
    found = described(home, deal_named(home, deal))
    return found["state"], found["paid_fen"]


def payment(home: Home, entry: str) -> tuple[str, str, int]:
    """State, reason and rest of a payment."""
    row = payment_named(home, entry)
    return row.state, row.reason, row.amount_fen - row.used_fen - row.sent_fen


def sound(home: Home) -> None:
    assert check_deals(home)[1] == []


def test_units_are_handed_over_when_the_price_is_there_and_not_before(home: Home) -> None:
    offered(home)
    deal = bought(home, "steel", 400)
    assert (deal["gross_fen"], deal["payment_reference"], deal["due_day"]) == ("2400000", REF, "2025-06-18")
    assert (held(home, "programme"), held(home, "party:steel")) == (1_000, 0)
    assert paid(home, ("E1", 9, 2_399_999, f"购碳 {REF}"))["reasons"] == {"less": 1}
    assert (state(home), held(home, "party:steel")) == (("agreed", "2399999"), 0)
    said = paid(home, ("E2", 10, 1, REF))
    assert (said["reasons"], said["delivered"]) == ({"exact": 1}, [1])
    assert (state(home), held(home, "party:steel")) == (("delivered", "2400000"), 400)
    assert (money(home, "sale:1"), money(home, "bank"), money(home, "party:steel")) == (2_400_000, -2_400_000, 0)
    assert [(each.id, each.units, each.gross_fen, each.topup_fen) for each in home.deals.sales()] == [
        (1, 400, 2_400_000, 0)
    ]
    assert home.deals.sales(1) == []
    assert [each["state"] for each in history(home, 1)] == ["agreed", "delivered"]
    sound(home)


def test_a_statement_that_is_read_again_adds_nothing_and_one_that_says_otherwise_is_refused(home: Home) -> None:
    offered(home)
    bought(home, "steel", 10)
    lines = [("E1", 9, 60_000, REF), ("E2", 9, 5, "thanks"), ("E3", 9, -7, "out")]
    first = paid(home, *lines)
    assert (first["reasons"], first["went_out"]) == ({"exact": 1, "unknown-reference": 1}, 1)
    again = paid(home, *lines)
    assert (again["reasons"], again["delivered"]) == ({"known": 2}, [])
    assert refused(paid, home, ("E4", 9, 1, REF), ("E1", 9, 60_001, REF)) == "payment-conflict"
    assert len(home.payments.all()) == 2
    assert money(home, "bank") == -60_005
    sound(home)


def test_what_a_statement_says_wrong_is_told_of_all_together_and_nothing_is_booked(home: Home) -> None:
    wrong = statement(("E1", 9, 1, "x"), ("E1", 9, 2, "x"), ("!", 9, 3, "x"), ("E4", 9, "1.5", "x"), ("E5", 9, 0, "x"))
    wrong += b"E6,2025-13-01,5,a,b,c\r\nE7,2025-06-01,5\r\n"
    with pytest.raises(TanzhangError) as caught:
        take_statement(home, "bank_statement", wrong, "a.csv", actor=OPERATOR, now=on(9))
    assert {each.code for each in caught.value.problems} == {"statement-malformed"}
    assert [each.where for each in caught.value.problems] == [f"a.csv:{n}" for n in (3, 4, 5, 6, 7, 8)]
    for data in (b"\xff\xfe", b"", b"a,b\r\n1,2\r\n"):
        assert refused(take_statement, home, "bank_statement", data, "a.csv", actor=OPERATOR, now=on(9)) == (
            "statement-malformed"
        )
    assert refused(take_statement, home, "pigeon", b"", "a", actor=OPERATOR, now=on(9)) == "adapter-unknown"
    assert home.payments.all() == []


def test_more_than_the_price_and_a_second_payment_are_the_payers_to_have_back(home: Home) -> None:
    offered(home)
    bought(home, "steel", 10)
    paid(home, ("E1", 9, 60_500, REF), ("E2", 9, 60_000, REF))
    assert [payment(home, each) for each in ("E1", "E2")] == [("surplus", "more", 500), ("surplus", "twice", 60_000)]
    assert money(home, "party:steel") == 60_500
    sent = send_back(home, "E2", "paid twice", actor=OPERATOR, now=on(10))
    assert send_back(home, "E2", "again", actor=OPERATOR, now=on(10)) == sent
    assert (sent["payee"], sent["amount_fen"], money(home, "returning")) == (ACCOUNT, "60000", 60_000)
    made = new_file(home, actor=OPERATOR, now=on(11))
    assert refused(new_file, home, actor=OPERATOR, now=on(11)) == "nothing-to-pay"
    assert file_data(home, made["id"]).decode("utf-8-sig").splitlines()[1] == "R00000001,6222 0000 0001,60000,退款"
    sound(home)
    answer = b"reference,status,reason\r\nR00000001,paid,\r\n"
    assert take_answers(home, answer, "a.csv", actor=OPERATOR, now=on(12))["sent"] == 1
    assert take_answers(home, answer, "a.csv", actor=OPERATOR, now=on(12))["known"] == 1
    assert (money(home, "returning"), money(home, "bank")) == (0, -60_500)
    assert payment(home, "E2") == ("settled", "twice", 0)
    assert listed(home)[0]["payer"] is None  # who it was is not needed any more
    assert [each["open"] for each in files(home)] == [0]
    failed = b"reference,status,reason\r\nR00000001,failed,x\r\nR9,paid,\r\n"
    with pytest.raises(TanzhangError) as caught:
        take_answers(home, failed, "a.csv", actor=OPERATOR, now=on(12))
    assert [each.code for each in caught.value.problems] == ["payout-conflict", "payout-unknown"]
    sound(home)


def test_a_return_that_the_bank_could_not_make_is_the_payers_again_and_can_be_sent_anew(home: Home) -> None:
    offered(home)
    bought(home, "steel", 10)
    paid(home, ("E1", 9, 60_500, REF))
    send_back(home, "E1", "too much", actor=OPERATOR, now=on(10))
    new_file(home, actor=OPERATOR, now=on(10))
    failed = b"reference,status,reason\r\nR00000001,failed,account closed\r\n"
    assert take_answers(home, failed, "a.csv", actor=OPERATOR, now=on(11))["failed"] == 1
    assert payment(home, "E1") == ("surplus", "more", 500)
    assert (money(home, "party:steel"), money(home, "returning")) == (500, 0)
    again = send_back(home, "E1", "once more", actor=OPERATOR, now=on(12))
    assert (again["name"], again["state"]) == ("R00000002", "asked")
    sound(home)


def test_money_that_is_used_for_a_deal_and_more_than_its_price_is_used_once_however_often_it_is_asked(
    home: Home,
) -> None:
    offered(home)
    bought(home, "steel", 10)
    paid(home, ("E1", 9, 90_000, "hello"))
    said = use_payment(home, "E1", 1, "agreed by mail", actor=OPERATOR, now=on(10))
    assert (said["state"], said["rest_fen"]) == ("surplus", "30000")
    assert use_payment(home, "E1", 1, "agreed by mail", actor=OPERATOR, now=on(10)) == said
    bought(home, "steel", 5, reference="d-2")
    later = use_payment(home, "E1", 2, "the rest", actor=OPERATOR, now=on(10))
    assert (later["state"], later["deal"]) == ("settled", 2)
    assert use_payment(home, "E1", 1, "agreed by mail", actor=OPERATOR, now=on(10)) == later
    sound(home)


def test_what_is_beyond_one_price_pays_for_another_deal_of_the_same_buyer_and_of_no_other(home: Home) -> None:
    approved(home, "iron", bank_account=OTHER)
    offered(home)
    bought(home, "steel", 10)
    bought(home, "steel", 5, reference="d-2")
    bought(home, "iron", 5)
    paid(home, ("E1", 9, 90_000, REF))
    assert refused(use_payment, home, "E1", 3, "x", actor=OPERATOR, now=on(10)) == "payment-of-another"
    assert use_payment(home, "E1", 2, "agreed by mail", actor=OPERATOR, now=on(10))["rest_fen"] == "0"
    assert use_payment(home, "E1", 2, "again", actor=OPERATOR, now=on(10))["state"] == "settled"
    assert (state(home, 2), held(home, "party:steel")) == (("delivered", "30000"), 15)
    assert refused(use_payment, home, "E1", 3, "x", actor=OPERATOR, now=on(10)) == "payment-used"
    assert refused(use_payment, home, "E9", 3, "x", actor=OPERATOR, now=on(10)) == "unknown-payment"
    assert refused(use_payment, home, "E1", 9, "x", actor=OPERATOR, now=on(10)) == "unknown-deal"
    assert refused(send_back, home, "E1", "x", actor=OPERATOR, now=on(10)) == "payment-used"
    sound(home)


def test_money_without_a_reference_or_from_elsewhere_waits_until_somebody_says_what_it_is(home: Home) -> None:
    offered(home)
    bought(home, "steel", 10)
    both = f"{REF} {payment_reference('D', 2)}"
    unknown = payment_reference("D", 77)
    paid(
        home, ("E1", 9, 60_000, "hello"), ("E2", 9, 60_000, both), ("E3", 9, 60_000, REF, OTHER), ("E4", 9, 1, unknown)
    )
    reasons = ["unknown-reference", "several-references", "other-payer", "unknown-reference"]
    assert [payment(home, f"E{n}")[:2] for n in (1, 2, 3, 4)] == [("unclear", reason) for reason in reasons]
    assert (state(home), money(home, "unclear")) == (("agreed", "0"), 180_001)
    assert use_payment(home, "E3", 1, "its parent company pays", actor=OPERATOR, now=on(10))["state"] == "settled"
    assert (state(home)[0], money(home, "unclear"), held(home, "party:steel")) == ("delivered", 120_001, 10)
    assert send_back(home, "E1", "nobody knows", actor=OPERATOR, now=on(10))["account"] == "unclear"
    paid(home, ("E5", 9, 70, "cash desk", ""))
    assert refused(send_back, home, "E5", "x", actor=OPERATOR, now=on(10)) == "payee-unknown"
    assert send_back(home, "E5", "asked the bank", payee=OTHER, actor=OPERATOR, now=on(10))["payee"] == OTHER
    paid(home, ("E6", 9, 70, "formula", "=1+1"))
    assert refused(send_back, home, "E6", "x", actor=OPERATOR, now=on(10)) == "payee-unknown"
    sound(home)


def test_a_deal_that_is_not_paid_in_time_lapses_and_its_part_payment_and_late_money_are_not_lost(home: Home) -> None:
    offered(home)
    bought(home, "steel", 10)
    paid(home, ("E1", 18, 20_000, REF), day=19)
    assert lapse_due(home, now=on(19)) == 0  # the bank's file of the last day may still come
    assert lapse_due(home, now=on(20)) == 1
    assert lapse_due(home, now=on(20)) == 0
    assert (state(home)[0], payment(home, "E1")) == ("lapsed", ("surplus", "deal-over", 20_000))
    assert all(block.state == "held" for block in home.units.blocks(lot=1))
    paid(home, ("E2", 20, 40_000, REF), day=21)
    assert payment(home, "E2") == ("surplus", "late", 40_000)
    assert refused(use_payment, home, "E2", 1, "x", actor=OPERATOR, now=on(21)) == "deal-over"
    bought(home, "steel", 10, reference="d-2", day=21)
    for entry in ("E1", "E2"):
        use_payment(home, entry, 2, "for the new deal", actor=OPERATOR, now=on(21))
    assert (state(home, 2)[0], held(home, "party:steel")) == ("delivered", 10)
    sound(home)


def test_late_money_does_not_deliver_by_itself_and_can_while_the_deal_still_waits(home: Home) -> None:
    offered(home)
    bought(home, "steel", 10)
    paid(home, ("E1", 19, 60_000, REF), day=19)
    assert (state(home)[0], payment(home, "E1")) == ("agreed", ("surplus", "late", 60_000))
    use_payment(home, "E1", 1, "one day is forgiven", actor=OPERATOR, now=on(19))
    assert state(home)[0] == "delivered"
    sound(home)


def test_a_cancelled_deal_frees_its_units_and_what_was_paid(home: Home) -> None:
    offered(home)
    bought(home, "steel", 10)
    paid(home, ("E1", 9, 59_999, REF))
    assert cancel(home, 1, "the buyer asked", actor=OPERATOR, now=on(10))["state"] == "cancelled"
    assert cancel(home, 1, "again", actor=OPERATOR, now=on(11))["note"] == "the buyer asked"
    assert payment(home, "E1") == ("surplus", "deal-over", 59_999)
    paid(home, ("E2", 9, 1, REF))
    assert payment(home, "E2")[:2] == ("surplus", "deal-over")
    assert refused(deliver_again, home, 1, actor=OPERATOR, now=on(10)) == "deal-over"
    assert refused(cancel, home, 7, "x", actor=OPERATOR, now=on(10)) == "unknown-deal"
    bought(home, "steel", 10, reference="d-2")
    paid(home, ("E3", 9, 60_000, payment_reference("D", 2)))
    assert refused(cancel, home, 2, "too late", actor=OPERATOR, now=on(10)) == "deal-over"
    sound(home)


def test_what_cannot_be_handed_over_keeps_its_money_and_is_tried_again(home: Home) -> None:
    offered(home)
    bought(home, "steel", 10)
    set_state(home, "steel", "suspended", note="asked by a court", actor=OPERATOR, now=on(9))
    paid(home, ("E1", 9, 60_000, REF), ("E2", 9, 7, REF))
    assert (state(home), payment(home, "E1")) == (("agreed", "60007"), ("waiting", "not-deliverable", 60_000))
    assert lapse_due(home, now=on(28)) == 0  # somebody has to look at it
    assert refused(deliver_again, home, 1, actor=OPERATOR, now=on(10)) == "party-not-approved"
    set_state(home, "steel", "approved", note=None, actor=OPERATOR, now=on(11))
    assert deliver_again(home, 1, actor=OPERATOR, now=on(12))["state"] == "delivered"
    assert deliver_again(home, 1, actor=OPERATOR, now=on(12))["state"] == "delivered"
    assert [payment(home, each)[0] for each in ("E1", "E2")] == ["settled", "surplus"]
    sound(home)


def test_the_operator_confirms_by_hand_and_the_statement_adds_nothing(home: Home) -> None:
    offered(home)
    bought(home, "steel", 10)
    line = Line("E1", DAY, 60_000, "", "", "seen at the bank", "manual")
    assert refused(confirm, home, 5, line, actor=OPERATOR, now=on(9)) == "unknown-deal"
    assert confirm(home, 1, line, actor=OPERATOR, now=on(9))["reason"] == "exact"
    assert confirm(home, 1, line, actor=OPERATOR, now=on(9))["state"] == "settled"
    assert paid(home, ("E1", 5, 60_000, "no reference at all"))["reasons"] == {"known": 1}
    assert (
        refused(confirm, home, 1, Line("E1", DAY, 1, "", "", "", "m"), actor=OPERATOR, now=on(9)) == "payment-conflict"
    )
    for entry, fen in (("E 2", 5), ("E2", 0), ("E2", -5)):
        line = Line(entry, DAY, fen, "", "", "", "manual")
        assert refused(confirm, home, 1, line, actor=OPERATOR, now=on(9)) == "statement-malformed"
    sound(home)


def test_a_deal_between_parties_pays_its_seller_who_is_paid_out_once(home: Home) -> None:
    approved(home, "iron", bank_account=OTHER)
    offered(home)
    bought(home, "steel", 100)
    paid(home, ("E1", 9, 600_000, REF))
    again = offered(home, 40, 7_000, seller="steel", reference="s-1", buyer="iron")
    assert refused(bought, home, "steel", 5, offer=again, reference="x") == "unknown-offer"
    bought(home, "iron", 40, offer=again)
    paid(home, ("E2", 9, 280_000, payment_reference("D", 2), OTHER))
    assert (held(home, "party:steel"), held(home, "party:iron")) == (60, 40)
    assert (money(home, "party:steel"), money(home, "sale:1")) == (280_000, 600_000)
    assert [each.id for each in home.deals.sales()] == [1]  # only what the programme sold is paid back
    assert refused(pay_out, home, "steel", 280_001, "p-1", actor=OPERATOR, now=on(10)) == "money-short"
    out = pay_out(home, "steel", 280_000, "p-1", actor=OPERATOR, now=on(10))
    assert pay_out(home, "steel", 280_000, "p-1", actor=OPERATOR, now=on(10)) == out
    assert refused(pay_out, home, "steel", 1, "p-1", actor=OPERATOR, now=on(10)) == "reference-taken"
    assert (out["payee"], money(home, "party:steel")) == (ACCOUNT, 0)
    sound(home)
    rotate_keys(home)
    assert ACCOUNT in file_data(home, new_file(home, actor=OPERATOR, now=on(11))["id"]).decode()


def test_nobody_gets_more_than_there_is_or_than_is_offered(home: Home) -> None:
    assert refused(offered, home, 1_001) == "units-short"
    number = offered(home, 300)
    assert refused(bought, home, "steel", 301) == "sold-out"
    assert refused(bought, home, "steel", 0) == "sold-out"
    first = bought(home, "steel", 200)
    assert bought(home, "steel", 200) == first
    assert refused(bought, home, "steel", 100) == "reference-taken"
    assert refused(bought, home, "steel", 101, reference="d-2") == "sold-out"
    assert refused(bought, home, "steel", 1, reference="auction:1.1") == "reference-taken"
    assert refused(bought, home, "nobody", 1) == "unknown-party"
    assert [each["left"] for each in offers(home, now=on(9))] == ["100"]
    end_offer(home, number, actor=OPERATOR, now=on(9))
    assert refused(bought, home, "steel", 1, reference="d-3") == "offer-not-open"
    assert refused(end_offer, home, 99, actor=OPERATOR, now=on(9)) == "unknown-offer"
    assert refused(offered, home, 801, reference="o-2") == "units-short"  # what is reserved is not free
    assert offered(home, 800, reference="o-2") == 2
    sound(home)


def test_an_offer_is_over_at_its_moment_and_the_same_offer_is_one(home: Home) -> None:
    assert offered(home) == offered(home) == 1
    assert refused(offered, home, 5) == "reference-taken"
    assert refused(offered, home, 5, reference="o-2", until=on(8)) == "deal-malformed"
    assert refused(offered, home, 5, reference="o-2", until=on(9).replace(tzinfo=None)) == "deal-malformed"
    assert refused(bought, home, "steel", 1, day=30) == "offer-not-open"
    assert refused(offered, home, 5, reference="o-3", seller="steel") == "units-short"
    set_state(home, "steel", "suspended", note=None, actor=OPERATOR, now=on(8))
    assert refused(bought, home, "steel", 1) == "party-not-approved"


def test_a_deal_that_was_agreed_elsewhere_is_one_for_its_buyers_reference(home: Home) -> None:
    terms = Terms("agreed", "programme", "steel", 1, 10, 5_500, "contract-7")
    first = agree_directly(home, terms, actor=OPERATOR, now=on(8))
    assert agree_directly(home, terms, actor=OPERATOR, now=on(9)) == first
    wrong = Terms("agreed", "programme", "steel", 1, 11, 5_500, "contract-7")
    assert refused(agree_directly, home, wrong, actor=OPERATOR, now=on(8)) == "reference-taken"
    for units, seller, code in ((0, "programme", "deal-malformed"), (5, "steel", "deal-malformed")):
        wrong = Terms("agreed", seller, "steel", 1, units, 5_500, "c-8")
        assert refused(agree_directly, home, wrong, actor=OPERATOR, now=on(8)) == code
    sound(home)


def test_a_party_with_units_money_or_a_deal_cannot_be_closed(home: Home) -> None:
    def close() -> str:
        return refused(set_state, home, "steel", "closed", note=None, actor=OPERATOR, now=on(12))

    offered(home)
    bought(home, "steel", 10)
    assert close() == "party-in-use"
    paid(home, ("E1", 9, 60_000, REF))
    assert close() == "party-in-use"
    with home.book.transaction() as con:
        home.units.retire(con, "party:steel", [Pick(1, 0, 10)], "r-1", {}, "2025-06-11T00:00:00+00:00")
    paid(home, ("E2", 9, 5, REF))
    assert close() == "party-in-use"
    send_back(home, "E2", "twice", actor=OPERATOR, now=on(11))
    assert set_state(home, "steel", "closed", note=None, actor=OPERATOR, now=on(12))["state"] == "closed"
    sound(home)


def test_what_somebody_changed_in_the_book_is_found(home: Home) -> None:
    offered(home)
    bought(home, "steel", 10)
    bought(home, "steel", 5, reference="d-2")
    paid(home, ("E1", 9, 60_500, REF), ("E2", 9, 7, "hello"))
    send_back(home, "E2", "x", actor=OPERATOR, now=on(10))
    sound(home)
    changes: list[tuple[sa.Table, dict[str, Any]]] = [
        (market_deal, {"state": "lapsed"}),
        (market_deal, {"units": 11}),
        (market_deal, {"gross_fen": 60_001}),
        (market_deal, {"buyer": "iron"}),
        (market_deal, {"topup_fen": 1}),
        (market_deal, {"delivered": 2}),
        (market_payment, {"amount_fen": 60_501}),
        (market_payment, {"used_fen": 60_499}),
        (market_payment, {"state": "settled"}),
        (market_payment, {"holder": "party:iron"}),
        (market_return, {"amount_fen": 8}),
        (market_return, {"state": "failed"}),
    ]
    for table, values in changes:
        own = table.c.id == 1
        with home.book.transaction() as con:
            (before,) = con.execute(sa.select(table).where(own))
            con.execute(table.update().where(own).values(**values))
        found = {each.code for each in check_deals(home)[1]}
        assert found == {"trade-mismatch"}, (table.name, values)
        with home.book.transaction() as con:
            con.execute(table.update().where(own).values(**{name: getattr(before, name) for name in values}))
    sound(home)


def test_the_programme_sells_no_units_that_nobody_entrusted_since_their_money_would_be_nobodys(home: Home) -> None:
    (block,) = imported(home, 100)
    name = lot_name(block.lot)
    assert refused(offered, home, 10, lot=name) == "lot-not-entrusted"
    terms = Terms("agreed", "programme", "steel", block.lot, 10, 6_000, "r")
    assert refused(agree_directly, home, terms, actor=OPERATOR, now=on(8)) == "lot-not-entrusted"
    said = {"seller": "programme", "reference": "a", "lot": name, "units": "10", "reserve_fen": "1"}
    asked = msgspec.convert({**said, "opens_at": on(8), "closes_at": on(9)}, AuctionSaid)
    assert refused(open_auction, home, asked, actor=OPERATOR, now=on(7)) == "lot-not-entrusted"
    assert run_due(home, now=on(12)) == {"status": "divided", "sales": 0, "fen": "0"}


def test_nobody_buys_of_a_party_that_was_suspended_since_it_offered(home: Home) -> None:
    approved(home, "iron")
    offered(home)
    bought(home, "steel", 100)
    paid(home, ("E1", 9, 600_000, REF))
    resale = offered(home, 50, seller="steel", reference="resale")
    set_state(home, "steel", "suspended", note=None, actor=OPERATOR, now=on(9))
    assert refused(bought, home, "iron", 10, offer=resale) == "party-not-approved"
    assert held(home, "party:steel") == 100
    set_state(home, "steel", "approved", note=None, actor=OPERATOR, now=on(9))
    assert bought(home, "iron", 10, offer=resale, day=9)["state"] == "agreed"
    sound(home)


def test_one_entry_of_the_bank_is_not_confirmed_for_two_deals(home: Home) -> None:
    offered(home)
    bought(home, "steel", 10)
    bought(home, "steel", 10, reference="d-2")
    line = Line("E1", DAY, 60_000, "", "", "", "manual")
    first = confirm(home, 1, line, actor=OPERATOR, now=on(9))
    assert refused(confirm, home, 2, line, actor=OPERATOR, now=on(9)) == "payment-conflict"
    assert confirm(home, 1, line, actor=OPERATOR, now=on(9)) == first
    assert (state(home, 1), state(home, 2)) == (("delivered", "60000"), ("agreed", "0"))
    sound(home)


def test_a_party_is_not_closed_while_its_pledge_adds_to_sales_or_its_proceeds_are_on_their_way(home: Home) -> None:
    approved(home, "hill")
    offered(home)
    said = {"sponsor": "hill", "reference": "p", "fen": "5", "per": "unit", "cap_fen": "1000", "source": "a letter"}
    pledge(home, msgspec.convert(said, PledgeSaid), actor=OPERATOR, now=on(8))
    assert refused(set_state, home, "hill", "closed", note=None, actor=OPERATOR, now=on(8)) == "party-in-use"
    end_pledge(home, 1, actor=OPERATOR, now=on(8))
    bought(home, "hill", 10)
    paid(home, ("E1", 9, 60_000, REF))
    agree_directly(home, Terms("agreed", "hill", "steel", 1, 10, 6_000, "r"), actor=OPERATOR, now=on(9))
    paid(home, ("E2", 9, 60_000, payment_reference("D", 2)))
    name = pay_out(home, "hill", 60_000, "out", actor=OPERATOR, now=on(10))["name"]
    assert refused(set_state, home, "hill", "closed", note=None, actor=OPERATOR, now=on(10)) == "party-in-use"
    new_file(home, actor=OPERATOR, now=on(10))
    answers = f"reference,status,reason\n{name},paid,\n".encode()
    take_answers(home, answers, "answers.csv", actor=OPERATOR, now=on(11))
    assert set_state(home, "hill", "closed", note=None, actor=OPERATOR, now=on(12))["state"] == "closed"
    sound(home)


def test_money_that_went_back_is_not_said_to_be_used_for_its_deal(home: Home) -> None:
    offered(home)
    due = described(home, deal_named(home, int(bought(home, "steel", 10)["number"])))["due_day"]
    paid(home, ("E1", int(due[-2:]) + 1, 60_000, REF), day=int(due[-2:]) + 1)
    assert payment(home, "E1")[:2] == ("surplus", "late")
    send_back(home, "E1", "too late", actor=OPERATOR, now=on(20))
    assert refused(use_payment, home, "E1", 1, "after all", actor=OPERATOR, now=on(20)) == "payment-used"
    assert state(home) == ("agreed", "0")
    sound(home)
