"""The guard by the command line: looking, listing, showing, deciding."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tanzhang.cli import main
from tanzhang.service.intake import intake
from tanzhang.service.verify import verify
from tanzhang.stores.home import Home

from ...homes import FAST, guarded, on, ride, write

Run = Callable[..., Any]


@pytest.fixture
def home(quick: Path) -> Home:
    home = guarded(quick / "home")
    events = [ride(f"fast-{n}", subject, distance_m=FAST) for n, subject in enumerate(("anna", "ben"))]
    intake(home, write(quick / "rides.ndjson", [*events, ride("honest", "cem")]), now=on(5, 15))
    return home


@pytest.fixture
def run(home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command on the home; returns its JSON answer."""
    monkeypatch.setenv("TANZHANG_HOME", str(home.folder))

    def command(*arguments: str, code: int = 0) -> Any:
        monkeypatch.setattr(sys, "argv", ["tanzhang", *arguments, "--json"])
        with pytest.raises(SystemExit) as ended:
            main.run()
        said = json.loads(capsys.readouterr().out)
        assert ended.value.code == code, said
        return said

    return command


def test_the_operator_looks_lists_shows_and_decides(home: Home, run: Run) -> None:
    assert run("guard", "run") == {"looked_at": 3, "held": 2, "noted": 0, "drifts": 0}
    listed = run("guard", "list")
    assert (listed["guard"], listed["cases"]["held"]) == ("example", 2)
    second, first = (each["id"] for each in listed["items"])
    shown = run("guard", "show", str(first))
    assert (shown["partner"], shown["score"], shown["appeal"]) == ("amap", 100, None)
    assert run("guard", "release", str(first), "--reason", " ", code=1)["code"] == "reason-missing"
    assert run("guard", "release", str(first), "--reason", "the gate confirms it")["cases"] == [first]
    assert run("guard", "refuse", str(second), "--reason", "no such train")["cases"] == [second]
    assert run("guard", "refuse", str(first), "--reason", "after all", code=1)["code"] == "guard-case-decided"
    assert run("guard", "show", "99", code=1)["code"] == "guard-case-unknown"
    assert {each["state"] for each in run("guard", "list", "--state", "all")["items"]} == {"released", "refused"}
    assert datetime.fromisoformat(run("guard", "show", str(second))["decided_at"]) < datetime.now(UTC)
    assert verify(home)["status"] == "verified"
