"""What an operator adds by data alone works from the check to a receipt: examples/operator, and a mapping more."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from tanzhang.service.accounts import account_named, action_named, statement
from tanzhang.service.catalogue import check_catalogue
from tanzhang.service.intake import intake
from tanzhang.service.quantify import quantify
from tanzhang.service.receipt import check_receipt, create_receipt
from tanzhang.service.settle import settle
from tanzhang.service.verify import verify
from tanzhang.stores.catalogue import Catalogue
from tanzhang.stores.home import Home

ROOT = Path(__file__).parents[2]
OPERATOR = ROOT / "examples" / "operator"
NOW = datetime(2025, 3, 10, 2, 0, tzinfo=UTC)
SUBE = ROOT.parent / "shared" / "data" / "real" / "sube_buenos_aires_201911" / "martes_trx.csv.gz"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(
        tmp_path / "home",
        programme="example-city",
        origin="example.org",
        overlays=(OPERATOR,),
        now=NOW,
        seed=b"operator",
    )


def ride(number: int, hour: int, *, metres: int = 2_000, **data: object) -> dict[str, object]:
    return {
        "specversion": "1.0",
        "id": f"ride-{number}",
        "source": "example_bikes",
        "type": "travel.bicycle",
        "subject": "rider-1",
        "time": f"2025-03-01T{hour:02d}:10:00+08:00",
        "data": {
            "started_at": f"2025-03-01T{hour:02d}:00:00+08:00",
            "region": "CN-330106",
            "distance_m": metres,
            "claim": {"issuer": "example_bikes", "identifier": str(number)},
            **data,
        },
    }


def test_the_folder_adds_one_of_each_and_the_check_finds_nothing_wrong() -> None:
    shipped, extended = check_catalogue(Catalogue()), check_catalogue(Catalogue(OPERATOR))
    assert extended.problems == ()
    more = {name: extended.counts[name] - shipped.counts[name] for name in shipped.counts}
    assert {name: count for name, count in more.items() if count and name != "plans"} == {
        "factor_files": 1,
        "factor_values": 1,
        "methodology_files": 1,
        "cases_files": 1,
        "grading_files": 1,
        "cases": 4,
        "programme_files": 1,
        "partners": 1,
        "sources_files": 1,
        "sources": 1,
    } | ({"methodologies": 1} if "methodologies" in more else {})


def test_the_example_says_that_it_is_invented_wherever_it_is_seen() -> None:
    answer = quantify(
        Catalogue(OPERATOR), "travel.bicycle", region="CN-330100", on=date(2025, 3, 1), inputs={"distance_m": 1_000},
        programme="example-city",
    )  # fmt: skip
    assert (answer["reduction_mg"], answer["methodology_status"], answer["provisional"]) == ("11100", "draft", True)
    assert "invented" in answer["title"]["en"]
    assert "虚构" in answer["title"]["zh"]
    assert "invented" in answer["source"]["title"]
    for path in OPERATOR.rglob("*.yaml"):
        assert "invented" in path.read_text(encoding="utf-8").lower(), path.name


def test_shipped_programmes_do_not_count_by_an_operators_example() -> None:
    catalogue = Catalogue(OPERATOR)
    for programme in catalogue.programme_ids():
        listed = "example_city.travel.bicycle" in catalogue.programme(programme).methodologies
        assert listed is (programme == "example-city")


def test_a_partners_file_goes_from_the_folder_to_a_receipt(home: Home, tmp_path: Path) -> None:
    events = [
        ride(1, 8),
        ride(2, 9, metres=2_001, evidence="sensed"),
        ride(3, 10, metres=20_000),  # 2 km a minute
        ride(1, 8),  # sent again
        *(ride(number, number) for number in (12, 13, 14)),  # five rides a day, four are credited
    ]
    file = tmp_path / "rides.ndjson"
    file.write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")
    answer = intake(home, file, partner="example_bikes", now=NOW)
    assert (answer["accepted"], answer["refused_by_code"]) == (6, {"implausible-speed": 1})
    settlement = settle(home, through=date(2025, 3, 3), now=NOW)
    assert settlement["outcomes"] == {"granted": "4", "repeat": "1", "capped": "1"}
    assert settlement["granted"] == {"co2e_mg": str(3 * 22_200 + 11_105)}
    account = statement(home, account_named(home, "example_bikes:rider-1"))
    assert account["confirmed"]["reduction_mg"] == "77705"
    receipt = check_receipt(create_receipt(home, action_named(home, "example_bikes:ride-2")), home.values["vkey"])
    assert (receipt["granted_mg"], receipt["methodology"]) == ("11105", "example_city.travel.bicycle@1")
    assert receipt["provisional"] is True
    assert verify(home)["status"] == "verified"


@pytest.mark.real
@pytest.mark.skipif(not SUBE.is_file(), reason="the real data sets are not beside the checkout")
def test_a_new_source_needs_a_mapping_and_nothing_else(tmp_path: Path) -> None:
    now = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
    home = Home.create(
        tmp_path / "home",
        programme="rehearsal",
        origin="example.org",
        overlays=(ROOT / "examples" / "rehearsal",),
        now=now,
        seed=b"sube",
    )
    answer = intake(home, SUBE, mapping=ROOT / "examples" / "mappings" / "sube_buenos_aires.yaml", now=now)
    assert (answer["rows"], answer["accepted"], answer["skipped"]) == (19_978, 19_978, {"train_and_metro": 8_691})
    settlement = settle(home, through=date(2025, 10, 10), now=now)
    assert settlement["outcomes"] == {"granted": "19978"}
    assert settlement["granted"] == {"co2e_mg": str(19_978 * 80_000)}
    receipt = check_receipt(create_receipt(home, action_named(home, "sube:2190385")), home.values["vkey"])
    # Tapped in the hour from 5:00 on 2019-11-27; 306 weeks later, the hour as it was written.
    assert (receipt["record"]["day"], receipt["record"]["ended"]) == ("2025-10-08", "2025-10-07T21:00:00.000000Z")
