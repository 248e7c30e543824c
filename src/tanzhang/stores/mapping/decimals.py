"""Written decimals as exact whole-number SQL, so that no float comes between a file and an action."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from tanzhang.engine.kernel import quote

# 24 digits times a factor below 10^13, over 10^20 times a divisor below 10^13, stay within a HUGEINT.
MOST_DIGITS, LARGEST_FACTOR = 24, 10**13
_DECIMALS = 20
_SPELLING = rf"[+-]?([0-9]+(\.[0-9]{{0,{_DECIMALS}}})?|\.[0-9]{{1,{_DECIMALS}}})"
_POWERS = "([" + ", ".join(f"1{'0' * power}" for power in range(_DECIMALS + 1)) + "]::HUGEINT[])"


class Decimal(NamedTuple):
    """A number as two SQL expressions, ``top / bottom``, both whole; ``top`` is NULL where there is no number."""

    top: str
    bottom: str


def decimal(value: str) -> Decimal:
    """The number that a text spells; its scale becomes ``bottom``."""
    text = f"trim({value})"
    digits = f"regexp_replace({text}, '[^0-9]', '', 'g')"
    fits = f"regexp_full_match({text}, {quote(_SPELLING)}) AND length({digits}) <= {MOST_DIGITS}"
    whole = f"TRY_CAST(CASE WHEN {fits} THEN {digits} END AS HUGEINT)"
    decimals = f"CASE WHEN contains({text}, '.') THEN length({text}) - strpos({text}, '.') ELSE 0 END"
    return Decimal(f"(CASE WHEN starts_with({text}, '-') THEN -{whole} ELSE {whole} END)", f"{_POWERS}[{decimals} + 1]")


def compared(value: str, sign: str, limit: Fraction) -> str:
    """Whether the number that a text spells is ``>=`` or ``<=`` the limit; NULL where there is no number."""
    number = decimal(value)
    return f"{number.top} * {limit.denominator} {sign} {number.bottom} * {limit.numerator}"


def scaled(number: Decimal, factor: Fraction, *, up: bool) -> str:
    """The number times ``factor`` as whole text, cut down or up; ``//`` cuts towards zero, hence the two cases."""
    top, bottom = f"({number.top} * {factor.numerator})", f"({number.bottom} * {factor.denominator})"
    away, sign = (f"+ ({bottom} - 1)", ">") if up else (f"- ({bottom} - 1)", "<")
    return f"(CASE WHEN {number.top} {sign} 0 THEN ({top} {away}) // {bottom} ELSE {top} // {bottom} END)::VARCHAR"


def unsigned(value: str) -> str:
    """A number's text without sign, leading zeros and trailing zeros, so that -7.50 meets 7.5."""
    plain = f"ltrim(ltrim(trim({value}), '+-'), '0')"
    return f"(CASE WHEN contains({value}, '.') THEN rtrim(rtrim({plain}, '0'), '.') ELSE {plain} END)"
