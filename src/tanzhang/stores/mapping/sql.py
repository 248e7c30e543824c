"""Pieces of SQL text that the other modules share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from tanzhang.engine.kernel import quote

_SHOWN = 60  # characters of a foreign value that a message repeats


def texts(values: Iterable[object]) -> str:
    """Values as literals of text, with commas between."""
    return ", ".join(quote(str(value)) for value in values)


def quoted(name: str) -> str:
    """A name as an identifier."""
    return '"' + name.replace('"', '""') + '"'


def file_sql(path: Path) -> str:
    """A path as text, with the signs that DuckDB would take for a pattern made plain."""
    return quote(re.sub(r"([*?\[])", r"[\1]", str(path)))


def shown(value: str, words: str) -> str:
    """A message: the beginning of a foreign value, then our words."""
    return f"left({value}, {_SHOWN}) || {quote(words)}"


def replaced(value: str, changes: Mapping[str, str]) -> str:
    """The value, or what it is changed to as a whole."""
    cases = " ".join(f"WHEN {quote(old)} THEN {quote(new)}" for old, new in changes.items())
    return f"(CASE {value} {cases} ELSE {value} END)"
