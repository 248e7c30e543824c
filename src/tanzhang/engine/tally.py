"""Tallies: what the records of a batch come to by day, behaviour, region, partner and outcome, without any person.

A tally is small whatever the batch: a city's day has some thousands of cells. Pages of totals read tallies and never
records. Rows are sorted by :data:`DIMENSIONS`, each combination once; tallies of several batches add up cell by cell,
exactly up to 9.2 billion tonnes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tanzhang.core.record import OUTCOMES
from tanzhang.engine.columns import Numbers, integers, text_codes
from tanzhang.engine.records import KINDS, Decision

DIMENSIONS = ("day", "kind", "behaviour", "variant", "region", "partner", "outcome")
COUNTS = ("records", "credited", "taken_back")
"""Records in all; those that were granted something; those that took back something that was granted."""
AMOUNTS = ("granted_mg", "reversed_mg")
_TEXT = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [
        ("day", pa.date32()),
        *((name, _TEXT) for name in DIMENSIONS[1:]),
        *((name, pa.int64()) for name in (*COUNTS, *AMOUNTS)),
    ]
)
_REPORTED = ("partner", "region", "variant", "behaviour")
_LARGEST = 2**63 - 1


def tally_of(decision: Decision) -> pa.Table:
    """The tally of a batch. OverflowError for a cell whose amount is no 64-bit number."""
    code = integers(decision.reports["day"], pa.int32()).astype(np.int64)
    texts: dict[str, Sequence[str | None]] = {}
    for name in _REPORTED:
        codes, texts[name] = _codes(decision.reports, name)
        code = code * max(len(texts[name]), 1) + codes
    code = code[decision.order]
    for name, numbers, known in (("kind", decision.kind, KINDS), ("outcome", decision.outcome, OUTCOMES)):
        texts[name] = known
        code = code * len(known) + numbers
    sums = _sums(code, decision.granted_mg, decision.reversed_mg)
    left = sums["code"].to_numpy()
    columns = {name: sums[name].combine_chunks() for name in (*COUNTS, *AMOUNTS)}
    for name in ("outcome", "kind", *reversed(_REPORTED)):
        left, place = np.divmod(left, max(len(texts[name]), 1))
        columns[name] = pa.array(texts[name], pa.string()).take(pa.array(place))
    columns["day"] = pa.array(left.astype(np.int32)).cast(pa.date32())
    return in_order(pa.table([columns[name] for name in SCHEMA.names], names=SCHEMA.names))


def merged(tallies: Sequence[pa.Table], by: Sequence[str] = DIMENSIONS) -> pa.Table:
    """Tallies added up, by all dimensions or by some of them; sorted by these."""
    everything = pa.concat_tables([_plain(each) for each in tallies]) if tallies else SCHEMA.empty_table()
    everything = everything.unify_dictionaries()
    names = (*COUNTS, *AMOUNTS)
    sums = everything.group_by(list(by)).aggregate([(name, "sum") for name in names])
    return in_order(pa.table({**{name: sums[name] for name in by}, **{name: sums[f"{name}_sum"] for name in names}}))


def in_order(tally: pa.Table) -> pa.Table:
    """Cells sorted by their dimensions as texts, NULL last; texts as :data:`SCHEMA` has them."""
    by = [name for name in DIMENSIONS if name in tally.column_names]
    if not by:
        return tally
    plain = pa.table({name: _as_text(tally[name]) for name in by})
    keys = [(name, "ascending") for name in by]
    return _plain(tally.take(pc.sort_indices(plain, sort_keys=keys)))


def _plain(tally: pa.Table) -> pa.Table:
    return tally.cast(pa.schema([SCHEMA.field(name) for name in tally.column_names]))


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column


def _codes(reports: pa.Table, name: str) -> tuple[Numbers, Sequence[str | None]]:
    """Codes of a column of reports; NULL throughout where there is no such column."""
    if name not in reports.column_names:
        return np.zeros(reports.num_rows, dtype=np.int64), [None]
    return text_codes(reports[name])


def _sums(code: Numbers, granted_mg: Numbers, reversed_mg: Numbers) -> pa.Table:
    largest = max((int(each.max()) for each in (granted_mg, reversed_mg) if len(each)), default=0)
    if len(code) and largest > _LARGEST // len(code):
        _check_cells(code, granted_mg, reversed_mg)
    rows = pa.table(
        {
            "code": code,
            "credited": (granted_mg > 0).astype(np.int64),
            "taken_back": (reversed_mg > 0).astype(np.int64),
            "granted_mg": granted_mg,
            "reversed_mg": reversed_mg,
        }
    )
    names = ("credited", "taken_back", *AMOUNTS)
    sums = rows.group_by("code").aggregate([("code", "count"), *((name, "sum") for name in names)])
    return pa.table(
        {
            "code": sums["code"],
            "records": sums["code_count"],
            **{name: sums[f"{name}_sum"].cast(pa.int64()) for name in names},
        }
    )


def _check_cells(code: Numbers, *amounts: Numbers) -> None:
    """Sum exactly, cell by cell, where 64 bits might not do."""
    for column in amounts:
        sums: dict[int, int] = {}
        for cell, amount in zip(code.tolist(), column.tolist(), strict=True):
            sums[cell] = sums.get(cell, 0) + amount
        if sums and max(sums.values()) > _LARGEST:
            raise OverflowError("a cell of the tally is no 64-bit number of milligrams")
