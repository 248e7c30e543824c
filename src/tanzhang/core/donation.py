"""Donations (捐赠) in the log: what an entry commits to, and a donor's proof that a gift is part of the totals.

An entry has the root of a tree over the gifts since the entry before it, and what each project was given in all. A leaf
is a gift without its giver; its id is a keyed hash of 128 bits, so that nobody can guess a leaf. A proof file is a C2SP
``.tlog-proof`` of the entry, whose ``extra`` line carries the gift and its path. It names nobody: whoever has the file
can show it. Refused: whatever does not lead to a checkpoint signed by the given key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.merkle import leaf_hash, root, verify_inclusion
from tanzhang.core.methodology import canonical_json
from tanzhang.core.note import Verifier
from tanzhang.core.tlog_proof import TlogProof

KIND = "donations"
"""The kind of entries of the log that commit to gifts."""
FORMAT, PROOF_FORMAT = "tanzhang.donations/1", "tanzhang.donation-proof/1"
DONATED = "donated_mg"
"""The unit of milligrams that were given away: what a person gave is below zero, what a project got above.

They stay part of ``co2e_mg`` of the person whose acts they come from, so that every gram is counted there, once. What
somebody can still use is the sum of both.
"""
Totals = Mapping[str, Mapping[str, int]]
"""Project -> unit -> amount."""


@dataclass(frozen=True, slots=True)
class Gift:
    """One gift as the log commits to it. ``amount`` is in ``unit``: :data:`DONATED`, or the points of a programme."""

    id: str
    project: str
    unit: str
    amount: int
    made_at: str

    @property
    def leaf(self) -> bytes:
        """Its leaf in the tree of its entry."""
        return leaf_hash(canonical_json(self.as_dict()).encode())

    def as_dict(self) -> dict[str, str]:
        """As JSON members."""
        return {**asdict(self), "amount": str(self.amount)}


@dataclass(frozen=True, slots=True)
class Sealed:
    """An entry: gifts number ``first`` to ``rows - 1`` have this root, and all ``rows`` of them come to ``totals``."""

    programme: str
    first: int
    rows: int
    root: bytes
    totals: Totals

    @classmethod
    def of(cls, programme: str, first: int, gifts: Sequence[Gift], totals: Totals) -> Sealed:
        """The entry over gifts number ``first`` and following."""
        return cls(programme, first, first + len(gifts), root([gift.leaf for gift in gifts]), totals)

    def to_text(self) -> str:
        """The entry, as canonical JSON."""
        totals = {
            project: {unit: str(amount) for unit, amount in sums.items()} for project, sums in self.totals.items()
        }
        numbers = {"first": str(self.first), "rows": str(self.rows), "root": self.root.hex()}
        return canonical_json({"format": FORMAT, "programme": self.programme, **numbers, "totals": totals})

    @classmethod
    def parse(cls, text: str) -> Sealed:
        """Read an entry; ``donation-proof-malformed`` if it is not one of ours, byte for byte."""
        try:
            said = json.loads(text)
            totals = {
                project: {unit: int(amount) for unit, amount in sums.items()}
                for project, sums in said["totals"].items()
            }
            sealed = cls(said["programme"], int(said["first"]), int(said["rows"]), bytes.fromhex(said["root"]), totals)
            if not 0 <= sealed.first < sealed.rows or sealed.to_text() != text:
                raise ValueError("it is not written as entries of donations are")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise _malformed(f"the entry cannot be read: {error}") from None
        return sealed


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a proof file carries beside the proof in the log: the gift, its place and path in the entry's tree."""

    gift: Gift
    index: int
    path: tuple[bytes, ...]
    entry: str

    def to_bytes(self) -> bytes:
        """As canonical JSON, for the ``extra`` line."""
        return canonical_json(
            {
                "format": PROOF_FORMAT,
                "gift": self.gift.as_dict(),
                "index": str(self.index),
                "path": [value.hex() for value in self.path],
                "entry": self.entry,
            }
        ).encode()

    @classmethod
    def parse(cls, data: bytes) -> Evidence:
        """Read the ``extra`` line; ``donation-proof-malformed`` if it is not one of ours, byte for byte."""
        try:
            said = json.loads(data)
            gift = Gift(**{**said["gift"], "amount": int(said["gift"]["amount"])})
            path = tuple(bytes.fromhex(value) for value in said["path"])
            evidence = cls(gift, int(said["index"]), path, str(said["entry"]))
            if evidence.to_bytes() != data:
                raise ValueError("it is not written as proofs are")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise _malformed(f"the proof cannot be read: {error}") from None
        return evidence


@dataclass(frozen=True, slots=True)
class Verified:
    """A proof that holds: the gift, its entry ``index`` of the log, and what was checked on the way."""

    gift: Gift
    sealed: Sealed
    index: int
    origin: str
    log_size: int
    checks: Sequence[str]


def verify_donation_proof(data: bytes, log: Verifier) -> Verified:
    """Check a donor's proof file against the log's key, from the leaf up; raises at the first thing that is wrong.

    Codes: ``donation-proof-malformed``, and those of the two proofs (``inclusion-proof-invalid``, ``note-not-trusted``
    ...).
    """
    proof = TlogProof.parse(data)
    if proof.extra is None:
        raise _malformed("the file carries no gift")
    evidence = Evidence.parse(proof.extra)
    sealed, gift = Sealed.parse(evidence.entry), evidence.gift
    verify_inclusion(evidence.index, sealed.rows - sealed.first, gift.leaf, evidence.path, sealed.root)
    total = sealed.totals.get(gift.project, {}).get(gift.unit, 0)
    if total < gift.amount:
        raise _malformed(f"the entry's total of {gift.project} is less than the gift")
    checks = [f"{gift.amount} {gift.unit} are part of the {total} that {gift.project} was given by then"]
    checkpoint, _ = proof.verify(leaf_hash(evidence.entry.encode()), log.name, log)
    checks.append(f"the total is entry {proof.index} of the log {log.name}, signed at size {checkpoint.size}")
    return Verified(gift, sealed, proof.index, checkpoint.origin, checkpoint.size, tuple(checks))


def _malformed(message: str) -> TanzhangError:
    return refuse(
        "donation-proof-malformed",
        message,
        where="proof of a donation",
        remedy="ask the operator for a new file; if it stays so, keep the file as evidence",
    )
