"""A partner sees at once what it moved its users to save, and what of it is not its own."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from tanzhang.api.app import create_app
from tanzhang.core.access import Role
from tanzhang.service.intake import intake
from tanzhang.stores.home import Home

from ...homes import BOX_MG, METRO_MG_PER_M, assert_verified, box, new_home, on, ride, settle_on, withdrawal, write
from ...postgres import Server
from .callers import NOW, by_cookie, by_key

RIDE_MG = METRO_MG_PER_M * 10_000


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Home:
    folder, book = tmp_path_factory.mktemp("ledger"), None
    if request.param == "postgresql":
        server: Server = request.getfixturevalue("postgres")
        book = server.address(server.database(), "ledger")
    opened = new_home(folder / "home", book=book)
    for number in range(4):
        day = date(2025, 6, 3 + number)
        events: list[Any] = [box(f"b{number}", day=day), ride(f"r{number}", f"p{number}", day=day)]
        events.append(ride(f"d{number}", f"p{number}", day=day, source="yikatong", region="CN-110105"))
        if number == 1:
            events += [box("again", number="YT-b1", day=day), box("away", day=day)]
        if number == 2:
            events += [withdrawal(box("away"), "undo", day=day), ride("solo", "q", hour=15, day=day)]
        intake(opened, write(folder / f"{number}.ndjson", events), now=on(7))
        if number == 1:
            settle_on(opened, 10)
    return opened


@pytest.fixture
def client(home: Home) -> Iterator[TestClient[Litestar]]:
    settle_on(home, 12)
    with TestClient(create_app(home, now=lambda: NOW), base_url="https://tanzhang.example") as client:
        yield client


def sums(rows: list[dict[str, Any]], *names: str) -> dict[Any, int]:
    return {tuple(row[name] for name in names): int(row["mg"]) for row in rows if int(row["mg"])}


def test_a_partner_reads_its_own_ledger_by_key_and_its_staff_by_session(
    home: Home, client: TestClient[Litestar]
) -> None:
    found = client.get("/v1/ledger?by=behaviour", headers=by_key(home, "cainiao", ["ledger"])).json()
    assert (found["partner"], found["claim"]) == ("cainiao", "facilitated")
    assert "not owned" in found["says"]
    assert sums(found["items"], "behaviour") == {("use.parcel_box_return",): 4 * BOX_MG}
    assert found["outcomes"]["duplicate_of"] == "1"
    staff = by_cookie(home, Role.ENTERPRISE, partner="amap")
    own = client.get("/v1/ledger?by=day,district", headers=staff).json()
    assert sum(sums(own["items"], "day", "district").values()) == sum(int(row["mg"]) for row in own["totals"])
    for wrong in ("/v1/ledger?partner=cainiao", "/v1/ledger/statements/2025-06?partner=cainiao"):
        assert client.get(wrong, headers=staff).json()["code"] == "not-allowed"
    assert client.get("/v1/ledger", headers=by_key(home, "amap", ["report"])).json()["code"] == "scope-missing"
    operator = by_cookie(home, Role.OPERATOR)
    assert client.get("/v1/ledger", headers=operator).json()["code"] == "partner-unnamed"
    assert client.get("/v1/ledger?partner=amap&by=day,district", headers=operator).json() == own
    assert client.get("/v1/ledger?partner=nobody", headers=operator).json()["code"] == "unknown-partner"
    assert client.get("/v1/ledger?by=colour", headers=staff).json()["code"] == "unknown-cut"
    assert client.get("/v1/ledger?from=2025-02-30", headers=staff).status_code == 400


def test_pages_of_a_ledger_are_of_one_moment_and_add_up(home: Home, client: TestClient[Litestar]) -> None:
    staff = by_cookie(home, Role.ENTERPRISE, partner="amap")
    whole = client.get("/v1/ledger?by=day&from=2025-06-04&to=2025-06-06", headers=staff)
    assert {row["day"] for row in whole.json()["items"]} == {"2025-06-04", "2025-06-05", "2025-06-06"}
    found, asked = [], {"by": "day", "limit": "1", "from": "2025-06-04", "to": "2025-06-06"}
    while True:
        page = client.get("/v1/ledger", params=asked, headers=staff).json()
        found += page["items"]
        if page["next"] is None:
            break
        asked["cursor"] = page["next"]
    assert found == whole.json()["items"]
    same = {**staff, "if-none-match": whole.headers["etag"]}
    assert client.get("/v1/ledger?by=day&from=2025-06-04&to=2025-06-06", headers=same).status_code == 304
    for wrong in ("IjEi", "Ijk5OTk5IDAi"):
        assert client.get(f"/v1/ledger?cursor={wrong}", headers=staff).json()["code"] == "cursor-malformed"


def test_the_statement_of_a_month_says_facilitated_in_every_form(home: Home, client: TestClient[Litestar]) -> None:
    staff = by_cookie(home, Role.ENTERPRISE, partner="cainiao")
    path = "/v1/ledger/statements/2025-06"
    answer = client.get(path, headers=staff)
    found = answer.json()
    assert (found["month"], found["since"], found["until"]) == ("2025-06", "2025-06-01", "2025-06-30")
    assert (found["claim"], found["settled_through"]) == ("facilitated", "2025-06-11")
    for table in ("by_behaviour", "by_variant", "by_district", "by_day"):
        assert sum(int(row["mg"]) for row in found[table]) == 4 * BOX_MG, table
    taken_back = [str(BOX_MG), str(2 * BOX_MG), "0", str(BOX_MG)]  # on the day of the withdrawal
    assert [row["mg"] for row in found["by_day"]] == taken_back
    assert client.get(path, headers={**staff, "if-none-match": answer.headers["etag"]}).status_code == 304
    sheet = client.get(f"{path}?format=csv", headers=staff)
    assert sheet.headers["content-type"].startswith("text/csv")
    assert "statement-cainiao-2025-06.csv" in sheet.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(sheet.content.decode("utf-8-sig"))))
    assert sum(int(row["mg"]) for row in rows) == 4 * BOX_MG
    assert {(row["claim"], row["partner"]) for row in rows} == {("facilitated", "cainiao")}
    empty = client.get("/v1/ledger/statements/2024-02", headers=staff).json()
    assert (empty["until"], empty["totals"]) == ("2024-02-29", [])
    for wrong in ("2025-13", "2025-6", "0000-01", "next"):
        assert client.get(f"/v1/ledger/statements/{wrong}", headers=staff).json()["code"] == "month-malformed"
    assert_verified(home)


def test_the_export_is_cut_as_asked(home: Home, client: TestClient[Litestar]) -> None:
    operator = by_cookie(home, Role.OPERATOR)
    answer = client.get("/v1/ledger/export?partner=yikatong&by=district,month", headers=operator)
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    metro = client.get("/v1/ledger?partner=yikatong&by=month", headers=operator).json()
    assert sum(int(row["mg"]) for row in rows) == sum(int(row["mg"]) for row in metro["totals"])
    assert {row["month"] for row in rows} == {"2025-06"}
    assert {row["district"] for row in rows} <= {"CN-110000", "CN-110105"}
