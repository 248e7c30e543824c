"""Which badges (徽章) of its programme a person has, and how far they have come with the others.

Worked out from confirmed records each time, so it needs no store of its own and follows what is taken back or erased.
"""

from __future__ import annotations

import uuid
from typing import Any

from tanzhang.core.badge import reached
from tanzhang.core.errors import refuse
from tanzhang.service.joining import own_accounts
from tanzhang.service.reading import Reader
from tanzhang.stores.badges import badge

STATE = "confirmed"


def badges_of(reader: Reader, account: uuid.UUID) -> dict[str, Any]:
    """Each badge of the programme: what it needs, how much of it is reached, and the local day on which it was.

    Amounts are text; those of a total are mg. Acts booked in accounts that are joined to the person's count too.
    ``badges-unnamed`` where the programme has none.
    """
    programme, catalogue = reader.home.programme, reader.home.catalogue
    if not programme.badges:
        raise refuse(
            "badges-unnamed",
            f"programme {programme.id} names no badges",
            where=f"programme {programme.id}",
            remedy="list some under badges of the programme",
        )
    done = reader.done(*own_accounts(reader.home, account))
    items = []
    for name in programme.badges:
        each = badge(catalogue, name)
        found = reached(each, done)
        items.append(
            {
                "id": each.id,
                "title": {"en": each.title, "zh": each.title_zh},
                "rule": each.rule,
                "among": None if each.among is None else sorted(each.among),
                "needed": str(each.needed),
                "reached": str(found.reached),
                "on": None if found.on is None else found.on.isoformat(),
                "status": each.status,
                "source": each.source,
            }
        )
    return {"programme": programme.id, "rehearsal": programme.rehearsal, "state": STATE, "items": items}
