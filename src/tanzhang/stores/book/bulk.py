"""Adding up amounts of very many rows in one statement a thousand of them, inside somebody's transaction.

SQLite takes rows one by one, fast enough within a process; PostgreSQL takes them as one COPY into a table of the
transaction's own, and adds them up from there.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import sqlalchemy as sa

_SLICE = 100_000


def add_amounts(con: sa.Connection, table: sa.Table, rows: pa.Table, *, amounts: Sequence[str]) -> None:
    """Add rows to a table whose other columns are its key; where a row is there already, its ``amounts`` grow.

    ``rows`` has every column of ``table``, none of them null, each key once; rows in the order of the key are taken in
    fastest.
    """
    if not rows.num_rows:
        return
    names = [column.name for column in table.c]
    keys = [name for name in names if name not in amounts]
    grow = ", ".join(f"{name} = {table.name}.{name} + excluded.{name}" for name in amounts)
    conflict = f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {grow}"
    listed = ", ".join(names)
    if con.dialect.name == "postgresql":
        _copy(con, table, rows.select(names))
        con.exec_driver_sql(f"INSERT INTO {table.name} ({listed}) SELECT {listed} FROM {_incoming(table)} {conflict}")
        con.exec_driver_sql(f"DROP TABLE {_incoming(table)}")
        return
    marks = ", ".join("?" * len(names))
    statement = f"INSERT INTO {table.name} ({listed}) VALUES ({marks}) {conflict}"
    for some in _slices(rows.select(names)):
        con.exec_driver_sql(statement, list(zip(*(column.to_pylist() for column in some.columns), strict=True)))


def add_rows(con: sa.Connection, table: sa.Table, rows: pa.Table) -> None:
    """Add rows to a table that gives them numbers of its own; columns that ``rows`` lacks are null."""
    names = rows.column_names
    if con.dialect.name == "postgresql":
        _copy_into(con, table.name, rows)
        return
    statement = f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
    for some in _slices(rows):
        con.exec_driver_sql(statement, list(zip(*(column.to_pylist() for column in some.columns), strict=True)))


def _incoming(table: sa.Table) -> str:
    return f"incoming_{table.name}"


def _copy(con: sa.Connection, table: sa.Table, rows: pa.Table) -> None:
    con.exec_driver_sql(f"CREATE TEMP TABLE {_incoming(table)} (LIKE {table.name}) ON COMMIT DROP")
    _copy_into(con, _incoming(table), rows)


def _copy_into(con: sa.Connection, name: str, rows: pa.Table) -> None:
    cursor: Any = con.connection.cursor()
    with cursor.copy(f"COPY {name} ({', '.join(rows.column_names)}) FROM STDIN (FORMAT csv)") as copy:
        for some in _slices(rows):
            buffer = io.BytesIO()
            pacsv.write_csv(_as_text(some), buffer, pacsv.WriteOptions(include_header=False, quoting_style="needed"))
            copy.write(buffer.getvalue())
    cursor.close()


def _as_text(rows: pa.Table) -> pa.Table:
    """Identities as the database writes them. Texts are written in quotes, so that an empty one is no null."""
    columns = []
    for column in rows.columns:
        if pa.types.is_binary(column.type) or pa.types.is_fixed_size_binary(column.type):
            columns.append(
                pa.array([None if value is None else f"\\x{value.hex()}" for value in column.to_pylist()], pa.string())
            )
        else:
            columns.append(column)
    return pa.table(columns, names=rows.column_names)


def _slices(rows: pa.Table) -> Iterator[pa.Table]:
    for start in range(0, rows.num_rows, _SLICE):
        yield rows.slice(start, _SLICE)
