"""Conditions on the columns of a row, and the filters that skip or refuse rows by them."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

from tanzhang.engine.kernel import quote
from tanzhang.stores.mapping.decimals import compared
from tanzhang.stores.mapping.query import Query
from tanzhang.stores.mapping.sql import texts


def filtered(query: Query, rows: str) -> str:
    """The rows that no skip filter takes; ``hit`` is the number of the refusing filter, or NULL."""
    query.object("bad IS NOT NULL", "malformed-row", None, "bad")
    skips = []
    for index, entry in enumerate(query.data.get("filters", [])):
        if "skip" in entry:
            skips.append(index)
            continue
        verdict = entry["refuse"]
        query.object(f"hit = {index}", verdict["code"], entry["when"][0]["column"], quote(verdict["message"]))
    kept = f" WHERE hit IS NULL OR hit NOT IN ({', '.join(str(index) for index in skips)})" if skips else ""
    return query.step("kept", f"SELECT * FROM (SELECT *, {first_hit(query)} AS hit FROM {rows}){kept}")


def first_hit(query: Query) -> str:
    """SQL of the number of the first filter that holds, or NULL."""
    whens = " ".join(
        f"WHEN {all_hold(query, entry['when'])} THEN {index}"
        for index, entry in enumerate(query.data.get("filters", []))
    )
    return f"CASE WHEN bad IS NOT NULL THEN NULL {whens} END"


def all_hold(query: Query, conditions: Iterable[dict[str, Any]]) -> str:
    """SQL that is true if every condition holds, and false otherwise."""
    return " AND ".join(holds(query, condition) for condition in conditions)


def holds(query: Query, condition: dict[str, Any]) -> str:
    """SQL that is true if a condition holds, and false otherwise, also for an absent value."""
    value = query.column(condition["column"])
    ((test, wanted),) = ((key, word) for key, word in condition.items() if key not in ("column", "not"))
    if test == "empty":
        sql = f"{value} IS NULL"
    elif test in ("equals", "one_of"):
        sql = f"{value} IN ({texts(wanted if test == 'one_of' else [wanted])})"
    elif test in ("starts_with", "ends_with"):
        sql = f"{test}({value}, {quote(wanted)})"
    else:
        sql = compared(value, ">=" if test == "at_least" else "<=", Fraction(wanted))
    return f"{'NOT ' if 'not' in condition else ''}coalesce({sql}, false)"
