"""What an account can still give or entrust: what its acts come to, less gifts, what went elsewhere, and lots."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from tanzhang.core.donation import DONATED
from tanzhang.core.passing import PASSED
from tanzhang.service.joining import own_accounts
from tanzhang.stores.home import Home
from tanzhang.stores.register.lots import NO_LOT


def available_mg(home: Home, account: uuid.UUID) -> int:
    """The milligrams of an account that are not used yet; below zero where acts were taken back after they were.

    What gave or passed on is a balance below zero. Lots count with what they hold of the account's own records and of
    those of all whose holdings are in it, and so does what was posted in lives that were erased. Inside
    ``home.book.transaction()`` the answer holds until its end.
    """
    held = home.book.balance(account)
    free = sum(held.get(unit, 0) for unit in ("co2e_mg", DONATED, PASSED))
    own = own_accounts(home, account)
    return free - sum(home.lots.share_of(own).values()) - home.lots.erased_of(own)


def left_behind(home: Home, accounts: Iterable[uuid.UUID]) -> dict[int, dict[uuid.UUID, int]]:
    """What accounts are posted that no earlier life left, in mg: by the lot that holds it, 0 for what none does.

    A person who is erased leaves it: what gifts took of it is not known any more then, and what lots hold is nobody's
    to give when they hold it no more.
    """
    found: dict[int, dict[uuid.UUID, int]] = {}
    for account in accounts:
        held, earlier = home.lots.share_of([account]), home.lots.erased_in(account)
        posted = sum(home.book.posted(account).get("co2e_mg", {}).values())
        left = {number: mg - earlier.get(number, 0) for number, mg in held.items()}
        left[NO_LOT] = posted - sum(held.values()) - home.lots.erased_of([account])
        for number, mg in left.items():
            if mg > 0:
                found.setdefault(number, {})[account] = mg
    return found
