"""What a reader knows of a home as of one moment: records by account, open reports, consents, keys.

A view never changes; the next one takes over what is still so. It is made inside a snapshot of the book, so that a
settlement shows in all of it or in none.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from tanzhang.core.recipe import Recipe
from tanzhang.core.record import ERASED, Record
from tanzhang.core.settlement import Rules, caps_of, person_claim_fields
from tanzhang.engine import meeting
from tanzhang.engine.account_rows import COLUMNS, ROW, Rows, Words, json_of, place_of, records_of, rows_of
from tanzhang.engine.columns import IDENTITY_BYTES, Numbers, date32_of, fixed_bytes
from tanzhang.engine.kernel import quote
from tanzhang.engine.reference import Link, settle
from tanzhang.engine.settle import SAME_REPORT
from tanzhang.service.by_account import chains, hidden_of, in_memory
from tanzhang.service.consent_index import ConsentIndex
from tanzhang.service.history import History, recipes_of
from tanzhang.service.open_near import OpenIndex, OpenReport, accepted
from tanzhang.stores.book import batch, consumption, erasure, guard_move, link, link_file, replacement, submission
from tanzhang.stores.by_account import UNITS, ByAccount, Run, among, joined
from tanzhang.stores.home import Home
from tanzhang.stores.parts import record_files
from tanzhang.stores.storage import parquet_file

AT_ONCE = 20_000
"""Records that no run on disk has yet are sorted when they are asked for, up to so many; more are looked through."""
_COUNTED = (batch, replacement, submission, link, link_file, consumption, erasure, guard_move)
# Asked with every question, so it is not put together by SQLAlchemy each time.
_VERSION = str(sa.select(*(sa.select(sa.func.max(table.c.seq)).scalar_subquery() for table in _COUNTED)))
_DAY_US = 86_400_000_000
_NOBODY = uuid.UUID(int=0)
_KEYS = {"action_id": meeting.reference_keys, "withdraws": meeting.taken_back_keys, "claim": meeting.claim_keys}


def version_of(home: Home) -> dict[str, int | None]:
    """What tells one state of a book from another: the last row of each table that a view is made of."""
    with home.book.reading() as con:
        found = con.exec_driver_sql(_VERSION).one()
    return {table.name: last for table, last in zip(_COUNTED, found, strict=True)}


@dataclass(frozen=True, slots=True)
class Found:
    """Where a record is: batch, number in it, outcome, and its account unless it is erased."""

    batch: int
    number: int
    outcome: str
    account: bytes | None

    @property
    def place(self) -> int:
        """As rows have it."""
        return place_of(self.batch, self.number)


class Passed(Exception):  # noqa: N818 - no error: the book has moved on, and one asks again
    """A view can no longer be asked for what it has not read yet."""


class View:
    """One state of a home, to be asked about single accounts and actions. Made by :meth:`following`."""

    def __init__(self, home: Home) -> None:
        """A view before anything; :meth:`following` makes the first one of it."""
        self.home = home
        self.version: dict[str, int | None] = {}
        self.batches: list[Any] = []
        self._runs: list[tuple[Run, Any, Numbers]] = []
        self._words = Words()
        self._unsorted: list[Any] = []
        self._links: ConsentIndex | None = None
        self._open: OpenIndex | None = None
        self._reading_open = threading.Lock()
        self.history: History | None = None
        self._recipes: dict[str, Recipe] = {}

    def following(self, *, whole: bool = False) -> View:
        """The home as it is now. Open reports are read when they are asked for first, or at once if ``whole``."""
        home = self.home
        made = View(home)
        with home.book.snapshot():
            made.version = version_of(home)
            changed = {name for name, last in made.version.items() if self.version.get(name, -1) != last}
            made._words, made._recipes = self._words, self._recipes
            if changed & {"batch", "replacement"} or self.history is None:
                made.batches = home.book.batches()
                made.history = History(home, made._recipes).catch_up(keep=False)
            else:
                made.batches, made.history = self.batches, self.history
            made._take_runs(self._runs)
            if "submission" in changed:
                recipes_of(home, made._recipes)
            stale = changed & {"link", "link_file", "replacement", "erasure"} or self._links is None
            made._links = ConsentIndex(home) if stale else self._links
            stale = changed & {"batch", "submission", "consumption", "replacement", "guard_move"}
            made._open = self._open
            if stale and (whole or self._open is not None):
                made._open = (self._open or OpenIndex()).following(home)
        return made

    def _take_runs(self, before: Sequence[tuple[Run, Any, Numbers]]) -> None:
        """Runs on disk; of what has none yet the run in memory, if that is little."""
        store = ByAccount(self.home.folder, chains(self.batches))
        runs, left = list(store.runs), self.batches[store.last + 1 :]
        if left and sum(row.records for row in left) <= AT_ONCE:
            last = left[-1]
            known = [run for run, _, _ in before if run.path is None and run.about.first == left[0].seq]
            same = [
                run
                for run in known
                if run.about.chain == last.chain and not len(hidden_of(self.home, run, self.batches))
            ]
            runs.append(same[0] if same else in_memory(self.home, left))
            left = []
        self._unsorted = left
        for run in runs:
            numbers = self._words.numbers_of(Words(run.about.words))
            self._runs.append((run, numbers, hidden_of(self.home, run, self.batches)))

    @property
    def is_sorted(self) -> bool:
        """Whether every batch is in a run on disk."""
        return not self._unsorted and all(run.path is not None for run, _, _ in self._runs)

    @property
    def open(self) -> OpenIndex:
        """The open reports; :class:`Passed` if they were not read and are others by now."""
        with self._reading_open:
            if self._open is None:
                with self.home.book.snapshot():
                    if version_of(self.home) != self.version:
                        raise Passed
                    self._open = OpenIndex().following(self.home)
            return self._open

    # -- accounts ---------------------------------------------------------------------------------------------

    def records(self, account: uuid.UUID) -> AccountRecords:
        """The settled records of an account, as rows, and what its batches booked in it."""
        found, booked = [], dict.fromkeys(UNITS, 0)
        for run, numbers, hidden in self._runs:
            own = run.of_account(account.bytes)
            if own is not None:
                rows, amounts = own
                if len(hidden):
                    rows = rows[~among(rows["place"], hidden)]
                if len(rows):
                    rows = rows.copy()
                    rows["texts"] = numbers[rows["texts"]]
                    found.append(rows)
                for unit, amount in zip(UNITS, amounts, strict=True):
                    booked[unit] += amount
        if self._unsorted:
            rows = self._looked_up(account)
            if len(rows):
                found.append(rows)
            self._add_unsorted(account, booked)
        return AccountRecords(account, joined(found, ROW) if found else np.zeros(0, ROW), self._words, booked)

    def booked(self, account: uuid.UUID) -> dict[str, int]:
        """Unit -> what is booked in an account, 0 included."""
        booked = dict.fromkeys(UNITS, 0)
        for run, _, _ in self._runs:
            for unit, amount in zip(UNITS, run.booked_in(account.bytes), strict=True):
                booked[unit] += amount
        if self._unsorted:
            self._add_unsorted(account, booked)
        return booked

    def transferred(self, account: uuid.UUID) -> dict[str, int]:
        """Unit -> what came to an account from others of the person, less what went to them; without units of none."""
        return self.home.book.transferred(account, batches=len(self.batches))

    def _add_unsorted(self, account: uuid.UUID, booked: dict[str, int]) -> None:
        first, last = self._unsorted[0].seq, self._unsorted[-1].seq
        for unit, amounts in self.home.book.posted(account, first).items():
            booked[unit] += sum(amount for number, amount in amounts.items() if number <= last)

    def _looked_up(self, account: uuid.UUID) -> Rows:
        """The rows of an account in batches that no run has yet, from their files."""
        files = {
            str(file.path): place_of(row.seq, file.first)
            for row in self._unsorted
            for file in record_files(self.home.storage, row)
        }
        import duckdb

        named = ", ".join(map(quote, files))
        query = (
            f"SELECT filename, file_row_number, {', '.join(COLUMNS)} FROM read_parquet([{named}], filename = true, "
            f"file_row_number = true) WHERE account = {quote(str(account))}::UUID"
        )
        try:
            table = self.home.connect().sql(query).to_arrow_table()
        except duckdb.IOException as error:  # replaced since the book was asked
            raise FileNotFoundError(str(error)) from error
        _, rows = rows_of(table, 0, self._words)
        first = np.array([files[name] for name in table["filename"].to_pylist()], dtype=np.int64)
        rows["place"] = first + np.asarray(table["file_row_number"])
        return np.sort(rows, order="place")

    def children(self, account: uuid.UUID) -> list[dict[str, Any]]:
        """The platform accounts linked to an account, with the days of consent."""
        return [] if self._links is None else self._links.children(account.bytes)

    # -- provisional ------------------------------------------------------------------------------------------

    def provisional(self, platforms: Sequence[uuid.UUID], settled: Rows | None = None) -> list[Record]:
        """What settling the open reports of platform accounts now would make of them, and of those that meet them.

        ``settled`` are records of the account that a report of anybody may take back.
        """
        own = np.zeros(0, dtype=ROW) if settled is None else settled
        reports = self.open.near([each.bytes for each in platforms], own, self._with_child)
        if not reports:
            return []
        pending = accepted(reports)
        links, accounts = self._owners(reports)
        past = self._near(reports, accounts)
        plans = {record.plan for record in (*past, *(each.record for each in reports))} - {None}
        recipes = {plan: self._recipes[plan] for plan in plans if plan is not None}
        return settle(pending, past, links, recipes, self._rules)

    def _is_monthly(self, record: Record) -> bool:
        """Whether records of the whole month may stand against a report: by a cap or a claim of the month."""
        recipe = None if record.plan is None else self._recipes[record.plan]
        if recipe is None:
            return False
        return person_claim_fields(recipe) == "month" or any(
            cap.period == "month" for cap in caps_of(recipe, self._rules)
        )

    def _with_child(self, child: bytes, day: int) -> Iterator[bytes]:
        """The platform accounts that are booked with one on a day: an account's own, and all that are linked to it."""
        yield child
        if self._links is not None:
            owner = self._links.owner(child, day)
            yield owner
            for each in self._links.children(owner):
                yield uuid.UUID(each["child"]).bytes

    @property
    def _rules(self) -> Rules:
        if self.history is None:
            raise AssertionError("a view before anything")
        return self.history.rules

    def _owners(self, reports: Sequence[OpenReport]) -> tuple[list[Link], set[bytes]]:
        links, accounts = [], set()
        for each in reports:
            child, day = each.record.child, each.record.day
            owner = child.bytes if self._links is None else self._links.owner(child.bytes, date32_of(day))
            accounts.add(owner)
            if owner != child.bytes:
                links.append(Link(child, uuid.UUID(bytes=owner), day, date.fromordinal(day.toordinal() + 1)))
        return links, accounts

    def _near(self, reports: Sequence[OpenReport], accounts: set[bytes]) -> list[Record]:
        """Every settled record that may stand against reports: of their accounts what is late enough, else by key."""
        named = [record.action_id for record in (each.record for each in reports)]
        taken = [each.record.withdraws for each in reports if each.record.withdraws is not None]
        claims = [each.record.claim for each in reports if each.record.claim is not None]
        found = self._with_keys([*named, *taken], named, claims)
        for _ in range(len(self.batches)):  # what takes back a record that was found, and so on
            known = {record.action_id for record in found.values()}
            more = self._with_keys([], sorted(known - {*named}), [])
            if more.keys() <= found.keys():
                break
            found |= more
            named += sorted(known - {*named})
        since = min(_since(each.record, self._is_monthly(each.record)) for each in reports)
        accounts = accounts | {record.account.bytes for record in found.values() if record.outcome != ERASED}
        for account in sorted(accounts):
            own = self.records(uuid.UUID(bytes=account))
            late = own.rows[own.rows["ended"] >= since]
            places = late["place"].tolist()
            found |= zip(places, records_of(late, own.account, self._words.known), strict=True)
        return [record for _, record in sorted(found.items())]

    # -- by key -----------------------------------------------------------------------------------------------

    def find(self, action: uuid.UUID) -> Found | None:
        """Where the record of a reference is: the one that was decided by itself, not its repeats."""
        column = pa.table({"action_id": pa.array([action.bytes], pa.uuid())})
        found = [
            each
            for each in self._matches(meeting.reference_keys(column).key, {"action_id": {action.bytes}})
            if each.outcome not in SAME_REPORT
        ]
        return min(found, key=lambda each: each.place, default=None)

    def about(self, actions: Sequence[uuid.UUID]) -> list[Record]:
        """The records of references, and of what takes these back, in order; without second reports of a reference."""
        found = self._with_keys(actions, actions, [])
        return [record for _, record in sorted(found.items()) if record.outcome not in SAME_REPORT]

    def record(self, found: Found) -> Record:
        """The record at a place; not an erased one."""
        if found.account is None:
            raise AssertionError(f"record {found.number} of batch {found.batch} is erased")
        own = self.records(uuid.UUID(bytes=found.account))
        (record,) = records_of(own.rows[own.rows["place"] == found.place], own.account, self._words.known)
        return record

    def _with_keys(
        self, references: Sequence[uuid.UUID], takers_of: Sequence[uuid.UUID], claims: Sequence[uuid.UUID]
    ) -> dict[int, Record]:
        """Place -> record that has one of some references, takes one of some back, or has one of some claims."""
        named = {"action_id": references, "withdraws": takers_of, "claim": claims}
        wanted = {name: {each.bytes for each in values} for name, values in named.items()}
        keys = [np.zeros(0, dtype=np.uint64)]
        makers = {
            "action_id": meeting.reference_keys,
            "withdraws": meeting.taken_back_keys,
            "claim": meeting.claim_keys,
        }
        for name, values in wanted.items():
            if values:
                keys.append(makers[name](pa.table({name: pa.array(sorted(values), pa.uuid())})).key)
        found: dict[int, Record] = {}
        for each in self._matches(np.sort(np.concatenate(keys)), wanted):
            found[each.place] = self._erased(each) if each.account is None else self.record(each)
        return found

    def _matches(self, keys: meeting.KeyColumn, wanted: dict[str, set[bytes]]) -> Iterator[Found]:
        """The records with one of some keys that have one of the values in the column of its name."""
        if self.history is None or not len(keys):
            return
        for group in self.history.groups_with(keys):
            names = ["account", "outcome", *(name for name, values in wanted.items() if values)]
            with parquet_file(group.path, memory_map=True) as file:
                table = file.read_row_group(group.place, columns=names, use_threads=False)
            matches = np.zeros(table.num_rows, dtype=bool)
            for name, values in wanted.items():
                if values:
                    own = np.ascontiguousarray(fixed_bytes(table[name], IDENTITY_BYTES)).view(f"S{IDENTITY_BYTES}")
                    matches |= np.isin(own.ravel(), np.array(sorted(values), dtype=f"S{IDENTITY_BYTES}"))
            for number in np.flatnonzero(matches).tolist():
                outcome, account = table["outcome"][number].as_py(), table["account"][number].as_py()
                yield Found(group.batch, group.first + number, outcome, account and account.bytes)

    def _erased(self, found: Found) -> Record:
        """What is left of an erased record: its reference, what it takes back and its claim."""
        row = self.batches[found.batch]
        for file in record_files(self.home.storage, row):
            if file.first <= found.number < file.first + file.rows:
                break
        with parquet_file(file.path) as parquet:
            first = file.first
            for group in range(parquet.num_row_groups):
                rows = parquet.metadata.row_group(group).num_rows
                if found.number < first + rows:
                    table = parquet.read_row_group(group, columns=["action_id", "claim", "withdraws"])
                    left = table.slice(found.number - first, 1).to_pylist()[0]
                    break
                first += rows
        return Record(
            account=_NOBODY, child=_NOBODY, partner="", behaviour="", region="", variant=None, evidence="", kind="",
            outcome=ERASED, plan=None, started=None, ended=0, day=date(1970, 1, 1), inputs={}, quantified_mg=None,
            granted_mg=0, reversed_mg=0, action_id=left["action_id"], claim=left["claim"], withdraws=left["withdraws"],
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class AccountRecords:
    """The settled records of an account as rows, and by unit what is booked in it, 0 included."""

    account: uuid.UUID
    rows: Rows
    words: Words
    booked: dict[str, int]

    def newest_first(self) -> Numbers:
        """The rows by their end, the last first, then by action."""
        action = np.ascontiguousarray(self.rows["action_id"]).view(f"S{IDENTITY_BYTES}")
        order: Numbers = np.lexsort((self.rows["place"], action, -self.rows["ended"]))
        return order

    def json(self, numbers: Any) -> list[dict[str, Any]]:
        """The records of some rows as JSON members."""
        return json_of(self.rows[numbers], self.account, self.words.known)


def _since(record: Record, is_monthly: bool) -> int:
    """The end before which no record of the same account can stand against a report by time, day or month.

    Two days are for days that are local, and acts that last.
    """
    first = record.day.replace(day=1) if is_monthly else record.day
    start = record.ended if record.started is None else min(record.started, record.ended)
    return min(start, date32_of(first) * _DAY_US) - 2 * _DAY_US
