"""Organisations that verify lots (核查机构): what the operator says of each, version by version."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any

import msgspec

from tanzhang.core.access import Actor
from tanzhang.core.errors import refuse
from tanzhang.core.methodology import canonical_json
from tanzhang.service.moments import received_at
from tanzhang.stores.home import Home

Id = Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9_.-]{0,63}$", examples=["green_audit"])]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=2_000)]


class VerifierSaid(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an operator says of a verifier.

    ``accredited`` says as what and by whom it is accredited, ``source`` where that can be read. One that is
    ``suspended`` is handed nothing and does nothing more; what it decided stands.
    """

    title: Text
    title_zh: Text
    accredited: Text
    source: Text
    suspended: bool = False


def put_verifier(home: Home, name: str, said: VerifierSaid, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Say a verifier anew, as a whole; ``verifier-malformed``. Saying the same again changes nothing."""
    try:
        msgspec.convert(name, Id)
        said = msgspec.convert(msgspec.to_builtins(said), VerifierSaid)
    except msgspec.ValidationError as error:
        raise refuse(
            "verifier-malformed",
            f"{name[:80]!r}: {error}",
            where="verifier",
            remedy="docs/verification.md shows what is said of a verifier",
        ) from None
    at = received_at(now)
    with home.book.transaction() as con:
        version, is_new = home.verifications.said.say(con, name, canonical_json(msgspec.to_builtins(said)), at)
        if is_new:
            home.audit.write(con, actor, "verifier said", f"verifier {name}", at=at, detail={"version": version})
    return verifier_page(home, name)


def verifier_page(home: Home, name: str) -> dict[str, Any]:
    """What holds of a verifier; ``unknown-verifier``."""
    row = home.verifications.said.one(name)
    if row is None:
        remedy = "say who it is first: tanzhang verification verifier; those there are: tanzhang verification verifiers"
        raise refuse("unknown-verifier", f"there is no verifier {name[:80]!r}", where="verifier", remedy=remedy)
    return {"id": row.id, "version": row.version, **json.loads(row.document)}


def verifiers(home: Home, after: str = "", limit: int | None = None) -> list[dict[str, Any]]:
    """Verifiers whose id comes after another, by id."""
    rows = home.verifications.said.all(after, limit)
    return [{"id": row.id, "version": row.version, **json.loads(row.document)} for row in rows]


def check_standing(home: Home, name: str) -> None:
    """Refuse a verifier that is not there or suspended: ``unknown-verifier``, ``verifier-suspended``."""
    if verifier_page(home, name)["suspended"]:
        remedy = "hand the lot to another one, or say that it is not suspended any more"
        raise refuse("verifier-suspended", f"verifier {name} is suspended", where="verifier", remedy=remedy)
