from __future__ import annotations

from hashlib import sha256

import numpy as np
import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.core.sum_tree import (
    LEAST_LEAVES,
    MAX_AMOUNT,
    MAX_LEAVES,
    MAX_SUM,
    SUM_BYTES,
    Node,
    inclusion_proof,
    leaf,
    padded_leaves,
    parent,
    root,
)
from tanzhang.engine.sum_tree import build, leaf_hashes

OWN, SALT = bytes(range(32)), bytes(range(16))


def test_a_leaf_is_prefix_commitment_salt_and_eight_bytes_of_amount() -> None:
    expected = sha256(b"\x02" + OWN + SALT + bytes.fromhex("000000000000002a")).digest()
    assert leaf(OWN, SALT, 42) == Node(42, expected)


def test_a_node_hashes_sum_and_hash_of_both_children() -> None:
    one, other = leaf(OWN, SALT, 2), leaf(OWN, SALT, 2**40)
    sums = [each.amount.to_bytes(16, "big") for each in (one, other)]
    expected = sha256(b"\x03" + sums[0] + one.hash + sums[1] + other.hash).digest()
    assert parent(one, other) == Node(2 + 2**40, expected)
    assert parent(one, other).hash != parent(other, one).hash


def test_leaf_and_node_cannot_be_taken_for_each_other() -> None:
    one = leaf(OWN, SALT, 0)
    assert parent(one, one).hash != sha256(b"\x02" + one.hash + one.hash).digest()
    assert len(b"\x02" + OWN + SALT + bytes(8)) != len(b"\x03" + 2 * (bytes(SUM_BYTES) + OWN))


@pytest.mark.parametrize("amount", [-1, MAX_AMOUNT + 1])
def test_an_amount_outside_the_bounds_has_no_leaf(amount: int) -> None:
    with pytest.raises(TanzhangError, match="sum-tree-leaf"):
        leaf(OWN, SALT, amount)
    leaves = [Node(0, bytes(32))] * LEAST_LEAVES
    leaves[7] = Node(amount, bytes(32))
    with pytest.raises(TanzhangError, match="sum-tree-leaf"):
        root(leaves)


@pytest.mark.parametrize(("commitment", "salt"), [(OWN[:-1], SALT), (OWN, SALT + b"0")])
def test_commitment_and_salt_have_one_width(commitment: bytes, salt: bytes) -> None:
    with pytest.raises(TanzhangError, match="sum-tree-leaf"):
        leaf(commitment, salt, 1)


def test_a_tree_too_small_to_hide_anybody_is_refused() -> None:
    few = [leaf(OWN, SALT, 1)] * (LEAST_LEAVES - 1)
    with pytest.raises(TanzhangError, match="pad it with zero leaves"):
        root(few)
    with pytest.raises(TanzhangError, match="sum-tree-size"):
        inclusion_proof(0, few)
    with pytest.raises(TanzhangError, match="sum-tree-size"):
        build(np.ones(len(few), np.int64), np.zeros((len(few), 32), np.uint8))
    assert padded_leaves(len(few)) == LEAST_LEAVES


def test_a_leaf_outside_the_tree_has_no_path() -> None:
    leaves = [leaf(OWN, SALT, 1)] * LEAST_LEAVES
    with pytest.raises(TanzhangError, match="tree-position-unknown"):
        inclusion_proof(LEAST_LEAVES, leaves)


def test_no_sum_can_outgrow_its_bytes() -> None:
    assert MAX_SUM == MAX_LEAVES * MAX_AMOUNT < 2 ** (8 * SUM_BYTES) - MAX_SUM


def test_a_negative_amount_in_columns_is_a_mistake_of_the_caller() -> None:
    rows = np.zeros((LEAST_LEAVES, 32), np.uint8)
    amounts = np.full(LEAST_LEAVES, -1, np.int64)
    with pytest.raises(ValueError, match="negative"):
        leaf_hashes(rows, rows[:, :16], amounts)
    with pytest.raises(ValueError, match="negative"):
        build(amounts, rows)
