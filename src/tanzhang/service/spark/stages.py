"""What settlement asks of a cluster: run a task for each slice, shuffle blocks by their part, keep, collect.

Spark is one (:mod:`tanzhang.service.spark.session`); tests have another that runs everything in one process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from tanzhang.engine.spark.blocks import Block

Task = Callable[[Iterator[Block]], Iterator[Block]]
"""Runs on an executor over the blocks of one partition; run again with the same blocks it gives the same ones."""


class Shared(Protocol):
    """Something that is brought to every executor once. It may lie in files there, so it holds no secret."""

    @property
    def value(self) -> Any:
        """The thing itself."""


class Flow(Protocol):
    """Blocks spread over partitions; nothing runs before somebody asks for what comes out."""

    def through(self, task: Task) -> Flow:
        """What a task makes of each partition."""

    def shuffled(self, parts: int) -> Flow:
        """Blocks brought together by part, one partition for each of ``parts``; messages are left out."""

    def plus(self, other: Flow) -> Flow:
        """The partitions of both."""

    def kept(self) -> Flow:
        """The same, computed once and kept on the executors' disks; what is lost there is computed again."""

    def release(self) -> None:
        """Keep it no longer."""

    def messages(self) -> list[Block]:
        """Blocks with a negative part."""

    def sizes(self) -> list[tuple[int, int]]:
        """Part and number of rows of each block."""

    def blocks(self) -> list[Block]:
        """All blocks, to the driver."""


class Stages(Protocol):
    """A cluster."""

    @property
    def cores(self) -> int:
        """About how many tasks run at once."""

    def each(self, count: int, task: Task) -> Flow:
        """What a task makes of the numbers 0 to ``count`` - 1: an empty block each, whose part is the number."""

    def shared(self, value: Any) -> Shared:
        """Bring something to every executor."""
