"""A progress line for people: stage, bar, rows, rate, time left. Silent where nobody watches."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tanzhang.service.progress import Progress, silent


@contextmanager
def progress_line(what: str) -> Iterator[Progress]:
    """A :data:`Progress` drawn on the terminal's error stream, or one that says nothing in a pipe."""
    if not sys.stderr.isatty():
        yield silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    started = time.monotonic()
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[detail]}"),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=100, detail="")

        def show(stage: str, percent: int, rows: int) -> None:
            spent = time.monotonic() - started
            parts = []
            if rows:
                parts.append(f"{rows:,} rows")
            if rows and percent and spent > 0:
                parts.append(f"{rows * percent / 100 / spent:,.0f} rows/s")
                parts.append(f"{spent * (100 - percent) / percent:,.0f} s left")
            bar.update(task, description=f"{what}: {stage}", completed=percent, detail=", ".join(parts))

        yield show
