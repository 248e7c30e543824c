"""Payment references (付款附言): what a payer writes so that money is recognised, with check digits.

The structured creditor reference of ISO 11649: ``RF``, two check digits, a reference. Check digits are those of MOD
97-10 of ISO/IEC 7064 with letters read as 10 to 35: every single wrong character shows, and every exchange of two
neighbours. Ours says ``D`` for a deal or ``P`` for a pledge, and its number.
"""

from __future__ import annotations

import re

DEAL, PLEDGE = "D", "P"
_DIGITS = 8
_BETWEEN = r"[\s\-]*"
_ONE_BY_ONE = ["R", "F", "[0-9]", "[0-9]", f"[{DEAL}{PLEDGE}]", *["[0-9]"] * _DIGITS]
_FOUND = re.compile(f"(?<![0-9A-Z]){_BETWEEN.join(_ONE_BY_ONE)}(?![0-9A-Z])")
_HALF_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}


def payment_reference(kind: str, number: int) -> str:
    """The reference of a deal or pledge.

    >>> payment_reference("D", 12)
    'RF58D00000012'
    """
    body = f"{kind}{number:0{_DIGITS}d}"
    return f"RF{98 - _remainder(body + 'RF00'):02d}{body}"


def references_in(text: str) -> list[tuple[str, int]]:
    """The references in what a payer wrote: kind and number of each, every one once, in the order they stand in.

    Small letters, letters of full width, blanks and hyphens do not matter. One whose check digits are wrong is none.

    >>> references_in("碳减排量款 rf58 d000-00012 谢谢")
    [('D', 12)]
    """
    found = []
    for match in _FOUND.findall(text.translate(_HALF_WIDTH).upper()):
        plain = "".join(each for each in match if each.isalnum())
        if _remainder(plain[4:] + plain[:4]) == 1:
            found.append((plain[4], int(plain[5:])))
    return list(dict.fromkeys(found))


def _remainder(text: str) -> int:
    return int("".join(str(int(each, 36)) for each in text)) % 97
