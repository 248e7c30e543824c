"""Gather: what waits in the inbox becomes a report file and a submission of the book, a received day at a time.

Settlement does this first, so it always decides over everything that was accepted. Whatever dies in between, the
reports are in the inbox or in the submission, never in both and never in neither: one transaction moves them.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tanzhang.core.methodology import canonical_json
from tanzhang.service.intake import report_folder
from tanzhang.service.moments import received_at
from tanzhang.stores.home import Home
from tanzhang.stores.register.deliveries import inflated
from tanzhang.stores.reports import REPORTS, VERDICT_COLUMNS, VERDICTS, writing_reports
from tanzhang.stores.storage import write_durably

_ROWS_A_FILE = 2_000_000


def gather(home: Home, *, now: datetime, at_once: bool = False) -> int:
    """Move what waits in the inbox into report files, under the home's lock; returns how many reports.

    With ``at_once`` only requests of which every report is to be settled at once; they get files of their own anyway,
    so that what waits for its day is not scattered over as many files as there are moments.
    """
    moved = 0
    for day, own, numbers in home.deliveries.waiting(at_once=at_once):
        waiting = list(numbers)
        while waiting:
            moved += _gather(home, date.fromisoformat(day), waiting, now, at_once=own)
    return moved


def _gather(home: Home, day: date, waiting: list[int], now: datetime, *, at_once: bool) -> int:
    """One file of the first of these rows of the inbox, which are taken off the list; returns its reports."""
    numbers: list[int] = []
    before: list[int] = []
    tables: list[pa.Table] = []
    deliveries: list[Any] = []
    rows = accepted = 0
    while waiting and rows < _ROWS_A_FILE:
        number = waiting.pop(0)
        row, reports = home.deliveries.reports_of(number)
        numbers.append(number)
        before.append(rows)
        place = reports.schema.get_field_index("row")
        tables.append(reports.set_column(place, "row", pc.add(reports["row"], rows)))
        deliveries += [(rows, each) for each in home.deliveries.of_inbox(number)]
        rows += row.rows
        accepted += row.accepted
    named = [
        [str(each.id), each.partner, each.request_digest, str(each.rows), str(each.accepted)] for _, each in deliveries
    ]
    fingerprint = hashlib.sha256(canonical_json(["deliveries", named]).encode()).hexdigest()
    folder = report_folder(home, fingerprint, now)
    file, verdicts = folder / REPORTS, folder / VERDICTS
    with writing_reports(file, day, home=home.storage) as (writer, written):
        for table in tables:
            writer.add(table)
    lines = _verdict_lines(deliveries)
    write_durably(verdicts, lines, up_to=home.storage)

    def submission(number: int) -> dict[str, Any]:
        answer = {"submission": number, "rows": rows, "accepted": accepted, "deliveries": named}
        return {
            "name": f"deliveries {deliveries[0][1].id} to {deliveries[-1][1].id}",
            "received_at": received_at(now),
            "received_day": day.isoformat(),
            "rows": rows,
            "accepted": accepted,
            "refused": rows - accepted,
            "fingerprint": fingerprint,
            "answer": json.dumps(answer),
            "file": str(file.relative_to(home.storage)),
            "file_digest": written.digest,
            "verdicts": str(verdicts.relative_to(home.storage)),
            "verdicts_digest": hashlib.sha256(lines).hexdigest(),
        }

    home.deliveries.gathered(numbers, before, submission, writer.next_close, at_once=at_once)
    return accepted


def _verdict_lines(deliveries: Sequence[tuple[int, Any]]) -> bytes:
    """The verdict file: one line per mistake, as intake of a file writes it."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(VERDICT_COLUMNS)
    for before, each in deliveries:
        if each.accepted == each.rows or each.answer is None:
            continue
        for verdict in json.loads(inflated(each.answer))["verdicts"]:
            row = before + each.rows_before + verdict["position"]
            for problem in verdict.get("problems", ()):
                found = (problem[name] for name in ("code", "field", "message", "remedy"))
                writer.writerow((row, verdict["id"], "refused", *found))
    return buffer.getvalue().encode()
