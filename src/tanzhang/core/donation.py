"""Donations (捐赠) in the log: what an entry commits to, and a donor's proof that a gift is part of the totals.

Entries and proofs are those of :mod:`tanzhang.core.log_tree`: a leaf is a gift without its giver, totals are by
project.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tanzhang.core.log_tree import LogTree

DONATED = "donated_mg"
"""The unit of milligrams that were given away: what a person gave is below zero, what a project got above.

They stay part of ``co2e_mg`` of the person whose acts they come from, so that every gram is counted there, once. What
somebody can still use is the sum of both.
"""


@dataclass(frozen=True, slots=True)
class Gift:
    """One gift as the log commits to it. ``amount`` is in ``unit``: :data:`DONATED`, or the points of a programme."""

    id: str
    project: str
    unit: str
    amount: int
    made_at: str

    @property
    def counted(self) -> tuple[str, str, int]:
        """What it adds to the totals."""
        return self.project, self.unit, self.amount

    def as_dict(self) -> dict[str, str]:
        """As JSON members."""
        return {**asdict(self), "amount": str(self.amount)}

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Gift:
        """Of its JSON members."""
        return cls(**{**said, "amount": int(said["amount"])})


DONATIONS: LogTree[Gift] = LogTree(
    kind="donations",
    format="tanzhang.donations/1",
    proof_format="tanzhang.donation-proof/1",
    member="gift",
    read=Gift.read,
    code="donation-proof-malformed",
    where="proof of a donation",
    said="{amount} {unit} are part of the {total} that {of} was given by then",
)
