"""Columns come back from numpy as they went in, and work on several cores keeps its order."""

from __future__ import annotations

import threading

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tanzhang.engine.columns import fixed_bytes, identities, integers, one_array, runs, text_codes, text_column
from tanzhang.engine.parallel import in_order

MAYBE = st.lists(st.none() | st.binary(min_size=16, max_size=16), max_size=20)


@given(values=MAYBE, cut=st.integers(0, 20))
def test_identities_are_the_bytes_they_were_made_of(values: list[bytes | None], cut: int) -> None:
    raw = np.frombuffer(b"".join(value or bytes(16) for value in values), np.uint8).reshape(-1, 16)
    valid = np.array([value is not None for value in values], dtype=bool)
    column = identities(raw, valid)
    assert [None if each is None else each.bytes for each in column.to_pylist()] == values
    pieces = pa.chunked_array([column.slice(0, cut), column.slice(cut)], type=pa.uuid())
    assert (fixed_bytes(pieces, 16) == raw).all()
    assert one_array(pieces).to_pylist() == column.to_pylist()


@given(values=st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=20))
def test_integers_are_exact_and_absent_ones_are_zero(values: list[int | None]) -> None:
    assert integers(pa.array(values, pa.int64()), pa.int64()).tolist() == [value or 0 for value in values]


@given(values=st.lists(st.none() | st.sampled_from("abc"), max_size=20), cut=st.integers(0, 20))
def test_codes_of_texts_name_them_across_chunks(values: list[str | None], cut: int) -> None:
    whole = pa.array(values, pa.string())
    encoded = [part.dictionary_encode() for part in (whole.slice(0, cut), whole.slice(cut))]
    for column in (whole, pa.chunked_array(encoded)):
        codes, texts = text_codes(column)
        assert [texts[code] for code in codes] == values


def test_a_text_column_holds_the_texts_of_its_codes() -> None:
    assert text_column(np.array([1, 0, 1], np.uint8), ("a", "b")).to_pylist() == ["b", "a", "b"]


@given(lengths=st.lists(st.integers(1, 4), max_size=8))
def test_runs_number_equal_neighbours(lengths: list[int]) -> None:
    rows = [np.full((length, 16), number % 7, np.uint8) for number, length in enumerate(lengths)]
    found = runs(np.concatenate(rows) if rows else np.zeros((0, 16), np.uint8))
    assert found.tolist() == [number for number, length in enumerate(lengths) for _ in range(length)]


def test_results_come_in_the_order_of_the_items_and_errors_in_their_place() -> None:
    gate = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            gate.wait(5)  # the first is the last to finish
        gate.set() if number == 1 else None
        if number == 5:
            raise ValueError(number)
        return number

    results = in_order(work, range(9))
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="5"):
        next(results)


def test_items_are_read_only_a_little_ahead() -> None:
    read = []

    def items() -> object:
        for number in range(100):
            read.append(number)
            yield number

    results = in_order(lambda number: number, items())
    assert next(results) == 0
    assert len(read) < 50
    results.close()
