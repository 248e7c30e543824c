"""Fields and inputs: from the columns of the source to the columns of an action."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tanzhang.core.action import INPUT_NAMES
from tanzhang.engine.kernel import quote
from tanzhang.engine.screen import TEXT_COLUMNS
from tanzhang.stores.mapping.decimals import MOST_DIGITS, Decimal, decimal, scaled
from tanzhang.stores.mapping.document import PLACEHOLDER, TIMES
from tanzhang.stores.mapping.query import Query
from tanzhang.stores.mapping.sql import quoted, replaced, shown
from tanzhang.stores.mapping.tables import found_keys, joins, looked_up, object_to_missing

_EARTH_RADIUS_M = 6_371_000  # below the mean radius of 6 371 009 m, so that no metre is created
_LIMITS = {"latitude": 90, "longitude": 180}


def shaped(query: Query, rows: str) -> str:
    """Add the text of every field and input before any conversion, ``<name>_raw``, and the keys that were found."""
    columns = ["this.*", *found_keys(query), *_raw_columns(query)]
    return query.step("shaped", f"SELECT {', '.join(columns)} FROM {rows} this{joins(query)}")


def _raw_columns(query: Query) -> Iterator[str]:
    for name, field in (query.data["fields"] | query.data["inputs"]).items():
        if "distance" not in field:
            yield f"{_raw(query, field)} AS {name}_raw"
            continue
        for end, point in field["distance"].items():
            for axis in _LIMITS:
                if "table" in point:
                    value = looked_up(query, point["table"], point["key"], point[axis])
                else:
                    value = query.column(point[axis])
                yield f"{value} AS {name}_{end}_{axis}"


def _raw(query: Query, field: dict[str, Any]) -> str:
    if "constant" in field:
        return quote(str(field["constant"]))
    if "column" in field:
        return query.column(field["column"])
    if "table" in field:
        return looked_up(query, field["table"], field["key"], field["take"])
    # Text and column names take turns, since the pattern has one group; || gives NULL as soon as one of them is.
    pieces = PLACEHOLDER.split(field["template"])
    parts = [query.column(piece) if index % 2 else quote(piece) for index, piece in enumerate(pieces)]
    return f"({' || '.join(parts)})"


def actions(query: Query, rows: str) -> str:
    """The statement that selects the canonical rows, sorted; ``rows`` are shaped and have their times."""
    object_to_missing(query)
    values = [f"{_text(query, name)} AS {quoted(name)}" for name in TEXT_COLUMNS]
    values += [f"{_input(query, name)} AS {quoted(name)}" for name in INPUT_NAMES]
    return query.after_steps(
        "SELECT * EXCLUDE (problem), problem.code AS problem_code, problem.field AS problem_field,"
        " problem.message AS problem_message"
        f" FROM (SELECT row, {', '.join(values)}, {query.problem()} AS problem FROM {rows}) ORDER BY row"
    )


def _text(query: Query, name: str) -> str:
    if name == "source":
        return quote(query.mapping.partner)
    if name == "region" and query.rehearsal:
        return quote(query.rehearsal.region)
    field = query.data["fields"].get(name)
    if name == "withdraws" and "withdrawals" in query.data:
        return f"coalesce(target, {name}_raw)" if field else "target"
    if field is None:
        return "NULL::VARCHAR"
    value = f"{name}_text" if name in TIMES else f"{name}_raw"
    if "map" not in field:
        return value
    known = ", ".join(quote(old) for old in field["map"])
    message = shown(value, f" is not among the values known; add it to fields.{name}.map")
    query.object(f"{value} IS NOT NULL AND {value} NOT IN ({known})", "value-not-mapped", name, message)
    return replaced(value, field["map"])


def _input(query: Query, name: str) -> str:
    field = query.data["inputs"].get(name)
    if field is None:
        return "NULL::VARCHAR"
    # A row that takes an act back and carries inputs would put another act in its place.
    standing = "side IS DISTINCT FROM -1" if "withdrawals" in query.data else None
    raw = f"{name}_raw"
    factor, up = query.mapping.factors[name], field.get("rounding") == "up"
    if "constant" in field:
        value = raw
    elif "distance" in field:
        value = scaled(Decimal(f"{_metres(query, name)}::HUGEINT", "1"), factor, up=up)
    else:
        number = decimal(raw)
        wrong = f"{raw} IS NOT NULL AND {number.top} IS NULL"
        message = shown(raw, f" is not a decimal number of at most {MOST_DIGITS} digits, such as 12.5")
        query.object(f"{wrong} AND {standing}" if standing else wrong, "number-malformed", name, message)
        value = f"coalesce({scaled(number, factor, up=up)}, {raw})"
    return f"CASE WHEN {standing} THEN {value} END" if standing else value


def _metres(query: Query, name: str) -> str:
    """Haversine in whole metres, cut down; NULL where a coordinate is missing or wrong."""
    angle: dict[str, str] = {}
    for end in ("from", "to"):
        for axis, limit in _LIMITS.items():
            raw = f"{name}_{end}_{axis}"
            value = f"TRY_CAST({raw} AS DOUBLE)"
            good = f"{value} BETWEEN -{limit} AND {limit}"
            angle[f"{end}_{axis}"] = f"radians(CASE WHEN {good} THEN {value} END)"
            message = shown(raw, f" is not a {axis} in degrees, -{limit} to {limit}")
            wrong = f"{raw} IS NOT NULL AND NOT coalesce({good}, false)"
            query.object(wrong, "coordinate-malformed", name, message)
    north = f"pow(sin(({angle['to_latitude']} - {angle['from_latitude']}) / 2), 2)"
    east = f"pow(sin(({angle['to_longitude']} - {angle['from_longitude']}) / 2), 2)"
    chord = f"{north} + cos({angle['from_latitude']}) * cos({angle['to_latitude']}) * {east}"
    # LEAST would turn a missing coordinate into half the way round the earth, so the limit is a CASE.
    return f"floor({2 * _EARTH_RADIUS_M} * asin(sqrt(CASE WHEN {chord} > 1 THEN 1 ELSE {chord} END)))"
