"""Units from issue to export by what an operator calls, on both databases."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tanzhang.core.access import Actor, Role
from tanzhang.core.errors import TanzhangError
from tanzhang.core.serial import Serial
from tanzhang.core.units import State, covered
from tanzhang.service.market import labels, units
from tanzhang.service.market.check_units import check_units
from tanzhang.service.market.issue import issue
from tanzhang.service.market.issue import issued as told
from tanzhang.service.market.parties import set_state
from tanzhang.stores.home import Home
from tanzhang.stores.register.audit import audit

from ..homes import market_home
from ..trading import approved
from ..units import AT, NOW, OPERATOR, issued, registered

DO = {"actor": OPERATOR, "now": NOW}
EVIDENCE = "ab" * 32


@pytest.fixture
def home(place: Callable[[str], str | None], quick: Path) -> Home:
    """A home with a market, its book on either database."""
    return market_home(quick / "home", book=place("tests"))


def refused(act: Callable[..., Any], *args: Any, **more: Any) -> str:
    with pytest.raises(TanzhangError) as error:
        act(*args, **{**DO, **more})
    return error.value.code


def label(home: Home, serial: str, scheme: str, reference: str, **more: Any) -> dict[str, Any]:
    said: dict[str, Any] = {
        "scheme": scheme, "scope": "", "granted_by": "bureau", "evidence": EVIDENCE, "first_day": date(2026, 7, 1),
        "until_day": None, "reference": reference, **DO,
    }  # fmt: skip
    return labels.label(home, serial, **{**said, **more})


def first(home: Home, lot: str = "L000001") -> str:
    """The serial number of the programme's block of a lot."""
    (block, *_) = units.blocks_page(home, lot=lot, holder="programme")["items"]
    return str(block["serial"])


def test_a_lot_is_issued_into_explicit_parts_and_the_log_says_so(home: Home) -> None:
    made = issued(home, 1_000)
    assert [(part["holder"], part["count"], part["state"]) for part in made["parts"]] == [
        ("programme", "910", "held"), ("reserve", "20", "held"), ("levy:adaptation", "50", "held"),
        ("levy:overall_mitigation", "20", "cancelled"),
    ]  # fmt: skip
    serials = [Serial.parse(part["serial"]) for part in made["parts"]]
    assert [(each.lo, each.hi) for each in serials] == [(0, 910), (910, 930), (930, 980), (980, 1000)]
    assert made["parts"][0]["serial"].startswith("TZ1-CN110000-BEIJINGMARKET-L000001-2025-K-1-910-")
    assert home.lots.one(1).state == "issued"
    text = home.log_entries(int(made["entry"]))[0].decode()
    assert json.loads(text)["parts"] == made["parts"]
    assert units.lot_units(home, "L000001")["states"]["cancelled"] == "20"


def test_a_lot_is_issued_once_whoever_asks_and_a_repeat_has_the_whole_first_answer(home: Home) -> None:
    made = issued(home, 1_000, "a")
    assert issue(home, 1, reference="a", **DO) == made == told(home, 1)
    assert refused(issue, home, 1, reference="b") == "lot-issued"
    other = registered(home, 100, "c")
    assert refused(issue, home, other, reference="a") == "reference-taken"
    assert home.units.begun(other) is None
    assert len(home.book.query(sa.select(audit).where(audit.c.act == "lot issued"))) == 1


def test_only_a_registered_lot_is_issued_and_only_as_the_log_has_it(home: Home) -> None:
    number = registered(home, 100)
    with home.book.transaction() as con:
        con.execute(sa.text("UPDATE lot SET units = 101"))
    assert refused(issue, home, number, reference="x") == "lot-not-logged"
    with home.book.transaction() as con:
        con.execute(sa.text("UPDATE lot SET units = 100, state = 'verified'"))
    assert refused(issue, home, number, reference="x") == "lot-state"
    assert home.units.blocks() == []
    small = registered(home, 1, "small")
    assert refused(issue, home, small, reference="y") == "lot-too-small"


def test_a_hold_is_visible_to_everybody_and_nothing_moves_under_it(home: Home) -> None:
    issued(home, 1_000)
    serial = first(home)
    made = units.freeze(home, [serial], reference="court-1", why="a dispute", **DO)
    assert (made["status"], made["count"], made["blocks"][0]["state"]) == ("frozen", "910", "frozen")
    assert units.freeze(home, [serial], reference="court-1", why="a dispute", **DO) == made
    assert units.block_page(home, serial)["blocks"][0]["state"] == "frozen"
    assert refused(units.cancel, home, None, [serial], reference="c-1", why="x") == "unit-state"
    assert refused(units.export, home, None, [serial], reference="e-1", registry="r") == "unit-state"
    units.thaw(home, [serial], reference="court-1", why="it is over", **DO)
    assert units.block_page(home, serial)["blocks"][0]["state"] == "held"
    assert [event["event"] for event in units.block_page(home, serial)["events"]] == ["issue", "freeze", "thaw"]


def test_what_is_cancelled_stays_so_and_the_serial_is_the_same(home: Home) -> None:
    issued(home, 1_000)
    (part, rest) = units.split(home, first(home), [10], reference="s-1", **DO)["blocks"]
    made = units.cancel(home, "programme", [part["serial"]], reference="c-1", why="voluntary", **DO)
    assert made["blocks"][0]["serial"] == part["serial"]
    for act in (units.freeze, units.expire):
        assert refused(act, home, [part["serial"]], reference="z", why="x") == "unit-state"
    assert refused(units.split, home, part["serial"], [1], reference="s-2") == "unit-state"
    assert refused(units.cancel, home, "party:a", [rest["serial"]], reference="c-2", why="x") == "block-outside"
    assert (
        refused(units.cancel, home, "programme", [rest["serial"]], reference="c-1", why="voluntary")
        == "reference-taken"
    )


def test_a_split_takes_counts_and_a_merge_whole_blocks(home: Home) -> None:
    issued(home, 1_000)
    whole = first(home)
    made = units.split(home, whole, [10, 300], reference="s-1", **DO)
    assert [each["count"] for each in made["blocks"]] == ["10", "300", "600"]
    assert units.split(home, whole, [10, 300], reference="s-1", **DO) == made
    assert refused(units.split, home, whole, [10], reference="s-2") == "block-outside"
    assert units.merge(home, whole, reference="m-1", **DO)["blocks"][0]["serial"] == whole
    assert units.merge(home, whole, reference="m-1", **DO)["count"] == "910"
    for counts in ([], [0], [911], [-1, 5]):
        assert refused(units.split, home, whole, counts, reference="s-3") == "block-outside"


def test_units_leave_for_another_registry_once_with_its_reference_or_come_back(home: Home) -> None:
    issued(home, 1_000)
    one, two, _ = (each["serial"] for each in units.split(home, first(home), [10, 10], reference="s", **DO)["blocks"])
    units.export(home, None, [one], registry="other", reference="e-1", **DO)
    units.export(home, None, [two], registry="other", reference="e-2", **DO)
    assert refused(units.cancel, home, None, [one], reference="c", why="x") == "unit-state"
    made = units.exported(home, "e-1", there="gs1 - 77", **DO)
    assert (made["status"], made["blocks"][0]["state"]) == ("exported", "exported")
    assert units.exported(home, "e-1", there="GS1-77", **DO) == made
    assert refused(units.exported, home, "e-1", there="GS1-78") == "reference-taken"
    assert refused(units.exported, home, "e-2", there="GS1-77") == "foreign-taken"
    assert units.export_back(home, "e-2", why="they refused", **DO)["blocks"][0]["state"] == "held"
    assert refused(units.exported, home, "e-2", there="GS1-79") == "export-unknown"
    assert refused(units.exported, home, "e-9", there="GS1-79") == "export-unknown"


IMPORT: dict[str, Any] = {
    "registry": "gold", "foreign": "GS1-1-KE-GS7495-16-2025-30645-608-30350", "units": 29_743, "unit": "T",
    "vintage": 2025, "region": "CN", "tier": "national_voluntary", "holder": "programme", "evidence": EVIDENCE,
}  # fmt: skip


def test_imported_units_are_a_lot_of_their_own_whose_foreign_number_comes_in_once(home: Home) -> None:
    issued(home, 1_000)
    made = units.import_units(home, **IMPORT, reference="i-1", **DO)
    assert (made["lot"], made["kind"], made["foreign"]) == ("X000001", "import", IMPORT["foreign"])
    assert made["blocks"][0]["serial"].startswith("TZ1-CN000000-BEIJINGMARKET-X000001-2025-T-1-29743-")
    assert units.import_units(home, **IMPORT, reference="i-1", **DO) == made
    spelled = {**IMPORT, "foreign": " ｇs1-1-ke-gs7495-16-2025-30645-608-30350"}
    assert refused(units.import_units, home, **spelled, reference="i-2") == "foreign-taken"
    assert refused(units.import_units, home, **{**IMPORT, "units": 5}, reference="i-1") == "reference-taken"
    assert units.import_units(home, **{**IMPORT, "foreign": "GS2"}, reference="i-2", **DO)["lot"] == "X000002"
    assert refused(units.import_units, home, **{**IMPORT, "foreign": first(home)}, reference="i-3") == "import-own"
    assert refused(units.freeze, home, [first(home), first(home, "X000001")], reference="f", why="x") == "lots-mixed"
    assert registered(home, 10, "next") == 2  # own lots are numbered on as before


def test_every_mistake_of_an_import_is_told_at_once(home: Home) -> None:
    wrong = {**IMPORT, "units": 0, "unit": "G", "vintage": 3000, "tier": "none", "holder": "reserve", "evidence": "x"}
    with pytest.raises(TanzhangError) as error:
        units.import_units(home, **wrong, reference="i-1", **DO)
    assert {problem.where for problem in error.value.problems} == {
        "units", "unit", "vintage", "tier", "holder", "evidence"
    }  # fmt: skip


def test_a_label_is_a_dated_fact_that_changes_no_serial(home: Home) -> None:
    issued(home, 1_000)
    serial = first(home)
    one, two = (each["serial"] for each in units.split(home, serial, [100], reference="s", **DO)["blocks"])
    made = label(home, one, "ets_surrender", "l-1", scope="2026", until_day=date(2027, 1, 1))
    assert (made["serial"], made["until_day"], made["evidence"]) == (one, "2027-01-01", EVIDENCE)
    assert label(home, one, "ets_surrender", "l-1", scope="2026", until_day=date(2027, 1, 1)) == made
    page = units.block_page(home, serial)
    assert page["labels"] == units.labels_of(home, serial)["labels"] == units.labels_of(home, one)["labels"]
    assert [each["scheme"] for each in page["labels"]] == ["ets_surrender"]
    assert units.labels_of(home, two)["labels"] == []
    assert [each["serial"] for each in page["blocks"]] == [one, two]
    assert refused(units.merge, home, serial, reference="m") == "blocks-differ"
    gone = labels.revoke(home, int(made["number"]), reference="l-2", why="withdrawn", **DO)
    assert gone["status"] == "revoked"
    assert labels.revoke(home, int(made["number"]), reference="l-2", why="withdrawn", **DO) == gone
    assert refused(labels.revoke, home, int(made["number"]), reference="l-3", why="x") == "unknown-label"
    assert refused(labels.revoke, home, 99, reference="l-3", why="x") == "unknown-label"
    assert units.block_page(home, serial)["labels"] == []
    assert units.merge(home, serial, reference="m", **DO)["blocks"][0]["serial"] == serial


def test_one_scheme_and_scope_holds_once_on_a_day_and_other_days_or_units_are_free(home: Home) -> None:
    issued(home, 1_000)
    one, two = (each["serial"] for each in units.split(home, first(home), [100], reference="s", **DO)["blocks"])
    label(home, one, "voluntary", "l-1", until_day=date(2027, 1, 1))
    assert refused(label, home, one, "voluntary", "l-2", first_day=date(2026, 12, 31)) == "label-overlap"
    label(home, one, "voluntary", "l-2", first_day=date(2027, 1, 1))
    label(home, one, "voluntary", "l-3", scope="2026")
    label(home, two, "voluntary", "l-4")
    assert refused(label, home, two, "voluntary", "l-1") == "reference-taken"
    assert refused(label, home, two, "unheard_of", "l-5") == "label-unknown"
    assert refused(label, home, two, "event_neutrality", "l-5", until_day=date(2026, 7, 1)) == "label-malformed"
    assert refused(label, home, two, "event_neutrality", "l-5", evidence="x") == "label-malformed"


def test_a_unit_is_in_one_tier_and_what_its_labels_say_decides_which(home: Home) -> None:
    issued(home, 1_000)
    serial = first(home)
    one, two = (each["serial"] for each in units.split(home, serial, [100], reference="s", **DO)["blocks"])

    def tiers() -> list[str]:
        return [each["tier"] for each in units.block_page(home, serial)["blocks"]]

    assert tiers() == ["carbon_inclusion"] * 2
    ours = label(home, one, "voluntary", "l-1")
    assert refused(label, home, one, "ccer", "l-2") == "tier-conflict"
    assert refused(label, home, serial, "ccer", "l-2") == "tier-conflict"
    labels.revoke(home, int(ours["number"]), reference="l-3", why="for the other market", **DO)
    other = label(home, one, "ccer", "l-2")
    assert tiers() == ["national_voluntary", "carbon_inclusion"]
    label(home, one, "article_6", "l-4")
    assert refused(label, home, one, "voluntary", "l-5") == "tier-conflict"
    labels.revoke(home, int(other["number"]), reference="l-6", why="over", **DO)
    assert tiers() == ["national_voluntary", "carbon_inclusion"]
    units.freeze(home, [two], reference="f", why="x", **DO)
    assert refused(label, home, two, "ccer", "l-7") == "unit-state"
    label(home, two, "voluntary", "l-8")  # its tier stays
    assert covered(home.units.blocks(lot=1)) == [(0, 1000)]


def test_final_units_take_no_label_and_lose_the_ones_they_have_as_facts_alone(home: Home) -> None:
    issued(home, 1_000)
    serial = first(home)
    fact = label(home, serial, "voluntary", "l-1")
    units.cancel(home, "programme", [serial], reference="c", why="voluntary", **DO)
    assert refused(label, home, serial, "event_neutrality", "l-2") == "unit-state"
    labels.revoke(home, int(fact["number"]), reference="l-3", why="wrong", **DO)
    assert units.block_page(home, serial)["labels"] == []
    (block,) = home.units.blocks(lot=1, states=[State.CANCELLED], holder="programme")
    assert block.count == 910


def test_a_serial_number_of_another_registry_or_of_units_that_never_were_is_told_apart(home: Home) -> None:
    issued(home, 1_000)
    for serial in (
        Serial("CN-110000", "BEIJINGMARKET", 1, 2025, "K", 0, 1001),
        Serial("CN-110000", "BEIJINGMARKET", 1, 2026, "K", 0, 10),
        Serial("CN-110000", "OTHER", 1, 2025, "K", 0, 10),
        Serial("CN-110000", "BEIJINGMARKET", 2, 2025, "K", 0, 10),
    ):
        with pytest.raises(TanzhangError, match="unknown-serial"):
            units.block_page(home, serial.text)
    with pytest.raises(TanzhangError, match="serial-check"):
        units.block_page(home, first(home)[:-2] + "00")


def test_lists_page_and_are_asked_by_state(home: Home) -> None:
    issued(home, 1_000)
    units.split(home, first(home), [10, 20], reference="s", **DO)
    page = units.blocks_page(home, limit=4)
    rest = units.blocks_page(home, limit=4, cursor=page["next"])
    assert (len(page["items"]), len(rest["items"]), rest["next"]) == (4, 2, None)
    assert len(units.blocks_page(home, state="cancelled")["items"]) == 1
    with pytest.raises(TanzhangError, match="unit-state-unknown"):
        units.blocks_page(home, state="Held")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE unit_block SET holder = 'party:thief' WHERE lo = 0",
        "UPDATE unit_block SET state = 'frozen' WHERE lo = 0",
        "UPDATE unit_block SET tier = 'national_voluntary' WHERE lo = 0",
        "UPDATE unit_block SET hi = 900 WHERE lo = 0",
        "DELETE FROM unit_block WHERE lo = 0",
        "UPDATE lot SET state = 'registered'",
        "INSERT INTO unit_reversal (batch, lot, reversed_mg, made_at) VALUES (0, 1, 5000000, '')",
    ],
)
def test_verification_sees_whoever_writes_to_tables_past_the_program(home: Home, change: str) -> None:
    issued(home, 1_000)
    label(home, first(home), "voluntary", "l-1")
    assert check_units(home)[1] == []
    with home.book.transaction() as con:
        con.execute(sa.text(change))
    assert {problem.code for problem in check_units(home)[1]} == {"units-changed"}


@pytest.mark.parametrize("reference", ["", " ", "x" * 201, "a\nb"])
def test_a_reference_is_a_text_on_one_line(home: Home, reference: str) -> None:
    issued(home, 1_000)
    assert refused(units.split, home, first(home), [1], reference=reference) == "unit-request-malformed"


LI, WU = Actor(Role.BUYER, "li", "a test"), Actor(Role.BUYER, "wu", "a test")


def of_parties(home: Home) -> tuple[str, str]:
    """Serial numbers of ten units each that two approved parties hold."""
    issued(home, 1_000)
    with home.book.transaction() as con:
        for number, name in enumerate(("steel", "paper")):
            home.units.reserve(con, "programme", 1, 10, f"d-{number}", AT)
            home.units.deliver(con, f"d-{number}", f"party:{name}", AT)
    for name in ("steel", "paper"):
        approved(home, name, now=NOW)
    one, two = (units.blocks_page(home, holder=f"party:{name}")["items"][0]["serial"] for name in ("steel", "paper"))
    return one, two


def test_two_buyers_may_choose_one_reference_and_neither_learns_of_the_other(home: Home) -> None:
    one, two = of_parties(home)
    said = {"registry": "other", "reference": "2026-1", "now": NOW}
    first_ = units.export(home, "party:steel", [one], **said, actor=LI)
    second = units.export(home, "party:paper", [two], **said, actor=WU)
    assert (first_["reference"], second["reference"]) == ("2026-1", "2026-1")
    assert units.export(home, "party:paper", [two], **said, actor=WU) == second
    names = [each["blocks"][0]["held_for"] for each in (first_, second)]
    assert len(set(names)) == 2
    assert units.exported(home, names[0], there="GS-1", **DO)["blocks"][0]["serial"] == one
    assert units.export_back(home, names[1], why="not taken", **DO)["blocks"][0]["serial"] == two
    assert refused(units.exported, home, "2026-1", there="GS-2") == "export-unknown"
    why = {"why": "voluntary", "reference": "2026-1", "now": NOW}
    units.cancel(home, "party:paper", [two], **why, actor=WU)
    with pytest.raises(TanzhangError, match="unit-state"):
        units.cancel(home, "party:steel", [one], **why, actor=LI)
    assert check_units(home)[1] == []


def test_staff_of_a_suspended_party_move_no_units_and_are_told_what_they_did_before(home: Home) -> None:
    one, _ = of_parties(home)
    (part, rest) = (each["serial"] for each in units.split(home, one, [4], reference="s", **DO)["blocks"])
    why = {"why": "voluntary", "reference": "c-1", "actor": LI, "now": NOW}
    before = units.cancel(home, "party:steel", [part], **why)
    set_state(home, "steel", "suspended", note=None, **DO)
    assert units.cancel(home, "party:steel", [part], **why) == before
    for act, more in ((units.cancel, {"why": "voluntary"}), (units.export, {"registry": "other"})):
        with pytest.raises(TanzhangError, match="party-not-approved"):
            act(home, "party:steel", [rest], reference="c-2", actor=LI, now=NOW, **more)
    assert units.cancel(home, "party:steel", [rest], reference="c-2", why="by a court", **DO)["count"] == "6"
    assert units.blocks_page(home, holder="party:paper")["items"][0]["state"] == "held"


@pytest.mark.parametrize("holder", ["Programme", "steel", "levy:own", "party:", "party:none", "bank"])
def test_imported_units_are_held_by_the_programme_or_a_party_and_by_no_other_word(home: Home, holder: str) -> None:
    with pytest.raises(TanzhangError, match=r"import-malformed|unknown-party"):
        units.import_units(home, **{**IMPORT, "holder": holder}, reference="i-1", **DO)
    assert home.units.blocks() == []
