"""Who may do what: the kinds of callers of the service, and what a key of a partner may be given.

A caller is somebody who was recognised; a stranger is the caller with role ``stranger``. Whom a route is for stands
beside it; nothing is allowed by default.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What somebody is to the programme. Staff of an enterprise see its own ledger, staff of the city all totals."""

    STRANGER = "stranger"
    PERSON = "person"
    PARTNER = "partner"
    """A program of a partner, by its key."""
    ENTERPRISE = "enterprise"
    """Staff of a partner, signed in."""
    BUYER = "buyer"
    """Staff of a party of the market, signed in; ``partner`` of the caller is the party's id."""
    CITY = "city"
    AUDITOR = "auditor"
    VERIFIER = "verifier"
    """Staff of an organisation that verifies lots (核查机构); ``partner`` is its id, and it sees its own lots alone."""
    OPERATOR = "operator"


class Scope(StrEnum):
    """What a key of a partner may do; a key has at least one."""

    REPORT = "report"
    """Send, correct and withdraw reports, and read the verdicts of own ones."""
    LEDGER = "ledger"
    """Read the partner's own ledger."""
    LINK = "link"
    """Sign link tokens for its users, and read their state."""
    WEBHOOKS = "webhooks"
    """Register and test webhooks, and read their delivery log."""
    MALL = "mall"
    """Take vouchers of the mall that are for the partner, and send its goods."""
    BENEFITS = "benefits"
    """Take tokens of benefits that its users show."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. ``subject`` is the id of the key, account or member of staff; ``partner`` whose key or staff it is.

    With role ``verifier`` that is an organisation of the register of verifiers, with other roles a partner.
    ``by_cookie`` if a browser may have sent it without its user's will, so that changes need a CSRF token.
    """

    role: Role
    subject: str = ""
    partner: str | None = None
    scopes: frozenset[Scope] = frozenset()
    by_cookie: bool = False


STRANGER = Caller(Role.STRANGER)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something that is written down, and from where: an address, or ``command line``."""

    role: Role
    subject: str
    origin: str


# -- keys -----------------------------------------------------------------------------------------------------

_ALPHABET = string.ascii_letters + string.digits
_PREFIX = "tz"
_ID_LENGTH, _SECRET_LENGTH = 12, 43  # 71 and 256 bits
_KEY = re.compile(rf"{_PREFIX}_([A-Za-z0-9]{{{_ID_LENGTH}}})_([A-Za-z0-9]{{{_SECRET_LENGTH}}})")


def new_key() -> tuple[str, str]:
    """A new key's id and its whole text, ``tz_<id>_<secret>``; the secret is shown once and kept nowhere."""
    name = "".join(secrets.choice(_ALPHABET) for _ in range(_ID_LENGTH))
    secret = "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_LENGTH))
    return name, f"{_PREFIX}_{name}_{secret}"


def key_id(text: str) -> str | None:
    """The id in a key's text; None if it cannot be one."""
    found = _KEY.fullmatch(text)
    return found.group(1) if found else None


def new_token() -> str:
    """A token that nobody guesses: 43 characters of 256 bits."""
    return secrets.token_urlsafe(32)


def secret_hash(text: str) -> str:
    """What is kept of a key or token. One round of SHA-256 is enough for 256 random bits."""
    return hashlib.sha256(text.encode()).hexdigest()
