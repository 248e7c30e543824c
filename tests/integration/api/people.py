"""What tests about persons share: homes on both databases, people who are signed in, codes that were sent."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from litestar import Litestar
from litestar.testing import TestClient

from tanzhang.api.access import COOKIE, CSRF_HEADER
from tanzhang.api.app import create_app
from tanzhang.core.access import Role
from tanzhang.service.access import csrf_token, issue_key, open_session
from tanzhang.stores.home import Home

from ...homes import new_home, on
from ...postgres import Server

PUBLIC = "https://tanzhang.example"
NOW = on(8)


class Clock:
    """The service's clock, set by the test."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


def any_home(request: pytest.FixtureRequest, folder: Path) -> Home:
    """A home on the database that a fixture's parameter names."""
    if request.param == "sqlite":
        return new_home(folder / "home")
    server: Server = request.getfixturevalue("postgres")
    return new_home(folder / "home", book=server.address(server.database(), "people"))


def set_up(home: Home, **settings: Any) -> None:
    """The operator's settings for persons."""
    (home.folder / "keys" / "people.yaml").write_text(yaml.safe_dump({"public_url": PUBLIC, **settings}))


def browser(home: Home, clock: Callable[[], datetime]) -> TestClient[Litestar]:
    """A browser of somebody who is not signed in yet."""
    return TestClient(create_app(home, now=clock), base_url=PUBLIC)


def person(home: Home, account: str, *, now: datetime = NOW) -> dict[str, str]:
    """What the browser of a signed-in person sends."""
    token = open_session(home, Role.PERSON, account, agent="a test", now=now)
    return {"cookie": f"{COOKIE}={token}", CSRF_HEADER: csrf_token(token)}


def partner(home: Home, name: str = "cainiao", scope: str = "link") -> dict[str, str]:
    """What a partner's program sends."""
    return {"authorization": f"Bearer {issue_key(home, name, [scope], now=NOW)['key']}"}


def code_in(caplog: pytest.LogCaptureFixture) -> str:
    """The last code that the console sender said it would have sent."""
    said = [record.getMessage() for record in caplog.records if record.name == "tanzhang.codes"]
    assert "DEVELOPMENT ONLY" in said[-1]
    return said[-1][-6:]
