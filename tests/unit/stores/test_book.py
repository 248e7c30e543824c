"""The book takes whole batches that sum to zero, one after the other, and gives back what was put in."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from tanzhang.core.errors import TanzhangError
from tanzhang.stores.book import Book, batch, consumption, link, submission, system_account

ONE, OTHER = (uuid.UUID(int=number) for number in (1, 2))
LINK = {"child": "c", "account": "a", "valid_from": "2025-01-01", "valid_until": None, "recorded_at": "now"}


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book.create(tmp_path / "book.sqlite", {"programme": "x"}, bytes(32))


def report(number: int) -> dict[str, Any]:
    names = [column.name for column in submission.c if column.name not in ("seq", "chain", "partner")]
    return {**dict.fromkeys(names, 1), **{name: f"{name} {number}" for name in names if name not in COUNTS}}


COUNTS = ("rows", "accepted", "refused")


POSTINGS = pa.schema({"account": pa.binary(16), "unit": pa.string(), "amount": pa.int64()})


def commit(book: Book, postings: Sequence[tuple[bytes, str, int]], heads: Any = None, number: int = 0) -> None:
    names = [column.name for column in batch.c if column.name not in ("seq", "chain", "records")]
    values = {**dict.fromkeys(names, "text"), "records": 1}
    consumed = [{"submission": 0, "through": "2025-06-05", "rows": 1}]
    rows = [dict(zip(POSTINGS.names, each, strict=True)) for each in postings]
    table = pa.Table.from_pylist(rows, schema=POSTINGS)
    book.commit_batch(lambda: values, number, consumed, table, b"next", heads or book.heads())


def test_a_new_book_knows_what_it_was_set_up_with_and_is_empty(book: Book, tmp_path: Path) -> None:
    assert book.values()["programme"] == "x"
    assert book.next_seal_key() == (0, bytes(32))
    assert (book.next_submission(), book.rows(batch), book.balances().num_rows) == (0, [], 0)
    assert book.check_chains()[1] == []
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith("book.sqlite")] == []


def test_a_book_is_never_made_over_another(book: Book) -> None:
    with pytest.raises(TanzhangError, match="home-exists"):
        Book.create(book.path, {}, bytes(32))


def test_a_book_of_another_schema_version_stays_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tanzhang.stores.book.SCHEMA_VERSION", 999)
    Book.create(tmp_path / "book.sqlite", {}, bytes(32))
    monkeypatch.undo()
    with pytest.raises(TanzhangError, match="schema-unknown: the book has schema version 999"):
        Book.open(tmp_path / "book.sqlite")


def test_postings_that_do_not_sum_to_zero_in_each_unit_are_refused_whole(book: Book) -> None:
    for postings in (
        [(ONE.bytes, "co2e_mg", 5)],
        [(ONE.bytes, "co2e_mg", 5), (OTHER.bytes, "footprint_mg", -5)],
    ):
        with pytest.raises(TanzhangError, match="unbalanced"):
            commit(book, postings)
    assert (book.rows(batch), book.balances().num_rows) == ([], 0)


def test_balances_are_the_sums_of_postings_by_account_and_unit(book: Book) -> None:
    commit(book, [(ONE.bytes, "co2e_mg", 5), (OTHER.bytes, "co2e_mg", -5)])
    commit(book, [(ONE.bytes, "co2e_mg", -2), (OTHER.bytes, "co2e_mg", 2)], number=1)
    assert sorted(map(tuple, (row.values() for row in book.balances().to_pylist()))) == [
        (ONE.bytes, "co2e_mg", 3),
        (OTHER.bytes, "co2e_mg", -3),
    ]
    assert (book.balance(ONE), book.balance(uuid.UUID(int=9))) == ({"co2e_mg": 3}, {})
    assert book.next_seal_key() == (2, b"next")
    assert book.settled_through() == {0: ("2025-06-05", 2)}


def test_a_posting_of_another_batch_undoes_the_whole_commit(book: Book) -> None:
    for number in (1, 7):
        with pytest.raises(Exception, match="append-only"):
            commit(book, [(ONE.bytes, "co2e_mg", 5), (OTHER.bytes, "co2e_mg", -5)], number=number)
    assert (book.rows(batch), book.rows(consumption), book.balances().num_rows) == ([], [], 0)
    assert book.next_seal_key() == (0, bytes(32))


def test_a_batch_made_on_an_older_state_of_the_book_is_refused(book: Book) -> None:
    heads = book.heads()
    book.add_link(LINK)
    with pytest.raises(TanzhangError, match="book-moved: link changed meanwhile"):
        commit(book, [], heads)
    assert book.rows(batch) == []


def test_submissions_are_numbered_in_order_and_found_by_fingerprint(book: Book) -> None:
    assert [book.add_submission(report(number), {"d": "doc"}) for number in range(3)] == [0, 1, 2]
    found = book.find_submission("fingerprint 1", "x")
    assert found is not None
    assert found.seq == 1
    assert book.find_submission("fingerprint 9", "x") is None
    assert book.plans() == {"d": "doc"}  # kept once
    with pytest.raises(Exception, match="append-only"):
        book.add_submission(report(1), {})
    assert book.next_submission() == 3


def test_each_row_of_a_chain_depends_on_those_before_it(book: Book, tmp_path: Path) -> None:
    other = Book.create(tmp_path / "other.sqlite", {"programme": "x"}, bytes(32))
    for number in range(3):
        book.add_link({**LINK, "child": f"c{number}"})
        other.add_link({**LINK, "child": f"c{0 if number == 0 else 9}"})
    chains = [[row.chain for row in each.rows(link)] for each in (book, other)]
    assert chains[0][0] == chains[1][0]
    assert not set(chains[0][1:]) & set(chains[1])
    assert book.heads()["link"] == {"rows": "3", "head": chains[0][2]}
    assert len(book.check_chains()[2]["link"]) == 4


def test_system_accounts_are_the_same_everywhere_and_differ_by_name() -> None:
    assert system_account("partner:amap") == system_account("partner:amap") != system_account("partner:jd")


def test_a_database_that_is_locked_for_long_is_an_error_with_a_code(book: Book) -> None:
    other = Book.open(book.path)
    with book._begin() as con, other._engine.connect() as waiting:
        con.execute(sa.text("SELECT 1"))
        waiting.exec_driver_sql("PRAGMA busy_timeout = 10")
        with pytest.raises(TanzhangError, match="book-unusable: the book cannot be used: database is locked"):
            waiting.exec_driver_sql("BEGIN IMMEDIATE")
