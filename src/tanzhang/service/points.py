"""Points (积分): what an account has, why it has it, collecting what waits, and what a programme has given in all.

What is shown is what the book holds. Points of acts that are not settled yet are shown as expected, by the same rules
over what settling now would decide; nobody can spend them. ``as_of_batch`` is the last batch that was awarded: a batch
that was just sealed has its points moments later.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import pyarrow as pa

from tanzhang.core.action import INPUT_NAMES
from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.core.points import PointsProgramme, PointsRule, rounded
from tanzhang.core.record import HOLDERS, Record
from tanzhang.engine.account_rows import PLACE_BITS, place_of, records_of
from tanzhang.engine.columns import IDENTITY_BYTES
from tanzhang.engine.points import TEXTS
from tanzhang.service.award import REWARDED, Rules, compute, read_document, rules_of
from tanzhang.service.cursors import cursor_of, place_after
from tanzhang.service.joining import own_accounts
from tanzhang.service.moments import received_at, received_day
from tanzhang.service.reading import Reader
from tanzhang.service.view import AccountRecords
from tanzhang.stores.home import Home
from tanzhang.stores.points_runs import read_run
from tanzhang.stores.register.points import NEVER, Lot, usable
from tanzhang.stores.register.points_runs import AWARD

SOON_DAYS = 30
"""Points that end within so many days are shown day by day; ours to say."""
_ACTS = pa.schema(
    {
        "place": pa.uint32(),
        "account": pa.binary(IDENTITY_BYTES),
        **dict.fromkeys(TEXTS, pa.string()),
        "day": pa.date32(),
        "ended": pa.int64(),
        "action_id": pa.binary(IDENTITY_BYTES),
        "granted_mg": pa.int64(),
        **dict.fromkeys(INPUT_NAMES, pa.int64()),
    }
)
"""What the rules of points are asked about."""
_LATEST = (1 << 31) - 1  # above every number of a batch or move


def points_of(reader: Reader, account: uuid.UUID, *, now: datetime) -> dict[str, Any]:
    """What an account has in each points programme: usable (below zero: owed), expected, waiting, ending soon."""
    home, today = reader.home, received_day(reader.home, now)
    provisional = [each for each in reader.provisional(account) if each.outcome in HOLDERS and each.kind == REWARDED]
    return {
        "account": str(account),
        "items": [_held(home, rules, account, provisional, today) for rules in rules_of(home)],
    }


def statement_of(
    reader: Reader, programme: str, account: uuid.UUID, *, cursor: str | None = None, limit: int = 50
) -> dict[str, Any]:
    """What made an account's points what they are, the latest first: awards with rule and reason, and moves.

    Accounts that are part of it are in the list too, each item says of which it is; so all items come to what is held.
    Raises ``unknown-points-programme``, ``cursor-malformed``.
    """
    rules = rules_named(reader.home, programme)
    before, batch, skip = (_LATEST, _LATEST, 0) if cursor is None else place_after(cursor, int, int, int)
    before = min(max(before, 0), _LATEST)
    accounts = own_accounts(reader.home, account)
    awards = _awards(reader, rules, accounts, batch, skip)
    moves = _moves(reader.home, rules.unit, accounts, before, limit)
    items: list[dict[str, Any]] = []
    award, move = next(awards, None), next(moves, None)
    while len(items) < limit and (award is not None or move is not None):
        if move is None or (award is not None and award.said["at"] > move.said["at"]):
            items.append(award.said if award else {})
            award = next(awards, None)
        else:
            items.append(move.said)
            before, move = move.number, next(moves, None)
    if award is not None:
        batch, skip = award.batch, award.number
    else:
        batch, skip = -1, 0
    left = award is not None or move is not None
    return {"programme": programme, "items": items, "next": cursor_of(before, batch, skip) if left else None}


def collect(
    home: Home, programme: str, account: uuid.UUID, names: Sequence[str] | None = None, *, now: datetime
) -> dict[str, Any]:
    """Give an account what waits to be collected: what ``names`` name, or all (None).

    What was collected before is left alone, so that a request may be sent again. Raises ``unknown-points-programme``,
    ``points-item-malformed``.
    """
    rules = rules_named(home, programme)
    keys = None if names is None else _keys(names)
    today = received_day(home, now)
    with home.book.transaction() as con:
        done = home.points.collect(con, rules.unit, account, keys, at=received_at(now), day=today)
    return {
        "programme": programme,
        "collected": str(sum(lot.available for lot in done)),
        "items": [_waiting(lot) for lot in done],
        "usable": str(home.points.usable(rules.unit, account, today)),
    }


def figures_of(home: Home, programme: str, *, now: datetime) -> dict[str, Any]:
    """What a programme gave, took back and let end in all, what accounts hold of it, and its sponsors' budgets.

    ``held`` and ``waiting`` are what is owed to people; ``spent`` is by counter. Raises ``unknown-points-programme``.
    """
    rules = rules_named(home, programme)
    with home.book.snapshot():
        unit, today = rules.unit, received_day(home, now)
        totals, held = home.points_runs.totals(unit), home.points_runs.held(unit, today.isoformat())
        moved = {name: str(amount) for name, amount in home.points_runs.moved(unit).items() if amount}
        return {
            "programme": programme,
            "unit": unit,
            "title": {"en": rules.latest.title, "zh": rules.latest.title_zh},
            "versions": [
                {"version": str(each.version), "digest": each.digest, "valid": str(each.valid)}
                for each in rules.versions
            ],
            **_as_of(home, unit),
            **{name: str(amount) for name, amount in totals.items()},
            "ended": str(totals["ended"] + held.pop("over")),
            "spent": moved,
            "outstanding": {name: str(amount) for name, amount in held.items()},
            "budgets": budgets_of(home, rules, today),
        }


def budgets_of(home: Home, rules: Rules, today: date) -> list[dict[str, Any]]:
    """Each sponsor's budget in the version in force, what came out of it and what is left."""
    spent = home.points_runs.spent(rules.unit)
    return [
        {
            "sponsor": each.id,
            "name": {"en": each.name, "zh": each.name_zh},
            "budget": str(each.budget),
            "spent": str(spent.get(each.id, 0)),
            "left": str(max(each.budget - spent.get(each.id, 0), 0)),
        }
        for each in rules.at(today).sponsors.values()
    ]


def rules_named(home: Home, programme: str) -> Rules:
    """A points programme of the home's; ``unknown-points-programme``."""
    for rules in rules_of(home):
        if rules.id == programme:
            return rules
    named = ", ".join(home.programme.points)
    raise refuse(
        "unknown-points-programme",
        f"programme {home.programme.id} has no points programme {programme[:80]}",
        where="programme",
        remedy=f"use one of {named}" if named else "name points programmes under 'points' of the programme's file",
    )


# -- what an account has ----------------------------------------------------------------------------------------


def _held(home: Home, rules: Rules, account: uuid.UUID, provisional: Sequence[Record], today: date) -> dict[str, Any]:
    lots, day = home.points.lots(rules.unit, account), today.isoformat()
    there = [lot for lot in lots if lot.available > 0 and not lot.collect_by and lot.last_day >= day]
    soon = (today + timedelta(days=SOON_DAYS)).isoformat()
    shown = rules.at(today)
    ends: dict[str, int] = {}
    for lot in there:
        if lot.last_day <= soon:
            ends[lot.last_day] = ends.get(lot.last_day, 0) + lot.available
    return {
        "programme": rules.id,
        "unit": rules.unit,
        "title": {"en": shown.title, "zh": shown.title_zh},
        "unit_name": {"en": shown.unit_name, "zh": shown.unit_name_zh},
        "usable": str(usable(lots, today)),
        "later": str(sum(lot.available for lot in there if lot.first_day > day)),
        "expected": str(_expected(home, rules, account, provisional, today)),
        "waiting": [_waiting(lot) for lot in lots if lot.collect_by >= day and lot.available > 0],
        "ending": [{"day": last, "points": str(amount)} for last, amount in sorted(ends.items())],
        **_as_of(home, rules.unit),
    }


def _waiting(lot: Lot) -> dict[str, Any]:
    """A lot that waits to be collected, or did."""
    return {
        "id": "_".join(lot.key),
        "points": str(lot.available),
        "collect_from": lot.first_day,
        "collect_by": lot.collect_by,
        "last_day": None if lot.last_day == NEVER else lot.last_day,
    }


def _keys(names: Sequence[str]) -> list[tuple[str, str, str]]:
    """What ids of waiting points name; every malformed one is told of."""
    found, problems = [], []
    for number, name in enumerate(names):
        days = name.split("_")
        try:
            last, first, by = (date.fromisoformat(each).isoformat() for each in days)
        except ValueError:
            remedy = "send 'id' of what waits as it was given, or no items to collect all"
            problems.append(
                Problem("points-item-malformed", f"{name[:40]!r} names nothing", f"#/items/{number}", remedy)
            )
            continue
        found.append((last, first, by))
    if problems:
        raise TanzhangError(problems)
    return found


def _expected(home: Home, rules: Rules, account: uuid.UUID, provisional: Sequence[Record], today: date) -> int:
    """What acts that are not settled yet would earn if they were settled today, as far as limits have room."""
    if not provisional:
        return 0
    days = [each.day for each in provisional]
    versions = rules.between(min(days), max(days))
    used = home.points_runs.used(rules.unit, [account.bytes])
    spent = home.points_runs.spent(rules.unit)
    records = acts_table(list(enumerate(provisional)))
    return sum(compute(versions, records, used, spent, today).rows["points"].to_pylist())


def acts_table(records: Sequence[tuple[int, Record]]) -> pa.Table:
    """Records, each with its place, as the rules of points are asked about them."""
    columns: dict[str, list[Any]] = {name: [] for name in _ACTS.names}
    for place, record in records:
        said = {"place": place, "account": record.account.bytes, "action_id": record.action_id.bytes}
        for name, column in columns.items():
            if name in said:
                column.append(said[name])
            else:
                column.append(getattr(record, name) if hasattr(record, name) else record.inputs.get(name))
    return pa.table(columns, schema=_ACTS)


def _as_of(home: Home, unit: str) -> dict[str, Any]:
    """The last batch that was awarded, and how many wait for that."""
    following = home.points_runs.next_batch(unit)
    last = str(following - 1) if following else None
    return {"as_of_batch": last, "batches_waiting": home.book.batch_count() - following}


# -- why ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Item:
    """An item of a statement, and its place in the list that it is of."""

    said: dict[str, Any]
    batch: int
    number: int


def _moves(home: Home, unit: str, accounts: Sequence[uuid.UUID], before: int, limit: int) -> Iterator[_Item]:
    for row in home.points.moves(unit, *accounts, before=before, limit=limit + 1):
        said = {
            "what": row.kind,
            "account": row.account,
            "at": row.made_at,
            "points": str(row.amount),
            "counter": row.counter,
            "reference": row.reference,
            "memo": row.memo,
            "lots": [_part(part) for part in json.loads(row.lots)],
        }
        yield _Item(said, 0, row.seq)


def _part(part: Sequence[str]) -> dict[str, Any]:
    return {"points": part[2], "first_day": part[1], "last_day": None if part[0] == NEVER else part[0]}


def _awards(reader: Reader, rules: Rules, accounts: Sequence[uuid.UUID], batch: int, skip: int) -> Iterator[_Item]:
    """Rows of runs of accounts' records, of the last batch first, from a row of a batch on."""
    home = reader.home
    owned: dict[int, dict[int, tuple[AccountRecords, int]]] = {}
    for own in map(reader.account_records, accounts):
        for at, place in enumerate(own.rows["place"].tolist()):
            number = place >> PLACE_BITS
            owned.setdefault(number, {})[place - place_of(number, 0)] = own, at
    for number in sorted(owned, reverse=True):
        run = home.points_runs.of_batch(rules.unit, number) if number <= batch else None
        if run is None:
            continue
        found = read_run(home.storage, run, owned[number]).to_pylist()
        versions = _versions(home, run)
        for at, row in enumerate(found):
            if number < batch or at >= skip:
                own, place = owned[number][row["place"]]
                (record,) = records_of(own.rows[[place]], own.account, own.words.known)
                yield _Item(_award(run, row, record, versions), number, at)


def _versions(home: Home, run: Any) -> list[PointsProgramme]:
    digests = json.loads(run.rules)
    kept = home.points_runs.documents(digests)
    return [read_document(kept[digest]) for digest in digests]


def _award(run: Any, row: dict[str, Any], record: Record, versions: Sequence[PointsProgramme]) -> dict[str, Any]:
    """One row of a run as JSON members; why it is so many is said of what was given, not of what was taken back."""
    said = {
        "what": AWARD if row["points"] > 0 else "taken_back",
        "account": str(record.account),
        "at": run.made_at,
        "points": str(row["points"]),
        "batch": str(run.batch),
        "place": str(row["place"]),
        "action": str(record.action_id),
        "behaviour": record.behaviour,
        "day": record.day.isoformat(),
        "first_day": row["first_day"].isoformat(),
        "last_day": None if row["last_day"].isoformat() == NEVER else row["last_day"].isoformat(),
        "collect_by": None if row["collect_by"] is None else row["collect_by"].isoformat(),
        "sponsor": row["sponsor"],
    }
    if row["points"] > 0:
        version = versions[row["version"]]
        said["why"] = _why(version, version.rules[row["rule"]], record, row)
    else:
        said["of"] = {"batch": str(row["of_batch"]), "place": str(row["of_place"])}
    return said


def _why(version: PointsProgramme, rule: PointsRule, record: Record, row: dict[str, Any]) -> dict[str, Any]:
    """The rule, what it comes to for the act, and what limited it: limits over the rule, or the sponsor's budget."""
    measured = record.granted_mg if rule.measure == "granted_mg" else record.inputs.get(rule.measure or "", 0)
    tier = rule.tier(measured)
    share = rule.share(record.behaviour, record.partner, record.region, record.evidence)
    campaign = version.campaign(rule, record.day)
    before = 0
    if tier is not None:
        exact = tier.amount(measured) * share
        base = rounded(exact, version.rounding)
        before = base if campaign is None else rounded(exact * campaign.multiplier, version.rounding)
        if campaign is not None and campaign.sponsor is not None:  # two lines: what it adds is the sponsor's
            before = before - base if row["sponsor"] == campaign.sponsor else base
    limited = before > row["points"]
    return {
        "rule": rule.id,
        "version": version.key,
        "title": {"en": rule.title, "zh": rule.title_zh},
        "campaign": None if campaign is None else {"en": campaign.title, "zh": campaign.title_zh},
        "before_limits": str(before),
        "limits": [limit.id for limit in version.limits() if rule.id in limit.rules] if limited else [],
        "budget": row["sponsor"] if limited else None,
    }
