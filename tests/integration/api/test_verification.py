"""Verifying lots over HTTP: each role does its part, and everybody gets what is public of it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from tanzhang.api.app import create_app
from tanzhang.core.access import Role
from tanzhang.core.lot_package import FILES, PUBLIC, VERIFIER
from tanzhang.service.market.verify_lot import verify_lot
from tanzhang.stores.home import Home

from ...homes import market_home
from ...lots import LATER
from ...verifying import DIGEST, frozen_lot
from .callers import by_cookie

LOT = "/v1/verification/lots/L000001"


@pytest.fixture
def home(place: Callable[[str], str | None], quick: Path) -> Home:
    return market_home(quick / "home", book=place("tests"))


def test_a_lot_is_verified_by_those_whose_part_it_is_and_everybody_can_check_it(home: Home, tmp_path: Path) -> None:
    frozen_lot(home, tmp_path)
    operator, second = (by_cookie(home, Role.OPERATOR, name, now=LATER) for name in ("first", "second"))
    auditor = by_cookie(home, Role.VERIFIER, "gu", partner="green_audit", now=LATER)
    other = by_cookie(home, Role.VERIFIER, "hu", partner="another", now=LATER)
    with TestClient(create_app(home, now=lambda: LATER), base_url="https://tanzhang.example") as client:

        def does(who: dict[str, str], what: str, **said: Any) -> Any:
            answer = client.post(f"{LOT}/{what}", json=said, headers=who)
            assert answer.status_code == 201, answer.text
            return answer.json()

        put = {"title": "Another", "title_zh": "另一家", "accredited": "an example", "source": "an example"}
        assert client.put("/v1/verifiers/another", json=put, headers=operator).json()["version"] == 1
        assert [each["id"] for each in client.get("/v1/verifiers", headers=operator).json()["items"]] == [
            "another", "green_audit"
        ]  # fmt: skip
        does(operator, "hand-over", verifier="green_audit", reference="h")
        assert client.get("/v1/verification/lots", headers=auditor).json()["items"][0]["lot"] == "L000001"
        assert client.get("/v1/verification/lots", headers=other).json()["items"] == []
        for path in (LOT, f"{LOT}/sample", f"{LOT}/package"):
            assert client.get(path, headers=other).json()["code"] == "not-found"
        does(auditor, "sample", reference="d")
        records = client.get(f"{LOT}/sample", headers=auditor).json()["records"]
        findings = [
            {"severity": "none", "text": "as reported", "record": {"batch": each["batch"], "place": each["place"]}}
            for each in records
        ]
        does(auditor, "findings", reference="f", findings=findings)
        does(auditor, "decision", reference="v", decision="verified", statement="fine", evidence=DIGEST)
        does(operator, "attestation", reference="a", statement="in no other scheme", evidence=DIGEST)
        for name in client.get(LOT, headers=operator).json()["registries_wanted"]:
            said = {"registry": name, "on": "2026-01-14", "clear": True, "found": "nothing", "evidence": DIGEST}
            does(operator, "registries", reference=f"r-{name}", **said)
        refused = client.post(f"{LOT}/registration", json={"reference": "g"}, headers=operator)
        assert (refused.status_code, refused.json()["code"]) == (409, "two-people")
        does(second, "registration", reference="g")
        _check_packages(home, client, tmp_path, auditor, operator)
        _check_public(client)


def _check_packages(
    home: Home, client: TestClient[Litestar], folder: Path, auditor: dict[str, str], operator: dict[str, str]
) -> None:
    answer = client.get(f"{LOT}/package", headers=auditor)
    assert answer.headers["content-type"] == "application/zip"
    (folder / "verifier.zip").write_bytes(answer.content)
    assert set(FILES[VERIFIER]) < set(zipfile.ZipFile(io.BytesIO(answer.content)).namelist())
    assert verify_lot(folder / "verifier.zip", home.values["vkey"])["status"] == "verified"
    missing = client.get("/v1/market/lots/L000001/package")
    assert (missing.status_code, missing.json()["code"]) == (404, "package-missing")
    assert client.post("/v1/market/lots/L000001/package", headers=operator).json()["status"] == "published"
    answer = client.get("/v1/market/lots/L000001/package")
    (folder / "public.zip").write_bytes(answer.content)
    assert set(FILES[PUBLIC]) < set(zipfile.ZipFile(io.BytesIO(answer.content)).namelist())
    assert verify_lot(folder / "public.zip", home.values["vkey"])["status"] == "verified"
    again = client.get("/v1/market/lots/L000001/package", headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304


def _check_public(client: TestClient[Litestar]) -> None:
    (lot,) = client.get("/v1/market/open-data").json()["lots"]
    assert sum(int(each["reduction_mg"]) for each in lot["cells"] if each["total"]) == int(lot["total_mg"])
    lines = client.get("/v1/market/open-data.csv").text.splitlines()
    assert lines[0].startswith("lot,vintage,state,region,behaviour")
    assert len(lines) == 1 + len(lot["cells"])
    overview = client.get("/v1/market/overview").json()
    assert overview["reserved_mg"] == lot["total_mg"]
    assert client.get("/v1/market/prices").json()["prices"] == []
