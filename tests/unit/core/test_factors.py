from __future__ import annotations

from datetime import date
from fractions import Fraction

import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.core.factors import Factor, FactorValue, Period


def value(number: str, region: str, start: date, end: date | None) -> FactorValue:
    return FactorValue(
        value=Fraction(number),
        text=number,
        region=region,
        period=Period(start, end),
        measured_for="2022",
        source="source",
        locator="page 1",
        status="published",
        mark="doc",
        why_these_dates="test",
    )


def series(*values: FactorValue, gaps: tuple[str, ...] = ()) -> Factor:
    band = (Fraction(0), Fraction(1))
    return Factor("electricity.grid", "grid", "电网", "kg_CO2/kWh", "footprint", band, values, gaps, "grid.yaml")


NATIONAL = series(
    value("0.5366", "CN", date(2024, 1, 1), date(2025, 1, 1)),
    value("0.5777", "CN", date(2025, 3, 1), None),
)
PROVINCES = series(
    value("0.5366", "CN", date(2024, 1, 1), None),
    value("0.44", "CN-440000", date(2024, 1, 1), date(2025, 1, 1)),
    value("0.43", "CN-440300", date(2024, 6, 1), None),
    gaps=("Tibet is not published",),
)


def code_of(factor: Factor, region: str, day: date) -> str:
    with pytest.raises(TanzhangError) as caught:
        factor.value_for(region, day)
    return caught.value.code


def test_a_period_holds_its_first_day_and_not_its_end():
    period = Period(date(2024, 1, 1), date(2024, 2, 1))
    assert [period.covers(day) for day in (date(2023, 12, 31), date(2024, 1, 1), date(2024, 1, 31))] == [
        False,
        True,
        True,
    ]
    assert not period.covers(date(2024, 2, 1))
    assert Period(date(2024, 1, 1), None).covers(date(9999, 1, 1))


def test_periods_that_touch_do_not_overlap():
    first, second = Period(date(2024, 1, 1), date(2024, 2, 1)), Period(date(2024, 2, 1), None)
    assert not first.overlaps(second)
    assert not second.overlaps(first)
    assert first.overlaps(Period(date(2024, 1, 31), None))


@pytest.mark.parametrize(
    ("day", "text"), [(date(2024, 1, 1), "0.5366"), (date(2024, 12, 31), "0.5366"), (date(2025, 3, 1), "0.5777")]
)
def test_a_value_serves_the_days_of_its_period(day, text):
    assert NATIONAL.value_for("CN", day).text == text
    assert NATIONAL.value_for("CN-440305", day).text == text  # a series of national values only


@pytest.mark.parametrize("day", [date(2023, 12, 31), date(2025, 1, 1), date(2025, 2, 28)])
def test_day_before_the_first_range_or_in_a_gap_is_refused_not_borrowed(day):
    assert code_of(NATIONAL, "CN", day) == "factor-gap"


def test_the_narrowest_region_of_the_series_decides():
    day = date(2024, 7, 1)
    assert PROVINCES.value_for("CN-440305", day).text == "0.43"
    assert PROVINCES.value_for("CN-440100", day).text == "0.44"
    assert PROVINCES.value_for("CN", day).text == "0.5366"


def test_a_city_whose_value_is_missing_that_day_does_not_fall_back_to_its_province():
    assert code_of(PROVINCES, "CN-440300", date(2024, 3, 1)) == "factor-gap"
    assert code_of(PROVINCES, "CN-440100", date(2025, 1, 1)) == "factor-gap"


def test_a_province_that_is_not_listed_does_not_get_the_national_value():
    assert code_of(PROVINCES, "CN-110000", date(2024, 7, 1)) == "no-factor"


def test_a_refusal_says_what_there_is_and_what_to_do():
    with pytest.raises(TanzhangError, match=r"has \[2024-01-01, 2025-01-01\), \[2025-03-01, open\)") as caught:
        NATIONAL.value_for("CN", date(2025, 1, 1))
    assert "add a sourced value" in caught.value.problems[0].remedy
    with pytest.raises(TanzhangError, match="Tibet is not published"):
        PROVINCES.value_for("CN-540000", date(2024, 7, 1))
