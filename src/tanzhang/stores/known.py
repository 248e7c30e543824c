"""Keys of settled records, sorted: what a report may stand against is found without reading the past.

``known/<programme's caps>/<first batch>-<last batch>.keys`` holds 64-bit numbers in order: the leading 40 bits of a key
of :mod:`tanzhang.engine.meeting`, then the number of the slice of :data:`SLICE_ROWS` records that has it, counted over
all batches. A new batch adds a file; files of like size are merged, so there are few and each key is moved rarely.

All of it can be made again from the record files: a missing file is, and verification asks it for every record.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tanzhang.engine.meeting import KeyColumn, once
from tanzhang.stores.files import durable_file

SLICE_ROWS = 1 << 16
_SLICE_MASK = np.uint64((1 << 24) - 1)
_NAME = re.compile(r"(\d{8})-(\d{8})\.keys")
_PARTS = 64  # a merge holds this part of the keys in memory


def entries(key: KeyColumn, slices: npt.NDArray[np.int64]) -> KeyColumn:
    """Keys with the number of the slice that each is in, sorted."""
    return np.sort(leading(key) | slices.astype(np.uint64))


def leading(key: KeyColumn) -> KeyColumn:
    """What of a key is kept, where it is kept."""
    return key & ~_SLICE_MASK


def slice_of(entry: KeyColumn) -> npt.NDArray[np.int64]:
    """The slice that each entry is in."""
    return (entry & _SLICE_MASK).astype(np.int64)


@dataclass(frozen=True, slots=True)
class _Run:
    """Entries of batches ``first`` to ``last``."""

    first: int
    last: int
    entries: KeyColumn
    path: Path | None


class Known:
    """The keys of batches 0 to ``last``, as they are on disk when it is opened."""

    def __init__(self, folder: Path, definition: str) -> None:
        """``definition`` tells apart sets of keys made by other rules."""
        self._root, self._folder = folder, folder / definition
        self._runs: list[_Run] = []
        for first, last, path in self._files():
            if first == self.last + 1:
                data: KeyColumn = np.memmap(path, dtype="<u8", mode="r") if path.stat().st_size else _none()
                self._runs.append(_Run(first, last, data, path))

    @property
    def last(self) -> int:
        """The last batch whose keys are known, -1 if there is none."""
        return self._runs[-1].last if self._runs else -1

    def find(self, keys: KeyColumn) -> KeyColumn:
        """Every entry with one of some keys, given sorted."""
        wanted = once(leading(keys))
        found = [_none()]
        for run in self._runs:
            place = np.searchsorted(run.entries, wanted)
            inside = np.flatnonzero(place < len(run.entries))
            inside = inside[leading(run.entries[place[inside]]) == wanted[inside]]
            start = place[inside]
            stop = np.searchsorted(run.entries, wanted[inside] | _SLICE_MASK, side="right")
            count = stop - start
            within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
            found.append(np.asarray(run.entries[np.repeat(start, count) + within]))
        return np.concatenate(found)

    def lacking(self, batch: int, made: KeyColumn) -> tuple[int, Path | None]:
        """How many entries of a batch are not there, and the file they should be in."""
        (run,) = (run for run in self._runs if run.first <= batch <= run.last)
        if not len(run.entries):
            return len(made), run.path
        place = np.minimum(np.searchsorted(run.entries, made), len(run.entries) - 1)
        return int((run.entries[place] != made).sum()), run.path

    def remember(self, batch: int, made: KeyColumn) -> None:
        """Have the entries of the next batch in memory, for this process alone."""
        self._runs.append(_Run(batch, batch, made, None))

    def add(self, batch: int, made: KeyColumn) -> None:
        """Keep the entries of the next batch. The home must be held for writing."""
        if batch != self.last + 1:
            raise AssertionError(f"the keys of batch {batch} do not follow those of batch {self.last}")
        kept = [run for run in self._runs if run.path is not None]
        last = _Run(batch, batch, made, None)
        while kept and len(kept[-1].entries) < 2 * len(last.entries):
            last = self._write(kept.pop(), last)
        self._runs = [*kept, last if last.path is not None else self._write(last)]
        self._clear()

    def replace(self, made: Mapping[int, KeyColumn], slices: Mapping[int, range]) -> None:
        """Keep these entries of some batches, and no others of theirs. The home must be held for writing.

        ``slices`` are the numbers of the slices of each of these batches.
        """
        for place, run in enumerate(self._runs):
            within = [batch for batch in made if run.first <= batch <= run.last]
            if run.path is not None and within:
                columns = [run.entries, *(made[batch] for batch in within)]
                gone = [slices[batch] for batch in within]
                self._runs[place] = self._keep(run.first, run.last, _merged(columns, without=gone))
        self._clear()

    def _clear(self) -> None:
        """Remove files that are no run of ours."""
        for other in self._root.glob("*"):
            if other != self._folder:
                shutil.rmtree(other, ignore_errors=True)  # made by rules that are no longer in force
        for first, until, path in self._files():
            if not any((run.first, run.last) == (first, until) for run in self._runs):
                path.unlink()

    def _files(self) -> list[tuple[int, int, Path]]:
        named = ((_NAME.fullmatch(path.name), path) for path in self._folder.glob("*.keys"))
        found = [(int(name[1]), int(name[2]), path) for name, path in named if name]
        return sorted(found, key=lambda each: (each[0], -each[1]))

    def _write(self, *runs: _Run) -> _Run:
        return self._keep(runs[0].first, runs[-1].last, _merged([run.entries for run in runs]))

    def _keep(self, first: int, last: int, parts: Iterable[KeyColumn]) -> _Run:
        path = self._folder / f"{first:08d}-{last:08d}.keys"
        with durable_file(path, up_to=self._root.parent) as file:
            for part in parts:
                file.write(np.ascontiguousarray(part, dtype="<u8").data)
        size = path.stat().st_size
        return _Run(first, last, np.memmap(path, dtype="<u8", mode="r") if size else _none(), path)


def _merged(columns: Sequence[KeyColumn], *, without: Sequence[range] = ()) -> Iterable[KeyColumn]:
    """The entries of all columns in order, part by part; of the first one none of the slices ``without``."""
    if len(columns) == 1:
        yield columns[0]
        return
    bounds = np.arange(1, _PARTS, dtype=np.uint64) << np.uint64(64 - _PARTS.bit_length() + 1)
    places = [np.concatenate([[0], np.searchsorted(column, bounds), [len(column)]]) for column in columns]
    for part in range(_PARTS):
        pieces = [column[place[part] : place[part + 1]] for column, place in zip(columns, places, strict=True)]
        if without:
            found = slice_of(pieces[0])
            gone = np.logical_or.reduce([(found >= slices.start) & (found < slices.stop) for slices in without])
            pieces[0] = pieces[0][~gone]
        yield np.sort(np.concatenate(pieces))


def _none() -> KeyColumn:
    return np.zeros(0, dtype=np.uint64)
