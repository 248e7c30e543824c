"""Look-up tables: where their files are, and their rows under a key spelled alike on both sides."""

from __future__ import annotations

from collections.abc import Mapping as ReadOnly
from collections.abc import Sequence
from pathlib import Path

from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.engine.kernel import quote
from tanzhang.stores.mapping.document import Mapping, look_ups
from tanzhang.stores.mapping.query import Query
from tanzhang.stores.mapping.reading import ForeignFile
from tanzhang.stores.mapping.sql import quoted, replaced, shown


def table_files(mapping: Mapping, source: Path, given: ReadOnly[str, Path]) -> dict[str, Path]:
    """The file of each look-up table: the given one, else the one beside the mapping, else beside the source.

    Raises: ``table-unknown`` for a given name that the mapping does not declare, ``table-missing``.
    """
    problems = [
        Problem(
            "table-unknown",
            f"mapping {mapping.id} has no table {name}",
            mapping.document.where("tables"),
            f"its tables: {', '.join(mapping.tables) or 'none'}",
        )
        for name in given
        if name not in mapping.tables
    ]
    found = {}
    for name, file in mapping.tables.items():
        places = [given[name]] if name in given else [mapping.path.parent / file, source.parent / file]
        existing = [place for place in places if place.is_file()]
        if existing:
            found[name] = existing[0]
            continue
        problems.append(
            Problem(
                "table-missing",
                f"look-up table {name} is not at {' or '.join(str(place) for place in places)}",
                mapping.document.where("tables", name),
                f"give it with --table {name}=PATH, or put {file} beside the mapping or beside the source",
            )
        )
    if problems:
        raise TanzhangError(problems)
    return found


def read_tables(query: Query, files: ReadOnly[str, Path]) -> None:
    """Read the tables that are used, each with the columns that are taken from it.

    Raises: ``column-missing``, ``table-malformed``, ``table-key-repeated`` and what :class:`ForeignFile` raises.
    """
    taken: dict[str, set[str]] = {}
    for _, look in look_ups(query.data):
        columns = (look[key] for key in ("take", "latitude", "longitude") if key in look)
        taken.setdefault(look["table"], set()).update(columns)
    for name, wanted in taken.items():
        _read_table(query, name, files[name], sorted(wanted))


def _read_table(query: Query, name: str, path: Path, columns: Sequence[str]) -> None:
    key = query.data["tables"][name]["key"]
    where = f"{query.mapping.document.where('tables', name)}; {path.name}"
    file = ForeignFile(query, path, f"table_{name}_raw", parquet=path.suffix == ".parquet")
    missing = [column for column in (key, *columns) if file.header.count(column) != 1]
    if missing:
        raise refuse(
            "column-missing",
            f"table {name} has not exactly one column {', '.join(missing)}",
            where=where,
            remedy=f"the file has {', '.join(file.header)}",
        )
    at = {column: file.header.index(column) for column in (key, *columns)}
    raw, table = file.read(sorted(set(at.values()))), query.temporary(f"table_{name}")
    bad = query.con.execute(f"SELECT line, bad FROM {raw} WHERE bad IS NOT NULL ORDER BY line LIMIT 20").fetchall()
    if bad:
        raise TanzhangError(
            Problem("table-malformed", f"table {name}, {why}", f"{path.name}:{line}", "correct that line")
            for line, why in bad
        )
    values = ", ".join(f"c{at[column]} AS {_taken(column)}" for column in columns)
    query.con.execute(
        f"CREATE TEMP TABLE {table} AS SELECT DISTINCT {_normalised(query, name, f'c{at[key]}')} AS looked_up, {values}"
        f" FROM {raw} WHERE c{at[key]} IS NOT NULL"
    )
    twice = query.con.execute(
        f"SELECT looked_up FROM {table} GROUP BY looked_up HAVING count(*) > 1 ORDER BY looked_up LIMIT 20"
    ).fetchall()
    if twice:
        raise refuse(
            "table-key-repeated",
            f"table {name} says different things about {', '.join(str(row[0]) for row in twice)}",
            where=where,
            remedy="keep one row per key, after the declared normalisation",
        )


def joins(query: Query) -> str:
    """SQL that joins every look-up to the rows called ``this``."""
    return "".join(
        f" LEFT JOIN {query.name}_table_{table} {look}"
        f" ON {look}.looked_up = {_normalised(query, table, f'this.{query.column(key)}')}"
        for (table, key), look in query.looks.items()
    )


def looked_up(query: Query, table: str, key: str, column: str) -> str:
    """SQL of a table's column for the value of a column of the source, after :func:`joins`."""
    return f"{query.looks[table, key]}.{_taken(column)}"


def found_keys(query: Query) -> list[str]:
    """Columns that say which keys were found, after :func:`joins`; for :func:`object_to_missing`."""
    return [f"{look}.looked_up AS {look}_key" for look in query.looks.values()]


def object_to_missing(query: Query) -> None:
    """Refuse rows that look up what is not there."""
    for (table, key), look in query.looks.items():
        column, absent = query.column(key), f"{look}_key IS NULL"
        message = quote(f"{key} is empty, so there is nothing to look up in table {table}")
        query.object(f"{absent} AND {column} IS NULL", "not-in-table", key, message)
        words = f" is not in table {table}; add it there or to its normalise"
        query.object(absent, "not-in-table", key, shown(column, words))


def _taken(column: str) -> str:
    """A column of a look-up table, under a name that meets none of ours."""
    return quoted(f"taken:{column}")


def _normalised(query: Query, table: str, value: str) -> str:
    for step in query.data["tables"][table].get("normalise", []):
        ((verb, word),) = step.items()
        if verb == "replace":
            value = replaced(value, word)
        elif verb == "strip_suffix":
            value = f"(CASE WHEN ends_with({value}, {quote(word)}) THEN left({value}, -{len(word)}) ELSE {value} END)"
        else:  # trim, lower
            value = f"{verb}({value})"
    return value
