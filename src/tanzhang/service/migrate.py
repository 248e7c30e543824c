"""Bring a book to the schema that this program works on, while programs of the release before go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tanzhang.stores.book.revision import number_of
from tanzhang.stores.home import Home
from tanzhang.stores.migrations import HERE, revisions, upgrade


def migrate(home: Home, *, dry_run: bool = False, script: Path = HERE) -> dict[str, Any]:
    """Run what revisions are missing, in one transaction, under the home's lock; ``home-busy``.

    A ``dry_run`` does all of it and undoes it again. ``home`` was opened for migrating. A book that is further than
    this program is left as it is: whatever was added there is for newer ones.
    """
    known = revisions(script)
    with home.settling():
        before = home.book.revision() or ""
        missing = [each for each in known if (number_of(each.name) or (0, 0)) > (number_of(before) or (0, 0))]
        if missing:
            home.book.migrate(lambda con: upgrade(con, script), keep=not dry_run)
    said = "current" if not missing else "would migrate" if dry_run else "migrated"
    return {
        "status": said,
        "book": home.book.name,
        "from": before,
        "to": missing[-1].name if missing else before,
        "revisions": [{"revision": each.name, "says": each.says} for each in missing],
    }
