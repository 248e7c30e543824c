"""Decided records quantified again by another methodology, in columns; nothing is decided anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tanzhang.core.action import ELAPSED
from tanzhang.core.errors import TanzhangError
from tanzhang.core.methodology import Plan
from tanzhang.core.recipe import read_recipe
from tanzhang.engine.columns import Numbers, integers
from tanzhang.engine.rules import fitting
from tanzhang.engine.sql import compile_mg

if TYPE_CHECKING:
    import duckdb

PlanOf = Callable[[str, date, str | None, str], Plan]
"""Region, local day, variant and evidence class -> the plan of an act; may refuse."""

KIND = ("region", "day", "variant", "evidence")
UNFIT = "unfit"
"""What an act is counted under whose inputs are missing or out of range, or that a guard stops."""
_MISSING = -1


@dataclass(frozen=True, slots=True)
class Requantified:
    """Milligrams of each row, 0 where ``refused`` counts it: by code, or :data:`UNFIT`."""

    mg: Numbers
    refused: dict[str, int]


def requantify(con: duckdb.DuckDBPyConnection, records: pa.Table, plan_of: PlanOf) -> Requantified:
    """Quantify records again, each by the plan that ``plan_of`` gives for its region, day, variant and evidence.

    Ranges of inputs and guards are those of the plan. Whether a start or an issuer's identifier is there is not asked.
    """
    names = [name for name in records.column_names if name not in ("action_id", "account", "place")]
    con.register("asked", records.select(names).append_column("n", pa.array(np.arange(records.num_rows))))
    kinds = con.execute(f"SELECT {', '.join(KIND)}, count(*) FROM asked GROUP BY ALL ORDER BY ALL").fetchall()
    plans: list[Plan] = []
    numbers: dict[str, int] = {}
    refused: dict[str, int] = {}
    rows: list[tuple[str, date, str | None, str, int | None]] = []
    for region, day, variant, evidence, count in kinds:
        try:
            plan = plan_of(region, day, variant, evidence)
        except TanzhangError as error:
            refused[error.code] = refused.get(error.code, 0) + count
            rows.append((region, day, variant, evidence, None))
            continue
        if plan.digest not in numbers:
            numbers[plan.digest] = len(plans)
            plans.append(plan)
        rows.append((region, day, variant, evidence, numbers[plan.digest]))
    if not plans:
        con.unregister("asked")
        return Requantified(np.zeros(records.num_rows, dtype=np.int64), refused)
    con.register("kinds", _kinds(rows))
    found = con.sql(_sql(plans, records.column_names)).to_arrow_table()
    con.unregister("asked")
    con.unregister("kinds")
    planned = integers(found["plan_no"].fill_null(_MISSING), pa.int64()) != _MISSING
    fits = np.asarray(found["mg"].combine_chunks().is_valid())
    if (planned & ~fits).any():
        refused[UNFIT] = int((planned & ~fits).sum())
    return Requantified(integers(found["mg"], pa.int64()), refused)


def _kinds(rows: Sequence[tuple[str, date, str | None, str, int | None]]) -> pa.Table:
    types = (pa.string(), pa.date32(), pa.string(), pa.string(), pa.int32())
    names = (*KIND, "plan_no")
    return pa.table({name: pa.array([row[n] for row in rows], types[n]) for n, name in enumerate(names)})


def _sql(plans: Sequence[Plan], columns: Sequence[str]) -> str:
    fits, amounts = [], []
    inputs: dict[str, list[str]] = {}
    for number, plan in enumerate(plans):
        fits.append(f"WHEN {number} THEN {' AND '.join(fitting(plan))}")
        amounts.append(f"WHEN {number} THEN {compile_mg(read_recipe(plan.document))}")
        for name, rule in plan.methodology.inputs.items():
            default = "NULL" if rule.default is None else rule.default
            inputs.setdefault(name, []).append(f"WHEN {number} THEN {default}")
    filled = "".join(
        f", coalesce({f'a.{name}, ' if name in columns else ''}CASE plan_no {' '.join(each)} END)::BIGINT AS {name}"
        for name, each in inputs.items()
    )
    same = " AND ".join(f"a.{name} IS NOT DISTINCT FROM k.{name}" for name in KIND)
    return f"""
        WITH filled AS (
            SELECT a.n, k.plan_no, (epoch_us(a.ended) - epoch_us(a.started)) // 1000000 AS {ELAPSED}{filled}
            FROM asked a LEFT JOIN kinds k ON {same}
        )
        SELECT plan_no, CASE WHEN CASE plan_no {" ".join(fits)} ELSE false END
            THEN CASE plan_no {" ".join(amounts)} END END AS mg
        FROM filled ORDER BY n
    """
