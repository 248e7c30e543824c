"""Trees of which some leaves are known: the hashes beside them lead to the same roots, and nothing else does."""

from __future__ import annotations

from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tanzhang.engine.hashing import subtree_roots
from tanzhang.engine.partial_tree import LEAVES, Siblings, roots, siblings


def leaves_of(count: int, subtrees: int = 1) -> np.ndarray:
    data = b"".join(sha256(number.to_bytes(4, "big")).digest() for number in range(count * subtrees))
    return np.frombuffer(data, np.uint8).reshape(subtrees, count, 32)


def without(beside: Siblings, number: int) -> Siblings:
    return Siblings(*(np.delete(getattr(beside, name), number, axis=0) for name in Siblings.__slots__))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, LEAVES), st.data())
def test_known_leaves_and_their_siblings_give_the_root(width: int, data: st.DataObject) -> None:
    places = data.draw(st.sets(st.integers(0, width - 1), min_size=1, max_size=20))
    leaves, known = leaves_of(width), np.zeros((1, width), bool)
    known[0, list(places)] = True
    number = np.array([7])
    beside = siblings(number, leaves, known)
    blank = np.where(known[:, :, None], leaves, 0).astype(np.uint8)
    found, fine = roots(number, blank, known, beside)
    assert fine.all()
    assert bytes(found[0]) == bytes(subtree_roots(leaves[0])[0])
    assert len(beside) <= 8 * len(places)


def test_many_subtrees_at_once_and_every_missing_doubled_or_needless_hash_shows() -> None:
    leaves, known = leaves_of(LEAVES, 3), np.zeros((3, LEAVES), bool)
    known[0, [0, 1, 200]] = known[1, 255] = True
    known[2] = True
    numbers = np.array([2, 3, 9])
    beside = siblings(numbers, leaves, known)
    assert not (beside.subtree == 9).any(), "whoever knows every leaf needs no hash"
    found, fine = roots(numbers, leaves, known, beside)
    assert fine.tolist() == [True, True, True]
    assert [bytes(row) for row in found] == [bytes(subtree_roots(each)[0]) for each in leaves]
    for number in range(len(beside)):
        hit = numbers.tolist().index(int(beside.subtree[number]))
        _, fine = roots(numbers, leaves, known, without(beside, number))
        assert fine.tolist() == [place != hit for place in range(3)]
        needless = Siblings.of([beside, Siblings(*(getattr(beside, n)[[number]] for n in Siblings.__slots__))])
        changed = needless.hash.copy()
        changed[
            np.flatnonzero((needless.level == beside.level[number]) & (needless.index == beside.index[number]))
        ] ^= 1
        found, _ = roots(numbers, leaves, known, Siblings(needless.subtree, needless.level, needless.index, changed))
        assert bytes(found[hit]) != bytes(subtree_roots(leaves[hit])[0])


@pytest.mark.parametrize(("level", "index"), [(0, 0), (8, 0), (3, 40)])
def test_a_hash_that_is_known_already_or_belongs_nowhere_is_refused(level: int, index: int) -> None:
    leaves, known = leaves_of(LEAVES), np.ones((1, LEAVES), bool)
    more = Siblings(np.array([0]), np.array([level]), np.array([index]), np.zeros((1, 32), np.uint8))
    assert roots(np.array([0]), leaves, known, more)[1].tolist() == [False]
