"""Units over HTTP: the operator's verbs, a buyer's own units, and what everybody may look up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from tanzhang.core.access import Role
from tanzhang.stores.home import Home

from ...homes import market_home
from ...trading import approved
from ...units import registered
from .callers import by_cookie

EVIDENCE = "ab" * 32


@pytest.fixture
def home(place: Callable[[str], str | None], quick: Path) -> Home:
    """A home with a market, its book on either database."""
    return market_home(quick / "home", book=place("tests"))


def test_units_go_from_issue_to_export_and_everybody_sees_totals_and_labels(
    home: Home, client: TestClient[Litestar]
) -> None:
    operator = by_cookie(home, Role.OPERATOR)
    name = f"L{registered(home, 1_000):06d}"

    def post(path: str, **said: Any) -> dict[str, Any]:
        answer = client.post(f"/v1/market/{path}", json=said, headers=operator)
        assert answer.status_code == 201, answer.json()
        found: dict[str, Any] = answer.json()
        return found

    made = post(f"lots/{name}/issue", reference="i-1")
    assert post(f"lots/{name}/issue", reference="i-1") == made
    serial = made["parts"][0]["serial"]
    parts = post("units/split", serial=serial, counts=["10", "20"], reference="s-1")["blocks"]
    post("units/merge", serial=serial, reference="m-1")
    one = parts[0]["serial"]
    post("units/freeze", serials=[one], reference="f-1", why="a dispute")
    post("units/thaw", serials=[one], reference="f-1", why="over")
    post("units/export", serials=[one], registry="other", reference="e-1")
    post("units/returned", reference="e-1", why="refused there")
    post("units/export", serials=[one], registry="other", reference="e-2")
    assert post("units/exported", reference="e-2", there="O-7")["blocks"][0]["state"] == "exported"
    two = parts[1]["serial"]
    fact = post(
        "labels", serial=two, scheme="voluntary", granted_by="bureau", evidence=EVIDENCE, first_day="2025-06-08",
        reference="l-1",
    )  # fmt: skip
    public = client.get(f"/v1/market/serials/{two}/labels")
    assert [each["scheme"] for each in public.json()["labels"]] == ["voluntary"]
    assert (
        client.get(f"/v1/market/serials/{two}/labels", headers={"if-none-match": public.headers["etag"]}).status_code
        == 304
    )
    post(f"labels/{fact['number']}/revoke", reference="l-2", why="withdrawn")
    assert client.get(f"/v1/market/serials/{two}/labels").json()["labels"] == []
    post("units/expire", serials=[two], reference="x-1", why="the rule of 2030")
    post("units/cancel", serials=[parts[2]["serial"]], reference="c-1", why="voluntary")
    states = client.get(f"/v1/market/lots/{name}/units").json()["states"]
    assert (states["exported"], states["expired"], states["cancelled"]) == ("10", "20", "900")
    imported = post(
        "units/import", registry="gold", foreign="GS1-1", units="5", unit="T", vintage=2025, region="CN",
        tier="national_voluntary", holder="programme", evidence=EVIDENCE, reference="im-1",
    )  # fmt: skip
    assert imported["lot"] == "X000001"
    assert client.get("/v1/market/lots/X000001/units").json()["foreign"] == "GS1-1"
    whole = client.get(f"/v1/market/units/{serial}", headers=operator).json()
    assert [each["event"] for each in whole["events"]][:3] == ["issue", "split", "merge"]
    assert whole["events"][0]["actor"] == "operator:somebody"
    held = client.get("/v1/market/units?state=held&limit=1", headers=operator).json()
    assert held["next"] is not None
    short = client.post(
        f"/v1/market/lots/{name}/make-good", json={"serials": [one], "reference": "g", "why": "x"}, headers=operator
    )
    assert (short.status_code, short.json()["code"]) == (409, "no-shortfall")


def test_a_buyer_sees_cancels_and_exports_its_own_units_and_nobody_elses(
    home: Home, client: TestClient[Litestar]
) -> None:
    approved(home, "steel")
    operator, buyer = by_cookie(home, Role.OPERATOR), by_cookie(home, Role.BUYER, partner="steel")
    said = {
        "registry": "gold", "foreign": "GS1-1", "units": "5", "unit": "T", "vintage": 2025, "region": "CN",
        "tier": "national_voluntary", "holder": "party:steel", "evidence": EVIDENCE, "reference": "im-1",
    }  # fmt: skip
    own = client.post("/v1/market/units/import", json=said, headers=operator).json()["blocks"][0]["serial"]
    other = {**said, "holder": "programme", "foreign": "GS1-2", "reference": "im-2"}
    foreign = client.post("/v1/market/units/import", json=other, headers=operator).json()["blocks"][0]["serial"]
    listed = client.get("/v1/market/units?holder=programme", headers=buyer).json()["items"]
    assert [each["serial"] for each in listed] == [own]
    act = {"reference": "c-1", "why": "voluntary"}
    assert client.post("/v1/market/units/cancel", json={"serials": [foreign], **act}, headers=buyer).status_code == 409
    named = {"serials": [own], "party": "iron", **act}
    assert client.post("/v1/market/units/cancel", json=named, headers=buyer).json()["code"] == "not-allowed"
    done = client.post("/v1/market/units/cancel", json={"serials": [own], **act}, headers=buyer).json()
    assert (done["status"], done["count"]) == ("cancelled", "5")
    away = {"serials": [foreign], "registry": "other", "reference": "e-1"}
    assert client.post("/v1/market/units/export", json=away, headers=buyer).json()["code"] == "block-outside"
    nobody = {**said, "holder": "party:nobody", "foreign": "GS1-3", "reference": "im-3"}
    assert client.post("/v1/market/units/import", json=nobody, headers=operator).json()["code"] == "unknown-party"
