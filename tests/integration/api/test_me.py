"""What a person sees of their own over HTTP, and that nobody else does."""

from __future__ import annotations

import hashlib
import io
import json
import uuid
import zipfile
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from tanzhang.api.access import COOKIE
from tanzhang.core.access import Role
from tanzhang.core.claim import ACTION, identity
from tanzhang.service.access import open_session
from tanzhang.service.epoch import check, close
from tanzhang.service.intake import intake
from tanzhang.service.privacy import erase_due, note_look, rotate_keys
from tanzhang.service.receipt import check_receipt
from tanzhang.stores.home import Home
from tanzhang.stores.register.people import access_log, consent, join_token, person, person_identity

from ...homes import BOX_MG, account, assert_verified, box, on, power, records, ride, settle_on, withdrawal, write
from .people import NOW, Clock, any_home, browser, code_in, partner, set_up
from .people import person as signed_in

ME, OTHER = str(uuid.UUID(int=7 << 100)), str(uuid.UUID(int=9 << 100))


@pytest.fixture(params=["sqlite", "postgresql"])
def home(request: pytest.FixtureRequest, quick: Path) -> Home:
    """Three boxes, a footprint and a ride that is not settled yet, of platform accounts that nobody linked."""
    opened = any_home(request, quick)
    settled = [box("a"), box("b", day=date(2025, 6, 6)), power("p"), box("o", "bo")]
    intake(opened, write(quick / "1.ndjson", settled), now=on(7))
    settle_on(opened, 7)
    intake(opened, write(quick / "2.ndjson", [ride("r", "anna", day=date(2025, 6, 6))]), now=on(7))
    return opened


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(home: Home, clock: Clock) -> Iterator[TestClient[Litestar]]:
    with browser(home, clock) as client:
        yield client


def linked(
    home: Home, client: TestClient[Litestar], who: dict[str, str], subject: str, by: str = "cainiao", **more: Any
) -> Any:
    """A partner makes a token for its user, and somebody shows it."""
    made = client.post("/v1/link-tokens", json={"subject": subject}, headers=partner(home, by)).json()
    return client.post("/v1/me/links", json={"token": made["token"], **more}, headers=who)


def action(home: Home, source: str, reference: str) -> str:
    return str(identity(home.identity_key, ACTION, source, reference))


def refused(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_a_person_links_what_two_partners_say_is_theirs_and_sees_it_all(
    home: Home, client: TestClient[Litestar]
) -> None:
    me = signed_in(home, ME)
    assert client.get("/v1/me", headers=me).json()["held"] == {"co2e_mg": "0", "footprint_mg": "0"}
    answer = linked(home, client, me, "anna")
    assert answer.status_code == 201
    assert linked(home, client, me, "anna", by="alipay").status_code == 201
    said = client.get("/v1/me", headers=me).json()
    assert said["held"] == {"co2e_mg": str(2 * BOX_MG), "footprint_mg": "5580000"}
    assert said["accounts"] == sorted(str(account(home, each, "anna")) for each in ("cainiao", "alipay"))
    consents = client.get("/v1/me/consents", headers=me).json()["items"]
    assert {(each["scope"], each["partner"], each["revoked_at"]) for each in consents} == {
        ("link", "cainiao", None),
        ("link", "alipay", None),
    }
    statement = client.get("/v1/me/statement", headers=me).json()
    assert len(statement["accounts"]) == 3
    assert_verified(home)


def test_a_token_works_once_for_minutes_and_tells_its_partner_a_pseudonym_alone(
    home: Home, client: TestClient[Litestar], clock: Clock
) -> None:
    me, key, other_key = signed_in(home, ME), partner(home), partner(home, "amap")
    made = client.post("/v1/link-tokens", json={"subject": "anna"}, headers=key).json()
    assert made["url"].endswith(f"/link#{made['token']}")
    assert made["qr_svg"].startswith("<svg")
    assert made["token"] not in str(home.people.rows(join_token))
    state = client.get(f"/v1/link-tokens/{made['id']}", headers=key).json()
    assert (state["state"], state["person"]) == ("open", None)
    link = client.post("/v1/me/links", json={"token": made["token"]}, headers=me).json()
    again = client.post("/v1/me/links", json={"token": made["token"]}, headers=signed_in(home, OTHER))
    assert refused(again) == (409, "token-used")
    told = client.get(f"/v1/link-tokens/{made['id']}", headers=key).json()
    assert told["state"] == "linked"
    assert told["person"] not in (None, ME, str(account(home, "cainiao", "anna")))
    assert refused(client.get(f"/v1/link-tokens/{made['id']}", headers=other_key)) == (404, "not-found")
    assert refused(linked(home, client, signed_in(home, OTHER), "anna")) == (409, "already-joined")
    assert client.delete(f"/v1/me/links/{link['id']}", headers=me).json()["until"] == "2025-06-08"
    assert client.get(f"/v1/link-tokens/{made['id']}", headers=key).json()["state"] == "ended"
    late = client.post("/v1/link-tokens", json={"subject": "anna"}, headers=key).json()
    clock.now += timedelta(minutes=10)
    assert refused(client.post("/v1/me/links", json={"token": late["token"]}, headers=me)) == (422, "token-unknown")
    assert client.get(f"/v1/link-tokens/{late['id']}", headers=key).json()["state"] == "expired"
    assert refused(client.post("/v1/link-tokens", json={"subject": ""}, headers=key)) == (400, "request-malformed")


def test_a_person_who_starts_here_is_sent_to_the_partner_and_comes_back_linked(
    home: Home, client: TestClient[Litestar], clock: Clock
) -> None:
    set_up(home, partner_pages={"cainiao": "https://cainiao.example/link?app=1"})
    me, key = signed_in(home, ME), partner(home)

    def sent() -> dict[str, str]:
        answer = client.get("/v1/me/links/with/cainiao?return_to=/mine", headers=me, follow_redirects=False)
        assert answer.status_code == 302
        assert answer.headers["location"].startswith("https://cainiao.example/link?app=1&")
        return {name: each[0] for name, each in parse_qs(urlsplit(answer.headers["location"]).query).items()}

    def back(state: str, token: str, who: dict[str, str]) -> Any:
        query = {"state": state, "token": token}
        return client.get("/v1/me/links/return", params=query, headers=who, follow_redirects=False)

    def made(by: dict[str, str]) -> str:
        return str(client.post("/v1/link-tokens", json={"subject": "anna"}, headers=by).json()["token"])

    asked = sent()
    assert asked["redirect_uri"] == "https://tanzhang.example/v1/me/links/return"
    token = made(key)
    assert refused(back(asked["state"], token, signed_in(home, OTHER))) == (403, "link-not-begun")
    assert refused(back(asked["state"], token, me)) == (403, "link-not-begun")  # a state works once
    assert refused(back(sent()["state"], made(partner(home, "amap")), me)) == (403, "link-not-begun")
    late = sent()
    clock.now += timedelta(minutes=10)
    assert refused(back(late["state"], made(key), me)) == (403, "link-not-begun")
    clock.now = NOW
    done = back(sent()["state"], token, me)
    assert (done.status_code, done.headers["location"]) == (302, "/mine")
    assert home.book.balance(uuid.UUID(ME))["co2e_mg"] == 2 * BOX_MG
    assert refused(back(sent()["state"], token, me)) == (409, "token-used")
    assert refused(client.get("/v1/me/links/with/amap", headers=me)) == (404, "partner-page-unknown")


def test_ending_a_link_or_taking_the_consent_back_gives_back_what_it_brought(
    home: Home, client: TestClient[Litestar]
) -> None:
    me, child = signed_in(home, ME), account(home, "cainiao", "anna")
    for way in ("links", "consents"):
        link = linked(home, client, me, "anna").json()
        assert home.book.balance(uuid.UUID(ME))["co2e_mg"] == 2 * BOX_MG
        (given,) = [
            each for each in client.get("/v1/me/consents", headers=me).json()["items"] if each["revoked_at"] is None
        ]
        name = link["id"] if way == "links" else given["id"]
        assert refused(client.delete(f"/v1/me/{way}/{name}", headers=signed_in(home, OTHER))) == (404, "not-found")
        assert client.delete(f"/v1/me/{way}/{name}", headers=me).status_code == 200
        assert home.book.balance(child)["co2e_mg"] == 2 * BOX_MG
        assert all(each["revoked_at"] for each in client.get("/v1/me/consents", headers=me).json()["items"])
        code = "joining-ended" if way == "links" else "consent-revoked"
        assert refused(client.delete(f"/v1/me/{way}/{name}", headers=me)) == (409, code)
    assert_verified(home)


def test_accounts_of_one_person_merge_and_split_with_their_identities(
    home: Home, client: TestClient[Litestar], clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    set_up(home, phone={"sender": "console"})

    def by_phone(number: str) -> tuple[str, dict[str, str]]:
        clock.now += timedelta(minutes=2)
        client.cookies.clear()
        client.post("/v1/sign-in/phone", json={"phone": number})
        said = client.post("/v1/sign-in/phone/verify", json={"phone": number, "code": code_in(caplog)}).json()
        headers = {"cookie": f"{COOKIE}={client.cookies[COOKIE]}", "x-csrf-token": said["csrf"]}
        client.cookies.clear()
        return said["account"], headers

    first, one = by_phone("13800138000")
    second, two = by_phone("13900139000")
    assert first != second
    assert linked(home, client, one, "anna").status_code == 201
    token = client.post("/v1/me/merge-tokens", headers=one).json()["token"]
    merged = client.post("/v1/me/merges", json={"token": token}, headers=two)
    assert merged.status_code == 201
    assert refused(client.get("/v1/me", headers=one)) == (401, "session-ended")
    assert by_phone("13800138000")[0] == second
    assert client.get("/v1/me", headers=two).json()["held"]["co2e_mg"] == str(2 * BOX_MG)
    assert {each["kind"] for each in client.get("/v1/me/links", headers=two).json()["items"]} == {"link", "merge"}
    assert client.delete(f"/v1/me/merges/{merged.json()['id']}", headers=two).status_code == 200
    own, again = by_phone("13800138000")
    assert own == first
    assert client.get("/v1/me", headers=again).json()["held"]["co2e_mg"] == str(2 * BOX_MG)
    clock.now += timedelta(minutes=11)
    assert refused(client.post("/v1/me/merge-tokens", headers=again)) == (403, "sign-in-not-fresh")
    assert_verified(home)


def test_records_come_page_by_page_and_each_is_explained_and_proved(home: Home, client: TestClient[Litestar]) -> None:
    me = signed_in(home, ME)
    assert client.get("/v1/me/records", headers=me).json() == {"items": [], "next": None}
    linked(home, client, me, "anna")
    linked(home, client, me, "anna", by="alipay")
    found: list[Any] = []
    cursor = ""
    while True:
        page = client.get(f"/v1/me/records?limit=2{cursor}", headers=me).json()
        found += page["items"]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert [each["behaviour"] for each in found] == [
        "use.parcel_box_return",
        *sorted(["use.parcel_box_return", "footprint.electricity"], key=lambda name: found[1]["behaviour"] != name),
    ]
    footprint = client.get("/v1/me/records?kind=emission", headers=me).json()["items"]
    assert [each["granted_mg"] for each in footprint] == ["5580000"]
    own = action(home, "cainiao", "a")
    said = client.get(f"/v1/me/records/{own}", headers=me).json()
    assert said["granted_mg"] == str(BOX_MG)
    assert said["steps"]
    assert said["plan_document"]["source"]
    receipt = client.get(f"/v1/me/records/{own}/receipt", headers=me).content
    assert check_receipt(receipt, home.values["vkey"])["granted_mg"] == str(BOX_MG)
    picture = client.get(f"/v1/me/records/{own}/qr", headers=me).json()
    assert picture["svg"].startswith("<svg")
    assert picture["sha256"] == hashlib.sha256(receipt).hexdigest()
    assert picture["text"] == (receipt.decode() if picture["holds"] == "receipt" else f"urn:sha256:{picture['sha256']}")
    others = action(home, "cainiao", "o")
    for path in (f"records/{others}", f"records/{others}/receipt", f"records/{others}/qr"):
        assert refused(client.get(f"/v1/me/{path}", headers=me)) == (404, "unknown-action")
    assert refused(client.get("/v1/me/records?cursor=x", headers=me)) == (400, "cursor-malformed")
    assert client.get("/v1/me/records?limit=0", headers=me).status_code == 400


def test_what_did_not_change_is_not_sent_again(home: Home, client: TestClient[Litestar]) -> None:
    me = signed_in(home, ME)
    for path in ("", "/records", "/links", "/consents", "/statement"):
        first = client.get(f"/v1/me{path}", headers=me)
        again = client.get(f"/v1/me{path}", headers={**me, "if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b""), path
    linked(home, client, me, "anna")
    assert client.get("/v1/me", headers={**me, "if-none-match": first.headers["etag"]}).status_code == 200


def test_a_name_is_shown_on_rankings_only_while_its_person_agrees(quick: Path) -> None:
    from ...homes import new_home

    home = new_home(quick / "home")
    people = [f"p{number}" for number in range(12)]
    intake(home, write(quick / "many.ndjson", [box(f"b-{each}", each) for each in people]), now=on(6))
    settle_on(home, 6)
    own = str(account(home, "cainiao", "p3"))
    with browser(home, Clock()) as client:
        me = signed_in(home, own)

        def names() -> list[str]:
            said = client.get("/v1/rankings?period=day&day=2025-06-05", headers=me).json()
            assert said["own"]["rank"] == 1
            return [row["name"] for row in said["rows"] if not row["name"].startswith("*")]

        assert names() == []
        given = client.post("/v1/me/consents", json={"scope": "display_name", "name": " Big  Panda "}, headers=me)
        assert given.status_code == 201
        assert names() == ["Big Panda"]
        assert "Panda" not in str(home.people.rows(person))
        assert "own" not in client.get("/v1/rankings?period=day&day=2025-06-05").json()
        for name in ("*abc", "a" * 21, "\u200b", "  "):
            body = {"scope": "display_name", "name": name}
            assert refused(client.post("/v1/me/consents", json=body, headers=me)) == (422, "name-malformed")
        before = home.personal_keys
        assert rotate_keys(home)["sealed_again"] == 1
        assert home.personal_keys.current not in before.keys
        assert names() == ["Big Panda"]
        rotate_keys(home)
        assert before.current not in home.personal_keys.keys
        client.delete(f"/v1/me/consents/{given.json()['id']}", headers=me)
        assert names() == []


def test_a_share_of_a_sealed_day_is_proved_where_the_tree_is_large_enough(
    home: Home, client: TestClient[Litestar]
) -> None:
    me = signed_in(home, str(account(home, "cainiao", "anna")))
    assert refused(client.get("/v1/me/epochs/latest/proof", headers=me)) == (404, "epoch-unknown")
    close(home, date(2025, 6, 6), now=on(8))
    assert refused(client.get("/v1/me/epochs/2025-06-06/proof", headers=me)) == (422, "epoch-too-few")
    assert refused(client.get("/v1/me/epochs/yesterday/proof", headers=me)) == (400, "request-malformed")
    object.__setattr__(home.programme.disclosure, "least_accounts_in_tree", 2)
    proof = client.get("/v1/me/epochs/latest/proof", headers=me).content
    assert check(proof, home.values["vkey"])["shares"]["co2e_mg"]["amount"] == str(2 * BOX_MG)


def test_the_grade_of_a_month_counts_joined_accounts(home: Home, client: TestClient[Litestar]) -> None:
    me = signed_in(home, ME)
    linked(home, client, me, "anna")
    answer = client.get("/v1/me/grade?month=2025-06", headers=me)
    assert refused(answer) == (422, "grading-unnamed")
    assert client.get("/v1/me", headers=me).json()["grade"] == {"status": "grading-unnamed", "grade": None}
    assert client.get("/v1/me/grade?month=2025-13", headers=me).status_code == 400


def test_sessions_are_listed_and_ended_by_their_person_alone(home: Home, client: TestClient[Litestar]) -> None:
    me, elsewhere, other = signed_in(home, ME), signed_in(home, ME), signed_in(home, OTHER)
    found = client.get("/v1/me/sessions", headers=me).json()["items"]
    assert sorted(each["this"] for each in found) == [False, True]
    (name,) = [each["id"] for each in found if not each["this"]]
    assert refused(client.delete(f"/v1/me/sessions/{name}", headers=other)) == (404, "not-found")
    assert client.delete(f"/v1/me/sessions/{name}", headers=me).status_code == 204
    assert refused(client.get("/v1/me", headers=elsewhere)) == (401, "session-ended")
    assert client.get("/v1/me", headers=me).status_code == 200


def test_a_person_sees_which_of_the_staff_looked(home: Home, client: TestClient[Litestar]) -> None:
    me = signed_in(home, ME)
    home.people.add(person, {"account": ME, "created_at": "2025-06-01T00:00:00"})
    linked(home, client, me, "anna")
    token = open_session(home, Role.OPERATOR, "desk 4", now=NOW)
    staff = {"cookie": f"{COOKIE}={token}"}
    for what in ("statement", "records"):
        assert client.get(f"/v1/accounts/cainiao:anna/{what}", headers=staff).status_code == 200
    log = client.get("/v1/me/access-log", headers=me).json()["items"]
    assert [(each["role"], each["who"], each["what"]) for each in log] == [
        ("operator", "desk 4", "records"),
        ("operator", "desk 4", "statement"),
    ]


def test_an_export_has_everything_and_who_looked_is_kept(
    home: Home, client: TestClient[Litestar], clock: Clock
) -> None:
    me = signed_in(home, ME)
    linked(home, client, me, "anna")
    note_look(home, ME, role="operator", who="desk 4", what="statement", now=NOW)
    answer = client.post("/v1/me/export?receipts=true", headers=me)
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        said = json.loads(archive.read("person.json"))
        names = set(archive.namelist())
        child = account(home, "cainiao", "anna")
        exported = json.loads(archive.read(f"{child}/records.json"))["records"]
    assert {each["what"] for each in said["access_log"]} == {"export", "statement"}
    assert [each["granted_mg"] for each in exported] == [str(BOX_MG)] * 2
    assert f"{child}/receipts/{action(home, 'cainiao', 'a')}.tlog-proof" in names
    log = client.get("/v1/me/access-log?limit=1", headers=me).json()
    assert [each["what"] for each in log["items"]] == ["export"]
    more = client.get(f"/v1/me/access-log?limit=1&cursor={log['next']}", headers=me).json()
    assert [(each["what"], each["who"]) for each in more["items"]] == [("statement", "desk 4")]
    assert client.get("/v1/me/access-log", headers=signed_in(home, OTHER)).json()["items"] == []
    clock.now += timedelta(minutes=11)
    assert refused(client.post("/v1/me/export", headers=me)) == (403, "sign-in-not-fresh")


def test_a_person_is_erased_after_thinking_again_and_everything_verifies(
    home: Home, client: TestClient[Litestar], clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    set_up(home, phone={"sender": "console"}, erasure_waits_days=3)
    client.post("/v1/sign-in/phone", json={"phone": "13800138000"})
    said = client.post("/v1/sign-in/phone/verify", json={"phone": "13800138000", "code": code_in(caplog)}).json()
    me = {"cookie": f"{COOKIE}={client.cookies[COOKIE]}", "x-csrf-token": said["csrf"]}
    linked(home, client, me, "anna")
    linked(home, client, me, "anna", by="amap")
    client.post("/v1/me/consents", json={"scope": "display_name", "name": "Panda"}, headers=me)
    settle_on(home, 8)
    close(home, date(2025, 6, 7), now=on(8))
    asked = client.post("/v1/me/erasure", headers=me)
    assert (asked.status_code, asked.json()["erase_after"][:10]) == (202, "2025-06-11")
    assert client.delete("/v1/me/erasure", headers=me).json()["status"] == "none"
    client.post("/v1/me/erasure", headers=me)
    assert erase_due(home, now=on(10))["status"] == "nothing"
    settle_on(home, 10)
    clock.now = on(12)
    answer = erase_due(home, now=on(12))
    assert (answer["status"], answer["persons"]) == ("erased", 1)
    for table in (person, person_identity, consent, join_token, access_log):
        assert home.people.rows(table) == [], table.name
    client.app.state.recogniser.forget()
    assert refused(client.get("/v1/me", headers=me)) == (401, "session-ended")
    mine = {said["account"], *(str(account(home, each, "anna")) for each in ("cainiao", "amap"))}
    assert mine.isdisjoint(str(row["account"]) for row in records(home).to_pylist())
    assert erase_due(home, now=on(12)) == {"status": "nothing", "persons": 0}
    close(home, date(2025, 6, 9), now=on(12))
    assert_verified(home)


def test_an_act_taken_back_after_linking_is_taken_from_the_person(home: Home, client: TestClient[Litestar]) -> None:
    me = signed_in(home, ME)
    linked(home, client, me, "anna")
    undo = [withdrawal(box("a"), "undo", day=date(2025, 6, 6))]
    intake(home, write(home.folder.parent / "undo.ndjson", undo), now=on(8))
    settle_on(home, 10)
    assert client.get("/v1/me", headers=me).json()["held"]["co2e_mg"] == str(BOX_MG)
    assert_verified(home)
