"""Donations over HTTP: what everybody sees of a project, what a person gives and proves, what an operator says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from tanzhang.core.access import Role
from tanzhang.service.donations import check_receipt
from tanzhang.service.epoch import close
from tanzhang.service.intake import intake
from tanzhang.stores.home import Home

from ...homes import account, box, on, settle_on, write
from .callers import by_cookie
from .people import person

PROJECT: dict[str, Any] = {
    "title": "A wood on the hill",
    "title_zh": "山上的树林",
    "text": "An example of ours.",
    "text_zh": "本平台示例。",
    "recipient": "Hill Trust (invented)",
    "takes": ["grams"],
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


def test_a_person_gives_grams_and_proves_it_and_everybody_sees_the_total(
    home: Home, client: TestClient[Litestar], anna: dict[str, str]
) -> None:
    operator = by_cookie(home, Role.OPERATOR)
    assert client.put("/v1/projects/forest", json=PROJECT, headers=operator).json()["version"] == 1
    gift = {"project": "forest", "reference": "1", "grams_mg": "30000"}
    made = client.post("/v1/me/donations", json=gift, headers=anna)
    assert made.status_code == 201
    assert client.post("/v1/me/donations", json=gift, headers=anna).json() == made.json()
    more = client.post("/v1/me/donations", json={**gift, "reference": "2"}, headers=anna)
    assert (more.status_code, more.json()["code"]) == (409, "grams-short")
    other = client.post("/v1/me/donations", json={**gift, "grams_mg": "1"}, headers=anna)
    assert (other.status_code, other.json()["code"]) == (409, "reference-taken")
    assert [each["id"] for each in client.get("/v1/me/donations", headers=anna).json()["items"]] == [made.json()["id"]]
    (said,) = client.get("/v1/me/donations/allocation", headers=anna).json()["gifts"]
    assert [each["mg"] for each in said["records"]] == ["30000"]
    mine = client.get("/v1/me", headers=anna).json()
    assert (mine["donated_mg"], mine["available_mg"]) == ("30000", "7000")
    proof = f"/v1/me/donations/{made.json()['id']}/receipt"
    assert client.get(proof, headers=anna).json()["code"] == "not-sealed"
    close(home, now=on(8))
    assert check_receipt(client.get(proof, headers=anna).content, home.values["vkey"])["amount"] == "30000"
    page = client.get("/v1/projects/forest")
    assert (page.json()["given"]["grams_mg"], page.json()["sealed"][0]["grams_mg"]) == ("30000", "30000")
    assert page.headers["access-control-allow-origin"] == "*"
    assert [each["id"] for each in client.get("/v1/projects").json()["items"]] == ["forest"]


def test_projects_are_said_whole_and_asked_for_by_name(home: Home, client: TestClient[Litestar]) -> None:
    operator = by_cookie(home, Role.OPERATOR)
    for name, said, code in (
        ("Forest", PROJECT, "project-malformed"),
        ("forest", {**PROJECT, "open": {"from": "2025-06-01", "until": "2025-06-01"}}, "project-malformed"),
        ("forest", {**PROJECT, "takes": ["money"]}, "request-malformed"),
        ("forest", {**PROJECT, "more": 1}, "request-malformed"),
    ):
        assert client.put(f"/v1/projects/{name}", json=said, headers=operator).json()["code"] == code
    assert client.get("/v1/projects/forest").json()["code"] == "unknown-project"


def test_a_project_that_somebody_else_said_anew_is_not_overwritten(home: Home, client: TestClient[Litestar]) -> None:
    operator = by_cookie(home, Role.OPERATOR)

    def put(title: str, seen: str | None) -> Any:
        headers = operator | ({} if seen is None else {"if-match": seen})
        return client.put("/v1/projects/forest", json={**PROJECT, "title": title}, headers=headers)

    assert put("One", '"1"').json()["code"] == "resource-changed"
    assert put("One", '"0"').headers["etag"] == '"1"'
    assert put("Two", '"1"').headers["etag"] == '"2"'
    late = put("Another two", '"1"')
    assert (late.status_code, late.json()["code"]) == (412, "resource-changed")
    assert client.get("/v1/projects/forest").json()["title"] == "Two"
    assert put("Three", None).json()["version"] == 3
    assert put("Four", '"3-x"').json()["code"] == "resource-changed"


def test_projects_come_page_by_page(home: Home, client: TestClient[Litestar]) -> None:
    operator = by_cookie(home, Role.OPERATOR)
    for name in ("c", "a", "b"):
        client.put(f"/v1/projects/{name}", json=PROJECT, headers=operator)
    first = client.get("/v1/projects?limit=2").json()
    rest = client.get(f"/v1/projects?limit=2&cursor={first['next']}").json()
    assert [each["id"] for each in first["items"] + rest["items"]] == ["a", "b", "c"]
    assert rest["next"] is None
