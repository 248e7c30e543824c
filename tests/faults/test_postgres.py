"""The book on PostgreSQL against crashes, lost connections, other writers and tampering; SQLite says what is right.

Every state is compared with the one that the same reports leave in a home on SQLite: records, salts, postings, roots
and all published bytes of the log are the same.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg
import pytest
import sqlalchemy as sa

from tanzhang.core.access import Actor, Role
from tanzhang.core.errors import TanzhangError
from tanzhang.core.serial import FIRST_IMPORT
from tanzhang.service import guard
from tanzhang.service.award import award_due
from tanzhang.service.erase import erase
from tanzhang.service.intake import intake
from tanzhang.service.joining import join
from tanzhang.service.links import link_child
from tanzhang.service.settle import settle
from tanzhang.stores import files
from tanzhang.stores.book import CHAINED, Book, batch, submission
from tanzhang.stores.book.schema import metadata
from tanzhang.stores.guard import load_guard
from tanzhang.stores.home import Home
from tanzhang.stores.register.points import Spending

from ..homes import (
    CREATED,
    FAST,
    account,
    assert_verified,
    box,
    new_home,
    on,
    power,
    problems,
    ride,
    settle_on,
    withdrawal,
    write,
)
from ..postgres import Server, as_superuser
from ..units import AT, LABEL, TIER, imported
from .test_crash_everywhere import Dying, state

GUARDED = ("home", "posting", "tally", *(table.name for table in CHAINED))
# Rows of these need a whole market: test_payback.py, test_verification.py and test_retirement.py change theirs.
OF_A_MARKET = ("payback_run", "verification_event", "retirement")
TABLES = (*(table for table in GUARDED if table not in OF_A_MARKET), "seal_key")
POINTS_TABLES = ("points_rules", "points_run", "points_move")
MARKET_TABLES = ("lot_event", "money_move", *OF_A_MARKET)
UNITS_TABLES = ("unit_lot", "unit_event", "unit_label")
NOT_LIVED = ("erasure", "replacement", "transfer", *POINTS_TABLES, "guard_move", *MARKET_TABLES, *UNITS_TABLES)
COMMIT = ("before commit book.postgresql", "after commit book.postgresql")


@pytest.fixture(scope="module")
def dying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dying]:
    server = Dying(tmp_path_factory.mktemp("dying"))
    yield server
    server.close()


def lived(folder: Path, book: str | None) -> Home:
    """A home with a link, a file of links and two batches, and a submission that is ready to settle."""
    home = new_home(folder / "home", book=book)
    child, owner = account(home, "cainiao", "anna"), account(home, "amap", "anna")
    link_child(home, child, owner, valid_from=date(2025, 6, 1), valid_until=None, now=on(1))
    link_file = folder / "links.csv"
    link_file.write_text("partner,subject,with_partner,with_subject,valid_from\ncainiao,bo,amap,bo,2025-06-01\n")
    from tanzhang.service.links import link_many

    link_many(home, link_file, now=on(1))
    batches = [
        [box("b1"), box("b2", "bo"), ride("r1"), "not JSON"],
        [box("b3"), power("p1"), withdrawal(box("b1"), "undo"), ride("r1")],
        [box("b4"), ride("r2", hour=12)],
    ]
    for number, events in enumerate(batches):
        intake(home, write(folder / f"{number}.ndjson", events), now=on(6 + number))
        if number < 2:
            assert settle_on(home, 9 + number)["batch"] == number
    assert_verified(home)
    home.book.close()
    return home


@pytest.fixture(scope="module")
def base(in_memory: Path, postgres: Server) -> Path:
    folder = in_memory / "postgres"
    folder.mkdir()
    return lived(folder, postgres.address(postgres.database())).folder


@pytest.fixture(scope="module")
def model(in_memory: Path) -> Path:
    """The same life on SQLite."""
    folder = in_memory / "model"
    folder.mkdir()
    return lived(folder, None).folder


@pytest.fixture
def home(base: Path, quick: Path, postgres: Server) -> Path:
    return postgres.copy(base, quick / "home")


@pytest.fixture
def last(quick: Path) -> Path:
    return write(quick / "last.ndjson", [box("b5"), ride("r2", hour=12), withdrawal(box("b3"), "undo2"), "{"])


def some(points: list[str]) -> list[int]:
    """The points around the commit, and some of the others from first to last."""
    around = [points.index(point) for point in COMMIT]
    return sorted({*around, around[0] - 1, 0, len(points) // 3, (2 * len(points)) // 3, len(points) - 1})


def codes(home: Home) -> set[str]:
    return {problem["code"] for problem in problems(home)}


# -- agreement ------------------------------------------------------------------------------------------------


def test_the_same_reports_leave_the_same_book_records_and_log_on_both_databases(base: Path, model: Path) -> None:
    assert state(base) == state(model)
    books = [Home(folder).book for folder in (base, model)]
    assert books[0].balances().equals(books[1].balances())
    assert books[0].balances().num_rows > 3
    assert books[0].heads() == books[1].heads()
    assert books[0].values() == books[1].values()
    for table in CHAINED:
        rows = list(map(tuple, books[0].rows(table)))
        assert rows == list(map(tuple, books[1].rows(table)))
        assert rows or table.name in NOT_LIVED


# -- crashes --------------------------------------------------------------------------------------------------


def test_init_that_dies_anywhere_is_no_home_or_a_whole_one_and_init_again_succeeds(
    dying: Dying, quick: Path, postgres: Server
) -> None:
    database = postgres.database()
    points = dying.points("init", quick / "whole", CREATED, book=postgres.address(database, "whole"))
    expected = state(quick / "whole")
    for at in some(points):
        folder, address = quick / f"home-{at}", postgres.address(database, f"home_{at}")
        dying.die("init", folder, CREATED, at, book=address)
        if at > points.index(COMMIT[0]):
            with pytest.raises(TanzhangError, match="home-exists"):
                new_home(folder, book=address)
            settle_on(Home(folder), 7)
        else:
            with pytest.raises(TanzhangError, match="home-missing"):
                Home(folder)
            new_home(folder, book=address)
        assert state(folder) == expected
        assert_verified(Home(folder))


def test_intake_that_dies_anywhere_and_is_repeated_loses_nothing_and_takes_nothing_twice(
    dying: Dying, base: Path, model: Path, last: Path, quick: Path, postgres: Server
) -> None:
    right = Home(Path(shutil.copytree(model, quick / "right")))
    intake(right, last, now=on(9))
    settle_on(right, 15)
    points = dying.points("intake", postgres.copy(base, quick / "whole"), on(9), last)
    assert points[-2:] == list(COMMIT)
    for at in some(points):
        folder = postgres.copy(base, quick / "home")
        dying.die("intake", folder, on(9), at, last)
        home = Home(folder)
        assert len(home.book.rows(submission)) == 3 + (at == len(points) - 1)
        assert intake(home, last, now=on(9))["accepted"] == 3
        settle_on(home, 15)
        assert state(folder) == state(right.folder)
        assert_verified(home)


def test_settle_that_dies_anywhere_and_is_repeated_books_everything_once(
    dying: Dying, base: Path, model: Path, quick: Path, postgres: Server
) -> None:
    right = Home(Path(shutil.copytree(model, quick / "right")))
    settle_on(right, 15)
    points = dying.points("settle", postgres.copy(base, quick / "whole"), on(15))
    committed = points.index(COMMIT[1])
    for at in some(points):
        folder = postgres.copy(base, quick / "home")
        dying.die("settle", folder, on(15), at)
        home = Home(folder)
        assert len(home.book.rows(batch)) == (3 if at >= committed else 2)
        assert settle_on(home, 15)["batch"] == (None if at >= committed else 2)
        assert state(folder) == state(right.folder)
        assert_verified(home)


def test_a_lost_connection_is_said_so_books_nothing_and_the_same_command_again_succeeds(
    home: Path, model: Path, quick: Path, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(point: str, path: Path) -> None:
        if point == "before commit":
            with postgres.connect() as con:
                con.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")

    opened = Home(home)
    with monkeypatch.context() as patch:
        patch.setattr(files, "on_write", cut)
        with pytest.raises(TanzhangError, match="book-unusable"):
            settle_on(opened, 15)
    assert len(opened.book.rows(batch)) == 2
    assert settle_on(opened, 15)["batch"] == 2
    right = Home(Path(shutil.copytree(model, quick / "right")))
    settle_on(right, 15)
    assert state(home) == state(right.folder)


# -- several writers ------------------------------------------------------------------------------------------


def test_two_machines_that_settle_at_once_make_one_batch(home: Path, quick: Path) -> None:
    """Two folders with one book, so that no lock of a folder keeps them apart."""
    folders = [home, Path(shutil.copytree(home, quick / "other machine"))]
    for name in ("records", "reports", "links", "log"):  # on storage that both have
        shutil.rmtree(folders[1] / name)
        (folders[1] / name).symlink_to(home / name)
    command = [sys.executable, "-m", "tanzhang", "settle", "--json", "--through", "2025-06-14", "--home"]
    running = [subprocess.Popen([*command, str(each)], stdout=subprocess.PIPE, text=True) for each in folders]
    answers = [json.loads(each.communicate()[0]) for each in running]
    assert {answer["code"] for answer in answers if "code" in answer} <= {"home-busy"}
    assert [answer["batch"] for answer in answers if answer.get("batch") is not None] == [2]
    (winner,) = [folder for folder, answer in zip(folders, answers, strict=True) if answer.get("batch") == 2]
    assert_verified(Home(winner))


def test_whoever_writes_keeps_other_machines_waiting_until_the_end_and_readers_not(home: Path, quick: Path) -> None:
    other = Home(Path(shutil.copytree(home, quick / "other machine")))
    opened = Home(home)
    with opened.settling():
        with pytest.raises(TanzhangError, match="home-busy: another process is writing to this book"):
            settle(other, now=on(15))
        assert other.book.balances().equals(opened.book.balances())
    assert settle(other, now=on(15))["batch"] == 2


def test_a_home_is_opened_and_read_while_a_batch_is_about_to_be_committed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def look(point: str, path: Path) -> None:
        if point == "before commit":
            start = time.monotonic()
            seen.append((len(Home(home).book.rows(batch)), time.monotonic() - start < 1))

    with monkeypatch.context() as patch:
        patch.setattr(files, "on_write", look)
        assert settle_on(Home(home), 15)["batch"] == 2
    assert seen == [(2, True)]
    assert len(Home(home).book.rows(batch)) == 3


def test_two_homes_of_one_database_know_nothing_of_each_other(quick: Path, postgres: Server) -> None:
    database = postgres.database()
    one, other = (new_home(quick / name, book=postgres.address(database, name)) for name in ("one", "other"))
    with one.settling():
        intake(other, write(quick / "a.ndjson", [box("b1")]), now=on(6))
    assert (len(one.book.rows(submission)), len(other.book.rows(submission))) == (0, 1)
    with pytest.raises(TanzhangError, match="home-exists"):
        new_home(quick / "third", book=postgres.address(database, "one"))
    assert not (quick / "third").exists()


# -- tampering ------------------------------------------------------------------------------------------------


def another(value: Any) -> Any:
    if isinstance(value, int):
        return value + 1000
    if isinstance(value, bytes):
        return bytes([value[0] ^ 1]) + value[1:]
    return "1" if value is None else value[:-1] + chr(ord(value[-1]) ^ 1)


def made_up(column: sa.Column[Any]) -> str:
    """A value of a column's kind, as SQL."""
    return "0" if isinstance(column.type, sa.Integer) else "'x'"


def seen(home: Path) -> list[dict[str, str]]:
    try:
        return problems(Home(home))
    except TanzhangError as error:
        return [problem.as_dict() for problem in error.problems]


# The last rows of these, until the log has a word for them, are missed by what was done with them.
MISSED_BY = {
    "points_move": "points-mismatch",
    "guard_move": "unsettled-changed",
    "lot_event": "lot-mismatch",
    "money_move": "money-mismatch",
    **dict.fromkeys(UNITS_TABLES, "units-changed"),
}


def named(found: list[dict[str, str]], table: str) -> bool:
    closed = table == "home" and [problem["code"] for problem in found] == ["schema-unknown"]
    place = f"schema tanzhang_beijing: {table}"
    short = MISSED_BY.get(table) in [problem["code"] for problem in found]
    return closed or short or any(place in problem["where"] or f'"{table}"' in problem["message"] for problem in found)


def where(names: list[str]) -> str:
    return " AND ".join(f'"{name}" IS NOT DISTINCT FROM %s' for name in names)


def with_rows(home: Path, table: str) -> None:
    """Have a person erased or joined, points awarded and spent, an act held, where tables say so that are asked for."""
    if table in ("erasure", "replacement"):
        opened = Home(home)
        assert erase(opened, [account(opened, "amap", "bo")], now=on(21))["records"] == 1
        opened.book.close()
    if table == "transfer":
        opened = Home(home)
        join(opened, account(opened, "amap", "bo"), uuid.UUID(int=7 << 100), now=on(21))
        opened.book.close()
    if table in POINTS_TABLES:
        opened = Home(home)
        award_due(opened, now=on(21))
        with opened.book.transaction() as con:
            spending = Spending(account(opened, "amap", "bo"), 1, "redeem", "mall", "o-1")
            unit = "points:beijing_carbon_energy"
            assert opened.points.spend(con, unit, [spending], at=on(21).isoformat(), day=on(21).date()) == [None]
        opened.book.close()
    if table == "lot_event":
        opened = Home(home)
        said = {"reference": "d-1", "vintage": 2025, "region": "CN", "behaviours": None, "wanted": None, "early": None}
        with opened.book.transaction() as con:
            opened.lots.draft(con, said, actor=Actor(Role.OPERATOR, "root", "command line"), at=on(21).isoformat())
        opened.book.close()
    if table == "money_move":
        opened = Home(home)
        with opened.book.transaction() as con:
            opened.money.post(con, "payment", {"bank": -1, "sale:d1": 1}, "b-1", on(21).isoformat())
        opened.book.close()
    if table in UNITS_TABLES:
        opened = Home(home)
        imported(opened, 100)
        with opened.book.transaction() as con:
            opened.units.label(con, {**LABEL, "lot": FIRST_IMPORT + 1}, lambda _: TIER, AT, actor="olga")
        opened.book.close()
    if table == "guard_move":
        opened = Home(home)
        intake(opened, write(home.parent / "fast.ndjson", [ride("fast", distance_m=FAST)]), now=on(8, 15))
        with patch.object(guard, "guard_of", lambda home: load_guard(home.catalogue, "example")):
            assert guard.look(opened, now=on(8, 15))["held"] == 1
        opened.book.close()


@pytest.mark.parametrize("table", TABLES)
def test_a_superuser_who_changes_deletes_or_adds_a_row_is_seen_and_the_table_named(home: Path, table: str) -> None:
    with_rows(home, table)
    con = as_superuser(Home(home))
    if table == "seal_key":
        con.execute("ALTER TABLE seal_key DROP CONSTRAINT seal_key_only_check")
    cursor = con.execute(f"SELECT * FROM {table} LIMIT 1 OFFSET 0")
    names = [column.name for column in cursor.description or ()]
    (row,) = cursor.fetchall()
    for position, name in enumerate(names):
        changed = [*row]
        changed[position] = another(row[position])
        update = f'UPDATE {table} SET "{name}" = %s WHERE {where(names)}'
        assert con.execute(update, (changed[position], *row)).rowcount == 1
        found = seen(home)
        assert named(found, table), f"{name}: {found}"
        assert con.execute(update, (row[position], *changed)).rowcount == 1
    con.execute(f"DELETE FROM {table} WHERE {where(names)}", row)
    assert named(seen(home), table)
    insert = f"INSERT INTO {table} VALUES ({', '.join(['%s'] * len(row))})"
    con.execute(insert, row)
    if table == "seal_key":
        assert codes(Home(home)) == {"book-unguarded"}
        con.execute('ALTER TABLE seal_key ADD CONSTRAINT seal_key_only_check CHECK ("only" = 1) NOT VALID')
        assert codes(Home(home)) == {"book-unguarded"}
        con.execute("ALTER TABLE seal_key VALIDATE CONSTRAINT seal_key_only_check")
    assert_verified(Home(home))
    if table == "seal_key":
        return  # its constraint admits no other row, to nobody
    new = (names[0], "digest", "fingerprint", "entry", "batch" if table == "points_run" else "", "reference")
    new = (*new, "lot", "foreign") if table == "unit_lot" else new
    added = [another(value) if name in new else value for name, value in zip(names, row, strict=True)]
    con.execute(insert, added)
    assert named(seen(home), table)
    con.close()


@pytest.mark.parametrize("table", GUARDED)
def test_the_database_itself_refuses_to_change_what_is_booked_even_to_its_owner(home: Path, table: str) -> None:
    with_rows(home, table)
    con = as_superuser(Home(home))
    if table in OF_A_MARKET:
        con.execute(f"INSERT INTO {table} VALUES ({', '.join(map(made_up, metadata.tables[table].c))})")
    con.execute("SET session_replication_role = origin")
    first, *_ = [column.name for column in con.execute(f"SELECT * FROM {table}").description or ()]
    again = f"INSERT INTO {table} SELECT * FROM {table} LIMIT 1"
    for statement in (
        f'UPDATE {table} SET "{first}" = "{first}"',
        f"DELETE FROM {table}",
        f"TRUNCATE {table}",
        f'{again} ON CONFLICT ON CONSTRAINT {table}_pkey DO UPDATE SET "{first}" = excluded."{first}"',
    ):
        with pytest.raises(psycopg.IntegrityError, match=f"{table} is append-only: book an opposite entry"):
            con.execute(statement)
    with pytest.raises(psycopg.IntegrityError, match=r"append-only|duplicate key"):
        con.execute(again)
    if table in OF_A_MARKET:
        con.execute("SET session_replication_role = replica")
        con.execute(f"DELETE FROM {table}")
    con.close()
    assert_verified(Home(home))


def test_nothing_can_be_added_to_a_sealed_batch_nor_to_a_later_one(home: Path) -> None:
    con = as_superuser(Home(home))
    con.execute("SET session_replication_role = origin")
    for number in (0, 1, 3):
        with pytest.raises(psycopg.IntegrityError, match="posting is append-only"):
            con.execute(
                "INSERT INTO posting SELECT v.n, unit, 'x', 'x', 0, 0, '' FROM posting, (VALUES (2), (%s)) AS v(n) "
                "WHERE batch = 0 AND unit = 'co2e_mg'",
                (number,),
            )
    con.close()


@pytest.mark.parametrize("table", TABLES)
def test_a_table_that_is_gone_is_an_error_with_a_code(home: Path, table: str) -> None:
    con = as_superuser(Home(home))
    con.execute(f"DROP TABLE {table}")
    con.close()
    assert named(seen(home), table)


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE posting DISABLE TRIGGER ALL",
        "DROP TRIGGER plan_no_change ON plan",
        "CREATE OR REPLACE FUNCTION batch_no_other_insert() RETURNS trigger LANGUAGE plpgsql "
        "AS $$ BEGIN RETURN NEW; END $$",
    ],
)
def test_a_guard_that_was_switched_off_dropped_or_replaced_is_seen(home: Path, statement: str) -> None:
    con = as_superuser(Home(home))
    con.execute(statement)
    con.close()
    assert codes(Home(home)) == {"book-unguarded"}


# -- pages ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extension", [False, True])
def test_a_damaged_page_or_an_invalid_index_is_seen_with_amcheck_and_without(
    base: Path, quick: Path, postgres: Server, extension: bool
) -> None:
    folder = postgres.copy(base, quick / "home")
    home = Home(folder)
    with as_superuser(home) as con:
        if extension:
            con.execute("CREATE EXTENSION amcheck SCHEMA public")
        assert home.book.integrity_check.startswith("amcheck" if extension else "rows counted")
        assert home.book.check_pages() == []
        con.execute("UPDATE pg_index SET indisvalid = false WHERE indrelid = 'link'::regclass")
        found = {(problem.code, problem.where) for problem in home.book.check_pages()}
        assert found == {("book-damaged", f"{home.book.name}: link")}
        con.execute("UPDATE pg_index SET indisvalid = true WHERE indrelid = 'link'::regclass")
        ((path,),) = con.execute("SELECT pg_relation_filepath('posting')").fetchall()
        database = con.info.dbname
    home.book.close()
    with postgres.connect() as con:
        con.execute("CHECKPOINT")
        copied = f"{database}_damaged"  # its files are copied as they are, and nothing of them is in memory yet
        con.execute(f"CREATE DATABASE {copied} TEMPLATE {database} STRATEGY file_copy")
        ((oid,),) = con.execute("SELECT oid FROM pg_database WHERE datname = %s", (copied,)).fetchall()
    file = postgres.folder / "data" / "base" / str(oid) / Path(path).name
    data = bytearray(file.read_bytes())
    data[12:16] = b"\xff\xff\xff\xff"  # where the free space of the first page begins and ends
    file.write_bytes(data)
    address = folder / "keys" / "book.url"
    address.write_text(address.read_text().replace(f"/{database}?", f"/{copied}?"))
    found = Home(folder).book.check_pages()
    assert [(problem.code, problem.where) for problem in found] == [("book-damaged", f"{home.book.name}: posting")]
    assert Book.is_at(Home(folder).book.place)
