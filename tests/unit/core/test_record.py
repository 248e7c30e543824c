from __future__ import annotations

import hashlib
import json
import struct
import uuid
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings

from tanzhang.core.action import EVIDENCE, INPUT_NAMES
from tanzhang.core.errors import TanzhangError
from tanzhang.core.record import (
    CONTENT,
    EVIDENCE_NUMBER,
    KIND_NUMBER,
    LAYOUT_BYTES,
    OPTIONAL,
    OUTCOME_NUMBER,
    Record,
    content_digest,
    context_digest,
    encode,
    from_json,
    leaf,
    next_seal_key,
    null_mask,
    salt,
    salt_seed,
    time_micros,
    time_text,
    to_json,
)

from ..engine.test_leaves import RECORDS

TRIP = Record(
    action_id=uuid.UUID(int=1),
    account=uuid.UUID(int=2),
    child=uuid.UUID(int=3),
    partner="shenzhen_metro",
    behaviour="travel.metro",
    region="CN-440300",
    variant=None,
    evidence="sensed",
    kind="reduction",
    outcome="capped",
    plan="ab" * 32,
    started=1_740_787_800_000_000,
    ended=1_740_789_600_000_000,
    day=date(2025, 3, 1),
    inputs={"distance_m": 12_000},
    quantified_mg=559_200,
    granted_mg=100,
    reversed_mg=0,
    group_id=uuid.UUID(int=4),
    claim=None,
    withdraws=None,
    related=uuid.UUID(int=5),
)


def test_numbers_in_the_layout_never_change_meaning():
    assert OUTCOME_NUMBER == {
        "granted": 0,
        "capped": 1,
        "duplicate_of": 2,
        "overlap_of": 3,
        "repeat": 4,
        "conflict": 5,
        "late": 6,
        "withdrawn": 7,
        "withdrawal": 8,
    }
    assert KIND_NUMBER == {"reduction": 1, "emission": 2}
    assert EVIDENCE_NUMBER == {"measured": 0, "sensed": 1, "declared": 2} == {n: i for i, n in enumerate(EVIDENCE)}
    assert OPTIONAL[:6] == ("group_id", "claim", "withdraws", "related", "plan", "started")
    assert OPTIONAL[6:] == (*INPUT_NAMES, "quantified_mg")
    assert LAYOUT_BYTES == 300 == len(encode(TRIP))


def test_the_layout_of_a_record_is_these_bytes():
    """Written out field by field, so that a change of the layout cannot pass unseen."""
    absent = {"claim", "withdraws", *INPUT_NAMES} - {"distance_m"}
    mask = sum(1 << OPTIONAL.index(name) for name in absent)
    numbers = [1, 2, 3, 4, 0, 0, 5]  # action, account, child, group, claim, withdraws, related
    expected = struct.pack(">BBBBI", 1, 1, 1, 1, mask)
    expected += b"".join(uuid.UUID(int=number).bytes for number in numbers)
    context = '{"behaviour":"travel.metro","partner":"shenzhen_metro","region":"CN-440300","variant":null}'
    expected += hashlib.sha256(context.encode()).digest() + bytes.fromhex("ab" * 32)
    expected += struct.pack(">qqi", 1_740_787_800_000_000, 1_740_789_600_000_000, 20_148)
    expected += struct.pack(">9q", 12_000, *[0] * 8) + struct.pack(">qqq", 559_200, 100, 0)
    assert encode(TRIP) == expected
    assert leaf(bytes(16), expected) == hashlib.sha256(bytes(17) + expected).digest()


@pytest.mark.parametrize("name", OPTIONAL)
def test_absent_and_zero_are_told_apart(name):
    zero = {"plan": "00" * 32, "started": 0, "quantified_mg": 0}.get(name, uuid.UUID(int=0))
    if name in INPUT_NAMES:
        absent, present = replace(TRIP, inputs={}), replace(TRIP, inputs={name: 0})
    else:
        absent, present = replace(TRIP, **{name: None}), replace(TRIP, **{name: zero})
    assert encode(absent) != encode(present)
    assert encode(absent)[8:] == encode(present)[8:]  # only the mask differs


def test_every_field_of_a_record_is_in_its_layout():
    other = {"partner": "x", "behaviour": "x", "region": "x", "variant": "x", "evidence": "measured"}
    other |= {"kind": "emission", "outcome": "late", "plan": "cd" * 32, "day": date(2025, 3, 2)}
    other |= {"inputs": {"distance_m": 1}}
    for name in Record.__slots__:
        value = other.get(name, uuid.UUID(int=9) if isinstance(getattr(TRIP, name), uuid.UUID | None) else 7)
        assert encode(replace(TRIP, **{name: value})) != encode(TRIP), name


def test_the_mask_has_one_bit_for_each_optional_field():
    assert null_mask(dict.fromkeys(OPTIONAL, False)) == 0
    assert null_mask(dict.fromkeys(OPTIONAL, True)) == 2 ** len(OPTIONAL) - 1
    assert null_mask(dict.fromkeys(OPTIONAL, False) | {"claim": True}) == 2


@settings(deadline=None)
@given(record=RECORDS.filter(lambda record: record.ended > 0 and (record.started or 1) > 0))
def test_a_record_survives_its_json(record):
    text = json.dumps(to_json(record))
    assert from_json(json.loads(text)) == record


def test_amounts_are_text_and_times_are_utc_in_json():
    members = to_json(TRIP)
    assert members["quantified_mg"] == "559200"
    assert members["inputs"] == {"distance_m": "12000"}
    assert members["ended"] == "2025-03-01T00:40:00.000000Z"
    assert members["claim"] is None


@pytest.mark.parametrize(
    "change",
    [
        {"granted_mg": 100},
        {"granted_mg": 100.7},
        {"granted_mg": " 100"},
        {"granted_mg": "+100"},
        {"granted_mg": "1_00"},
        {"granted_mg": str(2**63)},
        {"granted_mg": None},
        {"ended": "2025-03-01T08:40:00+08:00"},
        {"ended": "2025-03-01T00:40:00"},
        {"day": "20250301"},
        {"action_id": "{00000000-0000-0000-0000-000000000001}"},
        {"action_id": None},
        {"outcome": "forgiven"},
        {"kind": "other"},
        {"evidence": "guessed"},
        {"plan": "ab" * 33},
        {"plan": "AB" * 32},
        {"plan": "ab"},
        {"inputs": {"distance_m": 12000}},
        {"inputs": {"distance_km": "12"}},
        {"inputs": None},
        {"colour": "red"},
    ],
)
def test_a_record_written_in_any_other_way_is_refused(change):
    with pytest.raises(TanzhangError) as caught:
        from_json(to_json(TRIP) | change)
    assert caught.value.code == "record-malformed"


def test_a_record_without_a_member_is_refused():
    members = to_json(TRIP)
    del members["claim"]
    with pytest.raises(TanzhangError, match="members"):
        from_json(members)


def test_the_content_of_a_report_is_what_its_partner_said_and_not_what_became_of_it():
    decided = replace(TRIP, outcome="late", granted_mg=5, related=None, account=uuid.UUID(int=9), plan="cd" * 32)
    assert content_digest(decided) == content_digest(TRIP)
    other = {"started": 1, "ended": 1, "region": "x", "evidence": "measured", "behaviour": "x", "variant": "x"}
    for name in CONTENT:
        change = {"inputs": {**TRIP.inputs, name: 77}} if name in INPUT_NAMES else {name: other.get(name, uuid.uuid4())}
        assert content_digest(replace(TRIP, **change)) != content_digest(TRIP), name


def test_contexts_of_different_texts_differ():
    assert context_digest("a", "b", "c", None) != context_digest("a", "b", "c", "null")


def test_salts_differ_by_key_account_and_place_and_keys_follow_one_way():
    key, account = bytes(32), uuid.UUID(int=1)
    seed = salt_seed(key, account)
    seeds = {seed, salt_seed(next_seal_key(key), account), salt_seed(key, uuid.UUID(int=2))}
    assert len(seeds) == 3
    assert len({salt(seed, 0), salt(seed, 1), salt(seed, 256), seed}) == 4
    assert next_seal_key(key) != next_seal_key(next_seal_key(key))


def test_times_are_microseconds_since_1970():
    moment = datetime(2025, 3, 1, 0, 40, 0, 5, tzinfo=UTC)
    assert time_micros("2025-03-01T08:40:00.000005+08:00") == 1_740_789_600_000_005
    assert time_text(1_740_789_600_000_005) == moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    with pytest.raises(ValueError, match="without offset"):
        time_micros("2025-03-01T08:40:00")
