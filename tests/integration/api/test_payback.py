"""Paying back over HTTP: what everybody sees, what a person sees and asks for, what the operator does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from tanzhang.api.app import create_app
from tanzhang.core.access import Role
from tanzhang.service.market.payback_statement import check_proof
from tanzhang.service.reading import Reader
from tanzhang.stores.home import Home

from ...homes import market_home
from ...paybacks import after, issued_lot, people, sell
from .callers import by_cookie
from .people import person


@pytest.fixture
def home(place: Callable[[str], str | None], quick: Path) -> Home:
    return market_home(quick / "home", book=place("tests"))


@pytest.fixture
def client(home: Home) -> Iterator[TestClient[Litestar]]:
    with TestClient(create_app(home, now=lambda: after(1)), base_url="https://tanzhang.example") as client:
        yield client


def test_a_sale_is_divided_seen_by_its_people_and_paid_out(
    home: Home, client: TestClient[Litestar], tmp_path: Path
) -> None:
    anna, _, _ = people(home, tmp_path)
    deal = sell(home, issued_lot(home), 10_001, 77)
    operator, own = by_cookie(home, Role.OPERATOR, now=after(1)), person(home, str(anna), now=after(1))
    assert client.get("/v1/payback").json() == {"items": [], "next": None}
    ran = client.post("/v1/payback/runs", headers=operator)
    assert (ran.status_code, ran.json()["sales"]) == (200, 1)
    (seen,) = client.get("/v1/payback").json()["items"]
    assert (seen["deal"], seen["topup_fen"], seen["gross_fen"]) == (deal, "77", "10001")
    mine = client.get("/v1/me/payback", headers=own)
    assert client.get("/v1/me/payback", headers={**own, "if-none-match": mine.headers["etag"]}).status_code == 304
    fen = mine.json()["owed_fen"]
    (sale,) = client.get("/v1/me/payback/sales", headers=own).json()["items"]
    assert (sale["fen"], mine.json()["can_be_asked"]) == (fen, True)
    action = Reader(home).records(anna, limit=1)["items"][0]["action_id"]
    path = f"/v1/me/payback/sales/{deal}/records/{UUID(action)}"
    proof = client.get(f"{path}/proof", headers=own)
    assert check_proof(proof.content, home.values["vkey"])["fen"] == client.get(path, headers=own).json()["fen"]
    assert client.get(path.replace(f"sales/{deal}", "sales/99"), headers=own).status_code == 404
    asked = {"payee": "6222-0000-0001", "reference": "1"}
    made = client.post("/v1/me/payback/payouts", json=asked, headers=own)
    assert (made.status_code, made.json()["fen"], made.json()["state"]) == (201, fen, "asked")
    assert client.post("/v1/me/payback/payouts", json=asked, headers=own).json() == made.json()
    short = client.post("/v1/me/payback/payouts", json={**asked, "reference": "2"}, headers=own)
    assert (short.status_code, short.json()["code"]) == (409, "payback-least")
    file = client.post("/v1/payback/files", json={}, headers=operator).json()
    assert (file["rows"], file["fen"]) == (1, fen)
    text = client.get(f"/v1/payback/files/{file['id']}", headers=operator).text
    assert f"6222-0000-0001,{fen}" in text
    answers = {"data": f"reference,status,reason\n{made.json()['id']},paid,\n"}
    assert client.post("/v1/payback/answers", json=answers, headers=operator).json()["paid"] == 1
    assert client.get("/v1/payback/files", headers=operator).json()["items"][0]["open"] == 0
    assert client.get("/v1/payback/sums", headers=operator).json()["paid_fen"] == fen
    (out,) = client.get("/v1/me/payback/payouts", headers=own).json()["items"]
    assert (out["state"], out["fen"]) == ("paid", fen)
    assert client.post("/v1/payback/escrow", headers=operator).json()["amounts"] == 0
