"""What tests of the service over HTTP share: a home on either database, its application, and keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from tanzhang.api.app import create_app
from tanzhang.core.access import Scope
from tanzhang.service.access import issue_key
from tanzhang.stores.home import Home

from ...homes import new_home, on
from ...postgres import Server

NOW = on(8)


@pytest.fixture(params=["sqlite", "postgresql"])
def home(request: pytest.FixtureRequest, quick: Path) -> Home:
    if request.param == "sqlite":
        return new_home(quick / "home")
    server: Server = request.getfixturevalue("postgres")
    return new_home(quick / "home", book=server.address(server.database(), "access"))


@pytest.fixture
def client(home: Home) -> Iterator[TestClient[Litestar]]:
    with TestClient(create_app(home, now=lambda: NOW), base_url="https://tanzhang.example") as client:
        yield client


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def partner(home: Home, name: str = "cainiao") -> dict[str, str]:
    """What a program of a partner sends, whose key may do everything."""
    return bearer(issue_key(home, name, Scope, now=NOW)["key"])
