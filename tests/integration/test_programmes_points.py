"""P1 and the points of P2, end to end from data files alone: no line of Python knows any of their rules."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from tanzhang.service.accounts import statement
from tanzhang.service.award import award_due
from tanzhang.service.catalogue import check_catalogue
from tanzhang.service.intake import intake
from tanzhang.service.points import figures_of, points_of, statement_of
from tanzhang.service.reading import Reader
from tanzhang.service.settle import settle
from tanzhang.stores.catalogue import Catalogue
from tanzhang.stores.home import Home
from tanzhang.stores.register.points import Spending

from ..homes import Event, account, assert_verified, box, event, local, new_home, ride, write

P2 = Path(__file__).parents[1] / "programmes" / "p2"
DAY = date(2022, 8, 11)


def at(day: int, hour: int = 2) -> datetime:
    return datetime(2022, 8, day, hour, tzinfo=UTC)


def settled(home: Home, *events: Event) -> None:
    """Take acts of August 2022 in, settle all of them and award them, weeks later."""
    intake(home, write(home.folder.parent / f"{uuid.uuid4().hex}.ndjson", events), now=at(12))
    settle(home, now=at(25))
    award_due(home, now=at(25))


def points(home: Home, who: uuid.UUID) -> dict[str, Any]:
    (said,) = points_of(Reader(home), who, now=at(25))["items"]
    return said


def plate(reference: str, subject: str = "anna", evidence: str = "measured", hour: int = 12) -> Event:
    """A clean plate, told apart by its time."""
    return event("lvpuhui", reference, "food.clean_plate", subject, local(hour, day=DAY), evidence=evidence)


def test_p1_a_parcel_box_is_37_grams_in_one_book_and_50_energy_in_another(
    place: Callable[[str], str | None], quick: Path
) -> None:
    home = new_home(quick / "home", "cainiao", book=place("cainiao"))
    settled(home, box("a", day=DAY), box("again", day=DAY, number="YT-a"))
    anna = account(home, "cainiao", "anna")
    assert statement(home, anna)["confirmed"]["reduction_mg"] == "37000"
    said = points(home, anna)
    assert (said["programme"], said["usable"], said["unit_name"]["zh"]) == ("cainiao_energy", "50", "绿色能量")
    with home.book.transaction() as con:
        spending = Spending(anna, 50, "redeem", "mall", "o-1")
        assert home.points.spend(con, said["unit"], [spending], at=at(25).isoformat(), day=date(2022, 8, 25)) == [None]
    assert points(home, anna)["usable"] == "0"
    assert statement(home, anna)["confirmed"]["reduction_mg"] == "37000"
    assert_verified(home)


def test_the_data_of_p2_pass_the_check_of_the_catalogue() -> None:
    assert check_catalogue(Catalogue(P2)).problems == ()


@pytest.fixture
def season(place: Callable[[str], str | None], quick: Path) -> Home:
    return new_home(quick / "home", "season-with-points", book=place("season"), overlays=(P2,))


def test_p2_acts_of_several_sections_are_merged_and_earn_points_by_section(season: Home) -> None:
    rides = [ride("r1", day=DAY, distance_m=10_000), ride("r1", source="yikatong", day=DAY, distance_m=10_000)]
    settled(season, *rides, box("b1", day=DAY), box("b2", day=DAY), box("b3", day=DAY))
    settled(season, plate("p1"), plate("p2", hour=18), plate("p3", "bo", "declared"))
    boxes, plates = account(season, "cainiao", "anna"), account(season, "lvpuhui", "anna")
    assert points(season, boxes)["usable"] == "20"
    assert points(season, plates)["usable"] == "5"
    assert points(season, account(season, "lvpuhui", "bo"))["usable"] == "2"
    earned = statement_of(Reader(season), "season_points", boxes)["items"]
    assert {item["why"]["title"]["zh"] for item in earned} == {"绿色生活"}
    assert points(season, boxes)["ending"] == []
    assert_verified(season)


def test_p2_a_campaign_doubles_travel_until_its_sponsors_budget_is_spent(season: Home) -> None:
    rides = [ride(f"r{number}", f"rider{number}", day=DAY, distance_m=20_000) for number in range(6)]
    settled(season, *rides)
    riders = [account(season, "amap", f"rider{number}") for number in range(6)]
    grams = [int(statement(season, who)["confirmed"]["reduction_mg"]) // 10_000 for who in riders]
    figures = figures_of(season, "season_points", now=at(25))
    assert figures["budgets"][0] | {"spent": "25", "left": "0"} == figures["budgets"][0]
    assert sum(int(points(season, who)["usable"]) for who in riders) == sum(grams) + 25
    assert_verified(season)
