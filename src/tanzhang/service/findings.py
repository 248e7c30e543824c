"""What verification says of what it finds wrong, the same in all of its parts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tanzhang.core.errors import Problem

RESTORE = "restore it from a backup; everything up to the last checkpoint can be compared with the published log"
"""The remedy of all that is not as it was booked."""
SHOWN = 5
"""How many findings of one check are shown."""


@dataclass(slots=True)
class Check:
    """One check: what was compared, how many times, what was wrong, and what can no longer be checked (``notes``)."""

    name: str
    what: str
    count: int = 0
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """As JSON members."""
        return {
            "check": self.name,
            "what": self.what,
            "count": self.count,
            "problems": [problem.as_dict() for problem in self.problems],
            "notes": self.notes,
        }
