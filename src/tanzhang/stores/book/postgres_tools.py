"""PostgreSQL's own programs for copies of a schema. They come with its server or its client package."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tanzhang.core.errors import refuse
from tanzhang.stores.book.address import BookAddress
from tanzhang.stores.book.database import copy_failed

_FOLDERS = Path("/usr/lib/postgresql")  # where Debian has those of each version


def run_tool(name: str, place: BookAddress, options: list[str]) -> None:
    """Run one on a schema's database; owner and rights are left to whoever restores.

    The password goes by the environment, where no other user sees it. ``postgres-tools-missing``, ``book-copy-failed``.
    """
    named = place.without_password().url.render_as_string(hide_password=False)
    command = [_program(name), f"--dbname={named}", "--no-owner", "--no-privileges", "--no-password", *options]
    password = {} if place.url.password is None else {"PGPASSWORD": str(place.url.password)}
    done = subprocess.run(command, env=os.environ | password, capture_output=True, check=False)  # noqa: S603
    if done.returncode:
        raise copy_failed(f"{name} ended with {done.returncode}", done.stderr.decode("utf-8", "replace"), place.shown)


def _program(name: str) -> str:
    found = shutil.which(name)
    newest = sorted(_FOLDERS.glob(f"*/bin/{name}"), key=lambda path: -float(path.parent.parent.name))
    if found is None and not newest:
        raise refuse(
            "postgres-tools-missing",
            f"PostgreSQL's program {name} is not installed",
            where=name,
            remedy="install the client package of PostgreSQL, of the server's version or newer",
        )
    return found or str(newest[0])
