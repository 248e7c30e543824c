"""Replay: a season's report files, day by day, through the very same intake and settlement as any other day.

A folder holds ``reports/<day>/<partner>.<ext>`` and, if accounts are linked, ``links.parquet``. Each day's files are
taken in on the next morning and what has closed by then is settled; after the last day everything is settled whose
window closes later. Nothing is remembered outside the home: a file that was taken in gives its first answer again and
a day that was settled has nothing left to settle, so a replay that was killed goes on when it is started again.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from tanzhang.core.errors import refuse
from tanzhang.core.record import UNIT_OF_KIND
from tanzhang.service.intake import intake
from tanzhang.service.links import link_many
from tanzhang.service.progress import Progress, silent
from tanzhang.service.settle import Engine, last_closing_day, settle, settled_records
from tanzhang.stores.book import batch, submission
from tanzhang.stores.home import KNOWN, Home, is_home
from tanzhang.stores.storage import files_under

LINKS, SIMULATION, REPORT_FOLDER = "links.parquet", "simulation.json", "reports"
_MORNING = clock(9)


@dataclass(frozen=True, slots=True)
class Day:
    """One day's files by partner, in the order of their names."""

    day: date
    files: dict[str, Path]


def replay(home: Home, folder: Path, *, progress: Progress = silent, engine: Engine | None = None) -> dict[str, Any]:
    """Take in and settle a folder of reports day by day; returns what was done and what the season came to.

    ``engine`` settles instead of this process, as in :func:`tanzhang.service.settle.settle`.
    ``progress`` is called with the share of bytes done and about how many rows there are in all. Raises
    ``replay-layout`` for a folder that is no season, ``replay-programme`` if it was simulated for another programme,
    and what intake and settlement raise.
    """
    days = season_days(folder)
    _check_programme(home, folder)
    zone = ZoneInfo(home.programme.time_zone)
    sizes = {file: file.stat().st_size for day in days for file in day.files.values()}
    everything, done_bytes = sum(sizes.values()), 0
    started, rows = time.perf_counter(), 0
    seconds = {"links": 0.0, "intake": 0.0, "settle": 0.0}
    refused: dict[str, int] = {}

    def timed(step: str, since: float) -> float:
        now = time.perf_counter()
        seconds[step] += now - since
        return now

    before = started
    if (folder / LINKS).is_file():
        progress("linking accounts", 0, 0)
        link_many(home, folder / LINKS, now=_morning_after(days[0].day - timedelta(days=1), zone))
        before = timed("links", before)
    for number, day in enumerate(days, start=1):
        for partner, file in day.files.items():
            where = f"day {number} of {len(days)}, {day.day}, {peak_memory_mb():,} MB"
            progress(where, 100 * done_bytes // everything, rows * everything // max(done_bytes, 1))
            answer = intake(home, file, partner=partner, now=_morning_after(day.day, zone))
            rows += answer["rows"]
            done_bytes += sizes[file]
            for code, count in answer["refused_by_code"].items():
                refused[code] = refused.get(code, 0) + count
        before = timed("intake", before)
        if not _went_on(home, _morning_after(day.day, zone)):
            settle(home, through=day.day, now=_morning_after(day.day, zone), engine=engine)
        before = timed("settle", before)
    last = last_closing_day(home)
    if last is not None:
        progress("what closes later", 99, rows)
        settle(home, through=last, now=_morning_after(last, zone), engine=engine)
        timed("settle", before)
    spent = time.perf_counter() - started
    return {
        "days": len(days),
        "rows": rows,
        "seconds": {**{step: round(value, 2) for step, value in seconds.items()}, "total": round(spent, 2)},
        "rows_per_s": round(rows / spent),
        "peak_memory_mb": peak_memory_mb(),
        "refused_by_code": dict(sorted(refused.items(), key=lambda item: (-item[1], item[0]))),
        **season(home),
        "bytes": disk_bytes(home),
    }


def home_for(
    folder: Path, where: Path, *, book: str | None = None, book_access: str | None = None, storage: str | None = None
) -> Home:
    """The home at ``where``, set up for the programme the folder was simulated for if there is none yet.

    ``book``, ``book_access`` and ``storage`` as in :class:`tanzhang.stores.home.Home`.
    """
    if is_home(where) or not (folder / SIMULATION).is_file():
        return Home(where, book_access=book_access)
    simulation = json.loads((folder / SIMULATION).read_text(encoding="utf-8"))
    first = season_days(folder)[0].day
    return Home.create(
        where,
        programme=simulation["programme"],
        origin=f"simulated.example/{simulation['scenario']}",
        now=datetime.combine(first, _MORNING, tzinfo=UTC),
        book=book,
        book_access=book_access,
        storage=storage,
    )


def season_days(folder: Path) -> list[Day]:
    """The days of a folder in order; ``replay-layout`` if there are none or a name is no day."""
    found = []
    for path in sorted((folder / REPORT_FOLDER).glob("*")):
        try:
            day = date.fromisoformat(path.name)
        except ValueError:
            raise _layout(folder, f"{path.name} is not a day") from None
        files = {file.stem: file for file in sorted(path.glob("*")) if not file.name.startswith(".")}
        found.append(Day(day, files))
    if not any(day.files for day in found):
        raise _layout(folder, "there are no report files")
    return found


def season(home: Home) -> dict[str, Any]:
    """What the settled records of a home come to: accounts, outcomes and amounts by behaviour."""
    con = home.connect()
    settled = settled_records(home, con)
    ((records, accounts),) = con.execute(f"SELECT count(*), approx_count_distinct(account) FROM {settled}").fetchall()
    outcomes = con.execute(f"SELECT outcome, count(*) FROM {settled} GROUP BY 1 ORDER BY 2 DESC, 1").fetchall()
    rows = con.execute(
        f"""
        SELECT kind, behaviour, count(*) FILTER (outcome IN ('granted', 'capped')),
            sum(granted_mg - reversed_mg)::VARCHAR
        FROM {settled} GROUP BY 1, 2 ORDER BY 1 DESC, sum(granted_mg - reversed_mg) DESC, 2
        """
    ).fetchall()
    totals = dict.fromkeys(UNIT_OF_KIND.values(), 0)
    for kind, _, _, mg in rows:
        totals[UNIT_OF_KIND[kind]] += int(mg)
    return {
        "batches": len(home.book.rows(batch)),
        "records": records,
        "accounts_about": accounts,
        "outcomes": dict(outcomes),
        "net": {unit: str(amount) for unit, amount in totals.items()},
        "by_behaviour": [
            {"kind": kind, "behaviour": behaviour, "acts": acts, "net_mg": mg} for kind, behaviour, acts, mg in rows
        ],
    }


def disk_bytes(home: Home) -> dict[str, int]:
    """Size of the home's parts on disk."""
    parts = {"reports": "reports", "records": "records", "links": "links", "log": "log"}
    sizes = {name: sum(size for _, size in files_under(home.storage / place)) for name, place in parts.items()}
    known = sum(path.stat().st_size for path in (home.folder / KNOWN).rglob("*.keys"))
    return {**sizes, "known": known, "book": home.book.disk_bytes()}


def peak_memory_mb() -> int:
    """The most memory this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1 << 20 if sys.platform == "darwin" else 1 << 10)


def _morning_after(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day + timedelta(days=1), _MORNING, tzinfo=zone)


def _went_on(home: Home, morning: datetime) -> bool:
    """Whether a replay that was killed had taken in later days' files, so that this morning's settlement is done.

    What those files report of days before would else be settled before its turn.
    """
    return any(row.received_day > morning.date().isoformat() for row in home.book.rows(submission))


def _check_programme(home: Home, folder: Path) -> None:
    path = folder / SIMULATION
    if path.is_file():
        wanted = json.loads(path.read_text(encoding="utf-8"))["programme"]
        if wanted != home.programme.id:
            raise refuse(
                "replay-programme",
                f"the season was simulated for programme {wanted}, this home runs {home.programme.id}",
                where=str(path),
                remedy=f"use a home of programme {wanted}, or a folder that is no home yet",
            )


def _layout(folder: Path, what: str) -> Exception:
    return refuse(
        "replay-layout",
        f"{folder} is no season: {what}",
        where=str(folder / REPORT_FOLDER),
        remedy="give a folder with reports/<day>/<partner>.parquet, as 'tanzhang simulate' writes it",
    )
