"""What a mapping file holds, and the places in it that name columns, look-up tables and conditions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from collections.abc import Mapping as ReadOnly
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from tanzhang.stores.yaml_text import Document
from tanzhang.stores.yaml_text import Path as Place

ENTRY = "entry."  # stands before the name of a column of a pair's entry
TIMES = ("time", "started_at")
DEFAULT_FORMAT = "%Y-%m-%d %H:%M:%S"
UNIX = {"unix_s": 1_000_000, "unix_ms": 1_000}  # time formats that count: microseconds per unit
PLACEHOLDER = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """Where and when the acts are moved to; ``shift_days`` is whole weeks. Its result is not a claim."""

    shift_days: int
    region: str
    zone: str | None
    why: str


@dataclass(frozen=True, slots=True)
class Mapping:
    """A checked mapping file. ``factors`` holds each input's exact factor from the written to the canonical unit."""

    id: str
    title: str
    title_zh: str
    partner: str
    path: Path
    rehearsal: Rehearsal | None
    document: Document
    factors: ReadOnly[str, Fraction]

    @property
    def tables(self) -> dict[str, str]:
        """Name -> file name of the look-up tables."""
        return {name: table["file"] for name, table in self.document.data.get("tables", {}).items()}


def conditions(data: dict[str, Any]) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Every condition with its place."""
    for index, entry in enumerate(data.get("filters", [])):
        for number, condition in enumerate(entry["when"]):
            yield ("filters", index, "when", number), condition
    if "pairs" in data:
        for side in ("entry", "exit"):
            yield ("pairs", side), data["pairs"][side]
    for number, condition in enumerate(data.get("withdrawals", {}).get("when", [])):
        yield ("withdrawals", "when", number), condition


def sources(data: dict[str, Any]) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Every field, every input and each end of a distance, with its place."""
    for group in ("fields", "inputs"):
        for name, field in data[group].items():
            yield (group, name), field
            for end, point in field.get("distance", {}).items():
                yield (group, name, "distance", end), point


def look_ups(data: dict[str, Any]) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Those of the sources that name a look-up table."""
    return ((place, source) for place, source in sources(data) if "table" in source)


def columns_used(data: dict[str, Any]) -> Iterator[tuple[Place, str]]:
    """Every column of the file with the place that names it."""
    for place, condition in conditions(data):
        yield (*place, "column"), condition["column"]
    if "pairs" in data:
        yield from ((("pairs", "key", index), column) for index, column in enumerate(data["pairs"]["key"]))
        yield ("pairs", "time"), data["pairs"]["time"]
    for index, same in enumerate(data.get("withdrawals", {}).get("same", [])):
        yield ("withdrawals", "same", index, "column"), same["column"]
    for place, source in sources(data):
        of_the_file = ("column", "key") if "table" in source else ("column", "key", "latitude", "longitude")
        yield from (((*place, key), source[key]) for key in of_the_file if key in source)
        for column in PLACEHOLDER.findall(source.get("template", "")):
            yield (*place, "template"), column
