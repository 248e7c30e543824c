"""Personal fields at rest: AES-256-GCM under a key that is kept outside the database.

A sealed text is ``<key id>.<base64url of nonce and ciphertext>``. The place where it stands (table, column, row) is
authenticated with it, so that a text moved to another row does not open. Keys are lines ``<id> <64 hex digits>``, the
id made of the key, so that a changed line shows; the first seals, all of them open. No message and no ``repr``
contains a key.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tanzhang.core.errors import TanzhangError, refuse

KEY_BYTES = 32
_NONCE_BYTES = 12
_LINE = re.compile(rf"([0-9a-f]{{8}}) ([0-9a-f]{{{2 * KEY_BYTES}}})")


@dataclass(frozen=True, slots=True)
class PersonalKeys:
    """Keys by id, in the order of their lines; the first is the current one."""

    keys: Mapping[str, bytes] = field(repr=False)

    @classmethod
    def parse(cls, text: str, *, where: str) -> PersonalKeys:
        """Read the lines of a key file; ``personal-key-malformed``."""
        found: dict[str, bytes] = {}
        for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
            match = _LINE.fullmatch(line)
            if match is None or match[1] in found or key_id(bytes.fromhex(match[2])) != match[1]:
                raise refuse(
                    "personal-key-malformed",
                    f"line {number} is not a key behind its id, or stands twice",
                    where=where,
                    remedy="restore the file from your backup of keys",
                )
            found[match[1]] = bytes.fromhex(match[2])
        return cls(found)

    def to_text(self) -> str:
        """The lines, the current key first."""
        return "".join(f"{name} {key.hex()}\n" for name, key in self.keys.items())

    def with_new(self) -> PersonalKeys:
        """A new key in front; the others still open what they sealed."""
        return PersonalKeys({**personal_keys(secrets.token_bytes(KEY_BYTES)).keys, **self.keys})

    @property
    def current(self) -> str:
        """The id of the key that seals."""
        return next(iter(self.keys))

    def seal(self, text: str, place: str) -> str:
        """A text sealed for a place."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = AESGCM(self.keys[self.current]).encrypt(nonce, text.encode(), place.encode())
        return f"{self.current}.{urlsafe_b64encode(nonce + sealed).decode()}"

    def open(self, sealed: str, place: str) -> str:
        """The text that was sealed for a place; ``personal-key-unknown``, ``personal-field-changed``."""
        name, _, data = sealed.partition(".")
        if name not in self.keys:
            raise refuse(
                "personal-key-unknown",
                f"a personal field was sealed with key {name!r}, which is not there",
                where=place,
                remedy="restore that key; without it the field is lost",
            )
        try:
            raw = urlsafe_b64decode(data)
            return AESGCM(self.keys[name]).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], place.encode()).decode()
        except (InvalidTag, ValueError):
            raise _changed(place) from None


def key_of(sealed: str) -> str:
    """The id of the key that a text was sealed with."""
    return sealed.partition(".")[0]


def personal_keys(key: bytes) -> PersonalKeys:
    """One key alone."""
    return PersonalKeys({key_id(key): key})


def key_id(key: bytes) -> str:
    """By what a key is called in what it sealed."""
    return hashlib.sha256(b"tanzhang personal key" + key).hexdigest()[:8]


def _changed(place: str) -> TanzhangError:
    return refuse(
        "personal-field-changed",
        "a personal field is not what was sealed for its place",
        where=place,
        remedy="restore the row from a backup of the book",
    )
