"""What is kept of partners' requests, and the keys by which they sign them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, delete, get, post
from litestar.params import FromPath, JSONBody, QueryParameter

from tanzhang.api.access import allow
from tanzhang.api.actors import OF_A_PARTNER, actor_of, check_managing, partner_meant
from tanzhang.api.given import Now, TheCaller, TheHome
from tanzhang.api.paging import Cursor, Limit, Page, number_after, number_named, page_of, size_of
from tanzhang.core.access import Role, Scope
from tanzhang.core.errors import refuse
from tanzhang.service import signatures
from tanzhang.service.deliveries import deliveries_of, delivery_of

_READING = allow(Role.PARTNER, Role.ENTERPRISE, Role.OPERATOR, scope=Scope.REPORT)
_MANAGING = allow(Role.OPERATOR, Role.ENTERPRISE)
_KEYS = "/v1/partners/{partner:str}/signing-keys"
Of = Annotated[str | None, QueryParameter(name="partner", description="Whose; callers of a partner leave it out.")]
Key = Annotated[str | None, QueryParameter(name="key", description="Idempotency-Key of the request.")]


class NewSigningKey(msgspec.Struct, forbid_unknown_fields=True):
    """How a partner is going to sign: by its own Ed25519 key, or by a shared secret that is made here."""

    algorithm: Annotated[str, msgspec.Meta(description="ed25519 or hmac-sha256", examples=["ed25519"])]
    public_key: Annotated[
        str | None,
        msgspec.Meta(
            description="Base64 of the 32 bytes of the Ed25519 public key.",
            examples=["11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="],
        ),
    ] = None


@get("/v1/deliveries", opt=_READING, sync_to_thread=True, tags=["reports"])
def list_(
    home: TheHome, caller: TheCaller, of: Of = None, key: Key = None, cursor: Cursor = None, limit: Limit = None
) -> Page:
    """A partner's requests that reports came by, the newest first, or the one with an Idempotency-Key."""
    partner, size = partner_meant(caller, of), size_of(limit)
    return page_of(deliveries_of(home, partner, key, number_after(cursor), size + 1), size, "id")


@get("/v1/deliveries/{delivery:str}", opt=_READING, sync_to_thread=True, tags=["reports"])
def show(home: TheHome, caller: TheCaller, delivery: FromPath[str]) -> dict[str, Any]:
    """What is kept of one request: digests of what was sent and answered, and the sender's signature over it."""
    found = delivery_of(home, number_named(delivery, "delivery"))
    if caller.role in OF_A_PARTNER and caller.partner != found["partner"]:
        raise refuse("not-found", f"there is no delivery {delivery}", where="delivery", remedy="list the deliveries")
    return found


@post(_KEYS, opt=_MANAGING, sync_to_thread=True, tags=["keys"])
def add_key(
    home: TheHome,
    now: Now,
    caller: TheCaller,
    request: Request[Any, Any, Any],
    partner: FromPath[str],
    data: JSONBody[NewSigningKey],
) -> dict[str, Any]:
    """Add a key to sign requests by; ``id`` is its keyid. A shared secret is shown this once."""
    check_managing(home, caller, partner)
    actor = actor_of(request, caller)
    return signatures.add_signing_key(home, partner, data.algorithm, data.public_key, actor=actor, now=now)


@get(_KEYS, opt=_MANAGING, sync_to_thread=True, tags=["keys"])
def list_keys(home: TheHome, caller: TheCaller, partner: FromPath[str]) -> dict[str, Any]:
    """A partner's signing keys, the newest first; all on one page."""
    check_managing(home, caller, partner)
    return {"items": signatures.signing_keys(home, partner), "next": None}


@delete(f"{_KEYS}/{{key:str}}", opt=_MANAGING, sync_to_thread=True, status_code=200, tags=["keys"])
def revoke_key(
    home: TheHome,
    now: Now,
    caller: TheCaller,
    request: Request[Any, Any, Any],
    partner: FromPath[str],
    key: FromPath[str],
) -> dict[str, Any]:
    """Let a key sign nothing from now on; what it signed stays proved."""
    check_managing(home, caller, partner)
    return signatures.revoke_signing_key(home, partner, key, actor=actor_of(request, caller), now=now)


handlers = [list_, show, add_key, list_keys, revoke_key]
