"""Sealed-bid auctions (密封竞价) of units: opened, bid in, closed; every winner pays the marginal price.

The units of an auction are reserved from its opening to its close, so what is auctioned is there. A bid is sealed with
the key of personal fields as it comes in, under a commitment that its bidder gets a salt for. Until the close no verb
of this product opens one, not for its bidder and not for staff. Closing opens all of them at once, compares each with
its commitment, and gives the log the commitments in the order of their places, the price and what was sold.

**What this does not prevent:** whoever has the home's keys and its book can open a sealed bid by a program of their
own, and whoever runs the home can keep a bid out before its receipt is given. The receipt shows a bid that was taken
and dropped, or changed, later. docs/trading.md.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from tanzhang.core.access import Actor, Role
from tanzhang.core.auction import RULE, Bid, Clearing, clear, commitment, published_digest
from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.core.methodology import canonical_json
from tanzhang.core.party import PartyState
from tanzhang.core.serial import lot_name, lot_number
from tanzhang.core.units import PROGRAMME
from tanzhang.service.donations import Amount
from tanzhang.service.market.deals import (
    AUCTION_REFERENCE,
    MOST_FEN,
    Seller,
    Terms,
    agree,
    check_seller,
    holder_of,
    is_moment,
)
from tanzhang.service.market.parties import Reference, check_approved
from tanzhang.service.market.pledges import LotName, reference_taken
from tanzhang.service.market.rules import market_rules
from tanzhang.service.moments import received_at, received_day
from tanzhang.service.secrets import derived_secret
from tanzhang.stores.home import Home
from tanzhang.stores.register.auctions import (
    CLEARED,
    EXCLUDED,
    LOST,
    OPEN,
    PLACED,
    VOID,
    WITHDRAWN,
    WON,
    auction_bid,
    reference_of,
)
from tanzhang.stores.register.people import place_of

FORMAT = "tanzhang.auction/1"
MOST_BIDS = 20
"""Of one party in one auction, withdrawn ones among them; ours."""
CHORE = Actor(Role.OPERATOR, "chore", "worker")


class AuctionSaid(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """So many units of a lot, at not less than a public reserve price, from a moment to before another."""

    seller: Seller
    reference: Reference
    lot: LotName
    units: Amount
    reserve_fen: Amount
    opens_at: datetime
    closes_at: datetime


def open_auction(home: Home, said: AuctionSaid, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Announce an auction; its units are reserved until it is closed. The same ``reference`` is the same auction.

    ``auction-malformed``, ``units-short``, ``lot-not-entrusted``, ``unknown-party``, ``party-not-approved``,
    ``reference-taken``, ``no-market``.
    """
    at, lot = received_at(now), lot_number(said.lot, where="#/lot")
    row: dict[str, Any] = {
        "seller": said.seller,
        "lot": lot,
        "units": int(said.units),
        "reserve_fen": int(said.reserve_fen),
    }
    row |= {"opens_at": _moment(said.opens_at), "closes_at": _moment(said.closes_at)}
    market_rules(home, received_day(home, now))
    with home.book.transaction() as con:
        known = home.auctions.named(con, said.seller, said.reference)
        if known is not None:
            if any(getattr(known, name) != value for name, value in row.items()):
                raise reference_taken("auction")
            return described(known)
        if not row["opens_at"] < row["closes_at"] or row["closes_at"] <= at:
            raise _malformed("it is open at no moment to come")
        if row["units"] * row["reserve_fen"] > MOST_FEN:
            raise _malformed("it comes to more than can be booked")
        check_seller(home, con, said.seller, lot, row["units"])
        number = home.auctions.next_auction(con)
        by = f"{actor.role} {actor.subject}"
        home.units.reserve(con, holder_of(said.seller), lot, row["units"], reference_of(number), at, actor=by)
        rest = {"reference": said.reference, "made_at": at, "changed_at": at, "note": None}
        home.auctions.add(con, {**row, **rest, "id": number})
        detail = {"lot": said.lot, "units": said.units, "reserve_fen": said.reserve_fen}
        home.audit.write(con, actor, "auction opened", f"auction {number}", at=at, detail=detail)
    return described(home.auctions.one(number))


# -- bids -----------------------------------------------------------------------------------------------------


def bid(
    home: Home, number: int, bidder: str, units: int, price_fen: int, reference: str, *, actor: Actor, now: datetime
) -> dict[str, Any]:
    """Bid for units at up to a price; the receipt of it. The same ``reference`` again gets the same receipt.

    ``unknown-auction``, ``auction-not-open``, ``bid-below-reserve``, ``bid-too-large``, ``too-many-bids``,
    ``party-not-approved``, ``reference-taken``. Nothing of what is bid is in the audit trail.
    """
    at = received_at(now)
    salt = derived_secret(home, "bid", f"{number} {bidder} {reference}")
    committed = commitment(number, bidder, units, price_fen, salt)
    with home.book.transaction() as con:
        row = _auction(home, con, number)
        bids = home.auctions.bids_in(con, number)
        own = [each for each in bids if each.bidder == bidder]
        known = next((each for each in own if each.reference == reference), None)
        if known is not None:
            if known.commitment != committed:
                raise reference_taken("bid")
            return _receipt(known, salt)
        check_approved(home, con, bidder, "bid")
        _check_taking(row, at)
        _check_bid(row, bidder, units, price_fen)
        if len(own) >= MOST_BIDS:
            what = f"{bidder} has made {len(own)} bids in this auction"
            raise refuse("too-many-bids", what, where="bid", remedy="keep to those")
        place = len(bids) + 1
        name = f"{number}.{place}"
        text = json.dumps({"units": units, "price_fen": price_fen})
        values = {"id": name, "auction": number, "place": place, "bidder": bidder, "reference": reference}
        values |= {"sealed": home.personal_keys.seal(text, place_of(auction_bid, "sealed", name))}
        home.auctions.add_bid(con, {**values, "commitment": committed, "made_at": at, "changed_at": at})
        home.audit.write(con, actor, "bid placed", f"auction {number}", at=at, detail={"place": place})
    return _receipt(home.auctions.bids(number)[place - 1], salt)


def withdraw(home: Home, number: int, bidder: str, place: int, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Take a bid back before the close; its place and commitment stay. A second time changes nothing.

    ``unknown-auction``, ``unknown-bid``, ``auction-not-open``.
    """
    at = received_at(now)
    with home.book.transaction() as con:
        auction, found = _auction(home, con, number), home.auctions.bids_in(con, number)
        row = found[place - 1] if 0 < place <= len(found) else None
        if row is None or row.bidder != bidder:
            raise refuse("unknown-bid", f"you have no bid in place {place}", where="bid", remedy="list your bids")
        if row.state != WITHDRAWN:
            _check_taking(auction, at)
            home.auctions.change_bid(con, row.id, {"state": WITHDRAWN, "sealed": None, "changed_at": at})
            home.audit.write(con, actor, "bid withdrawn", f"auction {number}", at=at, detail={"place": place})
    return _own_bid(home.auctions.bids(number)[place - 1])


def own_bids(home: Home, number: int, bidder: str) -> list[dict[str, Any]]:
    """The bids of a party: places, commitments and states, and what they say once the auction is closed.

    ``unknown-auction``. What was bid is in the receipt, which nobody else has.
    """
    auction_named(home, number)
    return [_own_bid(row) for row in home.auctions.bids(number, bidder=bidder)]


def _check_taking(row: Any, at: str) -> None:
    if row.state != OPEN or not row.opens_at <= at < row.closes_at:
        what = f"auction {row.id} takes bids from {row.opens_at} to {row.closes_at}, and is {row.state}"
        raise refuse("auction-not-open", what, where="auction", remedy="look at its times")


def _check_bid(row: Any, bidder: str, units: int, price_fen: int) -> None:
    if row.seller == bidder or not 0 < units <= row.units or units * price_fen > MOST_FEN:
        what = f"a bid is for 1 to {row.units} units, and not by the seller"
        raise refuse("bid-too-large", what, where="#/units", remedy="bid for fewer")
    if price_fen < row.reserve_fen:
        what = f"the reserve price is {row.reserve_fen} fen"
        raise refuse("bid-below-reserve", what, where="#/price_fen", remedy="bid more, or not at all")


def _receipt(row: Any, salt: bytes) -> dict[str, Any]:
    """What a bidder keeps: with it anybody can check that the published commitment in this place is of this bid."""
    return {**_own_bid(row), "salt": salt.hex(), "reference": row.reference}


def _own_bid(row: Any) -> dict[str, Any]:
    said = {"auction": row.auction, "place": row.place, "bidder": row.bidder, "commitment": row.commitment}
    return {**said, "state": row.state, "made_at": row.made_at, **_opened(row), "deal": row.deal}


def _opened(row: Any) -> dict[str, Any]:
    names = ("units", "price_fen", "awarded")
    return {name: None if getattr(row, name) is None else str(getattr(row, name)) for name in names}


# -- closing --------------------------------------------------------------------------------------------------


def close(home: Home, number: int, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Close an auction whose time is over: bids are opened and ranked, winners have deals at the one price.

    All of it is one transaction; a second time changes nothing. A bid of a party that may not buy any more is left out.
    One of a seller who may not sell any more waits until that is over, or is called off. ``unknown-auction``,
    ``auction-not-over``, ``auction-void``, ``bid-changed``, ``party-not-approved``, ``no-market``.
    """
    at = received_at(now)
    with home.book.transaction() as con:
        row = _auction(home, con, number)
        if row.state == CLEARED:
            return result(home, number)
        if row.state == VOID:
            raise refuse("auction-void", f"auction {number} was called off", where="auction", remedy="see its note")
        if at < row.closes_at:
            what = f"auction {number} takes bids until {row.closes_at}"
            raise refuse("auction-not-over", what, where="auction", remedy="wait; nobody opens a bid before")
        if row.seller != PROGRAMME:
            check_approved(home, con, row.seller, "sell")
        bids = home.auctions.bids_in(con, number)
        opened = {each.place: _open(home, con, each) for each in bids if each.state == PLACED}
        ranked = [each for each in opened.values() if each is not None]
        found = clear(row.units, row.reserve_fen, ranked)
        home.units.release(con, reference_of(number), at, actor=f"{actor.role} {actor.subject}")
        for each in bids:
            if each.state == PLACED:
                _award(home, con, row, each, found, actor=actor, now=now)
        digest = published_digest(each.commitment for each in bids)
        said = {"price_fen": found.price_fen, "sold": found.sold, "marginal": found.marginal, "bids": len(bids)}
        entry = home.auctions.seal_result(con, _entry(home, row, {**said, "digest": digest}))
        closed = {"state": CLEARED, "changed_at": at, **said, "digest": digest, "entry": entry}
        home.auctions.change(con, number, closed)
        detail = {name: str(value) for name, value in said.items()}
        home.audit.write(con, actor, "auction closed", f"auction {number}", at=at, detail=detail)
    _publish(home)
    return result(home, number)


def _publish(home: Home) -> None:
    """Let the log have the result now, unless somebody settles: then it has it with their batch, or a worker sees."""
    try:
        with home.settling():
            home.publish()
    except TanzhangError as error:
        if error.code != "home-busy":
            raise


def _open(home: Home, con: sa.Connection, row: Any) -> Bid | None:
    """A bid as it was made, written in the clear from now on; None where its bidder may not buy any more."""
    said = json.loads(home.personal_keys.open(row.sealed, place_of(auction_bid, "sealed", row.id)))
    units, price_fen = said["units"], said["price_fen"]
    salt = derived_secret(home, "bid", f"{row.auction} {row.bidder} {row.reference}")
    if commitment(row.auction, row.bidder, units, price_fen, salt) != row.commitment:
        what = f"the bid in place {row.place} is not what was committed to"
        raise refuse("bid-changed", what, where=f"auction {row.auction}", remedy="restore the row from a backup")
    home.auctions.change_bid(con, row.id, {"sealed": None, "units": units, "price_fen": price_fen})
    party = home.parties.row_in(con, row.bidder)
    return Bid(row.place, units, price_fen) if party is not None and party.state == PartyState.APPROVED else None


def _award(
    home: Home, con: sa.Connection, auction: Any, row: Any, found: Clearing, *, actor: Actor, now: datetime
) -> None:
    party = home.parties.row_in(con, row.bidder)
    units, deal = found.units.get(row.place, 0), None
    state = WON if units else LOST
    if party is None or party.state != PartyState.APPROVED:
        state = EXCLUDED
    if units and found.price_fen is not None:
        source = reference_of(auction.id)
        reference = f"{AUCTION_REFERENCE}{auction.id}.{row.place}"
        terms = Terms(source, auction.seller, row.bidder, auction.lot, units, found.price_fen, reference)
        deal = agree(home, con, terms, actor=actor, now=now)
    ended = {"state": state, "awarded": units, "deal": deal, "changed_at": received_at(now)}
    home.auctions.change_bid(con, row.id, ended)


def _entry(home: Home, row: Any, said: dict[str, Any]) -> str:
    """What the log says of a result: no party's name."""
    known = {"format": FORMAT, "programme": home.programme.id, "auction": row.id, "lot": lot_name(row.lot)}
    asked = {"units": row.units, "reserve_fen": row.reserve_fen, "closed_for_bids": row.closes_at, "rule": RULE}
    texts = {name: value if value is None else str(value) for name, value in {**known, **asked, **said}.items()}
    return canonical_json(texts)


def call_off(home: Home, number: int, note: str, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Call an auction off that is not closed: its units are free, its bids are never opened. ``auction-not-open``.

    ``unknown-auction``. A second time changes nothing.
    """
    at = received_at(now)
    with home.book.transaction() as con:
        row = _auction(home, con, number)
        if row.state == CLEARED:
            what = f"auction {number} is closed, and has its result"
            raise refuse("auction-not-open", what, where="auction", remedy="cancel its deals if you have to")
        if row.state == OPEN:
            home.units.release(con, reference_of(number), at, actor=f"{actor.role} {actor.subject}")
            for each in home.auctions.bids_in(con, number):
                home.auctions.change_bid(con, each.id, {"sealed": None})
            home.auctions.change(con, number, {"state": VOID, "note": note, "changed_at": at})
            home.audit.write(con, actor, "auction called off", f"auction {number}", at=at, detail={"note": note})
    return described(home.auctions.one(number))


def close_due(home: Home, *, now: datetime) -> list[int]:
    """Close every auction whose time is over, as a worker does; which they were.

    One that cannot be closed keeps no other one open; what was wrong is raised once the others are closed, as by
    :func:`close`.
    """
    closed, problems = [], list[Problem]()
    for number in home.auctions.due(received_at(now)):
        try:
            close(home, number, actor=CHORE, now=now)
        except TanzhangError as error:
            problems += error.problems
        else:
            closed.append(number)
    if problems:
        raise TanzhangError(problems)
    return closed


# -- what is shown --------------------------------------------------------------------------------------------


def auction_named(home: Home, number: int) -> Any:
    """The row of an auction; ``unknown-auction``."""
    row = home.auctions.one(number)
    if row is None:
        raise _unknown(number)
    return row


def listed(home: Home, before: int | None = None, limit: int = 10_000) -> list[dict[str, Any]]:
    """Auctions, the latest first, as everybody sees them."""
    return [described(row) for row in home.auctions.page(before, limit)]


def described(row: Any) -> dict[str, Any]:
    """An auction as everybody sees it; how many bids there are is null until it is closed."""
    names = ("state", "opens_at", "closes_at", "made_at", "changed_at", "note", "digest", "entry", "marginal", "bids")
    amounts = ("units", "reserve_fen", "price_fen", "sold")
    said = {name: None if getattr(row, name) is None else str(getattr(row, name)) for name in amounts}
    seller, known = {"seller": row.seller, "lot": lot_name(row.lot)}, {name: getattr(row, name) for name in names}
    return {"number": row.id, **seller, **said, **known, "rule": RULE}


def result(home: Home, number: int) -> dict[str, Any]:
    """An auction with the result by place: what was bid and awarded, under each commitment, without any bidder's name.

    ``unknown-auction``. Of one that is not closed there is nothing but itself.
    """
    row = auction_named(home, number)
    bids = home.auctions.bids(number) if row.state == CLEARED else []
    return {**described(row), "result": _shown(bids)}


def _shown(bids: Sequence[Any]) -> list[dict[str, Any]]:
    names = ("place", "commitment", "state")
    return [{**{name: getattr(row, name) for name in names}, **_opened(row)} for row in bids]


def _auction(home: Home, con: sa.Connection, number: int) -> Any:
    row = home.auctions.one_in(con, number)
    if row is None:
        raise _unknown(number)
    return row


def _unknown(number: int) -> TanzhangError:
    return refuse(
        "unknown-auction",
        f"there is no auction {number}",
        where="auction",
        remedy="list the auctions: tanzhang auction list",
    )


def _moment(given: datetime) -> str:
    if not is_moment(given):
        raise _malformed("a moment of it has no offset, or is in no year of ours")
    return received_at(given)


def _malformed(message: str) -> TanzhangError:
    return refuse(
        "auction-malformed", message, where="#", remedy="correct what is said of the auction; docs/trading.md"
    )
