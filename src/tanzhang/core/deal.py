"""Deals (交易) and the money for them: their states, which follows which, and what a sponsor adds to a price (助力).

A deal is agreed, and its units are reserved; it is delivered in the transaction that books its price, or it lapses or
is cancelled and its units are free again. A payment is never changed or lost: of its amount so much was **used** for
what was bought, so much was **sent back**, and the rest is there, whosesoever it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class DealState(StrEnum):
    """Where a deal stands; the last three are terminal."""

    AGREED = "agreed"
    DELIVERED = "delivered"
    LAPSED = "lapsed"
    """Not paid in time."""
    CANCELLED = "cancelled"


FOLLOWING: Mapping[DealState, frozenset[DealState]] = {
    DealState.AGREED: frozenset({DealState.DELIVERED, DealState.LAPSED, DealState.CANCELLED}),
    DealState.DELIVERED: frozenset(),
    DealState.LAPSED: frozenset(),
    DealState.CANCELLED: frozenset(),
}
"""Which state a deal may come to from another one."""


class PaymentState(StrEnum):
    """What is to be done about money that came in."""

    UNCLEAR = "unclear"
    """Nobody's yet: the operator says what it is for, or sends it back."""
    WAITING = "waiting"
    """A part of a price: the rest is waited for."""
    SURPLUS = "surplus"
    """The payer's, and not needed: it is used for another deal, or sent back."""
    SETTLED = "settled"
    """All of it was used or sent back."""


class Reason(StrEnum):
    """Why a payment did not simply settle a deal when it came."""

    EXACT = "exact"
    LESS = "less"
    MORE = "more"
    TWICE = "twice"
    LATE = "late"
    UNKNOWN_REFERENCE = "unknown-reference"
    SEVERAL_REFERENCES = "several-references"
    OTHER_PAYER = "other-payer"
    DEAL_OVER = "deal-over"
    """For a deal that lapsed or was cancelled, or that was while this waited."""
    NOT_DELIVERABLE = "not-deliverable"
    """The price is there, and the units could not be handed over, for the reason that the deal's note says."""


class ReturnState(StrEnum):
    """Money on its way back: asked, in a file for the bank, sent or given up by the bank."""

    ASKED = "asked"
    IN_FILE = "in_file"
    SENT = "sent"
    FAILED = "failed"


TONNE_MG = 10**9
"""One tonne, in milligrams."""


def pledged_fen(units: int, unit_mass_mg: int, *, fen: int, per_tonne: bool, left_fen: int) -> int:
    """What a sponsor adds to a sale: by unit, or by tonne, cut to whole fen once, and no more than is left.

    >>> pledged_fen(15, 1_000_000, fen=1_999, per_tonne=True, left_fen=10**6)
    29
    """
    wanted = units * unit_mass_mg * fen // TONNE_MG if per_tonne else units * fen
    return min(wanted, left_fen)
