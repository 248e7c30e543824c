"""What was settled before and may stand against new reports, found by its keys (:mod:`tanzhang.stores.known`)."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tanzhang.core.methodology import canonical_json
from tanzhang.core.recipe import Recipe, read_recipe
from tanzhang.core.record import CLAIMING
from tanzhang.core.settlement import Rules, rules_of
from tanzhang.engine import meeting
from tanzhang.engine.columns import one_array, said
from tanzhang.engine.kernel import quote
from tanzhang.engine.parallel import in_order
from tanzhang.engine.prepare import Plans, prepare
from tanzhang.engine.records import ARROW_TYPES, RECORD_COLUMNS, Decision
from tanzhang.engine.settle import SAME_REPORT
from tanzhang.stores.home import KNOWN, Home
from tanzhang.stores.known import SLICE_ROWS, Known, entries, leading, slice_of
from tanzhang.stores.parts import record_files
from tanzhang.stores.records import ROW_GROUP
from tanzhang.stores.storage import Place, parquet_file

if TYPE_CHECKING:
    import duckdb

_KEY_COLUMNS = ("action_id", "withdraws", "claim", "account", "plan", "started", "ended", "day", "outcome")
_PLACE, _ROW_BITS = "place", 40  # which record of all: batch and number in it
_PLACED = pa.schema({name: ARROW_TYPES[kind] for name, kind in RECORD_COLUMNS.items()} | {_PLACE: pa.int64()})
_TEXTS = ("partner", "behaviour", "region", "variant", "evidence", "kind", "outcome", "plan")


class History:
    """The settled records of a home, opened by their keys."""

    def __init__(self, home: Home, recipes: dict[str, Recipe] | None = None) -> None:
        """``recipes`` are plans read before, to which those that are new are added."""
        self._home, self.recipes = home, recipes_of(home, recipes)
        self.rules = rules_of(home.programme, home.identity_key)
        self._batches: list[Any] = home.book.batch_files()
        slices = [-(-row.records // SLICE_ROWS) for row in self._batches]
        self._first_slice = np.concatenate([[0], np.cumsum(slices, dtype=np.int64)])
        self._in_groups: dict[int, list[Group]] = {}
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
        found = latest = self._met(con, pending)
        asked = np.zeros(0, dtype=np.uint64)
        while latest.num_rows:
            more = meeting.all_of(self._following(con, pending, latest))
            more = more[~meeting.among(more, asked)]
            asked = np.sort(np.concatenate([asked, more]))
            latest = self._records(more)
            latest = latest.filter(pc.invert(pc.is_in(latest[_PLACE], found[_PLACE].combine_chunks())))
            found = pa.concat_tables([found, latest])
        con.register("near_records", found.drop_columns([_PLACE]))
        return "near_records"

    def about(self, actions: Sequence[bytes]) -> pa.Table:
        """The records of some references, and of what takes these back; without second reports of one reference."""
        asked = pa.table({"action_id": pa.ExtensionArray.from_storage(pa.uuid(), pa.array(actions, pa.binary(16)))})
        found = self._records(meeting.all_of([meeting.reference_keys(asked), meeting.takers_keys(asked)]))
        return found.filter(pa.array(~said(found["outcome"], SAME_REPORT))).drop_columns([_PLACE])

    def groups_with(self, keys: meeting.KeyColumn) -> Iterator[Group]:
        """The row groups in which records with one of some keys, given sorted, may be; mostly none but theirs."""
        slices = np.unique(slice_of(self._found(keys)))
        number = np.searchsorted(self._first_slice, slices, side="right") - 1
        return self._groups_of(slices, number)

    def add(self, number: int, decision: Decision) -> None:
        """Keep the keys of the batch that was just sealed, after the one before it."""
        parts = [
            self._entries(start, decision.records(start, stop, _KEY_COLUMNS), self._first_slice[-1])
            for start, stop in decision.slices(ROW_GROUP)
        ]
        self._known.add(number, np.sort(np.concatenate(parts)))
        self._batches += self._home.book.batch_files(number)
        slices = -(-len(decision) // SLICE_ROWS)
        self._first_slice = np.append(self._first_slice, self._first_slice[-1] + slices)

    def lacking(self, number: int) -> tuple[int, Path | None]:
        """How many keys of a batch's records are not in the file where they are kept: they would not be found again.

        None is missing where none is kept yet; they are made when they are wanted.
        """
        return self._known.lacking(number, self._made(number)) if number <= self._known.last else (0, None)

    def make_again(self, numbers: Iterable[int]) -> None:
        """Keep the keys of what some batches hold now, and none of what was erased; the home held for writing."""
        kept = [number for number in numbers if number <= self._known.last]
        slices = {number: range(*self._first_slice[number : number + 2].tolist()) for number in kept}
        self._known.replace({number: self._made(number) for number in kept}, slices)

    def _made(self, number: int) -> meeting.KeyColumn:
        """The entries of a batch, from its record files."""
        parts = [np.zeros(0, dtype=np.uint64)]
        for group in self._groups(number):
            with self._open(group.path) as file:
                rows = file.read_row_group(group.place, columns=list(_KEY_COLUMNS), use_threads=False)
            parts.append(self._entries(group.first, rows, self._first_slice[number]))
        return np.sort(np.concatenate(parts))

    def _entries(self, first_row: int, rows: pa.Table, first_slice: Any) -> meeting.KeyColumn:
        found = list(self._of_records(rows))
        key = np.concatenate([keys.key for keys in found])
        row = np.concatenate([keys.row for keys in found])
        return entries(key, first_slice + (first_row + row) // SLICE_ROWS)

    def _of_reports(self, rows: pa.Table) -> Iterator[meeting.Keys]:
        return meeting.of_reports(rows, Plans.of(rows, self.recipes, self.rules))

    def _of_records(self, rows: pa.Table) -> Iterator[meeting.Keys]:
        plans = Plans.of(rows, self.recipes, self.rules)
        return meeting.of_records(
            rows, plans, refers=~said(rows["outcome"], SAME_REPORT), holds=said(rows["outcome"], CLAIMING)
        )

    def _following(self, con: duckdb.DuckDBPyConnection, pending: pa.Table, found: pa.Table) -> Iterator[meeting.Keys]:
        """Keys to ask for once some records are found.

        Those of what takes a found record back, and of reports that follow an act into the account it is booked in.
        """
        yield meeting.takers_keys(found)
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

    def _met(self, con: duckdb.DuckDBPyConnection, pending: pa.Table) -> pa.Table:
        """The records that share a key with some report, and the place of each.

        There are some in nearly every row group of recent days, so the batches that have any are scanned for what
        those reports name: that is several times faster than reading their row groups one by one.
        """
        kinds = list(self._of_reports(pending))
        entry = self._found(meeting.all_of(kinds))
        wanted = meeting.distinct(leading(entry))
        named: dict[str, list[pa.Array]] = {"action_id": [], "claim": [], "account": []}
        for keys in kinds:
            rows = meeting.distinct(keys.row[meeting.among(leading(keys.key), wanted)].astype(np.uint64))
            if len(rows):
                column = "action_id" if keys.column == "withdraws" else keys.column
                named[column].append(one_array(pending[keys.column]).take(pa.array(rows)))
        number = np.unique(np.searchsorted(self._first_slice, slice_of(entry), side="right") - 1).tolist()
        files = [(each, file) for each in number for file in record_files(self._home.storage, self._batches[each])]
        if not files:
            return _PLACED.empty_table()
        firsts = [(str(file.path), (each << _ROW_BITS) + file.first) for each, file in files]
        con.register("places", pa.table({"filename": [name for name, _ in firsts], "first": [at for _, at in firsts]}))
        for column, parts in named.items():
            con.register(f"named_{column}", pa.table({column: pa.chunked_array(parts, pa.uuid())}))
        found = con.sql(
            f"""
            SELECT {", ".join(f"s.{name}" for name in RECORD_COLUMNS)}, p.first + s.file_row_number AS {_PLACE}
            FROM (
                FROM read_parquet([{", ".join(quote(name) for name, _ in firsts)}], filename = true,
                    file_row_number = true)
                WHERE action_id IN (FROM named_action_id) OR withdraws IN (FROM named_action_id)
                    OR claim IN (FROM named_claim) OR account IN (FROM named_account)
            ) s JOIN places p USING (filename)
            """
        ).to_arrow_table()
        for name in ("places", *(f"named_{column}" for column in named)):
            con.unregister(name)
        return self._with_keys(found, wanted).cast(_PLACED)

    def _found(self, asked: meeting.KeyColumn) -> meeting.KeyColumn:
        """Entries of these keys; batches that were sealed since the book was asked are left out."""
        entry = self._known.find(asked)
        known: meeting.KeyColumn = entry[slice_of(entry) < self._first_slice[-1]]
        return known

    def _with_keys(self, rows: pa.Table, wanted: meeting.KeyColumn) -> pa.Table:
        """The records that have one of some keys."""
        chosen = np.zeros(rows.num_rows, dtype=bool)
        for keys in self._of_records(rows):
            chosen[keys.row[meeting.among(leading(keys.key), wanted)]] = True
        return rows.take(pa.array(np.flatnonzero(chosen)))

    def _records(self, asked: meeting.KeyColumn) -> pa.Table:
        """The records that have one of a few keys, and the place of each; read are the row groups that have one."""
        entry = self._found(asked)
        wanted = meeting.distinct(leading(entry))
        slices = np.unique(slice_of(entry))
        number = np.searchsorted(self._first_slice, slices, side="right") - 1

        def of_group(group: Group) -> pa.Table:
            with self._open(group.path) as file:
                rows = file.read_row_group(group.place, columns=list(RECORD_COLUMNS), use_threads=False)
            place = pa.array(np.arange(rows.num_rows) + (group.batch << _ROW_BITS) + group.first)
            return self._with_keys(rows.append_column(_PLACE, place), wanted)

        parts = in_order(of_group, self._groups_of(slices, number))
        plain = [part.select(_PLACED.names).cast(_PLACED) for part in parts if part.num_rows]
        return pa.concat_tables([_PLACED.empty_table(), *plain])

    def _groups_of(self, slices: Any, number: Any) -> Iterator[Group]:
        """The row groups that some slices are in."""
        for each in np.unique(number).tolist():
            groups = self._groups(each)
            first = np.array([group.first for group in groups])
            start = (slices[number == each] - self._first_slice[each]) * SLICE_ROWS
            from_group = np.searchsorted(first, start, side="right") - 1
            to_group = np.searchsorted(first, start + SLICE_ROWS - 1, side="right") - 1
            places = {place for low, high in zip(from_group, to_group, strict=True) for place in range(low, high + 1)}
            yield from (groups[place] for place in sorted(places))

    def _groups(self, number: int) -> list[Group]:
        """The row groups of a batch, in order."""
        known = self._in_groups.get(number)
        if known is not None:
            return known
        groups: list[Group] = []
        for part in record_files(self._home.storage, self._batches[number]):
            first = part.first
            with self._open(part.path) as file:
                for place in range(file.num_row_groups):
                    groups.append(Group(number, part.path, place, first))
                    first += file.metadata.row_group(place).num_rows
        self._in_groups[number] = groups
        return groups

    def _open(self, path: Place) -> pq.ParquetFile:
        return parquet_file(path, memory_map=True, read_dictionary=list(_TEXTS))


@dataclass(frozen=True, slots=True)
class Group:
    """A row group of a batch, whose first record has number ``first``."""

    batch: int
    path: Place
    place: int
    first: int


class KeptHistory:
    """The history as this process's last settlement left it, so that the next one does not read all batches again.

    For whoever holds the home's lock. It serves as long as nobody else has booked or erased anything since; recipes are
    read again when the book has plans that are not known.
    """

    def __init__(self, home: Home) -> None:
        self._home: Home = weakref.proxy(home)  # which holds this: nobody else would let go of either
        self._version: tuple[int, int] | None = None
        self._history: History | None = None

    def opened(self) -> History:
        """The history up to the last batch, its keys kept on disk."""
        version = self._home.book.version()
        if self._history is None or self._version != version:
            self._history, self._version = History(self._home), version
        elif self._home.book.plan_count() != len(self._history.recipes):
            self._history.recipes = recipes_of(self._home)
        history, self._history = self._history, None  # whatever goes wrong from here on, it is opened anew
        return history.catch_up(keep=True)

    def keep(self, history: History) -> None:
        """Serve again from here: the batch that was just sealed is added to it."""
        self._history, self._version = history, self._home.book.version()


def kept_history(home: Home) -> KeptHistory:
    """The history that is kept for a home as long as it is open."""
    found: KeptHistory = home.kept.setdefault("history", KeptHistory(home))
    return found


def recipes_of(home: Home, known: dict[str, Recipe] | None = None) -> dict[str, Recipe]:
    """Every plan of the book as arithmetic; those that are ``known`` are not read again, the others are added."""
    recipes = {} if known is None else known
    for digest, document in home.book.plans().items():
        if digest not in recipes:
            recipes[digest] = read_recipe(document)
    return recipes


def _definition(rules: Rules) -> str:
    """What keys of caps are made for beside what plans say themselves: a programme may change its own caps."""
    own = sorted([cap.period, sorted(behaviours)] for cap, behaviours in rules.caps)
    return hashlib.sha256(canonical_json(["keys/2", own]).encode()).hexdigest()[:12]
