"""Lots: what they take and never take twice, frozen once, released, kept through gifts, joinings and erasing."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.core.lot import LotEntry, lot_text
from tanzhang.service.market.authorise import authorisations, authorise, authorise_file, revoke
from tanzhang.service.market.available import available_mg
from tanzhang.service.market.lots import LotSaid, dissolve, draft, freeze, lot_page, lots
from tanzhang.service.market.terms import publish_terms
from tanzhang.stores.home import Home
from tanzhang.stores.lot_files import read_members

from ..homes import BOX_MG, account, box, market_home, on, ride, withdrawal
from ..lots import LATER, UNIT_MG, drafted, entrusted, frozen, report
from ..trading import OPERATOR


@pytest.fixture
def home(place: Callable[[str], str | None], quick: Path) -> Home:
    """A new home with market rules, its book on either database."""
    return market_home(quick / "home", book=place("tests"))


def boxes(name: str, count: int, first: int = 0) -> list[dict[str, object]]:
    return [box(f"{name}-{number}", name) for number in range(first, first + count)]


def of(home: Home, name: str) -> uuid.UUID:
    return account(home, "cainiao", name)


def test_a_lot_takes_what_was_authorised_in_the_order_of_the_log_and_splits_the_last_record(
    home: Home, tmp_path: Path
) -> None:
    report(home, tmp_path, [*boxes("anna", 30), *boxes("bo", 30), *boxes("cai", 30)])
    entrusted(home, of(home, "anna"), of(home, "cai"))
    number = frozen(home)
    row = home.lots.one(number)
    keys, amounts = read_members(home.storage, row)
    assert (row.units, row.total_mg, row.members, row.accounts) == (2, 2 * UNIT_MG, len(keys), 2)
    assert (keys[1:] > keys[:-1]).all()
    assert amounts.tolist() == [BOX_MG] * (len(keys) - 1) + [2 * UNIT_MG - (len(keys) - 1) * BOX_MG]
    assert home.lots.share_of([of(home, "bo")]) == {}
    assert sum(home.lots.shares(number)["amount"].to_pylist()) == 2 * UNIT_MG
    ((index, text),) = home.lots.sealed()
    entry = LotEntry.parse(text)
    assert (entry.units, entry.root.hex(), entry.total_mg) == (2, row.root, 2 * UNIT_MG)
    assert list(entry.methodologies) == [f"{name}" for name in lot_page(home, number)["methodologies"]]
    assert home.log.entry(index).decode() == text
    assert str(of(home, "anna")) not in text


def test_what_is_in_a_lot_is_in_no_second_one_and_comes_free_when_it_is_dissolved(home: Home, tmp_path: Path) -> None:
    report(home, tmp_path, boxes("anna", 60))
    entrusted(home, of(home, "anna"))
    first = frozen(home, "d-1", units="1")
    second = frozen(home, "d-2")
    assert [home.lots.one(each).units for each in (first, second)] == [1, 1]
    assert available_mg(home, of(home, "anna")) == 60 * BOX_MG - 2 * UNIT_MG
    (last, *_), (following, *_) = (read_members(home.storage, home.lots.one(each))[0] for each in (second, first))
    assert last >= following
    third = drafted(home, "d-3")
    with pytest.raises(TanzhangError, match="lot-short"):
        freeze(home, third, actor=OPERATOR, now=LATER)
    dissolve(home, first, why="a test", actor=OPERATOR, now=LATER)
    assert dissolve(home, first, why="a test", actor=OPERATOR, now=LATER)["state"] == "dissolved"
    freeze(home, third, actor=OPERATOR, now=LATER)
    assert home.lots.share_of([of(home, "anna")]) == {second: UNIT_MG, third: UNIT_MG}
    members = {number: read_members(home.storage, home.lots.one(number)) for number in (second, third)}
    held: dict[int, int] = {}
    for keys, amounts in members.values():
        for key, mg in zip(keys.tolist(), amounts.tolist(), strict=True):
            held[key] = held.get(key, 0) + mg
    assert max(held.values()) == BOX_MG


def test_a_lot_is_frozen_once_and_a_draft_says_the_same_again_under_its_reference(home: Home, tmp_path: Path) -> None:
    report(home, tmp_path, boxes("anna", 30))
    entrusted(home, of(home, "anna"))
    number = drafted(home)
    assert drafted(home) == number
    with pytest.raises(TanzhangError, match="reference-taken"):
        drafted(home, units="2")
    said = freeze(home, number, actor=OPERATOR, now=LATER)
    assert freeze(home, number, actor=OPERATOR, now=LATER) == said
    assert len(home.lots.sealed()) == 1
    assert [each["state"] for each in lot_page(home, number)["events"]] == ["draft", "frozen"]


def test_what_a_draft_cannot_say_is_refused(home: Home) -> None:
    for more, code in (
        ({"region": "Beijing"}, "region-malformed"),
        ({"vintage": 25}, "lot-malformed"),
        ({"behaviours": ["travel.teleport"]}, "lot-malformed"),
    ):
        with pytest.raises(TanzhangError, match=code):
            drafted(home, **more)
    assert lots(home)["items"] == []


def test_a_lot_waits_for_its_notice_and_its_year_or_says_why_not(home: Home, tmp_path: Path) -> None:
    report(home, tmp_path, boxes("anna", 30))
    number = drafted(home)
    with pytest.raises(TanzhangError, match="notice-too-short"):
        freeze(home, number, actor=OPERATOR, now=LATER)
    publish_terms(home, actor=OPERATOR, now=on(10))
    authorise(home, of(home, "anna"), since=date(2025, 1, 1), now=on(10))
    with pytest.raises(TanzhangError, match="notice-too-short"):
        freeze(home, number, actor=OPERATOR, now=on(16))
    with pytest.raises(TanzhangError, match="vintage-open"):
        freeze(home, number, actor=OPERATOR, now=on(30))
    early = drafted(home, "d-2", early="a rehearsal")
    assert freeze(home, early, actor=OPERATOR, now=on(30))["early"] == "a rehearsal"


def test_only_acts_of_the_days_behaviours_year_and_region_that_are_meant_are_taken(home: Home, tmp_path: Path) -> None:
    rides = [ride(f"r-{n}", "anna", source="amap", hour=7 + n, distance_m=40_000) for n in range(3)]
    report(home, tmp_path, [*boxes("anna", 30), *rides])
    entrusted(home, of(home, "anna"), behaviours=["use.parcel_box_return"])
    entrusted(home, account(home, "amap", "anna"), until=date(2025, 6, 5))
    number = drafted(home, behaviours=["travel.metro"])
    with pytest.raises(TanzhangError, match="lot-short: 0 mg fit"):
        freeze(home, number, actor=OPERATOR, now=LATER)
    for more in ({"vintage": 2024}, {"region": "CN-310000"}):
        other = drafted(home, str(more), **more)
        with pytest.raises(TanzhangError, match="lot-short: 0 mg fit"):
            freeze(home, other, actor=OPERATOR, now=LATER)
    assert home.lots.one(frozen(home, "d-2", region="CN")).total_mg == UNIT_MG


def test_a_revoked_authorisation_holds_for_the_future_and_frozen_lots_keep_what_they_have(
    home: Home, tmp_path: Path
) -> None:
    report(home, tmp_path, boxes("anna", 60))
    entrusted(home, of(home, "anna"))
    number = frozen(home, units="1")
    (said,) = authorisations(home, of(home, "anna"))["items"]
    assert revoke(home, of(home, "anna"), said["id"], now=on(20))["revoked_at"] is not None
    with pytest.raises(TanzhangError, match="not-found"):
        revoke(home, of(home, "bo"), said["id"], now=on(20))
    with pytest.raises(TanzhangError, match="lot-short"):
        frozen(home, "d-2")
    assert home.lots.share_of([of(home, "anna")]) == {number: UNIT_MG}


def test_what_was_taken_back_is_in_no_lot(home: Home, tmp_path: Path) -> None:
    report(home, tmp_path, boxes("anna", 30))
    report(home, tmp_path, [withdrawal(box(f"anna-{n}", "anna"), f"w-{n}") for n in range(3)], day=8)
    entrusted(home, of(home, "anna"))
    number = drafted(home)
    with pytest.raises(TanzhangError, match=f"lot-short: {27 * BOX_MG} mg fit"):
        freeze(home, number, actor=OPERATOR, now=LATER)


def test_a_partners_file_speaks_for_its_users_and_never_over_their_own_word(home: Home, tmp_path: Path) -> None:
    report(home, tmp_path, [*boxes("anna", 30), *boxes("bo", 30), *boxes("cai", 30)])
    entrusted(home, of(home, "cai"))
    (own,) = authorisations(home, of(home, "cai"))["items"]
    revoke(home, of(home, "cai"), own["id"], now=on(9))
    path = tmp_path / "all.csv"
    path.write_text(
        "subject,from_day,until_day,behaviours\nanna,2025-01-01,,\nbo,2025-01-01,2026-01-01,\ncai,2025-01-01,,\n"
    )
    first = authorise_file(home, path, "cainiao", actor=OPERATOR, now=on(10))
    assert (first["rows"], first["authorised"], first["spoke_for_themselves"]) == ("3", "2", "1")
    assert authorise_file(home, path, "cainiao", actor=OPERATOR, now=on(11)) == first
    path.write_text(path.read_text() + "dan,2025-01-01,,use.parcel_box_return travel.metro\n")
    assert authorise_file(home, path, "cainiao", actor=OPERATOR, now=on(11))["authorised"] == "1"
    row = home.lots.one(frozen(home))
    assert (row.units, row.accounts) == (2, 2)
    assert home.lots.share_of([of(home, "cai")]) == {}


def test_every_mistake_of_a_file_is_said_and_nothing_of_it_is_kept(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "wrong.csv"
    path.write_text("subject,from_day,until_day,behaviours\n,2025-01-01,,\nbo,today,,\ncai,2025-01-01,,fly\n")
    with pytest.raises(TanzhangError) as error:
        authorise_file(home, path, "cainiao", actor=OPERATOR, now=on(10))
    assert [each.code for each in error.value.problems] == ["authorisation-malformed"] * 3
    path.write_text("who,from_day\nbo,2025-01-01\n")
    with pytest.raises(TanzhangError, match="its columns are who"):
        authorise_file(home, path, "cainiao", actor=OPERATOR, now=on(10))
    assert home.authorisations.revision() == 0


def test_terms_that_changed_meanwhile_are_not_agreed_to(home: Home) -> None:
    with pytest.raises(TanzhangError, match="terms-changed"):
        authorise(home, of(home, "anna"), since=date(2025, 1, 1), terms="0" * 64, now=on(10))
    with pytest.raises(TanzhangError, match="authorisation-malformed"):
        authorise(home, of(home, "anna"), since=date(2025, 1, 1), until=date(2025, 1, 1), now=on(10))


def test_everybody_sees_frozen_lots_and_no_drafts(home: Home, tmp_path: Path) -> None:
    report(home, tmp_path, boxes("anna", 60))
    entrusted(home, of(home, "anna"))
    numbers = [frozen(home, "d-1", units="1"), frozen(home, "d-2"), drafted(home, "d-3")]
    page = lots(home, limit=2)
    assert [each["lot"] for each in page["items"]] == [lot_text(number) for number in numbers[:0:-1]]
    assert [each["lot"] for each in lots(home, cursor=page["next"])["items"]] == [lot_text(numbers[0])]
    public = lots(home, public=True)["items"]
    assert [each["lot"] for each in public] == [lot_text(number) for number in numbers[1::-1]]
    assert not {"reference", "accounts"} & public[0].keys()
    with pytest.raises(TanzhangError, match="unknown-lot"):
        lot_page(home, numbers[2], public=True)
    said = LotSaid(reference="d-3", vintage=2025, region="CN-110000")
    assert draft(home, said, actor=OPERATOR, now=LATER)["state"] == "draft"
