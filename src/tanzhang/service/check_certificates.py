"""What verification asks of certificates: their keys in the log, their signatures and places, and what was revoked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from tanzhang.core.credential import IssuerEntry, StatusPlace
from tanzhang.core.errors import Problem, TanzhangError
from tanzhang.core.multibase import key_of_did
from tanzhang.core.status_list import PLACES
from tanzhang.engine.data_integrity import proof_holds
from tanzhang.service.findings import RESTORE
from tanzhang.stores.home import Home
from tanzhang.stores.register.audit import audit
from tanzhang.stores.register.certificates import certificate
from tanzhang.stores.register.people import place_of

REVOKED = "certificate revoked"
"""The act of the audit trail that says an operator revoked a certificate."""


def check_certificates(home: Home) -> tuple[int, list[Problem]]:
    """How many certificates and keys were looked at, and what is wrong with them.

    Texts need the key of personal fields; where that is missing only places and revocations are looked at.
    """
    keys, problems = _keys(home)
    rows = home.certificates.all()
    try:
        sealed = home.personal_keys
    except TanzhangError:
        sealed = None
    addresses: dict[int, str | None] = {}
    for row in rows:
        if row.list not in addresses:
            addresses[row.list] = home.certificates.address(row.list)
        for message in _wrong_with(row, addresses[row.list]):
            problems.append(_problem(home, "certificate-changed", message, row.id))
        if sealed is None or row.sealed is None:
            continue
        try:
            document = json.loads(sealed.open(row.sealed, place_of(certificate, "sealed", row.id)))
        except TanzhangError as error:
            problems += error.problems
            continue
        if not _is_right(document, row, str(addresses[row.list]), keys):
            problems.append(_problem(home, "certificate-changed", "the text is not what was signed", row.id))
    standing = {row.id for row in rows if row.revoked_at is None}
    said = home.book.query(sa.select(audit.c.subject).where(audit.c.act == REVOKED))
    for name in sorted({each.subject.removeprefix("certificate ") for each in said} & standing):
        problems.append(_problem(home, "certificate-unrevoked", "it was revoked, and is not any more", name))
    return len(rows) + len(keys), problems


def _keys(home: Home) -> tuple[set[bytes], list[Problem]]:
    """The keys that the log has, and what is wrong with its entries about them."""
    keys, problems = set(), []
    for row in home.certificates.issuers():
        try:
            entry = IssuerEntry.parse(row.text)
        except TanzhangError as error:
            problems += [Problem(each.code, each.message, f"entry {row.seq}", RESTORE) for each in error.problems]
            continue
        keys.add(entry.public_key)
        if (entry.programme, entry.rehearsal) != (home.programme.id, home.programme.rehearsal):
            message = f"the key of entry {row.seq} is said to be of another programme"
            problems.append(Problem("issuer-entry-malformed", message, f"entry {row.seq}", RESTORE))
    return keys, problems


def _wrong_with(row: Any, address: str | None) -> Iterator[str]:
    if address is None or not 0 <= row.place < PLACES:
        yield f"place {row.place} of list {row.list} is none that there is"
    if (row.account is None) != (row.sealed is None):
        yield "its text or whose it is is missing"
    if row.account is None and row.revoked_at is None:
        yield "its person was erased, and it still stands"


def _is_right(document: dict[str, Any], row: Any, address: str, keys: set[bytes]) -> bool:
    """Whether a text is of this row, and signed by a key that the log has."""
    try:
        key = key_of_did(document["issuer"]["id"])
        place = StatusPlace(address, row.place).to_json()
        same = (document["id"], document["credentialStatus"]) == (f"urn:uuid:{row.id}", place)
    except (KeyError, TypeError, TanzhangError):
        return False
    return same and key in keys and proof_holds(document, key)


def _problem(home: Home, code: str, message: str, name: str) -> Problem:
    return Problem(code, message, f"{home.book.name}: certificate {name}", RESTORE)
