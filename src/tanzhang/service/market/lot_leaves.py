"""Leaves of a lot's members, made again from record files, whoever of them was erased since.

The commitment of a member is the leaf of its record in its batch; of an erased record that leaf was kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.merkle import HASH_BYTES
from tanzhang.core.record import ERASED, SALT_BYTES
from tanzhang.engine.columns import IDENTITY_BYTES, Bytes, Numbers, fixed_bytes, integers, said
from tanzhang.engine.leaves import leaf_hashes
from tanzhang.engine.lot import batches_of, keys_of, member_leaves, places_of
from tanzhang.engine.parallel import in_order
from tanzhang.stores.erased import ErasedLeaves
from tanzhang.stores.home import Home
from tanzhang.stores.parts import erased_leaves, record_files
from tanzhang.stores.storage import parquet_file


@dataclass(frozen=True, slots=True)
class _Part:
    """Some records of a batch with members among them; ``places`` are those of the members, ``first`` the first row."""

    records: pa.Table
    first: int
    keys: Numbers
    amounts: Numbers
    erased: ErasedLeaves


@dataclass(frozen=True, slots=True)
class Leaves:
    """Leaves of members, (n, 32), the digests of the plans of their records, and the accounts of the records.

    ``accounts`` is (n, 16), ``granted`` what each record was granted [mg]; zeros where it is erased.
    """

    leaves: Bytes
    plans: frozenset[str]
    accounts: Bytes
    granted: Numbers


def leaves_of_members(home: Home, keys: Numbers, amounts: Numbers, *, with_records: bool = True) -> Leaves:
    """The leaf of each member, in order, on all cores; reads the row groups that hold their records.

    Without ``with_records`` accounts and what was granted are left out, a third of the memory.
    Raises ``lot-member-missing`` for a member that no record file has, ``record-file-changed``.
    """
    leaves, plans = np.zeros((len(keys), HASH_BYTES), np.uint8), set[str]()
    whose = len(keys) if with_records else 0
    accounts, granted = np.zeros((whose, IDENTITY_BYTES), np.uint8), np.zeros(whose, np.int64)
    done = 0
    for part in in_order(_hashed, _parts(home, keys, amounts)):
        here = slice(done, done + len(part.leaves))
        leaves[here] = part.leaves
        plans |= part.plans
        if with_records:
            accounts[here], granted[here] = part.accounts, part.granted
        done = here.stop
    if done != len(keys):
        raise _missing(len(keys) - done)
    return Leaves(leaves, frozenset(plans), accounts, granted)


def record_leaf(home: Home, key: int) -> bytes:
    """The leaf of one record in its batch; ``lot-member-missing``."""
    for part in _parts(home, np.array([key]), np.array([0])):
        return bytes(_commitments(part)[0][0].tobytes())
    raise _missing(1)


def _parts(home: Home, keys: Numbers, amounts: Numbers) -> Iterator[_Part]:
    rows = {row.seq: row for row in home.book.batch_files()}
    for number in np.unique(batches_of(keys)).tolist():
        if number in rows:
            yield from _of_batch(home, rows[number], keys, amounts)


def _of_batch(home: Home, row: Any, keys: Numbers, amounts: Numbers) -> Iterator[_Part]:
    erased = erased_leaves(home.storage, row)
    for part in record_files(home.storage, row):
        first = part.first
        with parquet_file(part.path) as file:
            for number in range(file.num_row_groups):
                rows = file.metadata.row_group(number).num_rows
                low, high = np.searchsorted(keys, keys_of(row.seq, np.array([first, first + rows])))
                if high > low:
                    yield _Part(file.read_row_group(number), first, keys[low:high], amounts[low:high], erased)
                first += rows


def _hashed(part: _Part) -> Leaves:
    commitments, records, gone = _commitments(part)
    plans = frozenset(each for each in pc.unique(records["plan"]).to_pylist() if each is not None)
    accounts, granted = (
        np.array(fixed_bytes(records["account"], IDENTITY_BYTES)),
        integers(records["granted_mg"], pa.int64()),
    )
    accounts[gone] = 0
    return Leaves(member_leaves(commitments, part.keys, part.amounts), plans, accounts, granted)


def _commitments(part: _Part) -> tuple[Bytes, pa.Table, Numbers]:
    """The leaf of each member's record in its batch, the records, and which of them are erased."""
    places = places_of(part.keys)
    records = part.records
    if len(places) < records.num_rows:
        records = records.take(pa.array(places - part.first))
    commitments = leaf_hashes(records, fixed_bytes(records["seed"], SALT_BYTES), index=places)
    gone = np.flatnonzero(said(records["outcome"], (ERASED,)))
    if len(gone):
        commitments[gone] = _kept(part.erased, places[gone])
    return commitments, records, gone


def _kept(erased: ErasedLeaves, places: npt.NDArray[np.int64]) -> Bytes:
    found = np.searchsorted(erased.place, places)
    if len(erased) == 0 or (found == len(erased)).any() or (erased.place[found] != places).any():
        raise refuse(
            "record-file-changed",
            "a record is marked as erased, and its leaf was not kept",
            where="records",
            remedy="restore the file from a backup; nothing can be proved of this batch without it",
        )
    return erased.leaf[found]


def _missing(count: int) -> TanzhangError:
    return refuse(
        "lot-member-missing",
        f"{count} members of a lot are in no record file",
        where="lots",
        remedy="restore the files from a backup, and run 'tanzhang verify'",
    )
