"""A cluster in one process: the same tasks and shuffles as on Spark, without Spark, so that a test takes milliseconds.

Tasks, with all they close over, are pickled and read back, as they are on their way to an executor.
"""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterable
from typing import Any

from tanzhang.engine.spark.blocks import Block
from tanzhang.service.spark.stages import Task


class LocalShared:
    def __init__(self, value: Any) -> None:
        self.value = value


class LocalFlow:
    """Partitions of blocks; blocks that were shuffled come in any order."""

    def __init__(self, partitions: Iterable[list[Block]], chance: random.Random) -> None:
        self.partitions = list(partitions)
        self._chance = chance

    def through(self, task: Task) -> LocalFlow:
        sent = pickle.loads(pickle.dumps(task))  # noqa: S301 - what was written a moment ago
        return LocalFlow((list(sent(iter(blocks))) for blocks in self.partitions), self._chance)

    def shuffled(self, parts: int) -> LocalFlow:
        partitions: list[list[Block]] = [[] for _ in range(parts)]
        for block in self.blocks():
            if block.part >= 0:
                partitions[block.part].append(block)
        for blocks in partitions:
            self._chance.shuffle(blocks)
        return LocalFlow(partitions, self._chance)

    def plus(self, other: Any) -> LocalFlow:
        return LocalFlow([*self.partitions, *other.partitions], self._chance)

    def kept(self) -> LocalFlow:
        return self

    def release(self) -> None:
        self.partitions = []

    def messages(self) -> list[Block]:
        return [block for block in self.blocks() if block.part < 0]

    def sizes(self) -> list[tuple[int, int]]:
        return [(block.part, block.rows) for block in self.blocks()]

    def blocks(self) -> list[Block]:
        return [block for blocks in self.partitions for block in blocks]


class LocalStages:
    def __init__(self, cores: int = 3, seed: int = 1) -> None:
        self.cores = cores
        self._chance = random.Random(seed)

    def each(self, count: int, task: Task) -> LocalFlow:
        return LocalFlow(([Block(number, 0, b"")] for number in range(count)), self._chance).through(task)

    def shared(self, value: Any) -> LocalShared:
        return LocalShared(value)
