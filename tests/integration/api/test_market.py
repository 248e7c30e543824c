"""The market's terms over HTTP: read by everybody, published by the operator, once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from tanzhang.api.access import COOKIE, CSRF_HEADER
from tanzhang.api.app import create_app
from tanzhang.core.access import Role
from tanzhang.service.access import csrf_token, open_session
from tanzhang.stores.home import Home

from ...homes import market_home, new_home
from .conftest import NOW


@pytest.fixture
def home(place: Callable[[str], str | None], quick: Path) -> Home:
    return market_home(quick / "home", book=place("tests"))


@pytest.fixture
def client(home: Home) -> Iterator[TestClient[Litestar]]:
    with TestClient(create_app(home, now=lambda: NOW), base_url="https://tanzhang.example") as client:
        yield client


def test_an_operator_publishes_terms_that_anybody_reads(home: Home, client: TestClient[Litestar]) -> None:
    assert client.get("/v1/market/terms").json()["published"] == []
    token = open_session(home, Role.OPERATOR, "wang", now=NOW)
    headers = {"cookie": f"{COOKIE}={token}", CSRF_HEADER: csrf_token(token)}
    first = client.post("/v1/market/terms", headers=headers)
    assert (first.status_code, first.json()["public_since"]) == (201, "2025-06-08")
    assert client.post("/v1/market/terms", headers=headers).json() == first.json()
    shown = client.get("/v1/market/terms")
    (said,) = shown.json()["published"]
    assert (said["entry"], said["lots_may_freeze_from"]) == (first.json()["entry"], "2025-06-18")
    assert client.get("/v1/market/terms", headers={"if-none-match": shown.headers["etag"]}).status_code == 304
    acts = [each["act"] for each in client.get("/v1/audit", headers=headers).json()["items"]]
    assert acts.count("market terms published") == 1


def test_a_programme_without_a_market_says_so(quick: Path) -> None:
    with TestClient(create_app(new_home(quick / "none"), now=lambda: NOW)) as client:
        answer = client.get("/v1/market/terms")
        assert (answer.status_code, answer.json()["code"]) == (404, "no-market")
