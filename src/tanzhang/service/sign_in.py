"""Sign persons in: through an OpenID provider, or by a code that is sent to their phone.

A verified identity has one account. The account's id is chance, so that neither number nor issuer can be computed from
it or tested against it; of an identity only a keyed hash is kept, and itself sealed. Whoever is signed in and verifies
another identity adds it to the account. What fails says as little as it can: never whether a number is known.
"""

from __future__ import annotations

import hmac
import secrets
import uuid
from datetime import datetime, timedelta
from typing import Any

from tanzhang.core.access import new_token, secret_hash
from tanzhang.core.claim import identity
from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.phone import masked, normal_phone
from tanzhang.service.moments import received_at
from tanzhang.stores.home import Home
from tanzhang.stores.oidc import Issuer
from tanzhang.stores.people_settings import PeopleSettings, Phone, people_settings
from tanzhang.stores.register.people import person_identity, phone_code, place_of, sign_in
from tanzhang.stores.senders import sender_of

OIDC, PHONE = "oidc", "phone"
PERSON, PAIRWISE = "person", "pairwise"
"""Purposes of keyed identities: of whoever signs in, and of a person as one partner is told."""
SIGN_IN_LASTS = timedelta(minutes=10)
_DIGITS = 6
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_issuers: dict[tuple[str, str], Issuer] = {}


def settings_of(home: Home) -> PeopleSettings:
    """The operator's settings for persons; ``people-settings-malformed``."""
    return people_settings(home.folder)


def ways(home: Home) -> dict[str, Any]:
    """The ways to sign in that this home has."""
    settings = settings_of(home)
    return {
        "oidc": [
            {"name": name, "title": each.title, "title_zh": each.title_zh, "url": f"/v1/sign-in/oidc/{name}"}
            for name, each in sorted(settings.oidc.items())
        ],
        "phone": settings.phone is not None,
    }


def pseudonym_for(home: Home, partner: str, account: str) -> str:
    """What one partner is told of a person: nothing that another partner is told, or that leads to the account."""
    return str(identity(home.identity_key, PAIRWISE, partner, account))


# -- OpenID Connect -------------------------------------------------------------------------------------------


def begin_oidc(home: Home, name: str, address: str, *, return_to: str = "/", now: datetime) -> tuple[str, str]:
    """Where to send the browser, and what it has to keep and bring back with the answer.

    Raises ``provider-unknown``, ``return-malformed``, ``too-many-requests``, ``provider-unreachable``.
    """
    issuer, redirect = _issuer(home, name)
    check_return(return_to)
    home.people.forget_old(received_at(now - _DAY), received_at(now))
    most, since = settings_of(home).most_begun_per_address_an_hour, received_at(now - _HOUR)
    over = home.people.allowed([(_address(home, "begun", address), most, since)], received_at(now))
    if over is not None:
        raise _too_many(*over)
    state, kept, nonce, verifier = (new_token() for _ in range(4))
    url = issuer.begin(redirect, state=state, nonce=nonce, verifier=verifier)
    row = {
        "state": secret_hash(state + kept),
        "provider": name,
        "nonce": nonce,
        "verifier": verifier,
        "return_to": return_to,
        "expires_at": received_at(now + SIGN_IN_LASTS),
    }
    home.people.add(sign_in, row)
    return url, kept


def check_return(path: str) -> None:
    """Refuse to send a browser anywhere but to a page of this service: ``return-malformed``."""
    if not path.startswith("/") or path.startswith("//") or "\\" in path or not path.isprintable():
        raise refuse(
            "return-malformed",
            "there is no such page here",
            where="query: return_to",
            remedy="give a path of this service, beginning with one slash",
        )


def finish_oidc(
    home: Home, name: str, *, state: str, code: str, kept: str, account: str | None = None, now: datetime
) -> tuple[str, str]:
    """The account of whoever comes back from a provider, and the page to go on to.

    ``account`` is that of somebody who is signed in already. Raises ``sign-in-unknown`` for an answer that this browser
    did not ask for, or too late; ``provider-refused``, ``provider-unreachable``, ``identity-taken``.
    """
    issuer, redirect = _issuer(home, name)
    begun = home.people.take(sign_in, secret_hash(state + kept), received_at(now))
    if begun is None or begun.provider != name:
        raise refuse(
            "sign-in-unknown",
            "this browser did not ask to sign in so, or too long ago",
            where=f"sign-in with {name}",
            remedy="begin to sign in again",
        )
    if not code:
        raise refuse(
            "provider-refused",
            f"{name} did not vouch for you: it sent no code",
            where=f"sign-in with {name}",
            remedy="begin to sign in again, and agree there",
        )
    subject = issuer.subject(redirect, code, nonce=begun.nonce, verifier=begun.verifier, now=now)
    return _enter(home, OIDC, issuer.issuer, subject, account, now), begun.return_to


def _issuer(home: Home, name: str) -> tuple[Issuer, str]:
    settings = settings_of(home)
    provider = settings.oidc.get(name)
    if provider is None:
        raise refuse(
            "provider-unknown",
            f"there is no provider {name}",
            where="path: name",
            remedy="GET /v1/sign-in lists the ways to sign in",
        )
    issuer = _issuers.setdefault((provider.issuer, provider.client_id), Issuer(name, provider))
    return issuer, f"{settings.public_url.rstrip('/')}/v1/sign-in/oidc/{name}/callback"


# -- codes by phone -------------------------------------------------------------------------------------------


def send_code(home: Home, phone: str, address: str, *, now: datetime) -> dict[str, Any]:
    """Send a number a code. The answer is the same whether the number is known or not.

    Raises ``phone-off``, ``phone-malformed``, ``too-many-requests``, ``locked-out``, ``code-not-sent``.
    """
    rules = _phone_rules(home)
    number = normal_phone(phone)
    name = _phone_hash(home, number)
    at = received_at(now)
    home.people.forget_old(received_at(now - _DAY), at)
    _check_lock(home, rules, name, now)
    over = home.people.allowed(
        [
            (f"sent-now:{name}", 1, received_at(now - timedelta(seconds=rules.least_between_s))),
            (f"sent:{name}", rules.most_per_phone_a_day, received_at(now - _DAY)),
            (_address(home, "sent", address), rules.most_per_address_an_hour, received_at(now - _HOUR)),
        ],
        at,
    )
    if over is not None:
        raise _too_many(*over)
    code = f"{secrets.randbelow(10**_DIGITS):0{_DIGITS}}"
    lasts = timedelta(seconds=rules.lasts_s)
    home.people.keep_code(
        {
            "phone": name,
            "code": _code_hash(home, name, code),
            "expires_at": received_at(now + lasts),
            "tries_left": rules.tries,
        }
    )
    try:
        sender_of(rules.sender).send(number, code)
    except TanzhangError:
        home.people.remove(phone_code, phone=name)
        raise
    return {"status": "sent", "expires_in_s": rules.lasts_s, "digits": _DIGITS}


def check_code(home: Home, phone: str, code: str, address: str, *, account: str | None = None, now: datetime) -> str:
    """The account of whoever has the code of a number; ``account`` is that of somebody who is signed in already.

    Raises ``code-wrong``, also for a code that has expired or was used; ``phone-off``, ``phone-malformed``,
    ``too-many-requests``, ``locked-out``, ``identity-taken``.
    """
    rules = _phone_rules(home)
    number = normal_phone(phone)
    name = _phone_hash(home, number)
    _check_lock(home, rules, name, now)
    from_here = _address(home, "wrong", address)
    since = received_at(now - _HOUR)
    first = home.people.filled_at(from_here, rules.most_per_address_an_hour, since)
    if first is not None:
        raise _too_many(from_here, since, first)
    at = received_at(now)
    if home.people.try_code(name, _code_hash(home, name, code), at) != "right":
        far = received_at(now - _DAY)
        home.people.allowed([(f"wrong:{name}", 1 << 30, far), (from_here, 1 << 30, far)], at)
        raise refuse(
            "code-wrong",
            "this is not the code of this number, or no longer",
            where="#/code",
            remedy="look again, or have a new code sent",
        )
    return _enter(home, PHONE, "", number, account, now)


def _phone_rules(home: Home) -> Phone:
    rules = settings_of(home).phone
    if rules is None:
        remedy = "GET /v1/sign-in lists the ways to sign in"
        raise refuse("phone-off", "nobody signs in by phone here", where="sign-in", remedy=remedy)
    return rules


def _check_lock(home: Home, rules: Phone, name: str, now: datetime) -> None:
    since = received_at(now - _DAY)
    first = home.people.filled_at(f"wrong:{name}", rules.wrong_before_lock, since)
    if first is not None:
        raise refuse(
            "locked-out",
            "too many wrong codes were given for this number",
            where="phone",
            remedy="wait a day, or sign in another way",
            again_in_s=_passes_in_s(since, first),
        )


def _too_many(bucket: str, since: str, first: str) -> TanzhangError:
    what = "this address" if bucket.startswith("address") else "this number"
    return refuse(
        "too-many-requests",
        f"too often for {what}",
        where="sign-in",
        remedy="wait for a while, then try again",
        again_in_s=_passes_in_s(since, first),
    )


def _passes_in_s(since: str, first: str) -> float:
    """In how many seconds a moment will be as far back as ``since`` is now."""
    return (datetime.fromisoformat(first) - datetime.fromisoformat(since)).total_seconds()


def _phone_hash(home: Home, number: str) -> str:
    return str(identity(home.identity_key, PERSON, PHONE, "", number))


def _code_hash(home: Home, name: str, code: str) -> str:
    return hmac.digest(home.identity_key, f"tanzhang code {name} {code}".encode(), "sha256").hex()


def _address(home: Home, what: str, address: str) -> str:
    return f"address-{what}:{identity(home.identity_key, 'address', address)}"


# -- identities -----------------------------------------------------------------------------------------------


def _enter(home: Home, kind: str, issuer: str, subject: str, account: str | None, now: datetime) -> str:
    name = str(identity(home.identity_key, PERSON, kind, issuer, subject))
    sealed = home.personal_keys.seal(subject, place_of(person_identity, "sealed", name))
    row = {"hash": name, "kind": kind, "issuer": issuer, "sealed": sealed}
    own = home.people.enter(account or str(uuid.uuid4()), row, received_at(now))
    if account is not None and own != account:
        raise refuse(
            "identity-taken",
            "this identity has an account of its own",
            where="sign-in",
            remedy="sign in with it, ask for a merge token there, and give it here",
        )
    return own


def identities(home: Home, account: str) -> list[dict[str, Any]]:
    """With what a person signs in, as they see it: the end of a number, the issuer."""
    keys = home.personal_keys
    found = []
    for row in home.people.rows(person_identity, account=account):
        shown = row.issuer
        if row.kind == PHONE:
            shown = masked(keys.open(row.sealed, place_of(person_identity, "sealed", row.hash)))
        found.append(
            {"id": row.hash, "kind": row.kind, "shown": shown, "added_at": row.added_at, "used_at": row.used_at}
        )
    return found


def remove_identity(home: Home, account: str, name: str) -> None:
    """Sign in with this no more; ``not-found``, ``last-identity`` where none would be left."""
    own = [row.hash for row in home.people.rows(person_identity, account=account)]
    if name not in own:
        raise refuse("not-found", "there is no such identity", where="path: id", remedy="look at the list of them")
    if len(own) == 1:
        raise refuse(
            "last-identity",
            "with this one gone nobody could sign in to the account",
            where="path: id",
            remedy="add another one first, or have the account erased",
        )
    home.people.remove(person_identity, hash=name, account=account)
