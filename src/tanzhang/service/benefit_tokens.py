"""Tokens of benefits: what a person shows, and a partner's system verifies, once by the service or offline by its key.

A token is a JWT signed with Ed25519 (RFC 8037, RFC 9864) by a key of the programme for that partner alone. It names the
use and nobody. Offline a system sees that it is ours, for it, and not over; that it is used once, the service alone
knows.
"""

from __future__ import annotations

import base64
import uuid
from datetime import UTC, datetime
from typing import Any

import segno
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.service.benefits import Discount, Offer, QueuePriority, give_back, offer_named, partner_of, read_offer
from tanzhang.service.joining import own_accounts
from tanzhang.service.moments import received_at
from tanzhang.service.secrets import derived_secret
from tanzhang.stores.home import Home
from tanzhang.stores.register.benefits import EXPIRED, ISSUED, USED, benefit_use

_ALGORITHM = "Ed25519"
_AT_ONCE = 500


def token_of(home: Home, row: Any) -> dict[str, Any]:
    """The token of a use, as text and as a QR code; the same each time it is asked for."""
    offer = offer_named(home, row.benefit, row.version)[1]
    claims: dict[str, Any] = {
        "iss": home.values["origin"],
        "aud": row.partner,
        "jti": row.id,
        "benefit": row.benefit,
        "iat": _seconds(row.made_at),
        "exp": _seconds(row.due_at),
        **_worth(offer),
    }
    key = _key(home, row.partner)
    text = jwt.encode({"alg": _ALGORITHM, "kid": key.kid}, claims, key, algorithms=[_ALGORITHM])
    return {"token": text, "qr_svg": segno.make(text, error="l").svg_inline(scale=3)}


def own_token(home: Home, account: uuid.UUID, name: str) -> dict[str, Any]:
    """The token of a use of an account's; ``not-found`` for another's, and for one that is used or over."""
    row = home.benefits.use(name)
    own = {str(each) for each in own_accounts(home, account)}
    if row is None or row.account not in own or row.state != ISSUED:
        remedy = "see the states of your uses"
        raise refuse("not-found", "there is no such token of yours that holds", where="path: use", remedy=remedy)
    return token_of(home, row)


def use_token(home: Home, partner: str, token: str, reference: str | None, *, now: datetime) -> dict[str, Any]:
    """Let a partner's system take a token, once; what it is worth. The same ``reference`` again gets the same answer.

    Raises ``token-unknown``, ``token-expired``, ``token-used``.
    """
    name, at = _use_of(home, partner, token), received_at(now)
    with home.book.transaction() as con:
        row = home.benefits.use(name)
        if row is None:
            raise _unknown()
        if row.state == ISSUED and row.due_at > at:
            taken = {"state": USED, "changed_at": at, "due_at": None, "note": reference}
            home.benefits.change(con, name, ISSUED, taken)
            return _taken(home, row, at)
    if row.state == USED and reference is not None and row.note == reference:
        return _taken(home, row, row.changed_at)
    if row.state != USED:
        raise refuse("token-expired", "this token is over", where="#/token", remedy="the person can ask for another")
    raise refuse(
        "token-used",
        f"this token was used at {row.changed_at}",
        where="#/token",
        remedy="ask for another; retry with the reference of the first request to get its answer",
    )


def _use_of(home: Home, partner: str, token: str) -> str:
    """The id of the use that a token for a partner names; ``token-unknown``."""
    rules = jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": home.values["origin"]},
        aud={"essential": True, "value": partner},
        jti={"essential": True},
    )
    try:
        said = jwt.decode(token, _key(home, partner), algorithms=[_ALGORITHM])
        rules.validate({name: said.claims[name] for name in ("iss", "aud", "jti") if name in said.claims})
    except (JoseError, ValueError):
        raise _unknown() from None
    return str(said.claims["jti"])


def _unknown() -> TanzhangError:
    remedy = "scan it again; it is for one partner alone"
    return refuse("token-unknown", "this is no token of ours for you", where="#/token", remedy=remedy)


def _taken(home: Home, row: Any, at: str) -> dict[str, Any]:
    offer = offer_named(home, row.benefit, row.version)[1]
    said = {"id": row.id, "benefit": row.benefit, "title": offer.title, "title_zh": offer.title_zh}
    return {"status": "used", **said, **_worth(offer), "used_at": at}


def _worth(offer: Offer) -> dict[str, Any]:
    """What sort of benefit it is, and what a discount takes off."""
    if not isinstance(offer, Discount):
        return {"kind": "queue_priority"}
    off = {"percent": offer.percent} if offer.percent is not None else {"amount_fen": str(offer.amount_fen)}
    return {"kind": "discount", **off}


def public_keys(home: Home) -> dict[str, Any]:
    """The public keys of tokens as a JWK set (RFC 7517): one for each partner that there ever was a benefit of."""
    offers = (read_offer(row) for row in home.benefits.said.versions())
    partners = sorted({partner_of(each) or "" for each in offers if isinstance(each, QueuePriority | Discount)})
    keys = []
    for partner in partners:
        key = _key(home, partner)
        named = {"kid": key.kid, "alg": _ALGORITHM, "use": "sig", "aud": partner}
        keys.append({**key.as_dict(private=False), **named})
    return {"keys": keys}


def expire_tokens(home: Home, *, now: datetime) -> int:
    """Let tokens end that nobody used, their points given back where the benefit says so; returns how many."""
    at, count = received_at(now), 0
    while True:
        due = (benefit_use.c.state == ISSUED) & (benefit_use.c.due_at <= at)
        rows = home.benefits.uses(due, limit=_AT_ONCE)
        with home.book.transaction() as con:
            for row in rows:
                offer = offer_named(home, row.benefit, row.version)[1]
                if isinstance(offer, QueuePriority | Discount) and offer.token.unused == "refunded":
                    count += give_back(home, con, row, ISSUED, note="not used in time", now=now)
                else:
                    ended = {"state": EXPIRED, "due_at": None, "changed_at": at}
                    count += home.benefits.change(con, row.id, ISSUED, ended)
        if len(rows) < _AT_ONCE:
            return count


def _key(home: Home, partner: str) -> OKPKey:
    private = derived_secret(home, "benefit token", partner)
    public = Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
    said: dict[str, str | list[str]] = {
        "kty": "OKP",
        "crv": "Ed25519",
        "d": _base64url(private),
        "x": _base64url(public),
    }
    key = OKPKey.import_key(said)
    key.ensure_kid()
    return key


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _seconds(at: str) -> int:
    return int(datetime.fromisoformat(at).astimezone(UTC).timestamp())
