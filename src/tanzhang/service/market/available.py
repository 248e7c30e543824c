"""What an account can still give or entrust: what its acts come to, less gifts, what went elsewhere, and lots."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from tanzhang.core.donation import DONATED
from tanzhang.core.passing import PASSED
from tanzhang.service.joining import own_accounts
from tanzhang.stores.home import Home


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


def left_behind(home: Home, accounts: Iterable[uuid.UUID]) -> dict[uuid.UUID, int]:
    """Account -> what it is posted that no lot holds and no earlier life left, where that is anything, in mg.

    A person who is erased leaves it: what gifts took of it is not known any more then.
    """
    found = {}
    for account in accounts:
        posted = sum(home.book.posted(account).get("co2e_mg", {}).values())
        left = posted - sum(home.lots.share_of([account]).values()) - home.lots.erased_of([account])
        if left > 0:
            found[account] = left
    return found
