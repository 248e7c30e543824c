"""How the book's schema changes: revisions in order, run by Alembic, ``<major>.<minor>`` each.

A minor revision only adds (tables, indexes, columns that may be null), so that programs of the release before go on
working over it: they open a book of their own major and of their own minor or a later one. What takes away is a major
revision, one release later. Chained tables never change, since their rows are hashed as they are; new facts get tables
of their own. A migration is one transaction, guards included, so a crash leaves the old schema or the new one.

``versions/r4_0.py`` is the schema of the first release; until then ``scripts/make_baseline.py`` writes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Revision:
    """A state of the schema, and what was done to get there."""

    name: str
    says: str


def revisions(script: Path = HERE) -> list[Revision]:
    """Every revision of a folder of them, the first one first."""
    found = [Revision(each.revision, each.doc) for each in _scripts(script).walk_revisions()]
    return found[::-1]


def upgrade(con: sa.Connection, script: Path = HERE) -> None:
    """Bring the book to the last revision, in somebody's transaction; a new database gets its tables by it."""
    from alembic import command

    config = _config(script)
    config.attributes["connection"] = con
    command.upgrade(config, "head")


def _scripts(script: Path) -> Any:
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(_config(script))


def _config(script: Path) -> Any:
    from alembic.config import Config  # the better part of a second to load, for this one command

    config = Config()
    config.set_main_option("script_location", str(script).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
