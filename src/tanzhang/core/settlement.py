"""What settlement decides by: the rules of a programme as numbers, shared by every engine.

The order of decisions is fixed: same reference (``repeat``, ``conflict``), withdrawals, lateness, then claims and
overlaps together in the declared total order, then caps. What is decided never depends on the order of arrival.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from tanzhang.core.action import EVIDENCE_RANK
from tanzhang.core.methodology import ACCURACY
from tanzhang.core.programme import Programme
from tanzhang.core.recipe import CapRule, Recipe


@dataclass(frozen=True, slots=True)
class Rules:
    """A programme's settlement rules. ``caps`` are its own, over behaviours; recipes bring theirs."""

    identity_key: bytes
    overlap_threshold: Fraction
    report_within_days: int | None
    caps: tuple[tuple[CapRule, frozenset[str]], ...]


def rules_of(programme: Programme, identity_key: bytes) -> Rules:
    """The settlement rules of a programme."""
    return Rules(
        identity_key=identity_key,
        overlap_threshold=programme.overlap_threshold,
        report_within_days=programme.report_within_days,
        caps=tuple(
            (CapRule(own.cap.id, own.cap.period, own.cap.limit_count, own.cap.limit_mg), own.behaviours)
            for own in programme.caps
        ),
    )


def caps_of(recipe: Recipe, rules: Rules) -> tuple[CapRule, ...]:
    """Every cap that binds an act of this recipe."""
    return recipe.caps + tuple(cap for cap, behaviours in rules.caps if recipe.behaviour in behaviours)


def cap_order(cap: CapRule) -> tuple[bool, str, str, int]:
    """Caps apply one after the other: those that count acts first, then those in milligrams, each by id."""
    return (cap.limit_count is None, cap.id, cap.period, (cap.limit_count or 0) + (cap.limit_mg or 0))


def rank(recipe: Recipe) -> int:
    """The first two keys of the total order as one number, best first; then follow start and action id."""
    return EVIDENCE_RANK[recipe.evidence] * len(ACCURACY) + ACCURACY.index(recipe.accuracy)


def person_claim_fields(recipe: Recipe) -> str | None:
    """How a person's acts without an issuer's identifier are told apart: by ``day``, ``month`` or ``moment``.

    None where overlap alone tells them apart, if the act has a start.
    """
    if "person" in recipe.claim_fields:
        return "month" if "month" in recipe.claim_fields else "day"
    return None if recipe.overlap else "moment"
