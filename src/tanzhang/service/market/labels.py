"""Labels (标签) of units: dated facts that say what units are eligible for, and in which tier of the market they are.

A label never touches a serial number. It says a scheme of the market rules, a scope (such as the year of a surrender),
who granted it on what evidence, and from which local day until which other one it holds; revoking is a fact of its own.
A unit is in one tier: that of its labels in force or to come, which therefore are all of one; without any, the tier
that it began in. So one label excludes another of another tier until it is over or revoked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa

from tanzhang.core.access import Actor
from tanzhang.core.errors import refuse
from tanzhang.core.units import TERMINAL, Block, Kind, Pick, State
from tanzhang.service.market.rules import market_rules
from tanzhang.service.market.units import label_shown, named, request_text
from tanzhang.service.moments import received_at, received_day
from tanzhang.stores.home import Home
from tanzhang.stores.register.units import Begun, actor_text

_DIGEST = re.compile("[0-9a-f]{64}")


def label(
    home: Home,
    serial: str,
    *,
    scheme: str,
    scope: str,
    granted_by: str,
    evidence: str,
    first_day: date,
    until_day: date | None,
    reference: str,
    actor: Actor,
    now: datetime,
) -> dict[str, Any]:
    """Label units from a local day on, until another one (not included).

    ``evidence`` is the SHA-256 (hex) of the document that grants it. Raises ``label-unknown``, ``label-malformed``,
    ``label-overlap`` where the same scheme and scope hold on some of these days already, ``tier-conflict`` where a
    label of another tier does, ``unit-state`` for units that are final, or that wait while their tier would change,
    ``no-market``, ``reference-taken``.
    """
    begun, pick = named(home, serial)
    today = received_day(home, now)
    said = market_rules(home, today).labels.get(scheme)
    if said is None:
        raise refuse(
            "label-unknown",
            f"the market rules know no label {scheme[:64]!r}",
            where="scheme",
            remedy="use one of the rules' labels: tanzhang market terms",
        )
    for name, value in {
        "reference": reference,
        "granted_by": granted_by,
        **({"scope": scope} if scope else {}),
    }.items():
        request_text(value, name)
    _check_days(first_day, until_day, evidence)
    fact = {
        "reference": reference, "lot": pick.lot, "lo": pick.lo, "hi": pick.hi, "scheme": scheme, "scope": scope,
        "tier": said.tier, "granted_by": granted_by, "evidence": evidence, "first_day": first_day.isoformat(),
        "until_day": None if until_day is None else until_day.isoformat(), "revokes": None,
    }  # fmt: skip
    with home.book.transaction() as con:
        known = home.units.event_in(con, Kind.LABEL, reference)
        if known is None:
            _check_facts(_over(home, con, pick), fact, today)
            _check_blocks(home.units.blocks_in(con, lot=pick.lot), pick, said.tier)
        number, _ = home.units.label(con, fact, lambda _: said.tier, received_at(now), actor=actor_text(actor))
        if known is None:
            detail = {"reference": reference, "scheme": scheme, "scope": scope, "evidence": evidence}
            home.audit.write(con, actor, "unit label", serial, at=received_at(now), detail=detail)
    return {"status": "labelled", "reference": reference, **_shown(home, begun, number)}


def revoke(home: Home, number: int, *, reference: str, why: str, actor: Actor, now: datetime) -> dict[str, Any]:
    """Let a label hold no longer from today on; its units go back to the tier that their other labels say.

    ``unknown-label``, ``reference-taken``.
    """
    request_text(reference, "reference")
    request_text(why, "why", longest=1000)
    with home.book.transaction() as con:
        known = home.units.event_in(con, Kind.LABEL, reference)
        granted = home.units.fact_in(con, number)
        if granted is None or granted.revokes is not None or (known is None and _is_revoked(home, con, granted)):
            raise refuse(
                "unknown-label",
                f"there is no label {number} that holds",
                where="label",
                remedy="see the labels of the units: tanzhang unit show",
            )
        today = received_day(home, now)
        fact = {name: getattr(granted, name) for name in _SAME}
        fact |= {"reference": reference, "first_day": today.isoformat(), "until_day": None, "revokes": number}
        if known is not None:
            fact["first_day"] = home.units.fact_named(con, reference).first_day
        begun = home.units.begun_in(con, granted.lot)
        if begun is None:
            raise AssertionError(f"lot {granted.lot} has labels and never began")
        pick = Pick(granted.lot, granted.lo, granted.hi)
        left = [each for each in _over(home, con, pick) if each.seq != number and _holds_after(each, today)]
        tier = _tier_after(begun, left)
        home.units.label(con, fact, tier, received_at(now), actor=actor_text(actor))
        if known is None:
            detail = {"reference": reference, "label": str(number), "why": why}
            subject = begun.serial(pick.lo, pick.hi).text
            home.audit.write(con, actor, "unit label revoked", subject, at=received_at(now), detail=detail)
    return {"status": "revoked", "reference": reference, **_shown(home, begun, number)}


def labels_on(facts: Sequence[Any], pick: Pick, day: date) -> list[Any]:
    """The labels among facts that hold of some of these units on a local day."""
    text = day.isoformat()
    return [
        each
        for each in facts
        if each.lo < pick.hi and each.hi > pick.lo and each.first_day <= text and (each.until_day or "9999") > text
    ]


_SAME = ("lot", "lo", "hi", "scheme", "scope", "tier", "granted_by", "evidence")


def _check_days(first_day: date, until_day: date | None, evidence: str) -> None:
    if (until_day is not None and until_day <= first_day) or not _DIGEST.fullmatch(evidence):
        raise refuse(
            "label-malformed",
            "a label ends before it begins, or its evidence is no SHA-256 in hex",
            where="label",
            remedy="give a first day, a later day on which it holds no more (or none), and the digest of the evidence",
        )


def _over(home: Home, con: sa.Connection, pick: Pick) -> list[Any]:
    """Labels that stand over some of these units."""
    return [each for each in home.units.facts_in(con, pick.lot) if each.lo < pick.hi and each.hi > pick.lo]


def _holds_after(fact: Any, today: date) -> bool:
    return bool((fact.until_day or "9999") > today.isoformat())


def _tier_after(begun: Begun, left: Sequence[Any]) -> Callable[[Block], str]:
    """In which tier a block is by the labels that are left; other labels may be of parts of the units only."""

    def tier_of(block: Block) -> str:
        return next((each.tier for each in left if each.lo <= block.lo and block.hi <= each.hi), begun.tier)

    return tier_of


def _check_facts(facts: Sequence[Any], fact: Mapping[str, Any], today: date) -> None:
    """Refuse a label beside those that stand over its units."""
    for each in facts:
        together = each.first_day < (fact["until_day"] or "9999") and fact["first_day"] < (each.until_day or "9999")
        if together and (each.scheme, each.scope) == (fact["scheme"], fact["scope"]):
            raise refuse(
                "label-overlap",
                f"label {each.seq} of {each.scheme} holds of some of these units on some of these days",
                where="label",
                remedy="name other units or days, or revoke that label first",
            )
        if each.tier != fact["tier"] and _holds_after(each, today):
            raise refuse(
                "tier-conflict",
                f"label {each.seq} has some of these units in tier {each.tier}, and a unit is in one tier",
                where="label",
                remedy="wait until that label is over, or revoke it; then label the units for the other tier",
            )


def _check_blocks(blocks: Sequence[Block], pick: Pick, tier: str) -> None:
    """Only units that are not final are labelled, and only held ones change their tier."""
    for each in blocks:
        if each.lo >= pick.hi or each.hi <= pick.lo:
            continue
        waits = each.tier != tier and each.state is not State.HELD
        if each.state in TERMINAL or waits:
            raise refuse(
                "unit-state",
                f"some of these units are {each.state}" + (" and would change their tier" if waits else ""),
                where="serial",
                remedy="label units that are held; what is final is labelled no more",
            )


def _is_revoked(home: Home, con: sa.Connection, granted: Any) -> bool:
    return granted.seq not in {each.seq for each in home.units.facts_in(con, granted.lot)}


def _shown(home: Home, begun: Begun, number: int) -> dict[str, Any]:
    fact = next(each for each in home.units.labels(begun.lot) if each.seq == number)
    return label_shown(begun, fact)
