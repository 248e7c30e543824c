"""Formats of lots' packages: contents, nodes that cover a tree and tell of no small group, blocks that tile."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tanzhang.core.errors import TanzhangError
from tanzhang.core.lot_package import (
    FILES,
    LEAST_LEVEL,
    PUBLIC,
    Contents,
    Covering,
    FileSaid,
    LogEntry,
    check_blocks,
    cut,
    entries_from_bytes,
    entries_to_bytes,
    folded,
    nodes_from_bytes,
    nodes_to_bytes,
)
from tanzhang.core.sum_tree import Node, parent

LEAST = 10


def levels_over(amounts: list[int]) -> list[list[Node]]:
    """Level 10 and those above it, of a tree whose nodes of level 10 have these sums."""
    level = [Node(amount, sha256(bytes([place % 256]) + b"x").digest()) for place, amount in enumerate(amounts)]
    levels = [level]
    while len(level) > 1:
        above = [parent(level[n], level[n + 1]) for n in range(0, len(level) - 1, 2)]
        level = above + level[len(level) - len(level) % 2 :]
        levels.append(level)
    return levels


def shown_of(accounts: list[int]) -> list[list[bool]]:
    fine = [[count >= LEAST for count in accounts]]
    while len(fine[-1]) > 1:
        below = fine[-1] + [False] * (len(fine[-1]) % 2)
        fine.append([below[n] or below[n + 1] for n in range(0, len(below), 2)])
    return fine


groups = st.lists(st.tuples(st.integers(0, 10**15), st.integers(0, 30)), min_size=1, max_size=40)


@settings(max_examples=80, deadline=None)
@given(groups)
def test_a_cut_leads_to_the_root_and_each_of_its_nodes_is_of_enough_accounts(
    given_groups: list[tuple[int, int]],
) -> None:
    levels = levels_over([amount for amount, _ in given_groups])
    accounts = [count for _, count in given_groups]
    nodes = cut(levels, shown_of(accounts), LEAST_LEVEL)
    assert folded(nodes, len(given_groups) << LEAST_LEVEL) == levels[-1][0]
    assert nodes_from_bytes(nodes_to_bytes(nodes)) == nodes
    covered = []
    for each in nodes:
        width = 1 << (each.level - LEAST_LEVEL)
        below = range(each.index * width, min((each.index + 1) * width, len(accounts)))
        covered += below
        assert len(nodes) == 1 or max(accounts[place] for place in below) >= LEAST
    assert covered == list(range(len(accounts)))


@settings(max_examples=40, deadline=None)
@given(groups, st.data())
def test_a_node_that_is_missing_doubled_or_changed_does_not_lead_to_the_root(
    given_groups: list[tuple[int, int]], data: st.DataObject
) -> None:
    levels = levels_over([amount for amount, _ in given_groups])
    size = len(given_groups) << LEAST_LEVEL
    nodes = cut(levels, shown_of([30] * len(given_groups)), LEAST_LEVEL)
    place = data.draw(st.integers(0, len(nodes) - 1))
    node = nodes[place]
    for wrong in ([*nodes[:place], *nodes[place + 1 :]], [*nodes, node], [*nodes, replace(node, level=node.level + 1)]):
        with pytest.raises(TanzhangError, match="package-nodes"):
            folded(wrong, size)
    changed = replace(node, node=Node(node.node.amount + 1, node.node.hash))
    assert folded([*nodes[:place], changed, *nodes[place + 1 :]], size) != levels[-1][0]


def test_a_node_below_a_thousand_leaves_or_outside_the_tree_is_refused() -> None:
    node = Node(1, bytes(32))
    for wrong in (Covering(9, 0, node), Covering(10, 1, node), Covering(-1, 0, node), Covering(64, 0, node)):
        with pytest.raises(TanzhangError, match="package-nodes"):
            folded([wrong], 1_024)


def contents(**more: object) -> Contents:
    files = {name: FileSaid("ab" * 32, 7) for name in FILES[PUBLIC]}
    return replace(Contents(PUBLIC, 1, "beijing", "log.example/x", "2026-01-15T02:00:00+00:00", files), **more)


def test_contents_are_read_back_and_anything_else_is_refused() -> None:
    made = contents()
    assert Contents.parse(made.to_bytes()) == made
    assert made.note_text().splitlines()[0] == "tanzhang.lot-package/1"
    files = dict(made.files)
    for wrong in (
        contents(kind="private").to_bytes(),
        contents(files={**files, "more": FileSaid("ab" * 32, 7)}).to_bytes(),
        contents(files={**files, "lot.json": FileSaid("AB" * 32, 7)}).to_bytes(),
        contents(files={**files, "lot.json": FileSaid("ab" * 32, -7)}).to_bytes(),
        made.to_bytes() + b" ",
        made.to_bytes().replace(b"/1", b"/2"),
        b"[]",
        b"{",
    ):
        with pytest.raises(TanzhangError, match="package-malformed"):
            Contents.parse(wrong)


def test_entries_are_read_back_and_none_stands_twice() -> None:
    entries = [LogEntry(3, "a", (bytes(32),)), LogEntry(7, "b", ())]
    assert entries_from_bytes(entries_to_bytes(reversed(entries))) == entries
    with pytest.raises(TanzhangError, match="package-malformed"):
        entries_from_bytes(entries_to_bytes([entries[0], entries[0]]))
    with pytest.raises(TanzhangError, match="package-malformed"):
        entries_from_bytes(entries_to_bytes([LogEntry(1, "a", (b"short",))]))


def test_blocks_tile_and_their_states_come_to_what_is_said() -> None:
    blocks = [{"lo": 0, "hi": 3, "state": "held"}, {"lo": 3, "hi": 5, "state": "retired"}]
    assert check_blocks(blocks, 5, {"held": 3, "retired": 2, "frozen": 0}) == []
    assert check_blocks([], 0, {}) == []
    for wrong in (blocks[:1], blocks[1:], [*blocks, blocks[1]], [blocks[0], {**blocks[1], "lo": 4}], blocks[::-1]):
        assert check_blocks(wrong, 5, {"held": 3, "retired": 2})
    assert check_blocks(blocks, 5, {"held": 2, "retired": 3})
