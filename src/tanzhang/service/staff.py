"""Staff sign in: by an invitation once, then by name and password, with a one-time code where they chose so.

A wrong name, password or code get the same answer, which takes as long. Failures in a row lock somebody out, each time
for longer; who tries many names from one address has to wait as well (in each process).
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import cache
from threading import BoundedSemaphore
from typing import Any

import pyotp
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from tanzhang.core.access import Actor, Role, new_token, secret_hash
from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.service.access import open_session
from tanzhang.service.market.parties import party_named
from tanzhang.service.moments import received_at
from tanzhang.service.secrets import derived_secret
from tanzhang.stores.home import Home

STAFF_ROLES = (Role.ENTERPRISE, Role.BUYER, Role.VERIFIER, Role.CITY, Role.AUDITOR, Role.OPERATOR)
OWNER, ANALYST, MERCHANT = "owner", "analyst", "merchant"
POSITIONS = (OWNER, ANALYST, MERCHANT)
"""Of an enterprise: an owner also invites, issues keys and registers webhooks; an analyst reads; a merchant takes
vouchers and sends goods, as an owner may."""
INVITATION_LASTS = timedelta(days=7)
SHORTEST_PASSWORD, LONGEST_PASSWORD = 12, 256
FREE_FAILURES, FIRST_LOCK, LONGEST_LOCK = 5, timedelta(seconds=30), timedelta(hours=1)
"""From this failure in a row on a name is locked: first for so long, twice as long each time, at most for so long."""
_STEP_S = 30
_hasher = PasswordHasher()
_hashing = BoundedSemaphore(4)  # each takes 64 MiB


def invite(
    home: Home,
    role: str,
    name: str,
    *,
    partner: str | None = None,
    position: str | None = None,
    actor: Actor,
    now: datetime,
) -> dict[str, Any]:
    """Add somebody; ``token`` in the answer opens the door once, is shown this once, and ends after a week.

    ``role-unknown``, ``position-unknown``, ``unknown-partner``, ``unknown-party``, ``staff-malformed``,
    ``staff-exists``.
    """
    name = name.strip().lower()
    _check_place(home, role, partner, position)
    if not 2 <= len(name) <= 100 or not name.isprintable():
        raise refuse(
            "staff-malformed", "this cannot be a name to sign in by", where="name", remedy="use 2 to 100 letters"
        )
    number, token = secret_hash(new_token())[:16], new_token()
    row = {
        "id": number,
        "name": name,
        "role": Role(role).value,
        "partner": partner,
        "position": position,
        "code_secret": 0,
        "codes": False,
        "code_step": 0,
        "failures": 0,
        "created_at": received_at(now),
    }
    at = received_at(now)
    detail = {"role": row["role"], "partner": partner, "position": position}
    added = home.staff.add(
        row,
        _invitation(number, token, now),
        also=lambda con: home.audit.write(con, actor, "staff invited", f"staff {name}", at=at, detail=detail),
    )
    if not added:
        raise refuse(
            "staff-exists", f"there is somebody called {name} already", where="name", remedy="use another name"
        )
    return {**described(home.staff.row(number)), **_link(token, now)}


def invite_again(home: Home, number: str, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """A new invitation of somebody who lost it, or the password; earlier ones open nothing any more."""
    row = member(home, number)
    token, at = new_token(), received_at(now)
    home.staff.invite_again(
        _invitation(number, token, now),
        at,
        also=lambda con: home.audit.write(con, actor, "staff invited again", f"staff {row.name}", at=at, detail={}),
    )
    return {**described(row), **_link(token, now)}


def accept(home: Home, token: str, password: str, *, now: datetime) -> None:
    """Take a password by an invitation; every session of before ends. ``password-weak``, ``invitation-ended``."""
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise refuse(
            "password-weak",
            f"a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters",
            where="#/password",
            remedy="use several words",
        )
    # Looked at first, since hashing costs more than strangers should be able to ask for.
    known = home.staff.is_invited(secret_hash(token), received_at(now))
    number = home.staff.accept(secret_hash(token), _hashed(password), received_at(now)) if known else None
    if number is None:
        raise refuse(
            "invitation-ended",
            "this invitation was used, has ended or never was",
            where="#/token",
            remedy="ask whoever invited you for a new one",
        )
    row = member(home, number)
    home.access.end_sessions(row.role, number)


def sign_in(
    home: Home, name: str, password: str, code: str | None, *, address: str, agent: str | None, now: datetime
) -> tuple[str, dict[str, Any]]:
    """The token of a new session, and who signed in.

    ``sign-in-failed``, ``sign-in-locked`` (with how long), ``code-missing`` after the right password.
    """
    wait_s = home.rates.wait_s(("signing in", address), 1, time.monotonic())
    if wait_s > 0:
        raise refuse(
            "too-many-requests",
            "too many attempts",
            where="sign-in",
            remedy="wait some seconds",
            again_in_s=wait_s,
        )
    row = home.staff.by_name(name.strip().lower())
    usable = row is not None and row.password_hash is not None and row.disabled_at is None
    if row is not None and row.locked_until is not None and row.locked_until > received_at(now):
        raise refuse(
            "sign-in-locked",
            f"after {row.failures} failures this name is locked until {row.locked_until}",
            where="sign-in",
            remedy="wait; or ask the operator for a new invitation",
            again_in_s=(datetime.fromisoformat(row.locked_until) - now).total_seconds(),
        )
    right = _is_right(row.password_hash if row is not None and usable else _nobodys_hash(), password)
    if row is None or not usable:
        raise _failed()
    if not right:
        raise _count_failure(home, row, address, now)
    step = None
    if row.codes:
        if not code:
            raise refuse("code-missing", "a one-time code is needed", where="#/code", remedy="send the code as well")
        step = _step_of(home, row, code, now)
        if step is None:
            raise _count_failure(home, row, address, now)
    if not home.staff.succeeded(row.id, step):
        raise _count_failure(home, row, address, now)
    if _hasher.check_needs_rehash(row.password_hash):
        home.staff.change(row.id, {"password_hash": _hashed(password)})
    token = open_session(home, Role(row.role), row.id, partner=row.partner, agent=agent, now=now)
    return token, described(row)


def new_code_secret(home: Home, number: str) -> dict[str, Any]:
    """A new secret for one-time codes, to be taken into an app; it holds once a code of it was confirmed."""
    row = member(home, number)
    if row.codes:
        raise refuse("codes-in-use", "one-time codes are in use", where="codes", remedy="switch them off first")
    home.staff.change(number, {"code_secret": row.code_secret + 1})
    totp = _totp(home, member(home, number))
    return {
        "secret": totp.secret,
        "uri": totp.provisioning_uri(name=row.name, issuer_name=f"Tanzhang {home.programme.id}"),
    }


def use_codes(home: Home, number: str, code: str, *, wanted: bool, actor: Actor, now: datetime) -> None:
    """Ask for a one-time code at each sign-in from now on, or no more; either needs a code. ``code-wrong``."""
    row = member(home, number)
    step = _step_of(home, row, code, now) if row.code_secret else None
    if step is None or step <= row.code_step:
        raise refuse("code-wrong", "this is not a code of now", where="#/code", remedy="send the code your app shows")
    act, at = "codes on" if wanted else "codes off", received_at(now)
    home.staff.change(
        number,
        {"codes": wanted, "code_step": step},
        also=lambda con: home.audit.write(con, actor, act, f"staff {row.name}", at=at, detail={}),
    )


def disable(home: Home, number: str, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Let somebody sign in no more; their sessions end. ``not-found``."""
    row, at = member(home, number), received_at(now)
    home.staff.change(
        number,
        {"disabled_at": row.disabled_at or at},
        also=lambda con: home.audit.write(con, actor, "staff disabled", f"staff {row.name}", at=at, detail={}),
    )
    home.access.end_sessions(row.role, number)
    return described(member(home, number))


def listed(home: Home, partner: str | None, after: str, limit: int) -> list[dict[str, Any]]:
    """Staff by name after one, of one partner (an enterprise) or all."""
    return [described(row) for row in home.staff.page(partner, after, limit)]


def member(home: Home, number: str) -> Any:
    """Somebody's row; ``not-found``."""
    row = home.staff.row(number)
    if row is None:
        raise refuse("not-found", f"there is nobody with id {number[:40]}", where="staff", remedy="list the staff")
    return row


def _check_place(home: Home, role: str, partner: str | None, position: str | None) -> None:
    if role not in STAFF_ROLES:
        raise refuse(
            "role-unknown", f"{role} is no role of staff", where="role", remedy=f"use one of {', '.join(STAFF_ROLES)}"
        )
    if role in _ORGANISATIONS:
        if partner is None or position is not None:
            what = f"staff with role {role} have the id of their organisation as their partner, and no position"
            raise refuse("position-unknown", what, where="partner", remedy="name the organisation, and no position")
        _ORGANISATIONS[Role(role)](home, partner)
        return
    if (role == Role.ENTERPRISE) != (partner is not None) or (position is not None and position not in POSITIONS):
        raise refuse(
            "position-unknown",
            "staff of an enterprise have a partner and a position, others have none",
            where="position",
            remedy=f"give a partner and one of {', '.join(POSITIONS)} with role enterprise, and only there",
        )
    if (partner is None) != (position is None):
        raise refuse(
            "position-unknown", "partner and position go together", where="position", remedy="give both or none"
        )
    home.partners.look_again()
    if partner is not None:
        home.programme.check_partner(partner)


def _check_verifier(home: Home, verifier: str) -> None:
    if home.verifications.said.one(verifier) is None:
        raise refuse(
            "unknown-verifier",
            f"there is no verifier {verifier[:80]!r}",
            where="partner",
            remedy="register the verifier first, or see the list of verifiers",
        )


# Roles of organisations that are no partners, and how one of them is looked up.
_ORGANISATIONS: Mapping[Role, Callable[[Home, str], object]] = {
    Role.BUYER: party_named,
    Role.VERIFIER: _check_verifier,
}


def _invitation(number: str, token: str, now: datetime) -> dict[str, Any]:
    return {
        "token_hash": secret_hash(token),
        "staff": number,
        "expires_at": received_at(now + INVITATION_LASTS),
        "used_at": None,
    }


def _link(token: str, now: datetime) -> dict[str, str]:
    # Behind '#', so that no server and no proxy writes it into a log.
    return {"token": token, "path": f"/staff/invitation#{token}", "ends_at": received_at(now + INVITATION_LASTS)}


def described(row: Any) -> dict[str, Any]:
    """Somebody as those who manage staff see them."""
    names = ("id", "name", "role", "partner", "position", "codes", "created_at", "disabled_at")
    return {**{name: getattr(row, name) for name in names}, "invited": row.password_hash is None}


def _is_right(password_hash: str, password: str) -> bool:
    try:
        with _hashing:
            return _hasher.verify(password_hash, password[:LONGEST_PASSWORD])
    except (VerificationError, InvalidHashError):
        return False


def _hashed(password: str) -> str:
    with _hashing:
        return _hasher.hash(password)


@cache
def _nobodys_hash() -> str:
    return _hashed(new_token())


def _count_failure(home: Home, row: Any, address: str, now: datetime) -> TanzhangError:
    def locked_until(failures: int) -> str | None:
        if failures < FREE_FAILURES:
            return None
        doubled = FIRST_LOCK * 2 ** min(failures - FREE_FAILURES, 20)
        return received_at(now + min(doubled, LONGEST_LOCK))

    failures = home.staff.failed(row.id, locked_until)
    if failures >= FREE_FAILURES:
        actor, at = Actor(Role.STRANGER, "", address), received_at(now)
        with home.book.transaction() as con:
            home.audit.write(con, actor, "sign-in locked", f"staff {row.name}", at=at, detail={"failures": failures})
    return _failed()


def _failed() -> TanzhangError:
    return refuse(
        "sign-in-failed",
        "name, password or code are not right",
        where="sign-in",
        remedy="try again; after some failures you have to wait",
    )


def _totp(home: Home, row: Any) -> pyotp.TOTP:
    secret = derived_secret(home, "one-time codes", f"{row.id} {row.code_secret}")
    return pyotp.TOTP(base64.b32encode(secret[:20]).decode(), interval=_STEP_S)


def _step_of(home: Home, row: Any, code: str, now: datetime) -> int | None:
    """The step a code is of, the present one or one beside it (RFC 6238, section 5.2); None if of none."""
    totp, present = _totp(home, row), int(now.timestamp()) // _STEP_S
    for step in (present, present - 1, present + 1):
        if pyotp.utils.strings_equal(totp.generate_otp(step), code.strip()):
            return step
    return None
