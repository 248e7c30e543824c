"""How long work tells where it is: a callback with the stage, its share of the whole, and the rows in hand."""

from __future__ import annotations

from collections.abc import Callable

# (what is being done, share of the whole work done before it in percent, rows in hand or 0 while unknown)
Progress = Callable[[str, int, int], None]


def silent(_stage: str, _percent: int, _rows: int) -> None:
    """Say nothing."""
