from __future__ import annotations

from fractions import Fraction

import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.core.formula import parse_formula
from tanzhang.engine.units import Units
from tanzhang.stores.catalogue import Catalogue

UNITS = Catalogue().units


@pytest.mark.parametrize(
    ("value", "unit", "wanted", "expected"),
    [
        ("0.5366", "kg_CO2/kWh", "mg_CO2/Wh", "536.6"),
        ("0.104", "kg_CO2/km", "mg_CO2/m", "104"),
        ("0.0087", "kg_CO2/km", "mg_CO2/m", "8.7"),
        ("2.06672", "kg_CO2e/m3", "mg_CO2e/mL", "2.06672"),
        ("2.70", "kg_CO2/L", "mg_CO2/mL", "2700"),
        ("22157.75", "kg_CO2e/t", "mg_CO2e/g", "22157.75"),
        ("37", "g_CO2/item", "mg_CO2/item", "37000"),
        ("1", "CNY", "fen", "100"),
        ("1", "d", "h", "24"),
        ("1", "km/km", "m/m", "1"),
    ],
)
def test_units_convert_exactly(value: str, unit: str, wanted: str, expected: str) -> None:
    assert UNITS.to_base(Fraction(value), unit, wanted, where="f.yaml:1") == Fraction(expected)


@pytest.mark.parametrize(
    ("unit", "wanted", "says"),
    [
        ("kg_CO2/kWh", "mg_CO2e/Wh", "cannot be expressed"),  # other gases do not slip in
        ("g_CO2/km", "mg_CO2/Wh", "cannot be expressed"),
        ("g_CO2/mile", "mg_CO2/m", "mile is not a unit of the closed list"),
        ("g_CO2/meters", "mg_CO2/m", "did you mean meter?"),  # pint would guess the plural
        ("g_CO2/(km", "mg_CO2/m", "cannot be expressed"),
        ("1/0", "mg_CO2/m", "cannot be expressed"),
        ("2 * g_CO2", "mg_CO2", "cannot be expressed"),
    ],
)
def test_what_cannot_be_converted_is_refused_at_its_place(unit: str, wanted: str, says: str) -> None:
    with pytest.raises(TanzhangError) as refused:
        UNITS.to_base(Fraction(1), unit, wanted, where="f.yaml:7")
    (problem,) = refused.value.problems
    assert (problem.code, problem.where) == ("unit-error", "f.yaml:7")
    assert says in problem.message


def test_the_base_of_a_unit_is_what_inputs_and_results_are_counted_in() -> None:
    assert UNITS.in_base(Fraction("0.5366"), "kg_CO2/kWh", where="") == (Fraction("536.6"), "mg_CO2/Wh")
    assert UNITS.in_base(Fraction(1), "kg_CO2e/m3", where="") == (Fraction(1), "mg_CO2e/mL")
    assert UNITS.in_base(Fraction("0.5"), "item/item", where="") == (Fraction("0.5"), "1")


@pytest.mark.parametrize(
    ("formula", "parameters"),
    [
        ("saving * distance_m", {"saving": "mg_CO2/m"}),
        ("max(0, baseline - project) * distance_m", {"baseline": "mg_CO2/m", "project": "mg_CO2/m"}),
        ("max(0, b - energy_wh * g / occupants) * own", {"b": "mg_CO2/person", "g": "mg_CO2/Wh", "own": "person"}),
        ("(1 - rate) * saving * count", {"rate": "item/item", "saving": "mg_CO2/item"}),
        ("saving * count if count < 3 else 2 * saving * count", {"saving": "mg_CO2/item"}),
    ],
)
def test_a_formula_that_gives_milligrams_is_accepted(formula: str, parameters: dict[str, str]) -> None:
    if "count < 3" in formula:  # a plain number beside a count is what a guard may do, a formula not
        with pytest.raises(TanzhangError, match="unit-error"):
            UNITS.check(parse_formula(formula, where=""), parameters, "mg_CO2", where="f.yaml:9")
        return
    UNITS.check(parse_formula(formula, where=""), parameters, "mg_CO2", where="f.yaml:9")


@pytest.mark.parametrize(
    ("formula", "parameters", "says"),
    [
        ("saving * distance_m", {"saving": "g_CO2/m"}, "gives g_CO2, which is not mg_CO2 itself"),
        ("saving * distance_m", {"saving": "mg_CO2e/m"}, "gives mg_CO2e, not mg_CO2"),
        ("saving + distance_m", {"saving": "mg_CO2"}, "saving + distance_m"),
        ("a + b", {"a": "mg_CO2", "b": "g_CO2"}, "mg_CO2 and g_CO2 are mixed without a conversion"),
        ("distance_m / distance_m", {}, "gives a plain number, not mg_CO2"),
        ("saving * steps", {"saving": "mg_CO2/ms"}, "ms is not a unit"),
        ("saving * steps + 1", {"saving": "mg_CO2/step"}, "saving * steps + 1"),
    ],
)
def test_a_formula_that_gives_something_else_is_refused(formula: str, parameters: dict[str, str], says: str) -> None:
    with pytest.raises(TanzhangError) as refused:
        UNITS.check(parse_formula(formula, where=""), parameters, "mg_CO2", where="f.yaml:9")
    assert refused.value.code == "unit-error"
    assert says in refused.value.problems[0].message


def test_that_a_divisor_is_never_zero_is_left_to_the_bounds() -> None:
    UNITS.check(parse_formula("saving * count / 0", where=""), {"saving": "mg_CO2/item"}, "mg_CO2", where="")


def test_every_definition_that_cannot_be_used_is_named() -> None:
    lines = ["m = [distance]", "km = 1000 * metre", "m = [length]", "nonsense", "g = [mass] = gram", "kg = 1000 * g"]
    with pytest.raises(TanzhangError) as refused:
        Units(lines, where=[f"units.yaml:{n}" for n in range(1, 7)])
    assert [(p.code, p.where) for p in refused.value.problems] == [
        ("unit-definition-malformed", f"units.yaml:{n}") for n in (2, 3, 4)
    ]
    assert "metre is not defined before it" in refused.value.problems[0].message
    assert "m is defined already" in refused.value.problems[1].message
