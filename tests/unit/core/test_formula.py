from __future__ import annotations

from fractions import Fraction

import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.core.formula import Bounds, Exact, decimal_text, holds, parse_formula, render, walk


def value(text: str, **names: int | str) -> Fraction:
    known = {name: Fraction(number) for name, number in names.items()}
    return walk(parse_formula(text, where="test").tree, Exact(known))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2 + 3 * 4", "14"),
        ("(2 + 3) * 4", "20"),
        ("2 × 3 ÷ 4 − 1", "0.5"),
        ("（2 ＋ 3）".replace("＋", "+"), "5"),
        ("-3 + 5", "2"),
        ("0.1 + 0.2", "0.3"),  # exactly
        ("1 / 3 * 3", "1"),
        ("min(3, 1, 2) + max(3，1, 2)", "4"),
        ("1 if 2 > 1 else 5", "1"),
        ("1 if not (2 > 1) or 1 != 1 and 3 <= 4 else 5", "5"),
    ],
)
def test_a_formula_means_what_it_says_exactly(text, expected):
    assert value(text) == Fraction(expected)


def test_names_of_a_formula_are_its_inputs_and_parameters():
    formula = parse_formula("max(0, baseline - project) * distance_m", where="test")
    assert formula.names == {"baseline", "project", "distance_m"}
    assert not formula.is_condition
    assert parse_formula("distance_m <= 12 * elapsed_s", where="test").is_condition


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2 +",
        "a ** 2",
        "a // 2",
        "a % 2",
        "a < b < c",
        "a is b",
        "a in b",
        "f(a)",
        "min(a)",
        "min(*a, b)",
        "max(a, key=b)",
        "a.b",
        "a[0]",
        "'text'",
        "True",
        "1e5",
        "0x10",
        "1_000",
        "1j",
        "lambda: 1",
        "[a]",
        "(a, b)",
        "a if b else c",  # b is a quantity
        "a + (b < c)",
        "not a",
        "a and b",
        "+a",
        "~a",
        "a; b",
        "a := 1",
        "9" * 5000,
        "0." + "1" * 5000,
        "a" + " + a" * 5000,
        "(" * 300 + "a" + ")" * 300,
        "a\0b",
    ],
)
def test_what_is_not_of_the_language_is_refused_with_its_place(text):
    with pytest.raises(TanzhangError) as caught:
        parse_formula(text, where="file.yaml:7")
    (problem,) = caught.value.problems
    assert (problem.code, problem.where) == ("formula-malformed", "file.yaml:7")
    assert "use + - * /" in problem.remedy


def test_a_refusal_names_the_part_that_is_not_understood():
    with pytest.raises(TanzhangError, match=r"'b \*\* 2' is not part of the formula language"):
        parse_formula("a + b ** 2", where="test")


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("a + b", 11, 32),
        ("a - b", -19, 2),
        ("a * b", 10, 240),
        ("a / b", "0.05", "1.2"),
        ("a * -2", -24, -2),
        ("max(a, 5)", 5, 12),
        ("min(a, b)", 1, 12),
        ("1 if a > 20 else 2", 2, 2),  # settled by the ranges
        ("1 if a > 5 else 2", 1, 2),
        ("1 if a > 5 and a > 20 else 2", 2, 2),
        ("1 if a > 5 or a > 0 else 2", 1, 1),
        ("1 if not (a > 20) else 2", 1, 1),
    ],
)
def test_bounds_follow_from_the_ranges_of_the_names(text, low, high):
    ranges = {"a": (Fraction(1), Fraction(12)), "b": (Fraction(10), Fraction(20))}
    found = walk(parse_formula(text, where="test").tree, Bounds(ranges, where="test"))
    assert found == (Fraction(low), Fraction(high))


def test_a_divisor_that_can_be_zero_is_refused():
    with pytest.raises(TanzhangError) as caught:
        walk(parse_formula("1 / a", where="test").tree, Bounds({"a": (Fraction(0), Fraction(2))}, where="m@1"))
    assert caught.value.code == "formula-divisor"


def test_equality_of_ranges_is_open_unless_both_are_points():
    bounds = Bounds({}, where="test")
    one, two, both = (Fraction(1),) * 2, (Fraction(2),) * 2, (Fraction(1), Fraction(2))
    assert bounds.compare("==", one, one) is True
    assert bounds.compare("!=", one, two) is True
    assert bounds.compare("==", both, two) is None
    assert bounds.compare("==", both, both) is None


@pytest.mark.parametrize(
    "text", ["a - (b - c)", "a / (b * c)", "(a + b) * c", "a - b - c", "a * (b / c)", "max(0, a - b) * c"]
)
def test_a_rendered_formula_keeps_only_the_parentheses_it_needs(text):
    assert render(parse_formula(text, where="test").tree).replace(" ", "") == text.replace(" ", "").replace(
        "a*(b/c)", "a*b/c"
    )


def test_fractions_and_negative_numbers_are_rendered_in_parentheses():
    formula = parse_formula("a / b", where="test").tree
    from tanzhang.core.formula import Arithmetic, Number

    assert render(Arithmetic("/", Number(Fraction(1)), Number(Fraction(1, 3)))) == "1 / (1/3)"
    assert render(Arithmetic("-", Number(Fraction(1)), Number(Fraction(-2)))) == "1 - (-2)"
    assert render(formula) == "a / b"


def test_conditions_hold_exactly():
    condition = parse_formula("3 * a <= b", where="test").tree
    third = Fraction(1, 3)
    assert holds(condition, Exact({"a": third, "b": Fraction(1)}))
    assert not holds(condition, Exact({"a": third, "b": Fraction(1) - Fraction(1, 10**30)}))


def test_a_decimal_that_does_not_end_is_written_as_a_fraction():
    assert [decimal_text(Fraction(x)) for x in ("46.70", "-0.5", "1/3", "1e-12", "1e-13", "0")] == [
        "46.7",
        "-0.5",
        "1/3",
        "0.000000000001",
        "1/10000000000000",
        "0",
    ]
