"""What verification asks of grams that were passed on and received: transfers, files, the log's word for them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from tanzhang.core.errors import Problem, TanzhangError
from tanzhang.core.passing import PASSED, PASSINGS
from tanzhang.engine.signing import verifier_of
from tanzhang.service.findings import RESTORE
from tanzhang.service.log_rows import check_entries
from tanzhang.service.market.pass_on import scheme_named
from tanzhang.stores.book import transfer
from tanzhang.stores.home import Home
from tanzhang.stores.register.passings import PASS_ON, RECEIVE, legs_of


def check_passings(home: Home) -> tuple[int, list[Problem]]:
    """How many passings and entries were looked at, and what is wrong.

    Each has the legs of its scheme, account and amount, and no such leg is without one; what was received has the file
    that proves it by the key that its scheme said; entries follow one another with the root and totals of their rows.
    """
    problems: list[Problem] = []

    def wrong(message: str, place: str) -> None:
        problems.append(Problem("passing-mismatch", message, f"{home.book.name}: {place}", RESTORE))

    rows = home.passings.rows()
    legs: dict[int, list[tuple[str, str, int]]] = {}
    own = sa.select(transfer).where(transfer.c.kind.in_((PASS_ON, RECEIVE))).order_by(transfer.c.seq)
    for leg in home.book.query(own):
        legs.setdefault(leg.number, []).append((leg.account, leg.unit, leg.amount))
    for number, row in enumerate(rows):
        if row.seq != number:
            wrong(f"passing {row.seq} stands where {number} should", "passing")
        source, target = legs_of(row)
        moved = [(source, row.unit, -row.amount), (target, row.unit, row.amount)]
        if legs.pop(row.transfer, None) != moved or row.amount <= 0:
            wrong(f"passing {row.id} is not what was moved for it", "passing")
        if row.unit == PASSED:
            continue
        try:
            is_proved = _is_proved(home, row)
        except TanzhangError as error:
            wrong(f"passing {row.id} was not received by its file: {error.problems[0].message}", "passing")
        else:
            if not is_proved:
                wrong(f"passing {row.id} is not what its file says", "passing")
    for number in legs:
        wrong(f"transfer {number} to or from a scheme is no passing", "transfer")
    return len(rows) + check_entries(home, home.passings, rows, wrong), problems


def _is_proved(home: Home, row: Any) -> bool:
    """Whether what was received is what its file says of it."""
    key = str(scheme_named(home, row.scheme, row.version)[1].log)
    verified = PASSINGS.verify(str(row.file).encode(), verifier_of(key))
    said = verified.row
    same = (said.id, said.to, said.amount, bool(said.rehearsal)) == (row.id, row.to, row.amount, bool(row.rehearsal))
    return same and (said.unit, said.log, verified.origin) == (PASSED, home.values["origin"], row.log)
