"""Check certificates without a home and without a network: the JSON itself, or the PDF file that holds it."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

from tanzhang.core.credential import LOG_EVIDENCE, Trusted, Verified, read_json, verify_certificate
from tanzhang.core.errors import refuse
from tanzhang.core.policy import Policy
from tanzhang.engine.data_integrity import proof_holds
from tanzhang.engine.signing import CosignatureVerifier
from tanzhang.service.receipt import origin_of, trusted_log

_PDF = b"%PDF-"


def credential_in(data: bytes) -> bytes:
    """The credential of a file, JSON or PDF. ``pdf-malformed``, ``pdf-no-credential``."""
    if data.lstrip()[:5] != _PDF:
        return data
    from tanzhang.stores.pdf import attached

    return attached(data)


def check_certificate(
    data: bytes,
    vkey: str | None = None,
    policy: Policy | None = None,
    *,
    status: bytes | None = None,
    opening: bytes | None = None,
    now: datetime,
) -> dict[str, Any]:
    """Verify a certificate offline; what it says, as JSON members. Raises at the first thing that does not hold.

    ``status`` is the status list that it names, as it was fetched; without one ``revoked`` is null: not known. What a
    PDF shows is not compared: what counts is in the answer. ``opening`` shows the beneficiary of a silent retirement.
    """
    credential = credential_in(data)
    log = trusted_log(vkey, policy, lambda: _origin(credential), where="certificate verify")
    witnesses = () if policy is None else tuple(CosignatureVerifier(each.key) for each in policy.witnesses.values())
    trusted = Trusted(log, proof_holds, policy, witnesses)
    return describe(verify_certificate(credential, trusted, now=now, status=status, opening=opening), credential)


def _origin(credential: bytes) -> str:
    """The log that a certificate names, unproved; ``credential-malformed``."""
    document = read_json(credential)
    evidence = document.get("evidence") if isinstance(document, dict) else None
    for each in evidence if isinstance(evidence, list) else ():
        if isinstance(each, dict) and each.get("type") == LOG_EVIDENCE and isinstance(each.get("proof"), str):
            return origin_of(each["proof"].encode())
    raise refuse(
        "credential-malformed",
        "it names no log",
        where="certificate",
        remedy="ask whoever gave it to you for another one; do not trust this one",
    )


def describe(verified: Verified, credential: bytes) -> dict[str, Any]:
    """What a verified certificate says."""
    document = verified.document
    return {
        "status": "verified",
        "id": document["id"],
        "kind": verified.kind,
        "sha256": hashlib.sha256(credential).hexdigest(),
        "programme": verified.programme,
        "rehearsal": verified.rehearsal,
        "issued_at": document["validFrom"],
        "issuer": verified.issuer,
        "revoked": None if verified.status_at is None else False,
        "status_at": verified.status_at,
        "status_list": document["credentialStatus"]["statusListCredential"],
        "log": verified.log,
        "log_size": verified.log_size,
        "checks": list(verified.checks),
        "says": dict(document["credentialSubject"]),
    }
