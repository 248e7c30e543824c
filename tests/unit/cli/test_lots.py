"""Lots by the command line, from an authorisation to a proof that holds without the home."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tanzhang.cli import main
from tanzhang.service.market.terms import publish_terms
from tanzhang.stores.home import Home

from ...homes import box, market_home, on
from ...lots import UNIT_MG, report
from ...trading import OPERATOR

Run = Callable[..., Any]
ANNA = "cainiao:anna"


@pytest.fixture
def home(quick: Path) -> Home:
    """Somebody with thirty boxes, and terms that are public."""
    home = market_home(quick / "home")
    report(home, quick, [*(box(f"anna-{n}") for n in range(30)), *(box(f"bo-{n}", "bo") for n in range(30))])
    publish_terms(home, actor=OPERATOR, now=on(2))
    return home


@pytest.fixture
def run(home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command over the home; gives its JSON answer, and asserts how it ended."""

    def call(*arguments: object, code: int = 0) -> Any:
        monkeypatch.setattr(sys, "argv", ["tanzhang", *map(str, arguments), "--json"])
        monkeypatch.setenv("TANZHANG_HOME", str(home.folder))
        with pytest.raises(SystemExit) as ended:
            main.run()
        said = capsys.readouterr()
        assert ended.value.code == code, said.err
        return json.loads(said.out)

    return call


def test_from_an_authorisation_to_a_proof(run: Run, home: Home, tmp_path: Path) -> None:
    made = run("authorise", "grant", ANNA, "--from", "2025-01-01", "--behaviour", "use.parcel_box_return")
    assert [each["id"] for each in run("authorise", "list", ANNA)["authorisations"]] == [made["id"]]
    file = tmp_path / "users.csv"
    file.write_text("subject,from_day\nbo,2025-01-01\n")
    assert run("authorise", "load", file, "--partner", "cainiao")["authorised"] == "1"
    wanted = ("lot", "draft", "--reference", "d-1", "--vintage", 2025, "--region", "CN-110000")
    assert run(*wanted)["lot"] == "L000001"
    assert run("lot", "freeze", "L000001")["total_mg"] == str(2 * UNIT_MG)
    assert run("lot", "show", "L000001")["events"][1]["state"] == "frozen"
    states = run("lot", "states", ANNA)
    assert int(states["totals"]["reserved_mg"]) > 0
    action = next(each["action_id"] for each in states["records"] if each["lots"])
    out = tmp_path / "share.tlog-proof"
    run("lot", "prove", "L000001", ANNA, action, "--out", out)
    assert run("lot", "prove", "L000001", ANNA, action, "--out", out, code=1)["problems"][0]["code"] == "export-exists"
    assert run("lot", "check", out, "--key", home.folder / "keys" / "log.vkey")["status"] == "verified"
    assert run("lot", "check", tmp_path / "none", "--key", "x", code=1)["problems"][0]["code"] == "file-missing"
    assert run("authorise", "revoke", ANNA, made["id"])["revoked_at"] is not None
    assert run("lot", "dissolve", "L000001", "--why", "a test")["state"] == "dissolved"
    assert [each["lot"] for each in run("lot", "list")["items"]] == ["L000001"]
