"""Numbers for Prometheus: of requests by route, of rows by verdict, of steps by duration, and the home's own figures.

With several processes each writes its counters to files in ``PROMETHEUS_MULTIPROC_DIR``, made by ``tanzhang serve``,
and whichever is asked adds them up. The home's figures are read when they are asked for, so they are the same in all.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from tanzhang.core.errors import TanzhangError
from tanzhang.service.figures import Figure, figures
from tanzhang.stores.home import Home

CONTENT_TYPE = CONTENT_TYPE_LATEST
DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_PREFIX = "tanzhang"
_SHORT_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_LONG_S = (0.001, 0.005, 0.02, 0.1, 0.5, 1, 5, 20, 60, 180, 600)

_requests = Counter(f"{_PREFIX}_requests", "Requests answered.", ["method", "route", "status"])
_durations = Histogram(f"{_PREFIX}_request_seconds", "Duration of requests.", ["route"], buckets=_SHORT_S)
_rows = Counter(f"{_PREFIX}_rows", "Rows that got their verdict.", ["verdict"])
_codes = Counter(f"{_PREFIX}_refused_rows", "Refused rows by code; a row counts once for each of its codes.", ["code"])
_steps = Histogram(f"{_PREFIX}_step_seconds", "Duration of steps of the work.", ["step"], buckets=_LONG_S)


def count_request(method: str, route: str, status: int, seconds: float) -> None:
    """A request was answered."""
    _requests.labels(method, route, str(status)).inc()
    _durations.labels(route).observe(seconds)


def count_rows(accepted: int, refused: int, codes: Mapping[str, int]) -> None:
    """Rows got their verdicts."""
    _rows.labels("accepted").inc(accepted)
    _rows.labels("refused").inc(refused)
    for code, count in codes.items():
        _codes.labels(code).inc(count)


def count_step(name: str, seconds: float) -> None:
    """A step of the work took so long."""
    _steps.labels(name).observe(seconds)


def exposition(home: Home, *, now: datetime) -> bytes:
    """All numbers in Prometheus' text format, of every process that serves this home.

    A figure that cannot be read is left out, and ``tanzhang_home_up`` is 0 then.
    """
    processes: Collector | CollectorRegistry = REGISTRY
    if os.environ.get(DIRECTORY_VARIABLE):
        processes = CollectorRegistry()
        MultiProcessCollector(processes)  # type: ignore[no-untyped-call]
    own = CollectorRegistry()
    own.register(_HomeFigures(home, now))
    return bytes(generate_latest(processes)) + bytes(generate_latest(own))


class _HomeFigures(Collector):
    """The figures of a home as metrics."""

    def __init__(self, home: Home, now: datetime) -> None:
        self._home, self._now = home, now

    def collect(self) -> Iterable[Metric]:
        up, found = 1, []
        try:
            for figure in figures(self._home, now=self._now):
                found.append(figure)  # noqa: PERF402 - what was read before an error is shown
        except TanzhangError:
            up = 0
        yield GaugeMetricFamily(f"{_PREFIX}_home_up", "Whether book, log and witnesses could be read.", value=up)
        yield from _families(found)

    def describe(self) -> Iterable[Metric]:
        return ()


def _families(found: Iterable[Figure]) -> Iterator[Metric]:
    families: dict[str, GaugeMetricFamily] = {}
    for figure in found:
        name = f"{_PREFIX}_{figure.name}"
        family = families.setdefault(name, GaugeMetricFamily(name, figure.says, labels=tuple(figure.labels)))
        family.add_metric(tuple(figure.labels.values()), figure.value)
    yield from families.values()
