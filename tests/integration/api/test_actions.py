"""Partners report acts over HTTP: one, many, packed, twice; what they are told, and what is kept."""

from __future__ import annotations

import gzip
import io
import json
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from litestar import Litestar
from litestar.testing import TestClient

from tanzhang.api.app import create_app
from tanzhang.service.access import issue_key
from tanzhang.service.receive import MOST_ROWS
from tanzhang.stores.home import Home
from tanzhang.stores.register.deliveries import delivery, inbox

from ...homes import BOX_MG, METRO_MG_PER_M, Event, assert_verified, balance, box, ride, settle_on
from .conftest import NOW, bearer, partner

Client = TestClient[Litestar]
BATCH = "/v1/actions:batch"


def post(client: Client, home: Home, event: Event | bytes, name: str = "cainiao", **headers: str) -> Any:
    content = event if isinstance(event, bytes) else json.dumps(event).encode()
    sent = {"content-type": "application/cloudevents+json", **partner(home, name)}
    return client.post("/v1/actions", content=content, headers={**sent, **headers})


def send(client: Client, home: Home, content: bytes, kind: str, name: str = "cainiao", **headers: str) -> Any:
    sent = {"content-type": kind, **partner(home, name), **headers}
    return client.post(BATCH, content=content, headers=sent)


def lines(events: Sequence[Event]) -> bytes:
    return "".join(f"{json.dumps(event)}\n" for event in events).encode()


def kept(home: Home) -> int:
    return sum(row.accepted for row in home.book.query(sa.select(inbox)))


def test_one_act_is_answered_with_its_verdict_once_it_is_kept(client: Client, home: Home) -> None:
    answer = post(client, home, ride("r1"), "amap")
    assert answer.status_code == 202
    verdict = answer.json()
    assert (verdict["id"], verdict["verdict"]) == ("r1", "accepted")
    assert verdict["quantified_mg"] == str(10_000 * METRO_MG_PER_M)
    assert kept(home) == 1
    settle_on(home, 9)
    assert balance(home, "amap", "anna") == 10_000 * METRO_MG_PER_M
    assert_verified(home)


def test_one_act_with_mistakes_is_refused_with_all_of_them_and_their_places(client: Client, home: Home) -> None:
    wrong = {**ride("r1", distance_m=-5), "subject": "", "source": "nobody"}
    answer = post(client, home, wrong, "amap")
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    found = {(each["code"], each["pointer"]) for each in answer.json()["errors"]}
    assert {("missing-field", "#/subject"), ("partner-mismatch", "#/source")} <= found
    assert ("out-of-range", "#/data/distance_m") in found
    assert all(each["remedy"] for each in answer.json()["errors"])
    assert kept(home) == 0


@pytest.mark.parametrize(
    ("content", "kind", "code", "status"),
    [
        (b"[]", "application/json", "request-malformed", 400),
        (b"{", "application/json", "request-malformed", 400),
        (b"", "application/json", "request-malformed", 400),
        (b"{}", "text/plain", "media-type-unknown", 415),
    ],
)
def test_what_is_no_single_event_is_refused_whole(
    client: Client, home: Home, content: bytes, kind: str, code: str, status: int
) -> None:
    answer = post(client, home, content, **{"content-type": kind})
    assert (answer.json()["code"], answer.status_code) == (code, status)


def test_a_batch_of_any_format_gets_the_same_verdicts(client: Client, home: Home) -> None:
    events = [ride("r1"), {**ride("r2"), "time": "yesterday"}, ride("r3", hour=11)]
    flat = [
        {**{name: each[name] for name in ("id", "source", "type", "subject", "time")}, **each["data"]}
        for each in events
    ]
    table = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(flat), table)
    names = list(flat[0])
    text = ",".join(names) + "\n\n" + "".join(",".join(str(row[name]) for name in names) + "\n" for row in flat)
    bodies = {
        "application/cloudevents-batch+json": json.dumps(events).encode(),
        "application/json": json.dumps(events).encode(),
        "application/x-ndjson": lines(events).replace(b"\n", b"\n\n", 1),
        "text/csv; charset=utf-8": text.encode(),
        "application/vnd.apache.parquet": table.getvalue(),
    }
    found = []
    for kind, content in bodies.items():
        answer = send(client, home, content, kind, "amap")
        assert answer.status_code == 202, (kind, answer.text)
        found.append(answer.json())
    assert [(row["position"], row["id"], row["verdict"]) for row in found[0]["verdicts"]] == [
        (1, "r1", "accepted"),
        (2, "r2", "refused"),
        (3, "r3", "accepted"),
    ]
    assert all(each == found[0] for each in found)
    settle_on(home, 9)
    assert balance(home, "amap", "anna") == 20_000 * METRO_MG_PER_M
    assert_verified(home)


@pytest.mark.parametrize(
    ("content", "kind", "code", "status"),
    [
        (b"", "application/x-ndjson", "no-rows", 422),
        (b"[{},", "application/json", "request-malformed", 400),
        (b"id,shoe_size\n1,2\n", "text/csv", "unknown-column", 422),
        (b"PAR1", "application/vnd.apache.parquet", "request-malformed", 400),
        (b"{}\n" * (MOST_ROWS + 1), "application/x-ndjson", "too-many-rows", 413),
        (b"id\n" + b"x\n" * (MOST_ROWS + 1), "text/csv", "too-many-rows", 413),
        (b"x", "application/xml", "media-type-unknown", 415),
    ],
)
def test_what_cannot_be_taken_as_a_batch_is_refused_whole_and_names_no_file_of_ours(
    client: Client, home: Home, content: bytes, kind: str, code: str, status: int
) -> None:
    answer = send(client, home, content, kind)
    assert (answer.json()["code"], answer.status_code) == (code, status)
    assert "tmp" not in answer.text
    assert kept(home) == 0


def test_a_parquet_body_whose_texts_would_not_fit_is_refused_before_it_is_read(client: Client, home: Home) -> None:
    rows = 10_000
    table = pa.table({"id": pa.array(["x" * 100_000] * rows).dictionary_encode()})
    body = io.BytesIO()
    pq.write_table(table, body)
    assert len(body.getvalue()) < 1_000_000
    answer = send(client, home, body.getvalue(), "application/vnd.apache.parquet")
    assert (answer.json()["code"], answer.status_code) == ("body-too-large", 413)


def test_a_packed_body_is_unpacked_but_not_without_end(client: Client, home: Home) -> None:
    packed = gzip.compress(lines([box("b1")])) + gzip.compress(lines([box("b2")]))
    answer = send(client, home, packed, "application/x-ndjson", **{"content-encoding": "gzip"})
    assert answer.json()["accepted"] == 2
    for content, encoding, code in (
        (gzip.compress(bytes(65 << 20)), "gzip", "body-too-large"),
        (packed[:-9], "gzip", "request-malformed"),
        (b"plain", "gzip", "request-malformed"),
        (packed, "br", "media-type-unknown"),
    ):
        answer = send(client, home, content, "application/x-ndjson", **{"content-encoding": encoding})
        assert answer.json()["code"] == code


def test_a_rehearsal_says_the_same_and_keeps_nothing(client: Client, home: Home) -> None:
    for path, content in (("/v1/actions", lines([box("b1")])), (BATCH, lines([box("b1"), {}]))):
        headers = {"content-type": "application/json" if path != BATCH else "application/x-ndjson", **partner(home)}
        dry = client.post(path, params={"dry_run": "true"}, content=content, headers=headers)
        assert dry.status_code == 200
        assert kept(home) == 0
        real = client.post(path, content=content, headers=headers)
        assert real.status_code == 202
        assert real.json() == dry.json()
        with home.book.transaction() as con:
            con.execute(inbox.delete())


def test_a_retry_with_its_key_gets_the_first_answer_from_any_process(client: Client, home: Home) -> None:
    key = {"idempotency-key": '"a-key"'}
    first = post(client, home, box("b1"), **key)
    with TestClient(create_app(Home(home.folder), now=lambda: NOW), base_url="https://tanzhang.example") as other:
        again = post(other, home, box("b1"), **{"idempotency-key": "a-key"})
        reused = post(other, home, box("b2"), **key)
    assert (again.status_code, again.content) == (202, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert (reused.status_code, reused.json()["code"]) == (422, "idempotency-key-reused")
    refused = [post(client, home, {**box("b3"), "time": "x"}, **{"idempotency-key": "k3"}) for _ in range(2)]
    assert [each.status_code for each in refused] == [422, 422]
    assert refused[0].content == refused[1].content
    assert refused[1].headers["idempotency-replayed"] == "true"
    assert kept(home) == 1
    for wrong in ("", '""', "x" * 256, "naïve"):
        malformed = post(client, home, box("b4"), **{"idempotency-key": wrong.encode()})  # type: ignore[arg-type]
        assert malformed.json()["code"] == "idempotency-key-malformed", wrong


def test_the_same_key_at_once_keeps_one_request_and_answers_all(client: Client, home: Home) -> None:
    headers = {"content-type": "application/json", "idempotency-key": "k", **partner(home)}
    content = json.dumps(box("b1")).encode()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.post("/v1/actions", content=content, headers=headers), range(16)))
    assert {(each.status_code, each.content) for each in answers} == {(202, answers[0].content)}
    assert sum("idempotency-replayed" in each.headers for each in answers) == 15
    assert kept(home) == 1


def test_requests_that_wait_at_one_moment_are_kept_in_one_transaction(
    client: Client, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go = threading.Event(), threading.Event()
    real = home.deliveries.keep

    def slowly(*arguments: Any) -> Any:
        began.set()
        assert go.wait(10)
        return real(*arguments)

    monkeypatch.setattr(home.deliveries, "keep", slowly)
    headers = {"content-type": "application/json", **partner(home)}
    with ThreadPoolExecutor(9) as pool:

        def report(number: int) -> Any:
            return client.post("/v1/actions", content=json.dumps(box(f"b{number}")), headers=headers)

        first = pool.submit(report, 0)
        assert began.wait(10)
        others = [pool.submit(report, number) for number in range(1, 9)]
        reception = client.app.state.reception
        while reception.load[0] < 9:
            assert not first.done()
        go.set()
        answers = [each.result() for each in (first, *others)]
    assert {each.status_code for each in answers} == {202}
    groups = home.book.query(sa.select(delivery.c.inbox, sa.func.count().label("n")).group_by(delivery.c.inbox))
    assert sorted(row.n for row in groups) == [1, 8]
    settle_on(home, 9)
    assert balance(home, "cainiao", "anna") == 9 * BOX_MG


def test_only_keys_for_reports_may_report(client: Client, home: Home) -> None:
    other = issue_key(home, "cainiao", ["ledger"], now=NOW)["key"]
    assert client.post("/v1/actions", content=b"{}", headers=bearer(other)).json()["code"] == "scope-missing"
    assert client.post(BATCH, content=b"{}").json()["code"] == "not-signed-in"
