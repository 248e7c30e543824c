"""What verification asks of benefits: each use against the points that were moved for it, files against their rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from tanzhang.core.errors import Problem
from tanzhang.service.findings import RESTORE
from tanzhang.stores.book import points_move
from tanzhang.stores.home import Home
from tanzhang.stores.register.benefits import BENEFIT, IN_FILE, PAID, RED_PACKET, REFUND, REFUNDED, STATES

_HAS_FILE = {IN_FILE, PAID}


def check_benefits(home: Home) -> tuple[int, list[Problem]]:
    """How many uses and files were looked at, and what is wrong.

    Each use has its spending, and its points went back if and only if it is ``refunded``; no such move is without its
    use. A use names a version of a benefit that there is; a file has as many pay-outs and as much money as it says.
    """
    problems: list[Problem] = []

    def wrong(message: str, place: str) -> None:
        problems.append(Problem("benefit-mismatch", message, f"{home.book.name}: {place}", RESTORE))

    spent, back = _moves(home, BENEFIT), _moves(home, REFUND)
    versions = {(row.id, row.version) for row in home.benefits.said.versions()}
    uses = home.benefits.uses()
    for number, row in enumerate(uses):
        right = spent.pop(row.id, None) == (row.account, row.counter, -row.points)
        given = back.pop(row.id, None)
        if row.state == REFUNDED:
            # Of somebody who was erased before nothing went back.
            right = right and given in ((row.account, row.counter, row.points), *([None] if not row.account else []))
        elif given is not None:
            right = False
        if not right:
            wrong(f"use {row.id} ({row.state}) is not what was moved for it", "benefit_use")
        if row.seq != number or row.state not in STATES or (row.benefit, row.version) not in versions:
            wrong(f"use {row.id} has a number, state or benefit that there is not", "benefit_use")
    for name in sorted({*spent, *back}):
        wrong(f"move {name} for a benefit has no use", "points_move")
    return len(uses) + _check_files(home, uses, wrong), problems


def _moves(home: Home, kind: str) -> dict[str, tuple[str, str, int]]:
    rows = home.book.query(sa.select(points_move).where(points_move.c.kind == kind))
    return {row.reference: (row.account, row.counter, row.amount) for row in rows}


def _check_files(home: Home, uses: list[Any], wrong: Callable[[str, str], None]) -> int:
    found: dict[str, list[int]] = {}
    for row in uses:
        if row.file is not None:
            found.setdefault(row.file, []).append(row.value)
        if (row.state in _HAS_FILE) != (row.file is not None) and row.state != REFUNDED:
            wrong(f"use {row.id} is {row.state} and in file {row.file}", "benefit_use")
    files = home.benefits.files(RED_PACKET)
    for row in files:
        amounts = found.pop(row.id, [])
        if (len(amounts), sum(amounts)) != (row.rows, row.fen):
            wrong(f"file {row.id} has not the pay-outs that it says", "payout_file")
    for name in sorted(found):
        wrong(f"there is no file {name}", "benefit_use")
    return len(files)
