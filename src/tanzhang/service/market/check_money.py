"""What verification asks of money: every movement sums to zero, once, on accounts that there can be."""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter

from tanzhang.core.errors import Problem
from tanzhang.service.findings import RESTORE
from tanzhang.stores.book import money_move
from tanzhang.stores.home import Home
from tanzhang.stores.register.money import is_account


def check_money(home: Home) -> tuple[int, list[Problem]]:
    """How many movements were looked at, and what is wrong.

    That no leg was changed, the chain of the rows says, and up to the last batch the log; here: the legs of a number
    have one kind, reference and moment, name each account once and sum to zero, and numbers run from 0 without a gap.
    """
    problems: list[Problem] = []
    expected = 0
    for number, rows in groupby(home.book.rows(money_move), attrgetter("number")):
        legs = list(rows)
        same = len({(leg.kind, leg.reference, leg.made_at) for leg in legs}) == 1
        accounts = {leg.account for leg in legs}
        known = len(accounts) == len(legs) and all(map(is_account, accounts))
        if number != expected or not same or not known or sum(leg.amount_fen for leg in legs) or len(legs) < 2:
            place = f"{home.book.name}: money_move {legs[0].seq}"
            problems.append(
                Problem("money-mismatch", f"movement {number} is none that could be booked", place, RESTORE)
            )
        expected = number + 1
    return expected, problems
