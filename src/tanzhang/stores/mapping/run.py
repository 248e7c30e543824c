"""One run of a mapping over a file: its parts become steps of one query, and every source row is accounted for."""

from __future__ import annotations

from collections.abc import Mapping as ReadOnly
from dataclasses import dataclass
from pathlib import Path

import duckdb

from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.stores.mapping.document import ENTRY, TIMES, Mapping, columns_used
from tanzhang.stores.mapping.fields import actions, shaped
from tanzhang.stores.mapping.filters import filtered, first_hit
from tanzhang.stores.mapping.pairs import pair_count, paired
from tanzhang.stores.mapping.query import Query
from tanzhang.stores.mapping.reading import ForeignFile
from tanzhang.stores.mapping.tables import read_tables, table_files
from tanzhang.stores.mapping.times import timed
from tanzhang.stores.mapping.withdrawals import withdrawn


@dataclass(frozen=True, slots=True)
class Mapped:
    """What came out. ``table`` is the canonical temporary table; ``str(mapped)`` is its name too.

    ``source_rows == rows + paired + sum(skipped.values())``: ``paired`` counts entry rows that live on in the row of
    their exit, ``skipped`` the rows left out by each skip filter, also those with none.
    """

    table: str
    source_rows: int
    rows: int
    refused: int
    paired: int
    skipped: ReadOnly[str, int]

    def __str__(self) -> str:
        return self.table


def apply_mapping(
    con: duckdb.DuckDBPyConnection,
    source: Path,
    mapping: Mapping,
    tables: ReadOnly[str, Path],
    *,
    rehearse: bool = True,
) -> Mapped:
    """Turn a file into a temporary table of canonical rows, sorted by ``row``; the caller drops it.

    Shape:  ``RAW_COLUMNS`` of :mod:`tanzhang.engine.screen`: ``row`` BIGINT, the rest VARCHAR. A value that cannot be
            converted stays as it came and its row gets a problem.
    Codes:  per row ``malformed-row``, ``time-malformed``, ``time-nonexistent``, ``time-ambiguous``,
            ``number-malformed``, ``coordinate-malformed``, ``not-in-table``, ``value-not-mapped``, ``unpaired-entry``,
            ``unpaired-exit``, ``unpairable-row``, ``withdrawal-without-target`` and those of the mapping's filters.
            A message may repeat up to 60 characters of the value it objects to.
    Raises: ``source-missing``, ``source-unreadable``, ``source-header``, ``column-missing``, ``column-repeated``,
            ``table-missing``, ``table-unknown``, ``table-malformed``, ``table-key-repeated``, ``mapping-lost-rows``.
    """
    query = Query(con, mapping, rehearse=rehearse)
    try:
        raw = _read_source(query, source)
        read_tables(query, table_files(mapping, source, tables))
        rows = filtered(query, raw)
        if "pairs" in query.data:
            rows = paired(query, rows)
        rows = shaped(query, rows)
        rows = timed(query, rows, {name: name for name in TIMES if name in query.data["fields"]})
        if "withdrawals" in query.data:
            rows = withdrawn(query, rows)
        con.execute(f"CREATE TEMP TABLE {query.name} AS {actions(query, rows)}")
        return _counted(query, raw, source)
    finally:
        query.clean()


def _read_source(query: Query, source: Path) -> str:
    """Fill a table with the columns that the mapping names; all that are missing are refused together."""
    options = query.data["source"]
    file = ForeignFile(
        query,
        source,
        "raw",
        parquet=options["format"] == "parquet",
        delimiter=options.get("delimiter", ","),
        nulls=options.get("null_values", ()),
    )
    problems = []
    for place, column in columns_used(query.data):
        name = column.removeprefix(ENTRY)
        where = f"{query.mapping.document.where(*place)}; {source.name}"
        if name not in file.header:
            remedy = f"the file has {', '.join(file.header)[:500]}; correct the mapping or its delimiter"
            problems.append(Problem("column-missing", f"the file has no column {name}", where, remedy))
        elif file.header.count(name) > 1:
            message, remedy = f"column {name} appears twice in the header", "rename one of the two in the file"
            problems.append(Problem("column-repeated", message, where, remedy))
        else:
            query.positions[name] = file.header.index(name)
    if problems:
        raise TanzhangError(problems)
    return file.read(sorted(set(query.positions.values())))


def _counted(query: Query, raw: str, source: Path) -> Mapped:
    """Account for every source row, or refuse to hand anything out."""
    hits: dict[int | None, int] = dict(
        query.con.execute(f"SELECT {first_hit(query)} AS hit, count(*) FROM {raw} GROUP BY hit").fetchall()
    )
    filters = query.data.get("filters", [])
    skipped = {entry["name"]: hits.get(index, 0) for index, entry in enumerate(filters) if "skip" in entry}
    ((rows, distinct, refused),) = query.con.execute(
        f"SELECT count(*), count(DISTINCT row), count(problem_code) FROM {query.name}"
    ).fetchall()
    came, paired_rows = sum(hits.values()), pair_count(query)
    if came != rows + paired_rows + sum(skipped.values()) or rows != distinct:
        query.con.execute(f"DROP TABLE {query.name}")
        raise refuse(
            "mapping-lost-rows",
            f"{came} rows came in, but {rows} came out, {paired_rows} were paired and {skipped} skipped",
            where=f"{query.mapping.path.name}; {source.name}",
            remedy="report this as a defect of the mapping engine, with the mapping file",
        )
    return Mapped(query.name, came, rows, refused, paired_rows, skipped)
