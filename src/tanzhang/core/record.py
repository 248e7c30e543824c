"""Records (减排记录): the final result of one accepted report, and the bytes that the log commits to.

A record's leaf is ``SHA-256(0x00 || salt || layout)``: an RFC 6962 leaf hash over a salt and a fixed binary layout.
Without the salt nobody can test a guess; when a person is erased, content and salt go and the 32 bytes stay, so every
root still verifies. The layout never changes; another one takes another first byte.
"""

from __future__ import annotations

import hashlib
import re
import struct
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from tanzhang.core.action import EVIDENCE, INPUT_NAMES
from tanzhang.core.errors import refuse
from tanzhang.core.methodology import canonical_json

LAYOUT_VERSION = 1
SALT_BYTES = 16

# Position is the number in the layout and never changes meaning.
OUTCOMES: tuple[str, ...] = (
    "granted",  # credited in full
    "capped",  # credited in part or not at all: a cap of the person was reached
    "duplicate_of",  # another report of the same act was kept
    "overlap_of",  # the person was doing something else at that time
    "repeat",  # the same report again
    "conflict",  # the same reference with another content
    "late",  # reported after the programme's limit
    "withdrawn",  # taken back by its partner before it was settled
    "withdrawal",  # takes back an earlier act
)
OUTCOME_NUMBER: dict[str, int] = {name: number for number, name in enumerate(OUTCOMES)}
HOLDERS = ("granted", "capped")  # outcomes that hold their claim and their time against later reports

# Stands in a record file where a record was erased, in place of its outcome; in no leaf. Of the record are left the
# references (its own, and the one that it takes back) and the claim of an issuer, if it held one.
ERASED = "erased"
CLAIMING = (*HOLDERS, ERASED)  # what may hold a claim against later reports

KIND_NUMBER: dict[str, int] = {"reduction": 1, "emission": 2}
UNIT_OF_KIND: dict[str, str] = {"reduction": "co2e_mg", "emission": "footprint_mg"}
EVIDENCE_NUMBER: dict[str, int] = {name: number for number, name in enumerate(EVIDENCE)}

# version, kind, outcome, evidence, null mask, 7 identities, context and plan digests, times, day, inputs, amounts
OPTIONAL: tuple[str, ...] = (
    "group_id",
    "claim",
    "withdraws",
    "related",
    "plan",
    "started",
    *INPUT_NAMES,
    "quantified_mg",
)
_LAYOUT = struct.Struct(f">BBBBI{'16s' * 7}32s32sqqi{'q' * len(INPUT_NAMES)}qqq")
LAYOUT_BYTES = _LAYOUT.size
_DIGEST = re.compile("[0-9a-f]{64}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Record:
    """One record. Times in microseconds since 1970 UTC, ``day`` the local day of the act, amounts in mg.

    ``granted_mg`` was credited by this record, ``reversed_mg`` of an earlier one (``withdraws``) taken back; both are
    >= 0 and in the unit of ``kind``. ``related`` names the record it lost to.
    """

    action_id: uuid.UUID
    account: uuid.UUID
    child: uuid.UUID
    partner: str
    behaviour: str
    region: str
    variant: str | None
    evidence: str
    kind: str
    outcome: str
    plan: str | None
    started: int | None
    ended: int
    day: date
    inputs: Mapping[str, int]
    quantified_mg: int | None
    granted_mg: int
    reversed_mg: int
    group_id: uuid.UUID | None = None
    claim: uuid.UUID | None = None
    withdraws: uuid.UUID | None = None
    related: uuid.UUID | None = None

    def optional(self, name: str) -> Any:
        """A field of :data:`OPTIONAL` by its name, inputs included."""
        return self.inputs.get(name) if name in INPUT_NAMES else getattr(self, name)


def context_digest(partner: str, behaviour: str, region: str, variant: str | None) -> bytes:
    """32 bytes that stand for the texts of a record in its layout."""
    texts = {"behaviour": behaviour, "partner": partner, "region": region, "variant": variant}
    return hashlib.sha256(canonical_json(texts).encode()).digest()


# What a partner said in a report. Two reports of one reference with equal content are one report sent twice.
CONTENT: tuple[str, ...] = (
    "child",
    "started",
    "ended",
    *INPUT_NAMES,
    "group_id",
    "claim",
    "withdraws",
    "region",
    "evidence",
    "behaviour",
    "variant",
)


def content_digest(record: Record) -> str:
    """SHA-256 over the content of a report; orders reports of one reference that differ."""
    values = (record.inputs.get(name) if name in INPUT_NAMES else getattr(record, name) for name in CONTENT)
    text = "|".join("-" if value is None else str(value) for value in values)
    return hashlib.sha256(text.encode()).hexdigest()


def null_mask(missing: Mapping[str, bool]) -> int:
    """Bit i is set where the i-th optional field is absent, so that absent and zero differ."""
    return sum(1 << position for position, name in enumerate(OPTIONAL) if missing[name])


def encode(record: Record) -> bytes:
    """The fixed layout of a record, :data:`LAYOUT_BYTES` long, big-endian; absent fields are zero bytes."""

    def bits(value: uuid.UUID | None) -> bytes:
        return bytes(16) if value is None else value.bytes

    return _LAYOUT.pack(
        LAYOUT_VERSION,
        KIND_NUMBER[record.kind],
        OUTCOME_NUMBER[record.outcome],
        EVIDENCE_NUMBER[record.evidence],
        null_mask({name: record.optional(name) is None for name in OPTIONAL}),
        record.action_id.bytes,
        record.account.bytes,
        record.child.bytes,
        bits(record.group_id),
        bits(record.claim),
        bits(record.withdraws),
        bits(record.related),
        context_digest(record.partner, record.behaviour, record.region, record.variant),
        bytes(32) if record.plan is None else bytes.fromhex(record.plan),
        record.started or 0,
        record.ended,
        record.day.toordinal() - _EPOCH.date().toordinal(),
        *(record.inputs.get(name) or 0 for name in INPUT_NAMES),
        record.quantified_mg or 0,
        record.granted_mg,
        record.reversed_mg,
    )


def leaf(salt: bytes, layout: bytes) -> bytes:
    """The 32-byte leaf of a record in its batch's tree."""
    return hashlib.sha256(b"\x00" + salt + layout).digest()


def salt_seed(seal_key: bytes, account: uuid.UUID) -> bytes:
    """What the salts of one account in one batch come from; kept with the records, erased with the person."""
    return hashlib.sha256(seal_key + account.bytes).digest()[:SALT_BYTES]


def salt(seed: bytes, index: int) -> bytes:
    """The salt of the record at ``index`` of its batch. A receipt shows it and tells nothing of its neighbours."""
    return hashlib.sha256(seed + index.to_bytes(8, "big")).digest()[:SALT_BYTES]


def next_seal_key(seal_key: bytes) -> bytes:
    """The following batch's key. The earlier one is overwritten, so erased salts cannot be made again."""
    return hashlib.sha256(b"tanzhang next seal key" + seal_key).digest()


_UUIDS = ("action_id", "account", "child", "group_id", "claim", "withdraws", "related")
_TIMES = ("started", "ended")
_TEXTS = ("partner", "behaviour", "region", "evidence", "kind", "outcome")
_AMOUNTS = ("quantified_mg", "granted_mg", "reversed_mg")


def to_json(record: Record) -> dict[str, Any]:
    """A record as JSON members; amounts and inputs as text, times as RFC 3339 in UTC."""
    result: dict[str, Any] = {}
    for name in Record.__slots__:
        value = getattr(record, name)
        if name in _UUIDS:
            value = None if value is None else str(value)
        elif name in _TIMES:
            value = None if value is None else time_text(value)
        elif name in _AMOUNTS:
            value = None if value is None else str(value)
        elif name == "day":
            value = value.isoformat()
        elif name == "inputs":
            value = {key: str(number) for key, number in value.items() if number is not None}
        result[name] = value
    return result


def from_json(data: Mapping[str, Any]) -> Record:
    """The record of :func:`to_json`; ``record-malformed`` unless the members are exactly what that function writes."""
    try:
        if set(data) != set(Record.__slots__):
            raise ValueError(f"members {sorted(set(data) ^ set(Record.__slots__))}")
        fields: dict[str, Any] = dict(data)
        for name in _UUIDS:
            fields[name] = None if data[name] is None else uuid.UUID(data[name])
        for name in _TIMES:
            fields[name] = None if data[name] is None else time_micros(data[name])
        for name in _AMOUNTS:
            fields[name] = None if data[name] is None else int(data[name])
        fields["day"] = date.fromisoformat(data["day"])
        if not all(isinstance(data[name], str) for name in _TEXTS) or not isinstance(data["variant"], str | None):
            raise ValueError("a text is none")
        fields["inputs"] = {key: int(value) for key, value in data["inputs"].items()}
        record = Record(**fields)
        if not record.inputs.keys() <= set(INPUT_NAMES):
            raise ValueError(f"inputs {sorted(record.inputs)}")
        if record.plan is not None and not _DIGEST.fullmatch(record.plan):
            raise ValueError(f"plan {record.plan!r}")
        encode(record)
        if to_json(record) != data:
            raise ValueError("a value is not written as records are")
        return record
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, struct.error) as error:
        raise refuse(
            "record-malformed", f"the record cannot be read: {error}", where="record", remedy="ask for a new receipt"
        ) from None


def time_text(micros: int) -> str:
    """Microseconds since 1970 as RFC 3339 in UTC.

    >>> time_text(0), time_micros("1970-01-01T00:00:00.000000Z")
    ('1970-01-01T00:00:00.000000Z', 0)
    """
    return (_EPOCH + timedelta(microseconds=micros)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def time_micros(text: str) -> int:
    """Microseconds since 1970 of a time with offset."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without offset")
    return (moment - _EPOCH) // timedelta(microseconds=1)
