"""A CSV or Parquet file of somebody else: first its header, then the columns that are wanted, all as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import duckdb

from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.stores.mapping.lines import csv_header, read_lines, split_csv
from tanzhang.stores.mapping.query import Query
from tanzhang.stores.mapping.sql import file_sql, quoted, texts

_UNREADABLE = (duckdb.IOException, duckdb.InvalidInputException, OSError)


class ForeignFile:
    """A file opened for reading; ``header`` is known at once. Its tables go with the query's other temporary ones.

    Raises: ``source-missing``, ``source-unreadable``, ``source-header``.
    """

    def __init__(
        self, query: Query, path: Path, name: str, *, parquet: bool, delimiter: str = ",", nulls: Sequence[str] = ()
    ) -> None:
        self.con, self.path, self.table = query.con, path, query.temporary(name)
        self.parquet, self.delimiter, self.nulls = parquet, delimiter, nulls
        if not path.is_file():
            raise refuse(
                "source-missing", f"there is no file {path.name}", where=str(path), remedy="name an existing file"
            )
        try:
            if parquet:
                self._relation = f"read_parquet({file_sql(path)}, hive_partitioning=false, file_row_number=true)"
                described = self.con.execute(
                    f"DESCRIBE SELECT * EXCLUDE (file_row_number) FROM {self._relation}"
                ).fetchall()
                self._types = [str(column[1]) for column in described]
                self.header = [str(column[0]) for column in described]
            else:
                self._lines = query.temporary(f"{name}_lines")
                read_lines(self.con, path, self._lines)
                self.header = csv_header(self.con, self._lines, path, delimiter)
        except _UNREADABLE as error:
            raise self._unreadable(error) from None

    def read(self, wanted: Iterable[int]) -> str:
        """Create the table and return its name: ``row``, ``line``, ``bad`` (or NULL), ``c<position>`` ..."""
        if not self.parquet:
            split_csv(
                self.con,
                self._lines,
                self.table,
                len(self.header),
                {f"c{position}": position for position in wanted},
                delimiter=self.delimiter,
                nulls=self.nulls,
            )
            return self.table
        columns = ["file_row_number + 1 AS row", "file_row_number + 1 AS line", "NULL::VARCHAR AS bad"]
        columns += [f"{self._text(position)} AS c{position}" for position in wanted]
        try:
            self.con.execute(f"CREATE TEMP TABLE {self.table} AS SELECT {', '.join(columns)} FROM {self._relation}")
        except _UNREADABLE as error:
            raise self._unreadable(error) from None
        return self.table

    def _text(self, position: int) -> str:
        """A Parquet value as the text that a CSV file would hold; instants in UTC, whatever the zone of the session."""
        value = quoted(self.header[position])
        if self._types[position] == "TIMESTAMP WITH TIME ZONE":
            value = f"strftime(timezone('UTC', {value}), '%Y-%m-%d %H:%M:%S.%f+00:00')"
        return f"CASE WHEN {value}::VARCHAR NOT IN ({texts(['', *self.nulls])}) THEN {value}::VARCHAR END"

    def _unreadable(self, error: Exception) -> TanzhangError:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        return refuse(
            "source-unreadable",
            f"{self.path.name} cannot be read: {reason[:200]}",
            where=str(self.path),
            remedy="check that the file is complete and of the format that the mapping declares",
        )
