"""A total can be checked by each of those it is made of, and nothing changed on the way up is believed."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tanzhang.core import sum_tree
from tanzhang.core.errors import TanzhangError
from tanzhang.core.sum_tree import LEAST_LEAVES, MAX_AMOUNT, MAX_SUM, Node, verify_inclusion
from tanzhang.engine import sum_tree as columns

SIZES = (LEAST_LEAVES, LEAST_LEAVES + 1, LEAST_LEAVES + 2, 1_500, 2_047)
sizes = st.sampled_from(SIZES)


def seeds(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Commitments, salts and amounts; some are zero, some as large as an amount may be."""
    draw = np.random.default_rng(size)
    amounts = draw.integers(0, 10**9, size, dtype=np.int64)
    amounts[:3] = MAX_AMOUNT
    amounts[3::7] = 0
    return (
        draw.integers(0, 256, (size, 32), dtype=np.uint8),
        draw.integers(0, 256, (size, 16), dtype=np.uint8),
        amounts,
    )


@cache
def leaves(size: int) -> tuple[Node, ...]:
    rows = zip(*seeds(size), strict=True)
    return tuple(sum_tree.leaf(own.tobytes(), salt.tobytes(), int(amount)) for own, salt, amount in rows)


@cache
def root(size: int) -> Node:
    return sum_tree.root(leaves(size))


@cache
def path(index: int, size: int) -> tuple[Node, ...]:
    return tuple(sum_tree.inclusion_proof(index, leaves(size)))


def flipped(value: bytes, bit: int) -> bytes:
    return (int.from_bytes(value, "big") ^ 1 << bit).to_bytes(len(value), "big")


def another_amount(node: Node) -> st.SearchStrategy[Node]:
    wrong = st.one_of(
        st.integers(-(2**128), 2**128), st.sampled_from([-1, 0, 1, MAX_AMOUNT, MAX_SUM, MAX_SUM + 1, node.amount + 1])
    )
    return wrong.filter(lambda amount: amount != node.amount).map(lambda amount: Node(amount, node.hash))


@st.composite
def changed(draw: st.DrawFn, nodes: tuple[Node, ...]) -> list[Node]:
    """The path with one bit or one sum changed, two nodes swapped, one left out, one more, or cut short."""
    result = list(nodes)
    place = draw(st.integers(0, len(nodes) - 1))
    match draw(st.sampled_from(["bit", "sum", "swap", "without", "extra", "short"])):
        case "bit":
            result[place] = Node(nodes[place].amount, flipped(nodes[place].hash, draw(st.integers(0, 255))))
        case "sum":
            result[place] = draw(another_amount(nodes[place]))
        case "swap":
            other = draw(st.integers(0, len(nodes) - 1).filter(lambda other: other != place))
            result[place], result[other] = result[other], result[place]
        case "without":
            del result[place]
        case "extra":
            result.insert(place, nodes[place])
        case "short":
            result[place] = Node(nodes[place].amount, nodes[place].hash[:-1])
    return result


@settings(deadline=None)
@given(sizes, st.data())
def test_every_leaf_proves_itself_and_no_changed_proof_does(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    own, whole = leaves(size)[index], root(size)
    verify_inclusion(index, size, own, path(index, size), whole)
    bit = data.draw(st.integers(0, 255))
    attempts = [
        (index, size, own, data.draw(changed(path(index, size))), whole),
        (index, size, Node(own.amount, flipped(own.hash, bit)), path(index, size), whole),
        (index, size, data.draw(another_amount(own)), path(index, size), whole),
        (index, size, own, path(index, size), Node(whole.amount, flipped(whole.hash, bit))),
        (index, size, own, path(index, size), data.draw(another_amount(whole))),
        ((index + data.draw(st.integers(1, size - 1))) % size, size, own, path(index, size), whole),
        (index, data.draw(st.integers(0, LEAST_LEAVES - 1)), own, path(index, size), whole),
    ]
    for attempt in attempts:
        with pytest.raises(TanzhangError, match="sum-proof-invalid"):
            verify_inclusion(*attempt)


def test_an_amount_cannot_be_moved_between_two_neighbours() -> None:
    """The classical flaw: where only the sum of both is hashed, a liability hides behind a larger sibling."""
    size = SIZES[0]
    own, sibling, *rest = leaves(size)[4], *path(4, size)
    moved = [Node(sibling.amount + 5, sibling.hash), *rest]
    with pytest.raises(TanzhangError, match="sum-proof-invalid"):
        verify_inclusion(4, size, Node(own.amount - 5, own.hash), moved, root(size))


def test_sums_that_cancel_out_are_refused_though_their_total_is_right() -> None:
    size = SIZES[0]
    nodes = list(path(9, size))
    nodes[0] = Node(nodes[0].amount + MAX_SUM, nodes[0].hash)
    nodes[1] = Node(nodes[1].amount - MAX_SUM, nodes[1].hash)
    with pytest.raises(TanzhangError, match="negative or too large"):
        verify_inclusion(9, size, leaves(size)[9], nodes, root(size))


@pytest.mark.parametrize("size", SIZES)
def test_columns_give_the_same_leaves_root_total_and_paths(size: int) -> None:
    commitments, salts, amounts = seeds(size)
    hashes = columns.leaf_hashes(commitments, salts, amounts)
    assert [each.tobytes() for each in hashes] == [node.hash for node in leaves(size)]
    wanted = [0, 1, size // 2, size - 2, size - 1]
    tree = columns.build(amounts, hashes, keep=True)
    assert tree.root == root(size)
    assert tree.root.amount == sum(amounts.tolist()) > 2**64
    assert [tree.path(index) for index in wanted] == [path(index, size) for index in wanted]
    assert columns.build(amounts, hashes).root == tree.root


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, MAX_AMOUNT), min_size=1, max_size=60))
def test_columns_carry_into_the_high_half_of_a_sum(few: list[int]) -> None:
    amounts = np.zeros(LEAST_LEAVES, np.int64)
    amounts[: len(few)] = few
    hashes = np.zeros((LEAST_LEAVES, 32), np.uint8)
    nodes = [Node(int(amount), bytes(32)) for amount in amounts]
    assert columns.build(amounts, hashes).root == sum_tree.root(nodes)


def test_leaves_are_sorted_by_all_their_bytes_and_equal_ones_keep_their_order() -> None:
    draw = np.random.default_rng(1)
    rows = draw.integers(0, 256, (5_000, 32), dtype=np.uint8)
    rows[100:200, :8] = rows[0, :8]
    rows[150] = rows[151]
    order = columns.in_order(rows).tolist()
    texts = [row.tobytes() for row in rows]
    assert order == sorted(range(len(rows)), key=lambda place: (texts[place], place))
