"""The book takes whole batches that sum to zero, one after the other, and gives back what was put in."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from tanzhang.core.errors import TanzhangError
from tanzhang.engine.tally import SCHEMA
from tanzhang.stores.book import (
    Book,
    BookAddress,
    batch,
    consumption,
    genesis,
    link,
    posting,
    submission,
    system_account,
)
from tanzhang.stores.book.chains import check_chains
from tanzhang.stores.book.schema import schema_revision

from ...postgres import Server

ONE, OTHER = (uuid.UUID(int=number) for number in (1, 2))
LINK = {"child": "c", "account": "a", "valid_from": "2025-01-01", "valid_until": None, "recorded_at": "now"}


Place = Callable[[str], Path | BookAddress]


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where a book of a name can be, on each of the databases."""
    if request.param == "sqlite":
        return lambda name: tmp_path / f"{name}.sqlite"
    server: Server = request.getfixturevalue("postgres")
    database = server.database()
    return lambda name: BookAddress.parse(server.address(database, name), where="test")


@pytest.fixture
def book(place: Place) -> Book:
    return Book.create(place("book"), {"programme": "x"}, bytes(32))


def report(number: int) -> dict[str, Any]:
    names = [column.name for column in submission.c if column.name not in ("seq", "chain", "partner")]
    return {**dict.fromkeys(names, 1), **{name: f"{name} {number}" for name in names if name not in COUNTS}}


CLOSES = date(2025, 6, 5)
COUNTS = ("rows", "accepted", "refused")


BATCH = {
    **{column.name: "text" for column in batch.c if column.name not in ("seq", "chain", "entry")},
    "records": 1,
}
NO_TALLY = SCHEMA.empty_table()
POSTINGS = pa.schema({"account": pa.binary(16), "unit": pa.string(), "amount": pa.int64()})


def submit(book: Book, number: int, plans: dict[str, str] | None = None) -> tuple[int, str]:
    kept = book.add_submission(
        f"fingerprint {number}", lambda seq: {**report(number), "answer": f"{seq}"}, plans or {}, CLOSES
    )
    return kept["seq"], kept["answer"]


def add_link(book: Book, child: str = "c") -> int:
    return book.add_link({**LINK, "child": child}, book.heads())


def commit(book: Book, postings: Sequence[tuple[bytes, str, int]], heads: Any = None, number: int = 0) -> None:
    consumed = [{"submission": 0, "through": "2025-06-05", "rows": 1}]
    rows = [dict(zip(POSTINGS.names, each, strict=True)) for each in postings]
    table = pa.Table.from_pylist(rows, schema=POSTINGS)
    book.commit_batch(lambda: BATCH, number, consumed, table, NO_TALLY, b"next", heads or book.heads())


def test_a_new_book_knows_what_it_was_set_up_with_and_is_empty(book: Book, tmp_path: Path) -> None:
    assert book.values()["programme"] == "x"
    assert book.next_seal_key() == (0, bytes(32))
    assert (len(book.rows(submission)), book.rows(batch), book.balances().num_rows) == (0, [], 0)
    assert check_chains(book)[1] == []
    assert book.check_pages() == []
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith("book.sqlite")] == []


def test_a_book_is_never_made_over_another(book: Book) -> None:
    with pytest.raises(TanzhangError, match="home-exists"):
        Book.create(book.place, {}, bytes(32))


def test_a_book_of_another_schema_version_stays_closed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tanzhang.stores.book.book.SCHEMA_VERSION", 999)
    Book.create(place("book"), {}, bytes(32))
    monkeypatch.undo()
    with pytest.raises(TanzhangError, match="schema-unknown: the book has schema version 999"):
        Book.open(place("book"))


@pytest.mark.parametrize(
    ("revision", "code"),
    [("4.0", None), ("4.7", None), ("3.9", "schema-outdated"), ("5.0", "schema-unknown"), ("x", "schema-unknown")],
)
def test_a_book_of_the_same_major_revision_opens_with_a_later_minor_one(
    place: Place, revision: str, code: str | None
) -> None:
    book = Book.create(place("book"), {}, bytes(32))
    with book.transaction() as con:
        con.execute(schema_revision.update().values(version_num=revision))
    if code is None:
        assert Book.open(place("book")).revision() == revision
        return
    with pytest.raises(TanzhangError, match=code):
        Book.open(place("book"))
    if code == "schema-outdated":
        assert Book.open(place("book"), migrating=True).revision() == revision


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
    commit(book, [])
    with pytest.raises(TanzhangError, match="book-moved: batch changed meanwhile"):
        commit(book, [], heads, number=1)
    assert len(book.rows(batch)) == 1


def test_reports_and_links_come_in_while_a_batch_is_made(book: Book) -> None:
    heads = book.heads()
    assert submit(book, 0) == (0, "0")
    add_link(book)
    commit(book, [], heads)
    assert len(book.rows(batch)) == 1


def test_a_link_made_on_an_older_state_of_the_links_is_refused(book: Book) -> None:
    heads = book.heads()
    add_link(book)
    with pytest.raises(TanzhangError, match="book-moved: link changed meanwhile"):
        book.add_link(LINK, heads)
    assert len(book.rows(link)) == 1


def test_a_submission_is_open_until_all_its_reports_are_settled(book: Book) -> None:
    values = {**report(0), "accepted": 2}
    book.add_submission("fingerprint 0", lambda number: {**values, "name": f"number {number}"}, {}, CLOSES)
    submit(book, 1)
    seen = [[(row.name, row.reports, row.settled_through) for row in book.open_submissions()]]
    for number in range(2):
        commit(book, [], number=number)
        seen.append([(row.name, row.reports, row.settled_through) for row in book.open_submissions()])
    assert book.open_submissions("2025-06-04") == []
    assert [row.name for row in book.open_submissions("2025-06-05")] == ["name 1"]
    assert seen == [
        [("number 0", 2, None), ("name 1", 1, None)],
        [("number 0", 1, "2025-06-05"), ("name 1", 1, None)],
        [("name 1", 1, None)],
    ]


def test_the_log_gets_the_genesis_then_entries_and_manifests_in_their_order(book: Book) -> None:
    book.add_entry("epoch", "all of a day")
    commit(book, [])
    book.add_entry("terms", "what is shared")
    assert [(row.seq, row.kind, row.text) for row in book.entries(1)] == [
        (1, "epoch", "all of a day"),
        (2, "batch", "text"),
        (3, "terms", "what is shared"),
    ]
    assert book.entries()[0].text == genesis(book.values())
    assert book.rows(batch)[0].entry == 2


def test_what_is_read_in_a_snapshot_is_of_one_moment(book: Book) -> None:
    other = Book.open(book.place)
    with book.snapshot():
        assert book.rows(submission) == []
        submit(other, 0)
        with book.snapshot():
            assert book.rows(submission) == []
    assert len(book.rows(submission)) == 1


def test_submissions_are_numbered_in_order_and_found_by_fingerprint(book: Book) -> None:
    assert [submit(book, number, {"d": "doc"}) for number in range(3)] == [(0, "0"), (1, "1"), (2, "2")]
    found = book.find_submission("fingerprint 1", "x")
    assert found is not None
    assert found.seq == 1
    assert book.find_submission("fingerprint 9", "x") is None
    assert book.plans() == {"d": "doc"}  # kept once
    assert submit(book, 1) == (1, "1")  # the same bytes: the first one's row
    with pytest.raises(Exception, match="append-only"):
        book.add_submission("another", lambda _: report(1), {}, CLOSES)
    assert len(book.rows(submission)) == 3


def test_each_row_of_a_chain_depends_on_those_before_it(book: Book, place: Place) -> None:
    other = Book.create(place("other"), {"programme": "x"}, bytes(32))
    for number in range(3):
        add_link(book, f"c{number}")
        add_link(other, f"c{0 if number == 0 else 9}")
    chains = [[row.chain for row in each.rows(link)] for each in (book, other)]
    assert chains[0][0] == chains[1][0]
    assert not set(chains[0][1:]) & set(chains[1])
    assert book.heads()["link"] == {"rows": "3", "head": chains[0][2]}
    assert len(check_chains(book)[2]["link"]) == 4


def test_system_accounts_are_the_same_everywhere_and_differ_by_name() -> None:
    assert system_account("partner:amap") == system_account("partner:amap") != system_account("partner:jd")


def test_a_database_that_is_locked_for_long_is_an_error_with_a_code(book: Book) -> None:
    other = Book.open(book.place)
    with book.transaction(), other._engine.connect() as waiting:
        if isinstance(book.place, Path):
            waiting.exec_driver_sql("PRAGMA busy_timeout = 10")
            reason = "database is locked"
        else:
            waiting.exec_driver_sql("SET lock_timeout = 10")
            reason = "canceling statement due to lock timeout"
        with pytest.raises(TanzhangError, match=f"book-unusable: the book cannot be used: {reason}"):
            other._database.begin(waiting)
    assert add_link(other) == 0


def test_a_book_that_is_not_there_is_missing(place: Place) -> None:
    with pytest.raises(TanzhangError, match="home-missing"):
        Book.open(place("book"))
    assert not Book.is_at(place("book"))
    Book.check_free(place("book"))


def test_what_interrupts_a_transaction_leaves_nothing_of_it_and_the_next_one_works(book: Book) -> None:
    def interrupt() -> Iterator[dict[str, Any]]:
        raise KeyboardInterrupt
        yield

    rows = [
        {"account": account.bytes, "unit": "co2e_mg", "amount": amount} for account, amount in ((ONE, 7), (OTHER, -7))
    ]
    table = pa.Table.from_pylist(rows, schema=POSTINGS)
    with pytest.raises(KeyboardInterrupt), book.writing():
        book.commit_batch(lambda: BATCH, 0, interrupt(), table, NO_TALLY, b"next", book.heads())
    assert book.query(sa.select(posting)) == []
    commit(book, [(ONE.bytes, "co2e_mg", 5), (OTHER.bytes, "co2e_mg", -5)])
    assert book.balance(ONE) == {"co2e_mg": 5}


def test_postings_of_every_unit_and_size_come_back_as_they_were(book: Book) -> None:
    """Two units, the whole range of 63 bits, many pages, a table in several chunks."""
    amounts = [2**63 - 1, -(2**63) + 1, *range(1, 5_000), -sum(range(1, 5_000))]
    accounts = [uuid.UUID(int=number).bytes for number in range(len(amounts))]
    many = pa.table([accounts, ["co2e_mg"] * len(amounts), amounts], schema=POSTINGS)
    few = pa.table([accounts[8:10], ["points:北京"] * 2, [3, -3]], schema=POSTINGS)
    values = {**BATCH, "records": 2**40}
    table = pa.concat_tables([many.slice(0, 7), few, many.slice(7)])
    book.commit_batch(lambda: values, 0, [], table, NO_TALLY, b"next", book.heads())
    found = book.postings(0)
    assert found["account"].cast(pa.binary(16)).to_pylist() == [*accounts, *accounts[8:10]]
    assert found["unit"].to_pylist() == ["co2e_mg"] * len(amounts) + ["points:北京"] * 2
    assert found["amount"].to_pylist() == [*amounts, 3, -3]
    assert book.balance(uuid.UUID(int=0)) == {"co2e_mg": 2**63 - 1}
    assert book.balance(uuid.UUID(int=4_000)) == {"co2e_mg": amounts[4_000]}
    totals = book.query(sa.select(posting.c.unit, sa.func.sum(posting.c.amount)).group_by(posting.c.unit))
    assert [(unit, total, type(total)) for unit, total in sorted(totals)] == [
        ("co2e_mg", 0, int),
        ("points:北京", 0, int),
    ]
    assert book.rows(batch)[0].records == 2**40
    assert book.check_pages() == []
