"""Rows that the log commits to some at a time: what an entry says of them, and the proof that one row is part of it.

An entry has the root of an RFC 6962 tree over the rows since the entry before it, and what all rows so far come to, in
the clear. A leaf is a row as JSON without the person; the ids of rows are keyed hashes of 128 bits, so that nobody can
guess a leaf. A proof file is a C2SP ``.tlog-proof`` of the entry, whose ``extra`` line carries the row and its path. It
names nobody: whoever has the file can show it. Refused: whatever does not lead to a checkpoint signed by the given key.

Donations, grams that are passed on and retirements are such rows, each with a :class:`LogTree` of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.merkle import leaf_hash, root, verify_inclusion
from tanzhang.core.methodology import canonical_json
from tanzhang.core.note import Signature, Verifier
from tanzhang.core.policy import Policy
from tanzhang.core.tlog_proof import TlogProof

Totals = Mapping[str, Mapping[str, int]]
"""Of what -> unit -> amount."""


class LogRow(Protocol):
    """A row as the log commits to it."""

    @property
    def id(self) -> str:
        """A name that nobody can guess."""

    @property
    def counted(self) -> tuple[str, str, int]:
        """What it adds to the totals: of what, in which unit, how much."""

    def as_dict(self) -> dict[str, Any]:
        """As JSON members."""


R = TypeVar("R", bound=LogRow)


def leaf_of(row: LogRow) -> bytes:
    """A row's leaf in the tree of its entry."""
    return leaf_hash(canonical_json(row.as_dict()).encode())


def added(totals: Totals, rows: Sequence[LogRow]) -> dict[str, dict[str, int]]:
    """Totals, and rows on top of them."""
    found = {of: dict(sums) for of, sums in totals.items()}
    for row in rows:
        of, unit, amount = row.counted
        sums = found.setdefault(of, {})
        sums[unit] = sums.get(unit, 0) + amount
    return found


@dataclass(frozen=True, slots=True)
class Sealed:
    """An entry: rows number ``first`` to ``rows - 1`` have this root, and all ``rows`` of them come to ``totals``."""

    programme: str
    first: int
    rows: int
    root: bytes
    totals: Totals


@dataclass(frozen=True, slots=True)
class Evidence(Generic[R]):
    """What a proof file carries beside the proof in the log: the row, its place and path in the entry's tree."""

    row: R
    index: int
    path: tuple[bytes, ...]
    entry: str


@dataclass(frozen=True, slots=True)
class Verified(Generic[R]):
    """A proof that holds: the row, its entry ``index`` of the log, and what was checked on the way."""

    row: R
    sealed: Sealed
    index: int
    origin: str
    log_size: int
    checks: Sequence[str]
    cosigned: Sequence[Signature] = ()


@dataclass(frozen=True, slots=True)
class LogTree(Generic[R]):
    """How rows of one kind stand in the log: the kind and ``format`` of entries, the format of proofs, their words.

    ``member`` is what a row is called in a proof, ``read`` makes one of its JSON members again, ``code`` says that
    something is not written as ours are, ``said`` is the sentence about a total that a row is part of, with places
    for ``amount``, ``unit``, ``of`` and ``total``.
    """

    kind: str
    format: str
    proof_format: str
    member: str
    read: Callable[[Mapping[str, Any]], R]
    code: str
    where: str
    said: str

    # -- entries ----------------------------------------------------------------------------------------------

    def entry(self, programme: str, first: int, rows: Sequence[R], totals: Totals) -> Sealed:
        """The entry over rows number ``first`` and following, after which all come to ``totals``."""
        return Sealed(programme, first, first + len(rows), root([leaf_of(row) for row in rows]), totals)

    def text(self, sealed: Sealed) -> str:
        """An entry as canonical JSON."""
        totals = {of: {unit: str(amount) for unit, amount in sums.items()} for of, sums in sealed.totals.items()}
        numbers = {"first": str(sealed.first), "rows": str(sealed.rows), "root": sealed.root.hex()}
        return canonical_json({"format": self.format, "programme": sealed.programme, **numbers, "totals": totals})

    def parse(self, text: str) -> Sealed:
        """Read an entry; :attr:`code` if it is not one of ours, byte for byte."""
        try:
            said = json.loads(text)
            totals = {of: {unit: int(amount) for unit, amount in sums.items()} for of, sums in said["totals"].items()}
            numbers = int(said["first"]), int(said["rows"]), bytes.fromhex(said["root"])
            sealed = Sealed(said["programme"], *numbers, totals)
            if not 0 <= sealed.first < sealed.rows or self.text(sealed) != text:
                raise ValueError(f"it is not written as entries of {self.kind} are")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise self._bad(f"the entry cannot be read: {error}") from None
        return sealed

    # -- proofs -----------------------------------------------------------------------------------------------

    def evidence(self, evidence: Evidence[R]) -> bytes:
        """What a proof carries on its ``extra`` line, as canonical JSON."""
        return canonical_json(
            {
                "format": self.proof_format,
                self.member: evidence.row.as_dict(),
                "index": str(evidence.index),
                "path": [value.hex() for value in evidence.path],
                "entry": evidence.entry,
            }
        ).encode()

    def parse_evidence(self, data: bytes) -> Evidence[R]:
        """Read the ``extra`` line; :attr:`code` if it is not one of ours, byte for byte."""
        try:
            said = json.loads(data)
            path = tuple(bytes.fromhex(value) for value in said["path"])
            evidence = Evidence(self.read(said[self.member]), int(said["index"]), path, str(said["entry"]))
            if self.evidence(evidence) != data:
                raise ValueError("it is not written as proofs are")
        except (TanzhangError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise self._bad(f"the proof cannot be read: {error}") from None
        return evidence

    def verify(
        self, data: bytes, log: Verifier, *, policy: Policy | None = None, witnesses: Sequence[Verifier] = ()
    ) -> Verified[R]:
        """Check a proof file against the log's key, from the leaf up; raises at the first thing that is wrong.

        With a ``policy`` its quorum of ``witnesses`` has to have cosigned. Codes: :attr:`code`, and those of the two
        proofs (``inclusion-proof-invalid``, ``note-not-trusted`` ...) and of the policy.
        """
        proof = TlogProof.parse(data)
        if proof.extra is None:
            raise self._bad(f"the file carries no {self.member}")
        evidence = self.parse_evidence(proof.extra)
        sealed, row = self.parse(evidence.entry), evidence.row
        verify_inclusion(evidence.index, sealed.rows - sealed.first, leaf_of(row), evidence.path, sealed.root)
        of, unit, amount = row.counted
        total = sealed.totals.get(of, {}).get(unit, 0)
        if total < amount:
            raise self._bad(f"the entry's total of {of} is less than the {self.member}")
        checkpoint, note = proof.verify(leaf_hash(evidence.entry.encode()), log.name, log, witnesses)
        checks = [
            self.said.format(amount=amount, unit=unit, of=of, total=total),
            f"the total is entry {proof.index} of the log {log.name}, signed at size {checkpoint.size}",
        ]
        if policy is not None:
            policy.check_met(note.verified)
            checks.append(f"the checkpoint has the cosignatures that the quorum {policy.quorum} asks for")
        own = (log.name, log.key_id)
        cosigned = tuple(line for line in note.verified if (line.name, line.key_id) != own)
        return Verified(row, sealed, proof.index, checkpoint.origin, checkpoint.size, tuple(checks), cosigned)

    def _bad(self, message: str) -> TanzhangError:
        remedy = "ask the operator for a new file; if it stays so, keep the file as evidence"
        return refuse(self.code, message, where=self.where, remedy=remedy)
