"""The mall by the command line: what the operator types to sell something and to settle with a merchant."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml

from tanzhang.cli import main
from tanzhang.service.offers import offer_of
from tanzhang.stores.home import Home

from ...homes import new_home
from ...mall import buy, grant, number, person, said, usable

Run = Callable[..., Any]
ANNA = person(1)
DOCUMENT = Path(__file__).parents[3] / "docs" / "mall.md"


@pytest.fixture
def home(quick: Path) -> Home:
    home = new_home(quick / "home")
    grant(home, [ANNA], 1_000, last="9999-12-31")
    return home


@pytest.fixture
def run(home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command on the home; returns its answer, as data where it is JSON."""
    monkeypatch.setenv("TANZHANG_HOME", str(home.folder))

    def command(*arguments: str, code: int = 0) -> Any:
        monkeypatch.setattr(sys, "argv", ["tanzhang", *arguments, "--json"])
        with pytest.raises(SystemExit) as ended:
            main.run()
        text = capsys.readouterr().out
        assert ended.value.code == code, text
        return json.loads(text) if text.startswith("{") else text

    return command


def write(path: Path, document: dict[str, Any]) -> str:
    path.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    return str(path)


def test_an_offer_is_added_sold_paid_for_changed_reported_and_ended(run: Run, home: Home, quick: Path) -> None:
    file = quick / "film.yaml"
    (quick / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n rest")
    digest = run("mall", "offer", "picture", str(quick / "a.png"))["picture"]
    document = said("film", kind="code", price_fen="990", picture=digest)
    assert run("mall", "offer", "add", write(file, document))["status"] == "sold_out"
    assert run("mall", "offer", "add", str(file), code=1)["code"] == "offer-exists"
    codes = quick / "codes.txt"
    codes.write_text("A-1\nA-2\n\nA-1\n")
    assert run("mall", "codes", "add", "film", str(codes)) == {"offer": "film", "added": 2, "known": 0}
    order = number(buy(home, ANNA, "film", now=main_now()))
    bank = quick / "bank.csv"
    bank.write_text(f"order,amount_fen,reference\n{order},990,bank-1\n{order},990,bank-2\n")
    paid = run("mall", "paid", str(bank))
    assert [each["result"] for each in paid["items"]] == ["paid", "refused"]
    assert run("mall", "paid", str(bank))["items"][0]["result"] == "known"
    (listed,) = run("mall", "offer", "list")["offers"]
    assert (listed["sold"], listed["left"]) == (1, 1)
    month = main_now().strftime("%Y-%m")
    assert run("mall", "report", "cainiao", month)["total"]["owed_fen"] == "990"
    assert run("mall", "report", "cainiao", month, "--csv").splitlines()[0].startswith("merchant,month,offer,placed,")
    assert run("mall", "refund", order) == {"order": order, "state": "refunded", "give_back_fen": "990"}
    assert usable(home, ANNA) == 1000
    assert run("mall", "offer", "change", write(file, {**document, "price_fen": "900"}))["version"] == 2
    assert run("mall", "offer", "end", "film")["status"] == "closed"


def main_now() -> datetime:
    """The moment as commands have it, in the programme's zone."""
    return datetime.now(UTC).astimezone(ZoneInfo("Asia/Shanghai"))


def test_files_that_are_wrong_are_refused_with_every_mistake(run: Run, quick: Path) -> None:
    file = quick / "bad.yaml"
    write(file, {**said("film"), "price": "1"})
    assert run("mall", "offer", "add", str(file), code=1)["code"] == "offer-malformed"
    assert run("mall", "offer", "add", str(quick / "none.yaml"), code=1)["code"] == "file-system"
    bank = quick / "bank.csv"
    bank.write_text("order,amount_fen,reference\n,990,a\nX,9.90,b\nX,990,\n")
    wrong = run("mall", "paid", str(bank), code=1)
    assert [each["where"] for each in wrong["problems"]] == ["bank.csv:2", "bank.csv:3", "bank.csv:4"]
    bank.write_text("")
    assert run("mall", "paid", str(bank), code=1)["code"] == "payments-malformed"


def test_the_offer_in_the_document_is_one(run: Run) -> None:
    found = re.search(r"```yaml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    assert offer_of(yaml.safe_load(found[1])).limit is not None
