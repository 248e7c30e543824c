"""Statements about every division of a sale's money: exact sums, near shares, the same in parts and in columns."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from tanzhang.core.lot import before_mg
from tanzhang.core.payback import largest_remainder, payment_fen, running_total
from tanzhang.core.sum_tree import inclusion_proof, leaf, padded_leaves, verify_inclusion
from tanzhang.core.sum_tree import root as sum_root
from tanzhang.engine import payback as columns
from tanzhang.engine.kernel import connect

CON = connect()
WEIGHTS = st.lists(st.integers(0, 10**12) | st.integers(0, 9), min_size=1, max_size=40).filter(any)
FEN = st.integers(0, 2**62 - 1) | st.integers(0, 1_000)


@given(FEN, WEIGHTS)
def test_payments_sum_to_what_is_divided_and_each_is_within_one_fen_of_its_share(fen: int, weights: list[int]) -> None:
    for method in (running_total, largest_remainder):
        payments = method(fen, weights)
        assert sum(payments) == fen
        for payment, weight in zip(payments, weights, strict=True):
            assert payment >= 0
            assert abs(payment - Fraction(fen * weight, sum(weights))) < 1
            assert weight or not payment


@given(FEN, WEIGHTS)
def test_columns_give_what_the_definition_gives(fen: int, weights: list[int]) -> None:
    mg = np.array(weights, np.int64)
    found = columns.running_total(CON, mg, revenue_fen=fen, total_mg=sum(weights))
    assert found.tolist() == running_total(fen, weights)
    assert columns.largest_remainder(CON, mg, revenue_fen=fen).tolist() == largest_remainder(fen, weights)


@given(FEN, WEIGHTS, st.lists(st.integers(0, 40), max_size=4))
def test_any_parts_worked_out_alone_give_the_same_payments(fen: int, weights: list[int], cuts: list[int]) -> None:
    places = sorted({0, len(weights), *(min(cut, len(weights)) for cut in cuts)})
    found: list[int] = []
    for start, end in itertools.pairwise(places):
        mg, before = np.array(weights[start:end], np.int64), sum(weights[:start])
        part = columns.running_total(CON, mg, revenue_fen=fen, total_mg=sum(weights), before_mg=before)
        found += part.tolist()
    assert found == running_total(fen, weights)


def test_columns_are_exact_where_a_product_has_125_bits() -> None:
    weights = [2**62 - 1, 2**61, 2**60 + 12_345, 1, 0, 999]
    mg, fen = np.array(weights, np.int64), 2**62 - 1
    found = columns.running_total(CON, mg, revenue_fen=fen, total_mg=sum(weights))
    assert found.tolist() == running_total(fen, weights)
    assert columns.largest_remainder(CON, mg, revenue_fen=fen).tolist() == largest_remainder(fen, weights)


@settings(max_examples=20)
@given(st.integers(0, 10**9), WEIGHTS, st.data())
def test_a_path_in_the_sum_tree_and_what_is_divided_give_each_payment_again(
    fen: int, weights: list[int], data: st.DataObject
) -> None:
    size = padded_leaves(len(weights))
    leaves = [leaf(number.to_bytes(32, "big"), bytes(16), mg) for number, mg in enumerate(weights)]
    leaves += [leaf(bytes(32), bytes(16), 0)] * (size - len(leaves))
    index = data.draw(st.integers(0, len(weights) - 1))
    path, top = inclusion_proof(index, leaves), sum_root(leaves)
    verify_inclusion(index, size, leaves[index], path, top)
    again = payment_fen(fen, top.amount, before_mg(index, size, path), leaves[index].amount)
    assert again == running_total(fen, weights)[index]


ROWS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 100)), max_size=30)


@given(ROWS)
def test_accounts_get_the_sum_of_their_records_and_what_nobody_owns_is_said_apart(rows: list[tuple[int, int]]) -> None:
    names = b"".join(bytes(16) if not owner else bytes([owner]) * 16 for owner, _ in rows)
    accounts = np.frombuffer(names, np.uint8).reshape(-1, 16)
    fen = np.array([amount for _, amount in rows], np.int64)
    found, nobodys = columns.by_account(CON, accounts, fen)
    wanted = {owner: sum(amount for other, amount in rows if other == owner) for owner in range(6)}
    assert nobodys == wanted.pop(0)
    got = zip(found["account"].to_pylist(), found["amount"].to_pylist(), strict=True)
    assert list(got) == [(bytes([owner]) * 16, amount) for owner, amount in sorted(wanted.items()) if amount]
    assert found.schema == columns.SHARES
    assert isinstance(found, pa.Table)
