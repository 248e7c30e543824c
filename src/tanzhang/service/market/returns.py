"""Money that goes back (退款) or is paid out to a seller (付款): asked, in a file for the bank, sent or given up.

Each is a move of money when it is asked for (it is ``returning`` from then on) and when the bank says what became of
it. One is in one file for good; files are made again from rows and never kept. Money goes back to the account that it
came from; proceeds of a seller go to the account that it named.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tanzhang.core.access import Actor
from tanzhang.core.deal import PaymentState, ReturnState
from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.service.market.deals import holder_of
from tanzhang.service.market.parties import bank_account_of, check_approved, is_bank_account
from tanzhang.service.market.payments import payer_of, unknown_payment
from tanzhang.service.market.pledges import reference_taken
from tanzhang.service.moments import file_moment, received_at
from tanzhang.stores.home import Home
from tanzhang.stores.payout_files import ADAPTERS, PAID, Answer, Payout
from tanzhang.stores.register.money import BANK, RETURNING, UNCLEAR
from tanzhang.stores.register.payments import market_return, rest_of
from tanzhang.stores.register.people import place_of

RETURN, SENT, FAILED = "return", "return sent", "return failed"
"""Kinds of moves of money: asked for, gone through, given up by the bank."""
ADAPTER = "bank_file"
_TITLE = {True: "退款", False: "碳减排量交易款"}
"""What the bank is told of money that came in and of proceeds."""


def send_back(
    home: Home, entry: str, note: str, *, payee: str | None = None, actor: Actor, now: datetime
) -> dict[str, Any]:
    """Send back what is left of a payment, unclear or a surplus; asked again it is the one that is under way.

    It goes to the account that it came from; ``payee`` where the statement did not say which.
    ``unknown-payment``, ``payment-used``, ``payee-unknown``.
    """
    at = received_at(now)
    with home.book.transaction() as con:
        row = home.payments.one_in(con, entry)
        if row is None:
            raise unknown_payment(entry)
        reference = f"{entry}#{row.sent_fen + row.used_fen}"
        known = [each for each in home.payments.returns_of(con, entry) if each.state != ReturnState.FAILED]
        if row.state == PaymentState.SETTLED and known:
            return described(home, known[-1])
        if row.state not in (PaymentState.UNCLEAR, PaymentState.SURPLUS):
            what = f"payment {entry} is {row.state}"
            raise refuse(
                "payment-used", what, where="payment", remedy="what waits for a deal goes back when that is over"
            )
        came_from = payer_of(home, row).get("account", "")
        target = came_from if is_bank_account(came_from) else payee
        if target is None or not is_bank_account(target):
            what = f"the statement does not say from which account {entry} came"
            raise refuse("payee-unknown", what, where="payee", remedy="ask the bank, and name the account")
        tries = len(home.payments.returns_of(con, entry))
        number = _ask(home, con, row.holder, rest_of(row), target, f"{reference}#{tries}", entry, at)
        sent = {"sent_fen": row.sent_fen + rest_of(row), "state": PaymentState.SETTLED.value, "changed_at": at}
        home.payments.change(con, entry, sent)
        detail = {"return": number, "note": note}
        home.audit.write(con, actor, "payment sent back", f"payment {entry}", at=at, detail=detail)
    return described(home, _named(home, number))


def pay_out(home: Home, party: str, amount_fen: int, reference: str, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Pay a seller out of what it was paid; the same ``reference`` again is the same pay-out.

    Money that came in for something, and waits or is a surplus, is not paid out so: it is sent back.
    ``unknown-party``, ``party-not-approved``, ``money-short``, ``payee-unknown``, ``reference-taken``.
    """
    at, account, name = received_at(now), holder_of(party), f"out:{party}:{reference}"
    with home.book.transaction() as con:
        known = home.payments.return_named(con, name)
        if known is not None:
            if known.amount_fen != amount_fen:
                raise reference_taken("payout")
            return described(home, known)
        row = check_approved(home, con, party, "be paid")
        free = home.money.balance(account, con) - home.payments.held_by(con, account)
        if not 0 < amount_fen <= free:
            what = f"{free} fen are there to be paid out, and {amount_fen} are asked for"
            raise refuse("money-short", what, where="#/amount_fen", remedy="ask for less")
        target = bank_account_of(home, row)
        if target is None:
            raise refuse("payee-unknown", "the party names no account", where="party", remedy="let it name one")
        number = _ask(home, con, account, amount_fen, target, name, None, at)
        detail = {"return": number, "fen": str(amount_fen)}
        home.audit.write(con, actor, "proceeds paid out", f"party {party}", at=at, detail=detail)
    return described(home, _named(home, number))


def _ask(
    home: Home, con: sa.Connection, account: str, fen: int, payee: str, reference: str, entry: str | None, at: str
) -> str:
    number = home.payments.next_return(con)
    name = f"R{number:08d}"
    sealed = home.personal_keys.seal(payee, place_of(market_return, "payee", name))
    row = {"id": number, "name": name, "account": account, "entry": entry, "reference": reference, "amount_fen": fen}
    home.payments.add_return(con, {**row, "payee": sealed, "file": None, "note": None, "made_at": at, "changed_at": at})
    home.money.post(con, RETURN, {account: -fen, RETURNING: fen}, name, at)
    return name


def _named(home: Home, name: str) -> Any:
    with home.book.reading() as con:
        return home.payments.returns_in(con, [name])[name]


# -- files for the bank ---------------------------------------------------------------------------------------


def new_file(home: Home, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Put what is asked for into a new file for the bank; its ``id``, and how many it has. ``nothing-to-pay``."""
    at, name = received_at(now), f"back-{file_moment(now)}-{secrets.token_hex(4)}"
    with home.book.transaction() as con:
        rows = home.payments.asked_in(con)
        if not rows:
            raise refuse(
                "nothing-to-pay", "nothing is asked for that is in no file yet", where="returns", remedy="later"
            )
        for row in rows:
            home.payments.change_return(
                con, row.id, {"state": ReturnState.IN_FILE.value, "file": name, "changed_at": at}
            )
        said = {"id": name, "adapter": ADAPTER, "rows": len(rows), "fen": sum(row.amount_fen for row in rows)}
        home.payments.add_file(con, {**said, "made_at": at})
        detail = {"rows": len(rows), "fen": str(said["fen"])}
        home.audit.write(con, actor, "returns in a file", f"return file {name}", at=at, detail=detail)
    return {"status": "made", **said, "fen": str(said["fen"])}


def file_data(home: Home, name: str) -> bytes:
    """The bytes of a file, without what has ended; ``not-found``."""
    if not home.payments.files(name):
        raise refuse("not-found", f"there is no file {name[:60]}", where="file", remedy="list the files")
    keys, found = home.personal_keys, []
    for row in home.payments.returns(state=ReturnState.IN_FILE, file=name):
        payee = keys.open(row.payee, place_of(market_return, "payee", row.name))
        found.append(Payout(row.name, payee, row.amount_fen, _TITLE[row.entry is not None]))
    return ADAPTERS[ADAPTER].write(found)


def files(home: Home) -> list[dict[str, Any]]:
    """Every file for the bank, the latest first, and how many of its rows have not ended."""
    open_: dict[str, int] = {}
    for row in home.payments.returns(state=ReturnState.IN_FILE):
        open_[row.file] = open_.get(row.file, 0) + 1
    names = ("id", "adapter", "rows", "made_at")
    return [
        {**{name: getattr(row, name) for name in names}, "fen": str(row.fen), "open": open_.get(row.id, 0)}
        for row in home.payments.files()
    ]


def take_answers(home: Home, data: bytes, name: str, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Book what became of money that went back: all of it, or nothing if any of it is wrong.

    What failed is there again, as the surplus or the balance it was. Read again it changes nothing.
    ``confirmation-malformed``, ``payout-unknown``, ``payout-conflict``, all together.
    """
    answers, at = ADAPTERS[ADAPTER].read(data, name), received_at(now)
    counts = {"sent": 0, "failed": 0, "known": 0}
    with home.book.transaction() as con:
        for each, row in _checked(home, con, answers):
            if row.state != ReturnState.IN_FILE:
                counts["known"] += 1
            elif each.status == PAID:
                _sent(home, con, row, at)
                counts["sent"] += 1
            else:
                _failed(home, con, row, each.reason, at)
                counts["failed"] += 1
        detail = {key: str(value) for key, value in counts.items()}
        home.audit.write(con, actor, "returns answered", f"file {name}", at=at, detail=detail)
    return {"status": "taken", **counts}


def _checked(home: Home, con: sa.Connection, answers: Sequence[Answer]) -> list[tuple[Answer, Any]]:
    rows = home.payments.returns_in(con, [each.id for each in answers])
    problems = []
    for each in answers:
        row, wanted = rows.get(each.id), ReturnState.SENT if each.status == PAID else ReturnState.FAILED
        if row is None:
            code, what = "payout-unknown", f"there is nothing {each.id[:40]} that goes back"
        elif row.state not in (ReturnState.IN_FILE, wanted):
            code, what = "payout-conflict", f"{each.id} is {row.state}, and the file says {each.status}"
        else:
            continue
        problems.append(Problem(code, what, each.where, "settle it with the bank; nothing was booked"))
    if problems:
        raise TanzhangError(problems)
    return [(each, rows[each.id]) for each in answers]


def _sent(home: Home, con: sa.Connection, row: Any, at: str) -> None:
    home.money.post(con, SENT, {RETURNING: -row.amount_fen, BANK: row.amount_fen}, row.name, at)
    ended = {"state": ReturnState.SENT.value, "payee": None, "changed_at": at}
    home.payments.change_return(con, row.id, ended)
    if row.entry is not None:  # whose it was need not be known any more
        home.payments.change(con, row.entry, {"payer": None})


def _failed(home: Home, con: sa.Connection, row: Any, reason: str, at: str) -> None:
    home.money.post(con, FAILED, {RETURNING: -row.amount_fen, row.account: row.amount_fen}, row.name, at)
    home.payments.change_return(con, row.id, {"state": ReturnState.FAILED.value, "note": reason, "changed_at": at})
    if row.entry is None:
        return
    payment: Any = home.payments.one_in(con, row.entry)
    state = PaymentState.UNCLEAR if payment.holder == UNCLEAR else PaymentState.SURPLUS
    back = {"sent_fen": payment.sent_fen - row.amount_fen, "state": state.value, "changed_at": at}
    home.payments.change(con, row.entry, back)


def listed(home: Home, state: str | None = None) -> list[dict[str, Any]]:
    """Money on its way back, by number."""
    return [described(home, row) for row in home.payments.returns(state=state)]


def described(home: Home, row: Any) -> dict[str, Any]:
    """Money on its way back as the operator sees it; whom it is for is null once it was sent."""
    payee = row.payee and home.personal_keys.open(row.payee, place_of(market_return, "payee", row.name))
    names = ("name", "account", "entry", "state", "file", "note", "made_at", "changed_at")
    return {
        "number": row.id,
        **{name: getattr(row, name) for name in names},
        "amount_fen": str(row.amount_fen),
        "payee": payee,
    }
