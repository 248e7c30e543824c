"""Generated formulas: compiled SQL gives the exact result, or is refused before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tanzhang.core.errors import TanzhangError
from tanzhang.core.formula import Bounds, Exact, holds, parse_formula, render, walk
from tanzhang.core.recipe import LARGEST_MG, Recipe, compute
from tanzhang.engine.exact import compile_amount, compile_test
from tanzhang.engine.kernel import connect
from tanzhang.engine.sql import compile_condition, compile_mg

INPUTS = ("distance_m", "count", "mass_g")
PARAMETERS = ("saving", "share")
RELAXED = settings(deadline=None, suppress_health_check=list(HealthCheck))

_decimals = st.sampled_from(("0", "1", "2", "0.5", "3.7", "0.001", "1000000", "0.333333333333"))
_leaves = st.sampled_from((*INPUTS, *INPUTS, *PARAMETERS)) | _decimals


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    comparison = st.builds("{} {} {}".format, inner, st.sampled_from(("<", "<=", ">", ">=", "==", "!=")), inner)
    condition = st.one_of(
        comparison,
        st.builds("({}) and ({})".format, comparison, comparison),
        st.builds("({}) or ({})".format, comparison, comparison),
        st.builds("not ({})".format, comparison),
    )
    return st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from("+-*"), inner),
        st.builds("({} / max(1, {}))".format, inner, inner),
        st.builds("({} / (2 + {}))".format, inner, st.sampled_from(INPUTS)),
        st.builds("{}({}, {}, {})".format, st.sampled_from(("min", "max")), inner, inner, inner),
        st.builds("({} if {} else {})".format, inner, condition, inner),
    )


formulas = st.recursive(_leaves, _grown, max_leaves=8)
conditions = st.builds("{} {} {}".format, formulas, st.sampled_from(("<", "<=", ">", ">=", "==", "!=")), formulas)
rationals = st.sampled_from((Fraction(0), Fraction(1), Fraction(467, 10), Fraction(1, 3), Fraction(22, 7), Fraction(5)))


@st.composite
def _ranges(draw: st.DrawFn) -> dict[str, tuple[int, int]]:
    found = {}
    for name in INPUTS:
        low = draw(st.integers(0, 50))
        found[name] = (low, low + draw(st.sampled_from((0, 1, 9, 1000, 10**6, 10**9))))
    return found


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    text = draw(formulas)
    if draw(st.integers(0, 3)):
        text = f"max(0, {text})"
    return recipe(
        text,
        draw(_ranges()),
        parameters={name: draw(rationals) for name in PARAMETERS},
        discount=draw(st.sampled_from((Fraction(1), Fraction(1, 2), Fraction(9, 10), Fraction(1, 3)))),
        rounding=draw(st.sampled_from(("down", "up"))),
    )


def recipe(
    text: str,
    ranges: dict[str, tuple[int, int]],
    *,
    parameters: dict[str, Fraction] | None = None,
    discount: Fraction = Fraction(1),
    rounding: str = "down",
) -> Recipe:
    return Recipe(
        methodology="test.generated@1",
        behaviour="test",
        kind="reduction",
        formula=parse_formula(text, where="test"),
        parameters=parameters or {},
        ranges=ranges,
        discount=discount,
        rounding=rounding,
        accuracy="activity_data",
        evidence="measured",
        family="test",
        claim_fields=(),
        overlap=False,
        caps=(),
    )


@st.composite
def points(draw: st.DrawFn, ranges: dict[str, tuple[int, int]]) -> list[dict[str, int]]:
    """Every corner, and some acts inside."""
    corners = [{}]
    for name, limits in ranges.items():
        corners = [{**corner, name: limit} for corner in corners for limit in limits]
    inside = st.fixed_dictionaries({name: st.integers(*limits) for name, limits in ranges.items()})
    return corners + draw(st.lists(inside, max_size=8))


@pytest.fixture(scope="module")
def con():
    return connect()


@contextmanager
def refused_only_as(*codes: str) -> Iterator[None]:
    """Passes over an example that is refused for one of the reasons named."""
    try:
        yield
    except TanzhangError as error:
        if error.code not in codes:
            raise
        assume(False)


def evaluate(con: Any, expression: str, acts: list[dict[str, int]]) -> list[Any]:
    columns = ", ".join(f"{name} BIGINT" for name in INPUTS)
    con.execute(f"CREATE OR REPLACE TEMP TABLE acts (n INTEGER, {columns})")
    rows = [(n, *(act[name] for name in INPUTS)) for n, act in enumerate(acts)]
    con.execute("INSERT INTO acts VALUES " + ", ".join(str(row) for row in rows))
    return [value for (value,) in con.execute(f"SELECT {expression} FROM acts ORDER BY n").fetchall()]


@settings(RELAXED, max_examples=200)
@given(recipe=recipes(), data=st.data())
def test_compiled_formulas_agree_with_exact_arithmetic_or_are_refused(con, recipe: Recipe, data: st.DataObject):
    with refused_only_as("formula-overflow", "formula-negative", "formula-divisor"):
        expression = compile_mg(recipe)
    acts = data.draw(points(recipe.ranges))
    found = evaluate(con, expression, acts)
    assert found == [compute(recipe, act).mg for act in acts]
    amount = compile_amount(recipe)
    assert found == [amount(act) for act in acts]
    assert all(type(value) is int and 0 <= value <= LARGEST_MG for value in found)


@settings(RELAXED, max_examples=150)
@given(text=conditions, ranges=_ranges(), values=st.tuples(rationals, rationals), data=st.data())
def test_compiled_guards_agree_with_exact_arithmetic(con, text: str, ranges, values, data: st.DataObject):
    guard = parse_formula(text, where="test")
    parameters = dict(zip(PARAMETERS, values, strict=True))
    with refused_only_as("formula-overflow", "formula-divisor"):
        expression = compile_condition(guard, parameters, ranges, where="test")
    acts = data.draw(points(ranges))
    expected = [
        holds(guard.tree, Exact({**parameters, **{name: Fraction(value) for name, value in act.items()}}))
        for act in acts
    ]
    assert evaluate(con, expression, acts) == expected
    test = compile_test(guard, parameters)
    assert [test(act) for act in acts] == expected


@settings(RELAXED, max_examples=200)
@given(text=formulas, ranges=_ranges(), values=st.tuples(rationals, rationals), data=st.data())
def test_bounds_hold_every_value_a_formula_can_take(text: str, ranges, values, data: st.DataObject):
    tree = parse_formula(text, where="test").tree
    parameters = dict(zip(PARAMETERS, values, strict=True))
    names = {name: (Fraction(low), Fraction(high)) for name, (low, high) in ranges.items()}
    names |= {name: (value, value) for name, value in parameters.items()}
    with refused_only_as("formula-divisor"):
        low, high = walk(tree, Bounds(names, where="test"))
    for act in data.draw(points(ranges)):
        value = walk(tree, Exact({**parameters, **{name: Fraction(given) for name, given in act.items()}}))
        assert low <= value <= high


@settings(RELAXED, max_examples=200)
@given(text=formulas, values=st.tuples(*[rationals] * 2), act=st.tuples(*[st.integers(0, 10**6)] * 3))
def test_a_rendered_formula_reads_back_as_the_same_formula(text: str, values, act):
    tree = parse_formula(text, where="test").tree
    known = {**dict(zip(PARAMETERS, values, strict=True)), **dict(zip(INPUTS, map(Fraction, act), strict=True))}
    again = parse_formula(render(tree), where="test").tree
    assert walk(again, Exact(known)) == walk(tree, Exact(known))


@pytest.mark.parametrize(
    ("text", "largest", "code"),
    [
        ("distance_m", LARGEST_MG, None),
        ("distance_m + 1", LARGEST_MG, "formula-overflow"),  # the result must fit 63 bits
        ("distance_m * count / 1000000000000", 10**15, None),  # 10^30 on the way fits 127 bits
        ("distance_m * count * mass_g / 10000000000000000000000", 10**12, None),
        ("distance_m * count * mass_g / 1000000000000000000000000000000000", 10**13, "formula-overflow"),
        ("min(1, distance_m * count * mass_g)", 10**13, "formula-overflow"),  # though the result is small
        ("1 if distance_m * count * mass_g > 5 else 0", 10**13, "formula-overflow"),
        ("distance_m / 3 + count / 7 + mass_g / 11", 10**15, None),
    ],
)
def test_what_can_leave_127_bits_on_the_way_is_refused_when_compiled(con, text, largest, code):
    made = recipe(text, dict.fromkeys(INPUTS, (1, largest)))
    if code is None:
        most = dict.fromkeys(INPUTS, largest)
        assert evaluate(con, compile_mg(made), [most]) == [compute(made, most).mg]
    else:
        with pytest.raises(TanzhangError) as caught:
            compile_mg(made)
        assert caught.value.code == code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("count - distance_m", "formula-negative"),
        ("0 - 1", "formula-negative"),
        ("distance_m / count", "formula-divisor"),
        ("distance_m / (count - 1)", "formula-divisor"),
        ("1 / 0", "formula-divisor"),
    ],
)
def test_what_can_go_below_zero_or_divide_by_zero_is_refused_when_compiled(text, code):
    with pytest.raises(TanzhangError) as caught:
        compile_mg(recipe(text, dict.fromkeys(INPUTS, (0, 5))))
    assert caught.value.code == code


def test_what_divides_by_zero_on_a_row_after_all_gives_no_number():
    amount = compile_amount(recipe("distance_m / (count - 1)", dict.fromkeys(INPUTS, (0, 5))))
    assert amount({"distance_m": 5, "count": 3}) == 2
    assert amount({"distance_m": 5, "count": 0}) == -5
    with pytest.raises(ZeroDivisionError):
        amount({"distance_m": 5, "count": 1})


def test_long_lists_of_extremes_compile_to_short_sql():
    text = "max(" + ", ".join(["count", "mass_g", "distance_m"] * 12) + ")"
    assert len(compile_mg(recipe(text, dict.fromkeys(INPUTS, (0, 9))))) < 5_000


@pytest.mark.parametrize(("rounding", "expected"), [("down", [0, 0, 0, 1]), ("up", [0, 1, 1, 1])])
def test_rounding_happens_once_and_in_the_declared_direction(con, rounding, expected):
    made = recipe("count / 3", dict.fromkeys(INPUTS, (0, 9)), rounding=rounding)
    acts = [dict.fromkeys(INPUTS, n) for n in range(4)]
    assert evaluate(con, compile_mg(made), acts) == expected == [compute(made, act).mg for act in acts]
