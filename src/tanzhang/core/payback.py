"""Paying people back (返还): how the money of a sale is divided over the records of its lot, to the fen.

Each record's weight is its milligrams in the lot. **Method B, the running total**, is the one that is used: with ``C``
the sum of the weights up to and with a record, it gets ``floor(R*C/G) - floor(R*(C - g)/G)`` fen of ``R``. All payments
sum to ``R``, each differs from the exact share ``R*g/G`` by less than one fen, any part of the records can be worked
out alone, and ``C - g`` is the sum of all left siblings on the record's path in the lot's sum tree (core/sum_tree.py).
So a citizen computes the payment from the proof of the record's share in its lot and from the log's word on ``R``.
**Method A, the largest remainder**, is what payments would be if each were to be as near to its exact share as can be;
it is here to be compared with. docs/adr/0037-payback.md.

In B the place in the lot decides about single fen, and it was fixed, and in the log, before there was a price.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.lot import VerifiedShare, lot_number, lot_text, verify_share_proof
from tanzhang.core.merkle import leaf_hash
from tanzhang.core.methodology import canonical_json
from tanzhang.core.note import Verifier
from tanzhang.core.tlog_proof import TlogProof

KIND = "payback"
"""The kind of entries of the log that say what a sale brought and how much of it is divided."""
FORMAT, PROOF_FORMAT = "tanzhang.payback/1", "tanzhang.payment-proof/1"
METHOD = "running-total"
"""Method B, by the name that entries have for it."""


def running_total(revenue_fen: int, weights_mg: Sequence[int]) -> list[int]:
    """Method B: what each of some records gets of ``revenue_fen``, in lot order.

    >>> running_total(100, [1, 1, 1]), running_total(7, [5, 3, 2])
    ([33, 33, 34], [3, 2, 2])
    """
    total, before, payments = _total(revenue_fen, weights_mg), 0, []
    for weight in weights_mg:
        payments.append(payment_fen(revenue_fen, total, before, weight))
        before += weight
    return payments


def payment_fen(revenue_fen: int, total_mg: int, before_mg: int, mg: int) -> int:
    """What method B gives a record of ``mg`` in a lot of ``total_mg`` whose records before it have ``before_mg``.

    >>> payment_fen(1_000_001, 2_670_400, 37_000, 16_400)
    6142
    """
    return revenue_fen * (before_mg + mg) // total_mg - revenue_fen * before_mg // total_mg


def largest_remainder(revenue_fen: int, weights_mg: Sequence[int]) -> list[int]:
    """Method A: the whole fen of each exact share, and one fen more where the largest parts are left; ties by order.

    >>> largest_remainder(100, [1, 1, 1]), largest_remainder(7, [5, 3, 2])
    ([34, 33, 33], [4, 2, 1])
    """
    total = _total(revenue_fen, weights_mg)
    payments = [revenue_fen * weight // total for weight in weights_mg]
    missing = revenue_fen - sum(payments)
    by_remainder = sorted(range(len(payments)), key=lambda place: -(revenue_fen * weights_mg[place] % total))
    for place in by_remainder[:missing]:
        payments[place] += 1
    return payments


def _total(revenue_fen: int, weights_mg: Sequence[int]) -> int:
    total = sum(weights_mg)
    if revenue_fen < 0 or total <= 0 or min(weights_mg) < 0:
        raise ValueError("what is divided is not below zero, and is divided over more than nothing")
    return total


@dataclass(frozen=True, slots=True)
class FeeTaken:
    """A fee of the market's rules, what share of the gross it is, and what it came to: the whole fen of that share."""

    id: str
    share: Fraction
    fen: int

    @classmethod
    def of(cls, name: str, share: Fraction, gross_fen: int) -> FeeTaken:
        """The fee of a sale; what a share has of a fen stays with the people.

        >>> FeeTaken.of("verification", Fraction(1, 30), 100).fen
        3
        """
        return cls(name, share, int(gross_fen * share))


@dataclass(frozen=True, slots=True)
class Divided:
    """What one sale brought and what of it is divided over the lot's records; an entry of the log, which names nobody.

    ``shared_fen`` is ``gross_fen`` less the fees, and all of ``topup_fen``, which sponsors add for people and no fee is
    taken of. ``members`` and ``total_mg`` are those of the whole lot, however many of its ``units`` were sold.
    """

    programme: str
    lot: int
    members: int
    total_mg: int
    deal: int
    units: int
    gross_fen: int
    topup_fen: int
    fees: tuple[FeeTaken, ...]

    @property
    def shared_fen(self) -> int:
        """``R``: what is divided."""
        return self.gross_fen + self.topup_fen - sum(fee.fen for fee in self.fees)

    def payment_fen(self, before_mg: int, mg: int) -> int:
        """What a record of ``mg`` gets that has ``before_mg`` before it in the lot."""
        return payment_fen(self.shared_fen, self.total_mg, before_mg, mg)

    def exact_fen(self, mg: int) -> Fraction:
        """The share of ``mg`` as it would be if fen could be divided.

        >>> sale = Divided("p", 1, 60_976, 10**9, 1, 1, 6_000, 0, ())
        >>> float(sale.exact_fen(16_400))
        0.0984
        """
        return Fraction(self.shared_fen * mg, self.total_mg)

    def to_text(self) -> str:
        """The entry, as canonical JSON."""
        fees = [{"id": fee.id, "share": str(fee.share), "fen": str(fee.fen)} for fee in self.fees]
        names = ("deal", "units", "gross_fen", "topup_fen", "shared_fen", "members", "total_mg")
        numbers = {name: str(getattr(self, name)) for name in names}
        said = {"format": FORMAT, "programme": self.programme, "lot": lot_text(self.lot), "method": METHOD}
        return canonical_json({**said, **numbers, "fees": fees})

    @classmethod
    def parse(cls, text: str) -> Divided:
        """Read an entry; ``payback-proof-malformed`` if it is not one of ours, byte for byte, or its fees are wrong."""
        try:
            said = json.loads(text)
            gross = int(said["gross_fen"])
            fees = tuple(FeeTaken.of(str(fee["id"]), Fraction(fee["share"]), gross) for fee in said["fees"])
            found = cls(
                programme=str(said["programme"]),
                lot=lot_number(said["lot"]),
                fees=fees,
                **{name: int(said[name]) for name in _NUMBERS},
            )
            if found.to_text() != text:
                raise ValueError("it is not written as entries of paying back are, or does not add up")
            if min(gross, found.topup_fen, found.shared_fen) < 0 or min(found.units, found.members, found.total_mg) < 1:
                raise ValueError("its numbers are of no sale")
        except (
            TanzhangError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            ZeroDivisionError,
            RecursionError,
        ) as error:
            raise malformed(f"the entry cannot be read: {error}") from None
        return found


_NUMBERS = ("members", "total_mg", "deal", "units", "gross_fen", "topup_fen")


# -- proofs of a payment ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a proof file carries beside the proof in the log: the entry, and the proof file of the record's share."""

    entry: str
    share: bytes

    def to_bytes(self) -> bytes:
        """As canonical JSON, for the ``extra`` line."""
        said = {"format": PROOF_FORMAT, "entry": self.entry, "share": self.share.decode()}
        return canonical_json(said).encode()

    @classmethod
    def parse(cls, data: bytes) -> Evidence:
        """Read the ``extra`` line; ``payback-proof-malformed`` if it is not one of ours, byte for byte."""
        try:
            said = json.loads(data)
            evidence = cls(str(said["entry"]), said["share"].encode())
            if evidence.to_bytes() != data:
                raise ValueError("it is not written as proofs are")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise malformed(f"the proof cannot be read: {error}") from None
        return evidence


@dataclass(frozen=True, slots=True)
class VerifiedPayment:
    """A proof that holds: what a record has in its lot, what was divided, and what the record got of it."""

    share: VerifiedShare
    divided: Divided
    fen: int
    index: int
    log_size: int
    checks: Sequence[str]


def verify_payment_proof(data: bytes, log: Verifier) -> VerifiedPayment:
    """Check the proof file of a payment against the log's key, from the record up; raises at the first thing wrong.

    It shows what the record must have been paid of a sale; that it was paid, whoever was paid knows. Codes:
    ``payback-proof-malformed``, and those of :func:`tanzhang.core.lot.verify_share_proof` and of the proof in the log.
    """
    proof = TlogProof.parse(data)
    if proof.extra is None:
        raise malformed("the file carries no payment")
    evidence = Evidence.parse(proof.extra)
    divided, share = Divided.parse(evidence.entry), verify_share_proof(evidence.share, log)
    lot = share.lot
    same = (divided.lot, divided.programme, divided.members, divided.total_mg)
    if same != (lot.number, lot.programme, lot.members, lot.total_mg):
        raise malformed("what was divided is of another lot than the share")
    fen = divided.payment_fen(share.before_mg, share.share.amount_mg)
    checks = [*share.checks]
    checks.append(
        f"of {divided.shared_fen} fen, {share.before_mg} mg before it and {share.share.amount_mg} mg of its own out of "
        f"{divided.total_mg} come to {fen} fen"
    )
    checkpoint, _ = proof.verify(leaf_hash(evidence.entry.encode()), log.name, log)
    checks.append(f"what was divided is entry {proof.index} of the log {log.name}, signed at size {checkpoint.size}")
    return VerifiedPayment(share, divided, fen, proof.index, checkpoint.size, tuple(checks))


def explained(divided: Divided, before_mg: int, mg: int) -> Mapping[str, str]:
    """What a record gets of a sale, and what running totals do to a share of less than a fen, as numbers to show.

    ``exact_fen`` is the record's share; the running total of the lot goes from ``from_fen`` to ``to_fen`` within it,
    and ``fen`` whole ones are passed and paid. The first three are rounded down to a thousandth.
    """
    total, shared = divided.total_mg, divided.shared_fen
    return {
        "exact_fen": thousandths(shared * mg, total),
        "from_fen": thousandths(shared * before_mg, total),
        "to_fen": thousandths(shared * (before_mg + mg), total),
        "fen": str(divided.payment_fen(before_mg, mg)),
    }


def thousandths(over: int, under: int) -> str:
    """A quotient, rounded down to a thousandth."""
    whole, part = divmod(1_000 * over // under, 1_000)
    return f"{whole}.{part:03}"


def malformed(message: str) -> TanzhangError:
    """What is said of a proof, or an entry, that shows no payment."""
    return refuse(
        "payback-proof-malformed",
        message,
        where="proof of a payment",
        remedy="ask the operator for a new file; if it stays so, keep the file as evidence",
    )
