"""The mall over HTTP: a person orders, a merchant takes the voucher, the operator runs it, nobody does more."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from tanzhang.core.access import Role, Scope
from tanzhang.service.privacy import about
from tanzhang.service.staff import invite
from tanzhang.stores.home import Home

from ...mall import ADDRESS, MERCHANT, OPERATOR, UNIT, grant, offer, person, said
from .callers import NOW, by_cookie, by_key

ANNA, BO = person(1), person(2)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(32)
Headers = dict[str, str]


@pytest.fixture(autouse=True)
def points(home: Home) -> None:
    grant(home, [ANNA, BO], 1_000)


def me(home: Home, account: uuid.UUID = ANNA) -> Headers:
    return by_cookie(home, Role.PERSON, str(account))


def staff(home: Home, position: str, partner: str = MERCHANT) -> Headers:
    """What the browser of staff of an enterprise sends."""
    made = invite(
        home, "enterprise", f"{position}.{partner}", partner=partner, position=position, actor=OPERATOR, now=NOW
    )
    return by_cookie(home, Role.ENTERPRISE, made["id"], partner=partner)


def order(client: TestClient[Litestar], headers: Headers, key: str = "k", **body: Any) -> Any:
    return client.post("/v1/me/orders", json={"offer": "coffee", **body}, headers={**headers, "idempotency-key": key})


def test_an_order_from_the_list_to_the_till(home: Home, client: TestClient[Litestar]) -> None:
    operator = by_cookie(home, Role.OPERATOR)
    kept = client.post("/v1/operator/mall/pictures", content=PNG, headers={**operator, "content-type": "image/png"})
    picture = kept.json()["picture"]
    made = client.post("/v1/operator/mall/offers", json=said(stock=5, picture=picture), headers=operator)
    assert (made.status_code, made.headers["etag"]) == (201, '"1"')
    (shown,) = client.get("/v1/mall/offers").json()["items"]
    assert (shown["id"], shown["left"], shown["status"], "settlement_fen" in shown) == ("coffee", 5, "open", False)
    answer = client.get(f"/v1/mall/pictures/{picture}")
    assert (answer.content, answer.headers["content-type"]) == (PNG, "image/png")
    assert "immutable" in answer.headers["cache-control"]

    anna = me(home)
    first, again = order(client, anna), order(client, anna)
    assert (first.status_code, again.status_code, again.headers["idempotency-replayed"]) == (201, 201, "true")
    assert first.json() == again.json()
    number = first.json()["order"]
    assert client.get("/v1/mall/offers/coffee").json()["left"] == 4
    voucher = client.get(f"/v1/me/orders/{number}", headers=anna).json()["voucher"]
    qr = client.get(f"/v1/me/orders/{number}/qr", headers=anna).json()
    assert qr["text"] == voucher
    assert qr["svg"].startswith("<svg")
    assert client.get(f"/v1/me/orders/{number}", headers=me(home, BO)).json()["code"] == "unknown-order"

    till, body = by_key(home, MERCHANT, [Scope.MALL]), {"voucher": voucher}
    assert client.post("/v1/merchant/vouchers:check", json=body, headers=till).json()["state"] == "issued"
    other = by_key(home, "amap", [Scope.MALL])
    assert client.post("/v1/merchant/vouchers:redeem", json=body, headers=other).status_code == 404
    taken = client.post("/v1/merchant/vouchers:redeem", json=body, headers=till)
    assert (taken.status_code, taken.json()["order"]) == (200, number)
    twice = client.post("/v1/merchant/vouchers:redeem", json=body, headers=till)
    assert (twice.status_code, twice.json()["code"]) == (409, "voucher-redeemed")
    assert taken.json()["redeemed_at"] in twice.json()["detail"]
    report = client.get("/v1/merchant/reports/2025-06", headers=till)
    assert report.json()["total"]["delivered"] == "1"
    as_csv = client.get("/v1/merchant/reports/2025-06?format=csv&partner=cainiao", headers=operator)
    assert as_csv.text.splitlines()[1].startswith("cainiao,2025-06,coffee,1,1,")


def test_who_may_hold_the_till(home: Home, client: TestClient[Litestar]) -> None:
    offer(home)
    number = order(client, me(home)).json()["order"]
    body = {"voucher": client.get(f"/v1/me/orders/{number}", headers=me(home)).json()["voucher"]}

    def taken(headers: Headers) -> Any:
        return client.post("/v1/merchant/vouchers:redeem", json=body, headers=headers).status_code

    ledger = by_key(home, MERCHANT, [Scope.LEDGER])
    assert client.post("/v1/merchant/vouchers:redeem", json=body, headers=ledger).json()["code"] == "scope-missing"
    assert [taken(staff(home, "analyst")), taken(staff(home, "owner", "amap"))] == [403, 404]
    assert [taken(staff(home, "merchant")), taken(staff(home, "owner"))] == [200, 409]


def test_goods_are_sent_by_those_who_may_read_where_and_the_person_sees_it(
    home: Home, client: TestClient[Litestar]
) -> None:
    offer(home, "cup", kind="goods", stock=2)
    anna, till = me(home), staff(home, "merchant")
    home.people.name(str(ANNA), "sealed", NOW.isoformat())
    assert order(client, anna, offer="cup").json()["code"] == "address-missing"
    number = order(client, anna, offer="cup", address=ADDRESS).json()["order"]
    (waiting,) = client.get("/v1/merchant/orders", headers=till).json()["items"]
    assert waiting["address"] == ADDRESS
    looked = [row.what for row in home.people.looks(str(ANNA), None, 10)]
    assert looked == ["address of an order at cainiao"]
    answer = client.post(f"/v1/merchant/orders/{number}/sent", json={"tracking": "SF1"}, headers=till)
    assert answer.json() == {"order": number, "state": "redeemed"}
    assert client.get("/v1/merchant/orders", headers=till).json()["items"] == []
    assert client.get(f"/v1/me/orders/{number}", headers=anna).json()["address"]["tracking"] == "SF1"


def test_a_person_takes_back_and_the_operator_confirms_and_gives_back(home: Home, client: TestClient[Litestar]) -> None:
    operator, anna = by_cookie(home, Role.OPERATOR), me(home)
    offer(home, "film", kind="code", price_fen="990")
    codes = client.post("/v1/operator/mall/offers/film/codes", json={"codes": "A-1\nA-2"}, headers=operator)
    assert codes.json() == {"added": "2", "known": "0"}
    offer(home)
    number = order(client, anna).json()["order"]
    assert client.post(f"/v1/me/orders/{number}/cancel", headers=anna).json()["state"] == "refunded"
    film = order(client, anna, "f", offer="film").json()
    assert film["state"] == "unpaid"
    paid = {"payments": [{"order": film["order"], "amount_fen": "990", "reference": "bank-1"}]}
    assert client.post("/v1/operator/mall/payments", json=paid, headers=operator).json()["paid"] == 1
    assert client.get(f"/v1/me/orders/{film['order']}", headers=anna).json()["code"] == "A-1"
    back = client.post(f"/v1/operator/mall/orders/{film['order']}/refund", headers=operator)
    assert back.json()["give_back_fen"] == "990"
    assert home.points.usable(UNIT, ANNA, NOW.date()) == 1000


def test_refusals_have_their_status_and_spend_nothing(home: Home, client: TestClient[Litestar]) -> None:
    offer(home, stock=1, limit={"count": 1, "per": "offer"})
    offer(home, "dear", price_points="5000")
    anna = me(home)
    without = client.post("/v1/me/orders", json={"offer": "coffee"}, headers=anna)
    assert (without.status_code, without.json()["code"]) == (400, "idempotency-key-missing")
    asked = [order(client, anna, "1"), order(client, anna, "2"), order(client, me(home, BO), "1")]
    asked += [
        order(client, anna, "3", offer="dear"),
        order(client, anna, "4", offer="none"),
        order(client, anna, "1", offer="dear"),
    ]
    assert [each.json().get("code") for each in asked] == [
        None, "limit-reached", "sold-out", "points-short", "unknown-offer", "idempotency-key-reused"
    ]  # fmt: skip
    assert [each.status_code for each in asked] == [201, 409, 409, 409, 404, 422]
    assert home.points.usable(UNIT, ANNA, NOW.date()) == 900
    wrong = client.post("/v1/operator/mall/offers", json=said("X", kind="code"), headers=by_cookie(home, Role.OPERATOR))
    assert {each["pointer"] for each in wrong.json()["errors"]} == {"#/id"}


def test_an_offer_is_changed_by_who_has_read_it_and_is_not_seen_before_it_opens(
    home: Home, client: TestClient[Litestar]
) -> None:
    operator = by_cookie(home, Role.OPERATOR)
    offer(home, opens_at="2025-07-01T00:00:00+08:00")
    offer(home, "tea")
    assert [each["id"] for each in client.get("/v1/mall/offers").json()["items"]] == ["tea"]
    assert client.get("/v1/mall/offers/coffee").status_code == 404
    assert len(client.get("/v1/operator/mall/offers", headers=operator).json()["items"]) == 2
    changed = said(price_points="200")
    first = client.put("/v1/operator/mall/offers/coffee", json=changed, headers={**operator, "if-match": '"1"'})
    late = client.put("/v1/operator/mall/offers/coffee", json=changed, headers={**operator, "if-match": '"1"'})
    assert (first.json()["version"], late.status_code) == (2, 412)
    assert client.get("/v1/mall/offers/coffee").json()["price_points"] == "200"
    assert client.post("/v1/operator/mall/offers/coffee/end", headers=operator).json()["status"] == "closed"
    trail = client.get("/v1/audit", headers=operator).json()["items"]
    assert [each["act"] for each in trail[:3]] == ["offer ended", "offer changed", "offer added"]


def test_own_orders_page_by_page_and_in_the_copy_of_everything(home: Home, client: TestClient[Litestar]) -> None:
    offer(home)
    anna = me(home)
    placed = {order(client, anna, str(place)).json()["order"] for place in range(5)}
    order(client, me(home, BO), "other")
    seen, cursor = [], None
    for _ in range(3):
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = client.get("/v1/me/orders", params=query, headers=anna).json()
        seen, cursor = seen + [each["order"] for each in page["items"]], page["next"]
    assert (sorted(seen), cursor) == (sorted(placed), None)
    assert {each["order"] for each in about(home, str(ANNA))["orders"]} == placed
    assert json.dumps(about(home, str(BO))["orders"]).count('"order"') == 1
