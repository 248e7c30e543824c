"""Guard (风控): hold what looks wrong before it is settled, show why, and do what the operator decides.

What rules mark: :mod:`tanzhang.engine.guard`; what is kept of it: :mod:`tanzhang.stores.register.guard`. Every
settlement looks at what it is about to consume first, so nothing is settled that the guard has not seen, and a worker
looks at open reports meanwhile, so that people are told early. A programme without a guard is not looked at at all.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from tanzhang.core.access import Actor
from tanzhang.core.action import INPUT_NAMES, STRAIGHT
from tanzhang.core.errors import refuse as refusal
from tanzhang.core.guard import HOLD, SAME_REFERENCE, Guard, Mark, Regular, reason
from tanzhang.core.methodology import canonical_json
from tanzhang.engine.guard import DRIFTS, MARKS, mark
from tanzhang.engine.kernel import quote
from tanzhang.service.intake import report_folder
from tanzhang.service.links import links_relation
from tanzhang.service.moments import received_at, received_day
from tanzhang.service.observe import stepped
from tanzhang.service.outbox import telling
from tanzhang.stores.book import submission
from tanzhang.stores.guard import load_guard
from tanzhang.stores.home import Home
from tanzhang.stores.register.guard import HELD, NOTED, guard_case
from tanzhang.stores.register.people import place_of
from tanzhang.stores.reports import REPORTS, VERDICT_COLUMNS, VERDICTS, writing_reports
from tanzhang.stores.storage import parquet_file, write_durably

if TYPE_CHECKING:
    import duckdb

_log = logging.getLogger("tanzhang.guard")
_FIELDS = ("action", "child", "partner", "behaviour", "region", "day", "ended", "close_day", "plan", "quantified_mg")


def guard_of(home: Home) -> Guard | None:
    """The guard that the home's programme names, None if it names none; ``unknown-guard``."""
    name = home.programme.guard
    return None if name is None else load_guard(home.catalogue, name)


# -- looking ---------------------------------------------------------------------------------------------------


def look(home: Home, *, now: datetime) -> dict[str, Any]:
    """Look at every report that is not settled yet; ``home-busy`` while somebody settles. Returns what was found."""
    with home.settling():
        return look_at(home, None, now=now)


def look_at(home: Home, through: date | None, *, now: datetime, at_once: bool = False) -> dict[str, Any]:
    """Hold what the guard holds of the open reports that close by a day (None: all), under the home's lock.

    With ``at_once`` of those alone that are settled as soon as they come, and only by rules that judge each act by
    itself: reading the days before would take longer than these may wait. Returns how many acts were looked at, held
    and noted, and the drifts found.
    """
    guard = guard_of(home)
    nothing: dict[str, Any] = {"looked_at": 0, "held": 0, "noted": 0, "drifts": 0}
    return nothing if guard is None else _look(home, guard, through, now, at_once) or nothing


@stepped("guard")
def _look(home: Home, guard: Guard, through: date | None, now: datetime, at_once: bool) -> dict[str, Any] | None:
    open_rows = home.book.open_submissions(None if through is None else through.isoformat(), at_once=at_once)
    passed = home.guard.released_as()
    asked = {row.seq: row for row in open_rows if row.seq not in passed}
    if not asked:
        return None
    con = home.kept_engine if at_once else home.connect()
    _read(home, con, guard, asked, through, now, alone=at_once)
    acts = _without_repeats(con)
    mark(con, guard, acts, alone=at_once)
    ((looked_at,),) = con.execute("SELECT count(*) FROM guard_read WHERE asked").fetchall()
    cases = _new_cases(home, con, guard, received_at(now))
    drifts = _drifts(con, guard, received_at(now))
    held = [each for each in cases if each["state"] == HELD]
    if cases or drifts:
        tell = [
            telling(home, "held", partner, {"acts": str(count)}, now=now)
            for partner, count in sorted(_counted(each["partner"] for each in held).items())
        ]
        home.guard.hold(cases, drifts, at=received_at(now), also=_all(tell))
    for each in drifts:
        _log.warning(
            "drift: %(partner)s, %(behaviour)s on %(day)s: the mean is %(percent)s %% of the days before", each
        )
    return {"looked_at": looked_at, "held": len(held), "noted": len(cases) - len(held), "drifts": len(drifts)}


def _read(
    home: Home,
    con: duckdb.DuckDBPyConnection,
    guard: Guard,
    asked: Mapping[int, Any],
    through: date | None,
    now: datetime,
    *,
    alone: bool,
) -> None:
    """Table ``guard_read``: the acts to judge and, unless each is judged ``alone``, those of the window beside them."""
    rows = dict(asked)
    if not alone:
        since = (received_day(home, now) - timedelta(days=guard.window_days)).isoformat()
        recent = home.book.query(sa.select(submission).where(submission.c.received_day >= since))
        rows = {row.seq: row for row in home.book.submissions(recent) if row.file is not None} | rows
    files = {
        "filename": [str(home.storage / row.file) for row in rows.values()],
        "submission": pa.array(rows, pa.int32()),
        "is_open": [number in asked for number in rows],
        "after": pa.array([getattr(row, "settled_through", None) for row in rows.values()], pa.string()),
    }
    held = home.guard.held_rows(asked)
    pairs = [(number, row) for number, own in held.items() for row in own]
    con.register("guard_files", pa.table(files))
    con.register(
        "guard_held",
        pa.table(
            {
                "submission": pa.array([n for n, _ in pairs], pa.int32()),
                "row": pa.array([r for _, r in pairs], pa.int64()),
            }
        ),
    )
    last = "" if through is None else f"AND close_day <= DATE '{through}'"
    links = None if alone else links_relation(home, con)
    owner, joined = "child", ""
    if links is not None:
        owner = "coalesce(l.account, r.child)"
        joined = (
            f"LEFT JOIN {links} l ON l.child = r.child AND r.day >= l.valid_from "
            "AND (l.valid_until IS NULL OR r.day < l.valid_until)"
        )
    named = ", ".join(quote(name) for name in files["filename"])
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE guard_read AS
        SELECT r.* EXCLUDE (is_open, after), {owner} AS account,
            is_open AND h.row IS NULL AND (after IS NULL OR close_day > after::DATE) {last} AS asked
        FROM (
            SELECT f.submission, f.is_open, f.after, {", ".join(_columns(guard))}
            FROM read_parquet([{named}], union_by_name = true, filename = true) JOIN guard_files f USING (filename)
            WHERE plan IS NOT NULL
        ) r LEFT JOIN guard_held h ON h.submission = r.submission AND h.row = r.row {joined}
        """
    )
    con.unregister("guard_files")
    con.unregister("guard_held")


def _columns(guard: Guard) -> tuple[str, ...]:
    """What is read of a report: what a case shows and what the rules measure."""
    inputs = {"distance_m", *(rule.test.input for rule in guard.rules if isinstance(rule.test, Regular))}
    shown = ("row", "action_id", "child", "partner", "behaviour", "region", "plan", "started", "ended", "day")
    used = [name for name in INPUT_NAMES if name in inputs]
    return (*shown, "close_day", "quantified_mg", "withdraws", "device", "image", STRAIGHT, *used)


def _without_repeats(con: duckdb.DuckDBPyConnection) -> str:
    """The relation of acts in which each reference stands once, as the first of its reports says."""
    con.execute(
        """
        CREATE OR REPLACE TEMP TABLE guard_again AS
        SELECT submission, row FROM (
            SELECT submission, row, row_number() OVER (PARTITION BY action_id ORDER BY submission, row) AS place
            FROM guard_read
            SEMI JOIN (SELECT action_id FROM guard_read GROUP BY 1 HAVING count(*) > 1) USING (action_id)
        ) WHERE place > 1
        """
    )
    ((again,),) = con.execute("SELECT count(*) FROM guard_again").fetchall()
    if not again:
        return "guard_read"
    con.execute(
        "CREATE OR REPLACE TEMP VIEW guard_acts AS FROM guard_read ANTI JOIN guard_again USING (submission, row)"
    )
    return "guard_acts"


def _new_cases(home: Home, con: duckdb.DuckDBPyConnection, guard: Guard, at: str) -> list[dict[str, Any]]:
    """A case for each asked act that a rule marks, and for each further report of a reference that is withheld."""
    marks: dict[tuple[int, int], list[Mark]] = {}
    for number, row, *values in con.execute(
        f"SELECT submission, row, rule, measured, threshold FROM {MARKS} ORDER BY ALL"
    ).fetchall():
        marks.setdefault((number, row), []).append(Mark(*values))
    scores = {place: guard.score(each.rule for each in own) for place, own in marks.items()}
    held = [place for place, score in scores.items() if score >= guard.hold_at]
    _register_places(con, "guard_marked", [*marks])
    _register_places(con, "guard_held", held)
    con.register("guard_withheld", pa.table({"action": pa.array(home.guard.withheld_actions(), pa.string())}))
    found = con.sql(
        """
        WITH withheld AS (
            SELECT action::UUID AS action_id FROM guard_withheld
            UNION SELECT action_id FROM guard_read JOIN guard_held USING (submission, row)
        )
        SELECT r.submission, r.row, w.action_id IS NOT NULL AS again, r.action_id::VARCHAR AS action,
            child::VARCHAR AS child, partner, behaviour, region, day::VARCHAR AS day,
            strftime(ended, '%Y-%m-%dT%H:%M:%S.%fZ') AS ended, close_day::VARCHAR AS close_day, plan, quantified_mg,
            withdraws::VARCHAR AS withdraws
        FROM guard_read r LEFT JOIN withheld w USING (action_id)
            LEFT JOIN guard_marked m ON m.submission = r.submission AND m.row = r.row
        WHERE asked AND (w.action_id IS NOT NULL OR m.row IS NOT NULL)
        ORDER BY r.submission, r.row
        """
    ).to_arrow_table()
    for name in ("guard_marked", "guard_held", "guard_withheld"):
        con.unregister(name)
    known = home.guard.noted({number for number, _ in marks})
    cases = []
    for row in found.to_pylist():
        place = (row["submission"], row["row"])
        own = marks.get(place, [])
        reasons = [_said(guard, each, row["behaviour"]) for each in own]
        is_held = scores.get(place, 0) >= guard.hold_at
        if row.pop("again") and not is_held:
            reasons.append(_SAME)
            is_held = True
        case = {
            **row,
            "state": HELD if is_held else NOTED,
            "score": scores.get(place, 0),
            "reasons": json.dumps(reasons, ensure_ascii=False),
            "opened_at": at,
        }
        if is_held or known.get(place) != case["reasons"]:
            cases.append(case)
    return cases


_SAME = {
    "rule": SAME_REFERENCE,
    "title": {"en": "A further report of a withheld act", "zh": "已暂缓行为的重复上报"},
    "action": HOLD,
    "weight": 0,
    "says": "another report of this reference is held or was refused",
}


def _said(guard: Guard, found: Mark, behaviour: str) -> dict[str, Any]:
    rule = guard.rules[found.rule]
    return {
        "rule": rule.id,
        "title": {"en": rule.title, "zh": rule.title_zh},
        "action": rule.action,
        "weight": rule.weight,
        "says": reason(rule, found, behaviour),
    }


def _register_places(con: duckdb.DuckDBPyConnection, name: str, places: Sequence[tuple[int, int]]) -> None:
    numbers, rows = pa.array([n for n, _ in places], pa.int32()), pa.array([r for _, r in places], pa.int64())
    con.register(name, pa.table({"submission": numbers, "row": rows}))


def _drifts(con: duckdb.DuckDBPyConnection, guard: Guard, at: str) -> list[dict[str, Any]]:
    found = con.sql(f"SELECT * REPLACE (day::VARCHAR AS day) FROM {DRIFTS} ORDER BY ALL").to_arrow_table()
    return [{**row, "rule": guard.rules[row["rule"]].id, "found_at": at} for row in found.to_pylist()]


def _counted(partners: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for partner in partners:
        counts[partner] = counts.get(partner, 0) + 1
    return counts


def _all(steps: Iterable[Callable[[sa.Connection], None]]) -> Callable[[sa.Connection], None]:
    def also(con: sa.Connection) -> None:
        for step in steps:
            step(con)

    return also


# -- deciding --------------------------------------------------------------------------------------------------


def release(home: Home, numbers: Iterable[int], why: str, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Let held acts be settled by the next settlement, under the rules of any act; other reports of theirs too.

    What was credited meanwhile stands: a released act of the same claim becomes its duplicate. Returns the cases and
    the submissions they are in now. Raises ``guard-case-unknown``, ``guard-case-decided``, ``reason-missing``.
    """
    chosen = _chosen(home, numbers, why)
    received = {row.seq: row.received_day for row in home.book.submissions()}
    days: dict[str, list[Any]] = {}
    for case in chosen:
        days.setdefault(received[case.submission], []).append(case)
    made = [_release_day(home, date.fromisoformat(day), own, why, actor, now) for day, own in sorted(days.items())]
    return {"status": "released", "cases": [case.id for case in chosen], "submissions": made}


def _release_day(home: Home, day: date, cases: Sequence[Any], why: str, actor: Actor, now: datetime) -> int:
    """Copy the reports of some cases, all received on one day, into a submission of their own; returns its number."""
    named = sorted([case.submission, case.row] for case in cases)
    texts = [[str(number), str(row)] for number, row in named]
    fingerprint = hashlib.sha256(canonical_json(["released", texts]).encode()).hexdigest()
    folder = report_folder(home, fingerprint, now)
    table = _rows_of(home, named)
    with writing_reports(folder / REPORTS, day, home=home.storage) as (writer, file):
        writer.add(table)
    lines = (",".join(VERDICT_COLUMNS) + "\r\n").encode()
    write_durably(folder / VERDICTS, lines, up_to=home.storage)

    def row(number: int) -> dict[str, Any]:
        answer = {"submission": number, "rows": len(named), "accepted": len(named), "released": texts}
        return {
            "name": f"released by the guard, {len(named)} of {len({n for n, _ in named})} submissions",
            "received_at": received_at(now),
            "received_day": day.isoformat(),
            "rows": len(named),
            "accepted": len(named),
            "refused": 0,
            "fingerprint": fingerprint,
            "answer": json.dumps(answer),
            "file": str((folder / REPORTS).relative_to(home.storage)),
            "file_digest": file.digest,
            "verdicts": str((folder / VERDICTS).relative_to(home.storage)),
            "verdicts_digest": hashlib.sha256(lines).hexdigest(),
        }

    also = _decided(home, "released", cases, why, actor, now)
    made = home.guard.release(cases, row, writer.next_close, at=received_at(now), decision=why, also=also)
    if made is None:
        raise _already()
    return made


def _rows_of(home: Home, named: Sequence[Sequence[int]]) -> pa.Table:
    """Reports by submission and row, numbered anew."""
    wanted: dict[int, list[int]] = {}
    for number, row in named:
        wanted.setdefault(number, []).append(row)
    files = home.book.submissions(home.book.query(sa.select(submission).where(submission.c.seq.in_(wanted))))
    tables = []
    for each in files:
        rows = pa.array(wanted[each.seq], pa.int64())
        with parquet_file(home.storage / each.file) as parquet:
            for group in range(parquet.num_row_groups):
                numbers = parquet.read_row_group(group, columns=["row"])["row"]
                if pc.any(pc.is_in(numbers, value_set=rows)).as_py():
                    table = parquet.read_row_group(group)
                    tables.append(table.filter(pc.is_in(table["row"], value_set=rows)))
    found = pa.concat_tables(tables, promote_options="permissive")
    if found.num_rows != len(named):
        raise AssertionError(f"{len(named)} held reports are wanted, {found.num_rows} are in their files")
    place = found.schema.get_field_index("row")
    return found.set_column(place, "row", pa.array(range(1, found.num_rows + 1), pa.int64()))


def refuse(home: Home, numbers: Iterable[int], why: str, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Keep held acts from ever being settled; they stay visible with the reason. Errors as of :func:`release`."""
    chosen = _chosen(home, numbers, why)
    also = _decided(home, "refused", chosen, why, actor, now)
    if not home.guard.refuse(chosen, at=received_at(now), decision=why, also=also):
        raise _already()
    return {"status": "refused", "cases": [case.id for case in chosen]}


def _chosen(home: Home, numbers: Iterable[int], why: str) -> list[Any]:
    """The cases that were named, and all that are held of the same references."""
    if not why.strip():
        raise refusal(
            "reason-missing",
            "a decision needs its reason",
            where="reason",
            remedy="say why; the person and the partner read it, so it must name nobody",
        )
    cases = [case_of(home, number) for number in sorted(set(numbers))]
    for case in cases:
        if case.state != HELD:
            raise _already(f"case {case.id} is {case.state}")
    return home.guard.of_actions([case.action for case in cases], (HELD,))


def _already(message: str = "a case was decided meanwhile") -> Any:
    return refusal("guard-case-decided", message, where="case", remedy="look at the case; what is decided stays so")


def case_of(home: Home, number: int) -> Any:
    """The row of a case; ``guard-case-unknown``."""
    row = home.guard.case(number)
    if row is None:
        raise refusal(
            "guard-case-unknown",
            f"there is no case {number}",
            where="case",
            remedy="see 'tanzhang guard list'; cases of erased persons are gone",
        )
    return row


def _decided(
    home: Home, kind: str, cases: Sequence[Any], why: str, actor: Actor, now: datetime
) -> Callable[[sa.Connection], None]:
    """What goes with a decision: the audit trail, and word to the partners."""
    tell = [
        telling(home, kind, partner, {"acts": str(count)}, now=now)
        for partner, count in sorted(_counted(case.partner for case in cases).items())
        if kind == "released"
    ]
    detail = {"cases": [case.id for case in cases], "reason": why}

    def also(con: sa.Connection) -> None:
        act = f"guard {'release' if kind == 'released' else 'refuse'}"
        home.audit.write(con, actor, act, f"{len(cases)} cases", at=received_at(now), detail=detail)
        _all(tell)(con)

    return also


# -- showing ---------------------------------------------------------------------------------------------------


def shown(row: Any) -> dict[str, Any]:
    """A case as JSON members, without what only its person and the operator read."""
    said = {name: getattr(row, name) for name in _FIELDS if name != "quantified_mg"}
    return {
        "id": row.id,
        "state": row.state,
        "score": row.score,
        "reasons": json.loads(row.reasons),
        **said,
        "quantified_mg": None if row.quantified_mg is None else str(row.quantified_mg),
        "opened_at": row.opened_at,
        "decided_at": row.decided_at,
        "decision": row.decision,
        "appealed_at": row.appealed_at,
    }


def shown_with_appeal(home: Home, row: Any) -> dict[str, Any]:
    """A case with the person's own words, for its person and the operator."""
    words = None
    if row.appeal is not None:
        words = home.personal_keys.open(row.appeal, place_of(guard_case, "appeal", str(row.id)))
    return {**shown(row), "appeal": words}


def overview(home: Home) -> dict[str, Any]:
    """The programme's guard, how many cases there are by state, and the latest drifts."""
    guard = guard_of(home)
    return {
        "guard": None if guard is None else guard.id,
        "status": None if guard is None else guard.status,
        "hold_at": None if guard is None else guard.hold_at,
        "cases": home.guard.counts(),
        "drifts": [dict(row._mapping) for row in home.guard.drifts()],
    }


def why_held(row: Any) -> str:
    """Why a case is withheld, in one line: the operator's reason once there is one."""
    if row.decision is not None:
        return f"refused by the operator: {row.decision}"
    return "held: " + "; ".join(each["says"] for each in json.loads(row.reasons))
