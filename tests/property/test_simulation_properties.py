"""Statements about every simulated season: nothing honest overlaps, nothing is lost, no two things have one name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tanzhang.engine.simulate.acts import NEVER, US, Season, joined
from tanzhang.engine.simulate.draws import mix, salt_of, texts
from tanzhang.engine.simulate.model import Hours, Setting, Size
from tanzhang.engine.simulate.plant import Planter
from tanzhang.engine.simulate.tables import MOST_ACTS, choice_table, make_tables
from tanzhang.stores.catalogue import Catalogue
from tanzhang.stores.scenario import load_scenario

SCENARIO, _ = load_scenario(Catalogue(), "green-life-season-2022")
TABLES = make_tables(SCENARIO)
SETTING = Setting(
    time_zone="Asia/Shanghai",
    windows={(each.id, claimed): 2 for each in SCENARIO.behaviours for claimed in (False, True)},
    agreements=dict.fromkeys(SCENARIO.partners),
)


@st.composite
def seasons(draw: st.DrawFn) -> Season:
    people = draw(st.integers(300, 2_000))
    size = Size(
        people=people,
        actions=draw(st.integers(people // 2, 3 * people)),
        days=draw(st.integers(1, 4)),
        seed=draw(st.integers(0, 2**64)),
        text=draw(st.booleans()),
    )
    season = Season(TABLES, SETTING, size)
    season.slices = range(0, people, season.slice_people)
    return season


@settings(max_examples=25, deadline=None)
@given(seasons())
def test_honest_acts_of_a_person_never_overlap_and_stay_on_their_day(season: Season) -> None:
    for day in range(season.size.days):
        acts = joined([season.honest(season.people(n), day) for n in range(len(season.slices))])
        assert len(acts) == season.actions[day]
        midnight = season.midnight_us(season.days[day])
        start = np.where(acts.started == NEVER, acts.ended, acts.started)
        assert (start >= midnight).all()
        assert (acts.ended < midnight + 85_300 * US).all()
        same = acts.person[1:] == acts.person[:-1]
        assert (start[1:] >= acts.ended[:-1])[same].all()
        trips = acts.started != NEVER
        assert (acts.ended[trips] - acts.started[trips] >= 120 * US).all()
        assert (np.bincount(acts.person.astype(np.int64)) <= MOST_ACTS).all()
    assert sum(season.actions) == season.size.actions


def test_a_day_whose_acts_all_fall_into_one_hour_has_no_room_for_a_busy_person() -> None:
    rush = Hours(weekday=(0,) * 8 + (1,) + (0,) * 15, weekend=(1,) * 24)
    crowded = make_tables(replace(SCENARIO, hours=dict.fromkeys(SCENARIO.hours, rush)))
    size = Size(people=1_000, actions=2_000, days=1, seed=1, text=False)
    assert Season(TABLES, SETTING, size).fits
    assert not Season(crowded, SETTING, size).fits


@settings(max_examples=15, deadline=None)
@given(seasons())
def test_no_two_reports_have_one_reference_but_retries_and_conflicts(season: Season) -> None:
    planter, numbers, again = Planter(season), [], 0
    for day in range(season.size.days):
        for n in range(len(season.slices)):
            people = season.people(n)
            planted = planter.plant(season.honest(people, day), people.draw, people.first, day)
            numbers += [planted.acts.number[~planted.moved], *(rows.number for _, rows in planted.extras)]
            for known in planted.truth:
                names = np.array(planter.kinds_written)[known.kind]
                again += int(np.isin(names, ("retry", "conflict")).sum())
                assert (known.file_day < season.size.days).all()
    together = np.concatenate(numbers)
    assert len(together) - len(np.unique(together)) == again


@given(st.lists(st.integers(0, 2**64 - 1), max_size=50, unique=True), st.integers(0, 2**64))
def test_different_numbers_have_different_texts(numbers: list[int], seed: int) -> None:
    mixed = mix(np.array(numbers, np.uint64), salt_of(seed, "reference"))
    found = texts(mixed).to_pylist()
    assert len(set(found)) == len(numbers)
    assert all(len(text) == 14 and text.isalnum() and text.upper() == text for text in found)


@given(st.lists(st.integers(0, 1_000), min_size=1, max_size=100).filter(any))
def test_a_choice_falls_on_each_as_often_as_its_share_says(shares: list[int]) -> None:
    table = choice_table(shares, 4_096)
    assert len(table) == 4_096
    for place, share in enumerate(shares):
        assert abs(np.count_nonzero(table == place) - 4_096 * share / sum(shares)) <= 1
