"""Totals of a programme (城市总览) and of one partner (企业碳账本), from the tallies of sealed batches.

Each act counts once, under the partner whose report was kept; so partners add up to the city, and a partner sees beside
it how many of its reports lost to another's. A partner's total is what its users were credited with: facilitated, not
owned. Nothing here reads records, knows a person, or counts what is not settled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tanzhang.core.errors import refuse
from tanzhang.core.record import HOLDERS
from tanzhang.core.region import ancestors, check_region, contains, narrowness
from tanzhang.engine.columns import text_codes
from tanzhang.engine.tally import AMOUNTS, COUNTS, merged
from tanzhang.stores.home import Home

_OF_DAY: dict[str, Callable[[date], str]] = {
    "day": lambda day: day.isoformat(),
    "week": lambda day: "{}-W{:02}".format(*day.isocalendar()),
    "month": lambda day: day.strftime("%Y-%m"),
}
_OF_REGION = {"province": 1, "city": 2, "district": 3}
_PLAIN = ("kind", "behaviour", "variant", "region", "partner", "outcome")
CUTS = (*_OF_DAY, *_OF_REGION, *_PLAIN, "category")
"""By what totals can be cut. A region coarser than the cut asked for stays as it was reported."""
STATE = "confirmed"
"""What every total here is of the states of a milligram: granted after its window closed, and not taken back."""


def city_totals(
    home: Home,
    *,
    by: Sequence[str] = ("behaviour",),
    since: date | None = None,
    until: date | None = None,
    region: str | None = None,
    partner: str | None = None,
    batches: int | None = None,
) -> dict[str, Any]:
    """Totals of sealed acts of local days ``since`` to ``until``, both included, cut by some of :data:`CUTS`.

    Amounts in mg as text, by kind: reduction and emission are never added. ``acts`` is credited acts less those taken
    back. ``region`` takes everything inside it; ``batches`` counts the first so many batches only.
    Raises ``unknown-cut``, ``region-malformed``, ``unknown-partner``.
    """
    unknown = [name for name in by if name not in CUTS]
    if unknown:
        raise refuse(
            "unknown-cut",
            f"totals cannot be cut by {unknown[0]}",
            where="--by",
            remedy=f"use some of {', '.join(CUTS)}",
        )
    if region is not None:
        check_region(region, where="region")
    if partner is not None:
        home.programme.check_partner(partner)
    with home.book.snapshot():
        count = home.book.batch_count() if batches is None else batches
        tallies = home.book.tallies(
            count,
            since=None if since is None else since.isoformat(),
            until=None if until is None else until.isoformat(),
        )
    held = chosen(tallies, since, until, region, partner)
    return {
        "programme": home.programme.id,
        "rehearsal": home.programme.rehearsal,
        "state": STATE,
        "batches": count,
        "since": None if since is None else since.isoformat(),
        "until": None if until is None else until.isoformat(),
        "region": region,
        "partner": partner,
        "totals": cut(held, ()),
        "rows": cut(held, by),
    }


def partner_ledger(
    home: Home,
    partner: str,
    *,
    since: date | None = None,
    until: date | None = None,
    by: Sequence[str] = ("behaviour",),
    batches: int | None = None,
) -> dict[str, Any]:
    """What a partner's users were credited with through it, and what became of its other reports, by outcome.

    ``by`` and ``batches`` as in :func:`city_totals`; ``variant`` is a product line. Raises ``unknown-partner`` and
    ``unknown-cut``.
    """
    count = home.book.batch_count() if batches is None else batches
    totals = city_totals(home, by=by, since=since, until=until, partner=partner, batches=count)
    reports = city_totals(home, by=("outcome",), since=since, until=until, partner=partner, batches=count)["rows"]
    named = home.programme.partners[partner]
    return {
        **totals,
        "name": named.name,
        "name_zh": named.name_zh,
        "claim": "facilitated",
        "says": f"Users of {named.name} were credited with these reductions. They are facilitated by {named.name}, "
        "not owned by it.",
        "says_zh": f"以下减排量由{named.name_zh}的用户实现。企业促成，不归企业所有。",
        "outcomes": {
            outcome: sum(int(row["records"]) for row in reports if row["outcome"] == outcome)
            for outcome in sorted({row["outcome"] for row in reports})
        },
        "not_kept": sum(int(row["records"]) for row in reports if row["outcome"] not in (*HOLDERS, "withdrawal")),
    }


def last_day(home: Home) -> date:
    """The last local day that has a settled act; ``nothing-settled``."""
    days = [pc.max(each["day"]).as_py() for each in home.book.tallies()]
    if not days:
        raise refuse(
            "nothing-settled", "no act is settled yet", where="totals", remedy="run 'tanzhang settle', or name a day"
        )
    latest: date = max(days)
    return latest


def chosen(
    tallies: Sequence[pa.Table], since: date | None, until: date | None, region: str | None, partner: str | None
) -> pa.Table:
    """One tally of the cells of days, of a region and of a partner."""
    found = []
    for tally in tallies:
        wanted = []
        if since is not None:
            wanted.append(pc.field("day") >= pa.scalar(since))
        if until is not None:
            wanted.append(pc.field("day") <= pa.scalar(until))
        if region is not None:
            inside = [code for code in text_codes(tally["region"])[1] if code is not None and contains(region, code)]
            wanted.append(pc.field("region").cast(pa.string()).isin(pa.array(inside, pa.string())))
        if partner is not None:
            wanted.append(pc.field("partner").cast(pa.string()) == partner)
        for condition in wanted:
            tally = tally.filter(condition)
        found.append(tally)
    return merged(found)


def cut(tally: pa.Table, by: Sequence[str]) -> list[dict[str, Any]]:
    """Cells added up by some of :data:`CUTS` and by kind, sorted by them, as JSON members."""
    names = tuple(dict.fromkeys((*by, "kind")))
    columns = {name: _labels(tally, name) for name in names}
    table = pa.table({**columns, **{name: tally[name] for name in (*COUNTS, *AMOUNTS)}})
    sums = table.group_by(list(names)).aggregate([(name, "sum") for name in (*COUNTS, *AMOUNTS)])
    sums = sums.sort_by([(name, "ascending") for name in names])
    return [_amounts({name: row[name] for name in names}, row) for row in sums.to_pylist()]


def _labels(tally: pa.Table, name: str) -> pa.Array:
    """What each cell is called in a cut."""
    if name in _OF_DAY:
        days = tally["day"].combine_chunks().dictionary_encode()
        texts = [_OF_DAY[name](day) for day in days.dictionary.to_pylist()]
        return pa.array(texts, pa.string()).take(days.indices)
    if name in _PLAIN:
        return tally[name].cast(pa.string())
    source = "behaviour" if name == "category" else "region"
    codes, known = text_codes(tally[source])
    wider = [_category(text) if name == "category" else _widened(text, _OF_REGION[name]) for text in known]
    return pa.array(wider, pa.string()).take(pa.array(codes))


def _category(behaviour: str | None) -> str | None:
    return None if behaviour is None else behaviour.partition(".")[0]


def _widened(region: str | None, level: int) -> str | None:
    """The region of a level (1 province, 2 city, 3 district) that a region is in; itself if it is wider than that."""
    if region is None:
        return None
    return next(each for each in ancestors(region) if narrowness(each) <= level)


def _amounts(labels: Mapping[str, str | None], row: Mapping[str, int]) -> dict[str, Any]:
    credited, taken_back, granted, reversed_ = (
        row[f"{name}_sum"] for name in ("credited", "taken_back", "granted_mg", "reversed_mg")
    )
    return {
        **labels,
        "acts": str(credited - taken_back),
        "mg": str(granted - reversed_),
        "granted_mg": str(granted),
        "reversed_mg": str(reversed_),
        "records": str(row["records_sum"]),
    }
