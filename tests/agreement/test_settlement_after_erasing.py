"""Acts meet what is left of erased records in the same way on every engine, and are never credited a second time."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tanzhang.core.record import ERASED, HOLDERS, Record
from tanzhang.engine.erase import LEFT, what_is_left, without_content
from tanzhang.engine.kernel import connect
from tanzhang.engine.records import RECORD_COLUMNS
from tanzhang.engine.reference import _Settlement, settle

from .test_settlement_in_parts import settle_in_parts
from .worlds import World, load_records, read_records, report, settle_columns, show, worlds

EXAMPLES = int(os.environ.get("TANZHANG_EXAMPLES", "40"))
RELAXED = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def con():
    return connect()


def erased(record: Record, claim: Any, *, first: bool) -> Record:
    """What stands in a record file for an erased record."""
    empty: dict[str, Any] = dict.fromkeys(Record.__slots__)
    return Record(
        **{
            **empty,
            "outcome": ERASED,
            "inputs": {},
            "claim": claim,
            "action_id": record.action_id if first else None,
            "withdraws": record.withdraws if first else None,
        }
    )


def erase_plainly(settled: Sequence[Record], accounts: set[Any], world: World) -> list[Record]:
    """The rules of what is left, record by record."""
    before = {record.action_id for record in settled if record.outcome == ERASED}
    making = _Settlement([], [], world.links, world.recipes, world.rules)
    own = [record for record in settled if record.account in accounts]
    released = {r.withdraws for r in own if r.outcome not in ("repeat", "conflict")}
    found = []
    for record in settled:
        if record.account not in accounts:
            found.append(record)
            continue
        holds = record.outcome in HOLDERS and record.action_id not in released
        claim = record.claim if holds and record.claim != making._person_claim(record) else None
        left = erased(record, claim, first=record.outcome not in ("repeat", "conflict"))
        found.append(replace(left, withdraws=None) if record.withdraws in before and not record.reversed_mg else left)
    return found


def erase_in_columns(con: Any, settled: Sequence[Record], accounts: set[Any], world: World) -> list[Record]:
    """The same of columns; of records that were erased before nothing is given back."""
    before = pa.array([r.action_id.bytes for r in settled if r.outcome == ERASED and r.action_id], pa.uuid())
    load_records(con, "whole", [record for record in settled if record.outcome != ERASED])
    table = con.sql("FROM whole").to_arrow_table()
    chosen = [record.account in accounts for record in settled if record.outcome != ERASED]
    own = table.filter(chosen)
    con.register("own", own)
    released = con.sql(
        "SELECT withdraws FROM own WHERE withdraws IS NOT NULL AND outcome NOT IN ('repeat', 'conflict')"
    ).to_arrow_table()["withdraws"]
    left = what_is_left(con, own, released, erased_before=before, recipes=world.recipes, rules=world.rules)
    con.register("emptied", without_content(table, np.array(chosen, dtype=bool), left))
    return read_records(con, "emptied")


@RELAXED
@given(world=worlds(), data=st.data())
def test_engines_agree_after_any_accounts_were_erased(con, world: World, data: st.DataObject):
    settled: list[Record] = []
    for batch in world.batches:
        expected = settle(batch, settled, world.links, world.recipes, world.rules)
        found = settle_columns(con, batch, settled, world.links, world.recipes, world.rules)
        assert [show(record) for record in found] == [show(record) for record in expected]
        assert found == expected
        if settled:
            with tempfile.TemporaryDirectory() as folder:
                arrived = sorted(batch, key=lambda accepted: accepted.received)
                parted = settle_in_parts(con, Path(folder), arrived, settled, world, 5, 1000)
            assert parted == settle_columns(con, arrived, settled, world.links, world.recipes, world.rules)
        settled += expected
        known = sorted({record.account for record in settled if record.outcome != ERASED})
        gone = data.draw(st.sets(st.sampled_from(known))) if known else set()
        if gone:
            plain = erase_plainly(settled, gone, world)
            assert erase_in_columns(con, settled, gone, world) == [
                r for r, before in zip(plain, settled, strict=True) if before.outcome != ERASED
            ]
            settled = plain


@RELAXED
@given(world=worlds(), data=st.data())
def test_an_issuers_claim_of_an_erased_record_is_not_credited_again(con, world: World, data: st.DataObject):
    first, *later = world.batches
    settled = settle(first, [], world.links, world.recipes, world.rules)
    accounts = {record.account for record in settled}
    gone = erase_plainly(settled, accounts, world)
    held = {record.claim for record in gone if record.claim}
    for batch in later:
        records = settle(batch, gone, world.links, world.recipes, world.rules)
        assert not [show(r) for r in records if r.claim in held and r.granted_mg > 0]
        gone += records


def test_the_same_report_again_is_a_repeat_although_what_it_said_is_not_known(con):
    world = World([], (), _recipes(), _rules())
    act = report(reference=1, plan="05" * 32, claim=1)
    settled = settle([act], [], (), world.recipes, world.rules)
    gone = erase_plainly(settled, {settled[0].account}, world)
    (again,) = settle_columns(con, [act], gone, (), world.recipes, world.rules)
    assert (again.outcome, again.related, again.granted_mg) == ("repeat", act.record.action_id, 0)


def test_another_partners_report_of_an_erased_act_is_a_duplicate(con):
    world = World([], (), _recipes(), _rules())
    act = report(partner="p0", reference=1, plan="05" * 32, claim=1)
    other = report(partner="p1", reference=7, plan="05" * 32, claim=1)
    gone = erase_plainly(settle([act], [], (), world.recipes, world.rules), {act.record.account}, world)
    (again,) = settle_columns(con, [other], gone, (), world.recipes, world.rules)
    assert (again.outcome, again.related) == ("duplicate_of", act.record.action_id)


def test_a_withdrawal_of_an_erased_act_takes_nothing_back_and_does_not_free_its_claim(con):
    world = World([], (), _recipes(), _rules())
    act = report(reference=1, plan="05" * 32, claim=1)
    undo = report(reference=2, plan=None, withdraws=1)
    again = report(reference=3, plan="05" * 32, claim=1)
    instead = report(reference=4, plan="05" * 32, claim=2, withdraws=1)
    gone = erase_plainly(settle([act], [], (), world.recipes, world.rules), {act.record.account}, world)
    found = settle_columns(con, [undo, again, instead], gone, (), world.recipes, world.rules)
    assert {r.action_id: (r.outcome, r.granted_mg, r.reversed_mg) for r in found} == {
        undo.record.action_id: ("withdrawal", 0, 0),
        again.record.action_id: ("duplicate_of", 0, 0),
        instead.record.action_id: ("conflict", 0, 0),
    }


def test_a_claim_made_of_the_person_and_a_day_is_not_left(con):
    world = World([], (), _recipes(), _rules())
    walk = report(reference=1, plan="07" * 32)
    settled = settle([walk], [], (), world.recipes, world.rules)
    assert settled[0].claim is not None
    (left,) = erase_in_columns(con, settled, {settled[0].account}, world)
    assert left.claim is None
    assert {name for name in RECORD_COLUMNS if left.optional(name) is not None} == {"action_id", "outcome"}
    assert "action_id" in LEFT


def _recipes():
    from .worlds import RECIPES

    return RECIPES


def _rules():
    from fractions import Fraction

    from tanzhang.core.settlement import Rules

    from .worlds import KEY

    return Rules(identity_key=KEY, overlap_threshold=Fraction(7, 10), report_within_days=None, caps=())
