"""Trading over HTTP: a buyer's way from an offer or an auction to its units, and what others do not see."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from tanzhang.core.access import Role
from tanzhang.service.market.auctions import close_due
from tanzhang.service.market.check_deals import check_deals
from tanzhang.stores.home import Home

from ...homes import on
from ...trading import approved, held, market_home, statement
from .callers import NOW, by_cookie

OTHER = "6222 0000 0009"


@pytest.fixture
def home(place: Callable[[str], str | None], quick: Path) -> Home:
    """A home with a market and two approved parties."""
    home = market_home(quick / "home", place("trading"))
    approved(home, "steel")
    approved(home, "iron", bank_account=OTHER)
    return home


class Caller:
    """Somebody who asks over HTTP."""

    def __init__(self, client: TestClient[Litestar], headers: dict[str, str]) -> None:
        self._client, self._headers = client, headers

    def post(self, path: str, said: Any = None) -> dict[str, Any]:
        return dict(self._client.post(f"/v1/market/{path}", json=said, headers=self._headers).json())

    def get(self, path: str) -> dict[str, Any]:
        return dict(self._client.get(f"/v1/market/{path}", headers=self._headers).json())

    def data(self, path: str) -> bytes:
        return bytes(self._client.get(f"/v1/market/{path}", headers=self._headers).content)

    def delete(self, path: str) -> dict[str, Any]:
        return dict(self._client.delete(f"/v1/market/{path}", headers=self._headers).json())


@pytest.fixture
def operator(home: Home, client: TestClient[Litestar]) -> Caller:
    return Caller(client, by_cookie(home, Role.OPERATOR))


@pytest.fixture
def steel(home: Home, client: TestClient[Litestar]) -> Caller:
    return Caller(client, by_cookie(home, Role.BUYER, "li", partner="steel"))


@pytest.fixture
def iron(home: Home, client: TestClient[Litestar]) -> Caller:
    return Caller(client, by_cookie(home, Role.BUYER, "wang", partner="iron"))


@pytest.fixture
def public(client: TestClient[Litestar]) -> Caller:
    return Caller(client, {})


def offer(**more: Any) -> dict[str, Any]:
    said = {"seller": "programme", "reference": "o-1", "lot": "L000001", "units": "500", "price_fen": "6000"}
    return {**said, "until": "2025-06-30T18:00:00+08:00", **more}


def sent(*lines: Any) -> dict[str, str]:
    return {"name": "june.csv", "content": base64.b64encode(statement(*lines)).decode()}


def test_a_buyer_accepts_pays_and_has_its_units(home: Home, operator: Caller, steel: Caller, public: Caller) -> None:
    made = operator.post("offers", offer())
    assert public.get("offers")["items"][0]["left"] == "500"
    assert "reference" not in public.get("offers")["items"][0]
    asked = {"units": "100", "reference": "r-1"}
    deal = steel.post(f"offers/{made['number']}/accept", asked)
    assert steel.post(f"offers/{made['number']}/accept", asked) == deal
    said = operator.post("statements", sent(("E1", 9, 600_000, deal["payment_reference"])))
    assert said["delivered"] == [deal["number"]]
    shown = steel.get(f"deals/{deal['number']}")
    assert (shown["state"], [each["state"] for each in shown["events"]]) == ("delivered", ["agreed", "delivered"])
    assert "by" not in shown["events"][0]
    assert operator.get("deals/1")["events"][0]["by"] == "buyer li"
    assert held(home, "party:steel") == 100
    resold = steel.post("offers", offer(seller="steel", units="40", reference="s-1"))
    assert steel.post(f"offers/{resold['number']}/end")["state"] == "ended"
    assert steel.post("offers/1/end")["code"] == "unknown-offer"
    assert check_deals(home)[1] == []


def test_parties_see_their_own_deals_offers_and_bids_alone(operator: Caller, steel: Caller, iron: Caller) -> None:
    operator.post("offers", offer(buyer="steel"))
    assert iron.get("parties/iron/offers")["items"] == []
    assert iron.get("parties/steel/offers")["code"] == "not-allowed"
    assert len(steel.get("parties/steel/offers")["items"]) == 1
    assert iron.post("offers/1/accept", {"units": "1", "reference": "r"})["code"] == "unknown-offer"
    assert iron.post("offers/1/accept", {"units": "1", "reference": "r", "party": "steel"})["code"] == "not-allowed"
    assert iron.post("offers", offer(seller="steel", reference="x"))["code"] == "not-allowed"
    assert iron.post("offers", offer(reference="x"))["code"] == "not-allowed"
    steel.post("offers/1/accept", {"units": "1", "reference": "r"})
    assert iron.get("deals/1")["code"] == "unknown-deal"
    assert (iron.get("deals")["items"], len(steel.get("deals")["items"])) == ([], 1)
    assert operator.post("offers/1/accept", {"units": "1", "reference": "r-2"})["code"] == "party-unnamed"
    assert operator.post("deals/1/cancel", {"note": "both asked"})["state"] == "cancelled"
    assert operator.post("deals/1/deliver")["code"] == "deal-over"
    for path in ("payments", "returns"):
        assert steel.get(path)["code"] == "not-allowed"
    assert steel.post("statements", sent())["code"] == "not-allowed"


def test_an_auction_is_bid_in_and_its_result_is_public(
    home: Home, operator: Caller, steel: Caller, iron: Caller, public: Caller
) -> None:
    said = {"seller": "programme", "reference": "a-1", "lot": "L000001", "units": "100", "reserve_fen": "5000"}
    said |= {"opens_at": on(7).isoformat(), "closes_at": on(9).isoformat()}
    number = operator.post("auctions", said)["number"]
    wanted = {"units": "80", "price_fen": "6100", "reference": "b-1"}
    receipt = steel.post(f"auctions/{number}/bids", wanted)
    assert steel.post(f"auctions/{number}/bids", wanted) == receipt
    iron.post(f"auctions/{number}/bids", {**wanted, "price_fen": "5900"})
    iron.post(f"auctions/{number}/bids", {**wanted, "price_fen": "9900", "reference": "b-2"})
    assert iron.delete(f"auctions/{number}/bids/3")["state"] == "withdrawn"
    assert iron.delete(f"auctions/{number}/bids/1")["code"] == "unknown-bid"
    (own,) = steel.get(f"auctions/{number}/bids")["items"]
    assert (own["commitment"], own["price_fen"], "salt" in own) == (receipt["commitment"], None, False)
    assert steel.get(f"auctions/{number}/bids?party=iron")["code"] == "not-allowed"
    shown = str([operator.get(f"auctions/{number}/bids?party=steel"), public.get(f"auctions/{number}")])
    assert "6100" not in shown
    assert operator.post(f"auctions/{number}/close")["code"] == "auction-not-over"

    assert close_due(home, now=on(9)) == [number]
    found = public.get(f"auctions/{number}")
    assert (found["price_fen"], found["sold"], found["bids"]) == ("5900", "100", 3)
    assert [each["awarded"] for each in found["result"]] == ["80", "20", None]
    assert [each["number"] for each in public.get("auctions")["items"]] == [number]
    other = operator.post("auctions", {**said, "reference": "a-2"})["number"]
    assert operator.post(f"auctions/{other}/call-off", {"note": "a mistake"})["state"] == "void"
    assert public.get("auctions/99")["code"] == "unknown-auction"
    assert public.get("auctions/x")["code"] == "not-found"


def test_the_operator_finds_out_what_odd_money_is_for_or_sends_it_back(home: Home, operator: Caller) -> None:
    agreed = {"seller": "programme", "buyer": "steel", "lot": "L000001", "units": "10", "price_fen": "6000"}
    deal = operator.post("deals", {**agreed, "reference": "c-1"})
    operator.post("statements", sent(("E1", 9, 60_000, "hello"), ("E2", 9, 7, "what for?")))
    unclear = operator.get("payments?state=unclear")["items"]
    assert [each["entry"] for each in unclear] == ["E2", "E1"]
    assert unclear[0]["payer"]["memo"] == "what for?"
    used = operator.post("payments/E1/use", {"deal": deal["number"], "note": "it is the contract's"})
    assert used["state"] == "settled"
    assert operator.post("payments/E2/return", {"note": "nobody knows"})["state"] == "asked"
    made = operator.post("returns/files")
    assert b"R00000001,6222 0000 0001,7" in operator.data(f"returns/files/{made['id']}")
    answer = base64.b64encode(b"reference,status,reason\r\nR00000001,paid,\r\n").decode()
    assert operator.post("returns/answers", {"name": "a.csv", "content": answer})["sent"] == 1
    assert operator.get("returns")["returns"][0]["payee"] is None
    confirmed = {"deal": 1, "entry": "E3", "booked_on": "2025-06-09", "amount_fen": "5"}
    assert operator.post("payments", confirmed)["reason"] == "twice"
    assert operator.post("statements", {"name": "x", "content": "eA=="})["code"] == "statement-malformed"
    assert check_deals(home)[1] == []


def test_a_seller_is_paid_out_and_a_sponsors_pledge_is_entered_seen_and_ended(
    home: Home, operator: Caller, steel: Caller, iron: Caller
) -> None:
    agreed = {"seller": "programme", "buyer": "steel", "lot": "L000001", "units": "10", "price_fen": "6000"}
    said = {"sponsor": "iron", "reference": "p-1", "fen": "100", "per": "unit", "cap_fen": "500", "source": "a letter"}
    assert operator.post("pledges", said)["number"] == 1
    first = operator.post("deals", {**agreed, "reference": "c-1"})
    operator.post("statements", sent(("E1", 9, 60_000, first["payment_reference"])))
    assert iron.get("pledges")["items"][0]["spent_fen"] == "500"
    assert steel.get("pledges")["items"] == []
    assert operator.post("pledges/1/end")["state"] == "spent"
    second = operator.post("deals", {**agreed, "seller": "steel", "buyer": "iron", "reference": "c-2"})
    operator.post("statements", sent(("E2", 9, 60_000, second["payment_reference"], OTHER)))
    assert iron.post("parties/steel/payouts", {"amount_fen": "1", "reference": "x"})["code"] == "not-allowed"
    assert steel.post("parties/steel/payouts", {"amount_fen": "60001", "reference": "x"})["code"] == "money-short"
    assert steel.post("parties/steel/payouts", {"amount_fen": "60000", "reference": "x"})["state"] == "asked"
    assert check_deals(home)[1] == []
    assert on(8) == NOW
