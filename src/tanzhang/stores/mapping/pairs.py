"""Pairs: an exit and the entry directly before it of the same key become one row."""

from __future__ import annotations

from tanzhang.engine.kernel import quote
from tanzhang.stores.mapping.document import ENTRY, columns_used
from tanzhang.stores.mapping.filters import holds
from tanzhang.stores.mapping.query import Query
from tanzhang.stores.mapping.times import timed


def paired(query: Query, rows: str) -> str:
    """Each exit with its entry's columns beside it; entries that found their exit are gone, see :func:`pair_count`."""
    spec = query.data["pairs"]
    keys = [query.column(name) for name in spec["key"]]
    present = " AND ".join(f"{key} IS NOT NULL" for key in keys)
    side = f"CASE WHEN {holds(query, spec['entry'])} THEN 1 WHEN {holds(query, spec['exit'])} THEN 2 END"
    sided = query.step(
        "sided",
        f"SELECT *, CASE WHEN bad IS NULL AND hit IS NULL THEN {side} END AS side,"
        f" {query.column(spec['time'])} AS at_raw FROM {rows}",
    )
    swipes = timed(query, sided, {"at": spec["time"]})
    pairs = query.temporary("pairs")
    query.con.execute(
        f"CREATE TEMP TABLE {pairs} AS "
        + query.after_steps(
            "SELECT row, entry_row FROM (SELECT row, side, at_utc, lag(row) OVER of_key AS entry_row,"
            " lag(side) OVER of_key AS last_side, lag(at_utc) OVER of_key AS last_utc"
            f" FROM {swipes} WHERE side IS NOT NULL AND at_utc IS NOT NULL AND {present}"
            f" WINDOW of_key AS (PARTITION BY {', '.join(keys)} ORDER BY at_utc, row))"
            f" WHERE side = 2 AND last_side = 1 AND at_utc - last_utc <= to_seconds({spec['within_s']})"
        )
    )
    within = f" of the same {' and '.join(spec['key'])} within {spec['within_s']} s"
    neither = quote("neither entry nor exit; skip such rows with a filter")
    query.object("side IS NULL AND bad IS NULL", "unpairable-row", spec["entry"]["column"], neither)
    lonely = quote(f"no exit follows this entry directly,{within}")
    query.object("side = 1", "unpaired-entry", spec["time"], lonely)
    lonely = quote(f"no entry stands directly before this exit,{within}")
    query.object("side = 2 AND entry_row IS NULL", "unpaired-exit", spec["time"], lonely)
    of_entry = {name.removeprefix(ENTRY): name for _, name in columns_used(query.data) if name.startswith(ENTRY)}
    columns = [f"entry.{query.column(name)} AS {query.column(full)}" for name, full in of_entry.items()]
    return query.step(
        "joined",
        f"SELECT {', '.join(['this.*', 'pair.entry_row', *columns])} FROM {swipes} this"
        f" LEFT JOIN {pairs} pair ON this.row = pair.row LEFT JOIN {swipes} entry ON entry.row = pair.entry_row"
        f" WHERE this.row NOT IN (SELECT entry_row FROM {pairs})",
    )


def pair_count(query: Query) -> int:
    """How many entries live on in the row of their exit."""
    if "pairs" not in query.data:
        return 0
    ((count,),) = query.con.execute(f"SELECT count(*) FROM {query.name}_pairs").fetchall()
    return int(count)
