"""``tanzhang mall``: what points can be spent on, the operator's side."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tanzhang.cli.common import AsJson, HomeOption, answer, answering, home_of, now
from tanzhang.cli.partner import operator
from tanzhang.core.errors import Problem, TanzhangError, refuse

if TYPE_CHECKING:
    from tanzhang.service.offers import Offer

mall_app = typer.Typer(help="The mall: offers, codes, payments, merchants.")
offer_app = typer.Typer(help="What points can be spent on.")
codes_app = typer.Typer(help="Pools of codes.")
mall_app.add_typer(offer_app, name="offer")
mall_app.add_typer(codes_app, name="codes")

File = Annotated[Path, typer.Argument(metavar="FILE", help="An offer as YAML; docs/mall.md has one.")]
Name = Annotated[str, typer.Argument(metavar="OFFER", help="Id of the offer.")]


@offer_app.command("add")
def add(file: File, home: HomeOption = None, as_json: AsJson = False) -> None:
    """Add an offer."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.offers import add_offer

        answer(as_json, add_offer(home_of(home), _offer_in(file), actor=operator(), now=now()), tree)


@offer_app.command("change")
def change(file: File, home: HomeOption = None, as_json: AsJson = False) -> None:
    """Say all of an offer anew; orders that were placed keep their prices and terms."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.offers import change_offer

        said = _offer_in(file)
        answer(as_json, change_offer(home_of(home), said.id, said, actor=operator(), now=now()), tree)


@offer_app.command("end")
def end(offer: Name, home: HomeOption = None, as_json: AsJson = False) -> None:
    """Sell no more of an offer; what was ordered stands."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.offers import end_offer

        answer(as_json, end_offer(home_of(home), offer, actor=operator(), now=now()), tree)


@offer_app.command("list")
def list_(home: HomeOption = None, as_json: AsJson = False) -> None:
    """Every offer, how many are sold and how many are left."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.offers import listed_offers

        found = listed_offers(home_of(home), "", 1_000_000, everything=True, now=now())
        names = ("id", "merchant", "title_zh", "kind", "price_points", "price_fen", "sold", "left", "status")
        answer(as_json, {"offers": [{name: each[name] for name in names} for each in found]}, tree)


@offer_app.command("picture")
def picture(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="PNG, JPEG or WebP, at most 1 MiB.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Keep a picture; its digest names it in offers."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.offers import add_picture

        answer(as_json, add_picture(home_of(home), _bytes_of(file)), tree)


@codes_app.command("add")
def add_codes(
    offer: Name,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="One code a line.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Add codes to an offer's pool; those that are there already are left alone."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service import offers

        text = _bytes_of(file).decode("utf-8", "replace")
        said = offers.add_codes(home_of(home), offer, text, actor=operator(), now=now())
        answer(as_json, {"offer": offer, **said}, tree)


@mall_app.command("paid")
def paid(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV with columns order, amount_fen, reference.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Confirm money that came in, as a bank's file says; run twice, the second time changes nothing."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.mall import pay

        payments = _payments_in(_bytes_of(file).decode("utf-8-sig", "replace"), file.name)
        actor = operator()
        answer(as_json, pay(home_of(home), payments, by=f"{actor.role} {actor.subject}", now=now()), tree)


@mall_app.command("refund")
def refund(
    order: Annotated[str, typer.Argument(metavar="ORDER", help="Number of the order.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Cancel an order that was not delivered and give its points back."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.mall import refund as give_back

        actor = operator()
        answer(as_json, give_back(home_of(home), order, by=f"{actor.role} {actor.subject}", now=now()), tree)


@mall_app.command("report")
def report(
    merchant: Annotated[str, typer.Argument(metavar="MERCHANT", help="Id of the partner.")],
    month: Annotated[str, typer.Argument(metavar="MONTH", help="YYYY-MM.")],
    as_csv: Annotated[bool, typer.Option("--csv", help="As CSV, one line an offer.")] = False,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """What a merchant's offers came to in a month, and what it is owed."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.merchants import settlement_csv, settlement_report

        opened = home_of(home)
        if as_csv:
            sys.stdout.write(settlement_csv(opened, merchant, month).decode())
        else:
            answer(as_json, settlement_report(opened, merchant, month), tree)


def _offer_in(file: Path) -> Offer:
    from tanzhang.service.offers import offer_of
    from tanzhang.stores.yaml_text import load_yaml

    return offer_of(load_yaml(_bytes_of(file).decode("utf-8", "replace"), file.name).data)


def _bytes_of(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise refuse(
            "file-system", f"{file.name}: {error.strerror}", where=str(file), remedy="name a file that can be read"
        ) from None


def _payments_in(text: str, name: str) -> list[dict[str, Any]]:
    """The lines of a bank's file; ``payments-malformed`` with every line that is wrong."""
    rows = list(csv.DictReader(io.StringIO(text)))
    wrong = [
        Problem("payments-malformed", "a line needs order, amount_fen and reference", f"{name}:{line}", "correct it")
        for line, row in enumerate(rows, 2)
        if not (row.get("order") and row.get("reference")) or not _is_amount(row.get("amount_fen"))
    ]
    if wrong or not rows:
        none = Problem("payments-malformed", "there is no payment", name, "give order, amount_fen and reference a line")
        raise TanzhangError(wrong or none)
    return [{name: row[name].strip() for name in ("order", "amount_fen", "reference")} for row in rows]


def _is_amount(text: str | None) -> bool:
    text = (text or "").strip()
    return text.isascii() and text.isdigit() and len(text) < 16
