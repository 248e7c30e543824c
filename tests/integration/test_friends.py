"""Groups of friends and badges: who sees what of whom, when somebody leaves, links, is erased; on both databases."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from tanzhang.core.errors import TanzhangError
from tanzhang.core.programme import Friends
from tanzhang.service.badges import badges_of
from tanzhang.service.consents import consents, link_by_token, merge_by_token, new_link_token, new_merge_token, revoke
from tanzhang.service.friends import form_group, group_ranking, groups_of, join_group, leave_group, new_code, rename
from tanzhang.service.intake import intake
from tanzhang.service.privacy import about, ask_erasure, erase_due, rotate_keys
from tanzhang.service.ranking import Scope, ranking
from tanzhang.service.reading import Reader
from tanzhang.stores.home import Home
from tanzhang.stores.register.groups import friends_group, friends_member

from ..homes import BOX_MG, METRO_MG_PER_M, account, assert_verified, box, on, ride, settle_on, withdrawal, write

ANNA, BO, CHEN = (str(uuid.UUID(int=number << 100)) for number in (7, 8, 9))
NOW = on(9)
WEEK = Scope.of("week", date(2025, 6, 5))


@pytest.fixture
def lived(home: Home) -> Home:
    """Anna returned three boxes, one of which was taken back, and rode; Bo returned two; Chen nothing."""
    events = [box(f"a{n}", "anna", day=date(2025, 6, 3 + n)) for n in range(3)]
    events += [ride("r", "anna"), box("b0", "bo"), box("b1", "bo")]
    intake(home, write(home.folder.parent / "1.ndjson", events), now=on(6))
    settle_on(home, 8)
    undo = [withdrawal(box("a2", "anna", day=date(2025, 6, 5)), "undo", day=date(2025, 6, 7))]
    intake(home, write(home.folder.parent / "2.ndjson", undo), now=on(8))
    settle_on(home, 9)
    link(home, ANNA, "anna", "cainiao")
    link(home, ANNA, "anna", "amap")
    link(home, BO, "bo", "cainiao")
    return home


def link(home: Home, person: str, subject: str, partner: str) -> None:
    token = new_link_token(home, partner, subject, now=NOW)["token"]
    link_by_token(home, person, token, now=NOW)


def formed(home: Home) -> str:
    """A group of the three; Anna is shown under a name."""
    made = form_group(home, ANNA, "Third floor", name="An", now=NOW)
    for person in (BO, CHEN):
        join_group(home, person, made["code"], now=NOW)
    return str(made["id"])


def shown(home: Home, person: str, group: str, scope: Scope = WEEK) -> list[tuple[int | None, str]]:
    return [(row["rank"], row["mg"]) for row in group_ranking(Reader(home), person, group, scope)["rows"]]


def test_members_see_what_was_confirmed_for_each_and_nobody_else_does(lived: Home) -> None:
    group = formed(lived)
    anna_mg = 2 * BOX_MG + 10_000 * METRO_MG_PER_M
    assert shown(lived, CHEN, group) == [(1, str(anna_mg)), (2, str(2 * BOX_MG)), (None, "0")]
    rows = group_ranking(Reader(lived), BO, group, WEEK)["rows"]
    assert [row["own"] for row in rows] == [False, True, False]
    assert rows[0]["name"] == "An"
    assert all(row["name"].startswith("*") for row in rows[1:])
    said = str(rows)
    assert not any(person in said for person in (ANNA, BO, CHEN))
    with pytest.raises(TanzhangError, match="not-found"):
        group_ranking(Reader(lived), str(uuid.uuid4()), group, WEEK)
    with pytest.raises(TanzhangError, match="not-found"):
        new_code(lived, str(uuid.uuid4()), group, now=NOW)


def test_a_group_counts_as_public_boards_do(lived: Home) -> None:
    group = formed(lived)
    for period, day in (("day", 5), ("day", 7), ("week", 5), ("month", 5)):
        scope = Scope.of(period, date(2025, 6, day))
        own = [account(lived, *each) for each in (("cainiao", "anna"), ("amap", "anna"), ("cainiao", "bo"))]
        boards = [ranking(lived, scope, account=each)["own"] for each in own]
        mg = [0 if each is None else int(each["mg"]) for each in boards]
        by_group = sorted(shown(lived, ANNA, group, scope), reverse=True, key=lambda row: int(row[1]))
        if period == "day" and day == 7:  # on that day nothing but a taking back was confirmed
            assert by_group == [(None, "0"), (None, "0"), (None, str(-BOX_MG))]
            continue
        assert [int(each) for _, each in by_group] == sorted([mg[0] + mg[1], mg[2], 0], reverse=True), scope


def test_a_code_invites_once_a_person_and_until_it_ends(lived: Home) -> None:
    made = form_group(lived, ANNA, "Floor", now=NOW)
    joined = join_group(lived, BO, made["code"].lower().replace("-", " "), name="  Bo  B ", now=NOW)
    assert (joined["members"], joined["name"], joined["title"]) == (2, "Bo B", "Floor")
    assert "code" not in joined
    with pytest.raises(TanzhangError, match="already-member"):
        join_group(lived, BO, made["code"], now=NOW)
    again = new_code(lived, BO, made["id"], now=NOW)
    for code, moment in (
        (made["code"], NOW),
        (again["code"], NOW + timedelta(days=7)),
        ("AAAAA-AAAAA-AAAAA", NOW),
        ("", NOW),
    ):
        with pytest.raises(TanzhangError, match="group-code-unknown"):
            join_group(lived, CHEN, code, now=moment)
    assert join_group(lived, CHEN, again["code"], now=NOW + timedelta(days=6))["members"] == 3
    for name in ("", "*x", "x" * 21, "a\x00b"):
        with pytest.raises(TanzhangError, match="name-malformed"):
            rename(lived, BO, made["id"], name)


def test_a_group_and_a_person_have_as_many_as_the_programme_says(lived: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    programme = replace(lived.programme, friends=Friends(most_members=2, most_groups=2))
    monkeypatch.setattr(Home, "programme", programme)
    first, second = (form_group(lived, ANNA, title, now=NOW) for title in ("one", "two"))
    with pytest.raises(TanzhangError, match="too-many-groups"):
        form_group(lived, ANNA, "three", now=NOW)
    join_group(lived, BO, first["code"], now=NOW)
    with pytest.raises(TanzhangError, match="group-full"):
        join_group(lived, CHEN, first["code"], now=NOW)
    third = form_group(lived, CHEN, "three", now=NOW)
    with pytest.raises(TanzhangError, match="too-many-groups"):
        join_group(lived, ANNA, third["code"], now=NOW)
    assert {each["title"] for each in groups_of(lived, ANNA)} == {"one", "two"}
    assert second["members"] == 1


def test_whoever_leaves_or_takes_the_consent_back_is_seen_no_more(lived: Home) -> None:
    group = formed(lived)
    (given,) = (each for each in consents(lived, BO) if each["scope"] == "friends")
    assert "members of this group" in given["purpose"]
    leave_group(lived, ANNA, group, now=NOW)
    assert shown(lived, BO, group) == [(1, str(2 * BOX_MG)), (None, "0")]
    revoke(lived, BO, given["id"], now=NOW)
    assert groups_of(lived, BO) == []
    assert shown(lived, CHEN, group) == [(None, "0")]
    for person in (ANNA, BO):
        (ended,) = (each for each in consents(lived, person) if each["scope"] == "friends")
        assert ended["revoked_at"] is not None
    leave_group(lived, CHEN, group, now=NOW)
    assert lived.book.query(sa.select(friends_group)) == []


def test_titles_and_names_are_sealed_and_sealed_again_with_a_new_key(lived: Home) -> None:
    group = formed(lived)
    kept = str(lived.book.query(sa.select(friends_group)) + lived.book.query(sa.select(friends_member)))
    assert "Third" not in kept
    assert "'An'" not in kept
    assert rotate_keys(lived)["sealed_again"] == 2
    (own,) = groups_of(lived, ANNA)
    assert (own["id"], own["title"], own["name"]) == (group, "Third floor", "An")
    assert about(lived, ANNA)["groups"] == [own]
    assert_verified(lived)


def test_two_members_who_become_one_person_are_one(lived: Home) -> None:
    group = formed(lived)
    token = new_merge_token(lived, BO, now=NOW)["token"]
    merge_by_token(lived, ANNA, token, now=NOW)
    anna_mg = 4 * BOX_MG + 10_000 * METRO_MG_PER_M
    assert shown(lived, CHEN, group) == [(1, str(anna_mg)), (None, "0")]
    leave_group(lived, ANNA, group, now=NOW)
    leave_group(lived, ANNA, group, now=NOW)
    assert groups_of(lived, ANNA) == []


def test_an_erased_person_is_in_no_group(lived: Home) -> None:
    group = formed(lived)
    ask_erasure(lived, ANNA, now=NOW - timedelta(days=100))
    assert erase_due(lived, now=on(12))["persons"] == 1
    assert shown(lived, BO, group) == [(1, str(2 * BOX_MG)), (None, "0")]
    left = lived.book.query(sa.select(friends_member.c.account))
    assert sorted(row.account for row in left) == [BO, CHEN]
    for person in (BO, CHEN):
        leave_group(lived, person, group, now=NOW)
    assert_verified(lived)


def badge(home: Home, person: str, name: str) -> dict[str, Any]:
    (found,) = (each for each in badges_of(Reader(home), uuid.UUID(person))["items"] if each["id"] == name)
    return found


def test_badges_follow_confirmed_records_of_all_ones_platforms(lived: Home) -> None:
    assert badge(lived, ANNA, "first_metro")["on"] == "2025-06-05"
    box_badge = badge(lived, ANNA, "first_parcel_box")
    assert (box_badge["reached"], box_badge["on"], box_badge["status"]) == ("2", "2025-06-03", "example")
    assert badge(lived, ANNA, "five_behaviours")["reached"] == "2"
    assert badge(lived, ANNA, "seven_days") | {"reached": "3", "on": None} == badge(lived, ANNA, "seven_days")
    total = badge(lived, ANNA, "ten_kilograms")
    assert (total["reached"], total["needed"]) == (str(2 * BOX_MG + 10_000 * METRO_MG_PER_M), "10000000")
    assert {each["reached"] for each in badges_of(Reader(lived), uuid.UUID(CHEN))["items"]} == {"0"}


def test_an_act_that_is_taken_back_takes_its_badge_along(lived: Home) -> None:
    assert badge(lived, ANNA, "first_metro")["on"] is not None
    intake(lived, write(lived.folder.parent / "3.ndjson", [withdrawal(ride("r", "anna"), "no ride")]), now=on(9))
    settle_on(lived, 12)
    assert badge(lived, ANNA, "first_metro") | {"reached": "0", "on": None} == badge(lived, ANNA, "first_metro")
