"""The rows of a file that was taken in, in their order from any place on, without reading the file from its beginning.

Accepted rows are found in the report file by their number, whose range each row group knows; refused ones are read from
the verdict file at the byte where the page before ended. What was erased or disposed of is in neither.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from tanzhang.engine.kernel import quote
from tanzhang.service.cursors import malformed
from tanzhang.stores.book import plan, submission
from tanzhang.stores.home import Home
from tanzhang.stores.storage import Place, open_binary

FROM_THE_START = ""
"""The mark of a file that nothing was read of yet."""
_WINDOW = 4_096  # rows that are looked for at once
_LONGEST = 16  # digits of a place in a file
_DIGEST = 8  # characters of a digest that tell one state of a verdict file from another


@dataclass(frozen=True, slots=True)
class Taken:
    """A file as it stands now: its submission's row, and where its reports and verdicts are, None if disposed of."""

    rows: int
    received_at: str
    reports: Place | None
    verdicts: Place | None
    verdicts_digest: str


def taken_file(home: Home, number: int) -> Taken:
    """What stands of a submission."""
    (row,) = home.book.submissions(home.book.query(sa.select(submission).where(submission.c.seq == number)))
    places = [None if name is None else home.storage / name for name in (row.file, row.verdicts)]
    return Taken(row.rows, row.received_at, places[0], places[1], row.verdicts_digest or "")


def rows_of_file(
    home: Home, file: Taken, *, after: int, mark: str, verdict: str | None
) -> Iterator[tuple[dict[str, Any], str]]:
    """Rows behind number ``after``, each with the mark to go on with behind it; ``verdict`` for those of one alone.

    A mark that is not of this state of the file costs time, and nothing else: the verdicts are then read from their
    beginning. Accepted rows have no ``id``: of a file no reference is kept but those of refused rows.
    """
    accepted = iter(()) if verdict == "refused" else _accepted(home, file, after)
    refused = iter(()) if verdict == "accepted" else _refused(file, after, mark)
    good, bad = next(accepted, None), next(refused, None)
    while good is not None or bad is not None:
        if good is not None and (bad is None or good["position"] < bad[0]["position"]):
            yield good, mark
            good = next(accepted, None)
        elif bad is not None:
            row, mark = bad
            yield row, mark
            bad = next(refused, None)


def _accepted(home: Home, file: Taken, after: int) -> Iterator[dict[str, Any]]:
    if file.reports is None:
        return
    con = home.connect()
    try:
        window = _WINDOW
        while after < file.rows:
            table = con.sql(
                "SELECT row, action_id::VARCHAR AS action, close_day::VARCHAR AS closes_on, plan, "
                f"quantified_mg::VARCHAR AS quantified_mg FROM read_parquet({quote(str(file.reports))}) "
                f"WHERE row > {after} AND row <= {after + window} ORDER BY row"
            ).to_arrow_table()
            yield from _said(home, table)
            after, window = after + window, min(4 * window, 1 << 22)
    finally:
        con.close()


def _said(home: Home, table: pa.Table) -> Iterator[dict[str, Any]]:
    rows = table.to_pylist()
    methods = _methodologies(home, {row["plan"] for row in rows} - {None})
    for row in rows:
        said = {"position": row["row"], "id": None, "verdict": "accepted", "action": str(uuid.UUID(row["action"]))}
        if row["plan"] is not None and row["quantified_mg"] is not None:
            said |= {**methods[row["plan"]], "quantified_mg": row["quantified_mg"]}
        yield {**said, "closes_on": row["closes_on"]}


def _methodologies(home: Home, plans: set[str]) -> Mapping[str, Mapping[str, str]]:
    """Of each plan its methodology's key and kind."""
    found = {}
    for digest, document in home.book.query(sa.select(plan.c.digest, plan.c.document).where(plan.c.digest.in_(plans))):
        said = json.loads(document)
        found[digest] = {"kind": said["kind"], "methodology": f"{said['methodology']}@{said['version']}"}
    return found


def _refused(file: Taken, after: int, mark: str) -> Iterator[tuple[dict[str, Any], str]]:
    if file.verdicts is None:
        return
    state = file.verdicts_digest[:_DIGEST]
    known, _, text = mark.partition(":")
    is_place = known == state and text.isascii() and text.isdigit() and len(text) < _LONGEST
    with open_binary(file.verdicts) as stream:
        if is_place:
            stream.seek(int(text))
        lines = _Lines(stream, int(text) if is_place else 0)
        reader = csv.reader(lines)
        if not is_place:
            next(reader, None)
        begun = ((int(values[0]), values, lines.read) for values in reader)
        try:
            for number, group in itertools.groupby(begun, key=lambda each: each[0]):
                mistakes = list(group)
                if number > after:
                    yield _refusal(number, [values for _, values, _ in mistakes]), f"{state}:{mistakes[-1][2]}"
        except (ValueError, csv.Error):
            if not is_place:
                raise
            raise malformed() from None  # somebody made the place up


class _Lines:
    """The lines of a stream as texts; ``read`` is where in it the next one begins."""

    def __init__(self, stream: io.BufferedIOBase, start: int) -> None:
        self._stream, self.read = stream, start

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._stream.readline()
        if not line:
            raise StopIteration
        self.read += len(line)
        return line.decode()


def _refusal(number: int, mistakes: Sequence[Sequence[str]]) -> dict[str, Any]:
    problems = [
        {"code": code, "field": field or None, "message": message, "remedy": remedy}
        for _, _, _, code, field, message, remedy in mistakes
    ]
    return {"position": number, "id": mistakes[0][1] or None, "verdict": "refused", "problems": problems}
