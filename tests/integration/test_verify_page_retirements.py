"""The page that checks certificates in a browser says of retirements what Python says, of every change."""

from __future__ import annotations

import json
import tempfile
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.engine.data_integrity import canonical
from tanzhang.service.certificate_check import check_certificate
from tanzhang.service.market.retirement_certificate import retirement_certificate
from tanzhang.stores.home import Home
from tanzhang.web.verify import page

from ..homes import market_home, on
from .test_retirement import serial, set_up, used
from .test_verify_page_certificates import ASK

if TYPE_CHECKING:
    from playwright.sync_api import Browser

Ask = Callable[[bytes], dict[str, Any]]


@pytest.fixture(scope="module")
def home(in_memory: Path) -> Home:
    return set_up(market_home(Path(tempfile.mkdtemp(dir=in_memory)) / "home"))


@pytest.fixture(scope="module")
def ask(browser: Browser, in_memory: Path, home: Home) -> Iterator[Ask]:
    path = Path(tempfile.mkdtemp(dir=in_memory)) / "page.html"
    path.write_text(page(), encoding="utf-8")
    context = browser.new_context(locale="en-GB")
    shown = context.new_page()
    shown.goto(path.as_uri())

    def asked(data: bytes) -> dict[str, Any]:
        given = [b64encode(data).decode(), home.values["vkey"], None, None, on(6).timestamp() * 1000]
        found: dict[str, Any] = json.loads(shown.evaluate(ASK, given))
        return found

    yield asked
    context.close()


def code(home: Home, data: bytes) -> str | None:
    """What Python says: the code, or None where the certificate holds."""
    try:
        check_certificate(data, home.values["vkey"], now=on(6))
    except TanzhangError as error:
        return error.code
    return None


def test_certificates_of_retirements_hold_in_a_browser_as_they_do_in_python(home: Home, ask: Ask) -> None:
    for reference, more in (("a", {}), ("b", {"anonymous": True})):
        data = retirement_certificate(home, used(home, reference, **more)["id"], now=on(5))
        found = ask(data)
        assert "refused" not in found, found
        assert found["document"]["credentialSubject"] == check_certificate(data, home.values["vkey"], now=on(6))["says"]


def test_what_the_issuer_signs_and_the_log_does_not_have_is_refused_with_the_code_of_python(
    home: Home, ask: Ask
) -> None:
    made, other = used(home, "c", count=7), used(home, "d", count=9)
    data = retirement_certificate(home, made["id"], now=on(5))
    document, key = json.loads(data), home.issuer_key
    assert key is not None
    subject, evidence = document["credentialSubject"], document["evidence"]
    foreign = json.loads(retirement_certificate(home, other["id"], now=on(5)))["evidence"]
    lot = subject["lot"]
    changes: list[dict[str, Any]] = [
        *({"credentialSubject": {**subject, name: "x"}} for name in subject if name not in ("programme", "claims")),
        {"credentialSubject": {**subject, "serials": [serial(home, 0, 7)]}},
        {"credentialSubject": {**subject, "lot": {**lot, "units": "5"}}},
        {"credentialSubject": {**subject, "lot": {**lot, "entry": "0"}}},
        {"credentialSubject": {**subject, "beneficiary": {**subject["beneficiary"], "note": "another"}}},
        *({"evidence": [each for each in evidence if each is not gone]} for gone in evidence[1:]),
        {"evidence": [*evidence, evidence[3]]},
        {"evidence": [*evidence[:3], foreign[3]]},
        {"evidence": [*evidence[:2], {**evidence[1], "type": "IssueInclusion"}, evidence[3]]},
        {"evidence": [evidence[0], {**evidence[2], "type": "LotInclusion"}, *evidence[2:]]},
        {"evidence": [evidence[0], {**evidence[1], "entry": "{}"}, *evidence[2:]]},
        {"evidence": [evidence[0], {**evidence[1], "proof": "x"}, *evidence[2:]]},
        {"evidence": [evidence[0], {**evidence[1], "entry": 5}, *evidence[2:]]},
        {"evidence": [*evidence[:3], {**evidence[3], "proof": evidence[0]["proof"]}]},
    ]
    for members in changes:
        changed = {name: value for name, value in {**document, **members}.items() if name != "proof"}
        file = canonical(key.sign(changed, created="2025-06-05T02:00:00Z"))
        assert ask(file).get("refused") == code(home, file) is not None, members
