"""The SQL query that a mapping becomes: named steps, one after the other, and the objections that a row can meet."""

from __future__ import annotations

import itertools
from typing import Any

import duckdb

from tanzhang.engine.kernel import quote
from tanzhang.stores.mapping.document import ENTRY, Mapping, look_ups

_numbers = itertools.count(1)


class Query:
    """Grows step by step while the parts of a mapping are turned into SQL; ``name`` is the table it will fill.

    Rows carry ``row``, ``line``, ``bad`` (why the line is no row, or NULL) and the columns used, as ``c<position>``;
    those of a pair's entry are ``e<position>``.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection, mapping: Mapping, *, rehearse: bool) -> None:
        self.con, self.mapping = con, mapping
        self.data: dict[str, Any] = mapping.document.data
        self.rehearsal = mapping.rehearsal if rehearse else None
        self.zone: str = (self.rehearsal and self.rehearsal.zone) or self.data["times"]["zone"]
        self.name = f"mapping_{next(_numbers)}"
        self.positions: dict[str, int] = {}  # of the columns used, in the source; known once its header is read
        # One join per table and column looked up in it.
        self.looks = {
            key: f"look_{number}"
            for number, key in enumerate(dict.fromkeys((look["table"], look["key"]) for _, look in look_ups(self.data)))
        }
        self._steps: list[str] = []
        self._objections: list[str] = []
        self._temporary: list[str] = []

    def temporary(self, name: str) -> str:
        """The full name of a table that :meth:`clean` drops."""
        table = f"{self.name}_{name}"
        self._temporary.append(table)
        return table

    def clean(self) -> None:
        """Drop every temporary table."""
        for table in self._temporary:
            self.con.execute(f"DROP TABLE IF EXISTS {table}")

    def column(self, name: str) -> str:
        """SQL of a column of the source, by the name that the mapping gives it."""
        side = "e" if name.startswith(ENTRY) else "c"
        return f"{side}{self.positions[name.removeprefix(ENTRY)]}"

    def step(self, name: str, select: str) -> str:
        """Add a step and return its name, for the next one to select from."""
        self._steps.append(f"{name} AS ({select})")
        return name

    def after_steps(self, select: str) -> str:
        """SQL of a statement that may select from the steps so far."""
        return f"WITH {', '.join(self._steps)} {select}"

    def object(self, holds: str, code: str, field: str | None, message: str) -> None:
        """Refuse the rows for which ``holds``; ``message`` is SQL. The first objection that holds is the row's."""
        named = "NULL::VARCHAR" if field is None else quote(field)
        self._objections.append(f"WHEN {holds} THEN {{'code': {quote(code)}, 'field': {named}, 'message': {message}}}")

    def problem(self) -> str:
        """SQL of the row's objection, a struct of code, field and message, or NULL."""
        return f"CASE {' '.join(self._objections)} END"
