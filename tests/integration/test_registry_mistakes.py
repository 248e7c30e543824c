"""Mistakes that registries of carbon units made in public, each one tried here, on both databases.

Which registry made which is in docs/units.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tanzhang.core.access import Actor, Caller, Role
from tanzhang.core.errors import TanzhangError
from tanzhang.core.serial import Serial
from tanzhang.core.units import TERMINAL, Block, Kind, Pick, Standing, State, covered, totals
from tanzhang.service.market import units
from tanzhang.service.market.check_retirements import check_retirements
from tanzhang.service.market.check_units import check_units
from tanzhang.service.market.issue import issue
from tanzhang.service.market.payments import take_statement
from tanzhang.service.market.retire import Asked, retire
from tanzhang.stores.bank_statements import COLUMNS
from tanzhang.stores.book.schema import entry, retirement, unit_event
from tanzhang.stores.home import Home
from tanzhang.stores.register.audit import audit
from tanzhang.stores.register.retirements import retirement_opening
from tanzhang.stores.register.units import unit_block

from ..homes import market_home
from ..trading import approved
from ..units import AT, NOW, OPERATOR, TIER, imported, issued, registered

DO = {"actor": OPERATOR, "now": NOW}
DIED = 77
CHILD = f"""
import json, os, sys
from datetime import datetime
from pathlib import Path
from tanzhang.core.access import Actor, Role
from tanzhang.service.market import units
from tanzhang.service.market.issue import issue
from tanzhang.core.errors import TanzhangError
from tanzhang.stores import files
from tanzhang.stores.home import Home
home, do, serial, point = Home(Path(sys.argv[1])), *sys.argv[2:5]
files.on_write = lambda step, path: os._exit({DIED}) if step == point and "book" in path.name else None
with_key = dict(reference="one-key", actor=Actor(Role.OPERATOR, "olga", "command line"),
                now=datetime.fromisoformat("2026-07-01T04:00:00+00:00"))
while True:
    try:
        if do == "issue":
            said = issue(home, 1, **with_key)
        else:
            said = units.cancel(home, None, [serial], why="voluntary", **with_key)
    except TanzhangError as error:
        if error.code == "home-busy":
            continue
        said = {{"code": error.code}}
    break
print(json.dumps(said, sort_keys=True))
"""


@pytest.fixture
def home(place: Callable[[str], str | None], quick: Path) -> Home:
    """A home with a market, its book on either database."""
    return market_home(quick / "home", book=place("tests"))


def child(home: Home, do: str, serial: str = "", point: str = "never") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, str(home.folder), do, serial, point]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def answer_of(process: subprocess.Popen[str]) -> Any:
    said, wrong = process.communicate(timeout=120)
    assert process.returncode == 0, wrong
    return json.loads(said)


# -- ranges as free texts ---------------------------------------------------------------------------------------


def test_a_split_by_counts_alone_cannot_overlap_leave_a_gap_or_lie_outside_its_parent(home: Home) -> None:
    issued(home, 1_000)
    whole = units.blocks_page(home, holder="programme")["items"][0]["serial"]
    parts = units.split(home, whole, [10, 100], reference="s", **DO)["blocks"]
    read = [Serial.parse(each["serial"]) for each in parts]
    assert [(each.lo, each.hi) for each in read] == [(0, 10), (10, 110), (110, 910)]
    for children in ([(0, 400), (400, 999)], [(0, 500), (499, 1000)], [(0, 400), (401, 1000)], [(0, 400), (400, 1001)]):
        standing = Standing([Block(1, 0, 1000, 2025, "programme", State.HELD, TIER)])
        with pytest.raises(TanzhangError, match="unit-event"):
            standing.apply(
                Kind.SPLIT, [(0, 1000)], [Block(1, lo, hi, 2025, "programme", State.HELD, TIER) for lo, hi in children]
            )


def test_a_split_sets_no_state_and_nothing_leads_back_from_a_final_one(home: Home) -> None:
    (block,) = imported(home, 10)
    with home.book.transaction() as con:
        home.units.retire(con, "programme", [Pick(block.lot, 0, 10)], "r", {}, AT)
    serial = units.blocks_page(home)["items"][0]["serial"]
    for act in (
        lambda: units.split(home, serial, [5], reference="s", **DO),
        lambda: units.thaw(home, [serial], reference="t", why="x", **DO),
        lambda: units.export_back(home, "r", why="x", **DO),
        lambda: units.cancel(home, None, [serial], reference="c", why="x", **DO),
    ):
        with pytest.raises(TanzhangError):
            act()
    assert home.units.blocks()[0].state is State.RETIRED


def test_blocks_are_neither_changed_nor_deleted_once_they_are_final_whoever_writes_to_the_table(home: Home) -> None:
    for number, state in enumerate(sorted(TERMINAL)):
        row = {**asdict(Block(7, number, number + 1, 2025, "x", state, TIER)), "since": 0}
        with home.book.transaction() as con:
            con.execute(unit_block.insert(), row)
    for statement in (unit_block.update().values(state="held"), unit_block.delete()):
        with pytest.raises(Exception, match="never changes"), home.book.transaction() as con:
            con.execute(statement)
    assert len(home.units.blocks()) == len(TERMINAL)


# -- words and counts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["Retired", "RETIRED", "retired ", "destroyed", ""])
def test_a_state_is_itself_and_not_its_spelling(home: Home, word: str) -> None:
    with pytest.raises(TanzhangError, match="unit-state-unknown"):
        units.blocks_page(home, state=word)


def test_a_reason_is_asked_of_everything_that_ends_units_whatever_their_spelling(home: Home) -> None:
    issued(home, 1_000)
    serial = units.blocks_page(home, holder="programme")["items"][0]["serial"]
    for act in (units.freeze, units.expire):
        with pytest.raises(TanzhangError, match="unit-request-malformed"):
            act(home, [serial], reference="x", why=" ", **DO)
    with pytest.raises(TanzhangError, match="unit-request-malformed"):
        units.cancel(home, None, [serial], reference="x", why="", **DO)


def test_a_count_is_worked_out_of_the_range_both_ends_of_which_belong_to_it() -> None:
    assert Serial.parse("TZ1-CN110000-BJGT-L000042-2025-T-11-200-29").count == 190
    assert [each for each in Serial.__dataclass_fields__ if "count" in each] == []
    assert "count" not in unit_block.c


# -- numbers that are none --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["TZ1-CN110000-BJGT-L000042-2025-T-NaN-NaN-undefined", "TZ1-CN1100-BJGT-L42-25-T-1-2-00"]
)
def test_a_number_is_made_of_typed_fields_and_none_is_read_by_its_width(text: str) -> None:
    with pytest.raises(TanzhangError, match="serial-malformed"):
        Serial.parse(text)
    with pytest.raises(TanzhangError, match="serial-malformed"):
        Serial("CN-110000", "BJGT", 42, 2025, "T", -1, 5)
    long = Serial("CN-110000", "A" * 24, 1_000_000, 2025, "T", 0, 2**32)
    assert Serial.parse(long.text) == long


def test_the_database_itself_keeps_two_owners_of_one_unit_apart(home: Home) -> None:
    imported(home, 100)
    lot = home.units.blocks()[0].lot
    for lo, hi in ((0, 100), (99, 100), (50, 150)):
        row = {**asdict(Block(lot, lo, hi, 2025, "party:b", State.HELD, TIER)), "since": 0}
        with pytest.raises(sa.exc.IntegrityError), home.book.transaction() as con:
            con.execute(unit_block.insert(), row)


# -- issued more than once --------------------------------------------------------------------------------------


def test_several_processes_that_issue_one_lot_issue_it_once_and_all_are_told_the_same(home: Home) -> None:
    registered(home, 1_000)
    running = [child(home, "issue") for _ in range(2)]
    answers = [answer_of(each) for each in running]
    assert answers[0]["status"] == "issued"
    assert answers[0] == answers[1] == issue(home, 1, reference="one-key", **DO)
    assert sum(totals(home.units.blocks()).values()) == 1_000
    assert [row.kind for row in home.units.events()] == [Kind.ISSUE]
    assert check_units(home)[1] == []


def test_what_is_issued_is_what_the_log_says_of_the_lot(home: Home) -> None:
    number = registered(home, 1_000)
    with home.book.transaction() as con:
        con.execute(sa.text("UPDATE lot SET units = 3000, total_mg = 3000000000"))
    with pytest.raises(TanzhangError, match="lot-not-logged"):
        issue(home, number, reference="i", **DO)
    assert home.units.blocks() == []


def test_no_stranger_and_no_buyer_issues_or_holds_back_units() -> None:
    from tanzhang.api.access import allowed_by
    from tanzhang.api.routes.units import handlers

    for each in handlers:
        roles, _ = allowed_by(each)
        if "POST" in each.http_methods:
            assert roles <= {Role.OPERATOR, Role.BUYER}, each
            assert Role.BUYER not in roles or each.fn.__name__ in ("cancel", "export"), each


# -- keys and crashes -------------------------------------------------------------------------------------------


def test_several_processes_with_one_key_have_one_effect_and_one_answer(home: Home) -> None:
    issued(home, 1_000)
    serial = units.blocks_page(home, holder="programme")["items"][0]["serial"]
    running = [child(home, "cancel", serial) for _ in range(2)]
    answers = [answer_of(each) for each in running]
    assert answers[0]["count"] == "910"
    assert answers[0] == answers[1] == units.cancel(home, None, [serial], reference="one-key", why="voluntary", **DO)
    assert len(home.units.events(lot=1)) == 2


@pytest.mark.parametrize(
    ("do", "point"), [("issue", "before commit"), ("issue", "after commit"), ("cancel", "after commit")]
)
def test_who_dies_between_the_effect_and_the_answer_is_told_by_the_same_key(home: Home, do: str, point: str) -> None:
    registered(home, 1_000)
    if do == "cancel":
        issue(home, 1, reference="before", **DO)
    serial = units.blocks_page(home, holder="programme")["items"][0]["serial"] if do == "cancel" else ""
    before = len(home.units.events())
    died = child(home, do, serial, point)
    died.communicate(timeout=120)
    assert died.returncode == DIED
    assert len(home.units.events()) == before + (point == "after commit")

    def again() -> dict[str, Any]:
        if do == "issue":
            return issue(home, 1, reference="one-key", **DO)
        return units.cancel(home, None, [serial], reference="one-key", why="voluntary", **DO)

    assert again() == again()
    assert len(home.units.events()) == before + 1
    assert covered(home.units.blocks()) == [(0, 1_000)]
    assert check_units(home)[1] == []


def test_equal_requests_with_two_keys_are_two_requests(home: Home) -> None:
    issued(home, 1_000)
    with home.book.transaction() as con:
        one = home.units.reserve(con, "programme", 1, 5, "key-1", AT)
        two = home.units.reserve(con, "programme", 1, 5, "key-2", AT)
        assert home.units.reserve(con, "programme", 1, 5, "key-1", AT) == one
    assert [(each.lo, each.hi) for each in [*one, *two]] == [(0, 5), (5, 10)]


def test_nothing_is_written_of_an_act_whose_units_are_not_all_there(home: Home) -> None:
    issued(home, 1_000)
    events = len(home.units.events())
    with pytest.raises(TanzhangError, match="units-short"), home.book.transaction() as con:
        home.units.reserve(con, "programme", 1, 911, "key", AT)
    with pytest.raises(TanzhangError, match="block-outside"), home.book.transaction() as con:
        home.units.retire(con, "programme", [Pick(1, 900, 920)], "key", {}, AT)
    assert len(home.units.events()) == events


# -- retiring ---------------------------------------------------------------------------------------------------


LI = Actor(Role.BUYER, "li", "a test")


def bought(home: Home) -> list[str]:
    """Serial numbers of ten units each that steel and paper hold, both approved."""
    issued(home, 1_000)
    with home.book.transaction() as con:
        for name in ("steel", "paper"):
            home.units.reserve(con, "programme", 1, 10, name, AT)
            home.units.deliver(con, name, f"party:{name}", AT)
    for name in ("steel", "paper"):
        approved(home, name, now=NOW)
    return [units.blocks_page(home, holder=f"party:{name}")["items"][0]["serial"] for name in ("steel", "paper")]


def retired(home: Home, reference: str, *, party: str = "steel", hours: int = 0, **more: Any) -> dict[str, Any]:
    """What steel retires, the lowest of its units unless it names others."""
    named = {"lot": "L000001", "count": 4} if "serials" not in more else {}
    said = {"beneficiary": "Example Games", **named, **more}
    asked = Asked("event_neutrality", date(2026, 6, 1), date(2026, 6, 30), **said)
    return retire(home, party, reference, asked, actor=LI, now=NOW + timedelta(hours=hours))


def written(home: Home) -> list[int]:
    """How much there is in every table that a retirement writes to."""
    tables = (unit_event, retirement, retirement_opening, audit, entry)
    return [home.book.query(sa.select(sa.func.count()).select_from(table))[0][0] for table in tables]


def test_a_retry_is_the_same_retirement_whatever_the_clock_says_by_then(home: Home) -> None:
    bought(home)
    first = retired(home, "one-key")
    before = written(home)
    assert [retired(home, "one-key", hours=hours) for hours in (0, 1, 24 * 400)] == [first] * 3
    assert written(home) == before
    assert sum(each.count for each in home.units.blocks(states=[State.RETIRED])) == 4
    with pytest.raises(TanzhangError, match="reference-taken"):
        retired(home, "one-key", beneficiary="Another")


def test_nothing_is_written_of_a_retirement_of_more_than_there_is(home: Home) -> None:
    steel, _ = bought(home)
    before = written(home)
    with pytest.raises(TanzhangError, match="units-short"):
        retired(home, "r", count=11)
    assert written(home) == before
    retired(home, "r")  # the key is free, since nothing was done under it
    before = written(home)
    with pytest.raises(TanzhangError, match="unit-state"):
        retired(home, "whole", serials=(steel,))  # some of these units are retired, so none of the others is
    assert written(home) == before
    assert check_units(home)[1] == check_retirements(home)[1] == []


def test_units_are_retired_by_nobody_but_who_holds_them(home: Home) -> None:
    _, paper = bought(home)
    begun = home.units.begun(1)
    assert begun is not None
    others = [begun.serial(each.lo, each.hi).text for each in home.units.blocks() if each.holder != "party:steel"]
    assert paper in others
    before = written(home)
    for serial in others:  # of another party, entrusted to the programme, of the reserve, of levies
        with pytest.raises(TanzhangError, match="block-outside"):
            retired(home, "r", serials=(serial,))
    with pytest.raises(TanzhangError, match="unknown-party"):
        retired(home, "r", party="nobody")
    assert written(home) == before
    assert retired(home, "r", party="paper", serials=(paper,))["units"] == "10"


def test_staff_of_a_buyer_retire_for_their_own_party_and_no_route_lets_others_do_it() -> None:
    from tanzhang.api.access import allowed_by
    from tanzhang.api.actors import party_meant
    from tanzhang.api.routes.retirements import handlers

    li = Caller(Role.BUYER, "li", partner="steel")
    assert party_meant(li, None) == party_meant(li, "steel") == "steel"
    for caller in (li, Caller(Role.BUYER, "nobody's")):
        with pytest.raises(TanzhangError, match="not-allowed"):
            party_meant(caller, "paper")
    for each in handlers:
        roles, _ = allowed_by(each)
        if "POST" in each.http_methods:
            assert roles <= {Role.OPERATOR, Role.BUYER}, each


def test_two_retirements_that_are_equal_in_everything_but_their_key_are_two(home: Home) -> None:
    bought(home)
    one, two = retired(home, "key-1"), retired(home, "key-2")
    assert one["retired_at"] == two["retired_at"]
    assert one["id"] != two["id"]
    assert [one["serials"], two["serials"]] != [one["serials"]] * 2
    assert sum(each.count for each in home.units.blocks(states=[State.RETIRED])) == 8
    assert check_retirements(home)[1] == []


def test_two_payments_of_one_amount_day_and_payer_are_two(home: Home) -> None:
    line = ["2026-06-30", "60000", "Example Steel", "6222 0000 0001", "no reference"]
    rows = [COLUMNS, ["E1", *line], ["E2", *line]]
    data = "\n".join(",".join(row) for row in rows).encode()
    for _ in range(2):
        take_statement(home, "bank_statement", data, "june.csv", **DO)
    assert home.money.balance("unclear") == 120_000
    assert [row.entry for row in home.payments.all()] == ["E1", "E2"]
