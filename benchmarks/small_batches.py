"""What many small batches cost: acts settled as soon as they come; ``python -m benchmarks.small_batches``.

Settles so many batches one after the other and says what a batch takes at the beginning and at the end, what it leaves
on disk, and how long a receipt, an account and verification take over all of them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tanzhang.core.claim import ACTION, CHILD, identity
from tanzhang.service.accounts import statement
from tanzhang.service.receipt import create_receipt
from tanzhang.service.receive import Receiver, Request
from tanzhang.service.settle import settle
from tanzhang.service.verify import verify
from tanzhang.stores.catalogue import shipped_folder
from tanzhang.stores.home import Home

START = datetime(2025, 6, 6, 2, tzinfo=UTC)
INTERVAL = timedelta(seconds=5)


def at_once_home(scratch: Path, book: str | None = None, *, now: datetime = START) -> Home:
    """A home of Beijing's programme whose parcels are settled as soon as they come."""
    folder = scratch / "catalogue" / "programmes"
    folder.mkdir(parents=True)
    text = (shipped_folder() / "programmes" / "beijing.yaml").read_text(encoding="utf-8")
    text = text.replace("id: beijing\n", "id: beijing-at-once\nat_once: [parcel]\n", 1)
    (folder / "beijing-at-once.yaml").write_text(text, encoding="utf-8")
    return Home.create(
        scratch / "home",
        programme="beijing-at-once",
        origin="bench.example/log",
        overlays=(scratch / "catalogue",),
        now=now,
        seed=b"bench",
        book=book,
    )


def event(number: int) -> bytes:
    """A returned parcel box of the day before."""
    said = {
        "specversion": "1.0",
        "id": f"r{number}",
        "source": "cainiao",
        "type": "use.parcel_box_return",
        "subject": f"s{number % 997}",
        "time": (START - timedelta(hours=12) + timedelta(seconds=number % 40_000)).isoformat(),
        "data": {"claim": {"issuer": "cainiao", "identifier": f"YT-{number}"}},
    }
    return json.dumps(said).encode()


def measure(batches: int, rows: int, *, check: bool = True) -> dict[str, Any]:
    """Every figure, for ``batches`` of ``rows`` acts."""
    with tempfile.TemporaryDirectory(prefix="tanzhang-bench-") as scratch:
        home = at_once_home(Path(scratch))
        receiver = Receiver(home)
        took_ms: list[float] = []
        for number in range(batches):
            now = START + number * INTERVAL
            request = Request("cainiao", [event(number * rows + row) for row in range(rows)], f"k{number}")
            receiver.receive([request], now=now)
            began = time.perf_counter()
            settled = settle(home, now=now, at_once=True)
            took_ms.append(1e3 * (time.perf_counter() - began))
            assert settled["records"] == rows
        some = max(batches // 10, 1)
        found: dict[str, Any] = {
            "batches": batches,
            "rows_a_batch": rows,
            "first_batches_ms": round(sorted(took_ms[1 : some + 1])[some // 2], 1),
            "last_batches_ms": round(sorted(took_ms[-some:])[some // 2], 1),
            "on_disk": _on_disk(home),
        }
        subject = identity(home.identity_key, CHILD, "cainiao", "s1")
        action = identity(home.identity_key, ACTION, "cainiao", f"r{rows // 2}")
        asked: dict[str, Callable[[], Any]] = {
            "receipt": lambda: create_receipt(home, action),
            "account": lambda: statement(home, subject),
        }
        if check:
            asked["verify"] = lambda: verify(home)["status"]
        found["asked_ms"] = {name: round(_took_ms(ask), 1) for name, ask in asked.items()}
        return found


def _on_disk(home: Home) -> dict[str, dict[str, int]]:
    """Files and bytes of each part of a home."""
    found: dict[str, dict[str, int]] = {}
    for path in home.folder.rglob("*"):
        if path.is_file():
            part = found.setdefault(path.relative_to(home.folder).parts[0], {"files": 0, "bytes": 0})
            part["files"] += 1
            part["bytes"] += path.stat().st_size
    return dict(sorted(found.items()))


def _took_ms(ask: Callable[[], Any]) -> float:
    began = time.perf_counter()
    ask()
    return 1e3 * (time.perf_counter() - began)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=2_000)
    parser.add_argument("--rows", type=int, default=20)
    parser.add_argument("--no-verify", action="store_true")
    options = parser.parse_args()
    found = measure(options.batches, options.rows, check=not options.no_verify)
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
