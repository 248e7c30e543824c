"""Passing on by the command line, from two operators' files to grams that were taken in."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tanzhang.cli import main
from tanzhang.service.epoch import close
from tanzhang.service.intake import intake
from tanzhang.stores.home import Home

from ...homes import account, box, new_home, on, settle_on, write

SCHEME = """
format: tanzhang.passing-schemes/1
schemes:
  {id}:
    title: Another city
    title_zh: 另一座城市
    text: An example of ours.
    text_zh: 本平台示例。
    holder: a city (invented)
    takes: true
    gives: true
    open: {{from: 2025-06-01}}
    source: none, an example
    status: example
    log: {log}
    programme: {id}
"""


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    monkeypatch.setattr(sys, "argv", ["tanzhang", "pass-on", *words, "--json"])
    with pytest.raises(SystemExit) as end:
        main.run()
    said = json.loads(capsys.readouterr().out.partition("\n[exit")[0])
    return said if end.value.code in (0, None) else said["code"]


def test_from_two_files_to_grams_that_were_taken_in(
    quick: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = new_home(quick / "here"), new_home(quick / "there", "cainiao", seed=b"other")
    intake(here, write(quick / "one.ndjson", [box("b")]), now=on(6))
    settle_on(here, 7)
    bo = str(account(there, "cainiao", "bo"))

    def at(home: Home, *words: str) -> Any:
        return run(monkeypatch, capsys, *words, "--home", str(home.folder))

    for home, other in ((here, there), (there, here)):
        path = quick / f"{other.programme.id}.yaml"
        path.write_text(SCHEME.format(id=other.programme.id, log=other.values["vkey"]), encoding="utf-8")
        assert at(home, "load", str(path))["schemes"] == {other.programme.id: 1}
    made = at(here, "give", "cainiao:anna", "cainiao", "--grams-mg", "30000", "--to", bo, "--reference", "1")
    close(here, now=on(9))
    file = quick / "file.tlog-proof"
    assert at(here, "file", "cainiao:anna", made["id"], "--out", str(file))["status"] == "written"
    assert at(here, "file", "cainiao:anna", made["id"], "--out", str(file)) == "export-exists"
    key = here.values["vkey"]
    assert run(monkeypatch, capsys, "check", str(file), "--key", key)["amount"] == "30000"
    assert at(there, "accept", bo, str(file))["grams_mg"] == "30000"
    assert at(there, "accept", bo, str(quick / "none")) == "file-missing"
    assert [each["way"] for each in at(there, "list", bo)["passings"]] == ["received"]
    assert at(there, "lookup", made["id"])["items"][0]["way"] == "received"
    assert at(here, "show", "cainiao")["passed_mg"] == at(there, "schemes")["schemes"][0]["received_mg"] == "30000"
