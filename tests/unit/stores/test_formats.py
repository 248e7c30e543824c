from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.engine.kernel import connect
from tanzhang.engine.screen import RAW_COLUMNS
from tanzhang.stores.formats import read_submission

HEADER = "id,source,type,subject,time,distance_m\n"


def line(number: int, subject: str = "A") -> str:
    return f"{number},metro_co,travel.metro,{subject},2025-03-01T08:00:00+08:00,5000"


def event(number: int, **changes: Any) -> str:
    return json.dumps(
        {
            "specversion": "1.0",
            "id": str(number),
            "source": "metro_co",
            "type": "travel.metro",
            "subject": "A",
            "time": "2025-03-01T08:00:00+08:00",
            "data": {"distance_m": 5000},
        }
        | changes
    )


def read(folder: Path, content: str | bytes, name: str = "source.csv") -> list[dict[str, Any]]:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    con = connect()
    found = con.execute(f"SELECT * FROM {read_submission(con, path)} ORDER BY row")
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def good(rows: list[dict[str, Any]]) -> list[tuple[int, str]]:
    return [(row["row"], row["id"]) for row in rows if row["problem_code"] is None]


@pytest.mark.parametrize("subject", ["A", '"A, B"'])
@pytest.mark.parametrize("broken", ['"5000,metro_co', '5000,metro_co,travel.metro,"A,2025-03-01T08:00:00+08:00,5000'])
def test_a_quote_that_is_never_closed_costs_one_row_of_a_csv_file(tmp_path: Path, subject: str, broken: str) -> None:
    lines = [line(number, subject) for number in range(1, 10_001)]
    lines[4_999] = broken
    rows = read(tmp_path, HEADER + "\n".join(lines) + "\n")
    assert good(rows) == [(number, str(number)) for number in range(1, 10_001) if number != 5_000]
    assert [(row["row"], row["problem_code"]) for row in rows if row["problem_code"]] == [(5_000, "malformed-row")]
    assert "line 5001: a quote is not closed" in rows[4_999]["problem_message"]


def test_quoted_values_of_csv_keep_their_commas_and_quotes(tmp_path: Path) -> None:
    rows = read(tmp_path, HEADER + line(1, '"A, ""the"" B"') + "\n" + line(2, '""') + "\n")
    assert [(row["subject"], row["problem_code"]) for row in rows] == [('A, "the" B', None), (None, None)]


@pytest.mark.parametrize(
    ("bad", "word"),
    [(b"2,metro_co", "2 values instead of 6"), (b"2,\xff,,,,", "UTF-8"), (b"x" * 2_100_000, "2 MB")],
)
def test_bad_lines_of_csv_are_refused_by_their_line_and_take_no_good_row_down(
    tmp_path: Path, bad: bytes, word: str
) -> None:
    content = "\n".join((HEADER, line(1), "BAD", "BAD", line(4), "", "BAD", line(6))).encode().replace(b"BAD", bad)
    rows = read(tmp_path, content)
    assert good(rows) == [(1, "1"), (4, "4"), (6, "6")]
    assert [row["problem_message"].split(":")[0] for row in rows if row["problem_code"]] == [
        "line 4",
        "line 5",
        "line 8",
    ]
    assert word in rows[1]["problem_message"]


def test_line_breaks_of_csv_may_be_mixed(tmp_path: Path) -> None:
    assert good(read(tmp_path, f"{HEADER}{line(1)}\r\n{line(2)}\n\r\n{line(3)}\r\r\n{line(4)}")) == [
        (number, str(number)) for number in range(1, 5)
    ]


def test_bad_lines_of_ndjson_keep_the_line_as_the_row(tmp_path: Path) -> None:
    content = "\n".join(("\ufeff" + event(1), "", "{", "BAD", "BAD", event(6))).encode().replace(b"BAD", b'"\xff"')
    rows = read(tmp_path, content, "source.ndjson")
    assert good(rows) == [(1, "1"), (6, "6")]
    assert [(row["row"], row["problem_code"]) for row in rows if row["problem_code"]] == [
        (number, "malformed-row") for number in (3, 4, 5)
    ]
    assert "UTF-8" in rows[2]["problem_message"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", event(1)),
        ("b.json", f"[{event(1)}]"),
        ("c.ndjson", event(1)),
        ("d.csv", HEADER + line(1)),
        ("e[1]*.csv", HEADER + line(1)),
    ],
)
@pytest.mark.parametrize("packed", ["", ".gz", ".zst"])
def test_every_text_format_gives_the_same_raw_row_packed_or_not(
    tmp_path: Path, name: str, content: str, packed: str
) -> None:
    data = content.encode()
    if packed:
        data = gzip.compress(data) if packed == ".gz" else pa.compress(data, "zstd", asbytes=True)
    (row,) = read(tmp_path, data, name + packed)
    assert tuple(row) == RAW_COLUMNS
    # JSON tells numbers from texts; what a row says is the same.
    assert {key: str(value) for key, value in row.items() if value is not None} == {
        "row": "1",
        "id": "1",
        "source": "metro_co",
        "type": "travel.metro",
        "subject": "A",
        "time": "2025-03-01T08:00:00+08:00",
        "distance_m": "5000",
    }


def test_an_input_that_is_a_text_in_one_part_of_a_long_file_is_text_in_all(tmp_path: Path) -> None:
    written = "\n".join([event(1), *[" " * 1_900_000] * 10, event(2, data={"distance_m": "5 km", "count": 1})])
    rows = read(tmp_path, written, "source.ndjson")
    assert [(row["row"], row["distance_m"], row["count"]) for row in rows] == [(1, "5000", None), (12, "5 km", 1)]


def test_a_file_of_blank_lines_alone_has_no_rows(tmp_path: Path) -> None:
    assert read(tmp_path, "\n \r\n\t\n", "source.ndjson") == []
    assert read(tmp_path, "", "source.ndjson") == []
    assert read(tmp_path, "[]", "source.json") == []


def test_parquet_gives_the_same_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["1", "2"], "distance_m": [1, 2]}), tmp_path / "a[1].parquet")
    con = connect()
    found = con.execute(f"SELECT * FROM {read_submission(con, tmp_path / 'a[1].parquet')}")
    assert tuple(column[0] for column in found.description or ()) == RAW_COLUMNS
    assert [row[:2] for row in found.fetchall()] == [(1, "1"), (2, "2")]


PACKED = gzip.compress((HEADER + line(1) + "\n").encode() * 100, mtime=0)


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.xlsx", b"", "format-unknown"),
        ("a.csv", b"", "source-header"),
        ("a.csv", b"\nid\n", "source-header"),
        ("a.csv", b"id,\xff\n", "source-header"),
        ("a.csv", b"id,kind\n", "unknown-column"),
        ("a.csv", b"id,id\n", "column-repeated"),
        ("cut.csv.gz", PACKED[:-9], "file-unreadable"),
        ("damaged.csv.gz", PACKED[:-8] + bytes(8), "file-unreadable"),
        ("plain.ndjson.gz", b"{}\n", "file-unreadable"),
        ("cut.csv.zst", pa.compress(HEADER.encode() * 100, "zstd", asbytes=True)[:-4], "file-unreadable"),
        ("not.parquet", b"id\n", "file-unreadable"),
    ],
)
def test_file_that_cannot_be_read_is_refused_as_a_whole(tmp_path: Path, name: str, content: bytes, code: str) -> None:
    with pytest.raises(TanzhangError) as error:
        read(tmp_path, content, name)
    assert error.value.code == code


def test_a_column_that_is_spelled_nearly_right_is_named(tmp_path: Path) -> None:
    with pytest.raises(TanzhangError) as error:
        read(tmp_path, "id,distanc_m\n")
    assert "distance_m" in error.value.problems[0].remedy
