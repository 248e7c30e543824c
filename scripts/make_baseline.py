"""Write the revision that makes the tables of a new book, from the metadata, until the first release freezes it.

``python scripts/make_baseline.py``. From then on the file stays as it is, and a change of tables is a revision of its
own beside it; a test compares what all revisions make with what the metadata describe.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import sqlalchemy as sa
from alembic.autogenerate import produce_migrations, render_python_code
from alembic.migration import MigrationContext

import tanzhang.stores.home  # noqa: F401 - brings the tables of the register with it
from tanzhang.stores.book.schema import metadata
from tanzhang.stores.migrations import HERE

BASELINE = HERE / "versions" / "r4_0.py"
_NAMED = {
    "TEXT": "sa.Text().with_variant(sa.Text(collation='C'), 'postgresql')",
    "NUMBER": "sa.BigInteger().with_variant(sa.Integer(), 'sqlite')",
}
_HEAD = '''"""Schema 4, of the first release: every table of a new book.

Revision ID: 4.0
Written by scripts/make_baseline.py.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "4.0"
down_revision = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables."""
'''


def baseline() -> str:
    """The revision as the metadata are now, before it is formatted."""
    with sa.create_engine("sqlite://").connect() as con:
        made = produce_migrations(MigrationContext.configure(con), metadata)
    if made.upgrade_ops is None:
        raise RuntimeError("the metadata describe no table")
    body = render_python_code(made.upgrade_ops, migration_context=MigrationContext.configure(dialect_name="sqlite"))
    for name, spelled in _NAMED.items():
        body = body.replace(spelled, name)
    lines = [line for line in body.splitlines() if not line.strip().startswith("# ###")]
    return _HEAD + "\n".join(line if line.startswith("    ") else f"    {line}" for line in lines) + "\n"


def formatted(text: str) -> str:
    """A Python text in the repository's one format."""
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(BASELINE), "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout  # noqa: S603


def main() -> None:
    """Write the revision."""
    Path(BASELINE).write_text(formatted(baseline()), encoding="utf-8")


if __name__ == "__main__":
    main()
