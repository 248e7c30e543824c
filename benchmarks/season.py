"""A simulated season from report files to sealed batches, and what can be asked of it afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb

SCENARIO = "green-life-season-2022"
# The scenario's own size: 216,761,710 acts of 10,069,459 people in 15 days.
FULL = {"people": 10_069_459, "actions": 216_761_710, "days": 15}

_ASK = """
import json, statistics, sys, time, uuid
from pathlib import Path
import duckdb
from tanzhang.service.accounts import statement
from tanzhang.service.receipt import create_receipt
from tanzhang.stores.home import Home
home = Home(Path(sys.argv[1]))
files = sorted(home.folder.glob("records/*/records.parquet"))
picked = []
for file in files[:: max(len(files) // 5, 1)]:
    picked += duckdb.execute(f"SELECT account, action_id FROM '{file}' USING SAMPLE 2 ROWS (reservoir, 7)").fetchall()
def median(ask):
    times = []
    for each in picked:
        start = time.perf_counter()
        ask(*each)
        times.append(time.perf_counter() - start)
    return {"median_s": round(statistics.median(times), 3), "worst_s": round(max(times), 3)}
print(json.dumps({
    "receipt": median(lambda account, action: create_receipt(home, action)),
    "statement": median(lambda account, action: statement(home, account)),
    "balance": median(lambda account, action: home.book.balance(account)),
}))
"""


def season(scratch: Path, *, people: int, actions: int, days: int, book: str | None = None) -> dict[str, Any]:
    """Simulate, replay, verify and ask, each in a process of its own; ``scratch`` takes some 250 bytes an act."""
    folder, home = scratch / "season", scratch / "home"
    size = ["--people", str(people), "--actions", str(actions), "--days", str(days)]
    simulated, simulate_s = _timed("simulate", "--scenario", SCENARIO, *size, "-o", str(folder), "--json")
    copy_s = sorted_copies(folder, scratch / "copy.parquet")
    replayed, _ = _timed("replay", str(folder), "--home", str(home), "--json", *(["--book", book] if book else []))
    verified, verify_s = _timed("verify", "--home", str(home), "--json")
    asked = subprocess.run([sys.executable, "-c", _ASK, str(home)], check=True, capture_output=True, text=True)
    seconds = replayed["seconds"]
    stored = sum(replayed["bytes"].values())
    return {
        "rows": replayed["rows"],
        "people": simulated["people"],
        "days": days,
        "simulate_rows_per_s": round(simulated["rows"] / simulate_s),
        "replay_s": seconds,
        "rows_per_s": replayed["rows_per_s"],
        "sorted_copy_s": round(copy_s, 1),
        "ratio": round(seconds["total"] / copy_s, 2),
        "peak_mb": replayed["peak_memory_mb"],
        "bytes_per_row": {name: round(size / replayed["rows"], 1) for name, size in replayed["bytes"].items()},
        "stored_bytes_per_row": round(stored / replayed["rows"], 1),
        "reduction_t": int(replayed["net"]["co2e_mg"]) / 1e9,
        "outcomes": replayed["outcomes"],
        "verify_s": round(verify_s, 1),
        "verified": verified["status"],
        **json.loads(asked.stdout),
    }


def sorted_copies(folder: Path, target: Path) -> float:
    """Seconds that DuckDB needs to copy each day's report files into one file sorted by person and time."""
    spent = 0.0
    for day in sorted((folder / "reports").iterdir()):
        con = duckdb.connect()
        start = time.perf_counter()
        source = f"read_parquet('{day}/*.parquet', union_by_name = true)"
        con.execute(f"COPY (FROM {source} ORDER BY subject, time) TO '{target}' (FORMAT parquet)")
        spent += time.perf_counter() - start
        con.close()
    target.unlink()
    return spent


def _timed(*arguments: str) -> tuple[Any, float]:
    """The answer of a command and how long it took."""
    command = [str(Path(sys.executable).parent / "tanzhang"), *arguments]
    start = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout), time.perf_counter() - start
