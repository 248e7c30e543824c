"""Parties over HTTP: the operator's verbs, and that staff of a party sees its own alone."""

from __future__ import annotations

import base64

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from tanzhang.core.access import Role
from tanzhang.core.errors import TanzhangError
from tanzhang.service.staff import OWNER, accept, invite, sign_in
from tanzhang.stores.home import Home

from ...trading import OPERATOR, approved
from .callers import NOW, by_cookie

SAID = {"title": "Example Steel", "kind": "enterprise", "contact": {"name": "Li Na"}, "bank_account": "6222 0000 0001"}
LICENCE = b"an invented licence"


def test_an_application_is_taken_judged_and_approved(home: Home, client: TestClient[Litestar]) -> None:
    operator, buyer = by_cookie(home, Role.OPERATOR), by_cookie(home, Role.BUYER, partner="steel")
    made = client.post("/v1/market/parties", json={"id": "steel", **SAID}, headers=operator)
    assert (made.status_code, made.json()["state"]) == (201, "applied")
    sent = {"kind": "business_licence", "name": "a.pdf", "content": base64.b64encode(LICENCE).decode()}
    digest = client.post("/v1/market/parties/steel/documents", json=sent, headers=buyer).json()["digest"]
    document = f"/v1/market/parties/steel/documents/{digest}"
    assert client.get(document, headers=buyer).content == LICENCE
    assert client.put(document, json={"accepted": True}, headers=operator).json()["state"] == "accepted"
    tag = client.get("/v1/market/parties/steel", headers=operator).headers["etag"]
    approve = {"state": "approved"}
    late = client.put("/v1/market/parties/steel/state", json=approve, headers={**operator, "if-match": '"x"'})
    assert late.json()["code"] == "resource-changed"
    done = client.put("/v1/market/parties/steel/state", json=approve, headers={**operator, "if-match": tag})
    assert done.json()["state"] == "approved"
    assert [each["id"] for each in client.get("/v1/market/parties", headers=operator).json()["items"]] == ["steel"]
    client.put("/v1/market/parties/steel/state", json={"state": "closed", "note": "over"}, headers=operator)
    assert client.post("/v1/market/parties/steel/forget", headers=operator).json()["contact"] is None
    assert client.get(document, headers=buyer).json()["code"] == "not-found"


def test_staff_of_a_party_sees_and_adds_to_its_own_alone(home: Home, client: TestClient[Litestar]) -> None:
    approved(home, "steel")
    approved(home, "iron", bank_account="6222 0000 0002")
    buyer = by_cookie(home, Role.BUYER, partner="steel")
    digest = home.parties.documents("iron")[0].digest
    assert client.get("/v1/market/parties/steel", headers=buyer).json()["bank_account"] == "6222 0000 0001"
    for path in ("/v1/market/parties/iron", f"/v1/market/parties/iron/documents/{digest}"):
        assert client.get(path, headers=buyer).json()["code"] == "not-allowed"
    sent = {"kind": "other", "name": "a.pdf", "content": base64.b64encode(b"x").decode()}
    answer = client.post("/v1/market/parties/iron/documents", json=sent, headers=buyer)
    assert answer.json()["code"] == "not-allowed"
    assert len(home.parties.documents("iron")) == 1


def test_an_owner_of_an_enterprise_makes_no_staff_of_a_party_of_the_same_id_and_touches_none(
    home: Home, client: TestClient[Litestar]
) -> None:
    approved(home, "cainiao")  # a partner of the programme has this id too
    theirs = invite(home, Role.BUYER, "buyer@steel.example", partner="cainiao", actor=OPERATOR, now=NOW)
    same = {"partner": "cainiao", "position": OWNER, "actor": OPERATOR, "now": NOW}
    invited = invite(home, Role.ENTERPRISE, "owner@cainiao.example", **same)
    owner = by_cookie(home, Role.ENTERPRISE, invited["id"], partner="cainiao")
    said = {"name": "me@cainiao.example", "role": "buyer", "partner": "cainiao"}
    assert client.post("/v1/staff", json=said, headers=owner).json()["code"] == "not-allowed"
    assert client.delete(f"/v1/staff/{theirs['id']}", headers=owner).json()["code"] == "not-allowed"
    names = [each["name"] for each in client.get("/v1/staff", headers=owner).json()["items"]]
    assert names == ["owner@cainiao.example"]


def test_somebody_of_a_party_signs_in_and_is_its_buyer(home: Home, client: TestClient[Litestar]) -> None:
    approved(home, "steel")
    made = invite(home, Role.BUYER, "li.na@steel.example", partner="steel", actor=OPERATOR, now=NOW)
    accept(home, made["token"], "several words together", now=NOW)
    said = {"name": "li.na@steel.example", "password": "several words together"}
    answer = client.post("/v1/staff/session", json=said)
    assert (answer.status_code, answer.json()["role"], answer.json()["partner"]) == (201, "buyer", "steel")
    assert client.get("/v1/market/parties/steel").status_code == 200
    with pytest.raises(TanzhangError, match="sign-in-failed"):
        sign_in(home, said["name"], "another password", None, address="::1", agent=None, now=NOW)
