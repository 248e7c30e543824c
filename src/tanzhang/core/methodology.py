"""Methodologies (方法学): how one behaviour is quantified where and when, and the plan an act is computed by.

A :class:`Methodology` is one published version, as its file says. :func:`choose` picks the one in force for an act,
:func:`make_plan` resolves its parameters for region, day, variant and evidence class into a :class:`Plan`. A plan is
self-contained: its document alone is enough to recompute and to explain every record that names its digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import Any

from tanzhang.core import region as regions
from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.factors import Factor, FactorValue, Period
from tanzhang.core.formula import Formula, decimal_text

ROUNDING = {"reduction": "down", "emission": "up"}  # never towards more credit
ACCURACY = ("activity_data", "per_act")  # best first; second key of the total order


@dataclass(frozen=True, slots=True)
class InputRule:
    """The plausible range of one input, both ends included, and the value taken when it is not reported."""

    name: str
    minimum: int
    maximum: int
    default: int | None
    why: str


@dataclass(frozen=True, slots=True)
class ParameterRule:
    """Where a parameter's value comes from: a factor series, or a constant with its own source."""

    name: str
    unit: str
    factor: str | None
    constant: Fraction | None
    source: str | None
    locator: str | None


@dataclass(frozen=True, slots=True)
class Variant:
    """A named case of the behaviour with parameters of its own (battery bus, diesel bus)."""

    id: str
    name: str
    parameters: Mapping[str, ParameterRule]


@dataclass(frozen=True, slots=True)
class Guard:
    """A condition that every plausible act meets; ``says`` tells a partner what was wrong."""

    formula: Formula
    code: str
    says: str
    why: str


@dataclass(frozen=True, slots=True)
class Cap:
    """A limit per person and local day or month, in acts or in milligrams; ``id`` is shared to share the limit."""

    id: str
    period: str
    limit_count: int | None
    limit_mg: int | None
    source: str | None


@dataclass(frozen=True, slots=True)
class ClaimRule:
    """What makes two reports one act.

    ``fields``: of ``issuer``, ``identifier``, ``month``, ``day``, ``person``. With ``required`` an act without them is
    refused; otherwise it is told apart by person and time. ``overlap``: acts of one person in one activity family may
    not overlap in time.
    """

    fields: tuple[str, ...]
    required: bool
    overlap: bool


@dataclass(frozen=True, slots=True)
class Methodology:
    """One version of one methodology, as published."""

    id: str
    version: int
    behaviour: str
    title: str
    title_zh: str
    kind: str
    regions: tuple[str, ...]
    scheme: str | None
    status: str
    valid: Period
    gases: str
    source: str
    locator: str
    baseline_choice: str
    activity_family: str
    window_days: int
    accuracy: str
    inputs: Mapping[str, InputRule]
    parameters: Mapping[str, ParameterRule]
    variants: Mapping[str, Variant]
    formula: Formula
    rounding: str
    evidence: Mapping[str, Fraction]
    claim: ClaimRule
    needs_start: bool
    guards: tuple[Guard, ...]
    caps: tuple[Cap, ...]
    chapters: Mapping[str, str]
    uncertainty: str | None
    since_last_version: str
    why_these_dates: str
    where: str

    @property
    def key(self) -> str:
        """``id@version``, how answers and records name it."""
        return f"{self.id}@{self.version}"

    def region_for(self, region: str) -> str | None:
        """The narrowest of its regions that contains ``region``."""
        inside = [own for own in self.regions if regions.contains(own, region)]
        return max(inside, key=regions.narrowness, default=None)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which methodology was taken, for which of its regions, and why it and no other."""

    methodology: Methodology
    region: str
    why: str


def choose(
    versions: Sequence[Methodology], *, behaviour: str, region: str, day: date, listed: Sequence[str] | None
) -> Choice:
    """The methodology in force for an act: the narrowest region wins.

    ``listed`` is the programme's list in its order of preference, or None without a programme. Raises
    ``no-methodology`` (nothing published here), ``methodology-not-in-force`` (published, but not for that day) and,
    without a programme, ``ambiguous-methodology`` where several schemes of equal reach disagree.
    """
    place = f"behaviour {behaviour}, region {region}, day {day}"
    here = [(m, taken) for m in versions if (taken := m.region_for(region)) is not None]
    if listed is not None:
        here = [(m, taken) for m, taken in here if m.id in listed]
    if not here:
        raise _nothing_here(versions, behaviour, listed, place)
    in_force = [(m, taken) for m, taken in here if m.valid.covers(day)]
    if not in_force:
        known = ", ".join(f"{m.key} {m.valid}" for m, _ in here)
        raise refuse(
            "methodology-not-in-force",
            f"no methodology for {behaviour} is in force in {region} on {day}; known are {known}",
            where=place,
            remedy="check the day of the act; acts before a methodology's first day cannot be counted under it",
        )
    narrowest = max(regions.narrowness(taken) for _, taken in in_force)
    best = [(m, taken) for m, taken in in_force if regions.narrowness(taken) == narrowest]
    if listed is not None:
        best.sort(key=lambda pair: listed.index(pair[0].id))
        chosen, taken = best[0]
        others = [m.key for m, _ in best[1:]]
        why = f"narrowest region in force ({taken}) of those listed"
        if len(listed) == 1:
            why = f"the one asked for, in force in {taken}"
        return Choice(chosen, taken, why + (f"; listed before {', '.join(others)}" if others else ""))
    regional = [(m, taken) for m, taken in best if m.scheme is None]
    best = regional or best
    if len(best) > 1:
        names = ", ".join(sorted(m.key for m, _ in best))
        raise refuse(
            "ambiguous-methodology",
            f"several schemes quantify {behaviour} in {region} and their values differ: {names}",
            where=place,
            remedy="name a programme (--programme) or a methodology (--methodology); none is taken silently",
        )
    chosen, taken = best[0]
    return Choice(chosen, taken, f"narrowest region in force ({taken}){'' if regional else ', only scheme there'}")


def _nothing_here(
    versions: Sequence[Methodology], behaviour: str, listed: Sequence[str] | None, place: str
) -> TanzhangError:
    if not versions:
        text = f"{behaviour} is a declared gap: no sourced methodology is published for it"
        remedy = "do not report it yet; CONTRIBUTING says how to add a methodology with its source"
    else:
        known = ", ".join(sorted({f"{m.id} ({', '.join(m.regions)})" for m in versions}))
        scope = "of the methodologies listed" if listed is not None else "in the catalogue"
        text = f"nothing {scope} quantifies {behaviour} there; published are {known}"
        remedy = "correct the region, or name one of these (as methodology, or in the programme's list)"
    return refuse("no-methodology", text, where=place, remedy=remedy)


@dataclass(frozen=True, slots=True)
class Resolved:
    """A parameter with its exact value in base units and the published number it came from."""

    name: str
    value: Fraction
    unit: str
    factor: str | None
    row: FactorValue | None
    source: str
    locator: str
    published: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A methodology resolved for a region, a day, a variant and an evidence class. Equal digest, equal numbers."""

    methodology: Methodology
    variant: str | None
    evidence: str
    parameters: Mapping[str, Resolved]
    discount: Fraction
    document: str
    digest: str


def make_plan(
    methodology: Methodology,
    *,
    region: str,
    day: date,
    variant: str | None,
    evidence: str,
    factor: Callable[[str], Factor],
    to_base: Callable[[Fraction, str, str], Fraction],
    labels: Callable[[str], dict[str, str]],
) -> Plan:
    """Resolve every parameter.

    Raises: ``variant-required``, ``unknown-variant``, ``evidence-not-accepted``, ``no-factor``, ``factor-gap``.
    ``factor`` finds a series by id; ``to_base(value, unit, wanted)`` converts exactly; ``labels`` describes a source.
    """
    rules = dict(methodology.parameters)
    if methodology.variants:
        rules.update(_variant(methodology, variant).parameters)
    elif variant is not None:
        raise refuse(
            "unknown-variant",
            f"{methodology.key} has no variants, but {variant!r} was given",
            where=methodology.where,
            remedy="leave the variant out",
        )
    if evidence not in methodology.evidence:
        accepted = ", ".join(methodology.evidence)
        raise refuse(
            "evidence-not-accepted",
            f"{methodology.key} does not accept evidence class {evidence!r}; it accepts {accepted}",
            where=methodology.where,
            remedy="report the act with evidence of an accepted class",
        )
    resolved: dict[str, Resolved] = {}
    for name, rule in rules.items():
        if rule.factor is not None:
            series = factor(rule.factor)
            row = series.value_for(region, day)
            value = to_base(row.value, series.unit, rule.unit)
            published = f"{row.text} {series.unit}"
            resolved[name] = Resolved(name, value, rule.unit, series.id, row, row.source, row.locator, published)
        else:
            constant = rule.constant if rule.constant is not None else Fraction(0)
            resolved[name] = Resolved(
                name,
                constant,
                rule.unit,
                None,
                None,
                rule.source or methodology.source,
                rule.locator or "",
                decimal_text(constant),
            )
    discount = methodology.evidence[evidence]
    document = canonical_json(_document(methodology, variant, evidence, resolved, discount, labels))
    digest = hashlib.sha256(document.encode()).hexdigest()
    return Plan(methodology, variant, evidence, resolved, discount, document, digest)


def canonical_json(value: Any) -> str:
    """One spelling per value: sorted keys, no blanks, no floats (they are not JSON we accept anywhere)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _variant(methodology: Methodology, variant: str | None) -> Variant:
    names = ", ".join(methodology.variants)
    if variant is None:
        raise refuse(
            "variant-required",
            f"{methodology.key} has a value only for named variants: {names}",
            where=methodology.where,
            remedy=f"say which one it was (--variant, or the variant of the event): {names}",
        )
    if variant not in methodology.variants:
        raise refuse(
            "unknown-variant",
            f"{methodology.key} has no variant {variant!r}; it has {names}",
            where=methodology.where,
            remedy=f"use one of {names}",
        )
    return methodology.variants[variant]


def _document(
    methodology: Methodology,
    variant: str | None,
    evidence: str,
    parameters: Mapping[str, Resolved],
    discount: Fraction,
    labels: Callable[[str], dict[str, str]],
) -> dict[str, Any]:
    """Everything that a recomputation or an explanation needs, as JSON without numbers other than small integers."""

    def describe(resolved: Resolved) -> dict[str, Any]:
        row = resolved.row
        return {
            "value": f"{resolved.value.numerator}/{resolved.value.denominator}",
            "unit": resolved.unit,
            "published": resolved.published,
            "factor": resolved.factor,
            "region": row.region if row else None,
            "measured_for": row.measured_for if row else None,
            "applies": str(row.period) if row else None,
            "status": row.status if row else methodology.status,
            "source": labels(resolved.source),
            "locator": resolved.locator,
        }

    return {
        "format": "tanzhang.plan/1",
        "methodology": methodology.id,
        "version": methodology.version,
        "title": {"en": methodology.title, "zh": methodology.title_zh},
        "behaviour": methodology.behaviour,
        "kind": methodology.kind,
        "gases": methodology.gases,
        "regions": list(methodology.regions),
        "scheme": methodology.scheme,
        "status": methodology.status,
        "valid": str(methodology.valid),
        "source": labels(methodology.source),
        "variant": variant,
        "evidence": evidence,
        "discount": f"{discount.numerator}/{discount.denominator}",
        "formula": methodology.formula.text,
        "rounding": methodology.rounding,
        "accuracy": methodology.accuracy,
        "inputs": {
            name: {"min": str(rule.minimum), "max": str(rule.maximum)} for name, rule in methodology.inputs.items()
        },
        "parameters": {name: describe(resolved) for name, resolved in parameters.items()},
        "guards": [guard.formula.text for guard in methodology.guards],
        "activity_family": methodology.activity_family,
        "claim": {
            "fields": list(methodology.claim.fields),
            "required": methodology.claim.required,
            "overlap": methodology.claim.overlap,
        },
        "caps": [
            {
                "id": cap.id,
                "period": cap.period,
                "limit_count": None if cap.limit_count is None else str(cap.limit_count),
                "limit_mg": None if cap.limit_mg is None else str(cap.limit_mg),
            }
            for cap in methodology.caps
        ],
    }
