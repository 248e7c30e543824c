"""Changes of the schema: revisions and metadata agree, a migration is whole or not at all, programs of before go on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from tanzhang.core.errors import TanzhangError
from tanzhang.service.intake import intake
from tanzhang.service.migrate import migrate
from tanzhang.stores.book.address import BookAddress
from tanzhang.stores.book.book import database_at
from tanzhang.stores.book.database import Database
from tanzhang.stores.book.schema import SCHEMA_REVISION, metadata
from tanzhang.stores.home import Home
from tanzhang.stores.migrations import HERE, revisions, upgrade

from ..homes import assert_verified, balance, box, new_home, on, settle_on, write

DIED = 77
NEXT = '''"""A table more, a column more: what a later release might add.

Revision ID: 4.1
"""

import sqlalchemy as sa
from alembic import op

revision = "4.1"
down_revision = "4.0"


def upgrade() -> None:
    op.create_table("added", sa.Column("id", sa.Integer(), primary_key=True))
    # On SQLite the whole table is written anew, and with it all its triggers go.
    again = "always" if op.get_bind().dialect.name == "sqlite" else "never"
    with op.batch_alter_table("posting", recreate=again) as table:
        table.add_column(sa.Column("remark", sa.Text()))
'''
CHILD = f"""
import os, sys
from pathlib import Path
from tanzhang.service.migrate import migrate
from tanzhang.stores import files
from tanzhang.stores.home import Home
home = Home(Path(sys.argv[1]), migrating=True)
files.on_write = lambda point, path: os._exit({DIED}) if point == sys.argv[3] else None
migrate(home, script=Path(sys.argv[2]))
"""


@pytest.fixture
def later(tmp_path: Path) -> Path:
    """The revisions of a later release."""
    script = Path(shutil.copytree(HERE, tmp_path / "migrations", ignore=shutil.ignore_patterns("__pycache__")))
    (script / "versions" / "r4_1.py").write_text(NEXT)
    return script


def structure(database: Database) -> dict[str, Any]:
    """Everything that a database says of its tables."""
    with database.engine.connect() as con:
        seen = sa.inspect(con)
        return {
            name: {
                "columns": [
                    {key: str(value) for key, value in column.items() if key != "comment"}
                    for column in seen.get_columns(name)
                ],
                "primary": seen.get_pk_constraint(name)["constrained_columns"],
                "unique": sorted(str(sorted(each["column_names"])) for each in seen.get_unique_constraints(name)),
                "checks": sorted(each["sqltext"] for each in seen.get_check_constraints(name)),
                "indexes": sorted((each["name"], str(each["column_names"])) for each in seen.get_indexes(name)),
            }
            for name in seen.get_table_names()
        }


def test_revisions_make_what_the_metadata_describe(place: Callable[[str], str | None], tmp_path: Path) -> None:
    databases = []
    for name, make in (("by_revisions", upgrade), ("by_metadata", metadata.create_all)):
        address = place(name)
        where = tmp_path / name if address is None else BookAddress.parse(address, where="test")
        database = database_at(where)
        with database.making() as con:
            make(con)
        databases.append(database)
    made, described = (structure(each) for each in databases)
    assert made == described, "run: python scripts/make_baseline.py; after the first release write a new revision"
    assert len(made) == len(metadata.tables) > 20
    with databases[0].engine.connect() as con:
        assert compare_metadata(MigrationContext.configure(con, opts={"compare_type": True}), metadata) == []
        assert con.scalar(sa.text("SELECT version_num FROM alembic_version")) == SCHEMA_REVISION


def test_the_last_revision_is_the_one_that_the_program_names() -> None:
    assert revisions()[-1].name == SCHEMA_REVISION


def test_a_program_of_before_goes_on_over_what_a_later_one_added(
    place: Callable[[str], str | None], quick: Path, later: Path
) -> None:
    old = new_home(quick / "home", book=place("expanded"))
    intake(old, write(quick / "one.ndjson", [box("one")]), now=on(6))
    settle_on(old, 8)
    said = migrate(Home(quick / "home", migrating=True), script=later)
    assert (said["status"], said["from"], said["to"]) == ("migrated", "4.0", "4.1")
    assert said["revisions"][0]["says"].startswith("A table more")
    intake(old, write(quick / "two.ndjson", [box("two")]), now=on(9))  # opened before, and still at work
    settle_on(old, 11)
    again = Home(quick / "home")
    assert balance(again, "cainiao", "anna") == 2 * 37_000
    assert_verified(again)
    for change in ("UPDATE posting SET amount = 1", "DELETE FROM posting", "UPDATE batch SET records = 9"):
        with pytest.raises((sa.exc.IntegrityError, TanzhangError)), again.book.transaction() as con:
            con.exec_driver_sql(change)
    assert migrate(again, script=later)["status"] == "current"
    assert migrate(again)["status"] == "current"  # the program of before, over the later schema


def test_a_dry_run_does_everything_and_leaves_nothing(
    place: Callable[[str], str | None], quick: Path, later: Path
) -> None:
    home = new_home(quick / "home", book=place("dry"))
    before = structure(home.book._database)
    said = migrate(home, dry_run=True, script=later)
    assert (said["status"], said["to"]) == ("would migrate", "4.1")
    assert home.book.revision() == "4.0"
    assert structure(home.book._database) == before
    assert_verified(home)


@pytest.mark.parametrize(("point", "revision"), [("before commit", "4.0"), ("after commit", "4.1")])
def test_a_crash_leaves_the_schema_of_before_or_the_new_one(
    place: Callable[[str], str | None], quick: Path, later: Path, point: str, revision: str
) -> None:
    home = new_home(quick / "home", book=place("crashed"))
    before = structure(home.book._database)
    home.book.close()
    command = [sys.executable, "-c", CHILD, quick / "home", later, point]
    assert subprocess.run(command, env=os.environ, check=False).returncode == DIED
    again = Home(quick / "home")
    assert again.book.revision() == revision
    assert (structure(again.book._database) == before) == (revision == "4.0")
    assert_verified(again)
    assert migrate(again, script=later)["to"] == "4.1"
    assert_verified(again)


def test_a_revision_that_fails_leaves_the_schema_of_before(
    place: Callable[[str], str | None], quick: Path, later: Path
) -> None:
    home = new_home(quick / "home", book=place("failing"))
    (later / "versions" / "r4_1.py").write_text(NEXT + '    raise ValueError("half way")\n')
    with pytest.raises(ValueError, match="half way"):
        migrate(home, script=later)
    assert home.book.revision() == "4.0"
    assert "added" not in structure(home.book._database)
    intake(home, write(quick / "one.ndjson", [box("one")]), now=on(6))
    settle_on(home, 8)
    assert_verified(home)
