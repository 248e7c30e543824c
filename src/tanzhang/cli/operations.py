"""``tanzhang migrate``, ``backup`` and ``restore``: what an operator does to a home as a whole."""

from __future__ import annotations

from typing import Annotated

import typer

from tanzhang.cli.common import AsJson, HomeOption, answer, answering, book_access, folder_of


def migrate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do it, say what it was, and undo it again.")] = False,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Bring the book to the schema of this program; older programs of the same major release go on working."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.migrate import migrate as service
        from tanzhang.stores.home import Home

        opened = Home(folder_of(home), book_access=book_access(), migrating=True)
        answer(as_json, service(opened, dry_run=dry_run), tree)
