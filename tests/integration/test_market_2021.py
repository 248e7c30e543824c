"""The case of 2021 in small, by the command line alone: from report files to retired units and shares paid out."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from tanzhang.cli import main
from tanzhang.service.catalogue_check import check_catalogue
from tanzhang.stores.catalogue import Catalogue

Run = Callable[..., Any]
DATA = Path(__file__).parents[1] / "programmes" / "p5_market"
DIGEST = "0" * 64
YEAR = ["--since", "2025-01-01", "--until", "2025-12-31"]
SIZE = ["--people", "400", "--days", "1", "--seed", "7"]


@pytest.fixture
def run(quick: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command on the home as a user of the system; returns its answer as data."""
    monkeypatch.setenv("TANZHANG_HOME", str(quick / "home"))

    def command(*arguments: object, user: str = "olga") -> Any:
        monkeypatch.setenv("LOGNAME", user)
        monkeypatch.setattr(sys, "argv", ["tanzhang", *map(str, arguments), "--json"])
        with pytest.raises(SystemExit) as ended:
            main.run()
        text = capsys.readouterr().out
        assert ended.value.code == 0, text
        return json.loads(text)

    return command


def season(run: Run, folder: Path) -> None:
    """Report files of simulated trips, and a home that settled them."""
    own = DATA / "catalogue"
    run("simulate", "--scenario", "beijing-maas-2021", *SIZE, "--catalogue", own, "-o", folder / "season")
    run("init", "--programme", "beijing-maas", "--catalogue", own)
    assert run("replay", folder / "season")["outcomes"]["granted"] > 300
    for partner in ("amap", "beijing_subway", "hellobike", "meituan", "qingju", "yikatong"):
        file = folder / f"{partner}.csv"
        reports = f"read_parquet('{folder}/season/reports/*/{partner}.parquet')"
        duckdb.execute(
            f"COPY (SELECT DISTINCT subject, '2025-01-01' AS from_day FROM {reports} WHERE subject <> '') TO '{file}'"
        )
        assert int(run("authorise", "load", file, "--partner", partner)["authorised"]) > 0


def issued(run: Run, folder: Path) -> int:
    """A lot of all of it, verified by somebody else and registered by two people; how many units are to be sold."""
    assert run("lot", "draft", "--reference", "2021", "--vintage", 2025, "--region", "CN-110000")["lot"] == "L000001"
    lot = run("lot", "freeze", "L000001")
    assert int(lot["total_mg"]) == int(lot["units"]) * int(lot["unit_mass_mg"])
    said = {"title": "Example Audit", "title_zh": "示例核查", "accredited": "by nobody", "source": "none, an example"}
    (folder / "verifier.json").write_text(json.dumps(said), encoding="utf-8")
    run("verification", "verifier", "audit", folder / "verifier.json")
    by_audit = ["--verifier", "audit", "--reference", "1"]
    run("verification", "hand-over", "L000001", *by_audit)
    run("verification", "draw", "L000001", *by_audit, user="vera")
    records = run("verification", "sample", "L000001", "--verifier", "audit", user="vera")["records"]
    findings = [
        {"severity": "none", "text": "the same", "record": {"batch": each["batch"], "place": each["place"]}}
        for each in records
    ]
    (folder / "findings.json").write_text(json.dumps(findings), encoding="utf-8")
    run("verification", "find", "L000001", folder / "findings.json", *by_audit, user="vera")
    evidence = ["--statement", "an example", "--evidence", DIGEST]
    run("verification", "decide", "L000001", "verified", *by_audit, *evidence, user="vera")
    run("verification", "attest", "L000001", "--reference", "1", *evidence)
    for registry in ("national_ets", "ccer", "beijing_ets"):
        looked = ["--on", "2026-01-05", "--found", "nothing", "--evidence", DIGEST, "--clear"]
        run("verification", "look-up", "L000001", registry, "--reference", registry, *looked)
    run("verification", "register", "L000001", "--reference", "1", user="max")
    parts = {each["holder"]: int(each["count"]) for each in run("lot", "issue", "L000001", "--reference", "1")["parts"]}
    assert sum(parts.values()) == int(lot["units"])
    assert parts["reserve"] == -(-int(lot["units"]) // 50)
    return parts["programme"]


def approve(run: Run, folder: Path, party: str, title: str, account: str) -> None:
    """A buyer with a document that was looked at."""
    run("party", "apply", party, "--title", title, "--contact", "Example", "--bank-account", account)
    (folder / "licence.pdf").write_bytes(party.encode())
    kept = run("party", "document", party, folder / "licence.pdf", "--kind", "business_licence")
    run("party", "judge", party, kept["digest"], "--accept")
    run("party", "set", party, "approved")


def sold(run: Run, folder: Path, units: int) -> tuple[dict[str, int], int]:
    """Every unit of the programme, paid by one statement of the bank; units by buyer, and what they brought in fen."""
    sales = yaml.safe_load((DATA / "sales.yaml").read_text(encoding="utf-8"))
    lines, counts, gross = ["entry,booked_on,amount_fen,payer,payer_account,memo"], {}, 0
    for number, sale in enumerate(sales):
        party, account = sale["party"], f"6222 0000 {number:04d}"
        last = number == len(sales) - 1
        count = units - sum(counts.values()) if last else int(units * Fraction(sale["share"]))
        approve(run, folder, party, sale["title"], account)
        offer = ["--seller", "programme", "--reference", number, "--lot", "L000001", "--price-fen", sale["price_fen"]]
        made = run("deal", "offer", *offer, "--units", count, "--until", "2099-01-01T00:00:00+08:00", "--buyer", party)
        taken = ["--buyer", party, "--units", count, "--reference", "1"]
        deal = run("deal", "accept", made["number"], *taken)
        paid = [
            f"B{number}",
            deal["made_at"][:10],
            deal["gross_fen"],
            sale["title"],
            account,
            deal["payment_reference"],
        ]
        lines.append(",".join(paid))
        counts[party], gross = count, gross + int(deal["gross_fen"])
    (folder / "statement.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert run("payment", "statement", folder / "statement.csv")["delivered"] == [1, 2, 3]
    return counts, gross


def test_the_case_of_2021_in_small_goes_all_the_way_by_commands(run: Run, quick: Path) -> None:
    season(run, quick)
    terms = run("market", "publish")
    assert terms["lots_may_freeze_from"] == terms["public_since"]
    units = issued(run, quick)
    counts, gross = sold(run, quick, units)
    run("payback", "run")
    shown = run("payback", "show")
    fees = sum(int(fee["fen"]) for each in shown["sales"] for fee in each["fees"])
    shared = sum(int(each["shared_fen"]) for each in shown["sales"])
    assert (len(shown["sales"]), shared + fees) == (3, gross)
    assert int(shown["sums"]["owed_fen"]) == shared
    for party, count in counts.items():
        claim = ["--reference", "1", "--beneficiary", party, "--purpose", "organisation_neutrality", *YEAR]
        assert int(run("retire", party, *claim, "--lot", "L000001", "--count", count)["units"]) == count
    states = run("unit", "lot", "L000001")
    assert (int(states["states"]["retired"]), int(states["units"])) == (units, units + int(states["reserve"]))
    run("verification", "package", "L000001", "--out", quick / "lot.zip")
    assert run("verify", "--lot", quick / "lot.zip", "--key", run("log", "status")["key"])["status"] == "verified"
    assert run("verify")["status"] == "verified"


def test_the_rules_of_the_rehearsal_pass_the_check_of_the_catalogue(tmp_path: Path) -> None:
    shutil.copytree(DATA / "catalogue", tmp_path / "own")
    assert check_catalogue(Catalogue(tmp_path / "own")).problems == ()
