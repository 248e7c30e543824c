"""Quantify one act and say why it is that much: the answer of ``tanzhang quantify``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from typing import Any

from tanzhang.core.action import DEFAULT_EVIDENCE
from tanzhang.core.errors import TanzhangError
from tanzhang.core.methodology import Choice, Plan
from tanzhang.core.region import check_region
from tanzhang.engine.reference import quantify_act
from tanzhang.stores.catalogue import Catalogue

AMOUNT_NAME = {"reduction": "reduction_mg", "emission": "emission_mg"}


def quantify(
    catalogue: Catalogue,
    behaviour: str,
    *,
    region: str,
    on: date,
    inputs: Mapping[str, int],
    variant: str | None = None,
    evidence: str = DEFAULT_EVIDENCE,
    elapsed_s: int | None = None,
    programme: str | None = None,
    methodology: str | None = None,
) -> dict[str, Any]:
    """The quantity of one act with everything it rests on, as JSON members; amounts are text.

    ``inputs`` in base units. ``programme`` restricts to its methodologies, ``methodology`` to one; without either the
    narrowest in force is taken. Raises every refusal as :class:`TanzhangError` with its code.
    """
    check_region(region, where="--region")
    listed = None
    if methodology is not None:
        listed = [methodology]
    elif programme is not None:
        listed = list(catalogue.programme(programme).methodologies)
    choice = catalogue.choose(behaviour, region, on, listed)
    plan = catalogue.plan(choice.methodology, region, on, variant, evidence)
    computation = quantify_act(plan, inputs, elapsed_s, explain=True)
    return {
        "status": "quantified",
        AMOUNT_NAME[choice.methodology.kind]: str(computation.mg),
        **describe_plan(choice, plan),
        "inputs": {name: str(value) for name, value in sorted(inputs.items())},
        "steps": list(computation.steps),
    }


def refusal(error: TanzhangError) -> dict[str, Any]:
    """A refusal as JSON members: the first problem on top, all of them below."""
    first = error.problems[0]
    return {"status": "refused", **first.as_dict(), "problems": [problem.as_dict() for problem in error.problems]}


def describe_plan(choice: Choice, plan: Plan) -> dict[str, Any]:
    """Which methodology was taken and why, its digest, and each factor row with its source."""
    methodology = choice.methodology
    document = json.loads(plan.document)
    factors = [
        {"parameter": name, **{key: value for key, value in entry.items() if value is not None}}
        for name, entry in document["parameters"].items()
    ]
    provisional = methodology.status != "published" or any(entry["status"] != "published" for entry in factors)
    return {
        "methodology": methodology.key,
        "title": document["title"],
        "region": choice.region,
        "why": choice.why,
        "methodology_status": methodology.status,
        "provisional": provisional,
        "gases": methodology.gases,
        "source": document["source"],
        "digest": plan.digest,
        "variant": plan.variant,
        "evidence": plan.evidence,
        "factors": factors,
        "formula": document["formula"],
    }
