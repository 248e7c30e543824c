"""Arrow columns as numpy arrays and back: fixed-width identities, texts of few values, whole numbers."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.int64]

IDENTITY_BYTES = 16
_ROWS_AT_ONCE = 256


def one_array(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """A column as one array; copied only if it comes in several chunks."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # pyarrow keeps zero chunks of some types as a chunked array
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], type=array.type)
    return array


def transposed(rows: Iterable[Sequence[Any]], width: int) -> list[list[Any]]:
    """Rows of ``width`` values as as many columns.

    Some hundred rows at a time, which are forgotten then: Python looks for garbage among all rows that it holds.
    """
    columns: list[list[Any]] = [[] for _ in range(width)]
    left = iter(rows)
    while part := list(itertools.islice(left, _ROWS_AT_ONCE)):
        for column, values in zip(columns, zip(*part, strict=True), strict=True):
            column += values
    return columns


def values_of(column: pa.ChunkedArray | pa.Array) -> list[Any]:
    """The values of a column as Python's own, identities as bytes, some times as fast as to_pylist.

    Only texts and identities may be NULL.
    """
    array = one_array(column)
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    return array.to_numpy(zero_copy_only=False).tolist()  # type: ignore[no-any-return]


def fixed_bytes(column: pa.ChunkedArray | pa.Array, width: int) -> Bytes:
    """A column of identities as (n, width) bytes; NULL is zero bytes."""
    array = one_array(column)
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if array.null_count:
        array = pc.fill_null(array, bytes(width))
    data = np.frombuffer(array.buffers()[1] or b"", dtype=np.uint8)
    return data[array.offset * width : (array.offset + len(array)) * width].reshape(-1, width)


def identities(values: Bytes, valid: npt.NDArray[np.bool_] | None = None) -> pa.ExtensionArray:
    """(n, 16) bytes as a column of UUIDs; NULL where ``valid`` is False."""
    return pa.ExtensionArray.from_storage(pa.uuid(), fixed_column(values, valid))


def fixed_column(values: Bytes, valid: npt.NDArray[np.bool_] | None = None) -> pa.FixedSizeBinaryArray:
    """(n, width) bytes as a column of as many bytes a row; NULL where ``valid`` is False."""
    count, width = values.shape
    mask = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
    data = pa.py_buffer(np.ascontiguousarray(values))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), count, [mask, data])


def integers(column: pa.ChunkedArray | pa.Array, wanted: pa.DataType) -> npt.NDArray[Any]:
    """A column of numbers, times or days as whole numbers; NULL is 0."""
    whole = column.cast(wanted)
    return np.asarray(pc.fill_null(whole, 0) if whole.null_count else whole)


def text_codes(column: pa.ChunkedArray | pa.Array) -> tuple[Numbers, list[str | None]]:
    """Codes of a text column and the texts they stand for; NULL is a text of its own."""
    chunked = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
    if not isinstance(chunked.type, pa.DictionaryType):
        chunked = chunked.dictionary_encode(null_encoding="mask")
    chunked = chunked.unify_dictionaries()
    if chunked.num_chunks == 0:
        return np.zeros(0, dtype=np.int64), []
    texts: list[str | None] = chunked.chunk(0).dictionary.to_pylist()
    codes = pa.chunked_array([chunk.indices for chunk in chunked.chunks])
    if codes.null_count:
        codes = pc.fill_null(codes.cast(pa.int64()), len(texts))
        texts.append(None)
    return np.asarray(codes).astype(np.int64), texts


def said(column: pa.ChunkedArray | pa.Array, texts: Iterable[str]) -> npt.NDArray[np.bool_]:
    """In which rows a text column says one of some texts."""
    codes, known = text_codes(column)
    wanted = set(texts)
    return np.array([text in wanted for text in known], dtype=bool)[codes]


def given(rows: pa.Table, name: str) -> npt.NDArray[np.bool_]:
    """In which rows a column has a value; in none if there is no such column."""
    if name not in rows.column_names:
        return np.zeros(rows.num_rows, dtype=bool)
    return np.asarray(one_array(rows[name]).is_valid())


def text_column(codes: npt.NDArray[np.uint8], texts: Sequence[str]) -> pa.DictionaryArray:
    """Codes into a few texts as a text column."""
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(texts, pa.string()))


def run_starts(ordered: npt.NDArray[Any]) -> Numbers:
    """Where each run of equal numbers begins."""
    return np.flatnonzero(np.concatenate([np.ones(min(len(ordered), 1), dtype=bool), ordered[1:] != ordered[:-1]]))


def runs(sorted_identities: Bytes) -> Numbers:
    """The number of the run of equal identities that each row belongs to."""
    halves = np.ascontiguousarray(sorted_identities).view(np.uint64).reshape(-1, 2)
    changes = (halves[1:] != halves[:-1]).any(axis=1)
    return np.concatenate([np.zeros(min(len(halves), 1), dtype=np.int64), np.cumsum(changes, dtype=np.int64)])


def date32_of(day: date) -> int:
    """A day as Arrow's date32 holds it: days since 1970-01-01."""
    return day.toordinal() - _EPOCH_ORDINAL


def day_of(date32: int) -> date:
    """The day of a date32."""
    return date.fromordinal(date32 + _EPOCH_ORDINAL)


_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
