"""``make bench``: measure, print, and keep the figures with the machine they were measured on."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import psutil
from tests.postgres import programs
from tests.spark import missing as spark_missing

from benchmarks.actions import DUPLICATE_SHARE, write_actions
from benchmarks.limits import limits
from benchmarks.season import FULL, databases, doublings, season

HERE = Path(__file__).parent
_ONE_RUN = """
import json, resource, sys, time
from datetime import UTC, date, datetime
from pathlib import Path
from tanzhang.service.intake import intake
from tanzhang.service.settle import settle
from tanzhang.stores.home import Home
source, folder = Path(sys.argv[1]), Path(sys.argv[2])
now = datetime(2025, 6, 6, 2, tzinfo=UTC)
home = Home.create(folder, programme="beijing", origin="bench.example/log", now=now, seed=b"bench")
start = time.perf_counter()
taken = intake(home, source, now=now)
middle = time.perf_counter()
batch = settle(home, through=date(2025, 6, 30), now=datetime(2025, 7, 2, tzinfo=UTC))
end = time.perf_counter()
files = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
print(json.dumps({"intake_s": middle - start, "settle_s": end - middle, "total_s": end - start,
    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "rows": taken["rows"],
    "accepted": taken["accepted"], "outcomes": batch["outcomes"], "home_mb": files / 1e6}))
"""


def bulk(rows: int, runs: int) -> dict[str, Any]:
    """File to sealed batch against DuckDB copying the same Parquet file sorted, alternating in one run."""
    measured: list[dict[str, Any]] = []
    copies: list[float] = []
    with tempfile.TemporaryDirectory(prefix="tanzhang-bench-") as scratch:
        folder = Path(scratch)
        source = folder / "actions.parquet"
        write_actions(source, rows)
        for number in range(runs):
            copies.append(sorted_copy(source, folder / "copy.parquet"))
            home = folder / f"home-{number}"
            answer = subprocess.run(
                [sys.executable, "-c", _ONE_RUN, str(source), str(home)], check=True, capture_output=True, text=True
            )
            measured.append(json.loads(answer.stdout))
        size_mb = source.stat().st_size / 1e6
    total = statistics.median(each["total_s"] for each in measured)
    copy = statistics.median(copies)
    return {
        "rows": rows,
        "duplicate_share": DUPLICATE_SHARE,
        "file_mb": round(size_mb, 1),
        "runs": runs,
        "intake_s": round(statistics.median(each["intake_s"] for each in measured), 2),
        "settle_s": round(statistics.median(each["settle_s"] for each in measured), 2),
        "total_s": round(total, 2),
        "sorted_copy_s": round(copy, 2),
        "ratio": round(total / copy, 2),
        "rows_per_s": round(rows / total),
        "peak_mb": round(max(each["peak_mb"] for each in measured)),
        "home_mb": round(measured[-1]["home_mb"], 1),
        "accepted": measured[-1]["accepted"],
        "outcomes": measured[-1]["outcomes"],
    }


def sorted_copy(source: Path, target: Path) -> float:
    """Seconds that DuckDB needs to write the same file sorted by person and time."""
    con = duckdb.connect()
    start = time.perf_counter()
    con.execute(f"COPY (SELECT * FROM '{source}' ORDER BY subject, time) TO '{target}' (FORMAT parquet)")
    spent = time.perf_counter() - start
    con.close()
    return spent


def quantify_command(runs: int) -> dict[str, Any]:
    """``tanzhang quantify`` of one act, the whole process."""
    act = ("travel.metro", "--region", "CN-440300", "--on", "2022-09-01", "--input", "distance_m=7350", "--json")
    command = [str(Path(sys.executable).parent / "tanzhang"), "quantify", *act]
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return {"runs": runs, "median_s": round(statistics.median(times), 3), "worst_s": round(max(times), 3)}


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    model = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "python": platform.python_version(),
        "duckdb": duckdb.__version__,
        "load_before": round(os.getloadavg()[0], 2),
        "day": datetime.now(UTC).date().isoformat(),
    }


def main() -> None:
    """Measure and write results.json and results.md beside this file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--season", type=int, default=10, help="replay 1/N of the season (0: none, 1: all of it)")
    parser.add_argument("--season-runs", type=int, default=3, help="how often it is replayed")
    parser.add_argument("--keep", action="store_true", help="write results.json and results.md")
    given = parser.parse_args()
    results = {
        "machine": machine(),
        "file_to_sealed_batch": bulk(given.rows, given.runs),
        "quantify_command": quantify_command(max(given.runs, 5)),
    }
    if given.season:
        with tempfile.TemporaryDirectory(prefix="tanzhang-season-") as scratch:
            results["limits"] = limits(Path(scratch))
        with tempfile.TemporaryDirectory(prefix="tanzhang-season-") as scratch:
            results["season"] = season(Path(scratch), **part_of_season(given.season), runs=given.season_runs)
        with tempfile.TemporaryDirectory(prefix="tanzhang-season-") as scratch:
            results["doublings"] = doublings(Path(scratch), **part_of_season(given.season * 8))
        if programs() is not None:
            with tempfile.TemporaryDirectory(prefix="tanzhang-season-") as scratch:
                size = part_of_season(given.season * 4)
                results["databases"] = databases(Path(scratch), **size, runs=given.season_runs)
        if spark_missing() is None:
            from benchmarks.spark import measure as on_spark

            results["spark"] = on_spark(given.rows)
    print(json.dumps(results, indent=2))
    if given.keep:
        (HERE / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        (HERE / "results.md").write_text(as_markdown(results), encoding="utf-8")


def part_of_season(part: int) -> dict[str, int]:
    """1/``part`` of the season's people and acts, on as many days."""
    return {name: max(value // (1 if name == "days" else part), 1) for name, value in FULL.items()}


def as_markdown(results: dict[str, Any]) -> str:
    """The figures as a page."""
    where, batch, command = results["machine"], results["file_to_sealed_batch"], results["quantify_command"]
    rows = [
        (
            f"{batch['rows']:,} actions ({batch['file_mb']} MB of Parquet, "
            f"{batch['duplicate_share']:.0%} reported twice), from the file to the sealed batch",
            f"{batch['total_s']} s, {batch['rows_per_s']:,} actions/s (intake {batch['intake_s']} s, "
            f"settling and sealing {batch['settle_s']} s)",
        ),
        (
            "DuckDB copying the same file sorted, in the same run",
            f"{batch['sorted_copy_s']} s; ratio {batch['ratio']} (aim: at most 4)",
        ),
        ("peak memory", f"{batch['peak_mb']:,} MB (aim: under 2,000)"),
        ("home on disk: reports, records, book and log", f"{batch['home_mb']} MB"),
        ("`tanzhang quantify` of one act, the whole process", f"{command['median_s']} s (aim: under 0.5)"),
    ]
    lines = [
        "# Measured",
        "",
        f"{where['cpu']}, {where['cores']} cores (shared with others), {where['memory_gb']} GB,",
        f"Python {where['python']}, DuckDB {where['duckdb']}, {where['day']}; load before {where['load_before']}.",
        f"Medians of {batch['runs']} runs; `make bench` measures your machine.",
        "",
        "| what | figure |",
        "|---|---|",
        *(f"| {what} | {figure} |" for what, figure in rows),
    ]
    if "season" in results:
        lines += season_lines(results["season"])
        lines += scale_lines(results)
    return "\n".join(lines) + "\n"


def season_lines(found: dict[str, Any]) -> list[str]:
    """The season's figures as a table."""
    seconds, stored = found["replay_s"], found["bytes_per_row"]
    rows = [
        ("simulated", f"{found['simulate_rows_per_s']:,} rows/s"),
        (
            "replayed, from report files to sealed batches",
            f"{seconds['total']:,} s, {found['rows_per_s']:,} rows/s (links {seconds['links']} s, "
            f"intake {seconds['intake']} s, settling and sealing {seconds['settle']} s)",
        ),
        (
            f"DuckDB copying the same files sorted, day by day (medians of {found['runs']})",
            f"{found['sorted_copy_s']} s; ratio {found['ratio']} (aim: at most 3)",
        ),
        ("peak memory", f"{found['peak_mb']:,} MB (aim: at most 12,000)"),
        (
            "records that another platform or an overlapping act had already claimed",
            f"{found['lost_share']:.1%}",
        ),
        (
            "on disk",
            f"{found['stored_bytes_per_row']} bytes a row (aim: 40): "
            + ", ".join(f"{name} {size}" for name, size in stored.items()),
        ),
        ("verified again from the files", f"{found['verify_s']} s: {found['verified']}"),
        *(
            (name, f"{found[key]['median_s']} s, at worst {found[key]['worst_s']} s")
            for key, name in (
                ("receipt", "a receipt for any record"),
                ("statement", "an account's statement"),
                ("balance", "an account's balance"),
            )
        ),
    ]
    title = f"## A season of {found['rows']:,} rows, {found['people']:,} people, {found['days']} days"
    return ["", title, "", "| what | figure |", "|---|---|", *(f"| {what} | {figure} |" for what, figure in rows)]


def scale_lines(results: dict[str, Any]) -> list[str]:
    """How time grows, what PostgreSQL adds, and what the machine can do at best."""
    rows = [
        (
            f"replaying {each['rows']:,} rows",
            f"{each['replay_s']} s"
            + (f", {each['ratio']} times the half of it (aim: at most 2.1)" if each["ratio"] else ""),
        )
        for each in results["doublings"]
    ]
    if "databases" in results:
        both = results["databases"]
        rows.append(
            (
                f"the same {both['rows']:,} rows into PostgreSQL and into SQLite",
                f"{both['postgresql_s']} and {both['sqlite_s']} s: {both['ratio']} times (aim: at most 2)",
            )
        )
    if "spark" in results:
        spark = results["spark"]
        rows.append(
            (
                f"settling {spark['rows']:,} reports of one day on Spark, two workers on the same cores, and embedded",
                f"{spark['spark_s']} and {spark['embedded_s']} s: {spark['ratio']} times, "
                f"{spark['shuffle_bytes_per_row']} bytes a report shuffled; same records: {spark['same_records']}",
            )
        )
    best = results["limits"]
    rows += [
        (
            "SHA-256 on one core: long input; one leaf",
            f"{best['sha256_long_mb_per_s']:,} MB/s; {best['sha256_leaf_ns']} ns",
        ),
        (
            "memory: copying; first touch of a page of 4 KB",
            f"{best['memory_copy_gb_per_s']} GB/s; {best['fresh_page_us']} µs",
        ),
        ("writing to the disk, synced", f"{best['disk_write_mb_per_s']:,} MB/s"),
    ]
    return [
        "",
        "## How it scales, and what bounds it",
        "",
        "| what | figure |",
        "|---|---|",
        *(f"| {what} | {figure} |" for what, figure in rows),
    ]


if __name__ == "__main__":
    main()
