"""Market rules: when notice is over, and terms in the log as they were published."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tanzhang.core.errors import TanzhangError
from tanzhang.core.market import CALENDAR, WORKING, MarketRules, Published
from tanzhang.stores.catalogue import Catalogue
from tanzhang.stores.market_rules import MARKET

(RULES,) = MARKET.of(Catalogue(), "example")
FRIDAY = date(2025, 6, 6)


def test_the_day_of_publication_does_not_count_and_a_weekend_is_no_working_day() -> None:
    assert RULES.notice_ends(FRIDAY) == date(2025, 6, 18)  # 9 to 13 June are five days, 16 and 17 two
    assert RULES.notice_ends(date(2025, 6, 8)) == date(2025, 6, 18)
    calendar = replace(RULES, notice_counts=CALENDAR)
    assert calendar.notice_ends(FRIDAY) == date(2025, 6, 14)
    assert replace(RULES, notice_days=0).notice_ends(FRIDAY) == FRIDAY


def test_a_holiday_that_the_operator_names_is_no_working_day() -> None:
    holiday = replace(RULES, days_off=frozenset({date(2025, 6, 10)}))
    assert holiday.notice_ends(FRIDAY) == date(2025, 6, 19)
    assert replace(holiday, notice_counts=CALENDAR).notice_ends(FRIDAY) == date(2025, 6, 14)


@given(
    st.dates(date(2020, 1, 1), date(2040, 1, 1)),
    st.integers(0, 60),
    st.sampled_from([CALENDAR, WORKING]),
    st.lists(st.integers(1, 80), max_size=5),
)
def test_between_publication_and_the_end_of_notice_lie_exactly_the_days_that_count(
    since: date, days: int, counts: str, off: list[int]
) -> None:
    holidays = frozenset(since + timedelta(days=each) for each in off)
    rules: MarketRules = replace(RULES, notice_days=days, notice_counts=counts, days_off=holidays)
    end = rules.notice_ends(since)
    between = [since + timedelta(days=number) for number in range(1, (end - since).days)]
    assert sum(rules.counts(day) for day in between) == days
    assert (end == since) if days == 0 else rules.counts(between[-1])


def test_terms_in_the_log_are_read_as_they_were_written_and_name_themselves() -> None:
    said = Published("beijing", FRIDAY, RULES.text)
    assert Published.parse(said.to_text()) == said
    assert said.digest == RULES.digest
    assert len(RULES.digest) == 64


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("2025-06-06", "2025-06-07x"),
        ("market-terms/1", "market-terms/2"),
        ('"least_fen":100', '"least_fen":1'),
        ('{"format"', '{ "format"'),
        ("{", "["),
    ],
)
def test_an_entry_that_says_anything_else_is_none(old: str, new: str) -> None:
    text = Published("beijing", FRIDAY, RULES.text).to_text()
    assert old in text
    with pytest.raises(TanzhangError, match="market-terms-malformed"):
        Published.parse(text.replace(old, new, 1))
