from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tanzhang.core.errors import TanzhangError
from tanzhang.core.grade import Band, Cut, Gap, Scheme, band_mistakes, grade, measured_mg
from tanzhang.stores.catalogue import Catalogue
from tanzhang.stores.grading import grading

OPERATOR = Path(__file__).parents[3] / "examples" / "operator"
CATALOGUE = Catalogue(OPERATOR)
KG = 1_000_000


def graded(scheme: str, reduction_mg: int, footprint_mg: int = 0) -> str:
    return grade(grading(CATALOGUE, scheme), reduction_mg, footprint_mg).id


@pytest.mark.parametrize(
    ("reduction_mg", "expected"),
    [
        (0, "light_green"),
        (50 * KG - 1, "light_green"),
        (50 * KG + 1, "mid_green"),
        (100 * KG - 1, "mid_green"),
        (100 * KG + 1, "deep_green"),
        (10**15, "deep_green"),
    ],
)
def test_each_edge_of_the_banks_grades(reduction_mg: int, expected: str) -> None:
    assert graded("wendeng_rcb", reduction_mg) == expected


@pytest.mark.parametrize("reduction_mg", [50 * KG, 100 * KG])
def test_an_edge_that_the_source_leaves_open_is_refused_with_its_reason(reduction_mg: int) -> None:
    with pytest.raises(TanzhangError, match=r"grade-gap[\s\S]*not stated"):
        graded("wendeng_rcb", reduction_mg)


def test_below_the_first_band_there_is_no_grade() -> None:
    with pytest.raises(TanzhangError, match="no band covers it"):
        graded("wendeng_rcb", -1)


@pytest.mark.parametrize(
    ("net_mg", "expected"),
    [
        (-(10**12), "a"),
        (20 * KG, "a"),
        (20 * KG + 1, "b"),
        (200 * KG + KG // 2, "b"),
        (200 * KG + KG // 2 + 1, "c"),
    ],
)
def test_each_edge_of_a_scheme_by_footprint_less_reduction(net_mg: int, expected: str) -> None:
    assert graded("example_city", reduction_mg=KG, footprint_mg=net_mg + KG) == expected


def test_a_scheme_without_thresholds_grades_nobody() -> None:
    with pytest.raises(TanzhangError, match=r"grade-draft[\s\S]*benchmark"):
        graded("quzhou_enterprises", 1)


def test_an_unknown_scheme_is_refused_with_those_there_are() -> None:
    with pytest.raises(TanzhangError, match=r"unknown-grading[\s\S]*wendeng_rcb"):
        grading(CATALOGUE, "nowhere")


def band(name: str, low: Cut | None, high: Cut | None) -> Band:
    return Band(name, name, name, low, high)


def codes(*bands: Band, gaps: tuple[Gap, ...] = ()) -> list[str]:
    return [code for code, _, _ in band_mistakes(bands, gaps)]


def test_bands_that_overlap_or_leave_a_hole_or_hold_nothing_are_found() -> None:
    below, to_ten = band("a", None, Cut(10, False)), band("a", Cut(0, False), Cut(10, True))
    assert codes(below, band("b", Cut(10, False), None)) == []
    assert codes(to_ten, band("b", Cut(10, False), None)) == ["grade-overlap"]
    assert codes(below, band("b", Cut(10, True), None)) == ["grade-hole"]
    assert codes(below, band("b", Cut(10, True), None), gaps=(Gap(10, 10, "open"),)) == []
    assert codes(below, band("b", Cut(12, False), None), gaps=(Gap(10, 10, "open"),)) == ["grade-hole"]
    assert codes(band("a", None, None), band("b", Cut(5, False), None)) == ["grade-overlap"]
    assert codes(band("a", Cut(5, True), Cut(5, True))) == ["grade-band-empty"]


cuts = st.builds(Cut, st.integers(-20, 20), st.booleans())


@given(st.lists(cuts, min_size=1, max_size=5, unique=True), st.integers(-25, 25))
def test_where_bands_meet_every_amount_has_exactly_one(edges: list[Cut], mg: int) -> None:
    ordered = [None, *sorted(edges), None]
    bands = tuple(band(str(number), ordered[number], ordered[number + 1]) for number in range(len(ordered) - 1))
    assert not [code for code, _, _ in band_mistakes(bands, ()) if code != "grade-band-empty"]
    assert sum(each.holds(mg) for each in bands) == 1
    scheme = Scheme("s", "s", "s", "person", "reduction", None, "draft", "s", bands, (), (), "test")
    assert grade(scheme, mg, 0).holds(mg)


def test_what_is_measured_is_reduction_footprint_or_their_difference() -> None:
    def scheme(measure: str) -> Scheme:
        return Scheme("s", "s", "s", "person", measure, None, "draft", "s", (band("a", None, None),), (), (), "test")

    assert measured_mg(scheme("reduction"), 3, 10) == 3
    assert measured_mg(scheme("footprint"), 3, 10) == 10
    assert measured_mg(scheme("footprint_less_reduction"), 3, 10) == 7
