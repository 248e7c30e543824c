"""Partners, their keys and staff by the command line: what the operator types before anybody can sign in."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tanzhang.cli import main
from tanzhang.service.access import caller_of_key
from tanzhang.stores.home import Home

from ...homes import CREATED, new_home

Run = Callable[..., Any]


@pytest.fixture
def home(quick: Path) -> Home:
    return new_home(quick / "home")


@pytest.fixture
def run(home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command on the home; returns its JSON answer, or the code of what it refused."""
    monkeypatch.setenv("TANZHANG_HOME", str(home.folder))

    def command(*arguments: str, code: int = 0) -> Any:
        monkeypatch.setattr(sys, "argv", ["tanzhang", *arguments, "--json"])
        with pytest.raises(SystemExit) as ended:
            main.run()
        said = json.loads(capsys.readouterr().out)
        assert ended.value.code == code, said
        return said

    return command


def test_a_partner_is_registered_limited_suspended_and_resumed(run: Run) -> None:
    made = run("partner", "add", "metro_co", "--name", "Metro Co", "--name-zh", "某地铁", "--behaviour", "travel.metro")
    assert (made["version"], made["behaviours"], made["evidence"]) == (1, ["travel.metro"], None)
    dated = ("--from", "2025-01-01", "--to", "2025-12-31", "--also-serves", "gd-pht")
    other = run("partner", "add", "bus_co", "--name", "Bus Co", "--name-zh", "某公交", *dated)
    assert other["contract"] == {"also_serves": ["gd-pht"], "from": "2025-01-01", "until": "2025-12-31"}
    again = run("partner", "add", "metro_co", "--name", "x", "--name-zh", "y", code=1)
    assert again["code"] == "partner-exists"
    assert run("partner", "limits", "metro_co", "--rows-per-day", "9", "--rows-per-s", "3")["limits"] == {
        "requests_per_s": None, "rows_per_s": 3, "rows_per_day": 9
    }  # fmt: skip
    assert run("partner", "limits", "metro_co", "--rows-per-s", "0")["limits"]["rows_per_s"] is None
    assert run("partner", "limits", "metro_co")["limits"]["rows_per_day"] == 9
    assert run("partner", "suspend", "metro_co", "--reason", "a dispute")["suspended"] == "a dispute"
    assert run("partner", "resume", "metro_co")["suspended"] is None
    shown = run("partner", "show", "metro_co")
    assert [each["version"] for each in shown["history"]] == [5, 4, 3, 2, 1]
    assert shown["rows_today"] == "0"
    listed = {each["id"]: each["version"] for each in run("partner", "list")["partners"]}
    assert (listed["metro_co"], listed["amap"]) == (5, 0)
    assert run("partner", "show", "nobody", code=1)["code"] == "unknown-partner"


def test_keys_of_the_command_line_open_the_door_until_they_are_revoked(run: Run, home: Home) -> None:
    made = run("key", "issue", "amap", "--scope", "ledger", "--scope", "report", "--days", "3")
    assert caller_of_key(home, made["key"], now=CREATED).partner == "amap"
    newer = run("key", "rotate", made["id"], "--old-ends-in", "1")
    assert newer["scopes"] == ["ledger", "report"]
    assert run("key", "revoke", newer["id"])["revoked_at"]
    listed = run("key", "list", "amap")["keys"]
    assert {each["id"] for each in listed} == {made["id"], newer["id"]}
    assert all("key" not in each for each in listed)
    assert run("key", "revoke", "nothing", code=1)["code"] == "not-found"


def test_the_first_operator_gets_a_one_time_link(run: Run, home: Home) -> None:
    made = run("staff", "add", "olga", "--role", "operator")
    assert made["path"].endswith(made["token"])
    assert [each["name"] for each in run("staff", "list")["staff"]] == ["olga"]
    (told,) = home.audit.page(None, 5)
    assert (told.act, told.subject, told.origin) == ("staff invited", "staff olga", "command line")
    assert made["token"] not in str(told)
