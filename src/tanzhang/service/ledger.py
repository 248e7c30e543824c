"""The enterprise account (企业碳账户): the ledger of a partner as tables, and its statement of a month.

Everything here is what the partner's users were credited with (:func:`tanzhang.service.city.partner_ledger`). Each page
and each row says that it is facilitated, so that a figure cut out of it is not taken for an own reduction.
"""

from __future__ import annotations

import calendar
import csv
import io
import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from tanzhang.core.errors import refuse
from tanzhang.service.city import partner_ledger
from tanzhang.stores.home import Home

FACILITATED = "facilitated"
STATEMENT_FORMAT = "tanzhang.statement/1"
FINEST = ("day", "behaviour", "variant", "district")
_AMOUNTS = ("kind", "acts", "mg", "granted_mg", "reversed_mg", "records")
_TABLES = {
    "by_behaviour": ("behaviour",),
    "by_variant": ("behaviour", "variant"),
    "by_district": ("district",),
    "by_day": ("day",),
}
_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")


def statement(home: Home, partner: str, month: str) -> dict[str, Any]:
    """What became of a month's acts so far: totals, by behaviour, product line, district and day.

    It is never final, since corrections may come later; ``batches`` and ``settled_through`` say as of when it stands.
    ``month-malformed``, ``unknown-partner``.
    """
    since, until = days_of(month)
    home.programme.check_partner(partner)
    with home.book.snapshot():
        count = home.book.batch_count()
        through = max((row.through for row in home.book.batches()), default=None)
        tables = {
            name: partner_ledger(home, partner, since=since, until=until, by=by, batches=count)
            for name, by in _TABLES.items()
        }
    first = tables["by_behaviour"]
    named = ("programme", "rehearsal", "partner", "name", "name_zh", "claim", "says", "says_zh", "state")
    return {
        "format": STATEMENT_FORMAT,
        "month": month,
        **{name: first[name] for name in named},
        "since": first["since"],
        "until": first["until"],
        "batches": str(count),
        "settled_through": through,
        "log": {"origin": home.values["origin"], "vkey": home.values["vkey"]},
        "totals": first["totals"],
        "outcomes": {name: str(records) for name, records in first["outcomes"].items()},
        "not_kept": str(first["not_kept"]),
        **{name: table["rows"] for name, table in tables.items()},
    }


def ledger_csv(
    home: Home, partner: str, *, since: date | None, until: date | None, by: Sequence[str] = FINEST
) -> bytes:
    """A partner's ledger of some days as CSV (UTF-8 with a mark, for spreadsheets), one line a cell.

    Amounts are whole mg; the first columns say of whom it is, and that it is facilitated.
    """
    found = partner_ledger(home, partner, since=since, until=until, by=by)
    return _csv(found, by)


def days_of(month: str) -> tuple[date, date]:
    """First and last day of a month written as YYYY-MM; ``month-malformed``."""
    found = _MONTH.fullmatch(month)
    if found is None or int(found.group(1)) < 1:
        raise refuse("month-malformed", f"{month[:20]!r} is not a month", where="month", remedy="write it as 2025-06")
    year, number = int(found.group(1)), int(found.group(2))
    return date(year, number, 1), date(year, number, calendar.monthrange(year, number)[1])


def _csv(found: Mapping[str, Any], by: Sequence[str]) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    names = tuple(dict.fromkeys((*by, *_AMOUNTS)))
    writer.writerow(("programme", "partner", "claim", *names))
    for row in found["rows"]:
        writer.writerow((found["programme"], found["partner"], FACILITATED, *(row[name] for name in names)))
    return buffer.getvalue().encode("utf-8-sig")
