"""What verification asks of retirements: the units behind each, the log's word, openings and addenda."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from tanzhang.core.errors import Problem, TanzhangError
from tanzhang.core.retirement import RETIREMENTS
from tanzhang.core.serial import Serial
from tanzhang.core.units import Kind
from tanzhang.service.findings import RESTORE
from tanzhang.service.log_rows import check_entries
from tanzhang.service.market.retire import ADDENDUM, addendum_digest, opening_of
from tanzhang.stores.home import Home
from tanzhang.stores.register.audit import audit
from tanzhang.stores.register.people import place_of
from tanzhang.stores.register.retirements import retirement_addendum
from tanzhang.stores.register.units import answer_of


def check_retirements(home: Home) -> tuple[int, list[Problem]]:
    """How many retirements, addenda and entries were looked at, and what is wrong.

    Each retirement has its event, of the same holder and units, and no event that retires is without one; openings are
    what was committed to, as far as they were not taken away; addenda are those of the audit trail; entries of the log
    follow one another with the root and totals of their rows, and there is one for every row.
    """
    problems: list[Problem] = []

    def wrong(message: str, place: str) -> None:
        problems.append(Problem("retirement-mismatch", message, f"{home.book.name}: {place}", RESTORE))

    rows, has_keys = home.retirements.rows(), _has_keys(home)
    events = {row.seq: row for row in home.units.events() if row.kind == Kind.RETIRE}
    for row in rows:
        event = events.pop(row.event, None)
        if event is None or not _is_of(row, event):
            wrong(f"retirement {row.id} is not what was done to its units", "retirement")
        if has_keys and not _is_open(home, row):
            wrong(f"the opening of retirement {row.id} is not what was committed to", "retirement_opening")
    for event in events.values():
        wrong(f"event {event.seq} retires units without a retirement", "unit_event")
    count = _check_addenda(home, wrong, has_keys=has_keys)
    entries = check_entries(home, home.retirements, rows, wrong)
    sealed = dict(home.retirements.sealed())
    for row in rows:
        if not _is_in(row, sealed.get(row.entry)):
            wrong(f"retirement {row.id} is not in entry {row.entry}", "retirement")
    return len(rows) + count + entries, problems


def _is_in(row: Any, text: str | None) -> bool:
    """Whether an entry of the log is over a retirement."""
    try:
        sealed = None if text is None else RETIREMENTS.parse(text)
    except TanzhangError:
        return False
    return sealed is not None and sealed.first <= row.seq < sealed.rows


def _is_of(row: Any, event: Any) -> bool:
    """Whether a retirement is of the units that its event retired, of the same holder."""
    serials = [Serial.parse(each) for each in json.loads(row.serials)]
    own = {place for each in serials for place in ((each.lo, 1), (each.hi, -1))}
    blocks = answer_of(event)
    ends: set[tuple[int, int]] = set()
    for block in blocks:  # neighbours are one serial number
        for end in ((block.lo, 1), (block.hi, -1)):
            other = (end[0], -end[1])
            ends.discard(other) if other in ends else ends.add(end)
    lots = {(each.lot, each.vintage) for each in serials} | {(each.lot, each.vintage) for each in blocks}
    same = lots == {(row.lot, row.vintage)}
    return same and own == ends and event.reference == row.id and {each.holder for each in blocks} == {row.holder}


def _has_keys(home: Home) -> bool:
    """Whether what is sealed can be read here."""
    try:
        return bool(home.personal_keys)
    except TanzhangError:
        return False


def _is_open(home: Home, row: Any) -> bool:
    """Whether an opening is what was committed to, or was taken away."""
    try:
        is_gone: bool = home.retirements.opening(row.id).sealed is None
        return is_gone or opening_of(home, row.id).commitment == str(row.commitment)
    except (TanzhangError, IndexError):
        return False


def _check_addenda(home: Home, wrong: Callable[[str, str], None], *, has_keys: bool) -> int:
    said = sa.select(audit.c.subject, audit.c.detail).where(audit.c.act == ADDENDUM)
    known = {(row.subject, json.loads(row.detail)["digest"]) for row in home.book.query(said)}
    rows = home.retirements.addenda()
    for row in rows:
        subject = f"retirement {row.retirement}"
        if (subject, row.digest) not in known:
            wrong(f"an addendum to {subject} was never made", "retirement_addendum")
        known.discard((subject, row.digest))
        if has_keys and row.sealed is not None and not _is_said(home, row):
            wrong(f"an addendum to {subject} says something else than was written", "retirement_addendum")
    for subject, _ in sorted(known):
        wrong(f"an addendum to {subject} is missing", "retirement_addendum")
    return len(rows)


def _is_said(home: Home, row: Any) -> bool:
    """Whether an addendum says what was written."""
    place = place_of(retirement_addendum, "sealed", row.id)
    try:
        return bool(addendum_digest(home, home.personal_keys.open(row.sealed, place)) == row.digest)
    except TanzhangError:
        return False
