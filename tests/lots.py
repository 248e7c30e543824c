"""What tests of lots share: a home with a market, acts, who authorised, a lot that is frozen."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tanzhang.service.intake import intake
from tanzhang.service.market.authorise import authorise
from tanzhang.service.market.lots import LotSaid, draft, freeze
from tanzhang.service.market.terms import publish_terms
from tanzhang.stores.home import Home

from .homes import Event, on, settle_on, write
from .trading import OPERATOR

UNIT_MG = 1_000_000
"""A unit of the example rules: 1 kg, 28 boxes of 37 g."""
LATER = datetime(2026, 1, 15, 2, tzinfo=UTC)
"""When the year of the acts is over, and the notice of terms that were published in it."""


def report(home: Home, folder: Path, events: Iterable[Event], day: int = 7) -> None:
    """Take acts in and settle them on the following day of June 2025."""
    intake(home, write(folder / f"{uuid.uuid4()}.ndjson", events), now=on(day))
    settle_on(home, day + 1)


def entrusted(home: Home, *accounts: uuid.UUID, **more: Any) -> None:
    """The terms are public, and these accounts authorise all their acts of 2025."""
    publish_terms(home, actor=OPERATOR, now=on(2))
    for each in accounts:
        authorise(home, each, **{"since": on(1).date().replace(month=1), "now": on(9), **more})


def drafted(home: Home, reference: str = "d-1", **more: Any) -> int:
    """A draft of all acts of 2025 in Beijing; its number."""
    said = LotSaid(**{"reference": reference, "vintage": 2025, "region": "CN-110000", **more})
    return int(draft(home, said, actor=OPERATOR, now=LATER)["lot"][1:])


def frozen(home: Home, reference: str = "d-1", **more: Any) -> int:
    """A frozen lot of all that was authorised and nobody took; its number."""
    number = drafted(home, reference, **more)
    freeze(home, number, actor=OPERATOR, now=LATER)
    return number
