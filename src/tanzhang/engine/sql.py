"""Formulas in DuckDB SQL, exactly: every value is a numerator and a denominator of whole numbers, rounded once.

Ranges of the inputs bound every intermediate value before anything runs, so an overflow is refused when a recipe is
compiled (``formula-overflow``) and cannot happen on a row. BIGINT is used where the bounds allow, else HUGEINT.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import lcm

from tanzhang.core.errors import refuse
from tanzhang.core.formula import Bounds, Formula, Range, holds, walk
from tanzhang.core.recipe import LARGEST_MG, Recipe

_BIGINT = 2**63 - 1
_HUGEINT = 2**127 - 1


@dataclass(frozen=True, slots=True)
class _Rational:
    """``numerator / denominator`` as SQL text; ``denominator`` positive. ``value`` set while all is constant."""

    numerator: str
    denominator: str
    bounds: Range
    numerator_bounds: Range
    denominator_bounds: Range
    value: Fraction | None = None


class _Compiler:
    """An algebra whose values are SQL text with bounds; ``largest`` is the largest magnitude met on the way."""

    def __init__(self, parameters: Mapping[str, Fraction], ranges: Mapping[str, tuple[int, int]], where: str) -> None:
        self._parameters = parameters
        self._ranges = ranges
        self._bounds = Bounds({}, where=where)
        self.largest = 0
        self.type = "BIGINT"

    def number(self, value: Fraction) -> _Rational:
        top, bottom = Fraction(value.numerator), Fraction(value.denominator)
        self._saw(top, bottom)
        return _Rational(
            self._literal(value.numerator),
            self._literal(value.denominator),
            (value, value),
            (top, top),
            (bottom, bottom),
            value,
        )

    def name(self, name: str) -> _Rational:
        if name in self._parameters:
            return self.number(self._parameters[name])
        low, high = self._ranges[name]
        bounds = (Fraction(low), Fraction(high))
        self._saw(*bounds)
        one = (Fraction(1), Fraction(1))
        return _Rational(f"{name}::{self.type}", self._literal(1), bounds, bounds, one)

    def arithmetic(self, op: str, left: _Rational, right: _Rational) -> _Rational:
        bounds = self._bounds.arithmetic(op, left.bounds, right.bounds)
        if left.value is not None and right.value is not None:
            return self.number(bounds[0])
        if op in "+-":
            a, b, bottom, bottom_bounds = self._common(left, right)
            top = self._bounds.arithmetic(op, a[1], b[1])
            return self._made(f"({a[0]} {op} {b[0]})", bottom, bounds, top, bottom_bounds)
        if op == "/":
            right = _Rational(
                right.denominator, right.numerator, right.bounds, right.denominator_bounds, right.numerator_bounds
            )
        return self._made(
            self._times(left.numerator, right.numerator),
            self._times(left.denominator, right.denominator),
            bounds,
            self._bounds.arithmetic("*", left.numerator_bounds, right.numerator_bounds),
            self._bounds.arithmetic("*", left.denominator_bounds, right.denominator_bounds),
        )

    def extreme(self, op: str, left: _Rational, right: _Rational) -> _Rational:
        bounds = self._bounds.extreme(op, left.bounds, right.bounds)
        if left.value is not None and right.value is not None:
            return self.number(bounds[0])
        a, b, bottom, bottom_bounds = self._common(left, right)
        text = f"{'least' if op == 'min' else 'greatest'}({a[0]}, {b[0]})"
        return self._made(text, bottom, bounds, self._bounds.extreme(op, a[1], b[1]), bottom_bounds)

    def compare(self, op: str, left: _Rational, right: _Rational) -> tuple[str, bool | None]:
        a, b, _, _ = self._common(left, right)
        sign = {"==": "=", "!=": "<>"}.get(op, op)
        return f"({a[0]} {sign} {b[0]})", self._bounds.compare(op, left.bounds, right.bounds)

    def logic(self, op: str, items: list[tuple[str, bool | None]]) -> tuple[str, bool | None]:
        known = self._bounds.logic(op, [item[1] for item in items])
        if op == "not":
            return f"(NOT {items[0][0]})", known
        return f"({f' {op.upper()} '.join(item[0] for item in items)})", known

    def choose(self, condition: tuple[str, bool | None], then: _Rational, otherwise: _Rational) -> _Rational:
        a, b, bottom, bottom_bounds = self._common(then, otherwise)
        bounds = self._bounds.choose(condition[1], then.bounds, otherwise.bounds)
        top = self._bounds.choose(condition[1], a[1], b[1])
        text = f"(CASE WHEN {condition[0]} THEN {a[0]} ELSE {b[0]} END)"
        return self._made(text, bottom, bounds, top, bottom_bounds)

    def _common(self, left: _Rational, right: _Rational) -> tuple[tuple[str, Range], tuple[str, Range], str, Range]:
        """Both numerators over one denominator."""
        a, b = left.denominator_bounds, right.denominator_bounds
        if a[0] == a[1] and b[0] == b[1]:
            bottom = Fraction(lcm(int(a[0]), int(b[0])))
            sides = []
            for side in (left, right):
                times = bottom / side.denominator_bounds[0]
                scaled = self._bounds.arithmetic("*", side.numerator_bounds, (times, times))
                self._saw(*scaled, bottom)
                sides.append((self._times(side.numerator, self._literal(int(times))), scaled))
            return sides[0], sides[1], self._literal(int(bottom)), (bottom, bottom)
        first = self._bounds.arithmetic("*", left.numerator_bounds, b)
        second = self._bounds.arithmetic("*", right.numerator_bounds, a)
        bottoms = self._bounds.arithmetic("*", a, b)
        self._saw(*first, *second, *bottoms)
        return (
            (self._times(left.numerator, right.denominator), first),
            (self._times(right.numerator, left.denominator), second),
            self._times(left.denominator, right.denominator),
            bottoms,
        )

    def _made(self, top: str, bottom: str, bounds: Range, top_bounds: Range, bottom_bounds: Range) -> _Rational:
        self._saw(*top_bounds, *bottom_bounds)
        return _Rational(top, bottom, bounds, top_bounds, bottom_bounds)

    def _times(self, left: str, right: str) -> str:
        one = self._literal(1)
        if one in (left, right):
            return right if left == one else left
        return f"({left} * {right})"

    def _literal(self, value: int) -> str:
        return f"({value})::{self.type}" if value < 0 else f"{value}::{self.type}"

    def _saw(self, *values: Fraction) -> None:
        self.largest = max(self.largest, *(int(abs(value)) + 1 for value in values))


def compile_mg(recipe: Recipe) -> str:
    """SQL for a recipe's whole milligrams over columns named like the inputs (NULL or in range), as BIGINT.

    Raises: ``formula-overflow`` if an intermediate may leave 127 bits or the result 63, ``formula-negative`` if the
    result can be below zero, ``formula-divisor``.
    """
    where = recipe.methodology
    for compiler in _attempts(recipe.parameters, recipe.ranges, where):
        result = walk(recipe.formula.tree, compiler)
        if recipe.discount != 1:
            result = compiler.arithmetic("*", result, compiler.number(recipe.discount))
        if result.bounds[0] < 0:
            raise refuse(
                "formula-negative",
                f"{recipe.formula.text} can go below zero ({result.bounds[0]})",
                where=where,
                remedy="wrap it in max(0, ...): a reduction or an emission is never negative",
            )
        if result.bounds[1] > LARGEST_MG:
            raise _overflow(recipe.formula, where)
        top, bottom = result.numerator, result.denominator
        if recipe.rounding == "up":
            compiler._saw(result.numerator_bounds[1] + result.denominator_bounds[1])
            top = f"({top} + {bottom} - {compiler._literal(1)})"
        if compiler.largest <= (_BIGINT if compiler.type == "BIGINT" else _HUGEINT):
            return f"(({top} // {bottom})::BIGINT)"
    raise _overflow(recipe.formula, where)


def compile_condition(
    formula: Formula, parameters: Mapping[str, Fraction], ranges: Mapping[str, tuple[int, int]], *, where: str
) -> str:
    """SQL for a guard over columns named like the inputs, which hold values in their ranges.

    Raises: ``formula-overflow``, ``formula-divisor``.
    """
    for compiler in _attempts(parameters, ranges, where):
        text, _ = holds(formula.tree, compiler)
        if compiler.largest <= (_BIGINT if compiler.type == "BIGINT" else _HUGEINT):
            return text
    raise _overflow(formula, where)


def _attempts(parameters: Mapping[str, Fraction], ranges: Mapping[str, tuple[int, int]], where: str) -> list[_Compiler]:
    narrow, wide = _Compiler(parameters, ranges, where), _Compiler(parameters, ranges, where)
    wide.type = "HUGEINT"
    return [narrow, wide]


def _overflow(formula: Formula, where: str) -> Exception:
    return refuse(
        "formula-overflow",
        f"{formula.text} can exceed what whole numbers hold at the limits of its inputs",
        where=where,
        remedy="narrow the ranges of the inputs",
    )
