"""A small slice of each benchmark runs, so that `make bench` cannot rot. Its figures are not judged here."""

import json
import subprocess
import sys
from pathlib import Path

from ..postgres import Server

ROOT = Path(__file__).parents[2]


def test_the_benchmarks_run_and_settle_every_simulated_action():
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--rows", "5000", "--runs", "1", "--season", "0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    batch = json.loads(answer.stdout)["file_to_sealed_batch"]
    assert batch["accepted"] == batch["rows"] == 5000
    assert sum(int(count) for count in batch["outcomes"].values()) == 5000
    lost = int(batch["outcomes"]["duplicate_of"]) + int(batch["outcomes"]["overlap_of"])
    assert 0.02 < lost / 5000 < 0.08, "about 4 % of the acts are reported twice"


def test_the_benchmark_of_postings_books_every_batch_on_both_databases(postgres: Server):
    command = [sys.executable, "-m", "benchmarks.postings", "--postings", "3000", "--batches", "2"]
    answer = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert {name: len(times) for name, times in answer["seconds"].items()} == {"sqlite": 2, "postgresql": 2}
    assert answer["problems"] == []


def test_the_benchmark_of_few_rows_takes_every_report_in():
    command = [sys.executable, "-m", "benchmarks.few", "--rows", "100", "--repetitions", "2"]
    answer = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert set(answer["receive"]) == {"1 of 1", "64 of 1", "50 of 2"}
    assert set(answer["screen_ms_by_rows"]) == {"1", "64"}
    assert all(spent > 0 for spent in answer["screen_us_a_row"].values())


def test_the_benchmark_of_what_if_reads_every_record_twice(tmp_path: Path):
    code = (
        "import json, sys; from pathlib import Path; from benchmarks.whatif import run; "
        "print(json.dumps(run(Path(sys.argv[1]), people=400, actions=600, days=1)))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    answer = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    points, grams = (answer[each]["total"] for each in ("points", "methodology"))
    assert answer["points"]["records"] == answer["methodology"]["records"] > 600
    (energy,) = points["points"].values()
    assert int(energy["then"]) > int(energy["now"])
    assert int(grams["granted_mg"]["then"]) > int(grams["granted_mg"]["now"])


SEASON = """
import json, sys
from pathlib import Path
from benchmarks.__main__ import scale_lines, season_lines
from benchmarks.limits import limits
from benchmarks.season import databases, doublings, season
scratch, size = Path(sys.argv[1]), {"people": 300, "actions": 1_500, "days": 2}
found = season(scratch, **size)
more = {"limits": limits(scratch), "doublings": doublings(scratch, **size, times=2)}
if sys.argv[2:]:
    (scratch / "both").mkdir()
    more["databases"] = databases(scratch / "both", **size, runs=1)
print(json.dumps({**found, **more, "lines": season_lines(found) + scale_lines(more)}))
"""


def test_the_benchmark_of_a_season_runs_on_a_small_one(tmp_path: Path, postgres: Server) -> None:
    command = [sys.executable, "-c", SEASON, str(tmp_path), "postgres"]
    found = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert found["verified"] == "verified"
    assert found["rows"] > 1_500
    assert any(f"{found['rows']:,} rows" in line for line in found["lines"])
    assert found["doublings"][1]["rows"] > 1.9 * found["doublings"][0]["rows"]
    assert found["databases"]["rows"] == found["rows"]


def test_the_benchmark_of_reads_asks_everything_of_a_small_season() -> None:
    size = ["--people", "200", "--actions", "1500", "--days", "2", "--asked", "8"]
    command = [sys.executable, "-m", "benchmarks.reads", *size]
    found = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert found["batches"] == found["sorted"]["batches"] == 2
    assert found["open_reports"] > 100
    assert min(each["asked"] for name, each in found["reader"].items() if "statement" in name) == 8
    assert found["http_statement"]["asked"] == found["http_statement_open"]["asked"] == 8


def test_the_benchmark_of_the_service_finds_everything_that_was_acknowledged() -> None:
    """The benchmark itself compares what was acknowledged with the book."""
    size = ["--rows", "2000", "--singles", "100", "--generators", "1", "--connections", "8", "--sqlite-only"]
    command = [sys.executable, "-m", "benchmarks.service", *size]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(answer.stdout)["sqlite"]
    assert found["requests_of_1000"]["statuses"] == {"202": 2}
    assert found["singles"]["statuses"] == {"202": 100}
    assert found["naive"]["singles"]["statuses"].keys() == {"202"}
    assert found["ratio"]["requests_of_1000"] > 0


def test_the_benchmark_of_small_batches_settles_and_verifies_each() -> None:
    command = [sys.executable, "-m", "benchmarks.small_batches", "--batches", "3", "--rows", "4"]
    answer = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert answer["on_disk"]["records"]["files"] == 6
    assert set(answer["asked_ms"]) == {"receipt", "account", "verify"}


def test_the_benchmark_of_sustained_work_completes_what_comes_in() -> None:
    command = [sys.executable, "-m", "benchmarks.sustained", "--seconds", "2", "--group", "200", "--every", "0.2"]
    answer = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert answer["completed"] > 0
    assert answer["accepted"] == answer["completed"] + answer["waiting_at_the_end"]


def test_the_benchmark_of_redemptions_sells_what_there_is_and_no_more_on_both_databases():
    command = [sys.executable, "-m", "benchmarks.redemptions", "--orders", "200", "--processes", "1", "--waiting", "50"]
    answer = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    for name in ("sqlite", "postgresql"):
        assert (answer[name]["placed"], answer[name]["refused"]) == (200, 20)


def test_the_benchmark_of_rankings_ranks_every_account():
    command = [sys.executable, "-m", "benchmarks.rankings", "--accounts", "2000", "--runs", "1"]
    answer = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert (answer["people"], answer["district_people"]) == (2_000, 125)
    assert 1 <= answer["own"]["rank"] <= 2_000


def test_the_benchmark_of_awards_gives_the_same_points_in_one_transaction_and_in_slices() -> None:
    """The benchmark itself compares what both ways gave."""
    size = ["--people", "150", "--actions", "300", "--slice-rows", "60", "--without-postgres"]
    command = [sys.executable, "-m", "benchmarks.awards", *size]
    answer = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    one, slices = answer["sqlite"]["one"], answer["sqlite"]["slices"]
    assert one["transactions"] == one["batches"]
    assert slices["transactions"] > one["transactions"]
    assert int(slices["granted"]) == int(one["granted"]) > 0
