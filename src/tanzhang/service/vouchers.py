"""Vouchers (核销券): their text and picture for whoever ordered, and the one time that a merchant takes each.

The secret of a voucher is made from the home's identity key and the order's number, and kept nowhere: a copy of the
book shows no voucher.
"""

from __future__ import annotations

import hmac
import json
from datetime import datetime
from typing import Any

import segno
import sqlalchemy as sa

from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.order import SECRET_LENGTH, Kind, State, crockford, read_voucher, voucher_text
from tanzhang.service.mall import change
from tanzhang.service.moments import received_at
from tanzhang.service.outbox import telling
from tanzhang.service.secrets import derived_secret
from tanzhang.stores.home import Home
from tanzhang.stores.register.mall import mall_code
from tanzhang.stores.register.people import place_of


def what_it_brings(home: Home, row: Any) -> dict[str, str]:
    """What an order's owner has of it: ``code`` of a pool, or the ``voucher`` to show; nothing before it is issued.

    A voucher that was used, has expired or was taken back is not shown any more; a code is, since it was seen.
    """
    if row.kind == Kind.CODE and row.state != State.UNPAID:
        code = home.mall.code_of(row.id)
        if code is not None:
            return {"code": home.personal_keys.open(code.sealed, place_of(mall_code, "sealed", code.hash))}
    if row.kind == Kind.VOUCHER and row.state == State.ISSUED:
        return {"voucher": voucher_text(row.id, _secret(home, row.id))}
    return {}


def voucher_qr(home: Home, row: Any) -> dict[str, str]:
    """The text of a voucher and its QR code as SVG; ``voucher-missing`` where the order has none to show."""
    text = what_it_brings(home, row).get("voucher")
    if text is None:
        raise refuse(
            "voucher-missing",
            f"order {row.id} is {row.state}, and has no voucher to show",
            where="order",
            remedy="show a voucher before it is used or expires",
        )
    return {"text": text, "svg": segno.make(text.replace("-", ""), error="q").svg_inline(scale=4)}


def check_voucher(home: Home, merchant: str, text: str, *, now: datetime) -> dict[str, Any]:
    """What a voucher is for, without taking it; refuses what :func:`redeem` would."""
    with home.book.reading() as con:
        return _described(home, _good(home, con, merchant, text, now))


def redeem(home: Home, merchant: str, text: str, *, by: str, now: datetime) -> dict[str, Any]:
    """Take a voucher, once: its merchant has to deliver now, and is told so.

    ``voucher-malformed``, ``voucher-unknown`` (also another merchant's), ``voucher-redeemed`` with when,
    ``voucher-expired``, ``voucher-cancelled``.
    """
    with home.book.transaction() as con:
        row = _good(home, con, merchant, text, now)
        change(home, con, row, State.REDEEMED, by=by, now=now)
        telling(home, "redeemed", merchant, {"order": row.id, "offer": row.offer}, now=now)(con)
    return {**_described(home, row), "state": State.REDEEMED.value, "redeemed_at": received_at(now)}


def _good(home: Home, con: sa.Connection, merchant: str, text: str, now: datetime) -> Any:
    """The order of a voucher that can be taken now."""
    number, secret = read_voucher(text)
    row = home.mall.orders_in(con, [number]).get(number)
    is_right = hmac.compare_digest(secret, _secret(home, number))
    if row is None or not is_right or row.kind != Kind.VOUCHER or row.merchant != merchant:
        raise refuse(
            "voucher-unknown",
            "this is no voucher of yours",
            where="voucher",
            remedy="see whether it is for another merchant",
        )
    if row.state == State.REDEEMED:
        raise _wrong("voucher-redeemed", f"this voucher was taken at {row.changed_at}")
    if row.state == State.ISSUED and row.valid_until >= received_at(now):
        return row
    if row.state in (State.ISSUED, State.EXPIRED):
        raise _wrong("voucher-expired", f"this voucher was good until {row.valid_until}")
    raise _wrong("voucher-cancelled", f"this voucher is {row.state}")


def _described(home: Home, row: Any) -> dict[str, Any]:
    offer = home.mall.offer(row.offer)
    document = {} if offer is None else json.loads(offer.document)
    titles = {name: document.get(name) for name in ("title", "title_zh")}
    return {"order": row.id, "offer": row.offer, **titles, "state": row.state, "valid_until": row.valid_until}


def _secret(home: Home, number: str) -> str:
    return crockford(derived_secret(home, "mall voucher", number), SECRET_LENGTH)


def _wrong(code: str, message: str) -> TanzhangError:
    return refuse(code, message, where="voucher", remedy="deliver nothing for it")
