"""What tests of the market share: parties that are approved, and what is said of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from tanzhang.core.access import Actor, Role
from tanzhang.service.market.parties import PartySaid, add_document, apply, judge_document, set_state
from tanzhang.stores.home import Home

from .homes import on

OPERATOR = Actor(Role.OPERATOR, "root", "command line")
ACCOUNT = "6222 0000 0001"


def party_said(**more: Any) -> PartySaid:
    """What a party says of itself."""
    said = {"title": "Example Steel", "kind": "enterprise", "contact": {"name": "Li Na"}, "bank_account": ACCOUNT}
    return msgspec.convert({**said, **more}, PartySaid)


def approved(home: Home, name: str, *, now: datetime | None = None, **more: Any) -> str:
    """A party that may act; its id."""
    moment = now or on(2)
    apply(home, name, party_said(**more), actor=OPERATOR, now=moment)
    kept = add_document(home, name, "business_licence", "licence.pdf", name.encode(), actor=OPERATOR, now=moment)
    judge_document(home, name, kept["digest"], accepted=True, note=None, actor=OPERATOR, now=moment)
    set_state(home, name, "approved", note=None, actor=OPERATOR, now=moment)
    return name
