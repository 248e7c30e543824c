"""What an account can still give or entrust: what its acts come to, less gifts, what went elsewhere, and lots."""

from __future__ import annotations

import uuid

from tanzhang.core.donation import DONATED
from tanzhang.core.passing import PASSED
from tanzhang.service.joining import own_accounts
from tanzhang.stores.home import Home


def available_mg(home: Home, account: uuid.UUID) -> int:
    """The milligrams of an account that are not used yet; below zero where acts were taken back after they were.

    What gave or passed on is a balance below zero. Lots count with what they hold of the account's own records and of
    those of all whose holdings are in it. Inside ``home.book.transaction()`` the answer holds until its end.
    """
    held = home.book.balance(account)
    free = sum(held.get(unit, 0) for unit in ("co2e_mg", DONATED, PASSED))
    return free - sum(home.lots.share_of(own_accounts(home, account)).values())
