"""``tanzhang auction``: sealed bids for units, and one price for all who win."""

from __future__ import annotations

from typing import Annotated

import typer

from tanzhang.cli.common import AsJson, HomeOption, answer, answering, converted, home_of, home_to_close, now
from tanzhang.cli.deal import Lot, Note, Number, Price, Reference, Seller, Units
from tanzhang.cli.partner import operator

auction_app = typer.Typer(help="Sealed-bid auctions of units.")

Bidder = Annotated[str, typer.Option("--bidder", help="Party that bids.")]


@auction_app.command("open")
def open_(
    lot: Lot,
    units: Units,
    reserve_fen: Annotated[int, typer.Option("--reserve-fen", min=1, help="Least fen for a unit; it is public.")],
    opens: Annotated[str, typer.Option("--opens", help="When bidding begins: 2026-07-20T09:00:00+08:00.")],
    closes: Annotated[str, typer.Option("--closes", help="When it ends.")],
    reference: Reference,
    seller: Seller = "programme",
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Announce an auction; its units are reserved until it is closed."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.auctions import AuctionSaid, open_auction

        said = {"seller": seller, "reference": reference, "lot": lot, "units": str(units)}
        said |= {"reserve_fen": str(reserve_fen), "opens_at": opens, "closes_at": closes}
        answer(as_json, open_auction(home_of(home), converted(said, AuctionSaid), actor=operator(), now=now()), tree)


@auction_app.command("list")
def list_(home: HomeOption = None, as_json: AsJson = False) -> None:
    """Every auction, the latest first."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.auctions import listed

        answer(as_json, {"auctions": listed(home_of(home))}, tree)


@auction_app.command("show")
def show(number: Number, home: HomeOption = None, as_json: AsJson = False) -> None:
    """An auction, and its result by place once it is closed."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.auctions import result

        answer(as_json, result(home_of(home), number), tree)


@auction_app.command("bid")
def bid_(
    number: Number,
    bidder: Bidder,
    units: Units,
    price_fen: Price,
    reference: Reference,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Bid for a party, sealed; keep the answer, whose salt proves later what was bid."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.auctions import bid

        made = bid(home_of(home), number, bidder, units, price_fen, reference, actor=operator(), now=now())
        answer(as_json, made, tree)


@auction_app.command("bids")
def bids(number: Number, bidder: Bidder, home: HomeOption = None, as_json: AsJson = False) -> None:
    """The bids of a party; what they say only once the auction is closed."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.auctions import own_bids

        answer(as_json, {"bids": own_bids(home_of(home), number, bidder)}, tree)


@auction_app.command("withdraw")
def withdraw_(
    number: Number,
    bidder: Bidder,
    place: Annotated[int, typer.Option("--place", min=1, help="Place of the bid, as its receipt says.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Take a bid back before the close."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.auctions import withdraw

        answer(as_json, withdraw(home_of(home), number, bidder, place, actor=operator(), now=now()), tree)


@auction_app.command("close")
def close_(number: Number, home: HomeOption = None, as_json: AsJson = False) -> None:
    """Close an auction whose time is over; a worker does it by itself."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.auctions import close

        answer(as_json, close(home_to_close(home), number, actor=operator(), now=now()), tree)


@auction_app.command("call-off")
def call_off_(number: Number, note: Note, home: HomeOption = None, as_json: AsJson = False) -> None:
    """Call an auction off before it is closed; its bids are never opened."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.auctions import call_off

        answer(as_json, call_off(home_of(home), number, note, actor=operator(), now=now()), tree)
