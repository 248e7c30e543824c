"""Records by account: runs of them (:mod:`tanzhang.stores.by_account`) made from the record files and the book.

Settlement does not wait for it. Whoever serves reads or works in the background calls :func:`keep`; what is not kept
yet is read from the record files themselves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tanzhang.core.methodology import canonical_json
from tanzhang.engine.account_rows import COLUMNS, Texts, Words, batch_of, place_of, rows_of
from tanzhang.engine.columns import Numbers
from tanzhang.stores.by_account import About, ByAccount, Part, Run, together, without
from tanzhang.stores.home import Home
from tanzhang.stores.parts import erased_leaves, record_files
from tanzhang.stores.storage import parquet_file

_ODD = np.uint64(0x9E3779B97F4A7C15)
_TOGETHER = 1 << 20
"""As many records are sorted in memory at once, some 500 MB."""


def keep(home: Home, *, wait: bool = True) -> int:
    """Bring the runs on disk up to the book; returns how many batches were added.

    Any process may call it at any time, beside settlement too. Nothing is done if another one is at it and ``wait`` is
    False.
    """
    batches = home.book.batches()
    added = 0
    if ByAccount(home.folder, chains(batches)).last + 1 < len(batches):
        store = ByAccount(home.folder, chains(batches))
        with store.alone(wait=wait) as alone:
            if not alone:
                return 0
            store = ByAccount(home.folder, chains(batches))  # somebody else may have added some meanwhile
            for group in _groups(batches[store.last + 1 :]):
                words = Words()
                parts = (part for row in group for part in _parts(home, row, words))
                store.add(_about(group, words), parts if len(group) == 1 else [together([*parts])])
                added += len(group)
    return added


def is_kept(home: Home) -> bool:
    """Whether every batch is in a run on disk."""
    batches = home.book.batches()
    return ByAccount(home.folder, chains(batches)).last + 1 == len(batches)


def _groups(batches: list[Any]) -> Iterator[list[Any]]:
    """Consecutive batches that are sorted in memory together, not merged one by one."""
    group: list[Any] = []
    for row in batches:
        if group and sum(each.records for each in group) + row.records > _TOGETHER:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def in_memory(home: Home, batches: list[Any]) -> Run:
    """The run of some consecutive batches, which are not many records, for this process alone."""
    words = Words()
    return Run.of(_about(batches, words), together([part for row in batches for part in _parts(home, row, words)]))


def make_again(home: Home, numbers: Iterable[int]) -> None:
    """Keep no rows of records that are erased now in some batches."""
    batches = home.book.batches()
    store = ByAccount(home.folder, chains(batches))
    if store.runs:
        with store.alone():
            store = ByAccount(home.folder, chains(batches))
            kept = [number for number in numbers if number <= store.last]
            store.without({number: erased_places(home, batches[number]) for number in kept})


def differing(home: Home, batches: list[Any], sound: Iterable[int]) -> Iterator[tuple[Path, str]]:
    """Files of runs that are not what the record files and the book come to, and in what they are not.

    Compared are batches whose record files are ``sound``: all rows by sums over them, all amounts one by one.
    """
    whole = set(sound)
    for run in ByAccount(home.folder, chains(batches)).runs:
        own = [row for row in batches[run.about.first : run.about.last + 1] if row.seq in whole]
        hidden = hidden_of(home, run, batches)
        kept: dict[int, int] = {}
        made: dict[int, int] = {}
        try:
            for part in run.pieces():
                _add_sums(kept, without(part, hidden), Words(run.about.words))
        except (OSError, ValueError, IndexError):
            kept = {}
        words = Words()
        booked = [Part.of_postings(home.book.postings(row.seq)) for row in own]
        for row in own:
            for part in _record_parts(home, row, words):
                _add_sums(made, part, words)
        wrong = [row.seq for row in own if kept.get(row.seq, 0) != made.get(row.seq, 0)]
        complete = len(own) == run.about.last + 1 - run.about.first
        if run.path is not None and wrong:
            yield run.path, f"records of batch {wrong[0]} are not those of its record files"
        elif run.path is not None and complete and not run.books(together(booked)):
            yield run.path, "amounts are not those of the postings"


def _add_sums(sums: dict[int, int], part: Part, words: Words) -> None:
    """Add up rows by batch: of each a number that any other account, value or text would change."""
    rows = part.rows
    if not len(rows):  # everybody of it is erased
        return
    texts = np.array([hash_of(each) for each in words.known], dtype=np.uint64)
    values = rows.view("<u8").reshape(len(rows), -1).copy()
    values[:, -1] = rows["day"].astype(np.uint64) ^ texts[rows["texts"]]
    for name in ("high", "low"):
        values = np.column_stack([values, np.repeat(part.entries[name], part.entries["rows"])])
    mixed = np.zeros(len(rows), dtype=np.uint64)
    for column in values.T:
        mixed = (mixed ^ column) * _ODD
        mixed ^= mixed >> np.uint64(29)
    batch = batch_of(rows["place"])
    for number in np.unique(batch).tolist():
        sums[number] = (sums.get(number, 0) + int(mixed[batch == number].sum())) % (1 << 64)


def hash_of(texts: Texts) -> int:
    """64 bits of a digest of texts."""
    return int.from_bytes(hashlib.sha256(canonical_json(list(texts)).encode()).digest()[:8], "big")


def chains(batches: Iterable[Any]) -> list[str]:
    """What binds a run to the book, of each batch."""
    return [row.chain for row in batches]


def hidden_of(home: Home, run: Run, batches: list[Any]) -> Numbers:
    """Places, sorted, of rows of a run whose records were erased since it was made: of each batch that has more."""
    found = [np.zeros(0, dtype=np.int64)]
    for row, known in zip(batches[run.about.first : run.about.last + 1], run.about.erased, strict=True):
        if row.erased != known:
            found.append(erased_places(home, row))
    return np.sort(np.concatenate(found))


def erased_places(home: Home, row: Any) -> Numbers:
    """Places of the erased records of a batch."""
    places: Numbers = erased_leaves(home.storage, row).place + place_of(row.seq, 0)
    return places


def _about(batches: list[Any], words: Words) -> About:
    first, last = batches[0].seq, batches[-1].seq
    return About(first, last, batches[-1].chain, words.known, [row.erased for row in batches])


def _parts(home: Home, row: Any, words: Words) -> Iterator[Part]:
    """A batch row group by row group, which are in the order of accounts, then what it booked."""
    yield from _record_parts(home, row, words)
    yield Part.of_postings(home.book.postings(row.seq))


def _record_parts(home: Home, row: Any, words: Words) -> Iterator[Part]:
    for file in record_files(home.storage, row):
        first = file.first
        with parquet_file(file.path) as parquet:
            for number in range(parquet.num_row_groups):
                table = parquet.read_row_group(number, columns=list(COLUMNS))
                yield Part.of_rows(*rows_of(table, place_of(row.seq, first), words))
                first += table.num_rows
