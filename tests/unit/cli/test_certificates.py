"""Certificates at the command line: made, checked without a home, revoked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tanzhang.cli import main
from tanzhang.service.intake import intake
from tanzhang.stores.fonts import fonts_are_there

from ...homes import box, new_home, on, settle_on, write


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any]:
    code = main._run([*map(str, arguments), "--json"], as_json=True)
    return code, json.loads(capsys.readouterr().out)


def test_one_is_issued_checked_by_file_alone_and_revoked(quick: Path, capsys: pytest.CaptureFixture[str]) -> None:
    opened = new_home(quick / "home")
    intake(opened, write(quick / "a.ndjson", [box("b1")]), now=on(6))
    settle_on(opened, 20)
    home = ["--home", opened.folder]
    (opened.folder / "keys" / "people.yaml").write_text(yaml.safe_dump({"public_url": "https://carbon.example"}))
    month = ["certificate", "statement", "cainiao:anna", "--month", "2025-06", *home, "--out"]
    code, answer = said(capsys, *month, quick / "s.json")
    assert (code, answer["code"]) == (1, "issuer-missing")
    assert said(capsys, "certificate", "make-key", *home)[1]["entry"] == 2
    files = [quick / "s.json", *([quick / "s.pdf"] if fonts_are_there() else [])]
    for file in files:
        code, made = said(capsys, *month, file)
        assert (code, made["says"]["reductionMg"]) == (0, "37000")
    (opened.folder / "keys" / "log.vkey").rename(quick / "log.vkey")
    (opened.folder / "keys" / "log.vkey").write_text((quick / "log.vkey").read_text())
    listed = ["certificate", "status-list", "0", *home, "--out", quick / "list.json"]
    assert said(capsys, *listed)[0] == 0
    check = ["--key", quick / "log.vkey", "--status", quick / "list.json"]
    for file in files:
        code, answer = said(capsys, "certificate", "verify", file, *check)
        assert (code, answer["status"], answer["revoked"]) == (0, "verified", False)
    assert said(capsys, "certificate", "rotate-key", *home)[1]["status"] == "made"
    assert said(capsys, "certificate", "revoke", f"urn:uuid:{made['id']}", "--reason", "test", *home)[0] == 0
    assert said(capsys, *listed)[0] == 0
    code, answer = said(capsys, "certificate", "verify", files[-1], *check)
    assert (code, answer["code"]) == (1, "credential-revoked")
    assert main._run(["certificate", "verify", str(files[-1]), "--key", str(quick / "log.vkey")], as_json=False) == 0
    assert "CarbonStatement" not in capsys.readouterr().out
    code, answer = said(capsys, "certificate", "verify", files[0])
    assert (code, answer["code"]) == (1, "usage")
