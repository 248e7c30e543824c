"""Token buckets: how often somebody may do something, on average, with a burst of a few seconds.

A bucket lives in one process; who is served by four processes may do four times as much. Moments are given in seconds
of any clock that never goes back.
"""

from __future__ import annotations

from collections.abc import Hashable
from threading import Lock

BURST_S = 5.0
"""For how many seconds of its rate a bucket that was left alone lets somebody go ahead at once."""
_MOST_BUCKETS = 100_000


class Rates:
    """The buckets of a process, by what is limited and whom; threads may share them."""

    def __init__(self) -> None:
        self._levels: dict[Hashable, tuple[float, float]] = {}
        self._lock = Lock()

    def wait_s(self, name: Hashable, per_s: int, moment: float, amount: int = 1) -> float:
        """0 if it may be done now, and then it is counted; else after how many seconds to ask again.

        An amount larger than the burst is let through by a bucket that is not empty, which then owes the rest: one
        request with many rows passes, and the next waits until they are paid.

        >>> rates = Rates()
        >>> [rates.wait_s("a", 1, 100.0, 5), rates.wait_s("a", 1, 100.5), rates.wait_s("a", 1, 101.0)]
        [0.0, 0.5, 0.0]
        """
        with self._lock:
            return self._wait_s(name, per_s, moment, amount)

    def _wait_s(self, name: Hashable, per_s: int, moment: float, amount: int) -> float:
        full = per_s * BURST_S
        level, since = self._levels.get(name, (full, moment))
        level = min(full, level + (moment - since) * per_s)
        # A rounded sum must not let somebody wait for nothing.
        wait = 0.0 if level + 1e-6 >= 1 else (1 - level) / per_s
        if wait == 0.0:
            level -= amount
        if len(self._levels) >= _MOST_BUCKETS:
            self._levels.clear()
        self._levels[name] = level, moment
        return wait
