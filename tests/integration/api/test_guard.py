"""The guard over HTTP: the operator's queue and decisions, a person's own held acts and appeal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from tanzhang.api.app import create_app
from tanzhang.core.access import Role
from tanzhang.service.guard import look
from tanzhang.service.intake import intake
from tanzhang.stores.home import Home

from ...homes import FAST, account, guarded, on, ride, settle_on, write
from .callers import NOW, by_cookie, by_key


@pytest.fixture
def home(quick: Path) -> Home:
    """A home with three held acts and an honest one."""
    home = guarded(quick / "home")
    events = [ride(f"fast-{n}", subject, distance_m=FAST) for n, subject in enumerate(("anna", "ben", "cem"))]
    intake(home, write(quick / "rides.ndjson", [*events, ride("honest", "dan")]), now=on(5, 15))
    look(home, now=on(6))
    return home


@pytest.fixture
def client(home: Home) -> Iterator[TestClient[Litestar]]:
    with TestClient(create_app(home, now=lambda: NOW), base_url="https://tanzhang.example") as client:
        yield client


def test_the_operator_works_through_the_queue_page_by_page(home: Home, client: TestClient[Litestar]) -> None:
    operator = by_cookie(home, Role.OPERATOR, "wang")
    first = client.get("/v1/guard/cases?limit=2", headers=operator).json()
    rest = client.get("/v1/guard/cases", params={"limit": 2, "cursor": first["next"]}, headers=operator).json()
    numbers = [each["id"] for each in (*first["items"], *rest["items"])]
    assert (len(numbers), sorted(numbers, reverse=True), rest["next"]) == (3, numbers, None)
    assert all(each["why"].startswith("held: 40.0 m/s") for each in first["items"])
    one, two, _ = numbers
    decision = {"reason": "the gate confirms it"}
    assert client.post(f"/v1/guard/cases/{one}/release", headers=operator, json=decision).json()["cases"] == [one]
    assert client.post(f"/v1/guard/cases/{two}/refuse", headers=operator, json=decision).status_code == 200
    again = client.post(f"/v1/guard/cases/{two}/release", headers=operator, json=decision)
    assert (again.status_code, again.json()["code"]) == (409, "guard-case-decided")
    assert client.get("/v1/guard/cases/999", headers=operator).json()["code"] == "guard-case-unknown"
    assert client.get("/v1/guard", headers=operator).json()["cases"] == {
        "noted": 0, "held": 1, "released": 1, "refused": 1
    }  # fmt: skip
    assert settle_on(home, 8)["records"] == 2
    trail: list[dict[str, Any]] = client.get("/v1/audit", headers=operator).json()["items"]
    assert [(each["act"], each["actor"]) for each in trail if each["act"].startswith("guard")] == [
        ("guard refuse", "wang"), ("guard release", "wang")
    ]  # fmt: skip


def test_a_person_sees_own_held_acts_and_says_what_the_operator_reads(home: Home, client: TestClient[Litestar]) -> None:
    anna = by_cookie(home, Role.PERSON, str(account(home, "amap", "anna")))
    (own,) = client.get("/v1/me/held", headers=anna).json()["items"]
    assert (own["state"], own["reasons"][0]["rule"], own["appeal"]) == ("held", "speed", None)
    said = client.post(f"/v1/me/records/{own['action']}/appeal", headers=anna, json={"text": "the express train"})
    assert (said.status_code, said.json()["appeal"]) == (200, "the express train")
    ben = by_cookie(home, Role.PERSON, str(account(home, "amap", "ben")))
    refused = client.post(f"/v1/me/records/{own['action']}/appeal", headers=ben, json={"text": "mine"})
    assert (refused.status_code, refused.json()["code"]) == (404, "unknown-action")
    operator = by_cookie(home, Role.OPERATOR, "wang")
    (waiting,) = client.get("/v1/guard/cases?appealed=true", headers=operator).json()["items"]
    assert waiting["id"] == own["id"]
    shown = client.get(f"/v1/guard/cases/{own['id']}", headers=operator).json()
    assert shown["appeal"] == "the express train"


def test_the_partner_is_told_that_its_report_is_held_and_why(home: Home, client: TestClient[Litestar]) -> None:
    said = client.get("/v1/actions/fast-0", headers=by_key(home, "amap")).json()
    assert (said["verdict"], said["state"], said["granted_mg"]) == ("accepted", "held", None)
    assert said["reason"] == "held: 40.0 m/s from start to end; at most 34.0 m/s for travel.metro"
