"""Settle: decide every report whose window has closed, finally and once, and seal the result.

Which acts are kept: :mod:`tanzhang.engine.settle`. What is written and committed: :mod:`tanzhang.service.seal`. A run
that finds nothing to settle still brings the log up to the book, so recovery after a crash is this same call.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from tanzhang.core.errors import refuse
from tanzhang.core.recipe import Recipe, read_recipe
from tanzhang.core.settlement import rules_of
from tanzhang.engine.kernel import connect, quote
from tanzhang.engine.settle import RECORD_COLUMNS
from tanzhang.engine.settle import settle as decide
from tanzhang.service.progress import Progress, silent
from tanzhang.service.seal import seal
from tanzhang.stores.book import batch, link, submission
from tanzhang.stores.home import Home
from tanzhang.stores.records import RECORDS

if TYPE_CHECKING:
    import duckdb


def settle(home: Home, *, through: date | None = None, now: datetime, progress: Progress = silent) -> dict[str, Any]:
    """Settle all accepted reports whose window closed on or before local day ``through`` (default: yesterday).

    Returns the batch number (None if there was nothing to settle), records and milligrams by outcome and unit.
    Raises ``day-not-over`` for a ``through`` of today or later: a better report may still come in time.
    """
    yesterday = now.astimezone(ZoneInfo(home.programme.time_zone)).date() - timedelta(days=1)
    last = through or yesterday
    if last > yesterday:
        raise refuse(
            "day-not-over",
            f"{last} is not over yet in {home.programme.time_zone}",
            where="--through",
            remedy=f"settle through {yesterday} at most; a window is closed when its last day is over",
        )
    with home.writing():
        home.publish()
        con = connect()
        progress("gathering reports", 0, 0)
        pending = open_reports(home, con, last)
        if not pending.rows:
            return {"batch": None, "through": last.isoformat(), "records": 0, "outcomes": {}}
        progress("deciding", 10, pending.rows)
        records = decide_pending(home, con)
        progress("booking and sealing", 60, pending.rows)
        return seal(home, con, records, consumed=pending.consumed, through=last, now=now)


@dataclass(frozen=True, slots=True)
class OpenReports:
    """How many reports are open, and of which submissions."""

    rows: int
    consumed: list[dict[str, Any]]


def open_reports(home: Home, con: duckdb.DuckDBPyConnection, through: date | None) -> OpenReports:
    """View ``pending``: accepted reports not settled yet whose window closes by ``through`` (None: all of them)."""
    done = home.book.settled_through()
    con.execute("CREATE OR REPLACE TEMP TABLE sources (file VARCHAR, submission INTEGER, after DATE, received DATE)")
    rows = [
        (str(home.folder / row.file), row.seq, done.get(row.seq, "0001-01-01"), row.received_day)
        for row in home.book.rows(submission)
        if row.accepted
    ]
    if not rows:
        return OpenReports(0, [])
    con.executemany("INSERT INTO sources VALUES (?, ?, ?, ?)", rows)
    files = ", ".join(quote(row[0]) for row in rows)
    limit = "true" if through is None else f"close_day <= DATE '{through}'"
    con.execute(
        f"""
        CREATE OR REPLACE TEMP VIEW pending AS
        SELECT r.* EXCLUDE (filename), s.submission, s.received
        FROM read_parquet([{files}], filename = true) r JOIN sources s ON r.filename = s.file
        WHERE close_day > s.after AND {limit}
        """
    )
    counts = con.execute("SELECT submission, count(*) FROM pending GROUP BY 1 ORDER BY 1").fetchall()
    consumed = [
        {"submission": number, "through": None if through is None else through.isoformat(), "rows": count}
        for number, count in counts
    ]
    return OpenReports(sum(count for _, count in counts), consumed)


def decide_pending(home: Home, con: duckdb.DuckDBPyConnection) -> str:
    """Run the decision over view ``pending``; returns the table of records. Also what a preview calls."""
    settled = settled_records(home, con)
    con.execute("CREATE OR REPLACE TEMP TABLE links (child UUID, account UUID, valid_from DATE, valid_until DATE)")
    links = [(row.child, row.account, row.valid_from, row.valid_until) for row in home.book.rows(link)]
    if links:
        con.executemany("INSERT INTO links VALUES (?, ?, ?, ?)", links)
    return decide(
        con,
        pending="pending",
        settled=settled,
        links="links",
        recipes=recipes_of(home),
        rules=rules_of(home.programme, home.identity_key),
    )


def settled_records(home: Home, con: duckdb.DuckDBPyConnection) -> str:
    """View ``settled``: the records of every batch the book names."""
    files = [str(home.folder / row.folder / RECORDS) for row in home.book.rows(batch)]
    if files:
        named = ", ".join(quote(file) for file in files)
        con.execute(f"CREATE OR REPLACE TEMP VIEW settled AS SELECT * FROM read_parquet([{named}])")
    else:
        columns = ", ".join(f"{name} {kind}" for name, kind in RECORD_COLUMNS.items())
        con.execute(f"CREATE OR REPLACE TEMP TABLE no_records ({columns}, seed BLOB)")
        con.execute("CREATE OR REPLACE TEMP VIEW settled AS SELECT * FROM no_records")
    return "settled"


def recipes_of(home: Home) -> dict[str, Recipe]:
    """Every plan of the book as arithmetic."""
    return {digest: read_recipe(document) for digest, document in home.book.plans().items()}
