"""Partners as the operator registers, changes and suspends them, while processes run that take their reports.

What is said of a partner is a whole document. Each change is a new version with who and when, and a row of the audit
trail. A partner of the programme's own list gets its first version when something of it is changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from tanzhang.core.access import Actor
from tanzhang.core.action import EVIDENCE
from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.core.programme import Partner
from tanzhang.service.moments import received_at, received_day
from tanzhang.stores.home import Home

LIMITS = ("requests_per_s", "rows_per_s", "rows_per_day")
_ID = re.compile("[a-z0-9][a-z0-9_.-]{0,99}")  # as in catalogue/schemas/programme.schema.json
_CERTIFICATE = re.compile("[0-9a-f]{64}")
_CHANGED = ("name", "name_zh", "behaviours", "evidence", "limits", "signed", "certificate", "contract")
_NEW: dict[str, Any] = {
    "behaviours": None,
    "evidence": None,
    "suspended": None,
    "limits": dict.fromkeys(LIMITS),
    "signed": False,
    "certificate": None,
    "contract": {"also_serves": [], "from": None, "until": None},
}


def add_partner(home: Home, said: Mapping[str, Any], *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Register a partner: ``id``, ``name``, ``name_zh``, and what else :func:`change_partner` knows.

    ``partner-exists``, and what :func:`change_partner` raises.
    """
    name = str(said["id"])
    if not _ID.fullmatch(name):
        raise refuse(
            "partner-malformed",
            f"{name[:100]!r} cannot be the id of a partner",
            where="#/id",
            remedy="use small letters, digits, '_', '.' and '-', at most 100 of them, a letter or a digit first",
        )
    home.partners.look_again()
    if name in home.programme.partners:
        raise refuse(
            "partner-exists",
            f"{name} is a partner of {home.programme.id} already",
            where="#/id",
            remedy="change that partner, or choose another id",
        )
    changes = {key: value for key, value in said.items() if key != "id"}
    return _keep(home, "partner added", _with({"id": name, **_NEW}, changes), changes, 0, actor, now)


def change_partner(
    home: Home, partner: str, changes: Mapping[str, Any], *, version: int | None = None, actor: Actor, now: datetime
) -> dict[str, Any]:
    """Say some things anew: names, behaviours, evidence, limits, signed, certificate, contract.

    ``version`` is what the caller has seen, None for whichever there is. Raises all that is wrong together:
    ``unknown-behaviour``, ``unknown-evidence``, ``limit-malformed``, ``certificate-malformed``, ``day-malformed``,
    ``name-missing``; and ``unknown-partner``, ``partner-changed``.
    """
    current, document = _current(home, partner, version)
    return _keep(home, "partner changed", _with(document, changes), changes, current, actor, now)


def suspend_partner(
    home: Home, partner: str, reason: str, *, version: int | None = None, actor: Actor, now: datetime
) -> dict[str, Any]:
    """Let a partner report nothing more, for a reason; its keys open nothing. What it reported stands."""
    if not reason.strip():
        raise refuse("reason-missing", "no reason is given", where="reason", remedy="say why; the partner sees it")
    current, document = _current(home, partner, version)
    changed = {**document, "suspended": reason.strip()[:500]}
    return _keep(home, "partner suspended", changed, {"reason": changed["suspended"]}, current, actor, now)


def resume_partner(
    home: Home, partner: str, *, version: int | None = None, actor: Actor, now: datetime
) -> dict[str, Any]:
    """Let a suspended partner report again."""
    current, document = _current(home, partner, version)
    return _keep(home, "partner resumed", {**document, "suspended": None}, {}, current, actor, now)


def described_partner(home: Home, partner: str, *, now: datetime) -> dict[str, Any]:
    """What holds of a partner, its version (0: only the programme's list has it), and the rows it sent today.

    ``rows_today`` is null where there is no daily limit, since they are not counted then. ``unknown-partner``.
    """
    version, document = _current(home, partner, None)
    counted = document["limits"]["rows_per_day"] is not None
    today = home.partners.sent(partner, received_day(home, now).isoformat()) if counted else None
    return {**document, "version": version, "rows_today": None if today is None else str(today)}


def listed_partners(home: Home, after: str, limit: int) -> list[dict[str, Any]]:
    """Partners whose id comes after another, by id: id, names, whether suspended, version."""
    home.partners.look_again()
    versions = {row.partner: row.version for row in home.partners.latest()}
    names = sorted(name for name in home.programme.partners if name > after)[:limit]
    known = home.programme.partners
    return [
        {
            "id": name,
            "name": known[name].name,
            "name_zh": known[name].name_zh,
            "suspended": known[name].suspended,
            "version": versions.get(name, 0),
        }
        for name in names
    ]


def partner_history(home: Home, partner: str, before: int | None, limit: int) -> list[dict[str, Any]]:
    """Versions of a partner below one, the latest first, each with who said it and when. ``unknown-partner``."""
    _known(home, partner)
    return [
        {
            "version": row.version,
            "recorded_at": row.recorded_at,
            "role": row.role,
            "actor": row.actor,
            "partner": json.loads(row.document),
        }
        for row in home.partners.history(partner, before, limit)
    ]


def _known(home: Home, partner: str) -> Partner:
    home.partners.look_again()
    home.programme.check_partner(partner)
    return home.programme.partners[partner]


def _current(home: Home, partner: str, version: int | None) -> tuple[int, dict[str, Any]]:
    """The version of a partner and its document; ``partner-changed`` if the caller has seen another one."""
    listed = _known(home, partner)
    row = home.partners.version(partner)
    number = 0 if row is None else int(row.version)
    if version is not None and version != number:
        raise refuse(
            "partner-changed",
            f"{partner} has version {number} by now, not {version}",
            where=f"partner {partner}",
            remedy="read it again, and change what stands there",
        )
    if row is not None:
        document: dict[str, Any] = json.loads(row.document)
        return number, document
    own = {"id": listed.id, "name": listed.name, "name_zh": listed.name_zh}
    return 0, {**own, **_NEW, "behaviours": None if listed.behaviours is None else sorted(listed.behaviours)}


def _keep(
    home: Home,
    act: str,
    document: dict[str, Any],
    changes: Mapping[str, Any],
    current: int,
    actor: Actor,
    now: datetime,
) -> dict[str, Any]:
    _check(home, document)
    at, name = received_at(now), document["id"]
    version = home.partners.add_version(
        document,
        current,
        actor,
        at,
        also=lambda con: home.audit.write(con, actor, act, f"partner {name}", at=at, detail=changes),
    )
    return {**document, "version": version}


def _with(document: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A document with some members said anew; of limits and contract those that are named."""
    changed = {**document}
    for name, value in changes.items():
        if name not in _CHANGED:
            raise ValueError(f"{name} is no member of a partner")
        changed[name] = {**document[name], **value} if name in ("limits", "contract") else value
    if changed["behaviours"] is not None:
        changed["behaviours"] = sorted(set(changed["behaviours"]))
    return changed


def _check(home: Home, document: Mapping[str, Any]) -> None:
    """Refuse a document with all that is wrong in it."""
    problems = [
        Problem("name-missing", f"{name} is empty", f"#/{name}", "give the partner's name in both languages")
        for name in ("name", "name_zh")
        if not str(document.get(name) or "").strip()
    ]
    problems += [
        Problem("unknown-behaviour", f"{each} is not a behaviour of the catalogue", "#/behaviours", _SEE)
        for each in document["behaviours"] or ()
        if each not in home.catalogue.behaviour_names
    ]
    if document["evidence"] not in (None, *EVIDENCE):
        what = f"evidence class {document['evidence']} is not known"
        problems.append(Problem("unknown-evidence", what, "#/evidence", f"use one of {', '.join(EVIDENCE)}, or null"))
    for name in LIMITS:
        value = document["limits"][name]
        if value is not None and (not isinstance(value, int) or value < 1):
            what = f"{name} is {value}, and at least 1"
            problems.append(
                Problem("limit-malformed", what, f"#/limits/{name}", "use a whole number, or null for none")
            )
    if document["certificate"] is not None and not _CERTIFICATE.fullmatch(document["certificate"]):
        what = "the certificate is not named by 64 hexadecimal digits"
        remedy = "give the SHA-256 of the certificate in DER, in small letters"
        problems.append(Problem("certificate-malformed", what, "#/certificate", remedy))
    problems += [
        Problem("day-malformed", f"{day!r} is not a day", f"#/contract/{name}", "write an existing day as YYYY-MM-DD")
        for name in ("from", "until")
        if (day := document["contract"][name]) is not None and not _is_day(day)
    ]
    if problems:
        raise TanzhangError(problems)


_SEE = "see 'tanzhang catalogue list'"


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
