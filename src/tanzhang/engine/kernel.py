"""What every columnar step shares: the DuckDB connection, identities and local days in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from tanzhang.core.claim import BLANKS, NORMAL_FORM

if TYPE_CHECKING:
    import duckdb


def connect() -> duckdb.DuckDBPyConnection:
    """A private in-memory engine: UTC, no network, no extensions fetched, identities exported as 16 bytes."""
    import duckdb
    import pyarrow as pa

    # Memory that is freed is wanted again by the next slice; given back to the system, every page of it costs a fault.
    pa.set_memory_pool(pa.system_memory_pool())
    con = duckdb.connect(
        ":memory:",
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "preserve_insertion_order": "true",
            "allocator_flush_threshold": "8GB",
            "allocator_bulk_deallocation_flush_threshold": "8GB",
        },
    )
    con.execute("SET TimeZone = 'UTC'")
    con.execute("SET arrow_lossless_conversion = true")
    con.execute("SET enable_progress_bar = false")
    return con


def quote(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def identity_text_sql(purpose: str, *parts: str) -> str:
    """SQL for :func:`tanzhang.core.claim.identity_text` over VARCHAR expressions; NULL where a part is NULL."""
    known = " AND ".join(f"{part} IS NOT NULL" for part in parts)
    return f"CASE WHEN {known} THEN {_identity_text(purpose, parts)} END"


def identity_sql(key: bytes, text: str) -> str:
    """SQL for the identity of few identity texts; :mod:`tanzhang.engine.identities` is for many."""
    return f"left(sha256({quote(key.hex())} || {text}), 32)::UUID"


def _identity_text(start: str, parts: Sequence[str]) -> str:
    return f"concat({quote(start)}" + "".join(f", '|', length({part}), ':', {part}" for part in parts) + ")"


def normal_identifier_sql(text: str) -> str:
    """SQL for :func:`tanzhang.core.claim.normal_identifier`; plain ASCII, the usual case, takes the short way."""
    written, compared = NORMAL_FORM
    thorough = f"translate({text}, {quote(written + BLANKS)}, {quote(compared)})"
    # ASCII has as many bytes as characters; looking for each blank is twice as fast as one pattern for all.
    blanks = " AND ".join(f"NOT contains({text}, chr({ord(blank)}))" for blank in BLANKS if blank.isascii())
    return f"(CASE WHEN strlen({text}) = length({text}) AND {blanks} THEN upper({text}) ELSE {thorough} END)"


def local_time_sql(moment: str, zone: str, first: datetime, last: datetime) -> str:
    """SQL for the local wall time of a UTC TIMESTAMP between ``first`` and ``last`` (aware) in an IANA zone.

    The offsets are read from the zone once, so a row costs one addition; China needs a single branch.
    """
    spans = _offsets(ZoneInfo(zone), first, last)
    branches = "".join(
        f" WHEN {moment} < TIMESTAMP '{until:%Y-%m-%d %H:%M:%S}' THEN {moment} + INTERVAL ({seconds}) SECOND"
        for until, seconds in spans[:-1]
    )
    final = f"{moment} + INTERVAL ({spans[-1][1]}) SECOND"
    return f"(CASE{branches} ELSE {final} END)" if branches else f"({final})"


def _offsets(zone: ZoneInfo, first: datetime, last: datetime) -> list[tuple[datetime, int]]:
    """Runs of one offset as (end of run in UTC, offset in seconds), to the second."""

    def seconds(moment: datetime) -> int:
        offset = moment.astimezone(zone).utcoffset()
        return 0 if offset is None else int(offset.total_seconds())

    runs: list[tuple[datetime, int]] = []
    moment, end = first.astimezone(UTC), last.astimezone(UTC) + timedelta(days=1)
    while moment < end:
        following = min(moment + timedelta(hours=12), end)
        if seconds(moment) != seconds(following):
            low, high = moment, following
            while high - low > timedelta(seconds=1):
                middle = low + (high - low) / 2
                low, high = (middle, high) if seconds(middle) == seconds(moment) else (low, middle)
            change = high.replace(microsecond=0)
            runs.append((change.replace(tzinfo=None), seconds(moment)))
        moment = following
    runs.append((end.replace(tzinfo=None), seconds(end)))
    return runs
