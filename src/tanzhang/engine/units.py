"""Units, exactly: pint over rationals, with the closed list of ``catalogue/units.yaml`` and nothing else."""

from __future__ import annotations

import difflib
import importlib
import re
import sys
import tokenize
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from tanzhang.core.action import ELAPSED, INPUT_UNITS
from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.core.formula import Formula, holds, walk

_NAME = re.compile(r"[^\W\d]\w*")


def _load_pint() -> Any:
    """Import pint without numpy, which it would load for arrays that never come here.

    That is a sixth of the time of ``tanzhang quantify`` (measured with -X importtime).
    """
    if "numpy" in sys.modules or "pint" in sys.modules:
        return importlib.import_module("pint")
    sys.modules["numpy"] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("pint")
    finally:
        del sys.modules["numpy"]


class Units:
    """A registry of the units that catalogue files may use.

    Raises ``unit-definition-malformed`` with every definition that pint cannot read or that rests on an undefined one.
    """

    def __init__(self, definitions: Sequence[str], *, where: Sequence[str] = ()) -> None:
        pint = _load_pint()
        self._errors = (
            pint.errors.PintError,
            ArithmeticError,
            AttributeError,
            KeyError,
            SyntaxError,
            TypeError,
            ValueError,
            tokenize.TokenError,
        )
        self._registry: Any = pint.UnitRegistry(None, non_int_type=Fraction)
        self.names: set[str] = set()
        self._ratios: dict[tuple[str, str], Fraction] = {}
        places = where or ["units.yaml"] * len(definitions)
        problems = [
            Problem("unit-definition-malformed", f"{line!r}: {reason}", place, "write 'name = number * known unit'")
            for line, place in zip(definitions, places, strict=True)
            if (reason := self._define(line)) is not None
        ]
        if problems:
            raise TanzhangError(problems)

    def _define(self, line: str) -> str | None:
        name, *rest = (part.strip() for part in line.split("="))
        taken = {name, *rest[1:]} & self.names
        if taken:
            return f"{', '.join(sorted(taken))} is defined already"
        unknown = [word for word in _NAME.findall(rest[0].split("]")[-1] if rest else "") if word not in self.names]
        if unknown:
            return f"{', '.join(unknown)} is not defined before it"
        try:
            self._registry.define(line)
            self._registry.Quantity(Fraction(1), name).to_root_units()
        except self._errors as error:
            return str(error) or type(error).__name__
        self.names |= {name, *rest[1:]}
        return None

    def to_base(self, value: Fraction, unit: str, wanted: str, *, where: str) -> Fraction:
        """``value`` in ``unit`` expressed in ``wanted``, exactly; ``unit-error`` if they measure different things."""
        if (unit, wanted) not in self._ratios:
            self._known((unit, wanted), where)
            try:
                one = self._registry.Quantity(Fraction(1), unit).to(wanted)
            except self._errors as error:
                raise _unit_error(f"{unit} cannot be expressed in {wanted}: {error}", where) from None
            self._ratios[unit, wanted] = Fraction(one.magnitude)  # the list holds no unit with an offset
        return value * self._ratios[unit, wanted]

    def in_base(self, value: Fraction, unit: str, *, where: str) -> tuple[Fraction, str]:
        """``value`` in the units that inputs and results are counted in, with that unit's name.

        >>> Units(["m = [distance]", "km = 1000 * m"]).in_base(Fraction(2), "km", where="")
        (Fraction(2000, 1), 'm')
        """
        self._known((unit,), where)
        try:
            converted = self._registry.Quantity(value, unit).to_root_units()
        except self._errors as error:
            raise _unit_error(f"{unit} is not a unit: {error}", where) from None
        return Fraction(converted.magnitude), f"{converted.units:~C}" or "1"

    def check(self, formula: Formula, parameters: Mapping[str, str], result: str | None, *, where: str) -> None:
        """Check a formula's units; ``result`` is the unit a quantity must have, None for a condition."""
        self._known(parameters.values(), where)
        algebra = _UnitAlgebra(self._registry, parameters)
        try:
            if result is None:
                holds(formula.tree, algebra)
                return
            outcome = walk(formula.tree, algebra)
            if not outcome.is_compatible_with(result):
                raise _unit_error(f"{formula.text} gives {_spoken(outcome.units)}, not {result}", where)
            if outcome.to(result).magnitude != outcome.magnitude:
                raise _unit_error(f"{formula.text} gives {_spoken(outcome.units)}, which is not {result} itself", where)
        except self._errors as error:
            raise _unit_error(f"{formula.text}: {error}", where) from None

    def _known(self, units: Iterable[str], where: str) -> None:
        """Refuse names outside the closed list, plurals that pint would guess included."""
        for unit in units:
            for word in _NAME.findall(unit):
                if word not in self.names:
                    near = difflib.get_close_matches(word, self.names, n=1)
                    hint = f"; did you mean {near[0]}?" if near else ""
                    raise _unit_error(f"{word} is not a unit of the closed list{hint}", where)


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
        if op == "*":
            return left * right
        return left / right if right.magnitude else left  # that a divisor is never zero, the bounds check

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
            raise ValueError(f"{_spoken(left.units)} and {_spoken(right.units)} are mixed without a conversion")
        return left


def _spoken(units: Any) -> str:
    return f"{units:~C}" or "a plain number"


def _unit_error(message: str, where: str) -> TanzhangError:
    return refuse(
        "unit-error", message, where=where, remedy="correct the unit or the formula; the closed list is in units.yaml"
    )
