"""What verification says of what it finds wrong, the same in all of its parts."""

from __future__ import annotations

RESTORE = "restore it from a backup; everything up to the last checkpoint can be compared with the published log"
"""The remedy of all that is not as it was booked."""
SHOWN = 5
"""How many findings of one check are shown."""
