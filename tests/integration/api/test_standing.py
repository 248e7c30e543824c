"""What a partner is told of its reports on their way: states, amounts, taking back, correcting; nothing of others'."""

from __future__ import annotations

import json
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from tanzhang.core.claim import ACTION, CHILD, identity
from tanzhang.service.erase import erase
from tanzhang.service.gather import gather
from tanzhang.service.links import link_child
from tanzhang.service.reading import Reader
from tanzhang.service.standing import standings
from tanzhang.stores.home import Home

from ...homes import BOX_MG, DAY, METRO_MG_PER_M, Event, assert_verified, balance, box, on, outcome, ride, settle_on
from .conftest import NOW, partner

Client = TestClient[Litestar]


def report(client: Client, home: Home, *events: Event, name: str | None = None) -> Any:
    content = "".join(f"{json.dumps(event)}\n" for event in events)
    headers = {"content-type": "application/x-ndjson", **partner(home, name or events[0]["source"])}
    answer = client.post("/v1/actions:batch", content=content, headers=headers)
    assert answer.status_code == 202, answer.text
    return answer.json()


def standing(client: Client, home: Home, reference: str, name: str = "cainiao") -> Any:
    return client.get(f"/v1/actions/{reference}", headers=partner(home, name))


def withdraw(client: Client, home: Home, reference: str, name: str = "cainiao", **body: Any) -> Any:
    headers = {"content-type": "application/json", **partner(home, name)}
    return client.post(f"/v1/actions/{reference}/withdraw", json={"subject": "anna", **body}, headers=headers)


def correct(client: Client, home: Home, reference: str, event: Event, **headers: str) -> Any:
    sent = {"content-type": "application/json", **partner(home, event["source"]), **headers}
    return client.post(f"/v1/actions/{reference}/correct", content=json.dumps(event), headers=sent)


def listed(client: Client, home: Home, name: str = "cainiao", **asked: Any) -> Any:
    answer = client.get("/v1/actions", params=asked, headers=partner(home, name))
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_report_is_followed_from_the_inbox_to_its_record(client: Client, home: Home) -> None:
    report(client, home, box("b1"), ride("x", source="cainiao"))
    first = standing(client, home, "b1").json()
    assert (first["state"], first["quantified_mg"], first["granted_mg"]) == ("waiting", str(BOX_MG), None)
    assert first["closes_on"] == DAY.isoformat()
    with home.settling():
        gather(home, now=NOW)
    second = standing(client, home, "b1").json()
    assert {**first, "state": "provisional"} == second
    settle_on(home, 9)
    third = standing(client, home, "b1").json()
    assert (third["state"], third["outcome"], third["reason"]) == ("settled", "granted", "credited in full")
    assert (third["granted_mg"], third["kind"], third["methodology"]) == (
        str(BOX_MG),
        "reduction",
        first["methodology"],
    )
    assert third["action"] == first["action"]


def test_nobody_finds_what_was_refused_was_never_reported_or_is_of_another(client: Client, home: Home) -> None:
    report(client, home, {**box("b1"), "time": "x"}, box("b2"))
    for reference, name in (("b1", "cainiao"), ("b3", "cainiao"), ("b2", "amap")):
        answer = standing(client, home, reference, name)
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown-report")


def test_an_act_that_another_partner_reported_too_is_told_without_a_word_about_the_other(
    client: Client, home: Home
) -> None:
    shared = "YT-77"
    theirs = {**box("secret-reference", "somebody", number=shared), "source": "alipay"}
    report(client, home, theirs)
    report(client, home, box("b1", number=shared))
    settle_on(home, 9)
    outcomes = {outcome(home, theirs)[0], outcome(home, box("b1"))[0]}
    assert outcomes == {"granted", "duplicate_of"}
    loser = ("b1", "cainiao") if outcome(home, box("b1")) == ["duplicate_of"] else ("secret-reference", "alipay")
    answer = standing(client, home, *loser).json()
    assert (answer["outcome"], answer["granted_mg"]) == ("duplicate_of", "0")
    assert answer["reason"] == "another report holds the claim of this act"
    other = ("alipay", "secret", "somebody") if loser[1] == "cainiao" else ('"b1"', "anna")
    text = json.dumps([answer, listed(client, home, loser[1])])
    assert not [word for word in other if word in text]
    assert "related" not in text


@pytest.mark.parametrize("when", ["waiting", "provisional", "settled"])
def test_a_report_is_taken_back_wherever_it_is(client: Client, home: Home, when: str) -> None:
    report(client, home, box("b1"))
    if when == "provisional":
        with home.settling():
            gather(home, now=NOW)
    if when == "settled":
        settle_on(home, 8)
        assert balance(home, "cainiao", "anna") == BOX_MG
    answer = withdraw(client, home, "b1")
    assert (answer.status_code, answer.json()["verdict"], answer.json()["id"]) == (202, "accepted", "b1~withdrawn")
    assert standing(client, home, "b1").json()["state"] == "withdrawn"
    again = withdraw(client, home, "b1")
    assert (again.status_code, again.json()) == (202, answer.json())
    other = withdraw(client, home, "b1", id="another")
    assert (other.status_code, other.json()["code"]) == (409, "already-withdrawn")
    settle_on(home, 9)
    assert balance(home, "cainiao", "anna") == 0
    after = standing(client, home, "b1").json()
    assert (after["state"], after["granted_mg"]) == ("withdrawn", "0")
    assert after["reason"] == "taken back by a report of yours"
    assert standing(client, home, "b1~withdrawn").json()["outcome"] == "withdrawal"
    assert_verified(home)


def test_a_withdrawal_names_the_subject_of_the_report_and_a_report_that_there_is(client: Client, home: Home) -> None:
    report(client, home, box("b1"))
    for body, reference, code, status in (
        ({"subject": "bo"}, "b1", "subject-differs", 422),
        ({}, "b2", "unknown-report", 404),
        ({"subject": 5}, "b1", "request-malformed", 400),
        ({"reason": "x"}, "b1", "request-malformed", 400),
        ({"time": "yesterday"}, "b1", "bad-time", 422),
    ):
        answer = withdraw(client, home, reference, **body)
        assert (answer.json()["code"], answer.status_code) == (code, status), body
    assert standing(client, home, "b1").json()["state"] == "waiting"


def test_a_retried_withdrawal_with_its_key_gets_its_first_answer(client: Client, home: Home) -> None:
    report(client, home, box("b1"))
    headers = {"content-type": "application/json", "idempotency-key": "k", **partner(home)}
    answers = [client.post("/v1/actions/b1/withdraw", json={"subject": "anna"}, headers=headers) for _ in range(2)]
    assert answers[0].content == answers[1].content
    assert answers[1].headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize("settled", [False, True])
def test_a_correction_takes_the_place_of_a_report(client: Client, home: Home, settled: bool) -> None:
    report(client, home, ride("r1"))
    if settled:
        settle_on(home, 8)
    answer = correct(client, home, "r1", ride("r2", distance_m=5_000))
    assert (answer.status_code, answer.json()["quantified_mg"]) == (202, str(5_000 * METRO_MG_PER_M))
    again = correct(client, home, "r1", ride("r3", distance_m=4_000))
    assert again.json()["code"] == "already-withdrawn"
    settle_on(home, 9)
    assert balance(home, "amap", "anna") == 5_000 * METRO_MG_PER_M
    assert standing(client, home, "r1", "amap").json()["state"] == "withdrawn"
    new = standing(client, home, "r2", "amap").json()
    assert (new["state"], new["granted_mg"]) == ("settled", str(5_000 * METRO_MG_PER_M))
    assert_verified(home)


def test_a_correction_that_would_only_take_back_or_is_wrong_changes_nothing(client: Client, home: Home) -> None:
    report(client, home, box("b1"))
    report(client, home, ride("r1"))
    for reference, event, code, status in (
        ("b1", box("b2"), "correction-without-inputs", 422),
        ("r1", ride("r2", distance_m=-1), "out-of-range", 422),
        ("r1", ride("r2", withdraws="r0"), "correction-of-another", 422),
        ("r1", ride("r1", distance_m=5_000), "withdraws-itself", 422),
        ("r9", ride("r2"), "unknown-report", 404),
        ("r1", {**ride("r2"), "data": []}, "malformed-row", 422),
    ):
        answer = correct(client, home, reference, event)
        assert (answer.json()["code"], answer.status_code) == (code, status)
    assert standing(client, home, "b1").json()["state"] == "waiting"
    assert standing(client, home, "r1", "amap").json()["state"] == "waiting"


def test_what_was_erased_is_told_to_be_and_nothing_of_it(client: Client, home: Home) -> None:
    report(client, home, box("b1"))
    settle_on(home, 8)
    erase(home, [identity(home.identity_key, CHILD, "cainiao", "anna")], now=on(9))
    found = standing(client, home, "b1").json()
    assert found["state"] == "erased"
    assert found["quantified_mg"] is found["granted_mg"] is found["behaviour"] is None
    answer = withdraw(client, home, "b1")
    assert (answer.status_code, answer.json()["code"]) == (410, "record-erased")


def test_own_rows_are_listed_page_by_page_in_the_order_they_came(client: Client, home: Home) -> None:
    report(client, home, box("a1"), {**box("a2"), "time": "x"}, box("a3"))
    report(client, home, ride("r1"))
    for number in range(25):
        report(client, home, box(f"c{number}"))
    report(client, home, {**box("z1"), "time": "x"})
    settle_on(home, 8)
    names = ["a1", "a2", "a3", *(f"c{number}" for number in range(25)), "z1"]
    found, cursor, pages = [], None, 0
    while pages == 0 or cursor is not None:
        page = listed(client, home, limit=4, **({} if cursor is None else {"cursor": cursor}))
        assert 0 < len(page["items"]) <= 4
        found += page["items"]
        cursor, pages = page["next"], pages + 1
    assert [row["id"] for row in found] == names
    assert pages == 8
    assert {row["verdict"]: row.get("state") for row in found} == {"accepted": "settled", "refused": None}
    refused = listed(client, home, verdict="refused")
    assert [row["id"] for row in refused["items"]] == ["a2", "z1"]
    assert refused["items"][0]["problems"][0]["code"] == "bad-time"
    accepted = listed(client, home, verdict="accepted", limit=200)["items"]
    assert [row["id"] for row in accepted] == [name for name in names if name not in ("a2", "z1")]
    assert {row["granted_mg"] for row in accepted} == {str(BOX_MG)}
    assert listed(client, home, since="2025-06-08T10:00:00+08:00")["items"] != []
    assert listed(client, home, since="2025-06-08T10:00:01+08:00") == {"items": [], "next": None}


@pytest.mark.parametrize(
    ("asked", "where"),
    [
        ({"cursor": "nonsense"}, "query: cursor"),
        ({"since": "2025-06-08T10:00:00"}, "query: since"),
        ({"verdict": "perhaps"}, "query: verdict"),
    ],
)
def test_a_list_that_is_asked_for_wrongly_is_refused(
    client: Client, home: Home, asked: dict[str, str], where: str
) -> None:
    answer = client.get("/v1/actions", params=asked, headers=partner(home))
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["where"] == where


def test_an_answer_that_did_not_change_is_not_sent_again(client: Client, home: Home) -> None:
    report(client, home, box("b1"))
    first = standing(client, home, "b1")
    known = {"if-none-match": first.headers["etag"], **partner(home)}
    assert client.get("/v1/actions/b1", headers=known).status_code == 304
    settle_on(home, 8)
    changed = client.get("/v1/actions/b1", headers=known)
    assert (changed.status_code, changed.json()["state"]) == (200, "settled")


def test_a_kept_reader_tells_what_the_files_tell(client: Client, home: Home) -> None:
    """Of every report in every state: waiting, provisional, settled, taken back on either side of that, erased."""
    reader = Reader(home)
    events = [box(f"b{n}", who) for n, who in enumerate(["anna", "bo", "anna", "anna"])]
    events += [ride("r1"), ride("r2", hour=11), {**box("dup", number="YT-b0"), "source": "alipay"}]
    for name in ("cainiao", "amap", "alipay"):
        report(client, home, *(each for each in events if each["source"] == name), name=name)
    report(client, home, box("b1", "bo"))  # a repeat

    def check(*states: str) -> None:
        named = [*((each["source"], each["id"]) for each in events), ("cainiao", "b0~withdrawn"), ("amap", "x")]
        actions = [identity(home.identity_key, ACTION, *each) for each in named]
        expected = standings(home, actions)
        assert standings(home, actions, reader=reader) == expected
        assert {each.state for each in expected.values()} == set(states)

    check("waiting")
    assert withdraw(client, home, "b0").status_code == 202
    check("waiting", "withdrawn")
    with home.settling():
        gather(home, now=NOW)
    check("provisional", "withdrawn")
    settle_on(home, 8)
    check("settled", "withdrawn")
    assert withdraw(client, home, "b2").status_code == 202
    check("settled", "withdrawn")
    settle_on(home, 9)
    check("settled", "withdrawn")
    erase(home, [identity(home.identity_key, CHILD, "cainiao", "bo")], now=on(9))
    check("settled", "withdrawn", "erased")


def test_an_act_that_overlaps_with_another_partners_is_told_without_a_word_about_it(client: Client, home: Home) -> None:
    own, secret = ride("mine"), ride("secret-reference", "somebody", source="yikatong", distance_m=12_345)
    report(client, home, own)
    report(client, home, secret)
    with home.settling():
        gather(home, now=NOW)
    persons = [identity(home.identity_key, CHILD, *each) for each in (("amap", "anna"), ("yikatong", "somebody"))]
    link_child(home, persons[1], persons[0], valid_from=DAY, valid_until=None, now=NOW)
    settle_on(home, 12)
    outcomes = {name: outcome(home, each)[0] for name, each in (("amap", own), ("yikatong", secret))}
    assert sorted(outcomes.values()) == ["granted", "overlap_of"]
    (loser,) = (name for name, said in outcomes.items() if said == "overlap_of")
    answer = standing(client, home, "mine" if loser == "amap" else "secret-reference", loser).json()
    assert (answer["outcome"], answer["reason"]) == ("overlap_of", "another report holds the time of this act")
    winner = (
        ("yikatong", "secret", "somebody", "12345", "888840") if loser == "amap" else ("amap", "mine", "anna", "10000")
    )
    text = json.dumps([answer, listed(client, home, loser)])
    assert not [word for word in winner if word in text]
