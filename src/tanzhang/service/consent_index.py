"""Consents by account and by platform account, held in memory: whose an act is, and what is linked to whom."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa

from tanzhang.engine.account_rows import halves
from tanzhang.engine.columns import IDENTITY_BYTES, Numbers, date32_of, day_of, fixed_bytes, integers
from tanzhang.service.links import consents_of
from tanzhang.stores.home import Home
from tanzhang.stores.storage import parquet_file

_COLUMNS = ("child", "account", "valid_from", "valid_until")
_OPEN_END = np.iinfo(np.int32).max


class ConsentIndex:
    """Every consent of a home. Some 60 bytes each."""

    def __init__(self, home: Home) -> None:
        consents = consents_of(home)
        rows = [
            [
                uuid.UUID(child).bytes,
                uuid.UUID(account).bytes,
                date.fromisoformat(first),
                last and date.fromisoformat(last),
            ]
            for child, account, first, last in consents.rows
        ]
        types = (pa.binary(IDENTITY_BYTES), pa.binary(IDENTITY_BYTES), pa.date32(), pa.date32())
        columns = zip(*rows, strict=True) if rows else ((), (), (), ())
        tables = [
            pa.table({name: pa.array(each, kind) for name, each, kind in zip(_COLUMNS, columns, types, strict=True)})
        ]
        for row in home.book.link_files():
            with parquet_file(home.storage / row.file) as file:
                table = file.read(columns=list(_COLUMNS))
            plain = [table[name].cast(kind) for name, kind in zip(_COLUMNS, types, strict=True)]
            tables.append(pa.table(plain, names=list(_COLUMNS)))
        table = pa.concat_tables(tables)
        self._child, self._account = (fixed_bytes(table[name], IDENTITY_BYTES) for name in ("child", "account"))
        self._from = integers(table["valid_from"], pa.int32())
        until = table["valid_until"].combine_chunks()
        self._until = np.where(np.asarray(until.is_null()), _OPEN_END, integers(until, pa.int32()))
        self._by_child, self._of_child = _sorted(self._child)
        for child, first in consents.ends:  # rows of the book are cut already, those of files are not
            day = date32_of(date.fromisoformat(first))
            for place in _equal(self._by_child, self._of_child, self._child, uuid.UUID(child).bytes):
                if place >= len(rows) and self._from[place] < day < self._until[place]:
                    self._until[place] = day
        self._by_account, self._of_account = _sorted(self._account)

    def owner(self, child: bytes, day: int) -> bytes:
        """Whose the act of a platform account was on a local day, in days since 1970."""
        for place in _equal(self._by_child, self._of_child, self._child, child):
            if self._from[place] <= day < self._until[place]:
                return bytes(self._account[place])
        return child

    def children(self, account: bytes) -> list[dict[str, Any]]:
        """The platform accounts linked to an account, with the days of consent; by first day."""
        found = []
        for place in _equal(self._by_account, self._of_account, self._account, account):
            last = int(self._until[place])
            found.append(
                {
                    "child": str(uuid.UUID(bytes=self._child[place].tobytes())),
                    "from": _day(int(self._from[place])),
                    "until": None if last == _OPEN_END else _day(last),
                }
            )
        return sorted(found, key=lambda each: (str(each["from"]), str(each["child"])))


def _sorted(identities: Any) -> tuple[Any, Numbers]:
    """The first halves of identities, sorted, and the place of each."""
    high, _ = halves(identities)
    order = np.argsort(high, kind="stable")
    return high[order], order


def _equal(keys: Any, places: Numbers, identities: Any, wanted: bytes) -> Iterator[int]:
    """The places of an identity."""
    key = np.uint64(int.from_bytes(wanted[:8], "big"))
    place = int(np.searchsorted(keys, key))
    while place < len(keys) and keys[place] == key:
        if identities[places[place]].tobytes() == wanted:
            yield int(places[place])
        place += 1


def _day(number: int) -> str:
    return day_of(number).isoformat()
