"""``tanzhang market``: the terms of a market, and since when they are public."""

from __future__ import annotations

import typer

from tanzhang.cli.common import AsJson, HomeOption, answer, answering, home_of, now
from tanzhang.cli.partner import operator

market_app = typer.Typer(help="What lots and sales keep to: the market rules, and their publication.")


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
        from tanzhang.cli.show import tree
        from tanzhang.service.market.terms import publish_terms

        answer(as_json, publish_terms(home_of(home), actor=operator(), now=now()), tree)
