"""What a merchant (商户) of the mall sees: goods that it has to send, and its settlement report (结算单) of a month."""

from __future__ import annotations

import csv
import io
import uuid
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tanzhang.core.access import Role
from tanzhang.core.errors import refuse
from tanzhang.core.order import Kind, State
from tanzhang.service.ledger import days_of
from tanzhang.service.mall import address_of
from tanzhang.service.moments import received_at
from tanzhang.service.privacy import note_staff
from tanzhang.stores.home import Home

FIGURES = ("placed", "delivered", "expired", "refunded", "points", "points_back", "paid_fen", "back_fen", "owed_fen")
"""Of one offer in one month: orders placed, delivered, expired unused and refunded; points spent and given back; money
that came in and has to be given back; what the merchant is owed for what it delivered."""


def goods_to_send(
    home: Home, merchant: str, after: str, limit: int, *, role: Role, who: str, now: datetime
) -> list[dict[str, Any]]:
    """Orders of goods that a merchant has to send, with where they go, by number after one.

    Every person can see that their address was read, and by whom.
    """
    rows = home.mall.orders_at(merchant, State.PAID, after, limit)
    for account in sorted({row.account for row in rows}):
        what = f"address of an order at {merchant}"
        note_staff(home, uuid.UUID(account), role=role, who=who, what=what, now=now)
    return [
        {"order": row.id, "offer": row.offer, "placed_at": row.placed_at, "address": address_of(home, row)}
        for row in rows
    ]


def settlement_report(home: Home, merchant: str, month: str) -> dict[str, Any]:
    """What a merchant's offers came to in a month of local days, and what it is owed; amounts as text.

    An order counts in the month in which each thing happened to it, so that a month that is over never changes.
    ``month-malformed``, ``unknown-partner``.
    """
    home.programme.check_partner(merchant)
    since, until = days_of(month)
    if not 2000 <= since.year < 3000:  # others are months, but no local day of theirs may be a moment in UTC
        raise refuse("month-malformed", f"nothing was sold in {month}", where="month", remedy="write it as 2025-06")
    zone = ZoneInfo(home.programme.time_zone)
    first, end = (received_at(datetime.combine(day, time(), zone)) for day in (since, until + timedelta(days=1)))
    found: dict[str, Counter[str]] = {}
    for row in home.mall.changes(merchant, first, end):
        own = found.setdefault(row.offer, Counter())
        for name, amount in _figures(row).items():
            own[name] += amount
    offers = [{"offer": name, **_texts(own)} for name, own in sorted(found.items())]
    totals: Counter[str] = Counter()
    for own in found.values():
        totals.update(own)
    return {
        "format": "tanzhang.settlement/1",
        "programme": home.programme.id,
        "merchant": merchant,
        "month": month,
        "offers": offers,
        "total": _texts(totals),
    }


def settlement_csv(home: Home, merchant: str, month: str) -> bytes:
    """The report of a month, one line an offer; amounts as whole numbers."""
    found = settlement_report(home, merchant, month)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, ["merchant", "month", "offer", *FIGURES], lineterminator="\n")
    writer.writeheader()
    for each in found["offers"]:
        writer.writerow({"merchant": merchant, "month": month, **each})
    return buffer.getvalue().encode()


def _figures(row: Any) -> dict[str, int]:
    """What so many orders of one kind that went from one state to another add to the figures of their offer."""
    count, points, owed = int(row.orders), int(row.points), int(row.settlement_fen)
    at_once = row.kind == Kind.CODE  # is delivered when it can be seen
    said: dict[str, int] = {}
    if row.before == State.PLACED:
        said |= {"placed": count, "points": points}
    if row.before == State.UNPAID and row.state in (State.PAID, State.ISSUED):
        said |= {"paid_fen": int(row.paid_fen)}
    if row.state == State.REDEEMED or (at_once and row.state == State.ISSUED):
        said |= {"delivered": count, "owed_fen": owed}
    if at_once and row.before == State.ISSUED and row.state == State.CANCELLED:
        said |= {"delivered": -count, "owed_fen": -owed}
    if row.state == State.EXPIRED and row.before == State.ISSUED:
        said |= {"expired": count}
    if row.state == State.REFUNDED:
        said |= {"refunded": count, "points_back": points, "back_fen": int(row.paid_fen)}
    return said


def _texts(figures: Mapping[str, int]) -> dict[str, str]:
    return {name: str(figures.get(name, 0)) for name in FIGURES}
