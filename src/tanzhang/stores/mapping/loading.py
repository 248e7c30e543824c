"""Reading a mapping file: the JSON Schema first, then every mistake that a schema cannot see, all with their lines."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb

from tanzhang.core.action import INPUT_UNITS
from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.engine.kernel import quote
from tanzhang.stores.catalogue import Catalogue, check_schema
from tanzhang.stores.mapping.decimals import LARGEST_FACTOR
from tanzhang.stores.mapping.document import (
    DEFAULT_FORMAT,
    ENTRY,
    PLACEHOLDER,
    TIMES,
    UNIX,
    Mapping,
    Rehearsal,
    columns_used,
    conditions,
    look_ups,
)
from tanzhang.stores.yaml_text import Document, load_yaml

# Which sources a field may have exactly one of.
_OF_AN_INPUT = ("column", "constant", "distance", "table")
_OF_A_TIME = ("column", "template")
_OF_A_TEXT = ("column", "constant", "template", "table")


def load_mapping(path: Path) -> Mapping:
    """Read and check a mapping file; every mistake is reported at once with ``file:line``.

    Raises: ``mapping-unreadable``; the codes of ``load_yaml``; ``unknown-key``, ``missing-key``, ``schema-mismatch``
    of the JSON Schema; ``field-source``, ``template-malformed``, ``entry-without-pairs``, ``table-undeclared``,
    ``time-zone-unknown``, ``time-format``, ``unit-error``, ``factor-too-fine``, ``filter-malformed``,
    ``condition-malformed``, ``mapping-combination``, ``mapping-id``.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise refuse(
            "mapping-unreadable",
            f"cannot read the mapping: {error}",
            where=str(path),
            remedy="name an existing UTF-8 YAML file",
        ) from None
    document = load_yaml(text, path.name)
    mistakes = _Mistakes(document)
    mistakes.problems += check_schema(document, "mapping")
    mistakes.end()
    data = document.data
    factors = _factors(data, mistakes)
    if path.stem != data["mapping"]:
        message = f"{path.name} calls itself {data['mapping']}"
        mistakes.add("mapping-id", message, "give file and id the same name", "mapping")
    _check_times(data, mistakes)
    for group in ("fields", "inputs"):
        for name in data[group]:
            _check_source(data, mistakes, group, name)
    _check_withdrawals(data, mistakes)
    _check_filters(data, mistakes)
    _check_references(data, mistakes)
    mistakes.end()
    moved = data.get("rehearsal")
    return Mapping(
        id=data["mapping"],
        title=data["title"]["en"],
        title_zh=data["title"]["zh"],
        partner=data["partner"],
        path=path,
        rehearsal=moved and Rehearsal(moved["shift_days"], moved["region"], moved.get("zone"), moved["why"]),
        document=document,
        factors=factors,
    )


class _Mistakes:
    """Collects what is wrong, so that it is raised together."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = []

    def add(self, code: str, message: str, remedy: str, *place: str | int) -> None:
        self.problems.append(Problem(code, message, self.document.where(*place), remedy))

    def end(self) -> None:
        if self.problems:
            raise TanzhangError(self.problems)


def _factors(data: dict[str, Any], mistakes: _Mistakes) -> dict[str, Fraction]:
    units = Catalogue().units
    factors: dict[str, Fraction] = {}
    for name, number in data["inputs"].items():
        factor = Fraction(number.get("times", "1"))
        if "from_unit" in number:
            where = mistakes.document.where("inputs", name)
            try:
                factor *= units.to_base(Fraction(1), number["from_unit"], INPUT_UNITS[name], where=where)
            except TanzhangError as error:
                mistakes.problems += error.problems
        if factor <= 0 or max(factor.numerator, factor.denominator) >= LARGEST_FACTOR:
            message = f"{name}: factor {factor} is not positive, or needs 13 digits or more"
            mistakes.add("factor-too-fine", message, "write a positive factor with fewer digits", "inputs", name)
        factors[name] = factor
    return factors


def _check_times(data: dict[str, Any], mistakes: _Mistakes) -> None:
    for part in ("times", "rehearsal"):
        zone = data.get(part, {}).get("zone")
        if zone is not None and not _duckdb_takes(f"timezone({quote(zone)}, TIMESTAMP '2020-01-01')"):
            mistakes.add("time-zone-unknown", f"{zone} is not an IANA time zone", "such as Asia/Shanghai", part, "zone")
    pattern = data["times"].get("format", DEFAULT_FORMAT)
    if pattern not in UNIX and not ("%" in pattern and _duckdb_takes(f"try_strptime('', {quote(pattern)})")):
        remedy = f"use strptime letters as in {DEFAULT_FORMAT}, or {', '.join(UNIX)}"
        mistakes.add("time-format", f"{pattern!r} is not a time format", remedy, "times", "format")


def _duckdb_takes(expression: str) -> bool:
    try:
        with duckdb.connect() as con:
            con.execute(f"SELECT ({expression})::VARCHAR").fetchall()
    except duckdb.Error:
        return False
    return True


def _check_source(data: dict[str, Any], mistakes: _Mistakes, group: str, name: str) -> None:
    field = data[group][name]

    def wrong(message: str, remedy: str) -> None:
        mistakes.add("field-source", f"{name}{message}", remedy, group, name)

    allowed = _OF_AN_INPUT if group == "inputs" else _OF_A_TIME if name in TIMES else _OF_A_TEXT
    given = [kind for kind in allowed if kind in field]
    if len(given) != 1:
        wrong(f" has {' and '.join(given) or 'no source'}", f"give exactly one of {', '.join(allowed)}")
    if len({"table", "key", "take"} & set(field)) in (1, 2):
        wrong(": table, key and take belong together", "give all three")
    if "constant" in field and {"from_unit", "times", "rounding", "map"} & set(field):
        wrong(": a constant is not converted", "write the final value")
    if "distance" in field and "from_unit" in field:
        wrong(": a distance is in metres", "remove from_unit")
    template = field.get("template")
    if template and (not PLACEHOLDER.search(template) or re.search(r"[{}]", PLACEHOLDER.sub("", template))):
        message = f"{template!r} is not a template"
        mistakes.add("template-malformed", message, "write text with {column}", group, name, "template")


def _check_withdrawals(data: dict[str, Any], mistakes: _Mistakes) -> None:
    if "withdrawals" not in data:
        return
    if "pairs" in data:
        message, remedy = "pairs and withdrawals do not go together", "write two mappings over the same file"
        mistakes.add("mapping-combination", message, remedy, "withdrawals")
    if {"table", "map"} & set(data["fields"]["id"]):
        message = "id is looked up, so that a withdrawal cannot name it"
        remedy = "with withdrawals, take id from a column or a template"
        mistakes.add("field-source", message, remedy, "fields", "id")


def _check_filters(data: dict[str, Any], mistakes: _Mistakes) -> None:
    names = [entry["name"] for entry in data.get("filters", [])]
    for index, entry in enumerate(data.get("filters", [])):
        if ("skip" in entry) == ("refuse" in entry):
            message, remedy = f"filter {entry['name']} says not what to do", "give exactly one of skip: true and refuse"
            mistakes.add("filter-malformed", message, remedy, "filters", index)
        if names.index(entry["name"]) != index:
            message, remedy = f"two filters are called {entry['name']}", "give each filter its own name"
            mistakes.add("filter-malformed", message, remedy, "filters", index)
    for place, condition in conditions(data):
        if len(set(condition) - {"column", "not"}) != 1:
            message = f"the condition on {condition['column']} has not one test"
            remedy = "write one test per condition; list several conditions where all must hold"
            mistakes.add("condition-malformed", message, remedy, *place)


def _check_references(data: dict[str, Any], mistakes: _Mistakes) -> None:
    for place, source in look_ups(data):
        if source["table"] not in data.get("tables", {}):
            message = f"table {source['table']} is not declared"
            mistakes.add("table-undeclared", message, "declare it under tables", *place, "table")
    for place, column in columns_used(data):
        if column.startswith(ENTRY) and ("pairs" not in data or place[0] not in ("fields", "inputs")):
            remedy = "only fields and inputs of a mapping with pairs can name columns of the entry"
            mistakes.add("entry-without-pairs", f"{column} has no entry to belong to", remedy, *place)
