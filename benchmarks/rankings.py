"""Rankings of many accounts: ``python -m benchmarks.rankings``.

Every account has one ride of its own length in one sealed batch. Timed are the first question about a month, which
reads the records and keeps the board; the same question again, with one's own rank; a district; and a group of friends.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb

from tanzhang.core.claim import CHILD, identity
from tanzhang.service.by_account import keep
from tanzhang.service.friends import form_group, group_ranking, join_group
from tanzhang.service.intake import intake
from tanzhang.service.ranking import Scope, ranking
from tanzhang.service.reading import Reader
from tanzhang.service.settle import settle
from tanzhang.stores.boards import drop
from tanzhang.stores.home import Home

DAY = date(2025, 6, 5)
NOW = datetime(2025, 6, 6, 2, tzinfo=UTC)
DISTRICTS = 16
FRIENDS = 50


def measure(accounts: int, runs: int) -> dict[str, Any]:
    """Seconds of the questions about so many accounts; medians of ``runs``."""
    with tempfile.TemporaryDirectory(prefix="tanzhang-bench-") as scratch:
        home = settled_home(Path(scratch), accounts)
        month = Scope.of("month", DAY)
        own = identity(home.identity_key, CHILD, "yikatong", "o1")

        def from_scratch(scope: Scope) -> dict[str, Any]:
            drop(home.folder)
            return ranking(home, scope, account=own)

        first_s, found = timed(lambda: from_scratch(month), runs)
        again_s, again = timed(lambda: ranking(home, month, account=own), 5)
        assert again == found
        district_s, part = timed(lambda: from_scratch(Scope.of("month", DAY, "CN-110103")), runs)
        sorted_s, _ = timed(lambda: keep(home), 1)
        friends_s, group = timed(friends_of(home), 5)
        assert len(group["rows"]) == FRIENDS
        return {
            "accounts": accounts,
            "people": found["people"],
            "own": found["own"],
            "from_scratch_s": round(first_s, 2),
            "kept_ms": round(1e3 * again_s, 1),
            "district_people": part["people"],
            "district_from_scratch_s": round(district_s, 2),
            "sorted_by_account_s": round(sorted_s, 1),
            "friends_ms": round(1e3 * friends_s, 1),
        }


def settled_home(folder: Path, accounts: int) -> Home:
    """A home in which every account has one ride."""
    rides = folder / "rides.parquet"
    con = duckdb.connect()
    con.execute(
        f"""
        COPY (
            SELECT printf('T%012d', range) AS id, 'yikatong' AS source, 'travel.metro' AS type,
                'o' || range AS subject, TIMESTAMPTZ '2025-06-05 08:40:00+08' AS time,
                TIMESTAMPTZ '2025-06-05 08:10:00+08' AS started_at,
                printf('CN-1101%02d', 1 + range % {DISTRICTS}) AS region, 'yikatong' AS claim_issuer,
                printf('C%014d', range) AS claim_identifier, 1500 + hash(range) % 30000 AS distance_m
            FROM range({accounts})
        ) TO '{rides}' (FORMAT parquet)
        """
    )
    con.close()
    home = Home.create(folder / "home", programme="beijing", origin="bench.example/ranks", now=NOW, seed=b"ranks")
    taken = intake(home, rides, now=NOW)
    assert taken["accepted"] == accounts, taken["refused_by_code"]
    rides.unlink()
    settle(home, through=date(2025, 6, 30), now=datetime(2025, 7, 2, tzinfo=UTC))
    return home


def friends_of(home: Home) -> Callable[[], dict[str, Any]]:
    """Asks for the ranking of a full group, whose members are platform accounts as they are."""
    members = [str(identity(home.identity_key, CHILD, "yikatong", f"o{number}")) for number in range(FRIENDS)]
    made = form_group(home, members[0], "bench", now=NOW)
    for each in members[1:]:
        join_group(home, each, made["code"], now=NOW)
    reader, month = Reader(home), Scope.of("month", DAY)
    reader.balance(uuid.UUID(members[0]))
    return lambda: group_ranking(reader, members[0], made["id"], month)


def timed(ask: Callable[[], Any], runs: int) -> tuple[float, Any]:
    """The median of some runs, in seconds, and what was answered last."""
    spent = []
    for _ in range(runs):
        start = time.perf_counter()
        answer = ask()
        spent.append(time.perf_counter() - start)
    return statistics.median(spent), answer


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    sys.stdout.write(json.dumps(measure(options.accounts, options.runs), indent=2) + "\n")


if __name__ == "__main__":
    main()
