"""Which milligrams of which records a lot takes (选取): what was authorised and nobody took, in the order of the log.

A record is taken with what it was granted, less what was taken back of it, what other lots hold, and what gifts took
by the rule of :mod:`tanzhang.core.allocation`. Only the records of accounts that gave something go through that rule;
everything else is done in columns. An authorisation of an account speaks for all whose holdings are in it now, and not
for itself while its own holdings are in another one.

Everything is asked as of one moment, which :class:`Seen` says, so that whoever books it can ask what moved since.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from tanzhang.core.allocation import Allocation, Counted, allocate
from tanzhang.core.record import time_text
from tanzhang.core.region import COUNTRY
from tanzhang.engine.columns import IDENTITY_BYTES, Numbers, fixed_bytes, identities, integers
from tanzhang.engine.kernel import quote
from tanzhang.engine.lot import Members, held_at, keys_of
from tanzhang.service.giving import USED_UNITS, takings_of
from tanzhang.service.progress import Progress, silent
from tanzhang.stores.book import batch, transfer
from tanzhang.stores.book.schema import end_of
from tanzhang.stores.home import Home
from tanzhang.stores.lot_files import members_at, read_members
from tanzhang.stores.parts import record_files
from tanzhang.stores.register.joinings import CARRIED

if TYPE_CHECKING:
    import duckdb

_TAKES_BACK = "reversed_mg > 0 AND outcome NOT IN ('repeat', 'conflict')"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a lot is to take: acts of one calendar year in one region, of some behaviours (None: all)."""

    vintage: int
    region: str
    behaviours: tuple[str, ...] | None = None

    @property
    def condition(self) -> str:
        """Which records that is, in SQL."""
        days = f"day >= DATE '{self.vintage}-01-01' AND day < DATE '{self.vintage + 1}-01-01'"
        parts = ["kind = 'reduction' AND granted_mg > 0", days]
        if self.region != COUNTRY:
            digits = self.region.removeprefix("CN-")
            while digits.endswith("00"):  # a province or a city holds all that begins as it does
                digits = digits[:-2]
            parts.append(f"starts_with(region, {quote(f'CN-{digits}')})")
        if self.behaviours is not None:
            parts.append(f"behaviour IN ({', '.join(map(quote, self.behaviours))})")
        return " AND ".join(parts)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a selection rests on: batches (and the head of their chain), legs of transfers, authorisations."""

    batches: int
    head: str
    legs: int
    revision: int

    @classmethod
    def now(cls, home: Home) -> Seen:
        """As of this moment, or of the snapshot that is open."""
        with home.book.reading() as con:
            (batches, head), (legs, _) = end_of(con, batch), end_of(con, transfer)
        return cls(batches, head, legs, home.authorisations.revision())


@dataclass(frozen=True, slots=True)
class Selection:
    """All that fits, in the order of a lot, and as of when."""

    members: Members
    seen: Seen


def select(home: Home, wanted: Wanted, *, progress: Progress = silent) -> Selection:
    """Everything that a lot could take now; memory is some 60 bytes a record that fits."""
    with home.book.snapshot():
        return _Selecting(home, home.connect(), wanted, progress).run()


class _Selecting:
    """One selection: tables ``authorised``, ``givers`` and ``taken`` of an engine of its own."""

    def __init__(self, home: Home, con: duckdb.DuckDBPyConnection, wanted: Wanted, progress: Progress) -> None:
        self.home, self.con, self.wanted, self.progress = home, con, wanted, progress
        self.seen = Seen.now(home)
        self.batches = home.book.batch_files()
        self.lots = home.lots.holding()

    def run(self) -> Selection:
        roots = _roots(self.home)
        self._say_who_authorised(roots)
        pools = self._pools_that_gave(roots)
        self._find_taken_back()
        parts = [each for row in self.batches if len(each := self._columns(row))]
        if pools:
            parts.append(self._of_givers(pools))
        members = _joined(parts)
        own = [row for row in self.lots if row.vintage == self.wanted.vintage]
        held = np.zeros(len(members), np.int64)
        for row in own:
            held += held_at(members.keys, *read_members(self.home.storage, row))
        return Selection(_without(members, held), self.seen)

    # -- who ------------------------------------------------------------------------------------------------------

    def _say_who_authorised(self, roots: Mapping[bytes, bytes]) -> None:
        """Table ``authorised``: accounts of records, days and behaviours that somebody may speak for did authorise."""
        standing = self.home.authorisations.standing()
        self.con.register("standing", standing.set_column(0, "account", _uuids(standing["account"])))
        sources, ends = pa.array([*roots], pa.binary(16)), pa.array([*roots.values()], pa.binary(16))
        self.con.register("carried", pa.table({"source": _uuids(sources), "root": _uuids(ends)}))
        said = "from_day::DATE AS from_day, until_day::DATE AS until_day, behaviours::JSON::VARCHAR[] AS behaviours"
        self.con.execute(
            f"CREATE TEMP TABLE authorised AS SELECT account, {said} FROM standing "
            "WHERE account NOT IN (SELECT source FROM carried) "
            f"UNION ALL SELECT carried.source AS account, {said} FROM carried "
            "JOIN standing ON standing.account = root WHERE standing.source = 'person'"
        )

    def _pools_that_gave(self, roots: Mapping[bytes, bytes]) -> list[tuple[bytes, ...]]:
        """Accounts whose holdings are together, where one of them gave something or passed it on; table ``givers``."""
        own = transfer.c.unit.in_(USED_UNITS) & transfer.c.kind.not_in(CARRIED) & (transfer.c.amount < 0)
        rows = self.home.book.query(sa.select(transfer.c.account).where(own, transfer.c.account != "").distinct())
        gave = {uuid.UUID(row.account).bytes for row in rows}
        ends = {roots.get(each, each) for each in gave}
        pools = {end: [end] for end in ends}
        for source, end in roots.items():
            if end in pools:
                pools[end].append(source)
        everybody = sorted(account for pool in pools.values() for account in pool)
        self.con.register("gave", pa.table({"account": _uuids(pa.array(everybody, pa.binary(16)))}))
        self.con.execute("CREATE TEMP TABLE givers AS FROM gave")
        return [tuple(sorted(pool)) for _, pool in sorted(pools.items())]

    # -- what -----------------------------------------------------------------------------------------------------

    def _find_taken_back(self) -> None:
        """Table ``taken``: what was taken back of which action."""
        self.con.execute("CREATE TEMP TABLE taken (action UUID, mg BIGINT)")
        files = [str(file.path) for row in self.batches for file in record_files(self.home.storage, row)]
        if files:
            named = ", ".join(map(quote, files))
            self.con.execute(
                "INSERT INTO taken SELECT withdraws, sum(reversed_mg)::BIGINT FROM "
                f"read_parquet([{named}]) WHERE {_TAKES_BACK} AND kind = 'reduction' GROUP BY withdraws"
            )

    def _columns(self, row: Any) -> Members:
        """What fits of a batch, without the records of those who gave something."""
        self.progress("choosing records", 30 * row.seq // len(self.batches), 0)
        parts = []
        for file in record_files(self.home.storage, row):
            table = self.con.sql(
                f"SELECT file_row_number + {file.first} AS place, r.account AS account, "
                "granted_mg - coalesce(taken.mg, 0) AS mg FROM "
                f"(SELECT * FROM read_parquet({quote(str(file.path))}, file_row_number = true) "
                f"WHERE {self.wanted.condition}) r JOIN authorised a ON r.account = a.account "
                "LEFT JOIN taken ON taken.action = r.action_id "
                "WHERE r.day >= a.from_day AND (a.until_day IS NULL OR r.day < a.until_day) "
                "AND (a.behaviours IS NULL OR list_contains(a.behaviours, r.behaviour)) "
                "AND r.account NOT IN (SELECT account FROM givers) AND granted_mg > coalesce(taken.mg, 0)"
            ).to_arrow_table()
            parts.append(_members(row.seq, table))
        return _joined([each for each in parts if len(each)])

    def _of_givers(self, pools: list[tuple[bytes, ...]]) -> Members:
        """What fits of those who gave something: what the rule leaves of each record."""
        records = self._records_of_givers()
        fits = self._fitting_of_givers()
        of_account: dict[bytes, list[dict[str, Any]]] = {}
        for each in records:
            of_account.setdefault(each["account"], []).append(each)
        named = self._held_of([each["key"] for each in records])
        keys, amounts, accounts = [], [], []
        for pool in pools:
            own = [each for account in pool for each in of_account.get(account, ())]
            left = self._allocated(pool, own, named).left
            for each in own:
                free = left.get(each["action"], 0)
                if each["granted_mg"] and free > 0 and each["key"] in fits:
                    keys.append(each["key"])
                    amounts.append(free + named.get(each["key"], 0))  # what lots hold goes off for all alike
                    accounts.append(each["account"])
        order = np.argsort(np.array(keys, np.int64))
        rows = np.frombuffer(b"".join(accounts), np.uint8).reshape(-1, IDENTITY_BYTES)
        return Members(np.array(keys, np.int64)[order], np.array(amounts, np.int64)[order], rows[order])

    def _records_of_givers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for row in self.batches:
            for file in record_files(self.home.storage, row):
                table = self.con.sql(
                    f"SELECT file_row_number + {file.first} AS place, account, action_id::VARCHAR AS action, day, "
                    "epoch_us(ended) AS ended, granted_mg, reversed_mg, outcome, withdraws::VARCHAR AS withdraws "
                    f"FROM read_parquet({quote(str(file.path))}, file_row_number = true) WHERE kind = 'reduction' "
                    "AND (granted_mg > 0 OR reversed_mg > 0) AND account IN (SELECT account FROM givers)"
                ).to_arrow_table()
                keys = keys_of(row.seq, integers(table["place"], pa.int64()))
                table = table.set_column(1, "account", table["account"].cast(pa.binary(IDENTITY_BYTES)))
                rows = table.to_pylist()
                found += [{**each, "batch": row.seq, "key": key} for each, key in zip(rows, keys.tolist(), strict=True)]
        return found

    def _fitting_of_givers(self) -> set[int]:
        fits: set[int] = set()
        for row in self.batches:
            for file in record_files(self.home.storage, row):
                rows = self.con.execute(
                    f"SELECT file_row_number + {file.first} FROM (SELECT * FROM "
                    f"read_parquet({quote(str(file.path))}, file_row_number = true) WHERE {self.wanted.condition}) r "
                    "JOIN authorised a ON r.account = a.account "
                    "WHERE r.day >= a.from_day AND (a.until_day IS NULL OR r.day < a.until_day) "
                    "AND (a.behaviours IS NULL OR list_contains(a.behaviours, r.behaviour)) "
                    "AND r.account IN (SELECT account FROM givers)"
                ).fetchall()
                fits.update((row.seq << 32) | place for (place,) in rows)
        return fits

    def _held_of(self, keys: list[int]) -> dict[int, int]:
        """What lots of all years hold of records, by key."""
        ordered = np.array(sorted(keys), np.int64)
        held = np.zeros(len(ordered), np.int64)
        for row in self.lots:
            held += members_at(self.home.storage, row, ordered)[1]
        return {key: mg for key, mg in zip(ordered.tolist(), held.tolist(), strict=True) if mg}

    def _allocated(self, pool: tuple[bytes, ...], own: list[dict[str, Any]], named: Mapping[int, int]) -> Allocation:
        counted = [
            Counted(
                each["batch"],
                (each["day"].isoformat(), time_text(each["ended"]), each["action"]),
                each["granted_mg"],
                0 if each["outcome"] in ("repeat", "conflict") else each["reversed_mg"],
                each["withdraws"],
            )
            for each in own
        ]
        held = {each["action"]: named[each["key"]] for each in own if each["granted_mg"] and each["key"] in named}
        return allocate(counted, takings_of(self.home, [uuid.UUID(bytes=each) for each in pool]), held)


def _roots(home: Home) -> dict[bytes, bytes]:
    """Account whose holdings are in another one -> the one where they are in the end."""
    into = {row.source: row.target for row in home.joinings.carrying()}
    found = {}
    for source in into:
        end = into[source]
        while end in into:
            end = into[end]
        found[uuid.UUID(source).bytes] = uuid.UUID(end).bytes
    return found


def _members(number: int, table: pa.Table) -> Members:
    """Rows (place, account, mg) of a batch in order of place, each place once however many authorised it."""
    places, first = np.unique(integers(table["place"], pa.int64()), return_index=True)
    amounts, accounts = integers(table["mg"], pa.int64()), fixed_bytes(table["account"], IDENTITY_BYTES)
    return Members(keys_of(number, places), amounts[first], accounts[first])


def _joined(parts: list[Members]) -> Members:
    """Several parts as one, in the order of a lot; ``parts`` is empty then, so that little is held twice."""
    if not parts:
        return Members(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, IDENTITY_BYTES), np.uint8))
    if len(parts) == 1:
        return parts[0]
    columns: list[list[Any]] = [[getattr(each, name) for each in parts] for name in Members.__slots__]
    parts.clear()
    keys = np.concatenate(columns.pop(0))
    amounts = np.concatenate(columns.pop(0))
    accounts = np.concatenate(columns.pop(0))
    if (keys[1:] > keys[:-1]).all():
        return Members(keys, amounts, accounts)
    order = np.argsort(keys, kind="stable")
    return Members(keys[order], amounts[order], accounts[order])


def _without(members: Members, held: Numbers) -> Members:
    """What is left of members when some of it is held."""
    amounts = members.amounts - held
    kept = amounts > 0
    if kept.all():
        return Members(members.keys, amounts, members.accounts)
    return Members(members.keys[kept], amounts[kept], members.accounts[kept])


def _uuids(column: pa.Array | pa.ChunkedArray) -> pa.ExtensionArray:
    return identities(fixed_bytes(column, IDENTITY_BYTES))


def vintage_over(vintage: int, today: date) -> bool:
    """Whether every local day of a vintage is past."""
    return today.year > vintage
