"""The mall on both databases: what is sold, to whom, what becomes of an order, and what nobody can do."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from tanzhang.core.errors import TanzhangError
from tanzhang.core.order import voucher_text
from tanzhang.service.check_mall import check_mall
from tanzhang.service.erase import erase
from tanzhang.service.mall import (
    Wanted,
    cancel,
    expire,
    forget_addresses,
    own_order,
    own_orders,
    pay,
    place,
    refund,
    send,
)
from tanzhang.service.merchants import settlement_csv, settlement_report
from tanzhang.service.offers import add_codes, add_offer, change_offer, described_offer, end_offer, offer_of
from tanzhang.service.privacy import rotate_keys
from tanzhang.service.vouchers import check_voucher, redeem, what_it_brings
from tanzhang.service.webhooks import register
from tanzhang.stores.home import Home
from tanzhang.stores.register.mall import mall_code, mall_order, mall_order_event
from tanzhang.stores.register.webhooks import message

from ..mall import (
    ADDRESS,
    MERCHANT,
    NOW,
    OPERATOR,
    UNIT,
    buy,
    code,
    grant,
    number,
    offer,
    person,
    said,
    usable,
)

ANNA, BO, CHEN = person(1), person(2), person(3)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture(autouse=True)
def points(home: Home) -> None:
    grant(home, [ANNA, BO], 1_000)
    grant(home, [CHEN], 150)


def state(home: Home, order: str) -> str:
    return str(home.mall.order(order).state)  # type: ignore[union-attr]


def left(home: Home, name: str = "coffee") -> Any:
    return described_offer(home, name, now=NOW)["left"]


def refused(call: Any, *arguments: Any, **named: Any) -> str:
    with pytest.raises(TanzhangError) as caught:
        call(*arguments, **named)
    return caught.value.code


def test_a_voucher_is_paid_for_in_points_and_taken_once_by_its_merchant(home: Home) -> None:
    offer(home, stock=2)
    order = number(buy(home, ANNA))
    assert (usable(home, ANNA), left(home)) == (900, 1)
    text = what_it_brings(home, own_order(home, [ANNA], order))["voucher"]
    assert refused(own_order, home, [BO], order) == "unknown-order"
    assert refused(redeem, home, "amap", text, by="test", now=NOW) == "voucher-unknown"
    assert check_voucher(home, MERCHANT, text, now=NOW)["state"] == "issued"
    taken = redeem(home, MERCHANT, text.lower().replace("-", " "), by="enterprise x", now=NOW + HOUR)
    assert (taken["order"], taken["title_zh"], taken["state"]) == (order, "咖啡一杯", "redeemed")
    with pytest.raises(TanzhangError, match=r"voucher-redeemed.*2025-06-08T03:00"):
        redeem(home, MERCHANT, text, by="enterprise x", now=NOW + 2 * HOUR)
    assert refused(cancel, home, [ANNA], order, now=NOW) == "order-not-cancellable"
    assert what_it_brings(home, own_order(home, [ANNA], order)) == {}
    assert [each["state"] for each in own_orders(home, [ANNA])[0]["events"]] == ["issued", "redeemed"]
    assert check_mall(home) == (1, [])


def test_a_merchants_system_is_told_of_a_voucher_that_was_taken(home: Home) -> None:
    register(home, MERCHANT, "https://shop.example/hooks", ["redeemed"], actor=OPERATOR, now=NOW)
    offer(home, stock=1)
    order = number(buy(home, ANNA))
    text = what_it_brings(home, own_order(home, [ANNA], order))["voucher"]
    redeem(home, MERCHANT, text, by="enterprise x", now=NOW)
    assert refused(redeem, home, MERCHANT, text, by="enterprise x", now=NOW) == "voucher-redeemed"
    (told,) = home.book.query(sa.select(message.c.type, message.c.body))
    assert told.type == "redeemed"
    assert {"order": order, "offer": "coffee"}.items() <= json.loads(told.body)["data"].items()
    assert str(ANNA) not in told.body


def test_no_other_text_opens_a_voucher_and_no_copy_of_the_book_shows_one(home: Home) -> None:
    offer(home)
    row = own_order(home, [ANNA], number(buy(home, ANNA)))
    text = what_it_brings(home, row)["voucher"].replace("-", "")
    assert refused(redeem, home, MERCHANT, text[:-1] + str((int(text[-1]) + 1) % 10), by="x", now=NOW) == (
        "voucher-malformed"
    )
    assert text[12:20] not in repr(home.book.query(sa.select(mall_order)))
    guess = voucher_text(row.id, "00000000" if text[12:20] != "00000000" else "11111111")
    assert refused(redeem, home, MERCHANT, guess, by="x", now=NOW) == "voucher-unknown"


def test_stock_limits_and_points_decide_in_the_order_of_asking(home: Home) -> None:
    offer(home, stock=3, limit={"count": 2, "per": "offer"})
    asked = [Wanted(each, "coffee", str(place)) for place, each in enumerate([ANNA, CHEN, ANNA, ANNA, CHEN, BO])]
    asked += [Wanted(BO, "no such", "x")]
    answers = place(home, asked, now=NOW)
    assert [code(each) for each in answers] == [
        None, None, None, "limit-reached", "sold-out", "sold-out", "unknown-offer"
    ]  # fmt: skip
    assert (usable(home, ANNA), usable(home, CHEN), usable(home, BO)) == (800, 50, 1000)
    offer(home, "tea", stock=1)
    answers = place(home, [Wanted(CHEN, "tea", "a"), Wanted(BO, "tea", "b")], now=NOW)
    assert [code(each) for each in answers] == ["points-short", None]
    assert check_mall(home) == (4, [])


def test_a_key_is_one_order_for_good(home: Home) -> None:
    offer(home)
    offer(home, "tea")
    first, again, other = place(
        home, [Wanted(ANNA, "coffee", "k"), Wanted(ANNA, "coffee", "k"), Wanted(ANNA, "tea", "k")], now=NOW
    )
    assert (again.order, again.repeated, code(other)) == (first.order, True, "idempotency-key-reused")
    cancel(home, [ANNA], number(first), now=NOW)
    later = buy(home, ANNA, key="k", now=NOW + DAY)
    assert (later.order, later.repeated) == (first.order, True)
    assert number(buy(home, BO, key="k")) != number(first)
    assert usable(home, ANNA) == 1000


def test_a_limit_counts_the_days_that_it_says_and_not_what_was_taken_back(home: Home) -> None:
    offer(home, "daily", limit={"count": 1, "per": "day"})
    offer(home, "monthly", limit={"count": 1, "per": "month"})
    for name in ("daily", "monthly"):
        first = buy(home, ANNA, name)
        assert code(buy(home, ANNA, name)) == "limit-reached"
        cancel(home, [ANNA], number(first), now=NOW)
        assert code(buy(home, ANNA, name)) is None
    assert code(buy(home, ANNA, "daily", now=NOW + DAY)) is None
    assert code(buy(home, ANNA, "monthly", now=NOW + 20 * DAY)) == "limit-reached"
    assert code(buy(home, ANNA, "monthly", now=NOW + 25 * DAY)) is None


def test_a_flash_sale_begins_at_its_instant_and_an_offer_ends(home: Home) -> None:
    offer(home, flash_at="2025-06-08T12:00:00+08:00", closes_at="2025-06-08T13:00:00+08:00")
    begins = NOW.replace(hour=4)
    assert described_offer(home, "coffee", now=NOW)["status"] == "soon"
    assert code(buy(home, ANNA, now=begins - timedelta(microseconds=1))) == "offer-not-open"
    assert code(buy(home, ANNA, now=begins)) is None
    assert code(buy(home, ANNA, now=begins + HOUR)) == "offer-not-open"
    end_offer(home, "coffee", actor=OPERATOR, now=begins)
    assert code(buy(home, ANNA, now=begins)) == "offer-not-open"


def test_codes_are_given_once_each_and_kept_sealed(home: Home) -> None:
    offer(home, "film", kind="code", codes=3)
    assert add_codes(home, "film", "film-00001\nfilm-00003", actor=OPERATOR, now=NOW) == {"added": 1, "known": 1}
    orders = [number(buy(home, ANNA, "film")) for _ in range(4)]
    assert code(buy(home, BO, "film")) == "sold-out"
    codes = [what_it_brings(home, own_order(home, [ANNA], each))["code"] for each in orders]
    assert codes == [f"film-{each:05d}" for each in range(4)]
    assert "film-0" not in repr(home.book.query(sa.select(mall_code.c.sealed, mall_code.c.hash)))
    assert refused(cancel, home, [ANNA], orders[0], now=NOW) == "order-not-cancellable"
    refund(home, orders[0], by="operator op", now=NOW)
    assert (usable(home, ANNA), left(home, "film")) == (700, 0)
    rotate_keys(home)
    assert what_it_brings(home, own_order(home, [ANNA], orders[1])) == {"code": "film-00001"}
    assert check_mall(home) == (4, [])


def test_money_is_waited_for_and_an_order_that_is_not_paid_lapses(home: Home) -> None:
    offer(home, "film", kind="code", codes=1, price_fen="990", settlement_fen="2500", pay_minutes=30)
    first = buy(home, ANNA, "film")
    assert first.order is not None
    assert (first.order["state"], what_it_brings(home, own_order(home, [ANNA], number(first)))) == ("unpaid", {})
    assert code(buy(home, BO, "film")) == "sold-out"
    assert expire(home, now=NOW + timedelta(minutes=29)) == 0
    assert expire(home, now=NOW + timedelta(minutes=30)) == 1
    assert (state(home, number(first)), usable(home, ANNA)) == ("refunded", 1000)
    second = number(buy(home, BO, "film"))

    def paid(order: str, amount: int, reference: str) -> str:
        said = {"order": order, "amount_fen": str(amount), "reference": reference}
        (item,) = pay(home, [said], by="operator op", now=NOW)["items"]
        return str(item.get("code", item["result"]))

    assert paid(number(first), 990, "r1") == "order-closed"
    assert paid(second, 991, "r2") == "payment-wrong"
    assert paid("nothing", 990, "r2") == "unknown-order"
    assert [paid(second, 990, "r2"), paid(second, 990, "r2"), paid(second, 990, "r3")] == [
        "paid", "known", "payment-known"
    ]  # fmt: skip
    assert what_it_brings(home, own_order(home, [BO], second)) == {"code": "film-00000"}
    assert buy(home, BO, "film", key="other").error is not None
    assert check_mall(home) == (2, [])
    total = settlement_report(home, MERCHANT, "2025-06")["total"]
    assert {name: int(each) for name, each in total.items()} == {
        "placed": 2, "delivered": 1, "expired": 0, "refunded": 1, "points": 200, "points_back": 100,
        "paid_fen": 990, "back_fen": 0, "owed_fen": 2500,
    }  # fmt: skip
    assert refund(home, second, by="operator op", now=NOW)["give_back_fen"] == "990"
    total = settlement_report(home, MERCHANT, "2025-06")["total"]
    assert (total["delivered"], total["owed_fen"], total["back_fen"]) == ("0", "0", "990")
    assert settlement_csv(home, MERCHANT, "2025-06").decode().splitlines()[1] == (
        "cainiao,2025-06,film,2,0,0,2,200,200,990,990,0"
    )
    assert settlement_report(home, MERCHANT, "2025-07")["offers"] == []


def test_a_voucher_that_is_not_used_expires_with_its_points_or_without_as_its_offer_says(home: Home) -> None:
    offer(home, "kept", stock=1)
    offer(home, "given", stock=1, refund_expired=True)
    kept, given = number(buy(home, ANNA, "kept")), number(buy(home, ANNA, "given"))
    text = what_it_brings(home, own_order(home, [ANNA], kept))["voucher"]
    late = NOW + 7 * DAY + timedelta(microseconds=1)
    assert refused(redeem, home, MERCHANT, text, by="x", now=late) == "voucher-expired"
    assert refused(cancel, home, [ANNA], kept, now=late) == "order-not-cancellable"
    assert expire(home, now=late) == 2
    assert expire(home, now=late) == 0
    assert (state(home, kept), state(home, given), usable(home, ANNA)) == ("expired", "refunded", 900)
    assert (left(home, "kept"), left(home, "given")) == (0, 1)
    assert refused(redeem, home, MERCHANT, text, by="x", now=NOW) == "voucher-expired"
    refund(home, kept, by="operator op", now=late)
    assert usable(home, ANNA) == 1000
    assert check_mall(home) == (2, [])


def test_points_that_ended_meanwhile_can_be_used_for_some_days_once_given_back(home: Home) -> None:
    grant(home, [person(9)], 100, last="2025-06-08")
    offer(home, refund_lasts_days=30)
    order = number(buy(home, person(9)))
    cancel(home, [person(9)], order, now=NOW + DAY)
    assert home.points.usable(UNIT, person(9), (NOW + 31 * DAY).date()) == 100
    assert home.points.usable(UNIT, person(9), (NOW + 32 * DAY).date()) == 0


def test_goods_need_an_address_which_only_their_merchant_reads_and_which_goes_again(home: Home) -> None:
    offer(home, "cup", kind="goods", stock=5)
    offer(home)
    assert code(buy(home, ANNA, "cup")) == "address-missing"
    assert code(buy(home, ANNA, address=ADDRESS)) == "address-not-needed"
    order = number(buy(home, ANNA, "cup", address=ADDRESS))
    assert "东城" not in repr(home.book.query(sa.select(mall_order)))
    assert refused(send, home, "amap", order, tracking="SF1", by="x", now=NOW) == "unknown-order"
    send(home, MERCHANT, order, tracking="SF1", by="x", now=NOW)
    assert refused(send, home, MERCHANT, order, tracking="SF1", by="x", now=NOW) == "order-not-open"
    assert own_orders(home, [ANNA])[0]["address"] == {**ADDRESS, "tracking": "SF1"}
    rotate_keys(home)
    assert own_orders(home, [ANNA])[0]["address"] == {**ADDRESS, "tracking": "SF1"}
    assert [forget_addresses(home, now=NOW + days * DAY) for days in (89, 91)] == [0, 1]
    assert own_orders(home, [ANNA])[0]["address"] is None


def test_a_person_who_is_erased_leaves_sums_and_vouchers_but_no_name(home: Home) -> None:
    offer(home, "cup", kind="goods", stock=5)
    offer(home, "film", kind="code", codes=2, price_fen="100")
    offer(home, stock=5)
    sent, waiting = (number(buy(home, ANNA, "cup", address=ADDRESS)) for _ in range(2))
    send(home, MERCHANT, sent, tracking="SF1", by="x", now=NOW)
    unpaid, voucher = number(buy(home, ANNA, "film")), number(buy(home, ANNA))
    other = number(buy(home, BO))
    text = what_it_brings(home, own_order(home, [ANNA], voucher))["voucher"]
    erase(home, [ANNA], now=NOW)
    rows = {row.id: row for row in home.book.query(sa.select(mall_order))}
    for each in (sent, waiting, unpaid, voucher):
        assert (rows[each].account, rows[each].request, rows[each].address) == ("", None, None)
    assert [rows[each].state for each in (sent, waiting, unpaid, voucher)] == [
        "redeemed", "cancelled", "cancelled", "issued"
    ]  # fmt: skip
    assert rows[other].account == str(BO)
    assert own_orders(home, [ANNA]) == []
    assert (left(home, "cup"), left(home, "film"), left(home)) == (4, 2, 3)
    redeem(home, MERCHANT, text, by="x", now=NOW)
    assert settlement_report(home, MERCHANT, "2025-06")["total"]["points"] == "500"
    assert check_mall(home) == (5, [])


def test_what_is_wrong_with_an_offer_is_said_together_and_what_is_promised_stays(home: Home) -> None:
    wrong = said("Bad id!", merchant="nobody", picture="0" * 64, stock=1, kind="code", price_points="0")
    with pytest.raises(TanzhangError) as caught:
        offer_home(home, wrong | {"opens_at": "2025-06-01T00:00:00"})
    assert {each.where for each in caught.value.problems} == {
        "#/id", "#/opens_at", "#/price_points", "#/stock", "#/picture", "#/merchant"
    }  # fmt: skip
    with pytest.raises(TanzhangError, match="offer-malformed"):
        offer_of({**said(), "discount": 1})
    offer(home, stock=5)
    assert refused(offer, home) == "offer-exists"
    order = number(buy(home, ANNA))
    dearer = offer_of(said(stock=5, price_points="500", voucher_days=1, cancellable=False))
    assert change_offer(home, "coffee", dearer, version=1, actor=OPERATOR, now=NOW)["version"] == 2
    assert refused(change_offer, home, "coffee", dearer, version=1, actor=OPERATOR, now=NOW) == "offer-changed"
    assert own_order(home, [ANNA], order).valid_until.startswith("2025-06-15")
    cancel(home, [ANNA], order, now=NOW)
    assert usable(home, ANNA) == 1000
    again = number(buy(home, ANNA))
    assert refused(cancel, home, [ANNA], again, now=NOW) == "order-not-cancellable"
    for fixed in ({"merchant": "amap"}, {"stock": 0}):
        changed = offer_of(said(**{"stock": 5, **fixed}))
        assert refused(change_offer, home, "coffee", changed, actor=OPERATOR, now=NOW) == "offer-malformed"


def offer_home(home: Home, document: dict[str, Any]) -> None:
    add_offer(home, offer_of(document), actor=OPERATOR, now=NOW)


def test_verification_sees_what_was_sold_twice_or_never_paid(home: Home) -> None:
    offer(home, stock=3)
    offer(home, "film", kind="code", codes=2)
    order, film = number(buy(home, ANNA)), number(buy(home, ANNA, "film"))
    assert check_mall(home) == (2, [])

    def found(statement: Any, undo: Any) -> int:
        with home.book.transaction() as con:
            con.execute(statement)
        problems = check_mall(home)[1]
        with home.book.transaction() as con:
            con.execute(undo)
        assert {each.code for each in problems} <= {"mall-mismatch"}
        return len(problems)

    def of(order: str) -> Any:
        return mall_order.update().where(mall_order.c.id == order)

    code_row = mall_code.update().where(mall_code.c.order == film)
    assert found(of(order).values(price_points=99), of(order).values(price_points=100)) == 1
    assert found(of(order).values(state="redeemed"), of(order).values(state="issued")) == 1
    assert found(of(order).values(held=False), of(order).values(held=True)) == 1
    assert found(of(order).values(account=str(BO)), of(order).values(account=str(ANNA))) == 1
    assert found(code_row.values(offer="coffee"), code_row.values(offer="film")) == 3
    again = mall_code.update().where(mall_code.c.number == 1).values(order=film)
    assert found(code_row.values(order=None), again) == 1
    assert check_mall(home)[1] == []


def test_the_history_of_an_order_cannot_be_changed(home: Home) -> None:
    offer(home)
    buy(home, ANNA)
    with pytest.raises(Exception, match="append-only"), home.book.transaction() as con:  # the driver's own error
        con.execute(mall_order_event.update().values(state="redeemed"))


def test_a_transaction_that_dies_leaves_neither_order_nor_points_nor_code(home: Home) -> None:
    offer(home, "film", kind="code", codes=1)
    honest = home.mall.give_codes

    def dying(*arguments: Any) -> None:
        honest(*arguments)
        raise RuntimeError("killed")

    home.mall.give_codes = dying  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="killed"):
        buy(home, ANNA, "film", key="k")
    home.mall.give_codes = honest  # type: ignore[method-assign]
    assert (usable(home, ANNA), left(home, "film"), own_orders(home, [ANNA])) == (1000, 1, [])
    assert not buy(home, ANNA, "film", key="k").repeated
