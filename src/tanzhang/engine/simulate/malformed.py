"""Reports that cannot be taken: what is spoilt in them, and the codes that a partner has to get back."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from tanzhang.engine.simulate.acts import NEVER, US, Rows, Season
from tanzhang.engine.simulate.draws import U64, Flags, bits
from tanzhang.engine.simulate.tables import BAD_REGION, UNKNOWN_BEHAVIOUR, UNKNOWN_EVIDENCE

GARBLED_TIME, GARBLED_QUANTITY = 1, 2
# What a text format writes there instead.
GARBLED_TEXT = {GARBLED_TIME: "2022/08/10 12:30", GARBLED_QUANTITY: "twelve"}
_FAR_FUTURE_US = 300 * 366 * 86_400 * US  # so far that it is the future whenever this is read
_FAR_OUT_OF_RANGE = 4_000_000_000

_NOT_AGREED = "behaviour-not-agreed+"

Spoiler = Callable[[Season, Rows], Rows]


def malformed(season: Season, rows: Rows, draw: U64) -> Iterator[tuple[Rows, str]]:
    """Spoil each row in one way that its behaviour allows; rows of one way with the codes of their refusal.

    Unknown behaviours come twice: a partner with an agreement lacks it for them too, so there are two codes.
    """
    tables = season.tables
    spoilers = dict(_TYPED) | (_TEXT if season.size.text else {})
    way = ((bits(draw, 0, 16) * len(spoilers)) >> 16).astype(np.int64)
    trip = tables.trips[rows.behaviour]
    for number, (code, spoil) in enumerate(spoilers.items()):
        chosen: Flags = way == number
        if code == "out-of-range":
            chosen &= ~trip
        elif code == "started-after-end":
            chosen &= trip
        elif code == "claim-incomplete":
            chosen &= rows.claim > 0
        found = rows.take(chosen)
        if code != "unknown-behaviour":
            yield spoil(season, found), code.partition("/")[0]
            continue
        bound = [season.setting.agreements[partner] is not None for partner in tables.partners]
        agreed = np.array(bound)[found.partner]
        yield spoil(season, found.take(~agreed)), code
        yield spoil(season, found.take(agreed)), _NOT_AGREED + code


def codes_of_malformed() -> tuple[str, ...]:
    """Every verdict that :func:`malformed` may ask for."""
    codes = [way.partition("/")[0] for way in (*_TYPED, *_TEXT)]
    return (*codes, _NOT_AGREED + "unknown-behaviour")


def _no_subject(_season: Season, rows: Rows) -> Rows:
    return rows.changed(nameless=np.ones(len(rows), np.bool_))


def _no_time(_season: Season, rows: Rows) -> Rows:
    return rows.changed(ended=np.full(len(rows), NEVER, np.int64))


def _unknown_behaviour(season: Season, rows: Rows) -> Rows:
    code = season.tables.behaviour_code(UNKNOWN_BEHAVIOUR)
    return rows.changed(behaviour=np.full(len(rows), code, np.uint8), quantity=np.full(len(rows), NEVER, np.int64))


def _bad_region(season: Season, rows: Rows) -> Rows:
    return rows.changed(region=np.full(len(rows), season.tables.regions.index(BAD_REGION), np.uint8))


def _unknown_evidence(season: Season, rows: Rows) -> Rows:
    return rows.changed(evidence=np.full(len(rows), season.tables.evidence_code(UNKNOWN_EVIDENCE), np.uint8))


def _future(_season: Season, rows: Rows) -> Rows:
    started = np.where(rows.started == NEVER, NEVER, rows.started + _FAR_FUTURE_US)
    return rows.changed(started=started, ended=rows.ended + _FAR_FUTURE_US)


def _out_of_range(_season: Season, rows: Rows) -> Rows:
    return rows.changed(quantity=np.full(len(rows), _FAR_OUT_OF_RANGE, np.int64))


def _started_after_end(_season: Season, rows: Rows) -> Rows:
    return rows.changed(started=rows.ended + 60 * US)


def _claim_incomplete(_season: Season, rows: Rows) -> Rows:
    return rows.changed(issuer=np.zeros(len(rows), np.uint8))


def _withdraws_itself(_season: Season, rows: Rows) -> Rows:
    return rows.changed(withdraws=rows.number)


def _garbled_time(_season: Season, rows: Rows) -> Rows:
    return rows.changed(garbled=np.full(len(rows), GARBLED_TIME, np.uint8))


def _garbled_quantity(_season: Season, rows: Rows) -> Rows:
    """There has to be a quantity to be spoilt; of an act without one it is the number of acts."""
    quantity = np.where(rows.quantity == NEVER, 1, rows.quantity)
    return rows.changed(quantity=quantity, garbled=np.full(len(rows), GARBLED_QUANTITY, np.uint8))


# Code -> how to earn it; what follows a slash tells ways of one code apart.
_TYPED: dict[str, Spoiler] = {
    "missing-field/subject": _no_subject,
    "missing-field/time": _no_time,
    "unknown-behaviour": _unknown_behaviour,
    "region-malformed": _bad_region,
    "unknown-evidence": _unknown_evidence,
    "time-in-future": _future,
    "out-of-range": _out_of_range,
    "started-after-end": _started_after_end,
    "claim-incomplete": _claim_incomplete,
    "withdraws-itself": _withdraws_itself,
}
_TEXT: dict[str, Spoiler] = {"bad-time": _garbled_time, "not-a-whole-number": _garbled_quantity}
