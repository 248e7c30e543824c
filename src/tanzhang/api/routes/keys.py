"""Keys of partners: issued, listed, rotated and revoked by the operator or an owner of the enterprise."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import msgspec
from litestar import Request, delete, get, post
from litestar.params import FromPath, JSONBody

from tanzhang.api.access import Recogniser, allow
from tanzhang.api.actors import actor_of, check_managing
from tanzhang.api.given import Now, TheCaller, TheHome
from tanzhang.core.access import Caller, Role
from tanzhang.core.errors import refuse
from tanzhang.service import access as service

_MANAGING = allow(Role.OPERATOR, Role.ENTERPRISE)
_TAGS = ["keys"]
Days = Annotated[int, msgspec.Meta(ge=1, le=3650)]


class NewKey(msgspec.Struct, forbid_unknown_fields=True):
    """A key to be issued."""

    scopes: Annotated[list[str], msgspec.Meta(examples=[["report", "ledger"]])]
    label: Annotated[str, msgspec.Meta(max_length=100, examples=["gate servers"])] = ""
    lasts_days: Annotated[Days | None, msgspec.Meta(description="null for a key without an end")] = None


class Rotation(msgspec.Struct, forbid_unknown_fields=True):
    """How long the old key still opens the door."""

    old_ends_in_hours: Annotated[int, msgspec.Meta(ge=0, le=24 * 90, examples=[24])] = 24 * 7


@post("/v1/partners/{partner:str}/keys", opt=_MANAGING, sync_to_thread=True, tags=_TAGS)
def issue(
    home: TheHome,
    now: Now,
    caller: TheCaller,
    request: Request[Any, Any, Any],
    partner: FromPath[str],
    data: JSONBody[NewKey],
) -> dict[str, Any]:
    """Issue a key; ``key`` is shown this once."""
    _check(home, caller, partner)
    lasts = None if data.lasts_days is None else timedelta(days=data.lasts_days)
    actor = actor_of(request, caller)
    return service.issue_key(home, partner, data.scopes, label=data.label, lasts=lasts, actor=actor, now=now)


@get("/v1/partners/{partner:str}/keys", opt=_MANAGING, sync_to_thread=True, tags=_TAGS)
def list_(home: TheHome, caller: TheCaller, partner: FromPath[str]) -> dict[str, Any]:
    """A partner's keys, the newest first, with the day each was last used on; all on one page."""
    _check(home, caller, partner)
    return {"items": [service.described_key(row) for row in home.access.keys(partner)], "next": None}


@post("/v1/partners/{partner:str}/keys/{key:str}/rotate", opt=_MANAGING, sync_to_thread=True, tags=_TAGS)
def rotate(
    home: TheHome,
    now: Now,
    caller: TheCaller,
    request: Request[Any, Any, Any],
    partner: FromPath[str],
    key: FromPath[str],
    data: JSONBody[Rotation],
) -> dict[str, Any]:
    """A new key with the same scopes; the old one ends after a while."""
    _check(home, caller, partner, key)
    actor, ends_in = actor_of(request, caller), timedelta(hours=data.old_ends_in_hours)
    return service.rotate_key(home, key, ends_in=ends_in, actor=actor, now=now)


@delete("/v1/partners/{partner:str}/keys/{key:str}", opt=_MANAGING, sync_to_thread=True, status_code=200, tags=_TAGS)
def revoke(
    home: TheHome,
    now: Now,
    caller: TheCaller,
    request: Request[Any, Any, Any],
    partner: FromPath[str],
    key: FromPath[str],
) -> dict[str, Any]:
    """Let a key open nothing from now on; other processes know it within seconds."""
    _check(home, caller, partner, key)
    found = service.revoke_key(home, key, actor=actor_of(request, caller), now=now)
    recogniser: Recogniser = request.app.state.recogniser
    recogniser.forget()
    return found


def _check(home: Any, caller: Caller, partner: str, key: str | None = None) -> None:
    check_managing(home, caller, partner)
    if key is not None and service.key_named(home, key).partner != partner:
        raise refuse("not-found", f"{partner} has no such key", where="key", remedy="list the keys of the partner")


handlers = [issue, list_, rotate, revoke]
