"""``tanzhang deal`` and ``tanzhang pledge``: offers, deals, what sponsors add."""

from __future__ import annotations

from typing import Annotated

import typer

from tanzhang.cli.common import AsJson, HomeOption, answer, answering, converted, home_of, now
from tanzhang.cli.partner import operator

deal_app = typer.Typer(help="Offers and deals over units.")
pledge_app = typer.Typer(help="What sponsors add to the price of units.")

Number = Annotated[int, typer.Argument(metavar="NUMBER", min=1, help="Its number.")]
Lot = Annotated[str, typer.Option("--lot", help="Name of the lot, such as L000042.")]
Units = Annotated[int, typer.Option("--units", min=1, help="How many units.")]
Price = Annotated[int, typer.Option("--price-fen", min=1, help="Fen for one unit.")]
Seller = Annotated[str, typer.Option("--seller", help="programme, or a party that holds the units.")]
Buyer = Annotated[str, typer.Option("--buyer", help="Party that buys.")]
Reference = Annotated[str, typer.Option("--reference", help="Your key of it; the same again has one effect.")]
Note = Annotated[str, typer.Option("--note", help="Why.")]


@deal_app.command("offer")
def offer_(
    lot: Lot,
    units: Units,
    price_fen: Price,
    until: Annotated[str, typer.Option("--until", help="Moment it ends, such as 2026-12-31T18:00:00+08:00.")],
    reference: Reference,
    seller: Seller = "programme",
    buyer: Annotated[str | None, typer.Option("--buyer", help="The one party it is for.")] = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Offer units to every approved party, or to one."""
    with answering(as_json):
        from tanzhang.cli import next_steps
        from tanzhang.service.market.deals import OfferSaid, offer

        said = {"seller": seller, "reference": reference, "lot": lot, "units": str(units), "until": until}
        wanted = converted({**said, "price_fen": str(price_fen), "buyer": buyer}, OfferSaid)
        answer(as_json, offer(home_of(home), wanted, actor=operator(), now=now()), next_steps.offer)


@deal_app.command("offers")
def offers_(home: HomeOption = None, as_json: AsJson = False) -> None:
    """Every offer, the latest first."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.deals import offers

        answer(as_json, {"offers": offers(home_of(home))}, tree)


@deal_app.command("end-offer")
def end_offer_(number: Number, home: HomeOption = None, as_json: AsJson = False) -> None:
    """Let nobody accept an offer any more; deals that were made stand."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.deals import end_offer

        answer(as_json, end_offer(home_of(home), number, actor=operator(), now=now()), tree)


@deal_app.command("accept")
def accept_(
    number: Number, buyer: Buyer, units: Units, reference: Reference, home: HomeOption = None, as_json: AsJson = False
) -> None:
    """Accept an offer for a party, whole or in part; the answer says how it is paid."""
    with answering(as_json):
        from tanzhang.cli import next_steps
        from tanzhang.service.market.deals import accept

        made = accept(home_of(home), number, buyer, units, reference, actor=operator(), now=now())
        answer(as_json, made, next_steps.deal)


@deal_app.command("agree")
def agree_(
    buyer: Buyer,
    lot: Lot,
    units: Units,
    price_fen: Price,
    reference: Reference,
    seller: Seller = "programme",
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Enter a deal that was agreed outside, as a contract says."""
    with answering(as_json):
        from tanzhang.cli import next_steps
        from tanzhang.core.serial import lot_number
        from tanzhang.service.market.deals import Terms, agree_directly

        terms = Terms("agreed", seller, buyer, lot_number(lot, where="--lot"), units, price_fen, reference)
        answer(as_json, agree_directly(home_of(home), terms, actor=operator(), now=now()), next_steps.deal)


@deal_app.command("list")
def list_(
    party: Annotated[str | None, typer.Option("--party", help="Those that a party buys or sells.")] = None,
    state: Annotated[str | None, typer.Option("--state", help="agreed, delivered, lapsed or cancelled.")] = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Deals, the latest first."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.deals import listed

        answer(as_json, {"deals": listed(home_of(home), party=party, state=state)}, tree)


@deal_app.command("show")
def show(number: Number, home: HomeOption = None, as_json: AsJson = False) -> None:
    """A deal and its changes."""
    with answering(as_json):
        from tanzhang.cli import next_steps
        from tanzhang.service.market.deals import deal_named, described, history

        opened = home_of(home)
        found = described(opened, deal_named(opened, number))
        answer(as_json, {**found, "events": history(opened, number)}, next_steps.deal)


@deal_app.command("cancel")
def cancel_(number: Number, note: Note, home: HomeOption = None, as_json: AsJson = False) -> None:
    """Cancel a deal that is not delivered; what was paid for it is its buyer's to have back."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.deals import cancel

        answer(as_json, cancel(home_of(home), number, note, actor=operator(), now=now()), tree)


@deal_app.command("deliver")
def deliver(number: Number, home: HomeOption = None, as_json: AsJson = False) -> None:
    """Try again to hand over what is paid for."""
    with answering(as_json):
        from tanzhang.cli import next_steps
        from tanzhang.service.market.payments import deliver_again

        answer(as_json, deliver_again(home_of(home), number, actor=operator(), now=now()), next_steps.deal)


@deal_app.command("lapse")
def lapse(home: HomeOption = None, as_json: AsJson = False) -> None:
    """Let deals lapse that were not paid in time; a worker does it by itself."""
    with answering(as_json):
        from tanzhang.cli.common import home_to_close
        from tanzhang.cli.show import tree
        from tanzhang.service.market.deals import lapse_due

        answer(as_json, {"status": "lapsed", "deals": lapse_due(home_to_close(home), now=now())}, tree)


@pledge_app.command("make")
def make(
    sponsor: Annotated[str, typer.Option("--sponsor", help="Party that pays it.")],
    fen: Annotated[int, typer.Option("--fen", min=1, help="Fen added for each.")],
    cap_fen: Annotated[int, typer.Option("--cap-fen", min=1, help="Fen in all, at most.")],
    source: Annotated[str, typer.Option("--source", help="Where the sponsor said so.")],
    reference: Reference,
    per: Annotated[str, typer.Option("--per", help="For each what: unit or tonne.")] = "unit",
    lot: Annotated[str | None, typer.Option("--lot", help="Only to units of this lot.")] = None,
    vintage: Annotated[int | None, typer.Option("--vintage", help="Only to units of this year.")] = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Enter what a sponsor adds to sales of the programme, up to a cap."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.pledges import PledgeSaid, pledge

        said = {"sponsor": sponsor, "reference": reference, "fen": str(fen), "per": per, "cap_fen": str(cap_fen)}
        wanted = converted({**said, "source": source, "lot": lot, "vintage": vintage}, PledgeSaid)
        answer(as_json, pledge(home_of(home), wanted, actor=operator(), now=now()), tree)


@pledge_app.command("list")
def pledges(home: HomeOption = None, as_json: AsJson = False) -> None:
    """Every pledge, the latest first."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.pledges import listed

        answer(as_json, {"pledges": listed(home_of(home))}, tree)


@pledge_app.command("end")
def end(number: Number, home: HomeOption = None, as_json: AsJson = False) -> None:
    """Let a pledge add to nothing any more; what it added is owed."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.pledges import end_pledge

        answer(as_json, end_pledge(home_of(home), number, actor=operator(), now=now()), tree)
