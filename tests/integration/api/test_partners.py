"""Partners registered, limited and suspended while processes run that take their reports."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from litestar import Litestar
from litestar.testing import TestClient

from tanzhang.api.app import create_app
from tanzhang.core.access import Actor, Role
from tanzhang.core.errors import TanzhangError
from tanzhang.service.intake import intake
from tanzhang.service.partners import add_partner, change_partner, resume_partner, suspend_partner
from tanzhang.service.receive import Answer, Receiver, Request
from tanzhang.stores.home import Home
from tanzhang.stores.register.audit import audit
from tanzhang.stores.register.partners import LOOKED_UP_S, partner_version

from ...homes import ZONE, Event, assert_verified, balance, event, local, new_home, on, ride, settle_on, write
from ...postgres import Server
from .callers import NOW, by_cookie, by_key

OPERATOR = Actor(Role.OPERATOR, "ops", "command line")
METRO: dict[str, Any] = {"id": "metro_co", "name": "Metro Co", "name_zh": "某地铁"}


@pytest.fixture(params=["sqlite", "postgresql"])
def home(request: pytest.FixtureRequest, quick: Path) -> Home:
    if request.param == "sqlite":
        return new_home(quick / "home")
    server: Server = request.getfixturevalue("postgres")
    return new_home(quick / "home", book=server.address(server.database(), "partners"))


@pytest.fixture
def client(home: Home) -> Iterator[TestClient[Litestar]]:
    with TestClient(create_app(home, now=lambda: NOW), base_url="https://tanzhang.example") as client:
        yield client


@pytest.fixture
def operator(home: Home) -> dict[str, str]:
    return by_cookie(home, Role.OPERATOR, "olga")


def send(receiver: Receiver, partner: str, *events: Event, day: int = 8, key: str | None = None) -> Answer:
    (answer,) = receiver.receive([Request(partner, [json.dumps(each).encode() for each in events], key)], now=on(day))
    return answer


def verdicts(answer: Answer) -> list[str]:
    rows = json.loads(answer.body)["verdicts"]
    return [row["verdict"] if row["verdict"] == "accepted" else row["problems"][0]["code"] for row in rows]


def after_a_moment(home: Home) -> None:
    """The next use looks for changes of other processes, as it does by itself after a second."""
    assert LOOKED_UP_S <= 2
    home.partners.look_again()


def test_a_partner_added_in_another_process_may_report_and_is_refused_once_suspended(home: Home) -> None:
    other = Home(home.folder)
    receiver = Receiver(other)
    act = ride("r1", source="metro_co")
    assert verdicts(send(receiver, "metro_co", act)) == ["unknown-partner"]
    add_partner(home, {**METRO, "behaviours": ["travel.metro"]}, actor=OPERATOR, now=NOW)
    after_a_moment(other)
    walk = event("metro_co", "w1", "travel.walking", "anna", local(9), distance_m=900)
    assert verdicts(send(receiver, "metro_co", act, walk)) == ["accepted", "behaviour-not-agreed"]
    suspend_partner(home, "metro_co", "under investigation", actor=OPERATOR, now=NOW)
    after_a_moment(other)
    later = ride("r2", source="metro_co", hour=12)
    assert verdicts(send(receiver, "metro_co", later)) == ["partner-suspended"]
    resume_partner(home, "metro_co", actor=OPERATOR, now=NOW)
    after_a_moment(other)
    assert verdicts(send(receiver, "metro_co", later)) == ["accepted"]
    settle_on(home, 12)
    assert balance(home, "metro_co", "anna") == 2 * 720_000
    assert_verified(home)


def test_a_file_that_was_refused_is_looked_at_anew_once_its_partner_is_known(home: Home, quick: Path) -> None:
    path = write(quick / "a.ndjson", [ride("r1", source="metro_co")])
    assert intake(home, path, now=on(6))["accepted"] == 0
    add_partner(home, METRO, actor=OPERATOR, now=NOW)
    assert intake(home, path, partner="metro_co", now=on(6))["accepted"] == 1
    change_partner(home, "metro_co", {"limits": {"rows_per_s": 5}}, actor=OPERATOR, now=NOW)
    assert intake(home, path, partner="metro_co", now=on(7))["submission"] == 1, "limits are no agreement"


def test_a_partner_may_not_claim_better_evidence_than_was_agreed_whichever_way_it_sends(
    home: Home, quick: Path
) -> None:
    change_partner(home, "amap", {"evidence": "sensed"}, actor=OPERATOR, now=NOW)
    acts = [ride("r1"), ride("r2", hour=11, evidence="sensed"), ride("r3", hour=14, evidence="declared")]
    codes = [row["problems"][0]["code"] for row in refused(send(Receiver(home), "amap", *acts))]
    assert codes[0] == "evidence-not-agreed"
    bulk = send(Receiver(home, few_rows=0), "amap", *acts)
    assert [row["problems"][0]["code"] for row in refused(bulk)] == codes


def refused(answer: Answer) -> list[dict[str, Any]]:
    return [row for row in json.loads(answer.body)["verdicts"] if row["verdict"] == "refused"]


def test_a_day_holds_exactly_as_many_rows_as_the_limit_says_over_all_processes(home: Home, quick: Path) -> None:
    change_partner(home, "amap", {"limits": {"rows_per_day": 3}}, actor=OPERATOR, now=NOW)
    one, two = Receiver(home), Receiver(Home(home.folder))
    first = send(one, "amap", ride("r1"), ride("r2", hour=10), key="k1")
    assert first.error is None
    full = send(two, "amap", ride("r3", hour=12), ride("r4", hour=14), key="k2")
    assert full.error is not None
    assert full.error.code == "daily-limit-reached"
    assert full.error.again_in_s == 14 * 3600, "it is 10 o'clock in Beijing"
    assert send(two, "amap", ride("r1"), ride("r2", hour=10), key="k1").repeated, "a repeat is not counted"
    with pytest.raises(TanzhangError, match="daily-limit-reached"):
        intake(home, write(quick / "f.ndjson", [ride("f1"), ride("f2")]), partner="amap", now=on(8))
    assert send(one, "amap", ride("r3", hour=12), key="k3").error is None
    assert send(one, "amap", ride("r5", hour=16)).error is not None
    assert send(one, "amap", ride("r5", hour=16), day=9).error is None, "another day"
    assert home.partners.sent("amap", "2025-06-08") == 3
    # What came in beside a refused one is gathered with its own places.
    change_partner(home, "amap", {"limits": {"rows_per_day": 5}}, actor=OPERATOR, now=NOW)
    many = [
        Request("amap", [json.dumps(ride(name, hour=hour)).encode()] * count)
        for name, hour, count in (("a", 17, 1), ("b", 18, 4), ("c", 19, 1))
    ]
    answers = one.receive(many, now=on(8))
    assert [answer.error and answer.error.code for answer in answers] == [None, "daily-limit-reached", None]
    settle_on(home, 12)
    assert balance(home, "amap", "anna") == 6 * 720_000
    assert_verified(home)


def test_rows_and_requests_beyond_the_rate_wait(home: Home, client: TestClient[Litestar]) -> None:
    change_partner(home, "amap", {"limits": {"rows_per_s": 1}}, actor=OPERATOR, now=NOW)
    receiver = Receiver(home)
    assert send(receiver, "amap", *(ride(f"r{n}", minute=n) for n in range(40))).error is None
    error = send(receiver, "amap", ride("late", hour=20)).error
    assert error is not None
    assert error.code == "too-many-requests"
    assert send(receiver, "cainiao", ride("x", source="cainiao")).error is None, "another partner's bucket"
    change_partner(home, "amap", {"limits": {"requests_per_s": 1}}, actor=OPERATOR, now=NOW)
    headers = by_key(home, "amap")
    answers = [client.get("/v1/partners/amap", headers=headers) for _ in range(12)]
    assert [answer.status_code for answer in answers[:5]] == [200] * 5
    last = answers[-1]
    assert (last.status_code, last.json()["code"]) == (429, "too-many-requests")
    assert last.headers["retry-after"] == "1"  # one a second, by the second


def test_a_refusal_is_answered_with_the_seconds_that_are_left_of_it(home: Home, client: TestClient[Litestar]) -> None:
    change_partner(home, "amap", {"limits": {"rows_per_day": 1}}, actor=OPERATOR, now=NOW)
    headers = {**by_key(home, "amap"), "content-type": "application/cloudevents+json"}
    answers = [client.post("/v1/actions", content=json.dumps(ride(f"r{n}")), headers=headers) for n in range(2)]
    assert [answer.status_code for answer in answers] == [202, 429]
    midnight = datetime(2025, 6, 9, tzinfo=ZONE)
    assert answers[1].headers["retry-after"] == str(int((midnight - NOW).total_seconds()))
    begun = {"name": "a", "size": 5, "sha256": "ab" * 32, "content_type": "text/csv"}
    sent = [client.post("/v1/uploads", json=begun, headers=headers) for _ in range(11)]
    assert (sent[-1].status_code, sent[-1].json()["code"]) == (429, "too-many-uploads")
    assert sent[-1].headers["retry-after"] == "86400"  # the first of them ends then


def test_the_operator_registers_changes_and_suspends_and_the_trail_says_so(
    home: Home, client: TestClient[Litestar], operator: dict[str, str]
) -> None:
    said = {**METRO, "limits": {"rows_per_day": 9}, "contract": {"also_serves": ["gd-pht"], "from": "2025-01-01"}}
    made = client.post("/v1/partners", json=said, headers=operator)
    assert (made.status_code, made.headers["etag"], made.json()["version"]) == (201, '"1"', 1)
    assert made.json()["contract"] == {"also_serves": ["gd-pht"], "from": "2025-01-01", "until": None}
    assert client.post("/v1/partners", json=said, headers=operator).json()["code"] == "partner-exists"
    path = "/v1/partners/metro_co"
    shown = client.get(path, headers=operator)
    assert shown.json()["rows_today"] == "0"
    assert client.get(path, headers={**operator, "if-none-match": shown.headers["etag"]}).status_code == 304
    changed = client.patch(path, json={"signed": False, "evidence": "sensed"}, headers={**operator, "if-match": '"1"'})
    assert changed.json()["evidence"] == "sensed"
    assert changed.json()["limits"]["rows_per_day"] == 9
    stale = client.patch(path, json={"evidence": None}, headers={**operator, "if-match": '"1"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "partner-changed")
    key = by_key(home, "metro_co")
    assert client.get(path, headers=key).status_code == 200
    assert client.get("/v1/partners/amap", headers=key).json()["code"] == "not-allowed"
    assert (
        client.post(f"{path}/suspend", json={"reason": "a dispute"}, headers=operator).json()["suspended"]
        == "a dispute"
    )
    client.app.state.recogniser.forget()
    refused = client.get(path, headers=key)
    assert (refused.status_code, refused.json()["code"]) == (403, "partner-suspended")
    assert client.post(f"{path}/resume", headers=operator).json()["version"] == 4
    versions = client.get(f"{path}/history?limit=3", headers=operator).json()
    assert [each["version"] for each in versions["items"]] == [4, 3, 2]
    rest = client.get(f"{path}/history", params={"cursor": versions["next"]}, headers=operator).json()
    assert [(each["version"], each["actor"], each["role"]) for each in rest["items"]] == [(1, "olga", "operator")]
    assert rest["next"] is None
    trail = client.get("/v1/audit", headers=by_cookie(home, Role.AUDITOR)).json()["items"]
    assert [each["act"] for each in trail[:4]] == [
        "partner resumed", "partner suspended", "partner changed", "partner added"
    ]  # fmt: skip
    assert {each["origin"] for each in trail} == {"testclient"}
    assert trail[1]["detail"] == {"reason": "a dispute"}


def test_partners_are_listed_page_by_page_with_those_of_the_programme(
    home: Home, client: TestClient[Litestar], operator: dict[str, str]
) -> None:
    add_partner(home, METRO, actor=OPERATOR, now=NOW)
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = client.get("/v1/partners", params={"limit": "7", **cursor}, headers=operator).json()
        assert len(page["items"]) <= 7
        found += page["items"]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert [each["id"] for each in found] == sorted(home.programme.partners)
    assert {each["id"]: each["version"] for each in found} == {
        name: int(name == "metro_co") for name in home.programme.partners
    }
    for wrong in ("cursor=%21", "cursor=NQ", "limit=0", "limit=9999", "limit=x"):
        assert client.get(f"/v1/partners?{wrong}", headers=operator).status_code == 400


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"id": "Metro Co"}, "partner-malformed"),
        ({"id": "amap"}, "partner-exists"),
        ({"behaviours": ["travel.teleport"]}, "unknown-behaviour"),
        ({"evidence": "hearsay"}, "unknown-evidence"),
        ({"limits": {"rows_per_s": 0}}, "limit-malformed"),
        ({"certificate": "abc"}, "certificate-malformed"),
        ({"contract": {"from": "2025-02-30"}}, "day-malformed"),
        ({"name": " "}, "name-missing"),
        ({"colour": "green"}, "request-malformed"),
        ({"limits": {"rows_per_week": 5}}, "request-malformed"),
    ],
)
def test_what_cannot_be_said_of_a_partner_is_refused(quick: Path, wrong: dict[str, Any], code: str) -> None:
    home = new_home(quick / "home")
    with TestClient(create_app(home, now=lambda: NOW), base_url="https://tanzhang.example") as client:
        answer = client.post("/v1/partners", json={**METRO, **wrong}, headers=by_cookie(home, Role.OPERATOR))
    assert answer.json()["code"] == code
    assert home.partners.revision() == 0


def test_versions_and_the_trail_cannot_be_changed_in_the_database(home: Home) -> None:
    add_partner(home, METRO, actor=OPERATOR, now=NOW)
    for statement in (
        partner_version.update().values(document="{}"),
        partner_version.delete(),
        audit.update().values(actor="nobody"),
        audit.delete(),
    ):
        with pytest.raises(sa.exc.IntegrityError, match="append-only"), home.book.transaction() as con:
            con.execute(statement)
    for table in (partner_version, audit):
        row = dict(home.book.query(sa.select(table))[0]._mapping)
        again = table.insert().prefix_with("OR REPLACE", dialect="sqlite")
        with pytest.raises(sa.exc.IntegrityError), home.book.transaction() as con:
            con.execute(again, row)
    assert_verified(home)


def test_two_changes_at_once_do_not_overwrite_each_other(home: Home) -> None:
    change_partner(home, "amap", {"evidence": "sensed"}, actor=OPERATOR, now=NOW)
    with pytest.raises(TanzhangError, match="partner-changed"):
        change_partner(home, "amap", {"evidence": None}, version=0, actor=OPERATOR, now=NOW)
    with pytest.raises(TanzhangError, match="unknown-partner"):
        suspend_partner(home, "nobody", "x", actor=OPERATOR, now=NOW)
    with pytest.raises(TanzhangError, match="reason-missing"):
        suspend_partner(home, "amap", " ", actor=OPERATOR, now=NOW)


def test_a_client_certificate_is_believed_of_a_trusted_proxy_alone(
    home: Home, client: TestClient[Litestar], monkeypatch: pytest.MonkeyPatch
) -> None:
    change_partner(home, "amap", {"certificate": "ab" * 32}, actor=OPERATOR, now=NOW)
    headers = by_key(home, "amap")
    with_it = {**headers, "x-client-certificate": ":".join(["AB"] * 32)}

    def status(sent: dict[str, str]) -> int:
        return client.get("/v1/partners/amap", headers=sent).status_code

    assert status(with_it) == 403, "no proxy is trusted by default"
    monkeypatch.setenv("TANZHANG_CERTIFICATE_HEADER", "X-Client-Certificate")
    assert status(with_it) == 403
    monkeypatch.setenv("TANZHANG_TRUSTED_PROXIES", "10.0.0.1, testclient")
    assert status(with_it) == 200
    assert status(headers) == 403
    assert status({**headers, "x-client-certificate": "cd" * 32}) == 403


def test_the_address_in_the_trail_is_what_a_trusted_proxy_says(
    home: Home, client: TestClient[Litestar], operator: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = {**operator, "x-forwarded-for": "198.51.100.9, 203.0.113.7"}
    client.post("/v1/partners", json={**METRO, "id": "one"}, headers=claimed)
    monkeypatch.setenv("TANZHANG_TRUSTED_PROXIES", "testclient")
    client.post("/v1/partners", json={**METRO, "id": "two"}, headers=claimed)
    assert [row.origin for row in home.audit.page(None, 2)] == ["203.0.113.7", "testclient"]


def test_a_new_partner_is_known_by_itself_within_a_moment(home: Home) -> None:
    other = Home(home.folder)
    assert "metro_co" not in other.programme.partners
    add_partner(home, METRO, actor=OPERATOR, now=NOW)
    before = other.programme
    time.sleep(LOOKED_UP_S + 0.05)
    assert "metro_co" in other.programme.partners
    assert other.programme is other.programme
    assert other.programme is not before
