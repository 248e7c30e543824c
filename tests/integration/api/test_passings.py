"""Passing on over HTTP: a scheme that an operator says, a file for it, and what everybody sees of both."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from tanzhang.api.app import create_app
from tanzhang.core.access import Role
from tanzhang.service.epoch import close
from tanzhang.service.intake import intake
from tanzhang.stores.home import Home

from ...homes import account, box, new_home, on, settle_on, write
from .callers import NOW, by_cookie
from .people import person

SCHEME: dict[str, Any] = {
    "title": "Another city",
    "title_zh": "另一座城市",
    "text": "An example of ours.",
    "text_zh": "本平台示例。",
    "holder": "a city (invented)",
    "takes": True,
    "gives": False,
    "open": {"from": "2025-06-01"},
    "source": "none, an example",
    "status": "example",
}


@pytest.fixture
def anna(home: Home, tmp_path: Path) -> dict[str, str]:
    """Somebody with a box of 37 g, signed in."""
    intake(home, write(tmp_path / "one.ndjson", [box("b")]), now=on(6))
    settle_on(home, 7)
    return person(home, str(account(home, "cainiao", "anna")))


def test_grams_go_from_one_service_to_the_other_by_a_file(
    home: Home, client: TestClient[Litestar], anna: dict[str, str], tmp_path: Path
) -> None:
    there = new_home(tmp_path / "there", "cainiao", seed=b"other")
    bo = account(there, "cainiao", "bo")
    log = {"log": there.values["vkey"], "programme": "cainiao"}
    operator = by_cookie(home, Role.OPERATOR)
    assert client.put("/v1/schemes/cainiao", json={**SCHEME, **log}, headers=operator).json()["version"] == 1
    asked = {"scheme": "cainiao", "reference": "1", "grams_mg": "30000", "to": str(bo)}
    made = client.post("/v1/me/passings", json=asked, headers=anna)
    assert made.status_code == 201
    assert client.post("/v1/me/passings", json=asked, headers=anna).json() == made.json()
    more = client.post("/v1/me/passings", json={**asked, "reference": "2"}, headers=anna)
    assert (more.status_code, more.json()["code"]) == (409, "grams-short")
    mine = client.get("/v1/me", headers=anna).json()
    assert (mine["passed_mg"], mine["available_mg"]) == ("30000", "7000")
    name = made.json()["id"]
    assert [each["id"] for each in client.get("/v1/me/passings", headers=anna).json()["items"]] == [name]
    file = f"/v1/me/passings/{name}/file"
    assert client.get(file, headers=anna).json()["code"] == "not-sealed"
    close(home, now=on(8))
    data = client.get(file, headers=anna).text
    assert client.get("/v1/schemes/cainiao").json()["passed_mg"] == "30000"
    assert [each["id"] for each in client.get("/v1/schemes").json()["items"]] == ["cainiao"]
    with TestClient(create_app(there, now=lambda: NOW), base_url="https://there.example") as other:
        gives = {**SCHEME, "takes": False, "gives": True, "log": home.values["vkey"], "programme": "beijing"}
        said = other.put("/v1/schemes/beijing", json=gives, headers=by_cookie(there, Role.OPERATOR))
        assert said.status_code == 200
        stranger = person(there, str(uuid.UUID(int=5)))
        refused = other.post("/v1/me/passings/received", json={"file": data}, headers=stranger)
        assert (refused.status_code, refused.json()["code"]) == (403, "passing-of-another")
        taken = other.post("/v1/me/passings/received", json={"file": data}, headers=person(there, str(bo)))
        assert (taken.status_code, taken.json()["grams_mg"]) == (201, "30000")
        seen = other.get(f"/v1/passings/{name}")
        assert [each["way"] for each in seen.json()["items"]] == ["received"]
        assert seen.headers["access-control-allow-origin"] == "*"
        assert other.get("/v1/me", headers=person(there, str(bo))).json()["received_mg"] == "30000"
    assert [each["way"] for each in client.get(f"/v1/passings/{name}").json()["items"]] == ["passed_on"]


def test_what_is_wrong_with_a_scheme_or_a_file_is_said(
    home: Home, client: TestClient[Litestar], anna: dict[str, str]
) -> None:
    operator = by_cookie(home, Role.OPERATOR)
    wrong = client.put("/v1/schemes/cainiao", json={**SCHEME, "log": "x"}, headers=operator)
    assert (wrong.status_code, wrong.json()["code"]) == (422, "scheme-malformed")
    answer = client.post("/v1/me/passings/received", json={"file": "x"}, headers=anna)
    assert (answer.status_code, answer.json()["code"]) == (422, "tlog-proof-invalid")
    assert client.get("/v1/passings/x").status_code == 404
    assert client.get("/v1/schemes/x").json()["code"] == "unknown-scheme"
