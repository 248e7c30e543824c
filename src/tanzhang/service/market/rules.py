"""The market rules that hold in a home."""

from __future__ import annotations

from datetime import date

from tanzhang.core.errors import refuse
from tanzhang.core.market import MarketRules
from tanzhang.stores.home import Home
from tanzhang.stores.market_rules import MARKET


def market_rules(home: Home, day: date) -> MarketRules:
    """The rules for what is done on a local day; ``no-market``, ``unknown-market``, ``market-not-in-force``."""
    return MARKET.in_force(home.catalogue, market_name(home), day, "market-not-in-force")


def market_rules_of(home: Home, digest: str) -> MarketRules:
    """The version that a digest names; ``no-market``, ``terms-unknown`` where the catalogue has it no more."""
    for each in MARKET.of(home.catalogue, market_name(home)):
        if each.digest == digest:
            return each
    raise refuse(
        "terms-unknown",
        f"no version of the market rules {home.programme.market} has the digest {digest[:64]}",
        where=f"market/{home.programme.market}",
        remedy="bring back the version that it names; a published version is never edited",
    )


def market_name(home: Home) -> str:
    """Whose rules the programme names; ``no-market`` where it names none."""
    if home.programme.market is None:
        raise refuse(
            "no-market",
            f"programme {home.programme.id} has no market: nothing of it is sold",
            where=home.programme.where,
            remedy="name market rules in the programme (market: <id>, a folder of market/)",
        )
    return home.programme.market
