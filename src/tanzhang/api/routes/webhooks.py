"""Webhooks of partners, their delivery log, and the rows of a batch that messages point to."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.params import FromPath, JSONBody, QueryParameter

from tanzhang.api.access import allow
from tanzhang.api.actors import OF_A_PARTNER, actor_of, check_owner, partner_meant
from tanzhang.api.conditional import check_if_match, private_json
from tanzhang.api.given import Now, TheCaller, TheHome
from tanzhang.api.paging import Cursor, Limit, Page, number_after, number_named, page_of, size_of, text_after
from tanzhang.core.access import Caller, Role, Scope
from tanzhang.core.errors import refuse
from tanzhang.service import webhooks as service
from tanzhang.service.batch_rows import batch_rows

_OWN = allow(Role.PARTNER, Role.ENTERPRISE, Role.OPERATOR, scope=Scope.WEBHOOKS)
_TAGS = ["webhooks"]
Of = Annotated[str | None, QueryParameter(name="partner", description="Whose; callers of a partner leave it out.")]
_ONE = "/v1/webhooks/{webhook:str}"


class NewWebhook(msgspec.Struct, forbid_unknown_fields=True):
    """Where messages go, and which."""

    url: Annotated[str, msgspec.Meta(max_length=2_000, examples=["https://metro.example/hooks/tanzhang"])]
    types: Annotated[list[str], msgspec.Meta(examples=[["settled", "duplicate", "withdrawn"]])]


class Replay(msgspec.Struct, forbid_unknown_fields=True):
    """One message by its id, or all since a moment; one of the two."""

    message: Annotated[str | None, msgspec.Meta(examples=["msg_17"])] = None
    since: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


@post("/v1/webhooks", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def register(
    home: TheHome,
    now: Now,
    caller: TheCaller,
    request: Request[Any, Any, Any],
    data: JSONBody[NewWebhook],
    of: Of = None,
) -> dict[str, Any]:
    """Register a webhook; ``secret`` (Standard Webhooks) is shown this once."""
    check_owner(home, caller)
    partner = partner_meant(caller, of)
    return service.register(home, partner, data.url, data.types, actor=actor_of(request, caller), now=now)


@get("/v1/webhooks", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def list_(home: TheHome, caller: TheCaller, of: Of = None) -> dict[str, Any]:
    """A partner's webhooks, the newest first; all on one page."""
    return {"items": [service.described(row) for row in home.webhooks.of(partner_meant(caller, of))], "next": None}


@get(_ONE, opt=_OWN, sync_to_thread=True, tags=_TAGS)
def show(home: TheHome, caller: TheCaller, request: Request[Any, Any, Any], webhook: FromPath[str]) -> Response[Any]:
    """One webhook, without its secret."""
    _check(home, caller, webhook, changing=False)
    return private_json(request, service.described(service.webhook_named(home, webhook)))


@delete(_ONE, opt=_OWN, sync_to_thread=True, status_code=200, tags=_TAGS)
def disable(
    home: TheHome, now: Now, caller: TheCaller, request: Request[Any, Any, Any], webhook: FromPath[str]
) -> dict[str, Any]:
    """Send nothing there from now on; what waits is given up."""
    _check(home, caller, webhook, changing=True)
    check_if_match(request, lambda: service.described(service.webhook_named(home, webhook)))
    return service.disable(home, webhook, actor=actor_of(request, caller), now=now)


@post(f"{_ONE}/secret", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def secret(
    home: TheHome, now: Now, caller: TheCaller, request: Request[Any, Any, Any], webhook: FromPath[str]
) -> dict[str, Any]:
    """Another secret, shown this once; for a day messages are signed with the former one too."""
    _check(home, caller, webhook, changing=True)
    check_if_match(request, lambda: service.described(service.webhook_named(home, webhook)))
    return service.new_secret(home, webhook, actor=actor_of(request, caller), now=now)


@post(f"{_ONE}/test", opt=_OWN, sync_to_thread=True, status_code=202, tags=_TAGS)
def test(home: TheHome, now: Now, caller: TheCaller, webhook: FromPath[str]) -> dict[str, str]:
    """Have a message of type ``test`` sent; the delivery log says how it went."""
    _check(home, caller, webhook, changing=True)
    return {"message": service.test_message(home, webhook, now=now)}


@post(f"{_ONE}/replay", opt=_OWN, sync_to_thread=True, status_code=202, tags=_TAGS)
def replay(
    home: TheHome, now: Now, caller: TheCaller, webhook: FromPath[str], data: JSONBody[Replay]
) -> dict[str, str]:
    """Have messages delivered again, with the ids they had."""
    _check(home, caller, webhook, changing=True)
    if (data.message is None) == (data.since is None):
        raise refuse(
            "request-malformed", "one of message and since is needed", where="#", remedy="send either, not both"
        )
    count = service.replay(home, webhook, message=data.message, since=data.since, now=now)
    return {"messages": str(count)}


@get(f"{_ONE}/deliveries", opt=_OWN, sync_to_thread=True, tags=_TAGS)
def deliveries(
    home: TheHome, caller: TheCaller, webhook: FromPath[str], cursor: Cursor = None, limit: Limit = None
) -> Page:
    """Messages of the last month, the newest first, each with every attempt to deliver it."""
    _check(home, caller, webhook, changing=False)
    size = size_of(limit)
    return page_of(service.deliveries(home, webhook, number_after(cursor), size + 1), size, "number")


@get(
    "/v1/batches/{batch:str}/rows",
    opt=allow(Role.PARTNER, Role.ENTERPRISE, Role.OPERATOR),
    sync_to_thread=True,
    tags=["ledger"],
)
def rows(
    home: TheHome,
    caller: TheCaller,
    batch: FromPath[str],
    of: Of = None,
    outcome: Annotated[str | None, QueryParameter(description="Outcomes with commas between; all by default.")] = None,
    cursor: Cursor = None,
    limit: Limit = None,
) -> Page:
    """What a batch decided of a partner's reports, by the action ids that the answers to them had."""
    partner, size = partner_meant(caller, of), size_of(limit)
    outcomes = tuple(each for each in (outcome or "").split(",") if each)
    number = number_named(batch, "batch")
    found = batch_rows(home, partner, number, outcomes=outcomes, after=text_after(cursor), limit=size + 1)
    return page_of(found, size, "key")


def _check(home: Any, caller: Caller, webhook: str, *, changing: bool) -> None:
    if changing:
        check_owner(home, caller)
    service.webhook_named(home, webhook, caller.partner if caller.role in OF_A_PARTNER else None)


handlers = [register, list_, show, disable, secret, test, replay, deliveries, rows]
