"""Orders that wait: placed together, a few of one account at a time, refused aloud when the process ends."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.service import teller as module
from tanzhang.service.mall import Placed, Wanted
from tanzhang.service.teller import Teller
from tanzhang.stores.home import Home

from ...homes import new_home
from ...mall import NOW, code, grant, offer, person


@pytest.fixture
def home(quick: Path) -> Home:
    return new_home(quick / "home")


class Counter:
    """A teller whose placing can be held up, and what it answered."""

    def __init__(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        self.teller = Teller(home, lambda: NOW)
        self.answers: dict[str, Placed] = {}
        self.groups: list[int] = []
        self.began, self.go, self.all = threading.Event(), threading.Event(), threading.Condition()
        self.rooms = ExitStack()
        honest = module.place

        def place(home: Home, wanted: Sequence[Wanted], **named: object) -> list[Placed]:
            self.began.set()
            assert self.go.wait(10)
            self.groups.append(len(wanted))
            if any(each.key == "bug" for each in wanted):
                raise RuntimeError("a bug")
            if any(each.key == "no book" for each in wanted):
                raise refuse("book-unusable", "gone", where="book", remedy="wait")
            return honest(home, wanted, **named)  # type: ignore[arg-type]

        monkeypatch.setattr(module, "place", place)

    def ask(self, key: str, who: int = 1) -> None:
        account = person(who)
        with ExitStack() as opened:
            room = opened.enter_context(self.teller.room(str(account), 100))
            self.teller.submit(Wanted(account, "coffee", key), room, lambda placed: self._take(key, placed))
            self.rooms.push(opened.pop_all())

    def _take(self, key: str, placed: Placed) -> None:
        with self.all:
            self.answers[key] = placed
            self.all.notify_all()

    def wait(self, count: int) -> dict[str, str | None]:
        with self.all:
            assert self.all.wait_for(lambda: len(self.answers) >= count, 10)
        return {key: code(placed) for key, placed in self.answers.items()}


def test_orders_that_wait_are_placed_together_and_a_bug_takes_no_other_down(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(home)
    grant(home, [person(each) for each in range(1, 6)], 100)
    desk = Counter(home, monkeypatch)
    desk.ask("first")
    assert desk.began.wait(10)
    for who, key in enumerate(["a", "bug", "b"], 2):
        desk.ask(key, who)
    desk.go.set()
    assert desk.wait(4) == {"first": None, "a": None, "bug": "internal-error", "b": None}
    assert desk.groups == [1, 3, 1, 1, 1]
    desk.ask("no book", 5)
    assert desk.wait(5)["no book"] == "book-unusable"
    desk.rooms.close()
    assert desk.teller.load == (0, 0, 0)
    desk.teller.close()


def test_one_account_may_have_eight_orders_waiting_and_others_are_heard(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(home)
    grant(home, [person(1), person(2)], 10_000)
    desk = Counter(home, monkeypatch)
    for number in range(8):
        desk.ask(str(number))
    with pytest.raises(TanzhangError, match="too-many-requests"):
        desk.ask("ninth")
    desk.ask("other", 2)
    desk.go.set()
    assert set(desk.wait(9).values()) == {None}
    desk.teller.close()
    with pytest.raises(TanzhangError, match="shutting-down"):
        desk.ask("late", 2)
