"""Epochs: the totals of a programme at the end of a local day, as an entry of the log, and a person's proof of a share.

The entry names day, batches, and of each unit the root and total of a sum tree over all accounts. An account's salts
come from a secret of its own that is kept apart and erased with the person: what is left is a leaf that nobody can
compute again or tell from any other. A proof file is a C2SP ``.tlog-proof`` of the entry, whose ``extra`` line carries
amounts, salts and paths. Refused: whatever does not lead to a checkpoint signed by the given key.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from typing import Any

from tanzhang.core import sum_tree
from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.merkle import leaf_hash
from tanzhang.core.methodology import canonical_json
from tanzhang.core.note import Verifier
from tanzhang.core.record import KIND_NUMBER, UNIT_OF_KIND
from tanzhang.core.sum_tree import Node
from tanzhang.core.tlog_proof import TlogProof

FORMAT = "tanzhang.epoch/1"
PROOF_FORMAT = "tanzhang.epoch-proof/1"
SECRET_BYTES = 16
UNIT_NUMBER: dict[str, int] = {UNIT_OF_KIND[kind]: number for kind, number in KIND_NUMBER.items()}

COMMITMENT_PREFIX = b"tanzhang account"
SALT_PREFIX = b"tanzhang epoch salt"


def first_epoch_key(first_seal_key: bytes) -> bytes:
    """The key of the first epoch's secrets. The first batch overwrites what it comes from."""
    return sha256(b"tanzhang first epoch key" + first_seal_key).digest()


def next_epoch_key(key: bytes) -> bytes:
    """The following epoch's key. The earlier one is overwritten, so erased secrets cannot be made again."""
    return sha256(b"tanzhang next epoch key" + key).digest()


def account_commitment(account: uuid.UUID) -> bytes:
    """32 bytes that stand for one account and no other."""
    return sha256(COMMITMENT_PREFIX + account.bytes).digest()


def salt_context(day: date, unit: str) -> bytes:
    """What of a salt is the same for all accounts of a tree."""
    return SALT_PREFIX + day.toordinal().to_bytes(4, "big") + UNIT_NUMBER[unit].to_bytes(1, "big")


def account_salt(secret: bytes, day: date, unit: str) -> bytes:
    """The salt of an account's leaf in one tree; it tells nothing of the account's other leaves."""
    return sha256(salt_context(day, unit) + secret).digest()[: sum_tree.SALT_BYTES]


@dataclass(frozen=True, slots=True)
class TreeHead:
    """What an entry says of one tree: root and total, and how many leaves, zero leaves included."""

    root: Node
    leaves: int


@dataclass(frozen=True, slots=True)
class Epoch:
    """An entry of the log. ``covered`` is how many batches its totals rest on, the first ``covered`` of the programme.

    ``last_root`` is the record root of the last of them, ``cells`` what the entry says of parts of the total.
    """

    programme: str
    rehearsal: bool
    day: date
    covered: int
    new: int
    last_root: str
    trees: Mapping[str, TreeHead]
    cells: Mapping[str, Any]

    def to_text(self) -> str:
        """The entry, as canonical JSON."""
        return canonical_json(
            {
                "format": FORMAT,
                "programme": self.programme,
                "rehearsal": self.rehearsal,
                "day": self.day.isoformat(),
                "batches": {
                    "first": str(self.covered - self.new) if self.new else None,
                    "last": str(self.covered - 1),
                    "last_root": self.last_root,
                },
                "trees": {
                    unit: {
                        "root": tree.root.hash.hex(),
                        "total": str(tree.root.amount),
                        "leaves": str(tree.leaves),
                    }
                    for unit, tree in self.trees.items()
                },
                "cells": self.cells,
            }
        )

    @classmethod
    def parse(cls, text: str) -> Epoch:
        """Read an entry; ``epoch-malformed`` if it is not one of ours, byte for byte."""
        try:
            members = json.loads(text)
            batches, trees = members["batches"], members["trees"]
            if members["format"] != FORMAT or not set(trees) <= set(UNIT_NUMBER):
                raise ValueError(f"format {members['format']!r}, units {sorted(trees)}")
            covered = int(batches["last"]) + 1
            epoch = cls(
                programme=members["programme"],
                rehearsal=members["rehearsal"],
                day=date.fromisoformat(members["day"]),
                covered=covered,
                new=0 if batches["first"] is None else covered - int(batches["first"]),
                last_root=batches["last_root"],
                trees={
                    unit: TreeHead(Node(int(tree["total"]), bytes.fromhex(tree["root"])), int(tree["leaves"]))
                    for unit, tree in trees.items()
                },
                cells=members["cells"],
            )
            if epoch.to_text() != text:
                raise ValueError("it is not written as epochs are")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise _bad("epoch-malformed", f"the epoch cannot be read: {error}") from None
        return epoch


@dataclass(frozen=True, slots=True)
class Share:
    """An account's leaf in one tree: its amount, the salt, its place, and the path to the root."""

    amount: int
    salt: bytes
    index: int
    path: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a proof file carries beside the proof in the log: the entry, and the account's share of each tree."""

    account: uuid.UUID
    epoch: str
    shares: Mapping[str, Share]

    def to_bytes(self) -> bytes:
        """As canonical JSON, for the ``extra`` line."""
        return canonical_json(
            {
                "format": PROOF_FORMAT,
                "account": str(self.account),
                "epoch": self.epoch,
                "shares": {
                    unit: {
                        "amount": str(share.amount),
                        "salt": share.salt.hex(),
                        "index": str(share.index),
                        "path": [[str(node.amount), node.hash.hex()] for node in share.path],
                    }
                    for unit, share in self.shares.items()
                },
            }
        ).encode()

    @classmethod
    def parse(cls, data: bytes) -> Evidence:
        """Read the ``extra`` line; ``epoch-proof-malformed`` if it is not one of ours, byte for byte."""
        try:
            members = json.loads(data)
            if members["format"] != PROOF_FORMAT:
                raise ValueError(f"format {members['format']!r}")
            evidence = cls(
                account=uuid.UUID(members["account"]),
                epoch=str(members["epoch"]),
                shares={
                    unit: Share(
                        int(share["amount"]),
                        bytes.fromhex(share["salt"]),
                        int(share["index"]),
                        tuple(Node(int(amount), bytes.fromhex(digest)) for amount, digest in share["path"]),
                    )
                    for unit, share in members["shares"].items()
                },
            )
            if evidence.to_bytes() != data:
                raise ValueError("it is not written as proofs are")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise _bad("epoch-proof-malformed", f"the proof cannot be read: {error}") from None
        return evidence


@dataclass(frozen=True, slots=True)
class Verified:
    """A proof that holds: whose, in which epoch, entry ``index`` of the log, and what was checked on the way."""

    account: uuid.UUID
    epoch: Epoch
    shares: Mapping[str, Share]
    index: int
    origin: str
    log_size: int
    checks: Sequence[str]


def verify_epoch_proof(data: bytes, log: Verifier) -> Verified:
    """Check a person's proof file against the log's key, from the leaf up; raises at the first thing that is wrong.

    Codes: ``epoch-proof-malformed``, ``epoch-malformed``, ``sum-tree-leaf``, ``sum-proof-invalid``, and those of the
    proof in the log (``inclusion-proof-invalid``, ``note-not-trusted`` ...).
    """
    proof = TlogProof.parse(data)
    if proof.extra is None:
        raise _bad("epoch-proof-malformed", "the file carries no share of a total")
    evidence = Evidence.parse(proof.extra)
    epoch = Epoch.parse(evidence.epoch)
    if not evidence.shares or not set(evidence.shares) <= set(epoch.trees):
        raise _bad("epoch-proof-malformed", "the file's shares are not of the epoch's trees")
    checks = []
    for unit, share in evidence.shares.items():
        tree = epoch.trees[unit]
        own = sum_tree.leaf(account_commitment(evidence.account), share.salt, share.amount)
        sum_tree.verify_inclusion(share.index, tree.leaves, own, share.path, tree.root)
        checks.append(f"{share.amount} is part of the total {tree.root.amount} {unit}")
    checkpoint, _ = proof.verify(leaf_hash(evidence.epoch.encode()), log.name, log)
    checks.append(f"the total is entry {proof.index} of the log {log.name}, signed at size {checkpoint.size}")
    return Verified(
        evidence.account, epoch, evidence.shares, proof.index, checkpoint.origin, checkpoint.size, tuple(checks)
    )


def _bad(code: str, message: str) -> TanzhangError:
    return refuse(
        code,
        message,
        where="proof of a share",
        remedy="ask the operator for a new file; if it stays so, keep the file as evidence",
    )
