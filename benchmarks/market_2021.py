"""The case of 2021 at its size: two million people's trips, from report files to units retired and shares paid back.

Each step is a process of its own, whose seconds and peak memory are measured. Clocks of the market are set to 2026,
when the year of the trips is over. Everything that the market does is done through the services; prices, buyers but the
largest, and what a verifier finds are examples of ours.

``python -m benchmarks.market_2021 FOLDER [--share 100]`` with a share does one hundredth of it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

SCENARIO = "beijing-maas-2021"
UNITS = 25_000
"""Of which 2 % are the reserve: 24,500 t are sold."""
# Buyer, units, fen a unit. The first is of public record, with 15,000 t; the others and all prices are examples.
SALES = (
    ("beijing_road_bridge", 15_000, 6_000),
    ("example_steel", 4_000, 6_150),
    ("example_airport", 3_000, 6_300),
    ("example_paper", 1_500, 6_480),
    ("example_event", 1_000, 7_001),
)
TITLES = {"beijing_road_bridge": "北京市政路桥建材集团"}
SAMPLE = 60
PEOPLE, ACTIONS = 2_000_000, 60_000_000


def on(month: int, day: int) -> datetime:
    """Ten o'clock in Beijing of a day of 2026."""
    return datetime(2026, month, day, 2, tzinfo=UTC)


# -- steps ----------------------------------------------------------------------------------------------------


def terms(home: Any, folder: Path, share: int) -> dict[str, Any]:  # noqa: ARG001
    """The terms are published; seven working days later a lot may freeze."""
    from tanzhang.service.market.terms import publish_terms

    return publish_terms(home, actor=_operator(), now=on(1, 5))


def entrust(home: Any, folder: Path, share: int) -> dict[str, Any]:  # noqa: ARG001
    """Each partner's file says that all whom it reported entrusted their trips."""
    import duckdb

    from tanzhang.service.market.authorise import authorise_file

    counts: Counter[str] = Counter()
    for partner in sorted(home.programme.partners):
        file = folder / f"entrusted-{partner}.parquet"
        reports = f"read_parquet('{folder}/season/reports/*/{partner}.parquet', union_by_name = true)"
        duckdb.execute(
            f"COPY (SELECT DISTINCT subject, '2025-01-01' AS from_day FROM {reports} WHERE subject IS NOT NULL "
            f"AND subject <> '' ORDER BY subject) TO '{file}' (FORMAT parquet)"
        )
        answer = authorise_file(home, file, partner, actor=_operator(), now=on(1, 6))
        counts["rows"] += int(answer["rows"])
        counts["authorised"] += int(answer["authorised"])
    return dict(counts)


def freeze(home: Any, folder: Path, share: int) -> dict[str, Any]:  # noqa: ARG001
    """A lot of 25,000 t is drafted and frozen."""
    from tanzhang.service.market.lots import LotSaid, draft
    from tanzhang.service.market.lots import freeze as service

    said = LotSaid("maas-2021", 2025, "CN-110000", units=str(UNITS // share))
    number = int(draft(home, said, actor=_operator(), now=on(1, 20))["lot"][1:])
    lot = service(home, number, actor=_operator(), now=on(1, 20))
    return {name: lot[name] for name in ("lot", "units", "members", "total_mg", "root", "entry")}


def verification(home: Any, folder: Path, share: int) -> dict[str, Any]:  # noqa: ARG001
    """A verifier looks at a sample and finds nothing; two people of the operator attest and register."""
    from tanzhang.core.access import Actor, Role
    from tanzhang.service.market.rules import market_rules_of
    from tanzhang.service.market.verification import (
        Attestation,
        Decision,
        Finding,
        LookUp,
        RecordNamed,
        attest,
        decide,
        draw,
        file_findings,
        hand_over,
        look_up,
        register,
        sample,
    )
    from tanzhang.service.market.verifiers import VerifierSaid, put_verifier

    audit, digest = "example_audit", "0" * 64
    olga, max_ = _operator(), Actor(Role.OPERATOR, "max", "benchmark")
    vera = Actor(Role.VERIFIER, "vera", "benchmark")
    said = VerifierSaid("Example Audit", "示例核查机构", "an example, accredited by nobody", "none, an example")
    put_verifier(home, audit, said, actor=olga, now=on(1, 21))
    hand_over(home, 1, audit, reference="1", actor=olga, now=on(1, 21))
    draw(home, 1, audit, SAMPLE, reference="1", actor=vera, now=on(1, 22))
    records = sample(home, 1, audit, actor=vera, now=on(1, 22))["records"]
    findings = [
        Finding("none", "quantified again, the same", RecordNamed(each["batch"], each["place"])) for each in records
    ]
    file_findings(home, 1, audit, findings, reference="1", actor=vera, now=on(1, 23))
    decide(home, 1, audit, Decision("verified", "an example", digest), reference="1", actor=vera, now=on(1, 23))
    attest(home, 1, Attestation("an example", digest), reference="1", actor=olga, now=on(1, 24))
    for name in market_rules_of(home, home.lots.one(1).terms).registries:
        seen = LookUp(name, on(1, 24).date(), True, "nothing, an example", digest)
        look_up(home, 1, seen, reference=name, actor=olga, now=on(1, 24))
    register(home, 1, reference="1", actor=max_, now=on(1, 25))
    return {"records": len(records), "state": home.lots.one(1).state}


def issue(home: Any, folder: Path, share: int) -> dict[str, Any]:  # noqa: ARG001
    """The units are issued."""
    from tanzhang.service.market.issue import issue as service

    made = service(home, 1, reference="issue-1", actor=_operator(), now=on(1, 26))
    return {"parts": [(each["serial"], each["holder"]) for each in made["parts"]]}


def sell(home: Any, folder: Path, share: int) -> dict[str, Any]:
    """Offers are accepted and paid by one bank statement, which delivers the units."""
    from tests.trading import approved

    from tanzhang.service.market.deals import OfferSaid, accept, offer
    from tanzhang.service.market.payments import take_statement

    lines = ["entry,booked_on,amount_fen,payer,payer_account,memo"]
    for number, (buyer, units, price) in enumerate(SALES):
        account = f"6222 0000 {number:04d}"
        approved(home, buyer, now=on(1, 10), title=TITLES.get(buyer, buyer), bank_account=account)
        wanted = units // share
        said = OfferSaid("programme", f"offer-{number}", "L000001", str(wanted), str(price), on(3, 1), buyer)
        made = offer(home, said, actor=_operator(), now=on(2, 1))
        deal = accept(home, made["number"], buyer, wanted, "deal-1", actor=_operator(), now=on(2, 2))
        lines.append(
            f"B{number},2026-02-03,{deal['gross_fen']},{TITLES.get(buyer, buyer)},{account},{deal['payment_reference']}"
        )
    text = "\n".join(lines) + "\n"
    (folder / "statement.csv").write_text(text, encoding="utf-8")
    taken = take_statement(home, "bank_statement", text.encode(), "statement.csv", actor=_operator(), now=on(2, 4))
    return {"delivered": len(taken["delivered"]), "reasons": taken["reasons"]}


def pay_back(home: Any, folder: Path, share: int) -> dict[str, Any]:  # noqa: ARG001
    """What each sale brought is divided over all records of the lot."""
    from tanzhang.service.market.payback import divide, sums

    runs = []
    for sale in home.deals.sales():
        start = time.perf_counter()
        with home.settling():
            run = divide(home, sale, now=on(2, 5))
        runs.append({name: run[name] for name in ("shared_fen", "accounts")} | {"s": _since(start)})
    with home.settling():
        home.publish()
    return {"runs": runs, **sums(home)}


def retire(home: Any, folder: Path, share: int) -> dict[str, Any]:  # noqa: ARG001
    """Every buyer retires what it bought."""
    from tanzhang.service.market.retire import Asked
    from tanzhang.service.market.retire import retire as service

    units = 0
    for buyer, count, _ in SALES:
        asked = Asked(
            purpose="organisation_neutrality",
            since=datetime(2025, 1, 1, tzinfo=UTC).date(),
            until=datetime(2025, 12, 31, tzinfo=UTC).date(),
            beneficiary=TITLES.get(buyer, buyer),
            lot="L000001",
            count=count // share,
        )
        made = service(home, buyer, "2025", asked, actor=_operator(), now=on(2, 10))
        units += int(made["units"])
    return {"units": units}


def hold(home: Any, folder: Path, share: int) -> dict[str, Any]:  # noqa: ARG001
    """What the lifecycle says must always hold, over the whole home; raises where it does not."""
    import pyarrow.compute as pc

    from tanzhang.core.payback import payment_fen
    from tanzhang.core.units import State, covered, totals
    from tanzhang.stores.parts import record_files
    from tanzhang.stores.storage import parquet_file

    lot = home.lots.one(1)
    with parquet_file(home.storage / lot.file) as file:
        members = file.read()
    amounts = members["amount_mg"]
    batches = {row.seq: row for row in home.book.batch_files()}
    con = home.connect()
    con.register("members", members)
    con.execute("CREATE TABLE granted (batch INTEGER, place BIGINT, mg BIGINT)")
    for number in pc.unique(members["batch"]).to_pylist():
        for part in record_files(home.storage, batches[number]):
            con.execute(
                f"INSERT INTO granted SELECT {number}, file_row_number + {part.first}, granted_mg "
                f"FROM read_parquet('{part.path}', file_row_number = true) WHERE granted_mg > 0"
            )
    ((over, of_members),) = con.execute(
        "SELECT count(*) FILTER (WHERE amount_mg <= 0 OR amount_mg > coalesce(mg, 0)), count(*) "
        "FROM members LEFT JOIN granted USING (batch, place)"
    ).fetchall()
    assert (over, of_members) == (0, lot.members)
    assert pc.sum(amounts).as_py() == lot.total_mg == lot.units * lot.unit_mass_mg
    assert con.execute("SELECT count(*) FROM (SELECT DISTINCT batch, place FROM members)").fetchone() == (lot.members,)
    blocks = home.units.blocks(lot=1)
    assert covered(blocks) == [(0, lot.units)]
    states = totals(blocks)
    assert sum(states.values()) == lot.units
    retired = sum(count // share for _, count, _ in SALES)
    assert states[State.RETIRED] == retired
    balances, found, runs = home.money.balances(), home.payback.sums(), home.payback.runs()
    shared = sum(run.shared_fen for run in runs)
    assert sum(balances.values()) == 0
    assert shared == found["share"] + found["escrow_run"] == balances["payback"] + balances.get("escrow", 0)
    assert shared + sum(fen for name, fen in balances.items() if name.startswith("fee:")) == -balances["bank"]
    # Each member's payment of the largest sale by whole numbers of Python, one after the other.
    largest, before, paid = max(run.shared_fen for run in runs), 0, 0
    for chunk in amounts.chunks:
        for mg in chunk.to_pylist():
            fen = payment_fen(largest, lot.total_mg, before, mg)
            assert abs(fen * lot.total_mg - largest * mg) < lot.total_mg
            paid, before = paid + fen, before + mg
    assert paid == largest
    return {
        "members": lot.members,
        "states": {str(name): count for name, count in states.items() if count},
        "shared_fen": str(shared),
        "least_and_most_mg": [pc.min(amounts).as_py(), pc.max(amounts).as_py()],
    }


STEPS = {each.__name__: each for each in (terms, entrust, freeze, verification, issue, sell, pay_back, retire, hold)}


def _operator() -> Any:
    from tanzhang.core.access import Actor, Role

    return Actor(Role.OPERATOR, "olga", "benchmark")


def _since(start: float) -> float:
    return round(time.perf_counter() - start, 2)


# -- the way, step by step --------------------------------------------------------------------------------------


def run(folder: Path, share: int) -> dict[str, Any]:
    """All steps; seconds, peak memory and answer of each."""
    tanzhang = str(Path(sys.executable).parent / "tanzhang")
    home, season = folder / "home", folder / "season"
    size = ["--people", str(PEOPLE // share), "--actions", str(ACTIONS // share)]
    commands = {
        "simulate": [tanzhang, "simulate", "--scenario", SCENARIO, *size, "-o", str(season), "--json"],
        "replay": [tanzhang, "replay", str(season), "--home", str(home), "--json"],
    }
    for name in STEPS:
        own = [sys.executable, "-m", "benchmarks.market_2021", str(folder), "--share", str(share), "--step", name]
        commands[name] = own
    commands["verify"] = [tanzhang, "verify", "--home", str(home), "--json"]
    found: dict[str, Any] = {}
    for name, command in commands.items():
        found[name] = measured(command)
        print(name, json.dumps({key: found[name][key] for key in ("s", "peak_mb")}), flush=True)
    return found


def measured(command: list[str]) -> dict[str, Any]:
    """A process's answer, its seconds, and the most memory that it had."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    out = process.stdout.read()
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}: {out[-3000:]} {said[-3000:]}")
    peak = round(usage.ru_maxrss / 1024)
    return {"s": _since(start), "peak_mb": peak, "cpu_s": round(usage.ru_utime + usage.ru_stime, 1), **_short(out)}


def _short(out: str) -> dict[str, Any]:
    answer = json.loads(out)
    answer.pop("rows_by_day_and_partner", None)
    return {"answer": answer}


def main() -> None:
    """One step in this process, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--share", type=int, default=1)
    parser.add_argument("--step", choices=sorted(STEPS))
    given = parser.parse_args()
    if given.step is None:
        given.folder.mkdir(parents=True)
        print(json.dumps(run(given.folder, given.share), indent=2, ensure_ascii=False))
        return
    from tanzhang.stores.home import Home

    print(json.dumps(STEPS[given.step](Home(given.folder / "home"), given.folder, given.share), ensure_ascii=False))


if __name__ == "__main__":
    main()
