"""Files locked with a passphrase: scrypt (RFC 7914) makes the key, AES-256-GCM the ciphertext.

::

    tanzhang.sealed/1 LF | salt [16] | nonce [12] | ciphertext and tag
"""

from __future__ import annotations

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from tanzhang.core.errors import refuse

_HEAD = b"tanzhang.sealed/1\n"
_SALT, _NONCE = 16, 12
_COST = 1 << 17  # 128 MiB and about half a second for each guess
LEAST_LENGTH = 12


def seal(data: bytes, passphrase: str) -> bytes:
    """The bytes, locked. ``passphrase-short`` below twelve characters."""
    if len(passphrase) < LEAST_LENGTH:
        raise refuse(
            "passphrase-short",
            f"the passphrase has fewer than {LEAST_LENGTH} characters",
            where="passphrase",
            remedy="take several words that nobody guesses, and keep them apart from the backup",
        )
    salt, nonce = secrets.token_bytes(_SALT), secrets.token_bytes(_NONCE)
    return _HEAD + salt + nonce + AESGCM(_key(passphrase, salt)).encrypt(nonce, data, _HEAD)


def unseal(sealed: bytes, passphrase: str, *, where: str) -> bytes:
    """The bytes again. ``passphrase-wrong``, also where the file was changed: the two cannot be told apart."""
    body = sealed.removeprefix(_HEAD)
    salt, nonce, text = body[:_SALT], body[_SALT : _SALT + _NONCE], body[_SALT + _NONCE :]
    try:
        if body == sealed or len(nonce) < _NONCE:
            raise InvalidTag
        return AESGCM(_key(passphrase, salt)).decrypt(nonce, text, _HEAD)
    except InvalidTag:
        raise refuse(
            "passphrase-wrong",
            "the keys cannot be unlocked",
            where=where,
            remedy="give the passphrase that the backup was made with; if it is right, the file was changed",
        ) from None


def _key(passphrase: str, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, n=_COST, r=8, p=1).derive(passphrase.encode())
