"""The catalogue as its readers see it: list it, show one entry, resolve one for a day and a region.

Its authors' tools are offered here too: :func:`check_catalogue` finds every mistake of every file at once,
:func:`snapshot` writes every number the catalogue resolves to.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date
from typing import Any

from tanzhang.core.action import DEFAULT_EVIDENCE
from tanzhang.core.badge import Badge
from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.factors import Factor
from tanzhang.core.formula import decimal_text
from tanzhang.core.grade import Cut, Scheme
from tanzhang.core.methodology import Choice, Methodology, ParameterRule
from tanzhang.core.points import PointsProgramme
from tanzhang.core.region import check_region
from tanzhang.service.catalogue_check import CatalogueReport, check_catalogue
from tanzhang.service.catalogue_numbers import SNAPSHOT, all_rules, evidence_text, points_text, snapshot, write_snapshot
from tanzhang.service.quantify import describe_plan, refusal
from tanzhang.stores.badges import badge, badge_ids
from tanzhang.stores.catalogue import Catalogue
from tanzhang.stores.grading import grading, grading_ids
from tanzhang.stores.market_rules import MARKET
from tanzhang.stores.points_rules import POINTS

__all__ = [
    "SNAPSHOT",
    "CatalogueReport",
    "check_catalogue",
    "listing",
    "resolve",
    "show",
    "snapshot",
    "write_snapshot",
]


def resolve(
    catalogue: Catalogue,
    identifier: str,
    *,
    on: date,
    region: str,
    variant: str | None = None,
    evidence: str = DEFAULT_EVIDENCE,
) -> dict[str, Any]:
    """A factor's value, or a methodology's parameters, for a local day and a region, as JSON members.

    A methodology may be named with its version (``id@2``). One with variants shows every variant unless one is named.
    Raises ``unknown-id``, and each refusal that an act there would meet (``no-factor``, ``factor-gap``,
    ``no-methodology``, ``methodology-not-in-force`` ...).
    """
    check_region(region, where="--region")
    methodology_id, _, version = identifier.partition("@")
    if identifier in catalogue.factor_ids():
        return _resolve_factor(catalogue, catalogue.factor(identifier), on, region)
    if methodology_id not in catalogue.methodology_ids():
        raise _unknown_id(identifier, [*catalogue.factor_ids(), *catalogue.methodology_ids()])
    behaviour = methodology_id.split(".", 1)[1]
    choice = catalogue.choose(behaviour, region, on, [methodology_id])
    if version and version != str(choice.methodology.version):
        raise refuse(
            "methodology-not-in-force",
            f"{identifier} is not in force on {on}; {choice.methodology.key} is",
            where=f"day {on}",
            remedy="name a day of that version, or leave the version out",
        )
    answer = _methodology_entry(choice.methodology) | {"region": choice.region, "on": on.isoformat()}
    if not choice.methodology.variants or variant is not None:
        return answer | _resolve_plan(catalogue, choice, region, on, variant, evidence)
    variants: dict[str, Any] = {}
    for name in choice.methodology.variants:
        try:
            variants[name] = _resolve_plan(catalogue, choice, region, on, name, evidence)
        except TanzhangError as error:
            variants[name] = refusal(error)
    return answer | {"variants": variants}


def _resolve_factor(catalogue: Catalogue, series: Factor, on: date, region: str) -> dict[str, Any]:
    row = series.value_for(region, on)
    base, base_unit = catalogue.units.in_base(row.value, series.unit, where=series.where)
    return {
        "type": "factor",
        "id": series.id,
        "title": {"en": series.title, "zh": series.title_zh},
        "on": on.isoformat(),
        "region": region,
        "value": row.text,
        "unit": series.unit,
        "base_value": decimal_text(base),
        "base_unit": base_unit,
        "value_of_region": row.region,
        "applies": str(row.period),
        "why_these_dates": row.why_these_dates.strip(),
        "measured_for": row.measured_for,
        "source": _source_entry(catalogue, row.source),
        "locator": row.locator,
        "status": row.status,
        "mark": row.mark,
        "file": series.where,
    }


def _resolve_plan(
    catalogue: Catalogue, choice: Choice, region: str, on: date, variant: str | None, evidence: str
) -> dict[str, Any]:
    plan = catalogue.plan(choice.methodology, region, on, variant, evidence)
    parameters = {
        name: {"value": decimal_text(resolved.value), "unit": resolved.unit}
        for name, resolved in plan.parameters.items()
    }
    return describe_plan(choice, plan) | {"parameters": parameters, "discount": decimal_text(plan.discount)}


def listing(catalogue: Catalogue) -> dict[str, Any]:
    """Behaviours by category with what is known of their place in the standard, their methodologies, and the gaps.

    Only ``confirmation`` *confirmed* is presented as the standard's (``of_the_standard``).
    """
    slots = {slot["behaviour"]: slot for slot in catalogue.behaviours["slots"] if slot["behaviour"]}
    categories = []
    for category in catalogue.behaviours["categories"]:
        own = [e for e in catalogue.behaviours["behaviours"] if e["id"].split(".")[0] == category["id"]]
        categories.append(category | {"behaviours": [_behaviour_entry(catalogue, entry, slots) for entry in own]})
    gaps = [
        {"factor": factor_id, "gap": gap.strip()}
        for factor_id in catalogue.factor_ids()
        for gap in catalogue.factor(factor_id).gaps
    ]
    return {
        "categories": categories,
        "slots": {
            "total": len(catalogue.behaviours["slots"]),
            "identified": len(slots),
            "confirmed": sum(slot["confirmation"] == "confirmed" for slot in slots.values()),
        },
        "gaps": {
            "behaviours": [b["id"] for c in categories for b in c["behaviours"] if b["gap"]],
            "factors": gaps,
        },
        "programmes": catalogue.programme_ids(),
    }


def show(catalogue: Catalogue, identifier: str) -> dict[str, Any]:
    """Everything the catalogue has under an id.

    Members are ``behaviour``, ``factor``, ``methodology``, ``programme``, ``points``, ``market``, ``grading``,
    ``badge`` and ``source``; a behaviour and a factor may share an id. Raises ``unknown-id`` with close matches.
    """
    found: dict[str, Any] = {}
    if identifier in catalogue.behaviour_names:
        slots = {slot["behaviour"]: slot for slot in catalogue.behaviours["slots"] if slot["behaviour"]}
        found["behaviour"] = _behaviour_entry(catalogue, catalogue.behaviour_names[identifier], slots)
    if identifier in catalogue.factor_ids():
        found["factor"] = _factor_entry(catalogue, catalogue.factor(identifier))
    methodology_id, _, version = identifier.partition("@")
    if methodology_id in catalogue.methodology_ids():
        versions = [m for m in catalogue.methodologies(methodology_id.split(".", 1)[1]) if m.id == methodology_id]
        shown = [m for m in sorted(versions, key=lambda m: m.version) if version in ("", str(m.version))]
        if shown:
            found["methodology"] = [_methodology_detail(catalogue, methodology) for methodology in shown]
    if identifier in catalogue.programme_ids():
        found["programme"] = _programme_entry(catalogue, identifier)
    if methodology_id in POINTS.ids(catalogue):
        rules = [p for p in POINTS.of(catalogue, methodology_id) if version in ("", str(p.version))]
        if rules:
            found["points"] = [_points_entry(each) for each in rules]
    if methodology_id in MARKET.ids(catalogue):
        terms = [each for each in MARKET.of(catalogue, methodology_id) if version in ("", str(each.version))]
        if terms:
            found["market"] = [json.loads(each.text) | {"digest": each.digest} for each in terms]
    if identifier in grading_ids(catalogue):
        found["grading"] = _grading_entry(grading(catalogue, identifier))
    if identifier in badge_ids(catalogue):
        found["badge"] = _badge_entry(badge(catalogue, identifier))
    if identifier in catalogue.sources:
        found["source"] = _source_entry(catalogue, identifier) | {"cited_by": _citations(catalogue, identifier)}
    if not found:
        known = [
            *catalogue.behaviour_names,
            *catalogue.factor_ids(),
            *catalogue.methodology_ids(),
            *catalogue.programme_ids(),
            *POINTS.ids(catalogue),
            *MARKET.ids(catalogue),
            *grading_ids(catalogue),
            *badge_ids(catalogue),
            *catalogue.sources,
        ]
        raise _unknown_id(identifier, known)
    return {"id": identifier, **found}


def _unknown_id(identifier: str, known: Sequence[str]) -> TanzhangError:
    near = difflib.get_close_matches(identifier, known, n=3, cutoff=0.5)
    near += [word for word in known if identifier in word and word not in near][: 6 - len(near)]
    return refuse(
        "unknown-id",
        f"the catalogue has nothing called {identifier}",
        where=identifier,
        remedy=f"did you mean {', '.join(near)}?" if near else "see 'tanzhang catalogue list'",
    )


def _behaviour_entry(catalogue: Catalogue, entry: Mapping[str, Any], slots: Mapping[str, Any]) -> dict[str, Any]:
    slot = slots.get(entry["id"])
    methodologies = [_methodology_entry(m) for m in catalogue.methodologies(entry["id"])]
    return {
        "id": entry["id"],
        "name": entry["name"],
        "confirmation": entry["confirmation"],
        "of_the_standard": entry["confirmation"] == "confirmed",
        "slot": slot["slot"] if slot else None,
        "evidence": slot["evidence"].strip() if slot else None,
        "note": entry.get("note"),
        "methodologies": methodologies,
        "gap": None if methodologies else "no sourced methodology is published: a declared gap",
    }


def _methodology_entry(methodology: Methodology) -> dict[str, Any]:
    return {
        "type": "methodology",
        "id": methodology.id,
        "version": methodology.version,
        "title": {"en": methodology.title, "zh": methodology.title_zh},
        "kind": methodology.kind,
        "gases": methodology.gases,
        "regions": list(methodology.regions),
        "scheme": methodology.scheme,
        "status": methodology.status,
        "valid": str(methodology.valid),
    }


def _methodology_detail(catalogue: Catalogue, methodology: Methodology) -> dict[str, Any]:
    def rules(parameters: Mapping[str, ParameterRule]) -> dict[str, Any]:
        return {
            name: {
                "unit": rule.unit,
                "factor": rule.factor,
                "constant": None if rule.constant is None else decimal_text(rule.constant),
            }
            for name, rule in parameters.items()
        }

    return _methodology_entry(methodology) | {
        "behaviour": methodology.behaviour,
        "why_these_dates": methodology.why_these_dates.strip(),
        "since_last_version": methodology.since_last_version.strip(),
        "source": _source_entry(catalogue, methodology.source),
        "locator": methodology.locator,
        "baseline_choice": methodology.baseline_choice,
        "chapters": {name: text.strip() for name, text in methodology.chapters.items()},
        "formula": methodology.formula.text,
        "rounding": methodology.rounding,
        "inputs": {
            name: {"min": str(rule.minimum), "max": str(rule.maximum), "default": rule.default, "why": rule.why.strip()}
            for name, rule in methodology.inputs.items()
        },
        "parameters": rules(methodology.parameters),
        "variants": {
            variant.id: {"name": variant.name, "parameters": rules(variant.parameters)}
            for variant in methodology.variants.values()
        },
        "evidence": {name: decimal_text(share) for name, share in methodology.evidence.items()},
        "guards": [
            {"holds": guard.formula.text, "code": guard.code, "says": guard.says} for guard in methodology.guards
        ],
        "caps": [
            {"id": cap.id, "period": cap.period, "limit_count": cap.limit_count, "limit_mg": cap.limit_mg}
            for cap in methodology.caps
        ],
        "window_days": methodology.window_days,
        "uncertainty": methodology.uncertainty,
        "file": methodology.where,
    }


def _factor_entry(catalogue: Catalogue, series: Factor) -> dict[str, Any]:
    return {
        "type": "factor",
        "id": series.id,
        "title": {"en": series.title, "zh": series.title_zh},
        "unit": series.unit,
        "kind": series.kind,
        "plausible": [decimal_text(bound) for bound in series.plausible],
        "values": [
            {
                "value": row.text,
                "region": row.region,
                "applies": str(row.period),
                "measured_for": row.measured_for,
                "source": row.source,
                "locator": row.locator,
                "status": row.status,
                "mark": row.mark,
            }
            for row in series.values
        ],
        "gaps": [gap.strip() for gap in series.gaps],
        "used_by": sorted(
            {m.key for m in catalogue.all_methodologies() if series.id in {rule.factor for rule in all_rules(m)}}
        ),
        "file": series.where,
    }


def _grading_entry(scheme: Scheme) -> dict[str, Any]:
    def edge(cut: Cut | None, included: bool) -> dict[str, Any] | None:
        return None if cut is None else {"mg": str(cut.mg), "included": cut.above == included}

    return {
        "type": "grading",
        "id": scheme.id,
        "title": {"en": scheme.title, "zh": scheme.title_zh},
        "subject": scheme.subject,
        "status": scheme.status,
        "measure": scheme.measure,
        "period": scheme.period,
        "bands": [
            {
                "id": band.id,
                "name": {"en": band.name, "zh": band.name_zh},
                "from": edge(band.low, False),
                "to": edge(band.high, True),
            }
            for band in scheme.bands
        ],
        "gaps": [{"from_mg": str(gap.low_mg), "to_mg": str(gap.high_mg), "why": gap.why} for gap in scheme.gaps],
        "unknown": list(scheme.unknown),
        "source": scheme.source,
        "file": scheme.where,
    }


def _points_entry(programme: PointsProgramme) -> dict[str, Any]:
    return {
        "type": "points",
        "id": programme.id,
        "version": programme.version,
        "title": {"en": programme.title, "zh": programme.title_zh},
        "valid": str(programme.valid),
        "status": programme.status,
        "switch": programme.switch,
        "rules": [
            {
                "id": rule.id,
                "title": {"en": rule.title, "zh": rule.title_zh},
                "behaviours": sorted(rule.behaviours),
                "evidence": evidence_text(rule),
                "points": points_text(rule),
                "first": rule.first,
                "streak_days": None if rule.streak is None else rule.streak.days,
                "sponsor": rule.sponsor,
            }
            for rule in programme.rules
        ],
        "caps": [
            {"id": cap.id, "limit": str(cap.limit), "counts": cap.counts, "per": cap.per, "rules": sorted(cap.rules)}
            for cap in programme.caps
        ],
        "sponsors": [{"id": each.id, "budget": str(each.budget)} for each in programme.sponsors.values()],
        "campaigns": [
            {"id": c.id, "days": str(c.days), "multiplier": decimal_text(c.multiplier), "sponsor": c.sponsor}
            for c in programme.campaigns
        ],
        "unknown": list(programme.unknown),
        "source": programme.source,
        "digest": programme.digest,
        "file": programme.where,
    }


def _badge_entry(entry: Badge) -> dict[str, Any]:
    return {
        "type": "badge",
        "id": entry.id,
        "title": {"en": entry.title, "zh": entry.title_zh},
        "rule": entry.rule,
        "needed": str(entry.needed),
        "among": None if entry.among is None else sorted(entry.among),
        "status": entry.status,
        "source": entry.source,
        "file": entry.where,
    }


def _programme_entry(catalogue: Catalogue, programme_id: str) -> dict[str, Any]:
    programme = catalogue.programme(programme_id)
    return {
        "type": "programme",
        "id": programme.id,
        "title": {"en": programme.title, "zh": programme.title_zh},
        "region": programme.region,
        "time_zone": programme.time_zone,
        "methodologies": list(programme.methodologies),
        "windows": dict(programme.windows),
        "at_once": sorted(programme.at_once),
        "overlap_threshold": decimal_text(programme.overlap_threshold),
        "report_within_days": programme.report_within_days,
        "disclosure": asdict(programme.disclosure),
        "grading": list(programme.grading),
        "badges": list(programme.badges),
        "friends": asdict(programme.friends),
        "guard": programme.guard,
        "market": programme.market,
        "caps": [
            {
                "id": entry.cap.id,
                "period": entry.cap.period,
                "limit_count": entry.cap.limit_count,
                "limit_mg": entry.cap.limit_mg,
                "behaviours": sorted(entry.behaviours),
            }
            for entry in programme.caps
        ],
        "partners": [
            {
                "id": partner.id,
                "name": {"en": partner.name, "zh": partner.name_zh},
                "behaviours": None if partner.behaviours is None else sorted(partner.behaviours),
            }
            for partner in programme.partners.values()
        ],
        "file": programme.where,
    }


def _source_entry(catalogue: Catalogue, source: str) -> dict[str, Any]:
    entry = catalogue.sources.get(source, {"id": source})
    return {key: value.strip() if isinstance(value, str) else value for key, value in entry.items()}


def _citations(catalogue: Catalogue, source: str) -> list[str]:
    methodologies = list(catalogue.all_methodologies())
    cited = {m.key for m in methodologies if m.source == source or source in {cap.source for cap in m.caps}}
    cited |= {m.key for m in methodologies if source in {rule.source for rule in all_rules(m)}}
    cited |= {f for f in catalogue.factor_ids() if source in {row.source for row in catalogue.factor(f).values}}
    cited |= {f"slot {s['slot']}" for s in catalogue.behaviours["slots"] if s.get("source") == source}
    return sorted(cited)
