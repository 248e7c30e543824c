"""``tanzhang migrate``, ``backup`` and ``restore``: what an operator does to a home as a whole."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from tanzhang.cli.common import AsJson, HomeOption, answer, answering, book_access, folder_of, home_of, now
from tanzhang.core.errors import refuse


def migrate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do it, say what it was, and undo it again.")] = False,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Bring the book to the schema of this program."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.migrate import migrate as service
        from tanzhang.stores.home import Home

        opened = Home(folder_of(home), book_access=book_access(), migrating=True)
        answer(as_json, service(opened, dry_run=dry_run), tree)


PASSPHRASE_VARIABLE = "TANZHANG_BACKUP_PASSPHRASE"  # noqa: S105 - the name of a variable


def backup(
    to: Annotated[
        Path | None, typer.Option("--to", help="Folder for the backups of this home, on another disk.")
    ] = None,
    list_: Annotated[
        Path | None, typer.Option("--list", help="Only say which backups a folder has, the last one first.")
    ] = None,
    with_keys: Annotated[
        bool,
        typer.Option("--with-keys", help="Put the secret keys in, locked with a passphrase that is asked for."),
    ] = False,
    keep: Annotated[int | None, typer.Option("--keep", min=1, help="Remove all but the last so many.")] = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Back the home up while it is used."""
    with answering(as_json):
        from tanzhang.cli.progress import progress_line
        from tanzhang.cli.show import tree
        from tanzhang.service.backup import backup as service
        from tanzhang.service.backup import backups_in

        if list_ is not None and to is None:
            answer(as_json, {"folder": str(list_), "backups": backups_in(list_)}, tree)
            return
        if to is None or list_ is not None:
            remedy = "give --to FOLDER to make one, or --list FOLDER to see which there are"
            raise refuse("backup-unnamed", "no folder of backups is named, or two", where="--to", remedy=remedy)
        opened, passphrase = home_of(home), _passphrase(confirm=True) if with_keys else None
        with progress_line("backup") as progress:
            said = service(opened, to, now=now(), passphrase=passphrase, keep=keep, progress=progress)
        answer(as_json, said, tree)


def restore(
    from_: Annotated[Path, typer.Option("--from", help="Folder that backups were made to.")],
    to: Annotated[Path, typer.Option("--to", help="New folder for the home.")],
    name: Annotated[str | None, typer.Option("--backup", help="Which one (default: the last).")] = None,
    with_keys: Annotated[
        bool, typer.Option("--with-keys", help="Take the secret keys out of the backup; its passphrase is asked for.")
    ] = False,
    keys: Annotated[
        Path | None, typer.Option("--keys", help="Folder with the secret keys, such as keys of the home.")
    ] = None,
    book: Annotated[
        str | None, typer.Option("--book", help="postgresql://user@host/database for a book from PostgreSQL.")
    ] = None,
    storage: Annotated[
        str | None, typer.Option("--storage", help="New place for the files, as 'tanzhang init' takes it.")
    ] = None,
    published: Annotated[
        Path | None,
        typer.Option("--published", help="The newest checkpoint that anybody has; an older log is refused."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a home again from a backup; nothing is signed."""
    with answering(as_json):
        from tanzhang.cli.progress import progress_line
        from tanzhang.cli.show import tree
        from tanzhang.service.backup import checkpoint_given
        from tanzhang.service.backup import restore as service

        passphrase = _passphrase(confirm=False) if with_keys else None
        seen = None if published is None else checkpoint_given(published)
        with progress_line("restore") as progress:
            said = service(
                from_,
                to,
                name=name,
                passphrase=passphrase,
                keys=keys,
                book=book,
                storage=storage,
                published=seen,
                progress=progress,
            )
        answer(as_json, said, tree)


def _passphrase(*, confirm: bool) -> str:
    """From the environment, or asked for on the terminal; ``passphrase-missing`` where there is none to ask."""
    given = os.environ.get(PASSPHRASE_VARIABLE)
    if given:
        return given
    if not sys.stdin.isatty():
        raise refuse(
            "passphrase-missing",
            "no passphrase is given, and there is nobody to ask",
            where=PASSPHRASE_VARIABLE,
            remedy=f"set {PASSPHRASE_VARIABLE}, or run the command in a terminal",
        )
    return str(typer.prompt("Passphrase of the keys", hide_input=True, confirmation_prompt=confirm, err=True))
