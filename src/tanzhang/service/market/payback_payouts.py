"""Paying out what people are owed (提现): asked for by a person, put in a file for whoever pays, answered.

The files and their answers are those of red packets (:mod:`tanzhang.service.payouts`). A pay-out is of all that a
person is owed at that moment, of whichever account of theirs; small shares wait until they come to the least pay-out.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tanzhang.core.errors import refuse
from tanzhang.service.joining import own_accounts
from tanzhang.service.market.payback import owed, to_escrow
from tanzhang.service.market.rules import market_rules
from tanzhang.service.moments import received_at, received_day
from tanzhang.service.payouts import PayoutSource
from tanzhang.service.secrets import derived_secret
from tanzhang.stores.home import Home
from tanzhang.stores.payout_files import Payout
from tanzhang.stores.register.money import BANK, PAYBACK
from tanzhang.stores.register.payback import ASKED, FAILED, IN_FILE, OF_FAILED, STATES, payback_payout
from tanzhang.stores.register.payback import PAID as IS_PAID
from tanzhang.stores.register.people import place_of

OUT = "payback paid"
"""The kind of movements of money that pay a person, by the id of the pay-out."""
PURPOSE_ZH = "碳普惠减排量收益返还"


def ask(home: Home, account: uuid.UUID, payee: str, reference: str, *, now: datetime) -> Any:
    """Ask for all that an account is owed; returns the row of the pay-out. A repeated ``reference`` is the same one.

    ``payee`` is what a bank or a wallet knows the person by. Raises ``payback-least``, ``reference-taken``,
    ``no-market``, ``market-not-in-force``.
    """
    day, at = received_day(home, now), received_at(now)
    name = derived_secret(home, "payback", f"{account} {reference}").hex()[:32]
    with home.book.transaction() as con:
        known = home.payback.payout(name, con)
        if known is None:
            parts = owed(home, account, con)
            least, fen = max(market_rules(home, day).least_payout_fen, 1), sum(parts.values())
            if fen < least:
                raise refuse(
                    "payback-least",
                    f"{fen} fen are owed, and no less than {least} fen are paid out",
                    where="account",
                    remedy="ask when more has come together; what is owed stays owed",
                )
            sealed = home.personal_keys.seal(payee, place_of(payback_payout, "payee", name))
            values = {"id": name, "account": str(account), "payee": sealed, "day": day.isoformat()}
            home.payback.ask(con, {**values, "made_at": at, "changed_at": at}, parts)
        elif known.payee is not None and _payee(home, known) != payee:
            raise refuse(
                "reference-taken",
                "another pay-out of yours has this reference",
                where="#/reference",
                remedy="give each pay-out a reference of its own; send the same again only to retry",
            )
    return home.payback.payout(name)


def _payee(home: Home, row: Any) -> str:
    return home.personal_keys.open(row.payee, place_of(payback_payout, "payee", row.id))


def payouts(
    home: Home, account: uuid.UUID, before: int | None = None, limit: int | None = None
) -> list[dict[str, Any]]:
    """Pay-outs of an account and of those in it, the latest first; ``number`` is for cursors."""
    own = [str(each) for each in own_accounts(home, account)]
    return [{"number": row.seq, **described(row)} for row in home.payback.payouts_of(own, before=before, limit=limit)]


def kept(home: Home, account: uuid.UUID) -> dict[str, int]:
    """State -> fen of all pay-outs of an account and of those in it."""
    found = dict.fromkeys(STATES, 0)
    for row in home.payback.payouts_of([str(each) for each in own_accounts(home, account)]):
        found[row.state] += row.value
    return found


def about_payouts(home: Home, account: uuid.UUID) -> list[dict[str, Any]]:
    """What is kept of an account's pay-outs, the sealed field opened."""
    rows = home.payback.payouts_of([str(each) for each in own_accounts(home, account)])
    return [{**described(row), "payee": None if row.payee is None else _payee(home, row)} for row in rows]


def described(row: Any) -> dict[str, Any]:
    """A pay-out as JSON members."""
    names = ("id", "state", "made_at", "changed_at", "file", "note")
    return {"fen": str(row.value), **{name: getattr(row, name) for name in names}}


class Paybacks(PayoutSource):
    """Pay-outs of what sales brought, in files."""

    kind = "payback"
    failed_state = FAILED

    def waiting(self, home: Home, adapter: str, most: int) -> list[Any]:
        """Any adapter can pay them: whoever makes the file chooses."""
        return home.payback.payouts(payback_payout.c.state == ASKED, limit=most)

    def in_file(self, home: Home, name: str) -> list[Any]:
        in_it = (payback_payout.c.file == name, payback_payout.c.state == IN_FILE)
        return home.payback.payouts(*in_it, payback_payout.c.payee.is_not(None))

    def open_rows(self, home: Home) -> list[Any]:
        return home.payback.payouts(payback_payout.c.state == IN_FILE)

    def row(self, home: Home, name: str) -> Any | None:
        return home.payback.payout(name)

    def take_in(self, home: Home, con: sa.Connection, row: Any, name: str, at: str) -> None:
        home.payback.change(con, row.id, ASKED, {"state": IN_FILE, "file": name, "changed_at": at})

    def payout(self, home: Home, row: Any) -> Payout:
        return Payout(row.id, _payee(home, row), row.value, PURPOSE_ZH)

    def paid(self, home: Home, con: sa.Connection, rows: Sequence[Any], now: datetime) -> int:
        at = received_at(now)
        ended = {"state": IS_PAID, "payee": None, "changed_at": at}
        done = [row for row in rows if home.payback.change(con, row.id, IN_FILE, ended)]
        home.money.post_many(con, OUT, [(row.id, {PAYBACK: -row.value, BANK: row.value}) for row in done], at)
        return len(done)

    def failed(self, home: Home, con: sa.Connection, row: Any, reason: str | None, now: datetime) -> bool:
        """What it took is owed again; the part of somebody who was erased meanwhile goes to escrow."""
        ended = {
            "state": FAILED,
            "payee": None,
            "changed_at": received_at(now),
            "note": reason if row.account else None,
        }
        if not home.payback.change(con, row.id, IN_FILE, ended):
            return False
        nobodys = home.payback.untake(con, row.id)
        if nobodys:
            to_escrow(home, con, OF_FAILED, nobodys, now=now)
        return True


PAYBACKS = Paybacks()
