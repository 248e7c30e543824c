"""Lots (批次): frozen selections of reductions that are verified, issued and sold as one thing.

A lot's members are parts of records, in milligrams, in the order of batch and place; their sum is a whole number of
units. What the log commits to is a Merkle sum tree over them (:mod:`tanzhang.core.sum_tree`): the commitment of a leaf
is the leaf of its record in its batch, the salt is batch and place, the amount what is in the lot. So whoever has a
receipt knows their own leaf, and the sum of all members before theirs is the sum of the left siblings on its path.

Refused are transitions that a lot does not have, entries and proofs that are not written as ours are, and whatever
does not lead to a checkpoint signed by the given key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any

from tanzhang.core import sum_tree
from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.merkle import HASH_BYTES, leaf_hash
from tanzhang.core.methodology import canonical_json
from tanzhang.core.note import Verifier
from tanzhang.core.sum_tree import Node
from tanzhang.core.tlog_proof import TlogProof

KIND = "lot"
"""The kind of entries of the log that commit to lots."""
FORMAT, PROOF_FORMAT = "tanzhang.lot/1", "tanzhang.lot-share/1"
MOST_LOTS = 999_999
_TEXT = re.compile("L[0-9]{6}")


class LotState(StrEnum):
    """What a lot is; the words of docs/lots.md."""

    DRAFT = "draft"
    FROZEN = "frozen"
    IN_VERIFICATION = "in_verification"
    VERIFIED = "verified"
    REGISTERED = "registered"
    ISSUED = "issued"
    CLOSED = "closed"
    REJECTED = "rejected"
    DISSOLVED = "dissolved"


TRANSITIONS: Mapping[LotState, frozenset[LotState]] = {
    LotState.DRAFT: frozenset({LotState.FROZEN, LotState.DISSOLVED}),
    LotState.FROZEN: frozenset({LotState.IN_VERIFICATION, LotState.DISSOLVED}),
    LotState.IN_VERIFICATION: frozenset({LotState.VERIFIED, LotState.REJECTED}),
    LotState.VERIFIED: frozenset({LotState.REGISTERED, LotState.DISSOLVED}),
    LotState.REGISTERED: frozenset({LotState.ISSUED}),
    LotState.ISSUED: frozenset({LotState.CLOSED}),
    LotState.CLOSED: frozenset(),
    LotState.REJECTED: frozenset(),
    LotState.DISSOLVED: frozenset(),
}
"""From each state where a lot can go. That a verified lot can be dissolved is ours to say: a registry may know it."""
RESERVED = frozenset({LotState.FROZEN, LotState.IN_VERIFICATION, LotState.VERIFIED, LotState.REGISTERED})
"""In these its milligrams are taken, and not issued yet."""
ISSUED = frozenset({LotState.ISSUED, LotState.CLOSED})
HOLDING = RESERVED | ISSUED
"""In these its milligrams are no one's to give or to take into another lot."""


def check_transition(number: int, state: LotState, to: LotState) -> None:
    """Refuse what is no transition of a lot; ``lot-state``."""
    if to not in TRANSITIONS[state]:
        can = ", ".join(sorted(TRANSITIONS[state]))
        raise refuse(
            "lot-state",
            f"{lot_text(number)} is {state}, and cannot become {to}",
            where=lot_text(number),
            remedy=f"it can become {can}" if can else "this state is final; draft another lot",
        )


def lot_text(number: int) -> str:
    """A lot's number as it is written.

    >>> lot_text(42), lot_number("L000042")
    ('L000042', 42)
    """
    return f"L{number:06d}"


def lot_number(text: str, where: str = "lot") -> int:
    """The number of a lot that is written as ours are; ``lot-malformed``."""
    if not _TEXT.fullmatch(text):
        raise refuse(
            "lot-malformed",
            f"{text[:20]!r} is not the number of a lot",
            where=where,
            remedy="write L and six digits, such as L000042",
        )
    return int(text[1:])


# -- leaves -----------------------------------------------------------------------------------------------------


def leaf(commitment: bytes, batch: int, place: int, amount_mg: int) -> Node:
    """The leaf of a member: ``commitment`` is the leaf of its record, number ``place`` of its ``batch``."""
    return sum_tree.leaf(commitment, batch.to_bytes(8, "big") + place.to_bytes(8, "big"), amount_mg)


def zero_leaf(place: int) -> Node:
    """The leaf at ``place`` of the tree that no member has: of nothing, with a salt that no record has."""
    return sum_tree.leaf(bytes(HASH_BYTES), b"\xff" * 8 + place.to_bytes(8, "big"), 0)


# -- the log's entry --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LotEntry:
    """What the log says of a lot: no person.

    ``methodologies`` has of each ``id@version`` the digests of the plans that its members were quantified by, ``terms``
    is the digest of the terms on which they were authorised, ``leaves`` the size of the tree with its zero leaves.
    """

    number: int
    programme: str
    vintage: int
    region: str
    methodologies: Mapping[str, Sequence[str]]
    terms: str
    unit_mass_mg: int
    units: int
    members: int
    leaves: int
    root: bytes
    total_mg: int
    first_batch: int
    last_batch: int

    def to_text(self) -> str:
        """As canonical JSON."""
        return canonical_json(
            {
                "format": FORMAT,
                "lot": lot_text(self.number),
                "programme": self.programme,
                "vintage": str(self.vintage),
                "region": self.region,
                "methodologies": {name: sorted(digests) for name, digests in self.methodologies.items()},
                "terms": self.terms,
                "root": self.root.hex(),
                **{name: str(getattr(self, name)) for name in _NUMBERS},
            }
        )

    @classmethod
    def parse(cls, text: str) -> LotEntry:
        """Read an entry; ``lot-proof-malformed`` if it is not one of ours, byte for byte."""
        try:
            said = json.loads(text)
            entry = cls(
                number=lot_number(said["lot"]),
                programme=str(said["programme"]),
                vintage=int(said["vintage"]),
                region=str(said["region"]),
                methodologies={str(name): tuple(map(str, digests)) for name, digests in said["methodologies"].items()},
                terms=str(said["terms"]),
                root=bytes.fromhex(said["root"]),
                **{name: int(said[name]) for name in _NUMBERS},
            )
            if entry.to_text() != text:
                raise ValueError("it is not written as entries of lots are")
            if entry.total_mg != entry.units * entry.unit_mass_mg or not 0 < entry.members <= entry.leaves:
                raise ValueError("its total is not that of its units, or it has more members than leaves")
        except (TanzhangError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise _malformed(f"the entry cannot be read: {error}") from None
        return entry


_NUMBERS = ("unit_mass_mg", "units", "members", "leaves", "total_mg", "first_batch", "last_batch")


# -- proofs of a share ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Share:
    """A member: ``amount_mg`` of record ``place`` of ``batch``, whose leaf there is ``commitment``, at ``index``."""

    commitment: bytes
    batch: int
    place: int
    amount_mg: int
    index: int

    @property
    def leaf(self) -> Node:
        """Its leaf in the lot's tree."""
        return leaf(self.commitment, self.batch, self.place, self.amount_mg)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a proof file carries beside the proof in the log: the share, its path in the lot's tree, the entry."""

    share: Share
    path: tuple[Node, ...]
    entry: str

    def to_bytes(self) -> bytes:
        """As canonical JSON, for the ``extra`` line."""
        return canonical_json(
            {
                "format": PROOF_FORMAT,
                "record": self.share.commitment.hex(),
                "batch": str(self.share.batch),
                "place": str(self.share.place),
                "amount_mg": str(self.share.amount_mg),
                "index": str(self.share.index),
                "path": [{"sum": str(node.amount), "hash": node.hash.hex()} for node in self.path],
                "entry": self.entry,
            }
        ).encode()

    @classmethod
    def parse(cls, data: bytes) -> Evidence:
        """Read the ``extra`` line; ``lot-proof-malformed`` if it is not one of ours, byte for byte."""
        try:
            said = json.loads(data)
            numbers = {name: int(said[name]) for name in ("batch", "place", "amount_mg", "index")}
            path = tuple(Node(int(node["sum"]), bytes.fromhex(node["hash"])) for node in said["path"])
            evidence = cls(Share(bytes.fromhex(said["record"]), **numbers), path, str(said["entry"]))
            if evidence.to_bytes() != data:
                raise ValueError("it is not written as proofs are")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise _malformed(f"the proof cannot be read: {error}") from None
        return evidence


@dataclass(frozen=True, slots=True)
class VerifiedShare:
    """A proof that holds. ``before_mg`` is the sum of all members before this one, in the order of the lot."""

    share: Share
    before_mg: int
    lot: LotEntry
    index: int
    origin: str
    log_size: int
    checks: Sequence[str]


def verify_share_proof(data: bytes, log: Verifier) -> VerifiedShare:
    """Check the proof file of a share against the log's key, from the leaf up; raises at the first thing wrong.

    Codes: ``lot-proof-malformed``, ``sum-tree-leaf``, and those of the two proofs (``sum-proof-invalid``,
    ``inclusion-proof-invalid``, ``note-not-trusted`` ...).
    """
    proof = TlogProof.parse(data)
    if proof.extra is None:
        raise _malformed("the file carries no share of a lot")
    evidence = Evidence.parse(proof.extra)
    share, lot = evidence.share, LotEntry.parse(evidence.entry)
    if not 0 <= share.batch < 1 << 63 or not 0 <= share.place < 1 << 63 or not 0 <= share.index < lot.members:
        raise _malformed("a number of the share is not one of a member")
    root = Node(lot.total_mg, lot.root)
    sum_tree.verify_inclusion(share.index, lot.leaves, share.leaf, evidence.path, root)
    before = before_mg(share.index, lot.leaves, evidence.path)
    name = lot_text(lot.number)
    checks = [
        f"{share.amount_mg} mg of record {share.place} of batch {share.batch} are in the {lot.total_mg} of {name}"
    ]
    checkpoint, _ = proof.verify(leaf_hash(evidence.entry.encode()), log.name, log)
    checks.append(f"{name} is entry {proof.index} of the log {log.name}, signed at size {checkpoint.size}")
    return VerifiedShare(share, before, lot, proof.index, checkpoint.origin, checkpoint.size, tuple(checks))


def before_mg(index: int, size: int, path: Sequence[Node]) -> int:
    """The sum of all leaves before leaf ``index``: that of the left siblings on its path, which was verified."""
    here, last, before = index, size - 1, 0
    for sibling in path:
        if here & 1 or here == last:
            before += sibling.amount
            while here and not here & 1:  # right edge of an incomplete tree: levels without a sibling
                here >>= 1
                last >>= 1
        here >>= 1
        last >>= 1
    return before


# -- what is used -----------------------------------------------------------------------------------------------


def used_parts(used_mg: int, amounts_mg: Sequence[int]) -> list[int]:
    """How much of each member counts as used when ``used_mg`` of a lot's milligrams are: by running total.

    Units are of the lot and not of single members, so what is used is shared out over all of them in their order, as
    money is (method B): ``floor(U*C_i/G) - floor(U*C_(i-1)/G)``. The parts add up to ``used_mg``; none is more than its
    member. ``used_mg`` is 0 to the sum of the members.

    >>> used_parts(4, [5, 3, 2])
    [2, 1, 1]
    """
    total = sum(amounts_mg)
    if not 0 <= used_mg <= total:
        raise ValueError(f"{used_mg} mg of {total} cannot be used")
    ends = [0]
    running = 0
    for amount in amounts_mg:
        running += amount
        ends.append(used_mg * running // total if total else 0)
    return [stop - start for start, stop in pairwise(ends)]


def used_part(used_mg: int, total_mg: int, before_mg: int, amount_mg: int) -> int:
    """What :func:`used_parts` gives one member, from the sum of those before it."""
    return used_mg * (before_mg + amount_mg) // total_mg - used_mg * before_mg // total_mg


def _malformed(message: str) -> TanzhangError:
    return refuse(
        "lot-proof-malformed",
        message,
        where="proof of a share of a lot",
        remedy="ask the operator for a new file; if it stays so, keep the file as evidence",
    )


def describe_entry(entry: LotEntry) -> dict[str, Any]:
    """An entry as JSON members."""
    said: dict[str, Any] = json.loads(entry.to_text())
    return said
