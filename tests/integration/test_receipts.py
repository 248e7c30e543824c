"""Every record of every batch has a receipt that anyone verifies with the log's public key alone."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from tanzhang.core.claim import ACTION, identity
from tanzhang.core.errors import TanzhangError
from tanzhang.core.record import OUTCOMES, to_json
from tanzhang.core.tlog_proof import TlogProof
from tanzhang.engine.signing import NoteSigner
from tanzhang.service.accounts import action_named
from tanzhang.service.intake import intake
from tanzhang.service.receipt import check_receipt, create_receipt
from tanzhang.stores.home import Home
from tanzhang.stores.records import to_record

from ..homes import DAY, Event, assert_verified, box, event, local, new_home, on, records, ride, settle_on, write
from ..homes import withdrawal as taken_back


def settled(folder: Path, events: list[Event], day: int = 9) -> Home:
    home = new_home(folder / "home")
    intake(home, write(folder / "a.ndjson", events), now=on(6))
    settle_on(home, day)
    return home


def proved(home: Home, action: uuid.UUID) -> dict[str, Any]:
    return check_receipt(create_receipt(home, action), home.values["vkey"])


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 600])
def test_every_record_of_a_batch_of_any_size_has_a_receipt(quick: Path, size: int) -> None:
    home = settled(quick, [box(f"b{number}", f"user {number % 7}") for number in range(size)])
    table = records(home).to_pylist()
    assert len(table) == size
    for index in {0, 1, 127, 254, 255, 256, 257, 511, 512, size - 1}:
        if index < size:
            record = to_record(table[index])
            answer = proved(home, record.action_id)
            assert answer["record"] == to_json(record)
            assert answer["checks"][0] == f"record {index} is one of the {size} records of batch 0"


def test_every_outcome_can_be_proved_and_says_what_it_granted(quick: Path) -> None:
    first = box("b1")
    invoices = [
        event(
            "alipay", f"i{n}", "finance.e_invoice", "anna", local(9, n), claim={"issuer": "tax", "identifier": str(n)}
        )
        for n in range(6)
    ]
    wrong = box("b3")
    home = settled(
        quick,
        [
            *(first, first, box("b2", "bo", number="YT-b1"), box("b4"), box("b4", number="YT-OTHER")),
            *(ride("r1"), ride("r2", minute=4), wrong, taken_back(wrong, "undo"), *invoices),
        ],
    )
    intake(home, write(quick / "b.ndjson", [taken_back(ride("r1"), "undo-later", day=DAY)]), now=on(9))
    settle_on(home, 12)
    seen = {}
    for row in records(home).to_pylist():
        record = to_record(row)
        answer = proved(home, record.action_id)
        if record.outcome not in ("repeat", "conflict"):  # of one reference the record that stands is proved
            assert answer["record"] == to_json(record)
            seen[record.outcome] = answer
        assert (answer["methodology"] if record.plan else None) == answer.get("methodology")
    assert set(seen) == set(OUTCOMES) - {"repeat", "conflict", "late"}
    assert (seen["granted"]["unit"], seen["capped"]["granted_mg"], seen["withdrawal"]["granted_mg"]) == (
        *("co2e_mg", "0", "0"),
    )
    assert seen["withdrawal"]["record"]["reversed_mg"] in ("0", "720000")


def test_a_receipt_is_the_same_file_each_time_and_holds_after_the_log_has_grown(quick: Path) -> None:
    home = settled(quick, [box("b1"), ride("r1")])
    action = action_named(home, "cainiao:b1")
    early = create_receipt(home, action)
    assert create_receipt(home, action) == early
    for day in range(10, 13):
        intake(home, write(quick / f"{day}.ndjson", [box(f"later {day}")]), now=on(day))
        settle_on(home, day + 1)
    later = create_receipt(home, action)
    assert later != early
    answers = [check_receipt(data, home.values["vkey"]) for data in (early, later)]
    assert [answer.pop("log_size") for answer in answers] == [2, 5]
    assert [answer.pop("checks")[1][-6:] for answer in answers] == ["size 2", "size 5"]
    assert answers[0] == answers[1]


def test_a_wrong_key_of_the_same_name_and_a_key_of_another_log_are_refused(quick: Path) -> None:
    home = settled(quick, [box("b1")])
    data = create_receipt(home, action_named(home, "cainiao:b1"))
    for name in (home.values["origin"], "log.example/other"):
        with pytest.raises(TanzhangError) as caught:
            check_receipt(data, NoteSigner(name, bytes(32)).verifier_key.to_text())
        assert caught.value.code.startswith(("note-", "checkpoint-"))
    with pytest.raises(TanzhangError, match="vkey-invalid"):
        check_receipt(data, "not a key")


def test_a_receipt_of_an_open_action_says_when_its_window_closes(quick: Path) -> None:
    home = settled(quick, [ride("r1")], day=7)
    with pytest.raises(TanzhangError, match="not-settled") as caught:
        create_receipt(home, action_named(home, "amap:r1"))
    assert "its window closes on 2025-06-07" in caught.value.problems[0].remedy
    settle_on(home, 8)
    assert proved(home, action_named(home, "amap:r1"))["outcome"] == "granted"


def test_a_receipt_of_an_unknown_action_is_refused(quick: Path) -> None:
    home = settled(quick, [box("b1")])
    for action in (uuid.UUID(int=0), action_named(home, "cainiao:no such box")):
        with pytest.raises(TanzhangError, match="unknown-action"):
            create_receipt(home, action)


def test_actions_are_named_by_id_or_by_partner_and_reference_colons_included(quick: Path) -> None:
    home = settled(quick, [box("2025:06:05:7")])
    action = identity(home.identity_key, ACTION, "cainiao", "2025:06:05:7")
    assert action_named(home, "cainiao:2025:06:05:7") == action_named(home, str(action)) == action
    assert proved(home, action)["record"]["partner"] == "cainiao"
    for text in ("", "cainiao", "cainiao:", "12345"):
        with pytest.raises(TanzhangError, match="action-malformed"):
            action_named(home, text)


def test_a_receipt_shows_no_other_record_no_salt_of_another_and_no_key(quick: Path) -> None:
    home = settled(quick, [box("b1", "anna"), box("b2", "bo")])
    action = action_named(home, "cainiao:b1")
    data = create_receipt(home, action)
    extra = TlogProof.parse(data).extra or b""
    for row in records(home).to_pylist():
        record = to_record(row)
        assert (str(record.account).encode() in extra) == (record.action_id == action)
        assert row["seed"].hex().encode() not in extra
    for secret in (home.identity_key.hex().encode(), b"anna", b"YT-b1"):
        assert secret not in data + extra
    assert_verified(home)
