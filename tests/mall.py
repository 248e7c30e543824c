"""What tests of the mall share: offers, people with points, and orders."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from tanzhang.core.access import Actor, Role
from tanzhang.service.mall import Placed, Wanted, place
from tanzhang.service.offers import Offer, add_codes, add_offer, offer_of
from tanzhang.stores.home import Home

from .homes import grant_points, on

POINTS = "beijing_carbon_energy"
UNIT = f"points:{POINTS}"
OPERATOR = Actor(Role.OPERATOR, "op", "test")
MERCHANT = "cainiao"
NOW = on(8)
ADDRESS = {"name": "李娜", "phone": "+8613800000000", "address": "北京市东城区某街 1 号"}


def person(number: int) -> uuid.UUID:
    return uuid.UUID(int=number << 64)


def grant(home: Home, accounts: Iterable[uuid.UUID], amount: int, last: str = "2025-12-31") -> None:
    """Points that accounts were given; verification of points knows nothing of them."""
    grant_points(home, UNIT, *accounts, amount=amount, last=last, first="2025-01-01")


def said(name: str = "coffee", **more: Any) -> dict[str, Any]:
    """An offer's document: a voucher for 100 points by default."""
    kind = more.get("kind", "voucher")
    return {
        "id": name,
        "merchant": MERCHANT,
        "title": "A cup of coffee",
        "title_zh": "咖啡一杯",
        "kind": kind,
        "points": POINTS,
        "price_points": "100",
        "opens_at": "2025-06-01T00:00:00+08:00",
        "voucher_days": 7 if kind == "voucher" else None,
        **more,
    }


def offer(home: Home, name: str = "coffee", *, codes: int = 0, **more: Any) -> Offer:
    made = offer_of(said(name, **more))
    add_offer(home, made, actor=OPERATOR, now=NOW)
    if codes:
        text = "\n".join(f"{name}-{number:05d}" for number in range(codes))
        add_codes(home, name, text, actor=OPERATOR, now=NOW)
    return made


def buy(home: Home, account: uuid.UUID, name: str = "coffee", key: str | None = None, **more: Any) -> Placed:
    now: datetime = more.pop("now", NOW)
    wanted = Wanted(account, name, key or uuid.uuid4().hex, **more)
    return place(home, [wanted], now=now)[0]


def number(placed: Placed) -> str:
    assert placed.order is not None, placed.error
    return str(placed.order["order"])


def code(placed: Placed) -> str | None:
    return None if placed.error is None else placed.error.code


def usable(home: Home, account: uuid.UUID) -> int:
    return home.points.usable(UNIT, account, NOW.date())
