"""Open reports by platform account, claim and reference, held in memory: those that one account's amounts depend on.

Reports of a submission become a run (:mod:`tanzhang.stores.by_account`) under their platform accounts; runs of like
size are merged. What was settled of them meanwhile is left out when it is met, and with the next merge.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from tanzhang.core.record import Record
from tanzhang.engine.account_rows import Rows, Words, batch_of, halves, place_of, record_of, report_rows
from tanzhang.engine.columns import IDENTITY_BYTES, Numbers, date32_of, day_of
from tanzhang.engine.reference import Accepted
from tanzhang.stores.by_account import About, Part, Run, rows_bytes, together
from tanzhang.stores.home import Home
from tanzhang.stores.reports import ReportFile, read_reports

_KEYED = ("claim", "action_id", "withdraws")
MOST = 2_000
_TOGETHER = 1 << 20
"""Reports that are sorted at once; some 250 MB."""


@dataclass(frozen=True, slots=True)
class OpenReport:
    """An open report: its submission and place in it, its act as a record without outcome, when it came and closes."""

    place: int
    record: Record
    received: date
    closes: date


class _Keyed:
    """Reports under their platform accounts, and where each claim and each reference is among them."""

    def __init__(self, part: Part) -> None:
        self.run = Run.packed(About(0, 0, "", (), ()), part)
        self.submissions = np.unique(batch_of(part.rows["place"])).tolist()
        self._keys = {name: _sorted(part.rows[name]) for name in _KEYED}

    def withdrawn_among(self, keys: Any) -> list[int]:
        """Which of the first halves of references some report takes back."""
        known, _ = self._keys["withdraws"]
        if not len(known):
            return []
        place = np.minimum(np.searchsorted(known, keys), len(known) - 1)
        found: list[int] = np.flatnonzero(known[place] == keys).tolist()
        return found

    def of_child(self, child: bytes) -> Iterator[tuple[bytes, Any]]:
        """The reports of a platform account."""
        own = self.run.of_account(child)
        if own is not None:
            for row in own[0]:
                yield child, row

    def of_key(self, name: str, wanted: bytes) -> Iterator[tuple[bytes, Any]]:
        """Platform account and row of each report with a claim or reference."""
        keys, places = self._keys[name]
        key = np.uint64(int.from_bytes(wanted[:8], "big"))
        place = int(np.searchsorted(keys, key))
        while place < len(keys) and keys[place] == key:
            child, row = self.run.row(int(places[place]))
            if row[name].tobytes() == wanted:
                yield child, row
            place += 1


class OpenIndex:
    """The open reports of a home as of one moment; :meth:`following` makes the next one of it."""

    def __init__(self) -> None:
        self.words = Words()
        self._kept: tuple[_Keyed, ...] = ()
        self._submissions: dict[
            int, tuple[str, date, int]
        ] = {}  # file digest and how many are held, received, settled through (day number)

    def following(self, home: Home) -> OpenIndex:
        """The open reports as the book has them now."""
        made = OpenIndex()
        made.words = self.words
        rows = home.book.open_submissions()
        held = home.guard.held_rows(row.seq for row in rows)
        made._submissions = {
            row.seq: (
                f"{row.file_digest} {len(held.get(row.seq, ()))}",
                date.fromisoformat(row.received_day),
                -(2**31) if row.settled_through is None else date32_of(date.fromisoformat(row.settled_through)),
            )
            for row in rows
        }
        same = {
            number
            for number, (digest, _, _) in self._submissions.items()
            if number in made._submissions and made._submissions[number][0] == digest
        }
        kept = [each for each in self._kept if same.issuperset(each.submissions)]
        # A submission that is done, or whose file was written anew, takes the others of its run along.
        known = {number for each in kept for number in each.submissions}
        mixed = [each for each in self._kept if each not in kept and same & {*each.submissions}]
        for each in mixed:
            part = _only(each.run.part(0, len(each.run.high)), same)
            known |= same & {*each.submissions}
            if len(part.rows):
                kept.append(_Keyed(part))
        for part in _sorted_together(
            _read(home, row, held.get(row.seq, ()), made.words) for row in rows if row.seq not in known
        ):
            kept = _merged([*kept, _Keyed(part)])
        made._kept = tuple(kept)
        return made

    def near(
        self, children: Iterable[bytes], settled: Rows, with_them: Callable[[bytes, int], Iterable[bytes]]
    ) -> list[OpenReport]:
        """Reports of platform accounts, those they may stand against, those that these may stand against, and so on.

        Among them are those that take back one of some ``settled`` records.

        ``with_them`` gives the platform accounts whose acts are booked in one account with those of a platform account
        on a day (days since 1970). Beyond :data:`MOST` reports no more persons are followed.
        """
        found: dict[int, tuple[bytes, Any]] = {}
        asked: set[tuple[str, bytes]] = set()
        waiting = [("child", child) for child in children]
        waiting += [("withdraws", action) for action in self._taken_back(settled)]
        while waiting:
            name, value = waiting.pop()
            if (name, value) in asked or (name == "child" and found and len(found) >= MOST):
                continue
            asked.add((name, value))
            for place, (child, row) in self._with(name, value):
                if place not in found:
                    found[place] = child, row
                    waiting += [("child", each) for each in with_them(child, int(row["day"]))]
                    waiting += _keys_beside(row)
        return [self._report(child, row) for _, (child, row) in sorted(found.items())]

    def _taken_back(self, settled: Rows) -> Iterator[bytes]:
        """References of records that some report may take back."""
        actions = rows_bytes(settled["action_id"], IDENTITY_BYTES)
        keys, _ = halves(actions)
        for each in self._kept:
            for number in each.withdrawn_among(keys):
                yield actions[number].tobytes()

    def of_action(self, action: bytes) -> list[OpenReport]:
        """The open reports of a reference."""
        return [self._report(child, row) for _, (child, row) in sorted(self._with("action_id", action))]

    def taking_back(self, action: bytes) -> list[OpenReport]:
        """The open reports that take a report back."""
        return [self._report(child, row) for _, (child, row) in sorted(self._with("withdraws", action))]

    def _with(self, name: str, value: bytes) -> Iterator[tuple[int, tuple[bytes, Any]]]:
        for each in self._kept:
            found = each.of_child(value) if name == "child" else each.of_key(name, value)
            for child, row in found:
                if self._is_open(row):
                    yield int(row["place"]), (child, row)

    def _is_open(self, row: Any) -> bool:
        known = self._submissions.get(int(batch_of(row["place"])))
        return known is not None and int(row["close_day"]) > known[2]

    def _report(self, child: bytes, row: Any) -> OpenReport:
        values = row.tolist()
        record = record_of(values[:-1], uuid.UUID(bytes=child), self.words.known)
        received = self._submissions[int(batch_of(row["place"]))][1]
        return OpenReport(values[0], record, received, day_of(values[-1]))


def accepted(reports: Iterable[OpenReport]) -> list[Accepted]:
    """Open reports as settlement takes them."""
    return [Accepted(each.record, each.received) for each in reports]


def _sorted_together(parts: Iterable[Part | None]) -> Iterator[Part]:
    """Parts of many submissions as few."""
    waiting: list[Part] = []
    for part in parts:
        if part is not None:
            waiting.append(part)
            if sum(len(each.rows) for each in waiting) > _TOGETHER:
                yield together(waiting)
                waiting = []
    if waiting:
        yield together(waiting)


def _keys_beside(row: Any) -> Iterator[tuple[str, bytes]]:
    """By what other reports may stand against one: its claim, its reference, what it takes back, what does so to it."""
    for name, column in (("claim", "claim"), ("action_id", "action_id"), ("action_id", "withdraws")):
        value = row[column].tobytes()
        if any(value):
            yield name, value
    yield "withdraws", row["action_id"].tobytes()


def _merged(kept: list[_Keyed]) -> list[_Keyed]:
    while len(kept) > 1 and kept[-2].run.rows < 2 * kept[-1].run.rows:
        last, before = kept.pop(), kept.pop()
        kept.append(_Keyed(together([each.run.part(0, len(each.run.high)) for each in (before, last)])))
    return kept


def _only(part: Part, submissions: set[int]) -> Part:
    """A part with the reports of some submissions alone."""
    kept = np.isin(batch_of(part.rows["place"]), sorted(submissions))
    account = np.repeat(np.arange(len(part.entries)), part.entries["rows"])[kept]
    entries = part.entries.copy()
    entries["rows"] = np.bincount(account, minlength=len(entries))
    return Part(entries[entries["rows"] > 0], part.rows[kept])


def _read(home: Home, row: Any, held: tuple[int, ...], words: Words) -> Part | None:
    """The open reports of a submission."""
    through = None if row.settled_through is None else date.fromisoformat(row.settled_through)
    received = date.fromisoformat(row.received_day)
    table, _ = read_reports([ReportFile(home.storage / row.file, row.seq, received, through, None, held)])
    if not table.num_rows:
        return None
    return Part.of_rows(*report_rows(table, place_of(row.seq, 0), words))


def _sorted(identities: Rows) -> tuple[Any, Numbers]:
    """The first halves of identities that are there, sorted, and the row of each."""
    high, low = halves(rows_bytes(identities, IDENTITY_BYTES))
    there = np.flatnonzero((high != 0) | (low != 0))
    order = there[np.argsort(high[there], kind="stable")]
    return high[order], order
