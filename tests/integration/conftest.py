"""What integration tests share: a book on either database, and a home with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tanzhang.stores.home import Home
from tanzhang.stores.outgoing import PRIVATE_VARIABLE

from ..banks import Bank
from ..homes import new_home
from ..postgres import Server


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest) -> Callable[[str], str | None]:
    """The address of a book of a given name in a new database, None for one in the home."""
    if request.param == "sqlite":
        return lambda _: None
    server: Server = request.getfixturevalue("postgres")
    return lambda name: server.address(server.database(), name)


@pytest.fixture
def home(place: Callable[[str], str | None], quick: Path) -> Home:
    """A new home, its book on either database."""
    return new_home(quick / "home", book=place("tests"))


@pytest.fixture
def bank(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bank]:
    """A bank that this machine may ask."""
    monkeypatch.setenv(PRIVATE_VARIABLE, "1")
    made = Bank()
    yield made
    made.close()
