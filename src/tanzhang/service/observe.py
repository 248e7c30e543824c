"""What may be watched of the work: how long its steps take, and how many rows were accepted or refused, by code.

Whoever serves the verbs says who listens; nobody does by default, and then nothing is measured. No person, reference or
key is ever told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Watcher(Protocol):
    """Who listens."""

    def step(self, name: str) -> AbstractContextManager[object]:
        """A step of the work begins; it ends with the context."""
        ...

    def rows(self, accepted: int, refused: int, codes: Mapping[str, int]) -> None:
        """Rows got their verdicts and are durable; ``codes`` counts refused rows by code, a row once for each."""
        ...


_watcher: Watcher | None = None


def watch(watcher: Watcher | None) -> None:
    """From now on this one listens, in this process; None: nobody."""
    global _watcher
    _watcher = watcher


def step(name: str) -> AbstractContextManager[object]:
    """A step of the work, for as long as the context lasts."""
    return nullcontext() if _watcher is None else _watcher.step(name)


def stepped(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A function whose every call is a step."""

    def wrap(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def watched(*args: P.args, **kwargs: P.kwargs) -> R:
            with step(name):
                return function(*args, **kwargs)

        return watched

    return wrap


def tell_rows(accepted: int, refused: int, codes: Mapping[str, int]) -> None:
    """Rows got their verdicts and are durable; as :meth:`Watcher.rows`."""
    if _watcher is not None:
        _watcher.rows(accepted, refused, codes)
