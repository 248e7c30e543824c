"""Ed25519 keys for logs (type 0x01 note signatures) and witnesses (type 0x04 cosignatures with a time).

Refused are texts that are no private key of the expected type, seeds that are not 32 bytes, and key names that
cannot stand in a signature line. No message and no ``repr`` contains a seed.
"""

from __future__ import annotations

import secrets
from base64 import b64encode
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tanzhang.core.checkpoint import cosignature_message, decode_cosignature, encode_cosignature
from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.note import KEY_COSIGNATURE, KEY_ED25519, Signature, VerifierKey, decode_base64, is_key_name

SEED_BYTES = 32
_PRIVATE = "PRIVATE+KEY+"


@dataclass(frozen=True)
class NoteVerifier:
    """Checks signatures of one log key."""

    key: VerifierKey

    @property
    def name(self) -> str:
        """Key name."""
        return self.key.name

    @cached_property
    def key_id(self) -> bytes:
        """Four bytes that tell the keys of one name apart."""
        return self.key.key_id

    def verify(self, text: bytes, signature: bytes) -> bool:
        """True only if ``signature`` is this key's over ``text``."""
        try:
            Ed25519PublicKey.from_public_bytes(self.key.public_key).verify(signature, text)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class CosignatureVerifier(NoteVerifier):
    """Checks cosignatures of one witness key. How old a cosignature may be is the caller's policy."""

    def verify(self, text: bytes, signature: bytes) -> bool:
        """True only if ``signature``, time included, is this witness's over the checkpoint ``text``."""
        try:
            time_s, signed = decode_cosignature(signature)
            message = cosignature_message(text, time_s)
        except TanzhangError:
            return False
        return super().verify(message, signed)


def verifier_of(vkey: str) -> NoteVerifier:
    """The verifier for a vkey of either type.

    Raises: TanzhangError ``vkey-invalid``.
    """
    key = VerifierKey.parse(vkey)
    return CosignatureVerifier(key) if key.key_type == KEY_COSIGNATURE else NoteVerifier(key)


@dataclass(frozen=True)
class _SecretKey:
    """A named Ed25519 seed. Keep its text form as you keep a password."""

    name: str
    seed: bytes = field(repr=False)

    key_type: ClassVar[int]

    def __post_init__(self) -> None:
        if not is_key_name(self.name):
            raise _bad_secret("the key name is empty or contains white space, a control byte or '+'")
        if len(self.seed) != SEED_BYTES:
            raise _bad_secret(f"the seed has {len(self.seed)} bytes instead of {SEED_BYTES}")

    @classmethod
    def generate(cls, name: str) -> Self:
        """A new key from the operating system's random numbers."""
        return cls(name, secrets.token_bytes(SEED_BYTES))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``PRIVATE+KEY+<name>+<key id>+<base64 of type and seed>``, the form of the Go tools.

        Raises: TanzhangError ``private-key-invalid``, also for a key of the other type.
        """
        name, *rest = text.removeprefix(_PRIVATE).split("+", 2)
        if not text.startswith(_PRIVATE) or len(rest) != 2:
            raise _bad_secret(f"it does not have the form {_PRIVATE}<name>+<key id>+<base64>")
        data = decode_base64(rest[1], code="private-key-invalid", where="private key")
        if data[:1] != bytes([cls.key_type]):
            raise _bad_secret(f"it is not of type 0x{cls.key_type:02x}")
        key = cls(name, data[1:])
        if rest[0] != key.key_id.hex():
            raise _bad_secret("the key id does not belong to this name and key")
        return key

    def to_text(self) -> str:
        """The secret text form."""
        data = b64encode(bytes([self.key_type]) + self.seed).decode()
        return f"{_PRIVATE}{self.name}+{self.key_id.hex()}+{data}"

    @cached_property
    def verifier_key(self) -> VerifierKey:
        """The public key; its ``to_text()`` is the vkey to publish."""
        return VerifierKey(self.name, self.key_type, self._private.public_key().public_bytes_raw())

    @cached_property
    def key_id(self) -> bytes:
        """Four bytes that tell the keys of one name apart."""
        return self.verifier_key.key_id

    @cached_property
    def _private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)


@dataclass(frozen=True)
class NoteSigner(_SecretKey):
    """Signs notes as a log does. Ed25519 is deterministic: the same text gives the same signature."""

    key_type = KEY_ED25519

    @property
    def verifier(self) -> NoteVerifier:
        """The verifier of this key."""
        return NoteVerifier(self.verifier_key)

    def sign(self, text: bytes) -> bytes:
        """Signature over ``text``."""
        return self._private.sign(text)


@dataclass(frozen=True)
class Cosigner(_SecretKey):
    """Signs checkpoints as a witness does. Whether it may is decided before calling."""

    key_type = KEY_COSIGNATURE

    @property
    def verifier(self) -> CosignatureVerifier:
        """The verifier of this key."""
        return CosignatureVerifier(self.verifier_key)

    def cosign(self, text: str, time_s: int) -> Signature:
        """The signature line for the checkpoint ``text``, seen at POSIX second ``time_s``.

        Raises: TanzhangError ``cosignature-invalid`` unless 0 < time_s < 2^63.
        """
        signature = self._private.sign(cosignature_message(text.encode(), time_s))
        return Signature(self.name, self.key_id, encode_cosignature(time_s, signature))


def _bad_secret(message: str) -> TanzhangError:
    return refuse(
        "private-key-invalid",
        message,
        where="private key",
        remedy="check that the right key file is configured; make a new key only for a new log",
    )
