"""The grade of a person's and of a partner's month, from a whole home."""

from __future__ import annotations

import uuid
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from tanzhang.core.errors import TanzhangError
from tanzhang.service.catalogue import show
from tanzhang.service.catalogue_check import check_catalogue
from tanzhang.service.grading import grade_account, grade_partner
from tanzhang.service.intake import intake
from tanzhang.stores.catalogue import Catalogue, shipped_folder
from tanzhang.stores.home import Home

from ..homes import BOX_MG, CREATED, POWER_MG_PER_WH, account, box, on, power, settle_on, write

JUNE, JULY = date(2025, 6, 30), date(2025, 7, 1)
OPERATOR = Path(__file__).parents[2] / "examples" / "operator"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Programme beijing that names a scheme for persons, and the invented one beside it."""
    folder = tmp_path_factory.mktemp("grades")
    overlay = folder / "catalogue"
    data = yaml.safe_load((shipped_folder() / "programmes" / "beijing.yaml").read_text(encoding="utf-8"))
    written: dict[str, Any] = {"programmes/beijing.yaml": {**data, "grading": ["wendeng_rcb", "quzhou_enterprises"]}}
    city = yaml.safe_load((OPERATOR / "grades" / "example_city.yaml").read_text(encoding="utf-8"))
    written["grades/example_city.yaml"] = city
    written["grades/example_partners.yaml"] = {
        **city,
        "id": "example_partners",
        "subject": "partner",
        "measure": "reduction",
    }
    written["grades/example_years.yaml"] = {**city, "id": "example_years", "period": "year"}
    for name, content in written.items():
        (overlay / name).parent.mkdir(parents=True, exist_ok=True)
        (overlay / name).write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    opened = Home.create(
        folder / "home", programme="beijing", origin="grades.example", overlays=(overlay,), now=CREATED, seed=b"grades"
    )
    events = [box(f"b{number}") for number in range(3)]
    events += [power("p1", "kai", 40_000), box("other", "bo")]
    intake(opened, write(folder / "a.ndjson", events), now=on(6))
    settle_on(opened, 20)
    return opened


def test_a_person_is_graded_by_the_programmes_scheme(home: Home) -> None:
    found = grade_account(home, account(home, "cainiao", "anna"), JUNE)
    assert (found["grade"], found["name_zh"], found["mg"]) == ("light_green", "浅绿", str(3 * BOX_MG))
    assert (found["month"], found["state"], found["scheme_status"]) == ("2025-06", "confirmed", "provisional")
    assert found["period_stated"] is False
    assert grade_account(home, account(home, "cainiao", "anna"), JULY)["mg"] == "0"


def test_a_footprint_that_nobody_reported_is_refused_not_zero(home: Home) -> None:
    kai = account(home, "alipay", "kai")
    found = grade_account(home, kai, JUNE, scheme_id="example_city")
    assert (found["grade"], found["mg"]) == ("b", str(40_000 * POWER_MG_PER_WH))
    with pytest.raises(TanzhangError, match="grade-no-footprint"):
        grade_account(home, kai, JULY, scheme_id="example_city")
    with pytest.raises(TanzhangError, match="grade-no-footprint"):
        grade_account(home, account(home, "cainiao", "anna"), JUNE, scheme_id="example_city")


def test_a_partner_is_graded_by_what_its_users_saved(home: Home) -> None:
    found = grade_partner(home, "cainiao", JUNE, scheme_id="example_partners")
    assert (found["grade"], found["mg"]) == ("a", str(4 * BOX_MG))
    with pytest.raises(TanzhangError, match="grade-draft"):
        grade_partner(home, "cainiao", JUNE)


def test_what_cannot_be_graded_is_refused(home: Home) -> None:
    anna = account(home, "cainiao", "anna")
    with pytest.raises(TanzhangError, match="grade-subject"):
        grade_account(home, anna, JUNE, scheme_id="quzhou_enterprises")
    with pytest.raises(TanzhangError, match="grade-period"):
        grade_account(home, anna, JUNE, scheme_id="example_years")
    with pytest.raises(TanzhangError, match="unknown-grading"):
        grade_account(home, anna, JUNE, scheme_id="nowhere")
    with pytest.raises(TanzhangError, match="unknown-account"):
        grade_account(home, uuid.uuid4(), JUNE)


def test_a_programme_without_a_scheme_grades_by_none(tmp_path: Path) -> None:
    plain = Home.create(tmp_path / "home", programme="beijing", origin="plain.example", now=CREATED, seed=b"plain")
    with pytest.raises(TanzhangError, match="grading-unnamed"):
        grade_account(plain, uuid.uuid4(), JUNE)


def test_the_catalogue_shows_and_checks_its_schemes() -> None:
    shown = show(Catalogue(OPERATOR), "example_city")["grading"]
    assert shown["bands"][0] == {
        "id": "a",
        "name": {"en": "A", "zh": "甲"},
        "from": None,
        "to": {"mg": "20000000", "included": True},
    }
    assert shown["bands"][1]["from"] == {"mg": "20000000", "included": False}
    report = check_catalogue(Catalogue(OPERATOR))
    assert report.ok
    assert report.counts["grading_files"] == 3
