"""Reading events: CloudEvents 1.0 in JSON become raw rows, one by one or in columns.

A usual event is read by a decoder of exactly its shape. Whatever else comes (other members, numbers as texts, anything
that is not right) is read by a second reader, which takes its time and decides what a text means:

- JSON is that of RFC 8259: no trailing comma, no NaN, UTF-8, no half of a surrogate pair. A member that stands twice in
  one object is refused (RFC 7493, section 2.3), since readers differ on which of the two counts.
- A member that we read holds one value. A number, true or false is taken as the text it was written as, so 5.0 is not
  the whole number 5. An object or a list in its place is refused, and so is ``data`` or ``claim`` that is no object.
- Members of ``data`` and of its ``claim`` that are not known are named; other attributes of the event are passed over.

A refusal is an objection in the row (:data:`~tanzhang.engine.screen.OBJECTION_COLUMNS`), so the event gets a verdict.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal

import msgspec
import pyarrow as pa

from tanzhang.core.action import INPUT_NAMES, STRAIGHT
from tanzhang.engine.columns import transposed
from tanzhang.engine.few import RawRow
from tanzhang.engine.screen import RAW_COLUMNS, TEXT_COLUMNS

LONGEST_EVENT = 2_000_000
"""Bytes of one event."""

DEEPEST = 100
"""How many objects and lists may stand in each other in one event."""

_SHOWN, _SHOWN_MEMBERS = 60, 10  # characters of a name that a message repeats, and how many names

_Text = str | None
_Input = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | str | None


class _Claim(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    issuer: _Text = None
    identifier: _Text = None


_DATA_TEXTS = ("started_at", "region", "variant", "evidence", "group", "withdraws", "device", "image_hash")
_NUMBERS = (STRAIGHT, *INPUT_NAMES)
_Data = msgspec.defstruct(
    "_Data",
    [
        ("claim", _Claim | None, None),
        *((name, _Text, None) for name in _DATA_TEXTS),
        *((name, _Input, None) for name in _NUMBERS),
    ],
    forbid_unknown_fields=True,
    gc=False,
)


class _Event(msgspec.Struct, gc=False):
    specversion: Literal["1.0"]
    id: _Text = None
    source: _Text = None
    type: _Text = None
    subject: _Text = None
    time: _Text = None
    datacontenttype: _Text = None
    data: _Data | None = None  # type: ignore[valid-type]


_ENVELOPE = ("id", "source", "type", "subject", "time")
_CLAIM = ("issuer", "identifier")
_MEMBERS = tuple(sorted((*_DATA_TEXTS, "claim", *_NUMBERS)))
_NO_CLAIM = (None, None)
_NO_DATA = (None,) * (1 + len(_DATA_TEXTS) + len(_NUMBERS))
_NO_OBJECTION = (None, None, None)
_NOTHING = (None,) * (len(TEXT_COLUMNS) + len(INPUT_NAMES))
_decode = msgspec.json.Decoder(_Event).decode
_decode_batch = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_one = msgspec.json.Decoder(msgspec.Raw).decode
_astuple = msgspec.structs.astuple


def split_batch(data: bytes) -> list[bytes] | None:
    """The events of a JSON batch, or the one event, each as it was written; None if it is neither."""
    try:
        if data.lstrip(b" \t\r\n")[:1] == b"[":
            return [bytes(event) for event in _decode_batch(data)]
        _decode_one(data)
    except (msgspec.MsgspecError, RecursionError):
        return None
    return [data] if data.lstrip(b" \t\r\n")[:1] == b"{" else None


def read_events(events: Iterable[bytes], numbers: Iterable[int]) -> Iterator[RawRow]:
    """Events as raw rows; ``numbers`` are their rows."""
    for event, number in zip(events, numbers, strict=True):
        yield (number, *(_read_quickly(event) or read_carefully(event)))


def raw_table(rows: Iterable[RawRow]) -> pa.Table:
    """Raw rows as columns; a number is a column of whole numbers if it holds nothing else, and of texts otherwise."""
    columns = zip(RAW_COLUMNS, transposed(rows, len(RAW_COLUMNS)), strict=True)
    return pa.table([_column(name, values) for name, values in columns], RAW_COLUMNS)


def _column(name: str, values: Sequence[Any]) -> pa.Array:
    if name not in ("row", *_NUMBERS):
        return pa.array(values, pa.string())
    try:
        return pa.array(values, pa.int64())
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())


def _read_quickly(event: bytes) -> RawRow | None:
    """A raw row without its number, of an event that holds what a usual one does, each member once; else None."""
    if len(event) > LONGEST_EVENT:
        return None
    try:
        found = _decode(event)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    data = found.data
    values: tuple[Any, ...] = _NO_DATA if data is None else _astuple(data)
    claim, started_at, region, variant, evidence, group, withdraws, device, image_hash, *inputs = values
    issuer, identifier = _NO_CLAIM if claim is None else (claim.issuer, claim.identifier)
    texts = (
        found.id,
        found.source,
        found.type,
        found.subject,
        found.time,
        started_at,
        region,
        variant,
        issuer,
        identifier,
        evidence,
        group,
        withdraws,
        device,
        image_hash,
    )
    # Each name and each text stands in quotes. More of them than what was read accounts for: there is something else,
    # be it a member that is not known or one that stands twice.
    quotes = 4 + 4 * (len(texts) - texts.count(None)) + 2 * (len(inputs) - inputs.count(None))
    quotes += 2 * ((data is not None) + (claim is not None) + 2 * (found.datacontenttype is not None))
    more = event.count(b'"') - quotes
    if more and more != 2 * sum(type(value) is str for value in inputs):
        return None
    return (*texts, *inputs, *_NO_OBJECTION)


class _TwiceError(ValueError):
    """A member stands twice in an object."""


def read_carefully(event: bytes) -> RawRow:
    """A raw row without its number, of whatever came."""
    if len(event) > LONGEST_EVENT:
        return _malformed("the line is longer than 2 MB")
    try:
        text = event.decode()
    except UnicodeDecodeError:
        return _malformed("bytes that are not UTF-8")
    if _is_deep(event):
        return _malformed(f"objects and lists stand in each other more than {DEEPEST} deep")
    try:
        found = json.loads(
            text, object_pairs_hook=_members, parse_int=str, parse_float=str, parse_constant=_not_a_number
        )
        if "\\u" in text:
            json.dumps(found, ensure_ascii=False).encode()
    except _TwiceError as error:
        return _malformed(f"member {error} stands twice in one object")
    except UnicodeEncodeError:
        return _malformed("a \\u escape that is half a character")
    except ValueError:
        return _malformed("the line is not a JSON object")
    if not isinstance(found, dict):
        return _malformed("the line is not a JSON object")
    return _row(found)


def _row(event: dict[str, Any]) -> RawRow:
    """A raw row of an event's members, and what is wrong with these."""
    wrong: list[str] = []

    def inner(of: dict[str, Any], name: str, path: str) -> dict[str, Any]:
        value = of.get(name)
        if value is not None and not isinstance(value, dict):
            wrong.append(path)
        return value if isinstance(value, dict) else {}

    def single(of: dict[str, Any], name: str, path: str) -> str | None:
        value = of.get(name)
        if isinstance(value, bool):
            return "true" if value else "false"
        if value is None or isinstance(value, str):
            return value
        wrong.append(path)
        return None

    data = inner(event, "data", "data")
    claim = inner(data, "claim", "data.claim")
    envelope = [single(event, name, name) for name in _ENVELOPE]
    started_at, region, variant, *rest = [single(data, name, f"data.{name}") for name in _DATA_TEXTS]
    claimed = [single(claim, name, f"data.claim.{name}") for name in _CLAIM]
    inputs = [single(data, name, f"data.{name}") for name in _NUMBERS]
    version = single(event, "specversion", "specversion")
    objection = _shape(wrong) or _version(version) or _strangers(data, claim) or _NO_OBJECTION
    return (*envelope, started_at, region, variant, *claimed, *rest, *inputs, *objection)


def _shape(wrong: Sequence[str]) -> RawRow | None:
    if not wrong:
        return None
    wanted = "an object" if wrong[0] in ("data", "data.claim") else "one value"
    return "malformed-row", wrong[0], f"{wrong[0]} must be {wanted}"


def _version(version: str | None) -> RawRow | None:
    if version == "1.0":
        return None
    return "not-a-cloudevent", "specversion", 'specversion must be "1.0" (CloudEvents 1.0)'


def _strangers(data: dict[str, Any], claim: dict[str, Any]) -> RawRow | None:
    found = [name for name in data if name not in _MEMBERS]
    found += [f"claim.{name}" for name in claim if name not in _CLAIM]
    if not found:
        return None
    named = ", ".join(name[:_SHOWN] for name in found[:_SHOWN_MEMBERS])
    more = f" and {len(found) - _SHOWN_MEMBERS} more" if len(found) > _SHOWN_MEMBERS else ""
    known = f"{', '.join(_MEMBERS)}; of claim {', '.join(_CLAIM)}"
    return "unknown-field", f"data.{found[0][:_SHOWN]}", f"data has unknown members: {named}{more}; known are {known}"


def _malformed(why: str) -> RawRow:
    return (*_NOTHING, "malformed-row", None, why)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = Counter(name for name, _ in pairs)
        raise _TwiceError(next(name for name, count in names.items() if count > 1)[:_SHOWN])
    return found


def _not_a_number(text: str) -> Any:
    raise ValueError(text)


def _is_deep(event: bytes) -> bool:
    if event.count(b"{") + event.count(b"[") <= DEEPEST:
        return False
    depth = 0
    for each in re.findall(rb'"(?:[^"\\]|\\.)*"|[][{}]', event, re.DOTALL):
        depth += 1 if each in (b"{", b"[") else -1 if each in (b"}", b"]") else 0
        if depth > DEEPEST:
            return True
    return False
