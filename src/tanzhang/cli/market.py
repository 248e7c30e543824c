"""``tanzhang market``: the terms of a market, and since when they are public; prices, overview, open data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tanzhang.cli.common import AsJson, HomeOption, answer, answering, home_of, now
from tanzhang.cli.partner import operator

market_app = typer.Typer(help="The rules that lots and sales keep to; publish them.")


@market_app.command("terms")
def terms(home: HomeOption = None, as_json: AsJson = False) -> None:
    """Today's market rules, and every publication with the day from which lots may freeze."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.terms import terms_shown

        answer(as_json, terms_shown(home_of(home), now()), tree)


@market_app.command("publish")
def publish(home: HomeOption = None, as_json: AsJson = False) -> None:
    """Publish today's terms in the log; a repeat changes nothing."""
    with answering(as_json):
        from tanzhang.cli import next_steps
        from tanzhang.service.market.terms import publish_terms

        answer(as_json, publish_terms(home_of(home), actor=operator(), now=now()), next_steps.published)


@market_app.command("prices")
def prices(home: HomeOption = None, as_json: AsJson = False) -> None:
    """What units were sold for, by day and vintage."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.reports import price_history

        answer(as_json, price_history(home_of(home)), tree)


@market_app.command("overview")
def overview(home: HomeOption = None, as_json: AsJson = False) -> None:
    """Where each milligram stands: confirmed, reserved, issued, retired and so on, each counted once."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.reports import market_overview

        answer(as_json, market_overview(home_of(home)), tree)


@market_app.command("open-data")
def open_data(
    out: Annotated[Path, typer.Option("--out", help="New ZIP file.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Registered lots by region and behaviour, without cells of few accounts: CSV, Parquet and a description."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.open_data import export_open_data

        answer(as_json, export_open_data(home_of(home), out, now=now()), tree)
