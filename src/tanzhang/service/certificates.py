"""Issue certificates (证书), list them, revoke them, and say which are: see docs/certificates.md.

The key that signs them is the programme's by an entry of the log, which every certificate carries as evidence. Keys are
made by their own command alone. A certificate is kept sealed, shown to its person, and revoked by the person, by the
operator, or with the person's data; that it is revoked stays for good in a status list that names nobody.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from tanzhang.core import status_list
from tanzhang.core.access import Actor
from tanzhang.core.credential import (
    DONATION,
    GREEN_CREDIT,
    RETIREMENT,
    STATEMENT,
    TYPES,
    IssuerEntry,
    StatusPlace,
    log_evidence,
    moment_text,
    unsigned,
)
from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.multibase import did_key, did_web, public_key_text
from tanzhang.engine.data_integrity import IssuerKey, canonical
from tanzhang.service import certificate_contents as contents
from tanzhang.service.certificate_contents import Contents, DonatedPoints, Donation
from tanzhang.service.check_certificates import REVOKED
from tanzhang.service.consents import CERTIFICATE, new_consent
from tanzhang.service.cursors import cursor_of, place_after
from tanzhang.service.donations import project_named, receipt
from tanzhang.service.joining import own_accounts
from tanzhang.service.moments import received_at, received_day
from tanzhang.service.points import rules_named
from tanzhang.service.reading import Reader
from tanzhang.service.sign_in import settings_of
from tanzhang.stores.home import ISSUER_KEY, Home
from tanzhang.stores.register.certificates import certificate
from tanzhang.stores.register.people import consent, place_of
from tanzhang.stores.register.points import UNIT

TITLES: Mapping[str, Mapping[str, str]] = {
    STATEMENT: {"zh-CN": "个人碳账户月度账单", "en": "Monthly carbon statement"},
    GREEN_CREDIT: {"zh-CN": "绿色信用证明", "en": "Green credit certificate"},
    DONATION: {"zh-CN": "捐赠证书", "en": "Certificate of donation"},
    RETIREMENT: {"zh-CN": "碳普惠减排量注销证书", "en": "Certificate of retirement"},
}
MOST_A_DAY = 20
"""Certificates that a person may have made within a day; ours."""
STATUS_LASTS = timedelta(days=1)
"""For how long a fetched status list says enough; ours. Whoever checks offline fetches a newer one after that."""
STATUS_PATH = "/certificates/status/"
BY_PERSON = "taken back by its person"
_HTTPS = "https://"


# -- keys ---------------------------------------------------------------------------------------------------------


def make_key(home: Home, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Make the key that certificates are signed with, and put it into the log.

    Killed in between, the same call again comes to the same end. ``issuer-exists``, ``key-missing`` where the log
    knows a key whose file is gone.
    """
    with home.settling():
        home.publish()
        key, known = home.issuer_key, _known_keys(home)
        if key is None and known:
            raise refuse(
                "key-missing",
                f"keys/{ISSUER_KEY} is missing",
                where=f"keys/{ISSUER_KEY}",
                remedy="restore it from your backup; if it is lost, 'tanzhang certificate rotate-key' makes another",
            )
        if key is not None and key.public_key in known:
            raise refuse(
                "issuer-exists",
                "there is a key for certificates already",
                where=f"keys/{ISSUER_KEY}",
                remedy="use it; 'tanzhang certificate rotate-key' makes another",
            )
        if key is None:
            key = IssuerKey.generate()
            home.keep_issuer_key(key)
        return _publish_key(home, key, actor, now)


def rotate_key(home: Home, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Sign from now on with a new key. What was signed with those before still holds; ``issuer-missing`` before any."""
    with home.settling():
        home.publish()
        if not _known_keys(home):
            raise _no_issuer("no key for certificates was made yet")
        key = IssuerKey.generate()
        home.keep_issuer_key(key)
        return _publish_key(home, key, actor, now)


def _publish_key(home: Home, key: IssuerKey, actor: Actor, now: datetime) -> dict[str, Any]:
    entry = IssuerEntry(home.programme.id, home.programme.rehearsal, key.public_key)
    detail = {"public_key_multibase": public_key_text(key.public_key)}

    def also(con: sa.Connection) -> None:
        home.audit.write(con, actor, "certificate key made", key.did, at=received_at(now), detail=detail)

    index = home.certificates.add_issuer(entry.to_text(), also)
    home.publish()
    return {"status": "made", "issuer": key.did, "entry": index, "file": f"keys/{ISSUER_KEY}"}


def _known_keys(home: Home) -> dict[bytes, tuple[int, IssuerEntry]]:
    """Public key -> index and entry of the log."""
    found = ((row.seq, IssuerEntry.parse(row.text)) for row in home.certificates.issuers())
    return {entry.public_key: (index, entry) for index, entry in found}


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who signs: the key, the evidence for it, and the address of the service."""

    key: IssuerKey
    evidence: dict[str, str]
    url: str
    said: dict[str, Any]


def issuer_of(home: Home) -> Issuer:
    """Who signs certificates now; ``issuer-missing``, ``public-url-missing``."""
    key = home.issuer_key
    known = _known_keys(home)
    if key is None or key.public_key not in known:
        raise _no_issuer("no key for certificates is in use" if key is None else "the log does not know the key yet")
    url = settings_of(home).public_url.rstrip("/")
    if not url.startswith(_HTTPS):
        raise refuse(
            "public-url-missing",
            "certificates name the address of the service for good, and none is stated",
            where="keys/people.yaml",
            remedy="state public_url, an https:// address that stays",
        )
    index, entry = known[key.public_key]
    if home.log.size <= index:  # a crash came between the book and the log
        with home.settling():
            home.publish()
    web = did_web(url)
    said = {
        "id": key.did,
        "name": _titles({"zh-CN": home.programme.title_zh, "en": home.programme.title}),
        **({} if web is None else {"alsoKnownAs": [web]}),
    }
    return Issuer(key, log_evidence(entry, home.log.prove(index)), url, said)


def _no_issuer(message: str) -> TanzhangError:
    remedy = "the operator runs 'tanzhang certificate make-key' once"
    return refuse("issuer-missing", message, where=f"keys/{ISSUER_KEY}", remedy=remedy)


# -- issuing ------------------------------------------------------------------------------------------------------


def issue_statement(
    reader: Reader, account: uuid.UUID, month: date, *, name: str | None = None, now: datetime
) -> dict[str, Any]:
    """The statement of a month; see :func:`certificate_contents.statement`, :func:`issue`."""
    today = received_day(reader.home, now)
    made = contents.statement(reader, account, month, today=today, name=name)
    return issue(reader.home, account, STATEMENT, made, now=now)


def issue_green_credit(
    reader: Reader,
    account: uuid.UUID,
    since: date,
    until: date,
    members: Collection[str],
    *,
    addressed_to: str,
    name: str | None = None,
    now: datetime,
) -> dict[str, Any]:
    """A certificate for a bank of what the person picked; that they agreed is kept with their consents."""
    today = received_day(reader.home, now)
    made = contents.green_credit(
        reader, account, since, until, members, addressed_to=addressed_to, today=today, name=name
    )
    told = f"tell {made.subject['addressedTo']} of {since} to {until}: {', '.join(sorted(set(members)))}"
    agreed = new_consent(str(account), CERTIFICATE, None, None, today.isoformat(), received_at(now), purpose=told)
    return issue(reader.home, account, GREEN_CREDIT, made, now=now, agreed=agreed)


def issue_gift(home: Home, account: uuid.UUID, gift: str, *, name: str | None = None, now: datetime) -> dict[str, Any]:
    """The certificate of a gift of one's own, with its proof in the log; ``not-found``, ``not-sealed``."""
    proof = receipt(home, account, gift)
    row: Any = home.donations.row(gift)
    day, (_, project) = received_day(home, datetime.fromisoformat(row.made_at)), project_named(home, row.project)
    points = None
    if row.unit.startswith(UNIT):
        shown = rules_named(home, row.unit.removeprefix(UNIT)).at(day)
        points = DonatedPoints(row.unit, shown.unit_name, shown.unit_name_zh, row.amount)
    given = Donation(
        reference=row.id,
        project=project.title,
        project_zh=project.title_zh,
        recipient=project.recipient,
        donated_on=day,
        points=points,
        reduction_mg=None if points is not None else row.amount,
        evidence=[{"type": "DonationInclusion", "log": home.values["origin"], "proof": proof.decode()}],
    )
    return issue_donation(home, account, given, name=name, now=now)


def issue_donation(
    home: Home, account: uuid.UUID, given: Donation, *, name: str | None = None, now: datetime
) -> dict[str, Any]:
    """The certificate of a donation."""
    return issue(home, account, DONATION, contents.donation(home, given, name=name), now=now)


def issue(
    home: Home,
    account: uuid.UUID,
    kind: str,
    made: Contents,
    *,
    now: datetime,
    agreed: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Sign a person's certificate and keep it; as :func:`issue_to`. ``too-many-certificates``."""
    if home.certificates.issued_since(str(account), received_at(now - timedelta(days=1))) >= MOST_A_DAY:
        raise refuse(
            "too-many-certificates",
            f"a person may have {MOST_A_DAY} certificates made a day",
            where="account",
            remedy="use one that was made before, or come back tomorrow",
        )
    return issue_to(home, str(account), kind, made, now=now, agreed=agreed)


def issue_to(
    home: Home,
    owner: str,
    kind: str,
    made: Contents,
    *,
    now: datetime,
    agreed: Mapping[str, Any] | None = None,
    identifier: str | None = None,
) -> dict[str, Any]:
    """Sign a certificate and keep it as ``owner``'s, an account or a holder of units; described, with ``credential``.

    ``agreed`` is the consent it rests on. With an ``identifier`` there is one, however often it is asked for. Raises
    ``issuer-missing``, ``public-url-missing``.
    """
    issuer, at, identifier = issuer_of(home), received_at(now), identifier or str(uuid.uuid4())
    with home.book.transaction() as con:
        known: Any = home.certificates.get(identifier)
        if known is not None and known.sealed is not None:
            text = opened_text(home, known)
            return {**_described(known._mapping, text), "credential": json.loads(text)}
        place = home.certificates.free_place(con, lambda number: f"{issuer.url}{STATUS_PATH}{number}")
        document = unsigned(
            name=f"urn:uuid:{identifier}",
            types=[TYPES[kind]],
            titles=TITLES[kind],
            issuer=issuer.said,
            subject=made.subject,
            evidence=[issuer.evidence, *made.evidence],
            valid_from=now,
            status=StatusPlace(place.address, place.place),
        )
        text = canonical(issuer.key.sign(document, created=moment_text(now))).decode()
        row = {
            "id": identifier,
            "account": owner,
            "kind": kind,
            "issued_at": at,
            "list": place.list,
            "place": place.place,
            "sealed": home.personal_keys.seal(text, place_of(certificate, "sealed", identifier)),
            "revoked_at": None,
            "reason": None,
            "consent": None if agreed is None else agreed["id"],
        }
        home.certificates.add(con, row)
        if agreed is not None:
            con.execute(consent.insert(), dict(agreed))
    return {**_described(row, text), "credential": json.loads(text)}


def _titles(texts: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"@value": text, "@language": language} for language, text in texts.items()]


# -- one's own ----------------------------------------------------------------------------------------------------


def own_certificates(home: Home, account: str, *, cursor: str | None = None, limit: int = 50) -> dict[str, Any]:
    """A person's certificates, the latest first. ``cursor-malformed``."""
    before = None if cursor is None else place_after(cursor, str, str)
    rows = home.certificates.of(_own(home, account), before, limit + 1)
    items = [_described(row._mapping, opened_text(home, row)) for row in rows[:limit]]
    following = cursor_of(rows[limit - 1].issued_at, rows[limit - 1].id) if len(rows) > limit else None
    return {"items": items, "next": following}


def own_certificate(home: Home, account: str, name: str) -> bytes:
    """One's own certificate, as it was signed; ``certificate-unknown``."""
    return opened_text(home, _own_row(home, account, name)).encode()


def revoke_own(home: Home, account: str, name: str, *, now: datetime) -> dict[str, Any]:
    """Take a certificate back, and the consent that it rests on; ``certificate-unknown``, ``certificate-revoked``."""
    row, at = _own_row(home, account, name), received_at(now)
    with home.book.transaction() as con:
        if not home.certificates.revoke(con, name, BY_PERSON, at):
            raise _revoked(name)
        if row.consent is not None:
            ended = {"revoked_at": at, "valid_until": received_day(home, now).isoformat()}
            con.execute(consent.update().where(consent.c.id == row.consent).values(**ended))
    return {"id": name, "status": "revoked", "revoked_at": at}


def revoke(home: Home, name: str, reason: str, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Revoke somebody's certificate; the reason is kept for good in the audit trail, so it must name nobody.

    ``certificate-unknown``, ``certificate-revoked``.
    """
    at = received_at(now)
    with home.book.transaction() as con:
        if not home.certificates.revoke(con, name, reason, at):
            raise _unknown(name) if home.certificates.get(name) is None else _revoked(name)
        subject = f"certificate {name}"
        home.audit.write(con, actor, REVOKED, subject, at=at, detail={"reason": reason})
    return {"id": name, "status": "revoked", "revoked_at": at}


def _own(home: Home, account: str) -> list[str]:
    return [str(each) for each in own_accounts(home, uuid.UUID(account))]


def _own_row(home: Home, account: str, name: str) -> Any:
    row = home.certificates.get(name)
    if row is None or row.account is None or row.account not in _own(home, account):
        raise _unknown(name)
    return row


def opened_text(home: Home, row: Any) -> str:
    """The credential of a row that was not taken away, as it was signed."""
    return home.personal_keys.open(row.sealed, place_of(certificate, "sealed", row.id))


def _described(row: Mapping[Any, Any], text: str) -> dict[str, Any]:
    subject = json.loads(text)["credentialSubject"]
    said = {name: subject[name] for name in ("since", "until", "state", "donatedOn", "addressedTo") if name in subject}
    return {
        "id": row["id"],
        "kind": row["kind"],
        "status": "revoked" if row["revoked_at"] is not None else "valid",
        "issued_at": row["issued_at"],
        "revoked_at": row["revoked_at"],
        "reason": row["reason"],
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        **said,
    }


def all_of(home: Home, accounts: Iterable[str]) -> list[dict[str, Any]]:
    """Every certificate of accounts with its credential, for a copy of a person's data."""
    rows = home.certificates.of(list(accounts), None, 1_000_000)
    opened = [(row, opened_text(home, row)) for row in rows]
    return [{**_described(row._mapping, text), "credential": json.loads(text)} for row, text in opened]


def _unknown(name: str) -> TanzhangError:
    return refuse(
        "certificate-unknown", f"there is no certificate {name[:60]}", where="certificate", remedy="look at the list"
    )


def _revoked(name: str) -> TanzhangError:
    return refuse("certificate-revoked", f"{name} was revoked before", where="certificate", remedy="nothing to do")


# -- what everybody may read --------------------------------------------------------------------------------------


def status_of(home: Home, number: int, *, now: datetime) -> bytes:
    """A status list as a signed credential; the same bytes for an hour, unless something is revoked or sealed.

    ``certificate-unknown`` where there is no such list, ``issuer-missing``, ``public-url-missing``.
    """
    address = home.certificates.address(number)
    if address is None:
        raise _unknown(f"status list {number}")
    issuer, revoked = issuer_of(home), home.certificates.revoked(number)
    hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    changed = max((datetime.fromisoformat(row.revoked_at) for row in revoked), default=hour)
    # Of the second after the change: moments here have no fractions, and nobody may think it was made before.
    made = max(hour, changed + timedelta(seconds=1) if changed > hour else hour)
    subject = {
        "id": f"{address}#list",
        "type": status_list.SUBJECT_TYPE,
        "statusPurpose": status_list.REVOCATION,
        "encodedList": status_list.encode_list(row.place for row in revoked),
    }
    document = unsigned(
        name=address,
        types=[status_list.LIST_TYPE],
        issuer=issuer.said,
        subject=subject,
        evidence=[issuer.evidence],
        valid_from=made,
        valid_until=made + STATUS_LASTS,
    )
    return canonical(issuer.key.sign(document, created=moment_text(made)))


def did_document(home: Home) -> dict[str, Any]:
    """The did:web document of the service, with every key of certificates; ``certificate-unknown``."""
    web, known = did_web(settings_of(home).public_url.rstrip("/")), _known_keys(home)
    if web is None or not known:
        raise _unknown("issuer")
    methods = [
        {"id": f"{web}#{text}", "type": "Multikey", "controller": web, "publicKeyMultibase": text}
        for text in map(public_key_text, known)
    ]
    return {
        "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"],
        "id": web,
        "alsoKnownAs": [did_key(key) for key in known],
        "verificationMethod": methods,
        "assertionMethod": [each["id"] for each in methods],
    }
