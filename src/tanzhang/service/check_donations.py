"""What verification asks of donations: each gift against what was moved for it, and the log's word for all of them."""

from __future__ import annotations

import sqlalchemy as sa

from tanzhang.core.donation import DONATED
from tanzhang.core.errors import Problem
from tanzhang.service.findings import RESTORE
from tanzhang.service.log_rows import check_entries
from tanzhang.stores.book import points_move, transfer
from tanzhang.stores.home import Home
from tanzhang.stores.register.donations import DONATE, account_of, counter_of, donation_total


def check_donations(home: Home) -> tuple[int, list[Problem]]:
    """How many gifts and entries were looked at, and what is wrong.

    Each gift has the legs, or the move of points, of its project, giver and amount, and no such leg or move is without
    its gift; what is kept of a project is the sum of its gifts; entries of the log follow one another, and each has the
    root and the totals of its gifts.
    """
    problems: list[Problem] = []

    def wrong(message: str, place: str) -> None:
        problems.append(Problem("donation-mismatch", message, f"{home.book.name}: {place}", RESTORE))

    rows = home.donations.rows()
    legs: dict[int, list[tuple[str, str, int]]] = {}
    for leg in home.book.query(sa.select(transfer).where(transfer.c.kind == DONATE).order_by(transfer.c.seq)):
        legs.setdefault(leg.number, []).append((leg.account, leg.unit, leg.amount))
    moves = {
        (each.unit, each.reference): (each.account, each.counter, each.amount)
        for each in home.book.query(sa.select(points_move).where(points_move.c.kind == DONATE))
    }
    for number, row in enumerate(rows):
        if row.seq != number:
            wrong(f"gift {row.seq} stands where {number} should", "donation")
        if row.transfer is not None:
            giver, project = (row.account, row.unit, -row.amount), (str(account_of(row.project)), row.unit, row.amount)
            right = row.unit == DONATED and legs.pop(row.transfer, None) == [giver, project]
        else:
            right = moves.pop((row.unit, row.id), None) == (row.account, counter_of(row.project), -row.amount)
        if not right or row.amount <= 0:
            wrong(f"gift {row.id} is not what was moved for it", "donation")
    for number in legs:
        wrong(f"transfer {number} to a project is no gift", "transfer")
    for _, reference in moves:
        wrong(f"move {reference} to a project is no gift", "points_move")
    sums: dict[tuple[str, str], tuple[int, int]] = {}
    for row in rows:
        amount, givers = sums.get((row.project, row.unit), (0, 0))
        sums[row.project, row.unit] = amount + row.amount, givers + row.first
    kept = {(row.project, row.unit): (row.amount, row.givers) for row in home.book.query(sa.select(donation_total))}
    for name, unit in sorted(key for key in sums.keys() | kept.keys() if sums.get(key) != kept.get(key)):
        wrong(f"what project {name} was given in {unit} is not the sum of its gifts", "donation_total")
    return len(rows) + check_entries(home, home.donations, rows, wrong), problems
