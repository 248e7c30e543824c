"""What verification asks of trading: nothing sold twice, every fen where it should be, every auction as it was bid.

Units and money are verified by themselves; here each deal is compared with both of them. No delivery is without its
payment, and no payment is used twice; what every party has is what it paid in, less what it bought and had back.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from tanzhang.core.auction import Bid, clear, commitment, published_digest
from tanzhang.core.deal import FOLLOWING, DealState, PaymentState, ReturnState
from tanzhang.core.errors import Problem
from tanzhang.core.units import PROGRAMME, Kind, State
from tanzhang.service.findings import RESTORE
from tanzhang.service.market.deals import holder_of
from tanzhang.service.market.payments import PAYMENT, SALE
from tanzhang.service.secrets import derived_secret
from tanzhang.stores.home import Home
from tanzhang.stores.register import auctions as register
from tanzhang.stores.register.auctions import CLEARED, EXCLUDED, OPEN, PLACED, WITHDRAWN
from tanzhang.stores.register.deals import BEGUN, reference_of
from tanzhang.stores.register.money import BANK, RETURNING, UNCLEAR
from tanzhang.stores.register.payments import rest_of

Wrong = Callable[[str, str], None]


def check_deals(home: Home) -> tuple[int, list[Problem]]:
    """How many deals, payments, returns, pledges and auctions were looked at, and what is wrong: ``trade-mismatch``."""
    problems: list[Problem] = []

    def wrong(message: str, place: str) -> None:
        problems.append(Problem("trade-mismatch", message, f"{home.book.name}: {place}", RESTORE))

    with home.book.snapshot():
        reserved = _reserved(home)
        count = _check_deals(home, reserved, wrong)
        count += _check_payments(home, wrong)
        count += _check_pledges(home, wrong)
        count += _check_auctions(home, reserved, wrong)
        _check_balances(home, wrong)
    for name in sorted(name for name in reserved if name.startswith(("deal:", "auction:"))):
        wrong(f"units are reserved for {name}, which waits for nothing", "unit_block")
    return count, problems


def _reserved(home: Home) -> Counter[str]:
    """What units are reserved for -> how many."""
    found: Counter[str] = Counter()
    for block in home.units.blocks(states=[State.RESERVED]):
        found[block.held_for] += block.count
    return found


# -- deals ----------------------------------------------------------------------------------------------------


def _check_deals(home: Home, reserved: Counter[str], wrong: Wrong) -> int:
    deals, states = home.deals.all(), _states(home, wrong)
    delivered = []
    for row in deals:
        place, name = f"market_deal {row.id}", reference_of(row.id)
        if states.pop(row.id, None) != row.state or row.gross_fen != row.units * row.price_fen:
            wrong(f"deal {row.id} is {row.state}, and its changes or its price say otherwise", place)
        waits = reserved.pop(name, 0)
        if waits != (row.units if row.state == DealState.AGREED else 0):
            wrong(f"deal {row.id} is {row.state}, and {waits} units are reserved for it", place)
        is_delivered = row.state == DealState.DELIVERED
        if is_delivered:
            delivered.append(row.delivered)
        if _handed_over(home, row) != is_delivered or _booked(home, row) != is_delivered:
            wrong(
                f"deal {row.id} is {row.state}: its units, its price or what sponsors add are not where that is", place
            )
    if sorted(delivered) != [*range(1, len(delivered) + 1)]:
        wrong("deliveries are not numbered one after the other", "market_deal")
    for number in states:
        wrong(f"changes of a deal {number} that there is not", "market_deal_event")
    return len(deals)


def _states(home: Home, wrong: Wrong) -> dict[int, str]:
    """Deal -> the state that its changes lead to."""
    at: dict[int, str] = {}
    for row in home.deals.events():
        before = at.get(row.deal, BEGUN)
        follows = row.state == DealState.AGREED if before == BEGUN else row.state in FOLLOWING[DealState(before)]
        if row.before != before or not follows:
            wrong(f"deal {row.deal} went from {row.before} to {row.state}", f"market_deal_event {row.id}")
        at[row.deal] = row.state
    return at


def _handed_over(home: Home, row: Any) -> bool:
    """Whether the register of units says that a deal's units went from its seller to its buyer."""
    event = home.units.event(Kind.DELIVER, reference_of(row.id))
    if event is None:
        return False
    asked = json.loads(event.detail)["asked"]
    before = home.units.event(Kind.RESERVE, reference_of(row.id))
    said = json.loads(before.detail)["asked"] if before is not None else {}
    from_seller = (said.get("holder"), said.get("lot"), said.get("count"))
    return bool(asked["to"] == holder_of(row.buyer) and from_seller == (holder_of(row.seller), row.lot, row.units))


def _booked(home: Home, row: Any) -> bool:
    """Whether money was moved for a deal as its price, its seller and its sponsors say."""
    move = home.money.move(SALE, reference_of(row.id))
    if move is None:
        return False
    added: Counter[str] = Counter()
    for use in home.pledges.uses(row.id):
        pledge = home.pledges.one(use.pledge)
        added[f"sponsor:{pledge.sponsor if pledge else ''}"] -= use.amount_fen
    proceeds = f"sale:{row.id}" if row.seller == PROGRAMME else holder_of(row.seller)
    legs = {holder_of(row.buyer): -row.gross_fen, proceeds: row.gross_fen + row.topup_fen, **added}
    return dict(move.legs) == legs and -sum(added.values()) == row.topup_fen


# -- payments -------------------------------------------------------------------------------------------------


def _check_payments(home: Home, wrong: Wrong) -> int:
    used, for_what = Counter[str](), Counter[str]()
    for use in home.payments.uses():
        used[use.entry] += use.amount_fen
        for_what[use.purpose] += use.amount_fen
    back: Counter[str] = Counter()
    returns = home.payments.returns()
    for row in returns:
        if row.entry is not None and row.state != ReturnState.FAILED:
            back[row.entry] += row.amount_fen
    payments = home.payments.all()
    for row in payments:
        rest = rest_of(row)
        right = (row.used_fen, row.sent_fen) == (used.pop(row.entry, 0), back.pop(row.entry, 0)) and rest >= 0
        right = right and (rest == 0) == (row.state == PaymentState.SETTLED)
        right = right and (row.holder == UNCLEAR) <= (row.state in (PaymentState.UNCLEAR, PaymentState.SETTLED))
        move = home.money.move(PAYMENT, row.entry)
        if not right or move is None or move.legs.get(BANK) != -row.amount_fen:
            wrong(f"payment {row.entry} of {row.amount_fen} fen is not what was booked of it", "market_payment")
    for name in sorted({*used, *back}):
        wrong(f"a payment {name} was used or sent back that there is not", "market_payment")
    for deal in home.deals.all():
        wanted = deal.gross_fen if deal.state == DealState.DELIVERED else 0
        if for_what[reference_of(deal.id)] != wanted:
            wrong(
                f"of payments {for_what[reference_of(deal.id)]} fen were used for deal {deal.id}", "market_payment_use"
            )
    return len(payments) + len(returns)


def _check_balances(home: Home, wrong: Wrong) -> None:
    """That each account of money has what its payments, sales, pledges and returns come to."""
    expected: Counter[str] = Counter()
    for row in home.payments.all():
        expected[row.holder] += rest_of(row)
    for row in home.payments.returns():
        if row.state in (ReturnState.ASKED, ReturnState.IN_FILE):
            expected[RETURNING] += row.amount_fen
        if row.entry is None and row.state != ReturnState.FAILED:
            expected[row.account] -= row.amount_fen
    for row in home.deals.all():
        if row.state == DealState.DELIVERED and row.seller != PROGRAMME:
            expected[holder_of(row.seller)] += row.gross_fen
    sponsors = {f"{row.id}": f"sponsor:{row.sponsor}" for row in home.pledges.all()}
    for use in home.pledges.uses():
        expected[sponsors.get(str(use.pledge), "")] -= use.amount_fen
    for use in home.payments.uses():
        kind, _, number = use.purpose.partition(":")
        if kind == "pledge":
            expected[sponsors.get(number, "")] += use.amount_fen
    own = ("party:", "sponsor:", UNCLEAR, RETURNING)
    there = {account: fen for account, fen in home.money.balances().items() if account.startswith(own)}
    for account in sorted({*there, *expected}):
        if there.get(account, 0) != expected[account]:
            what = (
                f"{account} has {there.get(account, 0)} fen, and what was paid and bought comes to {expected[account]}"
            )
            wrong(what, "money_move")


def _check_pledges(home: Home, wrong: Wrong) -> int:
    spent: Counter[int] = Counter()
    for use in home.pledges.uses():
        spent[use.pledge] += use.amount_fen
    pledges = home.pledges.all()
    for row in pledges:
        if spent.pop(row.id, 0) != row.spent_fen or row.spent_fen > row.cap_fen:
            wrong(f"pledge {row.id} is not what was added by it, or more than its cap", "market_pledge")
    for number in spent:
        wrong(f"something was added by pledge {number}, which there is not", "market_pledge_use")
    return len(pledges)


# -- auctions -------------------------------------------------------------------------------------------------


def _check_auctions(home: Home, reserved: Counter[str], wrong: Wrong) -> int:
    entries, auctions = home.auctions.entries(), home.auctions.all()
    for row in auctions:
        place, bids = f"market_auction {row.id}", home.auctions.bids(row.id)
        waits = reserved.pop(register.reference_of(row.id), 0)
        if waits != (row.units if row.state == OPEN else 0):
            wrong(f"auction {row.id} is {row.state}, and {waits} units are reserved for it", place)
        if [bid.place for bid in bids] != [*range(1, len(bids) + 1)]:
            wrong(f"a place of auction {row.id} is missing", place)
        if any((bid.sealed is None) == (row.state == OPEN and bid.state == PLACED) for bid in bids):
            wrong(f"a bid of auction {row.id} is opened too early, or is sealed still", place)
        if row.state == CLEARED:
            _check_cleared(home, row, bids, entries.pop(row.entry, None), wrong)
    for index in entries:
        wrong(f"entry {index} of the log is about an auction that there is not", "entry")
    return len(auctions)


def _check_cleared(home: Home, row: Any, bids: list[Any], text: str | None, wrong: Wrong) -> None:
    place = f"market_auction {row.id}"
    opened = [bid for bid in bids if bid.state != WITHDRAWN]
    for bid in opened:
        salt = derived_secret(home, "bid", f"{row.id} {bid.bidder} {bid.reference}")
        if commitment(row.id, bid.bidder, bid.units, bid.price_fen, salt) != bid.commitment:
            wrong(f"the bid in place {bid.place} of auction {row.id} is not what was committed to", "auction_bid")
    ranked = (bid for bid in opened if bid.state != EXCLUDED)
    found = clear(row.units, row.reserve_fen, [Bid(bid.place, bid.units, bid.price_fen) for bid in ranked])
    awarded = {bid.place: bid.awarded for bid in opened if bid.awarded}
    if (found.price_fen, found.sold, found.marginal) != (
        row.price_fen,
        row.sold,
        row.marginal,
    ) or awarded != found.units:
        wrong(f"auction {row.id} is not what its bids come to", place)
    if not _deals_are_awards(home, opened, row):
        wrong(f"deals of auction {row.id} are not what was awarded", place)
    digest = published_digest(bid.commitment for bid in bids)
    said = {} if text is None else json.loads(text)
    logged = (said.get("auction"), said.get("digest"), said.get("sold"), said.get("bids"))
    if digest != row.digest or logged != (str(row.id), digest, str(row.sold), str(row.bids)):
        wrong(f"the log says otherwise of auction {row.id}", place)


def _deals_are_awards(home: Home, bids: Iterable[Any], row: Any) -> bool:
    source = register.reference_of(row.id)
    wanted = {(bid.deal, bid.bidder, bid.awarded, row.price_fen) for bid in bids if bid.awarded}
    there = {(deal.id, deal.buyer, deal.units, deal.price_fen) for deal in home.deals.all() if deal.source == source}
    return wanted == there
