"""Which schemas of a book this program works on: see :mod:`tanzhang.stores.migrations`."""

from __future__ import annotations

import re

from tanzhang.core.errors import refuse
from tanzhang.stores.book.schema import SCHEMA_REVISION

FIRST_VERSION = 4
"""Books made before it had no revisions, and are not read."""
_NAME = re.compile(r"(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})")


def check_revision(made_as: str | None, revision: str | None, where: str, *, migrating: bool) -> None:
    """Refuse a book of another major revision (``schema-unknown``), or an older minor one (``schema-outdated``).

    ``made_as`` is what the book says of its making, ``revision`` what it has come to. Older ones pass if ``migrating``.
    """
    own, found = number_of(SCHEMA_REVISION), number_of(revision or "")
    made = int(made_as) if made_as is not None and re.fullmatch("[0-9]{1,6}", made_as) else 0
    known = own is not None and found is not None and FIRST_VERSION <= made <= own[0]
    if not known or found is None or own is None or found[0] > own[0]:
        named = f"schema version {made_as}, revision {revision}" if revision else f"schema version {made_as}"
        raise refuse(
            "schema-unknown",
            f"the book has {named}; this program works on revision {SCHEMA_REVISION}",
            where=where,
            remedy="use the version of Tanzhang that made it, or a newer one",
        )
    if found < own and not migrating:
        raise refuse(
            "schema-outdated",
            f"the book has revision {revision} of the schema; this program needs {SCHEMA_REVISION}",
            where=where,
            remedy="make a backup, then run 'tanzhang migrate'",
        )


def number_of(revision: str) -> tuple[int, int] | None:
    """Major and minor of a revision's name; None if it is none."""
    found = _NAME.fullmatch(revision)
    return None if found is None else (int(found[1]), int(found[2]))
