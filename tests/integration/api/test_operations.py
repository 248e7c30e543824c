"""What an operator sees of the service: lines of its log, numbers, spans; and that nothing personal is in them."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from litestar import Litestar, get
from litestar.params import FromPath
from litestar.testing import TestClient
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tanzhang.api.access import EVERYBODY, allow
from tanzhang.api.app import create_app
from tanzhang.api.logs import start_logging
from tanzhang.api.observing import watch_service
from tanzhang.api.routes.metrics import TOKEN_VARIABLE
from tanzhang.api.traces import trace_by
from tanzhang.core.access import Role, Scope
from tanzhang.service import observe
from tanzhang.service.access import csrf_token, issue_key, open_session
from tanzhang.service.intake import intake
from tanzhang.service.receive import Receiver, Request
from tanzhang.stores.home import Home

from ...homes import box, new_home, on, settle_on, write

NOW = on(9)
TOKEN = "a token for the metrics"  # noqa: S105 - of a test


@get("/secret-of/{person:str}", opt=allow(Role.PARTNER, scope=Scope.LEDGER), sync_to_thread=True)
def failing(person: FromPath[str]) -> str:
    raise ValueError(f"nobody may read of {person}")


@get("/logged", opt=EVERYBODY, sync_to_thread=True)
def logged() -> str:
    structlog.stdlib.get_logger("tanzhang.test").info("from a thread")
    return "done"


@pytest.fixture
def client(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient[Litestar]]:
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    app = create_app(home, now=lambda: NOW, also=[failing, logged])
    with TestClient(app, base_url="https://tanzhang.example", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    start_logging(stream)
    yield stream
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def said(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_each_request_is_one_line_that_names_its_route_and_never_what_was_asked(
    home: Home, client: TestClient[Litestar], lines: io.StringIO
) -> None:
    key = issue_key(home, "cainiao", ["report"], now=NOW)
    client.get("/log/entries/0?note=anna", headers={"authorization": f"Bearer {key['key']}"})
    client.get("/nowhere/anna")
    client.get("/healthz")
    first, second = said(lines)
    assert first["event"] == second["event"] == "request"
    assert (first["route"], first["status"], first["method"]) == ("/log/entries/{index}", 200, "GET")
    assert (first["role"], first["partner"], first["key"]) == ("partner", "cainiao", key["id"])
    assert (second["route"], second["status"]) == ("unmatched", 404)
    assert first["duration_ms"] > 0
    assert "anna" not in lines.getvalue()
    assert key["key"] not in lines.getvalue()


def test_a_request_keeps_the_id_it_brings_and_gets_one_otherwise(
    client: TestClient[Litestar], lines: io.StringIO
) -> None:
    assert client.get("/logged", headers={"x-request-id": "from-proxy.1"}).headers["x-request-id"] == "from-proxy.1"
    other = client.get("/nowhere", headers={"x-request-id": 'a"b c'}).headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", other)
    assert [each["request_id"] for each in said(lines)] == ["from-proxy.1", "from-proxy.1", other]
    assert said(lines)[0]["event"] == "from a thread"


def test_a_bug_is_logged_by_its_place_and_not_by_its_words(
    home: Home, client: TestClient[Litestar], lines: io.StringIO
) -> None:
    key = issue_key(home, "cainiao", ["ledger"], now=NOW)["key"]
    answer = client.get("/secret-of/anna", headers={"authorization": f"Bearer {key}"})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal-error")
    error = next(each for each in said(lines) if each["level"] == "error")
    assert error["error"] == "builtins.ValueError"
    assert any(place.endswith(" failing") and "test_operations.py" in place for place in error["at"])
    assert error["request_id"] == answer.headers["x-request-id"]
    assert "anna" not in lines.getvalue()


def numbers(client: TestClient[Litestar], headers: dict[str, str] | None = None) -> dict[str, float]:
    answer = client.get("/metrics", headers=headers or {"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain")
    found = [line.rpartition(" ") for line in answer.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in found}


def test_the_metrics_are_for_the_operator_and_for_who_has_their_token(home: Home, client: TestClient[Litestar]) -> None:
    assert client.get("/metrics").json()["code"] == "not-signed-in"
    assert client.get("/metrics", headers={"authorization": "Bearer wrong"}).status_code == 401
    partner = issue_key(home, "cainiao", Scope, now=NOW)["key"]
    assert client.get("/metrics", headers={"authorization": f"Bearer {partner}"}).json()["code"] == "not-allowed"
    token = open_session(home, Role.OPERATOR, "staff", now=NOW)
    operator = {"cookie": f"__Host-tanzhang={token}", "x-csrf-token": csrf_token(token)}
    assert numbers(client, operator)["tanzhang_home_up"] == 1


def test_without_a_token_in_the_environment_no_token_opens_the_metrics(home: Home) -> None:
    with TestClient(create_app(home, now=lambda: NOW)) as client:
        for sent in ("", "None", TOKEN):
            assert client.get("/metrics", headers={"authorization": f"Bearer {sent}"}).status_code == 401


def test_figures_follow_reports_from_the_inbox_to_the_log(
    home: Home, client: TestClient[Litestar], quick: Path
) -> None:
    at_first = numbers(client)
    assert at_first["tanzhang_log_size"] == 1
    assert "tanzhang_last_batch_timestamp_seconds" not in at_first
    events = [json.dumps(box(f"r{n}", f"p{n}")).encode() for n in range(3)]
    Receiver(home).receive([Request("cainiao", events)], now=on(5, 20))
    received = numbers(client)
    assert (received["tanzhang_inbox_groups"], received["tanzhang_inbox_reports"]) == (1, 3)
    intake(home, write(quick / "file.ndjson", [box("f1")]), now=on(5, 20))
    waiting = numbers(client)
    assert (waiting["tanzhang_open_reports"], waiting["tanzhang_settlement_age_days"]) == (1, 4)
    settle_on(home, 9)
    settled = numbers(client)
    names = ("inbox_reports", "open_reports", "settlement_age_days", "batches", "log_size", "log_waiting")
    assert [settled[f"tanzhang_{name}"] for name in names] == [0, 0, 0, 1, 2, 0]
    assert settled["tanzhang_last_batch_timestamp_seconds"] == on(9).timestamp()
    assert settled["tanzhang_book_bytes"] > 0


def test_requests_and_rows_are_counted_by_route_and_code(home: Home, client: TestClient[Litestar]) -> None:
    watch_service()
    try:
        before = numbers(client)
        events = [json.dumps(each).encode() for each in (box("a"), {**box("b"), "type": "use.nothing"}, {})]
        Receiver(home).receive([Request("cainiao", events, key="k")], now=NOW)
        Receiver(home).receive([Request("cainiao", events, key="k")], now=NOW)
        Receiver(home).receive([Request("cainiao", events)], now=NOW, dry_run=True)
        client.get("/v1/batches/7")
        after = numbers(client)
    finally:
        observe.watch(None)

    def grown(name: str) -> float:
        return after.get(name, 0) - before.get(name, 0)

    assert grown('tanzhang_rows_total{verdict="accepted"}') == 1
    assert grown('tanzhang_rows_total{verdict="refused"}') == 2
    assert grown('tanzhang_refused_rows_total{code="unknown-behaviour"}') == 1
    route = 'method="GET",route="/v1/batches/{number}",status="404"'
    assert grown(f"tanzhang_requests_total{{{route}}}") == 1
    assert grown('tanzhang_step_seconds_count{step="commit"}') == 1


def test_spans_of_steps_lie_below_the_request_that_the_caller_named(
    home: Home, client: TestClient[Litestar], quick: Path
) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace_by(provider)
    watch_service()
    try:
        trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
        client.get("/v1/batches/7", headers={"traceparent": f"00-{trace}-{parent}-01"})
        intake(home, write(quick / "one.ndjson", [box("one")]), now=on(6))
        settle_on(home, 8)
    finally:
        trace_by(None)
        observe.watch(None)
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert set(spans) == {"GET /v1/batches/{number}", "intake", "settle", "seal"}
    request = spans["GET /v1/batches/{number}"]
    assert f"{request.context.trace_id:032x}" == trace
    assert request.parent is not None
    assert f"{request.parent.span_id:016x}" == parent
    assert request.attributes == {
        "http.request.method": "GET",
        "http.route": "/v1/batches/{number}",
        "http.response.status_code": 404,
    }
    assert spans["seal"].parent == spans["settle"].context


class Collector(BaseHTTPRequestHandler):
    """Takes spans as an OpenTelemetry collector does."""

    bodies: list[bytes]

    def do_POST(self) -> None:
        self.bodies.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: Any) -> None: ...


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_two_processes_count_as_one_and_send_their_spans(quick: Path) -> None:
    new_home(quick / "home")
    Collector.bodies = []
    collector = HTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{(port := free_port())}"
    watched = {
        TOKEN_VARIABLE: TOKEN,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }
    command = [sys.executable, "-m", "tanzhang", "serve", "--home", quick / "home", "--port", str(port)]
    with subprocess.Popen([*command, "--workers", "2"], env=os.environ | watched, stderr=subprocess.PIPE) as process:
        try:
            for _ in range(600):
                try:
                    httpx.get(f"{url}/healthz")
                    break
                except httpx.TransportError:
                    time.sleep(0.1)
            for _ in range(20):
                assert httpx.get(f"{url}/v1/epochs").status_code == 200
            answers = {httpx.get(f"{url}/metrics", headers={"authorization": f"Bearer {TOKEN}"}).text for _ in range(4)}
            for answer in answers:
                (line,) = re.findall(r'^tanzhang_requests_total{.*route="/v1/epochs",status="200"} (.*)$', answer, re.M)
                assert float(line) == 20
            for _ in range(300):
                if any(b"/v1/epochs" in body for body in Collector.bodies):
                    break
                time.sleep(0.1)
            else:
                pytest.fail("no span came")
        finally:
            process.terminate()
            process.wait()
            collector.shutdown()
        assert process.stderr is not None
        written = [line for line in process.stderr.read().splitlines() if b"/v1/epochs" in line]
    assert [json.loads(line)["route"] for line in written] == ["/v1/epochs"] * 20
