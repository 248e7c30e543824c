"""Accounts joined into one and parted again, on both databases: what they hold, whose acts are, what is proved."""

from __future__ import annotations

import json
import uuid
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tanzhang.core.errors import TanzhangError
from tanzhang.engine.kernel import connect
from tanzhang.service.accounts import balances, statement
from tanzhang.service.epoch import close, leaves_of
from tanzhang.service.erase import erase
from tanzhang.service.intake import intake
from tanzhang.service.joining import MERGE, first_open_day, join, own_accounts
from tanzhang.service.links import link_child
from tanzhang.service.parting import part
from tanzhang.stores.book import transfer
from tanzhang.stores.home import Home
from tanzhang.stores.register.carrying import joining

from ..homes import (
    BOX_MG,
    METRO_MG_PER_M,
    account,
    as_attacker,
    assert_verified,
    box,
    children_of,
    new_home,
    on,
    outcome,
    power,
    problems,
    ride,
    settle_on,
    withdrawal,
    write,
)

ME, OTHER = uuid.UUID(int=7 << 100), uuid.UUID(int=9 << 100)
RIDE_MG = 10_000 * METRO_MG_PER_M


def report(home: Home, name: str, events: list[dict[str, Any]], day: int) -> None:
    intake(home, write(home.folder.parent / f"{name}.ndjson", events), now=on(day))


def held(home: Home, account: uuid.UUID, unit: str = "co2e_mg") -> int:
    return home.book.balance(account).get(unit, 0)


def anna(home: Home, partner: str = "cainiao") -> uuid.UUID:
    return account(home, partner, "anna")


def lived(home: Home) -> None:
    """A box and a footprint are settled, each in a platform account of its own."""
    report(home, "first", [box("a"), power("p", "anna")], 6)
    settle_on(home, 6)


def test_what_a_platform_account_holds_goes_to_its_person_and_comes_back(home: Home) -> None:
    lived(home)
    made = join(home, anna(home), ME, partner="cainiao", now=on(6))
    assert (held(home, anna(home)), held(home, ME)) == (0, BOX_MG)
    assert own_accounts(home, ME) == [ME, anna(home)]
    assert_verified(home)
    parted = part(home, made["id"], now=on(8))
    assert (parted["until"], parted["ended_at"] is not None) == ("2025-06-08", True)
    assert (held(home, anna(home)), held(home, ME)) == (BOX_MG, 0)
    with pytest.raises(TanzhangError, match="joining-ended"):
        part(home, made["id"], now=on(8))
    with pytest.raises(TanzhangError, match="not-found"):
        part(home, "another", now=on(8))
    assert_verified(home)


def test_acts_from_the_day_on_are_the_persons_and_earlier_ones_go_on_to_them(home: Home) -> None:
    lived(home)
    join(home, anna(home), ME, since=date(2025, 6, 7), now=on(8))
    later = [box("before", day=date(2025, 6, 6)), box("since", day=date(2025, 6, 7))]
    report(home, "second", later, 8)
    settle_on(home, 9)
    booked = home.book.postings(1).to_pylist()
    amounts = {row["account"]: row["amount"] for row in booked}
    assert amounts[anna(home)] == amounts[ME] == BOX_MG  # each where it was decided
    assert (held(home, anna(home)), held(home, ME)) == (0, 3 * BOX_MG)  # and all in one place
    assert_verified(home)


def test_what_is_taken_back_is_taken_from_where_it_went(home: Home) -> None:
    lived(home)
    join(home, anna(home), ME, now=on(6))
    report(home, "undo", [withdrawal(box("a"), "undo", day=date(2025, 6, 6))], 7)
    settle_on(home, 8)
    assert (held(home, anna(home)), held(home, ME)) == (0, 0)
    close(home, date(2025, 6, 7), now=on(8))
    assert_verified(home)


def test_open_acts_of_two_platforms_are_decided_as_one_persons(home: Home) -> None:
    """By default from the first day whose window may be open: the same ride by two apps counts once."""
    rides = [ride("one", "anna", source="amap"), ride("two", "an", source="beijing_subway", minute=2)]
    report(home, "rides", rides, 6)
    assert first_open_day(home, date(2025, 6, 6)) <= date(2025, 6, 5)
    join(home, account(home, "amap", "anna"), ME, now=on(6))
    join(home, account(home, "beijing_subway", "an"), ME, now=on(6))
    settle_on(home, 9)
    assert sorted(outcome(home, each)[0] for each in rides) == ["granted", "overlap_of"]
    assert held(home, ME) == RIDE_MG
    assert_verified(home)


def test_merged_accounts_are_one_with_all_their_platforms_until_they_are_split(home: Home) -> None:
    lived(home)
    first = join(home, anna(home), ME, now=on(6))
    report(home, "more", [box("b", "bo")], 6)
    settle_on(home, 7)
    join(home, account(home, "cainiao", "bo"), OTHER, now=on(7))
    merged = join(home, ME, OTHER, kind=MERGE, now=on(8))
    assert (held(home, ME), held(home, OTHER)) == (0, 2 * BOX_MG)
    assert {each["child"] for each in children_of(home, connect(), OTHER)} == {
        str(each) for each in (ME, anna(home), account(home, "cainiao", "bo"))
    }
    report(home, "together", [box("c", day=date(2025, 6, 8))], 9)
    settle_on(home, 9)
    assert held(home, OTHER) == 3 * BOX_MG
    assert_verified(home)
    part(home, merged["id"], now=on(9))
    assert (held(home, ME), held(home, OTHER)) == (BOX_MG, 2 * BOX_MG)  # what was booked in the merged one stays
    report(home, "apart", [box("d", day=date(2025, 6, 9))], 10)
    settle_on(home, 10)
    assert held(home, ME) == 2 * BOX_MG
    part(home, first["id"], now=on(10))
    assert (held(home, anna(home)), held(home, ME)) == (BOX_MG, BOX_MG)
    assert_verified(home)


def test_a_platform_account_that_leaves_a_merged_account_takes_what_it_brought(home: Home) -> None:
    lived(home)
    made = join(home, anna(home), ME, now=on(6))
    join(home, ME, OTHER, kind=MERGE, now=on(6))
    assert (held(home, ME), held(home, OTHER)) == (0, BOX_MG)
    part(home, made["id"], now=on(7))
    assert (held(home, anna(home)), held(home, ME), held(home, OTHER)) == (BOX_MG, 0, 0)
    assert_verified(home)


def test_who_is_joined_already_or_would_join_themselves_is_refused(home: Home) -> None:
    lived(home)
    join(home, anna(home), ME, now=on(6))
    for source, target, code in (
        (anna(home), OTHER, "already-joined"),
        (ME, ME, "join-itself"),
        (ME, anna(home), "join-itself"),
    ):
        with pytest.raises(TanzhangError, match=code):
            join(home, source, target, now=on(6))
    with pytest.raises(TanzhangError, match="join-future"):
        join(home, OTHER, ME, since=date(2025, 6, 9), now=on(6))
    child = account(home, "amap", "anna")
    link_child(home, child, OTHER, valid_from=date(2025, 6, 1), valid_until=None, now=on(6))
    with pytest.raises(TanzhangError, match="link-overlaps"):
        join(home, child, ME, now=on(6))


def test_a_link_that_was_given_before_may_carry_too(home: Home) -> None:
    lived(home)
    link_child(home, anna(home), ME, valid_from=date(2025, 6, 1), valid_until=None, now=on(6))
    made = join(home, anna(home), ME, now=on(6))
    assert held(home, ME) == BOX_MG
    part(home, made["id"], now=on(7))
    assert children_of(home, connect(), ME)[0]["until"] == "2025-06-07"
    join(home, anna(home), ME, since=date(2025, 6, 7), now=on(7))
    assert [each["until"] for each in children_of(home, connect(), ME)] == ["2025-06-07", None]
    assert_verified(home)


def test_a_link_may_end_on_its_first_day_and_be_made_again(home: Home) -> None:
    for _ in range(2):
        made = join(home, anna(home), ME, since=date(2025, 6, 6), now=on(6))
        part(home, made["id"], now=on(6))
    assert children_of(home, connect(), ME) == []
    join(home, anna(home), ME, since=date(2025, 6, 6), now=on(6))
    assert len(children_of(home, connect(), ME)) == 1


def test_epochs_hold_what_each_account_held_when_they_were_closed(home: Home) -> None:
    lived(home)
    first = close(home, date(2025, 6, 5), now=on(6))
    join(home, anna(home), ME, now=on(6))
    report(home, "second", [box("b", "bo", day=date(2025, 6, 6))], 7)
    settle_on(home, 8)
    close(home, date(2025, 6, 7), now=on(9))
    assert first["trees"]["co2e_mg"]["total"] == str(BOX_MG)
    leaves = leaves_of(home, [anna(home), ME])
    assert [leaf["amount"] for leaf in leaves[anna(home)] if leaf["unit"] == "co2e_mg"] == [BOX_MG, 0]
    assert [leaf["amount"] for leaf in leaves[ME] if leaf["unit"] == "co2e_mg"] == [BOX_MG]
    kinds = [row.kind for row in home.book.entries()]
    assert kinds == ["genesis", "batch", "epoch", "batch", "transfers", "epoch"]
    said = json.loads(home.log.entry(4))
    assert said == {
        "format": "tanzhang.transfers/1",
        "programme": "beijing",
        "rows": "2",
        "head": home.book.heads()["transfer"]["head"],
    }
    assert_verified(home)


def test_erasing_a_person_takes_the_transfers_with_them_and_leaves_every_epoch(home: Home) -> None:
    lived(home)
    join(home, anna(home), ME, now=on(6))
    join(home, ME, OTHER, kind=MERGE, now=on(6))
    report(home, "second", [box("b", "bo", day=date(2025, 6, 6))], 7)
    settle_on(home, 7)
    close(home, date(2025, 6, 6), now=on(7))
    erase(home, [OTHER], now=on(7))
    assert {row.account for row in home.book.rows(transfer)} == {""}
    assert home.book.query(sa.select(joining)) == []
    assert held(home, anna(home)) == BOX_MG  # a pseudonym's amount, where it was booked; nobody's in the next epoch
    close(home, date(2025, 6, 7), now=on(8))
    assert_verified(home)


def test_erasing_gives_back_what_came_from_an_account_that_stays(home: Home) -> None:
    lived(home)
    child = anna(home)
    link_child(home, child, OTHER, valid_from=date(2025, 5, 1), valid_until=date(2025, 5, 9), now=on(6))
    join(home, child, ME, now=on(6))
    report(home, "second", [box("b", "bo", day=date(2025, 6, 6))], 7)
    settle_on(home, 7)
    close(home, date(2025, 6, 6), now=on(7))
    answer = erase(home, [ME], now=on(7))
    assert answer["shared_children"] == [str(child)]
    assert held(home, child) == BOX_MG
    assert {row.account for row in home.book.rows(transfer)} == {"", str(child)}
    close(home, date(2025, 6, 7), now=on(8))
    assert_verified(home)


def test_statements_and_lists_of_accounts_count_what_was_transferred(home: Home) -> None:
    lived(home)
    join(home, anna(home), ME, now=on(6))
    said = statement(home, anna(home))
    assert said["confirmed"]["reduction_mg"] == "0"
    assert said["transferred"] == {"reduction_mg": str(-BOX_MG), "footprint_mg": "0"}
    assert "erased" not in said
    assert statement(home, ME)["transferred"]["reduction_mg"] == str(BOX_MG)
    found = {each.account: each.reduction_mg for each in balances(home)[1]}
    assert (found[anna(home)], found[ME]) == (0, BOX_MG)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("UPDATE transfer SET amount = amount + 1 WHERE seq = 1", "book-row-changed"),
        ("UPDATE joining SET flows = '{}'", "transfer-mismatch"),
        ("DELETE FROM joining", "transfer-mismatch"),
        ("UPDATE transfer SET account = ''", "book-row-changed"),
        ("UPDATE joining SET target = source", "transfer-mismatch"),
    ],
)
def test_whoever_changes_transfers_or_joinings_is_found(quick: Path, change: str, code: str) -> None:
    home = new_home(quick / "home")
    lived(home)
    join(home, anna(home), ME, now=on(6))
    report(home, "second", [box("b", "bo", day=date(2025, 6, 6))], 7)
    settle_on(home, 7)
    assert_verified(home)
    home.book.close()
    with as_attacker(quick / "home") as con:
        con.execute(change)
    assert code in {each["code"] for each in problems(home)}
