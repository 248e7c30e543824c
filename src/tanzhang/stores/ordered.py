"""Rows of a Parquet file that is sorted by a number, read from its beginning, a part at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from tanzhang.core.errors import refuse
from tanzhang.engine.columns import Numbers
from tanzhang.stores.storage import Place, parquet_file

_ROWS = 1 << 16
END = (1 << 63) - 1
"""A key that none reaches."""


class OrderedRows:
    """The rows of a file, each given once; as few are held as a part of :data:`_ROWS` rows and what is asked for."""

    def __init__(self, path: Place, key: Callable[[pa.Table], Numbers], columns: list[str] | None = None) -> None:
        """``key`` gives the key of each row, int64; ``columns`` are those that are read, None for all."""
        self._path, self._key = path, key
        self._file = parquet_file(path)
        names = self._file.schema_arrow.names if columns is None else columns
        self._none = self._file.schema_arrow.empty_table().select(names)
        self._parts = self._file.iter_batches(_ROWS, columns=columns)
        self._held = self._none
        self._keys: Numbers = np.zeros(0, np.int64)
        self._last: int | None = None

    @property
    def rows(self) -> int:
        """How many rows the file has."""
        return int(self._file.metadata.num_rows)

    def until(self, stop: int) -> pa.Table:
        """The rows with a key below ``stop`` that were not given yet, in order; ``rows-not-in-order``."""
        taken = []
        while len(self._keys) or self._next():
            count = int(np.searchsorted(self._keys, stop))
            taken.append(self._held.slice(0, count))
            self._held, self._keys = self._held.slice(count), self._keys[count:]
            if len(self._keys):
                break
        return pa.concat_tables([self._none, *taken]).combine_chunks()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _next(self) -> bool:
        for part in self._parts:
            if part.num_rows:
                self._held = pa.Table.from_batches([part])
                self._keys = self._key(self._held)
                self._check_order()
                return True
        return False

    def _check_order(self) -> None:
        first = self._keys[0] if self._last is None else self._last
        if self._keys[0] < first or (self._keys[1:] < self._keys[:-1]).any():
            raise refuse(
                "rows-not-in-order",
                f"the rows of {self._path.name} are not in their order",
                where=str(self._path.name),
                remedy="ask whoever made the file for it again",
            )
        self._last = int(self._keys[-1])
