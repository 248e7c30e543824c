"""What holds of settlement whatever is reported, in whatever order, in however many batches."""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tanzhang.core.claim import overlap_conflict
from tanzhang.core.record import HOLDERS, Record
from tanzhang.core.settlement import caps_of
from tanzhang.engine.kernel import connect
from tanzhang.engine.reference import settle

from ..agreement.worlds import World, month, settle_columns, show, span, worlds

RELAXED = settings(deadline=None, suppress_health_check=list(HealthCheck))


def settle_all(world: World) -> list[list[Record]]:
    batches: list[list[Record]] = []
    for batch in world.batches:
        settled = [record for records in batches for record in records]
        batches.append(settle(batch, settled, world.links, world.recipes, world.rules))
    return batches


def standing(batches: list[list[Record]]) -> list[Record]:
    """Records that hold credit: granted or capped, and not taken back."""
    taken_back = {record.withdraws for records in batches for record in records if record.reversed_mg > 0}
    return [
        record
        for records in batches
        for record in records
        if record.outcome in HOLDERS and record.action_id not in taken_back
    ]


@pytest.fixture(scope="module")
def con():
    return connect()


@settings(RELAXED, max_examples=40)
@given(world=worlds(batches=1, size=30), data=st.data())
def test_any_order_of_arrival_gives_the_same_records(con, world: World, data: st.DataObject):
    (batch,) = world.batches
    shuffled = data.draw(st.permutations(batch))
    first, second = (
        settle_columns(con, reports, [], world.links, world.recipes, world.rules) for reports in (batch, shuffled)
    )
    assert [show(record) for record in first] == [show(record) for record in second]
    assert first == second == settle(shuffled, [], world.links, world.recipes, world.rules)


@settings(RELAXED, max_examples=150)
@given(world=worlds())
def test_every_report_becomes_exactly_one_record(world: World):
    for reports, records in zip(world.batches, settle_all(world), strict=True):
        assert Counter(accepted.record.action_id for accepted in reports) == Counter(
            record.action_id for record in records
        )


@settings(RELAXED, max_examples=200)
@given(world=worlds())
def test_one_claim_has_at_most_one_credited_record(world: World):
    claims = [record.claim for record in standing(settle_all(world)) if record.granted_mg > 0 and record.claim]
    assert len(claims) == len(set(claims))


@settings(RELAXED, max_examples=150)
@given(world=worlds(size=30))
def test_no_person_is_credited_for_two_acts_at_one_time(world: World):
    credited: dict[tuple[uuid.UUID, str], list[Record]] = defaultdict(list)
    for record in standing(settle_all(world)):
        if record.plan and world.recipes[record.plan].overlap and record.started is not None:
            credited[record.account, world.recipes[record.plan].family].append(record)
    for records in credited.values():
        for position, first in enumerate(records):
            for second in records[:position]:
                assert not overlap_conflict(span(first), span(second), world.rules.overlap_threshold)


@settings(RELAXED, max_examples=150)
@given(world=worlds())
def test_nothing_granted_exceeds_what_was_quantified(world: World):
    for records in settle_all(world):
        for record in records:
            assert 0 <= record.granted_mg <= (record.quantified_mg or 0)
            assert record.outcome in HOLDERS or record.granted_mg == 0
            assert record.outcome != "granted" or record.granted_mg == record.quantified_mg


@settings(RELAXED, max_examples=200)
@given(world=worlds())
def test_no_cap_is_exceeded_over_any_number_of_batches(world: World):
    credited = [record for record in standing(settle_all(world)) if record.granted_mg > 0]
    for cap in {cap for recipe in world.recipes.values() for cap in caps_of(recipe, world.rules)}:
        bound = {plan for plan, recipe in world.recipes.items() if cap in caps_of(recipe, world.rules)}
        acts: Counter[tuple[uuid.UUID, str]] = Counter()
        amounts: Counter[tuple[uuid.UUID, str]] = Counter()
        for record in credited:
            if record.plan in bound:
                key = record.account, month(record.day, cap.period)
                acts[key] += 1
                amounts[key] += record.granted_mg
        assert cap.limit_count is None or max(acts.values(), default=0) <= cap.limit_count
        assert cap.limit_mg is None or max(amounts.values(), default=0) <= cap.limit_mg


@settings(RELAXED, max_examples=200)
@given(world=worlds())
def test_nothing_is_taken_back_twice_or_from_another_account_or_book(world: World):
    granted: dict[uuid.UUID, Record] = {}
    left: Counter[uuid.UUID] = Counter()
    for records in settle_all(world):
        for record in records:
            if record.reversed_mg > 0:
                target = granted[record.withdraws]
                left[target.action_id] -= record.reversed_mg
                assert (record.account, record.kind) == (target.account, target.kind)
                assert record.reversed_mg == target.granted_mg
        for record in records:
            if record.granted_mg > 0:
                assert record.action_id not in granted
                granted[record.action_id] = record
                left[record.action_id] += record.granted_mg
    assert all(amount >= 0 for amount in left.values())


@settings(RELAXED, max_examples=150)
@given(world=worlds())
def test_sending_everything_again_changes_nothing_but_adds_repeats_and_conflicts(world: World):
    batches = settle_all(world)
    settled = [record for records in batches for record in records]
    everything = [accepted for batch in world.batches for accepted in batch]
    misplaced = {r.action_id for r in settled if r.outcome == "conflict" and r.related != r.action_id}
    for record in settle(everything, settled, world.links, world.recipes, world.rules):
        if record.action_id not in misplaced:
            assert record.outcome in ("repeat", "conflict")
            assert (record.granted_mg, record.reversed_mg) == (0, 0)


@settings(RELAXED, max_examples=100)
@given(world=worlds(batches=1))
def test_a_report_sent_again_after_its_child_was_linked_is_a_repeat(world: World):
    (batch,) = world.batches
    once = list({accepted.record.action_id: accepted for accepted in batch}.values())
    settled = settle(once, [], [], world.recipes, world.rules)
    misplaced = {r.action_id for r in settled if r.outcome == "conflict"}
    for record in settle(once, settled, world.links, world.recipes, world.rules):
        assert record.outcome == "repeat" or record.action_id in misplaced


@settings(RELAXED, max_examples=100)
@given(world=worlds(batches=2))
def test_a_record_that_lost_names_another_record_and_one_that_did_not_names_none(world: World):
    batches = settle_all(world)
    known = {record.action_id for records in batches for record in records}
    for records in batches:
        for record in records:
            if record.outcome in ("granted", "capped", "late"):
                assert record.related is None
            elif record.outcome in ("duplicate_of", "overlap_of"):
                assert record.related in known - {record.action_id}
            elif record.outcome == "repeat":
                assert record.related == record.action_id
