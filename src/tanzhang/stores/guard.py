"""Guards of the catalogue: ``guard/<id>.yaml``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.core.guard import Detour, Drift, Guard, GuardRule, Overlapping, Regular, Shared, Speed, Test
from tanzhang.stores.catalogue import Catalogue
from tanzhang.stores.yaml_text import Document

_TESTS: Mapping[str, Callable[..., Test]] = {
    "speed": Speed,
    "detour": Detour,
    "overlapping": Overlapping,
    "regular": Regular,
    "shared": Shared,
    "drift": Drift,
}


def guard_ids(catalogue: Catalogue) -> list[str]:
    """Every guard there is a file for."""
    return [relative.removeprefix("guard/").removesuffix(".yaml") for relative in catalogue.find("guard/*.yaml")]


def load_guard(catalogue: Catalogue, guard_id: str) -> Guard:
    """A guard by id; ``unknown-guard`` and what :func:`read_guard` refuses."""
    document = catalogue.open(f"guard/{guard_id}.yaml", "guard")
    if document is None:
        raise refuse(
            "unknown-guard",
            f"there is no guard {guard_id}",
            where=f"guard/{guard_id}.yaml",
            remedy=f"use one of {', '.join(guard_ids(catalogue))}, or add the file to your catalogue folder",
        )
    return read_guard(document)


def read_guard(document: Document) -> Guard:
    """A guard from its checked document.

    Raises together: ``guard-rule-twice``, ``guard-value-unused`` for a value that a rule's measure does not read, and
    ``guard-bounds-crossed``.
    """
    data = document.data
    problems: list[Problem] = []
    seen: set[str] = set()
    rules = []
    for number, entry in enumerate(data["rules"]):
        where = document.where("rules", number)
        if entry["id"] in seen:
            problems.append(
                Problem(
                    "guard-rule-twice", f"rule {entry['id']} stands twice", where, "give each rule an id of its own"
                )
            )
        seen.add(entry["id"])
        made = _TESTS[entry["measures"]]
        own = [each.name for each in fields(made)]  # type: ignore[arg-type]
        for name in entry.keys() - {*own, "id", "title", "measures", "action", "weight", "behaviours", "why"}:
            message = f"rule {entry['id']} measures {entry['measures']}, which reads no {name}"
            problems.append(Problem("guard-value-unused", message, where, f"take {name} out"))
        test = made(**{name: entry[name] for name in own})
        if isinstance(test, Detour) and test.least_percent >= test.most_percent:
            message = f"rule {entry['id']}: {test.least_percent} to {test.most_percent} % leaves nothing in between"
            problems.append(Problem("guard-bounds-crossed", message, where, "put least_percent below most_percent"))
        rules.append(_rule(entry, test))
    if problems:
        raise TanzhangError(problems)
    return Guard(
        id=data["id"],
        title=data["title"]["en"],
        title_zh=data["title"]["zh"],
        status=data["status"],
        hold_at=data["hold_at"],
        window_days=data["window_days"],
        rules=tuple(rules),
        where=document.where(),
    )


def _rule(entry: Mapping[str, Any], test: Test) -> GuardRule:
    return GuardRule(
        id=entry["id"],
        title=entry["title"]["en"],
        title_zh=entry["title"]["zh"],
        action=entry["action"],
        weight=entry["weight"],
        behaviours=frozenset(entry["behaviours"]) if "behaviours" in entry else None,
        test=test,
        why=entry["why"].strip(),
    )
