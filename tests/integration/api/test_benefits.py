"""Benefits over HTTP: what everybody sees, what a person gets, what a partner's system takes."""

from __future__ import annotations

from pathlib import Path

from litestar import Litestar
from litestar.testing import TestClient

from tanzhang.stores.home import Home

from ..test_benefits import ANNA, DISCOUNT, QUEUE, grant, load
from ..test_payouts import packet
from .callers import by_key
from .people import person


def test_a_person_gets_a_token_and_a_partner_takes_it_once(
    home: Home, client: TestClient[Litestar], tmp_path: Path
) -> None:
    load(home, tmp_path, QUEUE, DISCOUNT, packet())
    grant(home, ANNA, 30)
    anna = person(home, str(ANNA))
    shown = client.get("/v1/benefits").json()["items"]
    assert [each["id"] for each in shown] == ["called_earlier", "packet", "ten_percent"]
    made = client.post("/v1/me/benefits", json={"benefit": "called_earlier", "reference": "1"}, headers=anna)
    assert (made.status_code, made.json()["state"]) == (201, "issued")
    name = made.json()["id"]
    token = client.get(f"/v1/me/benefits/{name}/token", headers=anna).json()
    assert token["qr_svg"].startswith("<svg")
    stranger = person(home, "00000000-0000-0000-0000-000000000009")
    assert client.get(f"/v1/me/benefits/{name}/token", headers=stranger).json()["code"] == "not-found"
    body = {"token": token["token"], "reference": "table-7"}
    taken = client.post("/v1/benefit-tokens/use", json=body, headers=by_key(home, "cainiao"))
    assert (taken.status_code, taken.json()["kind"]) == (200, "queue_priority")
    assert client.post("/v1/benefit-tokens/use", json=body, headers=by_key(home, "cainiao")).json() == taken.json()
    other = {"token": token["token"], "reference": "table-8"}
    again = client.post("/v1/benefit-tokens/use", json=other, headers=by_key(home, "cainiao"))
    assert (again.status_code, again.json()["code"]) == (409, "token-used")
    without = by_key(home, "cainiao", ["report"])
    assert client.post("/v1/benefit-tokens/use", json=body, headers=without).json()["code"] == "scope-missing"
    assert [each["state"] for each in client.get("/v1/me/benefits", headers=anna).json()["items"]] == ["used"]
    assert [each["aud"] for each in client.get("/v1/benefit-keys").json()["keys"]] == ["amap", "cainiao"]


def test_refusals_over_http_have_their_status(home: Home, client: TestClient[Litestar], tmp_path: Path) -> None:
    load(home, tmp_path, QUEUE, packet())
    grant(home, ANNA, 100)
    anna = person(home, str(ANNA))
    for body, status, code in (
        ({"benefit": "none", "reference": "1"}, 404, "unknown-benefit"),
        ({"benefit": "packet", "reference": "1"}, 422, "benefit-asked-wrongly"),
        ({"benefit": "packet", "reference": "1", "points": "10", "payee": "wallet-1"}, 409, "benefit-limit"),
        ({"benefit": "packet", "reference": "1", "points": "10", "payee": "=cmd()"}, 400, "request-malformed"),
        ({"benefit": "packet", "reference": "1", "points": "9000", "payee": "wallet-1"}, 409, "benefit-limit"),
    ):
        answer = client.post("/v1/me/benefits", json=body, headers=anna)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
