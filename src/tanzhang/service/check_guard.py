"""What verification asks of the guard: nothing held twice, decided twice or without a hold, and nothing left untold."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from tanzhang.core.errors import Problem
from tanzhang.service.findings import RESTORE, SHOWN
from tanzhang.stores.book import guard_move
from tanzhang.stores.home import Home
from tanzhang.stores.register.guard import HELD, NOTED, REFUSED, RELEASED, guard_case

_STATE = {"release": RELEASED, "refuse": REFUSED}


def check_guard(home: Home, said: Sequence[str]) -> tuple[int, list[Problem]]:
    """How many moves and cases were looked at, and what is wrong.

    ``said`` is what each batch's manifest says of how many moves there were. A hold made after so many batches stands
    before the next one in the chain, so a batch commits to what it left out. Each report is held once and decided at
    most once, after that; released ones are in a submission of as many reports; each case says what the moves say.
    Cases of erased persons are gone, so a hold without a case is no mistake.
    """
    problems: list[Problem] = []
    place = f"{home.book.name}: guard_move"

    def wrong(message: str, where: str = place) -> None:
        problems.append(Problem("guard-mismatch", message, where, RESTORE))

    moves = home.book.rows(guard_move)
    states = _replayed(moves, wrong)
    _check_order(moves, [int(each) for each in said], wrong)
    _check_released(home, moves, wrong)
    cases = home.book.query(sa.select(guard_case.c.submission, guard_case.c.row, guard_case.c.state))
    differing = [row for row in cases if states.get((row.submission, row.row), NOTED) != row.state]
    for row in differing[:SHOWN]:
        wrong(
            f"report {row.row} of submission {row.submission} is {row.state}, the moves say "
            f"{states.get((row.submission, row.row), 'nothing')}",
            f"{home.book.name}: guard_case",
        )
    waiting = {(row.submission, row.row) for row in cases}
    for number, row in [each for each, state in states.items() if state == HELD and each not in waiting][:SHOWN]:
        wrong(f"report {row} of submission {number} is held, and there is no case", f"{home.book.name}: guard_case")
    return len(moves) + len(cases), problems


def _replayed(moves: Sequence[Any], wrong: Callable[[str], None]) -> Mapping[tuple[int, int], str]:
    """Submission and row -> what the moves come to."""
    states: dict[tuple[int, int], str] = {}
    for move in moves:
        rows = json.loads(move.rows)
        if len(rows) != move.reports or len(set(rows)) != len(rows):
            wrong(f"move {move.seq} says {move.reports} reports and names {len(set(rows))}")
        for row in rows:
            one = (move.submission, row)
            before, after = (None, HELD) if move.kind == "hold" else (HELD, _STATE.get(move.kind, move.kind))
            if states.get(one) != before:
                wrong(f"move {move.seq}: {move.kind} of report {row} of submission {move.submission}, which is "
                      f"{states.get(one, 'not held')}")  # fmt: skip
            states[one] = after
    return states


def _check_order(moves: Sequence[Any], said: Sequence[int], wrong: Callable[[str], None]) -> None:
    """That each batch's word on how many moves there were fits the moves before and after it."""
    last = 0
    for move in moves:
        if not last <= move.batches <= len(said):
            wrong(f"move {move.seq} says {move.batches} batches after {last}, and there are {len(said)}")
            continue
        last = move.batches
        if last and said[last - 1] > move.seq:
            wrong(f"move {move.seq} was made after batch {last - 1}, which says it stood before")
        if move.kind == "hold" and last < len(said) and said[last] <= move.seq:
            wrong(f"move {move.seq} held reports before batch {last}, which does not say so")


def _check_released(home: Home, moves: Sequence[Any], wrong: Callable[[str], None]) -> None:
    released: dict[int, int] = {}
    for move in moves:
        if (move.kind == "release") != (move.released_as is not None):
            wrong(f"move {move.seq} is a {move.kind} into submission {move.released_as}")
        elif move.released_as is not None:
            released[move.released_as] = released.get(move.released_as, 0) + move.reports
    accepted = {row.seq: row.accepted for row in home.book.submissions()} if released else {}
    for number, count in released.items():
        if accepted.get(number) != count:
            wrong(f"{count} reports were released as submission {number}, which has {accepted.get(number, 'no')}")
