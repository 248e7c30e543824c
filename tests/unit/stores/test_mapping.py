from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import yaml

from tanzhang.core.errors import TanzhangError
from tanzhang.engine.screen import RAW_COLUMNS
from tanzhang.stores.mapping import Mapped, apply_mapping, load_mapping

BASE: dict[str, Any] = {
    "mapping": "trips",
    "title": {"en": "Trips", "zh": "行程"},
    "partner": "metro_co",
    "source": {"format": "csv"},
    "times": {"zone": "Asia/Shanghai"},
    "fields": {
        "id": {"column": "no"},
        "type": {"constant": "travel.metro"},
        "subject": {"column": "card"},
        "time": {"column": "at"},
    },
    "inputs": {"count": {"constant": 1}},
}
HEADER = "no,card,at,value\n"
DAMAGED = gzip.compress(HEADER.encode() * 100, mtime=0)[:-8] + bytes(8)  # without its checksum


class Bench:
    """Writes a mapping and a source into a folder and runs one over the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.con = duckdb.connect()

    def mapping(self, **changes: Any) -> Path:
        path = self.folder / "trips.yaml"
        path.write_text(yaml.safe_dump(BASE | changes, allow_unicode=True, sort_keys=False), encoding="utf-8")
        return path

    def run(
        self, text: str | bytes, /, *, name: str = "source.csv", given: dict[str, Path] | None = None, **changes: Any
    ) -> tuple[Mapped, list[dict[str, Any]]]:
        source = self.folder / name
        source.write_bytes(text.encode() if isinstance(text, str) else text)
        return self.over(source, given=given, **changes)

    def over(
        self, path: Path, /, *, given: dict[str, Path] | None = None, rehearse: bool = True, **changes: Any
    ) -> tuple[Mapped, list[dict[str, Any]]]:
        mapped = apply_mapping(self.con, path, load_mapping(self.mapping(**changes)), given or {}, rehearse=rehearse)
        found = self.con.execute(f"SELECT * FROM {mapped}")
        names = [column[0] for column in found.description or ()]
        return mapped, [dict(zip(names, row, strict=True)) for row in found.fetchall()]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def fields(**changes: Any) -> dict[str, Any]:
    return BASE["fields"] | changes


def codes(error: pytest.ExceptionInfo[TanzhangError]) -> set[str]:
    return {problem.code for problem in error.value.problems}


# -- shape and plain fields ---------------------------------------------------------------------------------------


def test_canonical_table_has_the_raw_columns_in_order_and_only_text_beside_the_row(bench: Bench) -> None:
    mapped, rows = bench.run(HEADER + "1,A,2025-03-01 08:00:00,5\n")
    described = bench.con.execute(f"DESCRIBE {mapped}").fetchall()
    assert tuple(column[0] for column in described) == RAW_COLUMNS
    assert [column[1] for column in described] == ["BIGINT"] + ["VARCHAR"] * (len(RAW_COLUMNS) - 1)
    assert {key: value for key, value in rows[0].items() if value is not None} == {
        "row": 1,
        "id": "1",
        "source": "metro_co",
        "type": "travel.metro",
        "subject": "A",
        "time": "2025-03-01T08:00:00+08:00",
        "count": "1",
    }
    assert (mapped.source_rows, mapped.rows, mapped.refused, mapped.paired, mapped.skipped) == (1, 1, 0, 0, {})


def test_nothing_but_the_result_stays_in_the_connection(bench: Bench) -> None:
    mapped, _ = bench.run(HEADER + "1,A,2025-03-01 08:00:00,5\nbad\n")
    assert bench.con.execute("SELECT table_name FROM duckdb_tables()").fetchall() == [(mapped.table,)]


def test_template_is_absent_as_soon_as_one_of_its_columns_is(bench: Bench) -> None:
    _, rows = bench.run(
        HEADER + "1,A,2025-03-01 08:00:00,5\n2,,2025-03-01 08:00:00,5\n", fields=fields(id={"template": "{card}-{no}!"})
    )
    assert [row["id"] for row in rows] == ["A-1!", None]


def test_map_translates_values_and_refuses_those_it_does_not_know(bench: Bench) -> None:
    kinds = {"column": "value", "map": {"COL": "travel.bus", "SUB": "travel.metro"}}
    _, rows = bench.run(
        HEADER + "1,A,2025-03-01 08:00:00,COL\n2,A,2025-03-01 08:00:00,TRE\n3,A,2025-03-01 08:00:00,\n",
        fields=fields(type=kinds),
    )
    assert [(row["type"], row["problem_code"]) for row in rows] == [
        ("travel.bus", None),
        ("TRE", "value-not-mapped"),
        (None, None),
    ]


def test_declared_null_spelling_is_an_absent_value(bench: Bench) -> None:
    _, rows = bench.run(
        HEADER + "1,NA,2025-03-01 08:00:00,NA\n",
        source={"format": "csv", "null_values": ["NA"]},
        inputs={"energy_wh": {"column": "value"}},
    )
    assert (rows[0]["subject"], rows[0]["energy_wh"], rows[0]["problem_code"]) == (None, None, None)


def test_exact_duplicate_stays_two_rows(bench: Bench) -> None:
    _, rows = bench.run(HEADER + "1,A,2025-03-01 08:00:00,5\n" * 2)
    assert [(row["row"], row["id"]) for row in rows] == [(1, "1"), (2, "1")]


# -- files --------------------------------------------------------------------------------------------------------


def test_malformed_lines_are_refused_with_their_line_and_take_no_good_row_down(bench: Bench) -> None:
    good = b"7,A,2025-03-01 08:00:00,5\n"
    bad = [b"2,A\n", b"3,A,b,c,d\n", b'4,"A,b,c\n', b'5,"A"x,b,c\n', b'6,A"x,b,c\n', b"7,\xff\xfe,b,c\n"]
    mapped, rows = bench.run(HEADER.encode() + good + b"".join(line + good for line in bad))
    refused = [row for row in rows if row["problem_code"] is not None]
    assert {row["problem_code"] for row in refused} == {"malformed-row"}
    assert [row["row"] for row in refused] == [2, 4, 6, 8, 10, 12]
    assert [row["problem_message"].split(":")[0] for row in refused] == [f"line {n}" for n in (3, 5, 7, 9, 11, 13)]
    assert "2 values instead of 4" in refused[0]["problem_message"]
    assert "quote" in refused[2]["problem_message"]
    assert "UTF-8" in refused[5]["problem_message"]
    assert [row["row"] for row in rows] == list(range(1, 14))
    assert (mapped.rows, mapped.refused) == (13, 6)


def test_a_quote_that_is_never_closed_costs_one_row_of_a_large_file(bench: Bench) -> None:
    lines = [f"{number},A,2025-03-01 08:00:00,5" for number in range(300_000)]
    lines[1_000] = '"' + lines[1_000]
    lines[200_000] = "x" * 3_000_000
    mapped, _ = bench.run(HEADER + "\n".join(lines))
    assert (mapped.source_rows, mapped.refused) == (300_000, 2)
    found = bench.con.execute(f"SELECT row, problem_message FROM {mapped} WHERE problem_code IS NOT NULL").fetchall()
    assert [row for row, _ in found] == [1_001, 200_001]
    assert "2 MB" in found[1][1]
    ((wrong,),) = bench.con.execute(
        f"SELECT count(*) FROM {mapped} WHERE problem_code IS NULL AND id::BIGINT <> row - 1"
    ).fetchall()
    assert wrong == 0


def test_bad_lines_that_stand_together_do_not_change_the_numbers_of_the_others(bench: Bench) -> None:
    good = b"1,A,2025-03-01 08:00:00,5\n"
    _, rows = bench.run(HEADER.encode() + good + b"\xff\n\xff\n" + good + b"\xff\n" + good * 3)
    assert [row["row"] for row in rows] == list(range(1, 9))
    assert [row["row"] for row in rows if row["problem_code"] == "malformed-row"] == [2, 3, 5]


def test_kinds_of_line_breaks_may_be_mixed_and_a_lone_carriage_return_is_no_break(bench: Bench) -> None:
    rest = "A,2025-03-01 08:00:00,5"
    mapped, rows = bench.run(f"no,card,at,value\r\n1,{rest}\n2,{rest}\r\r\n\r\n3\rx,{rest}\r\n4,{rest}")
    assert [(row["row"], row["id"]) for row in rows] == [(1, "1"), (2, "2"), (3, "3\rx"), (4, "4")]
    assert mapped.refused == 0


def test_separators_and_doubled_quotes_inside_quotes_belong_to_the_value(bench: Bench) -> None:
    _, rows = bench.run(HEADER + '1,"a,""b"",,c",2025-03-01 08:00:00,","\n2,",""",2025-03-01 08:00:00,""""\n')
    assert [row["subject"] for row in rows] == ['a,"b",,c', ',"']


def test_quotes_blank_lines_carriage_returns_and_byte_order_mark_are_read(bench: Bench) -> None:
    text = '\ufeffno,card,at,value\r\n1,"A,""x""",2025-03-01 08:00:00,\r\n\r\n2,B,"2025-03-01 08:00:00",""'
    _, rows = bench.run(text, inputs={"energy_wh": {"column": "value"}})
    assert [(row["row"], row["subject"], row["energy_wh"]) for row in rows] == [(1, 'A,"x"', None), (2, "B", None)]


def test_line_numbers_count_blank_lines_and_row_numbers_do_not(bench: Bench) -> None:
    _, rows = bench.run(HEADER + "\n\n1,A\n")
    assert rows[0]["row"] == 1
    assert rows[0]["problem_message"].startswith("line 4:")


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_other_delimiters(bench: Bench, delimiter: str) -> None:
    text = (HEADER + '1,"A",2025-03-01 08:00:00,5\n').replace(",", delimiter)
    _, rows = bench.run(text, source={"format": "csv", "delimiter": delimiter})
    assert (rows[0]["subject"], rows[0]["problem_code"]) == ("A", None)


def test_gzipped_csv_and_a_name_with_pattern_signs(bench: Bench) -> None:
    _, rows = bench.run(gzip.compress((HEADER + "1,A,2025-03-01 08:00:00,5\n").encode()), name="a[1]*.csv.gz")
    assert rows[0]["id"] == "1"


def test_row_numbers_hold_where_the_connection_does_not_keep_order(bench: Bench) -> None:
    bench.con.execute("SET preserve_insertion_order = false")
    mapped, _ = bench.run(HEADER + "".join(f"{n},A,2025-03-01 08:00:00,5\n" for n in range(1, 200_001)))
    assert bench.con.execute(f"SELECT count(*) FROM {mapped} WHERE id::BIGINT <> row").fetchone() == (0,)
    assert bench.con.execute("SELECT current_setting('preserve_insertion_order')").fetchone() == (False,)


def test_parquet_with_real_types(bench: Bench) -> None:
    path = bench.folder / "source.parquet"
    bench.con.execute(
        f"COPY (SELECT 7 AS no, 'A' AS card, TIMESTAMP '2025-03-01 08:00:00.250' AS at, 7.78::DOUBLE AS value) "
        f"TO '{path}' (FORMAT parquet)"
    )
    _, rows = bench.over(
        path, source={"format": "parquet"}, inputs={"energy_wh": {"column": "value", "from_unit": "kWh"}}
    )
    assert (rows[0]["id"], rows[0]["time"], rows[0]["energy_wh"]) == ("7", "2025-03-01T08:00:00.250000+08:00", "7780")


def test_columns_of_a_parquet_file_may_have_our_own_names(bench: Bench) -> None:
    path = bench.folder / "source.parquet"
    bench.con.execute(
        f"COPY (SELECT 70 AS row, 80 AS line, 'x' AS bad, 'A' AS card, '2025-03-01 08:00:00' AS at) TO '{path}'"
        " (FORMAT parquet)"
    )
    _, rows = bench.over(path, source={"format": "parquet"}, fields=fields(id={"template": "{row}-{line}-{bad}"}))
    assert [(row["row"], row["id"], row["problem_code"]) for row in rows] == [(1, "70-80-x", None)]


def test_parquet_instants_do_not_depend_on_the_zone_of_the_session(bench: Bench) -> None:
    path = bench.folder / "source.parquet"
    bench.con.execute("SET TimeZone = 'America/New_York'")
    bench.con.execute(
        "COPY (SELECT 1 AS no, 'A' AS card, TIMESTAMPTZ '2025-03-01 00:00:00+00' AS at, 1 AS value) "
        f"TO '{path}' (FORMAT parquet)"
    )
    _, rows = bench.over(
        path,
        source={"format": "parquet"},
        times={"zone": "Asia/Shanghai", "format": "%Y-%m-%d %H:%M:%S.%f%z"},
    )
    assert rows[0]["time"] == "2025-03-01T08:00:00+08:00"


def test_an_empty_file_with_a_header_has_no_rows(bench: Bench) -> None:
    mapped, rows = bench.run(HEADER)
    assert (mapped.source_rows, rows) == (0, [])


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("none.csv", None, "source-missing"),
        ("empty.csv", b"", "source-header"),
        ("latin.csv", b"no,card,at,v\xe4lue\n", "source-header"),
        ("cut.csv.gz", gzip.compress(HEADER.encode() * 100, mtime=0)[:-20], "source-unreadable"),
        ("damaged.csv.gz", DAMAGED, "source-unreadable"),
        ("cut.csv.zst", pa.compress(HEADER.encode() * 100, "zstd", asbytes=True)[:-4], "source-unreadable"),
        ("returns.csv", HEADER.replace("\n", "\r").encode() * 2, "source-header"),
        ("plain.csv.gz", HEADER.encode(), "source-unreadable"),
        ("not.parquet", HEADER.encode(), "source-unreadable"),
    ],
)
def test_unreadable_file_is_refused_with_a_code(bench: Bench, name: str, content: bytes | None, code: str) -> None:
    path = bench.folder / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TanzhangError) as error:
        bench.over(path, source={"format": "parquet" if name.endswith("parquet") else "csv"})
    assert error.value.code == code
    assert bench.con.execute("SELECT table_name FROM duckdb_tables()").fetchall() == []


def test_all_missing_columns_are_named_together_with_the_line_that_wants_them(bench: Bench) -> None:
    with pytest.raises(TanzhangError) as error:
        bench.run("no,when,no\n")
    assert codes(error) == {"column-missing", "column-repeated"}
    assert {"card", "at"} <= {problem.message.split()[-1] for problem in error.value.problems}
    assert all(problem.where.startswith("trips.yaml:") for problem in error.value.problems)


# -- times --------------------------------------------------------------------------------------------------------


def times(bench: Bench, values: list[str], **options: Any) -> list[tuple[str | None, str | None]]:
    text = HEADER + "".join(f"{number},A,{value},5\n" for number, value in enumerate(values))
    rehearsal = options.pop("rehearsal", None)
    _, rows = bench.run(text, times=options, **({"rehearsal": rehearsal} if rehearsal else {}))
    return [(row["time"], row["problem_code"]) for row in rows]


def test_offset_follows_summer_time_in_zurich_and_a_time_in_the_gap_is_refused(bench: Bench) -> None:
    assert times(
        bench,
        ["2018-03-25 01:59:59", "2018-03-25 02:30:00", "2018-03-25 03:00:00", "2018-12-01 12:00:00"],
        zone="Europe/Zurich",
    ) == [
        ("2018-03-25T01:59:59+01:00", None),
        ("2018-03-25 02:30:00", "time-nonexistent"),
        ("2018-03-25T03:00:00+02:00", None),
        ("2018-12-01T12:00:00+01:00", None),
    ]


def test_offset_follows_daylight_time_in_los_angeles_and_a_time_in_the_gap_is_refused(bench: Bench) -> None:
    assert times(
        bench,
        ["2016-03-13 01:59:00", "2016-03-13 02:00:00", "2016-03-13 03:00:00", "2016-02-22 07:00:00"],
        zone="America/Los_Angeles",
    ) == [
        ("2016-03-13T01:59:00-08:00", None),
        ("2016-03-13 02:00:00", "time-nonexistent"),
        ("2016-03-13T03:00:00-07:00", None),
        ("2016-02-22T07:00:00-08:00", None),
    ]


@pytest.mark.parametrize(
    ("choice", "zone", "local", "expected"),
    [
        ("first", "Europe/Zurich", "2018-10-28 02:30:00", ("2018-10-28T02:30:00+02:00", None)),
        ("second", "Europe/Zurich", "2018-10-28 02:30:00", ("2018-10-28T02:30:00+01:00", None)),
        ("refuse", "Europe/Zurich", "2018-10-28 02:30:00", ("2018-10-28 02:30:00", "time-ambiguous")),
        ("refuse", "Europe/Zurich", "2018-10-28 03:30:00", ("2018-10-28T03:30:00+01:00", None)),
        ("first", "America/Los_Angeles", "2016-11-06 01:15:00", ("2016-11-06T01:15:00-07:00", None)),
        ("second", "America/Los_Angeles", "2016-11-06 01:15:00", ("2016-11-06T01:15:00-08:00", None)),
        ("first", "Australia/Lord_Howe", "2024-04-07 01:45:00", ("2024-04-07T01:45:00+11:00", None)),
        ("second", "Australia/Lord_Howe", "2024-04-07 01:45:00", ("2024-04-07T01:45:00+10:30", None)),
    ],
)
def test_an_hour_that_happens_twice_is_read_as_declared(
    bench: Bench, choice: str, zone: str, local: str, expected: tuple[str, str | None]
) -> None:
    assert times(bench, [local], zone=zone, repeated_hour=choice) == [expected]


def test_a_text_that_is_no_time_stays_as_it_came_and_is_refused(bench: Bench) -> None:
    assert times(bench, ["yesterday", "2025-02-29 08:00:00", ""], zone="Asia/Shanghai") == [
        ("yesterday", "time-malformed"),
        ("2025-02-29 08:00:00", "time-malformed"),
        (None, None),
    ]


def test_years_are_added_before_the_zone_applies(bench: Bench) -> None:
    assert times(bench, ["0014-11-18 15:40:26"], zone="America/New_York", add_years=2000) == [
        ("2014-11-18T15:40:26-05:00", None)
    ]


@pytest.mark.parametrize(
    ("pattern", "value", "expected"),
    [
        ("%d/%m/%Y %H:%M", "27/11/2019 06:05", "2019-11-27T06:05:00+08:00"),
        ("%Y-%m-%dT%H:%M:%S%z", "2019-11-27T06:05:00+01:00", "2019-11-27T13:05:00+08:00"),
        ("unix_s", "1456153200", "2016-02-22T23:00:00+08:00"),
        ("unix_ms", "1456153200250", "2016-02-22T23:00:00.250000+08:00"),
    ],
)
def test_time_formats(bench: Bench, pattern: str, value: str, expected: str) -> None:
    assert times(bench, [value], zone="Asia/Shanghai", format=pattern) == [(expected, None)]


def test_an_instant_in_the_repeated_hour_keeps_its_own_offset(bench: Bench) -> None:
    assert times(bench, ["2018-10-28T01:30:00+00:00"], zone="Europe/Zurich", format="%Y-%m-%dT%H:%M:%S%z") == [
        ("2018-10-28T02:30:00+01:00", None)
    ]


def test_rehearsal_keeps_the_clock_time_and_weekday_and_stands_in_for_zone_and_region(bench: Bench) -> None:
    rehearsal = {"shift_days": 2555, "region": "CN-310000", "zone": "Asia/Shanghai", "why": "test"}
    changes: dict[str, Any] = {
        "times": {"zone": "Europe/Zurich"},
        "rehearsal": rehearsal,
        "fields": fields(region={"constant": "CN-110000"}),
    }
    source = HEADER + "1,A,2018-10-29 00:00:00,5\n2,A,2018-03-25 02:30:00,5\n"
    _, rows = bench.run(source, **changes)
    assert [(row["time"], row["region"]) for row in rows] == [
        ("2025-10-27T00:00:00+08:00", "CN-310000"),
        ("2025-03-23T02:30:00+08:00", "CN-310000"),
    ]
    _, rows = bench.over(bench.folder / "source.csv", rehearse=False, **changes)
    assert [(row["time"], row["region"], row["problem_code"]) for row in rows] == [
        ("2018-10-29T00:00:00+01:00", "CN-110000", None),
        ("2018-03-25 02:30:00", "CN-110000", "time-nonexistent"),
    ]


def test_a_shift_into_the_gap_of_the_clock_is_refused(bench: Bench) -> None:
    rehearsal = {"shift_days": 7, "region": "CN", "why": "test"}
    assert times(bench, ["2018-03-18 02:30:00"], zone="Europe/Zurich", rehearsal=rehearsal) == [
        ("2018-03-18 02:30:00", "time-nonexistent")
    ]


# -- numbers ------------------------------------------------------------------------------------------------------


def numbers(bench: Bench, values: list[str], name: str = "energy_wh", **options: Any) -> list[tuple[Any, Any]]:
    text = HEADER + "".join(f"{number},A,2025-03-01 08:00:00,{value}\n" for number, value in enumerate(values))
    _, rows = bench.run(text, inputs={name: {"column": "value", **options}})
    return [(row[name], row["problem_code"]) for row in rows]


def test_kilowatt_hours_become_watt_hours_without_a_float(bench: Bench) -> None:
    values = ["7.78", "0.29", "1.005", "4.35", "50", ".5", "+2.", " 3.0000 ", "0.0009", "1.510555556"]
    expected = ["7780", "290", "1005", "4350", "50000", "500", "2000", "3000", "0", "1510"]
    assert numbers(bench, values, from_unit="kWh") == [(value, None) for value in expected]


def test_rounding_is_down_unless_said_also_below_zero(bench: Bench) -> None:
    values = ["1.0001", "-1.0001", "0.0000", "2"]
    assert [value for value, _ in numbers(bench, values, from_unit="kWh")] == ["1000", "-1001", "0", "2000"]
    up = numbers(bench, values, from_unit="kWh", rounding="up")
    assert [value for value, _ in up] == ["1001", "-1000", "0", "2000"]


def test_factor_is_exact_decimal(bench: Bench) -> None:
    assert numbers(bench, ["1.1", "100"], "distance_m", from_unit="km", times="1.3") == [
        ("1430", None),
        ("130000", None),
    ]


def test_what_is_no_number_stays_as_it_came_and_is_refused(bench: Bench) -> None:
    values = ["12kWh", "1e3", "1_000", "--1", "NaN", "-", ".", "1" * 25, "9" * 24, "0." + "1" * 21]
    found = numbers(bench, values, from_unit="kWh")
    assert [code for _, code in found] == ["number-malformed"] * 8 + [None, "number-malformed"]
    assert found[0][0] == "12kWh"
    assert found[8][0] == "9" * 24 + "000"


def test_straight_line_is_cut_to_metres_before_its_exact_factor(bench: Bench) -> None:
    text = "no,card,at,lat1,lon1,lat2,lon2\n" + "".join(
        f"{n},A,2025-03-01 08:00:00,{place}\n"
        for n, place in enumerate(
            ["0,0,0,1", "31.103,121.387,31.099,121.393", "0,0,0,180", "1,2,1,2", "91,0,0,0", "x,0,0,0", ",0,0,0"]
        )
    )
    ends = {
        "from": {"latitude": "lat1", "longitude": "lon1"},
        "to": {"latitude": "lat2", "longitude": "lon2"},
    }
    _, rows = bench.run(text, inputs={"distance_m": {"distance": ends, "times": "1.1"}})
    assert [(row["distance_m"], row["problem_code"]) for row in rows] == [
        (str(111_194 * 11 // 10), None),
        (str(724 * 11 // 10), None),
        (str(20_015_086 * 11 // 10), None),
        ("0", None),
        (None, "coordinate-malformed"),
        (None, "coordinate-malformed"),
        (None, None),  # intake says that the input is missing
    ]


# -- filters ------------------------------------------------------------------------------------------------------


def test_first_filter_that_holds_decides_and_skips_are_counted_by_name(bench: Bench) -> None:
    filters = [
        {"name": "test_cards", "when": [{"column": "card", "starts_with": "T"}], "skip": True},
        {
            "name": "negative",
            "when": [{"column": "value", "at_most": "-0.5"}],
            "refuse": {"code": "negative-value", "message": "the value is negative"},
        },
        {"name": "never", "when": [{"column": "card", "equals": "zzz"}], "skip": True},
    ]
    mapped, rows = bench.run(
        HEADER
        + "".join(f"{n},{card},2025-03-01 08:00:00,{v}\n" for n, card, v in [(1, "T1", -1), (2, "A", -1), (3, "A", 0)]),
        filters=filters,
    )
    assert mapped.skipped == {"test_cards": 1, "never": 0}
    assert [(row["row"], row["problem_code"], row["problem_field"]) for row in rows] == [
        (2, "negative-value", "value"),
        (3, None, None),
    ]
    assert mapped.source_rows == mapped.rows + sum(mapped.skipped.values())


@pytest.mark.parametrize(
    ("test", "kept"),
    [
        ({"equals": 10}, ["5", "abc", ""]),
        ({"one_of": ["10", "abc"]}, ["5", ""]),
        ({"starts_with": "a"}, ["10", "5", ""]),
        ({"ends_with": "0"}, ["5", "abc", ""]),
        ({"empty": True}, ["10", "5", "abc"]),
        ({"empty": True, "not": True}, [""]),
        ({"at_least": "5"}, ["abc", ""]),
        ({"at_least": "5.1"}, ["5", "abc", ""]),
        ({"at_most": "9.99"}, ["10", "abc", ""]),
        ({"equals": "abc", "not": True}, ["abc"]),
    ],
)
def test_conditions(bench: Bench, test: dict[str, Any], kept: list[str]) -> None:
    values = ["10", "5", "abc", ""]
    mapped, rows = bench.run(
        HEADER + "".join(f"{value},A,2025-03-01 08:00:00,{value}\n" for value in values),
        filters=[{"name": "f", "when": [{"column": "value", **test}], "skip": True}],
        fields=fields(id={"column": "value"}),
    )
    assert [row["id"] or "" for row in rows] == kept
    assert mapped.skipped == {"f": len(values) - len(kept)}


# -- tables -------------------------------------------------------------------------------------------------------

STATIONS = "name,line,lat,lon\n罗湖,1,22.532083,114.118666\n罗湖,9,22.532083,114.118666\n深大,1,22.54,113.94\n"
TABLES = {
    "stations": {
        "file": "stations.csv",
        "key": "name",
        "normalise": [{"trim": True}, {"strip_suffix": "站"}, {"replace": {"深圳大学": "深大"}}],
    }
}
LOOKED_UP = {"distance_m": {"table": "stations", "key": "value", "take": "lat", "times": "1000"}}


def stops(bench: Bench, values: list[str], **options: Any) -> list[dict[str, Any]]:
    text = HEADER + "".join(f"1,A,2025-03-01 08:00:00,{value}\n" for value in values)
    return bench.run(text, inputs=LOOKED_UP, **({"tables": TABLES} | options))[1]


def test_table_is_joined_by_the_normalised_key_without_multiplying_rows(bench: Bench) -> None:
    (bench.folder / "stations.csv").write_text(STATIONS, encoding="utf-8")
    rows = stops(bench, ["罗湖", " 罗湖站 ", "深圳大学站", "站", "福田", ""])
    assert [(row["distance_m"], row["problem_code"]) for row in rows] == [
        ("22532", None),
        ("22532", None),
        ("22540", None),
        (None, "not-in-table"),
        (None, "not-in-table"),
        (None, "not-in-table"),
    ]
    assert "福田" in rows[4]["problem_message"]
    assert "empty" in rows[5]["problem_message"]


def test_a_given_table_goes_before_the_one_beside_the_mapping(bench: Bench) -> None:
    (bench.folder / "stations.csv").write_text("name,lat\n罗湖,1\n", encoding="utf-8")
    other = bench.folder / "other.csv"
    other.write_text("name,lat\n罗湖,2\n", encoding="utf-8")
    assert stops(bench, ["罗湖"], given={"stations": other})[0]["distance_m"] == "2000"
    assert stops(bench, ["罗湖"])[0]["distance_m"] == "1000"


def test_a_table_beside_the_source_is_found(bench: Bench) -> None:
    elsewhere = bench.folder / "data"
    elsewhere.mkdir()
    (elsewhere / "stations.csv").write_text("name,lat\n罗湖,3\n", encoding="utf-8")
    (elsewhere / "source.csv").write_text(HEADER + "1,A,2025-03-01 08:00:00,罗湖\n", encoding="utf-8")
    _, rows = bench.over(elsewhere / "source.csv", inputs=LOOKED_UP, tables=TABLES)
    assert rows[0]["distance_m"] == "3000"


def test_a_text_field_can_be_looked_up_and_a_column_of_the_table_may_have_any_name(bench: Bench) -> None:
    (bench.folder / "lines.csv").write_text("key,row\nM506,travel.bus\n", encoding="utf-8")
    _, rows = bench.run(
        HEADER + "1,A,2025-03-01 08:00:00,m506\n",
        tables={"lines": {"file": "lines.csv", "key": "key", "normalise": [{"lower": True}]}},
        fields=fields(type={"table": "lines", "key": "value", "take": "row"}),
    )
    assert (rows[0]["row"], rows[0]["type"]) == (1, "travel.bus")


@pytest.mark.parametrize(
    ("content", "code", "word"),
    [
        (None, "table-missing", "--table stations=PATH"),
        ("name,lat\n罗湖,1\n罗湖站,2\n", "table-key-repeated", "one row per key"),
        ("name,lat\n罗湖\n", "table-malformed", "correct that line"),
        ("name,latitude\n罗湖,1\n", "column-missing", "name, latitude"),
    ],
)
def test_table_that_cannot_serve_is_refused(bench: Bench, content: str | None, code: str, word: str) -> None:
    if content is not None:
        (bench.folder / "stations.csv").write_text(content, encoding="utf-8")
    with pytest.raises(TanzhangError) as error:
        stops(bench, ["罗湖"])
    assert error.value.code == code
    assert word in error.value.problems[0].remedy


def test_a_table_that_the_mapping_does_not_know_is_refused(bench: Bench) -> None:
    with pytest.raises(TanzhangError) as error:
        bench.run(HEADER, given={"stations": bench.folder})
    assert error.value.code == "table-unknown"


# -- pairs --------------------------------------------------------------------------------------------------------

PAIRS = {
    "key": ["card"],
    "time": "at",
    "entry": {"column": "value", "equals": "in"},
    "exit": {"column": "value", "equals": "out"},
    "within_s": 3600,
}


def swipes(bench: Bench, text: str, **changes: Any) -> tuple[Mapped, dict[int, dict[str, Any]]]:
    changes = {"pairs": PAIRS, "fields": fields(started_at={"column": "entry.at"})} | changes
    mapped, rows = bench.run(HEADER + text, **changes)
    assert mapped.source_rows == mapped.rows + mapped.paired + sum(mapped.skipped.values())
    return mapped, {row["row"]: row for row in rows}


def test_exit_takes_the_entry_directly_before_it_whatever_the_order_of_the_file(bench: Bench) -> None:
    mapped, rows = swipes(
        bench,
        "1,A,2025-03-01 09:00:00,out\n"  # row 1 pairs with row 3, not with the earlier row 2
        "2,A,2025-03-01 08:30:00,in\n"
        "3,A,2025-03-01 08:40:00,in\n"
        "4,B,2025-03-01 08:50:00,in\n"
        "5,B,2025-03-01 09:50:00,out\n"  # an hour to the second
        "6,B,2025-03-01 09:51:00,out\n",
    )
    assert mapped.paired == 2
    assert {row: (found["started_at"], found["time"], found["problem_code"]) for row, found in rows.items()} == {
        1: ("2025-03-01T08:40:00+08:00", "2025-03-01T09:00:00+08:00", None),
        2: (None, "2025-03-01T08:30:00+08:00", "unpaired-entry"),
        5: ("2025-03-01T08:50:00+08:00", "2025-03-01T09:50:00+08:00", None),
        6: (None, "2025-03-01T09:51:00+08:00", "unpaired-exit"),
    }


def test_pair_that_takes_too_long_is_two_orphans(bench: Bench) -> None:
    _, rows = swipes(bench, "1,A,2025-03-01 08:00:00,in\n2,A,2025-03-01 09:00:01,out\n")
    assert [row["problem_code"] for row in rows.values()] == ["unpaired-entry", "unpaired-exit"]
    assert "3600 s" in rows[1]["problem_message"]


def test_time_between_entry_and_exit_is_real_time_across_the_change_of_the_clock(bench: Bench) -> None:
    _, rows = swipes(
        bench,
        "1,A,2018-03-25 01:30:00,in\n2,A,2018-03-25 03:15:00,out\n",  # 45 minutes
        times={"zone": "Europe/Zurich"},
    )
    assert [(row, found["problem_code"]) for row, found in rows.items()] == [(2, None)]


def test_rows_that_cannot_be_paired_say_why(bench: Bench) -> None:
    _, rows = swipes(
        bench,
        "1,,2025-03-01 08:00:00,in\n"
        "2,,2025-03-01 08:10:00,out\n"
        "3,A,nonsense,in\n"
        "4,A,2025-03-01 08:00:00,inspection\n"
        "5,A\n"
        "6,A,2025-03-01 08:00:00,in\n"
        "7,A,2025-03-01 08:00:00,in\n"  # the same swipe twice: one of the two goes on
        "8,A,2025-03-01 08:30:00,out\n",
    )
    assert {row: found["problem_code"] for row, found in rows.items()} == {
        1: "unpaired-entry",
        2: "unpaired-exit",
        3: "time-malformed",
        4: "unpairable-row",
        5: "malformed-row",
        6: "unpaired-entry",
        8: None,
    }


def test_an_orphan_has_no_distance_rather_than_half_the_way_round_the_earth(bench: Bench) -> None:
    (bench.folder / "stations.csv").write_text(STATIONS, encoding="utf-8")
    _, rows = swipes(
        bench,
        "罗湖,A,2025-03-01 08:00:00,in\n深大,A,2025-03-01 08:30:00,out\n深大,B,2025-03-01 08:30:00,out\n",
        tables=TABLES,
        inputs={
            "distance_m": {
                "distance": {
                    "from": {"table": "stations", "key": "entry.no", "latitude": "lat", "longitude": "lon"},
                    "to": {"table": "stations", "key": "no", "latitude": "lat", "longitude": "lon"},
                }
            }
        },
    )
    assert [(found["distance_m"], found["problem_code"]) for found in rows.values()] == [
        ("18370", None),
        (None, "unpaired-exit"),
    ]


# -- withdrawals --------------------------------------------------------------------------------------------------

WITHDRAWALS = {
    "when": [{"column": "no", "starts_with": "C"}],
    "same": [{"column": "card"}, {"column": "value", "absolute": True}],
}


def test_cancellation_withdraws_the_nearest_earlier_row_that_still_stands(bench: Bench) -> None:
    _, rows = bench.run(
        HEADER + "C0,A,2025-03-01 07:00:00,-5\n"  # too early
        "1,A,2025-03-01 08:00:00,5\n"
        "2,A,2025-03-01 09:00:00,5.00\n"
        "C3,A,2025-03-01 10:00:00,-5.0\n"
        "C4,A,2025-03-01 11:00:00,-05\n"
        "C5,A,2025-03-01 12:00:00,-5\n"  # nothing stands any more
        "6,A,2025-03-01 13:00:00,5\n"
        "C7,B,2025-03-01 14:00:00,-5\n"  # another card
        "C8,A,2025-03-01 14:00:00,-50\n"  # another amount
        "C9,A,2025-03-01 14:00:00,-5\n"
        "C10,,2025-03-01 14:00:00,-5\n",
        withdrawals=WITHDRAWALS,
    )
    found = {row["id"]: row["withdraws"] or row["problem_code"] for row in rows}
    assert found == {
        "C0": "withdrawal-without-target",
        "1": None,
        "2": None,
        "C3": "2",
        "C4": "1",
        "C5": "withdrawal-without-target",
        "6": None,
        "C7": "withdrawal-without-target",
        "C8": "withdrawal-without-target",
        "C9": "6",
        "C10": "withdrawal-without-target",
    }


def test_cancellation_carries_no_inputs_because_it_puts_nothing_in_the_place(bench: Bench) -> None:
    _, rows = bench.run(
        HEADER + "1,A,2025-03-01 08:00:00,5\nC2,A,2025-03-01 09:00:00,-5\n",
        withdrawals=WITHDRAWALS,
        inputs={"count": {"constant": 1}, "energy_wh": {"column": "value"}},
    )
    assert [(row["count"], row["energy_wh"], row["withdraws"]) for row in rows] == [("1", "5", None), (None, None, "1")]


def test_skipped_refused_and_malformed_rows_are_nothing_to_withdraw(bench: Bench) -> None:
    mapped, rows = bench.run(
        HEADER + "1,A,2025-03-01 08:00:00,5\n2,A,noon,5\nbroken\n3,T,2025-03-01 08:00:00,5\n"
        "C4,A,2025-03-01 09:00:00,-5\nC5,T,2025-03-01 09:00:00,-5\n",
        withdrawals=WITHDRAWALS,
        filters=[
            {"name": "one", "when": [{"column": "no", "equals": 1}], "skip": True},
            {
                "name": "three",
                "when": [{"column": "no", "equals": 3}],
                "refuse": {"code": "test-card", "message": "a test card"},
            },
        ],
    )
    assert [row["problem_code"] for row in rows] == [
        "time-malformed",
        "malformed-row",
        "test-card",
        "withdrawal-without-target",
        "withdrawal-without-target",
    ]
    assert mapped.skipped == {"one": 1}


def test_matching_equals_a_stack_per_key_on_many_rows(bench: Bench) -> None:
    state, lines = 1, []
    for number in range(4_000):
        state = state * 48271 % 2147483647
        kind = "C" if state % 2 else "I"
        lines.append((f"{kind}{number}", f"K{state // 2 % 37}", f"2025-03-01 {state // 97 % 24:02d}:00:00"))
    _, rows = bench.run(HEADER + "".join(f"{no},{card},{at},1\n" for no, card, at in lines), withdrawals=WITHDRAWALS)
    expected: dict[str, str | None] = {}
    standing: dict[str, list[str]] = {}
    for _at, _index, no, card in sorted((at, index, no, card) for index, (no, card, at) in enumerate(lines)):
        if no.startswith("C"):
            expected[no] = standing[card].pop() if standing.get(card) else None
        else:
            standing.setdefault(card, []).append(no)
    assert {row["id"]: row["withdraws"] for row in rows if row["id"].startswith("C")} == expected
    assert any(expected.values())


# -- mapping files ------------------------------------------------------------------------------------------------


def test_every_mistake_of_a_file_is_reported_at_once_with_its_line(bench: Bench) -> None:
    path = bench.mapping(
        times={"zone": "Mars/Olympus", "format": "no letters"},
        inputs={"energy_wh": {"column": "value", "from_unit": "km"}, "count": {}},
        fields=fields(id={"template": "{no"}, variant={"column": "entry.value"}, group={"table": "x"}),
        filters=[
            {"name": "f", "when": [{"column": "value", "equals": 1, "empty": True}], "skip": True},
            {"name": "f", "when": [{"column": "value", "equals": 1}]},
        ],
    )
    with pytest.raises(TanzhangError) as error:
        load_mapping(path)
    assert codes(error) == {
        "time-zone-unknown",
        "time-format",
        "unit-error",
        "field-source",
        "template-malformed",
        "entry-without-pairs",
        "table-undeclared",
        "condition-malformed",
        "filter-malformed",
    }
    lines = path.read_text(encoding="utf-8").splitlines()
    for problem in error.value.problems:
        name, line = problem.where.split(":")
        assert name == "trips.yaml"
        assert 0 < int(line) <= len(lines)
    zone = next(problem for problem in error.value.problems if problem.code == "time-zone-unknown")
    assert "Mars" in lines[int(zone.where.split(":")[1]) - 1]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"partners": "x"}, "unknown-key"),
        ({"fields": {"id": {"column": "no"}}}, "missing-key"),
        ({"rehearsal": {"shift_days": 1, "region": "CN", "why": "x"}}, "schema-mismatch"),
        ({"source": {"format": "xml"}}, "schema-mismatch"),
        ({"inputs": {"energy_wh": {"column": "value", "times": "-1"}}}, "factor-too-fine"),
        ({"inputs": {"distance_m": {"column": "value", "times": "999999999.000001"}}}, "factor-too-fine"),
        ({"inputs": {"count": {"constant": 1, "times": "2"}}}, "field-source"),
        ({"mapping": "other"}, "mapping-id"),
        ({"pairs": PAIRS, "withdrawals": WITHDRAWALS}, "mapping-combination"),
        ({"withdrawals": WITHDRAWALS, "fields": fields(id={"column": "no", "map": {"a": "b"}})}, "field-source"),
    ],
)
def test_mapping_with_a_mistake_is_refused(bench: Bench, changes: dict[str, Any], code: str) -> None:
    with pytest.raises(TanzhangError) as error:
        load_mapping(bench.mapping(**changes))
    assert code in codes(error)


def test_mapping_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TanzhangError) as error:
        load_mapping(tmp_path / "none.yaml")
    assert error.value.code == "mapping-unreadable"


def test_text_of_a_mapping_or_a_file_is_never_sql(bench: Bench) -> None:
    _, rows = bench.run(
        HEADER + "1,A'; DROP TABLE x; --,2025-03-01 08:00:00,O'Neill\n",
        fields=fields(variant={"template": "it's {value}"}, group={"constant": "'; SELECT 1; --"}),
        filters=[{"name": "f", "when": [{"column": "value", "equals": "'"}], "skip": True}],
    )
    assert (rows[0]["subject"], rows[0]["variant"], rows[0]["group"]) == (
        "A'; DROP TABLE x; --",
        "it's O'Neill",
        "'; SELECT 1; --",
    )


SHIPPED = sorted((Path(__file__).parents[3] / "examples" / "mappings").glob("*.yaml"))


def test_there_are_shipped_mappings_to_look_at() -> None:
    assert len(SHIPPED) == 8


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_mapping_loads_and_says_that_its_rehearsal_is_no_claim(path: Path) -> None:
    mapping = load_mapping(path)
    assert mapping.rehearsal is not None
    assert "not a claim" in " ".join(mapping.rehearsal.why.split())
    assert mapping.rehearsal.shift_days % 7 == 0
