"""What the example of a guard finds of a simulated season's cheats, whom else it holds, and what looking costs.

``python -m benchmarks.guard [PEOPLE] [DAYS]``. Every day's files are taken in on the next morning, looked at, and
settled. Shares are of accepted acts.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tanzhang.core.claim import ACTION, identity
from tanzhang.engine.kernel import connect, quote
from tanzhang.service.guard import look
from tanzhang.service.intake import intake
from tanzhang.service.settle import settle
from tanzhang.service.simulate import simulate
from tanzhang.stores.catalogue import Catalogue, shipped_folder
from tanzhang.stores.home import Home

SCENARIO = "green-life-season-2022"


def measured(scratch: Path, *, people: int, days: int, seed: int = 1) -> dict[str, Any]:
    """Share found by kind of cheat, honest acts held, seconds for a million reports looked at."""
    catalogue = scratch / "catalogue"
    (catalogue / "programmes").mkdir(parents=True)
    text = (shipped_folder() / "programmes" / f"{SCENARIO}.yaml").read_text(encoding="utf-8")
    text = text.replace(f"id: {SCENARIO}\n", "id: guarded\nguard: example\n", 1)
    (catalogue / "programmes" / "guarded.yaml").write_text(text, encoding="utf-8")
    season = simulate(Catalogue(), SCENARIO, scratch / "season", people=people, days=days, seed=seed, devices=True)
    home = Home.create(
        scratch / "home",
        programme="guarded",
        origin="bench.example/guard",
        overlays=(catalogue,),
        now=datetime(2022, 8, 1, tzinfo=UTC),
        seed=b"bench",
    )
    looks = []
    for folder in sorted((scratch / "season" / "reports").iterdir()):
        morning = datetime.combine(date.fromisoformat(folder.name), datetime.min.time(), UTC) + timedelta(days=1)
        for file in sorted(folder.iterdir()):
            intake(home, file, partner=file.stem, now=morning)
        start = time.perf_counter()
        said = look(home, now=morning)
        looks.append((time.perf_counter() - start, said["looked_at"]))
        settle(home, now=morning)
    return {"people": people, "days": days, "rows": season["rows"], **_found(home, scratch / "season"), **_cost(looks)}


def _cost(looks: list[tuple[float, int]]) -> dict[str, float]:
    seconds, rows = looks[-1]
    return {"last_look_s": round(seconds, 2), "last_look_s_per_million": round(1e6 * seconds / rows, 1)}


def _found(home: Home, season: Path) -> dict[str, Any]:
    con = connect()
    cheats: dict[str, str] = {}
    for file in sorted((season / "cheats").iterdir()):
        for row in pq.read_table(file).to_pylist():
            cheats[str(identity(home.identity_key, ACTION, row["partner"], row["id"]))] = row["kind"]
    for file in sorted((season / "truth").iterdir()):
        known = con.execute(
            f"SELECT partner::VARCHAR, id, kind::VARCHAR FROM {quote(str(file))} WHERE kind::VARCHAR LIKE 'cheat%'"
        )
        for partner, reference, kind in known.fetchall():
            if reference is not None:
                cheats[str(identity(home.identity_key, ACTION, partner, reference))] = kind
    files = ", ".join(quote(str(home.storage / row.file)) for row in home.book.submissions())
    accepted = {
        action
        for (action,) in con.execute(
            f"SELECT DISTINCT action_id::VARCHAR FROM read_parquet([{files}], union_by_name = true)"
        ).fetchall()
    }
    held = {row.action for row in home.guard.page(state="held", limit=10_000_000)}
    tried = Counter(kind for action, kind in cheats.items() if action in accepted)
    caught = Counter(cheats[action] for action in held if action in cheats)
    honest = len(accepted) - sum(tried.values())
    wrongly = len(held - cheats.keys())
    return {
        "accepted": len(accepted),
        "cheats": {
            kind: {"accepted": count, "held": caught[kind], "share_found": round(caught[kind] / count, 4)}
            for kind, count in sorted(tried.items())
        },
        "honest": honest,
        "honest_held": wrongly,
        "honest_held_per_million": round(1e6 * wrongly / honest, 1),
    }


if __name__ == "__main__":
    PEOPLE, DAYS = map(int, sys.argv[1:3] or ("50000", "7"))
    with tempfile.TemporaryDirectory(prefix="tanzhang-guard-") as scratch:
        print(json.dumps(measured(Path(scratch), people=PEOPLE, days=DAYS), indent=2))
