"""Recognise callers: partners by their keys, people and staff by their sessions."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from tanzhang.core.access import Actor, Caller, Role, Scope, key_id, new_key, new_token, secret_hash
from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.service.moments import received_at, received_day
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
    actor: Actor | None = None,
    now: datetime,
) -> dict[str, Any]:
    """A new key of a partner; ``key`` in the answer is shown this once. ``unknown-partner``, ``scope-unknown``.

    ``actor``: who issues it, for the audit trail; None where a programme sets itself up.
    """
    home.programme.check_partner(partner)
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
        "last_used_on": None,
    }
    home.access.add_key(row, None if actor is None else _told(home, actor, "key issued", row, now))
    return {**described_key(row), "key": text}


def rotate_key(home: Home, name: str, *, ends_in: timedelta, actor: Actor, now: datetime) -> dict[str, Any]:
    """A new key in place of one, which ends after a while; what the old one may, and its label, hold of the new one.

    ``key`` in the answer is shown this once. The new one lasts as long as the old one was to last from its issue on.
    ``not-found``, ``key-expired``.
    """
    old = key_named(home, name)
    if not _is_valid(old, received_at(now)):
        raise refuse("key-expired", f"key {name} is not valid any more", where="key", remedy="issue a new key")
    new, text = new_key()
    row = {
        **old._asdict(),
        "id": new,
        "secret_hash": secret_hash(text),
        "created_at": received_at(now),
        "expires_at": None,
        "last_used_on": None,
    }
    if old.expires_at is not None:
        lasts = datetime.fromisoformat(old.expires_at) - datetime.fromisoformat(old.created_at)
        row["expires_at"] = received_at(now + lasts)
    ends_at = received_at(now + ends_in)
    told = _told(home, actor, "key rotated", row, now, instead_of=name, ends_at=ends_at)
    home.access.rotate_key(name, ends_at, row, told)
    return {**described_key(row), "key": text, "instead_of": described_key(key_named(home, name))}


def revoke_key(home: Home, name: str, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Let a key open nothing from now on; ``not-found``. A second time changes nothing."""
    row = key_named(home, name)
    home.access.revoke_key(name, received_at(now), _told(home, actor, "key revoked", row._asdict(), now))
    return described_key(key_named(home, name))


def key_named(home: Home, name: str) -> Any:
    """The row of a key; ``not-found``."""
    row = home.access.key(name)
    if row is None:
        raise refuse("not-found", f"there is no key {name[:40]}", where="key", remedy="list the keys of the partner")
    return row


def _told(home: Home, actor: Actor, act: str, row: Mapping[str, Any], now: datetime, **more: str) -> Any:
    """What writes down an act on a key, in the transaction that does it."""
    detail = {"partner": row["partner"], "label": row["label"], "scopes": row["scopes"], **more}
    at = received_at(now)
    return lambda con: home.audit.write(con, actor, act, f"key {row['id']}", at=at, detail=detail)


def _is_valid(row: Any, at: str) -> bool:
    return row.revoked_at is None and (row.expires_at is None or row.expires_at > at)


def described_key(row: Any) -> dict[str, Any]:
    """A key as its owner sees it, without anything that opens a door."""
    said = dict(row) if isinstance(row, dict) else row._asdict()
    names = ("id", "partner", "label", "created_at", "expires_at", "revoked_at", "last_used_on")
    return {**{name: said[name] for name in names}, "scopes": said["scopes"].split()}


def caller_of_key(home: Home, text: str, *, now: datetime) -> Caller:
    """The partner whose key this is; ``key-unknown`` or ``key-expired``."""
    name = key_id(text)
    row = None if name is None else home.access.key(name)
    if row is None or not hmac.compare_digest(row.secret_hash, secret_hash(text)):
        raise _unknown("key-unknown", "this key is not known", "use a key as it was shown when it was issued")
    at = received_at(now)
    if not _is_valid(row, at):
        raise _unknown("key-expired", f"key {row.id} is not valid any more", "ask the operator for a new key")
    partner = home.programme.partners.get(row.partner)
    if partner is None:
        raise _unknown("key-unknown", f"{row.partner} is no longer a partner", "ask the operator")
    if partner.suspended:
        raise _unknown("partner-suspended", f"partner {row.partner} is suspended", "ask the operator")
    today = received_day(home, now).isoformat()
    if row.last_used_on is None or row.last_used_on < today:
        home.access.key_used(row.id, today)
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
