"""What a signed-in person sees of their own: the account, its records one by one and why each is so, its shares.

An account's records are those booked in it and in accounts that are joined to it; each is explained by the plan that it
names, so nothing shown comes from a second computation. ``reader`` is one of the home that is kept.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from datetime import datetime
from typing import Any

import segno

from tanzhang.core.donation import DONATED
from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.passing import PASSED, RECEIVED
from tanzhang.core.record import UNIT_OF_KIND
from tanzhang.service.export import explained
from tanzhang.service.grading import grade_account
from tanzhang.service.joining import own_accounts
from tanzhang.service.moments import received_day
from tanzhang.service.reading import MOST, Reader, Settled
from tanzhang.stores.home import Home

MOST_AT_ONCE = MOST


def overview(reader: Reader, account: uuid.UUID, *, now: datetime) -> dict[str, Any]:
    """The account, what it holds by unit, what of it was given away and what came from joined accounts, and its grade.

    ``passed_mg`` went to other schemes, ``received_mg`` came from them and is no reduction of this programme.
    ``in_lots_mg`` is in lots that were frozen. ``available_mg`` is what can still be given; below zero if acts were
    taken back whose grams had been used.
    """
    home = reader.home
    own = own_accounts(home, account)
    in_lots_mg = sum(home.lots.share_of(own).values())
    held, transferred = reader.balance(account), home.book.transferred(account)
    given_mg, passed_mg = transferred.pop(DONATED, 0), transferred.pop(PASSED, 0)  # below zero
    received_mg = transferred.pop(RECEIVED, 0)
    return {
        "account": str(account),
        "programme": home.programme.id,
        "rehearsal": home.programme.rehearsal,
        "held": {unit: str(held.get(unit, 0)) for unit in UNIT_OF_KIND.values()},
        "donated_mg": str(-given_mg),
        "passed_mg": str(-passed_mg),
        "received_mg": str(received_mg),
        "in_lots_mg": str(in_lots_mg),
        "available_mg": str(held.get("co2e_mg", 0) + given_mg + passed_mg - in_lots_mg),
        "transferred": {unit: str(amount) for unit, amount in sorted(transferred.items())},
        "accounts": [str(each) for each in own[1:]],
        "grade": _grade(home, account, now),
    }


def _grade(home: Home, account: uuid.UUID, now: datetime) -> dict[str, Any]:
    """The grade of this month, or the code of why there is none: a thing that could not be computed is not zero."""
    try:
        return grade_account(home, account, received_day(home, now))
    except TanzhangError as error:
        return {"status": error.code, "grade": None}


def own_statement(reader: Reader, account: uuid.UUID) -> dict[str, Any]:
    """The statement of an account and of each that is joined to it; one of which nothing is known yet is left out."""
    found = []
    for own in own_accounts(reader.home, account):
        try:
            found.append(reader.statement(own))
        except TanzhangError as error:
            if error.code not in ("unknown-account", "account-erased"):
                raise
    return {"account": str(account), "programme": reader.home.programme.id, "accounts": found}


def own_records(
    reader: Reader, account: uuid.UUID, *, kind: str | None = None, cursor: str | None = None, limit: int = 50
) -> dict[str, Any]:
    """Settled records, the latest first; ``kind`` is reduction or emission. ``cursor-malformed``."""
    return reader.records(*own_accounts(reader.home, account), kind=kind, cursor=cursor, limit=limit)


def own_record(reader: Reader, account: uuid.UUID, action: uuid.UUID) -> dict[str, Any]:
    """One record with its methodology and the steps of its computation; ``unknown-action`` if it is not one's own."""
    found = _own(reader, account, action)
    plans = reader.home.book.plans() if found.record.plan is not None else {}
    said = explained(found.batch, found.number, found.record, plans)
    if found.record.plan is not None:
        said["plan_document"] = json.loads(plans[found.record.plan])
    return said


def check_own(reader: Reader, account: uuid.UUID, action: uuid.UUID) -> None:
    """Refuse an action that is not one's own as one that is not there: ``unknown-action``."""
    _own(reader, account, action)


def _own(reader: Reader, account: uuid.UUID, action: uuid.UUID) -> Settled:
    found = reader.settled(action)
    if found is not None and found.record.account in own_accounts(reader.home, account):
        return found
    raise refuse(
        "unknown-action",
        f"no settled record of action {action} is yours",
        where="action",
        remedy="see your records; what is open yet is in your statement",
    )


# -- receipts as pictures -------------------------------------------------------------------------------------

_MOST_IN_QR = 1_900
"""Bytes; a QR code holds 2,953 at most (ISO/IEC 18004, version 40-L), and phones read such a dense one badly."""


def receipt_qr(receipt: bytes) -> dict[str, str]:
    """A QR code of a receipt: what it ``holds``, its ``text`` and the picture."""
    digest = hashlib.sha256(receipt).hexdigest()
    holds, text = "digest", f"urn:sha256:{digest}"
    if len(receipt) <= _MOST_IN_QR:
        holds, text = "receipt", receipt.decode()
    return {"holds": holds, "text": text, "sha256": digest, "svg": segno.make(text, error="m").svg_inline(scale=4)}
