"""The audit trail and looks of staff over HTTP: filtered, page by page, for operators and auditors alone."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

from litestar import Litestar
from litestar.testing import TestClient

from tanzhang.core.access import Actor, Role
from tanzhang.service.access import issue_key
from tanzhang.service.intake import intake
from tanzhang.service.privacy import note_look
from tanzhang.service.sign_in import PHONE, _enter
from tanzhang.service.staff import invite
from tanzhang.stores.home import Home

from ...homes import box, on, settle_on, write
from .callers import by_cookie
from .conftest import NOW

OLGA, IGOR = (Actor(Role.OPERATOR, name, "203.0.113.7") for name in ("olga", "igor"))


def asked(client: TestClient[Litestar], home: Home, path: str, **query: Any) -> Any:
    answer = client.get(path, params=query, headers=by_cookie(home, Role.AUDITOR))
    return answer.json()


def test_dangerous_acts_are_found_by_who_what_and_when(home: Home, client: TestClient[Litestar]) -> None:
    for number, (actor, name) in enumerate([(OLGA, "ann"), (IGOR, "ben"), (OLGA, "cy")]):
        invite(home, "auditor", name, actor=actor, now=NOW + timedelta(hours=number))
    issue_key(home, "cainiao", ["report"], actor=IGOR, now=NOW + timedelta(hours=3))

    def subjects(**query: Any) -> list[str]:
        found: list[str] = []
        cursor = None
        while True:
            page = asked(client, home, "/v1/audit", limit=2, **query, **({"cursor": cursor} if cursor else {}))
            found += [each["subject"].partition(" ")[2] for each in page["items"]]
            cursor = page["next"]
            if cursor is None:
                return found

    everything = subjects()
    assert everything[1:] == ["cy", "ben", "ann"]
    assert subjects(actor="olga") == ["cy", "ann"]
    assert subjects(act="staff invited") == subjects(act="staff") == ["cy", "ben", "ann"]
    assert subjects(act="key") == everything[:1]
    assert subjects(act="ke") == subjects(act="staff_invited") == subjects(act="%") == []
    assert subjects(since="2025-06-08T03:00:00Z", until="2025-06-08T13:00:00+08:00") == ["cy", "ben"]
    assert asked(client, home, "/v1/audit", since="2025-06-08T03:00:00")["code"] == "request-malformed"


def test_what_staff_looked_at_is_found_and_what_persons_did_is_not(home: Home, client: TestClient[Litestar]) -> None:
    events = [box("b", "anna")]
    intake(home, write(home.folder.parent / "a.ndjson", events), now=on(6))
    settle_on(home, 8)
    person = _enter(home, PHONE, "", "+8613800138000", None, NOW)
    note_look(home, person, role=Role.PERSON, who="self", what="export", now=NOW)
    operator = by_cookie(home, Role.OPERATOR, "olga")
    client.get(f"/v1/accounts/{person}/statement", headers=operator)
    client.get(f"/v1/accounts/{person}/records", headers=operator)
    client.get(f"/v1/accounts/{uuid.uuid4()}/statement", headers=operator)  # of nobody who could see it
    looks = asked(client, home, "/v1/audit/looks")["items"]
    assert [(each["who"], each["what"], each["account"]) for each in looks] == [
        ("olga", "records", person),
        ("olga", "statement", person),
    ]
    assert [each["what"] for each in asked(client, home, "/v1/audit/looks", what="records")["items"]] == ["records"]
    assert asked(client, home, "/v1/audit/looks", actor="igor")["items"] == []
    first = asked(client, home, "/v1/audit/looks", limit=1)
    rest = asked(client, home, "/v1/audit/looks", limit=1, cursor=first["next"])
    assert [each["what"] for each in (*first["items"], *rest["items"])] == ["records", "statement"]
    assert rest["next"] is None
