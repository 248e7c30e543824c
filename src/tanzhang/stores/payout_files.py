"""Files by which pay-outs go to whoever pays them, and come back: one adapter for each form."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tanzhang.core.errors import Problem, TanzhangError

PAID, FAILED = "paid", "failed"


@dataclass(frozen=True, slots=True)
class Payout:
    """One pay-out: its id for good, whom it is for, how much, for what."""

    id: str
    payee: str
    fen: int
    purpose: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one: ``paid`` or ``failed``, and why; ``where`` is its place in the file."""

    id: str
    status: str
    reason: str
    where: str


class PayoutAdapter(Protocol):
    """A form of files. Both directions are pure: what is booked is booked by whoever calls.

    ``write`` gives the same bytes for the same pay-outs, so that a file can be made again. Whoever pays must pay one id
    once, however often it is in a file. ``read`` raises all mistakes of a file together.
    """

    def write(self, payouts: Sequence[Payout]) -> bytes: ...

    def read(self, data: bytes, name: str) -> list[Answer]: ...


class BankFile:
    """CSV in UTF-8 with a mark, as spreadsheets read it; the answer is CSV of reference, status and reason."""

    def write(self, payouts: Sequence[Payout]) -> bytes:
        """Columns reference, payee, amount_fen, purpose."""
        buffer = io.StringIO()
        writer = csv.writer(buffer)
        writer.writerow(("reference", "payee", "amount_fen", "purpose"))
        writer.writerows((each.id, each.payee, each.fen, each.purpose) for each in payouts)
        return ("\ufeff" + buffer.getvalue()).encode()

    def read(self, data: bytes, name: str) -> list[Answer]:
        """The answers of a file, in its order; ``confirmation-malformed``."""
        try:
            reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
            lines = [line for line in reader if line]
        except (UnicodeDecodeError, csv.Error) as error:
            raise TanzhangError(_malformed(f"it cannot be read: {error}", name)) from None
        if not lines or lines[0] != ["reference", "status", "reason"]:
            raise TanzhangError(_malformed("its header is not reference,status,reason", f"{name}:1"))
        found: dict[str, Answer] = {}
        problems = []
        for number, line in enumerate(lines[1:], 2):
            where = f"{name}:{number}"
            if len(line) != 3 or line[1] not in (PAID, FAILED):
                problems.append(_malformed("it is not reference, paid or failed, and a reason", where))
            elif line[0] in found:
                problems.append(_malformed(f"{line[0][:40]} stands twice", where))
            else:
                found[line[0]] = Answer(line[0], line[1], line[2][:200], where)
        if problems:
            raise TanzhangError(problems)
        return [*found.values()]


ADAPTERS: Mapping[str, PayoutAdapter] = {"bank_file": BankFile()}


def _malformed(message: str, where: str) -> Problem:
    return Problem("confirmation-malformed", message, where, "ask whoever pays for the file again; nothing was booked")
