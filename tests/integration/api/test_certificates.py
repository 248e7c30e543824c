"""Certificates over HTTP: a person has them made, shows them, takes them back; everybody reads who was revoked."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from tanzhang.api.app import create_app
from tanzhang.core.access import Actor, Role
from tanzhang.service.certificate_check import check_certificate, credential_in
from tanzhang.service.certificates import make_key
from tanzhang.service.intake import intake
from tanzhang.stores.fonts import fonts_are_there
from tanzhang.stores.home import Home

from ...homes import account, box, on, settle_on, write
from .callers import NOW, by_cookie
from .people import Clock, set_up
from .people import person as signed_in

JUNE = {"kind": "statement", "month": "2025-06"}
BANK = {
    "kind": "green_credit",
    "since": "2025-06-01",
    "until": "2025-06-30",
    "members": ["reduction"],
    "addressed_to": "Example Bank",
}


@pytest.fixture
def issuing(home: Home) -> Home:
    """A home with one settled act of Anna's, that issues certificates."""
    set_up(home)
    intake(home, write(home.folder.parent / "acts.ndjson", [box("a")]), now=on(7))
    settle_on(home, 7)
    make_key(home, actor=Actor(Role.OPERATOR, "a test", "command line"), now=NOW)
    return home


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(issuing: Home, clock: Clock) -> Iterator[TestClient[Litestar]]:
    with TestClient(create_app(issuing, now=clock), base_url="https://tanzhang.example") as client:
        yield client


def anna(home: Home) -> dict[str, str]:
    return signed_in(home, str(account(home, "cainiao", "anna")))


def checked(home: Home, data: bytes, status: bytes | None = None, after: float = 0) -> dict[str, Any]:
    return check_certificate(data, home.values["vkey"], status=status, now=NOW + timedelta(seconds=after))


def test_a_person_has_one_made_shows_it_and_takes_it_back(
    issuing: Home, client: TestClient[Litestar], clock: Clock
) -> None:
    me = anna(issuing)
    made = client.post("/v1/me/certificates", json=JUNE, headers=me)
    assert made.status_code == 201
    name = made.json()["id"]
    (listed,) = client.get("/v1/me/certificates", headers=me).json()["items"]
    assert (listed["id"], listed["status"], "credential" in listed) == (name, "valid", False)

    file = client.get(f"/v1/me/certificates/{name}", headers=me)
    assert file.headers["content-type"] == "application/vc"
    assert file.headers["cache-control"] == "private, no-store"
    assert json.loads(file.content) == made.json()["credential"]
    assert hashlib.sha256(file.content).hexdigest() == listed["sha256"]

    answer = checked(issuing, file.content)
    assert answer["says"]["reductionMg"] == "37000"
    path = answer["status_list"].removeprefix("https://tanzhang.example")
    status = client.get(path)
    assert (status.status_code, status.headers["cache-control"]) == (200, "public, max-age=300")
    assert client.get(path, headers={"if-none-match": status.headers["etag"]}).status_code == 304
    assert checked(issuing, file.content, status.content)["revoked"] is False

    assert client.delete(f"/v1/me/certificates/{name}", headers=me).json()["status"] == "revoked"
    again = client.delete(f"/v1/me/certificates/{name}", headers=me)
    assert (again.status_code, again.json()["code"]) == (409, "certificate-revoked")
    clock.now += timedelta(seconds=2)
    fresh = client.get(path)
    assert fresh.headers["etag"] != status.headers["etag"]
    with pytest.raises(Exception, match="credential-revoked"):
        checked(issuing, file.content, fresh.content, after=2)


def test_the_page_of_one_has_the_signed_text_in_it(issuing: Home, client: TestClient[Litestar]) -> None:
    if not fonts_are_there():
        pytest.skip("the fonts of package fonts-noto-cjk are not installed")
    me = anna(issuing)
    name = client.post("/v1/me/certificates", json=BANK, headers=me).json()["id"]
    page = client.get(f"/v1/me/certificates/{name}/pdf", headers=me)
    assert page.headers["content-type"] == "application/pdf"
    assert credential_in(page.content) == client.get(f"/v1/me/certificates/{name}", headers=me).content
    (agreed,) = client.get("/v1/me/consents", headers=me).json()["items"]
    assert agreed["scope"] == "certificate"
    client.delete(f"/v1/me/consents/{agreed['id']}", headers=me)
    assert client.get("/v1/me/certificates", headers=me).json()["items"][0]["status"] == "revoked"


REFUSED: list[tuple[dict[str, Any], str, str | None]] = [
    ({"kind": "statement"}, "request-malformed", "#/month"),
    ({"kind": "statement", "month": "2025-13"}, "request-malformed", None),
    ({"kind": "statement", "month": "0000-01"}, "request-malformed", "#/month"),
    ({"kind": "statement", "month": "2026-01"}, "certificate-span", "#/since"),
    ({**BANK, "members": None}, "request-malformed", "#/members"),
    ({**BANK, "members": []}, "certificate-member", "#/members"),
    ({**BANK, "members": ["salary"]}, "request-malformed", None),
    ({**BANK, "addressed_to": " "}, "name-malformed", "#/addressed_to"),
    ({**BANK, "name": ""}, "name-malformed", "#/name"),
    ({**BANK, "since": "1990-01-01"}, "certificate-span", "#/since"),
    ({**BANK, "since": "9999-12-31", "until": "9999-12-31"}, "certificate-span", "#/since"),
]


def test_what_cannot_be_certified_is_refused_where_it_stands(issuing: Home, client: TestClient[Litestar]) -> None:
    for asked, code, where in REFUSED:
        answer = client.post("/v1/me/certificates", json=asked, headers=anna(issuing))
        assert answer.status_code in (400, 422), answer.text
        assert answer.json()["code"] == code
        assert where is None or answer.json()["errors"][0]["where"] == where


def test_nobody_elses_is_shown_and_only_the_operator_revokes(issuing: Home, client: TestClient[Litestar]) -> None:
    name = client.post("/v1/me/certificates", json=JUNE, headers=anna(issuing)).json()["id"]
    other = signed_in(issuing, str(uuid.UUID(int=9)))
    for ask in (client.get, client.delete):
        answer = ask(f"/v1/me/certificates/{name}", headers=other)
        assert (answer.status_code, answer.json()["code"]) == (404, "certificate-unknown")
    assert client.get(f"/v1/me/certificates/{name}/pdf", headers=other).status_code == 404
    operator = by_cookie(issuing, Role.OPERATOR)
    reason = {"reason": "issued in error"}
    assert client.post(f"/v1/certificates/{name}/revocation", json=reason, headers=operator).status_code == 200
    again = client.post(f"/v1/certificates/{name}/revocation", json=reason, headers=operator)
    assert again.json()["code"] == "certificate-revoked"
    assert client.post("/v1/certificates/x/revocation", json=reason, headers=operator).status_code == 404


def test_everybody_may_read_the_keys_of_the_issuer(issuing: Home, client: TestClient[Litestar]) -> None:
    document = client.get("/.well-known/did.json")
    assert document.json() == client.get("/did.json").json()
    assert document.json()["id"] == "did:web:tanzhang.example"
    assert client.get("/certificates/status/7").json()["code"] == "certificate-unknown"


def test_a_service_that_issues_none_says_so(home: Home) -> None:
    with TestClient(create_app(home, now=lambda: NOW), base_url="https://tanzhang.example") as client:
        answer = client.post("/v1/me/certificates", json=JUNE, headers=anna(home))
        assert (answer.status_code, answer.json()["code"]) == (503, "issuer-missing")
        assert client.get("/did.json").status_code == 404
