"""Data Integrity proofs of cryptosuite ``eddsa-jcs-2022`` (W3C Data Integrity EdDSA Cryptosuites v1.0, section 3.3).

What is signed is SHA-256 of the proof's options followed by SHA-256 of the document without its proof, both in the one
spelling of RFC 8785 (JCS). Ed25519 is deterministic, so the same document and time give the same bytes.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Any

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.multibase import (
    decode_base58,
    did_key,
    encode_base58,
    parse_secret_key,
    public_key_text,
    secret_key_text,
)

CRYPTOSUITE, PROOF_TYPE, PURPOSE = "eddsa-jcs-2022", "DataIntegrityProof", "assertionMethod"
_SIGNATURE_BYTES = 64
_CONTEXT = "@context"


def canonical(document: Any) -> bytes:
    """The one spelling of a JSON value by RFC 8785; ``json-not-canonical`` for what has none (half surrogates, NaN)."""
    try:
        return rfc8785.dumps(document)
    except (rfc8785.CanonicalizationError, RecursionError) as error:
        raise refuse(
            "json-not-canonical",
            f"the document has no canonical form: {error}",
            where="document",
            remedy="write numbers beyond 2^53 and fractions as text",
        ) from None


def hash_data(document: Mapping[str, Any], options: Mapping[str, Any]) -> bytes:
    """The 64 bytes that are signed: hash of the options, then hash of the document without its proof."""
    return sha256(canonical(dict(options))).digest() + sha256(canonical(dict(document))).digest()


@dataclass(frozen=True)
class IssuerKey:
    """The key that certificates are signed with. Keep its text form as you keep a password."""

    seed: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> IssuerKey:
        """A new key from the operating system's random numbers."""
        return cls(secrets.token_bytes(32))

    @classmethod
    def parse(cls, text: str) -> IssuerKey:
        """Read the secret Multikey; ``multibase-malformed``."""
        return cls(parse_secret_key(text))

    def to_text(self) -> str:
        """The secret Multikey."""
        return secret_key_text(self.seed)

    @cached_property
    def public_key(self) -> bytes:
        """32 bytes."""
        return self._private.public_key().public_bytes_raw()

    @property
    def did(self) -> str:
        """The did:key of this key."""
        return did_key(self.public_key)

    def sign(self, document: Mapping[str, Any], *, created: str, method: str | None = None) -> dict[str, Any]:
        """A document with its proof. ``created`` is RFC 3339; ``method`` names the key, by default as a did:key."""
        options = {
            "type": PROOF_TYPE,
            "cryptosuite": CRYPTOSUITE,
            "created": created,
            "verificationMethod": method or f"{self.did}#{public_key_text(self.public_key)}",
            "proofPurpose": PURPOSE,
            **({_CONTEXT: document[_CONTEXT]} if _CONTEXT in document else {}),
        }
        signature = self._private.sign(hash_data(document, options))
        return {**document, "proof": {**options, "proofValue": encode_base58(signature)}}

    @cached_property
    def _private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)


def proof_holds(document: Mapping[str, Any], public_key: bytes) -> bool:
    """Whether a document's proof is of this suite and this key's (section 3.3.2); never raises."""
    proof = document.get("proof")
    if not isinstance(proof, Mapping) or (proof.get("type"), proof.get("cryptosuite")) != (PROOF_TYPE, CRYPTOSUITE):
        return False
    options = {name: value for name, value in proof.items() if name != "proofValue"}
    unsecured = {name: value for name, value in document.items() if name != "proof"}
    if _CONTEXT in options:
        given, signed = unsecured.get(_CONTEXT), options[_CONTEXT]
        if not isinstance(given, list) or not isinstance(signed, list) or given[: len(signed)] != signed:
            return False
        unsecured[_CONTEXT] = signed
    value = proof.get("proofValue")
    try:
        signature = decode_base58(value) if isinstance(value, str) else b""
        if len(signature) != _SIGNATURE_BYTES or encode_base58(signature) != value:
            return False
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, hash_data(unsecured, options))
    except (InvalidSignature, TanzhangError, ValueError):
        return False
    return True
