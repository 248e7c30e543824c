"""Webhooks of partners, and the outbox: messages written in the transaction of what they tell of.

A message is claimed by moving its next moment ahead, so that several processes deliver at once and one that dies loses
nothing; it may then be delivered twice, with the same id. Bodies hold counts and no person.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tanzhang.stores.book import Book
from tanzhang.stores.book.schema import NUMBER, TEXT, metadata

WAITING, DELIVERED, GIVEN_UP = "waiting", "delivered", "given up"

webhook = sa.Table(
    "webhook",
    metadata,
    sa.Column("id", TEXT, primary_key=True),
    sa.Column("partner", TEXT, nullable=False),
    sa.Column("url", TEXT, nullable=False),
    sa.Column("types", TEXT, nullable=False),  # sorted, one blank between
    sa.Column("secret", sa.Integer, nullable=False),  # which one; it is made anew each time it is needed
    sa.Column("secret_changed_at", TEXT, nullable=False),
    sa.Column("created_at", TEXT, nullable=False),
    sa.Column("disabled_at", TEXT),
    sa.Column("disabled_why", TEXT),
    sa.Index("webhook_partner", "partner"),
)
message = sa.Table(
    "webhook_message",
    metadata,
    sa.Column("id", NUMBER, primary_key=True),
    sa.Column("webhook", TEXT, nullable=False),
    sa.Column("type", TEXT, nullable=False),
    sa.Column("body", TEXT, nullable=False),  # JSON, the bytes that are signed
    sa.Column("created_at", TEXT, nullable=False),
    sa.Column("state", TEXT, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("due_at", TEXT),  # NULL unless it waits
    sa.Index("webhook_message_due", "state", "due_at"),
    sa.Index("webhook_message_of", "webhook", "id"),
)
attempt = sa.Table(
    "webhook_attempt",
    metadata,
    sa.Column("id", NUMBER, primary_key=True),
    sa.Column("message", NUMBER, nullable=False),
    sa.Column("at", TEXT, nullable=False),
    sa.Column("status", sa.Integer),
    sa.Column("error", TEXT),
    sa.Column("took_ms", sa.Integer, nullable=False),
    sa.Index("webhook_attempt_of", "message"),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt to deliver a message ended. ``due_at`` is when to try again, None if not at all."""

    message: int
    webhook: str
    at: str
    status: int | None
    error: str | None
    took_ms: int
    state: str
    due_at: str | None
    gone: bool = False


class Webhooks:
    """The webhooks of a home and their messages."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def add(self, values: Mapping[str, Any], most: int, also: Callable[[sa.Connection], None]) -> bool:
        """Whether a webhook was added; False where the partner has as many as it may."""
        with self._book.transaction() as con:
            own = (webhook.c.partner == values["partner"]) & webhook.c.disabled_at.is_(None)
            if con.execute(sa.select(sa.func.count()).select_from(webhook).where(own)).scalar_one() >= most:
                return False
            con.execute(webhook.insert(), dict(values))
            also(con)
        return True

    def row(self, name: str) -> Any | None:
        """A webhook."""
        rows = self._book.query(sa.select(webhook).where(webhook.c.id == name))
        return rows[0] if rows else None

    def of(self, partner: str) -> list[Any]:
        """A partner's webhooks, the newest first."""
        own = sa.select(webhook).where(webhook.c.partner == partner)
        return self._book.query(own.order_by(webhook.c.created_at.desc(), webhook.c.id))

    def disable(self, name: str, at: str, why: str, also: Callable[[sa.Connection], None]) -> None:
        """Send nothing to a webhook from now on; what waits is given up."""
        with self._book.transaction() as con:
            _disable(con, name, at, why)
            also(con)

    def new_secret(self, name: str, at: str, also: Callable[[sa.Connection], None]) -> None:
        """Sign with another secret from now on."""
        changed = webhook.update().where(webhook.c.id == name)
        with self._book.transaction() as con:
            con.execute(changed.values(secret=webhook.c.secret + 1, secret_changed_at=at))
            also(con)

    def tell(self, con: sa.Connection, told: Iterable[tuple[str, str, str]], at: str) -> None:
        """Put messages into the outbox, in the transaction of what they tell of: partner, type, body.

        Nothing is kept where no webhook of the partner asks for the type.
        """
        wanted: dict[tuple[str, str], list[str]] = {}
        for row in con.execute(sa.select(webhook).where(webhook.c.disabled_at.is_(None))):
            for kind in row.types.split():
                wanted.setdefault((row.partner, kind), []).append(row.id)
        rows = [
            _message(name, kind, body, at) for partner, kind, body in told for name in wanted.get((partner, kind), ())
        ]
        if rows:
            con.execute(message.insert(), rows)

    def add_message(self, name: str, kind: str, body: str, at: str) -> int:
        """Put one message for one webhook into the outbox; returns its number."""
        with self._book.transaction() as con:
            made = message.insert().values(_message(name, kind, body, at)).returning(message.c.id)
            return int(con.execute(made).scalar_one())

    def waits(self) -> bool:
        """Whether any message is still to be delivered."""
        return bool(self._book.query(sa.select(message.c.id).where(message.c.state == WAITING).limit(1)))

    def claim(self, at: str, until: str, most: int, most_of_one: int) -> list[Any]:
        """Messages that are due, with their webhooks' members; nobody else claims them before ``until``."""
        due = (message.c.state == WAITING) & (message.c.due_at <= at)
        place = sa.func.row_number().over(partition_by=message.c.webhook, order_by=message.c.id).label("place")
        ranked = sa.select(message.c.id, message.c.due_at, place).where(due).subquery()
        some = sa.select(ranked.c.id).where(ranked.c.place <= most_of_one).order_by(ranked.c.due_at).limit(most)
        with self._book.transaction() as con:
            numbers = [row.id for row in con.execute(some)]
            if not numbers:
                return []
            con.execute(message.update().where(message.c.id.in_(numbers)).values(due_at=until))
            columns = (webhook.c.url, webhook.c.secret, webhook.c.secret_changed_at)
            joined = sa.select(message, *columns).join(webhook, webhook.c.id == message.c.webhook)
            return list(con.execute(joined.where(message.c.id.in_(numbers)).order_by(message.c.id)))

    def ended(self, outcomes: Sequence[Outcome]) -> None:
        """Keep how attempts ended; a webhook that is gone is disabled."""
        with self._book.transaction() as con:
            for each in outcomes:
                row = {"message": each.message, "at": each.at, "status": each.status, "error": each.error}
                con.execute(attempt.insert(), {**row, "took_ms": each.took_ms})
                own = message.update().where(message.c.id == each.message)
                values = {"state": each.state, "due_at": each.due_at, "attempts": message.c.attempts + 1}
                con.execute(own.values(values))
            for name in dict.fromkeys(each.webhook for each in outcomes if each.gone):
                _disable(con, name, outcomes[0].at, "the receiver answered 410: it is gone")

    def replay(self, name: str, number: int | None, since: str | None, at: str) -> int:
        """Let one message of a webhook, or those since a moment, be delivered again; returns how many."""
        own = message.c.webhook == name
        own &= message.c.id == number if number is not None else message.c.created_at >= since
        with self._book.transaction() as con:
            again = message.update().where(own).values(state=WAITING, attempts=0, due_at=at)
            return int(con.execute(again).rowcount)

    def messages(self, name: str, before: int | None, limit: int) -> list[tuple[Any, list[Any]]]:
        """Messages of a webhook below a number, the newest first, each with its attempts."""
        own = sa.select(message).where(message.c.webhook == name)
        if before is not None:
            own = own.where(message.c.id < before)
        with self._book.snapshot():
            rows = self._book.query(own.order_by(message.c.id.desc()).limit(limit))
            numbers = [row.id for row in rows]
            tried: dict[int, list[Any]] = {number: [] for number in numbers}
            for each in self._book.query(
                sa.select(attempt).where(attempt.c.message.in_(numbers)).order_by(attempt.c.id)
            ):
                tried[each.message].append(each)
        return [(row, tried[row.id]) for row in rows]

    def forget(self, before: str) -> int:
        """Remove messages from before a moment that do not wait, with their attempts; returns how many."""
        old = (message.c.created_at < before) & (message.c.state != WAITING)
        if not self._book.query(sa.select(message.c.id).where(old).limit(1)):
            return 0
        with self._book.transaction() as con:
            con.execute(attempt.delete().where(attempt.c.message.in_(sa.select(message.c.id).where(old))))
            return int(con.execute(message.delete().where(old)).rowcount)


def _disable(con: sa.Connection, name: str, at: str, why: str) -> None:
    own = (webhook.c.id == name) & webhook.c.disabled_at.is_(None)
    con.execute(webhook.update().where(own).values(disabled_at=at, disabled_why=why))
    waits = (message.c.webhook == name) & (message.c.state == WAITING)
    con.execute(message.update().where(waits).values(state=GIVEN_UP, due_at=None))


def _message(name: str, kind: str, body: str, at: str) -> dict[str, Any]:
    return {
        "webhook": name,
        "type": kind,
        "body": body,
        "created_at": at,
        "state": WAITING,
        "attempts": 0,
        "due_at": at,
    }
