"""Records in columns: what was decided of many reports, put together slice by slice in batch order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tanzhang.core.action import INPUT_NAMES
from tanzhang.core.record import KIND_NUMBER, OUTCOMES
from tanzhang.engine.columns import Numbers, text_column

# Columns of a record as every engine and store hold them, in order. ``seed`` is what the account's salts come from.
RECORD_COLUMNS: dict[str, str] = {
    "action_id": "UUID",
    "account": "UUID",
    "child": "UUID",
    "partner": "VARCHAR",
    "behaviour": "VARCHAR",
    "region": "VARCHAR",
    "variant": "VARCHAR",
    "evidence": "VARCHAR",
    "kind": "VARCHAR",
    "outcome": "VARCHAR",
    "plan": "VARCHAR",
    "started": "TIMESTAMP",
    "ended": "TIMESTAMP",
    "day": "DATE",
    **dict.fromkeys(INPUT_NAMES, "BIGINT"),
    "quantified_mg": "BIGINT",
    "granted_mg": "BIGINT",
    "reversed_mg": "BIGINT",
    "group_id": "UUID",
    "claim": "UUID",
    "withdraws": "UUID",
    "related": "UUID",
}
ARROW_TYPES: dict[str, pa.DataType] = {
    "UUID": pa.uuid(),
    "VARCHAR": pa.string(),
    "TIMESTAMP": pa.timestamp("us"),
    "DATE": pa.date32(),
    "BIGINT": pa.int64(),
}
KINDS = tuple(KIND_NUMBER)
_DECIDED = ("account", "kind", "outcome", "granted_mg", "reversed_mg", "claim", "related")

Codes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Decision:
    """What settlement decided of n reports; every column but ``reports`` has n values in batch order.

    ``order`` is the row of ``reports`` that each record is of; ``kind`` and ``outcome`` are places in :data:`KINDS`
    and OUTCOMES; ``account``, ``claim`` and ``related`` UUIDs; amounts mg. ``reports`` may lack columns without values.
    """

    reports: pa.Table
    order: Numbers
    account: pa.Array
    claim: pa.Array
    kind: Codes
    outcome: Codes
    granted_mg: Numbers
    reversed_mg: Numbers
    related: pa.Array

    def __len__(self) -> int:
        return len(self.order)

    def decided(self, start: int = 0, stop: int | None = None) -> pa.Table:
        """The decided columns of records ``[start, stop)``."""
        here = slice(start, stop)
        count = len(self.order[here])
        columns = {
            "account": self.account.slice(start, count),
            "kind": text_column(self.kind[here], KINDS),
            "outcome": text_column(self.outcome[here], OUTCOMES),
            "granted_mg": pa.array(self.granted_mg[here]),
            "reversed_mg": pa.array(self.reversed_mg[here]),
            "claim": self.claim.slice(start, count),
            "related": self.related.slice(start, count),
        }
        return pa.table(columns)

    def records(
        self, start: int = 0, stop: int | None = None, names: Sequence[str] = tuple(RECORD_COLUMNS)
    ) -> pa.Table:
        """Records ``[start, stop)`` with the columns of :data:`RECORD_COLUMNS`, or some of them."""
        decided = self.decided(start, stop)
        reported = [name for name in self.reports.column_names if name in names and name not in _DECIDED]
        taken = self.reports.select(reported).take(pa.array(self.order[slice(start, stop)]))
        columns = []
        for name in names:
            if name in _DECIDED:
                columns.append(decided[name])
            elif name in reported:
                columns.append(taken[name])
            else:
                columns.append(pa.chunked_array([pa.nulls(decided.num_rows, ARROW_TYPES[RECORD_COLUMNS[name]])]))
        return pa.table(columns, names=list(names))

    def slices(self, rows: int) -> Iterator[tuple[int, int]]:
        """Bounds of consecutive slices of ``rows`` records."""
        for start in range(0, len(self), rows):
            yield start, min(start + rows, len(self))
