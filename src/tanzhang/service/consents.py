"""Consents: what a person agreed to, from when until when, for what; and the links and mergings that rest on them.

A partner makes a token for one of its users, the person who is signed in shows it and agrees: two sides have said that
the platform account is theirs. Tokens work once and for minutes; only hashes of them are kept. A partner learns of the
person nothing but a pseudonym of its own.
"""

from __future__ import annotations

import secrets
import uuid
from datetime import date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import segno
import sqlalchemy as sa

from tanzhang.core.access import new_token, secret_hash
from tanzhang.core.claim import CHILD, identity
from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.service.friends import FRIENDS, PURPOSE, end_membership
from tanzhang.service.joining import LINK, MERGE, described, join, own_accounts
from tanzhang.service.moments import received_at, received_day
from tanzhang.service.outbox import telling
from tanzhang.service.parting import part
from tanzhang.service.sign_in import check_return, pseudonym_for, settings_of
from tanzhang.stores.home import Home
from tanzhang.stores.register.carrying import joining
from tanzhang.stores.register.people import consent, join_token, link_begun, person, person_identity, place_of

DISPLAY_NAME, CERTIFICATE = "display_name", "certificate"
PURPOSES = {
    LINK: "book what this platform account earns in the person's account, and count an act once over all platforms",
    DISPLAY_NAME: "show the name instead of a pseudonym on rankings, where everybody can read it",
    FRIENDS: PURPOSE,
}
"""What each scope of consent is for, as it is shown and kept with the consent."""
_NAME_LENGTH = 20


# -- tokens ---------------------------------------------------------------------------------------------------


def new_link_token(home: Home, partner: str, subject: str, *, now: datetime) -> dict[str, Any]:
    """A token that links a partner's user to whoever shows it; ``token`` and ``url`` are given this once."""
    source = identity(home.identity_key, CHILD, partner, subject)
    made = _new_token(home, LINK, str(source), partner, now)
    url = f"{settings_of(home).public_url.rstrip('/')}/link#{made['token']}"
    return {**made, "url": url, "qr_svg": segno.make(url, error="m").svg_inline(scale=4)}


def new_merge_token(home: Home, account: str, *, now: datetime) -> dict[str, Any]:
    """A token by which an account becomes part of that of whoever shows it; its owner has signed in just now."""
    return _new_token(home, MERGE, account, None, now)


def _new_token(home: Home, kind: str, source: str, partner: str | None, now: datetime) -> dict[str, Any]:
    token, name = new_token(), secrets.token_hex(12)
    ends = received_at(now + timedelta(seconds=settings_of(home).link_token_lasts_s))
    row = {
        "id": name,
        "token_hash": secret_hash(token),
        "kind": kind,
        "partner": partner,
        "source": source,
        "created_at": received_at(now),
        "expires_at": ends,
        "used_at": None,
        "joining": None,
        "account": None,
    }
    home.people.add(join_token, row)
    return {"id": name, "token": token, "expires_at": ends}


def link_token_state(home: Home, partner: str, name: str, *, now: datetime) -> dict[str, Any]:
    """What became of a partner's token: ``open``, ``expired``, ``linked`` or ``ended``; ``not-found``."""
    row = home.people.row(join_token, id=name, partner=partner)
    if row is None:
        raise refuse("not-found", "there is no such token", where="path: id", remedy="use an id of your own tokens")
    joined = None if row.joining is None else home.joinings.get(row.joining)
    if row.used_at is None:
        state = "open" if row.expires_at > received_at(now) else "expired"
    else:
        state = "linked" if joined is not None and joined.ended_at is None else "ended"
    told = pseudonym_for(home, partner, row.account) if state == "linked" else None
    return {"id": name, "state": state, "expires_at": row.expires_at, "used_at": row.used_at, "person": told}


def _token(home: Home, token: str, kind: str, now: datetime) -> Any:
    row = home.people.row(join_token, token_hash=secret_hash(token), kind=kind)
    if row is None or row.expires_at <= received_at(now):
        raise refuse(
            "token-unknown",
            "this token is not known, or no longer",
            where="#/token",
            remedy="ask for a new one; a token lasts some minutes",
        )
    if row.used_at is not None:
        raise _used()
    return row


def _used() -> TanzhangError:
    return refuse("token-used", "this token was used already", where="#/token", remedy="ask for a new one")


def _use(con: sa.Connection, row: Any, account: str, link: str, at: str) -> None:
    unused = (join_token.c.id == row.id) & join_token.c.used_at.is_(None)
    values = {"used_at": at, "account": account, "joining": link}
    if con.execute(join_token.update().where(unused).values(**values)).rowcount != 1:
        raise _used()


# -- links and mergings ---------------------------------------------------------------------------------------


def link_by_token(
    home: Home, account: str, token: str, *, since: date | None = None, carry: bool = True, now: datetime
) -> dict[str, Any]:
    """Link the platform account of a partner's token, with the person's consent; see :func:`joining.join`.

    Raises as well ``token-unknown``, ``token-used``.
    """
    row = _token(home, token, LINK, now)
    at = received_at(now)
    tell = telling(home, "linked", row.partner, {"token_sha256": row.token_hash}, now=now)

    def also(con: sa.Connection, name: str) -> None:
        _use(con, row, account, name, at)
        begin = con.execute(sa.select(joining.c.valid_from).where(joining.c.id == name)).scalar_one()
        con.execute(consent.insert(), new_consent(account, LINK, row.partner, name, begin, at))
        tell(con)

    return join(
        home,
        uuid.UUID(row.source),
        uuid.UUID(account),
        kind=LINK,
        partner=row.partner,
        since=since,
        carry=carry,
        now=now,
        also=also,
    )


def begin_link(home: Home, account: str, partner: str, *, return_to: str = "/", now: datetime) -> str:
    """Where to send the browser of a person who wants to link an account at a partner.

    The partner asks who its user is, makes a link token for them, and sends the browser back with it and ``state``.
    Raises ``partner-page-unknown``, ``return-malformed``.
    """
    settings = settings_of(home)
    page = settings.partner_pages.get(partner)
    if page is None:
        raise refuse(
            "partner-page-unknown",
            f"nobody is sent to {partner} to link an account",
            where="path: partner",
            remedy=f"use one of {', '.join(sorted(settings.partner_pages)) or 'none'}, or a token of the partner",
        )
    check_return(return_to)
    state = new_token()
    row = {
        "state": secret_hash(state),
        "account": account,
        "partner": partner,
        "return_to": return_to,
        "expires_at": received_at(now + timedelta(seconds=settings.link_token_lasts_s)),
    }
    home.people.add(link_begun, row)
    query = {"state": state, "redirect_uri": f"{settings.public_url.rstrip('/')}/v1/me/links/return"}
    return f"{page}{'&' if '?' in page else '?'}{urlencode(query)}"


def finish_link(home: Home, account: str, *, state: str, token: str, now: datetime) -> str:
    """Link what a partner sent a person back with; the page to go on to.

    Raises ``link-not-begun`` for an answer that this person did not ask for, or of another partner, or too late; else
    as :func:`link_by_token`.
    """
    begun = home.people.take(link_begun, secret_hash(state), received_at(now))
    row = home.people.row(join_token, token_hash=secret_hash(token), kind=LINK)
    if begun is None or begun.account != account or (row is not None and row.partner != begun.partner):
        raise refuse(
            "link-not-begun",
            "you did not ask to link an account so, or too long ago",
            where="link",
            remedy="begin again",
        )
    link_by_token(home, account, token, now=now)
    return str(begun.return_to)


def unlink(home: Home, account: str, name: str, *, now: datetime) -> dict[str, Any]:
    """End a link of one's own; what the platform account brought goes back to it. ``not-found``, ``joining-ended``."""
    _check_own(home, account, name, LINK)
    at, day = received_at(now), received_day(home, now).isoformat()

    def also(con: sa.Connection) -> None:
        own = (consent.c.joining == name) & consent.c.revoked_at.is_(None)
        con.execute(consent.update().where(own).values(revoked_at=at, valid_until=day))

    return part(home, name, now=now, also=also)


def merge_by_token(home: Home, account: str, token: str, *, now: datetime) -> dict[str, Any]:
    """Make the account of a token part of this one: its platforms, what it holds, and what it is signed in to with.

    Whoever is signed in to the other account is no longer; if it was to be erased, it is not any more. Raises as
    :func:`link_by_token`.
    """
    row = _token(home, token, MERGE, now)
    at = received_at(now)

    def also(con: sa.Connection, name: str) -> None:
        _use(con, row, account, name, at)
        own = person_identity.c.account == row.source
        con.execute(person_identity.update().where(own).values(account=account))
        con.execute(person.update().where(person.c.account == row.source).values(erase_after=None))

    made = join(home, uuid.UUID(row.source), uuid.UUID(account), kind=MERGE, now=now, also=also)
    home.access.end_sessions("person", row.source)
    return made


def split(home: Home, account: str, name: str, *, now: datetime) -> dict[str, Any]:
    """Undo a merging: the other account has again what it brought, its platforms and its identities.

    What was booked while they were one stays. ``not-found``, ``joining-ended``.
    """
    row = _check_own(home, account, name, MERGE)

    def also(con: sa.Connection) -> None:
        own = (person_identity.c.account == account) & (person_identity.c.origin == row.source)
        con.execute(person_identity.update().where(own).values(account=row.source))

    return part(home, name, now=now, also=also)


def links(home: Home, account: str) -> list[dict[str, Any]]:
    """Links and mergings into an account, and into those that are part of it, the latest first."""
    rows = [row for own in _own(home, account) for row in home.joinings.into(own)]
    rows.sort(key=lambda row: (row.made_at, row.id), reverse=True)
    return [described(row._mapping) for row in rows]


def _check_own(home: Home, account: str, name: str, kind: str) -> Any:
    row = home.joinings.get(name)
    if row is None or row.kind != kind or row.target not in _own(home, account):
        raise refuse("not-found", "there is no such link of yours", where="path: id", remedy="look at your links")
    return row


def _own(home: Home, account: str) -> list[str]:
    return [str(each) for each in own_accounts(home, uuid.UUID(account))]


# -- consents -------------------------------------------------------------------------------------------------


def consents(home: Home, account: str) -> list[dict[str, Any]]:
    """Everything the person agreed to and no longer agrees to, the latest first."""
    rows = [row for own in _own(home, account) for row in home.people.rows(consent, account=own)]
    rows.sort(key=lambda row: (row.given_at, row.id), reverse=True)
    return [_described(row._mapping) for row in rows]


def consent_of(home: Home, account: str, name: str) -> dict[str, Any]:
    """One consent of a person; ``not-found``."""
    return _described(_consent_row(home, account, name)._mapping)


def _consent_row(home: Home, account: str, name: str) -> Any:
    row = home.people.row(consent, id=name)
    if row is None or row.account not in _own(home, account):
        raise refuse("not-found", "there is no such consent", where="path: id", remedy="look at your consents")
    return row


def _described(row: Any) -> dict[str, Any]:
    names = ("id", "scope", "purpose", "partner", "given_at", "revoked_at")
    said = {name: row[name] for name in names}
    return {**said, "link": row["joining"], "from": row["valid_from"], "until": row["valid_until"]}


def show_name(home: Home, account: str, name: str, *, now: datetime) -> dict[str, Any]:
    """Agree to be shown under a name; the consent. ``name-malformed``. An earlier name gives way to it."""
    wanted = " ".join(name.split())
    if not 0 < len(wanted) <= _NAME_LENGTH or not wanted.isprintable() or wanted.startswith("*"):
        raise refuse(
            "name-malformed",
            "this is not a name that can be shown",
            where="#/name",
            remedy=f"give 1 to {_NAME_LENGTH} characters that can be seen, the first no *",
        )
    at, day = received_at(now), received_day(home, now).isoformat()
    for row in home.people.rows(consent, account=account, scope=DISPLAY_NAME, revoked_at=None):
        home.people.change(consent, {"revoked_at": at, "valid_until": day}, id=row.id)
    given = new_consent(account, DISPLAY_NAME, None, None, day, at)
    home.people.add(consent, given)
    home.people.name(account, home.personal_keys.seal(wanted, place_of(person, "display_name", account)), at)
    return _described(given)


def revoke(home: Home, account: str, name: str, *, now: datetime) -> dict[str, Any]:
    """Take a consent back, and with it what rests on it; ``not-found``, ``consent-revoked``."""
    row = _consent_row(home, account, name)
    if row.revoked_at is not None:
        raise refuse("consent-revoked", "this consent was taken back before", where="path: id", remedy="nothing to do")
    at, day = received_at(now), received_day(home, now).isoformat()
    if row.scope == LINK:
        unlink(home, account, row.joining, now=now)
    elif row.scope == CERTIFICATE:
        with home.book.transaction() as con:
            home.certificates.revoke_by_consent(con, name, "its consent was taken back", at)
            con.execute(consent.update().where(consent.c.id == name).values(revoked_at=at, valid_until=day))
    elif row.scope == FRIENDS:
        end_membership(home, name, now=now)
    else:
        home.people.change(person, {"display_name": None}, account=row.account)
        home.people.change(consent, {"revoked_at": at, "valid_until": day}, id=name)
    return consent_of(home, account, name)


class ShownNames(dict[uuid.UUID, str]):
    """Account -> the name its person agreed to be shown under; looked up when it is asked for."""

    def __init__(self, home: Home) -> None:
        super().__init__()
        self._home, self._keys = home, home.personal_keys

    def __bool__(self) -> bool:
        return True

    def get(self, key: uuid.UUID, default: Any = None) -> Any:
        account = str(key)
        row = self._home.people.row(person, account=account)
        if row is None or row.display_name is None:
            return default
        return self._keys.open(row.display_name, place_of(person, "display_name", account))


def new_consent(
    account: str, scope: str, partner: str | None, link: str | None, day: str, at: str, *, purpose: str | None = None
) -> dict[str, Any]:
    """A consent as it is kept; ``purpose`` is that of its scope by default."""
    return {
        "id": secrets.token_hex(12),
        "account": account,
        "scope": scope,
        "purpose": purpose or PURPOSES[scope],
        "partner": partner,
        "joining": link,
        "valid_from": day,
        "valid_until": None,
        "given_at": at,
        "revoked_at": None,
    }
