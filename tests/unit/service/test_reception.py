"""Requests that wait: taken in together, bounded, refused when it is too much, never lost and never silent."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.service.receive import Answer, Receiver, Request
from tanzhang.service.reception import Limits, Reception
from tanzhang.stores.home import Home
from tanzhang.stores.register.deliveries import inbox

from ...homes import box, new_home, on


class Desk:
    """A reception whose receiver can be held up, and what it answered."""

    def __init__(self, home: Home, monkeypatch: pytest.MonkeyPatch, limits: Limits) -> None:
        self.reception = Reception(home, lambda: on(6), limits)
        self.answers: dict[str, Answer] = {}
        self.groups: list[int] = []
        self.began, self.go = threading.Event(), threading.Event()
        self.before: Callable[[list[Request]], None] = lambda _: None
        self._rooms = ExitStack()
        self._all = threading.Condition()
        honest = Receiver.receive

        def receive(receiver: Receiver, requests: list[Request], **options: Any) -> list[Answer]:
            self.began.set()
            assert self.go.wait(10)
            self.groups.append(len(requests))
            self.before(requests)
            return honest(receiver, requests, **options)

        monkeypatch.setattr(Receiver, "receive", receive)

    def send(self, name: str, *, partner: str = "cainiao", rows: int = 1, dry_run: bool = False) -> None:
        events = [json.dumps(box(f"{name}-{row}")).encode() for row in range(rows)]
        request = Request(partner, events, body=b"".join(events))
        with ExitStack() as opened:
            room = opened.enter_context(self.reception.room(partner, len(request.body), dry_run=dry_run))
            self.reception.submit(request, room, lambda answer: self._take(name, answer))
            self._rooms.push(opened.pop_all())

    def _take(self, name: str, answer: Answer) -> None:
        with self._all:
            self.answers[name] = answer
            self._all.notify_all()

    def wait(self, count: int) -> None:
        with self._all:
            assert self._all.wait_for(lambda: len(self.answers) >= count, 10)

    def leave(self) -> None:
        self._rooms.close()

    def codes(self) -> dict[str, str | None]:
        return {name: answer.error and answer.error.code for name, answer in self.answers.items()}


@pytest.fixture
def home(quick: Path) -> Home:
    return new_home(quick / "home")


@pytest.fixture
def desk(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    limits = Limits(group_rows=10, waiting_requests=8, waiting_rows=40, waiting_bytes=1_000_000)
    desk = Desk(home, monkeypatch, limits)
    yield desk
    desk.go.set()
    desk.reception.close()


def test_what_waits_is_taken_in_together_up_to_the_size_of_a_group(desk: Desk, home: Home) -> None:
    desk.send("first")
    assert desk.began.wait(10)
    for name in "abc":
        desk.send(name, rows=4, partner="cainiao" if name != "b" else "amap")
    desk.go.set()
    desk.wait(4)
    assert desk.groups == [1, 2, 1]
    assert desk.codes() == dict.fromkeys(("first", "a", "b", "c"))
    assert [row.rows for row in home.book.query(sa.select(inbox).order_by(inbox.c.id))] == [1, 8, 4]
    assert desk.reception.counts == {"groups": 3, "requests": 4, "rows": 13}


def test_a_request_larger_than_a_group_is_taken_in_alone(desk: Desk) -> None:
    desk.go.set()
    desk.send("large", rows=30)
    desk.wait(1)
    assert desk.groups == [1]


def test_one_partner_may_have_its_share_and_all_together_what_there_is(desk: Desk) -> None:
    for number in range(4):
        desk.send(str(number))
    with pytest.raises(TanzhangError, match="too-many-requests"):
        desk.send("fifth")
    for number in range(4):
        desk.send(f"a{number}", partner="amap")
    with pytest.raises(TanzhangError, match="overloaded"):
        desk.send("b", partner="alipay")
    assert desk.reception.load[0] == 8
    assert desk.reception.counts["refused"] == 2
    desk.go.set()
    desk.wait(8)
    desk.leave()
    assert desk.reception.load == (0, 0, 0)
    desk.send("again", partner="alipay")
    desk.wait(9)
    assert set(desk.codes().values()) == {None}


def test_rows_are_counted_when_they_are_known_and_refused_where_they_do_not_fit(desk: Desk) -> None:
    desk.send("first")
    desk.send("many", rows=18)
    with pytest.raises(TanzhangError, match="too-many-requests"):
        desk.send("more", rows=2)
    desk.send("fits", rows=1)
    assert desk.reception.load[:2] == (3, 20)
    desk.send("alone", rows=18, partner="amap")
    with pytest.raises(TanzhangError, match="overloaded"):
        desk.send("too much", rows=3, partner="alipay")
    assert desk.reception.load[:2] == (4, 38)


def test_a_partner_with_nothing_waiting_is_heard_however_much_it_sends(desk: Desk) -> None:
    desk.go.set()
    desk.send("huge", rows=100)
    desk.wait(1)
    assert desk.codes() == {"huge": None}


def test_a_rehearsal_is_answered_in_the_same_group_and_keeps_nothing(desk: Desk, home: Home) -> None:
    desk.send("first")
    assert desk.began.wait(10)
    desk.send("dry", dry_run=True)
    desk.send("real")
    desk.go.set()
    desk.wait(3)
    assert json.loads(desk.answers["dry"].body)["accepted"] == 1
    assert [row.rows for row in home.book.query(sa.select(inbox))] == [1, 1]


def test_an_end_answers_what_is_being_taken_in_and_refuses_what_waits(desk: Desk, home: Home) -> None:
    desk.send("first")
    assert desk.began.wait(10)
    desk.send("second")
    closing = threading.Thread(target=desk.reception.close)
    closing.start()
    desk.wait(1)
    assert desk.codes() == {"second": "shutting-down"}
    desk.go.set()
    closing.join(10)
    assert desk.codes() == {"second": "shutting-down", "first": None}
    assert [row.rows for row in home.book.query(sa.select(inbox))] == [1]
    with pytest.raises(TanzhangError, match="shutting-down"):
        desk.send("third")


def test_a_request_that_cannot_be_taken_in_does_not_take_the_others_down(desk: Desk, home: Home) -> None:
    def fail(requests: list[Request]) -> None:
        if any(b"bad-0" in request.body for request in requests):
            raise ZeroDivisionError

    desk.before = fail
    desk.send("first")
    assert desk.began.wait(10)
    for name in ("good", "bad", "fine"):
        desk.send(name)
    desk.go.set()
    desk.wait(4)
    assert desk.codes() == {"first": None, "good": None, "bad": "internal-error", "fine": None}
    assert sum(row.rows for row in home.book.query(sa.select(inbox))) == 3


def test_a_book_that_cannot_be_used_is_told_to_everybody_and_the_next_group_tries_again(desk: Desk) -> None:
    def fail(_: list[Request]) -> None:
        desk.before = lambda _: None
        raise refuse("book-unusable", "the disk is full", where="the book", remedy="free space")

    desk.before = fail
    desk.go.set()
    desk.send("first")
    desk.wait(1)
    desk.send("second")
    desk.wait(2)
    assert desk.codes() == {"first": "book-unusable", "second": None}
