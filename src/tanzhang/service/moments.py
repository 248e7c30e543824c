"""When something came in, as the book, programmes and names of files say it."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from tanzhang.core.errors import refuse
from tanzhang.core.programme import Programme
from tanzhang.stores.home import Home
from tanzhang.stores.register.chores import CLOCKS_DIFFER


def received_at(now: datetime) -> str:
    """A moment as the book has it: UTC, to the microsecond."""
    return now.astimezone(UTC).isoformat(timespec="microseconds")


def received_day(home: Home, now: datetime) -> date:
    """The programme's local day of a moment."""
    return now.astimezone(ZoneInfo(home.programme.time_zone)).date()


def next_midnight(programme: Programme, now: datetime) -> datetime:
    """When the programme's local day that it is ends, in UTC."""
    zone = ZoneInfo(programme.time_zone)
    return datetime.combine(now.astimezone(zone).date() + timedelta(days=1), time(), zone).astimezone(UTC)


def file_moment(now: datetime) -> str:
    """A moment as names of files have it, in the order of time."""
    return now.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")


def check_not_ahead(home: Home, now: datetime) -> None:
    """Refuse a moment that is more than a minute ahead of the database's clock: ``clock-ahead``.

    Days that are over by a clock that is wrong are not over. A book in a file has no clock of its own to ask.
    """
    shared = home.book.moment()
    if shared is not None and now - shared > CLOCKS_DIFFER:
        raise refuse(
            "clock-ahead",
            f"this clock is {timedelta(seconds=round((now - shared).total_seconds()))} ahead of the database's",
            where="clock",
            remedy="set both clocks right (NTP); until then nothing is settled, closed or tidied from here",
        )
