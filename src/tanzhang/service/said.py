"""Documents that an operator says, read from a YAML file: all of them or none, every mistake of the file at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.core.methodology import canonical_json
from tanzhang.service.moments import received_at
from tanzhang.stores.book import Book
from tanzhang.stores.yaml_text import load_yaml

D = TypeVar("D", bound=msgspec.Struct)
Id = Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9_.-]{0,63}$", examples=["forest_2026"])]
"""The id of a document that an operator says."""
Malformed = Callable[[str, str], TanzhangError]
"""The refusal of a document: message, where."""
Say = Callable[[Any, str, str, str], object]
"""In a transaction, what holds from now on: connection, id, canonical JSON, moment."""


def read_documents(
    path: Path, *, form: str, member: str, checked: Callable[[Any, str], D], malformed: Malformed
) -> dict[str, D]:
    """The documents of a file ``format: <form>`` with ``<member>:`` by id; ``checked`` reads one, told where it stands.

    ``file-missing``, what ``checked`` and ``malformed`` refuse, and what reading YAML refuses, all mistakes together.
    """
    if not path.is_file():
        raise refuse("file-missing", f"{path} is not there", where=str(path), remedy="name an existing file")
    document = load_yaml(path.read_text(encoding="utf-8"), path.name)
    data = document.data if isinstance(document.data, dict) else {}
    items = data.get(member)
    if data.get("format") != form or not isinstance(items, dict) or set(data) != {"format", member}:
        raise malformed(f"it is not 'format: {form}' and '{member}:' by id", document.where())
    found: dict[str, D] = {}
    problems: list[Problem] = []
    for name, said in items.items():
        where = document.where(member, name)
        try:
            found[check_id(name, where, malformed)] = checked(said, where)
        except TanzhangError as error:
            problems += error.problems
    if problems:
        raise TanzhangError(problems)
    return found


def check_id(name: Any, where: str, malformed: Malformed) -> str:
    """An id that documents may have."""
    try:
        return str(msgspec.convert(name, Id))
    except msgspec.ValidationError:
        raise malformed(f"{str(name)[:80]!r} is no id", where) from None


def say_documents(book: Book, found: Mapping[str, D], say: Say, *, now: datetime) -> dict[str, object]:
    """Say all documents in one transaction; what ``say`` answers, by id."""
    at = received_at(now)
    with book.transaction() as con:
        return {name: say(con, name, canonical_json(msgspec.to_builtins(said)), at) for name, said in found.items()}
