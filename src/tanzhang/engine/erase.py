"""Erasing records in columns: what is left of a person's records, and a record file's rows with nothing else in them.

Left are the references (the report's own, and that of the act it takes back), so that a report sent again is known, and
the claim of a record that holds it, so that nobody else is credited for the same act. A claim made of the person and a
day is not left: whoever has the identity key could ask it where the person was. Of a withdrawal that took nothing back,
because its act was erased before, it is not left either which act that was: amounts go, and it would look as if it had.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tanzhang.core.recipe import Recipe
from tanzhang.core.record import ERASED, HOLDERS
from tanzhang.core.settlement import Rules, person_claim_fields
from tanzhang.engine.kernel import identity_sql, quote
from tanzhang.engine.prepare import person_claim_text_sql
from tanzhang.engine.settle import SAME_REPORT

if TYPE_CHECKING:
    import duckdb

LEFT: tuple[str, ...] = ("action_id", "claim", "withdraws")
"""Columns of an erased record that may have a value, beside its outcome."""


def what_is_left(
    con: duckdb.DuckDBPyConnection,
    records: pa.Table,
    released: pa.Array,
    *,
    erased_before: pa.Array | pa.ChunkedArray,
    recipes: Mapping[str, Recipe],
    rules: Rules,
) -> pa.Table:
    """Columns :data:`LEFT` of records that are erased, in their order.

    ``records`` has the columns of :data:`tanzhang.engine.records.RECORD_COLUMNS`; ``released`` the references of acts
    that were taken back, whose claims are free again, ``erased_before`` those whose records were erased earlier.
    """
    plans = pa.table(
        {
            "plan": pa.array(recipes, pa.string()),
            "family": pa.array([recipe.family for recipe in recipes.values()], pa.string()),
            "told_by": pa.array([person_claim_fields(recipe) for recipe in recipes.values()], pa.string()),
            "overlap": pa.array([recipe.overlap for recipe in recipes.values()], pa.bool_()),
        }
    )
    con.register("erased_records", records.append_column("n", pa.array(np.arange(records.num_rows))))
    con.register("erased_plans", plans)
    con.register("released", pa.table({"action_id": released}))
    con.register("erased_before", pa.table({"action_id": erased_before}))
    made = identity_sql(rules.identity_key, person_claim_text_sql())
    holds = f"outcome IN ({', '.join(map(quote, HOLDERS))}) AND action_id NOT IN (SELECT action_id FROM released)"
    first = f"outcome NOT IN ({', '.join(map(quote, SAME_REPORT))})"
    of_nothing = "coalesce(reversed_mg, 0) = 0 AND coalesce(withdraws IN (SELECT action_id FROM erased_before), false)"
    found = con.sql(
        f"""
        WITH identified AS (
            SELECT e.*, p.family, p.told_by, coalesce(p.overlap AND e.started IS NOT NULL, false) AS by_overlap
            FROM erased_records e LEFT JOIN erased_plans p ON e.plan = p.plan
        )
        SELECT CASE WHEN {first} THEN action_id END AS action_id,
            CASE WHEN {holds} THEN nullif(claim, {made}) END AS claim,
            CASE WHEN {first} AND NOT ({of_nothing}) THEN withdraws END AS withdraws
        FROM identified ORDER BY n
        """
    ).to_arrow_table()
    for name in ("erased_records", "erased_plans", "released", "erased_before"):
        con.unregister(name)
    return found


def without_content(records: pa.Table, erased: npt.NDArray[np.bool_], left: pa.Table) -> pa.Table:
    """Records in which those that are ``erased`` have nothing but what is ``left`` of them, in the same columns.

    ``left`` has a row for each that is erased, in order; other records stay as they are.
    """
    places = pa.array(np.arange(records.num_rows), mask=erased)
    found = records.take(places)
    at = np.arange(records.num_rows)
    at[erased] = records.num_rows + np.arange(left.num_rows)
    for name in LEFT:
        both = pa.chunked_array([*records[name].chunks, *left[name].chunks], records[name].type)
        found = found.set_column(found.column_names.index(name), name, both.take(pa.array(at)))
    outcome = pc.if_else(pa.array(erased), pa.scalar(ERASED), records["outcome"].cast(pa.string()))
    if pa.types.is_dictionary(records["outcome"].type):
        outcome = outcome.dictionary_encode()
    return found.set_column(found.column_names.index("outcome"), "outcome", outcome)
