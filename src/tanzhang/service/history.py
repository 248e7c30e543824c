"""What was settled before and may stand against new reports, found by its keys (:mod:`tanzhang.stores.known`)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tanzhang.core.methodology import canonical_json
from tanzhang.core.recipe import Recipe, read_recipe
from tanzhang.core.record import HOLDERS
from tanzhang.core.settlement import Rules, rules_of
from tanzhang.engine import meeting
from tanzhang.engine.columns import text_codes
from tanzhang.engine.parallel import in_order
from tanzhang.engine.prepare import Flags, Plans, prepare
from tanzhang.engine.records import ARROW_TYPES, RECORD_COLUMNS, Decision
from tanzhang.engine.settle import SAME_REPORT
from tanzhang.stores.book import batch
from tanzhang.stores.home import KNOWN, Home
from tanzhang.stores.known import SLICE_ROWS, KeyColumn, Known, entries, leading, slice_of
from tanzhang.stores.parts import record_files
from tanzhang.stores.records import ROW_GROUP
from tanzhang.stores.storage import Place, parquet_file

if TYPE_CHECKING:
    import duckdb

_KEY_COLUMNS = ("action_id", "withdraws", "claim", "account", "plan", "started", "ended", "day", "outcome")
_TEXTS = ("partner", "behaviour", "region", "variant", "evidence", "kind", "outcome", "plan")


class History:
    """The settled records of a home, opened by their keys."""

    def __init__(self, home: Home) -> None:
        self._home, self.recipes = home, recipes_of(home)
        self.rules = rules_of(home.programme, home.identity_key)
        self._batches: list[Any] = home.book.rows(batch)
        slices = [-(-row.records // SLICE_ROWS) for row in self._batches]
        self._first_slice = np.concatenate([[0], np.cumsum(slices, dtype=np.int64)])
        self._known = Known(home.folder / KNOWN, _definition(self.rules))

    def catch_up(self, *, keep: bool) -> History:
        """Bring the keys up to the book. ``keep`` writes what was missing, which needs the home held for writing."""
        for number in range(self._known.last + 1, len(self._batches)):
            add = self._known.add if keep else self._known.remember
            add(number, self._made(number))
        return self

    def near(self, con: duckdb.DuckDBPyConnection, pending: pa.Table) -> str | None:
        """Relation of the settled records that reports may stand against, and of what took those back; None if none.

        ``pending`` has come through :func:`tanzhang.engine.prepare.prepare`.
        """
        if not self._batches:
            return None
        asked = np.unique(np.concatenate([keys.key for keys in self._of_reports(pending)]))
        found = self._records(self._known.find(asked))
        while True:
            more = np.unique(np.concatenate([keys.key for keys in self._following(con, pending, found)]))
            more = np.setdiff1d(more, asked, assume_unique=True)
            if not len(more):
                break
            asked = np.union1d(asked, more)
            found = self._records(self._known.find(asked))
        con.register("near_records", found)
        return "near_records"

    def add(self, number: int, decision: Decision) -> None:
        """Keep the keys of the batch that was just sealed, after the one before it."""
        parts = [
            self._entries(start, decision.records(start, stop, _KEY_COLUMNS), self._first_slice[-1])
            for start, stop in decision.slices(ROW_GROUP)
        ]
        self._known.add(number, np.sort(np.concatenate(parts)))

    def lacking(self, number: int) -> tuple[int, Path | None]:
        """How many keys of a batch's records are not in the file where they are kept: they would not be found again.

        None is missing where none is kept yet; they are made when they are wanted.
        """
        return self._known.lacking(number, self._made(number)) if number <= self._known.last else (0, None)

    def _made(self, number: int) -> KeyColumn:
        """The entries of a batch, from its record files."""
        parts = [np.zeros(0, dtype=np.uint64)]
        for group in self._groups(number):
            with self._open(group.path) as file:
                rows = file.read_row_group(group.place, columns=list(_KEY_COLUMNS), use_threads=False)
            parts.append(self._entries(group.first, rows, self._first_slice[number]))
        return np.sort(np.concatenate(parts))

    def _entries(self, first_row: int, rows: pa.Table, first_slice: Any) -> KeyColumn:
        found = list(self._of_records(rows))
        key = np.concatenate([keys.key for keys in found])
        row = np.concatenate([keys.row for keys in found])
        return entries(key, first_slice + (first_row + row) // SLICE_ROWS)

    def _of_reports(self, rows: pa.Table) -> Iterator[meeting.Keys]:
        return meeting.of_reports(rows, Plans.of(rows, self.recipes, self.rules))

    def _of_records(self, rows: pa.Table) -> Iterator[meeting.Keys]:
        plans = Plans.of(rows, self.recipes, self.rules)
        return meeting.of_records(
            rows, plans, refers=~_said(rows["outcome"], SAME_REPORT), holds=_said(rows["outcome"], HOLDERS)
        )

    def _following(self, con: duckdb.DuckDBPyConnection, pending: pa.Table, found: pa.Table) -> Iterator[meeting.Keys]:
        """Keys to ask for once some records are found.

        Those of what takes a found record back, and of reports that follow an act into the account it is booked in.
        """
        yield next(meeting.reference_keys(found))
        if "withdraws" not in pending.column_names or pending["withdraws"].null_count == pending.num_rows:
            return
        con.register("asking", pending.filter(pc.is_valid(pending["withdraws"])))
        con.register("asked", found.select(["action_id", "account"]))
        moving = con.sql(
            "SELECT p.* EXCLUDE (account), f.account FROM asking p JOIN asked f ON p.withdraws = f.action_id"
        ).to_arrow_table()
        con.unregister("asking")
        con.unregister("asked")
        moved = moving.drop_columns(["claim"]).rename_columns({"reported": "claim"})
        yield from self._of_reports(prepare(con, moved, links=None, recipes=self.recipes, rules=self.rules))

    def _records(self, found: KeyColumn) -> pa.Table:
        """The records that have one of some entries' keys; read are only the row groups that have one."""
        wanted = np.unique(leading(found))
        slices = np.unique(slice_of(found))
        number = np.searchsorted(self._first_slice, slices, side="right") - 1

        def of_group(group: _Group) -> pa.Table:
            with self._open(group.path) as file:
                rows = file.read_row_group(group.place, columns=list(RECORD_COLUMNS), use_threads=False)
            chosen = np.zeros(rows.num_rows, dtype=bool)
            for keys in self._of_records(rows):
                chosen[keys.row[meeting.among(leading(keys.key), wanted)]] = True
            return rows.filter(pa.array(chosen))

        parts = list(in_order(of_group, self._groups_of(slices, number)))
        empty = pa.schema({name: ARROW_TYPES[kind] for name, kind in RECORD_COLUMNS.items()}).empty_table()
        texts = {name: pa.string() for name in _TEXTS}
        plain = [part.cast(pa.schema({f.name: texts.get(f.name, f.type) for f in part.schema})) for part in parts]
        return pa.concat_tables([empty, *plain])

    def _groups_of(self, slices: Any, number: Any) -> Iterator[_Group]:
        """The row groups that some slices are in."""
        for each in np.unique(number).tolist():
            groups = self._groups(each)
            first = np.array([group.first for group in groups])
            start = (slices[number == each] - self._first_slice[each]) * SLICE_ROWS
            from_group = np.searchsorted(first, start, side="right") - 1
            to_group = np.searchsorted(first, start + SLICE_ROWS - 1, side="right") - 1
            places = {place for low, high in zip(from_group, to_group, strict=True) for place in range(low, high + 1)}
            yield from (groups[place] for place in sorted(places))

    def _groups(self, number: int) -> list[_Group]:
        """The row groups of a batch, in order."""
        groups: list[_Group] = []
        for part in record_files(self._home.storage, self._batches[number]):
            first = part.first
            with self._open(part.path) as file:
                for place in range(file.num_row_groups):
                    groups.append(_Group(part.path, place, first))
                    first += file.metadata.row_group(place).num_rows
        return groups

    def _open(self, path: Place) -> pq.ParquetFile:
        return parquet_file(path, memory_map=True, read_dictionary=list(_TEXTS))


@dataclass(frozen=True, slots=True)
class _Group:
    """A row group of a batch, whose first record has number ``first``."""

    path: Place
    place: int
    first: int


def recipes_of(home: Home) -> dict[str, Recipe]:
    """Every plan of the book as arithmetic."""
    return {digest: read_recipe(document) for digest, document in home.book.plans().items()}


def _said(column: pa.ChunkedArray, texts: Iterable[str]) -> Flags:
    """In which rows a text column says one of some texts."""
    codes, known = text_codes(column)
    wanted = set(texts)
    return np.array([text in wanted for text in known], dtype=bool)[codes]


def _definition(rules: Rules) -> str:
    """What keys of caps are made for beside what plans say themselves: a programme may change its own caps."""
    own = sorted([cap.period, sorted(behaviours)] for cap, behaviours in rules.caps)
    return hashlib.sha256(canonical_json(["keys/1", own]).encode()).hexdigest()[:12]
