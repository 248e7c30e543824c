"""Lots (批次): what each is, what became of it, and whose milligrams are in it.

A row of table lot says what it is now; each change is a chained row of ``lot_event`` in the same transaction. Shares
are pages as postings are (stores/postings.py): the account of a record -> mg in the lot, of kind ``frozen``; what was
taken back of a lot's members and replaced by cancelled units is of kind ``compensated``. Of kind ``erased`` is what an
account was posted when its person was erased: it was given, or no record tells of it any more, so nobody gives it in a
new life. Of a lot it is what that lot held, which counts once the lot holds it no more; of no lot (0) the rest. Pages
are only added. They name accounts as postings do, by their pseudonym, and stay when a person is erased.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from tanzhang.core.access import Actor
from tanzhang.core.errors import refuse
from tanzhang.core.lot import HOLDING, KIND, MOST_LOTS, LotState, check_transition, lot_text
from tanzhang.core.methodology import canonical_json
from tanzhang.engine.columns import IDENTITY_BYTES
from tanzhang.stores.book import Book, append, entry, lot_event
from tanzhang.stores.book.schema import NUMBER, ONLY_ADDED, TEXT, metadata
from tanzhang.stores.postings import amount_in, pages, postings_of
from tanzhang.stores.register.audit import Audit

FROZEN, COMPENSATED, ERASED = "frozen", "compensated", "erased"
"""Kinds of shares."""
NO_LOT = 0

lot = sa.Table(
    "lot",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),  # from 1
    sa.Column("reference", TEXT, nullable=False, unique=True),  # the operator's key of the draft
    sa.Column("state", TEXT, nullable=False),
    sa.Column("vintage", sa.Integer, nullable=False),
    sa.Column("region", TEXT, nullable=False),
    sa.Column("behaviours", TEXT),  # JSON; empty where all are taken
    sa.Column("wanted", sa.BigInteger),  # units; empty where all that fit are
    sa.Column("early", TEXT),  # why it is frozen before its vintage is over
    sa.Column("drafted_at", TEXT, nullable=False),
    # From here on what freezing decides; empty before.
    sa.Column("frozen_at", TEXT),
    sa.Column("market", TEXT),  # the market rules, id@version
    sa.Column("terms", TEXT),  # digest
    sa.Column("methodologies", TEXT),  # JSON: id@version -> digests of plans
    sa.Column("unit_mass_mg", sa.BigInteger),
    sa.Column("units", sa.BigInteger),
    sa.Column("total_mg", sa.BigInteger),
    sa.Column("members", sa.BigInteger),
    sa.Column("accounts", sa.BigInteger),
    sa.Column("leaves", sa.BigInteger),
    sa.Column("root", TEXT),
    sa.Column("batches", sa.Integer),  # how many were settled
    sa.Column("first_batch", sa.Integer),
    sa.Column("last_batch", sa.Integer),
    sa.Column("entry", sa.Integer),  # index in the log
    sa.Column("file", TEXT),
    sa.Column("file_digest", TEXT),
    sa.Column("subtrees", TEXT),
    sa.Column("subtrees_digest", TEXT),
)
lot_share = sa.Table(
    "lot_share",
    metadata,
    sa.Column("id", NUMBER, primary_key=True),
    sa.Column("lot", sa.Integer, nullable=False),
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),  # 0 of what was frozen; 0, 1, 2 ... of what was compensated
    sa.Column("first", sa.LargeBinary, nullable=False),
    sa.Column("last", sa.LargeBinary, nullable=False),
    sa.Column("accounts", sa.Integer, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("lot", "kind", "number", "first"),
    info={ONLY_ADDED: True},
)
Shares = dict[int, int]
"""Lot -> mg."""


class Lots:
    """The lots of a home."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._audit = Audit(book)

    # -- reading ----------------------------------------------------------------------------------------------

    def one(self, number: int) -> Any:
        """A lot by its number; ``unknown-lot``."""
        rows = self._book.query(sa.select(lot).where(lot.c.number == number))
        if not rows:
            raise refuse(
                "unknown-lot", f"there is no lot {lot_text(number)}", where="lot", remedy="see the list of lots"
            )
        return rows[0]

    def of_reference(self, reference: str) -> Any | None:
        """The lot that was drafted under a reference."""
        rows = self._book.query(sa.select(lot).where(lot.c.reference == reference))
        return rows[0] if rows else None

    def all(
        self, *, before: int | None = None, limit: int | None = None, states: Iterable[str] = (), frozen: bool = False
    ) -> list[Any]:
        """Lots, the latest first, those with a smaller number than ``before``; only those in some states, if given.

        With ``frozen`` those alone that were frozen, whatever they are now.
        """
        own = sa.select(lot).order_by(lot.c.number.desc()).limit(limit)
        if before is not None:
            own = own.where(lot.c.number < before)
        if frozen:
            own = own.where(lot.c.entry.is_not(None))
        if names := sorted(states):
            own = own.where(lot.c.state.in_(names))
        return self._book.query(own)

    def holding(self) -> list[Any]:
        """The lots whose milligrams are taken, by number."""
        return self.all(states=HOLDING)[::-1]

    def events(self, number: int) -> list[Any]:
        """What became of a lot, in order; ``detail`` is JSON."""
        return self._book.query(sa.select(lot_event).where(lot_event.c.lot == number).order_by(lot_event.c.seq))

    def share_of(self, accounts: Iterable[uuid.UUID]) -> Shares:
        """Lot -> mg of records of these accounts that it holds, less what was compensated; of lots that hold any."""
        found: Shares = {}
        with self._book.reading() as con:
            for account in accounts:
                for kind, sign in ((FROZEN, 1), (COMPENSATED, -1)):
                    for page in con.execute(_PAGE_OF[kind], {"account": account.bytes}):
                        amount = sign * amount_in(page, account.bytes)
                        if amount:
                            found[page.lot] = found.get(page.lot, 0) + amount
        return {number: amount for number, amount in sorted(found.items()) if amount}

    def erased_of(self, accounts: Iterable[uuid.UUID]) -> int:
        """What of the postings of these accounts is of lives that were erased, beside what lots hold now, in mg."""
        found = 0
        with self._book.reading() as con:
            for account in accounts:
                pages_of = con.execute(_ERASED_PAGES, {"account": account.bytes})
                found += sum(amount_in(page, account.bytes) for page in pages_of)
        return found

    def erased_in(self, account: uuid.UUID) -> Shares:
        """Lot that holds its milligrams -> mg of records of an account that it holds of lives that were erased."""
        found: Shares = {}
        with self._book.reading() as con:
            for page in con.execute(_ERASED_IN_LOTS, {"account": account.bytes}):
                found[page.lot] = found.get(page.lot, 0) + amount_in(page, account.bytes)
        return found

    def lots_of(self, accounts: Iterable[uuid.UUID]) -> list[int]:
        """The lots that hold their milligrams and have any record of these accounts, by number."""
        with self._book.reading() as con:
            pages = [
                (page, account)
                for account in accounts
                for page in con.execute(_PAGE_OF[FROZEN], {"account": account.bytes})
            ]
        return sorted({page.lot for page, account in pages if amount_in(page, account.bytes)})

    def frozen_of(self, accounts: Iterable[uuid.UUID]) -> Shares:
        """Lot -> mg of records of these accounts that were frozen into it, whatever was compensated since.

        By these the money of its sales is divided.
        """
        found: Shares = {}
        with self._book.reading() as con:
            for account in accounts:
                for page in con.execute(_PAGE_OF[FROZEN], {"account": account.bytes}):
                    found[page.lot] = found.get(page.lot, 0) + amount_in(page, account.bytes)
        return {number: amount for number, amount in sorted(found.items()) if amount}

    def shares(self, number: int, kind: str = FROZEN) -> pa.Table:
        """All shares of a lot, sorted by account within each addition: account, unit (the kind), amount."""
        own = sa.select(lot_share, lot_share.c.kind.label("unit"))
        own = own.where((lot_share.c.lot == number) & (lot_share.c.kind == kind))
        return postings_of(self._book.query(own.order_by(lot_share.c.number, lot_share.c.first)))

    def has_of(self, accounts: Iterable[uuid.UUID]) -> bool:
        """Whether any lot that holds its milligrams has some of these accounts."""
        return any(self.share_of([each]) for each in accounts)

    def sealed(self) -> list[tuple[int, str]]:
        """Index in the log and text of every entry about a lot, in order."""
        own = sa.select(entry.c.seq, entry.c.text).where(entry.c.kind == KIND).order_by(entry.c.seq)
        return [(row.seq, row.text) for row in self._book.query(own)]

    # -- writing, in somebody's transaction -------------------------------------------------------------------

    def draft(self, con: sa.Connection, values: Mapping[str, Any], *, actor: Actor, at: str) -> int:
        """Keep a new draft: reference, vintage, region, behaviours, wanted, early; returns its number."""
        last = con.execute(sa.select(sa.func.max(lot.c.number))).scalar()
        number = int(last or 0) + 1
        if number > MOST_LOTS:
            raise refuse("lot-state", "there are no numbers left", where="lot", remedy="set up a home of another log")
        con.execute(lot.insert(), {**values, "number": number, "state": LotState.DRAFT.value, "drafted_at": at})
        self._write(con, number, LotState.DRAFT, values, actor, at)
        return number

    def freeze(
        self, con: sa.Connection, number: int, values: Mapping[str, Any], text: str, shares: pa.Table,
        *, actor: Actor, at: str,
    ) -> int:  # fmt: skip
        """Fix a draft: what freezing decided (``values``), the log's entry, whose it is; returns the entry's index.

        ``shares`` has account (UUID) and amount, sorted by account, each once. ``lot-state``.
        """
        index = append(con, entry, {"kind": KIND, "text": text})
        detail = {name: values[name] for name in ("units", "total_mg", "members", "root")} | {"entry": index}
        self.advance(con, number, LotState.FROZEN, detail=detail, actor=actor, at=at)
        con.execute(lot.update().where(lot.c.number == number).values(**values, entry=index, frozen_at=at))
        self.add_shares(con, number, FROZEN, shares)
        return index

    def add_shares(self, con: sa.Connection, number: int, kind: str, shares: pa.Table) -> None:
        """Add shares of a kind (account, amount above zero), sorted by account, each account once."""
        same = (lot_share.c.lot == number) & (lot_share.c.kind == kind)
        last = con.execute(sa.select(sa.func.max(lot_share.c.number)).where(same)).scalar()
        addition = 0 if last is None else int(last) + 1
        rows = [{**page, "lot": number, "kind": kind, "number": addition} for page in pages(shares, kind)]
        for row in rows:
            del row["unit"]
        if rows:
            con.execute(lot_share.insert(), rows)

    def forget(self, con: sa.Connection, left: Mapping[int, Mapping[uuid.UUID, int]]) -> None:
        """Let what erased accounts are posted be nobody's to give: lot, or none (0), -> account -> mg, above zero."""
        for number, of in sorted(left.items()):
            ordered = sorted(of)
            accounts = pa.array([each.bytes for each in ordered], pa.binary(IDENTITY_BYTES))
            amounts = pa.array([of[each] for each in ordered], pa.int64())
            self.add_shares(con, number, ERASED, pa.table({"account": accounts, "amount": amounts}))

    def advance(
        self, con: sa.Connection, number: int, to: LotState, *, detail: Mapping[str, Any], actor: Actor, at: str
    ) -> None:
        """Let a lot come to another state, and write down who did it; ``unknown-lot``, ``lot-state``."""
        row = con.execute(sa.select(lot.c.state).where(lot.c.number == number)).first()
        if row is None:
            raise refuse(
                "unknown-lot", f"there is no lot {lot_text(number)}", where="lot", remedy="see the list of lots"
            )
        check_transition(number, LotState(row.state), to)
        con.execute(lot.update().where(lot.c.number == number).values(state=to.value))
        self._write(con, number, to, detail, actor, at)

    def _write(
        self, con: sa.Connection, number: int, kind: LotState, detail: Mapping[str, Any], actor: Actor, at: str
    ) -> None:
        said = {"lot": number, "kind": kind.value, "detail": canonical_json(_texts(detail)), "made_at": at}
        append(con, lot_event, said)
        self._audit.write(con, actor, f"lot {kind}", f"lot {lot_text(number)}", at=at, detail=_texts(detail))


def _texts(detail: Mapping[str, Any]) -> dict[str, Any]:
    """Whole numbers as texts, as everywhere in JSON."""
    return {name: str(value) if type(value) is int else value for name, value in detail.items()}


def behaviours_of(row: Any) -> tuple[str, ...] | None:
    """The behaviours that a lot takes; None where all are."""
    return None if row.behaviours is None else tuple(json.loads(row.behaviours))


def _frozen_page() -> sa.Select[Any]:
    """The page of each lot that holds its milligrams which account ``account`` is in, if any."""
    page, others = lot_share.alias(), lot_share.alias()
    own = (others.c.lot == lot.c.number) & (others.c.kind == FROZEN) & (others.c.first <= sa.bindparam("account"))
    last = sa.select(others.c.first).where(own).order_by(others.c.first.desc()).limit(1)
    first = last.correlate(lot).scalar_subquery()
    same = (page.c.lot == lot.c.number) & (page.c.kind == FROZEN) & (page.c.first == first)
    return sa.select(page).select_from(page.join(lot, same)).where(page.c.last >= sa.bindparam("account"), _HOLDS)


def _compensated_pages() -> sa.Select[Any]:
    """The pages of all additions to lots that hold their milligrams which ``account`` may be in; they are few."""
    page = lot_share
    within = (page.c.first <= sa.bindparam("account")) & (page.c.last >= sa.bindparam("account"))
    joined = page.join(lot, lot.c.number == page.c.lot)
    return sa.select(page).select_from(joined).where(page.c.kind == COMPENSATED, within, _HOLDS)


_HOLDS = lot.c.state.in_(sorted(HOLDING))
_OF_ERASED = (
    sa.select(lot_share)
    .select_from(lot_share.outerjoin(lot, lot.c.number == lot_share.c.lot))
    .where(
        lot_share.c.kind == ERASED,
        lot_share.c.first <= sa.bindparam("account"),
        lot_share.c.last >= sa.bindparam("account"),
    )
)
_ERASED_IN_LOTS = _OF_ERASED.where(_HOLDS)
_ERASED_PAGES = _OF_ERASED.where((lot_share.c.lot == NO_LOT) | ~_HOLDS)
# Asked with every look at what somebody can give, so they are not put together each time.
_PAGE_OF: Mapping[str, sa.Select[Any]] = {FROZEN: _frozen_page(), COMPENSATED: _compensated_pages()}
