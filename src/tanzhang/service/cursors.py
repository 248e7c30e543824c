"""Cursors of lists: where a page ended, as a text that callers send back and need not understand."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from tanzhang.core.errors import TanzhangError, refuse

_MOST = 1 << 63


def cursor_of(*place: int | str) -> str:
    """The cursor of what comes after a place in a list.

    >>> place_after(cursor_of("2025-06-05", 7), str, int)
    ('2025-06-05', 7)
    """
    return base64.urlsafe_b64encode(json.dumps(place, separators=(",", ":")).encode()).decode().rstrip("=")


def place_after(cursor: str, *kinds: type[int] | type[str]) -> tuple[Any, ...]:
    """The place that a cursor goes on after, of values of these kinds; ``cursor-malformed`` for what is none."""
    try:
        found = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        found = None
    if (
        not isinstance(found, list)
        or [type(each) for each in found] != [*kinds]
        or any(abs(each) >= _MOST for each in found if isinstance(each, int))
    ):
        raise malformed()
    return tuple(found)


def malformed() -> TanzhangError:
    """The refusal of a cursor that the list did not give."""
    return refuse(
        "cursor-malformed",
        "this is no cursor of this list",
        where="query: cursor",
        remedy="send 'next' of the page before as it was given, or no cursor for the first page",
    )
