"""Serial numbers of carbon units (减排量序列号): printed, read back, and told from a mistyped one.

``TZ1-<region>-<programme>-<lot>-<vintage>-<unit>-<first>-<last>-<check>``: the region is ``CN`` and six digits (six
zeros for the whole country), ``unit`` is ``T`` (1 t) or ``K`` (1 kg), first and last are counted from 1 and both
belong to the block. Inside the program a block is a half-open range ``[lo, hi)`` from 0; the number of units is always
worked out from it. A number is a label: what can change (holder, state, labels) is never in it, and what is true of a
block is what the register says.

The check is that of ISO 7064 MOD 97-10, over all characters before it, hyphens too. There is one spelling of each
block: everything else is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.market import UNIT_MASS_MG
from tanzhang.core.region import COUNTRY, is_region

MOST_UNITS = 2**32
"""How many units a lot has at most, so that a lot and a place in it fit in 63 bits."""
FIRST_IMPORT = 2**30
"""Lots of units that came from another registry are numbered from here on; their names begin with ``X``."""
MOST_LOTS = 2**31
CODE_LENGTH = 24

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-"
_OWN, _IMPORTED = "L", "X"
_LOT = re.compile(r"([LX])([0-9]{6,10})")
_CODE = re.compile(f"[A-Z0-9]{{1,{CODE_LENGTH}}}")
_NUMBER = re.compile(r"[1-9][0-9]{0,9}")
_WHOLE_COUNTRY = "000000"
_SHAPE = re.compile(
    r"TZ1-CN(?P<region>[0-9]{6})-(?P<programme>[A-Z0-9]+)-(?P<lot>[LX][0-9]+)-(?P<vintage>[1-9][0-9]{3})"
    r"-(?P<unit>[TK])-(?P<first>[0-9]+)-(?P<last>[0-9]+)-(?P<check>[0-9]{2})"
)


@dataclass(frozen=True, slots=True)
class Serial:
    """The block ``[lo, hi)`` of a lot, with what its number says besides; ``programme`` is a code (:func:`code_of`).

    Raises on making: ``serial-malformed`` where it would have no number.
    """

    region: str
    programme: str
    lot: int
    vintage: int
    unit: str
    lo: int
    hi: int

    def __post_init__(self) -> None:
        right = is_region(self.region) and _CODE.fullmatch(self.programme) and self.unit in UNIT_MASS_MG
        right = right and 1 <= self.lot < MOST_LOTS and self.lot != FIRST_IMPORT and 1000 <= self.vintage <= 9999
        if not (right and 0 <= self.lo < self.hi <= MOST_UNITS):
            raise _malformed(f"{self!r} has no serial number")

    @property
    def count(self) -> int:
        """How many units it is."""
        return self.hi - self.lo

    @property
    def text(self) -> str:
        """The number as it is printed.

        >>> Serial("CN-440300", "SZBUS", 7, 2024, "T", 1200, 1201).text
        'TZ1-CN440300-SZBUS-L000007-2024-T-1201-1201-45'
        """
        region = _WHOLE_COUNTRY if self.region == COUNTRY else self.region.removeprefix("CN-")
        head = f"TZ1-CN{region}-{self.programme}-{lot_name(self.lot)}-{self.vintage}-{self.unit}"
        body = f"{head}-{self.lo + 1}-{self.hi}"
        return f"{body}-{check_digits(body)}"

    @classmethod
    def parse(cls, text: str, *, where: str = "serial") -> Serial:
        """Read a number. Raises ``serial-malformed``, and ``serial-check`` where only its check is not its own."""
        found = _SHAPE.fullmatch(text)
        if found is None or not all(_NUMBER.fullmatch(found[name]) for name in ("first", "last")):
            raise _malformed(f"{text!r} is no serial number", where)
        body = text.rpartition("-")[0]
        if check_digits(body) != found["check"]:
            raise refuse(
                "serial-check",
                f"the check digits of {text} are not those of the number",
                where=where,
                remedy="compare it character by character with where it was taken from",
            )
        region = COUNTRY if found["region"] == _WHOLE_COUNTRY else f"CN-{found['region']}"
        try:
            read = cls(
                region,
                found["programme"],
                lot_number(found["lot"]),
                int(found["vintage"]),
                found["unit"],
                int(found["first"]) - 1,
                int(found["last"]),
            )
        except TanzhangError:
            raise _malformed(f"{text!r} is no serial number", where) from None
        return read


def check_digits(body: str) -> str:
    """The two check digits of a number without them: ``98 - (100 N mod 97)``, ISO 7064 MOD 97-10.

    ``N`` is made of the places of the characters among ``0-9 A-Z -``, one after the other in decimal. The hyphen
    counts, because ``1-1200`` and ``11-200`` would be the same digits without it. ``100 N + check = 1 (mod 97)``.
    """
    number = int("".join(str(_ALPHABET.index(each)) for each in body))
    return f"{98 - 100 * number % 97:02d}"


def lot_name(number: int) -> str:
    """A lot's name by its number.

    >>> lot_name(42), lot_name(FIRST_IMPORT + 3)
    ('L000042', 'X000003')
    """
    imported = number > FIRST_IMPORT
    return f"{_IMPORTED if imported else _OWN}{number - FIRST_IMPORT * imported:06d}"


def lot_number(name: str, *, where: str = "lot") -> int:
    """A lot's number by its name; ``serial-malformed``."""
    found = _LOT.fullmatch(name)
    number = int(found[2]) if found else 0
    if found and number and number < FIRST_IMPORT:
        number += FIRST_IMPORT * (found[1] == _IMPORTED)
        if lot_name(number) == name:
            return number
    raise _malformed(f"{name!r} names no lot", where)


def code_of(programme: str) -> str:
    """What a programme is called in serial numbers: its id in capitals, without what is no letter or digit.

    No two programmes of the shipped catalogue share a code; a home has one programme.

    >>> code_of("beijing_green_life")
    'BEIJINGGREENLIFE'
    """
    return re.sub("[^A-Z0-9]", "", programme.upper())[:CODE_LENGTH]


def letter_of(unit_mass_mg: int) -> str:
    """The letter of a unit's mass; ``serial-malformed`` where there is none."""
    for letter, mass_mg in UNIT_MASS_MG.items():
        if mass_mg == unit_mass_mg:
            return letter
    raise _malformed(f"a unit of {unit_mass_mg} mg has no letter", "unit_mass_mg")


def _malformed(message: str, where: str = "serial") -> TanzhangError:
    return refuse(
        "serial-malformed",
        message,
        where=where,
        remedy="write TZ1-CN110000-BJGT-L000042-2025-T-1-1200-52, in capitals and without blanks, or L000042 for a lot",
    )
