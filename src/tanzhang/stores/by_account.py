"""Runs: the records and booked amounts of some batches by account, so that one account is read without looking for it.

``by-account/<first batch>-<last batch>.run`` holds, for the batches from first to last:

- the records of all accounts that are not erased (:mod:`tanzhang.engine.account_rows`), sorted by account, in blocks of
  :data:`BLOCK_ROWS` rows, each compressed by itself; where each block begins;
- the accounts, sorted: identity, where its rows begin, and what was booked in it, by unit;
- as JSON: the texts of the rows, how many records of each batch were erased when the run was made, the chain of the
  last batch; then eight bytes that say how long that is.

A new batch adds a run; runs of like size are merged, so there are few and each record is moved rarely. All of it can be
made again from the record files and the book, any process may do so, and a file that does not fit the book is left out.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tanzhang.core.methodology import canonical_json
from tanzhang.core.record import UNIT_OF_KIND
from tanzhang.engine.account_rows import ROW, Rows, Texts, Words, halves
from tanzhang.engine.columns import IDENTITY_BYTES, Bytes, Numbers, fixed_bytes, integers
from tanzhang.stores.files import durable_file

FOLDER = "by-account"
BLOCK_ROWS = 128
UNITS: tuple[str, ...] = tuple(UNIT_OF_KIND.values())
_FORMAT = "tanzhang.by-account/1"
_NAME = re.compile(r"(\d{8})-(\d{8})\.run")
_PARTS = 64  # a merge holds this part of the rows in memory
_SHORT_MERGE = 1 << 16  # rows that are merged as one part
_CODEC = pa.Codec("zstd", compression_level=1)
_ENTRY = np.dtype([("high", "<u8"), ("low", "<u8"), ("rows", "<i8"), *((unit, "<i8") for unit in UNITS)])
Entries = npt.NDArray[np.void]


@dataclass(frozen=True, slots=True)
class Part:
    """Some accounts, sorted: how many rows each has and what is booked in it; and the rows, account by account."""

    entries: Entries
    rows: Rows

    @classmethod
    def of_rows(cls, accounts: Bytes, rows: Rows) -> Part:
        """Rows and the account of each."""
        high, low = halves(accounts)
        order = _order(high, low)
        if order is not None:
            high, low, rows = high[order], low[order], rows[order]
        start = _starts(high, low)
        entries = np.zeros(len(start), dtype=_ENTRY)
        entries["high"], entries["low"] = high[start], low[start]
        entries["rows"] = np.diff(np.append(start, len(rows)))
        return cls(entries, rows)

    @classmethod
    def of_postings(cls, postings: pa.Table) -> Part:
        """Accounts without rows and what was booked in each: columns account, unit and amount, in any order."""
        high, low = halves(fixed_bytes(postings["account"], IDENTITY_BYTES))
        entries = np.zeros(len(high), dtype=_ENTRY)
        entries["high"], entries["low"] = high, low
        amount, unit = integers(postings["amount"], pa.int64()), np.asarray(postings["unit"].combine_chunks())
        for name in UNITS:
            entries[name] = np.where(unit == name, amount, 0)
        return cls(_added_up(entries), np.zeros(0, dtype=ROW))


def _starts(high: npt.NDArray[np.uint64], low: npt.NDArray[np.uint64]) -> Numbers:
    """Where each run of one account begins."""
    changes = np.ones(len(high), dtype=bool)
    changes[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    return np.flatnonzero(changes)


def _order(high: npt.NDArray[np.uint64], low: npt.NDArray[np.uint64]) -> Numbers | None:
    """The order by account that keeps equal ones as they are; None if they are in order."""
    if not ((high[1:] < high[:-1]) | ((high[1:] == high[:-1]) & (low[1:] < low[:-1]))).any():
        return None
    order = np.argsort(high, kind="stable")  # quick where it merges what is in order
    high, again = high[order], low[order]
    if ((high[1:] == high[:-1]) & (again[1:] < again[:-1])).any():
        return order[np.lexsort((again, high))]
    return order


def joined(arrays: Sequence[npt.NDArray[np.void]], dtype: np.dtype[np.void]) -> npt.NDArray[np.void]:
    """Arrays of one type of rows as one; numpy's own way compares the fields of each pair."""
    if len(arrays) == 1:
        return arrays[0]
    plain = np.dtype(f"V{dtype.itemsize}")
    parts = [np.ascontiguousarray(array).view(plain) for array in arrays]
    return np.concatenate([np.zeros(0, plain), *parts]).view(dtype)


def _added_up(entries: Entries) -> Entries:
    """Entries sorted by account, one for each."""
    order = _order(entries["high"], entries["low"])
    if order is not None:
        entries = entries[order]
    start = _starts(entries["high"], entries["low"])
    if len(start) == len(entries):
        return entries
    found = entries[start]
    if len(start):
        for name in ("rows", *UNITS):
            found[name] = np.add.reduceat(entries[name], start)
    return found


def together(parts: Sequence[Part]) -> Part:
    """Parts of the same accounts as one; rows of an account in the order of the parts."""
    entries = joined([part.entries for part in parts], _ENTRY)
    rows = joined([part.rows for part in parts], parts[0].rows.dtype if parts else np.dtype(ROW))
    order = _order(entries["high"], entries["low"])
    if order is None:
        return Part(_added_up(entries), rows)
    start = np.cumsum(entries["rows"]) - entries["rows"]
    count, begin = entries["rows"][order], start[order]
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return Part(_added_up(entries), rows[np.repeat(begin, count) + within])


@dataclass(frozen=True, slots=True)
class About:
    """What a run is of: batches, the texts of its rows, how many records of each batch it knows to be erased.

    ``chain`` is that of the last batch's row in the book, which binds the run to every batch before too.
    """

    first: int
    last: int
    chain: str
    words: Sequence[Texts]
    erased: Sequence[int]

    def to_json(self) -> str:
        """As the end of a file has it."""
        said = {name: getattr(self, name) for name in ("first", "last", "chain", "words", "erased")}
        return canonical_json({"format": _FORMAT, **said})


class Run:
    """The records and amounts of some batches by account; in memory, or mapped from a file and not read."""

    def __init__(
        self,
        about: About,
        high: Any,
        low: Any,
        start: Any,
        booked: Any,
        block: Callable[[int], Rows],
        path: Path | None,
    ) -> None:
        self.about, self.path = about, path
        self.high, self.low, self.start, self.booked = high, low, start, booked
        self._block = block

    @classmethod
    def of(cls, about: About, part: Part) -> Run:
        """A run in memory."""
        entries, rows = part.entries, part.rows
        start = np.concatenate([[0], np.cumsum(entries["rows"])])
        booked = [np.ascontiguousarray(entries[unit]) for unit in UNITS]

        def block(number: int) -> Rows:
            return rows[number * BLOCK_ROWS : (number + 1) * BLOCK_ROWS]

        high, low = (np.ascontiguousarray(entries[name]) for name in ("high", "low"))
        return cls(about, high, low, start, booked, block, None)

    @classmethod
    def packed(cls, about: About, part: Part) -> Run:
        """A run in memory whose rows are compressed."""
        entries, rows = part.entries, part.rows
        start = np.concatenate([[0], np.cumsum(entries["rows"])])
        blocks = [_packed(rows[first : first + BLOCK_ROWS]) for first in range(0, len(rows), BLOCK_ROWS)]
        count, dtype = len(rows), rows.dtype

        def block(number: int) -> Rows:
            return _unpacked(blocks[number], min(BLOCK_ROWS, count - number * BLOCK_ROWS), dtype)

        high, low = (np.ascontiguousarray(entries[name]) for name in ("high", "low"))
        booked = [np.ascontiguousarray(entries[unit]) for unit in UNITS]
        return cls(about, high, low, start, booked, block, None)

    @classmethod
    def open(cls, path: Path) -> Run | None:
        """A run's file; None if it is none."""
        try:
            data = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
            length = int.from_bytes(data[-8:].tobytes(), "big")
            said = json.loads(data[-8 - length : -8].tobytes())
            if said["format"] != _FORMAT:
                return None
            about = About(
                said["first"], said["last"], said["chain"], [tuple(each) for each in said["words"]], said["erased"]
            )
            columns, end = [], len(data) - 8 - length
            for dtype, count in reversed(_columns(said["accounts"], said["blocks"])):
                end -= 8 * count
                columns.append(data[end : end + 8 * count].view(dtype))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        *booked, start, low, high, offset = columns
        rows = int(start[-1])

        def block(number: int) -> Rows:
            count = min(BLOCK_ROWS, rows - number * BLOCK_ROWS)
            return _unpacked(pa.py_buffer(data[int(offset[number]) : int(offset[number + 1])]), count, ROW)

        return cls(about, high, low, start, booked[::-1], block, path)

    @property
    def rows(self) -> int:
        """How many records."""
        return int(self.start[-1])

    def of_account(self, account: bytes) -> tuple[Rows, tuple[int, ...]] | None:
        """The rows of an account and what is booked in it, in the order of :data:`UNITS`; None if it is not here."""
        place = self._place(account)
        if place is None:
            return None
        found = self._between(int(self.start[place]), int(self.start[place + 1]))
        return found, tuple(int(amounts[place]) for amounts in self.booked)

    def booked_in(self, account: bytes) -> tuple[int, ...]:
        """What is booked in an account, in the order of :data:`UNITS`."""
        place = self._place(account)
        return (0,) * len(UNITS) if place is None else tuple(int(amounts[place]) for amounts in self.booked)

    def _place(self, account: bytes) -> int | None:
        high, low = np.uint64(int.from_bytes(account[:8], "big")), int.from_bytes(account[8:], "big")
        place = int(np.searchsorted(self.high, high))
        while place < len(self.high) and self.high[place] == high:
            if int(self.low[place]) == low:
                return place
            place += 1
        return None

    def row(self, number: int) -> tuple[bytes, Any]:
        """The account and the row of a number."""
        place = int(np.searchsorted(self.start, number, side="right")) - 1
        account = int(self.high[place]).to_bytes(8, "big") + int(self.low[place]).to_bytes(8, "big")
        return account, self._between(number, number + 1)[0]

    def part(self, low: int, high: int) -> Part:
        """Accounts ``[low, high)`` by number."""
        entries = np.zeros(high - low, dtype=_ENTRY)
        here = slice(low, high)
        entries["high"], entries["low"] = self.high[here], self.low[here]
        entries["rows"] = np.diff(self.start[low : high + 1].astype(np.int64))
        for unit, amounts in zip(UNITS, self.booked, strict=True):
            entries[unit] = amounts[here]
        return Part(entries, self._between(int(self.start[low]), int(self.start[high])))

    def pieces(self) -> Iterator[Part]:
        """All of it, some accounts at a time."""
        bounds = [*range(0, len(self.high), _SHORT_MERGE), len(self.high)]
        for low, high in itertools.pairwise(bounds):
            yield self.part(low, high)

    def books(self, expected: Part) -> bool:
        """Whether what is booked is what accounts ``expected`` say, and nothing anywhere else."""
        entries = expected.entries
        own = np.any([amounts != 0 for amounts in self.booked], axis=0)
        wanted = np.any([entries[unit] != 0 for unit in UNITS], axis=0)
        columns = [(self.high, "high"), (self.low, "low"), *zip(self.booked, UNITS, strict=True)]
        return all(np.array_equal(column[own], entries[name][wanted]) for column, name in columns)

    def _between(self, start: int, stop: int) -> Rows:
        if start == stop:
            return np.zeros(0, dtype=ROW)
        first = start // BLOCK_ROWS
        blocks = [self._block(number) for number in range(first, -(-stop // BLOCK_ROWS))]
        rows = joined(blocks, blocks[0].dtype)
        return rows[start - first * BLOCK_ROWS : stop - first * BLOCK_ROWS]


def _packed(rows: Rows) -> bytes:
    data: bytes = _CODEC.compress(np.ascontiguousarray(rows).view(np.uint8).data, asbytes=True)
    return data


def _unpacked(data: Any, count: int, dtype: np.dtype[np.void]) -> Rows:
    return np.frombuffer(_CODEC.decompress(data, decompressed_size=count * dtype.itemsize), dtype=dtype)


def rows_bytes(column: Rows, width: int) -> Bytes:
    """Values of fixed width as (n, width) bytes."""
    return np.ascontiguousarray(column).view(np.uint8).reshape(-1, width)


def _columns(accounts: int, blocks: int) -> list[tuple[str, int]]:
    """Type and length of the columns of a file, in order: block offsets, accounts, where rows begin, amounts."""
    return [
        ("<u8", blocks + 1),
        ("<u8", accounts),
        ("<u8", accounts),
        ("<i8", accounts + 1),
        *(("<i8", accounts) for _ in UNITS),
    ]


class _Writer:
    """A run being written; rows and their accounts come in order, amounts whenever."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._waiting: list[Rows] = []
        self._held = self._written = 0
        self._offset = [0]
        self._entries: list[Entries] = []

    def add(self, part: Part) -> None:
        self._entries.append(part.entries)
        self._waiting.append(part.rows)
        self._held += len(part.rows)
        if self._held >= BLOCK_ROWS:
            self._flush(self._held - self._held % BLOCK_ROWS)

    def finish(self, about: About) -> None:
        self._flush(self._held)
        entries = _added_up(joined(self._entries, _ENTRY))
        start = np.concatenate([[0], np.cumsum(entries["rows"])])
        columns = [np.array(self._offset), entries["high"], entries["low"], start, *(entries[unit] for unit in UNITS)]
        sizes = {"accounts": len(entries), "blocks": len(self._offset) - 1}
        self._put(bytes(-self._written % 8))
        for (dtype, _), column in zip(_columns(**sizes), columns, strict=True):
            self._put(np.ascontiguousarray(column, dtype=dtype).data)
        text = canonical_json({**json.loads(about.to_json()), **sizes}).encode()
        text += b" " * (-len(text) % 8)
        self._put(text + len(text).to_bytes(8, "big"))

    def _flush(self, rows: int) -> None:
        waiting = joined(self._waiting, ROW)
        for start in range(0, rows, BLOCK_ROWS):
            block = waiting[start : min(start + BLOCK_ROWS, rows)]
            self._put(_packed(block))
            self._offset.append(self._written)
        self._waiting, self._held = [waiting[rows:]], len(waiting) - rows

    def _put(self, data: bytes | memoryview) -> None:
        self._written += memoryview(data).nbytes
        self._file.write(data)


class ByAccount:
    """The runs of a home, as they are on disk when it is opened; none that does not fit the book's batches.

    ``chains`` are those of the rows of all batches, in order.
    """

    def __init__(self, home: Path, chains: Sequence[str]) -> None:
        self._folder = home / FOLDER
        self.runs: list[Run] = []
        for first, last, path in self._files():
            if first == self.last + 1 and last < len(chains):
                run = Run.open(path)
                if run is not None and (run.about.first, run.about.last, run.about.chain) == (
                    first,
                    last,
                    chains[last],
                ):
                    self.runs.append(run)

    @property
    def last(self) -> int:
        """The last batch that is here, -1 if there is none."""
        return self.runs[-1].about.last if self.runs else -1

    @contextmanager
    def alone(self, *, wait: bool = True) -> Iterator[bool]:
        """Write alone; False if somebody else does and ``wait`` is False."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        with open(self._folder / ".lock", "wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True

    def add(self, about: About, parts: Iterable[Part]) -> None:
        """Keep the run of the batches that follow, and merge those before it that are no larger."""
        if about.first != self.last + 1:
            raise AssertionError(f"batch {about.first} does not follow batch {self.last}")
        run = self._write(about, parts)
        merged = [run]
        while self.runs and self.runs[-1].rows < 2 * sum(each.rows for each in merged):
            merged.insert(0, self.runs.pop())
        if len(merged) > 1:
            run = self._merge(merged)
        self.runs.append(run)
        self._clear()

    def without(self, gone: dict[int, Numbers]) -> None:
        """Keep no rows at some places: those of the records of each batch that are erased now, all of them."""
        for place, run in enumerate(self.runs):
            own = [batch for batch in gone if run.about.first <= batch <= run.about.last]
            if own:
                self.runs[place] = self._merge([run], {batch: gone[batch] for batch in own})
        self._clear()

    def _merge(self, runs: Sequence[Run], gone: dict[int, Numbers] | None = None) -> Run:
        words = Words()
        renumbered = [words.numbers_of(Words(run.about.words)) for run in runs]
        hidden = np.sort(np.concatenate([np.zeros(0, np.int64), *(gone or {}).values()]))

        def parts() -> Iterator[Part]:
            pieces = _PARTS if sum(run.rows for run in runs) > _SHORT_MERGE else 1
            bounds = np.arange(1, pieces, dtype=np.uint64) << np.uint64(64 - _PARTS.bit_length() + 1)
            places = [[0, *np.searchsorted(run.high, bounds).tolist(), len(run.high)] for run in runs]
            for piece in range(pieces):
                own = []
                for run, place, numbers in zip(runs, places, renumbered, strict=True):
                    part = run.part(place[piece], place[piece + 1])
                    rows = part.rows.copy()
                    rows["texts"] = numbers[rows["texts"]]
                    part = Part(part.entries, rows)
                    own.append(without(part, hidden) if len(hidden) else part)
                yield together(own)

        erased = [count for run in runs for count in run.about.erased]
        first = runs[0].about.first
        for batch, places in (gone or {}).items():
            erased[batch - first] = len(places)
        # The list of texts is complete when all rows are written, and is written after them.
        return self._write(About(first, runs[-1].about.last, runs[-1].about.chain, words.known, erased), parts())

    def _write(self, about: About, parts: Iterable[Part]) -> Run:
        path = self._folder / f"{about.first:08d}-{about.last:08d}.run"
        with durable_file(path, up_to=self._folder.parent) as file:
            writer = _Writer(file)
            for part in parts:
                writer.add(part)
            writer.finish(about)
        run = Run.open(path)
        if run is None:
            raise AssertionError(f"{path} cannot be read again")
        return run

    def _clear(self) -> None:
        """Remove files that are no run of ours."""
        kept = {run.path for run in self.runs}
        for _, _, path in self._files():
            if path not in kept:
                path.unlink(missing_ok=True)

    def _files(self) -> list[tuple[int, int, Path]]:
        named = ((_NAME.fullmatch(path.name), path) for path in self._folder.glob("*.run"))
        found = [(int(name[1]), int(name[2]), path) for name, path in named if name]
        return sorted(found, key=lambda each: (each[0], -each[1]))


def without(part: Part, hidden: Numbers) -> Part:
    """A part without the rows at some places, given sorted; its accounts and amounts stay."""
    kept = ~among(part.rows["place"], hidden)
    counted = np.concatenate([[0], np.cumsum(kept)])
    stop = np.cumsum(part.entries["rows"])
    entries = part.entries.copy()
    entries["rows"] = counted[stop] - counted[stop - part.entries["rows"]]
    return Part(entries, part.rows[kept])


def among(places: Numbers, hidden: Numbers) -> npt.NDArray[np.bool_]:
    """Which places are among some, given sorted."""
    if not len(hidden):
        return np.zeros(len(places), dtype=bool)
    at = np.minimum(np.searchsorted(hidden, places), len(hidden) - 1)
    found: npt.NDArray[np.bool_] = hidden[at] == places
    return found
