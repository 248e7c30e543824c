"""Verifying lots: the whole way, who may do what, what releases a lot, and that nothing is done twice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.core.sample import LEAST_PICKS, picks, seed
from tanzhang.service.market.verification import (
    Attestation,
    Decision,
    Finding,
    LookUp,
    RecordNamed,
    attest,
    decide,
    draw,
    file_findings,
    hand_over,
    look_up,
    lots_of,
    register,
    sample,
    verification_page,
)
from tanzhang.service.market.verifiers import put_verifier
from tanzhang.service.privacy import looks
from tanzhang.stores.home import Home
from tanzhang.stores.lot_files import read_members
from tanzhang.stores.register.people import person

from ..homes import account, as_attacker, assert_verified, market_home, problems
from ..lots import LATER
from ..trading import OPERATOR
from ..verifying import (
    AUDITOR,
    DIGEST,
    PEOPLE,
    SAID,
    SECOND,
    VERIFIER,
    attested,
    found_nothing,
    frozen_lot,
    in_verification,
    registered,
    verified,
)


@pytest.fixture
def home(place: Callable[[str], str | None], quick: Path) -> Home:
    return market_home(quick / "home", book=place("tests"))


def refused(call: Callable[..., Any], *args: Any, **named: Any) -> list[str]:
    with pytest.raises(TanzhangError) as raised:
        call(*args, **named)
    return [problem.code for problem in raised.value.problems]


def as_verifier(**more: Any) -> dict[str, Any]:
    return {"actor": AUDITOR, "now": LATER, **more}


def as_operator(**more: Any) -> dict[str, Any]:
    return {"actor": OPERATOR, "now": LATER, **more}


def test_a_lot_goes_all_the_way_and_the_log_says_how(home: Home, tmp_path: Path) -> None:
    number = frozen_lot(home, tmp_path)
    registered(home, number)
    assert home.lots.one(number).state == "registered"
    ((index, text),) = home.verifications.registered()
    assert home.log.entry(index).decode() == text
    assert '"decision":"verified"' in text
    assert all(word not in text for word in (AUDITOR.subject, SECOND.subject, "as reported"))
    said = verification_page(home, number)
    assert [each["act"] for each in said["events"]][:4] == ["handed", "drawn", "findings", "decided"]
    assert_verified(home)


def test_anybody_draws_the_same_sample_from_root_and_checkpoint(home: Home, tmp_path: Path) -> None:
    number = frozen_lot(home, tmp_path)
    in_verification(home, number)
    row, shown = home.lots.one(number), sample(home, number, None, **as_operator())
    made = seed(bytes.fromhex(row.root), row.entry, shown["checkpoint"])
    assert (made.hex(), shown["picks"]) == (shown["seed"], str(LEAST_PICKS))
    keys, amounts = read_members(home.storage, row)
    ends = amounts.cumsum()
    wanted = {int((ends <= pick).sum()) for pick in picks(made, LEAST_PICKS, row.total_mg)}
    assert [int(each["index"]) for each in shown["records"]] == sorted(wanted)
    for each in shown["records"]:
        key = int(keys[int(each["index"])])
        assert (int(each["batch"]), int(each["place"])) == (key >> 32, key & 0xFFFF_FFFF)
        assert each["again"]["agrees"]
        assert each["again"]["mg"] == each["record"]["quantified_mg"]
        assert each["again"]["steps"]


def test_a_person_whose_record_a_verifier_read_sees_that_it_was_so(home: Home, tmp_path: Path) -> None:
    number = frozen_lot(home, tmp_path)
    read = [account(home, "amap", name) for name in PEOPLE[::2]]
    for each in read:
        home.people.add(person, {"account": str(each), "created_at": "2025-06-01T00:00:00"})
    in_verification(home, number)
    records = sample(home, number, VERIFIER, **as_verifier())["records"]
    seen = {each for each in read if str(each) in {found["record"]["account"] for found in records}}
    assert seen
    for each in read:
        items = looks(home, str(each))["items"]
        wanted = [("verifier", AUDITOR.subject, "lot sample L000001")] if each in seen else []
        assert [(row["role"], row["who"], row["what"]) for row in items] == wanted


def test_a_lot_is_its_verifiers_alone(home: Home, tmp_path: Path) -> None:
    number = frozen_lot(home, tmp_path)
    put_verifier(home, "another", SAID, **as_operator())
    assert refused(draw, home, number, VERIFIER, LEAST_PICKS, reference="d", **as_verifier()) == ["not-found"]
    in_verification(home, number)
    assert refused(sample, home, number, "another", **as_verifier()) == ["not-found"]
    assert refused(verification_page, home, number, "another") == ["not-found"]
    assert lots_of(home, "another", 0, 10) == []
    assert [each["lot"] for each in lots_of(home, VERIFIER, 0, 10)] == ["L000001"]


def test_a_suspended_verifier_is_handed_nothing_and_does_nothing(home: Home, tmp_path: Path) -> None:
    number = frozen_lot(home, tmp_path)
    off = type(SAID)(SAID.title, SAID.title_zh, SAID.accredited, SAID.source, suspended=True)
    put_verifier(home, VERIFIER, off, **as_operator())
    assert refused(hand_over, home, number, VERIFIER, reference="h", **as_operator()) == ["verifier-suspended"]
    assert refused(hand_over, home, number, "nobody", reference="h", **as_operator()) == ["unknown-verifier"]
    put_verifier(home, VERIFIER, SAID, **as_operator())
    in_verification(home, number)
    put_verifier(home, VERIFIER, off, **as_operator())
    assert refused(sample, home, number, VERIFIER, **as_verifier()) == ["verifier-suspended"]


def test_a_sample_is_drawn_once_and_is_large_enough(home: Home, tmp_path: Path) -> None:
    number = frozen_lot(home, tmp_path)
    hand_over(home, number, VERIFIER, reference="h", **as_operator())
    assert refused(draw, home, number, VERIFIER, LEAST_PICKS - 1, reference="d", **as_verifier()) == ["sample-size"]
    assert refused(sample, home, number, VERIFIER, **as_verifier()) == ["sample-missing"]
    first = draw(home, number, VERIFIER, LEAST_PICKS, reference="d", **as_verifier())
    assert draw(home, number, VERIFIER, LEAST_PICKS, reference="d", **as_verifier()) == first
    assert refused(draw, home, number, VERIFIER, LEAST_PICKS, reference="e", **as_verifier()) == ["sample-drawn"]
    assert refused(draw, home, number, VERIFIER, 100, reference="d", **as_verifier()) == ["reference-taken"]


def test_nothing_is_decided_before_each_record_of_the_sample_was_looked_at(home: Home, tmp_path: Path) -> None:
    number = frozen_lot(home, tmp_path)
    in_verification(home, number)
    findings = found_nothing(home, number)
    yes = Decision("verified", "fine", DIGEST)
    assert refused(decide, home, number, VERIFIER, yes, reference="v", **as_verifier()) == ["sample-unfinished"]
    file_findings(home, number, VERIFIER, findings[:-1], reference="f", **as_verifier())
    assert refused(decide, home, number, VERIFIER, yes, reference="v", **as_verifier()) == ["sample-unfinished"]
    file_findings(home, number, VERIFIER, findings[-1:], reference="g", **as_verifier())
    assert decide(home, number, VERIFIER, yes, reference="v", **as_verifier())["found"]["none"] == str(len(findings))
    no = Decision("rejected", "not fine", DIGEST)
    assert refused(decide, home, number, VERIFIER, no, reference="w", **as_verifier()) == ["lot-state"]


def test_a_material_finding_leaves_nothing_but_a_rejection_which_releases_everything(
    home: Home, tmp_path: Path
) -> None:
    number = frozen_lot(home, tmp_path)
    in_verification(home, number)
    file_findings(home, number, VERIFIER, found_nothing(home, number), reference="f", **as_verifier())
    no = Decision("rejected", "the gate's file has no such ride", DIGEST)
    assert refused(decide, home, number, VERIFIER, no, reference="v", **as_verifier()) == ["rejection-unfounded"]
    bad = Finding("material", "the gate's file has no such ride", None, DIGEST)
    file_findings(home, number, VERIFIER, [bad], reference="m", **as_verifier())
    yes = Decision("verified", "fine", DIGEST)
    assert refused(decide, home, number, VERIFIER, yes, reference="v", **as_verifier()) == ["finding-material"]
    held = home.lots.one(number).total_mg
    assert sum(home.lots.share_of([each["account"] for each in _accounts(home, number)]).values()) == held
    decide(home, number, VERIFIER, no, reference="v", **as_verifier())
    assert home.lots.one(number).state == "rejected"
    assert home.lots.share_of([each["account"] for each in _accounts(home, number)]) == {}
    assert_verified(home)


def _accounts(home: Home, number: int) -> list[dict[str, Any]]:
    return home.lots.shares(number).to_pylist()  # type: ignore[no-any-return]


def test_a_finding_is_of_a_member_and_all_that_are_not_are_told_together(home: Home, tmp_path: Path) -> None:
    number = frozen_lot(home, tmp_path)
    in_verification(home, number)
    keys, _ = read_members(home.storage, home.lots.one(number))
    members = {(int(key) >> 32, int(key) & 0xFFFF_FFFF) for key in keys}
    others = [*[(0, place) for place in range(200) if (0, place) not in members][:2], (7, 0)]
    wrong = [Finding("minor", "x", RecordNamed(str(batch), str(place))) for batch, place in others]
    found = refused(file_findings, home, number, VERIFIER, wrong, reference="f", **as_verifier())
    assert found == ["not-a-member"] * 3
    assert refused(file_findings, home, number, VERIFIER, [], reference="f", **as_verifier()) == ["finding-malformed"]


def test_registering_needs_an_attestation_every_registry_and_a_second_person(home: Home, tmp_path: Path) -> None:
    number = frozen_lot(home, tmp_path)
    said = Attestation("in no other scheme", DIGEST)
    assert refused(attest, home, number, said, reference="a", **as_operator()) == ["lot-state"]
    verified(home, number)
    lacking = refused(register, home, number, reference="g", **as_operator())
    assert lacking[0] == "attestation-missing"
    assert set(lacking[1:]) == {"registry-missing"}
    attested(home, number)
    assert refused(register, home, number, reference="g", **as_operator()) == ["two-people"]
    name = verification_page(home, number)["registries_wanted"][0]
    taken = LookUp(name, date(2026, 1, 15), False, "a lot of the same rides", DIGEST)
    look_up(home, number, taken, reference="again", **as_operator())
    assert refused(register, home, number, reference="g", actor=SECOND, now=LATER) == ["registry-not-clear"]
    clear = LookUp(name, date(2026, 1, 15), True, "it was withdrawn", DIGEST)
    look_up(home, number, clear, reference="once more", **as_operator())
    unknown = LookUp("elsewhere", date(2026, 1, 15), True, "nothing", DIGEST)
    assert refused(look_up, home, number, unknown, reference="x", **as_operator()) == ["unknown-registry"]
    done = register(home, number, reference="g", actor=SECOND, now=LATER)
    assert register(home, number, reference="g", actor=SECOND, now=LATER) == done
    assert len(home.verifications.registered()) == 1


def test_a_crash_before_the_log_has_it_is_mended_by_the_same_request(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = frozen_lot(home, tmp_path)
    verified(home, number)
    attested(home, number)
    with monkeypatch.context() as patched:
        patched.setattr(Home, "publish", _die)
        with pytest.raises(OSError, match="no space"):
            register(home, number, reference="g", actor=SECOND, now=LATER)
    assert home.lots.one(number).state == "registered"
    ((index, text),) = home.verifications.registered()
    assert home.log.size <= index
    done = register(home, number, reference="g", actor=SECOND, now=LATER)
    assert (home.log.entry(index).decode(), done["entry"]) == (text, str(index))
    assert [row.lot for row in home.verifications.cells()] == [number]
    assert_verified(home)


def _die(_: Home) -> None:
    raise OSError("no space left")


def test_what_was_changed_in_the_book_about_a_verification_is_found(home: Home, tmp_path: Path) -> None:
    number = frozen_lot(home, tmp_path)
    registered(home, number)
    if home.book.name != "book.sqlite":
        pytest.skip("the database of SQLite is opened as a file here")
    con = as_attacker(home.folder)
    con.execute("UPDATE verification_event SET actor = 'operator second_person' WHERE kind = 'attested'")
    con.close()
    found = {each["code"] for each in problems(home)}
    assert {"book-row-changed", "verification-mismatch"} <= found
