"""Whatever joins, parts and is booked in whatever order: nothing is lost, and nothing stays where it is carried on."""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from tanzhang.engine.tally import SCHEMA
from tanzhang.service.giving import give_grams, given_by, go_along
from tanzhang.service.joining import own_accounts
from tanzhang.service.market.available import available_mg
from tanzhang.stores.book import Book, batch, system_account, transfer
from tanzhang.stores.register.joinings import Joinings
from tanzhang.stores.register.lots import Lots

from ..memory import folder_in_memory

ACCOUNTS = [uuid.UUID(int=number << 64) for number in range(1, 6)]
PARTNER = system_account("partner:x")
BATCH = {each.name: "text" for each in batch.c if each.name not in ("seq", "chain", "entry")} | {"records": 1}
ACCOUNT = st.integers(0, len(ACCOUNTS) - 1)
KEPT = (
    st.tuples(st.just("book"), ACCOUNT, st.integers(1, 50)),
    st.tuples(st.just("join"), ACCOUNT, ACCOUNT),
    st.tuples(st.just("part"), ACCOUNT, st.just(0)),
    st.tuples(st.just("give"), ACCOUNT, st.integers(1, 50)),
)
LOST = (
    st.tuples(st.just("take back"), ACCOUNT, st.integers(1, 50)),
    st.tuples(st.just("erase"), ACCOUNT, st.just(0)),
)
PROJECT = system_account("donated:x")


class World:
    """A book, and what each account was booked itself."""

    def __init__(self, folder: Path) -> None:
        self.book = Book.create(folder / "book.sqlite", {"programme": "x"}, bytes(32))
        self.joinings = Joinings(self.book)
        self.home: Any = SimpleNamespace(book=self.book, joinings=self.joinings, lots=Lots(self.book))
        self.given = 0
        self.moment = 0
        self.booked: dict[uuid.UUID, int] = defaultdict(int)
        self.target: dict[uuid.UUID, uuid.UUID] = {}
        self.erased: set[uuid.UUID] = set()
        self.batches = 0

    def root(self, account: uuid.UUID) -> uuid.UUID:
        while account in self.target:
            account = self.target[account]
        return account

    def post(self, account: uuid.UUID, amount: int) -> None:
        rows = sorted([(account.bytes, amount), (PARTNER.bytes, -amount)])
        table = pa.table(
            {
                "account": pa.array([each for each, _ in rows], pa.uuid()),
                "unit": ["co2e_mg", "co2e_mg"],
                "amount": pa.array([each for _, each in rows], pa.int64()),
            }
        )

        def also(con: sa.Connection) -> None:
            self.joinings.follow(con, table, "now")
            self.joinings.seal(con, "x")

        args: tuple[Any, ...] = (lambda: BATCH, self.batches, [], table, SCHEMA.empty_table(), b"next")
        self.book.commit_batch(*args, self.book.heads(), also=also)
        self.batches += 1
        self.booked[account] += amount

    def take(self, what: str, first: uuid.UUID, second: int) -> None:
        if first in self.erased:
            return
        self.moment += 1
        if what == "give":
            self.give(first, second)
        elif what == "book":
            self.post(first, second)
        elif what == "take back":
            if self.booked[first]:
                self.post(first, -min(second, self.booked[first]))
        elif what == "join":
            self.join(first, ACCOUNTS[second])
        elif what == "part":
            self.part(first)
        else:
            self.erase(first)

    @property
    def now(self) -> str:
        return f"{self.moment:06}"

    def give(self, account: uuid.UUID, amount: int) -> None:
        free = available_mg(self.home, account)
        assert free <= 0 or account not in self.target  # what is carried holds nothing
        part = min(amount, free)
        if part > 0:
            with self.book.transaction() as con:
                give_grams(self.home, con, account, PROJECT, "donated_mg", part, "donate", self.now)
            self.given += part

    def join(self, source: uuid.UUID, target: uuid.UUID) -> None:
        if source in self.target or self.root(target) == source or target in self.erased:
            return
        values = {
            "id": uuid.uuid4().hex,
            "kind": "link",
            "source": str(source),
            "target": str(target),
            "carries": 1,
            "valid_from": "2025-06-05",
            "moved": "[]",
            "made_at": self.now,
        }
        with self.book.transaction() as con:
            self.joinings.begin(con, values, self.book.balance(source))
        self.target[source] = target

    def part(self, source: uuid.UUID) -> None:
        row = self.joinings.of_source(str(source))
        assert (row is not None) == (source in self.target)
        if row is not None:
            with self.book.transaction() as con:
                self.joinings.finish(con, row, at=self.now, valid_until="2025-06-06")
                go_along(self.home, con, row, self.now)
            del self.target[source]

    def erase(self, account: uuid.UUID) -> None:
        with self.book.transaction() as con:
            parted = partial(go_along, self.home, con, at=self.now)
            self.joinings.forget(con, [str(account)], self.now, "2025-06-06", parted)
        self.target = {s: t for s, t in self.target.items() if account not in (s, t)}
        self.erased.add(account)

    def check(self) -> None:
        for account in ACCOUNTS:
            if account in self.erased:
                continue
            own = [each for each in ACCOUNTS if each not in self.erased and self.root(each) == account]
            wanted = 0 if account in self.target else sum(self.booked[each] for each in own)
            assert self.book.balance(account).get("co2e_mg", 0) == wanted
        sums: dict[tuple[int, str], int] = defaultdict(int)
        for row in self.book.rows(transfer):
            sums[row.number, row.unit] += row.amount
        assert not any(sums.values())
        for row in self.joinings.carrying():
            flows = {unit: int(amount) for unit, amount in json.loads(row.flows).items()}
            assert all(amount > 0 if unit == "co2e_mg" else amount < 0 for unit, amount in flows.items())
        for account in ACCOUNTS:
            if account not in self.erased and account not in self.target:
                gave = given_by(self.home, own_accounts(self.home, account))
                assert all(each.amount_mg > 0 for each in gave)
                assert -self.book.balance(account).get("donated_mg", 0) == sum(each.amount_mg for each in gave)


@settings(max_examples=20)
@given(st.lists(st.one_of(*KEPT, *LOST), max_size=14))
def test_holdings_are_where_joinings_put_them_and_come_back_when_they_end(steps: list[tuple[str, int, int]]) -> None:
    with folder_in_memory("joinings") as folder:
        world = World(folder)
        for what, first, second in steps:
            world.take(what, ACCOUNTS[first], second)
            world.check()
        for account in ACCOUNTS:
            if account not in world.erased:
                world.part(account)
        world.check()
        world.book.close()


@settings(max_examples=60)
@given(st.lists(st.one_of(*KEPT), max_size=18))
def test_no_gram_is_given_twice_however_accounts_join_and_part(steps: list[tuple[str, int, int]]) -> None:
    with folder_in_memory("joinings") as folder:
        world = World(folder)
        for what, first, second in steps:
            world.take(what, ACCOUNTS[first], second)
            world.check()
            left = [available_mg(world.home, account) for account in ACCOUNTS]
            assert min(left) >= 0
            assert sum(left) == sum(world.booked.values()) - world.given
        world.book.close()
