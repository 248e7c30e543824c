"""Figures by which an operator sees if a home is well: what waits, how old the last batch is, where the log stands.

All of them are read from book and log at the moment of asking, by a handful of small questions; no person is in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from tanzhang.core.epoch import Epoch
from tanzhang.stores.book import batch, entry, unsettled
from tanzhang.stores.home import Home
from tanzhang.stores.register.deliveries import inbox


@dataclass(frozen=True, slots=True)
class Figure:
    """One number now. ``name`` ends with its unit; ``labels`` tell figures of one name apart."""

    name: str
    says: str
    value: float
    labels: dict[str, str] = field(default_factory=dict)


def figures(home: Home, *, now: datetime) -> Iterator[Figure]:
    """Every figure of a home. What there is none of yet, such as the time of the first batch, is left out."""
    yield from _waiting(home, now)
    yield from _sealed(home)
    yield from _log(home)
    yield Figure("book_bytes", "What the book takes on disk.", home.book.disk_bytes())


def _waiting(home: Home, now: datetime) -> Iterator[Figure]:
    waits = inbox.c.submission.is_(None)
    (row,) = home.book.query(
        sa.select(
            sa.func.count().label("requests"), sa.func.coalesce(sa.func.sum(inbox.c.accepted), 0).label("reports")
        )
        .select_from(inbox)
        .where(waits)
    )
    yield Figure("inbox_groups", "Groups of requests that wait to be gathered by a settlement.", int(row.requests))
    yield Figure("inbox_reports", "Accepted reports among them.", int(row.reports))
    (row,) = home.book.query(
        sa.select(
            sa.func.coalesce(sa.func.sum(unsettled.c.reports), 0).label("reports"),
            sa.func.min(unsettled.c.next_close_day).label("next"),
        )
    )
    yield Figure("open_reports", "Accepted reports that are not settled yet.", int(row.reports))
    today = now.astimezone(ZoneInfo(home.programme.time_zone)).date()
    late = 0 if row.next is None else max((today - date.fromisoformat(row.next)).days, 0)
    yield Figure("settlement_age_days", "Days since the oldest open window closed; 1 the day after.", late)


def _sealed(home: Home) -> Iterator[Figure]:
    yield Figure("batches", "Sealed batches.", home.book.batch_count())
    for row in home.book.query(sa.select(batch.c.sealed_at).order_by(batch.c.seq.desc()).limit(1)):
        sealed = datetime.fromisoformat(row.sealed_at).timestamp()
        yield Figure("last_batch_timestamp_seconds", "When the last batch was sealed.", sealed)
    rows = home.epochs.entries()
    yield Figure("epochs", "Closed epochs.", len(rows))
    if rows:
        day = datetime.combine(Epoch.parse(rows[-1].text).day, datetime.min.time(), UTC)
        yield Figure("last_epoch_day_timestamp_seconds", "Day of the last epoch, midnight UTC.", day.timestamp())


def _log(home: Home) -> Iterator[Figure]:
    log = home.log
    size = log.size
    yield Figure("log_size", "Entries of the published log.", size)
    (row,) = home.book.query(sa.select((sa.func.coalesce(sa.func.max(entry.c.seq), -1) + 1).label("entries")))
    yield Figure("log_waiting", "Entries of the book that are not published yet.", int(row.entries) - size)
    witnesses = home.witnesses
    if witnesses is None:
        return
    said = witnesses.status(log)
    yield Figure("witness_quorum_met", "Whether the published checkpoint has its quorum.", int(said["met"]))
    for each in said["witnesses"]:
        name = {"witness": each["name"]}
        yield Figure("witness_signed", "Whether a witness signed the published checkpoint.", int(each["signed"]), name)
        if each["last_cosigned_at"] is not None:
            at = float(each["last_cosigned_at"])
            yield Figure("witness_last_timestamp_seconds", "When a witness signed last.", at, name)
