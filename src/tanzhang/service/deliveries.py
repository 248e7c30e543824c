"""What is kept of a request that reports came by, for both sides: its digest, its signature and its answer's digest."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from tanzhang.core.errors import refuse
from tanzhang.stores.home import Home
from tanzhang.stores.register.deliveries import inflated


def delivery_of(home: Home, number: int) -> dict[str, Any]:
    """A delivery; ``not-found`` also for one that the retention calendar has removed."""
    row = home.deliveries.row(number)
    if row is None:
        raise refuse(
            "not-found", f"there is no delivery {number}", where="delivery", remedy="list the partner's deliveries"
        )
    return _described(row)


def deliveries_of(home: Home, partner: str, key: str | None, before: int | None, limit: int) -> list[dict[str, Any]]:
    """A partner's deliveries below a number, the newest first; of one Idempotency-Key if one is named."""
    return [_described(row) for row in home.deliveries.page(partner, key, before, limit)]


def _described(row: Any) -> dict[str, Any]:
    """``answer_sha256`` null once the answer is forgotten, or was written anew without somebody who was erased."""
    return {
        "id": row.id,
        "partner": row.partner,
        "idempotency_key": row.key,
        "received_at": row.received_at,
        "request_sha256": row.request_digest,
        "rows": str(row.rows),
        "accepted": str(row.accepted),
        "answer_sha256": None if row.answer is None else hashlib.sha256(inflated(row.answer)).hexdigest(),
        "signature": None if row.signature is None else json.loads(row.signature),
    }
