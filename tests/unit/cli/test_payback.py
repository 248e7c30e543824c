"""Paying back by the command line, from a delivered sale to a proof and a file that was paid."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tanzhang.cli import main
from tanzhang.service.reading import Reader
from tanzhang.stores.home import Home

from ...homes import account, market_home
from ...paybacks import issued_lot, people, sell

Run = Callable[..., Any]
ANNA = "amap:anna"


@pytest.fixture
def home(quick: Path) -> Home:
    """Three people, and a unit of theirs that was sold for 10,001 fen."""
    home = market_home(quick / "home")
    people(home, quick)
    sell(home, issued_lot(home), 10_001)
    return home


@pytest.fixture
def run(home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command on the home; returns its answer as data."""
    monkeypatch.setenv("TANZHANG_HOME", str(home.folder))

    def command(*arguments: str, code: int = 0) -> Any:
        monkeypatch.setattr(sys, "argv", ["tanzhang", "payback", *arguments, "--json"])
        with pytest.raises(SystemExit) as ended:
            main.run()
        text = capsys.readouterr().out
        assert ended.value.code == code, text
        return json.loads(text.partition("\n[exit")[0])

    return command


def test_a_sale_is_divided_proved_and_paid_out(run: Run, home: Home, quick: Path) -> None:
    assert run("run")["sales"] == 1
    (sale,) = run("show")["sales"]
    assert (sale["deal"], sale["shared_fen"]) == (1, "9651")
    said = run("statement", ANNA)
    assert said["owed_fen"] == said["sales"][0]["fen"]
    own = account(home, "amap", "anna")
    action = str(uuid.UUID(Reader(home).records(own, limit=1)["items"][0]["action_id"]))
    proof, key = str(quick / "payment.tlog-proof"), str(home.folder / "keys" / "log.vkey")
    run("prove", ANNA, "1", action, "--out", proof)
    assert run("prove", ANNA, "1", action, "--out", proof, code=1)["code"] == "export-exists"
    assert run("check", proof, "--key", key)["status"] == "verified"
    assert run("check", str(quick / "none"), "--key", key, code=1)["code"] == "file-missing"
    asked = run("ask", ANNA, "--payee", "wallet-1", "--reference", "1")
    assert (asked["state"], asked["fen"]) == ("asked", said["owed_fen"])
    made = run("file", "--out", str(quick / "pay.csv"))
    assert run("file", "--out", str(quick / "again.csv"), "--again", made["id"])["id"] == made["id"]
    assert (quick / "pay.csv").read_bytes() == (quick / "again.csv").read_bytes()
    assert (quick / "pay.csv").stat().st_mode & 0o077 == 0
    (quick / "paid.csv").write_text(f"reference,status,reason\n{asked['id']},paid,\n", encoding="utf-8")
    assert run("answer", str(quick / "paid.csv"))["paid"] == 1
    assert [each["open"] for each in run("files")["files"]] == [0]
    assert [each["state"] for each in run("statement", ANNA)["payouts"]] == ["paid"]
    assert run("show")["sums"]["paid_fen"] == said["owed_fen"]
    assert run("escrow")["amounts"] == 0
