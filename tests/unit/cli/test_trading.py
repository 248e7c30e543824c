"""Trading by the command line: from an application to units handed over and money back."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tanzhang.cli import main
from tanzhang.stores.home import Home

from ...trading import ACCOUNT, held, market_home

Run = Callable[..., Any]
HEAD = "entry,booked_on,amount_fen,payer,payer_account,memo\n"


@pytest.fixture
def home(quick: Path) -> Home:
    return market_home(quick / "home")


@pytest.fixture
def run(home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command on the home; returns its answer."""
    monkeypatch.setenv("TANZHANG_HOME", str(home.folder))

    def command(*arguments: str, code: int = 0) -> Any:
        monkeypatch.setattr(sys, "argv", ["tanzhang", *arguments, "--json"])
        with pytest.raises(SystemExit) as ended:
            main.run()
        text = capsys.readouterr().out
        assert ended.value.code == code, text
        return json.loads(text)

    return command


def party(run: Run, quick: Path, name: str, account: str = ACCOUNT) -> None:
    said = ("--title", name, "--contact", "Li Na", "--bank-account", account)
    run("party", "apply", name, *said)
    (quick / f"{name}.pdf").write_bytes(name.encode())
    document = run("party", "document", name, str(quick / f"{name}.pdf"), "--kind", "business_licence")
    run("party", "judge", name, document["digest"], "--accept")
    assert run("party", "set", name, "approved")["state"] == "approved"


def at(**later: int) -> str:
    return (datetime.now(UTC) + timedelta(**later)).isoformat()


def test_a_party_buys_over_the_counter_and_has_back_what_it_paid_too_much(run: Run, home: Home, quick: Path) -> None:
    party(run, quick, "steel")
    assert [each["id"] for each in run("party", "list")["parties"]] == ["steel"]
    digest = run("party", "show", "steel")["documents"][0]["digest"]
    run("party", "read", "steel", digest, "--out", str(quick / "read.pdf"))
    assert (quick / "read.pdf").read_bytes() == b"steel"
    terms = ("--lot", "L000001", "--units", "100", "--price-fen", "6000", "--reference", "o-1")
    run("deal", "offer", *terms, "--until", at(days=3))
    assert run("deal", "offers")["offers"][0]["left"] == "100"
    accepted = run("deal", "accept", "1", "--buyer", "steel", "--units", "10", "--reference", "r-1")
    assert run("deal", "end-offer", "1")["state"] == "ended"
    today = datetime.now(UTC).date().isoformat()
    lines = f"E1,{today},60500,Steel,{ACCOUNT},{accepted['payment_reference']}\nE2,{today},5,?,{ACCOUNT},?\n"
    (quick / "june.csv").write_text(HEAD + lines, encoding="utf-8")
    assert run("payment", "statement", str(quick / "june.csv"))["delivered"] == [1]
    assert held(home, "party:steel") == 10
    assert [each["entry"] for each in run("payment", "list", "--state", "surplus")["payments"]] == ["E1"]
    run("payment", "return", "E1", "--note", "paid too much")
    made = run("payment", "return-file", "--out", str(quick / "back.csv"))
    assert run("payment", "return-file", "--out", str(quick / "back.csv"), code=1)["code"] == "export-exists"
    again = run("payment", "return-file", "--out", str(quick / "again.csv"), "--again", made["id"])
    assert (quick / "again.csv").read_bytes() == (quick / "back.csv").read_bytes()
    assert again["status"] == "made again"
    (quick / "answer.csv").write_text("reference,status,reason\nR00000001,paid,\n", encoding="utf-8")
    assert run("payment", "returned", str(quick / "answer.csv"))["sent"] == 1
    assert run("payment", "returns")["returns"][0]["state"] == "sent"
    assert run("deal", "show", "1")["state"] == "delivered"


def test_an_agreed_deal_with_a_pledge_is_confirmed_by_hand_and_its_seller_paid_out(
    run: Run, home: Home, quick: Path
) -> None:
    party(run, quick, "steel")
    party(run, quick, "iron", "6222 0000 0009")
    pledge = ("--sponsor", "iron", "--fen", "50", "--cap-fen", "400", "--source", "a letter", "--reference", "p-1")
    assert run("pledge", "make", *pledge)["state"] == "open"
    agreed = ("--lot", "L000001", "--price-fen", "6000")
    run("deal", "agree", "--buyer", "steel", *agreed, "--units", "10", "--reference", "c-1")
    today = datetime.now(UTC).date().isoformat()
    run("payment", "confirm", "E1", "--deal", "1", "--amount-fen", "60000", "--on", today)
    assert run("pledge", "list")["pledges"][0]["spent_fen"] == "400"
    assert run("pledge", "end", "1")["state"] == "spent"
    run("deal", "agree", "--seller", "steel", "--buyer", "iron", *agreed, "--units", "5", "--reference", "c-2")
    (quick / "a.csv").write_text(f"{HEAD}E2,{today},30000,?,,no reference\n", encoding="utf-8")
    run("payment", "statement", str(quick / "a.csv"))
    assert run("payment", "use", "E2", "--deal", "2", "--note", "by its contract")["state"] == "settled"
    assert run("payment", "pay-out", "steel", "--amount-fen", "30000", "--reference", "o-1")["state"] == "asked"
    run("deal", "agree", "--buyer", "iron", *agreed, "--units", "1", "--reference", "c-3")
    assert run("deal", "deliver", "3", code=1)["code"] == "deal-unpaid"
    assert run("deal", "lapse")["deals"] == 0
    assert run("deal", "cancel", "3", "--note", "a mistake")["state"] == "cancelled"
    assert [each["number"] for each in run("deal", "list", "--party", "steel")["deals"]] == [2, 1]
    assert run("party", "set", "iron", "closed", "--note", "over", code=1)["code"] == "party-in-use"
    party(run, quick, "zinc", "6222 0000 0011")
    assert run("party", "set", "zinc", "closed", "--note", "over")["state"] == "closed"
    assert run("party", "forget", "zinc")["contact"] is None


def test_an_auction_is_opened_bid_in_and_called_off(run: Run, quick: Path) -> None:
    party(run, quick, "steel")
    terms = ("--lot", "L000001", "--units", "100", "--reserve-fen", "5000", "--reference", "a-1")
    run("auction", "open", *terms, "--opens", at(hours=-1), "--closes", at(hours=1))
    receipt = run(
        "auction", "bid", "1", "--bidder", "steel", "--units", "5", "--price-fen", "6123", "--reference", "b-1"
    )
    assert len(receipt["salt"]) == 64
    assert "6123" not in json.dumps(run("auction", "bids", "1", "--bidder", "steel"))
    assert run("auction", "close", "1", code=1)["code"] == "auction-not-over"
    assert run("auction", "withdraw", "1", "--bidder", "steel", "--place", "1")["state"] == "withdrawn"
    assert run("auction", "call-off", "1", "--note", "a mistake")["state"] == "void"
    assert run("auction", "show", "1")["result"] == []
    assert run("auction", "list")["auctions"][0]["note"] == "a mistake"
    assert run("auction", "open", *terms, "--opens", "soon", "--closes", at(), code=1)["code"] == "options-malformed"
