"""OpenID Connect as a client: authorization code with PKCE (RFC 7636), state and nonce, endpoints by discovery.

An ID token counts if its signature is by a key of the provider, by an asymmetric algorithm that discovery names, and
issuer, audience, times and nonce are right (OpenID Connect Core 1.0, section 3.1.3.7). Nothing else is asked for.
"""

from __future__ import annotations

import hashlib
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote_plus

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.stores.people_settings import Provider

_ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA", "Ed25519")
_TIMEOUT_S = 10
_KEPT_S = 3600
_LEAST_BETWEEN_S = 30
_LEEWAY_S = 60


class Issuer:
    """One provider; what discovery and its keys say is kept for an hour."""

    def __init__(self, name: str, provider: Provider) -> None:
        self.name, self._provider = name, provider
        self._lock = threading.Lock()
        self._found: Mapping[str, Any] = {}
        self._keys: KeySet | None = None
        self._read_at = self._keys_at = float("-inf")

    @property
    def issuer(self) -> str:
        """By what subjects are told apart."""
        return self._provider.issuer

    def begin(self, redirect_uri: str, *, state: str, nonce: str, verifier: str) -> str:
        """Where to send a browser; ``provider-unreachable``."""
        challenge = urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code",
            "client_id": self._provider.client_id,
            "redirect_uri": redirect_uri,
            "scope": self._provider.scopes,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return str(httpx.URL(self._configuration()["authorization_endpoint"]).copy_merge_params(asked))

    def subject(self, redirect_uri: str, code: str, *, nonce: str, verifier: str, now: datetime) -> str:
        """Whom a code names, from a checked ID token; ``provider-refused``, ``provider-unreachable``."""
        said = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        secret, auth = self._provider.client_secret, None
        if secret is None:
            said["client_id"] = self._provider.client_id
        else:  # RFC 6749, section 2.3.1: both are encoded as in a form first
            auth = httpx.BasicAuth(quote_plus(self._provider.client_id), quote_plus(secret))
        try:
            address = self._configuration()["token_endpoint"]
            answer = httpx.post(address, data=said, auth=auth, timeout=_TIMEOUT_S)
            token = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise self._unreachable(error) from None
        if answer.is_error or not isinstance(token, dict) or not isinstance(token.get("id_token"), str):
            why = token.get("error", "no ID token") if isinstance(token, dict) else "no token"
            raise self._refused(f"it answers {str(why)[:80]!r}")
        return self._checked(token["id_token"], nonce, now)

    def _checked(self, id_token: str, nonce: str, now: datetime) -> str:
        allowed = set(self._configuration().get("id_token_signing_alg_values_supported", ["RS256"]))
        algorithms = [each for each in _ALGORITHMS if each in allowed]
        rules = jwt.JWTClaimsRegistry(
            now=int(now.timestamp()),
            leeway=_LEEWAY_S,
            iss={"essential": True, "value": self._provider.issuer},
            aud={"essential": True, "value": self._provider.client_id},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True, "value": nonce},
            sub={"essential": True},
        )
        try:
            try:
                token = jwt.decode(id_token, self._key_set(), algorithms=algorithms)
            except (JoseError, ValueError):  # the provider may have a new key
                token = jwt.decode(id_token, self._key_set(again=True), algorithms=algorithms)
            rules.validate(token.claims)
        except (JoseError, ValueError) as error:
            raise self._refused(f"its ID token does not hold: {type(error).__name__}") from None
        azp, audience = token.claims.get("azp"), token.claims["aud"]
        several = isinstance(audience, list) and len(audience) > 1
        if (several or azp is not None) and azp != self._provider.client_id:
            raise self._refused("its ID token is for another client")
        return str(token.claims["sub"])

    def _configuration(self) -> Mapping[str, Any]:
        with self._lock:
            if not self._found or time.monotonic() - self._read_at > _KEPT_S:
                found = self._get(f"{self._provider.issuer.rstrip('/')}/.well-known/openid-configuration")
                if found.get("issuer") != self._provider.issuer:
                    raise self._refused(f"it calls itself {found.get('issuer')!r}")
                self._found, self._read_at = found, time.monotonic()
            return self._found

    def _key_set(self, *, again: bool = False) -> KeySet:
        address = self._configuration()["jwks_uri"]
        with self._lock:
            age = time.monotonic() - self._keys_at
            if self._keys is None or age > _KEPT_S or (again and age > _LEAST_BETWEEN_S):
                self._keys = KeySet.import_key_set(self._get(address))
                self._keys_at = time.monotonic()
            return self._keys

    def _get(self, address: str) -> Any:
        try:
            return httpx.get(address, timeout=_TIMEOUT_S).raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            raise self._unreachable(error) from None

    def _refused(self, why: str) -> TanzhangError:
        return refuse(
            "provider-refused",
            f"{self.name} did not vouch for you: {why}",
            where=f"sign-in with {self.name}",
            remedy="begin to sign in again; if it stays so, tell the operator",
        )

    def _unreachable(self, error: Exception) -> TanzhangError:
        return refuse(
            "provider-unreachable",
            f"{self.name} does not answer: {type(error).__name__}",
            where=f"sign-in with {self.name}",
            remedy="try again in a minute, or sign in another way",
        )
