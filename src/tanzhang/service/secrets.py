"""Secrets that both sides need, such as those of webhooks: made from the home's identity key and never stored."""

from __future__ import annotations

import hashlib
import hmac

from tanzhang.stores.home import Home


def derived_secret(home: Home, purpose: str, name: str) -> bytes:
    """32 bytes that nobody without the identity key can make; another purpose or name gives others."""
    return derived(home.identity_key, purpose, name)


def derived(identity_key: bytes, purpose: str, name: str) -> bytes:
    """As :func:`derived_secret`, for whoever makes many and has read the key."""
    return hmac.digest(identity_key, f"tanzhang secret\0{purpose}\0{name}".encode(), hashlib.sha256)
