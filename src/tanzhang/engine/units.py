"""Units, exactly: pint over rationals, with the closed list of ``catalogue/units.yaml`` and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from tanzhang.core.action import ELAPSED, INPUT_UNITS
from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.formula import Formula, holds, walk


class Units:
    """A registry of the units that catalogue files may use."""

    def __init__(self, definitions: Sequence[str]) -> None:
        import pint

        self._errors = (pint.errors.PintError, AttributeError, TypeError, ValueError)
        self._registry: Any = pint.UnitRegistry(None, non_int_type=Fraction)
        for line in definitions:
            self._registry.define(line)

    def to_base(self, value: Fraction, unit: str, wanted: str, *, where: str) -> Fraction:
        """``value`` in ``unit`` expressed in ``wanted``, exactly; ``unit-error`` if they measure different things."""
        try:
            converted = self._registry.Quantity(value, unit).to(wanted)
        except self._errors as error:
            raise _unit_error(f"{unit} cannot be expressed in {wanted}: {error}", where) from None
        return Fraction(converted.magnitude)

    def check(self, formula: Formula, parameters: Mapping[str, str], result: str | None, *, where: str) -> None:
        """Check a formula's units; ``result`` is the unit a quantity must have, None for a condition."""
        algebra = _UnitAlgebra(self._registry, parameters)
        try:
            if result is None:
                holds(formula.tree, algebra)
                return
            outcome = walk(formula.tree, algebra)
            if not outcome.is_compatible_with(result):
                raise _unit_error(f"{formula.text} gives {outcome.units or 'a plain number'}, not {result}", where)
            if outcome.to(result).magnitude != outcome.magnitude:
                raise _unit_error(f"{formula.text} gives {outcome.units}, which is not {result} itself", where)
        except self._errors as error:
            raise _unit_error(f"{formula.text}: {error}", where) from None


class _UnitAlgebra:
    """Quantities of magnitude 1 carry the units through a formula; a plain 0 fits any unit, as in max(0, x)."""

    def __init__(self, registry: Any, parameters: Mapping[str, str]) -> None:
        self._registry = registry
        self._units = {**INPUT_UNITS, ELAPSED: "s", **parameters}

    def number(self, value: Fraction) -> Any:
        return self._registry.Quantity(value if value == 0 else Fraction(1), "")

    def name(self, name: str) -> Any:
        return self._registry.Quantity(Fraction(1), self._units[name])

    def arithmetic(self, op: str, left: Any, right: Any) -> Any:
        if op in "+-":
            return self._same(left, right)
        return left * right if op == "*" else left / right

    def extreme(self, op: str, left: Any, right: Any) -> Any:
        return self._same(left, right)

    def compare(self, op: str, left: Any, right: Any) -> bool:
        self._same(left, right)
        return True

    def logic(self, op: str, items: list[bool]) -> bool:
        return True

    def choose(self, condition: bool, then: Any, otherwise: Any) -> Any:
        return self._same(then, otherwise)

    def _same(self, left: Any, right: Any) -> Any:
        for zero, other in ((left, right), (right, left)):
            if zero.magnitude == 0 and zero.dimensionless:
                return other
        if left.units != right.units:
            right.to(left.units)  # raises when they measure different things
            raise ValueError(f"{left.units} and {right.units} are mixed without a conversion")
        return left


def _unit_error(message: str, where: str) -> TanzhangError:
    return refuse(
        "unit-error", message, where=where, remedy="correct the unit or the formula; the closed list is in units.yaml"
    )
