"""The outbox: what partners are told of, in messages that say how many, never who, and where the rows can be read.

A message is written in the transaction of what it tells of: a crash loses neither, and nothing is told that was not
booked. Sending them: :mod:`tanzhang.service.webhooks`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from tanzhang.engine.tally import merged
from tanzhang.service.moments import received_at
from tanzhang.stores.home import Home

TYPES = ("settled", "duplicate", "withdrawn", "linked", "erased", "redeemed", "held", "released")
_OUTCOMES = {
    "duplicate": ("duplicate_of", "overlap_of", "repeat", "conflict"),
    "withdrawn": ("withdrawn", "withdrawal"),
}
"""Which outcomes of records a type tells of; ``settled`` tells of all."""


def telling(
    home: Home, kind: str, partner: str, data: Mapping[str, Any], *, now: datetime
) -> Callable[[sa.Connection], None]:
    """What puts a message of a type of :data:`TYPES` into the outbox, to be called in the transaction it tells of.

    ``data`` must name no person.
    """
    if kind not in TYPES:
        raise ValueError(f"{kind} is no type of message")
    body = message_body(kind, {"programme": home.programme.id, "partner": partner, **data}, now)
    return lambda con: home.webhooks.tell(con, [(partner, kind, body)], received_at(now))


def telling_batch(
    home: Home, batch: int, through: str, tally: pa.Table, now: datetime
) -> Callable[[sa.Connection], None]:
    """What puts into the outbox what a batch decided, one message for each partner and type that it has records of."""
    counts: dict[str, dict[str, int]] = {}
    mg: dict[str, dict[str, int]] = {}
    for row in merged([tally], ("partner", "outcome", "kind")).to_pylist():
        if row["partner"] is None:
            continue
        own = counts.setdefault(row["partner"], {})
        own[row["outcome"]] = own.get(row["outcome"], 0) + row["records"]
        amounts = mg.setdefault(row["partner"], {})
        amounts[row["kind"]] = amounts.get(row["kind"], 0) + row["granted_mg"] - row["reversed_mg"]
    told = []
    for partner in sorted(counts):
        for kind in ("settled", *_OUTCOMES):
            of = {name: n for name, n in counts[partner].items() if kind == "settled" or name in _OUTCOMES[kind]}
            if of:
                data: dict[str, Any] = {
                    "programme": home.programme.id,
                    "partner": partner,
                    "batch": str(batch),
                    "through": through,
                    "records": str(sum(of.values())),
                    "outcomes": {name: str(n) for name, n in sorted(of.items())},
                    "rows": _rows_path(batch, None if kind == "settled" else sorted(of)),
                }
                if kind == "settled":
                    data["mg"] = {name: str(amount) for name, amount in sorted(mg[partner].items())}
                told.append((partner, kind, message_body(kind, data, now)))
    return lambda con: home.webhooks.tell(con, told, received_at(now))


def message_body(kind: str, data: Mapping[str, Any], now: datetime) -> str:
    """A message as JSON, the bytes that are signed."""
    return json.dumps({"type": kind, "timestamp": received_at(now), "data": data}, ensure_ascii=False)


def _rows_path(batch: int, outcomes: Sequence[str] | None) -> str:
    path = f"/v1/batches/{batch}/rows"
    return path if outcomes is None else f"{path}?outcome={','.join(outcomes)}"
