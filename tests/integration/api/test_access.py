"""Who is recognised, and who may use what: every route as every role and as a stranger."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from litestar import Litestar, get
from litestar.testing import TestClient

from tanzhang.api.access import COOKIE, CSRF_HEADER, allow, allowed_by, check_declared, routes_of
from tanzhang.api.app import create_app
from tanzhang.core.access import Role, Scope
from tanzhang.core.errors import TanzhangError
from tanzhang.service.access import csrf_token, issue_key, open_session
from tanzhang.stores.home import Home

from .conftest import NOW, bearer


def signed_in(home: Home, role: Role) -> dict[str, str]:
    """What a caller of a role sends."""
    if role is Role.STRANGER:
        return {}
    if role is Role.PARTNER:
        return bearer(issue_key(home, "cainiao", Scope, now=NOW)["key"])
    token = open_session(home, role, "somebody", partner="cainiao" if role is Role.ENTERPRISE else None, now=NOW)
    return {"cookie": f"{COOKIE}={token}", CSRF_HEADER: csrf_token(token)}


def _given(parameter: re.Match[str]) -> str:
    """A value that a parameter of a path takes."""
    kind = parameter.group().strip("{}").partition(":")[2]
    return {"int": "1", "uuid": "00000000-0000-0000-0000-000000000001", "date": "2025-06-05"}.get(kind, "x")


@pytest.mark.parametrize("role", [*Role])
def test_every_route_refuses_every_role_that_it_is_not_for(
    home: Home, client: TestClient[Litestar], role: Role
) -> None:
    headers = signed_in(home, role)
    for path, handler in routes_of(client.app):
        roles, _ = allowed_by(handler)
        if role in roles:
            continue
        for method in handler.http_methods:
            answer = client.request(method, re.sub("{[^}]*}", _given, path), headers=headers)
            wanted = ("not-signed-in", 401) if role is Role.STRANGER else ("not-allowed", 403)
            code = wanted[0] if method == "HEAD" else answer.json()["code"]
            assert (code, answer.status_code) == wanted, (method, path)


def test_a_route_that_says_not_whom_it_is_for_keeps_the_application_from_starting() -> None:
    @get("/open", sync_to_thread=False)
    def forgotten() -> None: ...

    with pytest.raises(RuntimeError, match="/open"):
        check_declared(Litestar([forgotten]))


@get("/for-reports", opt=allow(Role.PARTNER, scope=Scope.REPORT), sync_to_thread=False)
def for_reports() -> str:
    return "done"


def test_keys_are_recognised_until_they_end(home: Home) -> None:
    app = create_app(home, now=lambda: NOW)
    app.register(for_reports)
    good = issue_key(home, "cainiao", ["report"], now=NOW, lasts=timedelta(days=1))
    old = issue_key(home, "cainiao", ["report"], now=NOW - timedelta(days=2), lasts=timedelta(days=1))
    other = issue_key(home, "cainiao", ["ledger"], label="another", now=NOW)
    with TestClient(app) as client:

        def said(key: str) -> str:
            answer = client.get("/for-reports", headers=bearer(key))
            return "done" if answer.status_code == 200 else str(answer.json()["code"])

        assert said(good["key"]) == "done"
        assert said(old["key"]) == "key-expired"
        assert said(other["key"]) == "scope-missing"
        assert said(good["key"][:-1] + ("a" if good["key"][-1] != "a" else "b")) == "key-unknown"
        assert said("no key") == "key-unknown"
        assert client.get("/for-reports", headers={"authorization": "Basic eDp5"}).json()["code"] == "key-unknown"
        assert home.access.revoke_key(good["id"], "2025-06-08T00:00:00")
        app.state.recogniser.forget()
        assert said(good["key"]) == "key-expired"
    row = home.access.key(good["id"])
    assert row is not None
    assert good["key"] not in str(row)
    assert [each.id for each in home.access.keys("cainiao")] == [*sorted([good["id"], other["id"]]), old["id"]]


def test_keys_are_issued_to_partners_with_scopes_only(home: Home) -> None:
    for partner, scopes, code in (
        ("nobody", ["report"], "unknown-partner"),
        ("cainiao", [], "scope-unknown"),
        ("cainiao", ["report", "everything"], "scope-unknown"),
    ):
        with pytest.raises(TanzhangError, match=code):
            issue_key(home, partner, scopes, now=NOW)


def test_health_tells_a_process_that_lives_from_one_that_serves(home: Home, client: TestClient[Litestar]) -> None:
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").json()["status"] == "ready"
    (home.folder / "keys" / "identity.key").write_text("another")
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"] == {"book": "ready", "keys": "key-changed", "log": "ready"}


def test_what_is_not_there_is_a_problem_with_a_code(client: TestClient[Litestar]) -> None:
    answer = client.get("/nowhere")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.json()["code"] == "not-found"
    assert client.post("/healthz").json()["code"] == "method-not-allowed"
    assert client.get("/openapi.json").json()["openapi"].startswith("3.1")
