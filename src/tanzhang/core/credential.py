"""Certificates (证书): W3C Verifiable Credentials 2.0 that hold without our server, and can be revoked.

A certificate names its issuer by the key itself (did:key). That the key is the programme's is not believed but proved:
the log has an entry with it, and the certificate carries that entry with its path to a signed checkpoint. Whoever has
the log's public key therefore needs nothing else, not even a network; for revocation they bring the status list, which
is such a credential too. Refused is whatever does not lead there, at the first thing that does not hold.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tanzhang.core import status_list
from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.merkle import leaf_hash
from tanzhang.core.methodology import canonical_json
from tanzhang.core.multibase import key_of_did, parse_public_key, public_key_text
from tanzhang.core.note import Signature, Verifier
from tanzhang.core.policy import Policy
from tanzhang.core.retirement import check_certificate as check_retirement
from tanzhang.core.tlog_proof import TlogProof

CONTEXT: list[Any] = ["https://www.w3.org/ns/credentials/v2", {"@vocab": "urn:tanzhang:terms#"}]
"""The context of the data model, and a name space of ours for the members that it does not define."""
CREDENTIAL = "VerifiableCredential"
STATEMENT, GREEN_CREDIT, DONATION, RETIREMENT = "statement", "green_credit", "donation", "retirement"
TYPES: Mapping[str, str] = {
    STATEMENT: "CarbonStatement",
    GREEN_CREDIT: "GreenCreditCertificate",
    DONATION: "DonationCertificate",
    RETIREMENT: "RetirementCertificate",
}
"""Kind of certificate -> its type in the credential."""
ISSUER_FORMAT = "tanzhang.issuer/1"
LOG_EVIDENCE = "LogInclusion"
MAX_BYTES = 1_000_000
SKEW = timedelta(minutes=5)
"""By how much an issuer's clock may be ahead."""
_ASK_ANOTHER = "ask whoever gave it to you for another one; do not trust this one"
ProofHolds = Callable[[Mapping[str, Any], bytes], bool]


@dataclass(frozen=True, slots=True)
class IssuerEntry:
    """The entry of the log that makes a key one of the programme's for certificates."""

    programme: str
    rehearsal: bool
    public_key: bytes

    def to_text(self) -> str:
        """The entry, as canonical JSON."""
        return canonical_json(
            {
                "format": ISSUER_FORMAT,
                "programme": self.programme,
                "rehearsal": self.rehearsal,
                "public_key_multibase": public_key_text(self.public_key),
            }
        )

    @classmethod
    def parse(cls, text: str) -> IssuerEntry:
        """Read an entry; ``issuer-entry-malformed`` if it is not one of ours, byte for byte."""
        try:
            members = json.loads(text)
            if members["format"] != ISSUER_FORMAT or not isinstance(members["rehearsal"], bool):
                raise ValueError(f"format {members['format']!r}")
            key = parse_public_key(members["public_key_multibase"])
            entry = cls(str(members["programme"]), members["rehearsal"], key)
            if entry.to_text() != text:
                raise ValueError("it is not written as these entries are")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, TanzhangError) as error:
            raise refuse(
                "issuer-entry-malformed",
                f"the entry about the issuer cannot be read: {error}",
                where="evidence",
                remedy=_ASK_ANOTHER,
            ) from None
        return entry


@dataclass(frozen=True, slots=True)
class Trusted:
    """What somebody checks certificates with: the log's key, perhaps witnesses, and who checks proofs of the suite."""

    log: Verifier
    proof_holds: ProofHolds
    policy: Policy | None = None
    witnesses: tuple[Verifier, ...] = ()


@dataclass(frozen=True, slots=True)
class Verified:
    """A certificate that holds. ``status_at`` is the moment of the status list that was looked at, None without one."""

    document: Mapping[str, Any]
    kind: str
    programme: str
    rehearsal: bool
    issuer: str
    log: str
    log_size: int
    status_at: str | None
    checks: Sequence[str]
    cosigned: Sequence[Signature] = ()


@dataclass(frozen=True, slots=True)
class _Opened:
    document: Mapping[str, Any]
    entry: IssuerEntry
    issuer: str
    index: int
    log_size: int
    cosigned: tuple[Signature, ...]


def verify_certificate(
    data: bytes, trusted: Trusted, *, now: datetime, status: bytes | None = None, opening: bytes | None = None
) -> Verified:
    """Check a certificate, and with ``status`` that it was not revoked when that list was made.

    ``opening`` shows whom a certificate of a retirement is for that keeps silent about it.

    Codes: ``credential-malformed``, ``credential-signature-invalid``, ``credential-issuer-unproved``,
    ``issuer-entry-malformed``, ``credential-not-yet-valid``, ``credential-expired``, ``credential-revoked``,
    ``credential-status-other``, ``credential-status-outdated``, ``status-list-malformed``, ``status-place-unknown``,
    ``multibase-malformed``, ``retirement-unproved``, ``retirement-opening-malformed``, and those of proofs and notes
    (``inclusion-proof-invalid``, ``note-not-trusted`` ...).
    """
    opened = _open(data, trusted, now)
    document = opened.document
    kind = next((kind for kind, name in TYPES.items() if name in document["type"]), None)
    if kind is None:
        raise _bad("credential-malformed", f"types {document['type']} are no certificate of ours")
    said = document["credentialSubject"].get("programme")
    if not isinstance(said, dict) or (said.get("id"), said.get("rehearsal")) != (
        opened.entry.programme,
        opened.entry.rehearsal,
    ):
        raise _bad("credential-issuer-unproved", "it is of another programme than the key that signed it")
    checks = [
        f"the signature is of {opened.issuer} and covers every member",
        f"this key is the programme's: entry {opened.index} of the log {trusted.log.name}, "
        f"signed at size {opened.log_size}",
    ]
    if trusted.policy is not None:
        checks.append(f"the checkpoint has the cosignatures that the quorum {trusted.policy.quorum} asks for")
    if kind == RETIREMENT:
        checks += check_retirement(document, trusted.log, opening)
    place = _status_place(document)
    status_at = None
    if status is not None:
        status_at = _check_status(status, place, opened.entry, trusted, now)
        checks.append(f"it was not revoked as of {status_at}")
    return Verified(
        document=document,
        kind=kind,
        programme=opened.entry.programme,
        rehearsal=opened.entry.rehearsal,
        issuer=opened.issuer,
        log=trusted.log.name,
        log_size=opened.log_size,
        status_at=status_at,
        checks=tuple(checks),
        cosigned=opened.cosigned,
    )


def read_json(data: bytes) -> Any:
    """JSON that says one thing only: no member twice, no fraction, no surrogate; ``credential-malformed``."""
    if len(data) > MAX_BYTES:
        raise _bad("credential-malformed", f"it has more than {MAX_BYTES} bytes")
    try:
        value = json.loads(data.decode(), object_pairs_hook=_members, parse_float=_no, parse_constant=_no)
        json.dumps(value, ensure_ascii=False).encode()  # a half surrogate has no bytes
    except (ValueError, RecursionError) as error:
        raise _bad("credential-malformed", f"it cannot be read: {error}") from None
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member stands twice")
    return found


def _no(text: str) -> None:
    raise ValueError(f"the number {text[:20]} is none that certificates have")


# -- any credential of a programme --------------------------------------------------------------------------------


def _open(data: bytes, trusted: Trusted, now: datetime) -> _Opened:
    """A credential whose proof holds, whose key the log has, and which is valid at a moment."""
    document = read_json(data)
    _check_form(document)
    issuer = document["issuer"]["id"]
    key = key_of_did(issuer)
    method = document["proof"].get("verificationMethod")
    if method != f"{issuer}#{public_key_text(key)}":
        raise _bad("credential-signature-invalid", f"it was signed by {str(method)[:90]}, which is not its issuer")
    if not trusted.proof_holds(document, key):
        raise _bad("credential-signature-invalid", "the signature does not fit what it says")
    entry, index, log_size, cosigned = _check_issuer(document["evidence"], key, trusted)
    _check_time(document, now)
    return _Opened(document, entry, issuer, index, log_size, cosigned)


def _check_form(document: Any) -> None:
    try:
        if not isinstance(document["proof"], dict) or not isinstance(document["issuer"], dict):
            raise ValueError("proof or issuer is not an object")
        if document["@context"] != CONTEXT or document["proof"]["@context"] != CONTEXT:
            raise ValueError("its context is not that of our certificates")
        if document["proof"]["proofPurpose"] != "assertionMethod":
            raise ValueError("its proof is for another purpose")
        types, evidence = document["type"], document["evidence"]
        if not isinstance(types, list) or CREDENTIAL not in types or not isinstance(evidence, list):
            raise ValueError("type or evidence is not a list as it should be")
        texts = [document["id"], document["issuer"]["id"], document["validFrom"], document["proof"]["created"]]
        if not all(isinstance(each, str) for each in texts) or not isinstance(document["credentialSubject"], dict):
            raise ValueError("a member is not of its type")
    except (ValueError, KeyError, TypeError) as error:
        raise _bad("credential-malformed", f"it is not written as our certificates are: {error}") from None


def _check_issuer(
    evidence: Sequence[Any], key: bytes, trusted: Trusted
) -> tuple[IssuerEntry, int, int, tuple[Signature, ...]]:
    """That the log has an entry with this key; it, its index, the size of the log, and who cosigned."""
    found = [each for each in evidence if isinstance(each, dict) and each.get("type") == LOG_EVIDENCE]
    if len(found) != 1 or not all(isinstance(found[0].get(name), str) for name in ("entry", "proof")):
        raise _bad("credential-issuer-unproved", "it carries no proof that its key is in the log, or several")
    text = found[0]["entry"]
    entry = IssuerEntry.parse(text)
    if entry.public_key != key:
        raise _bad("credential-issuer-unproved", "the entry of the log is about another key")
    proof = TlogProof.parse(found[0]["proof"].encode())
    checkpoint, note = proof.verify(leaf_hash(text.encode()), trusted.log.name, trusted.log, trusted.witnesses)
    if trusted.policy is not None:
        trusted.policy.check_met(note.verified)
    own = (trusted.log.name, trusted.log.key_id)
    cosigned = tuple(line for line in note.verified if (line.name, line.key_id) != own)
    return entry, proof.index, checkpoint.size, cosigned


def _check_time(document: Mapping[str, Any], now: datetime) -> None:
    if moment(document["validFrom"]) > now + SKEW:
        raise _bad("credential-not-yet-valid", f"it is valid from {document['validFrom']} on", remedy="check the clock")
    until = document.get("validUntil")
    if until is not None and moment(until) <= now:
        raise _bad("credential-expired", f"it was valid until {until}", remedy="ask for a new one")


def moment(text: Any) -> datetime:
    """A moment as certificates write it, ``2025-07-01T00:00:00Z``; ``credential-malformed``.

    >>> moment("2025-07-01T00:00:00Z").isoformat()
    '2025-07-01T00:00:00+00:00'
    """
    try:
        found = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except (ValueError, TypeError):
        raise _bad("credential-malformed", f"{str(text)[:40]!r} is no moment in UTC") from None
    return found


def moment_text(at: datetime) -> str:
    """A moment as certificates write it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# -- status -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StatusPlace:
    """Where the status of a certificate stands."""

    address: str
    place: int

    def to_json(self) -> dict[str, str]:
        """As member ``credentialStatus``."""
        return {
            "id": f"{self.address}#{self.place}",
            "type": status_list.ENTRY_TYPE,
            "statusPurpose": status_list.REVOCATION,
            "statusListIndex": str(self.place),
            "statusListCredential": self.address,
        }


def _status_place(document: Mapping[str, Any]) -> StatusPlace:
    said = document.get("credentialStatus")
    try:
        place = StatusPlace(said["statusListCredential"], int(said["statusListIndex"]))  # type: ignore[index]
        if place.to_json() != said:
            raise ValueError("it is not written as our certificates are")
    except (ValueError, KeyError, TypeError) as error:
        raise _bad("credential-malformed", f"its place in a status list cannot be read: {error}") from None
    return place


def _check_status(data: bytes, place: StatusPlace, issuer: IssuerEntry, trusted: Trusted, now: datetime) -> str:
    """When the list was made, if it is the right one and the place in it is not set."""
    fetch = f"fetch the list from {place.address[:200]}"
    try:
        opened = _open(data, trusted, now)
    except TanzhangError as error:
        if error.code == "credential-expired":
            raise _bad("credential-status-outdated", "the status list is too old", remedy=fetch) from None
        raise
    document, subject = opened.document, opened.document["credentialSubject"]
    right = status_list.LIST_TYPE in document["type"] and subject.get("type") == status_list.SUBJECT_TYPE
    same = (opened.entry.programme, opened.entry.rehearsal) == (issuer.programme, issuer.rehearsal)
    if not right or not same or document["id"] != place.address:
        raise _bad("credential-status-other", "this is not the status list that the certificate names", remedy=fetch)
    if subject.get("statusPurpose") != status_list.REVOCATION:
        raise _bad("credential-status-other", "this list is not about revocation", remedy=fetch)
    made: str = document["validFrom"]
    if status_list.is_set(status_list.decode_list(str(subject.get("encodedList"))), place.place):
        raise _bad("credential-revoked", f"it was revoked, as of {made}", remedy="do not accept it")
    return made


# -- writing ------------------------------------------------------------------------------------------------------


def log_evidence(entry: IssuerEntry, proof: bytes) -> dict[str, str]:
    """What a credential carries to prove that its key is in the log; ``proof`` is the entry's ``.tlog-proof``."""
    return {"type": LOG_EVIDENCE, "entry": entry.to_text(), "proof": proof.decode()}


def unsigned(
    *,
    name: str,
    types: Iterable[str],
    issuer: Mapping[str, Any],
    subject: Mapping[str, Any],
    evidence: Sequence[Mapping[str, Any]],
    valid_from: datetime,
    valid_until: datetime | None = None,
    status: StatusPlace | None = None,
    titles: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A credential without its proof. ``name`` is its id, ``titles`` its names by language."""
    named = [{"@value": text, "@language": language} for language, text in (titles or {}).items()]
    return {
        "@context": CONTEXT,
        "id": name,
        "type": [CREDENTIAL, *types],
        **({"name": named} if named else {}),
        "issuer": dict(issuer),
        "validFrom": moment_text(valid_from),
        **({"validUntil": moment_text(valid_until)} if valid_until is not None else {}),
        **({"credentialStatus": status.to_json()} if status is not None else {}),
        "credentialSubject": dict(subject),
        "evidence": [dict(each) for each in evidence],
    }


def _bad(code: str, message: str, remedy: str = _ASK_ANOTHER) -> TanzhangError:
    return refuse(code, message, where="certificate", remedy=remedy)
