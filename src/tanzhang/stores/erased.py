"""Leaves of erased records: what stays of a record in its batch's tree when content and salt are gone.

A file of them lies beside a batch's records: 40 bytes a record, its place in the batch and its leaf, by place. It
counts only for records that the record files mark as erased; every other leaf is made of the record itself.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tanzhang.core.errors import refuse
from tanzhang.engine.columns import Bytes, Numbers
from tanzhang.stores.storage import Place, write_durably

_ROW = np.dtype([("place", ">u8"), ("leaf", "V32")])


@dataclass(frozen=True, slots=True)
class ErasedLeaves:
    """Places in the batch, ascending, and the leaf of each, 32 bytes a row."""

    place: Numbers = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    leaf: Bytes = field(default_factory=lambda: np.zeros((0, 32), dtype=np.uint8))

    def __len__(self) -> int:
        return len(self.place)

    def put_into(self, leaves: Bytes, first: int, erased: npt.NDArray[np.bool_]) -> bool:
        """Put the leaves of erased records among those of records from place ``first`` on.

        Whether ``erased``, which records of these are marked so, are those whose leaves are here.
        """
        low, high = np.searchsorted(self.place, (first, first + len(leaves)))
        rows = self.place[low:high] - first
        marked = erased[rows]
        leaves[rows[marked]] = self.leaf[low:high][marked]
        return bool(marked.all()) and int(erased.sum()) == len(rows)

    def plus(self, other: ErasedLeaves) -> ErasedLeaves:
        """The leaves of both; no place is in both."""
        place, leaf = np.concatenate([self.place, other.place]), np.concatenate([self.leaf, other.leaf])
        order = np.argsort(place)
        return ErasedLeaves(place[order], leaf[order])


def write_leaves(path: Place, leaves: ErasedLeaves, *, home: Place) -> str:
    """Write the leaves of a batch's erased records; returns the SHA-256 of the file."""
    rows = np.zeros(len(leaves), dtype=_ROW)
    rows["place"] = leaves.place
    rows["leaf"] = np.ascontiguousarray(leaves.leaf).view("V32").ravel()
    data = rows.tobytes()
    write_durably(path, data, up_to=home)
    return hashlib.sha256(data).hexdigest()


def read_leaves(path: Place, digest: str) -> ErasedLeaves:
    """The leaves of a batch's erased records; ``record-file-changed`` if they are not those of ``digest``."""
    data = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(data).hexdigest() != digest:
        raise refuse(
            "record-file-changed",
            f"{path.parent.name}/{path.name} is not what was written",
            where=str(path),
            remedy="restore it from a backup; nothing can be proved of this batch without it",
        )
    rows = np.frombuffer(data, dtype=_ROW)
    leaf = np.frombuffer(rows["leaf"].tobytes(), dtype=np.uint8).reshape(-1, 32)
    return ErasedLeaves(rows["place"].astype(np.int64), leaf)
