"""The formula language of methodologies: text in, one small tree out, walked by many algebras.

The language is: ``+ - * /`` (also written ``− × ÷``), parentheses, decimal numbers, ``min(...)``, ``max(...)``,
comparisons, ``and``/``or``/``not``, ``a if condition else b``, and the names of inputs and parameters. It borrows
Python's expression grammar, so there is no parser of our own, and refuses everything else in it.

A tree knows nothing of numbers. An :class:`Algebra` gives it meaning: :class:`Exact` (rationals; the definition of
every result), :class:`Bounds` (what range can come out), the unit check and the SQL compiler in ``engine``.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol, TypeVar

from tanzhang.core.errors import refuse

Value = TypeVar("Value")
Truth = TypeVar("Truth")

_LOOKALIKES = str.maketrans({"×": "*", "÷": "/", "−": "-", "–": "-", "（": "(", "）": ")", "，": ","})


@dataclass(frozen=True, slots=True)
class Number:
    """A decimal constant, kept exactly as written."""

    value: Fraction


@dataclass(frozen=True, slots=True)
class Name:
    """An input or a parameter."""

    name: str


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """``left op right`` with op one of ``+ - * /``."""

    op: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Extreme:
    """``min`` or ``max`` of two or more."""

    op: str
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Compare:
    """``left op right`` with op one of ``< <= > >= == !=``; a truth value."""

    op: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Logic:
    """``and`` / ``or`` of two or more, ``not`` of one; a truth value."""

    op: str
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choose:
    """``then if condition else otherwise``."""

    condition: Node
    then: Node
    otherwise: Node


Node = Number | Name | Arithmetic | Extreme | Compare | Logic | Choose


class Algebra(Protocol[Value, Truth]):
    """What a walk over a tree computes."""

    def number(self, value: Fraction) -> Value:
        """Meaning of a constant."""

    def name(self, name: str) -> Value:
        """Meaning of an input or parameter."""

    def arithmetic(self, op: str, left: Value, right: Value) -> Value:
        """Meaning of ``+ - * /``."""

    def extreme(self, op: str, left: Value, right: Value) -> Value:
        """Meaning of ``min`` and ``max`` of two."""

    def compare(self, op: str, left: Value, right: Value) -> Truth:
        """Meaning of a comparison."""

    def logic(self, op: str, items: list[Truth]) -> Truth:
        """Meaning of ``and``, ``or``, ``not``."""

    def choose(self, condition: Truth, then: Value, otherwise: Value) -> Value:
        """Meaning of ``then if condition else otherwise``."""


@dataclass(frozen=True, slots=True)
class Formula:
    """A parsed formula: its text, its tree, the names it uses."""

    text: str
    tree: Node
    names: frozenset[str]

    @property
    def is_condition(self) -> bool:
        """Whether it yields a truth value rather than a quantity."""
        return isinstance(self.tree, Compare | Logic)


def parse_formula(text: str, *, where: str) -> Formula:
    """Parse one formula; raise ``formula-malformed`` naming the part that is not of the language."""
    source = " ".join(text.translate(_LOOKALIKES).split())
    try:
        body = ast.parse(source, mode="eval").body
        names: set[str] = set()
        tree = _convert(body, source, names, where)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _malformed(text, f"cannot be read: {error}", where) from None
    return Formula(text=source, tree=tree, names=frozenset(names))


def walk(node: Node, algebra: Algebra[Value, Truth]) -> Value:
    """The value of a quantity tree under ``algebra``."""
    match node:
        case Number(value):
            return algebra.number(value)
        case Name(name):
            return algebra.name(name)
        case Arithmetic(op, left, right):
            return algebra.arithmetic(op, walk(left, algebra), walk(right, algebra))
        case Extreme(op, items):
            result = walk(items[0], algebra)
            for item in items[1:]:
                result = algebra.extreme(op, result, walk(item, algebra))
            return result
        case Choose(condition, then, otherwise):
            return algebra.choose(holds(condition, algebra), walk(then, algebra), walk(otherwise, algebra))
        case _:
            raise TypeError("a truth value stands where a quantity is needed")


def holds(node: Node, algebra: Algebra[Value, Truth]) -> Truth:
    """The truth of a condition tree under ``algebra``."""
    match node:
        case Compare(op, left, right):
            return algebra.compare(op, walk(left, algebra), walk(right, algebra))
        case Logic(op, items):
            return algebra.logic(op, [holds(item, algebra) for item in items])
        case _:
            raise TypeError("a quantity stands where a truth value is needed")


_COMPARISONS: Mapping[str, Callable[[Fraction, Fraction], bool]] = {
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
    "==": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
}


class Exact:
    """The definition of every result: rationals, no rounding."""

    def __init__(self, values: Mapping[str, Fraction]) -> None:
        self.values = values

    def number(self, value: Fraction) -> Fraction:
        """The constant itself."""
        return value

    def name(self, name: str) -> Fraction:
        """The value given for the name."""
        return self.values[name]

    def arithmetic(self, op: str, left: Fraction, right: Fraction) -> Fraction:
        """Exact arithmetic; dividing by zero raises ZeroDivisionError."""
        if op == "+":
            return left + right
        if op == "-":
            return left - right
        if op == "*":
            return left * right
        return left / right

    def extreme(self, op: str, left: Fraction, right: Fraction) -> Fraction:
        """The smaller or the larger."""
        return min(left, right) if op == "min" else max(left, right)

    def compare(self, op: str, left: Fraction, right: Fraction) -> bool:
        """The comparison."""
        return _COMPARISONS[op](left, right)

    def logic(self, op: str, items: list[bool]) -> bool:
        """And, or, not."""
        if op == "not":
            return not items[0]
        return all(items) if op == "and" else any(items)

    def choose(self, condition: bool, then: Fraction, otherwise: Fraction) -> Fraction:
        """The chosen one."""
        return then if condition else otherwise


Range = tuple[Fraction, Fraction]  # closed: low, high


class Bounds:
    """The range that can come out when every name lies in its own range. Wide enough, never too narrow."""

    def __init__(self, ranges: Mapping[str, Range], *, where: str) -> None:
        self.ranges = ranges
        self.where = where

    def number(self, value: Fraction) -> Range:
        """A constant's range is itself."""
        return value, value

    def name(self, name: str) -> Range:
        """The range given for the name."""
        return self.ranges[name]

    def arithmetic(self, op: str, left: Range, right: Range) -> Range:
        """Interval arithmetic; a divisor that can be zero or negative is refused."""
        if op == "+":
            return left[0] + right[0], left[1] + right[1]
        if op == "-":
            return left[0] - right[1], left[1] - right[0]
        if op == "/":
            if right[0] <= 0:
                raise refuse(
                    "formula-divisor",
                    "the formula divides by something that can be zero or negative",
                    where=self.where,
                    remedy="raise the minimum of that input above zero",
                )
            corners = [top / bottom for top in left for bottom in right]
        else:
            corners = [a * b for a in left for b in right]
        return min(corners), max(corners)

    def extreme(self, op: str, left: Range, right: Range) -> Range:
        """Range of the smaller or the larger."""
        pick = min if op == "min" else max
        return pick(left[0], right[0]), pick(left[1], right[1])

    def compare(self, op: str, left: Range, right: Range) -> bool | None:
        """The truth where it is the same over the whole range, else None."""
        answers = {_COMPARISONS[op](a, b) for a in left for b in right}
        if op in ("==", "!=") and (left[0] != left[1] or right[0] != right[1]):
            return None
        return answers.pop() if len(answers) == 1 else None

    def logic(self, op: str, items: list[bool | None]) -> bool | None:
        """Three-valued and, or, not."""
        if op == "not":
            return None if items[0] is None else not items[0]
        decisive = op == "or"
        if any(item is decisive for item in items):
            return decisive
        return None if any(item is None for item in items) else not decisive

    def choose(self, condition: bool | None, then: Range, otherwise: Range) -> Range:
        """Either branch, unless the condition is settled."""
        if condition is None:
            return min(then[0], otherwise[0]), max(then[1], otherwise[1])
        return then if condition else otherwise


def render(node: Node) -> str:
    """The tree as text again, with only the parentheses it needs."""
    match node:
        case Number(value):
            text = decimal_text(value)
            return f"({text})" if "/" in text or "-" in text else text
        case Name(name):
            return name
        case Arithmetic(op, left, right):
            left_text, right_text = render(left), render(right)
            if op in "*/" and isinstance(left, Arithmetic) and left.op in "+-":
                left_text = f"({left_text})"
            needs = isinstance(right, Arithmetic) and (op == "/" or (op in "-*" and right.op in "+-"))
            return f"{left_text} {op} {f'({right_text})' if needs else right_text}"
        case Compare(op, left, right):
            return f"{render(left)} {op} {render(right)}"
        case Extreme(op, items):
            return f"{op}({', '.join(render(item) for item in items)})"
        case Logic(op, items):
            if op == "not":
                return f"not ({render(items[0])})"
            return f" {op} ".join(f"({render(item)})" for item in items)
        case Choose(condition, then, otherwise):
            return f"({render(then)} if {render(condition)} else {render(otherwise)})"


def decimal_text(value: Fraction) -> str:
    """A rational as a decimal where it ends within 12 places, else as ``numerator/denominator``.

    >>> decimal_text(Fraction("46.70")), decimal_text(Fraction(1, 3)), decimal_text(Fraction(-3, 2))
    ('46.7', '1/3', '-1.5')
    """
    scaled = abs(value) * 10**12
    if scaled.denominator != 1:
        return f"{value.numerator}/{value.denominator}"
    whole, rest = divmod(scaled.numerator, 10**12)
    digits = f"{rest:012d}".rstrip("0")
    sign = "-" if value < 0 else ""
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"


_OPERATORS: Mapping[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_COMPARE_OPERATORS: Mapping[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}


def _convert(node: ast.expr, source: str, names: set[str], where: str) -> Node:
    def recur(inner: ast.expr, *, condition: bool = False) -> Node:
        converted = _convert(inner, source, names, where)
        if isinstance(converted, Compare | Logic) != condition:
            wanted = "a condition" if condition else "a quantity"
            raise _malformed(source, f"{ast.get_source_segment(source, inner)!r} is not {wanted}", where)
        return converted

    match node:
        case ast.Constant(value=int() | float()) if not isinstance(node.value, bool):
            literal = ast.get_source_segment(source, node) or ""
            if not literal.replace(".", "", 1).isdecimal():
                raise _malformed(source, f"{literal!r} is not a plain decimal number", where)
            return Number(Fraction(literal))
        case ast.Name(id=name):
            names.add(name)
            return Name(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return Arithmetic("-", Number(Fraction(0)), recur(operand))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return Logic("not", (recur(operand, condition=True),))
        case ast.BinOp(op=operator) if type(operator) in _OPERATORS:
            return Arithmetic(_OPERATORS[type(operator)], recur(node.left), recur(node.right))
        case ast.BoolOp(op=operator, values=values):
            word = "and" if isinstance(operator, ast.And) else "or"
            return Logic(word, tuple(recur(value, condition=True) for value in values))
        case ast.Compare(left=left, ops=[comparison], comparators=[right]) if type(comparison) in _COMPARE_OPERATORS:
            return Compare(_COMPARE_OPERATORS[type(comparison)], recur(left), recur(right))
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return Choose(recur(test, condition=True), recur(body), recur(orelse))
        case ast.Call(func=ast.Name(id="min" | "max" as op), args=args, keywords=[]) if len(args) >= 2:
            return Extreme(op, tuple(recur(arg) for arg in args))
        case _:
            segment = ast.get_source_segment(source, node) or source
            raise _malformed(source, f"{segment!r} is not part of the formula language", where)


def _malformed(text: str, reason: str, where: str) -> Exception:
    return refuse(
        "formula-malformed",
        f"the formula {text!r} {reason}" if reason.startswith("cannot") else f"in the formula {text!r}, {reason}",
        where=where,
        remedy="use + - * /, min(...), max(...), comparisons, 'a if condition else b', decimal numbers and the "
        "names of the inputs and parameters",
    )
