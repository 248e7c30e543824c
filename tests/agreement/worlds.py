"""Small worlds for settlement: few persons, partners, references and claims, so that acts meet in every way."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from tanzhang.core.action import INPUT_NAMES
from tanzhang.core.claim import ACTION, CHILD, CLAIM, GROUP, Span, identity
from tanzhang.core.formula import parse_formula
from tanzhang.core.recipe import CapRule, Recipe
from tanzhang.core.record import Record
from tanzhang.core.settlement import Rules
from tanzhang.engine.records import RECORD_COLUMNS
from tanzhang.engine.reference import Accepted, Link
from tanzhang.engine.settle import settle as settle_in_columns

KEY = bytes(range(32))
FIRST = datetime(2025, 3, 30, tzinfo=UTC)
MINUTE = 60_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_UUIDS = ("action_id", "child", "group_id", "claim", "withdraws")
_TEXTS = ("partner", "behaviour", "region", "variant", "evidence", "plan")


def recipe(
    behaviour: str,
    family: str,
    *,
    kind: str = "reduction",
    evidence: str = "measured",
    accuracy: str = "activity_data",
    fields: tuple[str, ...] = ("issuer", "identifier"),
    overlap: bool = False,
    caps: tuple[CapRule, ...] = (),
) -> Recipe:
    """A recipe whose formula does not matter, since settlement takes milligrams as they are."""
    return Recipe(
        methodology=f"test.{behaviour}@1",
        behaviour=behaviour,
        kind=kind,
        formula=parse_formula("count", where="test"),
        parameters={},
        ranges={"count": (1, 100)},
        discount=Fraction(1),
        rounding="down" if kind == "reduction" else "up",
        accuracy=accuracy,
        evidence=evidence,
        family=family,
        claim_fields=fields,
        overlap=overlap,
        caps=caps,
    )


RECIPES: dict[str, Recipe] = {
    "01" * 32: recipe("travel.metro", "trip", overlap=True),
    "02" * 32: recipe("travel.bus", "trip", evidence="sensed", overlap=True),
    "03" * 32: recipe("travel.bicycle", "trip", evidence="sensed", accuracy="per_act", overlap=True),
    "04" * 32: recipe("travel.ferry", "boat", evidence="declared", overlap=True),
    "05" * 32: recipe("finance.e_invoice", "invoice", accuracy="per_act"),
    "06" * 32: recipe("finance.payment", "invoice", evidence="declared"),
    "07" * 32: recipe("travel.walking", "walk", evidence="sensed", fields=("person", "day")),
    "08" * 32: recipe("living.electricity", "home", fields=("person", "month")),
    "09" * 32: recipe("footprint.metro", "footprint", kind="emission", overlap=True),
}
PLANS = tuple(RECIPES)


class World:
    """What settlement is given: the pending reports of each batch, links, recipes, rules."""

    def __init__(
        self,
        batches: Sequence[tuple[Accepted, ...]],
        links: Sequence[Link],
        recipes: dict[str, Recipe],
        rules: Rules,
    ) -> None:
        self.batches, self.links, self.recipes, self.rules = batches, links, recipes, rules

    def __repr__(self) -> str:
        """What a failing test shows: the reports and rules, without what never changes."""
        lines = [f"links {[(str(k.child)[:8], str(k.account)[:8], k.valid_from, k.valid_until) for k in self.links]}"]
        lines += [f"caps {r.behaviour} {r.caps}" for r in self.recipes.values() if r.caps]
        lines.append(f"threshold {self.rules.overlap_threshold} within {self.rules.report_within_days}")
        lines.append(f"programme caps {self.rules.caps}")
        for number, batch in enumerate(self.batches):
            lines += [f"batch {number}: {show(accepted.record)} received {accepted.received}" for accepted in batch]
        return "\n".join(lines)


def show(record: Record) -> str:
    """A record on one line."""

    def short(value: Any) -> str:
        return str(value)[:8] if isinstance(value, uuid.UUID) else str(value)

    shown = {name: getattr(record, name) for name in Record.__slots__}
    for name in ("started", "ended"):
        if shown[name] is not None:
            shown[name] = (EPOCH + timedelta(microseconds=shown[name])).strftime("%dT%H:%M")
    hidden = ("partner", "region", "variant", "evidence", "day", "inputs")
    return " ".join(f"{k}={short(v)[:8]}" for k, v in shown.items() if v is not None and k not in hidden)


def action_id(partner: str, reference: int) -> uuid.UUID:
    """The identity of a partner's reference."""
    return identity(KEY, ACTION, partner, f"r{reference}")


def report(
    *,
    partner: str = "p0",
    reference: int = 0,
    subject: int = 0,
    plan: str | None = PLANS[0],
    ended: int = 0,
    minutes: int | None = None,
    mg: int = 10,
    claim: int | None = None,
    group: int | None = None,
    withdraws: int | None = None,
    distance_m: int = 100,
    waited: int = 0,
) -> Accepted:
    """An accepted report; ``ended`` in minutes since :data:`FIRST`, ``plan`` None for a pure withdrawal."""
    end = (FIRST - EPOCH) // timedelta(microseconds=1) + ended * MINUTE
    day = (FIRST + timedelta(minutes=ended, hours=8)).date()
    chosen = None if plan is None else RECIPES[plan]
    record = Record(
        action_id=action_id(partner, reference),
        account=identity(KEY, CHILD, partner, f"s{subject}"),
        child=identity(KEY, CHILD, partner, f"s{subject}"),
        partner=partner,
        behaviour="travel.metro" if chosen is None else chosen.behaviour,
        region="CN-440300",
        variant=None,
        evidence="measured" if chosen is None else chosen.evidence,
        kind="reduction",
        outcome="granted",
        plan=plan,
        started=None if minutes is None else end - minutes * MINUTE,
        ended=end,
        day=day,
        inputs={} if plan is None else {"distance_m": distance_m},
        quantified_mg=None if plan is None else mg,
        granted_mg=0,
        reversed_mg=0,
        group_id=None if group is None else identity(KEY, GROUP, partner, f"g{group}"),
        claim=None if claim is None or chosen is None else identity(KEY, CLAIM, chosen.family, "ISSUER", f"N{claim}"),
        withdraws=None if withdraws is None else action_id(partner, withdraws),
    )
    return Accepted(record, day + timedelta(days=waited))


PARTNERS = ("p0", "p1")
_partners = st.sampled_from(PARTNERS)
_maybe_small = st.none() | st.integers(0, 2)
_acts = st.builds(
    report,
    partner=_partners,
    reference=st.integers(0, 9),
    subject=st.integers(0, 1),
    plan=st.sampled_from(PLANS),
    ended=st.integers(0, 12).map(lambda n: n * 10) | st.sampled_from((930, 960, 970, 2 * 1440 + 10)),
    minutes=st.none() | st.sampled_from((5, 10, 14, 20, 30, 60)),
    mg=st.integers(0, 5).map(lambda n: n * 10),
    claim=_maybe_small,
    group=st.none() | st.none() | st.integers(0, 1),
    withdraws=st.none() | st.none() | st.integers(0, 9),
    distance_m=st.sampled_from((100, 100, 200)),
    waited=st.integers(0, 5),
)
_takes_back = st.builds(
    report,
    partner=_partners,
    reference=st.integers(0, 9),
    plan=st.none(),
    ended=st.integers(0, 12).map(lambda n: n * 10),
    withdraws=st.integers(0, 9),
)
# The same trip, again and again: what overlap and claims are about.
_crowd = st.builds(
    report,
    partner=_partners,
    reference=st.integers(10, 40),
    plan=st.sampled_from(PLANS[:3]),
    ended=st.integers(0, 40),
    minutes=st.integers(1, 30),
    claim=st.none() | st.none() | st.integers(0, 3),
    group=st.none() | st.none() | st.integers(0, 1),
)
# A reference never withdraws itself: screening refuses that.
reports = st.one_of(_acts, _acts, _crowd, _takes_back).filter(
    lambda accepted: accepted.record.withdraws != accepted.record.action_id
)


@st.composite
def links(draw: st.DrawFn) -> tuple[Link, ...]:
    """Children of two partners linked to one account, with consents that do not overlap for one child."""
    found = []
    account = uuid.UUID(int=draw(st.integers(1, 3)))
    for partner, subject in itertools.product(PARTNERS, (0, 1)):
        child = identity(KEY, CHILD, partner, f"s{subject}")
        first = FIRST.date() + timedelta(days=draw(st.integers(-1, 2)))
        match draw(st.sampled_from(("none", "open", "ended", "renewed"))):
            case "open":
                found.append(Link(child, account, first, None))
            case "ended":
                found.append(Link(child, account, first, first + timedelta(days=1)))
            case "renewed":
                found.append(Link(child, account, first, first + timedelta(days=1)))
                other = uuid.UUID(int=draw(st.integers(1, 3)))
                found.append(Link(child, other, first + timedelta(days=draw(st.integers(1, 2))), None))
    return tuple(found)


@st.composite
def _caps(draw: st.DrawFn, name: str) -> CapRule:
    period = draw(st.sampled_from(("day", "month")))
    if draw(st.booleans()):
        return CapRule(f"{name}:count", period, draw(st.integers(1, 3)), None)
    return CapRule(f"{name}:mg", period, None, draw(st.integers(0, 12)) * 5)


@st.composite
def rules_and_recipes(draw: st.DrawFn) -> tuple[Rules, dict[str, Recipe]]:
    """The recipes, some with caps (shared ones too), and a programme's rules."""
    recipes = dict(RECIPES)
    for name, plans in draw(
        st.lists(st.tuples(st.sampled_from("ab"), st.sets(st.sampled_from(PLANS), min_size=1, max_size=4)), max_size=2)
    ):
        cap = draw(_caps(name))
        for plan in plans:
            recipes[plan] = replace(recipes[plan], caps=(*recipes[plan].caps, cap))
    own = draw(
        st.lists(st.sets(st.sampled_from(sorted(r.behaviour for r in RECIPES.values())), min_size=1), max_size=2)
    )
    return Rules(
        identity_key=KEY,
        overlap_threshold=draw(st.sampled_from((Fraction(1, 100), Fraction(1, 2), Fraction(7, 10), Fraction(1)))),
        report_within_days=draw(st.none() | st.integers(0, 4)),
        caps=tuple((draw(_caps(f"programme{n}")), frozenset(behaviours)) for n, behaviours in enumerate(own)),
    ), recipes


@st.composite
def worlds(draw: st.DrawFn, *, batches: int = 3, size: int = 24) -> World:
    """A world with up to ``batches`` batches of up to ``size`` reports, some of them sent twice."""
    rules, recipes = draw(rules_and_recipes())
    drawn: list[tuple[Accepted, ...]] = []
    sent: list[Accepted] = []
    for _ in range(draw(st.integers(1, batches))):
        batch = draw(st.lists(reports, max_size=size))
        known = sent + batch
        again = draw(st.lists(st.sampled_from(known), max_size=3)) if known else []
        sent += batch
        drawn.append(tuple(batch + again))
    return World(tuple(drawn), draw(links()), recipes, rules)


def load_pending(con: Any, name: str, pending: Sequence[Accepted]) -> None:
    """Table ``name`` as intake leaves it, with the day of receipt."""
    records = [accepted.record for accepted in pending]
    columns: dict[str, pa.Array] = {"row": pa.array(range(1, len(records) + 1), pa.int64())}
    for field in _UUIDS:
        values = [getattr(record, field) for record in records]
        columns[field] = pa.array([None if value is None else str(value) for value in values], pa.string())
    for field in _TEXTS:
        columns[field] = pa.array([getattr(record, field) for record in records], pa.string())
    for field in ("started", "ended"):
        columns[field] = pa.array([getattr(record, field) for record in records], pa.timestamp("us"))
    columns["day"] = columns["close_day"] = pa.array([record.day for record in records], pa.date32())
    for field in INPUT_NAMES:
        columns[field] = pa.array([record.inputs.get(field) for record in records], pa.int64())
    columns["quantified_mg"] = pa.array([record.quantified_mg for record in records], pa.int64())
    columns["received"] = pa.array([accepted.received for accepted in pending], pa.date32())
    _create(con, name, columns, _UUIDS)


def load_records(con: Any, name: str, records: Sequence[Record]) -> None:
    """Table ``name`` of records with the columns that every store holds."""
    types = {"UUID": pa.string(), "VARCHAR": pa.string(), "TIMESTAMP": pa.timestamp("us"), "DATE": pa.date32()}
    columns = {}
    for field, kind in RECORD_COLUMNS.items():
        values = [record.inputs.get(field) if field in INPUT_NAMES else getattr(record, field) for record in records]
        if kind == "UUID":
            values = [None if value is None else str(value) for value in values]
        columns[field] = pa.array(values, types.get(kind, pa.int64()))
    _create(con, name, columns, [field for field, kind in RECORD_COLUMNS.items() if kind == "UUID"])


def _create(con: Any, name: str, columns: dict[str, pa.Array], identities: Iterable[str]) -> None:
    con.register("given", pa.table(columns))
    cast = ", ".join(f"{field}::UUID AS {field}" for field in identities)
    con.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT * REPLACE ({cast}) FROM given")
    con.unregister("given")


def load_links(con: Any, name: str, found: Sequence[Link]) -> None:
    """Table ``name`` of links."""
    con.execute(f"CREATE OR REPLACE TEMP TABLE {name} (child UUID, account UUID, valid_from DATE, valid_until DATE)")
    if found:
        rows = [(link.child, link.account, link.valid_from, link.valid_until) for link in found]
        con.executemany(f"INSERT INTO {name} VALUES (?, ?, ?, ?)", rows)


def read_records(con: Any, name: str) -> list[Record]:
    """The records of a table, in its order."""
    times = {"started", "ended"}
    columns = ", ".join(f"epoch_us({field})" if field in times else field for field in RECORD_COLUMNS)
    found = []
    for row in con.execute(f"SELECT {columns} FROM {name}").fetchall():
        values = dict(zip(RECORD_COLUMNS, row, strict=True))
        inputs = {field: values.pop(field) for field in INPUT_NAMES}
        found.append(Record(**values, inputs={field: value for field, value in inputs.items() if value is not None}))
    return found


def settle_columns(
    con: Any,
    pending: Sequence[Accepted],
    settled: Sequence[Record],
    found: Sequence[Link],
    recipes: dict[str, Recipe],
    rules: Rules,
) -> list[Record]:
    """Settle with the columnar engine, in the terms of the reference engine."""
    load_pending(con, "pending", pending)
    load_records(con, "settled", settled)
    load_links(con, "links", found)
    decision = settle_in_columns(
        con,
        pending=con.sql("SELECT * FROM pending").to_arrow_table(),
        settled="settled" if settled else None,
        links="links" if found else None,
        recipes=recipes,
        rules=rules,
    )
    con.register("records", decision.records())
    return read_records(con, "records")


def span(record: Record) -> Span:
    """When an act took place."""
    if record.started is None:
        raise AssertionError("an act without a start")
    return Span(record.started, record.ended, record.group_id)


def month(day: date, period: str) -> str:
    """The span of a cap that a day lies in."""
    return day.isoformat()[: 10 if period == "day" else 7]
