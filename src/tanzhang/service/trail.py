"""The audit trail as operators and auditors read it: dangerous acts, and looks of staff at persons' data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tanzhang.service.moments import received_at
from tanzhang.stores.home import Home


def dangerous_acts(
    home: Home,
    before: int | None,
    limit: int,
    *,
    actor: str | None = None,
    kind: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[dict[str, Any]]:
    """Rows of the trail below a number, the newest first, of moments ``[since, until)``.

    ``actor`` is whoever did it, as the row has it; ``kind`` an act, or its first words: ``key`` for all about keys.
    """
    rows = home.audit.page(before, limit, actor=actor, kind=kind, **_span(since, until))
    return [{**row._mapping, "detail": json.loads(row.detail)} for row in rows]


def looks_of_staff(
    home: Home,
    before: int | None,
    limit: int,
    *,
    actor: str | None = None,
    kind: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[dict[str, Any]]:
    """Who of the staff read or copied whose data, the newest first; as :func:`dangerous_acts`.

    Those are the rows that the person sees too; they go when the person is erased. ``kind`` is what was read, such as
    ``statement``. What people read of themselves is not among them.
    """
    rows = home.people.looks_of_staff(before, limit, who=actor, what=kind, **_span(since, until))
    return [dict(row._mapping) for row in rows]


def _span(since: datetime | None, until: datetime | None) -> Mapping[str, str | None]:
    return {
        "since": None if since is None else received_at(since),
        "until": None if until is None else received_at(until),
    }
