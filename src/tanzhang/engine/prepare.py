"""Whose an act is and what tells it apart: what settlement has to know of each report before it compares any two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tanzhang.core.claim import CLAIM
from tanzhang.core.recipe import Recipe
from tanzhang.core.settlement import Rules, caps_of, person_claim_fields
from tanzhang.engine.columns import (
    IDENTITY_BYTES,
    Numbers,
    fixed_bytes,
    given,
    identities,
    integers,
    one_array,
    text_codes,
)
from tanzhang.engine.identities import identity_column
from tanzhang.engine.kernel import identity_text_sql, quote

if TYPE_CHECKING:
    import duckdb

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Plans:
    """Which plan each of n rows was computed by: ``digests[number[row]]``, None for none; and what binds such acts."""

    number: Numbers
    digests: Sequence[str | None]
    overlap: Flags
    capped: Mapping[str, Flags]

    @classmethod
    def of(cls, rows: pa.Table, recipes: Mapping[str, Recipe], rules: Rules) -> Plans:
        """The plans of some rows; every plan they name is in ``recipes``."""
        if "plan" in rows.column_names:
            number, digests = text_codes(rows["plan"])
        else:
            number, digests = np.zeros(rows.num_rows, dtype=np.int64), [None]
        known = [None if digest is None else recipes[digest] for digest in digests]
        periods = [set() if each is None else {cap.period for cap in caps_of(each, rules)} for each in known]
        return cls(
            number,
            digests,
            np.array([each is not None and each.overlap for each in known], dtype=bool),
            {period: np.array([period in own for own in periods], dtype=bool) for period in ("day", "month")},
        )


def prepare(
    con: duckdb.DuckDBPyConnection,
    reports: pa.Table,
    *,
    links: str | None,
    recipes: Mapping[str, Recipe],
    rules: Rules,
) -> pa.Table:
    """The reports with ``account`` and final ``claim``, and in ``reported`` the claim as it came; what is there stays.

    ``links`` as in :func:`tanzhang.engine.settle.settle`.
    """
    if "account" not in reports.column_names:
        reports = reports.append_column("account", owners(con, reports, links))
    if "reported" not in reports.column_names:
        reported = _reported(reports)
        claim = _claims(con, reports, reported, Plans.of(reports, recipes, rules), recipes, rules)
        if "claim" in reports.column_names:
            reports = reports.drop_columns("claim")
        reports = reports.append_column("reported", reported).append_column("claim", claim)
    return reports


def _reported(reports: pa.Table) -> pa.Array:
    if "claim" in reports.column_names:
        return one_array(reports["claim"])
    return pa.nulls(reports.num_rows, pa.uuid())


def owners(con: duckdb.DuckDBPyConnection, reports: pa.Table, links: str | None) -> pa.Array:
    """Whose the platform account of each report was on the day of the act."""
    child = one_array(reports["child"])
    if links is None:
        return child
    con.register("unowned", pa.table({"n": np.arange(len(child)), "child": child, "day": reports["day"]}))
    found = con.sql(
        f"SELECT n, l.account FROM unowned p JOIN {links} l ON p.child = l.child AND p.day >= l.valid_from "
        "AND (l.valid_until IS NULL OR p.day < l.valid_until)"
    ).to_arrow_table()
    con.unregister("unowned")
    account = fixed_bytes(child, IDENTITY_BYTES).copy()
    account[integers(found["n"], pa.int64())] = fixed_bytes(found["account"], IDENTITY_BYTES)
    return identities(account)


def _claims(
    con: duckdb.DuckDBPyConnection,
    reports: pa.Table,
    reported: pa.Array,
    plans: Plans,
    recipes: Mapping[str, Recipe],
    rules: Rules,
) -> pa.Array:
    """Each report's claim: the reported one, or, where no issuer's identifier came with the act, one made of it."""
    has_start = given(reports, "started")
    known = [None if digest is None else recipes[digest] for digest in plans.digests]
    planned = np.array([each is not None for each in known], dtype=bool)
    told = [None if each is None else person_claim_fields(each) for each in known]
    by_person = np.array([each is not None for each in told], dtype=bool)
    made = np.asarray(reported.is_null()) & planned[plans.number] & (by_person[plans.number] | ~has_start)
    rows = np.flatnonzero(made)
    if not len(rows):
        return reported
    con.register(
        "unclaimed",
        pa.table(
            {
                **{name: one_array(reports[name]).take(pa.array(rows)) for name in ("account", "day", "ended")},
                "family": _of_plan(plans, rows, [None if each is None else each.family for each in known]),
                "behaviour": _of_plan(plans, rows, [None if each is None else each.behaviour for each in known]),
                "told_by": _of_plan(plans, rows, told),
                "by_overlap": (plans.overlap[plans.number] & has_start)[rows],
            }
        ),
    )
    texts = con.sql(f"SELECT {person_claim_text_sql()} AS claim FROM unclaimed").to_arrow_table()
    con.unregister("unclaimed")
    claim = fixed_bytes(reported, IDENTITY_BYTES).copy()
    claim[rows] = fixed_bytes(identity_column(texts["claim"], rules.identity_key), IDENTITY_BYTES)
    return identities(claim, np.asarray(reported.is_valid()) | made)


def _of_plan(plans: Plans, rows: Numbers, values: Sequence[str | None]) -> pa.Array:
    return pa.array(values, pa.string()).take(pa.array(plans.number[rows]))


def person_claim_text_sql() -> str:
    """The text of the claim of an act that no issuer identifies, told apart by its person's day, month or moment.

    Reads account, family, behaviour, told_by, by_overlap, day and ended; NULL where overlap alone tells it apart.
    """
    person = "account::VARCHAR"

    def told(period: str) -> str:
        return identity_text_sql(CLAIM, "family", person, f"strftime(day, {quote(period)})")

    moment = identity_text_sql(CLAIM, "family", "behaviour", person, "epoch_us(ended)::VARCHAR")
    return (
        f"CASE WHEN told_by = 'day' THEN {told('%Y-%m-%d')} WHEN told_by = 'month' THEN {told('%Y-%m')} "
        f"WHEN NOT by_overlap THEN {moment} END"
    )
