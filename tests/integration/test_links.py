"""Files of links: all of them or none, the same file once, settled like links given one by one."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pytest

from tanzhang.core.claim import CHILD, identity
from tanzhang.core.errors import TanzhangError
from tanzhang.engine.kernel import connect
from tanzhang.service.links import link_child, link_many, links_relation
from tanzhang.service.verify import verify
from tanzhang.stores.book import link_file
from tanzhang.stores.home import Home

from ..homes import children_of

NOW = datetime(2025, 6, 1, 2, tzinfo=UTC)
HEADER = "partner,subject,with_partner,with_subject,valid_from"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home", programme="beijing", origin="log.example/b", now=NOW, seed=b"test")


def write(path: Path, *lines: str, header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def child(home: Home, partner: str, subject: str) -> uuid.UUID:
    return identity(home.identity_key, CHILD, partner, subject)


def test_links_of_a_file_are_those_given_one_by_one(home: Home, tmp_path: Path) -> None:
    file = write(
        tmp_path / "links.csv",
        "amap,anna,yikatong,an,2025-06-01,",
        "meituan,anna,yikatong,an,2025-06-01,2025-07-01",
        "amap,bob,yikatong,bo,2025-06-02,",
        header=HEADER + ",valid_until",
    )
    answer = link_many(home, file, now=NOW)
    assert answer["links"] == 3
    con = connect()
    assert con.execute(f"SELECT count(*) FROM {links_relation(home, con)}").fetchall() == [(3,)]
    assert children_of(home, con, child(home, "yikatong", "an")) == [
        {"child": str(each), "from": "2025-06-01", "until": until}
        for each, until in sorted(
            [(child(home, "amap", "anna"), None), (child(home, "meituan", "anna"), "2025-07-01")], key=lambda x: x[0]
        )
    ]
    with pytest.raises(TanzhangError, match="link-overlaps"):
        link_child(
            home,
            child(home, "amap", "bob"),
            child(home, "jd", "x"),
            valid_from=date(2025, 6, 9),
            valid_until=None,
            now=NOW,
        )
    link_child(
        home,
        child(home, "meituan", "anna"),
        child(home, "jd", "x"),
        valid_from=date(2025, 7, 1),
        valid_until=None,
        now=NOW,
    )
    assert verify(home)["status"] == "verified"


def test_the_same_file_again_gives_the_first_answer_and_links_nothing_twice(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "links.parquet"
    row = "SELECT 'amap' AS partner, 'anna' AS subject, 'jd' AS with_partner, 'a' AS with_subject"
    duckdb.sql(f"COPY ({row}, DATE '2025-06-01' AS valid_from) TO '{file}' (FORMAT parquet)")
    assert link_many(home, file, now=NOW) == link_many(home, file, now=NOW)
    assert len(home.book.rows(link_file)) == 1


def test_everything_wrong_is_said_and_nothing_is_linked(home: Home, tmp_path: Path) -> None:
    link_child(
        home, child(home, "jd", "old"), child(home, "amap", "a"), valid_from=date(2025, 1, 1), valid_until=None, now=NOW
    )
    file = write(
        tmp_path / "links.csv",
        "amap,good,jd,a,2025-06-01,",
        "nobody,x,jd,a,2025-06-01,",
        "amap,,jd,a,2025-06-01,",
        "amap,empty,jd,a,2025-06-02,2025-06-02",
        "amap,twice,jd,a,2025-06-01,2025-06-05",
        "amap,twice,jd,b,2025-06-04,",
        "jd,old,amap,b,2025-06-04,",
        header=HEADER + ",valid_until",
    )
    with pytest.raises(TanzhangError) as caught:
        link_many(home, file, now=NOW)
    assert [(problem.code, problem.where) for problem in caught.value.problems] == [
        ("missing-field", "links.csv: row 3"),
        ("unknown-partner", "links.csv: row 2"),
        ("link-empty", "links.csv: row 4"),
        ("link-overlaps", "links.csv: row 5"),
        ("link-overlaps", "links.csv: row 6"),
        ("link-overlaps", "links.csv: row 7"),
    ]
    assert home.book.rows(link_file) == []
    assert not (home.folder / "links").exists() or not any((home.folder / "links").iterdir())


@pytest.mark.parametrize(
    ("text", "code"), [("partner,subject\na,b\n", "source-header"), (HEADER + "\na,b,c,d,soon\n", "file-unreadable")]
)
def test_a_file_that_is_no_list_of_links_is_refused(home: Home, tmp_path: Path, text: str, code: str) -> None:
    (tmp_path / "x.csv").write_text(text, encoding="utf-8")
    with pytest.raises(TanzhangError, match=code):
        link_many(home, tmp_path / "x.csv", now=NOW)
    with pytest.raises(TanzhangError, match="file-missing"):
        link_many(home, tmp_path / "y.csv", now=NOW)


def test_a_changed_link_file_is_found(home: Home, tmp_path: Path) -> None:
    answer = link_many(home, write(tmp_path / "links.csv", "amap,anna,jd,a,2025-06-01"), now=NOW)
    file = home.folder / answer["file"]
    data = bytearray(file.read_bytes())
    data[10] ^= 1
    file.write_bytes(data)
    problems = [problem for check in verify(home)["checks"] for problem in check["problems"]]
    assert [problem["code"] for problem in problems] == ["report-file-changed"]
