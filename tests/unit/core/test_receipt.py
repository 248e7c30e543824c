"""A receipt is believed only as it was written: any other byte makes it fail with a code."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tanzhang.core.errors import TanzhangError
from tanzhang.core.receipt import Evidence, verify_receipt
from tanzhang.core.tlog_proof import TlogProof
from tanzhang.engine.signing import NoteSigner
from tanzhang.service.accounts import action_named
from tanzhang.service.intake import intake
from tanzhang.service.receipt import create_receipt
from tanzhang.stores.home import Home

from ...homes import box, new_home, on, ride, settle_on, write


@pytest.fixture(scope="module")
def home(in_memory: Path) -> Home:
    folder = Path(tempfile.mkdtemp(dir=in_memory))
    home = new_home(folder / "home")
    events = [ride(f"r{number}", hour=number) for number in range(5, 15)] + [box("b1")]
    intake(home, write(folder / "a.ndjson", events), now=on(6))
    settle_on(home, 9)
    return home


@pytest.fixture(scope="module")
def receipt(home: Home) -> bytes:
    return create_receipt(home, action_named(home, "amap:r7"))


@pytest.fixture(scope="module")
def key(home: Home) -> Any:
    return home.verifier


def fails(data: bytes, key: Any) -> str:
    with pytest.raises(TanzhangError) as caught:
        verify_receipt(data, key)
    assert all(problem.message and problem.where and problem.remedy for problem in caught.value.problems)
    return caught.value.code


def with_extra(receipt: bytes, extra: bytes) -> bytes:
    proof = TlogProof.parse(receipt)
    return TlogProof(proof.index, proof.path, proof.checkpoint, extra).to_bytes()


def members(receipt: bytes) -> dict[str, Any]:
    extra = TlogProof.parse(receipt).extra
    assert extra is not None
    found: dict[str, Any] = json.loads(extra)
    return found


def written(receipt: bytes, changed: Any) -> bytes:
    text = json.dumps(changed, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return with_extra(receipt, text.encode())


def test_a_receipt_verifies_with_the_public_key_alone_and_says_what_it_checked(receipt: bytes, key: Any) -> None:
    verified = verify_receipt(receipt, key)
    assert (verified.record.outcome, verified.record.granted_mg) == ("granted", 720_000)
    assert len(verified.checks) == 3
    assert written(receipt, members(receipt)) == receipt


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_any_changed_byte_makes_it_fail_with_a_code(receipt: bytes, key: Any, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(receipt) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda value: value != receipt[position]))
    fails(receipt[:position] + bytes([value]) + receipt[position + 1 :], key)


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_any_changed_byte_of_what_it_says_makes_it_fail_with_a_code(
    receipt: bytes, key: Any, data: st.DataObject
) -> None:
    extra = TlogProof.parse(receipt).extra
    assert extra is not None
    position = data.draw(st.integers(0, len(extra) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda value: value != extra[position]))
    fails(with_extra(receipt, extra[:position] + bytes([value]) + extra[position + 1 :]), key)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_receipt_cut_off_or_with_bytes_put_in_fails_with_a_code(
    receipt: bytes, key: Any, data: st.DataObject
) -> None:
    position = data.draw(st.integers(0, len(receipt) - 1))
    fails(receipt[:position], key)
    fails(receipt[:position] + data.draw(st.binary(min_size=1, max_size=4)) + receipt[position:], key)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300))
@example(data=b"")
@example(data=b"c2sp.org/tlog-proof@v1\n\n")
def test_anything_else_fails_with_a_code(key: Any, data: bytes) -> None:
    fails(data, key)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_member_replaced_by_any_value_fails_with_a_code(receipt: bytes, key: Any, data: st.DataObject) -> None:
    said = members(receipt)
    place = said["record"] if data.draw(st.booleans()) else said
    name = data.draw(st.sampled_from(sorted(place)))
    value = data.draw(JSON.filter(lambda value: value != place[name]))
    place[name] = value
    fails(written(receipt, said), key)


@pytest.mark.parametrize(
    "extra",
    [
        b"",
        b"null",
        b"[]",
        b"[" * 100_000,
        b'{"format":"tanzhang.receipt/1"}',
        b'{"format":"tanzhang.receipt/2"}',
        b"\xff\xfe",
        b'{"format":"tanzhang.receipt/1","manifest":"\\ud800"}',
        b"1" * 5000,
    ],
)
def test_an_extra_line_that_is_no_evidence_is_malformed(receipt: bytes, key: Any, extra: bytes) -> None:
    assert fails(with_extra(receipt, extra), key) == "receipt-malformed"


def test_a_proof_without_a_record_is_malformed(receipt: bytes, key: Any) -> None:
    proof = TlogProof.parse(receipt)
    assert fails(TlogProof(proof.index, proof.path, proof.checkpoint).to_bytes(), key) == "receipt-malformed"


def test_another_spelling_of_the_same_content_is_refused(receipt: bytes, key: Any) -> None:
    said = members(receipt)
    assert fails(with_extra(receipt, json.dumps(said).encode()), key) == "receipt-malformed"
    for change in ({"salt": said["salt"].upper()}, {"index": f"+{said['index']}"}, {"index": f"0{said['index']}"}):
        assert fails(written(receipt, said | change), key) == "receipt-malformed"


def test_more_milligrams_than_were_granted_are_refused(receipt: bytes, key: Any) -> None:
    said = members(receipt)
    said["record"]["granted_mg"] = "7200000"
    assert fails(written(receipt, said), key) == "inclusion-proof-invalid"


def test_the_plan_of_another_record_is_refused(home: Home, receipt: bytes, key: Any) -> None:
    said = members(receipt)
    other = members(create_receipt(home, action_named(home, "cainiao:b1")))
    assert fails(written(receipt, said | {"plan": other["plan"]}), key) == "receipt-plan"
    assert fails(written(receipt, said | {"plan": None}), key) == "receipt-plan"


def test_an_entry_of_the_log_that_is_no_batch_proves_no_record(home: Home, receipt: bytes, key: Any) -> None:
    genesis = home.log_entries()[0].decode()
    said = members(receipt) | {"manifest": genesis}
    proof = TlogProof.parse(home.log.prove(0))
    data = TlogProof(0, proof.path, proof.checkpoint, b"").to_bytes()
    assert fails(written(data, said), key) == "receipt-manifest"


def test_a_manifest_that_is_not_in_the_log_proves_nothing_however_well_its_tree_fits(
    home: Home, receipt: bytes, key: Any
) -> None:
    from tanzhang.core.record import encode, leaf

    said = members(receipt)
    extra = TlogProof.parse(receipt).extra
    assert extra is not None
    evidence = Evidence.parse(extra)
    manifest = json.loads(said["manifest"])
    manifest |= {"records": "1", "root": leaf(evidence.salt, encode(evidence.record)).hex()}
    forged = said | {"manifest": json.dumps(manifest, separators=(",", ":"), sort_keys=True), "index": "0", "path": []}
    assert fails(written(receipt, forged), key) == "inclusion-proof-invalid"


def test_a_log_of_the_same_name_under_another_key_is_not_believed(home: Home, receipt: bytes) -> None:
    forger = NoteSigner(home.values["origin"], bytes(32))
    assert fails(receipt, forger.verifier).startswith("note-")
