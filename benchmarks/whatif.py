"""What a what-if costs over sealed days; ``python -m benchmarks.whatif``.

A season is simulated and replayed into a home, then asked what a changed points programme and a changed methodology
would come to, in a process of their own, whose memory is theirs. The changed files are the shipped ones with other
numbers. ``seconds`` are those of the clock, ``core_s`` those of the processor over all its cores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tanzhang.service.replay import home_for, replay
from tanzhang.service.simulate import simulate
from tanzhang.stores.catalogue import Catalogue, shipped_folder

SCENARIO = "green-life-season-2022"
_QUESTIONS = """
import json, resource, sys, time
from pathlib import Path
from tanzhang.service.whatif import whatif_methodology, whatif_points
from tanzhang.stores.home import Home
home, found = Home(Path(sys.argv[1])), {}
for name, asked, file in (("points", whatif_points, sys.argv[2]), ("methodology", whatif_methodology, sys.argv[3])):
    began, core = time.perf_counter(), time.process_time()
    answer = asked(home, Path(file))
    spent, core_s = time.perf_counter() - began, time.process_time() - core
    records = int(answer["records"])
    found[name] = {"records": records, "batches": answer["batches"], "seconds": round(spent, 2),
        "core_s": round(core_s, 2), "core_s_a_million": round(core_s / max(records, 1) * 1e6, 3),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024), "total": answer["total"]}
print(json.dumps(found))
"""


def run(scratch: Path, *, people: int, actions: int, days: int) -> dict[str, Any]:
    """Figures of both questions over one simulated season."""
    season = scratch / "season"
    simulate(Catalogue(), SCENARIO, season, people=people, actions=actions, days=days)
    home = home_for(season, scratch / "home")
    replay(home, season)
    points = _changed(scratch / "points.yaml", "points/beijing_carbon_energy/v1.yaml", 'points: "100"', 'points: "200"')
    relative = "methodologies/green_life_season/travel.metro/v1.yaml"
    grams = _changed(scratch / "methodology.yaml", relative, "formula: ", "formula: 2 * ")
    command = [sys.executable, "-c", _QUESTIONS, str(home.folder), str(points), str(grams)]
    answer = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return {"people": people, "actions": actions, "days": days, **answer}


def _changed(path: Path, relative: str, before: str, after: str) -> Path:
    text = (shipped_folder() / relative).read_text(encoding="utf-8")
    path.write_text(text.replace(before, after, 1), encoding="utf-8")
    return path


def main() -> None:
    """Ask, and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=400_000)
    parser.add_argument("--actions", type=int, default=4_000_000)
    parser.add_argument("--days", type=int, default=4)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tanzhang-bench-") as scratch:
        figures = run(Path(scratch), people=arguments.people, actions=arguments.actions, days=arguments.days)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
