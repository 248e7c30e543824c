"""Donations and benefits by the command line, from the operator's files to a proof and a file that was paid."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tanzhang.cli import main
from tanzhang.service.epoch import close
from tanzhang.service.intake import intake
from tanzhang.stores.home import Home

from ...homes import account, box, grant_points, new_home, on, settle_on, write

Run = Callable[..., Any]
ANNA = "cainiao:anna"
PROJECTS = """
format: tanzhang.donation-projects/1
projects:
  forest:
    title: A wood on the hill
    title_zh: 山上的树林
    text: An example of ours.
    text_zh: 本平台示例。
    recipient: Hill Trust (invented)
    takes: [grams]
    open: {from: 2025-06-01}
    source: none, an example
    status: example
"""
BENEFITS = """
format: tanzhang.benefits/1
benefits:
  packet:
    kind: red_packet
    title: Red packet
    title_zh: 红包
    text: An example of ours.
    text_zh: 本平台示例。
    points: beijing_carbon_energy
    open: {from: 2025-06-01}
    source: none, an example
    status: example
    adapter: bank_file
    rates: [{from: 2025-06-01, points: 10, gets: 1}]
"""


@pytest.fixture
def home(quick: Path) -> Home:
    """Somebody with a box of 37 g and 100 points."""
    home = new_home(quick / "home")
    intake(home, write(quick / "one.ndjson", [box("b")]), now=on(6))
    settle_on(home, 7)
    own = account(home, "cainiao", "anna")
    grant_points(home, "points:beijing_carbon_energy", own, amount=100, last="9999-12-31", first="2025-01-01")
    return home


@pytest.fixture
def run(home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command on the home; returns its answer as data."""
    monkeypatch.setenv("TANZHANG_HOME", str(home.folder))

    def command(*arguments: str, code: int = 0) -> Any:
        monkeypatch.setattr(sys, "argv", ["tanzhang", *arguments, "--json"])
        with pytest.raises(SystemExit) as ended:
            main.run()
        text = capsys.readouterr().out
        assert ended.value.code == code, text
        return json.loads(text.partition("\n[exit")[0])

    return command


def test_a_gift_is_given_shown_and_proved(run: Run, home: Home, quick: Path) -> None:
    (quick / "projects.yaml").write_text(PROJECTS, encoding="utf-8")
    assert run("donate", "load", str(quick / "projects.yaml"))["projects"] == {"forest": 1}
    gift = run("donate", "give", ANNA, "forest", "--grams-mg", "30000", "--reference", "1")
    assert run("donate", "give", ANNA, "forest", "--grams-mg", "30000", "--reference", "1") == gift
    assert run("donate", "give", ANNA, "forest", "--grams-mg", "30000", code=1)["code"] == "grams-short"
    assert run("donate", "projects")["projects"][0]["given"]["grams_mg"] == "30000"
    listed = run("donate", "list", ANNA)
    assert (listed["gifts"][0]["id"], listed["allocation"]["gifts"][0]["owed_mg"]) == (gift["id"], "0")
    assert run("account", "show", ANNA)["donated"]["reduction_mg"] == "30000"
    close(home, now=on(9))
    proof = str(quick / "gift.tlog-proof")
    run("donate", "receipt", ANNA, gift["id"], "--out", proof)
    assert run("donate", "receipt", ANNA, gift["id"], "--out", proof, code=1)["code"] == "export-exists"
    said = run("donate", "check", proof, "--key", str(home.folder / "keys" / "log.vkey"))
    assert (said["status"], said["amount"]) == ("verified", "30000")
    assert run("donate", "show", "forest")["sealed"][0]["entry"] == said["entry"]


def test_a_red_packet_is_asked_for_written_into_a_file_and_paid(run: Run, quick: Path) -> None:
    (quick / "benefits.yaml").write_text(BENEFITS, encoding="utf-8")
    assert run("benefits", "load", str(quick / "benefits.yaml"))["benefits"] == {"packet": 1}
    assert [each["id"] for each in run("benefits", "list")["benefits"]] == ["packet"]
    use = run("benefits", "buy", ANNA, "packet", "--points", "50", "--payee", "wallet-1")
    assert (use["value"], use["state"]) == ("5", "asked")
    made = run("benefits", "payout", "--out", str(quick / "pay.csv"))
    again = run("benefits", "payout", "--out", str(quick / "again.csv"), "--again", made["id"])
    assert again["id"] == made["id"]
    assert (quick / "pay.csv").read_bytes() == (quick / "again.csv").read_bytes()
    assert (quick / "pay.csv").stat().st_mode & 0o077 == 0
    (quick / "paid.csv").write_text(f"reference,status,reason\n{use['id']},paid,\n", encoding="utf-8")
    assert run("benefits", "paid", str(quick / "paid.csv"))["paid"] == 1
    assert [each["open"] for each in run("benefits", "payouts")["files"]] == [0]
    assert [each["state"] for each in run("benefits", "uses", ANNA)["uses"]] == ["paid"]
    assert run("benefits", "pending") == {"pending": []}
    assert run("benefits", "banks") == {"banks": []}
    assert run("benefits", "transfer")["confirmed"] == 0
    (quick / "bank.csv").write_text("id,points\nstranger,5\n", encoding="utf-8")
    compared = run("benefits", "reconcile", "b", str(quick / "bank.csv"), "--on", "2025-06-08", code=1)
    assert compared["status"] == "different"
