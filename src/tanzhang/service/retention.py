"""Tidy: what the programme's retention calendar no longer keeps, and files that belong to nothing.

How long what is kept is data of the programme (``retention`` in its file), the operator's choice with its reason; what
it does not name is kept. Disposing of a file is a chained row of the book, so verification accepts that it is gone, and
says what can no longer be checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tanzhang.service.erase import clear_leftovers, remove_file
from tanzhang.stores.book import consumption
from tanzhang.stores.home import Home
from tanzhang.stores.parts import erased_file, record_files
from tanzhang.stores.records import SUBTREES
from tanzhang.stores.storage import files_under, files_written_before

ORPHANS_STAY = timedelta(days=1)
"""A file that no row names may still be on its way to be named; nobody takes a day for that."""


def tidy(home: Home, *, now: datetime, dry_run: bool = False) -> dict[str, Any]:
    """Remove what is due. Returns how many of what, and the bytes of files; with ``dry_run`` nothing is done.

    ``report_files``: all of whose reports have been settled for so long; ``verdict_files``, ``answers`` to requests and
    what is kept of the ``requests`` themselves, since they came in; ``orphans``: files older than a day that no row
    names. Raises ``book-behind-log``, since the files of a newer book are no orphans.
    """
    with home.settling():
        home.publish()
        if not dry_run:
            clear_leftovers(home)
        reports, verdicts = _due_reports(home, now), _due_verdicts(home, now)
        orphans = _orphans(home, now)
        sizes = {name.as_posix(): size for folder in _FOLDERS for name, size in _sizes(home, folder)}
        named = [row.file for row in reports] + [row.verdicts for row in verdicts]
        kept = home.programme.retention
        answer = {
            "status": "due" if dry_run else "tidied",
            "report_files": len(reports),
            "verdict_files": len(verdicts),
            "orphans": len(orphans),
            "bytes": sum(sizes.get(name, 0) for name in [*named, *orphans]),
            "answers": home.deliveries.forget_answers(_before(now, kept.answers), dry_run=dry_run),
            "requests": home.deliveries.forget_requests(_before(now, kept.requests), dry_run=dry_run),
        }
        if dry_run:
            return answer
        if named:
            at = now.astimezone(UTC).isoformat(timespec="seconds")
            gone = [_gone("reports", row, at) for row in reports] + [_gone("verdicts", row, at) for row in verdicts]
            home.book.replace_files(home.book.heads(), gone, [("file", name) for name in named])
            clear_leftovers(home)
        for name in orphans:
            remove_file(home.storage / name)
        home.book.forget_deleted()
        return answer


_FOLDERS = ("reports", "records", "links")


def _before(now: datetime, days: int | None) -> str | None:
    """The moment before which something is too old, as the book writes moments; None if nothing ever is."""
    return None if days is None else (now.astimezone(UTC) - timedelta(days=days)).isoformat(timespec="microseconds")


def _due_reports(home: Home, now: datetime) -> list[Any]:
    """Submissions whose report file is no longer kept: every report in it was settled, or there was none, long ago."""
    days = home.programme.retention.report_files
    if days is None:
        return []
    sealed = {row.seq: row.sealed_at for row in home.book.batches()}
    settled: dict[int, str] = {}
    for row in home.book.rows(consumption):
        settled[row.submission] = max(settled.get(row.submission, ""), sealed[row.batch])
    still_open = {row.seq for row in home.book.open_submissions()} | home.guard.waiting().keys()
    last = now - timedelta(days=days)
    return [
        row
        for row in home.book.submissions()
        if row.file is not None
        and row.seq not in still_open
        and datetime.fromisoformat(settled.get(row.seq, row.received_at)) <= last
    ]


def _due_verdicts(home: Home, now: datetime) -> list[Any]:
    days = home.programme.retention.verdict_files
    if days is None:
        return []
    last = now - timedelta(days=days)
    return [
        row
        for row in home.book.submissions()
        if row.verdicts is not None and datetime.fromisoformat(row.received_at) <= last
    ]


def _orphans(home: Home, now: datetime) -> list[str]:
    """Files that no row of the book names and that are old enough to be on their way to no row."""
    old = [
        f"{folder}/{name.as_posix()}"
        for folder in _FOLDERS
        for name in files_written_before(home.storage / folder, now - ORPHANS_STAY)
    ]
    named = _named(home) if old else set()  # after the files were listed, so that a new one is named
    return [name for name in old if name not in named]


def _named(home: Home) -> set[str]:
    """Every file that stands for something."""
    found: set[str] = set()
    for row in home.book.submissions():
        found |= {name for name in (row.file, row.verdicts) if name is not None}
    found |= {row.file for row in home.book.link_files()}
    for row in home.book.batches():
        leaves = erased_file(home.storage, row)
        names: Sequence[str] = [file.path.name for file in record_files(home.storage, row)]
        names = [*names, row.records_file, SUBTREES, *([leaves[0].name] if leaves else [])]
        found |= {f"{row.folder}/{name}" for name in names}
    return found | home.points_runs.files()


def _sizes(home: Home, folder: str) -> list[tuple[Any, int]]:
    return [(_under(folder, name), size) for name, size in files_under(home.storage / folder)]


def _under(folder: str, name: Any) -> Any:
    return type(name)(folder) / name


def _gone(kind: str, row: Any, at: str) -> dict[str, Any]:
    erased = row.erased if kind == "reports" else 0
    return {"kind": kind, "number": row.seq, "erased": erased, "recorded_at": at}
