"""Staff come in by an invitation once, then by name and password; keys are managed by those who may."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyotp
import pytest
from argon2 import PasswordHasher
from litestar import Litestar
from litestar.testing import TestClient

from tanzhang.api.access import COOKIE, CSRF_HEADER
from tanzhang.api.app import create_app
from tanzhang.core.access import Actor, Role
from tanzhang.service import staff as service
from tanzhang.service.market.verifiers import VerifierSaid, put_verifier
from tanzhang.service.staff import FREE_FAILURES, invite
from tanzhang.stores.home import Home

from ...homes import new_home
from ...postgres import Server
from .callers import NOW, Headers, by_cookie, by_key

CONSOLE = Actor(Role.OPERATOR, "root", "command line")
PASSWORD = "correct horse battery"  # noqa: S105


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def later(self, **by: int) -> None:
        self.now += timedelta(**by)


@pytest.fixture(params=["sqlite", "postgresql"])
def home(request: pytest.FixtureRequest, quick: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setattr(service, "_hasher", PasswordHasher(time_cost=1, memory_cost=1024))
    monkeypatch.setattr("tanzhang.core.rates.BURST_S", 1000.0)
    if request.param == "sqlite":
        return new_home(quick / "home")
    server: Server = request.getfixturevalue("postgres")
    return new_home(quick / "home", book=server.address(server.database(), "staff"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(home: Home, clock: Clock) -> Iterator[TestClient[Litestar]]:
    with TestClient(create_app(home, now=clock), base_url="https://tanzhang.example") as client:
        yield client


def come_in(
    home: Home, client: TestClient[Litestar], name: str = "olga", role: str = "operator", **where: str
) -> Headers:
    """Invite somebody and sign them in; returns what their browser sends."""
    token = invite(home, role, name, actor=CONSOLE, now=NOW, **where)["token"]  # type: ignore[arg-type]
    assert client.post("/v1/staff/invitation", json={"token": token, "password": PASSWORD}).status_code == 200
    return sign_in(client, name)


def sign_in(client: TestClient[Litestar], name: str, **more: str) -> Headers:
    answer = client.post("/v1/staff/session", json={"name": name, "password": PASSWORD, **more})
    assert answer.status_code == 201, answer.text
    cookie = answer.headers["set-cookie"]
    for wanted in ("__Host-", "Secure", "HttpOnly", "SameSite=lax", "Path=/"):
        assert wanted in cookie
    token = answer.cookies[COOKIE]
    client.cookies.clear()
    return {"cookie": f"{COOKIE}={token}", CSRF_HEADER: answer.json()["csrf"]}


def code_of(answer: Any) -> str:
    return str(answer.json()["code"])


def test_an_invitation_opens_the_door_once_and_a_session_until_it_is_ended(
    home: Home, client: TestClient[Litestar]
) -> None:
    made = invite(home, "operator", " Olga ", actor=CONSOLE, now=NOW)
    assert (made["name"], made["path"]) == ("olga", f"/staff/invitation#{made['token']}")
    weak = client.post("/v1/staff/invitation", json={"token": made["token"], "password": "short"})
    assert code_of(weak) == "password-weak"
    said = {"token": made["token"], "password": PASSWORD}
    assert client.post("/v1/staff/invitation", json=said).status_code == 200
    again = client.post("/v1/staff/invitation", json=said)
    assert (again.status_code, code_of(again)) == (410, "invitation-ended")
    headers = sign_in(client, "OLGA")
    me = client.get("/v1/session", headers=headers).json()
    assert (me["role"], me["name"], me["csrf"]) == ("operator", "olga", headers[CSRF_HEADER])
    assert PASSWORD not in str(home.staff.by_name("olga"))
    assert code_of(client.delete("/v1/session", headers={"cookie": headers["cookie"]})) == "csrf-missing"
    out = client.delete("/v1/session", headers=headers)
    assert (out.status_code, "Max-Age=0" in out.headers["set-cookie"]) == (200, True)
    assert client.get("/v1/session", headers=headers).json()["role"] == "stranger"
    assert client.delete("/v1/session").status_code == 200, "nothing to end"


def test_everybody_can_ask_what_they_are_taken_for(home: Home, client: TestClient[Litestar]) -> None:
    assert client.get("/v1/session").json()["role"] == "stranger"
    program = client.get("/v1/session", headers=by_key(home, "amap", ["ledger"])).json()
    assert (program["role"], program["partner"], program["scopes"], program["csrf"]) == (
        "partner", "amap", ["ledger"], None
    )  # fmt: skip
    person = client.get("/v1/session", headers=by_cookie(home, Role.PERSON, "an account")).json()
    assert (person["role"], person["subject"], person["name"]) == ("person", "an account", None)
    assert person["csrf"]


def test_an_invitation_ends_after_a_week_or_when_there_is_a_newer_one(
    home: Home, client: TestClient[Litestar], clock: Clock
) -> None:
    operator = come_in(home, client)
    made = client.post("/v1/staff", json={"name": "ann", "role": "auditor"}, headers=operator)
    assert made.status_code == 201
    newer = client.post(f"/v1/staff/{made.json()['id']}/invitation", headers=operator).json()
    old = {"token": made.json()["token"], "password": PASSWORD}
    assert code_of(client.post("/v1/staff/invitation", json=old)) == "invitation-ended"
    clock.later(days=8)
    late = {"token": newer["token"], "password": PASSWORD}
    assert code_of(client.post("/v1/staff/invitation", json=late)) == "invitation-ended"
    client.app.state.recogniser.forget()
    assert code_of(client.get("/v1/staff", headers=operator)) == "session-ended"


def test_failures_lock_a_name_for_longer_each_time_and_success_forgets_them(
    home: Home, client: TestClient[Litestar], clock: Clock
) -> None:
    come_in(home, client)

    def attempt(password: str) -> str:
        answer = client.post("/v1/staff/session", json={"name": "olga", "password": password})
        client.cookies.clear()
        return "in" if answer.status_code == 201 else code_of(answer)

    assert [attempt("wrong") for _ in range(FREE_FAILURES)] == ["sign-in-failed"] * FREE_FAILURES
    assert attempt(PASSWORD) == "sign-in-locked"
    clock.later(seconds=10)
    refused = client.post("/v1/staff/session", json={"name": "olga", "password": PASSWORD})
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "20")
    clock.later(seconds=21)
    assert attempt("wrong") == "sign-in-failed"
    clock.later(seconds=31)
    assert attempt(PASSWORD) == "sign-in-locked"
    clock.later(seconds=30)
    assert attempt(PASSWORD) == "in"
    assert attempt("wrong") == "sign-in-failed"
    assert attempt(PASSWORD) == "in"
    locked = [row for row in home.audit.page(None, 20) if row.act == "sign-in locked"]
    assert [(row.subject, row.origin) for row in locked] == [("staff olga", "testclient")] * 2
    stranger = client.post("/v1/staff/session", json={"name": "nobody", "password": PASSWORD})
    assert (stranger.status_code, code_of(stranger)) == (401, "sign-in-failed")


def test_who_tries_many_names_from_one_address_has_to_wait(
    home: Home, client: TestClient[Litestar], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tanzhang.core.rates.BURST_S", 3.0)
    codes = [code_of(client.post("/v1/staff/session", json={"name": f"n{n}", "password": "x"})) for n in range(20)]
    assert codes[:3] == ["sign-in-failed"] * 3
    assert "too-many-requests" in codes


def test_a_one_time_code_is_asked_for_once_it_was_confirmed_and_none_works_twice(
    home: Home, client: TestClient[Litestar], clock: Clock
) -> None:
    headers = come_in(home, client)
    assert code_of(client.put("/v1/staff/codes", json={"code": "000000"}, headers=headers)) == "code-wrong"
    totp = pyotp.parse_uri(client.post("/v1/staff/codes", headers=headers).json()["uri"])
    assert isinstance(totp, pyotp.TOTP)
    first = totp.at(clock.now)
    assert client.put("/v1/staff/codes", json={"code": first}, headers=headers).json() == {"codes": True}
    assert code_of(client.post("/v1/staff/codes", headers=headers)) == "codes-in-use"
    plain = {"name": "olga", "password": PASSWORD}
    assert code_of(client.post("/v1/staff/session", json=plain)) == "code-missing"
    assert code_of(client.post("/v1/staff/session", json={**plain, "code": first})) == "sign-in-failed", "used before"
    clock.later(seconds=60)
    fresh = totp.at(clock.now)
    sign_in(client, "olga", code=fresh)
    assert code_of(client.post("/v1/staff/session", json={**plain, "code": fresh})) == "sign-in-failed"
    clock.later(seconds=60)
    off = client.request("DELETE", "/v1/staff/codes", json={"code": totp.at(clock.now)}, headers=headers)
    assert off.json() == {"codes": False}
    sign_in(client, "olga")


def test_an_owner_manages_the_own_enterprise_an_analyst_nothing(home: Home, client: TestClient[Litestar]) -> None:
    owner = come_in(home, client, "wang", "enterprise", partner="amap", position="owner")
    analyst = {"name": "zhao", "role": "enterprise", "partner": "amap", "position": "analyst"}
    made = client.post("/v1/staff", json=analyst, headers=owner)
    assert made.status_code == 201
    for wrong in ({"partner": "cainiao"}, {"role": "operator", "partner": None, "position": None}):
        other = client.post("/v1/staff", json={**analyst, "name": "x y", **wrong}, headers=owner)
        assert code_of(other) == "not-allowed"
    assert [each["name"] for each in client.get("/v1/staff", headers=owner).json()["items"]] == ["wang", "zhao"]
    client.post("/v1/staff/invitation", json={"token": made.json()["token"], "password": PASSWORD})
    reader = sign_in(client, "zhao")
    key = {"scopes": ["report"]}
    assert code_of(client.post("/v1/partners/amap/keys", json=key, headers=reader)) == "not-allowed"
    assert code_of(client.post("/v1/staff", json={**analyst, "name": "more"}, headers=reader)) == "not-allowed"
    assert client.post("/v1/partners/amap/keys", json=key, headers=owner).status_code == 201
    assert code_of(client.post("/v1/partners/cainiao/keys", json=key, headers=owner)) == "not-allowed"
    somebody = invite(home, "auditor", "ann", actor=CONSOLE, now=NOW)["id"]
    assert code_of(client.delete(f"/v1/staff/{somebody}", headers=owner)) == "not-allowed"
    assert client.delete(f"/v1/staff/{made.json()['id']}", headers=owner).json()["disabled_at"]
    assert code_of(client.get("/v1/partners/amap", headers=reader)) == "session-ended"
    gone = client.post("/v1/staff/session", json={"name": "zhao", "password": PASSWORD})
    assert code_of(gone) == "sign-in-failed"


def test_an_owner_reaches_no_staff_of_a_verifier_that_has_the_id_of_the_enterprise(
    home: Home, client: TestClient[Litestar]
) -> None:
    said = VerifierSaid("Amap Audit", "高德核查", "an example", "an example")
    put_verifier(home, "amap", said, actor=CONSOLE, now=NOW)
    owner = come_in(home, client, "wang", "enterprise", partner="amap", position="owner")
    auditor = invite(home, "verifier", "gu", partner="amap", actor=CONSOLE, now=NOW)
    assert [each["name"] for each in client.get("/v1/staff", headers=owner).json()["items"]] == ["wang"]
    assert code_of(client.get(f"/v1/staff/{auditor['id']}", headers=owner)) == "not-allowed"
    assert code_of(client.delete(f"/v1/staff/{auditor['id']}", headers=owner)) == "not-allowed"
    more = {"name": "more", "role": "verifier", "partner": "amap"}
    assert code_of(client.post("/v1/staff", json=more, headers=owner)) == "not-allowed"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"role": "verifier"}, "position-unknown"),
        ({"role": "verifier", "partner": "amap"}, "unknown-verifier"),
        ({"role": "king"}, "role-unknown"),
        ({"role": "enterprise"}, "position-unknown"),
        ({"role": "enterprise", "partner": "amap"}, "position-unknown"),
        ({"role": "enterprise", "partner": "amap", "position": "boss"}, "position-unknown"),
        ({"role": "city", "partner": "amap", "position": "owner"}, "position-unknown"),
        ({"role": "enterprise", "partner": "nobody", "position": "owner"}, "unknown-partner"),
        ({"name": "x"}, "staff-malformed"),
        ({"name": "olga"}, "staff-exists"),
    ],
)
def test_who_cannot_be_invited_is_refused(quick: Path, said: dict[str, str], code: str) -> None:
    home = new_home(quick / "home")
    invite(home, "operator", "olga", actor=CONSOLE, now=NOW)
    with TestClient(create_app(home, now=lambda: NOW), base_url="https://tanzhang.example") as client:
        body = {"name": "ann", "role": "city", **said}
        assert code_of(client.post("/v1/staff", json=body, headers=by_cookie(home, Role.OPERATOR))) == code


def test_keys_are_issued_rotated_and_revoked_and_show_the_day_of_their_last_use(
    home: Home, client: TestClient[Litestar], clock: Clock
) -> None:
    operator = come_in(home, client)
    path = "/v1/partners/amap/keys"
    said = {"scopes": ["report", "ledger"], "label": "gates", "lasts_days": 30}
    made = client.post(path, json=said, headers=operator).json()
    used = {"authorization": f"Bearer {made['key']}"}
    assert client.get("/v1/partners/amap", headers=used).status_code == 200
    (listed,) = client.get(path, headers=operator).json()["items"]
    assert (listed["id"], listed["last_used_on"], "key" in listed) == (made["id"], "2025-06-08", False)
    rotated = client.post(f"{path}/{made['id']}/rotate", json={"old_ends_in_hours": 1}, headers=operator).json()
    assert (rotated["scopes"], rotated["label"]) == (["ledger", "report"], "gates")
    assert rotated["instead_of"]["expires_at"].startswith("2025-06-08T03:00")
    assert rotated["expires_at"] == made["expires_at"]
    clock.later(hours=2)
    client.app.state.recogniser.forget()
    assert code_of(client.get("/v1/partners/amap", headers=used)) == "key-expired"
    late = client.post(f"{path}/{made['id']}/rotate", json={}, headers=operator)
    assert code_of(late) == "key-expired"
    fresh = {"authorization": f"Bearer {rotated['key']}"}
    assert client.get("/v1/partners/amap", headers=fresh).status_code == 200
    assert client.delete(f"{path}/{rotated['id']}", headers=operator).json()["revoked_at"]
    assert code_of(client.get("/v1/partners/amap", headers=fresh)) == "key-expired"
    assert code_of(client.delete(f"/v1/partners/cainiao/keys/{made['id']}", headers=operator)) == "not-found"
    acts = [row.act for row in home.audit.page(None, 3)]
    assert acts == ["key revoked", "key rotated", "key issued"]
    assert made["key"] not in str(home.audit.page(None, 10))
