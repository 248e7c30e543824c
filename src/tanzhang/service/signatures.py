"""Requests that partners sign (RFC 9421): who sent these very bytes, once, and within minutes.

What was signed is kept with the delivery it brought, so that neither side can deny what was sent.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from http_message_signatures import (
    HTTPMessageSignaturesException,
    HTTPMessageVerifier,
    HTTPSignatureAlgorithm,
    InvalidSignature,
    MappingKeyResolver,
    VerifyResult,
    algorithms,
)

from tanzhang.core.access import Actor, new_key
from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.service.moments import received_at
from tanzhang.service.secrets import derived_secret
from tanzhang.stores.home import Home

ALGORITHMS: Mapping[str, type[HTTPSignatureAlgorithm]] = {
    "ed25519": algorithms.ED25519,
    "hmac-sha256": algorithms.HMAC_SHA256,
}
CREATED_WITHIN = timedelta(minutes=5)
COVERED = ("@method", "@target-uri")
"""What each signature covers; ``content-digest`` as well where there is a body. Each has ``created`` and ``nonce``."""
_LONGEST_NONCE = 200
_NONCE_KEPT = 3 * CREATED_WITHIN


class Headers(Protocol):
    """The fields of a request, in order."""

    def items(self) -> Iterable[tuple[str, str]]: ...


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request as its sender signed it: ``url`` is what the sender asked for, before any proxy."""

    method: str
    url: str
    headers: Headers
    body: bytes


def add_signing_key(
    home: Home, partner: str, algorithm: str, public_key: str | None, *, actor: Actor, now: datetime
) -> dict[str, Any]:
    """Let a partner sign by an Ed25519 key, or by a new shared secret, ``secret`` in the answer, shown this once.

    ``public_key`` is base64 of the 32 bytes of an Ed25519 key. ``unknown-partner``, ``signing-key-malformed``.
    """
    home.programme.check_partner(partner)
    shared = algorithm == "hmac-sha256"
    if algorithm not in ALGORITHMS or shared != (public_key is None):
        raise _malformed(f"use one of {', '.join(ALGORITHMS)}; a public key is given with ed25519 alone")
    if public_key is not None:
        _public_key(public_key)
    name = new_key()[0]
    at = received_at(now)
    row = {"id": name, "partner": partner, "algorithm": algorithm, "public_key": public_key, "created_at": at}
    home.signing.add({**row, "revoked_at": None}, _audited(home, actor, "added", name, at, {"partner": partner}))
    made = {**row, "revoked_at": None}
    return {**made, "secret": base64.b64encode(_secret(home, name)).decode()} if shared else made


def revoke_signing_key(home: Home, partner: str, name: str, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Let a key sign nothing from now on; ``not-found``."""
    at = received_at(now)
    if name not in {row.id for row in home.signing.of(partner)}:
        raise refuse("not-found", f"{partner} has no such key", where="key", remedy="list the partner's signing keys")
    home.signing.revoke(name, at, _audited(home, actor, "revoked", name, at, {"partner": partner}))
    return next(each for each in signing_keys(home, partner) if each["id"] == name)


def signing_keys(home: Home, partner: str) -> list[dict[str, Any]]:
    """A partner's signing keys, the newest first."""
    return [dict(row._mapping) for row in home.signing.of(partner)]


def check_signature(home: Home, partner: str, request: SignedRequest, *, now: datetime) -> str:
    """What is kept of a request's signature, as JSON: key, fields and the text that was signed.

    ``signature-missing``, ``signature-wrong``, ``signature-replayed``.
    """
    fields = {name.lower(): value for name, value in request.headers.items()}
    if "signature" not in fields or "signature-input" not in fields:
        raise refuse(
            "signature-missing",
            f"requests of {partner} are signed by HTTP message signatures (RFC 9421)",
            where="header: Signature",
            remedy=f"sign {', '.join(COVERED)} and content-digest with created and nonce; see docs/partners.md",
        )
    result = _verified(home, partner, request, now)
    nonce, key = result.nonce or "", str(result.parameters["keyid"])
    at = received_at(now)
    if not home.signing.use_nonce(key, nonce, at, received_at(now - _NONCE_KEPT)):
        raise refuse(
            "signature-replayed",
            "a request with this nonce was seen before",
            where="header: Signature-Input",
            remedy="sign again with a new nonce; send the same Idempotency-Key to get the same answer",
        )
    kept = {
        "key": key,
        "signature_input": fields["signature-input"],
        "signature": fields["signature"],
        "signed": "\n".join(f"{name}: {value}" for name, value in result.covered_components.items()),
    }
    return json.dumps(kept)


class _Verifier(HTTPMessageVerifier):
    """The library's verifier by the clock that it is given, with a nonce in each signature."""

    now: datetime

    def validate_created_and_expires(self, sig_input: Any, max_age: timedelta | None = None) -> None:
        created, expires = sig_input.params.get("created"), sig_input.params.get("expires")
        present = self.now.astimezone(UTC).timestamp()
        if not isinstance(created, int) or abs(present - created) > CREATED_WITHIN.total_seconds():
            raise InvalidSignature(f"'created' is not within {CREATED_WITHIN} of now")
        if expires is not None and (not isinstance(expires, int) or expires < present):
            raise InvalidSignature("the signature has expired")
        nonce = sig_input.params.get("nonce")
        if not isinstance(nonce, str) or not 8 <= len(nonce) <= _LONGEST_NONCE:
            raise InvalidSignature(f"it has no nonce of 8 to {_LONGEST_NONCE} characters")


def _verified(home: Home, partner: str, request: SignedRequest, now: datetime) -> VerifyResult:
    """The one signature of a request, by a key of the partner; ``signature-wrong``."""
    required = (*COVERED, "content-digest") if request.body else COVERED
    reason = f"{partner} has no valid signing key"
    for name, algorithm in ALGORITHMS.items():
        keys = {
            row.id: _secret(home, row.id) if row.public_key is None else _public_key(row.public_key)
            for row in home.signing.of(partner)
            if row.algorithm == name and row.revoked_at is None
        }
        if not keys:
            continue
        resolver = MappingKeyResolver(public_keys=keys, private_keys={})
        verifier = _Verifier(signature_algorithm=algorithm, key_resolver=resolver)
        verifier.now = now
        try:
            (result,) = verifier.verify(request, max_age=None, require_components=required, body=request.body)
        except (HTTPMessageSignaturesException, ValueError) as error:
            reason = str(error) or "it does not verify"
            continue
        if request.body and "sha-256=" not in str(result.covered_components.get('"content-digest"')):
            reason = "content-digest has no sha-256"
            continue
        return result
    raise refuse(
        "signature-wrong",
        f"the signature is not accepted: {reason[:200]}",
        where="header: Signature",
        remedy="compare with docs/partners.md: what is signed, the clock, the key's id",
    )


def _public_key(text: str) -> Ed25519PublicKey:
    try:
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))
    except ValueError:
        raise _malformed("give base64 of the 32 bytes of the public key") from None


def _secret(home: Home, name: str) -> bytes:
    return derived_secret(home, "request signature", name)


def _malformed(remedy: str) -> TanzhangError:
    return refuse("signing-key-malformed", "this is no key to sign by", where="#/algorithm", remedy=remedy)


def _audited(home: Home, actor: Actor, act: str, name: str, at: str, detail: Mapping[str, Any]) -> Any:
    return lambda con: home.audit.write(con, actor, f"signing key {act}", f"signing key {name}", at=at, detail=detail)
