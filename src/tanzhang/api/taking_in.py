"""Uploads that are finished are taken in here, one at a time in each process, beside the requests."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import datetime

from tanzhang.service.upload import left_over, take_in
from tanzhang.stores.home import Home

_log = logging.getLogger("tanzhang.uploads")


class TakingIn:
    """What this process takes in, or will."""

    def __init__(self, home: Home, now: Callable[[], datetime]) -> None:
        self._home, self._now = home, now
        self._pool = ThreadPoolExecutor(1)
        self._lock = threading.Lock()
        self._under_way: dict[str, Future[None]] = {}

    def begin(self, name: str, *, wait_s: float = 0) -> None:
        """Have a finished upload taken in, if this process is not doing that already; waits a while for the end."""
        with self._lock:
            future = self._under_way.get(name)
            if future is None:
                future = self._under_way[name] = self._pool.submit(self._take_in, name)
        if wait_s:
            wait([future], wait_s)

    def resume(self) -> None:
        """Go on with what a process left that died, also after :meth:`close`."""
        self._pool = ThreadPoolExecutor(1)
        for name in left_over(self._home):
            self.begin(name)

    def close(self) -> None:
        """End after the file that is being taken in; the others are found again by the next process."""
        self._pool.shutdown(cancel_futures=True)

    def _take_in(self, name: str) -> None:
        try:
            take_in(self._home, name, now=self._now())
        except Exception:  # it stays finished, and is tried again when somebody asks for it
            _log.exception("upload %s was not taken in", name)
        finally:
            with self._lock:
                self._under_way.pop(name, None)
