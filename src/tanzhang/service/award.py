"""Award: each sealed batch's acts by the points rules in force, once; and end what nobody used in time.

In this order, so that a crash loses nothing and nothing is given twice:

1. the run's file, by place in the batch (stores/points_runs.py);
2. one transaction: the run's row, lots, what was used of limits and budgets, what goes on to joined accounts, debts
   that are repaid.

The manifest of every batch names the heads of runs and moves of then, and each epoch has an entry of the log over them.
A run depends on the batch, on the rules and on what earlier runs used, so ``tanzhang verify`` computes it again.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tanzhang.core.action import INPUT_NAMES
from tanzhang.core.errors import Problem, TanzhangError
from tanzhang.core.methodology import canonical_json
from tanzhang.core.points import UNIT, PointsProgramme
from tanzhang.core.record import HOLDERS
from tanzhang.engine import meeting
from tanzhang.engine.columns import IDENTITY_BYTES, fixed_bytes, one_array
from tanzhang.engine.points import award
from tanzhang.service.history import History
from tanzhang.service.moments import received_at, received_day
from tanzhang.service.observe import stepped
from tanzhang.service.progress import Progress, silent
from tanzhang.stores.catalogue import Catalogue, kind_of
from tanzhang.stores.home import Home
from tanzhang.stores.parts import record_files
from tanzhang.stores.points_rules import points_versions, read_points
from tanzhang.stores.points_runs import SCHEMA, file_name, read_run, write_run
from tanzhang.stores.register.carrying import sources
from tanzhang.stores.register.points_runs import AWARD, EXPIRE, LOTS, USED
from tanzhang.stores.storage import parquet_file
from tanzhang.stores.yaml_text import Document

REWARDED = "reduction"
"""The kind of records that are awarded. That of a footprint tells what was used, not what was done: ours to say."""
_TEXTS = ("behaviour", "partner", "region", "evidence")
_COLUMNS = ("account", *_TEXTS, "day", "ended", "action_id", "granted_mg", *INPUT_NAMES)
_DECIDED = ("kind", "outcome", "reversed_mg", "withdraws")
RECORDS = pa.schema(
    {
        "place": pa.uint32(),
        "account": pa.binary(IDENTITY_BYTES),
        **dict.fromkeys(_TEXTS, pa.string()),
        "day": pa.date32(),
        "ended": pa.int64(),
        "action_id": pa.binary(IDENTITY_BYTES),
        "granted_mg": pa.int64(),
        **dict.fromkeys(INPUT_NAMES, pa.int64()),
    }
)
"""What the rules of points are asked about."""


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

    Returns how many ``batches`` were awarded and by programme what was ``granted`` and ``taken_back``. Raises
    ``home-busy``, ``points-file-missing``.
    """
    answer: dict[str, Any] = {"batches": 0, "programmes": {}}
    if not is_due(home):
        return answer
    with home.settling():
        for rules in rules_of(home):
            said = {"granted": 0, "taken_back": 0}
            for row in home.book.batch_files(home.points_runs.next_batch(rules.unit)):
                progress(f"points of {rules.id}", 0, row.records)
                granted, taken_back = _run(home, rules, row, now)
                said["granted"] += granted
                said["taken_back"] += taken_back
                answer["batches"] += 1
            answer["programmes"][rules.id] = {name: str(amount) for name, amount in said.items()}
    return answer


def is_due(home: Home) -> bool:
    """Whether a sealed batch has no run yet, by two look-ups a programme."""
    if not home.programme.points:
        return False
    count = home.book.batch_count()
    return any(home.points_runs.next_batch(f"{UNIT}{each}") < count for each in home.programme.points)


def expire_due(home: Home, *, now: datetime) -> dict[str, Any]:
    """Book what nobody used, or collected, by its last day; by programme how many ``lots`` and ``points`` ended.

    Balances do not count it before either. A run is booked only where something ended.
    """
    day = received_day(home, now)
    said: dict[str, Any] = {}
    for unit in home.points_runs.units():
        with home.book.transaction() as con:
            count, amount = home.points.end(con, unit, day)
            if count:
                values = {"unit": unit, "kind": EXPIRE, "day": day.isoformat(), "rows": count, "ended": amount}
                home.points_runs.add(con, {**values, "made_at": received_at(now)}, {})
        if count:
            said[unit.removeprefix(UNIT)] = {"lots": count, "points": str(amount)}
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
    """What acts (:data:`RECORDS`) are awarded by some versions of the rules, one after the other.

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
    """The granted acts of a batch as :data:`RECORDS`, in its order."""
    return _read_batch(home, row, _granted, _COLUMNS, RECORDS)


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
    schema = pa.schema({"place": pa.uint32(), "withdraws": pa.binary(IDENTITY_BYTES)})
    takers = _read_batch(home, row, _taking, ("withdraws",), schema)
    if not takers.num_rows:
        return {}, {}
    by = dict(zip(takers["withdraws"].to_pylist(), takers["place"].to_pylist(), strict=True))
    return by, dict(_places(home, sorted(by)))


def lots_of(rows: pa.Table, account: pa.Array) -> pa.Table:
    """What rows of a run give to lots, as :data:`LOTS`; ``account`` is that of each row."""
    collect = pc.fill_null(rows["collect_by"].cast(pa.string()), "")
    columns = [account, rows["last_day"].cast(pa.string()), rows["first_day"].cast(pa.string()), collect]
    plain = pa.table([*columns, rows["points"]], names=LOTS.names)
    sums = plain.group_by(LOTS.names[:4]).aggregate([("granted", "sum")])
    sums = sums.rename_columns(LOTS.names).cast(LOTS)
    sums = sums.filter(pc.not_equal(sums["granted"], 0))
    return sums.sort_by([(name, "ascending") for name in LOTS.names[:4]])


def accounts_at(home: Home, row: Any, places: pa.ChunkedArray) -> pa.Array:
    """The account of the records at some places of a batch; null where one was erased."""
    parts = []
    for file in record_files(home.storage, row):
        with parquet_file(file.path) as parquet:
            parts.append(one_array(parquet.read(columns=["account"])["account"]))
    accounts = pa.concat_arrays([_plain(part) for part in parts])
    return accounts.take(one_array(places))


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


def _run(home: Home, rules: Rules, row: Any, now: datetime) -> tuple[int, int]:
    """Award a batch, under the home's write lock; what was granted and taken back."""
    run = _computed(home, rules, row)
    lots, file, digest = LOTS.empty_table(), None, None
    if run.rows.num_rows:
        file = file_name(row.folder, rules.id)
        digest = write_run(home.storage, file, run.rows)
        lots = lots_of(run.rows, accounts_at(home, row, run.rows["place"]))
    granted, taken = _total(run.awarded.rows), -_total(run.back)
    values = {
        "unit": rules.unit,
        "kind": AWARD,
        "batch": row.seq,
        "rules": canonical_json([each.digest for each in run.awarded.versions]),
        "day": run.settled_on.isoformat(),
        "rows": run.rows.num_rows,
        "granted": granted,
        "taken_back": taken,
        "file": file,
        "file_digest": digest,
        "made_at": received_at(now),
    }
    _book(home, rules, run, lots, values, now)
    return granted, taken


def _computed(home: Home, rules: Rules, row: Any) -> _Run:
    settled_on = settled_day(home, row)
    records = records_of(home, row)
    awarded = Awarded(SCHEMA.empty_table(), USED.empty_table(), {}, ())
    days = pc.min_max(records["day"]).as_py()
    versions = rules.between(days["min"], days["max"]) if records.num_rows else ()
    if versions:
        accounts = sorted(pc.unique(records["account"]).to_pylist())
        used, spent = home.points_runs.used(rules.unit, accounts), home.points_runs.spent(rules.unit)
        awarded = compute(versions, records, used, spent, settled_on)
    back = taken_back(home, rules.unit, row)
    rows = sorted_rows(pa.concat_tables([awarded.rows, back]))
    return _Run(awarded, back, rows, settled_on, rules.at(settled_on))


def _book(home: Home, rules: Rules, run: _Run, lots: pa.Table, values: Mapping[str, Any], now: datetime) -> None:
    """The one transaction of a run."""
    runs, points, unit, at = home.points_runs, home.points, rules.unit, received_at(now)
    used = run.awarded.versions
    with home.book.transaction() as con:
        runs.keep_rules(con, unit, {each.digest: rules.documents[each.digest] for each in used})
        runs.give(con, unit, lots)
        runs.use(con, unit, run.awarded.used)
        not_spent = points.take_from_ended(con, unit) if values["taken_back"] else 0
        runs.add(con, {**values, "ended": -not_spent}, run.spent)
        carried = pa.array([uuid.UUID(each).bytes for each in sources(con)], pa.binary(IDENTITY_BYTES))
        touched = pc.unique(lots["account"].filter(pc.is_in(lots["account"], value_set=carried)))
        points.follow(con, [uuid.UUID(bytes=each) for each in touched.to_pylist()], at=at)
        points.settle_debts(con, unit, at=at, day=received_day(home, now), write_off=run.policy.debt != OWE)


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


def _read_batch(home: Home, row: Any, choose: Any, names: Sequence[str], schema: pa.Schema) -> pa.Table:
    """Columns of those records of a batch that are chosen, with their place."""
    found = []
    for file in record_files(home.storage, row):
        first = file.first
        with parquet_file(file.path) as parquet:
            there = [name for name in (*names, *_DECIDED) if name in parquet.schema_arrow.names]
            for number in range(parquet.num_row_groups):
                table = parquet.read_row_group(number, columns=list(dict.fromkeys(there)))
                place = pa.array(np.arange(first, first + table.num_rows, dtype=np.uint32))
                first += table.num_rows
                found.append(_chosen(table.append_column("place", place), choose, schema))
    return pa.concat_tables(found) if found else schema.empty_table()


def _chosen(table: pa.Table, choose: Any, schema: pa.Schema) -> pa.Table:
    table = table.filter(choose(table))
    columns = []
    for name, kind in zip(schema.names, schema.types, strict=True):
        if name not in table.column_names:
            columns.append(pa.nulls(table.num_rows, kind))
            continue
        column = _plain(one_array(table[name]))
        columns.append(column if pa.types.is_timestamp(column.type) and column.type == kind else column.cast(kind))
    return pa.table(columns, schema=schema)


def _granted(table: pa.Table) -> pa.Array:
    held = pc.is_in(table["outcome"].cast(pa.string()), value_set=pa.array(HOLDERS))
    return pc.and_(held, pc.equal(table["kind"].cast(pa.string()), REWARDED))


def _taking(table: pa.Table) -> pa.Array:
    taken = pc.fill_null(pc.greater(table["reversed_mg"], 0), False)
    reduces = pc.fill_null(pc.equal(table["kind"].cast(pa.string()), REWARDED), False)
    return pc.and_(pc.and_(taken, reduces), pc.is_valid(table["withdraws"]))


def _plain(array: pa.Array) -> pa.Array:
    """An identity as 16 bytes, a text as a text."""
    if isinstance(array, pa.ExtensionArray):
        return array.storage
    return array.cast(pa.string()) if pa.types.is_dictionary(array.type) else array


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
    """A points programme's versions, as :func:`tanzhang.stores.points_rules.points_versions`, with their documents."""
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
        points_versions(catalogue, name)  # says that there is none
    texts = {each.digest: canonical_json(said.data) for each, said in zip(versions, documents, strict=True)}
    return Rules(name, tuple(sorted(versions, key=lambda each: each.version)), texts)
