"""Retiring by the command line, from units to a certificate that anybody checks."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tanzhang.cli import main
from tanzhang.stores.home import Home

from ...homes import market_home
from ...integration.test_retirement import serial, set_up

Run = Callable[..., Any]
CLAIM = ["--beneficiary", "Example Games", "--purpose", "event_neutrality"]
JUNE = ["--since", "2025-06-01", "--until", "2025-06-30"]


@pytest.fixture
def home(quick: Path) -> Home:
    return set_up(market_home(quick / "home"))


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


def test_units_are_retired_listed_shown_and_proved(run: Run, home: Home, quick: Path) -> None:
    units = ["--lot", "L000001", "--count", "100"]
    made = run("retire", "steel", "--reference", "r", *CLAIM, *JUNE, *units, "--anonymous")
    assert made["serials"] == [serial(home, 0, 100)]
    named = ["--serial", serial(home, 90, 110)]
    assert run("retire", "steel", "--reference", "s", *CLAIM, *JUNE, *named, code=1)["code"] == "unit-state"
    name, key = made["id"], str(home.folder / "keys" / "log.vkey")
    (listed,) = run("retirement", "list", "--lot", "L000001")["retirements"]
    assert listed["beneficiary"] is None
    assert run("retirement", "show", name)["beneficiary"]["beneficiary"] == "Example Games"
    files = {what: str(quick / what) for what in ("certificate", "opening", "proof")}
    for what, file in files.items():
        assert run("retirement", what, name, "--out", file)["status"] == "written"
        assert run("retirement", what, name, "--out", file, code=1)["code"] == "export-exists"
    said = run("certificate", "verify", files["certificate"], "--key", key, "--opening", files["opening"])
    assert any("Example Games" in each for each in said["checks"])
    assert run("retirement", "check", files["proof"], "--key", key)["units"] == "100"
    assert run("retirement", "addendum", name, "read: Games", "--reference", "a")["addenda"][0]["text"] == "read: Games"
    assert run("retirement", "open", name)["public"] is True
    assert run("retirement", "serial", serial(home, 0, 1))["retirements"][0]["id"] == name
    assert run("retirement", "totals")["lots"][0]["states"]["retired"] == "100"
    assert run("retirement", "remove", name, "--reason", "asked for")["beneficiary"] is None
