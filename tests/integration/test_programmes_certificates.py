"""P9 and P10 from data files alone: a person's grades and points, and a gift, as certificates that others check."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from litestar.testing import TestClient

from tanzhang.api.app import create_app
from tanzhang.core.access import Actor, Role
from tanzhang.core.errors import TanzhangError
from tanzhang.service.award import award_due
from tanzhang.service.certificate_check import check_certificate
from tanzhang.service.certificate_page import page_of
from tanzhang.service.certificates import make_key
from tanzhang.service.donations import check_receipt, donate, load_projects
from tanzhang.service.epoch import close
from tanzhang.service.intake import intake
from tanzhang.service.points import points_of
from tanzhang.service.reading import Reader
from tanzhang.stores.catalogue import shipped_folder
from tanzhang.stores.home import Home

from ..homes import BOX_MG, account, assert_verified, box, new_home, on, settle_on, write
from .api.callers import by_cookie
from .api.people import set_up

PROGRAMMES = Path(__file__).parents[1] / "programmes"
OPERATOR = Actor(Role.OPERATOR, "root", "command line")
NOW = datetime.fromisoformat("2025-07-20T02:00:00+00:00")


@pytest.fixture
def city(place: Callable[[str], str | None], quick: Path) -> Home:
    """Beijing's programme with a bank's scheme of grades; two boxes of Anna's are settled, awarded and sealed."""
    text = (shipped_folder() / "programmes" / "beijing.yaml").read_text(encoding="utf-8")
    path = quick / "catalogue" / "programmes" / "beijing.yaml"
    path.parent.mkdir(parents=True)
    data = {**yaml.safe_load(text), "grading": ["wendeng_rcb"]}
    path.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8")
    home = new_home(quick / "home", book=place("city"), overlays=(quick / "catalogue",))
    set_up(home)
    make_key(home, actor=OPERATOR, now=on(2))
    load_projects(home, PROGRAMMES / "p5" / "projects.yaml", actor=OPERATOR, now=on(2))
    intake(home, write(quick / "june.ndjson", [box("b1"), box("b2")]), now=on(7))
    settle_on(home, 8)
    award_due(home, now=on(8))
    return home


def made(client: TestClient[Any], who: dict[str, str], **asked: Any) -> tuple[str, bytes]:
    """A certificate that a person has made: its id and file."""
    answer = client.post("/v1/me/certificates", json=asked, headers=who)
    assert answer.status_code == 201, answer.text
    name = answer.json()["id"]
    return name, client.get(f"/v1/me/certificates/{name}", headers=who).content


def test_p9_p10_a_bank_is_shown_grades_and_points_that_it_checks_by_itself(city: Home) -> None:
    anna = account(city, "cainiao", "anna")
    (own,) = points_of(Reader(city), anna, now=NOW)["items"]
    with TestClient(create_app(city, now=lambda: NOW), base_url="https://tanzhang.example") as client:
        me = by_cookie(city, Role.PERSON, str(anna), now=NOW)
        picked = {"since": "2025-05-01", "until": "2025-06-30", "members": ["grades", "points"]}
        name, data = made(client, me, kind="green_credit", addressed_to="Example Bank", **picked)
        listed = client.get("/certificates/status/0").content
        answer = check_certificate(data, city.values["vkey"], status=listed, now=NOW)
        says = answer["says"]
        assert [(each["month"], each["grade"], each["scheme"]) for each in says["grades"]] == [
            ("2025-05", "light_green", "wendeng_rcb"),
            ("2025-06", "light_green", "wendeng_rcb"),
        ]
        assert says["points"][0]["amount"] == own["usable"]
        assert int(own["usable"]) > 0
        assert not {"reductionMg", "acts", "byCategory", "holderName"} & {*says}
        assert any("浅绿" in line.values[-1] for line in page_of(data).lines)
        assert client.delete(f"/v1/me/certificates/{name}", headers=me).status_code == 200
        later = client.get("/certificates/status/0").content
        with pytest.raises(TanzhangError, match="credential-revoked"):
            check_certificate(data, city.values["vkey"], status=later, now=NOW)
    assert_verified(city)


def test_a_gift_is_certified_with_its_proof_once_the_log_has_it(city: Home) -> None:
    anna = account(city, "cainiao", "anna")
    grams = donate(city, anna, "city_forest", "1", grams_mg=BOX_MG, now=on(9))["id"]
    points = donate(city, anna, "city_forest", "2", points=30, now=on(9))["id"]
    with TestClient(create_app(city, now=lambda: NOW), base_url="https://tanzhang.example") as client:
        me = by_cookie(city, Role.PERSON, str(anna), now=NOW)
        asked = {"kind": "donation", "gift": grams}
        refused = client.post("/v1/me/certificates", json=asked, headers=me)
        assert (refused.status_code, refused.json()["code"]) == (409, "not-sealed")
        close(city, now=on(10))
        _, data = made(client, me, kind="donation", gift=grams, name="安娜")
        _, other = made(client, me, kind="donation", gift=points)
        stranger = by_cookie(city, Role.PERSON, str(uuid.UUID(int=9)), now=NOW)
        assert client.post("/v1/me/certificates", json=asked, headers=stranger).status_code == 404
    says = check_certificate(data, city.values["vkey"], now=NOW)["says"]
    assert (says["reductionMg"], says["project"]["nameZh"], says["donatedOn"]) == (
        str(BOX_MG),
        "城市森林",
        "2025-06-09",
    )
    assert page_of(data).figure == "37"
    assert page_of(other).figure == "30"
    evidence = yaml.safe_load(data)["evidence"][1]
    assert check_receipt(evidence["proof"].encode(), city.values["vkey"])["amount"] == str(BOX_MG)
    assert date.fromisoformat(says["donatedOn"]) == date(2025, 6, 9)
