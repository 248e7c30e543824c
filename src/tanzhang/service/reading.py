"""Reading for one person at a time, many times a second: balances, statements, records, where a receipt's record is.

A process that answers people holds one :class:`Reader`, and any number of its threads ask it. What it knows of the home
is a :class:`~tanzhang.service.view.View`, replaced by the next one as soon as the book has moved on; so an answer never
mixes what was before a settlement with what came after it, and new batches show without a restart.
"""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

import numpy as np

from tanzhang.core.badge import Done
from tanzhang.core.donation import DONATED
from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.passing import PASSED, RECEIVED
from tanzhang.core.record import ERASED, UNIT_OF_KIND, Record, to_json
from tanzhang.engine.account_rows import BEHAVIOUR, KIND, OUTCOME, batch_of
from tanzhang.engine.columns import IDENTITY_BYTES, date32_of, day_of
from tanzhang.service.by_account import is_kept, keep
from tanzhang.service.cursors import cursor_of, malformed, place_after
from tanzhang.service.open_near import OpenReport
from tanzhang.service.view import AccountRecords, Found, Passed, View, version_of
from tanzhang.stores.home import Home

RECENT = 20
MOST = 500
LOOKS_AGAIN_S = 1.0
"""After so long a process looks again whether another one has sorted what it has not."""
WORKER_SEEN = timedelta(minutes=3)
"""A worker that did anything within this time is there; one that is idle publishes every minute."""
_TRIES = 3
_REDUCES = "reduction"
_USED = {DONATED: "donated", PASSED: "passed_on", RECEIVED: "received"}
"""Units of transfers that no joining makes, and what a statement calls them."""
Answer = TypeVar("Answer")


class Reader:
    """Answers about single accounts and actions of a home."""

    def __init__(
        self, home: Home, *, sorts: bool = False, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """With ``sorts`` what settlement adds is sorted by account in the background, by one process at a time.

        A worker does that too (:mod:`tanzhang.service.work`); while there is one it is left to it. ``now`` is the clock
        by which it is seen.
        """
        self.home, self._clock = home, now
        self._view = View(home)
        self._sorts = sorts
        self._renewing, self._sorting = threading.Lock(), threading.Lock()
        self._sorted_anew = self._whole = False
        self._sort_again = 0.0

    def balance(self, account: uuid.UUID) -> dict[str, int]:
        """Unit -> what is booked in an account, of the units it has any of."""
        return self._asked(lambda view: _balance(view, account))

    def statement(self, account: uuid.UUID, *, recent: int | None = RECENT) -> dict[str, Any]:
        """As :func:`tanzhang.service.accounts.statement`."""
        return self._asked(lambda view: _statement(view, account, recent))

    def records(
        self,
        *accounts: uuid.UUID,
        kind: str | None = None,
        since: date | None = None,
        until: date | None = None,
        cursor: str | None = None,
        limit: int = RECENT,
    ) -> dict[str, Any]:
        """The settled records of accounts with local days ``[since, until)``, the latest first, a page at a time.

        ``kind`` is reduction or emission, None for both. ``next`` is the cursor of the page that follows, None after
        the last one. What is settled between two pages and ended later is not on the second one. Raises
        ``cursor-malformed``, ``limit-unknown``.
        """
        if not 1 <= limit <= MOST:
            raise refuse("limit-unknown", f"{limit} is no page", where="limit", remedy=f"ask for 1 to {MOST} records")
        wanted = _Wanted(kind, _number(since, -(2**31)), _number(until, 2**31 - 1), _after(cursor), limit)
        return self._asked(lambda view: _page([view.records(each) for each in accounts], wanted))

    def done(self, *accounts: uuid.UUID) -> list[Done]:
        """Reductions of accounts that were credited and not taken back, by local day and behaviour."""
        return self._asked(lambda view: _done([view.records(each) for each in accounts]))

    def confirmed_mg(self, accounts: Sequence[uuid.UUID], since: date, until: date) -> list[int]:
        """Of each account what its reductions of local days ``since`` to ``until`` come to, as boards count them.

        All are of one moment.
        """
        first, last = date32_of(since), date32_of(until)
        return self._asked(lambda view: [_net_mg(view.records(each), first, last) for each in accounts])

    def settled(self, action: uuid.UUID) -> Settled | None:
        """The record of an action and where it is; None while it is not settled. ``record-erased``."""
        return self._asked(lambda view: _settled(view, action))

    def reports(self, actions: Sequence[uuid.UUID]) -> tuple[list[OpenReport], list[Record]]:
        """The open reports and the settled records of references, and of what takes these back; of one moment.

        Of an erased record there is its reference and what it takes back.
        """
        return self._asked(lambda view: (_open_of(view, actions), view.about(actions)))

    def record(self, action: uuid.UUID) -> dict[str, Any]:
        """What became of an action: ``settled`` with its record and batch, or ``open`` with its provisional record.

        Of several rows with one reference it is the one that was decided by itself. Raises ``record-erased``,
        ``unknown-action``.
        """
        return self._asked(lambda view: _state(view, action))

    def place(self, action: uuid.UUID) -> tuple[Any, int]:
        """The batch row of an action's record and its number there: what a receipt is made of.

        Raises ``record-erased``, ``not-settled`` (with the day its window closes) and ``unknown-action``.
        """
        return self._asked(lambda view: _settled_place(view, action))

    def provisional(self, account: uuid.UUID) -> list[Record]:
        """What settling the open reports of an account's platforms now would book in it."""
        return self._asked(lambda view: _open_records(view, account, view.records(account)))

    def account_records(self, account: uuid.UUID) -> AccountRecords:
        """The settled records of an account as rows, with their places."""
        return self._asked(lambda view: view.records(account))

    def sort(self) -> None:
        """Sort what settlement added by account and keep it, unless another process is at it."""
        with self._sorting:
            keep(self.home, wait=False)
            self._sort_again = time.monotonic() + LOOKS_AGAIN_S
            self._sorted_anew = is_kept(self.home)

    def _sort_unless_worked(self) -> None:
        """Sort what settlement added, or, while a worker is there to do it, see whether it has."""
        if not self.home.chores.worker_seen_since(self._clock() - WORKER_SEEN):
            self.sort()
            return
        with self._sorting:
            self._sort_again = time.monotonic() + LOOKS_AGAIN_S
            self._sorted_anew = is_kept(self.home)

    def _asked(self, ask: Callable[[View], Answer]) -> Answer:
        """The answer of a view that is of now. Files that were replaced while it was asked make it ask again."""
        for _ in range(_TRIES - 1):
            try:
                return ask(self._now())
            except (FileNotFoundError, Passed):
                pass
            except TanzhangError as error:
                if error.code != "record-file-changed":
                    raise
            self._view, self._whole = View(self.home), True
        return ask(self._now())

    def _now(self) -> View:
        view = self._view
        if view.version and not self._sorted_anew and view.version == version_of(self.home):
            return view
        with self._renewing:
            if self._view is view or self._sorted_anew:
                self._sorted_anew = False
                self._view = self._view.following(whole=self._whole)
            view = self._view
        wanted = self._sorts and not view.is_sorted and self._sort_again < time.monotonic()
        if wanted and not self._sorting.locked():
            threading.Thread(target=self._sort_unless_worked, name="sort by account", daemon=True).start()
        return view


def _balance(view: View, account: uuid.UUID) -> dict[str, int]:
    booked, transferred = view.booked(account), view.transferred(account)
    units = [*booked, *(unit for unit in transferred if unit not in booked)]
    return {unit: held for unit in units if (held := booked.get(unit, 0) + transferred.get(unit, 0))}


def _statement(view: View, account: uuid.UUID, recent: int | None) -> dict[str, Any]:
    own = view.records(account)
    children = view.children(account)
    open_records = _open_records(view, account, own)
    transferred = view.transferred(account)
    _check_known(own, bool(children or open_records or transferred))
    outcomes: Counter[str] = Counter()
    kinds: dict[tuple[str, str], list[int]] = {}
    for kind, behaviour, outcome, count, amount in _summed(own):
        outcomes[outcome] += count
        total = kinds.setdefault((kind, behaviour), [0, 0])
        total[0] += count
        total[1] += amount
    by_behaviour = sorted(
        ((kind, behaviour, count, amount) for (kind, behaviour), (count, amount) in kinds.items()),
        key=lambda each: (each[0] == "emission", -each[3], each[1]),
    )
    provisional = {"reduction": 0, "emission": 0}
    for record in open_records:
        provisional[record.kind] += record.granted_mg - record.reversed_mg
    recorded = {"reduction": 0, "emission": 0}
    for kind, _, _, amount in by_behaviour:
        recorded[kind] += amount
    erased = {
        f"{name}_mg": str(amount)
        for kind, name in (("reduction", "reduction"), ("emission", "footprint"))
        if (amount := own.booked[UNIT_OF_KIND[kind]] - recorded[kind])
    }
    open_records.sort(key=lambda each: (-each.ended, each.action_id))
    return {
        "account": str(account),
        "programme": view.home.programme.id,
        "confirmed": {
            "reduction_mg": str(own.booked["co2e_mg"] + transferred.get("co2e_mg", 0)),
            "footprint_mg": str(own.booked["footprint_mg"] + transferred.get("footprint_mg", 0)),
        },
        "provisional": {
            "reduction_mg": str(provisional["reduction"]),
            "footprint_mg": str(provisional["emission"]),
        },
        **({"transferred": _said_of(transferred)} if transferred.keys() - _USED.keys() else {}),
        **{
            name: {"reduction_mg": str(abs(amount))}
            for unit, name in _USED.items()
            if (amount := transferred.get(unit, 0))
        },
        **({"erased": erased} if erased else {}),
        "by_behaviour": [
            {"kind": kind, "behaviour": behaviour, "records": count, "mg": str(amount)}
            for kind, behaviour, count, amount in by_behaviour
        ],
        "outcomes": dict(sorted(outcomes.items())),
        "children": children,
        "latest": own.json(own.newest_first()[:recent]),
        "open": [to_json(record) for record in open_records[:recent]],
    }


def _open_records(view: View, account: uuid.UUID, own: AccountRecords) -> list[Record]:
    platforms = {account, *(uuid.UUID(each["child"]) for each in view.children(account))}
    return [each for each in view.provisional(sorted(platforms), own.rows) if each.account == account]


def _said_of(transferred: Mapping[str, int]) -> dict[str, str]:
    """What came from other accounts of the person, less what went to them."""
    return {
        "reduction_mg": str(transferred.get("co2e_mg", 0)),
        "footprint_mg": str(transferred.get("footprint_mg", 0)),
    }


def _check_known(own: AccountRecords, known: bool) -> None:
    """Refuse an account of which nothing is known, or nothing but what is booked."""
    if len(own.rows) or known:
        return
    if any(own.booked.values()):
        raise refuse(
            "account-erased",
            f"the records of {own.account} were erased; what it comes to is booked and tells nothing of its acts",
            where="account",
            remedy="nothing more can be said of it",
        )
    raise refuse(
        "unknown-account",
        f"{own.account} has no records, no open reports and no linked platform accounts",
        where="account",
        remedy="see 'tanzhang account list'; PARTNER:SUBJECT names a platform account too",
    )


def _summed(own: AccountRecords) -> list[tuple[str, str, str, int, int]]:
    """Kind, behaviour, outcome, how many records and what they add up to, of texts that records share."""
    numbers, place = np.unique(own.rows["texts"], return_inverse=True)
    counts = np.bincount(place, minlength=len(numbers)).tolist()
    amounts = np.zeros(len(numbers), dtype=np.int64)
    np.add.at(amounts, place, own.rows["granted_mg"] - own.rows["reversed_mg"])
    known = own.words.known
    said = [known[number] for number in numbers.tolist()]
    return [
        (texts[KIND] or "", texts[BEHAVIOUR] or "", texts[OUTCOME] or "", count, amount)
        for texts, count, amount in zip(said, counts, amounts.tolist(), strict=True)
    ]


def _reductions(own: AccountRecords) -> Any:
    """The rows of an account that are of kind reduction."""
    numbers = [number for number in np.unique(own.rows["texts"]).tolist() if own.words.known[number][KIND] == _REDUCES]
    return own.rows[np.isin(own.rows["texts"], numbers)]


def _net_mg(own: AccountRecords, first: int, last: int) -> int:
    rows = _reductions(own)
    rows = rows[(rows["day"] >= first) & (rows["day"] <= last)]
    return int(rows["granted_mg"].sum()) - int(rows["reversed_mg"].sum())


def _done(accounts: Sequence[AccountRecords]) -> list[Done]:
    totals: dict[tuple[int, str], list[int]] = {}
    for own in accounts:
        rows = _reductions(own)
        taken = _comparable(rows["withdraws"][rows["reversed_mg"] > 0])
        kept = rows[(rows["granted_mg"] > 0) & ~np.isin(_comparable(rows["action_id"]), taken)]
        for day, number, mg in kept[["day", "texts", "granted_mg"]].tolist():
            total = totals.setdefault((day, own.words.known[number][BEHAVIOUR] or ""), [0, 0])
            total[0] += 1
            total[1] += mg
    return [Done(day_of(day), behaviour, *total) for (day, behaviour), total in sorted(totals.items())]


def _open_of(view: View, actions: Sequence[uuid.UUID]) -> list[OpenReport]:
    found: dict[int, OpenReport] = {}
    for action in actions:
        for each in (*view.open.of_action(action.bytes), *view.open.taking_back(action.bytes)):
            found[each.place] = each
    return [each for _, each in sorted(found.items())]


def _comparable(identities: Any) -> Any:
    """Identities as numpy compares them."""
    return np.ascontiguousarray(identities).view(f"S{IDENTITY_BYTES}")


@dataclass(frozen=True, slots=True)
class Settled:
    """A record, its batch and its number there."""

    batch: int
    number: int
    record: Record


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which records a page has: days are numbers since 1970, ``after`` is the key of the last one before it."""

    kind: str | None
    first: int
    stop: int
    after: tuple[int, bytes, int] | None
    limit: int


def _page(accounts: Sequence[AccountRecords], wanted: _Wanted) -> dict[str, Any]:
    found: list[tuple[tuple[int, bytes, int], AccountRecords, int]] = []
    for own in accounts:
        keyed = ((_key(own.rows[number]), own, number) for number in _chosen(own, wanted))
        after = (each for each in keyed if wanted.after is None or each[0] > wanted.after)
        found += itertools.islice(after, wanted.limit + 1)
    found.sort(key=lambda each: each[0])
    shown = found[: wanted.limit]
    items = [
        {"batch": str(int(batch_of(own.rows["place"][number]))), **own.json([number])[0]} for _, own, number in shown
    ]
    if len(found) <= wanted.limit:
        return {"items": items, "next": None}
    ended, action, place = shown[-1][0]
    return {"items": items, "next": cursor_of(ended, action.hex(), place)}


def _chosen(own: AccountRecords, wanted: _Wanted) -> list[int]:
    """Which rows of an account a list has, in its order."""
    order = own.newest_first()
    day = own.rows["day"][order]
    order = order[(day >= wanted.first) & (day < wanted.stop)]
    if wanted.kind is not None:
        texts = own.rows["texts"][order]
        numbers = [number for number in np.unique(texts).tolist() if own.words.known[number][KIND] == wanted.kind]
        order = order[np.isin(texts, numbers)]
    chosen: list[int] = order.tolist()
    return chosen


def _number(day: date | None, otherwise: int) -> int:
    return otherwise if day is None else date32_of(day)


def _key(row: Any) -> tuple[int, bytes, int]:
    """What records are ordered by."""
    return -int(row["ended"]), row["action_id"].tobytes(), int(row["place"])


def _after(cursor: str | None) -> tuple[int, bytes, int] | None:
    if cursor is None:
        return None
    ended, action, place = place_after(cursor, int, str, int)
    try:
        return ended, bytes.fromhex(action), place
    except ValueError:
        raise malformed() from None


def _settled(view: View, action: uuid.UUID) -> Settled | None:
    found = view.find(action)
    if found is None:
        return None
    _check_not_erased(action, found)
    return Settled(found.batch, found.number, view.record(found))


def _state(view: View, action: uuid.UUID) -> dict[str, Any]:
    found = view.find(action)
    if found is not None:
        _check_not_erased(action, found)
        batch = view.batches[found.batch]
        settled = {"batch": str(found.batch), "place": str(found.number), "settled_at": batch.sealed_at}
        return {"status": "settled", **settled, "record": to_json(view.record(found))}
    waiting = view.open.of_action(action.bytes)
    if not waiting:
        raise _unknown(action)
    closes = min(each.closes for each in waiting)
    records = [each for each in view.provisional([each.record.child for each in waiting]) if each.action_id == action]
    decided = [each for each in records if each.outcome not in ("repeat", "conflict")] or records
    return {"status": "open", "closes_on": closes.isoformat(), "record": to_json(_first(decided))}


def _first(records: list[Record]) -> Record:
    return min(records, key=lambda each: (each.ended, each.action_id))


def _settled_place(view: View, action: uuid.UUID) -> tuple[Any, int]:
    found = view.find(action)
    if found is not None:
        _check_not_erased(action, found)
        return view.batches[found.batch], found.number
    waiting = view.open.of_action(action.bytes)
    if waiting:
        closes = min(each.closes for each in waiting)
        raise refuse(
            "not-settled",
            f"action {action} is accepted, but not settled yet",
            where="action",
            remedy=f"its window closes on {closes}; settle through that day, then ask again",
        )
    raise _unknown(action)


def _check_not_erased(action: uuid.UUID, found: Found) -> None:
    if found.outcome == ERASED:
        raise refuse(
            "record-erased",
            f"the record of action {action} was erased with its person",
            where="action",
            remedy="nothing of it is left to prove; a receipt that was made before still verifies",
        )


def _unknown(action: uuid.UUID) -> TanzhangError:
    return refuse(
        "unknown-action",
        f"no record of action {action}",
        where="action",
        remedy="give the action's id, or PARTNER:REFERENCE as it was reported",
    )
