"""Rankings (排行榜): who was confirmed most reductions in a day, week or month, in all, in a district or by a partner.

Equal amounts have equal ranks, and the next one counts all before it (1, 2, 2, 4). Accounts are never shown: a person
is a pseudonym that holds for one board alone, unless the caller has a name that the person agreed to. A board is kept
between questions (:mod:`tanzhang.stores.boards`) and brought up to the book from new batches alone.
"""

from __future__ import annotations

import hmac
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from tanzhang.core.errors import refuse
from tanzhang.core.region import check_region, contains
from tanzhang.engine.columns import IDENTITY_BYTES, Bytes, one_array
from tanzhang.engine.kernel import quote
from tanzhang.service.city import STATE
from tanzhang.stores.boards import Board, board_path, empty_board, read_board, write_board
from tanzhang.stores.book import batch, manifest_of, tally
from tanzhang.stores.home import Home
from tanzhang.stores.parts import all_record_files
from tanzhang.stores.tallies import tally_in

if TYPE_CHECKING:
    import duckdb

PERIODS = ("day", "week", "month")
_NOWHERE = "-"


@dataclass(frozen=True, slots=True)
class Scope:
    """What a board counts: local days ``first`` to ``last``, a region or None, a partner or None."""

    period: str
    first: date
    last: date
    region: str | None
    partner: str | None

    @classmethod
    def of(cls, period: str, day: date, region: str | None = None, partner: str | None = None) -> Scope:
        """The day, the week from Monday, or the month that a day is in. ``unknown-period``, ``region-malformed``."""
        if region is not None:
            check_region(region, where="region")
        if period == "day":
            first = last = day
        elif period == "week":
            first = day - timedelta(days=day.weekday())
            last = first + timedelta(days=6)
        elif period == "month":
            first = day.replace(day=1)
            last = (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
        else:
            raise refuse(
                "unknown-period",
                f"there is no ranking by {period}",
                where="--period",
                remedy=f"use one of {', '.join(PERIODS)}",
            )
        return cls(period, first, last, region, partner)

    @property
    def name(self) -> str:
        """What its board is called."""
        return "~".join([self.period, self.first.isoformat(), self.region or _NOWHERE, self.partner or _NOWHERE])

    @classmethod
    def named(cls, name: str) -> Scope:
        """The scope of a board's name; ValueError for any other text."""
        period, first, region, partner = name.split("~")
        within = (None if text == _NOWHERE else text for text in (region, partner))
        return cls.of(period, date.fromisoformat(first), *within)


def ranking(
    home: Home,
    scope: Scope,
    *,
    top: int = 100,
    account: uuid.UUID | None = None,
    names: Mapping[uuid.UUID, str] | None = None,
) -> dict[str, Any]:
    """The first ``top`` persons of a scope, and the rank of ``account`` in it, None if it has none.

    Amounts in mg as text; only who has more than nothing is ranked. ``names`` are shown instead of pseudonyms. With
    fewer persons than the programme's ``least_accounts_in_cell`` no row is shown but one's own.
    """
    if scope.partner is not None:
        home.programme.check_partner(scope.partner)
    board = current_board(home, scope)
    amounts, accounts = board.amounts, board.accounts
    people = int((amounts > 0).sum())
    hidden = people < home.programme.disclosure.least_accounts_in_cell
    shown = 0 if hidden else min(top, people)
    known = names or {}
    key = home.identity_key
    rows: list[dict[str, Any]] = []
    for place, amount in enumerate(amounts[:shown].tolist()):
        own = uuid.UUID(bytes=accounts[place].tobytes())
        tied = place > 0 and int(amounts[place - 1]) == amount
        rank = rows[-1]["rank"] if tied else place + 1
        rows.append({"rank": rank, "name": known.get(own) or pseudonym(key, scope, own), "mg": str(amount)})
    answer: dict[str, Any] = {
        "programme": home.programme.id,
        "state": STATE,
        "period": scope.period,
        "first": scope.first.isoformat(),
        "last": scope.last.isoformat(),
        "region": scope.region,
        "partner": scope.partner,
        "batches": board.batches,
        "people": None if hidden else people,
        "hidden": hidden,
        "rows": rows,
    }
    if account is not None:
        answer["own"] = _own(accounts[:people], amounts[:people], account)
    return answer


def pseudonym(key: bytes, scope: Scope, account: uuid.UUID) -> str:
    """A name for one person on one board; boards cannot be joined by it."""
    return masked(key, f"board {scope.name}", account)


def masked(key: bytes, where: str, account: uuid.UUID) -> str:
    """A name for one person that holds in one place alone."""
    return "*" + hmac.digest(key, f"tanzhang {where} ".encode() + account.bytes, "sha256").hex()[:8]


def current_board(home: Home, scope: Scope) -> Board:
    """The board of a scope over every sealed batch; kept, if that took reading records."""
    path = board_path(home.folder, scope.name)
    with home.book.snapshot():
        count = home.book.batch_count()
        kept = read_board(path) or empty_board()
        if kept.batches > count or (kept.batches and _root(home, kept.batches - 1) != kept.last_root):
            kept = empty_board()  # of another book, or of a later state of this one
        if kept.batches == count:
            return kept
        rows = home.book.batches()[kept.batches :]
        new = [row for row in rows if _holds(home, row.seq, scope)]
        root = _root(home, count - 1)
        if not new and kept.batches:
            return Board(kept.table, count, root)
        board = Board(_added(home, scope, kept.table, new), count, root)
    write_board(path, board)
    return board


def recounted_board(home: Home, con: duckdb.DuckDBPyConnection, scope: Scope, batches: int) -> pa.Table:
    """The board of a scope over the first ``batches`` batches, from every record."""
    return _sums(con, [_records(home, scope, home.book.batches()[:batches])])


def _added(home: Home, scope: Scope, before: pa.Table, rows: list[Any]) -> pa.Table:
    con = home.connect()
    parts = []
    if before.num_rows:
        accounts = pa.ExtensionArray.from_storage(pa.uuid(), one_array(before["account"]))
        con.register("kept_board", pa.table({"account": accounts, "amount": before["amount"]}))
        parts.append("SELECT account, amount FROM kept_board")
    parts.append(_records(home, scope, rows))
    return _sums(con, parts)


def _sums(con: duckdb.DuckDBPyConnection, parts: list[str]) -> pa.Table:
    """A board of rows of account and amount. UUIDs are in the order of their bytes."""
    found = con.sql(
        f"SELECT account, sum(amount)::BIGINT AS amount FROM ({' UNION ALL '.join(parts)}) GROUP BY 1 "
        "HAVING sum(amount) <> 0 ORDER BY 2 DESC, 1"
    ).to_arrow_table()
    accounts = one_array(found["account"]).cast(pa.binary(IDENTITY_BYTES))
    return pa.table({"account": accounts, "amount": found["amount"]}, schema=_BOARD)


_BOARD = pa.schema([("account", pa.binary(IDENTITY_BYTES)), ("amount", pa.int64())])


def _records(home: Home, scope: Scope, rows: list[Any]) -> str:
    """SELECT of account and net amount of each record of some batches in a scope; of an account there may be many."""
    files = all_record_files(home.storage, rows)
    if not files:
        return "SELECT NULL::UUID AS account, NULL::BIGINT AS amount WHERE false"
    named = ", ".join(quote(str(file.path)) for file in files)
    read = f"read_parquet([{named}])"
    wanted = [f"kind = 'reduction' AND day BETWEEN DATE '{scope.first}' AND DATE '{scope.last}'"]
    wanted.append("(granted_mg <> 0 OR reversed_mg <> 0)")
    if scope.partner is not None:
        wanted.append(f"partner = {quote(scope.partner)}")
    if scope.region is not None:
        regions = {text for row in rows for text in _regions(home, row.seq) if contains(scope.region, text)}
        wanted.append(f"region IN ({', '.join(map(quote, sorted(regions))) or 'NULL'})")
    return f"SELECT account, granted_mg - reversed_mg AS amount FROM {read} WHERE {' AND '.join(wanted)}"


def _holds(home: Home, number: int, scope: Scope) -> bool:
    """Whether a batch has records of the days of a scope."""
    days = home.book.query(
        sa.select(tally.c.first_day, tally.c.last_day).where(tally.c.last == number, tally.c.first == number)
    )
    return any(
        row.first_day is not None
        and row.first_day <= scope.last.isoformat()
        and row.last_day >= scope.first.isoformat()
        for row in days
    )


def _regions(home: Home, number: int) -> set[str]:
    """The regions that a batch's records name."""
    rows = home.book.query(sa.select(tally).where(tally.c.last == number, tally.c.first == number))
    return {text for row in rows for text in tally_in(row)["region"].unique().to_pylist()}


def _root(home: Home, number: int) -> str:
    """The record root of a batch."""
    (row,) = home.book.query(sa.select(batch.c.manifest).where(batch.c.seq == number))
    root: str = manifest_of(row)["root"]
    return root


def _own(accounts: Bytes, amounts: Any, account: uuid.UUID) -> dict[str, Any] | None:
    high, low = (np.frombuffer(account.bytes, np.uint64)[place] for place in (0, 1))
    halves = accounts.view(np.uint64).reshape(-1, 2)
    found = np.flatnonzero((halves[:, 0] == high) & (halves[:, 1] == low))
    if not len(found):
        return None
    amount = int(amounts[found[0]])
    before, behind = int((amounts > amount).sum()), int((amounts < amount).sum())
    return {"rank": before + 1, "mg": str(amount), "ahead_of": behind}
