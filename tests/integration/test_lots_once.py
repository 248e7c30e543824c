"""Milligrams that are used are used once: over reversals, joinings, partings and erasings in any order."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from tanzhang.core.lot import lot_text
from tanzhang.core.units import RESERVE
from tanzhang.service.donations import load_projects
from tanzhang.service.erase import erase
from tanzhang.service.joining import join
from tanzhang.service.market import lots as service
from tanzhang.service.market import units
from tanzhang.service.market.authorise import authorise, authorise_file
from tanzhang.service.market.available import available_mg
from tanzhang.service.market.check_lots import check_lots
from tanzhang.service.market.check_units import check_units
from tanzhang.service.market.compensate import compensate_due, compensation
from tanzhang.service.market.holdings import record_states
from tanzhang.service.market.issue import issue
from tanzhang.service.market.lots import dissolve, freeze
from tanzhang.service.market.reports import market_overview
from tanzhang.service.parting import part
from tanzhang.service.reading import Reader
from tanzhang.stores.home import Home

from ..homes import BOX_MG, account, assert_verified, box, market_home, on, withdrawal
from ..lots import LATER, UNIT_MG, drafted, entrusted, frozen, report
from ..units import OPERATOR
from .test_lot_shares import PROJECTS, boxes, give
from .test_units_compensation import register

DO = {"actor": OPERATOR, "now": LATER}


@pytest.fixture
def home(place: Callable[[str], str | None], quick: Path) -> Home:
    """A new home with market rules and a project that takes gifts, its book on either database."""
    made = market_home(quick / "home", book=place("tests"))
    (quick / "projects.yaml").write_text(PROJECTS, encoding="utf-8")
    load_projects(made, quick / "projects.yaml", actor=OPERATOR, now=on(1))
    return made


def of(home: Home, name: str) -> uuid.UUID:
    return account(home, "cainiao", name)


def test_what_was_taken_back_of_a_lot_is_compensated_though_its_person_was_erased_first(
    home: Home, tmp_path: Path
) -> None:
    report(home, tmp_path, boxes("anna", 120))
    entrusted(home, of(home, "anna"))
    number = frozen(home)
    register(home, number)
    issue(home, number, reference="i", **DO)
    report(home, tmp_path, [withdrawal(box(f"anna-{n}", "anna"), f"w-{n}") for n in range(120)], day=9)
    erase(home, [of(home, "anna")], now=on(22))
    compensate_due(home, now=LATER)
    assert compensation(home, lot_text(number))["reversed_mg"] == str(4 * UNIT_MG)
    assert available_mg(home, of(home, "anna")) == 0
    assert check_units(home)[1] == check_lots(home)[1] == []


def test_a_reserve_that_was_frozen_makes_a_lot_good_once_it_is_free_again(home: Home, tmp_path: Path) -> None:
    report(home, tmp_path, boxes("anna", 120))
    entrusted(home, of(home, "anna"))
    number = frozen(home)
    register(home, number)
    issue(home, number, reference="i", **DO)
    name = lot_text(number)
    begun = home.units.begun(number)
    (kept,) = (begun.serial(each.lo, each.hi).text for each in home.units.blocks(lot=number, holder=RESERVE))
    units.freeze(home, [kept], reference="f", why="a court asks", **DO)
    report(home, tmp_path, [withdrawal(box(f"anna-{n}", "anna"), f"w-{n}") for n in range(120)], day=9)
    assert compensate_due(home, now=LATER)["cancelled"] == "0"
    said = units.thaw(home, [kept], reference="t", why="it is over", **DO)
    assert compensation(home, name) | {"made_good": "1", "shortfall": "3"} == compensation(home, name)
    assert units.thaw(home, [kept], reference="t", why="it is over", **DO) == said
    assert check_units(home)[1] == []


def test_a_wish_that_is_narrower_than_a_partners_file_holds_though_a_lot_is_being_built(
    home: Home, tmp_path: Path
) -> None:
    report(home, tmp_path, [*boxes("anna", 30), *boxes("bo", 30)])
    entrusted(home, of(home, "bo"))
    path = tmp_path / "all.csv"
    path.write_text("subject,from_day\nanna,2025-01-01\n")
    authorise_file(home, path, "cainiao", actor=OPERATOR, now=on(10))
    number = drafted(home)

    def meanwhile() -> None:
        authorise(home, of(home, "anna"), since=date(2025, 1, 1), behaviours=["travel.metro"], now=on(11))

    with before_booking(meanwhile):
        freeze(home, number, actor=OPERATOR, now=LATER)
    assert home.lots.share_of([of(home, "anna")]) == {}


def test_what_is_carried_by_an_account_that_joins_another_meanwhile_is_not_in_a_lot(home: Home, tmp_path: Path) -> None:
    report(home, tmp_path, [*boxes("anna", 30), *boxes("bo", 30)])
    anna, cai = of(home, "anna"), of(home, "cai")
    join(home, anna, cai, now=on(19))
    entrusted(home, cai, of(home, "bo"))
    number = drafted(home)
    with before_booking(lambda: join(home, cai, uuid.UUID(int=5 << 100), now=on(21))):
        freeze(home, number, actor=OPERATOR, now=LATER)
    assert home.lots.share_of([anna]) == {}


def test_what_another_account_gave_of_brought_grams_is_in_no_lot_after_parting(home: Home, tmp_path: Path) -> None:
    report(home, tmp_path, [*boxes("anna", 100), *boxes("bo", 40)])
    anna, bo = of(home, "anna"), of(home, "bo")
    joined = join(home, anna, bo, since=date(2025, 6, 8), now=on(10))
    give(home, bo, 100 * BOX_MG)
    part(home, joined["id"], now=on(21))
    assert (available_mg(home, anna), available_mg(home, bo)) == (40 * BOX_MG, 0)
    entrusted(home, anna, bo, now=on(22))
    number = frozen(home)
    assert home.lots.share_of([anna]) == {number: UNIT_MG}
    assert home.lots.share_of([bo]) == {}
    assert available_mg(home, anna) == 40 * BOX_MG - UNIT_MG
    assert_verified(home)


def test_what_was_taken_back_of_a_lot_that_is_not_issued_is_neither_reserved_nor_missing_elsewhere(
    home: Home, tmp_path: Path
) -> None:
    report(home, tmp_path, boxes("anna", 30))
    entrusted(home, of(home, "anna"))
    frozen(home)
    report(home, tmp_path, [withdrawal(box(f"anna-{n}", "anna"), f"w-{n}") for n in range(30)], day=9)
    compensate_due(home, now=LATER)
    said = market_overview(home)
    assert (said["granted_mg"], said["reserved_mg"], said["confirmed_mg"]) == ("0", "0", "0")


@contextmanager
def before_booking(meanwhile: Callable[[], object]) -> Iterator[None]:
    """What happens once, after a lot's members were chosen."""
    waiting = [meanwhile]

    def write(*args: Any) -> Any:
        if waiting:
            waiting.pop()()
        return kept(*args)

    kept = service.write_lot
    with patch.object(service, "write_lot", write):
        yield


def test_what_an_erased_person_gave_is_not_given_again_in_a_new_life(home: Home, tmp_path: Path) -> None:
    report(home, tmp_path, boxes("anna", 30))
    anna = of(home, "anna")
    entrusted(home, anna)
    first = frozen(home)
    give(home, anna, 2 * BOX_MG)
    erase(home, [anna], now=on(22))
    assert available_mg(home, anna) == 0
    report(home, tmp_path, boxes("anna", 30, 100), day=23)
    assert available_mg(home, anna) == 30 * BOX_MG
    entrusted(home, anna)
    second = frozen(home, "d-2")
    assert home.lots.share_of([anna]) == {first: UNIT_MG, second: UNIT_MG}
    assert available_mg(home, anna) == 30 * BOX_MG - UNIT_MG
    erase(home, [anna], now=on(24))
    assert available_mg(home, anna) == 0
    assert erase(home, [anna], now=on(25))["status"] == "nothing"
    assert_verified(home)


def test_what_a_lot_held_of_an_erased_person_is_not_given_in_a_new_life_once_the_lot_is_given_up(
    home: Home, tmp_path: Path
) -> None:
    report(home, tmp_path, [*boxes("anna", 40), *boxes("bo", 30)])
    anna, bo = of(home, "anna"), of(home, "bo")
    entrusted(home, anna, bo)
    first, second = frozen(home, units="1"), frozen(home, "d-2")
    erase(home, [anna], now=on(22))
    held = {anna: home.lots.share_of([anna]), bo: home.lots.share_of([bo])}
    assert min(len(held[each]) for each in held) > 0
    report(home, tmp_path, boxes("anna", 10, 100), day=23)
    erase(home, [anna], now=on(24))  # a second life that leaves nothing in a lot
    report(home, tmp_path, boxes("anna", 5, 200), day=25)
    for number in (first, second):
        dissolve(home, number, why="a test", **DO)
        assert available_mg(home, anna) == 5 * BOX_MG
    assert available_mg(home, bo) == 30 * BOX_MG
    erase(home, [anna], now=on(27))
    assert available_mg(home, anna) == 0
    assert_verified(home)


def test_a_withdrawal_that_took_nothing_back_still_takes_nothing_back_once_it_is_erased_too(
    home: Home, tmp_path: Path
) -> None:
    report(home, tmp_path, [*boxes("anna", 60), *boxes("bo", 60)])
    anna, bo = of(home, "anna"), of(home, "bo")
    entrusted(home, anna, bo)
    number = frozen(home)
    register(home, number)
    issue(home, number, reference="i", **DO)
    said = record_states(Reader(home), bo)["totals"]
    erase(home, [anna], now=on(22))
    report(home, tmp_path, [withdrawal(box("anna-1", "anna"), "w-1")], day=23)
    erase(home, [anna], now=on(25))
    compensate_due(home, now=LATER)
    assert compensation(home, lot_text(number))["reversed_mg"] == "0"
    assert record_states(Reader(home), bo)["totals"] == said
    report(home, tmp_path, [box("anna-1", "anna"), withdrawal(box("anna-1", "anna"), "w-2")], day=27)
    assert available_mg(home, anna) == 0
    assert check_units(home)[1] == check_lots(home)[1] == []
