"""Which acts may stand against each other: acts can only meet if they share a key, and most share none.

Keys are 64-bit numbers made of a reference, a claim, an account and day of a trip, or an account and period of a cap.
Equal things have equal keys; that different things have one is rare and costs only a closer look. So millions of acts
are sifted by sorting numbers, and only those that share a key come before the rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tanzhang.engine.columns import IDENTITY_BYTES, Numbers, fixed_bytes, given, integers, one_array, run_starts
from tanzhang.engine.prepare import Flags, Plans

KeyColumn = npt.NDArray[np.uint64]

_DAY_US = 86_400_000_000
# What makes keys of one kind differ from those of another, and spreads account and time over the leading bits.
_REFERENCE, _TAKEN, _CLAIM, _TRIP, _DAY, _MONTH = (
    np.uint64(each)
    for each in (
        0x27BB2EE687B0B0FD,
        0xB504F32D4F1BBCDC,
        0xA5A3564E27F8865B,
        0x3C79AC492BA7B653,
        0x1C69B3F74AC4AE35,
        0x60642E2A34326F15,
    )
)
_SPREAD, _MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)
_FLAG_BITS = 22


class Keys(NamedTuple):
    """Keys, the row that each is of, and the column whose value they stand for; a row may have several."""

    key: KeyColumn
    row: Numbers
    column: str


def reference_keys(rows: pa.Table) -> Keys:
    """By the reference of the report."""
    return _of_identities(rows, "action_id", _REFERENCE)


def taken_back_keys(rows: pa.Table) -> Keys:
    """By the reference of the act that a report takes back."""
    return _of_identities(rows, "withdraws", _TAKEN)


def takers_keys(rows: pa.Table) -> Keys:
    """What :func:`taken_back_keys` would be of acts that take these back."""
    return _of_identities(rows, "action_id", _TAKEN)


def claim_keys(rows: pa.Table) -> Keys:
    """By the claim."""
    return _of_identities(rows, "claim", _CLAIM)


def trip_keys(rows: pa.Table, plans: Plans) -> Keys:
    """By account and each day (UTC) that an act of a plan with the overlap rule touches."""
    if "started" not in rows.column_names:
        return _nothing("account")
    chosen = np.flatnonzero(plans.overlap[plans.number] & given(rows, "started"))
    first = integers(one_array(rows["started"]), pa.int64())[chosen] // _DAY_US
    last = np.maximum((integers(one_array(rows["ended"]), pa.int64())[chosen] - 1) // _DAY_US, first)
    count = last - first + 1
    place = np.repeat(np.arange(len(chosen)), count)
    day = first[place] + np.arange(len(place)) - np.repeat(np.cumsum(count) - count, count)
    row = chosen[place]
    return Keys(_of_account(rows, row, day, _TRIP), row, "account")


def cap_keys(rows: pa.Table, plans: Plans) -> Iterator[Keys]:
    """By account and local day, or month, for acts of plans with a cap of that period."""
    for period, salt in (("day", _DAY), ("month", _MONTH)):
        row = np.flatnonzero(plans.capped[period][plans.number])
        day = integers(one_array(rows["day"]), pa.int32())[row]
        if period == "month":
            day = day.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
        yield Keys(_of_account(rows, row, day.astype(np.int64), salt), row, "account")


def of_reports(rows: pa.Table, plans: Plans) -> Iterator[Keys]:
    """Every key by which reports can meet records, as :func:`tanzhang.engine.prepare.prepare` leaves them."""
    yield reference_keys(rows)
    yield taken_back_keys(rows)
    yield takers_keys(rows)
    yield _of_identities(rows, "withdraws", _REFERENCE)
    yield claim_keys(rows)
    yield trip_keys(rows, plans)
    yield from cap_keys(rows, plans)


def of_records(rows: pa.Table, plans: Plans, *, refers: Flags, holds: Flags) -> Iterator[Keys]:
    """Every key by which settled records can stand against a report.

    ``refers``: the record is not itself a second report of its reference; ``holds``: it holds its claim and its time.
    """
    for keys in (reference_keys(rows), taken_back_keys(rows)):
        yield Keys(keys.key[refers[keys.row]], keys.row[refers[keys.row]], keys.column)
    for keys in (claim_keys(rows), trip_keys(rows, plans), *cap_keys(rows, plans)):
        yield Keys(keys.key[holds[keys.row]], keys.row[holds[keys.row]], keys.column)


def distinct(keys: KeyColumn) -> KeyColumn:
    """Each key once, sorted; sorting numbers is many times faster than hashing them."""
    return once(np.sort(keys))


def once(ordered: KeyColumn) -> KeyColumn:
    """Each of some sorted keys once."""
    return ordered[run_starts(ordered)]


def all_of(found: Iterable[Keys]) -> KeyColumn:
    """The keys of several kinds, each once, sorted."""
    return distinct(np.concatenate([keys.key for keys in found]))


def twice(keys: KeyColumn) -> Flags:
    """Which keys are there more than once."""
    ordered = np.sort(keys)
    return among(keys, distinct(ordered[1:][ordered[1:] == ordered[:-1]]))


def among(keys: KeyColumn, few: KeyColumn) -> Flags:
    """Which keys are among a few, given sorted."""
    found = np.zeros(len(keys), dtype=bool)
    if len(few):
        # Most keys are told by one look at a table that stays near the core.
        table = np.zeros(1 << _FLAG_BITS, dtype=bool)
        shift = np.uint64(64 - _FLAG_BITS)
        table[few >> shift] = True
        maybe = np.flatnonzero(table[keys >> shift])
        place = np.minimum(np.searchsorted(few, keys[maybe]), len(few) - 1)
        found[maybe] = few[place] == keys[maybe]
    return found


def _nothing(column: str) -> Keys:
    return Keys(np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64), column)


def _halves(rows: pa.Table, name: str) -> KeyColumn:
    """The first eight bytes of each identity, which are as even as any."""
    whole: KeyColumn = np.ascontiguousarray(fixed_bytes(rows[name], IDENTITY_BYTES)).view(">u8")[:, 0].astype(np.uint64)
    return whole


def _of_identities(rows: pa.Table, name: str, salt: np.uint64) -> Keys:
    if name not in rows.column_names:
        return _nothing(name)
    keys = _halves(rows, name) ^ salt
    if not rows[name].null_count:
        return Keys(keys, np.arange(len(keys)), name)
    row = np.flatnonzero(given(rows, name))
    return Keys(keys[row], row, name)


def _of_account(rows: pa.Table, row: Numbers, period: Numbers, salt: np.uint64) -> KeyColumn:
    account = fixed_bytes(rows["account"], IDENTITY_BYTES)[row]
    half: KeyColumn = np.ascontiguousarray(account).view(">u8").reshape(-1, 2)[:, 0].astype(np.uint64)
    mixed: KeyColumn = ((half ^ salt) + period.astype(np.uint64) * _SPREAD) * _MIX
    return mixed
