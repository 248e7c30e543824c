"""Signing in: through a provider with keys of its own, and by codes whose limits hold."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import sqlalchemy as sa
from joserfc.jwk import ECKey
from litestar import Litestar
from litestar.testing import TestClient

from tanzhang.api.access import COOKIE, CSRF_HEADER
from tanzhang.core.errors import TanzhangError
from tanzhang.service.access import csrf_token
from tanzhang.service.sign_in import identities, pseudonym_for, remove_identity
from tanzhang.stores.home import Home
from tanzhang.stores.people_settings import people_settings
from tanzhang.stores.register.people import person, person_identity

from ...homes import new_home
from ...oidc import CLIENT, SECRET, Provider, running_provider
from .people import NOW, PUBLIC, Clock, any_home, browser, code_in, set_up

PHONE = "138 0013 8000"
Browser = TestClient[Litestar]


@pytest.fixture(params=["sqlite", "postgresql"])
def home(request: pytest.FixtureRequest, quick: Path) -> Home:
    return any_home(request, quick)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def provider(home: Home) -> Iterator[Provider]:
    with running_provider(NOW) as provider:
        set_up(home, oidc={"city": offered(provider.issuer)}, phone={"sender": "console"})
        yield provider


@pytest.fixture
def client(home: Home, clock: Clock) -> Iterator[Browser]:
    with browser(home, clock) as client:
        yield client


def offered(issuer: str) -> dict[str, str]:
    return {"issuer": issuer, "client_id": CLIENT, "client_secret": SECRET, "title": "City ID", "title_zh": "市民码"}


def sent_back(client: Browser, return_to: str = "/") -> str:
    """Begin to sign in, agree at the provider; where the browser is sent back to."""
    begun = client.get("/v1/sign-in/oidc/city", params={"return_to": return_to}, follow_redirects=False)
    assert begun.status_code == 302
    answer = httpx.get(begun.headers["location"])
    assert answer.status_code == 302
    location: str = answer.headers["location"]
    assert location.startswith(f"{PUBLIC}/v1/sign-in/oidc/city/callback?")
    return location


def signed_in(client: Browser, return_to: str = "/") -> Any:
    return client.get(sent_back(client, return_to), follow_redirects=False)


def refused(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def by_phone(client: Browser, caplog: pytest.LogCaptureFixture, phone: str = PHONE) -> Any:
    assert client.post("/v1/sign-in/phone", json={"phone": phone}).status_code == 202
    return client.post("/v1/sign-in/phone/verify", json={"phone": phone, "code": code_in(caplog)})


def test_a_provider_vouches_for_a_person_who_then_has_one_account(
    home: Home, client: Browser, provider: Provider
) -> None:
    assert client.get("/v1/sign-in").json()["oidc"][0]["title_zh"] == "市民码"
    first = signed_in(client, "/me")
    assert (first.status_code, first.headers["location"]) == (302, "/me")
    cookie = next(each for each in first.headers.get_list("set-cookie") if each.startswith(f"{COOKIE}="))
    for wanted in ("HttpOnly", "Secure", "SameSite=lax", "Path=/"):
        assert wanted in cookie
    client.cookies.clear()
    assert signed_in(client).status_code == 302
    assert len(home.people.rows(person)) == 1
    provider.subject = "person-2"
    client.cookies.clear()
    signed_in(client)
    assert len(home.people.rows(person)) == 2
    for row in home.people.rows(person_identity):
        assert "person-" not in str(row)  # neither the hash nor what is sealed shows the subject


def test_an_answer_that_the_browser_did_not_ask_for_signs_nobody_in(
    home: Home, client: Browser, provider: Provider, clock: Clock
) -> None:
    theirs = sent_back(client)
    client.cookies.clear()  # somebody else's browser
    assert refused(client.get(theirs, follow_redirects=False)) == (403, "sign-in-unknown")
    assert refused(client.get(theirs, follow_redirects=False)) == (403, "sign-in-unknown")
    late = sent_back(client)
    clock.now += timedelta(minutes=11)
    assert refused(client.get(late, follow_redirects=False)) == (403, "sign-in-unknown")
    clock.now = NOW
    again = sent_back(client)
    assert client.get(again, follow_redirects=False).status_code == 302
    assert refused(client.get(again, follow_redirects=False)) == (403, "sign-in-unknown")  # once only
    client.cookies.clear()
    state = parse_qs(urlsplit(sent_back(client)).query)["state"][0]
    denied = client.get(f"/v1/sign-in/oidc/city/callback?error=access_denied&state={state}", follow_redirects=False)
    assert refused(denied) == (403, "provider-refused")
    for return_to in ("https://elsewhere.example", "//elsewhere.example", "/\\elsewhere.example", "/a\r\nb: c"):
        answer = client.get("/v1/sign-in/oidc/city", params={"return_to": return_to}, follow_redirects=False)
        assert refused(answer) == (422, "return-malformed")
    assert refused(client.get("/v1/sign-in/oidc/other")) == (404, "provider-unknown")


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://other.example"},
        {"aud": "another client"},
        {"aud": [CLIENT, "another client"]},
        {"azp": "another client"},
        {"exp": int(NOW.timestamp()) - 3600},
        {"nonce": "another"},
        {"sub": None},
    ],
    ids=lambda each: next(iter(each)),
)
def test_an_id_token_that_does_not_hold_signs_nobody_in(quick: Path, claims: dict[str, Any]) -> None:
    home = new_home(quick / "home")
    with running_provider(NOW) as provider, browser(home, Clock()) as client:
        set_up(home, oidc={"city": offered(provider.issuer)})
        provider.claims = claims
        assert refused(signed_in(client)) == (403, "provider-refused")
        assert provider.tokens_given == 1
        assert home.people.rows(person) == []


def test_only_keys_of_the_provider_sign_and_a_new_one_is_found(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tanzhang.stores.oidc._LEAST_BETWEEN_S", 0)
    home = new_home(quick / "home")
    with running_provider(NOW) as provider, browser(home, Clock()) as client:
        set_up(home, oidc={"city": offered(provider.issuer)})
        assert signed_in(client).status_code == 302
        provider.rotate()
        client.cookies.clear()
        assert signed_in(client).status_code == 302
        provider.signing_key = ECKey.generate_key("P-256", parameters={"kid": "second", "alg": "ES256"})
        client.cookies.clear()
        assert refused(signed_in(client)) == (403, "provider-refused")
    assert len(home.people.rows(person)) == 1


def test_a_code_by_phone_signs_in_once_and_the_number_is_nowhere_to_be_read(
    home: Home, client: Browser, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    assert refused(client.post("/v1/sign-in/phone", json={"phone": PHONE})) == (422, "phone-off")
    set_up(home, phone={"sender": "console"})
    answer = by_phone(client, caplog)
    assert answer.status_code == 200
    account = answer.json()["account"]
    assert answer.json()["csrf"] == csrf_token(client.cookies[COOKIE])
    shown = identities(home, account)
    assert [(each["kind"], each["shown"]) for each in shown] == [("phone", "***8000")]
    rows = str([home.people.rows(table) for table in (person, person_identity)])
    assert "13800138000" not in rows
    client.cookies.clear()
    again = {"phone": PHONE, "code": code_in(caplog)}
    assert refused(client.post("/v1/sign-in/phone/verify", json=again)) == (403, "code-wrong")
    clock.now += timedelta(minutes=2)
    assert by_phone(client, caplog, "+86-138-0013-8000").json()["account"] == account
    with pytest.raises(TanzhangError, match="last-identity"):
        remove_identity(home, account, shown[0]["id"])


def test_a_code_lasts_five_minutes_and_five_tries(
    home: Home, client: Browser, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    set_up(home, phone={"sender": "console"})
    client.post("/v1/sign-in/phone", json={"phone": PHONE})
    right = {"phone": PHONE, "code": code_in(caplog)}
    wrong = {"phone": PHONE, "code": f"{(int(right['code']) + 1) % 10**6:06}"}
    clock.now += timedelta(minutes=5)
    assert refused(client.post("/v1/sign-in/phone/verify", json=right)) == (403, "code-wrong")
    client.post("/v1/sign-in/phone", json={"phone": PHONE})
    right["code"] = code_in(caplog)
    for _ in range(5):
        assert refused(client.post("/v1/sign-in/phone/verify", json=wrong)) == (403, "code-wrong")
    assert refused(client.post("/v1/sign-in/phone/verify", json=right)) == (403, "code-wrong")
    for path, body in (("phone", {"phone": PHONE}), ("phone/verify", right)):  # as a form of another site would
        form = client.post(f"/v1/sign-in/{path}", content=json.dumps(body), headers={"content-type": "text/plain"})
        assert refused(form) == (415, "media-type-unknown")
    bad = client.post("/v1/sign-in/phone/verify", json={"phone": PHONE, "code": "12345"})
    assert refused(bad) == (400, "request-malformed")


def test_codes_are_limited_by_number_and_by_address_and_wrong_ones_lock(
    home: Home, client: Browser, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    set_up(home, phone={"sender": "console", "most_per_address_an_hour": 8, "wrong_before_lock": 6})

    def asked(phone: str) -> tuple[int, str]:
        answer = client.post("/v1/sign-in/phone", json={"phone": phone})
        return (202, "") if answer.status_code == 202 else refused(answer)

    def waits_s() -> int:
        return int(client.post("/v1/sign-in/phone", json={"phone": PHONE}).headers["retry-after"])

    assert [asked(PHONE), asked(PHONE)] == [(202, ""), (429, "too-many-requests")]  # one a minute
    clock.now += timedelta(seconds=20)
    assert waits_s() == 40
    for _ in range(4):
        clock.now += timedelta(minutes=2)
        assert asked(PHONE) == (202, "")
    clock.now += timedelta(minutes=2)
    assert asked(PHONE) == (429, "too-many-requests")  # five a day
    assert waits_s() == 86_400 - 20 - 5 * 120  # until the first is a day ago
    assert [asked(f"1390013800{n}") for n in range(4)] == [
        *[(202, "")] * 3,
        (429, "too-many-requests"),
    ]  # eight from here
    clock.now += timedelta(days=1)
    assert asked(PHONE) == (202, "")
    wrong = {"phone": PHONE, "code": f"{(int(code_in(caplog)) + 1) % 10**6:06}"}
    codes = [refused(client.post("/v1/sign-in/phone/verify", json=wrong))[1] for _ in range(7)]
    assert codes == [*["code-wrong"] * 6, "locked-out"]
    clock.now += timedelta(minutes=2)
    assert asked(PHONE) == (429, "locked-out")
    assert waits_s() == 86_400 - 120
    clock.now += timedelta(days=1)
    assert asked(PHONE) == (202, "")


def test_whoever_is_signed_in_adds_an_identity_unless_it_has_an_account(
    home: Home, client: Browser, provider: Provider, caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    signed_in(client)
    token = client.cookies[COOKIE]
    client.headers[CSRF_HEADER] = csrf_token(token)
    account = by_phone(client, caplog).json()["account"]
    assert sorted(each["kind"] for each in identities(home, account)) == ["oidc", "phone"]
    assert len(home.people.rows(person)) == 1
    client.cookies.clear()
    provider.subject = "person-2"
    signed_in(client)
    clock.now += timedelta(minutes=2)
    client.headers[CSRF_HEADER] = csrf_token(client.cookies[COOKIE])
    assert refused(by_phone(client, caplog)) == (409, "identity-taken")
    remove_identity(home, account, identities(home, account)[0]["id"])
    assert len(identities(home, account)) == 1
    assert pseudonym_for(home, "cainiao", account) != pseudonym_for(home, "amap", account)


def test_codes_go_to_the_gateway_that_the_operator_names(home: Home, client: Browser) -> None:
    got: list[str] = []

    class Gateway(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(self.path)
            self.send_response(200 if len(got) == 1 else 500)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None: ...  # noqa: A002 - the name is the base class's

    server = HTTPServer(("127.0.0.1", 0), Gateway)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        address = f"http://127.0.0.1:{server.server_port}/send?to={{phone}}&code={{code}}"
        set_up(home, phone={"sender": address, "least_between_s": 0})
        assert client.post("/v1/sign-in/phone", json={"phone": PHONE}).status_code == 202
        sent = parse_qs(urlsplit(got[0]).query)
        assert sent["to"] == ["+8613800138000"]
        answer = client.post("/v1/sign-in/phone/verify", json={"phone": PHONE, "code": sent["code"][0]})
        assert answer.status_code == 200
        client.cookies.clear()
        assert refused(client.post("/v1/sign-in/phone", json={"phone": "13900139000"})) == (503, "code-not-sent")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    "text",
    [
        "oidc: {x: {issuer: 'http://far.example', client_id: a, title: a, title_zh: a}}",
        "phone: {sender: 'https://gateway.example/send'}",
        "phones: {}",
        "erasure_waits_days: soon",
        "[",
    ],
)
def test_settings_that_say_something_else_are_refused(quick: Path, text: str) -> None:
    (quick / "keys").mkdir()
    (quick / "keys" / "people.yaml").write_text(text)
    with pytest.raises(TanzhangError, match="people-settings-malformed"):
        people_settings(quick)


def test_a_sealed_subject_moved_to_another_row_does_not_open(
    home: Home, client: Browser, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    account = by_phone(client, caplog).json()["account"]
    client.cookies.clear()
    signed_in(client)
    other = next(row for row in home.people.rows(person_identity) if row.kind == "oidc")
    with home.book.transaction() as con:
        own = person_identity.c.account == account
        con.execute(sa.update(person_identity).where(own).values(sealed=other.sealed))
    with pytest.raises(TanzhangError, match="personal-field-changed"):
        identities(home, account)
