"""What can meet what: accounts, the keys by which acts of several accounts meet, settled records that may matter.

Acts meet by reference (the same one, or one that takes the other back) and by claim; everything else happens inside
one account. So two accounts belong together if a pending act of one shares such a key with any act of the other, and
a settled record is always decided upon in the account where it is booked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tanzhang.core.recipe import Recipe
from tanzhang.core.record import CLAIMING
from tanzhang.core.settlement import Rules
from tanzhang.engine.columns import date32_of, fixed_bytes, given, identities, integers, said
from tanzhang.engine.prepare import Plans, owners, prepare
from tanzhang.engine.records import ARROW_TYPES, RECORD_COLUMNS
from tanzhang.engine.settle import SAME_REPORT
from tanzhang.engine.spark.sieve import Sieve

if TYPE_CHECKING:
    import duckdb

SURVEYED = ("action_id", "child", "plan", "started", "ended", "day", "claim", "withdraws")
"""Columns of a report that say what it can meet."""
LOOKED_AT = ("action_id", "account", "outcome", "plan", "started", "ended", "day", "claim", "withdraws")
"""Columns of a record that say whether it may matter."""


def with_accounts(con: duckdb.DuckDBPyConnection, pending: pa.Table, links: str | None) -> pa.Table:
    """Pending acts with the column ``account``: whose the platform account was on the day of the act."""
    return pending.append_column("account", owners(con, pending, links))


def surveyable(pending: pa.Table) -> pa.Table:
    """Pending acts with every column of :data:`SURVEYED`, NULL where no row has a value."""
    for name in SURVEYED:
        if name not in pending.column_names:
            pending = pending.append_column(name, pa.nulls(pending.num_rows, ARROW_TYPES[RECORD_COLUMNS[name]]))
    return pending


def with_claims(
    con: duckdb.DuckDBPyConnection, pending: pa.Table, recipes: Mapping[str, Recipe], rules: Rules
) -> pa.Table:
    """Pending acts with their final ``claim``, made from the person where no issuer gave one."""
    return prepare(con, pending, links=None, recipes=recipes, rules=rules)


# -- what pending acts need of the settled ones --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Window:
    """The earliest start (microseconds) and the earliest day among pending acts; None where none has one."""

    start: int | None
    day: date | None

    @staticmethod
    def of(pending: pa.Table) -> Window:
        """Of some pending acts."""
        start = pc.min(pending["started"].cast(pa.int64())).as_py()
        return Window(start, pc.min(pending["day"]).as_py())

    def joined(self, other: Window) -> Window:
        """Of the acts of both."""
        starts = [each for each in (self.start, other.start) if each is not None]
        days = [each for each in (self.day, other.day) if each is not None]
        return Window(min(starts, default=None), min(days, default=None))


def sift(sieve: Sieve, surveyed: pa.Table) -> None:
    """Put in everything by which a settled record may matter to these acts: references, claims, accounts."""
    for name in ("action_id", "withdraws", "claim", "account"):
        sieve.add(fixed_bytes(pc.drop_null(surveyed[name]), 16))


def corrections(surveyed: pa.Table) -> pa.Table:
    """Acts that take another's place. If that one is settled, they move to the account where it was booked."""
    return surveyed.filter(pc.and_(pc.is_valid(surveyed["withdraws"]), pc.is_valid(surveyed["plan"])))


def may_matter(
    settled: pa.Table, sieve: Sieve, window: Window, recipes: Mapping[str, Recipe], rules: Rules
) -> npt.NDArray[np.bool_]:
    """Which settled records may decide a pending act; a few that cannot are among them.

    Those with its reference or claim, those that withdraw something, and of its account those recent enough to overlap
    it or to stand under one of its caps.
    """
    decided, holds = ~said(settled["outcome"], SAME_REPORT), said(settled["outcome"], CLAIMING)
    takes_back = given(settled, "withdraws")
    by_claim = sieve.holds(fixed_bytes(settled["claim"], 16)) & given(settled, "claim")
    recent = _recent(settled, window, recipes, rules) & sieve.holds(fixed_bytes(settled["account"], 16))
    by_reference = takes_back | sieve.holds(fixed_bytes(settled["action_id"], 16))
    found: npt.NDArray[np.bool_] = decided & (by_reference | (holds & (by_claim | recent)))
    return found


def _recent(settled: pa.Table, window: Window, recipes: Mapping[str, Recipe], rules: Rules) -> npt.NDArray[np.bool_]:
    plans = Plans.of(settled, recipes, rules)
    found = np.zeros(settled.num_rows, dtype=bool)
    if window.start is not None:
        ended = integers(settled["ended"], pa.int64())
        found |= plans.overlap[plans.number] & given(settled, "started") & (ended > window.start)
    if window.day is not None:
        day = integers(settled["day"], pa.int32())
        for period, first in (("day", window.day), ("month", window.day.replace(day=1))):
            found |= plans.capped[period][plans.number] & (day >= date32_of(first))
    return found


# -- what belongs together -----------------------------------------------------------------------------------------


def pending_keys(surveyed: pa.Table) -> pa.Table:
    """The keys of pending acts, each with the account that brings it, once: key, account, pending.

    Claims made from a person stay inside one account and are left out.
    """
    return _keys(surveyed, ("action_id", "withdraws", "claim"), pending=True)


def settled_keys(settled: pa.Table) -> pa.Table:
    """The keys of settled records; a record that does not hold its claim has none."""
    holds = pc.is_in(settled["outcome"].cast(pa.string()), pa.array(CLAIMING))
    claims = pc.if_else(holds, settled["claim"].cast(pa.binary(16)), pa.scalar(None, pa.binary(16)))
    at = settled.column_names.index("claim")
    return _keys(settled.set_column(at, "claim", claims), ("action_id", "withdraws", "claim"), pending=False)


def _keys(acts: pa.Table, names: tuple[str, ...], *, pending: bool) -> pa.Table:
    pairs = []
    for name in names:
        valid = given(acts, name)
        key, account = fixed_bytes(acts[name], 16)[valid], fixed_bytes(acts["account"], 16)[valid]
        pairs.append(np.concatenate([key, account], axis=1))
    rows = np.unique(np.concatenate(pairs).view("S32").ravel())
    data = np.frombuffer(rows.tobytes(), dtype=np.uint8).reshape(-1, 32)
    return pa.table(
        {
            "key": identities(data[:, :16]),
            "account": identities(data[:, 16:]),
            "pending": pa.array(np.full(len(data), pending)),
        }
    )


def edges(con: duckdb.DuckDBPyConnection, keys: pa.Table) -> pa.Table:
    """Pairs of accounts (one, other) that meet in a key of this table; all rows of a key have to be in it."""
    con.register("met_keys", keys)
    found = con.sql(
        """
        SELECT DISTINCT one, account AS other FROM (
            SELECT account, min(account) OVER k AS one, bool_or(pending) OVER k AS pending
            FROM met_keys SEMI JOIN (
                SELECT key FROM met_keys GROUP BY key HAVING min(account) <> max(account)
            ) USING (key) WINDOW k AS (PARTITION BY key)
        ) WHERE pending AND account <> one
        """
    ).to_arrow_table()
    con.unregister("met_keys")
    return found
