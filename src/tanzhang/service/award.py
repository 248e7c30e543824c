"""Award: each sealed batch's acts by the points rules in force, once; and end what nobody used in time.

In this order, so that a crash loses nothing and nothing is given twice:

1. the run's file, by place in the batch (stores/points_runs.py);
2. transactions, each a slice of it and the mark of how far it came, the last one with the run's row (award_booking.py).

A run whose mark stands is gone on with before anything else is awarded. The manifest of every batch names the heads of
runs and moves of then, and each epoch has an entry of the log over them. A run depends on the batch, on the rules and
on what earlier runs used, so ``tanzhang verify`` computes it again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tanzhang.core.errors import Problem, TanzhangError
from tanzhang.core.methodology import canonical_json
from tanzhang.core.points import UNIT, PointsProgramme
from tanzhang.core.record import HOLDERS
from tanzhang.engine import meeting
from tanzhang.engine.columns import IDENTITY_BYTES, fixed_bytes, fixed_column, integers, one_array, said
from tanzhang.engine.points import READ, acts_of, award
from tanzhang.service.award_booking import batch_accounts, book, go_on
from tanzhang.service.history import History
from tanzhang.service.moments import received_at, received_day
from tanzhang.service.observe import stepped
from tanzhang.service.progress import Progress, silent
from tanzhang.stores.catalogue import Catalogue, kind_of
from tanzhang.stores.home import Home
from tanzhang.stores.parts import record_files, whole_accounts
from tanzhang.stores.points_rules import POINTS, read_points
from tanzhang.stores.points_runs import SCHEMA, file_name, read_run, write_run
from tanzhang.stores.register.points_runs import EXPIRE, USED, OpenRun, sponsors_text
from tanzhang.stores.storage import parquet_file
from tanzhang.stores.yaml_text import Document

REWARDED = "reduction"
"""The kind of records that are awarded. That of a footprint tells what was used, not what was done: ours to say."""
END_LOTS = 20_000
"""About so many lots are ended in one transaction; ours to say."""
_READ_ROWS = 250_000
"""About so many records of a batch are looked through at once."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Every version of a points programme's rules, the first one first, and their documents by digest."""

    id: str
    versions: tuple[PointsProgramme, ...]
    documents: Mapping[str, str]

    @property
    def unit(self) -> str:
        """The unit that its points are booked in."""
        return f"{UNIT}{self.id}"

    @property
    def latest(self) -> PointsProgramme:
        """The last version."""
        return self.versions[-1]

    def between(self, first: date, last: date) -> tuple[PointsProgramme, ...]:
        """The versions in force on some local day from ``first`` to ``last``."""
        return tuple(
            each
            for each in self.versions
            if each.valid.start <= last and (each.valid.end is None or each.valid.end > first)
        )

    def at(self, day: date) -> PointsProgramme:
        """The version in force on a day, or the last one."""
        return next((each for each in self.versions if each.valid.covers(day)), self.latest)


def rules_of(home: Home) -> tuple[Rules, ...]:
    """The points programmes of a home, as they stood when they were asked for first.

    Raises ``unknown-points-programme``, ``points-consume``, and what is wrong in their files.
    """
    found: tuple[Rules, ...] | None = home.kept.get("points rules")
    if found is None:
        found = tuple(_read(home.catalogue, each) for each in home.programme.points)
        home.kept["points rules"] = found
    return found


def read_document(text: str) -> PointsProgramme:
    """Rules from a document that was kept."""
    return read_points(Document("rules kept in the book", json.loads(text), {}))


@stepped("award")
def award_due(home: Home, *, now: datetime, progress: Progress = silent) -> dict[str, Any]:
    """Award every sealed batch that has no run yet, for each points programme of the home's; one process at a time.

    A run that stopped halfway is gone on with first. Returns how many ``batches`` were awarded and by programme what
    was ``granted`` and ``taken_back``. Raises ``home-busy``, ``points-file-missing``, ``points-file-changed``.
    """
    if not is_due(home):
        return {"batches": 0, "programmes": {}}
    with home.settling():
        booked = [go_on(home, run, now, progress) for run in home.points_runs.open_runs()]
        for rules in rules_of(home):
            waiting = home.book.batch_files(home.points_runs.next_batch(rules.unit))
            booked += [_run(home, rules, row, now, progress) for row in waiting]
    sums = {rules.unit: {"granted": 0, "taken_back": 0} for rules in rules_of(home)}
    for run in booked:
        said = sums.setdefault(run.unit, {"granted": 0, "taken_back": 0})
        said["granted"] += run.granted
        said["taken_back"] += run.taken_back
    programmes = {
        unit.removeprefix(UNIT): {name: str(amount) for name, amount in said.items()} for unit, said in sums.items()
    }
    return {"batches": len(booked), "programmes": programmes}


def is_due(home: Home) -> bool:
    """Whether a sealed batch has no run yet, or one that is not whole, by a few look-ups."""
    if home.points_runs.open_runs():
        return True
    if not home.programme.points:
        return False
    count = home.book.batch_count()
    return any(home.points_runs.next_batch(f"{UNIT}{each}") < count for each in home.programme.points)


def expire_due(home: Home, *, now: datetime) -> dict[str, Any]:
    """Book what nobody used, or collected, by its last day; by programme how many ``lots`` and ``points`` ended.

    Balances do not count it before either. Each transaction ends the lots of some accounts, about :data:`END_LOTS` of
    them, and books a run of its own, so that nobody waits for a year's end.
    """
    day = received_day(home, now)
    said: dict[str, Any] = {}
    for unit in home.points_runs.units():
        lots, points, after = 0, 0, None
        while (accounts := home.points.ending(unit, day, after, END_LOTS)) is not None:
            with home.book.transaction() as con:
                count, amount = home.points.end(con, unit, day, accounts)
                if count:
                    values = {"unit": unit, "kind": EXPIRE, "day": day.isoformat(), "rows": count, "ended": amount}
                    home.points_runs.add(con, {**values, "made_at": received_at(now)}, {})
            lots, points, after = lots + count, points + amount, accounts[1]
        if lots:
            said[unit.removeprefix(UNIT)] = {"lots": lots, "points": str(points)}
    return said


@dataclass(frozen=True, slots=True)
class Awarded:
    """What a batch's run comes to: the rows of its file, what is used of limits and of sponsors' budgets."""

    rows: pa.Table
    used: pa.Table
    spent: Mapping[str, int]
    versions: tuple[PointsProgramme, ...]


def compute(
    versions: Sequence[PointsProgramme],
    records: pa.Table,
    used: pa.Table,
    spent: Mapping[str, int],
    settled_on: date,
) -> Awarded:
    """What acts (as :mod:`tanzhang.engine.points` has them) are awarded by some versions of the rules, one by one.

    ``used`` and ``spent`` are what earlier runs used; what is returned are additions to them.
    """
    added, now_spent, found = USED.empty_table(), dict(spent), []
    for number, version in enumerate(versions):
        left = {each.id: each.budget - now_spent.get(each.id, 0) for each in version.sponsors.values()}
        awards = award(records, version, summed(used, added), left, settled_on=settled_on)
        added = summed(added, awards.used)
        for sponsor, amount in awards.spent.items():
            now_spent[sponsor] = now_spent.get(sponsor, 0) + amount
        found.append(_as_rows(awards.rows, number))
    rows = pa.concat_tables(found) if found else SCHEMA.empty_table()
    fresh = {sponsor: amount - spent.get(sponsor, 0) for sponsor, amount in now_spent.items()}
    return Awarded(rows, added, {each: amount for each, amount in fresh.items() if amount}, tuple(versions))


def summed(*tables: pa.Table) -> pa.Table:
    """What was used of limits in all, each account, limit and period once, in this order."""
    plain = pa.concat_tables([each.select(USED.names).cast(USED) for each in tables])
    sums = plain.group_by(["account", "key", "period"]).aggregate([("amount", "sum")])
    sums = sums.rename_columns([*USED.names[:3], "amount"]).select(USED.names).cast(USED)
    return sums.sort_by([("account", "ascending"), ("key", "ascending"), ("period", "ascending")])


def records_of(home: Home, row: Any) -> pa.Table:
    """The acts of a batch that can earn points (:func:`~tanzhang.engine.points.acts_of`), in its order."""
    return _in_batch(home, row, READ, acts_of)


def settled_day(home: Home, row: Any) -> date:
    """The local day on which a batch was sealed."""
    return received_day(home, datetime.fromisoformat(row.sealed_at))


def taken_back(home: Home, unit: str, row: Any) -> pa.Table:
    """What acts were awarded that records of a batch take back: rows with points below zero, at the taker's place.

    Which acts: those whose grams were taken back. An act that was worth no gram cannot be told to be taken back once,
    and keeps its points.
    """
    by, acts = _taken(home, row)
    found = []
    for number in sorted({batch for batch, _ in acts.values()}):
        run = home.points_runs.of_batch(unit, number)
        if run is None:
            continue
        taker = {place: by[action] for action, (batch, place) in acts.items() if batch == number}
        rows = read_run(home.storage, run, taker)
        rows = rows.filter(pc.greater(rows["points"], 0))
        if rows.num_rows:
            found.append(_opposite(rows, number, taker))
    return pa.concat_tables(found) if found else SCHEMA.empty_table()


def places_taken_back(home: Home, row: Any) -> list[tuple[int, int]]:
    """Batch and place, sorted, of the acts whose grams records of a batch take back."""
    return sorted(_taken(home, row)[1].values())


def _taken(home: Home, row: Any) -> tuple[dict[bytes, int], dict[bytes, tuple[int, int]]]:
    """Of the acts whose grams records of a batch take back: the taker's place, and where they are themselves."""
    takers = _in_batch(home, row, ("account", "kind", "reversed_mg", "withdraws"), _takers)
    if not takers.num_rows:
        return {}, {}
    by = dict(zip(takers["withdraws"].to_pylist(), takers["place"].to_pylist(), strict=True))
    return by, dict(_places(home, sorted(by)))


def accounts_at(home: Home, row: Any, places: pa.ChunkedArray) -> pa.Array:
    """The account of the records at some places of a batch; null where one was erased."""
    return batch_accounts(home, row).take(one_array(places))


# -- one run ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Run:
    """A run before it is booked: what it awards, what it takes back, and both in the order of its file."""

    awarded: Awarded
    back: pa.Table
    rows: pa.Table
    settled_on: date
    policy: PointsProgramme

    @property
    def spent(self) -> dict[str, int]:
        """Sponsor -> what comes out of its budget; what is owed again comes back, what is forgiven does not."""
        spent = dict(self.awarded.spent)
        if self.policy.debt == OWE:
            for sponsor, amount in by_sponsor(self.back).items():
                spent[sponsor] = spent.get(sponsor, 0) + amount
        return spent


def _run(home: Home, rules: Rules, row: Any, now: datetime, progress: Progress) -> OpenRun:
    """Award a batch, under the home's write lock."""
    run = _computed(home, rules, row)
    versions = run.awarded.versions
    file = file_name(row.folder, rules.id) if run.rows.num_rows else None
    booked = OpenRun(
        unit=rules.unit,
        batch=row.seq,
        rules=canonical_json([each.digest for each in versions]),
        day=run.settled_on.isoformat(),
        rows=run.rows.num_rows,
        granted=_total(run.awarded.rows),
        taken_back=-_total(run.back),
        sponsors=sponsors_text(run.spent),
        writes_off=run.policy.debt != OWE,
        file=file,
        file_digest=None if file is None else write_run(home.storage, file, run.rows),
    )
    documents = {each.digest: rules.documents[each.digest] for each in versions}
    return book(home, row, booked, run.rows, run.awarded.used, documents, now, progress)


def _computed(home: Home, rules: Rules, row: Any) -> _Run:
    settled_on = settled_day(home, row)
    records = records_of(home, row)
    awarded = Awarded(SCHEMA.empty_table(), USED.empty_table(), {}, ())
    days = pc.min_max(records["day"]).as_py()
    versions = rules.between(days["min"], days["max"]) if records.num_rows else ()
    if versions:
        accounts = sorted(pc.unique(fixed_column(fixed_bytes(records["account"], IDENTITY_BYTES))).to_pylist())
        used, spent = home.points_runs.used(rules.unit, accounts), home.points_runs.spent(rules.unit)
        awarded = compute(versions, records, used, spent, settled_on)
    back = taken_back(home, rules.unit, row)
    rows = sorted_rows(pa.concat_tables([awarded.rows, back]))
    return _Run(awarded, back, rows, settled_on, rules.at(settled_on))


OWE = "owe"
"""Of the policies for acts that are withdrawn after their points were spent: what was spent is owed."""


def sorted_rows(rows: pa.Table) -> pa.Table:
    """Rows of a run in the order of its file."""
    return rows.sort_by([(name, "ascending") for name in ("place", "version", "rule", "sponsor", "of_place")])


def by_sponsor(rows: pa.Table) -> dict[str, int]:
    """Sponsor -> the points of some rows of a run at its cost."""
    paid = rows.filter(pc.is_valid(rows["sponsor"])).group_by("sponsor").aggregate([("points", "sum")])
    return dict(zip(paid["sponsor"].to_pylist(), paid["points_sum"].to_pylist(), strict=True))


def _total(rows: pa.Table) -> int:
    return int(pc.sum(rows["points"]).as_py() or 0)


def _as_rows(awards: pa.Table, version: int) -> pa.Table:
    """Rows of the engine as those of a file."""
    count = awards.num_rows
    fixed = {
        "version": pa.array(np.full(count, version, np.uint16)),
        "of_batch": pa.nulls(count, pa.uint32()),
        "of_place": pa.nulls(count, pa.uint32()),
    }
    columns = [fixed[name] if name in fixed else awards[name] for name in SCHEMA.names]
    return pa.table(columns, names=SCHEMA.names).cast(SCHEMA)


def _opposite(rows: pa.Table, number: int, taker: Mapping[int, int]) -> pa.Table:
    """What takes rows of batch ``number`` back, at the places of their takers."""
    of = rows["place"].to_pylist()
    changed = {
        "place": pa.array([taker[place] for place in of], pa.uint32()),
        "points": pc.negate(rows["points"]),
        "of_batch": pa.array([number] * rows.num_rows, pa.uint32()),
        "of_place": rows["place"],
    }
    return pa.table([changed.get(name, rows[name]) for name in SCHEMA.names], names=SCHEMA.names).cast(SCHEMA)


# -- reading a batch ----------------------------------------------------------------------------------------------


def _in_batch(home: Home, row: Any, names: Sequence[str], choose: Callable[[pa.Table, int], pa.Table]) -> pa.Table:
    """What is chosen of a batch's records, some columns of them, by a table of records and the place of its first."""
    found, first = [], 0
    for records in whole_accounts(record_files(home.storage, row), names, _READ_ROWS):
        found.append(choose(records, first))
        first += records.num_rows
    return pa.concat_tables(found, promote_options="default")


def _takers(records: pa.Table, first: int) -> pa.Table:
    """The records that take an act with its grams back: ``place`` and ``withdraws``."""
    rows = np.flatnonzero(said(records["kind"], [REWARDED]) & (integers(records["reversed_mg"], pa.int64()) > 0))
    withdraws = fixed_column(fixed_bytes(records["withdraws"], IDENTITY_BYTES))
    known = np.asarray(one_array(records["withdraws"]).is_valid())
    rows = rows[known[rows]]
    return pa.table({"place": pa.array((rows + first).astype(np.uint32)), "withdraws": withdraws.take(pa.array(rows))})


def _places(home: Home, actions: Sequence[bytes]) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """Of the records of some references that hold their act: batch and place."""
    asked = pa.table({"action_id": pa.ExtensionArray.from_storage(pa.uuid(), pa.array(actions, pa.binary(16)))})
    wanted = np.array(actions, dtype=f"S{IDENTITY_BYTES}")
    history = History(home).catch_up(keep=False)
    for group in history.groups_with(meeting.all_of([meeting.reference_keys(asked)])):
        with parquet_file(group.path) as file:
            table = file.read_row_group(group.place, columns=["action_id", "outcome"])
        own = np.ascontiguousarray(fixed_bytes(table["action_id"], IDENTITY_BYTES)).view(f"S{IDENTITY_BYTES}").ravel()
        held = np.asarray(pc.is_in(table["outcome"].cast(pa.string()), value_set=pa.array(HOLDERS)))
        for number in np.flatnonzero(np.isin(own, wanted) & held).tolist():
            yield own[number].ljust(IDENTITY_BYTES, b"\0"), (group.batch, group.first + number)


def _read(catalogue: Catalogue, name: str) -> Rules:
    """A points programme's versions, as :func:`tanzhang.stores.points_rules.POINTS`, with their documents."""
    documents = [
        document
        for relative in catalogue.find(f"points/{name}/v*.yaml")
        if kind_of(relative) == "points" and (document := catalogue.open(relative, "points")) is not None
    ]
    versions = list(map(read_points, documents))
    problems = [
        Problem("points-consume", f"{each.key} uses grams up, which is not built", each.where, "use points_independent")
        for each in versions
        if each.switch != "points_independent"
    ]
    if problems:
        raise TanzhangError(problems)
    if not versions:
        POINTS.of(catalogue, name)  # says that there is none
    texts = {each.digest: canonical_json(said.data) for each, said in zip(versions, documents, strict=True)}
    return Rules(name, tuple(sorted(versions, key=lambda each: each.version)), texts)
