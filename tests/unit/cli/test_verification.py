"""Verifying a lot by the command line, from the verifier to a package that is checked without the home."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tanzhang.cli import main
from tanzhang.stores.home import Home

from ...homes import market_home
from ...verifying import DIGEST, SAID, frozen_lot

Run = Callable[..., Any]


@pytest.fixture
def home(quick: Path) -> Home:
    home = market_home(quick / "home")
    frozen_lot(home, quick)
    return home


@pytest.fixture
def run(home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("TANZHANG_HOME", str(home.folder))

    def call(*words: str) -> Any:
        monkeypatch.setattr(sys, "argv", ["tanzhang", *words, "--json"])
        with pytest.raises(SystemExit) as ended:
            main.run()
        found = json.loads(capsys.readouterr().out.partition("\n[exit")[0])
        assert (ended.value.code == 0) == (found.get("status") not in ("error", "failed")), found
        return found

    return call


def test_a_lot_is_verified_registered_packed_and_checked_elsewhere(
    home: Home, run: Run, quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (quick / "verifier.json").write_bytes(msgspec.json.encode(SAID))
    assert run("verification", "verifier", "second_audit", str(quick / "verifier.json"))["version"] == 1
    assert len(run("verification", "verifiers")["verifiers"]) == 2
    by = ("--verifier", "green_audit")
    run("verification", "hand-over", "L000001", *by, "--reference", "h")
    assert run("verification", "draw", "L000001", *by, "--reference", "d")["count"] == "59"
    records = run("verification", "sample", "L000001", *by)["records"]
    findings = [
        {"severity": "none", "text": "as reported", "record": {name: each[name] for name in ("batch", "place")}}
        for each in records
    ]
    (quick / "findings.json").write_text(json.dumps(findings))
    run("verification", "find", "L000001", str(quick / "findings.json"), *by, "--reference", "f")
    on = ("--evidence", DIGEST)
    assert run("verification", "decide", "L000001", "maybe", *by, "--reference", "v", "--statement", "x", *on)[
        "code"
    ] == ("options-malformed")
    run("verification", "decide", "L000001", "verified", *by, "--reference", "v", "--statement", "fine", *on)
    run("verification", "attest", "L000001", "--reference", "a", "--statement", "in no other scheme", *on)
    for name in run("verification", "show", "L000001")["registries_wanted"]:
        said = ("--on", "2026-01-14", "--found", "nothing", "--clear", *on)
        run("verification", "look-up", "L000001", name, "--reference", name, *said)
    assert run("verification", "register", "L000001", "--reference", "g")["code"] == "two-people"
    monkeypatch.setattr(getpass, "getuser", lambda: "somebody_else")
    run("verification", "register", "L000001", "--reference", "g")
    for kind in ("public", "verifier"):
        made = run("verification", "package", "L000001", "--for", kind, "--out", str(quick / f"{kind}.zip"))
        (quick / "key").write_text(made["key"])
        checked = run("verify", "--lot", str(quick / f"{kind}.zip"), "--key", str(quick / "key"))
        assert (checked["status"], checked["kind"]) == ("verified", kind)
    assert run("verify", "--lot", str(quick / "public.zip"))["code"] == "usage"
    assert run("market", "overview")["reserved_mg"] != "0"
    assert run("market", "prices")["prices"] == []
    assert run("market", "open-data", "--out", str(quick / "open.zip"))["lots"] == "1"
