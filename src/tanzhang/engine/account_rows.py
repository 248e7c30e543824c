"""Records as rows of fixed width: what one account's records are read from without reading anybody else's columns.

A row holds every column of a record but its account, and its place: the batch in the upper bits, the number in the
batch in the lower :data:`PLACE_BITS`. Texts are one number into a list of :data:`Texts`, for there are few of them; an
identity that is missing is zero bytes, a number that is missing :data:`NO_NUMBER`.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tanzhang.core.action import INPUT_NAMES
from tanzhang.core.record import ERASED, Record, time_text
from tanzhang.engine.columns import (
    IDENTITY_BYTES,
    Bytes,
    Numbers,
    day_of,
    fixed_bytes,
    integers,
    one_array,
    said,
    text_codes,
)

PLACE_BITS = 40
NO_NUMBER = -(2**63)
_IDENTITIES = ("action_id", "child", "group_id", "claim", "withdraws", "related")
_NUMBERS = ("started", "ended", "quantified_mg", "granted_mg", "reversed_mg", *INPUT_NAMES)
_TEXTS = ("partner", "behaviour", "region", "variant", "evidence", "kind", "outcome", "plan")
COLUMNS: tuple[str, ...] = ("account", *_IDENTITIES, *_NUMBERS, "day", *_TEXTS)
"""What of a record file is read to make rows."""
KIND, OUTCOME, BEHAVIOUR = _TEXTS.index("kind"), _TEXTS.index("outcome"), _TEXTS.index("behaviour")

_FIELDS = [
    ("place", "<i8"),
    *((name, f"V{IDENTITY_BYTES}") for name in _IDENTITIES),
    *((name, "<i8") for name in _NUMBERS),
    ("day", "<i4"),
    ("texts", "<u4"),
]
ROW = np.dtype(_FIELDS)
REPORT_ROW = np.dtype([*_FIELDS, ("close_day", "<i4")])
"""An open report in the same columns, without outcome and amounts, and the day on which its window closes."""
Rows = npt.NDArray[np.void]
Texts = tuple[str | None, ...]
"""Partner, behaviour, region, variant, evidence, kind, outcome and plan of a record."""

_NOBODY = bytes(IDENTITY_BYTES)


class Words:
    """The texts that rows name by number; several threads may add to it."""

    def __init__(self, known: Sequence[Texts] = ()) -> None:
        self._adding = threading.Lock()
        self.known: list[Texts] = list(known)
        self._number = {texts: number for number, texts in enumerate(self.known)}

    def number(self, texts: Texts) -> int:
        """The number of some texts, a new one if they were not known."""
        found = self._number.get(texts)
        if found is None:
            with self._adding:
                found = self._number.get(texts)
                if found is None:
                    self.known.append(texts)
                    found = self._number[texts] = len(self.known) - 1
        return found

    def numbers(self, records: pa.Table) -> npt.NDArray[np.uint32]:
        """The number of each record's texts."""
        together, width, columns = np.zeros(records.num_rows, dtype=np.int64), 1, []
        nothing = np.zeros(records.num_rows, dtype=np.int64), [None]
        for name in _TEXTS:
            codes, texts = text_codes(records[name]) if name in records.column_names else nothing
            columns.append((width, texts))
            together += codes * width
            width *= max(len(texts), 1)
        different, place = np.unique(together, return_inverse=True)
        meant = [
            self.number(tuple(texts[code // width % len(texts)] for width, texts in columns))
            for code in different.tolist()
        ]
        return np.array(meant, dtype=np.uint32)[place]

    def numbers_of(self, other: Words) -> npt.NDArray[np.uint32]:
        """What is number n there is number ``[n]`` here."""
        return np.array([self.number(texts) for texts in other.known], dtype=np.uint32)


def rows_of(records: pa.Table, first: int, words: Words) -> tuple[Bytes, Rows]:
    """Accounts, (n, 16) bytes, and rows of the records that are not erased, in their order.

    ``records`` has :data:`COLUMNS`, ``first`` is the place of the first one.
    """
    kept = np.flatnonzero(~said(records["outcome"], (ERASED,)))
    if len(kept) < records.num_rows:
        records = records.take(pa.array(kept))
    rows = np.zeros(len(kept), dtype=ROW)
    rows["place"] = first + kept
    _fill(rows, records, words)
    return fixed_bytes(records["account"], IDENTITY_BYTES), rows


def report_rows(reports: pa.Table, first: int, words: Words) -> tuple[Bytes, Rows]:
    """Platform accounts and rows of open reports, as :func:`rows_of`; columns without a value may be missing."""
    rows = np.zeros(reports.num_rows, dtype=REPORT_ROW)
    rows["place"] = first + np.arange(len(rows))
    _fill(rows, reports, words)
    rows["close_day"] = integers(one_array(reports["close_day"]), pa.int32())
    return fixed_bytes(reports["child"], IDENTITY_BYTES), rows


def _fill(rows: Rows, table: pa.Table, words: Words) -> None:
    for name in _IDENTITIES:
        if name in table.column_names:
            values = np.ascontiguousarray(fixed_bytes(table[name], IDENTITY_BYTES))
            rows[name] = values.view(f"V{IDENTITY_BYTES}").ravel()
    for name in _NUMBERS:
        if name not in table.column_names:
            rows[name] = NO_NUMBER
            continue
        column = one_array(table[name])
        rows[name] = integers(column, pa.int64())
        if column.null_count:
            rows[name][np.asarray(column.is_null())] = NO_NUMBER
    rows["day"] = integers(one_array(table["day"]), pa.int32())
    rows["texts"] = words.numbers(table)


def records_of(rows: Rows, account: uuid.UUID, words: Sequence[Texts]) -> list[Record]:
    """The records of some rows of an account, in their order."""
    return [record_of(values, account, words) for values in rows.tolist()]


def record_of(values: tuple[Any, ...], account: uuid.UUID, words: Sequence[Texts]) -> Record:
    """The record of the values of one row of an account; amounts that are missing are 0."""
    at = 1 + len(_IDENTITIES)
    action, child, *others = values[1:at]
    group, claim, withdraws, related = (None if each == _NOBODY else uuid.UUID(bytes=each) for each in others)
    started, ended, quantified, granted, taken_back, *inputs = values[at:-2]
    partner, behaviour, region, variant, evidence, kind, outcome, plan = words[values[-1]]
    return Record(
        action_id=uuid.UUID(bytes=action),
        account=account,
        child=uuid.UUID(bytes=child),
        partner=partner or "",
        behaviour=behaviour or "",
        region=region or "",
        variant=variant,
        evidence=evidence or "",
        kind=kind or "",
        outcome=outcome or "",
        plan=plan,
        started=None if started == NO_NUMBER else started,
        ended=ended,
        day=day_of(values[-2]),
        inputs={name: value for name, value in zip(INPUT_NAMES, inputs, strict=True) if value != NO_NUMBER},
        quantified_mg=None if quantified == NO_NUMBER else quantified,
        granted_mg=max(granted, 0),
        reversed_mg=max(taken_back, 0),
        group_id=group,
        claim=claim,
        withdraws=withdraws,
        related=related,
    )


def json_of(rows: Rows, account: uuid.UUID, words: Sequence[Texts]) -> list[dict[str, Any]]:
    """:func:`tanzhang.core.record.to_json` of the records of some rows, in a third of the time."""
    return [_json(values, str(account), words) for values in rows.tolist()]


def _json(values: tuple[Any, ...], account: str, words: Sequence[Texts]) -> dict[str, Any]:
    at = 1 + len(_IDENTITIES)
    action, child, group, claim, withdraws, related = (
        None if each == _NOBODY else _identity_text(each) for each in values[1:at]
    )
    started, ended, quantified, granted, taken_back, *inputs = values[at:-2]
    partner, behaviour, region, variant, evidence, kind, outcome, plan = words[values[-1]]
    return {
        "action_id": action,
        "account": account,
        "child": child,
        "partner": partner,
        "behaviour": behaviour,
        "region": region,
        "variant": variant,
        "evidence": evidence,
        "kind": kind,
        "outcome": outcome,
        "plan": plan,
        "started": None if started == NO_NUMBER else time_text(started),
        "ended": time_text(ended),
        "day": day_of(values[-2]).isoformat(),
        "inputs": {name: str(value) for name, value in zip(INPUT_NAMES, inputs, strict=True) if value != NO_NUMBER},
        "quantified_mg": None if quantified == NO_NUMBER else str(quantified),
        "granted_mg": str(granted),
        "reversed_mg": str(taken_back),
        "group_id": group,
        "claim": claim,
        "withdraws": withdraws,
        "related": related,
    }


def _identity_text(value: bytes) -> str:
    text = value.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def halves(accounts: Bytes) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """The first and the last eight bytes of identities as numbers, in the order of the bytes."""
    numbers = np.ascontiguousarray(accounts).view(">u8").reshape(-1, 2)
    return numbers[:, 0].astype(np.uint64), numbers[:, 1].astype(np.uint64)


def place_of(batch: int, number: int) -> int:
    """Where a record is."""
    return (batch << PLACE_BITS) + number


def batch_of(place: Numbers) -> Numbers:
    """In which batch records are."""
    return place >> PLACE_BITS
