"""What verification asks of totals: tallies counted again from the records, epochs computed again from the book."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from tanzhang.core.epoch import Epoch
from tanzhang.core.errors import Problem, TanzhangError
from tanzhang.engine.tally import AMOUNTS, COUNTS, DIMENSIONS, SCHEMA, merged
from tanzhang.service.epoch import recomputed
from tanzhang.service.findings import RESTORE
from tanzhang.service.ranking import Scope, recounted_board
from tanzhang.stores.boards import kept_boards, read_board
from tanzhang.stores.book import Book, tally
from tanzhang.stores.home import Home
from tanzhang.stores.tallies import RUN, runs_ending, tally_in, tally_row

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True, slots=True)
class Recounted:
    """What the records of a batch come to: the tally of those that can be read, and the sums of those that are erased.

    ``erased``: partner, kind and outcome -> records, granted and reversed mg.
    """

    tally: pa.Table
    erased: Mapping[tuple[str, str, str], tuple[int, ...]]

    def right(self, kept: pa.Table | None) -> pa.Table:
        """The tally as it should be: of erased records' cells only the sums are known, the rest is believed."""
        return kept if self.erased and kept is not None and self._explains(kept) else self.tally

    def _explains(self, kept: pa.Table) -> bool:
        """Whether a tally has at least what the records come to, and beyond it what the erased ones did."""
        taken = {name: pc.negate(self.tally[name]) for name in (*COUNTS, *AMOUNTS)}
        beyond = merged([kept, pa.table({**{name: self.tally[name] for name in DIMENSIONS}, **taken})])
        if any((pc.min(beyond[name]).as_py() or 0) < 0 for name in (*COUNTS, *AMOUNTS)):
            return False
        by = ("partner", "kind", "outcome")
        sums = merged([beyond], by).select([*by, "records", *AMOUNTS]).to_pylist()
        found = {(row["partner"], row["kind"], row["outcome"]): tuple([*row.values()][3:]) for row in sums}
        return {place: each for place, each in found.items() if any(each)} == dict(self.erased)


def check_tallies(book: Book, batches: Sequence[int], recounted: Mapping[int, Recounted]) -> tuple[int, list[Problem]]:
    """How many rows of table ``tally`` were looked at, and what is wrong with them.

    ``recounted`` has each batch whose records could be read; of the others the kept one is believed.
    """
    problems: list[Problem] = []

    def wrong(code: str, message: str, first: int, last: int) -> None:
        problems.append(Problem(code, message, f"{book.name}: tally of batches {first} to {last}", RESTORE))

    known: dict[tuple[int, int], pa.Table] = {}
    expected = 0
    for number in batches:
        for first, length in runs_ending(number):
            expected += 1
            rows = book.query(sa.select(tally).where(tally.c.last == number, tally.c.first == first))
            kept = None
            try:
                kept = tally_in(rows[0]) if rows else None
            except TanzhangError as error:
                wrong(error.code, error.problems[0].message, first, number)
            if length == 1:
                right = recounted[number].right(kept) if number in recounted else kept
            else:
                step = length // RUN
                right = merged([known[start, step] for start in range(first, number + 1, step)])
            known[first, length] = SCHEMA.empty_table() if right is None else right
            if not rows:
                wrong("tally-mismatch", "there is no tally", first, number)
            elif kept is not None and right is not None and not _same(rows[0], kept, right):
                wrong("tally-mismatch", "the tally is not what the records come to", first, number)
    found = book.query(sa.select(tally.c.first, tally.c.last))
    allowed = {(first, number) for number in batches for first, _ in runs_ending(number)}
    for row in found:
        if (row.first, row.last) not in allowed:
            wrong("tally-stray", "a tally of batches that do not begin and end so", row.first, row.last)
    return max(expected, len(found)), problems


def _same(row: Any, kept: pa.Table, right: pa.Table) -> bool:
    """Whether a row says what it should. An equal tally may be encoded in other bytes by another release of Arrow."""
    wanted = tally_row(row.first, row.last, right)
    said = all(getattr(row, name) == wanted[name] for name in wanted if name != "data")
    return said and kept.to_pylist() == right.to_pylist()


def check_epochs(home: Home) -> tuple[int, list[Problem]]:
    """How many leaves of epochs were computed again, and which epochs the book does not give as they were sealed."""
    problems: list[Problem] = []
    count = 0
    for index, sealed, again in recomputed(home):
        if again == sealed:
            count += sum(tree.leaves for tree in Epoch.parse(sealed).trees.values())
            continue
        message = "the entry is not one of an epoch" if again is None else _difference(sealed, again)
        problems.append(Problem("epoch-mismatch", message, f"{home.book.name}: entry {index}", RESTORE))
    return count, problems


def check_boards(home: Home, con: duckdb.DuckDBPyConnection) -> tuple[int, list[Problem]]:
    """How many accounts of kept boards were counted again from the records, and which boards are wrong."""
    problems: list[Problem] = []
    count = 0
    for path in kept_boards(home.folder):
        board = read_board(path)
        try:
            scope = Scope.named(path.stem)
        except (ValueError, TanzhangError):
            scope = None
        right = board is not None and scope is not None and board.batches <= home.book.batch_count()
        if right and board is not None and scope is not None:
            count += board.table.num_rows
            right = board.table.equals(recounted_board(home, con, scope, board.batches))
        if not right:
            message = "the board is not what the records come to"
            remedy = "remove the file; the next question makes it again"
            problems.append(Problem("board-mismatch", message, path.relative_to(home.folder).as_posix(), remedy))
    return count, problems


def _difference(sealed: str, again: str) -> str:
    """Which members of an epoch differ, in words."""
    said, found = json.loads(sealed), json.loads(again)
    names = [name for name in sorted(said.keys() | found.keys()) if said.get(name) != found.get(name)]
    return f"the epoch of {said['day']} says other {', '.join(names)} than postings, secrets and tallies give"
