"""Guard (风控): which accepted reports are held, why, what the operator decided, what the person said to it.

Table ``guard_move`` (stores/book/schema.py) is chained: what every settlement left out is part of what its batch
commits to. The cases here are what people read; they name a platform account and go when its person is erased.

A held report stays in the file it came in and is settled from there never more: its row is taken off what is unsettled
of its submission in the transaction that holds it. Released, it is copied into a submission of its own, with the day
on which it was received, and from there on is like any other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import sqlalchemy as sa

from tanzhang.stores.book import Book, add_submission, batch, guard_move, unsettled
from tanzhang.stores.book.schema import NUMBER, TEXT, append, append_many, metadata

NOTED, HELD, RELEASED, REFUSED = "noted", "held", "released", "refused"
STATES = (NOTED, HELD, RELEASED, REFUSED)
WITHHELD = (HELD, REFUSED)
_AT_ONCE = 500

guard_case = sa.Table(
    "guard_case",
    metadata,
    sa.Column("id", NUMBER, primary_key=True),
    sa.Column("submission", sa.Integer, nullable=False),
    sa.Column("row", sa.BigInteger, nullable=False),
    sa.Column("state", TEXT, nullable=False),
    sa.Column("score", sa.BigInteger, nullable=False),
    sa.Column("reasons", TEXT, nullable=False),  # JSON: rule, title, weight, action, says
    sa.Column("action", TEXT, nullable=False),
    sa.Column("child", TEXT, nullable=False),
    sa.Column("partner", TEXT, nullable=False),
    sa.Column("behaviour", TEXT, nullable=False),
    sa.Column("region", TEXT, nullable=False),
    sa.Column("day", TEXT, nullable=False),
    sa.Column("ended", TEXT, nullable=False),
    sa.Column("close_day", TEXT, nullable=False),
    sa.Column("plan", TEXT),
    sa.Column("quantified_mg", sa.BigInteger),
    sa.Column("withdraws", TEXT),
    sa.Column("opened_at", TEXT, nullable=False),
    sa.Column("decided_at", TEXT),
    sa.Column("decision", TEXT),  # the operator's reason, which names nobody
    sa.Column("appeal", TEXT),  # sealed
    sa.Column("appealed_at", TEXT),
    sa.UniqueConstraint("submission", "row"),
    sa.Index("guard_case_state", "state", "id"),
    sa.Index("guard_case_action", "action"),
    sa.Index("guard_case_child", "child"),
)
# Partners whose mean of a behaviour and day moved; the last look at each counts.
guard_drift = sa.Table(
    "guard_drift",
    metadata,
    sa.Column("rule", TEXT, nullable=False),
    sa.Column("partner", TEXT, nullable=False),
    sa.Column("behaviour", TEXT, nullable=False),
    sa.Column("day", TEXT, nullable=False),
    sa.Column("percent", sa.BigInteger, nullable=False),
    sa.Column("acts", sa.BigInteger, nullable=False),
    sa.Column("mean_mg", sa.BigInteger, nullable=False),
    sa.Column("trailing_mean_mg", sa.BigInteger, nullable=False),
    sa.Column("found_at", TEXT, nullable=False),
    sa.PrimaryKeyConstraint("day", "partner", "behaviour", "rule"),
)


class GuardRegister:
    """The cases of a home's guard."""

    def __init__(self, book: Book) -> None:
        self._book = book

    # -- reading ----------------------------------------------------------------------------------------------

    def held_rows(self, submissions: Iterable[int] | None = None) -> dict[int, tuple[int, ...]]:
        """Submission -> its rows that were ever held, sorted; submissions without any are left out."""
        statement = sa.select(guard_move.c.submission, guard_move.c.rows).where(guard_move.c.kind == "hold")
        if submissions is not None:
            wanted = list(submissions)
            if not wanted:
                return {}
            if len(wanted) <= _AT_ONCE:
                statement = statement.where(guard_move.c.submission.in_(wanted))
        found: dict[int, list[int]] = {}
        for row in self._book.query(statement):
            found.setdefault(row.submission, []).extend(json.loads(row.rows))
        return {number: tuple(sorted(rows)) for number, rows in found.items()}

    def released_as(self) -> set[int]:
        """The submissions that released reports are in: they are not looked at again."""
        own = guard_move.c.released_as
        return {row[0] for row in self._book.query(sa.select(own).where(own.is_not(None)))}

    def withheld_actions(self) -> list[str]:
        """The references of all acts that are held or were refused."""
        own = sa.select(guard_case.c.action).where(guard_case.c.state.in_(WITHHELD)).distinct()
        return [row[0] for row in self._book.query(own)]

    def noted(self, submissions: Iterable[int]) -> dict[tuple[int, int], str]:
        """The reasons of the acts of some submissions that are noted, by submission and row."""
        wanted = sorted(set(submissions))
        found: dict[tuple[int, int], str] = {}
        for start in range(0, len(wanted), _AT_ONCE):
            some = guard_case.c.submission.in_(wanted[start : start + _AT_ONCE]) & (guard_case.c.state == NOTED)
            columns = (guard_case.c.submission, guard_case.c.row, guard_case.c.reasons)
            found |= {(row[0], row[1]): row[2] for row in self._book.query(sa.select(*columns).where(some))}
        return found

    def waiting(self) -> dict[int, set[int]]:
        """Submission -> its rows that are held and not decided yet."""
        found: dict[int, set[int]] = {}
        own = sa.select(guard_case.c.submission, guard_case.c.row).where(guard_case.c.state == HELD)
        for row in self._book.query(own):
            found.setdefault(row.submission, set()).add(row.row)
        return found

    def is_used(self) -> bool:
        """Whether anything was ever held or noted."""
        return bool(self._book.query(sa.select(guard_case.c.id).limit(1)))

    def page(
        self,
        *,
        state: str | None = None,
        partner: str | None = None,
        appealed: bool = False,
        before: int | None = None,
        limit: int = 50,
    ) -> list[Any]:
        """Cases, the latest first, those before number ``before``."""
        statement = sa.select(guard_case)
        for column, value in ((guard_case.c.state, state), (guard_case.c.partner, partner)):
            if value is not None:
                statement = statement.where(column == value)
        if appealed:
            statement = statement.where(guard_case.c.appealed_at.is_not(None))
        if before is not None:
            statement = statement.where(guard_case.c.id < before)
        return self._book.query(statement.order_by(guard_case.c.id.desc()).limit(limit))

    def case(self, number: int) -> Any | None:
        """A case by its number."""
        rows = self._book.query(sa.select(guard_case).where(guard_case.c.id == number))
        return rows[0] if rows else None

    def of_actions(self, actions: Iterable[str], states: Sequence[str] = WITHHELD) -> list[Any]:
        """The cases of some references, the oldest first."""
        return self._of(guard_case.c.action, actions, states)

    def of_children(self, children: Iterable[str], states: Sequence[str] = STATES) -> list[Any]:
        """The cases of some platform accounts, the oldest first."""
        return self._of(guard_case.c.child, children, states)

    def _of(self, column: sa.Column[Any], values: Iterable[str], states: Sequence[str]) -> list[Any]:
        wanted, found = sorted(set(values)), []
        for start in range(0, len(wanted), _AT_ONCE):
            some = column.in_(wanted[start : start + _AT_ONCE]) & guard_case.c.state.in_(states)
            found += self._book.query(sa.select(guard_case).where(some))
        return sorted(found, key=lambda row: row.id)

    def counts(self) -> dict[str, int]:
        """How many cases there are by state."""
        statement = sa.select(guard_case.c.state, sa.func.count()).group_by(guard_case.c.state)
        return dict.fromkeys(STATES, 0) | {state: int(count) for state, count in self._book.query(statement)}

    def drifts(self, limit: int = 50) -> list[Any]:
        """Partners whose means moved, the latest day first."""
        own = sa.select(guard_drift).order_by(guard_drift.c.day.desc(), guard_drift.c.partner, guard_drift.c.behaviour)
        return self._book.query(own.limit(limit))

    # -- writing ----------------------------------------------------------------------------------------------

    def hold(
        self,
        cases: Sequence[Mapping[str, Any]],
        drifts: Sequence[Mapping[str, Any]],
        *,
        at: str,
        also: Callable[[sa.Connection], None],
    ) -> None:
        """Keep cases, held or noted, and drifts, all at once; for whoever holds the home's lock.

        What was noted before and is held now is one case. ``also`` writes what else belongs to it.
        """
        with self._book.transaction() as con:
            by_submission: dict[int, list[int]] = {}
            for each in cases:
                if each["state"] == HELD:
                    by_submission.setdefault(each["submission"], []).append(each["row"])
            count = _batches(con)
            append_many(con, guard_move, [_move("hold", n, rows, count, at) for n, rows in by_submission.items()])
            for number, rows in by_submission.items():
                own = unsettled.c.submission == number
                con.execute(unsettled.update().where(own).values(reports=unsettled.c.reports - len(rows)))
            if by_submission:
                con.execute(unsettled.delete().where(unsettled.c.reports <= 0))
            _replace(con, cases)
            for each in drifts:
                same = [guard_drift.c[name] == each[name] for name in ("rule", "partner", "behaviour", "day")]
                con.execute(guard_drift.delete().where(*same))
            if drifts:
                con.execute(guard_drift.insert(), [dict(each) for each in drifts])
            also(con)

    def release(
        self,
        cases: Sequence[Any],
        submission: Callable[[int], Mapping[str, Any]],
        next_close: date,
        *,
        at: str,
        decision: str,
        also: Callable[[sa.Connection], None],
    ) -> int | None:
        """Acknowledge the file that held reports were copied into as a submission; returns its number.

        None, and nothing is kept, if somebody decided one of the cases meanwhile.
        """
        with self._book.transaction() as con:
            if not _still_held(con, cases):
                return None
            number: int = add_submission(con, submission, next_close)["seq"]
            self._decide(con, "release", RELEASED, cases, at=at, decision=decision, released_as=number)
            also(con)
        return number

    def refuse(self, cases: Sequence[Any], *, at: str, decision: str, also: Callable[[sa.Connection], None]) -> bool:
        """Keep that held reports are never settled; False, and nothing is kept, if one was decided meanwhile."""
        with self._book.transaction() as con:
            if not _still_held(con, cases):
                return False
            self._decide(con, "refuse", REFUSED, cases, at=at, decision=decision)
            also(con)
        return True

    @staticmethod
    def _decide(
        con: sa.Connection,
        kind: str,
        state: str,
        cases: Sequence[Any],
        *,
        at: str,
        decision: str,
        released_as: int | None = None,
    ) -> None:
        count = _batches(con)
        by_submission: dict[int, list[int]] = {}
        for each in cases:
            by_submission.setdefault(each.submission, []).append(each.row)
        for number, rows in sorted(by_submission.items()):
            append(con, guard_move, {**_move(kind, number, rows, count, at), "released_as": released_as})
        own = guard_case.c.id.in_([each.id for each in cases])
        con.execute(guard_case.update().where(own).values(state=state, decided_at=at, decision=decision))

    def appeal(self, cases: Mapping[int, str], at: str, also: Callable[[sa.Connection], None]) -> int:
        """Keep the sealed words of a person to cases, by number, in place of earlier ones; returns how many."""
        count = 0
        with self._book.transaction() as con:
            for number, sealed in cases.items():
                own = (guard_case.c.id == number) & guard_case.c.state.in_(WITHHELD)
                count += con.execute(guard_case.update().where(own).values(appeal=sealed, appealed_at=at)).rowcount
            also(con)
        return count

    def forget(self, con: sa.Connection, children: Sequence[str]) -> int:
        """In somebody's transaction: remove the cases of platform accounts, but for those that wait to be decided."""
        count = 0
        for start in range(0, len(children), _AT_ONCE):
            own = guard_case.c.child.in_(children[start : start + _AT_ONCE]) & (guard_case.c.state != HELD)
            count += con.execute(guard_case.delete().where(own)).rowcount
        return count


def _batches(con: sa.Connection) -> int:
    last = con.scalar(sa.select(sa.func.max(batch.c.seq)))
    return 0 if last is None else int(last) + 1


def _move(kind: str, submission: int, rows: Sequence[int], batches: int, at: str) -> dict[str, Any]:
    own = sorted(rows)
    said = {"kind": kind, "submission": submission, "rows": json.dumps(own, separators=(",", ":"))}
    return {**said, "reports": len(own), "batches": batches, "made_at": at}


def _replace(con: sa.Connection, cases: Sequence[Mapping[str, Any]]) -> None:
    """Insert cases; those of the same report that were only noted go."""
    by_submission: dict[int, list[int]] = {}
    for each in cases:
        by_submission.setdefault(each["submission"], []).append(each["row"])
    for number, rows in by_submission.items():
        for start in range(0, len(rows), _AT_ONCE):
            some = guard_case.c.row.in_(rows[start : start + _AT_ONCE])
            con.execute(guard_case.delete().where((guard_case.c.submission == number) & some))
    if cases:
        con.execute(guard_case.insert(), [dict(each) for each in cases])


def _still_held(con: sa.Connection, cases: Sequence[Any]) -> bool:
    own = guard_case.c.id.in_([each.id for each in cases]) & (guard_case.c.state == HELD)
    return con.scalar(sa.select(sa.func.count()).select_from(guard_case).where(own)) == len(cases)
