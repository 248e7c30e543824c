"""Mappings: a foreign CSV or Parquet file becomes raw action rows by a file of data, with no code per source.

``load_mapping`` checks a mapping file and reports every mistake with its line. ``apply_mapping`` turns it into SQL over
whole columns and leaves a temporary table of canonical rows in the given DuckDB connection. Every source row ends as an
action, as a refusal with a code, as the entry half of a pair, or as a counted skip; a sum that does not come out is
refused (``mapping-lost-rows``). Numbers are whole-number arithmetic on the written digits; the one exception is the
great-circle distance, which is cut to whole metres at once.

The reader takes one line for one row. DuckDB's own CSV reader loses good rows in silence after a quote that is never
closed, so it is used for lines only, and quotes are read here.
"""

from __future__ import annotations

import csv
import gzip
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Mapping as ReadOnly
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb

from tanzhang.core.action import INPUT_NAMES, INPUT_UNITS
from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.engine.kernel import quote
from tanzhang.engine.screen import OBJECTION_COLUMNS, RAW_COLUMNS, TEXT_COLUMNS
from tanzhang.stores.catalogue import Catalogue, check_schema
from tanzhang.stores.yaml_text import Document, load_yaml
from tanzhang.stores.yaml_text import Path as Place

_TIMES = ("time", "started_at")
_ENTRY = "entry."
_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")
_DEFAULT_FORMAT = "%Y-%m-%d %H:%M:%S"
_UNIX = {"unix_s": 1_000_000, "unix_ms": 1_000}
_EARTH_RADIUS_M = 6_371_000  # below the mean radius of 6 371 009 m, so that no metre is created
# 24 digits times a factor below 10^13, over 10^20 times a divisor below 10^13, stay within a HUGEINT.
_DIGITS, _DECIMALS, _LARGEST_FACTOR = 24, 20, 10**13
_NUMBER = rf"[+-]?([0-9]+(\.[0-9]{{0,{_DECIMALS}}})?|\.[0-9]{{1,{_DECIMALS}}})"
_POWERS = "([" + ", ".join(f"1{'0' * power}" for power in range(_DECIMALS + 1)) + "]::HUGEINT[])"
_NO_SEPARATOR = "\x1f\x1e\x1d\x1c"  # in no text file, so DuckDB reads each line as one value
_SHOWN = 60  # characters of a foreign value that a message repeats
_names = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """Where and when the acts are moved to; ``shift_days`` is whole weeks. Its result is not a claim."""

    shift_days: int
    region: str
    zone: str | None
    why: str


@dataclass(frozen=True, slots=True)
class Mapping:
    """A checked mapping file. ``factors`` holds each input's exact factor from the written to the canonical unit."""

    id: str
    title: str
    title_zh: str
    partner: str
    path: Path
    rehearsal: Rehearsal | None
    document: Document
    factors: ReadOnly[str, Fraction]

    @property
    def tables(self) -> dict[str, str]:
        """Name -> file name of the look-up tables."""
        return {name: table["file"] for name, table in self.document.data.get("tables", {}).items()}


@dataclass(frozen=True, slots=True)
class Mapped:
    """What came out. ``table`` is the canonical temporary table; ``str(mapped)`` is its name too.

    ``source_rows == rows + paired + sum(skipped.values())``: ``paired`` counts entry rows that live on in the row of
    their exit, ``skipped`` the rows left out by each skip filter, also those with none.
    """

    table: str
    source_rows: int
    rows: int
    refused: int
    paired: int
    skipped: ReadOnly[str, int]

    def __str__(self) -> str:
        return self.table


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
    catalogue = Catalogue()
    mistakes = check_schema(document, "mapping")
    if mistakes:
        raise TanzhangError(mistakes)
    data = document.data
    factors, problems = _read_factors(document, catalogue)
    problems += _check(document, path)
    if problems:
        raise TanzhangError(problems)
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


def apply_mapping(
    con: duckdb.DuckDBPyConnection,
    source: Path,
    mapping: Mapping,
    tables: ReadOnly[str, Path],
    *,
    rehearse: bool = True,
) -> Mapped:
    """Turn a file into a temporary table of canonical rows, sorted by ``row``; the caller drops it.

    Shape:  ``RAW_COLUMNS`` of :mod:`tanzhang.engine.screen`: ``row`` BIGINT, the rest VARCHAR. A value that cannot be
            converted stays as it came and its row gets a problem.
    Codes:  per row ``malformed-row``, ``time-malformed``, ``time-nonexistent``, ``time-ambiguous``,
            ``number-malformed``, ``coordinate-malformed``, ``not-in-table``, ``value-not-mapped``, ``unpaired-entry``,
            ``unpaired-exit``, ``unpairable-row``, ``withdrawal-without-target`` and those of the mapping's filters.
            A message may repeat up to 60 characters of the value it objects to.
    Raises: ``source-missing``, ``source-unreadable``, ``source-header``, ``column-missing``, ``column-repeated``,
            ``table-missing``, ``table-unknown``, ``table-malformed``, ``table-key-repeated``, ``mapping-lost-rows``.
    """
    return _Run(con, source, mapping, tables, rehearse).result()


def table_files(mapping: Mapping, source: Path, given: ReadOnly[str, Path]) -> dict[str, Path]:
    """The file of each look-up table: the given one, else the one beside the mapping, else beside the source.

    Raises: ``table-unknown`` for a given name that the mapping does not declare, ``table-missing``.
    """
    problems = [
        Problem(
            "table-unknown",
            f"mapping {mapping.id} has no table {name}",
            mapping.document.where("tables"),
            f"its tables: {', '.join(mapping.tables) or 'none'}",
        )
        for name in given
        if name not in mapping.tables
    ]
    found = {}
    for name, file in mapping.tables.items():
        places = [given[name]] if name in given else [mapping.path.parent / file, source.parent / file]
        existing = [place for place in places if place.is_file()]
        if existing:
            found[name] = existing[0]
            continue
        problems.append(
            Problem(
                "table-missing",
                f"look-up table {name} is not at {' or '.join(str(place) for place in places)}",
                mapping.document.where("tables", name),
                f"give it with --table {name}=PATH, or put {file} beside the mapping or beside the source",
            )
        )
    if problems:
        raise TanzhangError(problems)
    return found


# -- checks of a mapping file -------------------------------------------------------------------------------------


def _read_factors(document: Document, catalogue: Catalogue) -> tuple[dict[str, Fraction], list[Problem]]:
    factors: dict[str, Fraction] = {}
    problems: list[Problem] = []
    for name, number in document.data["inputs"].items():
        where = document.where("inputs", name)
        factor = Fraction(number.get("times", "1"))
        try:
            if "from_unit" in number:
                factor *= catalogue.units.to_base(Fraction(1), number["from_unit"], INPUT_UNITS[name], where=where)
        except TanzhangError as error:
            problems += error.problems
        if factor <= 0 or max(factor.numerator, factor.denominator) >= _LARGEST_FACTOR:
            problems.append(
                Problem(
                    "factor-too-fine",
                    f"{name}: factor {factor} is not positive, or needs 13 digits or more",
                    where,
                    "write a positive factor with fewer digits",
                )
            )
        factors[name] = factor
    return factors, problems


def _check(document: Document, path: Path) -> list[Problem]:
    data = document.data
    problems: list[Problem] = []

    def wrong(code: str, message: str, remedy: str, *place: str | int) -> None:
        problems.append(Problem(code, message, document.where(*place), remedy))

    if path.stem != data["mapping"]:
        wrong("mapping-id", f"{path.name} calls itself {data['mapping']}", "give file and id the same name", "mapping")
    for part, key in (("times", "zone"), ("rehearsal", "zone")):
        zone = data.get(part, {}).get(key)
        if zone is not None and not _duckdb_takes(f"SELECT timezone({_text(zone)}, TIMESTAMP '2020-01-01')"):
            wrong("time-zone-unknown", f"{zone} is not an IANA time zone", "such as Asia/Shanghai", part, key)
    pattern = data["times"].get("format", _DEFAULT_FORMAT)
    if pattern not in _UNIX and not ("%" in pattern and _duckdb_takes(f"SELECT try_strptime('', {_text(pattern)})")):
        remedy = f"use strptime letters as in {_DEFAULT_FORMAT}, or unix_s, unix_ms"
        wrong("time-format", f"{pattern!r} is not a time format", remedy, "times", "format")
    for group in ("fields", "inputs"):
        for name, field in data[group].items():
            allowed = ("column", "constant", "distance", "table") if group == "inputs" else ("column", "template")
            if group == "fields" and name not in _TIMES:
                allowed = ("column", "constant", "template", "table")
            given = [kind for kind in allowed if kind in field]
            if len(given) != 1:
                remedy = f"give exactly one of {', '.join(allowed)}"
                wrong("field-source", f"{name} has {' and '.join(given) or 'no source'}", remedy, group, name)
            if ("key" in field or "take" in field or "table" in field) and not {"table", "key", "take"} <= set(field):
                wrong("field-source", f"{name}: table, key and take belong together", "give all three", group, name)
            if "constant" in field and ({"from_unit", "times", "rounding", "map"} & set(field)):
                wrong("field-source", f"{name}: a constant is not converted", "write the final value", group, name)
            if "distance" in field and "from_unit" in field:
                wrong("field-source", f"{name}: a distance is in metres", "remove from_unit", group, name, "from_unit")
            template = field.get("template", "")
            if "template" in field and (
                not _PLACEHOLDER.search(template) or re.search(r"[{}]", _PLACEHOLDER.sub("", template))
            ):
                remedy = "write text with {column}"
                wrong("template-malformed", f"{template!r} is not a template", remedy, group, name, "template")
    if "withdrawals" in data:
        if "pairs" in data:
            remedy = "write two mappings over the same file"
            wrong("mapping-combination", "pairs and withdrawals do not go together", remedy, "withdrawals")
        if {"table", "map"} & set(data["fields"]["id"]):
            remedy = "with withdrawals, take id from a column or a template"
            wrong("field-source", "id is looked up, so that a withdrawal cannot name it", remedy, "fields", "id")
    names = [entry["name"] for entry in data.get("filters", [])]
    for index, entry in enumerate(data.get("filters", [])):
        if ("skip" in entry) == ("refuse" in entry):
            remedy = "give exactly one of skip: true and refuse"
            wrong("filter-malformed", f"filter {entry['name']} says not what to do", remedy, "filters", index)
        if names.index(entry["name"]) != index:
            remedy = "give each filter its own name"
            wrong("filter-malformed", f"two filters are called {entry['name']}", remedy, "filters", index)
    for place, condition in _conditions(data):
        if len(set(condition) - {"column", "not"}) != 1:
            remedy = "write one test per condition; list several conditions where all must hold"
            wrong("condition-malformed", f"the condition on {condition['column']} has not one test", remedy, *place)
    for name, place in _table_names(data):
        if name not in data.get("tables", {}):
            wrong("table-undeclared", f"table {name} is not declared", "declare it under tables", *place)
    for column, place in _columns_used(data):
        if column.startswith(_ENTRY) and ("pairs" not in data or place[0] not in ("fields", "inputs")):
            remedy = "only fields and inputs of a mapping with pairs can name columns of the entry"
            wrong("entry-without-pairs", f"{column} has no entry to belong to", remedy, *place)
    return problems


def _duckdb_takes(sql: str) -> bool:
    try:
        with duckdb.connect() as con:
            con.execute(sql)
    except duckdb.Error:
        return False
    return True


def _conditions(data: dict[str, Any]) -> Iterator[tuple[Place, dict[str, Any]]]:
    for index, entry in enumerate(data.get("filters", [])):
        for number, condition in enumerate(entry["when"]):
            yield ("filters", index, "when", number), condition
    if "pairs" in data:
        for side in ("entry", "exit"):
            yield ("pairs", side), data["pairs"][side]
    for number, condition in enumerate(data.get("withdrawals", {}).get("when", [])):
        yield ("withdrawals", "when", number), condition


def _fields(data: dict[str, Any]) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Every field and input, and each end of a distance."""
    for group in ("fields", "inputs"):
        for name, field in data[group].items():
            yield (group, name), field
            for end, point in field.get("distance", {}).items():
                yield (group, name, "distance", end), point


def _table_names(data: dict[str, Any]) -> Iterator[tuple[str, Place]]:
    for place, field in _fields(data):
        if "table" in field:
            yield field["table"], (*place, "table")


def _columns_used(data: dict[str, Any]) -> Iterator[tuple[str, Place]]:
    """Every column of the source with the place that names it."""
    for place, condition in _conditions(data):
        yield condition["column"], (*place, "column")
    if "pairs" in data:
        yield from ((column, ("pairs", "key", index)) for index, column in enumerate(data["pairs"]["key"]))
        yield data["pairs"]["time"], ("pairs", "time")
    for index, same in enumerate(data.get("withdrawals", {}).get("same", [])):
        yield same["column"], ("withdrawals", "same", index, "column")
    for place, field in _fields(data):
        for key in ("column", "key"):
            if key in field:
                yield field[key], (*place, key)
        if "latitude" in field and "table" not in field:
            yield field["latitude"], (*place, "latitude")
            yield field["longitude"], (*place, "longitude")
        for column in _PLACEHOLDER.findall(field.get("template", "")):
            yield column, (*place, "template")


# -- one run ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Objection:
    """SQL of a condition and of the message it gives."""

    holds: str
    code: str
    field: str | None
    message: str

    def as_case(self) -> str:
        field = "NULL::VARCHAR" if self.field is None else _text(self.field)
        return f"WHEN {self.holds} THEN {{'code': {_text(self.code)}, 'field': {field}, 'message': {self.message}}}"


class _Run:
    """One application of a mapping; ``result`` is its table of contents."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        source: Path,
        mapping: Mapping,
        tables: ReadOnly[str, Path],
        rehearse: bool,
    ) -> None:
        self.con, self.source, self.mapping, self.given = con, source, mapping, tables
        self.data: dict[str, Any] = mapping.document.data
        self.rehearsal = mapping.rehearsal if rehearse else None
        self.prefix = f"mapping_{next(_names)}"
        self.positions: dict[str, int] = {}
        self.objections: list[_Objection] = []
        self.steps: list[str] = []

    def result(self) -> Mapped:
        try:
            self._read_source()
            self._read_tables()
            rows = self._filtered()
            if "pairs" in self.data:
                rows = self._paired(rows)
            if "withdrawals" in self.data:
                rows = self._withdrawn(rows)
            return self._counted(self._canonical(rows))
        finally:
            for name in ("raw", "lines", "scan", "errors", "pairs", *(f"table_{name}" for name in self.mapping.tables)):
                self.con.execute(f"DROP TABLE IF EXISTS {self.prefix}_{name}")

    # -- reading ----------------------------------------------------------------------------------------------

    def _read_source(self) -> None:
        options = self.data["source"]
        header = self._header(self.source, options["format"], options.get("delimiter", ","))
        problems = []
        for column, place in _columns_used(self.data):
            name = column.removeprefix(_ENTRY) if "pairs" in self.data else column
            self.positions[name] = header.index(name) if name in header else -1
            if header.count(name) == 1:
                continue
            where = f"{self.mapping.document.where(*place)}; {self.source.name}"
            if name in header:
                message, remedy = f"column {name} appears twice in the header", "rename one of the two in the file"
                problems.append(Problem("column-repeated", message, where, remedy))
            else:
                remedy = f"the file has {', '.join(header)[:500]}; correct the mapping or its delimiter"
                problems.append(Problem("column-missing", f"the file has no column {name}", where, remedy))
        if problems:
            raise TanzhangError(problems)
        self._read_file(
            self.source,
            options["format"],
            header,
            sorted(set(self.positions.values())),
            "raw",
            options.get("delimiter", ","),
            options.get("null_values", []),
        )

    def _header(self, path: Path, kind: str, delimiter: str) -> list[str]:
        if not path.is_file():
            raise refuse(
                "source-missing", f"there is no file {path.name}", where=str(path), remedy="name an existing file"
            )
        try:
            if kind == "parquet":
                found = self.con.execute(
                    f"DESCRIBE SELECT * FROM read_parquet({_file(path)}, hive_partitioning=false)"
                ).fetchall()
                return [str(row[0]) for row in found]
            with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
                line = file.readline(1_000_000).decode("utf-8-sig").rstrip("\r\n")
        except UnicodeDecodeError:
            raise refuse(
                "source-header", "the header line is not UTF-8", where=str(path), remedy="save the file as UTF-8"
            ) from None
        except (OSError, EOFError, duckdb.Error) as error:
            raise self._unreadable(path, error) from None
        if not line.strip():
            raise refuse(
                "source-header",
                "the first line is empty, so no column has a name",
                where=str(path),
                remedy="add a header line with the column names",
            )
        return next(csv.reader([line], delimiter=delimiter))

    def _unreadable(self, path: Path, error: Exception) -> TanzhangError:
        return refuse(
            "source-unreadable",
            f"{path.name} cannot be read: {str(error).splitlines()[0][:200]}",
            where=str(path),
            remedy="check that the file is complete and of the format that the mapping declares",
        )

    def _read_file(
        self,
        path: Path,
        kind: str,
        header: Sequence[str],
        wanted: Sequence[int],
        name: str,
        delimiter: str,
        null_values: Sequence[str],
    ) -> None:
        """Create table ``<prefix>_<name>``: row, line, bad (why the line is no row, or NULL), c<position> ..."""
        nulls = ", ".join(_text(value) for value in ("", *null_values))
        ((ordered,),) = self.con.execute("SELECT current_setting('preserve_insertion_order')").fetchall()
        self.con.execute("SET preserve_insertion_order = true")  # lines are numbered in the order they are read
        try:
            if kind == "parquet":
                self._read_parquet(path, wanted, name, nulls)
            else:
                self._read_lines(path, len(header), wanted, name, delimiter, nulls)
        except (duckdb.IOException, duckdb.InvalidInputException) as error:
            raise self._unreadable(path, error) from None
        finally:
            self.con.execute(f"SET preserve_insertion_order = {ordered}")

    def _read_parquet(self, path: Path, wanted: Sequence[int], name: str, nulls: str) -> None:
        file = f"read_parquet({_file(path)}, hive_partitioning=false, file_row_number=true)"
        described = self.con.execute(f"DESCRIBE SELECT * FROM {file}").fetchall()
        columns = []
        for index in wanted:
            column, kind = str(described[index][0]), str(described[index][1])
            quoted = '"' + column.replace('"', '""') + '"'
            if kind == "TIMESTAMP WITH TIME ZONE":
                quoted = f"strftime(timezone('UTC', {quoted}), '%Y-%m-%d %H:%M:%S.%f+00:00')"
            columns.append(f"CASE WHEN {quoted}::VARCHAR NOT IN ({nulls}) THEN {quoted}::VARCHAR END AS c{index}")
        selected = ", ".join(
            ["file_row_number + 1 AS row", "file_row_number + 1 AS line", "NULL::VARCHAR AS bad", *columns]
        )
        self.con.execute(f"CREATE TEMP TABLE {self.prefix}_{name} AS SELECT {selected} FROM {file}")

    def _read_lines(self, path: Path, width: int, wanted: Sequence[int], name: str, delimiter: str, nulls: str) -> None:
        scan, errors, lines = (f"{self.prefix}_{part}" for part in ("scan", "errors", "lines"))
        for table in (scan, errors, lines):
            self.con.execute(f"DROP TABLE IF EXISTS {table}")
        compression = "gzip" if path.suffix == ".gz" else "none"
        self.con.execute(
            f"CREATE TEMP TABLE {lines} AS SELECT row_number() OVER () AS k, l FROM read_csv({_file(path)},"
            f" columns={{'l': 'VARCHAR'}}, auto_detect=false, header=true, delim={_text(_NO_SEPARATOR)}, quote='',"
            f" escape='', strict_mode=false, compression={_text(compression)}, store_rejects=true, rejects_limit=0,"
            f" rejects_scan={_text(scan)}, rejects_table={_text(errors)})"
        )
        mark = re.escape(delimiter)
        field = f'("(?:[^"]|"")*"|[^"{mark}]*){mark}'
        closed = f"l || {_text(delimiter)}"
        taken = ", ".join(
            f"CASE WHEN bad IS NULL AND {_unquoted(f'p[{index + 1}]')} NOT IN ({nulls})"
            f" THEN {_unquoted(f'p[{index + 1}]')} END AS c{index}"
            for index in wanted
        )
        self.con.execute(f"""
            CREATE TEMP TABLE {self.prefix}_{name} AS
            WITH broken AS (  -- the reader's own rejections, by line of the file
                SELECT line, row_number() OVER (ORDER BY line) AS nth, CASE kind
                    WHEN 'INVALID ENCODING' THEN 'bytes that are not UTF-8'
                    WHEN 'LINE SIZE OVER MAXIMUM' THEN 'the line is longer than 2 MB'
                    ELSE 'the line cannot be read' END AS why
                FROM (SELECT line, min(error_type::VARCHAR) AS kind FROM {errors} GROUP BY line)
            ), numbered AS (  -- the k-th line that was read stands after so many rejected ones
                SELECT k + 1 + coalesce(nth, 0) AS line, l, NULL AS why
                FROM {lines} ASOF LEFT JOIN (SELECT line - 1 - nth AS before, nth FROM broken) ON k > before
                WHERE l IS NOT NULL
                UNION ALL SELECT line, NULL, why FROM broken
            ), split AS (
                SELECT line, why, l, CASE WHEN contains(l, '"') THEN regexp_extract_all({closed}, {_text(field)}, 1)
                    ELSE string_split(l, {_text(delimiter)}) END AS p
                FROM numbered
            ), judged AS (
                SELECT line, p, CASE
                    WHEN why IS NOT NULL THEN why
                    WHEN contains(l, '"') AND NOT regexp_full_match({closed}, {_text(f"({field})*")})
                        THEN 'a quote that is not closed, or stands inside a plain value'
                    WHEN len(p) <> {width} THEN format('{{}} values instead of {width}', len(p)) END AS bad
                FROM split
            )
            SELECT row_number() OVER (ORDER BY line) AS row, line, bad{taken and ", "}{taken} FROM judged""")
        self.con.execute(f"DROP TABLE {lines}")

    def _read_tables(self) -> None:
        files = table_files(self.mapping, self.source, self.given)
        taken: dict[str, set[str]] = {}
        for _, field in _fields(self.data):
            if "table" in field:
                wanted = (field[key] for key in ("take", "latitude", "longitude") if key in field)
                taken.setdefault(field["table"], set()).update(wanted)
        for name, columns in taken.items():
            self._read_table(name, files[name], sorted(columns))

    def _read_table(self, name: str, path: Path, columns: Sequence[str]) -> None:
        spec = self.data["tables"][name]
        where = self.mapping.document.where("tables", name)
        kind = "parquet" if path.suffix == ".parquet" else "csv"
        header = self._header(path, kind, ",")
        missing = [column for column in (spec["key"], *columns) if header.count(column) != 1]
        if missing:
            raise refuse(
                "column-missing",
                f"table {name} has not exactly one column {', '.join(missing)}",
                where=f"{where}; {path.name}",
                remedy=f"the file has {', '.join(header)}",
            )
        at = [header.index(column) for column in columns]
        key = header.index(spec["key"])
        raw = f"{self.prefix}_table_{name}_raw"
        self._read_file(path, kind, header, sorted({key, *at}), f"table_{name}_raw", ",", [])
        try:
            bad = self.con.execute(
                f"SELECT line, bad FROM {raw} WHERE bad IS NOT NULL ORDER BY line LIMIT 20"
            ).fetchall()
            if bad:
                raise TanzhangError(
                    Problem("table-malformed", f"table {name}: {why}", f"{path.name}:{line}", "correct that line")
                    for line, why in bad
                )
            values = ", ".join(f"c{index} AS {_taken(column)}" for index, column in zip(at, columns, strict=True))
            self.con.execute(
                f"CREATE TEMP TABLE {self.prefix}_table_{name} AS SELECT DISTINCT"
                f" {self._normalised(name, f'c{key}')} AS looked_up, {values} FROM {raw} WHERE c{key} IS NOT NULL"
            )
        finally:
            self.con.execute(f"DROP TABLE IF EXISTS {raw}")
        twice = self.con.execute(
            f"SELECT looked_up FROM {self.prefix}_table_{name} GROUP BY looked_up HAVING count(*) > 1"
            " ORDER BY looked_up LIMIT 20"
        ).fetchall()
        if twice:
            raise refuse(
                "table-key-repeated",
                f"table {name} says different things about {', '.join(str(row[0]) for row in twice)}",
                where=f"{where}; {path.name}",
                remedy="keep one row per key, after the declared normalisation",
            )

    def _normalised(self, name: str, value: str) -> str:
        for step in self.data["tables"][name].get("normalise", []):
            ((verb, word),) = step.items()
            if verb == "trim":
                value = f"trim({value})"
            elif verb == "lower":
                value = f"lower({value})"
            elif verb == "strip_suffix":
                value = (
                    f"(CASE WHEN ends_with({value}, {_text(word)}) THEN left({value}, -{len(word)}) ELSE {value} END)"
                )
            else:
                cases = " ".join(f"WHEN {_text(old)} THEN {_text(new)}" for old, new in word.items())
                value = f"(CASE {value} {cases} ELSE {value} END)"
        return value

    # -- rows -------------------------------------------------------------------------------------------------

    def _column(self, name: str) -> str:
        if "pairs" in self.data and name.startswith(_ENTRY):
            return f"e{self.positions[name.removeprefix(_ENTRY)]}"
        return f"c{self.positions[name]}"

    def _step(self, name: str, sql: str) -> str:
        self.steps.append(f"{name} AS ({sql})")
        return name

    def _filtered(self) -> str:
        """Rows that no skip filter takes; ``hit`` is the number of the refusing filter, or NULL."""
        self.objections.append(_Objection("bad IS NOT NULL", "malformed-row", None, "format('line {}: {}', line, bad)"))
        filters = self.data.get("filters", [])
        for index, entry in enumerate(filters):
            if "refuse" in entry:
                verdict = entry["refuse"]
                field = entry["when"][0]["column"]
                self.objections.append(_Objection(f"hit = {index}", verdict["code"], field, _text(verdict["message"])))
        skips = ", ".join(str(index) for index, entry in enumerate(filters) if "skip" in entry)
        kept = f"WHERE hit IS NULL OR hit NOT IN ({skips})" if skips else ""
        return self._step("kept", f"SELECT * FROM (SELECT *, {self._hit()} AS hit FROM {self.prefix}_raw) {kept}")

    def _hit(self) -> str:
        whens = " ".join(
            f"WHEN {self._all(entry['when'])} THEN {index}" for index, entry in enumerate(self.data.get("filters", []))
        )
        return f"CASE WHEN bad IS NOT NULL THEN NULL {whens} END"

    def _all(self, conditions: Iterable[dict[str, Any]]) -> str:
        return " AND ".join(self._condition(condition) for condition in conditions)

    def _condition(self, condition: dict[str, Any]) -> str:
        value = self._column(condition["column"])
        ((test, wanted),) = ((key, word) for key, word in condition.items() if key not in ("column", "not"))
        if test == "empty":
            holds = f"{value} IS NULL"
        elif test == "equals":
            holds = f"{value} = {_text(wanted)}"
        elif test == "one_of":
            holds = f"{value} IN ({', '.join(_text(word) for word in wanted)})"
        elif test in ("starts_with", "ends_with"):
            holds = f"{test}({value}, {_text(wanted)})"
        else:
            limit, number = Fraction(wanted), _Number(value)
            sign = ">=" if test == "at_least" else "<="
            holds = f"{number.signed} * {limit.denominator} {sign} {number.scale} * {limit.numerator}"
        return f"{'NOT ' if 'not' in condition else ''}coalesce({holds}, false)"

    def _paired(self, rows: str) -> str:
        """Each exit with its entry beside it as e<position>; entries that found their exit are gone."""
        spec = self.data["pairs"]
        keys = ", ".join(self._column(column) for column in spec["key"])
        present = " AND ".join(f"{self._column(column)} IS NOT NULL" for column in spec["key"])
        kind = f"CASE WHEN {self._condition(spec['entry'])} THEN 1 WHEN {self._condition(spec['exit'])} THEN 2 END"
        sided = self._step(
            "sided",
            f"SELECT *, CASE WHEN bad IS NULL AND hit IS NULL THEN {kind} END AS side,"
            f" {self._column(spec['time'])} AS at_raw FROM {rows}",
        )
        timed = self._timed(sided, ("at",))
        pairs = f"{self.prefix}_pairs"
        self.con.execute(
            f"CREATE TEMP TABLE {pairs} AS WITH {', '.join(self.steps)} SELECT row, entry_row FROM ("
            f" SELECT row, side, at_utc, lag(row) OVER w AS entry_row, lag(side) OVER w AS last_side,"
            f" lag(at_utc) OVER w AS last_utc FROM {timed} WHERE side IS NOT NULL AND at_utc IS NOT NULL AND {present}"
            f" WINDOW w AS (PARTITION BY {keys} ORDER BY at_utc, row))"
            f" WHERE side = 2 AND last_side = 1 AND at_utc - last_utc <= to_seconds({spec['within_s']})"
        )
        entries = ", ".join(f"entry.c{index} AS e{index}" for index in sorted(set(self.positions.values())))
        within = _text(f" of the same {' and '.join(spec['key'])} within {spec['within_s']} s")
        self._object_to_times(("at",), {"at": spec["time"]})
        self.objections += [
            _Objection(
                "side IS NULL AND bad IS NULL", "unpairable-row", spec["entry"]["column"], "'neither entry nor exit'"
            ),
            _Objection(
                "side = 1", "unpaired-entry", spec["time"], f"'no exit follows this entry directly,' || {within}"
            ),
            _Objection(
                "side = 2 AND entry_row IS NULL",
                "unpaired-exit",
                spec["time"],
                f"'no entry stands directly before this exit,' || {within}",
            ),
        ]
        return self._step(
            "joined",
            f"SELECT this.*, pair.entry_row, {entries} FROM {timed} this LEFT JOIN {pairs} pair ON this.row = pair.row"
            f" LEFT JOIN {timed} entry ON entry.row = pair.entry_row"
            f" WHERE this.row NOT IN (SELECT entry_row FROM {pairs})",
        )

    def _withdrawn(self, rows: str) -> str:
        """Cancellations matched like closing brackets, so each takes the nearest earlier open row of its key.

        ``depth`` is the number of open rows after this one: the running sum of +1 and -1, lifted by its own lowest
        value so far, because a cancellation that finds nothing open takes nothing.
        """
        spec = self.data["withdrawals"]
        keys = [
            _unsigned(self._column(same["column"])) if "absolute" in same else self._column(same["column"])
            for same in spec["same"]
        ]
        names = [f"same_{index}" for index in range(len(keys))]
        parts = [f"{value} AS {name}" for name, value in zip(names, keys, strict=True)]
        clean = " AND ".join(["bad IS NULL", "hit IS NULL"])
        time = self._raw_value(self.data["fields"]["time"])
        signed = self._step(
            "signed",
            f"SELECT *, {', '.join(parts)}, {time} AS at_raw, {self._raw_value(self.data['fields']['id'])} AS own_id,"
            f" CASE WHEN {clean} THEN CASE WHEN {self._all(spec['when'])} THEN -1 ELSE 1 END END AS side FROM {rows}",
        )
        timed = self._timed(signed, ("at",))
        key = ", ".join(names)
        usable = " AND ".join(["side IS NOT NULL", "at_utc IS NOT NULL", *(f"{name} IS NOT NULL" for name in names)])
        order = f"PARTITION BY {key} ORDER BY at_utc, row"
        self._step(
            "summed",
            f"SELECT row, side, own_id, at_utc, {key}, sum(side) OVER ({order} ROWS UNBOUNDED PRECEDING) AS total"
            f" FROM {timed} WHERE {usable}",
        )
        self._step(
            "lifted",
            f"SELECT *, total - least(0, min(total) OVER ({order} ROWS UNBOUNDED PRECEDING)) AS depth FROM summed",
        )
        self._step(
            "levelled",
            f"SELECT *, CASE WHEN side = 1 THEN depth ELSE lag(depth, 1, 0) OVER ({order}) END AS level FROM lifted",
        )
        self._step(
            "taken_back",
            f"SELECT row, CASE WHEN side = -1 AND level > 0 THEN lag(own_id) OVER (PARTITION BY {key}, level"
            " ORDER BY at_utc, row) END AS target FROM levelled",
        )
        self._object_to_times(("at",), {"at": "time"})
        named = " and ".join(same["column"] for same in spec["same"])
        message = f"no earlier row, still standing, has the same {named}"
        self.objections.append(
            _Objection("side = -1 AND target IS NULL", "withdrawal-without-target", "withdraws", _text(message))
        )
        return self._step("matched", f"SELECT t.*, b.target FROM {timed} t LEFT JOIN taken_back b ON t.row = b.row")

    # -- times ------------------------------------------------------------------------------------------------

    def _timed(self, rows: str, names: Sequence[str]) -> str:
        """Add to each ``<name>_raw``: ``_local`` and ``_utc`` (naive timestamps), ``_text`` (RFC 3339), ``_bad``.

        ``_bad`` is 1 for not a time, 2 for a local time that does not exist, 3 for one that exists twice.
        """
        times = self.data["times"]
        written = times["zone"]
        zone = (self.rehearsal.zone if self.rehearsal else None) or written
        moved = [f"to_years({times['add_years']})"] if times.get("add_years") else []
        if self.rehearsal and self.rehearsal.shift_days:
            moved.append(f"to_days({self.rehearsal.shift_days})")
        pattern = times.get("format", _DEFAULT_FORMAT)
        absolute = pattern in _UNIX or "%z" in pattern
        keeps_instant = absolute and not moved and zone == written
        later = times.get("repeated_hour", "first")
        read, placed, settled, spelled = [], [], [], []
        for name in names:
            parsed = self._parsed(f"{name}_raw", pattern)
            if absolute:
                parsed = f"timezone({_text(written)}, timezone('UTC', {parsed}))"
            read.append(f"{' + '.join([parsed, *moved])} AS {name}_local")
            instant = self._parsed(f"{name}_raw", pattern) if keeps_instant else _utc(zone, f"{name}_local")
            placed.append(f"{instant} AS {name}_guess")
            guess, local = f"{name}_guess", f"{name}_local"
            found = {
                sign: " ".join(
                    f"WHEN {_local(zone, f'{guess} {sign} INTERVAL {gap} MINUTE')} = {local}"
                    f" THEN {guess} {sign} INTERVAL {gap} MINUTE"
                    for gap in (60, 30, 120)
                )
                for sign in "-+"
            }
            wrong = [f"WHEN {name}_raw IS NOT NULL AND {local} IS NULL THEN 1"]
            chosen = guess
            if not keeps_instant:
                chosen = f"CASE {found['+' if later == 'second' else '-']} ELSE {guess} END"
                wrong.append(f"WHEN {_local(zone, guess)} <> {local} THEN 2")
                if later == "refuse":
                    wrong.append(f"WHEN (CASE {found['-']} {found['+']} END) IS NOT NULL THEN 3")
            settled.append(f"{chosen} AS {name}_chosen, CASE {' '.join(wrong)} ELSE 0 END AS {name}_doubt")
            seconds = f"((epoch_us({local}) - epoch_us({name}_chosen)) // 1000000)"
            offset = (
                f"format('{{}}{{:02d}}:{{:02d}}', CASE WHEN {seconds} < 0 THEN '-' ELSE '+' END,"
                f" abs({seconds}) // 3600, abs({seconds}) // 60 % 60)"
            )
            fraction = f"CASE WHEN epoch_us({local}) % 1000000 <> 0 THEN strftime({local}, '.%f') ELSE '' END"
            bad = f"CASE WHEN {name}_doubt = 0 AND {seconds} % 60 <> 0 THEN 1 ELSE {name}_doubt END"
            spelled.append(
                f"CASE WHEN {bad} = 0 THEN {name}_chosen END AS {name}_utc, {bad} AS {name}_bad,"
                f" CASE WHEN {bad} = 0 THEN strftime({local}, '%Y-%m-%dT%H:%M:%S') || {fraction} || {offset}"
                f" ELSE {name}_raw END AS {name}_text"
            )
        label = f"{names[0]}_of_{rows}"
        self._step(f"{label}_read", f"SELECT *, {', '.join(read)} FROM {rows}")
        self._step(f"{label}_placed", f"SELECT *, {', '.join(placed)} FROM {label}_read")
        self._step(f"{label}_settled", f"SELECT *, {', '.join(settled)} FROM {label}_placed")
        return self._step(label, f"SELECT *, {', '.join(spelled)} FROM {label}_settled")

    def _parsed(self, value: str, pattern: str) -> str:
        if pattern in _UNIX:
            return f"make_timestamp(TRY_CAST(trim({value}) AS BIGINT) * {_UNIX[pattern]})"
        if "%z" in pattern:
            return f"timezone('UTC', try_strptime(trim({value}), {_text(pattern)}))"
        if pattern == _DEFAULT_FORMAT:
            return f"try_strptime(trim({value}), [{_text(pattern)}, {_text(pattern + '.%f')}])"
        return f"try_strptime(trim({value}), {_text(pattern)})"

    def _object_to_times(self, names: Sequence[str], fields: ReadOnly[str, str]) -> None:
        times = self.data["times"]
        pattern = times.get("format", _DEFAULT_FORMAT)
        zone = (self.rehearsal.zone if self.rehearsal else None) or times["zone"]
        says = (
            (1, "time-malformed", f" is not a time as {pattern}"),
            (2, "time-nonexistent", f" does not exist in {zone}: the clock is put forward over it"),
            (3, "time-ambiguous", f" happens twice in {zone}: the clock is put back over it"),
        )
        for name in names:
            for number, code, words in says:
                message = f"{_shown(f'{name}_raw')} || {_text(words)}"
                self.objections.append(_Objection(f"{name}_bad = {number}", code, fields[name], message))

    # -- canonical rows ---------------------------------------------------------------------------------------

    def _canonical(self, rows: str) -> str:
        fields, inputs = self.data["fields"], self.data["inputs"]
        looked: dict[tuple[str, str], str] = {}
        for _, field in _fields(self.data):
            if "table" in field:
                looked.setdefault((field["table"], field["key"]), f"look_{len(looked)}")
        joins = "".join(
            f" LEFT JOIN {self.prefix}_table_{table} {alias}"
            f" ON {alias}.looked_up = {self._normalised(table, f'this.{self._column(key)}')}"
            for (table, key), alias in looked.items()
        )
        columns = [f"{alias}.looked_up AS {alias}_key" for alias in looked.values()]
        for name, field in fields.items():
            columns.append(f"{self._raw_value(field, looked)} AS {name}_raw")
        for name, field in inputs.items():
            if "distance" in field:
                for end, point in field["distance"].items():
                    columns += [
                        f"{self._raw_value(self._coordinate(point, axis), looked)} AS {name}_{end}_{axis}"
                        for axis in ("latitude", "longitude")
                    ]
            elif "constant" not in field:
                columns.append(f"{self._raw_value(field, looked)} AS {name}_raw")
        shaped = self._step("shaped", f"SELECT this.*, {', '.join(columns)} FROM {rows} this{joins}")
        present = [name for name in _TIMES if name in fields]
        timed = self._timed(shaped, present)
        self._object_to_times(present, {name: name for name in present})
        for (table, key), alias in looked.items():
            self.objections += [
                _Objection(
                    f"{alias}_key IS NULL AND {self._column(key)} IS NULL",
                    "not-in-table",
                    key,
                    _text(f"{key} is empty, so there is nothing to look up in table {table}"),
                ),
                _Objection(
                    f"{alias}_key IS NULL",
                    "not-in-table",
                    key,
                    f"'table {table} has no ' || {_shown(self._column(key))}",
                ),
            ]
        values = [self._field(name) for name in TEXT_COLUMNS] + [self._input(name) for name in INPUT_NAMES]
        cases = " ".join(objection.as_case() for objection in self.objections)
        selected = ", ".join(
            f"{value} AS {_quoted(name)}"
            for name, value in zip(RAW_COLUMNS[1 : -len(OBJECTION_COLUMNS)], values, strict=True)
        )
        self.con.execute(
            f"CREATE TEMP TABLE {self.prefix} AS WITH {', '.join(self.steps)}"
            " SELECT * EXCLUDE (problem), problem.code AS problem_code, problem.field AS problem_field,"
            f" problem.message AS problem_message FROM (SELECT row, {selected}, CASE {cases} END AS problem"
            f" FROM {timed}) ORDER BY row"
        )
        return self.prefix

    def _coordinate(self, point: dict[str, Any], axis: str) -> dict[str, Any]:
        if "table" in point:
            return {"table": point["table"], "key": point["key"], "take": point[axis]}
        return {"column": point[axis]}

    def _raw_value(self, field: dict[str, Any], looked: ReadOnly[tuple[str, str], str] | None = None) -> str:
        """SQL of a field's value as text, before any conversion."""
        if "constant" in field:
            return _text(field["constant"])
        if "column" in field:
            return self._column(field["column"])
        if "table" in field:
            alias = (looked or {})[field["table"], field["key"]]
            return f"{alias}.{_taken(field['take'])}"
        parts = []
        end = 0
        for found in _PLACEHOLDER.finditer(field["template"]):
            parts += [_text(field["template"][end : found.start()]), self._column(found[1])]
            end = found.end()
        parts.append(_text(field["template"][end:]))
        return f"({' || '.join(parts)})"

    def _field(self, name: str) -> str:
        if name == "source":
            return _text(self.mapping.partner)
        if name == "region" and self.rehearsal:
            return _text(self.rehearsal.region)
        field = self.data["fields"].get(name)
        if name == "withdraws" and "withdrawals" in self.data:
            return "target" if field is None else f"coalesce(target, {name}_raw)"
        if field is None:
            return "NULL::VARCHAR"
        value = f"{name}_text" if name in _TIMES else f"{name}_raw"
        if "map" in field:
            cases = " ".join(f"WHEN {_text(old)} THEN {_text(new)}" for old, new in field["map"].items())
            known = ", ".join(_text(old) for old in field["map"])
            self.objections.append(
                _Objection(
                    f"{value} IS NOT NULL AND {value} NOT IN ({known})",
                    "value-not-mapped",
                    name,
                    f"{_shown(value)} || ' is not one of the values that the mapping knows'",
                )
            )
            value = f"(CASE {value} {cases} ELSE {value} END)"
        return value

    def _input(self, name: str) -> str:
        field = self.data["inputs"].get(name)
        if field is None:
            return "NULL::VARCHAR"
        value = self._number(name, field)
        # A row that takes an act back and carries inputs would put another act in its place.
        return f"CASE WHEN side IS DISTINCT FROM -1 THEN {value} END" if "withdrawals" in self.data else value

    def _number(self, name: str, field: dict[str, Any]) -> str:
        if "constant" in field:
            return _text(field["constant"])
        factor, up = self.mapping.factors[name], field.get("rounding") == "up"
        if "distance" in field:
            metres = self._metres(name)
            return f"({_scaled(f'{metres}::HUGEINT', '1', factor, up)})::VARCHAR"
        number = _Number(f"{name}_raw")
        standing = " AND side IS DISTINCT FROM -1" if "withdrawals" in self.data else ""
        self.objections.append(
            _Objection(
                f"{name}_raw IS NOT NULL AND {number.signed} IS NULL{standing}",
                "number-malformed",
                name,
                f"{_shown(f'{name}_raw')} || ' is not a decimal number of at most {_DIGITS} digits'",
            )
        )
        return f"coalesce(({_scaled(number.signed, number.scale, factor, up)})::VARCHAR, {name}_raw)"

    def _metres(self, name: str) -> str:
        """Haversine in whole metres, cut down; NULL where a coordinate is missing or wrong."""
        angle: dict[str, str] = {}
        for end in ("from", "to"):
            for axis, limit in (("latitude", 90), ("longitude", 180)):
                raw = f"{name}_{end}_{axis}"
                value = f"TRY_CAST({raw} AS DOUBLE)"
                good = f"{value} BETWEEN -{limit} AND {limit}"
                angle[f"{end}_{axis}"] = f"radians(CASE WHEN {good} THEN {value} END)"
                self.objections.append(
                    _Objection(
                        f"{raw} IS NOT NULL AND NOT coalesce({good}, false)",
                        "coordinate-malformed",
                        name,
                        f"{_shown(raw)} || ' is not a {axis} in degrees'",
                    )
                )
        north = f"pow(sin(({angle['to_latitude']} - {angle['from_latitude']}) / 2), 2)"
        east = f"pow(sin(({angle['to_longitude']} - {angle['from_longitude']}) / 2), 2)"
        chord = f"{north} + cos({angle['from_latitude']}) * cos({angle['to_latitude']}) * {east}"
        # LEAST would turn a missing coordinate into half the way round the earth, so the limit is a CASE.
        return f"floor({2 * _EARTH_RADIUS_M} * asin(sqrt(CASE WHEN {chord} > 1 THEN 1 ELSE {chord} END)))"

    def _counted(self, table: str) -> Mapped:
        """Account for every source row, or refuse to hand anything out."""
        filters = self.data.get("filters", [])
        found = self.con.execute(
            f"SELECT {self._hit()} AS hit, count(*) FROM {self.prefix}_raw GROUP BY hit"
        ).fetchall()
        hits = dict(found)
        skipped = {entry["name"]: hits.get(index, 0) for index, entry in enumerate(filters) if "skip" in entry}
        paired = 0
        if "pairs" in self.data:
            ((paired,),) = self.con.execute(f"SELECT count(*) FROM {self.prefix}_pairs").fetchall()
        ((rows, distinct, refused),) = self.con.execute(
            f"SELECT count(*), count(DISTINCT row), count(problem_code) FROM {table}"
        ).fetchall()
        source_rows = sum(hits.values())
        if source_rows != rows + paired + sum(skipped.values()) or rows != distinct:
            self.con.execute(f"DROP TABLE {table}")
            raise refuse(
                "mapping-lost-rows",
                f"{source_rows} rows came in, but {rows} came out, {paired} were paired and {skipped} skipped",
                where=f"{self.mapping.path.name}; {self.source.name}",
                remedy="report this as a defect of the mapping engine, with the mapping file",
            )
        return Mapped(table, source_rows, rows, refused, paired, skipped)


# -- SQL text -----------------------------------------------------------------------------------------------------


class _Number:
    """A written decimal as SQL: ``signed / scale``, both whole; ``signed`` is NULL where the text is no number."""

    def __init__(self, value: str) -> None:
        text = f"trim({value})"
        digits = f"regexp_replace({text}, '[^0-9]', '', 'g')"
        fits = f"regexp_full_match({text}, {_text(_NUMBER)}) AND length({digits}) <= {_DIGITS}"
        whole = f"TRY_CAST(CASE WHEN {fits} THEN {digits} END AS HUGEINT)"
        self.signed = f"(CASE WHEN starts_with({text}, '-') THEN -{whole} ELSE {whole} END)"
        decimals = f"CASE WHEN contains({text}, '.') THEN length({text}) - strpos({text}, '.') ELSE 0 END"
        self.scale = f"{_POWERS}[{decimals} + 1]"


def _scaled(top: str, bottom: str, factor: Fraction, up: bool) -> str:
    """``top / bottom * factor`` as a whole number, cut down or up; ``//`` cuts towards zero, hence the two cases."""
    numerator, denominator = f"({top} * {factor.numerator})", f"({bottom} * {factor.denominator})"
    plain = f"{numerator} // {denominator}"
    if up:
        return f"CASE WHEN {top} > 0 THEN ({numerator} + ({denominator} - 1)) // {denominator} ELSE {plain} END"
    return f"CASE WHEN {top} < 0 THEN ({numerator} - ({denominator} - 1)) // {denominator} ELSE {plain} END"


def _utc(zone: str, local: str) -> str:
    return f"timezone('UTC', timezone({_text(zone)}, {local}))"


def _local(zone: str, utc: str) -> str:
    return f"timezone({_text(zone)}, timezone('UTC', {utc}))"


def _unquoted(value: str) -> str:
    inner = f"replace({value}[2:-2], '\"\"', '\"')"
    return f"(CASE WHEN starts_with({value}, '\"') THEN {inner} ELSE {value} END)"


def _unsigned(value: str) -> str:
    """A number without sign, leading zeros and trailing zeros, so that -7.50 meets 7.5."""
    plain = f"ltrim(ltrim(trim({value}), '+-'), '0')"
    return f"(CASE WHEN contains({value}, '.') THEN rtrim(rtrim({plain}, '0'), '.') ELSE {plain} END)"


def _shown(value: str) -> str:
    return f"left({value}, {_SHOWN})"


def _taken(column: str) -> str:
    """A column of a look-up table, under a name that meets none of ours."""
    return _quoted(f"taken:{column}")


def _file(path: Path) -> str:
    """A path as SQL text, with the signs that DuckDB would take for a pattern."""
    return _text(re.sub(r"([*?\[])", r"[\1]", str(path)))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: object) -> str:
    return quote(str(value))
