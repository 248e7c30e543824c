"""A person's own rights (PIPL): who looked, a copy of everything, being erased after thinking again.

docs/privacy.md says what is kept and what erasing leaves.
"""

from __future__ import annotations

import getpass
import io
import json
import os
import secrets
import tempfile
import uuid
import zipfile
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

from tanzhang.core.access import Role, secret_hash
from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.engine.personal import KEY_BYTES, PersonalKeys, personal_keys
from tanzhang.service.benefits import about_uses
from tanzhang.service.certificates import all_of
from tanzhang.service.consents import consents, links
from tanzhang.service.cursors import cursor_of, place_after
from tanzhang.service.donations import gifts
from tanzhang.service.erase import erase
from tanzhang.service.export import export_account
from tanzhang.service.friends import groups_of
from tanzhang.service.held import own_held
from tanzhang.service.joining import own_accounts
from tanzhang.service.links import spans_of
from tanzhang.service.mall import own_orders
from tanzhang.service.market.authorise import all_authorisations
from tanzhang.service.market.lots import shares_of
from tanzhang.service.market.pass_on import passings
from tanzhang.service.market.payback_payouts import about_payouts
from tanzhang.service.market.payback_statement import about as about_shares
from tanzhang.service.moments import received_at
from tanzhang.service.sign_in import settings_of
from tanzhang.stores.home import PERSONAL_KEYS, PERSONAL_VARIABLE, Home
from tanzhang.stores.register.people import access_log, person, person_identity, place_of

SELF = "self"
_EVERY = 1 << 31


# -- who looked -----------------------------------------------------------------------------------------------


def note_look(home: Home, account: uuid.UUID | str, *, role: str, who: str, what: str, now: datetime) -> None:
    """Keep that somebody read a person's data, or gave it away; before they have it."""
    row = {"account": str(account), "at": received_at(now), "role": role, "who": who, "what": what}
    home.people.add(access_log, row)


def looks(home: Home, account: str, *, cursor: str | None = None, limit: int = 50) -> dict[str, Any]:
    """Who looked at a person's data, the latest first. ``cursor-malformed``."""
    before = None if cursor is None else int(place_after(cursor, int)[0])
    rows = home.people.looks(account, before, limit + 1)
    items = [{"at": row.at, "role": row.role, "who": row.who, "what": row.what} for row in rows[:limit]]
    return {"items": items, "next": cursor_of(rows[limit - 1].id) if len(rows) > limit else None}


# -- a copy ---------------------------------------------------------------------------------------------------


def export_person(home: Home, account: str, *, now: datetime, receipts: bool = False) -> bytes:
    """Everything about a person as one ZIP file: themselves, and of each account what ``account export`` has."""
    note_look(home, account, role=Role.PERSON, who=SELF, what="export", now=now)
    buffer = io.BytesIO()
    at = now.astimezone(UTC).timetuple()[:6]
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, tempfile.TemporaryDirectory() as folder:
        said = json.dumps(about(home, account), ensure_ascii=False, indent=2) + "\n"
        archive.writestr(zipfile.ZipInfo("person.json", at), said, zipfile.ZIP_DEFLATED)
        for own in own_accounts(home, uuid.UUID(account)):
            path = Path(folder) / f"{own}.zip"
            try:
                export_account(home, own, path, now=now, receipts=receipts)
            except TanzhangError as error:
                if error.code not in ("unknown-account", "account-erased"):
                    raise
                continue
            with zipfile.ZipFile(path) as inner:
                for name in inner.namelist():
                    entry = zipfile.ZipInfo(f"{own}/{name}", at)
                    archive.writestr(entry, inner.read(name), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def about(home: Home, account: str) -> dict[str, Any]:
    """What is kept of a person beside their acts, sealed fields opened."""
    keys = home.personal_keys
    row = home.people.row(person, account=account)
    name = None
    if row is not None and row.display_name is not None:
        name = keys.open(row.display_name, place_of(person, "display_name", account))
    own = own_accounts(home, uuid.UUID(account))
    subjects = [
        {
            "kind": each.kind,
            "issuer": each.issuer,
            "subject": keys.open(each.sealed, place_of(person_identity, "sealed", each.hash)),
            "added_at": each.added_at,
            "used_at": each.used_at,
        }
        for each in home.people.rows(person_identity, account=account)
    ]
    return {
        "format": "tanzhang.person/1",
        "account": account,
        "created_at": None if row is None else row.created_at,
        "display_name": name,
        "erase_after": None if row is None else row.erase_after,
        "identities": subjects,
        "sessions": sessions(home, account),
        "consents": consents(home, account),
        "links": links(home, account),
        "donations": gifts(home, uuid.UUID(account)),
        "passings": passings(home, uuid.UUID(account)),
        "benefits": about_uses(home, uuid.UUID(account)),
        "payback": {"shares": about_shares(home, own), "payouts": about_payouts(home, uuid.UUID(account))},
        "certificates": all_of(home, [str(each) for each in own_accounts(home, uuid.UUID(account))]),
        "authorisations": all_authorisations(home, uuid.UUID(account)),
        "lots": shares_of(home, uuid.UUID(account)),
        "groups": groups_of(home, account),
        "points": points_kept(home, account),
        "orders": own_orders(home, own_accounts(home, uuid.UUID(account))),
        "held": own_held(home, uuid.UUID(account)),
        "access_log": looks(home, account, limit=1_000)["items"],
    }


def points_kept(home: Home, account: str) -> list[dict[str, Any]]:
    """What is kept of points of an account and of those that are part of it: lots, movements, what limits count."""
    found = []
    for own, unit in product(own_accounts(home, uuid.UUID(account)), home.points_runs.units()):
        kept = {
            "account": str(own),
            "unit": unit,
            "lots": [asdict(lot) for lot in home.points.lots(unit, own)],
            "moves": [dict(row._mapping) for row in home.points.moves(unit, own, limit=_EVERY)],
            "used": [
                {**row, "account": str(own), "period": row["period"].isoformat()}
                for row in home.points_runs.used(unit, [own.bytes]).to_pylist()
            ],
        }
        if kept["lots"] or kept["moves"] or kept["used"]:
            found.append(kept)
    return found


# -- sessions -------------------------------------------------------------------------------------------------


def sessions(home: Home, account: str, token: str | None = None) -> list[dict[str, Any]]:
    """Where a person is signed in; ``this`` is the session of ``token``."""
    this = None if token is None else _session_id(secret_hash(token))
    return [
        {
            "id": _session_id(row.token_hash),
            "created_at": row.created_at,
            "expires_at": row.expires_at,
            "agent": row.agent,
            "this": _session_id(row.token_hash) == this,
        }
        for row in home.access.sessions(Role.PERSON, account)
    ]


def end_session(home: Home, account: str, name: str) -> None:
    """Sign out elsewhere; ``not-found``."""
    for row in home.access.sessions(Role.PERSON, account):
        if _session_id(row.token_hash) == name:
            home.access.end_session(row.token_hash)
            return
    raise refuse("not-found", "there is no such session of yours", where="path: id", remedy="look at your sessions")


def check_fresh(home: Home, token: str | None, *, now: datetime) -> None:
    """Refuse somebody who signed in too long ago for what they ask: ``sign-in-not-fresh``."""
    lasts = settings_of(home).fresh_s
    row = None if token is None else home.access.session(secret_hash(token))
    if row is None or row.created_at <= received_at(now - timedelta(seconds=lasts)):
        raise refuse(
            "sign-in-not-fresh",
            f"this needs a sign-in of the last {lasts} seconds",
            where="session",
            remedy="sign out, sign in again, and ask once more",
        )


def _session_id(token_hash: str) -> str:
    return secret_hash(token_hash)[:24]


# -- being erased ---------------------------------------------------------------------------------------------


def ask_erasure(home: Home, account: str, *, now: datetime) -> dict[str, Any]:
    """Have a person erased after the waiting time of the settings; asked again the first time stands."""
    row = home.people.row(person, account=account)
    if row is None or row.erase_after is None:
        waits = timedelta(days=settings_of(home).erasure_waits_days)
        home.people.ask_erasure(account, received_at(now + waits), received_at(now))
    return erasure_state(home, account)


def think_again(home: Home, account: str) -> dict[str, Any]:
    """Do not have a person erased after all."""
    home.people.change(person, {"erase_after": None}, account=account)
    return erasure_state(home, account)


def erasure_state(home: Home, account: str) -> dict[str, Any]:
    """Whether a person asked to be erased, and when that will be."""
    row = home.people.row(person, account=account)
    after = None if row is None else row.erase_after
    return {"status": "none" if after is None else "waiting", "erase_after": after}


def erase_due(home: Home, *, now: datetime) -> dict[str, Any]:
    """Erase everybody who asked for it and whose waiting time is over, all at once; see :func:`erase.erase`.

    Reports that are not settled yet stay; their accounts are remembered, and erased again when this runs after the
    last window closed. Killed anywhere, the same call again comes to the same end.
    """
    # Whoever became part of another account meanwhile is that account's to erase.
    due = [each for each in home.people.due(received_at(now)) if home.joinings.of_source(each) is None]
    asked = [str(own) for account in due for own in own_accounts(home, uuid.UUID(account))]
    accounts = home.people.to_erase([*asked, *_children(home, asked)], received_at(now))
    if not accounts:
        return {"status": "nothing", "persons": 0}
    done = erase(home, map(uuid.UUID, accounts), reason="asked for by the person", now=now)
    later = {each["account"]: _after(each["last_closes_on"]) for each in done["open"]}
    home.people.erased(accounts, later)
    return {**done, "persons": len(due)}


def _children(home: Home, accounts: list[str]) -> list[str]:
    """The platform accounts that are linked to none but these."""
    con = home.connect()
    found = {child for account in accounts for child, *_ in spans_of(home, con, account=account)}
    known = {*accounts, *found}
    return [
        child for child in sorted(found) if all(into in known for _, into, _, _ in spans_of(home, con, child=child))
    ]


def _after(day: str) -> str:
    """A moment after a local day is over, wherever it is."""
    return (date.fromisoformat(day) + timedelta(days=2)).isoformat()


def note_operator(home: Home, account: uuid.UUID, what: str, *, now: datetime) -> None:
    """Keep that the operator looked at an account from the command line."""
    note_staff(home, account, role=Role.OPERATOR, who=getpass.getuser(), what=what, now=now)


def note_staff(home: Home, account: uuid.UUID, *, role: Role, who: str, what: str, now: datetime) -> None:
    """Keep that one of the staff looked at an account, if there is a person who can see that it was so."""
    whose = home.joinings.root(str(account))
    if home.people.row(person, account=whose) is not None:
        note_look(home, whose, role=role, who=who, what=what, now=now)


# -- keys -----------------------------------------------------------------------------------------------------


def rotate_keys(home: Home) -> dict[str, Any]:
    """Seal every personal field with a new key, and drop the keys before the last one.

    That one stays for whoever is sealing with it at this moment; the next rotation drops it. Killed in between, the
    same call again comes to the same end. ``personal-key-in-environment`` where the keys are not the home's own.
    """
    if os.environ.get(PERSONAL_VARIABLE):
        raise refuse(
            "personal-key-in-environment",
            f"the keys come from {PERSONAL_VARIABLE}",
            where=PERSONAL_VARIABLE,
            remedy="unset it and use keys/personal.key; or put a new key in front there, and keep the others behind it",
        )
    path = home.folder / "keys" / PERSONAL_KEYS
    if not path.is_file() and not home.people.keys_used():
        home.keep_personal_keys(
            personal_keys(secrets.token_bytes(KEY_BYTES))
        )  # of a home from before there were persons
    home.keep_personal_keys(home.personal_keys.with_new())
    keys = home.personal_keys
    sealed = home.people.seal_again(keys)
    newest = [*keys.keys][:2]
    kept = {*newest, *home.people.keys_used()}
    home.keep_personal_keys(PersonalKeys({name: key for name, key in keys.keys.items() if name in kept}))
    return {
        "status": "rotated",
        "file": f"keys/{PERSONAL_KEYS}",
        "key": keys.current,
        "sealed_again": sealed,
        "kept": [name for name in keys.keys if name in kept],
    }
