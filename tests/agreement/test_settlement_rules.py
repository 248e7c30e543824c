"""The rules of counting once, one case each, told of both engines."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction

import pytest

from tanzhang.core.claim import CHILD, CLAIM, identity
from tanzhang.core.recipe import CapRule, Recipe
from tanzhang.core.record import Record
from tanzhang.core.settlement import Rules
from tanzhang.engine.kernel import connect
from tanzhang.engine.reference import Accepted, Link, settle

from .worlds import FIRST, KEY, PLANS, RECIPES, action_id, report, settle_columns

METRO, BUS, BICYCLE, FERRY, INVOICE, PAYMENT, WALKING, ELECTRICITY, FOOTPRINT = PLANS
RULES = Rules(KEY, Fraction(7, 10), None, ())
PERSON = uuid.UUID(int=7)

Settle = Callable[..., list[Record]]


@pytest.fixture(scope="module")
def con():
    return connect()


@pytest.fixture(params=["reference", "duckdb"])
def decide(request, con) -> Settle:
    """Settles reports; keywords: settled, links, recipes, rules. Returns records by report, in the order reported."""

    def run(
        reports: Sequence[Accepted],
        *,
        settled: Sequence[Record] = (),
        links: Sequence[Link] = (),
        recipes: dict[str, Recipe] = RECIPES,
        rules: Rules = RULES,
    ) -> list[Record]:
        if request.param == "reference":
            return settle(reports, settled, links, recipes, rules)
        return settle_columns(con, reports, settled, links, recipes, rules)

    return run


def by_reference(records: Sequence[Record], reference: int, partner: str = "p0") -> Record:
    (found,) = (record for record in records if record.action_id == action_id(partner, reference))
    return found


def outcomes(records: Sequence[Record]) -> list[str]:
    return sorted(record.outcome for record in records)


def linked(subject: int = 0, partner: str = "p0", **days: int | None) -> Link:
    first, until = days.get("since", -30), days.get("until")
    return Link(
        identity(KEY, CHILD, partner, f"s{subject}"),
        PERSON,
        FIRST.date() + timedelta(days=first or 0),
        None if until is None else FIRST.date() + timedelta(days=until),
    )


# -- one reference --------------------------------------------------------------------------------------------


def test_the_same_report_twice_is_one_act_and_a_repeat(decide):
    first, second = decide([report(), report()])
    assert (first.outcome, first.granted_mg) == ("granted", 10)
    assert (second.outcome, second.granted_mg, second.related) == ("repeat", 0, first.action_id)


def test_of_one_reference_with_two_contents_the_first_in_the_order_stands(decide):
    early, late = report(ended=0, minutes=30), report(ended=10, minutes=30)
    for reports in ([early, late], [late, early]):
        standing, other = decide(reports)
        assert (standing.outcome, standing.ended) == ("granted", early.record.ended)
        assert (other.outcome, other.related) == ("conflict", standing.action_id)


def test_one_reference_of_two_partners_is_two_acts(decide):
    assert outcomes(decide([report(partner="p0"), report(partner="p1")])) == ["granted", "granted"]


def test_a_report_sent_again_after_it_was_settled_is_a_repeat_even_if_its_child_was_linked_since(decide):
    walk = report(plan=WALKING)
    settled = decide([walk])
    (again,) = decide([walk], settled=settled, links=[linked()])
    assert again.outcome == "repeat"


# -- one claim ------------------------------------------------------------------------------------------------


def test_one_claim_of_two_partners_is_granted_to_the_better_evidence(decide):
    ticket, sighting = report(plan=INVOICE, claim=1, partner="p1"), report(plan=PAYMENT, claim=1, partner="p0")
    records = decide([sighting, ticket])
    assert by_reference(records, 0, "p1").outcome == "granted"
    loser = by_reference(records, 0, "p0")
    assert (loser.outcome, loser.related) == ("duplicate_of", action_id("p1", 0))


def test_a_settled_act_keeps_its_claim_however_good_a_later_report_is(decide):
    settled = decide([report(plan=PAYMENT, claim=1)])
    (later,) = decide([report(plan=INVOICE, claim=1, reference=1)], settled=settled)
    assert (later.outcome, later.related) == ("duplicate_of", action_id("p0", 0))


def test_a_claim_is_free_again_when_its_act_is_taken_back(decide):
    settled = decide([report(plan=INVOICE, claim=1)])
    records = decide(
        [report(plan=INVOICE, claim=1, reference=1), report(plan=None, reference=2, withdraws=0)], settled=settled
    )
    assert by_reference(records, 1).outcome == "granted"
    back = by_reference(records, 2)
    assert (back.outcome, back.reversed_mg, back.related) == ("withdrawal", 10, action_id("p0", 0))


def test_steps_of_one_day_count_once_per_person_and_linked_platforms_are_one_person(decide):
    walks = [report(plan=WALKING), report(plan=WALKING, partner="p1", ended=60)]
    assert outcomes(decide(walks)) == ["granted", "granted"]
    both = [linked(), linked(partner="p1")]
    records = decide(walks, links=both)
    assert outcomes(records) == ["duplicate_of", "granted"]
    assert {record.account for record in records} == {PERSON}
    assert {record.claim for record in records} == {identity(KEY, CLAIM, "walk", str(PERSON), "2025-03-30")}


def test_a_consent_holds_from_its_first_day_until_before_its_last(decide):
    day = 24 * 60
    walks = [report(plan=WALKING, reference=n, ended=n * day) for n in range(4)]
    records = decide(walks, links=[linked(since=1, until=3)])
    owners = [by_reference(records, n).account for n in range(4)]
    assert [owner == PERSON for owner in owners] == [False, True, True, False]


# -- one time -------------------------------------------------------------------------------------------------


def trip(reference: int, start: int, minutes: int, plan: str = METRO, **more: object) -> Accepted:
    return report(reference=reference, plan=plan, ended=start + minutes, minutes=minutes, **more)


def test_two_trips_of_one_person_at_one_time_are_one_and_the_better_measured_stays(decide):
    records = decide([trip(0, 0, 30, BUS), trip(1, 5, 30, METRO)])
    assert by_reference(records, 1).outcome == "granted"
    assert (by_reference(records, 0).outcome, by_reference(records, 0).related) == ("overlap_of", action_id("p0", 1))


def test_trips_that_touch_both_count(decide):
    assert outcomes(decide([trip(0, 0, 30), trip(1, 30, 30)])) == ["granted", "granted"]


def test_trips_that_share_less_than_the_threshold_both_count(decide):
    assert outcomes(decide([trip(0, 0, 10), trip(1, 4, 10)])) == ["granted", "granted"]
    assert outcomes(decide([trip(0, 0, 10), trip(1, 3, 10)])) == ["granted", "overlap_of"]


def test_in_a_chain_of_overlaps_the_order_decides_and_not_the_arrival(decide):
    chain = [trip(0, 0, 10), trip(1, 3, 10), trip(2, 6, 10)]
    for reports in (chain, chain[::-1]):
        records = decide(reports)
        assert [by_reference(records, n).outcome for n in range(3)] == ["granted", "overlap_of", "granted"]


def test_a_better_trip_in_the_middle_of_a_chain_leaves_the_others_out(decide):
    records = decide([trip(0, 0, 10, BUS), trip(1, 3, 10, METRO), trip(2, 6, 10, BUS)])
    assert [by_reference(records, n).outcome for n in range(3)] == ["overlap_of", "granted", "overlap_of"]


def test_declared_companions_travel_at_one_time(decide):
    links = [linked(0), linked(1)]
    together = [trip(n, 0, 30, subject=n, group=1) for n in range(2)]
    assert outcomes(decide(together, links=links)) == ["granted", "granted"]
    apart = [trip(n, 0, 30, subject=n, group=n) for n in range(2)]
    assert outcomes(decide(apart, links=links)) == ["granted", "overlap_of"]


def test_trips_of_two_persons_or_two_families_do_not_exclude_each_other(decide):
    assert outcomes(decide([trip(0, 0, 30), trip(1, 0, 30, subject=1)])) == ["granted", "granted"]
    assert outcomes(decide([trip(0, 0, 30), trip(1, 0, 30, FERRY)])) == ["granted", "granted"]
    assert outcomes(decide([trip(0, 0, 30), trip(1, 0, 30, FOOTPRINT)])) == ["granted", "granted"]


def test_a_settled_trip_keeps_its_time(decide):
    settled = decide([trip(0, 0, 30, BICYCLE)])
    (later,) = decide([trip(1, 0, 30, METRO)], settled=settled)
    assert (later.outcome, later.related) == ("overlap_of", action_id("p0", 0))


def test_a_claim_is_named_before_an_overlap(decide):
    settled = decide([trip(0, 0, 30, claim=1), trip(1, 100, 30)])
    (later,) = decide([trip(2, 100, 30, claim=1)], settled=settled)
    assert (later.outcome, later.related) == ("duplicate_of", action_id("p0", 0))


def test_who_loses_to_a_loser_loses_nothing(decide):
    """1 beats 0 by time, so 0's claim goes to 2."""
    records = decide([trip(0, 0, 30, BUS, claim=1), trip(1, 0, 30, METRO), trip(2, 600, 30, BICYCLE, claim=1)])
    assert [by_reference(records, n).outcome for n in range(3)] == ["overlap_of", "granted", "granted"]


# -- taking back ----------------------------------------------------------------------------------------------


def test_a_pending_act_that_is_withdrawn_never_counts(decide):
    records = decide([report(), report(plan=None, reference=1, withdraws=0)])
    act, back = by_reference(records, 0), by_reference(records, 1)
    assert (act.outcome, act.granted_mg, act.related) == ("withdrawn", 0, back.action_id)
    assert (back.outcome, back.reversed_mg, back.related, back.kind) == ("withdrawal", 0, act.action_id, "reduction")


def test_a_withdrawal_that_comes_before_its_act_holds_against_it(decide):
    settled = decide([report(plan=None, reference=1, withdraws=0)])
    assert (settled[0].outcome, settled[0].related) == ("withdrawal", None)
    (act,) = decide([report()], settled=settled)
    assert (act.outcome, act.related) == ("withdrawn", action_id("p0", 1))


def test_a_correction_takes_back_and_counts_anew_with_the_same_claim(decide):
    settled = decide([report(plan=INVOICE, claim=1)])
    (fixed,) = decide([report(plan=INVOICE, claim=1, reference=1, withdraws=0, mg=7)], settled=settled)
    assert (fixed.outcome, fixed.granted_mg, fixed.reversed_mg) == ("granted", 7, 10)


def test_an_act_is_taken_back_once_however_often_it_is_withdrawn(decide):
    settled = decide([report()])
    asked = [report(plan=None, reference=n, withdraws=0) for n in (1, 2)]
    first = decide(asked, settled=settled)
    assert sorted(record.reversed_mg for record in first) == [0, 10]
    (again,) = decide([report(plan=None, reference=3, withdraws=0)], settled=[*settled, *first])
    assert (again.outcome, again.reversed_mg) == ("withdrawal", 0)


def test_a_partner_cannot_withdraw_the_act_of_another(decide):
    settled = decide([report(partner="p0")])
    (asked,) = decide([report(partner="p1", plan=None, reference=1, withdraws=0)], settled=settled)
    assert (asked.outcome, asked.related, asked.reversed_mg) == ("withdrawal", None, 0)


def test_what_is_taken_back_leaves_the_account_it_was_booked_in(decide):
    settled = decide([report()])
    (back,) = decide([report(plan=None, reference=1, withdraws=0)], settled=settled, links=[linked()])
    assert back.account == settled[0].account != PERSON


def test_a_correction_into_another_book_is_a_conflict_and_takes_nothing_back(decide):
    """An emission cannot replace a reduction; the reduction keeps its credit and with it its claim."""
    settled = decide([report(plan=METRO, claim=1)])
    wrong = report(plan=FOOTPRINT, reference=1, withdraws=0)
    rival = report(plan=METRO, claim=1, reference=2, ended=600)
    records = decide([wrong, rival], settled=settled)
    misplaced = by_reference(records, 1)
    assert (misplaced.outcome, misplaced.reversed_mg, misplaced.granted_mg) == ("conflict", 0, 0)
    assert misplaced.related == action_id("p0", 0)
    assert by_reference(records, 2).outcome == "duplicate_of"


def test_a_misplaced_correction_does_not_stand_in_the_way_of_a_withdrawal(decide):
    settled = decide([report(plan=METRO)])
    asked = [report(plan=FOOTPRINT, reference=n, withdraws=0) for n in range(1, 6)]
    records = decide([*asked, report(plan=None, reference=6, withdraws=0)], settled=settled)
    assert by_reference(records, 6).reversed_mg == 10
    assert outcomes(records) == ["conflict"] * 5 + ["withdrawal"]


def test_a_withdrawn_correction_leaves_the_act_taken_back(decide):
    settled = decide([report()])
    records = decide(
        [report(reference=1, withdraws=0, ended=60), report(plan=None, reference=2, withdraws=1)], settled=settled
    )
    assert (by_reference(records, 1).outcome, by_reference(records, 1).reversed_mg) == ("withdrawn", 10)
    assert by_reference(records, 1).granted_mg == 0


# -- late, caps -----------------------------------------------------------------------------------------------


def test_a_report_is_late_after_the_programmes_limit_and_not_on_it(decide):
    rules = replace(RULES, report_within_days=3)
    records = decide([report(waited=3), report(reference=1, waited=4, ended=60)], rules=rules)
    assert [by_reference(records, n).outcome for n in range(2)] == ["granted", "late"]


def test_a_late_report_holds_no_claim(decide):
    rules = replace(RULES, report_within_days=3)
    records = decide([report(plan=INVOICE, claim=1, waited=9), report(plan=PAYMENT, claim=1, reference=1)], rules=rules)
    assert [by_reference(records, n).outcome for n in range(2)] == ["late", "granted"]


def test_a_withdrawal_is_never_late(decide):
    rules = replace(RULES, report_within_days=0)
    settled = decide([report()], rules=rules)
    (back,) = decide([report(plan=None, reference=1, withdraws=0, waited=9)], settled=settled, rules=rules)
    assert (back.outcome, back.reversed_mg) == ("withdrawal", 10)


def capped(*caps: CapRule, plans: Sequence[str] = (INVOICE, PAYMENT)) -> dict[str, Recipe]:
    return RECIPES | {plan: replace(RECIPES[plan], caps=caps) for plan in plans}


def invoices(count: int, **more: object) -> list[Accepted]:
    return [report(plan=INVOICE, reference=n, ended=n, claim=100 + n, **more) for n in range(count)]


def test_a_cap_in_acts_grants_the_earliest_of_the_day(decide):
    records = decide(invoices(4)[::-1], recipes=capped(CapRule("c", "day", 2, None)))
    assert [by_reference(records, n).granted_mg for n in range(4)] == [10, 10, 0, 0]
    assert [by_reference(records, n).outcome for n in range(4)] == ["granted", "granted", "capped", "capped"]


def test_a_cap_in_milligrams_grants_a_part_of_the_act_that_crosses_it(decide):
    records = decide(invoices(4), recipes=capped(CapRule("c", "day", None, 25)))
    assert [by_reference(records, n).granted_mg for n in range(4)] == [10, 10, 5, 0]


def test_a_cap_starts_anew_each_day_and_each_month(decide):
    day = 24 * 60  # the first day is 30 March
    reports = [report(plan=INVOICE, reference=n, ended=n * day, claim=n) for n in range(4)]
    assert outcomes(decide(reports, recipes=capped(CapRule("c", "day", 1, None)))) == ["granted"] * 4
    monthly = decide(reports, recipes=capped(CapRule("c", "month", 1, None)))
    assert [by_reference(monthly, n).outcome for n in range(4)] == ["granted", "capped", "granted", "capped"]


def test_what_earlier_batches_granted_counts_towards_a_cap(decide):
    recipes = capped(CapRule("c", "month", None, 25))
    settled = decide(invoices(2), recipes=recipes)
    (more,) = decide([report(plan=INVOICE, reference=9, claim=9)], settled=settled, recipes=recipes)
    assert (more.outcome, more.granted_mg) == ("capped", 5)


def test_what_was_taken_back_frees_its_part_of_a_cap(decide):
    recipes = capped(CapRule("c", "day", 1, None))
    settled = decide(invoices(1), recipes=recipes)
    records = decide(
        [report(plan=None, reference=5, withdraws=0), report(plan=INVOICE, reference=6, claim=6)],
        settled=settled,
        recipes=recipes,
    )
    assert by_reference(records, 6).outcome == "granted"


def test_a_shared_cap_counts_the_acts_of_all_its_recipes(decide):
    reports = [report(plan=INVOICE, claim=1), report(plan=PAYMENT, claim=2, reference=1, ended=5)]
    shared = capped(CapRule("c", "day", 1, None))
    assert [r.outcome for r in decide(reports, recipes=shared)] == ["granted", "capped"]


def test_a_cap_of_the_programme_binds_its_behaviours_on_top_of_the_methodologys(decide):
    rules = replace(RULES, caps=((CapRule("p", "day", None, 15), frozenset({"finance.e_invoice"})),))
    records = decide(invoices(3), recipes=capped(CapRule("c", "day", 2, None)), rules=rules)
    assert [by_reference(records, n).granted_mg for n in range(3)] == [10, 5, 0]


def test_a_capped_act_still_holds_its_claim(decide):
    recipes = capped(CapRule("c", "day", 1, None))
    settled = decide(invoices(2), recipes=recipes)
    (again,) = decide([report(plan=INVOICE, reference=9, claim=101, subject=1)], settled=settled, recipes=recipes)
    assert (again.outcome, again.related) == ("duplicate_of", action_id("p0", 1))


def test_caps_are_each_persons_own_and_linked_platforms_are_one_person(decide):
    reports = [report(plan=INVOICE, partner=f"p{n}", claim=n, ended=n) for n in range(2)]
    recipes = capped(CapRule("c", "day", 1, None))
    assert outcomes(decide(reports, recipes=recipes)) == ["granted", "granted"]
    assert outcomes(decide(reports, recipes=recipes, links=[linked(), linked(partner="p1")])) == ["capped", "granted"]


def test_amounts_near_the_largest_do_not_overflow_a_cap(decide):
    most = 2**63 - 1
    reports = invoices(3, mg=most)
    records = decide(reports, recipes=capped(CapRule("c", "day", None, most)))
    assert sorted(record.granted_mg for record in records) == [0, 0, most]


def test_nothing_to_settle_gives_no_records(decide):
    assert decide([]) == []
    assert decide([], recipes={}) == []
