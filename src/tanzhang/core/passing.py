"""Passing on (转出): grams that leave for another scheme or an outside market, and grams that came from one.

The giver's log has an entry over what was passed on; the file that leads there (:data:`PASSINGS`) names the one log
that may take it in and the account there, so it is good for nobody else. That it is taken in once is the receiver's to
see; whether another home took it cannot be seen from a file, only looked up. What was received is in the receiver's log
too, under the same id. Received grams are a unit of their own: they are no reductions of whoever
received them, and cannot be given on.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tanzhang.core.log_tree import LogTree

PASSED = "passed_mg"
"""The unit of milligrams that left: below zero at whoever passed them on, above at the account of the scheme."""
RECEIVED = "received_mg"
"""The unit of milligrams that came from another scheme: below zero at the account of the scheme."""


@dataclass(frozen=True, slots=True)
class Passing:
    """Grams that went from one scheme to another, as both logs commit to them.

    ``unit`` is :data:`PASSED` in the giver's log and :data:`RECEIVED` in the receiver's; ``scheme`` is the other one as
    each of them calls it. ``log`` is the name of the other's log, empty where that has none; ``to`` is a commitment to
    the account at the receiver, empty where ``log`` is. What happened in a ``rehearsal`` is worth nothing outside one.
    """

    id: str
    scheme: str
    log: str
    to: str
    unit: str
    amount: int
    rehearsal: bool
    made_at: str

    @property
    def counted(self) -> tuple[str, str, int]:
        """What it adds to the totals."""
        return self.scheme, self.unit, self.amount

    def as_dict(self) -> dict[str, Any]:
        """As JSON members."""
        return {**asdict(self), "amount": str(self.amount)}

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Passing:
        """Of its JSON members."""
        passing = cls(**{**said, "amount": int(said["amount"])})
        texts = passing.id, passing.scheme, passing.log, passing.to, passing.unit, passing.made_at
        if not isinstance(passing.rehearsal, bool) or not all(isinstance(each, str) for each in texts):
            raise ValueError("a member is not of its type")
        if not 0 < passing.amount < 2**63:
            raise ValueError("its amount is none that can be booked")
        return passing


PASSINGS: LogTree[Passing] = LogTree(
    kind="passings",
    format="tanzhang.passings/1",
    proof_format="tanzhang.passing/1",
    member="passing",
    read=Passing.read,
    code="passing-malformed",
    where="file of what was passed on",
    said="{amount} {unit} are part of the {total} of scheme {of} by then",
)


def account_commitment(account: uuid.UUID, name: str) -> str:
    """What a file and its leaf say of the account at the receiver; the id ``name`` keeps it from being guessed.

    >>> account_commitment(uuid.UUID(int=1), "00ff")[:16]
    '284c9b197355bddf'
    """
    return hashlib.sha256(f"tanzhang passing\0{name}\0{account}".encode()).hexdigest()
