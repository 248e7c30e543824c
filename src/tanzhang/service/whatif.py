"""What would it cost? A changed points rule or methodology over sealed records, beside what is in force.

No book is written. Batches are read in their order, in slices of whole accounts, by the functions that quantify and
award. Both sides begin with nothing used and nothing spent on the first day asked for, and neither takes anything back
that was withdrawn later, so the two can be compared with each other. A changed file holds on every day here, whatever
its own dates say.

Duplicates, overlaps and conflicts stay as they were decided: those never depend on amounts. Caps in milligrams or acts
are not applied again, since they were decided over acts of all methodologies together: an act that a cap cut keeps what
it was left, or what it comes to now if that is less.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.factors import Period
from tanzhang.core.methodology import Methodology
from tanzhang.core.points import PointsProgramme, period_start
from tanzhang.core.record import HOLDERS
from tanzhang.core.region import contains
from tanzhang.engine.columns import IDENTITY_BYTES, Numbers, fixed_bytes, integers, one_array, said, text_codes
from tanzhang.engine.points import READ, ROW_SCHEMA, USED_SCHEMA, Awards, acts_of, award
from tanzhang.engine.requantify import requantify
from tanzhang.service.moments import received_day
from tanzhang.service.progress import Progress, silent
from tanzhang.stores.catalogue import Catalogue, check_schema
from tanzhang.stores.catalogue_documents import read_methodology
from tanzhang.stores.home import Home
from tanzhang.stores.parts import RecordFile, record_files, whole_accounts
from tanzhang.stores.points_rules import POINTS, read_points
from tanzhang.stores.storage import parquet_file
from tanzhang.stores.yaml_text import Document, load_yaml

if TYPE_CHECKING:
    import duckdb

SLICE_ROWS = 250_000
"""About so many records are in memory at once, unless a sponsor's budget needs a batch as a whole."""
_FEW_USED = 8_000_000
_ALWAYS = Period(date.min, None)
_COLUMNS = (*READ, "started", "variant", "quantified_mg")

Change = Callable[[pa.Table], pa.Table]
"""Records of a slice -> the same with other milligrams granted."""


def whatif_points(
    home: Home, path: Path, *, since: date | None = None, until: date | None = None, progress: Progress = silent
) -> dict[str, Any]:
    """What the points programme in a file would give, beside the versions of the same id that are in force.

    ``since`` and ``until`` are the first and last local day of the acts. Raises ``file-missing``, ``period-empty``,
    and what is wrong with the file.
    """
    changed = read_points(_document(path, "points"))
    known = POINTS.of(home.catalogue, changed.id) if changed.id in POINTS.ids(home.catalogue) else ()
    now = _Side({changed.id: known})
    then = _Side({changed.id: (replace(changed, valid=_ALWAYS),)})
    run = _Run(home, now, then, lambda records: records, since, until)
    return {"status": "computed", "changed": changed.key, "in_force": [each.key for each in known]} | run.go(progress)


def whatif_methodology(
    home: Home, path: Path, *, since: date | None = None, until: date | None = None, progress: Progress = silent
) -> dict[str, Any]:
    """What the methodology in a file would grant for all acts of its behaviour in its regions, and the points of them.

    Points are by the rules in force, on both sides. ``refused`` counts acts that the changed methodology gives nothing
    for, by code. Raises as :func:`whatif_points`.
    """
    changed = read_methodology(_document(path, "methodology"))
    versions = {each: POINTS.of(home.catalogue, each) for each in home.programme.points}
    con = home.connect()
    change = _Requantified(changed, Catalogue(*home.catalogue.folders[1:]), con)
    run = _Run(home, _Side(versions), _Side(versions), change, since, until)
    answer = {"status": "computed", "changed": changed.key, **run.go(progress)}
    con.close()
    return answer | {"refused": {code: str(count) for code, count in sorted(change.refused.items())}}


def _document(path: Path, kind: str) -> Document:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise refuse(
            "file-missing",
            f"{path} cannot be read: {error}",
            where=str(path),
            remedy="name a YAML file like those of the catalogue",
        ) from None
    document = load_yaml(text, path.name)
    problems = check_schema(document, kind)
    if problems:
        raise TanzhangError(problems)
    return document


@dataclass(slots=True)
class _Requantified:
    """A slice whose acts of one behaviour in some regions are granted what another methodology says."""

    methodology: Methodology
    catalogue: Catalogue
    con: duckdb.DuckDBPyConnection
    refused: dict[str, int] = field(default_factory=dict)

    def __call__(self, records: pa.Table) -> pa.Table:
        own = said(records["behaviour"], [self.methodology.behaviour]) & said(records["kind"], [self.methodology.kind])
        own &= said(records["outcome"], HOLDERS)
        codes, regions = text_codes(records["region"])
        served = [any(contains(outer, str(each)) for outer in self.methodology.regions) for each in regions]
        rows = np.flatnonzero(own & np.array(served, dtype=bool)[codes])
        if not len(rows):
            return records
        asked = records.take(pa.array(rows))
        found = requantify(self.con, asked, self._plan)
        for code, count in found.refused.items():
            self.refused[code] = self.refused.get(code, 0) + count
        granted = integers(records["granted_mg"], pa.int64()).copy()
        cut = said(asked["outcome"], ["capped"])
        granted[rows] = np.where(cut, np.minimum(granted[rows], found.mg), found.mg)
        place = records.column_names.index("granted_mg")
        return records.set_column(place, "granted_mg", pa.array(granted))

    def _plan(self, region: str, day: date, variant: str | None, evidence: str) -> Any:
        return self.catalogue.plan(self.methodology, region, day, variant, evidence)


@dataclass(slots=True)
class _Side:
    """One of the two that are compared: rules by programme, and what they have come to so far."""

    versions: Mapping[str, Sequence[PointsProgramme]]
    spent: dict[str, dict[str, int]] = field(default_factory=dict)
    ended: dict[tuple[str, str], date] = field(default_factory=dict)
    used: dict[str, _Used] = field(default_factory=dict)
    cells: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)

    @property
    def sponsored(self) -> bool:
        """Whether a budget over all persons has a say, so that slices cannot be told apart."""
        return any(version.sponsors for versions in self.versions.values() for version in versions)

    def count(self, acts: pa.Table, settled_on: date) -> None:
        """Add what the acts of some whole accounts are granted and earn."""
        if not acts.num_rows:
            return
        cell_of, cells = _cells(acts)
        sums = {
            "acts": np.bincount(cell_of, minlength=len(cells)).astype(np.int64),
            "granted_mg": _sums(cell_of, integers(acts["granted_mg"], pa.int64()), len(cells)),
        }
        place = integers(acts["place"], pa.int64())
        for name, versions in self.versions.items():
            rows = self._award(name, versions, acts, settled_on)
            own = cell_of[np.searchsorted(place, integers(rows["place"], pa.int64()))]
            sums[name] = _sums(own, integers(rows["points"], pa.int64()), len(cells))
        for number, cell in enumerate(cells):
            held = self.cells.setdefault(cell, dict.fromkeys(sums, 0))
            for name, amounts in sums.items():
                held[name] += int(amounts[number])

    def _award(self, name: str, versions: Sequence[PointsProgramme], acts: pa.Table, settled_on: date) -> pa.Table:
        """Rows of all versions in force, one after the other."""
        days = pc.min_max(acts["day"]).as_py()
        kept = self.used.setdefault(name, _Used())
        spent = self.spent.setdefault(name, {})
        used = kept.of(acts)
        rows = []
        for version in versions:
            if not version.valid.overlaps(Period(days["min"], None)) or version.valid.start > days["max"]:
                continue
            left = {each.id: each.budget - spent.get(each.id, 0) for each in version.sponsors.values()}
            found = award(acts, version, used, left, settled_on=settled_on)
            self._spend(name, found, left, settled_on)
            used = pa.concat_tables([used, found.used])
            kept.add(found.used)
            rows.append(found.rows)
        return pa.concat_tables([ROW_SCHEMA.empty_table(), *rows])

    def _spend(self, name: str, found: Awards, left: Mapping[str, int], settled_on: date) -> None:
        for sponsor, amount in found.spent.items():
            self.spent[name][sponsor] = self.spent[name].get(sponsor, 0) + amount
            if amount == left[sponsor]:
                self.ended.setdefault((name, sponsor), settled_on)


class _Used:
    """What was used of limits by accounts, in parts that are each in order of the account."""

    def __init__(self) -> None:
        self._parts: list[tuple[Any, pa.Table]] = []
        self._tidied = 0

    def of(self, acts: pa.Table) -> pa.Table:
        """What accounts between the first and the last of a slice used."""
        starts = _starts(acts["account"])
        low, high = starts.min(), starts.max()
        parts = [USED_SCHEMA.empty_table()]
        for keys, table in self._parts:
            first, last = np.searchsorted(keys, low, "left"), np.searchsorted(keys, high, "right")
            if first < last:
                parts.append(table.slice(first, last - first))
        return pa.concat_tables(parts)

    def add(self, used: pa.Table) -> None:
        """Keep what a slice used."""
        if used.num_rows:
            keys = _starts(used["account"])
            order = np.argsort(keys, kind="stable")
            self._parts.append((keys[order], used.take(pa.array(order))))

    def tidy(
        self, con: duckdb.DuckDBPyConnection, programmes: Sequence[PointsProgramme], earliest: date | None
    ) -> None:
        """Add up what stands in several parts, and forget periods and streaks that no later act can meet.

        Not with every batch: only where twice as much stands there as the last time.
        """
        rows = sum(table.num_rows for _, table in self._parts)
        if rows <= max(2 * self._tidied, _FEW_USED):
            return
        con.register("used_rows", pa.concat_tables([table for _, table in self._parts]))
        con.register("used_limits", _first_periods(programmes, earliest))
        found = con.sql(
            "SELECT u.account, u.key, u.period, sum(u.amount)::BIGINT AS amount FROM used_rows u "
            "LEFT JOIN used_limits l ON u.key = l.key WHERE l.first IS NULL OR u.period >= l.first "
            "GROUP BY u.account, u.key, u.period "
            "QUALIFY u.key NOT LIKE 'streak:%' OR u.period = max(u.period) OVER (PARTITION BY u.account, u.key) "
            "ORDER BY u.account"
        ).to_arrow_table()
        con.unregister("used_rows")
        con.unregister("used_limits")
        account = pa.chunked_array([one_array(found["account"]).cast(pa.binary(IDENTITY_BYTES))])
        table = pa.table([account, *(found[name] for name in USED_SCHEMA.names[1:])], schema=USED_SCHEMA)
        self._parts, self._tidied = [(_starts(table["account"]), table)], table.num_rows


def _first_periods(programmes: Sequence[PointsProgramme], earliest: date | None) -> pa.Table:
    """Of each limit of days, months or years the first period that acts from a day on can meet."""
    found = {}
    for programme in programmes:
        for limit in programme.limits():
            if limit.per in ("day", "month", "year") and earliest is not None:
                found[limit.id] = period_start(limit.per, earliest)
    return pa.table({"key": pa.array(list(found), pa.string()), "first": pa.array(list(found.values()), pa.date32())})


class _Run:
    """One comparison over the batches of a home."""

    def __init__(
        self, home: Home, now: _Side, then: _Side, change: Change, since: date | None, until: date | None
    ) -> None:
        if since is not None and until is not None and until < since:
            raise refuse(
                "period-empty",
                f"from {since} to {until} there is no day",
                where="--to",
                remedy="give a last day that is not before the first one",
            )
        self.home, self.now, self.then, self.change = home, now, then, change
        self.since, self.until = since, until

    def go(self, progress: Progress) -> dict[str, Any]:
        """Read every batch and say what both sides come to."""
        began = time.monotonic()
        batches = self.home.book.batch_files()
        files = [record_files(self.home.storage, row) for row in batches]
        firsts = _first_days_from(files)
        total = sum(file.rows for own in files for file in own)
        whole = self.now.sponsored or self.then.sponsored
        con = self.home.connect()
        done = 0
        for row, own, later in zip(batches, files, firsts, strict=True):
            settled_on = received_day(self.home, datetime.fromisoformat(row.sealed_at))
            for records in whole_accounts(own, _COLUMNS, None if whole else SLICE_ROWS):
                progress("batches", 100 * done // max(total, 1), total)
                chosen = self._chosen(records)
                changed = self.change(chosen)
                acts = acts_of(chosen)
                self.now.count(acts, settled_on)
                self.then.count(acts if changed is chosen else acts_of(changed), settled_on)
                done += records.num_rows
            for side in (self.now, self.then):
                for name, used in side.used.items():
                    used.tidy(con, side.versions[name], later)
        con.close()
        return self._answer(len(batches), done, time.monotonic() - began)

    def _chosen(self, records: pa.Table) -> pa.Table:
        for day, compare in ((self.since, pc.greater_equal), (self.until, pc.less_equal)):
            if day is not None:
                records = records.filter(compare(records["day"], pa.scalar(day, pa.date32())))
        return records

    def _answer(self, batches: int, records: int, seconds: float) -> dict[str, Any]:
        names = list(self.then.versions)
        nothing = dict.fromkeys(("acts", "granted_mg", *names), 0)
        cells = [
            _cell(cell, self.now.cells.get(cell, nothing), self.then.cells.get(cell, nothing), names)
            for cell in sorted({*self.now.cells, *self.then.cells})
        ]
        sums = [
            {name: sum(held[name] for held in side.cells.values()) for name in nothing}
            for side in (self.now, self.then)
        ]
        return {
            "from": None if self.since is None else self.since.isoformat(),
            "to": None if self.until is None else self.until.isoformat(),
            "batches": batches,
            "records": str(records),
            "cells": cells,
            "total": _cell(None, sums[0], sums[1], names),
            "sponsors": list(self._sponsors()),
            "seconds": f"{seconds:.1f}",
        }

    def _sponsors(self) -> Iterator[dict[str, Any]]:
        sides = (("now", self.now), ("then", self.then))
        budgets = {
            (name, sponsor.id)
            for _, side in sides
            for name, versions in side.versions.items()
            for version in versions
            for sponsor in version.sponsors.values()
        }
        for name, sponsor in sorted(budgets):
            answer: dict[str, Any] = {"programme": name, "sponsor": sponsor}
            for word, side in sides:
                last = [v.sponsors[sponsor] for v in side.versions.get(name, ()) if sponsor in v.sponsors]
                ended = side.ended.get((name, sponsor))
                answer[word] = {
                    "budget": str(last[-1].budget) if last else "0",
                    "spent": str(side.spent.get(name, {}).get(sponsor, 0)),
                    "ended_on": None if ended is None else ended.isoformat(),
                }
            yield answer


def _cell(
    cell: tuple[str, str] | None, now: Mapping[str, int], then: Mapping[str, int], names: Sequence[str]
) -> dict[str, Any]:
    answer: dict[str, Any] = {} if cell is None else {"behaviour": cell[0], "district": cell[1]}
    for name in ("acts", "granted_mg"):
        answer[name] = {"now": str(now[name]), "then": str(then[name])}
    answer["points"] = {name: {"now": str(now[name]), "then": str(then[name])} for name in names}
    return answer


# -- reading ---------------------------------------------------------------------------------------------------


def _first_days_from(files: Sequence[Sequence[RecordFile]]) -> list[date | None]:
    """For each batch the earliest local day of an act in a later one; None where that is not known, or there is none.

    Only the footers of files are read.
    """
    own = [_first_day(each) for each in files]
    found: list[date | None] = []
    for number in range(len(own)):
        later = own[number + 1 :]
        known = [day for day in later if day is not None]
        found.append(min(known) if known and len(known) == len(later) else None)
    return found


def _first_day(files: Sequence[RecordFile]) -> date | None:
    days = []
    for file in files:
        with parquet_file(file.path) as parquet:
            metadata = parquet.metadata
        place = metadata.schema.names.index("day")
        for number in range(metadata.num_row_groups):
            statistics = metadata.row_group(number).column(place).statistics
            if statistics is None or not statistics.has_min_max:
                return None
            days.append(statistics.min)
    return min(days, default=date.max)


def _cells(acts: pa.Table) -> tuple[Numbers, list[tuple[str, str]]]:
    """The cell of each act, and behaviour and district of each cell."""
    behaviours, regions = text_codes(acts["behaviour"]), text_codes(acts["region"])
    number = behaviours[0] * len(regions[1]) + regions[0]
    pairs = [(str(behaviour), str(region)) for behaviour in behaviours[1] for region in regions[1]]
    there, places = np.unique(number, return_inverse=True)
    return places.astype(np.int64), [pairs[each] for each in there.tolist()]


def _sums(cell_of: Numbers, amounts: Numbers, cells: int) -> Numbers:
    sums = np.zeros(cells, dtype=np.int64)
    np.add.at(sums, cell_of, amounts)
    return sums


def _starts(accounts: pa.ChunkedArray) -> Any:
    """The first eight bytes of identities as numbers, in the order of the identities."""
    halves = np.ascontiguousarray(fixed_bytes(accounts, IDENTITY_BYTES)).view(">u8")
    return halves[:, 0].astype(np.uint64)
