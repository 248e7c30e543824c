"""Publishing the terms of a market (利益分配公示): the whole rules in the log, and since when they stand there.

Guangdong's rule of 2022 asks that how benefits are shared is public for some days before the application; here no lot
freezes before. The log proves that terms stand there and in which order. For the day there is this home's word, and
what cosignatures of witnesses on checkpoints say of the time.
"""

from __future__ import annotations

import json
from datetime import date, datetime
from typing import Any

from tanzhang.core.access import Actor
from tanzhang.core.errors import refuse
from tanzhang.core.market import WORKING, MarketRules, Published
from tanzhang.service.market.rules import market_name, market_rules
from tanzhang.service.moments import received_at, received_day
from tanzhang.stores.home import Home
from tanzhang.stores.market_rules import MARKET


def publish_terms(home: Home, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Publish the terms in force today in the log; a repeat changes nothing and gives the first answer.

    ``no-market``, ``market-not-in-force``, ``home-busy``, ``key-missing``.
    """
    day = received_day(home, now)
    rules = market_rules(home, day)
    with home.settling():
        with home.book.transaction() as con:
            known = home.market_terms.published(con)
            first = next((each for each in known if each[1].digest == rules.digest), None)
            if first is None:
                said = Published(home.programme.id, day, rules.text)
                first = home.market_terms.add(con, said), said
                detail = {"terms": rules.digest, "entry": first[0]}
                at = received_at(now)
                home.audit.write(con, actor, "market terms published", f"market {rules.key}", at=at, detail=detail)
        home.publish()
    return {"status": "published", "market": rules.key, **_shown(first, rules)}


def terms_public_since(home: Home, digest: str) -> date | None:
    """The first local day on which the terms of a digest were public; None while they are not."""
    return next((said.public_since for _, said in _public(home) if said.digest == digest), None)


def check_notice(home: Home, rules: MarketRules, day: date) -> date:
    """Refuse a lot that would freeze on a day before the notice of its terms is over; returns since when they stand.

    ``notice-too-short``.
    """
    since = terms_public_since(home, rules.digest)
    if since is None:
        raise refuse(
            "notice-too-short",
            f"the terms of {rules.key} are not public: the log has no entry of them",
            where="terms",
            remedy="publish them with 'tanzhang market publish', and freeze when their notice is over",
        )
    over = rules.notice_ends(since)
    if day < over:
        counted = "working days" if rules.notice_counts == WORKING else "days"
        raise refuse(
            "notice-too-short",
            f"the terms of {rules.key} are public since {since}; {rules.notice_days} {counted} of notice are not over "
            f"on {day}",
            where="terms",
            remedy=f"freeze on {over} or later",
        )
    return since


def terms_shown(home: Home, now: datetime) -> dict[str, Any]:
    """Today's rules, their digest, and every publication with the day from which lots under it may freeze.

    ``no-market``, ``market-not-in-force``.
    """
    rules = market_rules(home, received_day(home, now))
    versions = {each.digest: each for each in MARKET.of(home.catalogue, market_name(home))}
    return {
        "programme": home.programme.id,
        "market": rules.key,
        "terms_digest": rules.digest,
        "terms": json.loads(rules.text),
        "log": home.values["origin"],
        "published": [_shown(each, versions.get(each[1].digest)) for each in _public(home)],
    }


def _public(home: Home) -> list[tuple[int, Published]]:
    """What of it is in the published log; an entry of the book alone, after a crash, is not public yet."""
    size = home.log.size
    return [each for each in home.market_terms.published() if each[0] < size]


def _shown(each: tuple[int, Published], rules: MarketRules | None) -> dict[str, Any]:
    index, said = each
    return {
        "terms_digest": said.digest,
        "entry": index,
        "version": None if rules is None else rules.version,
        "public_since": said.public_since.isoformat(),
        "lots_may_freeze_from": None if rules is None else rules.notice_ends(said.public_since).isoformat(),
    }
