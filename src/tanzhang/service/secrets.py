"""Secrets that both sides need, such as those of webhooks: made from the home's identity key and never stored."""

from __future__ import annotations

import hashlib
import hmac

from tanzhang.stores.home import Home


def derived_secret(home: Home, purpose: str, name: str) -> bytes:
    """32 bytes that nobody without the identity key can make; another purpose or name gives others."""
    label = f"tanzhang secret\0{purpose}\0{name}".encode()
    return hmac.digest(home.identity_key, label, hashlib.sha256)
