"""Points over HTTP: one's own, collecting, the programme's figures; nobody else's."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from tanzhang.core.access import Role
from tanzhang.service.award import award_due
from tanzhang.service.intake import intake
from tanzhang.stores.home import Home

from ...homes import account, box, on, ride, settle_on, write
from ...points_city import POINTS, points_home
from .callers import by_cookie
from .people import NOW, Clock, browser, set_up
from .people import person as signed_in


@pytest.fixture
def home(place: Callable[[str], str | None], quick: Path) -> Home:
    """Two boxes of Anna and one of Bo, and a ride of Anna's other platform account, awarded on the eighth."""
    opened = points_home(quick / "home", book=place("points"))
    events = [box("a"), box("b", day=date(2025, 6, 6)), box("o", "bo"), ride("r")]
    intake(opened, write(quick / "1.ndjson", events), now=on(7))
    settle_on(opened, 8)
    award_due(opened, now=on(8))
    return opened


@pytest.fixture
def client(home: Home) -> Iterator[TestClient[Litestar]]:
    set_up(home)
    with browser(home, Clock()) as client:
        yield client


def test_a_person_sees_points_and_why_and_gets_304_where_nothing_changed(
    home: Home, client: TestClient[Litestar]
) -> None:
    me = signed_in(home, str(account(home, "cainiao", "anna")))
    answer = client.get("/v1/me/points", headers=me)
    (said,) = answer.json()["items"]
    assert (said["programme"], said["usable"], said["as_of_batch"]) == (POINTS, "100", "0")
    again = client.get("/v1/me/points", headers={**me, "if-none-match": answer.headers["etag"]})
    assert again.status_code == 304
    first = client.get(f"/v1/me/points/{POINTS}/moves?limit=1", headers=me).json()
    rest = client.get(f"/v1/me/points/{POINTS}/moves?limit=5&cursor={first['next']}", headers=me).json()
    assert [item["why"]["title"]["en"] for item in first["items"] + rest["items"]] == ["A box", "A box"]
    assert rest["next"] is None
    wrong = client.get("/v1/me/points/nothing/moves", headers=me)
    assert (wrong.status_code, wrong.json()["code"]) == (404, "unknown-points-programme")


def test_what_waits_is_collected_once_however_often_it_is_asked_for(home: Home, client: TestClient[Litestar]) -> None:
    me = signed_in(home, str(account(home, "amap", "anna")))
    (said,) = client.get("/v1/me/points", headers=me).json()["items"]
    (waiting,) = said["waiting"]

    def collect(**body: Any) -> Any:
        return client.post("/v1/me/points:collect", json={"programme": POINTS, **body}, headers=me)

    wrong = collect(items=["nothing", waiting["id"]])
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "#/items/0")
    assert collect(items=[waiting["id"]]).json()["collected"] == "10"
    assert (collect().json()["collected"], collect().json()["usable"]) == ("0", "10")
    without = client.post("/v1/me/points:collect", json={"programme": POINTS}, headers={"cookie": me["cookie"]})
    assert without.json()["code"] == "csrf-missing"


def test_the_operator_sees_what_was_given_and_a_person_does_not(home: Home, client: TestClient[Litestar]) -> None:
    staff = by_cookie(home, Role.OPERATOR, now=NOW)
    said = client.get(f"/v1/points/{POINTS}", headers=staff).json()
    assert (said["granted"], said["outstanding"]["held"], said["outstanding"]["waiting"]) == ("160", "150", "10")
    me = signed_in(home, str(account(home, "cainiao", "anna")))
    assert client.get(f"/v1/points/{POINTS}", headers=me).status_code == 403


def test_a_copy_of_everything_has_ones_points(home: Home, client: TestClient[Litestar]) -> None:
    me = signed_in(home, str(account(home, "cainiao", "anna")))
    archive = zipfile.ZipFile(io.BytesIO(client.post("/v1/me/export", headers=me).content))
    (kept,) = json.loads(archive.read("person.json"))["points"]
    assert [lot["available"] for lot in kept["lots"]] == [100]
