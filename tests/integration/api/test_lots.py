"""Lots over HTTP: a person authorises what was read, the operator freezes, everybody sees it, a share is proved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from tanzhang.api.access import COOKIE, CSRF_HEADER
from tanzhang.api.app import create_app
from tanzhang.core.access import Role
from tanzhang.core.claim import ACTION, identity
from tanzhang.service.access import csrf_token, open_session
from tanzhang.service.market.share import check_share
from tanzhang.service.market.terms import publish_terms
from tanzhang.stores.home import Home

from ...homes import account, box, market_home, on
from ...lots import LATER, UNIT_MG, report
from ...trading import OPERATOR


@pytest.fixture
def home(place: Callable[[str], str | None], quick: Path) -> Home:
    return market_home(quick / "home", book=place("tests"))


@pytest.fixture
def client(home: Home) -> Iterator[TestClient[Litestar]]:
    with TestClient(create_app(home, now=lambda: LATER), base_url="https://tanzhang.example") as client:
        yield client


def signed_in(home: Home, role: Role, subject: str) -> dict[str, str]:
    token = open_session(home, role, subject, now=LATER)
    return {"cookie": f"{COOKIE}={token}", CSRF_HEADER: csrf_token(token)}


def test_from_an_authorisation_to_the_proof_of_a_share(
    home: Home, client: TestClient[Litestar], tmp_path: Path
) -> None:
    report(home, tmp_path, [box(f"anna-{number}") for number in range(30)])
    publish_terms(home, actor=OPERATOR, now=on(2))
    anna = signed_in(home, Role.PERSON, str(account(home, "cainiao", "anna")))
    operator = signed_in(home, Role.OPERATOR, "wang")
    terms = client.get("/v1/market/terms").json()["terms_digest"]
    asked = {"from": "2025-01-01", "terms": terms}
    stale = client.post("/v1/me/authorisations", json={**asked, "terms": "0" * 64}, headers=anna)
    assert (stale.status_code, stale.json()["code"]) == (409, "terms-changed")
    made = client.post("/v1/me/authorisations", json=asked, headers=anna)
    assert made.status_code == 201
    assert client.post("/v1/me/authorisations", json=asked, headers=anna).json() == made.json()
    assert client.get("/v1/me/authorisations", headers=anna).json()["items"] == [made.json()]

    said = {"reference": "d-1", "vintage": 2025, "region": "CN-110000"}
    drafted = client.post("/v1/market/lots", json=said, headers=operator).json()
    assert (drafted["lot"], drafted["state"]) == ("L000001", "draft")
    assert client.get("/v1/market/lots").json()["items"] == []
    assert client.get("/v1/market/lots/L000001").status_code == 404
    frozen = client.post("/v1/market/lots/L000001/freeze", headers=operator)
    assert (frozen.status_code, frozen.json()["total_mg"]) == (200, str(UNIT_MG))
    page = client.get("/v1/market/lots/L000001")
    assert [each["state"] for each in page.json()["events"]] == ["draft", "frozen"]
    assert client.get("/v1/market/lots/L000001", headers={"if-none-match": page.headers["etag"]}).status_code == 304
    assert client.get("/v1/market/lot-register", headers=operator).json()["items"][0]["accounts"] == "1"
    assert client.get("/v1/market/lot-register/L000001", headers=operator).json()["reference"] == "d-1"

    assert client.get("/v1/me/lots", headers=anna).json()["lots"] == [
        {"lot": "L000001", "mg": str(UNIT_MG), "state": "frozen"}
    ]
    states = client.get("/v1/me/states", headers=anna).json()
    assert states["totals"]["reserved_mg"] == str(UNIT_MG)
    action = identity(home.identity_key, ACTION, "cainiao", "anna-0")
    proof = client.get(f"/v1/me/lots/L000001/{action}/proof", headers=anna)
    assert check_share(proof.content, home.values["vkey"])["lot"] == "L000001"
    other = signed_in(home, Role.PERSON, str(account(home, "cainiao", "bo")))
    assert client.get(f"/v1/me/lots/L000001/{action}/proof", headers=other).json()["code"] == "not-in-lot"

    path = f"/v1/me/authorisations/{made.json()['id']}"
    assert client.delete(path, headers=other).status_code == 404
    assert client.delete(path, headers=anna).json()["revoked_at"] is not None
    gone = client.post("/v1/market/lots/L000001/dissolve", json={"why": "a test"}, headers=operator)
    assert gone.json()["state"] == "dissolved"
    assert client.get("/v1/me/lots", headers=anna).json()["lots"] == []
    again = client.post("/v1/market/lots/L000001/freeze", headers=operator)
    assert again.json()["state"] == "dissolved"  # a lot that was frozen is told as it is


def test_a_number_that_is_none_is_no_lot(client: TestClient[Litestar]) -> None:
    answer = client.get("/v1/market/lots/42")
    assert (answer.status_code, answer.json()["code"]) == (422, "lot-malformed")
    assert client.get("/v1/market/lots/L000042").json()["code"] == "unknown-lot"
