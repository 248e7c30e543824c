"""Settling at once: however the same reports are dealt out over settlements, each claim is credited once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tanzhang.core.record import Record
from tanzhang.core.settlement import Rules
from tanzhang.engine.reference import Accepted, settle

from ..agreement.worlds import PARTNERS, PLANS, RECIPES, report, reports, rules_and_recipes, show

RELAXED = settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=100)
AT_ONCE = tuple(plan for plan in PLANS if RECIPES[plan].family == "invoice")
"""Plans of a family that may be settled at once: an identifier, no overlap, and here no cap."""


@st.composite
def identified(draw: st.DrawFn) -> tuple[Accepted, ...]:
    """Reports of acts with an issuer's identifier, several of one act; each has a reference of its own."""
    acts = draw(st.lists(st.tuples(st.sampled_from(PARTNERS), st.integers(0, 1), st.integers(0, 6)), max_size=16))
    return tuple(
        report(
            partner=partner,
            reference=100 + place,
            subject=subject,
            plan=draw(st.sampled_from(AT_ONCE)),
            ended=draw(st.integers(0, 400)),
            mg=10 + claim,
            claim=claim,
        )
        for place, (partner, subject, claim) in enumerate(acts)
    )


@st.composite
def dealt(draw: st.DrawFn, pending: Sequence[Accepted]) -> list[list[Accepted]]:
    """The same reports in some order, over some settlements."""
    batches: list[list[Accepted]] = [[] for _ in range(draw(st.integers(1, 6)))]
    for each in draw(st.permutations(pending)):
        batches[draw(st.integers(0, len(batches) - 1))].append(each)
    return batches


def settled_one_after_the_other(batches: list[list[Accepted]], rules: Rules) -> list[Record]:
    done: list[Record] = []
    for batch in batches:
        done += settle(batch, done, (), RECIPES, rules)
    return done


def without_caps_of_invoices(rules: Rules) -> Rules:
    """What a programme may say that settles invoices at once: no cap of its own counts them."""
    counted = {RECIPES[plan].behaviour for plan in AT_ONCE}
    caps = tuple((cap, behaviours - counted) for cap, behaviours in rules.caps)
    return Rules(rules.identity_key, rules.overlap_threshold, None, caps)


@settings(RELAXED)
@given(pending=identified(), world=rules_and_recipes(), data=st.data())
def test_each_claim_is_credited_exactly_once_however_its_reports_are_dealt_out(pending, world, data) -> None:
    rules = without_caps_of_invoices(world[0])
    records = settled_one_after_the_other(data.draw(dealt(pending)), rules)
    assert len(records) == len(pending)
    credited = Counter(record.claim for record in records if record.outcome == "granted")
    assert credited == dict.fromkeys({each.record.claim for each in pending}, 1)
    assert {record.outcome for record in records} <= {"granted", "duplicate_of"}
    together = settle(pending, [], (), RECIPES, rules)
    # Where all reports of an act say the same amount, the sum is the same as well, whoever was first.
    assert sum(r.granted_mg for r in records) == sum(r.granted_mg for r in together)


@settings(RELAXED)
@given(pending=identified(), world=rules_and_recipes(), others=st.lists(reports, max_size=20), data=st.data())
def test_what_is_settled_at_once_changes_nothing_for_what_waits_for_its_day(pending, world, others, data) -> None:
    drawn, recipes = world
    rules = without_caps_of_invoices(drawn)
    recipes = {**recipes, **{plan: RECIPES[plan] for plan in AT_ONCE}}
    waiting = [each for each in others if each.record.plan not in AT_ONCE]
    before: list[Record] = []
    for batch in data.draw(dealt(pending)):
        before += settle(batch, before, (), recipes, rules)
    alone = settle(waiting, [], (), recipes, rules)
    after = settle(waiting, before, (), recipes, rules)
    assert [show(record) for record in after] == [show(record) for record in alone]
