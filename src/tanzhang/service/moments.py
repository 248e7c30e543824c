"""When something came in, as the book, programmes and names of files say it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from tanzhang.stores.home import Home


def received_at(now: datetime) -> str:
    """A moment as the book has it: UTC, to the microsecond."""
    return now.astimezone(UTC).isoformat(timespec="microseconds")


def received_day(home: Home, now: datetime) -> date:
    """The programme's local day of a moment."""
    return now.astimezone(ZoneInfo(home.programme.time_zone)).date()


def file_moment(now: datetime) -> str:
    """A moment as names of files have it, in the order of time."""
    return now.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
