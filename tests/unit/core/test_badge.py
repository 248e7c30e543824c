from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tanzhang.core.badge import BEHAVIOURS, DAYS_IN_A_ROW, FIRST_ACT, RULES, TOTAL, Badge, Done, Reached, reached
from tanzhang.stores.badges import badge, badge_ids
from tanzhang.stores.catalogue import Catalogue

FIRST = date(2025, 6, 1)
DONE = st.lists(
    st.builds(
        Done,
        st.integers(0, 12).map(lambda day: FIRST + timedelta(days=day)),
        st.sampled_from(["travel.metro", "travel.bus", "use.parcel_box_return"]),
        st.integers(1, 3),
        st.integers(0, 9_000),
    ),
    max_size=12,
)


def made(rule: str, needed: int, *among: str) -> Badge:
    return Badge("b", "B", "B", rule, needed, frozenset(among) or None, "example", None, "badges/b.yaml")


def on(day: int, behaviour: str = "travel.metro", mg: int = 1_000) -> Done:
    return Done(date(2025, 6, day), behaviour, 1, mg)


def test_days_in_a_row_are_local_days_without_a_hole() -> None:
    weekly = made(DAYS_IN_A_ROW, 3)
    assert reached(weekly, [on(1), on(2), on(4), on(5)]) == Reached(2, None)
    assert reached(weekly, [on(5), on(4), on(1), on(6), on(4)]) == Reached(3, date(2025, 6, 6))
    over_the_month = [on(30), *(Done(date(2025, 7, day), "travel.bus", 1, 0) for day in (1, 2))]
    assert reached(weekly, over_the_month) == Reached(3, date(2025, 7, 2))


def test_only_behaviours_that_count_are_counted() -> None:
    acts = [on(1, "travel.bus", 500), on(2, "travel.metro", 700), on(3, "travel.metro", 300)]
    assert reached(made(FIRST_ACT, 1, "travel.metro"), acts) == Reached(2, date(2025, 6, 2))
    assert reached(made(TOTAL, 1_000, "travel.metro"), acts) == Reached(1_000, date(2025, 6, 3))
    assert reached(made(TOTAL, 1_001, "travel.metro"), acts).on is None
    assert reached(made(BEHAVIOURS, 2), acts) == Reached(2, date(2025, 6, 2))


def test_nobody_has_a_badge_for_nothing() -> None:
    for rule in RULES:
        assert reached(made(rule, 1), []) == Reached(0, None)


@given(DONE, st.sampled_from(RULES), st.integers(1, 6), st.randoms())
def test_a_badge_does_not_depend_on_the_order_and_more_acts_never_take_one_away(
    done: list[Done], rule: str, needed: int, random: object
) -> None:
    wanted = made(rule, needed)
    shuffled = list(done)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert reached(wanted, shuffled) == reached(wanted, done)
    steps = [reached(wanted, done[:count]) for count in range(len(done) + 1)]
    for before, after in pairwise(steps):
        assert after.reached >= before.reached
        assert before.on is None or (after.on is not None and after.on <= before.on)
    assert all((each.on is not None) == (each.reached >= needed) for each in steps)


@given(DONE, st.integers(1, 5))
def test_days_in_a_row_are_as_counted_by_hand(done: list[Done], needed: int) -> None:
    days = {each.day for each in done}
    runs = [n for day in days for n in range(1, 14) if all(day + timedelta(days=k) in days for k in range(n))]
    assert reached(made(DAYS_IN_A_ROW, needed), done).reached == max(runs, default=0)


def test_every_shipped_badge_is_an_example_with_titles_in_both_languages() -> None:
    catalogue = Catalogue()
    shipped = [badge(catalogue, name) for name in badge_ids(catalogue)]
    assert {each.rule for each in shipped} == set(RULES)
    for each in shipped:
        assert (each.status, each.source) == ("example", None)
        assert each.title
        assert each.title_zh
    (grams,) = (each for each in shipped if each.id == "ten_kilograms")
    assert grams.needed == 10_000_000
