"""Joinings: which account's holdings go to which other one (1+N), and the transfers by which they went.

While a joining carries, its source holds nothing: what it held went to the target when it began, and whatever a batch
books in it goes on in the same transaction, what is taken back too. ``flows`` is what has gone in all, so that ending
it gives back exactly that. Sources join one target each, targets may join others, nobody joins in a circle.

Who holds may have given away what came from a source. When they part, the source gets what it brought, and so much of
what was given goes along with it as given, by a transfer of its own (``used``).

The rows of table joining change and go with their persons; the legs of transfers are chained rows of the book, and
entries of the log commit to them, some at a time: with the next batch or epoch, so that an entry tells of nobody.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from tanzhang.core.methodology import canonical_json
from tanzhang.engine.columns import IDENTITY_BYTES
from tanzhang.stores.book import Book, batch, entry, transfer
from tanzhang.stores.book.schema import TEXT, append, end_of, metadata
from tanzhang.stores.register.carrying import carries, edges, joining, standing
from tanzhang.stores.register.points import Points

KIND = "transfers"
"""The kind of entries of the log that commit to transfers."""
FORMAT = "tanzhang.transfers/1"
CARRIED = ("join", "follow", "part")
"""The kinds of transfers that joinings make: nothing is used by them."""
USED = "used"
"""The kind of transfers by which what was given of a source's grams goes along with it when it parts."""
_AT_ONCE = 500
_FEW = 5_000  # a batch with more accounts is compared with all sources at once

Amounts = dict[str, int]

parted_use = sa.Table(
    "parted_use",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("source", TEXT, nullable=False),  # empty if it was erased, and so the giver
    sa.Column("giver", TEXT, nullable=False),
    sa.Column("unit", TEXT, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Index("parted_use_source", "source"),
    sa.Index("parted_use_giver", "giver"),
)
"""What of somebody's gifts went along with a source that parted, above zero."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """An entry of the log that commits to the first ``rows`` legs."""

    entry: int
    rows: int
    head: str


class Joinings:
    """The joinings of a home."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._points = Points(book)

    # -- reading ----------------------------------------------------------------------------------------------

    def get(self, name: str) -> Any | None:
        """A joining by its id."""
        rows = self._book.query(sa.select(joining).where(joining.c.id == name))
        return rows[0] if rows else None

    def of_source(self, account: str) -> Any | None:
        """The joining by which an account stands joined to another."""
        rows = self._book.query(_OF_SOURCE, {"account": account})
        return rows[0] if rows else None

    def into(self, account: str) -> list[Any]:
        """All joinings whose target an account is or was, the latest first."""
        own = sa.select(joining).where(joining.c.target == account)
        return self._book.query(own.order_by(joining.c.made_at.desc(), joining.c.id))

    def carried_into(self, account: str) -> list[str]:
        """All accounts whose holdings are in an account, directly or through others; sorted."""
        found: set[str] = set()
        waiting = {account}
        while waiting:
            own = sa.select(joining.c.source).where(carries() & joining.c.target.in_(sorted(waiting)))
            waiting = {row.source for row in self._book.query(own)} - found
            found |= waiting
        return sorted(found)

    def root(self, account: str) -> str:
        """The account that an account is joined to in the end, itself if to none."""
        while (row := self.of_source(account)) is not None:
            account = row.target
        return account

    def holder(self, account: str) -> str:
        """The account where the holdings of an account are, itself if they are nowhere else."""
        while (row := self.of_source(account)) is not None and row.carries:
            account = row.target
        return account

    def uses(self) -> list[Any]:
        """What went along as given with sources that parted."""
        return self._book.query(sa.select(parted_use).order_by(parted_use.c.id))

    def carrying(self) -> list[Any]:
        """Every joining that carries."""
        return self._book.query(sa.select(joining).where(carries()))

    def end(self) -> tuple[int, str]:
        """How many legs there are, and the head of their chain."""
        with self._book.reading() as con:
            return end_of(con, transfer)

    def sealed(self) -> list[Sealed]:
        """The entries that commit to legs, in order."""
        own = sa.select(entry.c.seq, entry.c.text).where(entry.c.kind == KIND).order_by(entry.c.seq)
        return [_sealed(row) for row in self._book.query(own)]

    def sealed_before(self, index: int) -> int:
        """How many legs the entries before entry ``index`` commit to."""
        own = sa.select(entry.c.seq, entry.c.text).where((entry.c.kind == KIND) & (entry.c.seq < index))
        rows = self._book.query(own.order_by(entry.c.seq.desc()).limit(1))
        return _sealed(rows[0]).rows if rows else 0

    # -- writing, in somebody's transaction -------------------------------------------------------------------

    def begin(self, con: sa.Connection, values: Mapping[str, Any], holds: Mapping[str, int]) -> None:
        """Keep a new joining; if it carries, what its source ``holds`` goes to the target, and its points do."""
        con.execute(joining.insert(), {**values, "flows": "{}"})
        if values["carries"]:
            self._push(con, {values["source"]: dict(holds)}, "join", _batches(con), values["made_at"])
            self._points.follow(con, [uuid.UUID(values["source"])], at=values["made_at"])

    def finish(self, con: sa.Connection, row: Any, *, at: str, valid_until: str) -> None:
        """End a joining; what had gone goes back, from wherever the target's holdings are now."""
        ended = {"ended_at": at, "valid_until": valid_until, "flows": "{}"}
        con.execute(joining.update().where(joining.c.id == row.id).values(**ended))
        self._points.part(con, row, at=at)
        flows = _flows(row)
        if any(flows.values()):
            batches = _batches(con)
            self._post(con, [(row.target, row.source, flows)], "part", batches, at)
            self._push(con, {row.target: {unit: -amount for unit, amount in flows.items()}}, "part", batches, at)

    def follow(self, con: sa.Connection, postings: pa.Table, at: str) -> None:
        """Let what a batch (the last one) booked in joined accounts go on to where their holdings are.

        ``postings`` has account, unit and amount.
        """
        if con.execute(sa.select(joining.c.id).where(carries()).limit(1)).first() is None:
            return
        accounts = postings["account"].cast(pa.binary(IDENTITY_BYTES))
        if postings.num_rows > _FEW:
            sources = {row.source for row in con.execute(sa.select(joining.c.source).where(carries()))}
        else:
            named = [str(uuid.UUID(bytes=each)) for each in pc.unique(accounts).to_pylist()]
            sources = set(edges(con, named))
        wanted = pa.array([uuid.UUID(each).bytes for each in sources], pa.binary(IDENTITY_BYTES))
        own = postings.filter(pc.is_in(accounts, value_set=wanted))
        nets: dict[str, Amounts] = {}
        for row in own.to_pylist():
            nets.setdefault(str(_uuid(row["account"])), {})[row["unit"]] = row["amount"]
        if nets:
            self._push(con, nets, "follow", _batches(con), at)

    def give(self, con: sa.Connection, source: str, target: str, amounts: Mapping[str, int], kind: str, at: str) -> int:
        """A transfer that no joining makes, from an account to another one; returns its number."""
        last = con.execute(sa.select(sa.func.max(transfer.c.number))).scalar()
        self._post(con, [(source, target, amounts)], kind, _batches(con), at)
        return 0 if last is None else int(last) + 1

    def go_along(self, con: sa.Connection, source: str, taken: Mapping[tuple[str, str], int], at: str) -> None:
        """Of what others gave, so much was a source's that parted: (who gave it, unit) -> amount, above zero."""
        for (giver, unit), amount in sorted(taken.items()):
            self._post(con, [(source, giver, {unit: amount})], USED, _batches(con), at)
            self._push(con, {giver: {unit: amount}}, "follow", _batches(con), at)
            values = {"source": source, "giver": giver, "unit": unit, "amount": amount}
            con.execute(parted_use.insert().values(**values))

    def seal(self, con: sa.Connection, programme: str, end: tuple[int, str] | None = None) -> None:
        """Give the log an entry over the legs up to ``end`` (default: all), if there are new ones since the last."""
        rows, head = end or end_of(con, transfer)
        own = sa.select(entry.c.seq, entry.c.text).where(entry.c.kind == KIND)
        last = con.execute(own.order_by(entry.c.seq.desc()).limit(1)).first()
        if rows > (_sealed(last).rows if last is not None else 0):
            append(con, entry, {"kind": KIND, "text": entry_text(programme, rows, head)})

    def forget(
        self,
        con: sa.Connection,
        accounts: Sequence[str],
        at: str,
        valid_until: str,
        parted: Callable[[Any], None],
    ) -> list[int]:
        """Let accounts go that are erased; returns the legs that say no more whose they were, by number.

        What came from accounts that stay goes back to them first; ``parted`` is called with each joining that ended.
        """
        gone = set(accounts)
        rows: dict[str, Any] = {}
        for some in _parts(accounts):
            touching = joining.c.source.in_(some) | joining.c.target.in_(some)
            rows |= {row.id: row for row in con.execute(sa.select(joining).where(touching))}
        for row in rows.values():
            if row.ended_at is None and row.carries and not {row.source, row.target} <= gone:
                self.finish(con, row, at=at, valid_until=valid_until)
                parted(row)
        legs: list[int] = []
        for some in _parts(accounts):
            own = transfer.c.account.in_(some)
            legs += [row.seq for row in con.execute(sa.select(transfer.c.seq).where(own))]
            con.execute(transfer.update().where(own).values(account=""))
            for column in (parted_use.c.source, parted_use.c.giver):
                con.execute(parted_use.update().where(column.in_(some)).values({column.name: ""}))
        con.execute(parted_use.delete().where((parted_use.c.source == "") & (parted_use.c.giver == "")))
        for each in _parts(sorted(rows)):
            con.execute(joining.delete().where(joining.c.id.in_(each)))
        return sorted(legs)

    def _push(
        self, con: sa.Connection, nets: Mapping[str, Mapping[str, int]], kind: str, batches: int, at: str
    ) -> None:
        """Let amounts in joined accounts go on until they are where nothing carries them further."""
        waiting = {account: dict(amounts) for account, amounts in nets.items()}
        while waiting:
            found = edges(con, waiting)
            moves, following = [], dict[str, Amounts]()
            for account in sorted(found):
                row = found[account]
                amounts = {unit: amount for unit, amount in waiting[account].items() if amount}
                if not amounts:
                    continue
                moves.append((account, row.target, amounts))
                flows = _added(_flows(row), amounts)
                text = canonical_json({unit: str(amount) for unit, amount in flows.items() if amount})
                con.execute(joining.update().where(joining.c.id == row.id).values(flows=text))
                following[row.target] = _added(following.get(row.target, {}), amounts)
            self._post(con, moves, kind, batches, at)
            waiting = following

    def _post(
        self, con: sa.Connection, moves: Iterable[tuple[str, str, Mapping[str, int]]], kind: str, batches: int, at: str
    ) -> None:
        """Legs of transfers (from, to, amounts); amounts may be negative, and are then what is taken back."""
        last = con.execute(sa.select(sa.func.max(transfer.c.number))).scalar()
        number = 0 if last is None else int(last) + 1
        for source, target, amounts in moves:
            common = {"number": number, "kind": kind, "batches": batches, "made_at": at}
            for unit, amount in sorted(amounts.items()):
                append(con, transfer, {**common, "account": source, "unit": unit, "amount": -amount})
                append(con, transfer, {**common, "account": target, "unit": unit, "amount": amount})
            number += 1


def entry_text(programme: str, rows: int, head: str) -> str:
    """The log's entry over the first ``rows`` legs, as canonical JSON."""
    return canonical_json({"format": FORMAT, "programme": programme, "rows": str(rows), "head": head})


def _sealed(row: Any) -> Sealed:
    said = json.loads(row.text)
    return Sealed(row.seq, int(said["rows"]), said["head"])


# Asked with every look at an account, so it is not put together each time.
_OF_SOURCE = sa.select(joining).where(standing() & (joining.c.source == sa.bindparam("account")))


def _parts(names: Sequence[str]) -> list[Sequence[str]]:
    return [names[start : start + _AT_ONCE] for start in range(0, len(names), _AT_ONCE)]


def _flows(row: Any) -> Amounts:
    return {unit: int(amount) for unit, amount in json.loads(row.flows).items()}


def _added(first: Mapping[str, int], second: Mapping[str, int]) -> Amounts:
    return {unit: first.get(unit, 0) + second.get(unit, 0) for unit in first.keys() | second.keys()}


def _batches(con: sa.Connection) -> int:
    """How many batches there are."""
    last = con.execute(sa.select(sa.func.max(batch.c.seq))).scalar()
    return 0 if last is None else int(last) + 1


def _uuid(value: Any) -> uuid.UUID:
    return value if isinstance(value, uuid.UUID) else uuid.UUID(bytes=value)
