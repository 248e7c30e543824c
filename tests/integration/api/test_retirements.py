"""Retiring over HTTP: a buyer's staff for its own party, everybody for the public list, the operator for all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from tanzhang.core.access import Role
from tanzhang.service.certificate_check import check_certificate
from tanzhang.service.market.retire import check_proof
from tanzhang.stores.fonts import fonts_are_there
from tanzhang.stores.home import Home

from ...homes import market_home
from ..test_retirement import serial, set_up
from .callers import NOW, by_cookie

LIST = "/v1/market/retirements"
ASKED: dict[str, Any] = {
    "reference": "r-1",
    "purpose": "event_neutrality",
    "since": "2025-06-01",
    "until": "2025-06-30",
    "beneficiary": "Example Games",
    "lot": "L000001",
    "count": 100,
}


@pytest.fixture
def home(place: Callable[[str], str | None], quick: Path) -> Home:
    """A home with a lot of 1,000 kg that party steel holds."""
    return set_up(market_home(quick / "home", book=place("tests")))


def test_staff_of_a_buyer_retires_its_units_and_fetches_the_certificate_and_nobody_elses(
    home: Home, client: TestClient[Litestar]
) -> None:
    steel = by_cookie(home, Role.BUYER, partner="steel")
    paper = by_cookie(home, Role.BUYER, "another", partner="paper")
    made = client.post(LIST, json={**ASKED, "anonymous": True}, headers=steel)
    assert made.status_code == 201
    assert client.post(LIST, json={**ASKED, "anonymous": True}, headers=steel).json() == made.json()
    taken = client.post(LIST, json=ASKED, headers=steel)
    assert (taken.status_code, taken.json()["code"]) == (409, "reference-taken")
    assert client.post(LIST, json={**ASKED, "party": "steel"}, headers=paper).json()["code"] == "not-allowed"
    short = client.post(LIST, json=ASKED, headers=paper)
    assert (short.status_code, short.json()["code"]) == (409, "units-short")
    path = f"{LIST}/{made.json()['id']}"
    for below in ("/certificate", "/opening"):
        assert client.get(path + below, headers=paper).status_code == 403
        assert client.get(path + below).status_code == 401
    data = client.get(f"{path}/certificate", headers=steel)
    assert data.headers["content-type"] == "application/vc"
    opening = client.get(f"{path}/opening", headers=steel).content
    said = check_certificate(data.content, home.values["vkey"], opening=opening, now=NOW)
    assert said["says"]["serials"] == [serial(home, 0, 100)]
    if fonts_are_there():
        assert client.get(f"{path}/certificate/pdf", headers=steel).content.startswith(b"%PDF")
    own = client.get("/v1/market/parties/steel/retirements", headers=steel).json()["items"]
    assert [each["beneficiary"]["beneficiary"] for each in own] == ["Example Games"]
    assert client.get("/v1/market/parties/steel/retirements", headers=paper).status_code == 403
    assert client.get(path).json()["beneficiary"] is None
    assert client.post(f"{path}/opening", headers=paper).status_code == 403
    assert client.post(f"{path}/opening", headers=steel).json()["public"] is True
    assert client.get(path).json()["beneficiary"]["beneficiary"] == "Example Games"
    added = client.post(f"{path}/addenda", json={"reference": "a", "text": "read: Games 2025"}, headers=steel)
    assert [each["text"] for each in added.json()["addenda"]] == ["read: Games 2025"]


def test_everybody_sees_what_was_retired_page_by_page_and_proves_it(home: Home, client: TestClient[Litestar]) -> None:
    operator = by_cookie(home, Role.OPERATOR)
    ids = []
    for number in range(3):
        asked = {**ASKED, "reference": f"r-{number}", "party": "steel", "count": 10}
        ids.append(client.post(LIST, json=asked, headers=operator).json()["id"])
    assert client.post(LIST, json=ASKED, headers=operator).json()["code"] == "party-unnamed"
    first = client.get(LIST, params={"limit": 2, "lot": "L000001"})
    assert first.headers["access-control-allow-origin"] == "*"
    second = client.get(LIST, params={"cursor": first.json()["next"]}).json()
    assert [each["id"] for each in [*first.json()["items"], *second["items"]]] == ids[::-1]
    assert second["next"] is None
    assert client.get(LIST, params={"purpose": "voluntary_cancellation"}).json()["items"] == []
    data = client.get(f"{LIST}/{ids[1]}/proof").content
    assert check_proof(data, home.values["vkey"])["serials"] == [serial(home, 10, 20)]
    page = client.get(f"/v1/market/serials/{serial(home, 15, 16)}").json()
    assert (page["blocks"][0]["state"], [each["id"] for each in page["retirements"]]) == ("retired", [ids[1]])
    totals = client.get("/v1/market/unit-totals").json()
    assert (totals["issued_mg"], totals["retired_mg"]) == (str(1_000 * 10**6), str(30 * 10**6))
    assert client.get(f"{LIST}/nothing").json()["code"] == "unknown-retirement"
    wrong = client.get(f"/v1/market/serials/{serial(home, 0, 1)[:-2]}00")
    assert (wrong.status_code, wrong.json()["code"]) == (422, "serial-check")


def test_the_operator_takes_away_whom_a_retirement_was_for(home: Home, client: TestClient[Litestar]) -> None:
    operator = by_cookie(home, Role.OPERATOR)
    made = client.post(LIST, json={**ASKED, "party": "steel"}, headers=operator).json()
    path = f"{LIST}/{made['id']}"
    buyer = by_cookie(home, Role.BUYER, partner="steel")
    reason = {"reason": "a person asked for it"}
    assert client.post(f"{path}/removal", json=reason, headers=buyer).status_code == 403
    gone = client.post(f"{path}/removal", json=reason, headers=operator)
    assert (gone.status_code, gone.json()["beneficiary"]) == (200, None)
    assert client.get(f"{path}/opening", headers=buyer).status_code == 410
