"""Data packages of lots (数据包): what a folder has to hold from which anybody checks a lot without its operator.

``package.json`` names every file with its digest; ``package.note`` is a note over the digest of that, signed by the
key of the log. The signature says whose word the rest is: what the log commits to (members, batches, how it was
verified) is checked up to a checkpoint, and does not rest on it; what units exist, and in which state, is the
operator's word.

Refused are a list of contents that is not written as ours are, other files than a package of its kind has, and nodes of
a tree that do not cover its leaves exactly once. docs/verification.md has the formats.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.lot import lot_number, lot_text
from tanzhang.core.merkle import HASH_BYTES
from tanzhang.core.methodology import canonical_json
from tanzhang.core.note import Verifier, open_note
from tanzhang.core.sum_tree import LEAST_LEAVES, Node, parent

FORMAT = "tanzhang.lot-package/1"
PUBLIC, VERIFIER = "public", "verifier"
CONTENTS, NOTE = "package.json", "package.note"
LOT, CHECKPOINT, ENTRIES, PLANS = "lot.json", "checkpoint", "entries.json", "plans.json"
UNITS, VERIFICATION, CELLS, NODES = "units.json", "verification.json", "cells.json", "nodes.json"
MEMBERS, SIBLINGS, FINDINGS = "members.parquet", "siblings.parquet", "findings.json"
_BOTH = (LOT, CHECKPOINT, ENTRIES, PLANS, UNITS, VERIFICATION)
FILES: Mapping[str, tuple[str, ...]] = {
    PUBLIC: (*_BOTH, CELLS, NODES),
    VERIFIER: (*_BOTH, MEMBERS, SIBLINGS, FINDINGS),
}
"""The files of each kind of package, beside :data:`CONTENTS` and :data:`NOTE`."""
LEAST_LEVEL = LEAST_LEAVES.bit_length() - 1
"""No node of a public package is below this level: each covers 1,024 leaves at least."""
_DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class FileSaid:
    """What the list of contents says of a file."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Contents:
    """The list of contents: what the package is of, who made it when, and each file."""

    kind: str
    lot: int
    programme: str
    origin: str
    made_at: str
    files: Mapping[str, FileSaid]

    def to_bytes(self) -> bytes:
        """As canonical JSON."""
        files = {name: {"sha256": said.sha256, "bytes": str(said.size_bytes)} for name, said in self.files.items()}
        members = {"kind": self.kind, "lot": lot_text(self.lot), "programme": self.programme, "origin": self.origin}
        return canonical_json({"format": FORMAT, **members, "made_at": self.made_at, "files": files}).encode()

    @classmethod
    def parse(cls, data: bytes) -> Contents:
        """Read a list of contents; ``package-malformed`` if it is not one of ours, byte for byte."""
        try:
            said = json.loads(data)
            files = {
                name: FileSaid(str(each["sha256"]), int(each["bytes"])) for name, each in dict(said["files"]).items()
            }
            programme, origin, made_at = (str(said[name]) for name in ("programme", "origin", "made_at"))
            contents = cls(str(said["kind"]), lot_number(said["lot"]), programme, origin, made_at, files)
            if contents.to_bytes() != data:
                raise ValueError("it is not written as lists of contents are")
            if contents.kind not in FILES or set(files) != set(FILES[contents.kind]):
                raise ValueError(f"it has not the files of a package of kind {contents.kind[:40]!r}")
            if any(not _DIGEST.fullmatch(each.sha256) or each.size_bytes < 0 for each in files.values()):
                raise ValueError("a digest or a size is none")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, TanzhangError) as error:
            raise malformed(f"the list of contents cannot be read: {error}", CONTENTS) from None
        return contents

    def note_text(self) -> str:
        """What the key of the log signs: never a checkpoint, since it begins with another line."""
        return f"{FORMAT}\n{self.origin}\n{lot_text(self.lot)} {self.kind}\n{sha256(self.to_bytes()).hexdigest()}\n"

    def check_note(self, note: bytes, log: Verifier) -> None:
        """Refuse a note that the log's key did not sign over these contents; ``note-not-trusted``, ``package-note``."""
        if open_note(note, [log]).text != self.note_text():
            raise _wrong("package-note", "the signed note is over another list of contents", NOTE)


@dataclass(frozen=True, slots=True)
class LogEntry:
    """An entry of the log with its path to the checkpoint of the package."""

    index: int
    text: str
    path: tuple[bytes, ...]


def entries_to_bytes(entries: Iterable[LogEntry]) -> bytes:
    """Entries of the log as a file of a package, by index."""
    ordered = sorted(entries, key=lambda each: each.index)
    said = [{"index": str(e.index), "text": e.text, "path": [node.hex() for node in e.path]} for e in ordered]
    return canonical_json(said).encode()


def entries_from_bytes(data: bytes) -> list[LogEntry]:
    """The entries of :func:`entries_to_bytes`; ``package-malformed``."""
    try:
        found = [
            LogEntry(int(each["index"]), str(each["text"]), tuple(bytes.fromhex(node) for node in each["path"]))
            for each in json.loads(data)
        ]
        if entries_to_bytes(found) != data or len({each.index for each in found}) != len(found):
            raise ValueError("it is not written as entries are")
        if any(len(node) != HASH_BYTES for each in found for node in each.path):
            raise ValueError("a hash is not 32 bytes long")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise malformed(f"the entries of the log cannot be read: {error}", ENTRIES) from None
    return found


# -- nodes of the lot's tree ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Covering:
    """A node of the lot's tree: number ``index`` of its level, counted from the leaves."""

    level: int
    index: int
    node: Node


def cut(levels: Sequence[Sequence[Node]], shown: Sequence[Sequence[bool]], lowest: int) -> list[Covering]:
    """The finest nodes that may be shown and together cover a tree, from left to right.

    ``levels`` and ``shown`` are level ``lowest`` and those above it up to the root. A node is split only where both
    halves may be shown, so that no difference of shown nodes is a node that may not be.
    """
    found: list[Covering] = []
    waiting = [(len(levels) - 1, 0)]
    while waiting:
        level, index = waiting.pop()
        left, right = 2 * index, 2 * index + 1
        if level and right >= len(levels[level - 1]):  # carried up unchanged
            waiting.append((level - 1, left))
        elif level and shown[level - 1][left] and shown[level - 1][right]:
            waiting += [(level - 1, right), (level - 1, left)]
        else:
            found.append(Covering(level + lowest, index, levels[level][index]))
    return found


def folded(nodes: Iterable[Covering], leaves: int) -> Node:
    """The root over nodes that cover a tree of ``leaves`` exactly once; ``package-nodes`` if they do not."""
    waiting: dict[int, dict[int, Node]] = {}
    for each in nodes:
        of_level = waiting.setdefault(each.level, {})
        if (
            each.index in of_level
            or not LEAST_LEVEL <= each.level < 64
            or not 0 <= each.index < _width(leaves, each.level)
        ):
            raise _wrong("package-nodes", f"node {each.index} of level {each.level} stands twice or nowhere", NODES)
        of_level[each.index] = each.node
    level, known = LEAST_LEVEL, dict[int, Node]()
    while True:
        own = waiting.pop(level, {})
        if own.keys() & known.keys():
            raise _wrong("package-nodes", "a node is shown, and what is below it too", NODES)
        known |= own
        width = _width(leaves, level)
        if width == 1:
            break
        above: dict[int, Node] = {}
        for index, node in known.items():
            if index & 1:
                continue
            if index + 1 == width:
                above[index >> 1] = node
            elif index + 1 in known:
                above[index >> 1] = parent(node, known[index + 1])
        if len(known) != sum(2 if 2 * index + 1 < width else 1 for index in above):
            raise _wrong("package-nodes", f"a node of level {level} has no neighbour", NODES)
        known, level = above, level + 1
    if waiting or 0 not in known:
        raise _wrong("package-nodes", "the nodes do not cover the tree", NODES)
    return known[0]


def nodes_to_bytes(nodes: Iterable[Covering]) -> bytes:
    """Nodes as a file of a package."""
    said = [
        {"level": str(each.level), "index": str(each.index), "sum": str(each.node.amount), "hash": each.node.hash.hex()}
        for each in nodes
    ]
    return canonical_json(said).encode()


def nodes_from_bytes(data: bytes) -> list[Covering]:
    """The nodes of :func:`nodes_to_bytes`; ``package-malformed``."""
    try:
        found = [
            Covering(int(each["level"]), int(each["index"]), Node(int(each["sum"]), bytes.fromhex(each["hash"])))
            for each in json.loads(data)
        ]
        if nodes_to_bytes(found) != data or any(each.node.amount < 0 for each in found):
            raise ValueError("it is not written as nodes are")
        if any(len(each.node.hash) != HASH_BYTES or each.level < 0 for each in found):
            raise ValueError("a hash is not 32 bytes long, or a level is none")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise malformed(f"the nodes cannot be read: {error}", NODES) from None
    return found


def _width(leaves: int, level: int) -> int:
    return -(-leaves // (1 << level))


# -- units ------------------------------------------------------------------------------------------------------


def check_blocks(blocks: Sequence[Mapping[str, Any]], units: int, states: Mapping[str, int]) -> list[str]:
    """What is wrong with blocks ``[lo, hi)`` of a lot, which have to tile ``[0, units)``, and with the sums by state.

    Section 9 of the rules of units, 4 and 5: no gap, no overlap, and issued is the sum over all states.
    """
    wrong, end = [], 0
    counted: dict[str, int] = {}
    for block in blocks:
        lo, hi = block["lo"], block["hi"]
        if lo != end or hi <= lo:
            wrong.append(f"block [{lo}, {hi}) does not follow on {end}")
        end = max(hi, end)
        counted[block["state"]] = counted.get(block["state"], 0) + hi - lo
    if end != units:
        wrong.append(f"the blocks end at {end}, and the lot has {units} units")
    if counted != {state: count for state, count in states.items() if count}:
        wrong.append(f"the states are said to be {dict(states)}, and the blocks come to {counted}")
    return wrong


def malformed(message: str, where: str) -> TanzhangError:
    """The refusal of a package that cannot be read."""
    return _wrong("package-malformed", message, where)


def _wrong(code: str, message: str, where: str) -> TanzhangError:
    remedy = "ask the operator for the package again; keep this one as evidence if that stays so"
    return refuse(code, message, where=f"package: {where}", remedy=remedy)
