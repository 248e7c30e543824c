"""A season day by day: slices of people made side by side, handed over in their order, whatever is ready first."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pyarrow as pa

from tanzhang.engine.simulate.acts import Rows, Season, joined
from tanzhang.engine.simulate.plant import Planter, Truth, all_truth
from tanzhang.engine.simulate.rows import TRUTH_SCHEMA, Renderer, links_batch, truth_batch

Result = TypeVar("Result")
_AHEAD = 2  # slices made before they are asked for, per thread


@dataclass(frozen=True, slots=True)
class Made:
    """One slice of one day: the acts in each partner's file, and what is planted for this and later days."""

    acts: int
    batches: tuple[tuple[str, pa.RecordBatch], ...]
    extras: tuple[tuple[int, Rows], ...]
    truth: Truth | None


class Generator:
    """Makes a season; the same for the same season, however many threads there are."""

    def __init__(self, season: Season, *, threads: int) -> None:
        self.season = season
        self.threads = threads
        self.renderer = Renderer(season)
        self.planter = Planter(season)
        self._extras: dict[int, list[Rows]] = {}
        self._truth: dict[int, list[Truth]] = {}

    def day(self, number: int) -> Iterator[Made]:
        """The slices of one day in order; days have to be asked for in order too."""
        for made in self._in_order(lambda position: self._slice(position, number)):
            for day, rows in made.extras:
                self._extras.setdefault(day, []).append(rows)
            if made.truth is not None:
                for day in np.unique(made.truth.file_day).tolist():
                    self._truth.setdefault(day, []).append(made.truth.take(made.truth.file_day == day))
            yield made

    def planted(self, number: int) -> list[tuple[str, pa.RecordBatch]]:
        """After the slices of a day: what was planted for its files on this day and on those before."""
        parts = self._extras.pop(number, [])
        return list(self.renderer.by_partner(joined(parts))) if parts else []

    def truth(self, number: int) -> pa.RecordBatch:
        """After the slices of a day: what is known of the rows of its files that are not plain honest acts."""
        parts = self._truth.pop(number, None)
        if parts is None:
            return pa.RecordBatch.from_pylist([], schema=TRUTH_SCHEMA)
        return truth_batch(self.renderer, self.planter, all_truth(parts))

    def links(self) -> Iterator[pa.RecordBatch]:
        """Who linked which platform accounts, slice by slice."""
        return self._in_order(lambda position: links_batch(self.renderer, position))

    def _slice(self, position: int, day: int) -> Made:
        people = self.season.people(position)
        acts = self.season.honest(people, day)
        planted = self.planter.plant(acts, people.draw, people.first, day)
        batches = tuple(self.renderer.by_partner(planted.acts, planted.moved))
        extras = [part for days, rows in planted.extras for part in _split(days, rows)]
        truth = all_truth(planted.truth) if planted.truth else None
        return Made(len(acts), batches, tuple(extras), truth)

    def _in_order(self, make: Callable[[int], Result]) -> Iterator[Result]:
        with ThreadPoolExecutor(self.threads) as pool:
            waiting: deque[Future[Result]] = deque()
            try:
                for position in range(len(self.season.slices)):
                    waiting.append(pool.submit(make, position))
                    if len(waiting) >= _AHEAD * self.threads:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()


def _split(days: np.ndarray[tuple[int], np.dtype[np.int64]], rows: Rows) -> Iterator[tuple[int, Rows]]:
    for day in np.unique(days).tolist():
        yield day, rows.take(days == day)
