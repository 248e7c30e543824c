"""Payments (收款): what a bank's statement says came in, delivery against payment, and whatever came in otherwise.

A payment is recognised by the reference in its words and by the account that it came from. Once the price of a deal is
there, one transaction hands over the units, books the price and what sponsors add, and settles the payments: either
all of it is there or nothing. Every line of a statement is a transaction of its own under the bank's number of it, so
that a statement can be read again after a crash, by whomever, and adds only what is missing.

What came in otherwise is kept with a reason, and has a way out that loses nothing:

=====================  ==========================================  =================================================
reason                 what it is                                  state, and what is done
=====================  ==========================================  =================================================
less                   a part of the price                         waiting; the rest settles it, or the deal lapses
more                   what is beyond the price, or beyond what    surplus: used for another deal, or sent back
                       the sponsor of a pledge owes
twice                  for a deal that was delivered               surplus
late                   booked after the last day                   surplus: used, if the deal still waits
deal-over              for a deal that lapsed or was cancelled     surplus
unknown-reference      no reference, or of nothing there is        unclear: the operator says for what, or sends back
several-references     for more than one thing                     unclear
other-payer            not from the account of the buyer           unclear
not-deliverable        the price is there, the units cannot go     waiting; tried again by hand
=====================  ==========================================  =================================================
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tanzhang.core.access import Actor
from tanzhang.core.deal import DealState, PaymentState, Reason
from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.core.payment_reference import DEAL, references_in
from tanzhang.core.units import PROGRAMME
from tanzhang.service.market.deals import deal_over, holder_of, unknown_deal
from tanzhang.service.market.parties import bank_account_of, check_approved, same_account
from tanzhang.service.market.pledges import add_to_sale
from tanzhang.service.moments import received_at
from tanzhang.stores.bank_statements import ADAPTERS, Line, check_line
from tanzhang.stores.home import Home
from tanzhang.stores.register.deals import reference_of
from tanzhang.stores.register.money import BANK, UNCLEAR
from tanzhang.stores.register.payments import market_payment, rest_of
from tanzhang.stores.register.people import place_of

PAYMENT, SALE, CLEARED = "payment", "sale", "payment cleared"
"""Kinds of moves of money: what came in, what was bought, what was nobody's and is somebody's."""
MANUAL = "manual"
"""The source of a payment that the operator confirmed without a statement."""


@dataclass(frozen=True, slots=True)
class _Meant:
    """What a payment is for: the account of money it goes to, what it says there, and why it does not simply settle."""

    holder: str
    state: PaymentState
    reason: Reason
    deal: int | None = None
    pledge: int | None = None


def take_statement(home: Home, adapter: str, data: bytes, name: str, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Take in what a statement says came in; returns counts by reason, what was known, and deals it delivered.

    Nothing is taken of a file that is wrong anywhere: ``statement-malformed``, ``payment-conflict`` (an entry that was
    read before said otherwise), all together. ``adapter-unknown``.
    """
    if adapter not in ADAPTERS:
        remedy = f"use one of {', '.join(ADAPTERS)}"
        raise refuse("adapter-unknown", f"there is no adapter {adapter[:40]!r}", where="--adapter", remedy=remedy)
    statement, source = ADAPTERS[adapter].read(data, name), hashlib.sha256(data).hexdigest()
    _check_known(home, statement.lines)
    counts: dict[str, int] = {}
    delivered: list[int] = []
    for line in statement.lines:
        row, is_new = _take(home, line, source, None, actor=actor, now=now)
        said = row.reason if is_new else "known"
        counts[said] = counts.get(said, 0) + 1
        if is_new and row.deal is not None and _is_delivered(home, row):
            delivered.append(row.deal)
    with home.book.transaction() as con:
        detail = {**{key: str(count) for key, count in counts.items()}, "sha256": source}
        home.audit.write(con, actor, "statement taken in", f"statement {name}", at=received_at(now), detail=detail)
    return {"status": "taken", "reasons": counts, "went_out": statement.went_out, "delivered": sorted(set(delivered))}


def confirm(home: Home, deal: int, line: Line, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Confirm by hand that money came in for a deal, under the bank's number of it; a statement then adds nothing.

    From which account it came is not looked at: who confirms it did. ``unknown-deal``, ``payment-conflict`` (also for
    an entry that is known and for something else), ``statement-malformed``.
    """
    if home.deals.deal(deal) is None:
        raise unknown_deal(deal)
    check_line(line)
    _check_known(home, [line])
    row, is_new = _take(home, line, MANUAL, deal, actor=actor, now=now)
    if is_new:
        with home.book.transaction() as con:
            detail = {"deal": str(deal), "fen": str(line.amount_fen)}
            at = received_at(now)
            home.audit.write(con, actor, "payment confirmed", f"payment {line.entry}", at=at, detail=detail)
    elif row.deal != deal and reference_of(deal) not in home.payments.purposes(row.entry):
        what = f"entry {line.entry} is {row.state} already, {f'for deal {row.deal}' if row.deal else 'for no deal'}"
        remedy = "use what is left of it for this deal, or give the bank's number of the other payment"
        raise refuse("payment-conflict", what, where=line.where, remedy=remedy)
    return described(home, row)


def _check_known(home: Home, lines: Sequence[Line]) -> None:
    problems = []
    for line in lines:
        known = home.payments.one(line.entry)
        if known is not None and (known.amount_fen, known.booked_on) != (line.amount_fen, line.booked_on.isoformat()):
            what = f"entry {line.entry} was {known.amount_fen} fen of {known.booked_on} when it was read before"
            problems.append(
                Problem("payment-conflict", what, line.where, "ask the bank which holds; nothing was booked")
            )
    if problems:
        raise TanzhangError(problems)


def _is_delivered(home: Home, row: Any) -> bool:
    deal = home.deals.deal(row.deal)
    return deal is not None and deal.state == DealState.DELIVERED and row.reason in (Reason.EXACT, Reason.MORE)


# -- one payment ----------------------------------------------------------------------------------------------


def _take(home: Home, line: Line, source: str, deal: int | None, *, actor: Actor, now: datetime) -> tuple[Any, bool]:
    """Book one payment and what follows from it; the row, and whether it is new.

    Where the units cannot be handed over, the money is booked all the same, and waits.
    """
    for deliverable in (True, False):
        try:
            with home.book.transaction() as con:
                known = home.payments.one_in(con, line.entry)
                if known is not None:
                    return known, False
                _book(home, con, line, source, deal, deliverable=deliverable, actor=actor, now=now)
            break
        except _NotDeliverableError as error:
            cause = error
    else:
        raise RuntimeError("a payment that is not to deliver anything was refused") from cause
    return home.payments.one(line.entry), True


class _NotDeliverableError(Exception):
    """The price is there, and the units cannot be handed over."""


def _book(
    home: Home,
    con: sa.Connection,
    line: Line,
    source: str,
    named: int | None,
    *,
    deliverable: bool,
    actor: Actor,
    now: datetime,
) -> None:
    at, by = received_at(now), f"{actor.role} {actor.subject}"
    meant = _meant(home, con, line, named)
    payer = {"payer": line.payer, "account": line.payer_account, "memo": line.memo}
    place = place_of(market_payment, "payer", line.entry)
    row = {"entry": line.entry, "booked_on": line.booked_on.isoformat(), "amount_fen": line.amount_fen}
    row |= {"payer": home.personal_keys.seal(json.dumps(payer, ensure_ascii=False), place)}
    row |= {"deal": meant.deal, "pledge": meant.pledge, "holder": meant.holder, "state": meant.state.value}
    row |= {"reason": meant.reason.value, "source": source, "by": by, "made_at": at, "changed_at": at}
    home.payments.add(con, row)
    home.money.post(con, PAYMENT, {BANK: -line.amount_fen, meant.holder: line.amount_fen}, line.entry, at)
    if meant.pledge is not None:
        _settle_pledge(home, con, line.entry, meant, at)
    elif meant.state is PaymentState.WAITING and meant.deal is not None:
        _settle_waiting(home, con, line.entry, meant.deal, deliverable=deliverable, at=at, by=by)


def _meant(home: Home, con: sa.Connection, line: Line, named: int | None) -> _Meant:
    """What a payment is for, by its reference or by what the operator says."""
    found = [(DEAL, named)] if named is not None else references_in(line.memo)
    if len(found) != 1:
        reason = Reason.SEVERAL_REFERENCES if found else Reason.UNKNOWN_REFERENCE
        return _Meant(UNCLEAR, PaymentState.UNCLEAR, reason)
    kind, number = found[0]
    if kind != DEAL:
        return _meant_pledge(home, con, line, number)
    deal = home.deals.deal_in(con, number)
    if deal is None:
        return _Meant(UNCLEAR, PaymentState.UNCLEAR, Reason.UNKNOWN_REFERENCE)
    if named is None and not _is_of(home, con, deal.buyer, line):
        return _Meant(UNCLEAR, PaymentState.UNCLEAR, Reason.OTHER_PAYER, deal.id)
    holder = holder_of(deal.buyer)
    late = line.booked_on.isoformat() > deal.due_day
    if deal.state == DealState.DELIVERED:
        return _Meant(holder, PaymentState.SURPLUS, Reason.TWICE, deal.id)
    if late:
        return _Meant(holder, PaymentState.SURPLUS, Reason.LATE, deal.id)
    if deal.state != DealState.AGREED:
        return _Meant(holder, PaymentState.SURPLUS, Reason.DEAL_OVER, deal.id)
    return _Meant(holder, PaymentState.WAITING, Reason.LESS, deal.id)


def _meant_pledge(home: Home, con: sa.Connection, line: Line, number: int) -> _Meant:
    row = home.pledges.one_in(con, number)
    if row is None:
        return _Meant(UNCLEAR, PaymentState.UNCLEAR, Reason.UNKNOWN_REFERENCE)
    if not _is_of(home, con, row.sponsor, line):
        return _Meant(UNCLEAR, PaymentState.UNCLEAR, Reason.OTHER_PAYER, None)
    return _Meant(f"sponsor:{row.sponsor}", PaymentState.SETTLED, Reason.EXACT, None, number)


def _settle_pledge(home: Home, con: sa.Connection, entry: str, meant: _Meant, at: str) -> None:
    """Use a payment for what its sponsor owes by now; what is beyond that is a surplus, which can go back."""
    row: Any = home.payments.one_in(con, entry)
    owed = home.payments.held_by(con, meant.holder) - home.money.balance(meant.holder, con)
    part = max(min(owed, row.amount_fen), 0)
    if part:
        home.payments.use(con, row, part, f"pledge:{meant.pledge}", at)
    if part < row.amount_fen:
        over = {"state": PaymentState.SURPLUS.value, "reason": Reason.MORE.value}
        home.payments.change(con, entry, over)


def _is_of(home: Home, con: sa.Connection, party: str, line: Line) -> bool:
    """Whether money came from the account that a party named."""
    row = home.parties.row_in(con, party)
    return row is not None and same_account(bank_account_of(home, row), line.payer_account)


def _settle_waiting(
    home: Home, con: sa.Connection, entry: str, deal: int, *, deliverable: bool, at: str, by: str
) -> None:
    """What a payment for a deal comes to, once it waits: the deal is delivered if its price is there."""
    row: Any = home.deals.deal_in(con, deal)
    there = sum(map(rest_of, home.payments.waiting_for(con, deal)))
    if there < row.gross_fen:
        reason = Reason.LESS
    elif not deliverable:
        reason = Reason.NOT_DELIVERABLE
    else:
        try:
            deliver(home, con, row, at=at, by=by)
        except TanzhangError as error:
            raise _NotDeliverableError(str(error)) from error
        reason = Reason.MORE if rest_of(home.payments.one_in(con, entry)) else Reason.EXACT
    home.payments.change(con, entry, {"reason": reason.value})


# -- delivery against payment (货款对付) ------------------------------------------------------------------------


def deliver(home: Home, con: sa.Connection, row: Any, *, at: str, by: str) -> None:
    """In somebody's transaction: hand over the units of a deal whose price is there, and book its price.

    ``party-not-approved`` where the buyer may not be delivered to (any more), and what the register of units refuses.
    """
    check_approved(home, con, row.buyer, "be delivered to")
    home.units.deliver(con, reference_of(row.id), holder_of(row.buyer), at, actor=by)
    added = add_to_sale(home, con, row, at) if row.seller == PROGRAMME else {}
    topup = sum(added.values())
    proceeds = f"sale:{row.id}" if row.seller == PROGRAMME else holder_of(row.seller)
    legs: dict[str, int] = {holder_of(row.buyer): -row.gross_fen, proceeds: row.gross_fen + topup}
    for sponsor, fen in added.items():
        legs[f"sponsor:{sponsor}"] = -fen
    home.money.post(con, SALE, legs, reference_of(row.id), at)
    missing = row.gross_fen
    for payment in home.payments.waiting_for(con, row.id):
        part = min(missing, rest_of(payment))
        if part:
            home.payments.use(con, payment, part, reference_of(row.id), at)
            missing -= part
        else:
            over = {"state": PaymentState.SURPLUS.value, "reason": Reason.MORE.value, "changed_at": at}
            home.payments.change(con, payment.entry, over)
    if missing:
        raise RuntimeError(f"{missing} fen of deal {row.id} are not there")
    home.deals.advance(con, row, DealState.DELIVERED, at=at, by=by, topup_fen=topup)


def deliver_again(home: Home, number: int, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Try again to hand over a deal whose price is there: what kept it from that is over. Delivered already: as it is.

    ``unknown-deal``, ``deal-over``, ``deal-unpaid``, and whatever keeps it still.
    """
    from tanzhang.service.market.deals import described as described_deal

    at, by = received_at(now), f"{actor.role} {actor.subject}"
    with home.book.transaction() as con:
        row = home.deals.deal_in(con, number)
        if row is None:
            raise unknown_deal(number)
        if row.state not in (DealState.AGREED, DealState.DELIVERED):
            raise deal_over(row)
        if row.state == DealState.AGREED:
            there = sum(map(rest_of, home.payments.waiting_for(con, number)))
            if there < row.gross_fen:
                what = f"{there} of {row.gross_fen} fen are there"
                remedy = (
                    "take in the bank's statement: tanzhang payment statement; or what is unclear: tanzhang payment use"
                )
                raise refuse("deal-unpaid", what, where="deal", remedy=remedy)
            deliver(home, con, row, at=at, by=by)
            home.audit.write(con, actor, "deal delivered", f"deal {number}", at=at, detail={})
    return described_deal(home, home.deals.deal(number))


# -- the operator's way out -----------------------------------------------------------------------------------


def use_payment(home: Home, entry: str, deal: int, note: str, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Use what is left of a payment, unclear or a surplus, for a deal that waits; delivers it if its price is there.

    This is how the operator accepts money that came late, from elsewhere or without a reference. The money of one party
    is not used for another's deal. Asked again it changes nothing.
    ``unknown-payment``, ``unknown-deal``, ``deal-over``, ``payment-used``, ``payment-of-another``.
    """
    at, by = received_at(now), f"{actor.role} {actor.subject}"
    with home.book.transaction() as con:
        row, wanted = home.payments.one_in(con, entry), home.deals.deal_in(con, deal)
        if row is None:
            raise unknown_payment(entry)
        if wanted is None:
            raise unknown_deal(deal)
        is_used = reference_of(deal) in home.payments.purposes(entry)  # whatever is left of it, and for whom, by now
        if is_used or (row.deal == deal and row.state == PaymentState.WAITING):
            return described(home, row)
        if wanted.state != DealState.AGREED:
            raise deal_over(wanted)
        if row.state not in (PaymentState.UNCLEAR, PaymentState.SURPLUS):
            what = f"payment {entry} is {row.state}"
            raise refuse("payment-used", what, where="payment", remedy="use money that is unclear or a surplus")
        holder = holder_of(wanted.buyer)
        if row.holder == UNCLEAR:
            legs = {UNCLEAR: -rest_of(row), holder: rest_of(row)}
            home.money.post(con, CLEARED, legs, entry, at)
        elif row.holder != holder:
            what = f"payment {entry} is money of {row.holder}, and deal {deal} is bought by {wanted.buyer}"
            raise refuse("payment-of-another", what, where="payment", remedy="send it back; its owner may pay again")
        waits = {"deal": deal, "holder": holder, "state": PaymentState.WAITING.value, "changed_at": at}
        home.payments.change(con, entry, waits)
        _settle_by_hand(home, con, entry, deal, at=at, by=by)
        detail = {"deal": str(deal), "note": note}
        home.audit.write(con, actor, "payment used", f"payment {entry}", at=at, detail=detail)
    return described(home, home.payments.one(entry))


def _settle_by_hand(home: Home, con: sa.Connection, entry: str, deal: int, *, at: str, by: str) -> None:
    try:
        _settle_waiting(home, con, entry, deal, deliverable=True, at=at, by=by)
    except _NotDeliverableError as error:
        if isinstance(error.__cause__, TanzhangError):
            raise error.__cause__ from None
        raise


# -- what is shown --------------------------------------------------------------------------------------------


def listed(
    home: Home, before: int | None = None, limit: int = 10_000, state: str | None = None
) -> list[dict[str, Any]]:
    """Payments, the latest first, in one state or all, with who paid."""
    return [described(home, row) for row in home.payments.page(before, limit, state=state)]


def payment_named(home: Home, entry: str) -> Any:
    """The row of a payment; ``unknown-payment``."""
    row = home.payments.one(entry)
    if row is None:
        raise unknown_payment(entry)
    return row


def payer_of(home: Home, row: Any) -> Mapping[str, str]:
    """Who paid (``payer``), from which ``account``, with which words (``memo``); empty once that is forgotten."""
    if row.payer is None:
        return {}
    found: dict[str, str] = json.loads(home.personal_keys.open(row.payer, place_of(market_payment, "payer", row.entry)))
    return found


def described(home: Home, row: Any) -> dict[str, Any]:
    """A payment as the operator sees it; amounts are texts."""
    return {
        "number": row.id,
        "entry": row.entry,
        "booked_on": row.booked_on,
        "amount_fen": str(row.amount_fen),
        "used_fen": str(row.used_fen),
        "sent_fen": str(row.sent_fen),
        "rest_fen": str(rest_of(row)),
        "holder": row.holder,
        "deal": row.deal,
        "pledge": row.pledge,
        "state": row.state,
        "reason": row.reason,
        "source": row.source,
        "by": row.by,
        "made_at": row.made_at,
        "changed_at": row.changed_at,
        "payer": payer_of(home, row) or None,
    }


def unknown_payment(entry: str) -> TanzhangError:
    """The refusal of a payment that there is not."""
    return refuse(
        "unknown-payment",
        f"there is no payment {entry[:80]}",
        where="payment",
        remedy="list the payments: tanzhang payment list",
    )
