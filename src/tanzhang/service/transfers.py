"""Points to points of a bank, in two phases: reserved here, booked there, then confirmed here or given back.

A transfer has one id for good. The bank is asked with it, again and again while its answer is not known, and books it
once: 2xx (but 202) means booked, now or before; 422 that it is refused for good and nothing was or will be booked.
Whatever else comes back, or nothing, leaves the transfer pending. Requests are signed (RFC 9421), go to public
addresses alone, and of the answer nothing but its status is read.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import random
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from http_message_signatures import HTTPMessageSigner, MappingKeyResolver, algorithms

from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.service.benefits import Bank, BankPoints, give_back, offer_named, read_offer
from tanzhang.service.moments import received_at
from tanzhang.service.secrets import derived_secret
from tanzhang.stores.home import Home
from tanzhang.stores.outgoing import Outgoing, UnreachableError
from tanzhang.stores.register.benefits import CONFIRMED, PENDING, benefit_use
from tanzhang.stores.register.people import place_of

RETRIES = tuple(timedelta(seconds=s) for s in (5, 30, 300, 1_800, 3_600))
"""How long after an attempt without an answer the next one is made, give or take a tenth; the last for good."""
_ASKING = timedelta(minutes=10)
"""After so long another one asks in place of a process that died while it asked."""
_AT_ONCE = 20
_REFUSED = 422
_COVERED = ("@method", "@target-uri", "content-digest", "content-type")


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)


def settle_transfers(home: Home, *, now: datetime, client: Outgoing | None = None) -> dict[str, int]:
    """Ask banks about transfers that are due; how many were confirmed, refunded, and are still pending of those.

    Any number of processes may do this at once, and any may die at any point.
    """
    counts = {"confirmed": 0, "refunded": 0, "pending": 0}
    rows = home.benefits.claim(PENDING, received_at(now), received_at(now + _ASKING), _AT_ONCE)
    if rows:
        sender = client or Outgoing()
        for row in rows:
            status, why = _asked(home, sender, row, now)
            counts[_ended(home, row, status, why, now)] += 1
    return counts


def _asked(home: Home, sender: Outgoing, row: Any, now: datetime) -> tuple[int | None, str | None]:
    """The status of a bank's answer, or why there is none."""
    offer = offer_named(home, row.benefit, row.version)[1]
    if not isinstance(offer, BankPoints):
        raise AssertionError(f"use {row.id} is pending, and no transfer")
    body = json.dumps(
        {
            "id": row.id,
            "programme": home.programme.id,
            "member": home.personal_keys.open(row.payee, place_of(benefit_use, "payee", row.id)),
            "points": str(row.value),
            "day": row.day,
        }
    ).encode()
    request = _Request("POST", offer.bank.url, {"content-type": "application/json", "idempotency-key": row.id})
    _sign(home, offer.bank, request, body, now)
    try:
        return sender.post(offer.bank.url, body, request.headers), None
    except UnreachableError as error:
        return None, str(error)


def _sign(home: Home, bank: Bank, request: _Request, body: bytes, now: datetime) -> None:
    secret = derived_secret(home, "bank", f"{bank.id} {bank.signature}")
    is_shared = bank.signature == "hmac-sha256"
    key = secret if is_shared else Ed25519PrivateKey.from_private_bytes(secret)
    name = key_id(home, bank)
    request.headers["content-digest"] = f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"
    HTTPMessageSigner(
        signature_algorithm=algorithms.HMAC_SHA256 if is_shared else algorithms.ED25519,
        key_resolver=MappingKeyResolver(public_keys={}, private_keys={name: key}),
    ).sign(
        request,
        key_id=name,
        created=now,
        nonce=secrets.token_urlsafe(16),
        covered_component_ids=_COVERED,
        use_existing_digest=True,
    )


def key_id(home: Home, bank: Bank) -> str:
    """By what a bank knows the key that requests to it are signed with."""
    return f"{home.programme.id}:{bank.id}"


def bank_keys(home: Home) -> list[dict[str, str]]:
    """What each bank verifies requests by: the public key, or the shared secret, which is for that bank alone."""
    banks = {bank.id: bank for row in home.benefits.said.all() if (bank := _bank_of(row)) is not None}
    found = []
    for _, bank in sorted(banks.items()):
        secret = derived_secret(home, "bank", f"{bank.id} {bank.signature}")
        public = Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
        shown = {"secret": secret} if bank.signature == "hmac-sha256" else {"public_key": public}
        coded = {name: base64.b64encode(value).decode() for name, value in shown.items()}
        found.append({"bank": bank.id, "key": key_id(home, bank), "algorithm": bank.signature, **coded})
    return found


def _bank_of(row: Any) -> Bank | None:
    offer = read_offer(row)
    return offer.bank if isinstance(offer, BankPoints) else None


def _ended(home: Home, row: Any, status: int | None, why: str | None, now: datetime) -> str:
    """What an answer makes of a transfer; whoever came first has said it."""
    if status == _REFUSED:
        with home.book.transaction() as con:
            give_back(home, con, row, PENDING, note="the bank refused it", now=now)
        return "refunded"
    at = received_at(now)
    if status is not None and 200 <= status < 300 and status != 202:
        done = {"state": CONFIRMED, "payee": None, "due_at": None, "changed_at": at, "note": None}
        with home.book.transaction() as con:
            home.benefits.change(con, row.id, PENDING, done)
        return "confirmed"
    pause = RETRIES[min(row.tries, len(RETRIES) - 1)] * random.uniform(0.9, 1.1)  # noqa: S311 - spreads load, no secret
    again = {"due_at": received_at(now + pause), "note": why or f"the bank answered {status}"}
    with home.book.transaction() as con:
        home.benefits.change(con, row.id, PENDING, again)
    return "pending"


def pending(home: Home) -> list[dict[str, str]]:
    """Transfers whose bank has not answered, in their order, without whom they are for."""
    return [
        {
            "id": row.id,
            "bank": row.partner,
            "points": str(row.value),
            "made_at": row.made_at,
            "tries": str(row.tries),
            "due_at": row.due_at,
            "note": row.note or "",
        }
        for row in home.benefits.uses(benefit_use.c.state == PENDING)
    ]


# -- reconciliation -------------------------------------------------------------------------------------------


def reconcile(home: Home, bank: str, day: date, path: Path) -> dict[str, Any]:
    """Compare a bank's file of a day (CSV: id, points) with the transfers of that day; every difference, by id.

    The day is the one that requests name. Nothing is changed: a pending transfer is asked about until it is answered,
    and what else differs is for people to settle. ``file-missing``; ``reconciliation-malformed``, with every mistake.
    """
    theirs = _read(path)
    conditions = (benefit_use.c.partner == bank, benefit_use.c.day == day.isoformat())
    own = {row.id: row for row in home.benefits.uses(*conditions) if row.value is not None}
    differences = []
    for name in sorted({*theirs, *(row.id for row in own.values() if row.state == CONFIRMED)}):
        row, points = own.get(name), theirs.get(name)
        if row is None:
            what = "not ours on this day"
        elif points is None:
            what = "confirmed here, not there"
        elif row.state != CONFIRMED:
            what = f"{row.state} here, booked there"
        elif points != row.value:
            what = "another amount"
        else:
            continue
        here = None if row is None else str(row.value)
        differences.append({"id": name, "what": what, "here": here, "there": None if points is None else str(points)})
    pending = sum(row.state == PENDING for row in own.values())
    return {
        "status": "equal" if not differences else "different",
        "bank": bank,
        "day": day.isoformat(),
        "here": _totals({row.id: row.value for row in own.values() if row.state == CONFIRMED}),
        "there": _totals(theirs),
        "pending": str(pending),
        "differences": differences,
    }


def _totals(amounts: Mapping[str, int]) -> dict[str, str]:
    return {"transfers": str(len(amounts)), "points": str(sum(amounts.values()))}


def _read(path: Path) -> dict[str, int]:
    if not path.is_file():
        raise refuse("file-missing", f"{path} is not there", where=str(path), remedy="name an existing file")
    found: dict[str, int] = {}
    problems = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != ["id", "points"]:
            raise TanzhangError(_malformed(path, 1, "its header is not id,points"))
        for number, line in enumerate(reader, 2):
            name, points = line["id"], line["points"] or ""
            if not name or not (points.isascii() and points.isdigit() and len(points) < 19):
                problems.append(_malformed(path, number, "it has no id, or no whole number of points"))
            elif name in found:
                problems.append(_malformed(path, number, f"{name} stands twice"))
            else:
                found[name] = int(points)
    if problems:
        raise TanzhangError(problems)
    return found


def _malformed(path: Path, line: int, message: str) -> Problem:
    remedy = "ask the bank for its file of this day again"
    return Problem("reconciliation-malformed", message, f"{path.name}:{line}", remedy)
