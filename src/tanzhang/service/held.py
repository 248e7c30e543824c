"""What a person sees of their own acts that the guard holds, and the words they say to it.

An act is whoever's its platform account was on its day. The words are sealed like other personal fields, and only the
person and the operator read them.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from tanzhang.core.access import Actor, Role
from tanzhang.core.errors import refuse
from tanzhang.service.cursors import cursor_of, place_after
from tanzhang.service.guard import case_of, shown, shown_with_appeal, why_held
from tanzhang.service.joining import own_accounts
from tanzhang.service.links import spans_of
from tanzhang.service.moments import received_at
from tanzhang.stores.home import Home
from tanzhang.stores.register.guard import HELD, REFUSED, RELEASED, guard_case
from tanzhang.stores.register.people import place_of

LONGEST_APPEAL = 2_000
"""Characters of what a person says to a case."""
_TOLD = (HELD, REFUSED, RELEASED)


def own_held(home: Home, account: uuid.UUID) -> list[dict[str, Any]]:
    """A person's acts that were held, the latest first, with reasons, decision and the person's own words."""
    if not home.guard.is_used():
        return []
    con = home.connect()
    own = own_accounts(home, account)
    children = {str(each) for each in own}
    for each in own:
        children |= {child for child, *_ in spans_of(home, con, account=str(each))}
    rows = _owned(home, con, own, home.guard.of_children(children, _TOLD))
    return [shown_with_appeal(home, row) for row in reversed(rows)]


def _owned(home: Home, con: Any, own: Sequence[uuid.UUID], rows: Sequence[Any]) -> list[Any]:
    """Those of some cases whose act was one of these accounts' on its day."""
    accounts = {str(each) for each in own}
    consents = {child: spans_of(home, con, child=child) for child in {row.child for row in rows}}

    def owner(row: Any) -> str:
        for _, into, since, until in consents[row.child]:
            if since <= row.day and (until is None or row.day < until):
                return str(into)
        return str(row.child)

    return [row for row in rows if owner(row) in accounts]


def appeal(home: Home, account: uuid.UUID, action: uuid.UUID, text: str, *, now: datetime) -> dict[str, Any]:
    """Keep what a person says to an act of theirs that is held or was refused; said again, the last words stand.

    Raises ``unknown-action`` for an act that is nobody's or another's, ``appeal-malformed``.
    """
    words = text.strip()
    if not 0 < len(words) <= LONGEST_APPEAL:
        raise refuse(
            "appeal-malformed",
            f"{len(words)} characters cannot be kept",
            where="#/text",
            remedy=f"say in 1 to {LONGEST_APPEAL} characters why the act was as it was reported",
        )
    rows = _owned(home, home.connect(), own_accounts(home, account), home.guard.of_actions([str(action)]))
    if not rows:
        raise refuse(
            "unknown-action",
            f"no act {action} of yours is held",
            where="action",
            remedy="see your acts that are held: GET /v1/me/held",
        )
    keys = home.personal_keys
    sealed = {row.id: keys.seal(words, place_of(guard_case, "appeal", str(row.id))) for row in rows}
    actor = Actor(Role.PERSON, str(account), "own account")
    said = {"cases": sorted(sealed)}
    home.guard.appeal(
        sealed,
        received_at(now),
        lambda con: home.audit.write(
            con, actor, "guard appeal", f"{len(sealed)} cases", at=received_at(now), detail=said
        ),
    )
    return shown_with_appeal(home, case_of(home, rows[-1].id))


def queue(
    home: Home,
    *,
    state: str | None = HELD,
    partner: str | None = None,
    appealed: bool = False,
    cursor: str | None = None,
    limit: int = 50,
) -> dict[str, Any]:
    """Cases for the operator, the latest first; ``cursor-malformed``."""
    before = None if cursor is None else int(place_after(cursor, int)[0])
    rows = home.guard.page(state=state, partner=partner, appealed=appealed, before=before, limit=limit + 1)
    items = [{**shown(row), "why": why_held(row)} for row in rows[:limit]]
    return {"items": items, "next": cursor_of(rows[limit - 1].id) if len(rows) > limit else None}
