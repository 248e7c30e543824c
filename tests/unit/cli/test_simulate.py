"""``tanzhang simulate`` answers as the other commands do."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tanzhang.cli import main

SMALL = ("--scenario", "green-life-season-2022", "--people", "300", "--actions", "400", "--days", "1")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["tanzhang", "simulate", *arguments])
    with pytest.raises(SystemExit) as ended:
        main.run()
    return int(str(ended.value.code))


def test_a_season_is_written_and_summed_up(
    quick: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *SMALL, "--seed", "4", "-o", str(quick / "season"), "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["actions"], answer["people"], answer["seed"]) == (400, 300, 4)
    assert answer.pop("folder") == str(quick / "season")
    assert answer == json.loads((quick / "season" / "simulation.json").read_text(encoding="utf-8"))


def test_people_read_words(quick: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, *SMALL, "-o", str(quick / "season"), "--format", "csv") == 0
    shown = capsys.readouterr().out
    assert "simulated  True" in shown
    assert "rows_by_day_and_partner" not in shown


def test_a_refusal_has_its_code(
    quick: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--scenario", "nowhere", "-o", str(quick / "season"), "--json") == 1
    assert json.loads(capsys.readouterr().out)["code"] == "unknown-scenario"
