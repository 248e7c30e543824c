"""The programmes of the field, each from data files alone to what a person or an enterprise is told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from litestar.testing import TestClient

from tanzhang.api.app import create_app
from tanzhang.core.access import Role
from tanzhang.service.catalogue_check import check_catalogue
from tanzhang.service.intake import intake
from tanzhang.service.joining import join
from tanzhang.stores.catalogue import Catalogue, shipped_folder
from tanzhang.stores.home import Home

from ..homes import BOX_MG, CREATED, POWER_MG_PER_WH, account, box, on, power, settle_on, write
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
