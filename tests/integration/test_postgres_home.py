"""A home whose book is on PostgreSQL: set up by address, used by the same commands, its password kept apart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.service.intake import intake
from tanzhang.stores.book import CHAINED
from tanzhang.stores.home import Home

from ..homes import CREATED, assert_verified, box, new_home, on, settle_on, write
from ..postgres import PASSWORD, Server


def tanzhang(*arguments: object, access: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "TANZHANG_BOOK"}
    if access is not None:
        environment["TANZHANG_BOOK"] = access
    command = [sys.executable, "-m", "tanzhang", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture
def guarded(postgres: Server) -> str:
    """The address, with a password, of a role that may make schemas in a database of its own."""
    database = postgres.database()
    with postgres.connect(database) as con:
        con.execute(f"GRANT CREATE ON DATABASE {database} TO guarded")
    return postgres.address(database, "beijing", user=f"guarded:{quote(PASSWORD, safe='')}")


def everything_written(home: Path) -> bytes:
    return b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file() and path.name != "book.url")


def everything_booked(home: Home) -> str:
    tables = [*CHAINED]
    return json.dumps([home.book.values(), *[list(map(str, home.book.rows(table))) for table in tables]])


def test_every_command_works_and_the_password_is_in_one_private_file_alone(guarded: str, quick: Path) -> None:
    home, file = quick / "home", write(quick / "a.ndjson", [box("b1")])
    arguments = ("--home", home, "--json")
    made = tanzhang("init", "--programme", "beijing", "--book", guarded, *arguments)
    assert (made.returncode, json.loads(made.stdout)["book"]) == (0, "schema beijing")
    taken = tanzhang("intake", file, *arguments)
    assert json.loads(taken.stdout)["accepted"] == 1
    verified = tanzhang("verify", *arguments)
    assert json.loads(verified.stdout)["status"] == "verified"
    kept = home / "keys" / "book.url"
    assert quote(PASSWORD, safe="") in kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o600
    opened = Home(home)
    for text in (PASSWORD, quote(PASSWORD, safe="")):
        assert text.encode() not in everything_written(home)
        assert text not in everything_booked(opened) + made.stdout + taken.stdout + verified.stdout
    assert b"postgresql" not in everything_written(home)
    assert "postgresql" not in everything_booked(opened)


def test_an_address_from_the_environment_leaves_no_password_behind_and_is_needed_again(
    guarded: str, quick: Path
) -> None:
    home = quick / "home"
    arguments = ("--home", home, "--json")
    assert tanzhang("init", "--programme", "beijing", *arguments, access=guarded).returncode == 0
    kept = (home / "keys" / "book.url").read_text()
    assert kept.startswith("postgresql://guarded@/")
    refused = json.loads(tanzhang("verify", *arguments).stdout)
    assert refused["code"] == "book-unusable"
    assert "no password supplied" in refused["message"]
    assert json.loads(tanzhang("verify", *arguments, access=guarded).stdout)["status"] == "verified"
    other = guarded.replace("schema=beijing", "schema=shenzhen")
    assert json.loads(tanzhang("verify", *arguments, access=other).stdout)["code"] == "book-address-malformed"


def test_a_home_on_sqlite_stays_there_whatever_the_environment_says(guarded: str, quick: Path) -> None:
    new_home(quick / "home")
    answer = tanzhang("verify", "--home", quick / "home", "--json", access=guarded)
    assert json.loads(answer.stdout)["status"] == "verified"


def test_no_message_shows_the_password(guarded: str, quick: Path, postgres: Server) -> None:
    wrong = guarded.replace("guarded:", "guarded:wrong")
    for address in (wrong, guarded.replace(str(postgres.folder), "/nowhere"), guarded.replace("test_", "none_")):
        answer = tanzhang("init", "--home", quick / "home", "--programme", "beijing", "--book", address, "--json")
        assert json.loads(answer.stdout)["code"] == "book-unusable", answer.stdout
        assert quote(PASSWORD, safe="") not in answer.stdout + answer.stderr
        assert PASSWORD not in answer.stdout + answer.stderr
        assert not (quick / "home").exists()


def test_a_schema_that_is_not_empty_or_a_server_of_another_encoding_is_left_alone(
    quick: Path, postgres: Server
) -> None:
    database = postgres.database()
    with postgres.connect(database) as con:
        con.execute("CREATE SCHEMA full_one")
        con.execute("CREATE TABLE full_one.of_somebody_else (x int)")
        con.execute("CREATE SCHEMA empty_one")
        con.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1'")
    with pytest.raises(TanzhangError, match="home-exists: schema full_one is not empty"):
        new_home(quick / "full", book=postgres.address(database, "full_one"))
    assert_verified(new_home(quick / "full", book=postgres.address(database, "empty_one")))
    with pytest.raises(TanzhangError, match="encoded in LATIN1 instead of UTF8"):
        new_home(quick / "latin", book=postgres.address("latin", "one"))
    postgres.drop("latin")


def test_roles_as_the_document_grants_them_can_do_their_work_and_no_more(quick: Path, postgres: Server) -> None:
    """docs/postgresql.md: the owner sets up, a clerk settles, an auditor reads; a clerk cannot lift a guard."""
    document = (Path(__file__).parents[2] / "docs" / "postgresql.md").read_text(encoding="utf-8")
    grants = document.partition("```sql\n")[2].partition("```")[0]
    assert grants.count("GRANT") == 7
    database = postgres.database()
    address = postgres.address(database, "tanzhang_beijing")
    home = new_home(quick / "home", book=address)
    with postgres.connect(database) as con:
        for role in ("clerk", "auditor"):
            con.execute(f"DROP ROLE IF EXISTS {role}")
            con.execute(f"CREATE ROLE {role} LOGIN")
        con.execute(grants)
    clerk = Home(home.folder, book_access=address.replace("postgres@", "clerk@"))
    intake(clerk, write(quick / "a.ndjson", [box("b1"), box("b2")]), now=on(6))
    assert settle_on(clerk, 9)["batch"] == 0
    auditor = Home(home.folder, book_access=address.replace("postgres@", "auditor@"))
    assert_verified(auditor)
    with pytest.raises(TanzhangError, match=r"book-unusable: .*permission denied"):
        intake(auditor, write(quick / "b.ndjson", [box("b3")]), now=on(6))
    with postgres.connect(database, user="clerk") as con:
        for statement in (
            "ALTER TABLE tanzhang_beijing.posting DISABLE TRIGGER ALL",
            "UPDATE tanzhang_beijing.posting SET amount = 0",
            "DELETE FROM tanzhang_beijing.batch",
            "TRUNCATE tanzhang_beijing.posting",
            "DROP TABLE tanzhang_beijing.posting",
            "SET session_replication_role = replica",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                con.execute(statement)
    assert_verified(clerk)
    for each in (home, clerk, auditor):
        each.book.close()
    postgres.drop(database)


def test_a_server_that_forgets_to_wait_for_the_disk_is_told_to(quick: Path, postgres: Server) -> None:
    database = postgres.database()
    with postgres.connect(database) as con:
        con.execute(f"ALTER DATABASE {database} SET synchronous_commit = off")
    home = new_home(quick / "home", book=postgres.address(database))
    with home.book._engine.connect() as con:
        assert con.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"


def test_a_home_that_is_no_longer_used_leaves_no_connection_behind(quick: Path, postgres: Server) -> None:
    database = postgres.database()
    home = new_home(quick / "home", book=postgres.address(database))
    intake(home, write(quick / "a.ndjson", [box("b1")]), now=on(6))
    settle_on(home, 9)
    del home
    with postgres.connect() as con:
        for _ in range(100):  # a server process needs a moment to end
            open_ones = con.execute("SELECT query FROM pg_stat_activity WHERE datname = %s", (database,)).fetchall()
            if not open_ones:
                break
            time.sleep(0.02)
    assert open_ones == []


def test_the_driver_is_loaded_for_an_address_only(quick: Path) -> None:
    code = "import sys; from tanzhang.stores.home import Home; from pathlib import Path; Home(Path(sys.argv[1])); "
    code += "print(any(name.startswith('psycopg') for name in sys.modules))"
    new_home(quick / "home")
    command = [sys.executable, "-c", code, str(quick / "home")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"


def test_without_the_driver_it_is_said_what_to_install(
    quick: Path, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "tanzhang.stores.book.postgres", raising=False)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(TanzhangError, match=r"postgres-driver-missing: [^$]*pip install 'tanzhang\[postgres\]'"):
        Home.create(
            quick / "home", programme="beijing", origin="log.example/x", now=CREATED, book="postgresql:///carbon"
        )
    assert not (quick / "home").exists()
