"""Export, erase and tidy at the command line."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tanzhang.cli import main
from tanzhang.service.intake import intake

from ...homes import box, new_home, on, ride, settle_on, write


@pytest.fixture
def home(quick: Path) -> Path:
    opened = new_home(quick / "home")
    intake(opened, write(quick / "a.ndjson", [box("b1"), ride("r1"), box("x1", "bob")]), now=on(6))
    settle_on(opened, 20)
    return opened.folder


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any]:
    code = main._run([*map(str, arguments), "--json"], as_json=True)
    return code, json.loads(capsys.readouterr().out)


def test_persons_are_erased_by_name_and_by_file(home: Path, quick: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = quick / "more.txt"
    more.write_text("amap:anna\n\n")
    code, answer = said(
        capsys, "account", "erase", "cainiao:anna", "--file", more, "--reason", "request 7", "--home", home
    )
    assert (code, answer["status"], answer["records"]) == (0, "erased", 2)
    code, answer = said(capsys, "verify", "--home", home)
    assert (code, answer["status"]) == (0, "verified")
    notes = [note for check in answer["checks"] for note in check["notes"]]
    assert notes == ["2 records were erased: only their leaves and sums can be checked"]
    code, answer = said(capsys, "account", "show", "cainiao:anna", "--home", home)
    assert (code, answer["code"]) == (1, "account-erased")


def test_erasing_nobody_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, answer = said(capsys, "account", "erase", "--home", home)
    assert (code, answer["code"]) == (1, "account-malformed")


def test_what_was_erased_is_shown_as_a_table(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main._run(["account", "erase", "cainiao:anna", "--home", str(home)], as_json=False) == 0
    assert "1 accounts, 1 records of 1 batches" in capsys.readouterr().out
    assert main._run(["account", "erase", "cainiao:anna", "--home", str(home)], as_json=False) == 0
    assert "Nothing that is settled" in capsys.readouterr().out
    assert main._run(["verify", "--home", str(home)], as_json=False) == 0
    assert "1 records were erased" in capsys.readouterr().out


def test_a_person_is_exported_to_a_file(home: Path, quick: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = quick / "bob.zip"
    code, answer = said(capsys, "account", "export", "cainiao:bob", "-o", out, "--receipts", "--home", home)
    assert (code, answer["status"], answer["records"], answer["receipts"]) == (0, "exported", 1, 1)
    assert out.stat().st_size > 1000


def test_tidy_says_what_it_would_do_and_does_it(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "now", lambda: datetime(2026, 6, 1, tzinfo=UTC))
    code, answer = said(capsys, "tidy", "--dry-run", "--home", home)
    assert (code, answer["status"], answer["report_files"]) == (0, "due", 1)
    code, answer = said(capsys, "tidy", "--home", home)
    assert (code, answer["status"], answer["report_files"]) == (0, "tidied", 1)
    assert main._run(["tidy", "--home", str(home)], as_json=False) == 0
    assert "tidied" in capsys.readouterr().out
