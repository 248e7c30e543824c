"""A simulated season from report files to sealed batches, and what can be asked of it afterwards."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb
from tests.postgres import running_server

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


def season(scratch: Path, *, people: int, actions: int, days: int, runs: int = 1) -> dict[str, Any]:
    """Simulate once, replay ``runs`` times, verify and ask; each in a process of its own, each replay beside a copy.

    ``scratch`` takes some 250 bytes an act. Times are medians, memory the most of all runs.
    """
    folder, home = scratch / "season", scratch / "home"
    simulated, simulate_s = simulated_season(folder, people=people, actions=actions, days=days)
    replays, copies = [], []
    for _ in range(runs):
        shutil.rmtree(home, ignore_errors=True)
        copies.append(sorted_copies(folder, scratch / "copy.parquet"))
        replays.append(_timed("replay", str(folder), "--home", str(home), "--json")[0])
    verified, verify_s = _timed("verify", "--home", str(home), "--json")
    asked = subprocess.run([sys.executable, "-c", _ASK, str(home)], check=True, capture_output=True, text=True)
    replayed = sorted(replays, key=lambda each: each["seconds"]["total"])[runs // 2]
    seconds, copy_s = replayed["seconds"], statistics.median(copies)
    stored = sum(replayed["bytes"].values())
    return {
        "rows": replayed["rows"],
        "people": simulated["people"],
        "days": days,
        "runs": runs,
        "simulate_rows_per_s": round(simulated["rows"] / simulate_s),
        "replay_s": seconds,
        "replays_s": [each["seconds"]["total"] for each in replays],
        "rows_per_s": replayed["rows_per_s"],
        "sorted_copy_s": round(copy_s, 1),
        "ratio": round(seconds["total"] / copy_s, 2),
        "peak_mb": max(each["peak_memory_mb"] for each in replays),
        "bytes_per_row": {name: round(size / replayed["rows"], 1) for name, size in replayed["bytes"].items()},
        "stored_bytes_per_row": round(stored / replayed["rows"], 1),
        "reduction_t": int(replayed["net"]["co2e_mg"]) / 1e9,
        "outcomes": replayed["outcomes"],
        "lost_share": _share(replayed["outcomes"], "duplicate_of", "overlap_of"),
        "verify_s": round(verify_s, 1),
        "verified": verified["status"],
        **json.loads(asked.stdout),
    }


def _share(outcomes: dict[str, int], *names: str) -> float:
    return sum(outcomes.get(name, 0) for name in names) / sum(outcomes.values())


def doublings(scratch: Path, *, people: int, actions: int, days: int, times: int = 3) -> list[dict[str, Any]]:
    """Replays of a season, of twice as many people and acts, and so on; ``ratio`` is to the one before."""
    found: list[dict[str, Any]] = []
    for power in range(times):
        with tempfile.TemporaryDirectory(dir=scratch) as place:
            folder = Path(place) / "season"
            simulated_season(folder, people=people << power, actions=actions << power, days=days)
            replayed, _ = _timed("replay", str(folder), "--home", str(Path(place) / "home"), "--json")
        total = replayed["seconds"]["total"]
        before = found[-1]["replay_s"] if found else None
        ratio = None if before is None else round(total / before, 2)
        found.append({"rows": replayed["rows"], "replay_s": total, "ratio": ratio})
    return found


def databases(scratch: Path, *, people: int, actions: int, days: int, runs: int) -> dict[str, Any]:
    """The same season into a book on SQLite and on a PostgreSQL server of its own, in turn, all synced to one disk."""
    folder = scratch / "season"
    simulated_season(folder, people=people, actions=actions, days=days)
    spent: dict[str, list[float]] = {"sqlite": [], "postgresql": []}
    rows = 0
    with running_server({}, in_memory=False) as server:
        for _ in range(runs):
            for name, times in spent.items():
                home = scratch / "home"
                shutil.rmtree(home, ignore_errors=True)
                book = [] if name == "sqlite" else ["--book", server.address(server.database(), "bench")]
                replayed, _ = _timed("replay", str(folder), "--home", str(home), "--json", *book)
                times.append(replayed["seconds"]["total"])
                rows = replayed["rows"]
    median = {name: statistics.median(times) for name, times in spent.items()}
    return {
        "rows": rows,
        "runs": runs,
        **{f"{name}_s": times for name, times in spent.items()},
        "ratio": round(median["postgresql"] / median["sqlite"], 2),
    }


def simulated_season(folder: Path, *, people: int, actions: int, days: int) -> tuple[Any, float]:
    """A season's report files, and how long they took."""
    size = ["--people", str(people), "--actions", str(actions), "--days", str(days)]
    return _timed("simulate", "--scenario", SCENARIO, *size, "-o", str(folder), "--json")


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
