"""Acts of issued lots that are taken back: replaced from the error reserve, whole units, and nothing else moves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tanzhang.core.claim import ACTION, identity
from tanzhang.core.errors import TanzhangError
from tanzhang.core.lot import LotState, lot_text
from tanzhang.core.units import Kind, Pick, State
from tanzhang.service.market import units
from tanzhang.service.market.available import available_mg
from tanzhang.service.market.check_units import check_units
from tanzhang.service.market.compensate import compensate_due, compensation, is_due, make_good
from tanzhang.service.market.issue import issue
from tanzhang.stores.home import Home
from tanzhang.stores.lot_files import read_members

from ..homes import BOX_MG, account, box, market_home, records, withdrawal
from ..lots import LATER, entrusted, frozen, report
from ..units import OPERATOR

DO = {"actor": OPERATOR, "now": LATER}


@pytest.fixture
def home(place: Callable[[str], str | None], quick: Path) -> Home:
    """A new home with market rules, its book on either database."""
    return market_home(quick / "home", book=place("tests"))


ACTS = [box(f"anna-{number}", "anna") for number in range(120)]


def lot_of(home: Home, folder: Path) -> int:
    """A lot of four units of 1 kg, frozen; its first 108 acts are whole in it."""
    report(home, folder, ACTS)
    entrusted(home, account(home, "cainiao", "anna"))
    return frozen(home)


def register(home: Home, number: int) -> None:
    for state in (LotState.IN_VERIFICATION, LotState.VERIFIED, LotState.REGISTERED):
        with home.book.transaction() as con:
            home.lots.advance(con, number, state, detail={}, actor=OPERATOR, at="2026-01-15T02:00:00+00:00")


def in_lot(home: Home, number: int) -> list[int]:
    """What of each act is in a lot [mg]; which records come first in a batch is not said beforehand."""
    keys, amounts = read_members(home.storage, home.lots.one(number))
    there = dict(zip(keys.tolist(), amounts.tolist(), strict=True))
    places = {row["action_id"]: place for place, row in enumerate(records(home).slice(0, len(ACTS)).to_pylist())}
    named = (identity(home.identity_key, ACTION, act["source"], act["id"]) for act in ACTS)
    return [there.get(places[each], 0) for each in named]


def taken_back(home: Home, folder: Path, which: Iterable[int], day: int) -> None:
    report(home, folder, [withdrawal(ACTS[n], f"w-{n}") for n in which], day)


def states(home: Home, number: int) -> dict[str, int]:
    return {
        name: int(count) for name, count in units.lot_units(home, lot_text(number))["states"].items() if count != "0"
    }


def test_reversals_cancel_whole_units_of_the_reserve_once_and_leave_retired_ones_as_they_are(
    home: Home, tmp_path: Path
) -> None:
    number = lot_of(home, tmp_path)
    register(home, number)
    issue(home, number, reference="i", **DO)
    assert states(home, number) == {"held": 3, "cancelled": 1}
    with home.book.transaction() as con:
        sold = home.units.retire(con, "programme", [Pick(number, 0, 2)], "r", {}, "2026-01-15T03:00:00+00:00")
    assert not is_due(home)
    whole = [act for act, mg in enumerate(in_lot(home, number)) if mg == BOX_MG]
    taken_back(home, tmp_path, whole[:1], 9)
    assert is_due(home)
    assert compensate_due(home, now=LATER) == {"status": "done", "batches": 1, "cancelled": "1"}
    assert compensate_due(home, now=LATER)["batches"] == 0
    said = compensation(home, lot_text(number))
    assert said == {"reversed_mg": str(BOX_MG), "due": "1", "made_good": "1", "shortfall": "0"}
    assert [each for each in home.units.blocks(lot=number) if each.state is State.RETIRED] == sold
    taken_back(home, tmp_path, whole[1:27], 10)  # 27 boxes are 999 g: still one unit
    compensate_due(home, now=LATER)
    assert compensation(home, lot_text(number))["due"] == "1"
    taken_back(home, tmp_path, whole[27:28], 11)
    compensate_due(home, now=LATER)
    assert compensation(home, lot_text(number)) == {
        "reversed_mg": str(28 * BOX_MG), "due": "2", "made_good": "1", "shortfall": "1"
    }  # fmt: skip
    assert [each for each in home.units.blocks(lot=number) if each.state is State.RETIRED] == sold
    assert available_mg(home, account(home, "cainiao", "anna")) == (120 - 28) * BOX_MG - 4_000_000 + 28 * BOX_MG
    assert check_units(home)[1] == []


def test_what_was_taken_back_between_freezing_and_issue_is_compensated_as_the_lot_is_issued(
    home: Home, tmp_path: Path
) -> None:
    number = lot_of(home, tmp_path)
    whole = [act for act, mg in enumerate(in_lot(home, number)) if mg == BOX_MG]
    taken_back(home, tmp_path, whole[:3], 9)
    assert compensate_due(home, now=LATER)["cancelled"] == "0"
    assert compensation(home, lot_text(number))["due"] == "0"
    taken_back(home, tmp_path, whole[3:5], 10)
    register(home, number)
    issue(home, number, reference="i", **DO)
    (event,) = (row for row in home.units.events(lot=number) if row.kind == Kind.COMPENSATE)
    assert event.reference == f"{lot_text(number)} at issue"
    said = {"reversed_mg": str(5 * BOX_MG), "due": "1", "made_good": "1", "shortfall": "0"}
    assert compensation(home, lot_text(number)) == said
    assert issue(home, number, reference="i", **DO)["units"] == "4"
    assert compensation(home, lot_text(number)) == said


def test_only_what_of_an_act_is_in_a_lot_counts(home: Home, tmp_path: Path) -> None:
    number = lot_of(home, tmp_path)
    register(home, number)
    issue(home, number, reference="i", **DO)
    held = in_lot(home, number)
    outside = [act for act, mg in enumerate(held) if not mg]
    (split,) = (act for act, mg in enumerate(held) if 0 < mg < BOX_MG)
    taken_back(home, tmp_path, outside[:5], 9)
    assert compensate_due(home, now=LATER) == {"status": "done", "batches": 1, "cancelled": "0"}
    assert compensation(home, lot_text(number))["reversed_mg"] == "0"
    taken_back(home, tmp_path, [split], 10)
    compensate_due(home, now=LATER)
    assert compensation(home, lot_text(number))["reversed_mg"] == str(held[split])


def test_a_shortfall_is_public_until_other_units_are_cancelled_in_the_lots_name(home: Home, tmp_path: Path) -> None:
    number = lot_of(home, tmp_path)
    register(home, number)
    issue(home, number, reference="i", **DO)
    name = lot_text(number)
    bought = units.import_units(
        home, registry="other", foreign="O-1", units=5, unit="K", vintage=2025, region="CN", tier="carbon_inclusion",
        holder="programme", evidence="ab" * 32, reference="bought", **DO,
    )  # fmt: skip
    other = bought["blocks"][0]["serial"]
    parts = [each["serial"] for each in units.split(home, other, [1, 1], reference="s", **DO)["blocks"]]
    with pytest.raises(TanzhangError, match="no-shortfall"):
        make_good(home, name, parts[:1], reference="g", why="bought", **DO)
    whole = [act for act, mg in enumerate(in_lot(home, number)) if mg == BOX_MG]
    taken_back(home, tmp_path, whole[:82], 9)  # 3,034 g
    compensate_due(home, now=LATER)
    assert compensation(home, name)["shortfall"] == "3"
    done = make_good(home, name, parts[:1], reference="g", why="bought", **DO)
    assert done["blocks"][0]["state"] == "cancelled"
    assert make_good(home, name, parts[:1], reference="g", why="bought", **DO) == done
    assert compensation(home, name)["shortfall"] == "2"
    with pytest.raises(TanzhangError, match="no-shortfall"):  # for good, so not more than is missing
        make_good(home, name, parts[2:], reference="h", why="bought", **DO)
    assert compensation(home, name)["shortfall"] == "2"
    assert check_units(home)[1] == []
