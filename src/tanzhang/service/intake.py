"""Intake: a file comes in, every row gets its verdict, and what is accepted is on disk before the answer leaves.

Rules of a row: :mod:`tanzhang.engine.screen`. Formats: :mod:`tanzhang.stores.formats` and, for foreign files,
:mod:`tanzhang.stores.mapping`. Nothing is decided here about counting once; that is settlement's.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TextIO

import pyarrow as pa

from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.core.methodology import Plan, canonical_json
from tanzhang.engine.kernel import quote
from tanzhang.engine.screen import PROBLEM_ORDER, Question, Screened, screen
from tanzhang.service.limits import agreements, counting
from tanzhang.service.moments import file_moment, received_at, received_day
from tanzhang.service.observe import stepped, tell_rows
from tanzhang.service.progress import Progress, silent
from tanzhang.stores.formats import missing, read_submission
from tanzhang.stores.home import Home
from tanzhang.stores.mapping import Mapping as ForeignMapping
from tanzhang.stores.mapping import apply_mapping, load_mapping, table_files
from tanzhang.stores.reports import REPORTS, VERDICT_COLUMNS, VERDICTS, writing_reports
from tanzhang.stores.storage import Place, open_binary, write_durably

_FEW = 20  # problems shown in an answer; the verdict file has all


@stepped("intake")
def intake(
    home: Home,
    path: Path,
    *,
    partner: str | None = None,
    mapping: Path | None = None,
    tables: Mapping[str, Path] | None = None,
    now: datetime,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Take in one file. Returns counts, refusals by code, the first problems and where the verdicts are.

    Sending a file again returns the first answer again and takes nothing in twice; only a file with rows from the
    future is looked at anew when time has passed, since that may have made them good. Raises if the file as a whole
    cannot be taken; then nothing of it landed. A partner with a daily limit is refused what exceeds it, by
    ``daily-limit-reached``.
    """
    if partner is not None:
        home.programme.check_partner(partner, "--partner")
    home.check_storage()
    before = _stamp(path)
    foreign = None if mapping is None else _allowed(home, load_mapping(mapping))
    fingerprint = _fingerprint(home, path, partner, foreign, tables or {})
    earlier = home.book.find_submission(fingerprint, received_at(now))
    if earlier is not None:
        return _answer(home, earlier)
    con = home.connect()
    folder = report_folder(home, fingerprint, now)
    with writing_reports(folder / REPORTS, received_day(home, now), home=home.storage) as (reports, file):
        screened, extra = _screened(home, con, path, partner, foreign, tables or {}, reports.add, now, progress)
        if _stamp(path) != before:
            raise refuse(
                "file-changed",
                f"{path.name} was written to while it was read",
                where=str(path),
                remedy="send it again when it is complete; nothing of it was taken",
            )
    progress("writing", 80, screened.rows)
    landed = Landed(screened, folder, file.digest, reports.next_close)
    return _land(home, con, landed, path, partner, fingerprint, extra, now)


@stepped("check")
def check(
    home: Home,
    path: Path,
    *,
    partner: str | None = None,
    mapping: Path | None = None,
    tables: Mapping[str, Path] | None = None,
    now: datetime,
    progress: Progress = silent,
) -> tuple[dict[str, Any], bytes]:
    """What :func:`intake` would answer now, and its verdict file as CSV; nothing is kept.

    Whether the rows came before, and a partner's daily limit, are not looked at. Raises what intake does for a file.
    """
    if partner is not None:
        home.programme.check_partner(partner, "--partner")
    if not path.is_file():
        raise missing(path)
    foreign = None if mapping is None else _allowed(home, load_mapping(mapping))
    con = home.connect()
    amounts: dict[str, list[int]] = {}

    def accept(table: pa.Table) -> None:
        for row in table.group_by("behaviour").aggregate([("quantified_mg", "sum"), ("row", "count")]).to_pylist():
            sums = amounts.setdefault(row["behaviour"], [0, 0])
            sums[0] += row["row_count"]
            sums[1] += int(row["quantified_mg_sum"] or 0)

    screened, extra = _screened(home, con, path, partner, foreign, tables or {}, accept, now, progress)
    found = [(behaviour, count, str(total)) for behaviour, (count, total) in sorted(amounts.items())]
    lines = _verdict_csv(con, screened.problems)
    counts = _counts(screened, _codes(con, screened), extra, found)
    first = _first_problems(io.TextIOWrapper(io.BytesIO(lines), encoding="utf-8", newline=""))
    return {"submission": None, **counts, "verdicts": None, "first_problems": first}, lines


def _screened(
    home: Home,
    con: Any,
    path: Path,
    partner: str | None,
    foreign: ForeignMapping | None,
    tables: Mapping[str, Path],
    accept: Callable[[pa.Table], None],
    now: datetime,
    progress: Progress,
) -> tuple[Screened, dict[str, Any]]:
    """Read a file and look at every row; accepted ones go to ``accept``. The last is what a mapping left out."""
    progress("reading", 0, 0)
    skipped: dict[str, int] = {}
    paired = 0
    if foreign is None:
        raw = read_submission(con, path)
    else:
        mapped = apply_mapping(con, path, foreign, dict(tables))
        raw, skipped, paired = mapped.table, dict(mapped.skipped), mapped.paired
    ((rows,),) = con.execute(f"SELECT count(*) FROM {raw}").fetchall()
    progress("checking and quantifying", 20, rows)
    screened = screen(
        con,
        raw,
        programme=home.programme,
        partner=partner,
        identity_key=home.identity_key,
        now=now,
        resolve=resolver(home),
        accept=accept,
    )
    return screened, {"skipped": skipped, "paired": paired}


@dataclass(frozen=True, slots=True)
class Landed:
    """A submission whose report file is on disk, and nobody knows of it yet."""

    screened: Screened
    folder: Place
    digest: str
    next_close: date


def report_folder(home: Home, fingerprint: str, now: datetime) -> Place:
    """The folder of a submission's files, by moment and content: who takes the same in later writes to another."""
    return home.storage / "reports" / f"{file_moment(now)}-{fingerprint[:12]}"


def _allowed(home: Home, mapping: ForeignMapping) -> ForeignMapping:
    """The mapping, unless it would turn a rehearsal into bookings that look like claims."""
    if mapping.rehearsal is not None and not home.programme.rehearsal:
        raise refuse(
            "rehearsal-only",
            f"mapping {mapping.id} shifts days and places to rehearse; programme {home.programme.id} books claims",
            where=str(mapping.path),
            remedy="use it in a programme with 'rehearsal: true', or remove the rehearsal from the mapping",
        )
    return mapping


def resolver(home: Home) -> Callable[[Question], Plan | Problem]:
    """Answers which plan an act is computed by in this home's programme, or why by none."""

    def resolve(question: Question) -> Plan | Problem:
        try:
            choice = home.catalogue.choose(
                question.behaviour, question.region, question.day, home.programme.methodologies
            )
            return home.catalogue.plan(
                choice.methodology, question.region, question.day, question.variant, question.evidence
            )
        except TanzhangError as error:
            return error.problems[0]

    return resolve


def _land(
    home: Home,
    con: Any,
    landed: Landed,
    path: Path,
    partner: str | None,
    fingerprint: str,
    mapped: Mapping[str, Any],
    now: datetime,
) -> dict[str, Any]:
    """Write the verdicts, then acknowledge them and the accepted rows, which are on disk, in the book."""
    screened, folder = landed.screened, landed.folder
    file = folder / REPORTS
    refused = screened.rows - screened.accepted_rows
    verdicts = folder / VERDICTS
    codes = _codes(con, screened)
    lines = _verdict_csv(con, screened.problems)
    write_durably(verdicts, lines, up_to=home.storage)
    amounts = con.execute(
        f"SELECT behaviour, count(*), sum(quantified_mg)::VARCHAR FROM read_parquet({quote(str(file))}) "
        "GROUP BY 1 ORDER BY 1"
    ).fetchall()
    counts = _counts(screened, codes, mapped, amounts) | {"verdicts": str(verdicts.relative_to(home.storage))}

    def row(number: int) -> dict[str, Any]:
        return {
            "partner": partner,
            "name": path.name,
            "received_at": received_at(now),
            "received_day": received_day(home, now).isoformat(),
            "rows": screened.rows,
            "accepted": screened.accepted_rows,
            "refused": refused,
            "fingerprint": f"{fingerprint}-{number}" if "time-in-future" in codes else fingerprint,
            "answer": json.dumps({"submission": number, **counts}, ensure_ascii=False),
            "file": str(file.relative_to(home.storage)),
            "file_digest": landed.digest,
            "verdicts": str(verdicts.relative_to(home.storage)),
            "verdicts_digest": hashlib.sha256(lines).hexdigest(),
        }

    plans = {plan.digest: plan.document for plan in screened.plans.values()}
    count = counting(home, partner, screened.rows, now)
    kept = home.book.add_submission(fingerprint, row, plans, landed.next_close, count)
    tell_rows(screened.accepted_rows, refused, codes)
    return _answer(home, SimpleNamespace(**kept))


def _codes(con: Any, screened: Screened) -> dict[str, int]:
    """How many refused rows have each code."""
    query = f"SELECT code, count(DISTINCT row) FROM {screened.problems} GROUP BY code ORDER BY count(*) DESC, code"
    return dict(con.execute(query).fetchall())


def _counts(
    screened: Screened,
    codes: Mapping[str, int],
    mapped: Mapping[str, Any],
    amounts: Iterable[tuple[str, int, str]],
) -> dict[str, Any]:
    return {
        "rows": screened.rows,
        "accepted": screened.accepted_rows,
        "refused": screened.rows - screened.accepted_rows,
        "refused_by_code": codes,
        **mapped,
        "quantified": [
            {"behaviour": behaviour, "actions": count, "quantified_mg": total} for behaviour, count, total in amounts
        ],
    }


def _answer(home: Home, row: Any) -> dict[str, Any]:
    """The answer to a submission: the counts the book keeps, and the first problems from the verdict file.

    ``verdicts`` is None, and no problem is shown, once the verdict file was disposed of.

    References are partners' texts and may name a person, so the book, which never forgets, does not hold them.
    """
    answer: dict[str, Any] = {**json.loads(row.answer), "verdicts": row.verdicts}
    if row.verdicts is None:
        return {**answer, "first_problems": []}
    with io.TextIOWrapper(open_binary(home.storage / answer["verdicts"]), encoding="utf-8", newline="") as file:
        return {**answer, "first_problems": _first_problems(file)}


def _first_problems(file: TextIO) -> list[dict[str, Any]]:
    """The first lines of a verdict file."""
    lines = itertools.islice(csv.DictReader(file), _FEW)
    shown = ("reference", "code", "field", "message", "remedy")
    return [{"row": int(line["row"])} | {name: line[name] or None for name in shown} for line in lines]


def _verdict_csv(con: Any, problems: str) -> bytes:
    """The verdict file: one line per mistake; rows without a line are accepted."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(VERDICT_COLUMNS)
    rows = con.execute(
        f"SELECT row, reference, 'refused', code, field, message, remedy FROM {problems} ORDER BY {PROBLEM_ORDER}"
    )
    while batch := rows.fetchmany(10_000):
        writer.writerows(batch)
    return buffer.getvalue().encode()


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What differs once a file was written to or replaced; None where there is none."""
    if not path.is_file():
        return None
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _fingerprint(
    home: Home, path: Path, partner: str | None, mapping: ForeignMapping | None, tables: Mapping[str, Path]
) -> str:
    """What makes two submissions the same: bytes, partner, mapping, tables, catalogue and agreements with partners."""
    files = [path]
    if mapping is not None:
        named = table_files(mapping, path, tables)
        files += [mapping.path, *(named[name] for name in sorted(named))]
    parts = [partner, home.catalogue.digest(), path.suffixes, *agreements(home, partner)]
    state = hashlib.sha256(canonical_json(parts).encode())
    for file in files:
        if not file.is_file():
            raise missing(file)
        with file.open("rb") as handle:
            state.update(hashlib.file_digest(handle, "sha256").digest())
    return state.hexdigest()
