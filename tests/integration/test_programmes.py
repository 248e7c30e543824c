"""The programmes of the field, each from data files alone to what a person or an enterprise is told."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from litestar.testing import TestClient

from tanzhang.api.app import create_app
from tanzhang.core.access import Actor, Role
from tanzhang.core.errors import TanzhangError
from tanzhang.service.award import award_due
from tanzhang.service.benefit_tokens import token_of, use_token
from tanzhang.service.benefits import buy, load_benefits
from tanzhang.service.catalogue_check import check_catalogue
from tanzhang.service.donations import check_receipt, donate, load_projects, project_page, receipt
from tanzhang.service.epoch import close
from tanzhang.service.erase import erase
from tanzhang.service.intake import intake
from tanzhang.service.joining import join
from tanzhang.service.payouts import file_data, new_file, take_answers
from tanzhang.service.points import points_of
from tanzhang.service.reading import Reader
from tanzhang.service.transfers import bank_keys, settle_transfers
from tanzhang.stores.catalogue import Catalogue, shipped_folder
from tanzhang.stores.home import Home

from ..banks import Bank
from ..homes import (
    BOX_MG,
    CREATED,
    METRO_MG_PER_M,
    POWER_MG_PER_WH,
    Event,
    account,
    assert_verified,
    box,
    new_home,
    on,
    power,
    ride,
    settle_on,
    write,
)
from .api.callers import by_cookie, by_key


def operator_folder(folder: Path, files: Mapping[str, Any]) -> Path:
    """A folder of catalogue files, as an operator adds to the shipped ones."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return folder


def beijing(**more: Any) -> dict[str, Any]:
    """Beijing's programme with members of one's own."""
    data = yaml.safe_load((shipped_folder() / "programmes" / "beijing.yaml").read_text(encoding="utf-8"))
    return {**data, **more}


class TestGrading:
    """P9: a person's month by footprint and reductions, an enterprise's by what its users saved; all of it data."""

    SCHEME: Mapping[str, Any] = {
        "title": {"en": "EXAMPLE, invented", "zh": "示例（虚构）"},
        "status": "draft",
        "source": "example_city_rides",
        "locator": "nowhere, it is invented",
        "unit": "kg",
        "period": "month",
        "gaps": [],
        "unknown": [],
    }

    @staticmethod
    def bands(first: str, second: str) -> list[dict[str, Any]]:
        """Three bands; each amount that is an edge belongs to the lower one."""
        edges = [None, first, second, None]
        return [
            {
                "id": name,
                "name": {"en": name.upper(), "zh": name.upper()},
                "from": None if low is None else {"value": low, "included": False},
                "to": None if high is None else {"value": high, "included": True},
            }
            for name, low, high in zip("abc", edges, edges[1:], strict=False)
        ]

    @pytest.fixture
    def home(self, tmp_path: Path) -> Home:
        """A programme with a scheme for persons and one for partners; each first edge is met to the milligram."""
        net = f"{(40_000 * POWER_MG_PER_WH - BOX_MG) / 1_000_000:.6f}"
        saved = f"{2 * BOX_MG / 1_000_000:.6f}"
        person = {"id": "persons", "subject": "person", "measure": "footprint_less_reduction"}
        partner = {"id": "partners", "subject": "partner", "measure": "reduction"}
        sources = yaml.safe_load(
            (Path(__file__).parents[2] / "examples/operator/sources/example_city.yaml").read_text(encoding="utf-8")
        )
        folder = operator_folder(
            tmp_path / "catalogue",
            {
                "programmes/beijing.yaml": beijing(grading=["persons", "partners"]),
                "grades/persons.yaml": {**self.SCHEME, **person, "bands": self.bands(net, "100")},
                "grades/partners.yaml": {**self.SCHEME, **partner, "bands": self.bands("0.001", saved)},
                "sources/example_city.yaml": sources,
            },
        )
        assert check_catalogue(Catalogue(folder)).problems == ()
        opened = Home.create(
            tmp_path / "home", programme="beijing", origin="p9.example", overlays=(folder,), now=CREATED, seed=b"p9"
        )
        events = [power("p", "kai", 40_000), box("b", "kai"), box("other", "bo"), power("more", "bo", 40_001)]
        intake(opened, write(tmp_path / "june.ndjson", events), now=on(6))
        settle_on(opened, 20)
        return opened

    def test_a_person_and_an_enterprise_have_the_grade_that_data_gives_them(self, home: Home) -> None:
        kai = account(home, "alipay", "kai")
        join(home, account(home, "cainiao", "kai"), kai, kind="merge", now=on(20))
        with TestClient(create_app(home, now=lambda: on(20)), base_url="https://tanzhang.example") as client:
            me = by_cookie(home, Role.PERSON, str(kai), now=on(20))
            said = client.get("/v1/me/grade?month=2025-06", headers=me).json()
            net = 40_000 * POWER_MG_PER_WH - BOX_MG
            assert (said["grade"], said["mg"], said["scheme"]) == ("a", str(net), "persons")  # its upper edge belongs
            other = by_cookie(home, Role.PERSON, str(account(home, "alipay", "bo")), now=on(20))
            assert client.get("/v1/me/grade?month=2025-06", headers=other).json()["grade"] == "b"
            cainiao = by_key(home, "cainiao", now=on(20))
            said = client.get("/v1/ledger/grade?month=2025-06", headers=cainiao).json()
            assert (said["grade"], said["mg"], said["partner"]) == ("b", str(2 * BOX_MG), "cainiao")
            again = client.get("/v1/ledger/grade?month=2025-07", headers=cainiao).json()
            assert (again["grade"], again["mg"]) == ("a", "0")
            answer = client.get("/v1/ledger/grade?month=2025-06&partner=amap", headers=cainiao)
            assert answer.status_code in (403, 404)
            assert client.get("/v1/ledger/grade?month=June", headers=cainiao).json()["code"] == "request-malformed"
            tagged = client.get("/v1/ledger/grade?month=2025-06", headers=cainiao)
            known = {**cainiao, "if-none-match": tagged.headers["etag"]}
            assert client.get("/v1/ledger/grade?month=2025-06", headers=known).status_code == 304


PROGRAMMES = Path(__file__).parents[1] / "programmes"
OPERATOR = Actor(Role.OPERATOR, "root", "command line")
DAY_5 = date(2025, 6, 5)


@pytest.fixture
def city(place: Callable[[str], str | None], quick: Path) -> Home:
    """Beijing's programme as it is shipped; nobody has done anything yet."""
    return new_home(quick / "home", book=place("city"))


def earned(home: Home, *events: Event, day: int = 7) -> None:
    """Acts of 5 June 2025, settled and awarded on a day."""
    intake(home, write(home.folder.parent / f"{uuid.uuid4().hex}.ndjson", events), now=on(day))
    settle_on(home, day + 1)
    award_due(home, now=on(day + 1))


def energy(home: Home, who: uuid.UUID, day: int = 9) -> int:
    (item,) = points_of(Reader(home), who, now=on(day))["items"]
    return int(item["usable"])


def test_p4_platforms_flow_into_one_account_whose_points_become_money_discounts_and_services(city: Home) -> None:
    load_benefits(city, PROGRAMMES / "p4" / "benefits.yaml", actor=OPERATOR, now=on(2))
    mother = account(city, "alipay", "anna")
    for platform in ("cainiao", "amap"):
        join(city, account(city, platform, "anna"), mother, since=DAY_5, now=on(6))
    earned(city, box("b1"), box("b2"), ride("r1"))
    assert city.book.balance(mother)["co2e_mg"] == 2 * BOX_MG + 10_000 * METRO_MG_PER_M
    had = energy(city, mother)
    assert had >= 130
    packet = buy(city, mother, "red_packet", "1", points=50, payee="wallet-anna", now=on(9))
    assert (packet.value, packet.sponsor) == (10, "platform")
    off = buy(city, mother, "low_carbon_merchant", "2", now=on(9))
    taken = use_token(city, "ele_me", token_of(city, off)["token"], "order-1", now=on(9))
    assert taken["percent"] == 10
    buy(city, mother, "exclusive_service", "3", now=on(9))  # 100 g are there only because platforms flow together
    assert energy(city, mother) == had - 50 - 40 - 40
    name = new_file(city, "bank_file", actor=OPERATOR, now=on(10))["id"]
    paid = b"reference,status,reason\n" + f"{packet.id},paid,\n".encode()
    assert b"wallet-anna,10" in file_data(city, name)
    assert take_answers(city, "bank_file", paid, "paid.csv", actor=OPERATOR, now=on(11))["paid"] == 1
    assert_verified(city)


def test_p5_people_give_what_their_trips_saved_and_everybody_can_check_the_total(city: Home) -> None:
    load_projects(city, PROGRAMMES / "p5" / "projects.yaml", actor=OPERATOR, now=on(2))
    earned(city, ride("r1", distance_m=9_000), box("b1"))
    rider, other = account(city, "amap", "anna"), account(city, "cainiao", "anna")
    saved = 9_000 * METRO_MG_PER_M
    gift = donate(city, rider, "city_forest", "1", grams_mg=saved, now=on(9))
    donate(city, other, "city_forest", "1", points=30, now=on(9))
    with pytest.raises(TanzhangError, match="grams-short"):
        donate(city, rider, "city_forest", "2", grams_mg=1, now=on(9))
    close(city, now=on(10))
    page = project_page(city, "city_forest")
    assert page["given"] == {"grams_mg": str(saved), "points": "30"}
    assert page["sealed"][0]["grams_mg"] == str(saved)
    proof = receipt(city, rider, gift["id"])
    assert check_receipt(proof, city.values["vkey"])["entry"] == page["sealed"][0]["entry"]
    erase(city, [rider, other], now=on(20))
    assert project_page(city, "city_forest")["given"] == page["given"]
    assert check_receipt(proof, city.values["vkey"])["amount"] == str(saved)
    assert_verified(city)


def test_p10_points_buy_a_place_in_the_queue_a_discount_a_banks_points_and_a_sponsors_red_packet(
    city: Home, bank: Bank, tmp_path: Path
) -> None:
    text = (PROGRAMMES / "p10" / "benefits.yaml").read_text(encoding="utf-8")
    (tmp_path / "benefits.yaml").write_text(text.replace("https://bank.example/points", bank.url), encoding="utf-8")
    load_benefits(city, tmp_path / "benefits.yaml", actor=OPERATOR, now=on(2))
    (bank.key,) = bank_keys(city)
    earned(city, box("b1"))
    anna = account(city, "cainiao", "anna")
    had = energy(city, anna)
    for name, kind in (("called_earlier", "queue_priority"), ("five_yuan_off", "discount")):
        row = buy(city, anna, name, name, now=on(9))
        assert use_token(city, "meituan", token_of(city, row)["token"], None, now=on(9))["kind"] == kind
    transfer = buy(city, anna, "bank_points", "t", points=10, payee="6222-0001", now=on(9))
    assert (transfer.value, transfer.state) == (20, "pending")
    assert settle_transfers(city, now=on(9))["confirmed"] == 1
    assert bank.booked == {transfer.id: ("6222-0001", 20)}
    assert buy(city, anna, "red_packet", "plain", points=20, payee="wallet-anna", now=on(9)).value == 2
    assert buy(city, anna, "red_packet", "raised", points=20, payee="wallet-anna", now=on(20)).value == 6
    with pytest.raises(TanzhangError, match="budget-spent"):
        buy(city, anna, "red_packet", "more", points=10, payee="wallet-anna", now=on(20))
    assert energy(city, anna, 20) == had - 20 - 10 - 10 - 20 - 20
    assert_verified(city)
    erase(city, [anna], now=on(21))
    assert str(anna) not in str(city.benefits.uses())
    assert_verified(city)
