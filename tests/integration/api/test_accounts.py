"""Statements and records of accounts over HTTP, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from tanzhang.api.access import COOKIE
from tanzhang.api.app import create_app
from tanzhang.core.access import Role
from tanzhang.service.access import open_session
from tanzhang.service.accounts import statement
from tanzhang.service.by_account import keep
from tanzhang.service.intake import intake
from tanzhang.stores.home import Home

from ...homes import BOX_MG, account, box, new_home, on, ride, settle_on, write
from ...postgres import Server

NOW = on(12)


@pytest.fixture(params=["sqlite", "postgresql"])
def served(request: pytest.FixtureRequest, quick: Path) -> Iterator[tuple[Home, TestClient[Litestar]]]:
    if request.param == "sqlite":
        home = new_home(quick / "home")
    else:
        server: Server = request.getfixturevalue("postgres")
        home = new_home(quick / "home", book=server.address(server.database(), "reads"))
    app = create_app(home, now=lambda: NOW)
    with TestClient(app, base_url="https://tanzhang.example") as client:
        client.headers["cookie"] = f"{COOKIE}={open_session(home, Role.OPERATOR, 'somebody', now=NOW)}"
        yield home, client


def test_a_statement_follows_what_is_settled_and_kept_without_a_restart(
    served: tuple[Home, TestClient[Litestar]], quick: Path
) -> None:
    home, client = served
    anna = account(home, "cainiao", "anna")
    address = f"/v1/accounts/{anna}/statement"
    unknown = client.get(address)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown-account")
    intake(home, write(quick / "a.ndjson", [box(f"b{n}") for n in range(5)]), now=on(6))
    before = client.get(address).json()
    assert (before["confirmed"]["reduction_mg"], before["provisional"]["reduction_mg"]) == ("0", str(5 * BOX_MG))
    settle_on(home, 7)
    after = client.get(address).json()
    assert (after["confirmed"]["reduction_mg"], after["provisional"]["reduction_mg"]) == (str(5 * BOX_MG), "0")
    keep(home)
    intake(home, write(quick / "b.ndjson", [ride("r1")]), now=on(7))
    settle_on(home, 9)
    keep(home)
    assert client.get(address).json() == after == statement(home, anna)
    assert client.get("/v1/accounts/cainiao:anna/statement").json() == after
    assert client.get("/v1/accounts/amap:anna/statement").json()["outcomes"] == {"granted": 1}


def test_records_come_in_pages_the_latest_first(served: tuple[Home, TestClient[Litestar]], quick: Path) -> None:
    home, client = served
    intake(home, write(quick / "a.ndjson", [ride(f"r{n}", hour=8 + n) for n in range(7)]), now=on(6))
    settle_on(home, 9)
    address, found, cursor = "/v1/accounts/amap:anna/records", [], {}
    while True:
        page = client.get(address, params={"limit": "3", **cursor}).json()
        found += page["items"]
        if page["next"] is None:
            break
        assert len(page["items"]) == 3
        cursor = {"cursor": page["next"]}
    assert len(found) == 7
    assert [each["ended"] for each in found] == sorted((each["ended"] for each in found), reverse=True)
    assert client.get(address, params={"since": "2025-06-06"}).json() == {"items": [], "next": None}
    assert len(client.get(address, params={"until": "2025-06-06"}).json()["items"]) == 7
    for wrong, code in (({"cursor": "!"}, "cursor-malformed"), ({"limit": "0"}, "limit-unknown")):
        answer = client.get(address, params=wrong)
        assert (answer.status_code, answer.json()["code"]) == (400, code)
