"""What every command shares: its common options, how it answers, and how what goes wrong is said."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from tanzhang.core.errors import TanzhangError, refuse

if TYPE_CHECKING:
    from tanzhang.stores.catalogue import Catalogue
    from tanzhang.stores.home import Home

Said = TypeVar("Said")
AsJson = Annotated[bool, typer.Option("--json", help="Answer as JSON.")]
AccountArgument = Annotated[str, typer.Argument(metavar="ID", help="Account id, or PARTNER:SUBJECT.")]
HomeOption = Annotated[Path | None, typer.Option("--home", envvar="TANZHANG_HOME", help="Folder of the programme.")]
Overlays = Annotated[
    list[Path] | None, typer.Option("--catalogue", help="Folder of your own catalogue files over the shipped ones.")
]
Region = Annotated[str, typer.Option("--region", help="CN, or CN- and six digits of GB/T 2260.")]
Evidence = Annotated[
    str, typer.Option("--evidence", help="The document that it rests on, whose digest is kept; or its SHA-256.")
]
Day = Annotated[str, typer.Option("--on", help="Local day of the act, YYYY-MM-DD.")]


@contextmanager
def answering(as_json: bool) -> Iterator[None]:
    """Turn a coded error into its message and exit code 1."""
    try:
        yield
    except TanzhangError as error:
        fail(error, as_json)


def fail(error: TanzhangError, as_json: bool) -> NoReturn:
    """Say what went wrong and end with 1."""
    say(error, as_json)
    raise typer.Exit(1)


def say(error: TanzhangError, as_json: bool) -> None:
    """Print what went wrong: as JSON, or as its message on standard error."""
    if as_json:
        problems = [problem.as_dict() for problem in error.problems]
        print(json.dumps({"status": "error", **problems[0], "problems": problems}, ensure_ascii=False, indent=2))
    else:
        from tanzhang.cli.show import printable

        print(printable(str(error)), file=sys.stderr)


def answer(as_json: bool, result: dict[str, Any], render: Any) -> None:
    """Print an answer: as JSON, or as ``render`` shows it."""
    if as_json:
        print(json.dumps(result, ensure_ascii=False, indent=2))
    else:
        render(result)


def now() -> datetime:
    """The moment, in UTC."""
    return datetime.now(UTC)


def converted(said: dict[str, Any], kind: type[Said]) -> Said:
    """What options say, as the service takes it; ``options-malformed``."""
    import msgspec

    try:
        return msgspec.convert(said, kind)
    except msgspec.ValidationError as error:
        raise refuse("options-malformed", str(error), where="options", remedy="see --help") from None


def digest_of(evidence: str) -> str:
    """The digest of a document that is named by its file or by that digest; ``file-missing``."""
    if re.fullmatch("[0-9a-f]{64}", evidence):
        return evidence
    return hashlib.sha256(content_of(Path(evidence))).hexdigest()


def content_of(file: Path) -> bytes:
    """What is in a file that was named; ``file-missing``."""
    if not file.is_file():
        raise refuse("file-missing", f"{file} is not there", where=str(file), remedy="name an existing file")
    return file.read_bytes()


def check_new(out: Path) -> None:
    """Refuse a file that is there already; ``export-exists``."""
    if out.exists():
        raise refuse("export-exists", f"{out} is there already", where="--out", remedy="name a new file")


def write_new(out: Path, data: bytes) -> None:
    """Write a file that nobody else may read, and that is not there yet; ``export-exists``."""
    check_new(out)
    out.touch(mode=0o600)
    out.write_bytes(data)


def vkey_of(key: str) -> str:
    """A verifier key as it was given, or out of the file that holds it."""
    held = Path(key)
    return held.read_text(encoding="ascii", errors="replace").strip() if "+" not in key and held.exists() else key


def folder_of(home: Path | None) -> Path:
    """The folder that was named; ``home-unnamed``."""
    if home is None:
        raise refuse("home-unnamed", "no home is named", where="--home", remedy="give --home DIR, or set TANZHANG_HOME")
    return home


def looked_at(home: Home, account: str, what: str, *, moment: datetime | None = None) -> uuid.UUID:
    """The account that was named, once it is kept that the operator looks at it; ``unknown-account`` and its like."""
    from tanzhang.service.accounts import account_named
    from tanzhang.service.privacy import note_operator

    own = account_named(home, account)
    note_operator(home, own, what, now=moment or now())
    return own


def home_of(home: Path | None) -> Home:
    """The home that was named."""
    from tanzhang.stores.home import Home

    return Home(folder_of(home), book_access=book_access())


def home_to_close(home: Path | None) -> Home:
    """The home that was named, for what rests on days being over; ``clock-ahead``."""
    from tanzhang.service.moments import check_not_ahead

    opened = home_of(home)
    check_not_ahead(opened, now())
    return opened


def book_access() -> str | None:
    """How the book on PostgreSQL is reached, where that is not in the home: see docs/postgresql.md."""
    from tanzhang.stores.home import ACCESS_VARIABLE

    return os.environ.get(ACCESS_VARIABLE) or None


def catalogue_of(overlays: list[Path] | None) -> Catalogue:
    """The shipped catalogue under the folders that were named."""
    from tanzhang.stores.catalogue import Catalogue

    return Catalogue(*(overlays or ()))


def day_of(text: str, option: str) -> date:
    """A day that was given to an option; ``day-malformed``."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    if day is None or day.isoformat() != text:
        raise refuse(
            "day-malformed", f"{text!r} is not a day", where=option, remedy="write an existing day as YYYY-MM-DD"
        )
    return day
