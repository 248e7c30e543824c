"""Webhooks: partners are told what became of their reports, by Standard Webhooks, at least once.

What is told, and when: :mod:`tanzhang.service.outbox`. :func:`deliver_due`, called again and again by a worker, sends
what is due.
"""

from __future__ import annotations

import base64
import json
import random
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from standardwebhooks import Webhook

from tanzhang.core.access import Actor, new_key
from tanzhang.core.errors import refuse
from tanzhang.service.moments import received_at
from tanzhang.service.outbox import TYPES, message_body
from tanzhang.service.secrets import derived_secret
from tanzhang.stores.home import Home
from tanzhang.stores.outgoing import Outgoing, UnreachableError, check_url
from tanzhang.stores.register.webhooks import DELIVERED, GIVEN_UP, WAITING, Outcome

TEST = "test"
RETRIES = tuple(timedelta(seconds=s) for s in (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400))
"""How long after each failed attempt the next one is made, give or take :data:`JITTER`: three days in all."""
JITTER = 0.1
CLAIMED = timedelta(minutes=10)
"""After this time a message whose sender died is sent by another one."""
KEPT = timedelta(days=30)
BOTH_SECRETS = timedelta(days=1)
"""How long messages are signed with the former secret too, after a new one was made."""
MOST_OF_A_PARTNER = 20
_AT_ONCE, _MOST, _MOST_OF_ONE = 8, 100, 20


def register(
    home: Home, partner: str, url: str, types: Sequence[str], *, actor: Actor, now: datetime
) -> dict[str, Any]:
    """A new webhook; ``secret`` in the answer is shown this once.

    ``url-refused``, ``type-unknown``, ``too-many-webhooks``.
    """
    check_url(url, where="#/url")
    wanted = sorted(set(types))
    unknown = [each for each in wanted if each not in TYPES]
    if unknown or not wanted:
        raise refuse(
            "type-unknown",
            f"{unknown[0]!r} is no type of message" if unknown else "no type of message is named",
            where="#/types",
            remedy=f"use some of {', '.join(TYPES)}",
        )
    name, at = new_key()[0], received_at(now)
    row = {"id": name, "partner": partner, "url": url, "types": " ".join(wanted), "secret": 1, "created_at": at}
    told = {"partner": partner, "url": url, "types": wanted}
    added = home.webhooks.add(
        {**row, "secret_changed_at": at}, MOST_OF_A_PARTNER, _audited(home, actor, "added", name, at, told)
    )
    if not added:
        raise refuse(
            "too-many-webhooks",
            f"{partner} has {MOST_OF_A_PARTNER} webhooks already",
            where="webhooks",
            remedy="disable one that is not used",
        )
    return {**described(webhook_named(home, name)), "secret": secret_of(home, name, 1)}


def webhook_named(home: Home, name: str, partner: str | None = None) -> Any:
    """The row of a webhook, of a partner if one is named; ``not-found``."""
    row = home.webhooks.row(name)
    if row is None or partner not in (None, row.partner):
        raise refuse("not-found", f"there is no webhook {name[:40]}", where="webhook", remedy="list the webhooks")
    return row


def described(row: Any) -> dict[str, Any]:
    """A webhook as its partner sees it, without its secret."""
    names = ("id", "partner", "url", "created_at", "disabled_at", "disabled_why")
    return {**{name: getattr(row, name) for name in names}, "types": row.types.split()}


def new_secret(home: Home, name: str, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Another secret, shown this once; for a day messages bear the signature of the former one too."""
    at = received_at(now)
    home.webhooks.new_secret(name, at, _audited(home, actor, "secret changed", name, at, {}))
    row = webhook_named(home, name)
    return {**described(row), "secret": secret_of(home, name, row.secret)}


def disable(home: Home, name: str, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Send nothing there from now on; what waits is given up."""
    at = received_at(now)
    home.webhooks.disable(name, at, "by its partner or the operator", _audited(home, actor, "disabled", name, at, {}))
    return described(webhook_named(home, name))


def test_message(home: Home, name: str, *, now: datetime) -> str:
    """Put a message of type ``test`` into the outbox; returns its id. ``webhook-disabled``."""
    row = _usable(home, name)
    data = {"programme": home.programme.id, "partner": row.partner}
    return _id(home.webhooks.add_message(name, TEST, message_body(TEST, data, now), received_at(now)))


def replay(home: Home, name: str, *, message: str | None = None, since: datetime | None = None, now: datetime) -> int:
    """Deliver one message, or all since a moment, again, with their ids as they were; returns how many.

    ``webhook-disabled``, and ``not-found`` for a message that is not kept.
    """
    _usable(home, name)
    number = None if message is None else int(message[4:]) if _is_id(message) else -1
    count = home.webhooks.replay(name, number, None if since is None else received_at(since), received_at(now))
    if message is not None and count == 0:
        raise refuse("not-found", f"message {message[:40]} is not kept", where="message", remedy="list the deliveries")
    return count


def deliveries(home: Home, name: str, before: int | None, limit: int) -> list[dict[str, Any]]:
    """Messages of a webhook, the newest first, with every attempt; kept for :data:`KEPT`. ``number`` is for cursors."""
    return [
        {
            "number": row.id,
            "id": _id(row.id),
            "type": row.type,
            "created_at": row.created_at,
            "state": row.state,
            "due_at": row.due_at,
            "attempts": [
                {"at": each.at, "status": each.status, "error": each.error, "took_ms": each.took_ms} for each in tried
            ],
            "body": json.loads(row.body),
        }
        for row, tried in home.webhooks.messages(name, before, limit)
    ]


def deliver_due(home: Home, now: datetime, client: Outgoing | None = None) -> int:
    """Try to deliver what is due, at most :data:`_MOST` messages; returns how many were tried.

    Any number of processes may do this at once. A message is delivered when the receiver answers 2xx in time; 410
    disables the webhook; anything else is tried again by :data:`RETRIES`, then given up. Old messages are removed.
    """
    home.webhooks.forget(received_at(now - KEPT))
    claimed = home.webhooks.claim(received_at(now), received_at(now + CLAIMED), _MOST, _MOST_OF_ONE)
    if not claimed:
        return 0
    sender = client or Outgoing()
    with ThreadPoolExecutor(min(_AT_ONCE, len(claimed))) as pool:
        outcomes = list(pool.map(lambda row: _attempt(home, sender, row, now), claimed))
    home.webhooks.ended(outcomes)
    return len(outcomes)


def secret_of(home: Home, name: str, number: int) -> str:
    """A webhook's secret as the receiver has it."""
    return "whsec_" + base64.b64encode(derived_secret(home, "webhook", f"{name} {number}")).decode()


def _attempt(home: Home, sender: Outgoing, row: Any, now: datetime) -> Outcome:
    name = _id(row.id)
    secrets = [secret_of(home, row.webhook, row.secret)]
    if row.secret > 1 and received_at(now - BOTH_SECRETS) < row.secret_changed_at:
        secrets.append(secret_of(home, row.webhook, row.secret - 1))
    moment = now.astimezone(UTC)
    headers = {
        "content-type": "application/json",
        "user-agent": "Tanzhang",
        "webhook-id": name,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign(name, moment, row.body) for secret in secrets),
    }
    status, error, started = None, None, time.monotonic()
    try:
        status = sender.post(row.url, row.body.encode(), headers)
    except UnreachableError as reason:
        error = str(reason)
    took_ms = int((time.monotonic() - started) * 1000)
    done = status is not None and 200 <= status < 300
    due_at = None
    if not done and row.attempts < len(RETRIES):
        pause = RETRIES[row.attempts] * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spreads load, no secret
        due_at = received_at(now + pause)
    state = DELIVERED if done else WAITING if due_at is not None else GIVEN_UP
    return Outcome(row.id, row.webhook, received_at(now), status, error, took_ms, state, due_at, gone=status == 410)


def _usable(home: Home, name: str) -> Any:
    row = webhook_named(home, name)
    if row.disabled_at is not None:
        raise refuse(
            "webhook-disabled",
            f"webhook {name} is disabled: {row.disabled_why}",
            where="webhook",
            remedy="register a new one",
        )
    return row


def _audited(home: Home, actor: Actor, act: str, name: str, at: str, detail: Mapping[str, Any]) -> Any:
    return lambda con: home.audit.write(con, actor, f"webhook {act}", f"webhook {name}", at=at, detail=detail)


def _id(number: int) -> str:
    return f"msg_{number}"


def _is_id(text: str) -> bool:
    return text.startswith("msg_") and text[4:].isascii() and text[4:].isdigit() and len(text) < 22
