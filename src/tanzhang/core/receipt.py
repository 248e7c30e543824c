"""Receipts (凭证): one file with which a citizen proves one record offline, needing nothing but the log's public key.

A receipt is a C2SP ``.tlog-proof`` of the batch's manifest in the log. Its ``extra`` line, which proves nothing by
itself, carries the record, its salt, the path from the record to the batch's root, the manifest and the plan; each is
recomputed and compared on the way up. Refused: anything that does not lead to a checkpoint signed by the given key.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.merkle import leaf_hash, verify_inclusion
from tanzhang.core.methodology import canonical_json
from tanzhang.core.note import Signature, Verifier
from tanzhang.core.policy import Policy
from tanzhang.core.recipe import compute, read_recipe
from tanzhang.core.record import Record, encode, from_json, leaf, to_json
from tanzhang.core.tlog_proof import TlogProof

FORMAT = "tanzhang.receipt/1"
MANIFEST_FORMAT = "tanzhang.batch/1"  # of the log entries that commit to records


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a receipt carries beside the proof in the log. ``index`` is the record's place in its batch."""

    record: Record
    salt: bytes
    index: int
    path: tuple[bytes, ...]
    manifest: str
    plan: str | None

    def to_bytes(self) -> bytes:
        """As canonical JSON, for the ``extra`` line."""
        return canonical_json(
            {
                "format": FORMAT,
                "record": to_json(self.record),
                "salt": self.salt.hex(),
                "index": str(self.index),
                "path": [each.hex() for each in self.path],
                "manifest": self.manifest,
                "plan": self.plan,
            }
        ).encode()

    @classmethod
    def parse(cls, data: bytes) -> Evidence:
        """Read the ``extra`` line; ``receipt-malformed`` if it is not one of ours, byte for byte."""
        try:
            members = json.loads(data)
            if members["format"] != FORMAT:
                raise ValueError(f"format {members['format']!r}")
            evidence = cls(
                record=from_json(members["record"]),
                salt=bytes.fromhex(members["salt"]),
                index=int(members["index"]),
                path=tuple(bytes.fromhex(each) for each in members["path"]),
                manifest=str(members["manifest"]),
                plan=None if members["plan"] is None else str(members["plan"]),
            )
            if evidence.to_bytes() != data:
                raise ValueError("it is not written as receipts are")
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise _bad("receipt-malformed", f"the receipt cannot be read: {error}") from None
        return evidence


@dataclass(frozen=True, slots=True)
class Verified:
    """A receipt that holds: the record, its batch's manifest, and how large the log was that covers it."""

    record: Record
    manifest: Mapping[str, Any]
    plan: Mapping[str, Any] | None
    origin: str
    log_size: int
    checks: Sequence[str]
    cosigned: Sequence[Signature] = ()


def verify_receipt(
    data: bytes, log: Verifier, *, policy: Policy | None = None, witnesses: Iterable[Verifier] = ()
) -> Verified:
    """Check a receipt against the log's key, from the record up; raises at the first thing that does not hold.

    With a ``policy`` its quorum has to be met as well; ``witnesses`` are the verifiers of its keys.

    Codes: ``receipt-malformed``, ``receipt-manifest``, ``receipt-plan``, ``receipt-amount``, and those of the proofs
    and notes (``inclusion-proof-invalid``, ``note-not-trusted``, ``witness-quorum-missing`` ...).
    """
    proof = TlogProof.parse(data)
    if proof.extra is None:
        raise _bad("receipt-malformed", "the proof carries no record")
    evidence = Evidence.parse(proof.extra)
    record = evidence.record
    try:
        manifest = json.loads(evidence.manifest)
        if manifest["format"] != MANIFEST_FORMAT:
            raise ValueError(f"format {manifest['format']!r}")
        batch, size, root = manifest["batch"], int(manifest["records"]), bytes.fromhex(manifest["root"])
        if (str(size), root.hex()) != (manifest["records"], manifest["root"]):
            raise ValueError("records or root is not written as in manifests")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _bad("receipt-manifest", f"the manifest cannot be read: {error}") from None
    try:
        layout = encode(record)
    except (struct.error, AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise _bad("receipt-malformed", f"the record cannot be laid out: {error}") from None
    verify_inclusion(evidence.index, size, leaf(evidence.salt, layout), evidence.path, root)
    checks = [f"record {evidence.index} is one of the {size} records of batch {batch}"]
    checkpoint, note = proof.verify(leaf_hash(evidence.manifest.encode()), log.name, log, witnesses)
    checks.append(f"the batch is entry {proof.index} of the log {log.name}, signed at size {checkpoint.size}")
    if policy is not None:
        policy.check_met(note.verified)
        checks.append(f"the checkpoint has the cosignatures that the quorum {policy.quorum} asks for")
    plan = _check_plan(record, evidence.plan, checks)
    own = (log.name, log.key_id)
    cosigned = tuple(line for line in note.verified if (line.name, line.key_id) != own)
    return Verified(record, manifest, plan, checkpoint.origin, checkpoint.size, tuple(checks), cosigned)


def _check_plan(record: Record, document: str | None, checks: list[str]) -> Mapping[str, Any] | None:
    """That the plan is the one the record names and gives the record's amount."""
    if record.plan is None:
        if document is not None:
            raise _bad("receipt-plan", "the receipt carries a plan and the record names none")
        return None
    if document is None or sha256(document.encode()).hexdigest() != record.plan:
        raise _bad("receipt-plan", "the plan in the receipt is not the one the record names")
    recipe = read_recipe(document)
    try:
        amount = compute(recipe, record.inputs).mg
    except (KeyError, ArithmeticError, TanzhangError):
        raise _bad("receipt-amount", "the record's inputs do not fit its methodology") from None
    if amount != record.quantified_mg:
        raise _bad("receipt-amount", f"{recipe.methodology} gives {amount} mg, the record says {record.quantified_mg}")
    checks.append(f"{recipe.methodology} gives {amount} mg for its inputs, as the record says")
    plan: Mapping[str, Any] = json.loads(document)
    return plan


def _bad(code: str, message: str) -> TanzhangError:
    return refuse(code, message, where="receipt", remedy="ask the operator for a new receipt; do not trust this one")
