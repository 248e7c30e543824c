"""Recognise callers: partners by their keys, people and staff by their sessions."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from tanzhang.core.access import Caller, Role, Scope, key_id, new_key, new_token, secret_hash
from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.service.moments import received_at
from tanzhang.stores.home import Home

SESSION_LASTS = timedelta(days=30)
"""How long a person stays signed in. Staff: :data:`STAFF_SESSION_LASTS`."""
STAFF_SESSION_LASTS = timedelta(hours=12)
_LABEL_LENGTH = 100


def issue_key(
    home: Home,
    partner: str,
    scopes: Iterable[str],
    *,
    label: str = "",
    lasts: timedelta | None = None,
    now: datetime,
) -> dict[str, Any]:
    """A new key of a partner; ``key`` in the answer is shown this once. ``unknown-partner``, ``scope-unknown``."""
    if partner not in home.programme.partners:
        raise refuse(
            "unknown-partner",
            f"{partner} is not a partner of programme {home.programme.id}",
            where="partner",
            remedy=f"use one of {', '.join(home.programme.partners)}",
        )
    wanted = sorted(set(scopes))
    unknown = [scope for scope in wanted if scope not in {*Scope}]
    if unknown or not wanted:
        raise refuse(
            "scope-unknown",
            f"{unknown[0]!r} is not a scope" if unknown else "a key without a scope could do nothing",
            where="scopes",
            remedy=f"use one or more of {', '.join(sorted(Scope))}",
        )
    name, text = new_key()
    row = {
        "id": name,
        "partner": partner,
        "label": label[:_LABEL_LENGTH],
        "scopes": " ".join(wanted),
        "secret_hash": secret_hash(text),
        "created_at": received_at(now),
        "expires_at": None if lasts is None else received_at(now + lasts),
        "revoked_at": None,
    }
    home.access.add_key(row)
    return {**described_key(row), "key": text}


def described_key(row: Any) -> dict[str, Any]:
    """A key as its owner sees it, without anything that opens a door."""
    said = dict(row) if isinstance(row, dict) else row._asdict()
    names = ("id", "partner", "label", "created_at", "expires_at", "revoked_at")
    return {**{name: said[name] for name in names}, "scopes": said["scopes"].split()}


def caller_of_key(home: Home, text: str, *, now: datetime) -> Caller:
    """The partner whose key this is; ``key-unknown`` or ``key-expired``."""
    name = key_id(text)
    row = None if name is None else home.access.key(name)
    if row is None or not hmac.compare_digest(row.secret_hash, secret_hash(text)):
        raise _unknown("key-unknown", "this key is not known", "use a key as it was shown when it was issued")
    at = received_at(now)
    if row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= at):
        raise _unknown("key-expired", f"key {row.id} is not valid any more", "ask the operator for a new key")
    partner = home.programme.partners.get(row.partner)
    if partner is None:
        raise _unknown("key-unknown", f"{row.partner} is no longer a partner", "ask the operator")
    if partner.suspended:
        raise _unknown("partner-suspended", f"partner {row.partner} is suspended", "ask the operator")
    return Caller(Role.PARTNER, row.id, row.partner, frozenset(Scope(each) for each in row.scopes.split()))


def open_session(
    home: Home, role: Role, subject: str, *, partner: str | None = None, agent: str | None = None, now: datetime
) -> str:
    """Sign somebody in who was recognised; returns the token, which goes into a cookie and is kept nowhere."""
    token = new_token()
    lasts = SESSION_LASTS if role is Role.PERSON else STAFF_SESSION_LASTS
    home.access.add_session(
        {
            "token_hash": secret_hash(token),
            "role": role.value,
            "subject": subject,
            "partner": partner,
            "created_at": received_at(now),
            "expires_at": received_at(now + lasts),
            "agent": agent[:200] if agent else None,
        }
    )
    return token


def caller_of_session(home: Home, token: str, *, now: datetime) -> Caller:
    """Who signed in with this token; ``session-ended``."""
    row = home.access.session(secret_hash(token))
    if row is None or row.expires_at <= received_at(now):
        raise _unknown("session-ended", "you are not signed in any more", "sign in again")
    return Caller(Role(row.role), row.subject, row.partner, by_cookie=True)


def csrf_token(session_token: str) -> str:
    """What a page of this session has to send beside the cookie when it changes something.

    Whoever can make a browser send its cookie cannot read it, so cannot make this.
    """
    return hmac.digest(session_token.encode(), b"tanzhang csrf", "sha256").hex()


def _unknown(code: str, message: str, remedy: str) -> TanzhangError:
    return refuse(code, message, where="authorization", remedy=remedy)
