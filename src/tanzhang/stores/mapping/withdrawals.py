"""Withdrawals: a row of the file that takes an earlier row back, such as the cancellation of an invoice."""

from __future__ import annotations

from tanzhang.engine.kernel import quote
from tanzhang.stores.mapping.decimals import unsigned
from tanzhang.stores.mapping.filters import all_hold
from tanzhang.stores.mapping.query import Query


def withdrawn(query: Query, rows: str) -> str:
    """Rows with ``side``, -1 for a withdrawal, and ``target``, the id of the row that it takes back.

    Withdrawals are matched like closing brackets, so each takes the nearest earlier open row of its key. ``depth`` is
    the number of open rows after this one: the running sum of +1 and -1, lifted by its own lowest value so far, because
    a withdrawal that finds nothing open takes nothing.
    """
    spec = query.data["withdrawals"]
    same = [(query.column(entry["column"]), "absolute" in entry) for entry in spec["same"]]
    keys = [f"same_{index}" for index in range(len(same))]
    values = [
        f"{unsigned(column) if absolute else column} AS {key}"
        for key, (column, absolute) in zip(keys, same, strict=True)
    ]
    side = f"CASE WHEN {all_hold(query, spec['when'])} THEN -1 ELSE 1 END"
    sided = query.step(
        "sided",
        f"SELECT *, {', '.join(values)}, CASE WHEN bad IS NULL AND hit IS NULL THEN {side} END AS side FROM {rows}",
    )
    usable = " AND ".join(f"{name} IS NOT NULL" for name in ("side", "time_utc", *keys))
    key = ", ".join(keys)
    order = f"PARTITION BY {key} ORDER BY time_utc, row"
    query.step(
        "summed",
        f"SELECT row, side, id_raw, time_utc, {key}, sum(side) OVER ({order} ROWS UNBOUNDED PRECEDING) AS total"
        f" FROM {sided} WHERE {usable}",
    )
    query.step(
        "lifted",
        f"SELECT *, total - least(0, min(total) OVER ({order} ROWS UNBOUNDED PRECEDING)) AS depth FROM summed",
    )
    query.step(
        "levelled",
        f"SELECT *, CASE WHEN side = 1 THEN depth ELSE lag(depth, 1, 0) OVER ({order}) END AS level FROM lifted",
    )
    query.step(
        "taken_back",
        "SELECT row, CASE WHEN side = -1 AND level > 0"
        f" THEN lag(id_raw) OVER (PARTITION BY {key}, level ORDER BY time_utc, row) END AS target FROM levelled",
    )
    named = " and ".join(entry["column"] for entry in spec["same"])
    message = quote(f"no earlier row, still standing, has the same {named}")
    query.object("side = -1 AND target IS NULL", "withdrawal-without-target", "withdraws", message)
    return query.step("matched", f"SELECT t.*, b.target FROM {sided} t LEFT JOIN taken_back b ON t.row = b.row")
