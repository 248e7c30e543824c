"""Whoever changes one bit of a home, or one value, row or key, is seen by ``verify``, which names what was changed."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.engine.signing import NoteSigner
from tanzhang.service.intake import intake
from tanzhang.service.links import link_child
from tanzhang.service.settle import settle
from tanzhang.service.spark.settle import ClusterSettlement
from tanzhang.service.verify import verify
from tanzhang.stores.home import Home
from tanzhang.stores.log import Log

from ..homes import (
    account,
    as_attacker,
    assert_verified,
    box,
    new_home,
    on,
    power,
    problems,
    ride,
    withdrawal,
    write,
)
from ..stages import LocalStages

CHAINED = ("plan", "submission", "link", "entry", "batch", "consumption")
TABLES = ("home", *CHAINED, "posting", "tally", "seal_key")


@pytest.fixture(scope="module")
def sealed(in_memory: Path) -> Iterator[Path]:
    """A home of three batches with a link, a refusal, a withdrawal and a footprint; the book in one file."""
    folder = in_memory / "tamper"
    folder.mkdir()
    home = new_home(folder / "home")
    link_child(
        home,
        account(home, "cainiao", "anna"),
        account(home, "amap", "anna"),
        valid_from=date(2025, 6, 1),
        valid_until=None,
        now=on(1),
    )
    batches = [
        [box("b1"), box("b2", "bo"), ride("r1"), "not JSON"],
        [box("b3"), power("p1"), withdrawal(box("b1"), "undo"), ride("r1")],
        [box("b4"), ride("r2", hour=12), box("b5", "dan")],
    ]
    for number, events in enumerate(batches):
        intake(home, write(folder / f"{number}.ndjson", events), now=on(6 + number))
        engine = ClusterSettlement(LocalStages()) if number == 2 else None  # the last one stands in parts
        assert settle(home, now=on(9 + number), engine=engine)["batch"] == number
        if number == 1:
            shutil.copytree(home.folder, folder / "older")
    assert_verified(home)
    home.book._engine.dispose()  # moves the write-ahead log into the file
    yield folder / "home"
    shutil.rmtree(folder)


@pytest.fixture
def home(sealed: Path, quick: Path) -> Path:
    return Path(shutil.copytree(sealed, quick / "home"))


def places(path: Path) -> list[Path]:
    return sorted(each for each in path.rglob("*") if each.is_file())


def named(found: list[dict[str, str]], text: str) -> bool:
    return any(text in f"{problem['where']} {problem['message']}" for problem in found)


def flips(size: int, seed: str) -> list[tuple[int, int]]:
    """(byte, bit): the first, the middle, the last, and one by chance."""
    draw = random.Random(seed)
    return [(0, 0), (size // 2, 3), (size - 1, 0), (draw.randrange(size), draw.randrange(8))]


FILES = [
    *(f"records/{number:08d}/{name}" for number in range(2) for name in ("records.parquet", "subtrees.bin")),
    *(f"records/00000002/{name}" for name in ("parts.json", "records-00000-*", "records-00002-*", "subtrees.bin")),
    *(f"reports/202506{day:02d}T*/{name}" for day in (6, 7, 8) for name in ("accepted.parquet", "verdicts.csv")),
    "log/checkpoint",
    *(f"log/tile/{kind}/000.p/{width}" for kind in ("0", "entries") for width in range(1, 5)),
    *(f"known/*/{name}.keys" for name in ("00000000-00000001", "00000002-00000002")),
    *(f"keys/{name}" for name in ("identity.key", "log.key", "log.vkey", "personal.key")),
]


def test_every_file_of_a_home_is_among_those_that_are_tampered_with(home: Path) -> None:
    listed = {path for pattern in FILES for path in home.glob(pattern)}
    assert len(listed) == len(FILES)
    assert set(places(home)) - listed == {home / "book.sqlite", home / ".lock"}


@pytest.mark.parametrize("pattern", FILES)
def test_one_flipped_bit_in_any_file_is_seen_and_the_file_named(home: Path, pattern: str) -> None:
    (path,) = home.glob(pattern)
    good = path.read_bytes()
    for byte, bit in flips(len(good), pattern):
        bad = bytearray(good)
        bad[byte] ^= 1 << bit
        path.write_bytes(bad)
        found = problems(Home(home))
        assert found, f"byte {byte}, bit {bit} of {pattern}"
        assert named(found, path.relative_to(home).as_posix()), found
    path.write_bytes(good)
    assert_verified(Home(home))


# Partial tiles of earlier checkpoints may be tidied away; keys of records are made again.
NEEDED = [pattern for pattern in FILES if not pattern.endswith(("000.p/1", "000.p/2", "000.p/3", ".keys"))]


@pytest.mark.parametrize("pattern", NEEDED)
def test_a_missing_or_empty_file_is_seen_and_named(home: Path, pattern: str) -> None:
    (path,) = home.glob(pattern)
    path.write_bytes(b"")
    assert named(problems(Home(home)), path.relative_to(home).as_posix())
    path.unlink()
    assert named(problems(Home(home)), path.relative_to(home).as_posix())


def columns(con: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in con.execute(f"PRAGMA table_info({table})")]


def where(names: list[str]) -> str:
    return " AND ".join(f"{name} IS ?" for name in names)


def another(value: Any) -> Any:
    """A value of the same kind that differs; a number that no other row has."""
    if isinstance(value, int):
        return value + 1000
    if isinstance(value, bytes):
        return bytes([value[0] ^ 1]) + value[1:]
    return "1" if value is None else value[:-1] + chr(ord(value[-1]) ^ 1)


def seen(home: Path) -> list[dict[str, str]]:
    """What is found wrong, be it that the home cannot even be opened."""
    try:
        return problems(Home(home))
    except TanzhangError as error:
        return [problem.as_dict() for problem in error.problems]


def names_table(found: list[dict[str, str]], table: str) -> bool:
    """A version that is unknown or gone keeps the book closed; a broken constraint is named by SQLite."""
    unopened = table == "home" and [problem["code"] for problem in found] == ["schema-unknown"]
    return unopened or named(found, f"book.sqlite: {table}") or named(found, f"constraint failed in {table}")


@pytest.mark.parametrize("table", TABLES)
def test_every_value_of_every_row_that_is_changed_is_seen_and_its_table_named(home: Path, table: str) -> None:
    con = as_attacker(home)
    names = columns(con, table)
    rows = con.execute(f"SELECT * FROM {table}").fetchall()
    assert rows
    for row in rows:
        for position, name in enumerate(names):
            changed = [*row]
            changed[position] = another(row[position])
            update = f"UPDATE {table} SET {name} = ? WHERE {where(names)}"
            assert con.execute(update, (changed[position], *row)).rowcount == 1
            found = seen(home)
            assert found, f"{table}.{name} of {row}"
            assert names_table(found, table), (name, row, found)
            assert con.execute(update, (row[position], *changed)).rowcount == 1
    con.close()
    assert_verified(Home(home))


@pytest.mark.parametrize("table", TABLES)
def test_every_row_that_is_deleted_is_seen_and_its_table_named(home: Path, table: str) -> None:
    con = as_attacker(home)
    names = columns(con, table)
    for row in con.execute(f"SELECT * FROM {table}").fetchall():
        con.execute(f"DELETE FROM {table} WHERE {where(names)}", row)
        found = seen(home)
        assert names_table(found, table), (row, found)
        con.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
    con.close()
    assert_verified(Home(home))


@pytest.mark.parametrize("table", TABLES)
def test_a_row_that_is_added_is_seen_and_its_table_named(home: Path, table: str) -> None:
    con = as_attacker(home)
    row = [*con.execute(f"SELECT * FROM {table} ORDER BY 1 DESC LIMIT 1").fetchall()[0]]
    row[0] = another(row[0])
    for position, name in enumerate(columns(con, table)):
        if name in ("digest", "fingerprint", "entry"):
            row[position] = another(row[position])
    con.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
    found = seen(home)
    assert names_table(found, table), found


@pytest.mark.parametrize("table", TABLES)
def test_a_table_that_is_gone_is_an_error_with_a_code(home: Path, table: str) -> None:
    con = as_attacker(home)
    con.execute(f"DROP TABLE {table}")
    assert named(seen(home), table)


def test_a_balanced_pair_of_forged_postings_is_seen(home: Path) -> None:
    con = as_attacker(home)
    ((first, data),) = con.execute("SELECT first, data FROM posting WHERE batch = 0 AND unit = 'co2e_mg'").fetchall()
    count = len(data) // 24
    amounts = [int.from_bytes(data[at : at + 8], "big", signed=True) for at in range(16 * count, 24 * count, 8)]
    amounts[0], amounts[1] = amounts[0] + 1_000_000, amounts[1] - 1_000_000
    forged = data[: 16 * count] + b"".join(amount.to_bytes(8, "big", signed=True) for amount in amounts)
    con.execute("UPDATE posting SET data = ? WHERE first = ? AND batch = 0 AND unit = 'co2e_mg'", (forged, first))
    found = problems(Home(home))
    assert {problem["code"] for problem in found} == {"posting-mismatch"}
    assert len(found) == 2


def test_rows_forged_with_a_chain_made_anew_contradict_the_sealed_heads(home: Path) -> None:
    import hashlib

    from tanzhang.core.methodology import canonical_json

    con = as_attacker(home)
    con.row_factory = sqlite3.Row
    con.execute("UPDATE link SET account = '00000000-0000-0000-0000-000000000001'")
    head = "0" * 64
    for row in con.execute("SELECT * FROM link ORDER BY seq").fetchall():
        text = {name: None if row[name] is None else str(row[name]) for name in row.keys() if name != "chain"}  # noqa: SIM118
        head = hashlib.sha256(f"{head}|link|{canonical_json(text)}".encode()).hexdigest()
        con.execute("UPDATE link SET chain = ? WHERE seq = ?", (head, row["seq"]))
    found = problems(Home(home))
    assert {problem["code"] for problem in found} == {"book-history-changed"}
    assert names_table(found, "link")


def test_two_swapped_record_files_are_both_named(home: Path) -> None:
    first, second = (home / f"records/{number:08d}/records.parquet" for number in (0, 1))
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(kept)
    found = problems(Home(home))
    assert named(found, "records/00000000/records.parquet")
    assert named(found, "records/00000001/records.parquet")


def test_two_swapped_batches_are_seen_even_with_their_files(home: Path) -> None:
    con = as_attacker(home)
    con.execute("UPDATE batch SET seq = 9 WHERE seq = 0")
    con.execute("UPDATE batch SET seq = 0 WHERE seq = 1")
    con.execute("UPDATE batch SET seq = 1 WHERE seq = 9")
    assert names_table(problems(Home(home)), "batch")


def test_an_older_copy_of_the_book_is_seen_and_nothing_can_be_settled_on_it(home: Path, sealed: Path) -> None:
    for name in ("book.sqlite", "book.sqlite-wal"):
        older = sealed.parent / "older" / name
        if older.exists():
            shutil.copy(older, home / name)
    restored = Home(home)
    assert {problem["code"] for problem in problems(restored)} == {"book-behind-log"}
    before = {path: path.read_bytes() for path in places(home / "log")}
    with pytest.raises(TanzhangError, match="log-would-shrink"):
        settle(restored, now=on(20))
    assert {path: path.read_bytes() for path in places(home / "log")} == before


def test_an_older_copy_of_the_log_is_seen_and_mended_by_the_next_settlement(home: Path, sealed: Path) -> None:
    new = {path.relative_to(home): path.read_bytes() for path in places(home / "log")}
    shutil.rmtree(home / "log")
    shutil.copytree(sealed.parent / "older" / "log", home / "log")
    assert {problem["code"] for problem in problems(Home(home))} == {"log-behind-book"}
    assert settle(Home(home), now=on(12))["batch"] is None
    assert {path.relative_to(home): path.read_bytes() for path in places(home / "log")} == new
    assert_verified(Home(home))


def test_a_log_signed_anew_with_another_key_is_seen(home: Path) -> None:
    opened = Home(home)
    entries = opened.log_entries()
    forged = NoteSigner(opened.values["origin"], bytes(32))
    shutil.rmtree(home / "log")
    log = Log.create(home / "log", forged.name, forged)
    log.publish(entries, forged, first_index=0)
    assert named(problems(Home(home)), "log/checkpoint")
    (home / "keys/log.key").write_text(f"{forged.to_text()}\n")
    found = problems(Home(home))
    assert named(found, "keys/log.key")
    with pytest.raises(TanzhangError, match="log-checkpoint-changed"):
        settle(Home(home), now=on(12))


def test_a_forged_entry_signed_with_the_stolen_key_contradicts_the_book(home: Path) -> None:
    opened = Home(home)
    entries = opened.log_entries()
    entries[2] = entries[2].replace(b'"batch":"1"', b'"batch":"7"')
    shutil.rmtree(home / "log")
    log = Log.create(home / "log", opened.values["origin"], opened.signer)
    log.publish(entries, opened.signer, first_index=0)
    found = problems(Home(home))
    assert {problem["code"] for problem in found} == {"log-book-mismatch"}
    assert names_table(found, "batch")


def test_verification_says_what_it_checked_even_where_it_failed(home: Path) -> None:
    (home / "records/00000001/records.parquet").unlink()
    result = verify(Home(home))
    assert result["status"] == "failed"
    assert len(result["checks"]) == 36
    checked = {check["check"]: check["count"] for check in result["checks"]}
    assert checked["record trees"] > 0  # the other batches


@pytest.mark.parametrize("table", ["home", "posting", "tally", *CHAINED])
@pytest.mark.parametrize("verb", ["UPDATE", "DELETE"])
def test_the_database_itself_refuses_to_change_or_delete_what_is_booked(home: Path, table: str, verb: str) -> None:
    con = sqlite3.connect(home / "book.sqlite")
    names = columns(con, table)
    statement = f"UPDATE {table} SET {names[0]} = {names[0]}" if verb == "UPDATE" else f"DELETE FROM {table}"
    with pytest.raises(sqlite3.IntegrityError, match=f"{table} is append-only: book an opposite entry"):
        con.execute(statement)
    con.close()
    assert_verified(Home(home))


@pytest.mark.parametrize("table", ["home", "posting", "tally", *CHAINED])
def test_the_database_itself_refuses_to_replace_what_is_booked(home: Path, table: str) -> None:
    con = sqlite3.connect(home / "book.sqlite")
    names = columns(con, table)
    for row in con.execute(f"SELECT * FROM {table}").fetchall():
        for changed in range(len(names)):
            values = [another(value) if position == changed else value for position, value in enumerate(row)]
            with pytest.raises(sqlite3.IntegrityError, match=f"{table} is append-only"):
                con.execute(f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * len(row))})", values)
    con.close()
    assert_verified(Home(home))


def test_nothing_can_be_added_to_a_sealed_batch(home: Path) -> None:
    con = sqlite3.connect(home / "book.sqlite")
    for number in (0, 1, 2, 4):
        with pytest.raises(sqlite3.IntegrityError, match="posting is append-only"):
            con.execute("INSERT INTO posting VALUES (?, 'co2e_mg', ?, ?, 0, 0, ?)", (number, bytes(16), bytes(16), b""))
    con.close()
