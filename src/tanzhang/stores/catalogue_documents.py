"""What the catalogue's documents say, once they fit their schema: units, programmes, factors, methodologies."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from datetime import date
from fractions import Fraction
from typing import Any, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tanzhang.core.errors import Problem, TanzhangError
from tanzhang.core.factors import Factor, FactorValue, Period
from tanzhang.core.formula import Formula, Number, parse_formula
from tanzhang.core.methodology import (
    Cap,
    ClaimRule,
    Guard,
    InputRule,
    Methodology,
    ParameterRule,
    Variant,
)
from tanzhang.core.programme import Disclosure, Friends, Partner, Programme, ProgrammeCap, Retention
from tanzhang.engine.units import Units
from tanzhang.stores.yaml_text import Document

Read = TypeVar("Read")


class _Mistakes:
    """Collects the refusals of parts, so that a file's mistakes are raised together."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def add(self, code: str, message: str, where: str, remedy: str) -> None:
        """Note one."""
        self.problems.append(Problem(code, message, where, remedy))

    def attempt(self, read: Callable[[], Read], instead: Read) -> Read:
        """What ``read`` gives, or ``instead`` where it refuses; then :meth:`end` raises."""
        try:
            return read()
        except TanzhangError as error:
            self.problems += error.problems
            return instead

    def end(self) -> None:
        """Raise if anything was noted."""
        if self.problems:
            raise TanzhangError(self.problems)


def read_units(document: Document) -> Units:
    """The registry of units; ``unit-definition-malformed`` for each line that cannot be used."""
    lines = document.data["definitions"]
    return Units(lines, where=[document.where("definitions", index) for index in range(len(lines))])


def read_programme(document: Document, known: Iterable[str]) -> Programme:
    """A programme from its checked document; ``known`` are the ids of all methodologies.

    Raises together: ``unknown-methodology``, ``unknown-time-zone``, ``duplicate-partner``.
    """
    data, mistakes = document.data, _Mistakes()
    ids = list(known)
    listed: list[str] = []
    for index, entry in enumerate(data["methodologies"]):
        matches = (
            [m for m in ids if m.startswith(entry[:-1])] if entry.endswith(".*") else [m for m in ids if m == entry]
        )
        if not matches:
            near = difflib.get_close_matches(entry, ids, n=1)
            mistakes.add(
                "unknown-methodology",
                f"programme {data['id']} lists {entry}, which is not in the catalogue",
                document.where("methodologies", index),
                f"correct the id{f' (did you mean {near[0]}?)' if near else ''}, or add the methodology",
            )
        listed += [match for match in matches if match not in listed]
    try:
        ZoneInfo(data["time_zone"])
    except (ZoneInfoNotFoundError, ValueError, OSError):
        mistakes.add(
            "unknown-time-zone",
            f"{data['time_zone']!r} is not a time zone",
            document.where("time_zone"),
            "write a name of the IANA list, for example Asia/Shanghai",
        )
    partners: dict[str, Partner] = {}
    for index, entry in enumerate(data["partners"]):
        if entry["id"] in partners:
            mistakes.add(
                "duplicate-partner",
                f"partner {entry['id']} is listed twice",
                document.where("partners", index, "id"),
                "keep one of the two, or give them different ids",
            )
        partners[entry["id"]] = Partner(
            entry["id"],
            entry["name"]["en"],
            entry["name"]["zh"],
            frozenset(entry["behaviours"]) if "behaviours" in entry else None,
        )
    mistakes.end()
    return Programme(
        id=data["id"],
        title=data["title"]["en"],
        title_zh=data["title"]["zh"],
        region=data["region"],
        time_zone=data["time_zone"],
        methodologies=tuple(listed),
        windows=data["windows"],
        overlap_threshold=Fraction(data["overlap_threshold"]),
        report_within_days=data.get("report_within_days"),
        rehearsal=data.get("rehearsal", False),
        caps=tuple(
            ProgrammeCap(_read_cap(cap, scope=data["id"]), frozenset(cap["behaviours"])) for cap in data.get("caps", [])
        ),
        partners=partners,
        where=document.where(),
        disclosure=Disclosure(**data.get("disclosure", {})),
        grading=tuple(data.get("grading", ())),
        retention=Retention(**data.get("retention", {})),
        at_once=frozenset(data.get("at_once", ())),
        badges=tuple(data.get("badges", ())),
        friends=Friends(**data.get("friends", {})),
        points=tuple(data.get("points", ())),
        guard=data.get("guard"),
        market=data.get("market"),
    )


def read_factor(document: Document) -> Factor:
    """A factor from its checked document; ``day-malformed`` and ``period-empty`` with the line, all together."""
    data, mistakes = document.data, _Mistakes()
    low, high = data["plausible"]
    factor = Factor(
        id=data["id"],
        title=data["title"]["en"],
        title_zh=data["title"]["zh"],
        unit=data["unit"],
        kind=data["kind"],
        plausible=(Fraction(low), Fraction(high)),
        values=tuple(
            FactorValue(
                value=Fraction(entry["value"]),
                text=entry["value"],
                region=entry["region"],
                period=_read_period(mistakes, document, entry["applies"], "values", index, "applies"),
                measured_for=None if entry["measured_for"] is None else str(entry["measured_for"]),
                source=entry["source"],
                locator=entry["locator"],
                status=entry["status"],
                mark=entry["mark"],
                why_these_dates=entry["why_these_dates"],
            )
            for index, entry in enumerate(data["values"])
        ),
        gaps=tuple(data.get("gaps", ())),
        where=document.where(),
    )
    mistakes.end()
    return factor


def read_methodology(document: Document) -> Methodology:
    """A methodology from its checked document.

    Raises together, each with its line: ``formula-malformed``, ``day-malformed``, ``period-empty``.
    """
    data, mistakes = document.data, _Mistakes()
    methodology = Methodology(
        id=data["id"],
        version=data["version"],
        behaviour=data["behaviour"],
        title=data["title"]["en"],
        title_zh=data["title"]["zh"],
        kind=data["kind"],
        regions=tuple(data["regions"]),
        scheme=data["scheme"],
        status=data["status"],
        valid=_read_period(mistakes, document, data["valid"], "valid"),
        gases=data["gases"],
        source=data["source"],
        locator=data["locator"],
        baseline_choice=data["baseline_choice"],
        activity_family=data["activity_family"],
        window_days=data["window_days"],
        accuracy=data["accuracy"],
        inputs={
            name: InputRule(name, rule["min"], rule["max"], rule.get("default"), rule["why"])
            for name, rule in data["inputs"].items()
        },
        parameters=_read_parameters(data["parameters"]),
        variants={
            name: Variant(name, variant["name"]["en"], _read_parameters(variant["parameters"]))
            for name, variant in data.get("variants", {}).items()
        },
        formula=_read_formula(mistakes, data["formula"], document.where("formula"), condition=False),
        rounding=data["rounding"],
        evidence={name: Fraction(share) for name, share in data["evidence"].items()},
        claim=ClaimRule(tuple(data["claim"]["fields"]), data["claim"]["required"], data["claim"]["overlap"]),
        needs_start=data.get("needs_start", False),
        guards=tuple(
            Guard(
                _read_formula(mistakes, guard["holds"], document.where("guards", index, "holds"), condition=True),
                guard["code"],
                guard["says"],
                guard["why"],
            )
            for index, guard in enumerate(data.get("guards", []))
        ),
        caps=tuple(_read_cap(cap, scope=data["id"]) for cap in data.get("caps", [])),
        chapters=data["chapters"],
        uncertainty=data.get("uncertainty"),
        since_last_version=data["since_last_version"],
        why_these_dates=data["why_these_dates"],
        where=document.where(),
    )
    mistakes.end()
    return methodology


def _read_formula(mistakes: _Mistakes, text: str, where: str, *, condition: bool) -> Formula:
    nothing = Formula(text, Number(Fraction(0)), frozenset())
    formula = mistakes.attempt(lambda: parse_formula(text, where=where), nothing)
    if formula is not nothing and formula.is_condition != condition:
        wanted = "a condition, such as a <= b" if condition else "a quantity, not a condition"
        mistakes.add("formula-malformed", f"the formula {text!r} must be {wanted}", where, "rewrite it")
    return formula


def _read_parameters(data: dict[str, Any]) -> dict[str, ParameterRule]:
    return {
        name: ParameterRule(
            name=name,
            unit=rule["unit"],
            factor=rule.get("factor"),
            constant=Fraction(rule["value"]) if "value" in rule else None,
            source=rule.get("source"),
            locator=rule.get("locator"),
        )
        for name, rule in data.items()
    }


def _read_cap(data: dict[str, Any], *, scope: str) -> Cap:
    return Cap(
        id=f"{scope}:{data['id']}",
        period=data["period"],
        limit_count=data.get("limit_count"),
        limit_mg=data.get("limit_mg"),
        source=data.get("source"),
    )


def _read_period(mistakes: _Mistakes, document: Document, data: dict[str, Any], *path: str | int) -> Period:
    """The period written at a path; a stand-in, and the mistake noted, where it is none."""
    days: dict[str, date | None] = {}
    for end in ("from", "until"):
        try:
            days[end] = None if data[end] is None else date.fromisoformat(data[end])
        except ValueError:
            where = document.where(*path, end)
            mistakes.add("day-malformed", f"{data[end]!r} is not a day", where, "write an existing day as YYYY-MM-DD")
    start, until = days.get("from"), days.get("until")
    if start is not None and until is not None and until <= start:
        mistakes.add(
            "period-empty",
            f"[{start}, {until}) holds no day",
            document.where(*path, "until"),
            "until is the first day that no longer counts: it must lie after from, or be null",
        )
    return Period(start or date.min, until)
