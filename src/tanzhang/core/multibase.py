"""Keys as texts: multibase and multicodec of Ed25519 keys (W3C Controlled Identifiers 1.0, Multikey), did:key, did:web.

Only base58-btc (prefix ``z``) and the two codes of Ed25519 are known. A text in another spelling is refused.
"""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

from tanzhang.core.errors import TanzhangError, refuse

ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
ED25519_PUBLIC, ED25519_SECRET = bytes([0xED, 0x01]), bytes([0x80, 0x26])
"""Multicodec ``ed25519-pub`` (0xed) and ``ed25519-priv`` (0x1300) as variable-length integers."""
KEY_BYTES = 32
_LONGEST = 200  # characters; a signature has 89
_DID_KEY = "did:key:"


def encode_base58(data: bytes) -> str:
    """Base58-btc with its multibase prefix.

    >>> encode_base58(b"Hello World!"), encode_base58(bytes(2))
    ('z2NEpo7TZRRrLZSi2U', 'z11')
    """
    number, digits = int.from_bytes(data, "big"), ""
    while number:
        number, rest = divmod(number, 58)
        digits = ALPHABET[rest] + digits
    return "z" + ALPHABET[0] * (len(data) - len(data.lstrip(b"\0"))) + digits


def decode_base58(text: str) -> bytes:
    r"""What :func:`encode_base58` wrote; ``multibase-malformed``.

    >>> decode_base58("z11")
    b'\x00\x00'
    """
    digits = text[1:]
    if text[:1] != "z" or not digits or len(text) > _LONGEST or not all(digit in ALPHABET for digit in digits):
        raise _malformed(f"{text[:20]!r} is no base58-btc text with its prefix z")
    number = 0
    for digit in digits:
        number = number * 58 + ALPHABET.index(digit)
    zeros = len(digits) - len(digits.lstrip(ALPHABET[0]))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def public_key_text(key: bytes) -> str:
    """The Multikey of an Ed25519 public key: ``z6Mk...``."""
    return encode_base58(ED25519_PUBLIC + key)


def parse_public_key(text: str) -> bytes:
    """The 32 bytes of a Multikey; ``multibase-malformed``."""
    return _key(text, ED25519_PUBLIC, "public")


def secret_key_text(seed: bytes) -> str:
    """The secret Multikey of an Ed25519 seed: ``z3u2...``."""
    return encode_base58(ED25519_SECRET + seed)


def parse_secret_key(text: str) -> bytes:
    """The seed of a secret Multikey; ``multibase-malformed``. The message has nothing of it."""
    try:
        return _key(text, ED25519_SECRET, "secret")
    except TanzhangError:
        raise _malformed("this is no secret key of Ed25519") from None


def did_key(public_key: bytes) -> str:
    """The identifier that is the key itself, so that nothing has to be looked up."""
    return _DID_KEY + public_key_text(public_key)


def key_of_did(did: str) -> bytes:
    """The public key of a did:key; ``multibase-malformed`` for anything else."""
    if not did.startswith(_DID_KEY):
        raise _malformed(f"{did[:60]!r} is no did:key")
    return parse_public_key(did.removeprefix(_DID_KEY))


def did_web(url: str) -> str | None:
    """The did:web of a service at an https:// address; None where the address has no such identifier.

    >>> did_web("https://carbon.example:8443/beijing/"), did_web("http://localhost:8080")
    ('did:web:carbon.example%3A8443:beijing', None)
    """
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or re.fullmatch(r"[0-9.]+|.*:.*", parts.hostname):
        return None
    host = parts.hostname if parts.port is None else f"{parts.hostname}%3A{parts.port}"
    return ":".join(["did:web", host, *(quote(part, safe="-._~") for part in parts.path.split("/") if part)])


def _key(text: str, code: bytes, what: str) -> bytes:
    data = decode_base58(text)
    if data[: len(code)] != code or len(data) != len(code) + KEY_BYTES or encode_base58(data) != text:
        raise _malformed(f"{text[:60]!r} is no {what} key of Ed25519")
    return data[len(code) :]


def _malformed(message: str) -> TanzhangError:
    return refuse("multibase-malformed", message, where="key", remedy="copy the key again, whole, from where it stands")
