"""Partners are told what became of their reports: signed, at least once, and never at an address inside."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from standardwebhooks import Webhook

from tanzhang.api.app import create_app
from tanzhang.core.access import Actor, Role
from tanzhang.service import webhooks as service
from tanzhang.service.intake import intake
from tanzhang.service.outbox import telling
from tanzhang.service.settle import settle
from tanzhang.service.webhooks import RETRIES, deliver_due, register
from tanzhang.stores.home import Home
from tanzhang.stores.outgoing import Outgoing, UnreachableError, check_url, is_public

from ...homes import BOX_MG, assert_verified, box, new_home, on, ride, settle_on, withdrawal, write
from ...postgres import Server
from .callers import NOW, by_cookie, by_key

CONSOLE = Actor(Role.OPERATOR, "root", "command line")
Received = tuple[dict[str, str], bytes]


class Receiver:
    """A partner's server: keeps what it gets, answers what it is told to."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answers: list[int] = []
        self.pause_s = 0.0
        self.drip_s = 0.0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.received.append(({name.lower(): value for name, value in self.headers.items()}, body))
                time.sleep(receiver.pause_s)
                status = receiver.answers.pop(0) if receiver.answers else 204
                if receiver.drip_s:
                    for byte in b"HTTP/1.1 204 No Content\r\n" * 20:
                        self.wfile.write(bytes([byte]))
                        time.sleep(receiver.drip_s)
                self.send_response(status)
                self.send_header("location", "http://127.0.0.1:1/elsewhere")
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hooks"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.received]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


@pytest.fixture(params=["sqlite", "postgresql"])
def home(request: pytest.FixtureRequest, quick: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("TANZHANG_WEBHOOKS_PRIVATE", "1")
    if request.param == "sqlite":
        return new_home(quick / "home")
    server: Server = request.getfixturevalue("postgres")
    return new_home(quick / "home", book=server.address(server.database(), "webhooks"))


@pytest.fixture
def client(home: Home) -> Iterator[TestClient[Litestar]]:
    with TestClient(create_app(home, now=lambda: NOW), base_url="https://tanzhang.example") as client:
        yield client


def hook(home: Home, receiver: Receiver, *types: str, partner: str = "cainiao") -> dict[str, Any]:
    return register(home, partner, receiver.url, types or service.TYPES, actor=CONSOLE, now=NOW)


def test_what_a_batch_decided_is_told_to_each_partner_with_counts_and_a_link_and_no_person(
    home: Home, receiver: Receiver, client: TestClient[Litestar], quick: Path
) -> None:
    hook(home, receiver)
    hook(home, receiver, "settled", partner="amap")
    events = [box("b1"), box("b2", number="YT-b1"), box("b3"), withdrawal(box("b3"), "undo"), ride("r1")]
    intake(home, write(quick / "a.ndjson", events), now=on(6))
    settle_on(home, 12)
    assert deliver_due(home, on(12)) == 4
    assert deliver_due(home, on(12)) == 0, "once is enough"
    told = {(each["data"]["partner"], each["type"]): each["data"] for each in receiver.bodies()}
    assert set(told) == {
        ("amap", "settled"), ("cainiao", "settled"), ("cainiao", "duplicate"), ("cainiao", "withdrawn")
    }  # fmt: skip
    settled = told["cainiao", "settled"]
    assert (settled["batch"], settled["records"], settled["mg"]) == ("0", "4", {"reduction": str(BOX_MG)})
    assert told["cainiao", "duplicate"]["outcomes"] == {"duplicate_of": "1"}
    text = b"".join(body for _, body in receiver.received)
    assert b"anna" not in text
    assert b"b1" not in text
    rows = client.get(settled["rows"], headers=by_key(home, "cainiao")).json()["items"]
    assert len(rows) == int(settled["records"])
    assert sum(int(row["granted_mg"]) - int(row["reversed_mg"]) for row in rows) == BOX_MG
    twice = client.get(told["cainiao", "duplicate"]["rows"], headers=by_key(home, "cainiao")).json()["items"]
    assert [row["outcome"] for row in twice] == ["duplicate_of"]
    assert twice[0]["related"] in {row["action"] for row in rows}
    assert client.get(settled["rows"], headers=by_key(home, "amap")).json()["items"] != rows
    assert_verified(home)


def test_rows_of_a_batch_come_page_by_page(home: Home, client: TestClient[Litestar], quick: Path) -> None:
    intake(home, write(quick / "a.ndjson", [box(f"b{n}") for n in range(5)] + [box("b1")]), now=on(6))
    settle_on(home, 12)
    headers, asked, found = by_key(home, "cainiao"), {"limit": "2"}, []
    while True:
        page = client.get("/v1/batches/0/rows", params=asked, headers=headers).json()
        found += page["items"]
        if page["next"] is None:
            break
        asked["cursor"] = page["next"]
    assert len(found) == 6
    assert len({row["action"] for row in found}) == 5
    assert [row["key"] for row in found] == sorted(row["key"] for row in found)
    assert client.get("/v1/batches/9/rows", headers=headers).json()["code"] == "not-found"
    assert client.get("/v1/batches/0/rows?outcome=lost", headers=headers).json()["code"] == "outcome-unknown"


def test_a_settlement_that_does_not_commit_tells_nothing(
    home: Home, receiver: Receiver, quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook(home, receiver)
    intake(home, write(quick / "a.ndjson", [box("b1")]), now=on(6))
    real = home.webhooks.tell

    def breaks(*arguments: Any) -> None:
        real(*arguments)
        raise RuntimeError("the process dies here")

    with monkeypatch.context() as patch:
        patch.setattr(home.webhooks, "tell", breaks)
        with pytest.raises(RuntimeError):
            settle(home, now=on(12))
    assert deliver_due(home, on(12)) == 0
    settle_on(home, 12)
    assert deliver_due(home, on(12)) == 1
    assert_verified(home)


def test_messages_are_signed_so_that_the_library_of_the_standard_accepts_them_and_nothing_else(
    home: Home, receiver: Receiver
) -> None:
    now = datetime.now(UTC)  # the library asks the clock
    made = hook(home, receiver)
    service.test_message(home, made["id"], now=now)
    deliver_due(home, now)
    ((headers, body),) = receiver.received
    said = Webhook(made["secret"]).verify(body, headers)
    assert (said["type"], headers["webhook-id"][:4]) == ("test", "msg_")
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(made["secret"]).verify(body.replace(b"cainiao", b"cainia0"), headers)
    newer = service.new_secret(home, made["id"], actor=CONSOLE, now=now)["secret"]
    assert newer != made["secret"]
    service.test_message(home, made["id"], now=now)
    deliver_due(home, now)
    headers, body = receiver.received[1]
    for secret in (made["secret"], newer):
        Webhook(secret).verify(body, headers)
    later = now + timedelta(days=2)
    service.test_message(home, made["id"], now=later)
    deliver_due(home, later)
    assert len(receiver.received[2][0]["webhook-signature"].split()) == 1


def test_what_fails_is_tried_again_later_and_later_and_then_given_up(home: Home, receiver: Receiver) -> None:
    made, now = hook(home, receiver), NOW
    service.test_message(home, made["id"], now=now)
    receiver.answers = [500, 302, *[503] * (len(RETRIES) - 1)]
    for number, pause in enumerate(RETRIES, start=1):
        assert deliver_due(home, now) == 1, number
        assert deliver_due(home, now + pause * 0.89) == 0
        now += pause * 1.11
    assert deliver_due(home, now) == 1
    assert deliver_due(home, now + timedelta(days=9)) == 0
    (log,) = service.deliveries(home, made["id"], None, 5)
    assert (log["state"], log["due_at"]) == ("given up", None)
    assert [each["status"] for each in log["attempts"]][:3] == [500, 302, 503]
    assert len(receiver.received) == len(RETRIES) + 1, "no redirect was followed"
    assert len({headers["webhook-id"] for headers, _ in receiver.received}) == 1
    assert service.replay(home, made["id"], message=log["id"], now=now) == 1
    assert deliver_due(home, now) == 1
    assert service.deliveries(home, made["id"], None, 5)[0]["state"] == "delivered"


def test_a_receiver_that_is_gone_gets_nothing_more(home: Home, receiver: Receiver) -> None:
    made = hook(home, receiver)
    service.test_message(home, made["id"], now=NOW)
    receiver.answers = [410]
    deliver_due(home, NOW)
    row = service.webhook_named(home, made["id"])
    assert "410" in row.disabled_why
    with pytest.raises(Exception, match="webhook-disabled"):
        service.test_message(home, made["id"], now=NOW)
    with home.book.transaction() as con:
        telling(home, "linked", "cainiao", {"accounts": "1"}, now=NOW)(con)
    assert deliver_due(home, NOW + timedelta(days=1)) == 0


def test_a_slow_receiver_holds_nobody_up_for_longer_than_was_said(home: Home, receiver: Receiver) -> None:
    made = hook(home, receiver)
    for pause_s, drip_s in ((2.0, 0.0), (0.0, 0.05)):
        receiver.pause_s, receiver.drip_s = pause_s, drip_s
        service.test_message(home, made["id"], now=NOW)
        started = time.monotonic()
        assert deliver_due(home, NOW, Outgoing(longest_s=0.4)) == 1
        assert time.monotonic() - started < 1.9
    newest, _ = service.deliveries(home, made["id"], None, 5)
    assert (newest["state"], newest["attempts"][0]["error"]) == ("waiting", "no answer within 0.4 s")


def test_a_process_that_died_while_sending_loses_no_message(home: Home, receiver: Receiver) -> None:
    made = hook(home, receiver)
    service.test_message(home, made["id"], now=NOW)

    class Dies(Outgoing):
        def post(self, *_: Any) -> int:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deliver_due(home, NOW, Dies())
    assert deliver_due(Home(home.folder), NOW) == 0, "another one does not send what is being sent"
    assert deliver_due(Home(home.folder), NOW + service.CLAIMED) == 1
    assert len(receiver.received) == 1


def test_processes_that_deliver_at_once_send_each_message_once(home: Home, receiver: Receiver) -> None:
    names = [hook(home, receiver)["id"] for _ in range(3)]
    messages = [service.test_message(home, name, now=NOW) for name in names for _ in range(12)]
    receiver.pause_s = 0.005

    def deliver(own: Home) -> int:
        tried = 0
        while found := deliver_due(own, NOW):
            tried += found
        return tried

    with ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(deliver, [home, Home(home.folder)])) == len(messages)
    assert sorted(headers["webhook-id"] for headers, _ in receiver.received) == sorted(messages)


def test_old_messages_are_forgotten_and_waiting_ones_not(home: Home, receiver: Receiver) -> None:
    made = hook(home, receiver)
    service.test_message(home, made["id"], now=NOW)
    deliver_due(home, NOW)
    service.test_message(home, made["id"], now=NOW)
    receiver.answers = [500]
    deliver_due(home, NOW + service.KEPT + timedelta(days=1))
    (left,) = service.deliveries(home, made["id"], None, 5)
    assert left["state"] == "waiting"


def test_a_partner_manages_its_own_webhooks_over_http(
    home: Home, receiver: Receiver, client: TestClient[Litestar]
) -> None:
    headers = by_key(home, "cainiao", ["webhooks"])
    said = {"url": receiver.url, "types": ["settled", "linked"]}
    made = client.post("/v1/webhooks", json=said, headers=headers)
    assert made.status_code == 201
    assert made.json()["secret"].startswith("whsec_")
    path = f"/v1/webhooks/{made.json()['id']}"
    (listed,) = client.get("/v1/webhooks", headers=headers).json()["items"]
    assert (listed["types"], "secret" in listed) == (["linked", "settled"], False)
    assert client.post("/v1/webhooks", json=said, headers=by_key(home, "amap", ["report"])).status_code == 403
    for other in ("amap",):
        assert client.get(f"{path}/deliveries", headers=by_key(home, other)).json()["code"] == "not-found"
    message = client.post(f"{path}/test", headers=headers).json()["message"]
    with home.book.transaction() as con:
        telling(home, "linked", "cainiao", {"accounts": "1"}, now=NOW)(con)
        telling(home, "redeemed", "cainiao", {"points": "1"}, now=NOW)(con)  # nobody asked for this type
    assert deliver_due(home, NOW) == 2
    first = client.get(f"{path}/deliveries?limit=1", headers=headers).json()
    rest = client.get(f"{path}/deliveries", params={"cursor": first["next"]}, headers=headers).json()
    assert [each["type"] for each in (*first["items"], *rest["items"])] == ["linked", "test"]
    assert rest["items"][0]["attempts"][0]["status"] == 204
    assert client.post(f"{path}/replay", json={"message": message}, headers=headers).json() == {"messages": "1"}
    since = {"since": (NOW - timedelta(days=1)).isoformat()}
    assert client.post(f"{path}/replay", json=since, headers=headers).json() == {"messages": "2"}
    for wrong in ({}, {"message": "msg_1", **since}, {"message": "msg_999"}, {"message": "x"}):
        assert client.post(f"{path}/replay", json=wrong, headers=headers).status_code in (400, 404)
    assert client.post(f"{path}/secret", headers=headers).json()["secret"] != made.json()["secret"]
    assert client.delete(path, headers=headers).json()["disabled_at"]
    assert deliver_due(home, NOW + timedelta(days=1)) == 0
    assert client.post(f"{path}/test", headers=headers).json()["code"] == "webhook-disabled"
    for wrong_types in ([], ["settled", "everything"]):
        refused = client.post("/v1/webhooks", json={**said, "types": wrong_types}, headers=headers)
        assert refused.json()["code"] == "type-unknown"
    analyst = by_cookie(home, Role.ENTERPRISE, partner="cainiao")
    assert client.get("/v1/webhooks", headers=analyst).status_code == 200
    assert client.post("/v1/webhooks", json=said, headers=analyst).json()["code"] == "not-allowed"


def test_a_partner_has_only_so_many_webhooks(home: Home, receiver: Receiver) -> None:
    for _ in range(service.MOST_OF_A_PARTNER):
        hook(home, receiver, "settled")
    with pytest.raises(Exception, match="too-many-webhooks"):
        hook(home, receiver, "settled")
    hook(home, receiver, "settled", partner="amap")


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/", "ftp://example.com/", "https://", "https://user:pass@example.com/", "https://10.0.0.1/",
        "https://127.0.0.1/", "https://[::1]/", "https://[::ffff:10.0.0.1]/", "https://169.254.169.254/latest",
        "https://localhost/", "https://db.internal/", "https://example.com/#x", "https://exa mple.com/",
        "https://[64:ff9b::a00:1]/", "https://example.com:99999/", "https://例子.测试/", "https://100.64.0.1/",
        "https://224.0.0.1/", "https://0.0.0.0/", "https://[fe80::1]/", "https://" + "a" * 2_000,
    ],
)  # fmt: skip
def test_nothing_is_registered_at_an_address_inside(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TANZHANG_WEBHOOKS_PRIVATE", raising=False)
    with pytest.raises(Exception, match="url-refused"):
        check_url(url, where="#/url")
    check_url("https://example.com:8443/hooks?x=1", where="#/url")


def test_a_name_that_leads_inside_is_not_connected_to(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    port = receiver.server.server_port
    resolved: list[str] = []
    real = socket.getaddrinfo

    def resolve(host: Any, *rest: Any, **more: Any) -> Any:
        resolved.append(host)
        return real("127.0.0.1", *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    guarded = Outgoing(private=False)
    with pytest.raises(UnreachableError, match="not public"):
        guarded.post(f"https://rebinding.example:{port}/", b"{}", {})
    assert resolved == ["rebinding.example"]
    with pytest.raises(UnreachableError, match="not https"):
        guarded.post(receiver.url, b"{}", {})
    assert receiver.received == []
    monkeypatch.undo()
    assert Outgoing(private=True).post(receiver.url, b"{}", {}) == 204
    with pytest.raises(UnreachableError):
        Outgoing(private=True).post("http://127.0.0.1:1/", b"{}", {})
    assert [is_public(each) for each in ("8.8.8.8", "2001:4860:4860::8888", "192.168.1.1", "2002:a00:1::")] == [
        True, True, False, False
    ]  # fmt: skip
