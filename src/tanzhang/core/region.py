"""Regions: ``CN`` or ``CN-`` with the six digits of GB/T 2260 (行政区划代码), nested province > city > district.

Refuses every other spelling, so that two files cannot name one place in two ways.
"""

from __future__ import annotations

import re

from tanzhang.core.errors import refuse

COUNTRY = "CN"
_PATTERN = re.compile(r"CN(-[1-9][0-9]{5})?")


def check_region(text: str, *, where: str) -> str:
    """Return ``text`` if it is a region; raise ``region-malformed`` otherwise."""
    if _PATTERN.fullmatch(text):
        return text
    raise refuse(
        "region-malformed",
        f"{text!r} is not a region",
        where=where,
        remedy="write CN, or CN- and the six digits of GB/T 2260, for example CN-110000 for Beijing",
    )


def is_region(text: str) -> bool:
    """Whether ``text`` is spelled as a region."""
    return _PATTERN.fullmatch(text) is not None


def ancestors(region: str) -> tuple[str, ...]:
    """The region and everything that contains it, narrowest first.

    >>> ancestors("CN-440305")
    ('CN-440305', 'CN-440300', 'CN-440000', 'CN')
    """
    if region == COUNTRY:
        return (COUNTRY,)
    digits = region.removeprefix("CN-")
    chain = [digits]
    for widened in (digits[:4] + "00", digits[:2] + "0000"):
        if widened != chain[-1]:
            chain.append(widened)
    return (*(f"CN-{code}" for code in chain), COUNTRY)


def contains(outer: str, inner: str) -> bool:
    """Whether ``inner`` lies in ``outer`` (a region contains itself)."""
    return outer in ancestors(inner)


def narrowness(region: str) -> int:
    """0 for the country, 1 province, 2 city, 3 district: larger is narrower."""
    return len(ancestors(region)) - 1
