"""A recipe: what a plan's document says in numbers. Enough to recompute, cap and compare a record, and nothing more.

Records name the digest of a plan document; this module turns such a document, from whatever year, back into
arithmetic. It refuses a document of another format than it knows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import Any

from tanzhang.core.errors import refuse
from tanzhang.core.formula import Exact, Formula, Name, Node, Number, decimal_text, parse_formula, render, walk

FORMAT = "tanzhang.plan/1"
LARGEST_MG = 2**63 - 1


@dataclass(frozen=True, slots=True)
class CapRule:
    """A limit per person and period, shared by every recipe that names the same id."""

    id: str
    period: str
    limit_count: int | None
    limit_mg: int | None


@dataclass(frozen=True, slots=True)
class Recipe:
    """The arithmetic and the settlement rules of one plan."""

    methodology: str
    behaviour: str
    kind: str
    formula: Formula
    parameters: Mapping[str, Fraction]
    ranges: Mapping[str, tuple[int, int]]
    discount: Fraction
    rounding: str
    accuracy: str
    evidence: str
    family: str
    claim_fields: tuple[str, ...]
    overlap: bool
    caps: tuple[CapRule, ...]

    @property
    def input_names(self) -> tuple[str, ...]:
        """Inputs that the formula needs, sorted."""
        return tuple(sorted(self.formula.names - self.parameters.keys()))


@dataclass(frozen=True, slots=True)
class Computation:
    """A result with its way: exact value, whole milligrams, and each step as ``expression = value``."""

    mg: int
    exact: Fraction
    steps: tuple[str, ...]


def read_recipe(document: str) -> Recipe:
    """The recipe of a plan document; ``plan-format-unknown`` for another format, ``plan-malformed`` if it is broken."""
    try:
        return _read(json.loads(document))
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError) as error:
        raise refuse(
            "plan-malformed",
            f"the plan document cannot be read: {error!r}",
            where="plan document",
            remedy="fetch the document again by the digest that the record names",
        ) from None


def _read(data: Mapping[str, Any]) -> Recipe:
    if data["format"] != FORMAT:
        raise refuse(
            "plan-format-unknown",
            f"a plan document of format {data['format']!r}",
            where="plan document",
            remedy=f"this version reads {FORMAT}; use a newer version of Tanzhang",
        )
    where = f"plan of {data['methodology']}@{data['version']}"
    formula = parse_formula(data["formula"], where=where)
    if formula.is_condition:
        raise ValueError(f"{formula.text} is a condition")
    return Recipe(
        methodology=f"{data['methodology']}@{data['version']}",
        behaviour=data["behaviour"],
        kind=data["kind"],
        formula=formula,
        parameters={name: Fraction(entry["value"]) for name, entry in data["parameters"].items()},
        ranges={name: (int(rule["min"]), int(rule["max"])) for name, rule in data["inputs"].items()},
        discount=Fraction(data["discount"]),
        rounding=data["rounding"],
        accuracy=data["accuracy"],
        evidence=data["evidence"],
        family=data["activity_family"],
        claim_fields=tuple(data["claim"]["fields"]),
        overlap=data["claim"]["overlap"],
        caps=tuple(
            CapRule(
                cap["id"],
                cap["period"],
                None if cap["limit_count"] is None else int(cap["limit_count"]),
                None if cap["limit_mg"] is None else int(cap["limit_mg"]),
            )
            for cap in data["caps"]
        ),
    )


def round_mg(exact: Fraction, rounding: str) -> int:
    """Whole milligrams: ``down`` to less credit, ``up`` to more emission. Once, at the end."""
    return math.floor(exact) if rounding == "down" else math.ceil(exact)


def compute(recipe: Recipe, inputs: Mapping[str, int], *, explain: bool = False) -> Computation:
    """Quantify one act exactly; the definition that every other engine must equal.

    ``inputs`` holds whole numbers for every name of ``recipe.input_names``. Raises ``result-too-large`` beyond
    2^63-1 mg.
    """
    values = {**recipe.parameters, **{name: Fraction(inputs[name]) for name in recipe.input_names}}
    exact = walk(recipe.formula.tree, Exact(values))
    discounted = exact * recipe.discount
    mg = round_mg(discounted, recipe.rounding)
    if mg > LARGEST_MG:
        raise refuse(
            "result-too-large",
            f"{mg} mg does not fit 63 bits",
            where=recipe.methodology,
            remedy="correct the inputs",
        )
    steps: tuple[str, ...] = ()
    if explain:
        substituted = render(_substitute(recipe.formula.tree, values))
        lines = [
            f"result = {recipe.formula.text}",
            f"result = {substituted} = {decimal_text(exact)} mg",
        ]
        if recipe.discount != 1:
            share = decimal_text(recipe.discount)
            lines.append(f"evidence class {recipe.evidence}: × {share} = {decimal_text(discounted)} mg")
        lines.append(f"rounded {recipe.rounding} once: {mg} mg")
        steps = tuple(lines)
    return Computation(mg, discounted, steps)


def _substitute(node: Node, values: Mapping[str, Fraction]) -> Node:
    if isinstance(node, Name):
        return Number(values[node.name])
    if isinstance(node, Number):
        return node
    changed: dict[str, object] = {}
    for field in fields(node):
        part = getattr(node, field.name)
        if isinstance(part, tuple):
            changed[field.name] = tuple(_substitute(item, values) for item in part)
        elif not isinstance(part, str):
            changed[field.name] = _substitute(part, values)
    return replace(node, **changed)  # type: ignore[arg-type]
