"""Offers and deals over the counter (协议转让): who sells what to whom at which price, until when it has to be paid.

An offer is standing: whoever accepts a part of it has a deal, and the units of a deal are reserved, the lowest serials
that its seller holds. So nothing is sold twice, however many accept at once; what an offer says without the seller
holding it any more is refused when it is accepted. A deal that is not paid in time lapses and its units are free.
Delivery against payment is :mod:`tanzhang.service.market.payments`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
import sqlalchemy as sa

from tanzhang.core.access import Actor
from tanzhang.core.deal import DealState, PaymentState, Reason
from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.payment_reference import DEAL, payment_reference
from tanzhang.core.serial import FIRST_IMPORT, lot_name, lot_number
from tanzhang.core.units import PARTY, PROGRAMME, State
from tanzhang.service.donations import Amount
from tanzhang.service.market.parties import Id, Reference, check_approved
from tanzhang.service.market.pledges import LotName, reference_taken
from tanzhang.service.market.rules import market_rules
from tanzhang.service.moments import received_at, received_day
from tanzhang.stores.home import Home
from tanzhang.stores.register.deals import ENDED, OPEN, reference_of
from tanzhang.stores.register.payments import rest_of

STATEMENT_DAYS = 1
"""So many days after its last day for payment a deal lapses: a bank's file of that day has to arrive first. Ours."""
MOST_FEN = 10**16
"""More than any sale may come to, so that every sum of money stays in 63 bits."""
AUCTION_REFERENCE = "auction:"
"""What references of deals begin with that an auction made; nobody else's may."""
Seller = Id
"""``programme``, or a party."""


class OfferSaid(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """So many units of a lot at so many fen each, until a moment, for every approved party or for ``buyer`` alone."""

    seller: Seller
    reference: Reference
    lot: LotName
    units: Amount
    price_fen: Amount
    until: datetime
    buyer: Id | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """What is agreed: ``source`` says by what, ``reference`` is the buyer's name for it."""

    source: str
    seller: str
    buyer: str
    lot: int
    units: int
    price_fen: int
    reference: str


# -- offers ---------------------------------------------------------------------------------------------------


def offer(home: Home, said: OfferSaid, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Offer units; the same ``reference`` again is the same offer.

    ``deal-malformed``, ``units-short``, ``lot-not-entrusted``, ``unknown-party``, ``party-not-approved``,
    ``reference-taken``, ``no-market``.
    """
    at = received_at(now)
    row: dict[str, Any] = {"seller": said.seller, "lot": lot_number(said.lot, where="#/lot"), "units": int(said.units)}
    row |= {"price_fen": int(said.price_fen), "until": _moment(said.until, "#/until"), "buyer": said.buyer}
    market_rules(home, received_day(home, now))
    with home.book.transaction() as con:
        known = home.deals.offer_named(con, said.seller, said.reference)
        if known is not None:
            if any(getattr(known, name) != value for name, value in row.items()):
                raise reference_taken("offer")
            return described_offer(known)
        if row["until"] <= at or said.buyer == said.seller or row["units"] * row["price_fen"] > MOST_FEN:
            raise _malformed("it is over already, for its own seller, or comes to more than can be booked")
        check_seller(home, con, said.seller, row["lot"], row["units"])
        if said.buyer is not None:
            check_approved(home, con, said.buyer, "buy")
        rest = {"left": row["units"], "state": OPEN, "reference": said.reference, "made_at": at}
        number = home.deals.add_offer(con, {**row, **rest})
        detail = {"lot": said.lot, "units": said.units, "price_fen": said.price_fen}
        home.audit.write(con, actor, "offer made", f"offer {number}", at=at, detail=detail)
    return described_offer(home.deals.offer(number))


def end_offer(home: Home, number: int, *, seller: str | None = None, actor: Actor, now: datetime) -> dict[str, Any]:
    """Let nobody accept an offer any more; deals that were made stand. ``unknown-offer``.

    ``seller`` is the party that asks, whose own offer it has to be; None for the operator.
    """
    with home.book.transaction() as con:
        row = home.deals.offer_in(con, number)
        if row is None or seller not in (None, row.seller):
            raise _unknown_offer(number)
        if row.state == OPEN:
            home.deals.change_offer(con, number, {"state": ENDED})
            home.audit.write(con, actor, "offer ended", f"offer {number}", at=received_at(now), detail={})
    return described_offer(home.deals.offer(number))


def accept(
    home: Home, number: int, buyer: str, units: int, reference: str, *, actor: Actor, now: datetime
) -> dict[str, Any]:
    """Accept an offer, whole or in part: a deal, whose units are reserved. The same ``reference`` is the same deal.

    ``unknown-offer``, ``offer-not-open``, ``sold-out``, ``units-short``, ``unknown-party``, ``party-not-approved``,
    ``reference-taken``.
    """
    with home.book.transaction() as con:
        row = home.deals.offer_in(con, number)
        if row is None or row.buyer not in (None, buyer):
            raise _unknown_offer(number)
        terms = Terms(f"offer:{number}", row.seller, buyer, row.lot, units, row.price_fen, reference)
        known = _known(home, con, terms)
        if known is not None:
            return described(home, known)
        check_approved(home, con, buyer, "buy")
        if row.state != OPEN or row.until <= received_at(now) or row.seller == buyer:
            raise refuse(
                "offer-not-open", f"offer {number} is over, or your own", where="offer", remedy="list the offers"
            )
        if not 0 < units <= row.left:
            raise refuse(
                "sold-out", f"{row.left} units are left of offer {number}", where="#/units", remedy="ask for less"
            )
        if row.seller != PROGRAMME:  # it may have been suspended since it offered
            check_approved(home, con, row.seller, "sell")
        home.deals.change_offer(con, number, {"left": row.left - units})
        made = agree(home, con, terms, actor=actor, now=now)
    return described(home, home.deals.deal(made))


def agree(home: Home, con: sa.Connection, terms: Terms, *, actor: Actor, now: datetime) -> int:
    """In somebody's transaction: a new deal over units that its seller holds, which are reserved; its number.

    ``units-short``, ``no-market``.
    """
    at, day = received_at(now), received_day(home, now)
    by = f"{actor.role} {actor.subject}"
    due_day = day + timedelta(days=market_rules(home, day).payment_days)
    number = home.deals.next_deal(con)
    home.units.reserve(con, holder_of(terms.seller), terms.lot, terms.units, reference_of(number), at, actor=by)
    row = {name: getattr(terms, name) for name in Terms.__slots__}
    row |= {"gross_fen": terms.units * terms.price_fen, "topup_fen": 0, "due_day": due_day.isoformat()}
    home.deals.add(con, number, {**row, "delivered": None, "note": None, "made_at": at, "changed_at": at}, by=by)
    detail = {"buyer": terms.buyer, "units": str(terms.units), "price_fen": str(terms.price_fen)}
    home.audit.write(con, actor, "deal agreed", f"deal {number}", at=at, detail=detail)
    return number


def agree_directly(home: Home, terms: Terms, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """A deal that was agreed elsewhere, as a contract says; the same ``reference`` of its buyer is the same deal."""
    if terms.seller == terms.buyer or not 0 < terms.units * terms.price_fen <= MOST_FEN:
        raise _malformed("its seller buys from itself, or it comes to nothing or more than can be booked")
    with home.book.transaction() as con:
        known = _known(home, con, terms)
        if known is not None:
            return described(home, known)
        check_seller(home, con, terms.seller, terms.lot, terms.units)
        check_approved(home, con, terms.buyer, "buy")
        number = agree(home, con, terms, actor=actor, now=now)
    return described(home, home.deals.deal(number))


def _known(home: Home, con: sa.Connection, terms: Terms) -> Any | None:
    """The deal that a buyer made under a reference before; ``reference-taken`` if it was another."""
    known = home.deals.deal_named(con, terms.buyer, terms.reference)
    if terms.reference.startswith(AUCTION_REFERENCE):  # of deals that auctions make
        raise reference_taken("deal")
    if known is not None and any(getattr(known, name) != getattr(terms, name) for name in Terms.__slots__):
        raise reference_taken("deal")
    return known


def check_seller(home: Home, con: sa.Connection, seller: str, lot: int, units: int) -> None:
    """Refuse who may not sell, or holds too little.

    ``unknown-party``, ``party-not-approved``, ``lot-not-entrusted``, ``units-short``.
    """
    if seller != PROGRAMME:
        check_approved(home, con, seller, "sell")
    elif lot > FIRST_IMPORT:  # nobody could be paid back, and every later sale would wait behind it
        what = f"units of {lot_name(lot)} came from another registry, and no person entrusted them"
        remedy = "let a party hold and sell them; the programme uses its own to make errors good"
        raise refuse("lot-not-entrusted", what, where="#/lot", remedy=remedy)
    own = home.units.blocks_in(con, holder=holder_of(seller), lot=lot, states=[State.HELD])
    held = sum(block.count for block in own)
    if held < units:
        what = f"{seller} holds {held} free units of {lot_name(lot)}, and {units} are to be sold"
        raise refuse("units-short", what, where="#/units", remedy="offer fewer, or of another lot")


def holder_of(seller: str) -> str:
    """As what the register of units and the one of money know a seller or buyer."""
    return PROGRAMME if seller == PROGRAMME else f"{PARTY}{seller}"


# -- what ends a deal that is not paid ------------------------------------------------------------------------


def lapse_due(home: Home, *, now: datetime) -> int:
    """Let deals lapse whose time for payment is over; returns how many did.

    A deal whose price is there in full and could not be handed over does not lapse: somebody has to look at it.
    """
    day = received_day(home, now) - timedelta(days=STATEMENT_DAYS)
    count = 0
    for number in home.deals.overdue(day.isoformat()):
        with home.book.transaction() as con:
            row = home.deals.deal_in(con, number)
            if row is None or row.state != DealState.AGREED or _paid(home, con, number) >= row.gross_fen:
                continue
            _end(home, con, row, DealState.LAPSED, by="chore", note="not paid in time", now=now)
            count += 1
    return count


def cancel(home: Home, number: int, note: str, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Cancel a deal that is not delivered: its units are free, what was paid for it is its buyer's to have back.

    ``unknown-deal``, ``deal-over``. A second time changes nothing.
    """
    with home.book.transaction() as con:
        row = home.deals.deal_in(con, number)
        if row is None:
            raise unknown_deal(number)
        if row.state != DealState.CANCELLED:
            if row.state != DealState.AGREED:
                raise deal_over(row)
            _end(home, con, row, DealState.CANCELLED, by=f"{actor.role} {actor.subject}", note=note, now=now)
            home.audit.write(con, actor, "deal cancelled", f"deal {number}", at=received_at(now), detail={"note": note})
    return described(home, home.deals.deal(number))


def _end(home: Home, con: sa.Connection, row: Any, to: DealState, *, by: str, note: str, now: datetime) -> None:
    at = received_at(now)
    home.units.release(con, reference_of(row.id), at, actor=by)
    for payment in home.payments.waiting_for(con, row.id):
        freed = {"state": PaymentState.SURPLUS.value, "reason": Reason.DEAL_OVER.value, "changed_at": at}
        home.payments.change(con, payment.entry, freed)
    home.deals.advance(con, row, to, at=at, by=by, note=note)


def _paid(home: Home, con: sa.Connection, number: int) -> int:
    return sum(rest_of(row) for row in home.payments.waiting_for(con, number))


# -- what is shown --------------------------------------------------------------------------------------------


def deal_named(home: Home, number: int, party: str | None = None) -> Any:
    """The row of a deal, of one that a party buys or sells, or (None) of any; ``unknown-deal``."""
    row = home.deals.deal(number)
    if row is None or party not in (None, row.buyer, row.seller):
        raise unknown_deal(number)
    return row


def described(home: Home, row: Any) -> dict[str, Any]:
    """A deal as JSON members; ``paid_fen`` is what came in for it and waits, or was used."""
    waiting = [payment for payment in home.payments.of_deal(row.id) if payment.state == PaymentState.WAITING]
    paid = row.gross_fen if row.state == DealState.DELIVERED else sum(map(rest_of, waiting))
    return {
        "number": row.id,
        "source": row.source,
        "seller": row.seller,
        "buyer": row.buyer,
        "reference": row.reference,
        "lot": lot_name(row.lot),
        "units": str(row.units),
        "price_fen": str(row.price_fen),
        "gross_fen": str(row.gross_fen),
        "topup_fen": str(row.topup_fen),
        "paid_fen": str(paid),
        "state": row.state,
        "due_day": row.due_day,
        "payment_reference": payment_reference(DEAL, row.id),
        "delivered": row.delivered,
        "note": row.note,
        "made_at": row.made_at,
        "changed_at": row.changed_at,
    }


def listed(
    home: Home, before: int | None = None, limit: int = 10_000, *, party: str | None = None, state: str | None = None
) -> list[dict[str, Any]]:
    """Deals, the latest first; of one party, buying or selling, or all."""
    return [described(home, row) for row in home.deals.page(before, limit, party=party, state=state)]


def history(home: Home, number: int) -> list[dict[str, Any]]:
    """What became of a deal, in order; who did it is for the operator to see."""
    names = ("before", "state", "at", "by", "note")
    return [{name: getattr(row, name) for name in names} for row in home.deals.events(number)]


def offers(
    home: Home, before: int | None = None, limit: int = 10_000, *, now: datetime | None = None, buyer: str | None = None
) -> list[dict[str, Any]]:
    """Offers, the latest first: all, or with ``now`` those that can be accepted by everybody and by one buyer."""
    at = None if now is None else received_at(now)
    return [described_offer(row) for row in home.deals.offers(before, limit, at=at, buyer=buyer)]


def described_offer(row: Any) -> dict[str, Any]:
    """An offer as JSON members."""
    return {
        "number": row.id,
        "seller": row.seller,
        "reference": row.reference,
        "lot": lot_name(row.lot),
        "units": str(row.units),
        "left": str(row.left),
        "price_fen": str(row.price_fen),
        "until": row.until,
        "buyer": row.buyer,
        "state": row.state,
        "made_at": row.made_at,
    }


def _moment(given: datetime, where: str) -> str:
    if not is_moment(given):
        what = "the moment has no offset, or is in no year of ours"
        raise refuse("deal-malformed", what, where=where, remedy="write it as 2026-12-31T18:00:00+08:00")
    return received_at(given)


def is_moment(given: datetime) -> bool:
    """Whether a moment is one that can be agreed on: with an offset, and in a year that every time zone has."""
    return given.tzinfo is not None and 2000 <= given.year < 3000


def _malformed(message: str) -> TanzhangError:
    return refuse("deal-malformed", message, where="#", remedy="correct what is offered; docs/trading.md")


def _unknown_offer(number: int) -> TanzhangError:
    remedy = "list the offers: tanzhang deal offers"
    return refuse("unknown-offer", f"there is no offer {number}, or it is not for you", where="offer", remedy=remedy)


def unknown_deal(number: int) -> TanzhangError:
    """The refusal of a deal that there is not, or that is others'."""
    remedy = "list your deals: tanzhang deal list"
    return refuse("unknown-deal", f"there is no deal {number}, or it is not yours", where="deal", remedy=remedy)


def deal_over(row: Any) -> TanzhangError:
    """The refusal of what can be done with a deal only while it waits for money."""
    return refuse(
        "deal-over", f"deal {row.id} is {row.state}", where="deal", remedy="nothing is left to be done with it"
    )
