"""The page that checks certificates in a browser says what Python says: of JSON, of PDF, of every change."""

from __future__ import annotations

import hashlib
import json
import tempfile
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.engine.data_integrity import IssuerKey, canonical
from tanzhang.engine.signing import Cosigner
from tanzhang.service import certificates as service
from tanzhang.service.certificate_check import check_certificate
from tanzhang.service.certificate_page import pdf_of, qr_text
from tanzhang.stores.fonts import fonts_are_there
from tanzhang.stores.home import Home
from tanzhang.web.verify import page

from ..homes import new_home
from .test_certificates import LATER, OPERATOR, bank_of, leaves, set_up, signed_again, statement_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ASK = """async ([data, vkey, policy, status, now]) => {
    const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const given = (text) => (text === null ? null : bytes(text));
    const plain = (_, value) => typeof value === "bigint" ? String(value) : value;
    try {
        return JSON.stringify(await verifyCertificate(bytes(data), vkey, given(policy), given(status), now), plain);
    } catch (error) {
        return JSON.stringify({refused: error.code ?? String(error)});
    }
}"""
Ask = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def home(in_memory: Path) -> Home:
    return set_up(new_home(Path(tempfile.mkdtemp(dir=in_memory)) / "home"))


@pytest.fixture(scope="module")
def shown(browser: Browser, in_memory: Path) -> Iterator[Page]:
    path = Path(tempfile.mkdtemp(dir=in_memory)) / "page.html"
    path.write_text(page(), encoding="utf-8")
    context = browser.new_context(locale="en-GB")
    opened = context.new_page()
    opened.goto(path.as_uri())
    yield opened
    context.close()


@pytest.fixture(scope="module")
def ask(shown: Page, home: Home) -> Ask:
    def asked(
        data: bytes,
        status: bytes | None = None,
        *,
        vkey: str | None = None,
        policy: bytes | None = None,
        now: datetime = LATER,
    ) -> dict[str, Any]:
        files = [None if each is None else b64encode(each).decode() for each in (data, policy, status)]
        key = home.values["vkey"] if vkey is None else vkey
        found: dict[str, Any] = json.loads(shown.evaluate(ASK, [files[0], key, *files[1:], now.timestamp() * 1000]))
        return found

    return asked


def code(home: Home, data: bytes, status: bytes | None = None, *, now: datetime = LATER) -> str | None:
    """What Python says: the code, or None where the certificate holds."""
    try:
        check_certificate(data, home.values["vkey"], status=status, now=now)
    except TanzhangError as error:
        return error.code
    return None


def test_it_says_of_json_and_pdf_what_python_says(home: Home, ask: Ask) -> None:
    _, data = statement_of(home, name="安娜")
    listed = service.status_of(home, 0, now=LATER)
    expected = check_certificate(data, home.values["vkey"], status=listed, now=LATER)
    for file in (data, *([pdf_of(data)] if fonts_are_there() else [])):
        found = ask(file, listed)
        assert found["document"]["credentialSubject"] == expected["says"]
        assert (found["sha256"], found["statusAt"]) == (expected["sha256"], expected["status_at"])
        assert found["checkpoint"]["size"] == str(expected["log_size"])
    assert ask(data)["statusAt"] is None


def test_every_member_that_is_changed_is_refused_with_the_code_of_python(home: Home, ask: Ask) -> None:
    _, data = statement_of(home)
    for place in leaves(json.loads(data)):
        changed = json.loads(data)
        inside = changed
        for step in place[:-1]:
            inside = inside[step]
        value = inside[place[-1]]
        inside[place[-1]] = not value if isinstance(value, bool) else f"{value}x"
        file = canonical(changed)
        assert ask(file).get("refused") == code(home, file) is not None, place


def test_what_a_forger_or_the_issuer_signs_again_is_refused_with_the_code_of_python(home: Home, ask: Ask) -> None:
    made, data = statement_of(home)
    document, key = made["credential"], home.issuer_key
    assert key is not None
    forger = IssuerKey(bytes(32))
    subject = {**document["credentialSubject"], "programme": {"id": "shenzhen", "rehearsal": False}}
    status = document["credentialStatus"]
    changes: list[tuple[dict[str, Any], IssuerKey]] = [
        ({"issuer": {**document["issuer"], "id": forger.did}}, forger),
        ({}, forger),
        ({"evidence": []}, key),
        ({"evidence": document["evidence"] * 2}, key),
        ({"evidence": [{**document["evidence"][0], "entry": "{}"}]}, key),
        ({"credentialSubject": subject}, key),
        ({"credentialSubject": []}, key),
        ({"type": ["VerifiableCredential"]}, key),
        ({"type": "CarbonStatement"}, key),
        ({"validFrom": "2026-01-01T00:00:00Z"}, key),
        ({"validFrom": "2025-07-20T02:04:59Z"}, key),
        ({"validFrom": "yesterday"}, key),
        ({"validUntil": "2025-07-20T02:00:00Z"}, key),
        ({"validUntil": "2025-07-20T02:00:01Z"}, key),
        ({"credentialStatus": None}, key),
        ({"credentialStatus": {**status, "statusListIndex": "01"}}, key),
        ({"@context": [*document["@context"], "https://more.example"]}, key),
        ({"issuer": key.did}, key),
    ]
    for members, signer in changes:
        file = signed_again({**document, **members}, signer)
        assert ask(file).get("refused") == code(home, file), members
    for file in (b"", b"{", b"[]", b"{}", b"\xff", b'{"proof":1}', b"%PDF-1.7\nnothing", data[:-1]):
        assert ask(file).get("refused", "").split("-")[0] in ("credential", "pdf")
        assert code(home, file) is not None


def test_revocation_is_seen_and_other_lists_are_refused_with_the_code_of_python(home: Home, ask: Ask) -> None:
    made, data = statement_of(home)
    listed = service.status_of(home, 0, now=LATER)
    document, key = json.loads(listed), home.issuer_key
    assert key is not None
    subject = document["credentialSubject"]
    files = [
        (listed, LATER),
        (listed, LATER + timedelta(days=2)),
        (data, LATER),
        *(
            (signed_again({**document, **members}, key), LATER)
            for members in (
                {"id": "https://carbon.example/certificates/status/1"},
                {"credentialSubject": {**subject, "statusPurpose": "suspension"}},
                {"credentialSubject": {**subject, "encodedList": "u"}},
                {"credentialSubject": {**subject, "encodedList": subject["encodedList"][:-9]}},
            )
        ),
    ]
    service.revoke(home, made["id"], "a test", actor=OPERATOR, now=LATER)
    later = LATER + timedelta(seconds=5)
    files.append((service.status_of(home, 0, now=later), later))
    found = [ask(data, file, now=now).get("refused") for file, now in files]
    assert found == [code(home, data, file, now=now) for file, now in files]
    assert (found[0], found[-1]) == (None, "credential-revoked")


def test_another_log_is_not_believed_and_a_quorum_is_asked_for(home: Home, ask: Ask) -> None:
    data = canonical(bank_of(home, ["acts"])["credential"])
    witness = Cosigner("witness.example", bytes(32))
    policy = f"log {home.values['vkey']}\nwitness w {witness.verifier_key.to_text()}\nquorum none\n".encode()
    assert ask(data, vkey="", policy=policy)["quorum"] == "none"
    assert ask(data, vkey="", policy=policy.replace(b"quorum none", b"quorum w"))["refused"] == "witness-quorum-missing"
    assert ask(data, vkey=witness.verifier_key.to_text())["refused"] in ("vkey-invalid", "note-not-trusted")


def test_a_person_sees_what_it_says_and_that_it_is_the_one_of_the_qr_code(home: Home, shown: Page, quick: Path) -> None:
    made, data = statement_of(home, now=datetime.fromisoformat("2025-07-20T02:00:00+00:00"))
    path = quick / "certificate.json"
    path.write_bytes(data)
    address = shown.url.partition("#")[0]
    shown.goto(address + "#" + qr_text(made["credential"], data).partition("#")[2])
    shown.set_input_files("#receipt", path)
    shown.fill("#key", home.values["vkey"])
    shown.locator("#verdict[data-code=verified]").wait_for()
    assert hashlib.sha256(data).hexdigest() in shown.inner_text("#facts")
    assert "74 g CO₂e" in shown.inner_text("#facts")
    assert shown.locator("li[data-step=status]").get_attribute("class") == "open"
    (quick / "list.json").write_bytes(service.status_of(home, 0, now=datetime.now().astimezone()))
    shown.set_input_files("#status-file", quick / "list.json")
    shown.locator("li.holds[data-step=status]").wait_for()
    _, other = statement_of(home)
    (quick / "other.json").write_bytes(other)
    shown.set_input_files("#receipt", quick / "other.json")
    shown.locator("#verdict[data-code=other]").wait_for()
    shown.goto(address)
