"""Small cells of open data (小单元格): which cells of a breakdown are shown, so that no hidden one can be computed.

A breakdown is a tree: parts of a whole, and parts of those. A cell of fewer accounts than the least number is hidden,
and its siblings' sum would give it away if it were the only one; so everything hidden beside each other is published as
one cell, ``other``, and the smallest of the cells that could be shown goes into it as well. Then ``other`` is of at
least so many accounts as any cell, whatever accounts its parts share, and nothing is published below it. The same
lot is published in one breakdown only: sums over other parts would be other equations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

RULE = "tanzhang.cells/1"


@dataclass(frozen=True, slots=True)
class Cell:
    """Sums over one part: by ``key`` (two texts, such as region and behaviour), how many accounts it has."""

    key: tuple[str, str]
    records: int
    accounts: int
    amount_mg: int


@dataclass(frozen=True, slots=True)
class Shown:
    """What is published: a part, a part of a part, or (None) all others beside it together.

    ``accounts`` is None of the others, which may share some.
    """

    part: str | None
    below: str | None
    is_total: bool
    records: int
    accounts: int | None
    amount_mg: int


def hidden(accounts: Mapping[str, int], least: int) -> frozenset[str]:
    """Which of some parts are published as one, by how many accounts each has.

    >>> sorted(hidden({"a": 3, "b": 50, "c": 12}, 10))
    ['a', 'c']
    """
    small = {name for name, count in accounts.items() if count < least}
    rest = sorted((count, name) for name, count in accounts.items() if name not in small)
    return frozenset(small | {name for _, name in rest[:1]}) if small else frozenset()


def published(parts: Mapping[str, int], cells: Iterable[Cell], least: int) -> list[Shown]:
    """What is published of cells, by part and by what is below it; sums of each part, then its own parts.

    ``parts`` has the accounts of each part, which its cells may share. Sums of what is published at one level are the
    sums of what is above.
    """
    by_part: dict[str, list[Cell]] = {name: [] for name in parts}
    for each in cells:
        by_part[each.key[0]].append(each)
    out = hidden(parts, least)
    found = []
    for name in sorted(parts):
        if name not in out:
            found.append(_together(name, None, True, by_part[name], parts[name]))
            found += _below(name, by_part[name], least)
    if out:
        rest = [each for name in out for each in by_part[name]]
        found.append(_together(None, None, True, rest, None))
    return found


def _below(part: str, cells: list[Cell], least: int) -> list[Shown]:
    out = hidden({each.key[1]: each.accounts for each in cells}, least)
    shown = sorted((each for each in cells if each.key[1] not in out), key=lambda each: each.key)
    found = [_together(part, each.key[1], False, [each], each.accounts) for each in shown]
    rest = [each for each in cells if each.key[1] in out]
    return [*found, _together(part, None, False, rest, None)] if rest else found


def _together(part: str | None, below: str | None, is_total: bool, cells: list[Cell], accounts: int | None) -> Shown:
    records, amount = sum(each.records for each in cells), sum(each.amount_mg for each in cells)
    return Shown(part, below, is_total, records, accounts, amount)
