"""Sealed-bid uniform-price auctions (统一价密封竞价): what a bid commits to, and how an auction is cleared.

Bids are ranked by price, then by the place in which they came in. In that order each gets what it asks for until
nothing is left; only the last of them may get less (the marginal bid). All pay one price, that of the last bid that
gets anything. A bid below the reserve price gets nothing. Where less is asked for than is offered, every bid at or
above the reserve is filled, and the price is the lowest of these. What nobody gets stays the seller's.

**Ours to say:** ties go by place, since a place is given by the database when the bid comes in and can be shown by its
receipt; nothing else about a bid or its bidder decides. A bid accepts being filled in part.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from tanzhang.core.methodology import canonical_json

RULE = "uniform price; by price, then by place; the marginal bid may be filled in part"
"""What is published with each result."""
FORMAT = "tanzhang.bid/1"


@dataclass(frozen=True, slots=True)
class Bid:
    """So many units at up to so many fen each; ``place`` (from 1) tells which of two bids came first."""

    place: int
    units: int
    price_fen: int


@dataclass(frozen=True, slots=True)
class Clearing:
    """What bids come to: by place the units of each bid that gets any, and the price all of these pay.

    ``price_fen`` is None where nobody gets anything. ``marginal`` is the place of the last bid that gets something.
    """

    price_fen: int | None
    marginal: int | None
    units: dict[int, int]

    @property
    def sold(self) -> int:
        """How many units are sold in all."""
        return sum(self.units.values())


def clear(offered: int, reserve_fen: int, bids: Iterable[Bid]) -> Clearing:
    """Clear an auction of ``offered`` units; the order in which bids are given here does not matter.

    ValueError for what no register keeps: no unit, a price below one fen, two bids of one place.

    >>> clear(10, 50, [Bid(1, 6, 60), Bid(2, 6, 70), Bid(3, 6, 60), Bid(4, 6, 49)])
    Clearing(price_fen=60, marginal=1, units={2: 6, 1: 4})
    """
    ranked = sorted(bids, key=lambda bid: (-bid.price_fen, bid.place))
    if offered <= 0 or reserve_fen <= 0 or any(bid.units <= 0 or bid.price_fen <= 0 for bid in ranked):
        raise ValueError("units and prices of an auction are above zero")
    if len({bid.place for bid in ranked}) < len(ranked):
        raise ValueError("two bids have one place")
    left, price, marginal = offered, None, None
    units: dict[int, int] = {}
    for bid in ranked:
        if not left or bid.price_fen < reserve_fen:
            break
        units[bid.place] = min(bid.units, left)
        left -= units[bid.place]
        price, marginal = bid.price_fen, bid.place
    return Clearing(price, marginal, units)


def commitment(auction: int, bidder: str, units: int, price_fen: int, salt: bytes) -> str:
    """The digest that a bid is kept and published under; with the salt, which its bidder has, anybody can check it.

    Without the salt (32 bytes) nobody can try out what was bid.
    """
    said = {"format": FORMAT, "auction": str(auction), "bidder": bidder, "units": str(units)}
    text = canonical_json({**said, "price_fen": str(price_fen), "salt": salt.hex()})
    return sha256(text.encode()).hexdigest()


def published_digest(commitments: Iterable[str]) -> str:
    """What the log says of all bids of an auction: a digest over their commitments in the order of their places."""
    return sha256("".join(f"{each}\n" for each in commitments).encode()).hexdigest()
