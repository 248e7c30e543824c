"""Runs one step of a home's life after the other in processes of their own that die at a chosen point of writing.

Started once as ``python dying.py``: it imports everything, never touches an engine itself, and forks a child for each
job it reads. So every child starts with clean threads, which a fork of a test process that used the engine would not.
A job is one line of JSON; the answer is one line with the child's exit code and the points it passed.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from datetime import datetime
from pathlib import Path
from typing import Any

from tanzhang.core.claim import CHILD, identity
from tanzhang.service import award_booking
from tanzhang.service.award import award_due
from tanzhang.service.epoch import close
from tanzhang.service.erase import erase
from tanzhang.service.intake import intake
from tanzhang.service.retention import tidy
from tanzhang.service.settle import settle
from tanzhang.service.spark.settle import ClusterSettlement
from tanzhang.stores import files
from tanzhang.stores.home import Home

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.stages import LocalStages

DIED, FINISHED, FAILED = 77, 0, 1


def act(job: dict[str, Any]) -> None:
    folder, now = Path(job["home"]), datetime.fromisoformat(job["now"])
    if job["do"] == "init":
        places = {"book": job["book"], "storage": job["storage"]}
        Home.create(folder, programme="beijing", origin="log.example/beijing", now=now, seed=b"test", **places)
    elif job["do"] == "intake":
        intake(Home(folder), Path(job["file"]), now=now)
    elif job["do"] == "settle in parts":
        settle(Home(folder), now=now, engine=ClusterSettlement(LocalStages(cores=4)))
    elif job["do"] == "epoch":
        close(Home(folder), now=now)
    elif job["do"] == "erase":
        home = Home(folder)
        erase(home, [identity(home.identity_key, CHILD, "amap", "anna")], now=now)
    elif job["do"] == "award":
        award_due(Home(folder), now=now)
    elif job["do"] == "award in slices":
        award_booking.SLICE_ROWS = 1
        award_due(Home(folder), now=now)
    elif job["do"] == "tidy":
        tidy(Home(folder), now=now)
    else:
        settle(Home(folder), now=now)


def run(job: dict[str, Any], points: Path) -> None:
    """In the child: do the job; end without any clean-up at point ``die_at`` (None: never)."""
    passed: list[str] = []

    def hook(point: str, path: Path) -> None:
        if len(passed) == job["die_at"]:
            os._exit(DIED)
        passed.append(f"{point} {path.name}")

    files.on_write = hook
    try:
        act(job)
        points.write_text(json.dumps(passed))
        os._exit(FINISHED)
    except BaseException:
        traceback.print_exc()
        os._exit(FAILED)


def main() -> None:
    points = Path(sys.argv[1])
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            run(job, points)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        passed = json.loads(points.read_text()) if code == FINISHED else []
        sys.stdout.write(json.dumps({"code": code, "points": passed}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
