"""Identities in columns are those of the core, row by row."""

import pyarrow as pa
import pytest

from tanzhang.core.claim import ACTION, identity, identity_text
from tanzhang.engine.hashing import FEW_ROWS
from tanzhang.engine.identities import identity_column

KEY = bytes(range(32))


@pytest.mark.parametrize("count", [0, 1, 1_000, 3 * FEW_ROWS])
def test_every_identity_equals_that_of_the_core_and_null_stays_null(count):
    references = [None if number % 7 == 3 else f"订单-{number}" for number in range(count)]
    texts = [None if each is None else identity_text(ACTION, "partner", each) for each in references]
    half = count // 2
    column = pa.chunked_array([pa.array(texts[:half], pa.string()), pa.array(texts[half:], pa.string())])
    expected = [None if each is None else identity(KEY, ACTION, "partner", each) for each in references]
    assert identity_column(column, KEY).to_pylist() == expected


def test_a_column_of_nulls_alone_has_no_identities():
    assert identity_column(pa.chunked_array([pa.nulls(5, pa.string())]), KEY).to_pylist() == [None] * 5
