"""If-Match: what somebody else has changed since it was read is not changed unseen."""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from tanzhang.core.access import Role
from tanzhang.service.consents import show_name
from tanzhang.service.friends import form_group, join_group
from tanzhang.service.staff import invite
from tanzhang.stores.home import Home

from ...homes import box, settle_on
from .callers import by_cookie, by_key
from .conftest import NOW
from .test_trail import OLGA

Client = TestClient[Litestar]
Headers = dict[str, str]
ME, OTHER = (str(uuid.UUID(int=number << 100)) for number in (7, 9))


def tag_at(client: Client, path: str, headers: Headers) -> str:
    answer = client.get(path, headers=headers)
    assert answer.status_code == 200, answer.text
    assert client.get(path, headers={**headers, "if-none-match": answer.headers["etag"]}).status_code == 304
    return str(answer.headers["etag"])


def changed(client: Client, method: str, path: str, headers: Headers, tag: str, body: Any = None) -> Any:
    return client.request(method, path, headers={**headers, "if-match": tag}, json=body)


def assert_seen_alone(
    client: Client, path: str, headers: Headers, change: tuple[str, str, Any], other: tuple[str, str, Any]
) -> None:
    """A change goes through with the tag of now, and not with one of before ``other`` was done."""
    stale = tag_at(client, path, headers)
    method, where, body = other
    assert client.request(method, where, headers=headers, json=body).status_code < 300
    method, where, body = change
    refused = changed(client, method, where, headers, stale, body)
    assert (refused.status_code, refused.json()["code"]) == (412, "resource-changed"), path
    assert "read it again" in refused.json()["remedy"]
    now = tag_at(client, path, headers)
    assert changed(client, method, where, headers, f"W/{now}", body).status_code == 412  # weak tags match nothing
    assert changed(client, method, where, headers, f'"another", {now}', body).status_code < 300, path


def test_groups_and_consents_of_a_person(home: Home, client: Client) -> None:
    me = by_cookie(home, Role.PERSON, ME)
    made = form_group(home, ME, "Floor", now=NOW)
    join_group(home, OTHER, made["code"], now=NOW)
    path = f"/v1/me/groups/{made['id']}"
    rename = ("PATCH", path, {"name": "An"})
    assert_seen_alone(client, path, me, ("PATCH", path, {"name": "Bo"}), rename)
    assert_seen_alone(client, path, me, ("DELETE", path, None), ("PATCH", path, {"name": None}))
    consent = show_name(home, ME, "Panda", now=NOW)["id"]
    tag = tag_at(client, f"/v1/me/consents/{consent}", me)
    show_name(home, ME, "Bear", now=NOW)  # takes the first one back
    refused = changed(client, "DELETE", f"/v1/me/consents/{consent}", me, tag)
    assert (refused.status_code, refused.json()["code"]) == (412, "resource-changed")
    other = by_cookie(home, Role.PERSON, OTHER)
    for hidden in (f"/v1/me/consents/{consent}", "/v1/me/groups/nowhere"):
        assert client.get(hidden, headers=other).json()["code"] == "not-found"
        assert changed(client, "DELETE", hidden, other, tag).json()["code"] == "not-found"


def test_webhooks_and_staff(home: Home, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANZHANG_WEBHOOKS_PRIVATE", "1")
    operator = by_cookie(home, Role.OPERATOR, "olga")
    body = {"url": "http://127.0.0.1:9/hook", "types": ["settled"]}
    made = client.post("/v1/webhooks?partner=cainiao", json=body, headers=operator).json()
    path = f"/v1/webhooks/{made['id']}"
    assert "secret" not in client.get(path, headers=operator).json()
    assert_seen_alone(client, path, operator, ("POST", f"{path}/secret", None), ("DELETE", path, None))
    assert client.get(path, headers=by_key(home, "amap")).status_code == 404
    ann = invite(home, "auditor", "ann", actor=OLGA, now=NOW)["id"]
    path = f"/v1/staff/{ann}"
    tag = tag_at(client, path, operator)
    assert changed(client, "POST", f"{path}/invitation", operator, tag).status_code < 300
    stale = tag_at(client, path, operator)
    assert changed(client, "DELETE", path, operator, stale).status_code == 200
    refused = changed(client, "POST", f"{path}/invitation", operator, stale)
    assert (refused.status_code, refused.json()["code"]) == (412, "resource-changed")


def test_reports_and_uploads_of_a_partner(home: Home, client: Client) -> None:
    cainiao = by_key(home, "cainiao")
    lines = f"{json.dumps(box('b1'))}\n"
    sent = {**cainiao, "content-type": "application/x-ndjson"}
    assert client.post("/v1/actions:batch", content=lines, headers=sent).status_code == 202
    tag = tag_at(client, "/v1/actions/b1", cainiao)
    settle_on(home, 8)
    take_back = ("POST", "/v1/actions/b1/withdraw", {"subject": "anna"})
    refused = changed(client, *take_back[:2], cainiao, tag, take_back[2])
    assert (refused.status_code, refused.json()["code"]) == (412, "resource-changed")
    corrected = changed(client, "POST", "/v1/actions/b1/correct", cainiao, tag, box("b2"))
    assert corrected.json()["code"] == "resource-changed"
    now = tag_at(client, "/v1/actions/b1", cainiao)
    assert changed(client, *take_back[:2], cainiao, now, take_back[2]).status_code == 202
    data = lines.encode()
    begun = {"name": "a.ndjson", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    upload = client.post("/v1/uploads", json={**begun, "content_type": sent["content-type"]}, headers=cainiao).json()
    path = f"/v1/uploads/{upload['id']}"
    tag = tag_at(client, path, cainiao)
    piece = {**cainiao, "upload-offset": "0", "content-type": "application/offset+octet-stream"}
    assert client.patch(path, content=data, headers=piece).status_code == 204
    for method, where in (("POST", f"{path}/complete"), ("DELETE", path)):
        assert changed(client, method, where, cainiao, tag).json()["code"] == "resource-changed"
    assert changed(client, "DELETE", path, cainiao, tag_at(client, path, cainiao)).status_code == 204
