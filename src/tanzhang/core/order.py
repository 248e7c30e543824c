"""Orders (订单) of the mall: their states, which follows which, and the numbers of vouchers (核销码).

A voucher's text is the order's number, a secret that a till can check only by asking, and two check digits, in groups
of four. Its alphabet is Crockford's base 32, which has no letter that is read as another or as a digit. The
digits make the whole, read as a number in base 32 followed by two decimal digits, leave 1 when it is divided by 97: as
in MOD 97-10 of ISO/IEC 7064, but over the number and not over its letters, for which that would miss some exchanges of
neighbours. Every single wrong character shows, and every exchange of two neighbours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

from tanzhang.core.errors import refuse


class Kind(StrEnum):
    """What an order brings: a code of a pool (兑换码), a voucher made here (到店核销券), goods that are sent (实物)."""

    CODE = "code"
    VOUCHER = "voucher"
    GOODS = "goods"


class State(StrEnum):
    """Where an order stands. ``placed`` is what its history begins with and no order stays in."""

    PLACED = "placed"
    UNPAID = "unpaid"
    """Its points are spent, its money is waited for."""
    PAID = "paid"
    """Goods that the merchant has to send."""
    ISSUED = "issued"
    """Its owner can see the code, or show the voucher."""
    REDEEMED = "redeemed"
    """The merchant took the voucher, or sent the goods."""
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    REFUNDED = "refunded"
    """Cancelled or expired, and its points given back."""


FOLLOWING: Mapping[State, frozenset[State]] = {
    State.PLACED: frozenset({State.UNPAID, State.PAID, State.ISSUED}),
    State.UNPAID: frozenset({State.PAID, State.ISSUED, State.EXPIRED, State.CANCELLED}),
    State.PAID: frozenset({State.REDEEMED, State.CANCELLED}),
    State.ISSUED: frozenset({State.REDEEMED, State.EXPIRED, State.CANCELLED}),
    State.REDEEMED: frozenset(),
    State.EXPIRED: frozenset({State.REFUNDED}),
    State.CANCELLED: frozenset({State.REFUNDED}),
    State.REFUNDED: frozenset(),
}
"""Which state an order may come to from another one."""


def settled(kind: Kind) -> State:
    """The state of an order for which nothing is waited for any more: goods are to be sent, others are there."""
    return State.PAID if kind is Kind.GOODS else State.ISSUED


# -- numbers --------------------------------------------------------------------------------------------------

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
NUMBER_LENGTH, SECRET_LENGTH = 12, 8  # 60 and 40 bits
_TEXT = re.compile(rf"([{ALPHABET}]{{{NUMBER_LENGTH}}})([{ALPHABET}]{{{SECRET_LENGTH}}})([0-9]{{2}})")
_READ_AS = str.maketrans({"O": "0", "I": "1", "L": "1", "-": None, " ": None})


def crockford(data: bytes, length: int) -> str:
    """The first ``5 * length`` bits of some bytes as text.

    >>> crockford(bytes.fromhex("ffc0000000000000"), 4)
    'ZZ00'
    """
    number = int.from_bytes(data) >> (8 * len(data) - 5 * length)
    return "".join(ALPHABET[number >> 5 * place & 31] for place in reversed(range(length)))


def voucher_text(number: str, secret: str) -> str:
    """What a voucher shows, of an order's number and its secret.

    >>> voucher_text("0123456789AB", "CDEFGHJK")
    '0123-4567-89AB-CDEF-GHJK-58'
    """
    body = number + secret
    text = f"{body}{98 - _number(body) * 100 % 97:02d}"
    return "-".join(text[start : start + 4] for start in range(0, len(text), 4))


def read_voucher(text: str) -> tuple[str, str]:
    """An order's number and the secret in what somebody showed or typed; ``voucher-malformed``.

    Small letters, blanks and hyphens do not matter, and O, I and L are read as the digits they look like.

    >>> read_voucher("o123 4567 89ab cdef ghjk 58")
    ('0123456789AB', 'CDEFGHJK')
    """
    found = _TEXT.fullmatch(text.strip().upper().translate(_READ_AS))
    if found is None or (_number(found[1] + found[2]) * 100 + int(found[3])) % 97 != 1:
        raise refuse(
            "voucher-malformed",
            "this is not the text of a voucher, or a character of it is wrong",
            where="voucher",
            remedy="scan the picture again, or type every character as it is shown",
        )
    return found[1], found[2]


def _number(text: str) -> int:
    number = 0
    for each in text:
        number = number * 32 + ALPHABET.index(each)
    return number
