"""Partners whose requests are signed: what was sent is proved, once and within minutes, and stays so."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from http_message_signatures import HTTPMessageSigner, MappingKeyResolver, algorithms
from litestar import Litestar
from litestar.testing import TestClient

from tanzhang.api.app import create_app
from tanzhang.core.access import Actor, Role
from tanzhang.service.partners import change_partner
from tanzhang.service.receive import Receiver, Request
from tanzhang.service.retention import tidy
from tanzhang.service.signatures import SignedRequest, add_signing_key, check_signature
from tanzhang.stores.home import Home

from ...homes import box, new_home
from ...postgres import Server
from .callers import NOW, by_cookie, by_key

CONSOLE = Actor(Role.OPERATOR, "root", "command line")
COVERED = ("@method", "@target-uri", "content-digest")
BASE = "https://tanzhang.example"


@pytest.fixture(params=["sqlite", "postgresql"])
def home(request: pytest.FixtureRequest, quick: Path) -> Home:
    if request.param == "sqlite":
        opened = new_home(quick / "home")
    else:
        server: Server = request.getfixturevalue("postgres")
        opened = new_home(quick / "home", book=server.address(server.database(), "signatures"))
    change_partner(opened, "amap", {"signed": True}, actor=CONSOLE, now=NOW)
    return opened


@pytest.fixture
def client(home: Home) -> Iterator[TestClient[Litestar]]:
    with TestClient(create_app(home, now=lambda: NOW), base_url=BASE) as client:
        yield client


class Signer:
    """A partner's program that signs."""

    def __init__(self, home: Home, algorithm: str) -> None:
        if algorithm == "ed25519":
            self.private: Any = Ed25519PrivateKey.generate()
            public = base64.b64encode(self.private.public_key().public_bytes_raw()).decode()
            made = add_signing_key(home, "amap", algorithm, public, actor=CONSOLE, now=NOW)
            self.used: Any = algorithms.ED25519
        else:
            made = add_signing_key(home, "amap", algorithm, None, actor=CONSOLE, now=NOW)
            self.private = base64.b64decode(made["secret"])
            self.used = algorithms.HMAC_SHA256
        self.key = made["id"]
        self.headers = by_key(home, "amap")

    def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        nonce: str | None = "nonce-0001",
        created: datetime = NOW,
        covered: tuple[str, ...] = COVERED,
        base: str = BASE,
    ) -> httpx.Request:
        made = httpx.Request(
            method, base + path, content=body, headers={**self.headers, "content-type": "application/json"}
        )
        resolver = MappingKeyResolver(public_keys={}, private_keys={self.key: self.private})
        covered = covered if body else tuple(each for each in covered if each != "content-digest")
        if body:
            digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
            made.headers["content-digest"] = f"sha-256=:{digest}:"
        HTTPMessageSigner(signature_algorithm=self.used, key_resolver=resolver).sign(
            made,
            key_id=self.key,
            created=created,
            nonce=nonce,
            covered_component_ids=covered,
            use_existing_digest=bool(body),
        )
        return made


def code_of(answer: httpx.Response) -> str:
    return "" if answer.status_code < 300 else str(answer.json()["code"])


HOOK = json.dumps({"url": "https://amap.example/hooks", "types": ["settled"]}).encode()


@pytest.mark.parametrize("algorithm", ["ed25519", "hmac-sha256"])
def test_a_signed_request_is_taken_once_and_an_unsigned_one_not(
    home: Home, client: TestClient[Litestar], algorithm: str
) -> None:
    signer = Signer(home, algorithm)
    plain = client.post("/v1/webhooks", content=HOOK, headers=signer.headers)
    assert (plain.status_code, code_of(plain)) == (401, "signature-missing")
    signed = signer.request("POST", "/v1/webhooks", HOOK)
    assert code_of(client.send(signed)) == ""
    assert code_of(client.send(signed)) == "signature-replayed"
    assert code_of(client.send(signer.request("GET", "/v1/webhooks?limit=5", nonce="nonce-0002"))) == ""
    other = by_key(home, "cainiao")
    assert client.get("/v1/webhooks", headers=other).status_code == 200, "nobody asked this partner to sign"


def test_whatever_was_changed_on_the_way_is_refused(home: Home, client: TestClient[Litestar]) -> None:
    signer = Signer(home, "ed25519")

    def sent(request: httpx.Request, *, path: str | None = None, body: bytes | None = None) -> str:
        headers = dict(request.headers)
        for own in ("content-length", "host"):
            headers.pop(own, None)
        changed = httpx.Request(
            request.method,
            BASE + (path or request.url.raw_path.decode()),
            content=body or request.content,
            headers=headers,
        )
        return code_of(client.send(changed))

    assert sent(signer.request("POST", "/v1/webhooks", HOOK), body=HOOK.replace(b"amap", b"evil")) == "signature-wrong"
    assert sent(signer.request("POST", "/v1/webhooks", HOOK), path="/v1/webhooks?partner=amap") == "signature-wrong"
    for wrong in (
        signer.request("POST", "/v1/webhooks", HOOK, created=NOW - timedelta(minutes=6)),
        signer.request("POST", "/v1/webhooks", HOOK, created=NOW + timedelta(minutes=6)),
        signer.request("POST", "/v1/webhooks", HOOK, nonce=None),
        signer.request("POST", "/v1/webhooks", HOOK, nonce="short"),
        signer.request("POST", "/v1/webhooks", HOOK, covered=("@method", "@target-uri")),
        signer.request("POST", "/v1/webhooks", HOOK, covered=("@method", "content-digest")),
        signer.request("POST", "/v1/webhooks", HOOK, base="https://other.example"),
    ):
        assert sent(wrong) == "signature-wrong", wrong.headers["signature-input"]
    stranger = Signer(home, "hmac-sha256")
    stranger.key = signer.key  # signs by another key and says that it is this one
    assert sent(stranger.request("POST", "/v1/webhooks", HOOK)) == "signature-wrong"
    assert sent(signer.request("POST", "/v1/webhooks", HOOK)) == "", "nothing of the refused ones was remembered"
    operator = by_cookie(home, Role.OPERATOR)
    path = f"/v1/partners/amap/signing-keys/{signer.key}"
    assert client.delete(path, headers=operator).json()["revoked_at"]
    assert sent(signer.request("GET", "/v1/webhooks", nonce="nonce-0003")) == "signature-wrong"


def test_behind_a_proxy_the_public_url_is_what_is_signed(
    home: Home, client: TestClient[Litestar], monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = Signer(home, "ed25519")
    made = signer.request("GET", "/v1/webhooks", base="https://api.city.example")
    inside = httpx.Request("GET", f"{BASE}/v1/webhooks", headers={**made.headers, "host": "tanzhang.example"})
    assert code_of(client.send(inside)) == "signature-wrong"
    monkeypatch.setenv("TANZHANG_PUBLIC_URL", "https://api.city.example/")
    assert code_of(client.send(inside)) == ""


def test_the_signature_stays_with_the_delivery_and_proves_what_was_sent(
    home: Home, client: TestClient[Litestar]
) -> None:
    signer = Signer(home, "ed25519")
    body = json.dumps(box("b1")).encode()
    made = signer.request("POST", "/v1/reports", body)
    kept = check_signature(home, "amap", SignedRequest("POST", str(made.url), made.headers, body), now=NOW)
    events = [body]
    (answer,) = Receiver(home).receive([Request("amap", events, "k1", body, signature=kept)], now=NOW)
    Receiver(home).receive([Request("cainiao", events, "k1", body)], now=NOW)
    (found,) = client.get("/v1/deliveries?partner=amap&key=k1", headers=by_cookie(home, Role.OPERATOR)).json()["items"]
    assert found["request_sha256"] == hashlib.sha256(body).hexdigest()
    assert found["answer_sha256"] == hashlib.sha256(answer.body).hexdigest()
    said = found["signature"]
    # Anybody with the public key can check it later, without this service.
    public = Ed25519PublicKey.from_public_bytes(signer.private.public_key().public_bytes_raw())
    raw = base64.b64decode(said["signature"].partition("=:")[2].rstrip(":"))
    public.verify(raw, said["signed"].encode())
    digest = base64.b64encode(bytes.fromhex(found["request_sha256"])).decode()
    assert f'"content-digest": sha-256=:{digest}:' in said["signed"]
    other = by_key(home, "cainiao")
    assert client.get(f"/v1/deliveries/{found['id']}", headers=other).json()["code"] == "not-found"
    (own,) = client.get("/v1/deliveries", headers=other).json()["items"]
    assert client.get(f"/v1/deliveries/{own['id']}", headers=other).json()["signature"] is None
    assert client.get("/v1/deliveries/999", headers=other).json()["code"] == "not-found"
    tidy(home, now=NOW)
    assert home.deliveries.row(found["id"]) is not None


@pytest.mark.parametrize(
    "said",
    [
        {"algorithm": "rsa"},
        {"algorithm": "ed25519"},
        {"algorithm": "ed25519", "public_key": "AAAA"},
        {"algorithm": "ed25519", "public_key": "%%%"},
        {"algorithm": "hmac-sha256", "public_key": "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="},
    ],
)
def test_what_cannot_sign_is_no_signing_key(quick: Path, said: dict[str, str]) -> None:
    home = new_home(quick / "home")
    with TestClient(create_app(home, now=lambda: NOW), base_url=BASE) as client:
        path, operator = "/v1/partners/amap/signing-keys", by_cookie(home, Role.OPERATOR)
        assert client.post(path, json=said, headers=operator).json()["code"] == "signing-key-malformed"
        good = client.post(path, json={"algorithm": "hmac-sha256"}, headers=operator).json()
        (listed,) = client.get(path, headers=operator).json()["items"]
        assert ("secret" in good, "secret" in listed, listed["id"]) == (True, False, good["id"])
