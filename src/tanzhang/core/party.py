"""Parties (市场主体): who may hold and trade units besides the programme; states, and the number of a legal person.

A party is an organisation, never a person with a carbon account. It applies, is looked at (know your customer,
尽职调查), and is approved or refused; an approved one can be suspended and let in again. A closed one is over.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

from tanzhang.core.errors import refuse


class PartyState(StrEnum):
    """Where a party stands. Only an approved one offers, buys, bids, pledges or is delivered to."""

    APPLIED = "applied"
    APPROVED = "approved"
    REFUSED = "refused"
    SUSPENDED = "suspended"
    CLOSED = "closed"


FOLLOWING: Mapping[PartyState, frozenset[PartyState]] = {
    PartyState.APPLIED: frozenset({PartyState.APPROVED, PartyState.REFUSED}),
    PartyState.APPROVED: frozenset({PartyState.SUSPENDED, PartyState.CLOSED}),
    PartyState.REFUSED: frozenset({PartyState.CLOSED}),
    PartyState.SUSPENDED: frozenset({PartyState.APPROVED, PartyState.CLOSED}),
    PartyState.CLOSED: frozenset(),
}
"""Which state a party may come to from another one."""

_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"  # without I, O, S, V and Z, which look like digits
_CODE = re.compile(f"[{_ALPHABET}]{{18}}")


def credit_code(text: str) -> str:
    """A unified social credit code (统一社会信用代码, GB 32100-2015), its check character verified.

    The last of 18 characters makes the sum of all, each read as its place in the alphabet and weighted by powers of 3
    modulo 31, come out to a multiple of 31. Raises ``credit-code-wrong``.

    >>> credit_code(" 91350100m000100y43")
    '91350100M000100Y43'
    """
    code = text.strip().upper()
    if _CODE.fullmatch(code) is not None:
        weighted = sum(_ALPHABET.index(each) * pow(3, place, 31) for place, each in enumerate(code[:17]))
        if (weighted + _ALPHABET.index(code[17])) % 31 == 0:
            return code
    raise refuse(
        "credit-code-wrong",
        f"{text[:40]!r} is no unified social credit code, or a character of it is wrong",
        where="credit_code",
        remedy="copy the 18 characters from the business licence; leave it out for an organisation that has none",
    )
