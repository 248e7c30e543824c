"""What of sales is whose (返还): shares in pages by account, what was paid out of them, what waits for nobody.

A **run** divides the money of one sale. Its shares are pages as postings are (stores/postings.py), of kind ``share``:
the account of a record -> fen. What an account is owed is the sum of its shares less the **parts** of pay-outs that
were taken of it. A pay-out is one person's; its parts say of which of the person's accounts it is, so that accounts can
part again. States: ``asked``, ``in_file``, then ``paid`` or ``failed``; one that was asked for and is in no file is
``erased`` with its person. What failed or was erased has no parts any more: it is owed again.

When a person is erased the shares of the account are taken out by a page of kind ``erased``, its parts become nobody's,
and what it was owed goes to **escrow** with all else that nobody can be paid. So a new life of the account starts at
nothing. Pages are only added; they name accounts as postings do, by their pseudonym, and stay.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from tanzhang.core.payback import KIND
from tanzhang.stores.book import Book, append, entry, payback_run
from tanzhang.stores.book.schema import NUMBER, ONLY_ADDED, TEXT, metadata
from tanzhang.stores.postings import amount_in, pages

SHARE, GONE = "share", "erased"
"""Kinds of pages."""
ASKED, IN_FILE, PAID, FAILED, ERASED = "asked", "in_file", "paid", "failed", "erased"
STATES = (ASKED, IN_FILE, PAID, FAILED, ERASED)
TAKEN = frozenset({ASKED, IN_FILE, PAID})
"""In these states a pay-out has parts, which come to what it is of."""
OF_RUN, OF_ERASED, OF_FAILED = "run", "erased", "failed"
"""Why something is in escrow: a sale was divided over records that were erased by then; a person was erased; a pay-out
failed that was of somebody who was erased meanwhile."""
HELD, ENDED = "held", "ended"
NOBODY = ""
"""The account of what is nobody's any more."""
_AT_ONCE = 500

payback_share = sa.Table(
    "payback_share",
    metadata,
    sa.Column("id", NUMBER, primary_key=True),
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),  # of the run; of what is taken out 0, 1, 2 ...
    sa.Column("first", sa.LargeBinary, nullable=False),
    sa.Column("last", sa.LargeBinary, nullable=False),
    sa.Column("accounts", sa.Integer, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("kind", "number", "first"),
    info={ONLY_ADDED: True},
)
payback_payout = sa.Table(
    "payback_payout",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("id", TEXT, nullable=False, unique=True),
    sa.Column("account", TEXT, nullable=False),  # empty once the person was erased
    sa.Column("value", sa.BigInteger, nullable=False),  # fen
    sa.Column("payee", TEXT),  # sealed; gone once it is paid or has failed
    sa.Column("state", TEXT, nullable=False),
    sa.Column("day", TEXT, nullable=False),  # local
    sa.Column("made_at", TEXT, nullable=False),
    sa.Column("changed_at", TEXT, nullable=False),
    sa.Column("file", TEXT),
    sa.Column("note", TEXT),  # why it failed
    sa.Index("payback_payout_account", "account", "seq"),
    sa.Index("payback_payout_state", "state", "seq"),
    sa.Index("payback_payout_file", "file"),
)
payback_part = sa.Table(
    "payback_part",
    metadata,
    sa.Column("payout", TEXT, nullable=False),
    sa.Column("place", sa.Integer, nullable=False),
    sa.Column("account", TEXT, nullable=False),  # whose share it was; empty once that person was erased
    sa.Column("fen", sa.BigInteger, nullable=False),
    sa.PrimaryKeyConstraint("payout", "place"),
    sa.Index("payback_part_account", "account"),
)
# What nobody can be paid, from a day on, and why; it ends by going to ``purpose``.
payback_escrow = sa.Table(
    "payback_escrow",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("reason", TEXT, nullable=False),
    sa.Column("fen", sa.BigInteger, nullable=False),
    sa.Column("since", TEXT, nullable=False),  # local day
    sa.Column("state", TEXT, nullable=False),
    sa.Column("purpose", TEXT),
    sa.Column("made_at", TEXT, nullable=False),
    sa.Column("ended_at", TEXT),
    sa.Index("payback_escrow_state", "state", "since"),
)


class Payback:
    """What sales brought to the persons of a home."""

    def __init__(self, book: Book) -> None:
        self._book = book

    # -- runs -------------------------------------------------------------------------------------------------

    def runs(self, *, before: int | None = None, limit: int | None = None) -> list[Any]:
        """Runs, the latest first, those before number ``before``; each with ``text``, its entry of the log."""
        own = _RUNS.order_by(payback_run.c.seq.desc()).limit(limit)
        return self._book.query(own if before is None else own.where(payback_run.c.seq < before))

    def runs_of_lots(self, lots: Iterable[int], *, before: int | None = None, limit: int | None = None) -> list[Any]:
        """Runs over some lots, the latest first, those before number ``before``; each with ``text``."""
        own = _RUNS.where(payback_run.c.lot.in_(sorted(lots))).order_by(payback_run.c.seq.desc()).limit(limit)
        return self._book.query(own if before is None else own.where(payback_run.c.seq < before))

    def run_of(self, deal: int, con: sa.Connection | None = None) -> Any | None:
        """The run of a deal, with ``text``."""
        rows = self._rows(_RUNS.where(payback_run.c.deal == deal), con)
        return rows[0] if rows else None

    def last_delivered(self) -> int:
        """The number of delivery of the last sale that was divided, 0 where none was."""
        return int(self._book.query(sa.select(sa.func.max(payback_run.c.delivered)))[0][0] or 0)

    def add_run(self, con: sa.Connection, values: Mapping[str, Any], text: str, shares: pa.Table) -> int:
        """Keep a run, its shares (account, amount; sorted, each once) and its entry of the log; returns its number."""
        index = append(con, entry, {"kind": KIND, "text": text})
        number = append(con, payback_run, {**values, "accounts": shares.num_rows, "entry": index})
        _add_pages(con, SHARE, number, shares)
        return number

    # -- what is owed -----------------------------------------------------------------------------------------

    def shares_of(self, account: uuid.UUID, con: sa.Connection | None = None) -> dict[int, int]:
        """Run -> what an account got of it, in fen, of runs that it got anything of; -1 what was taken out again."""
        found = {row.number: amount_in(row, account.bytes) for row in self._rows(_PAGES_OF, con, account=account.bytes)}
        gone = sum(amount_in(row, account.bytes) for row in self._rows(_GONE_OF, con, account=account.bytes))
        return {number: fen for number, fen in sorted({**found, -1: gone}.items()) if fen}

    def taken(self, account: uuid.UUID, con: sa.Connection | None = None) -> int:
        """What pay-outs took of an account, in fen."""
        own = sa.select(sa.func.sum(payback_part.c.fen)).where(payback_part.c.account == str(account))
        return int(self._rows(own, con)[0][0] or 0)

    def owed(self, account: uuid.UUID, con: sa.Connection | None = None) -> int:
        """What an account is owed, in fen: its shares less what pay-outs took of it."""
        return sum(self.shares_of(account, con).values()) - self.taken(account, con)

    def sums(self) -> dict[str, int]:
        """What all of it comes to, in fen.

        Pages: ``share`` what runs gave accounts, ``gone`` what was taken out for erased ones. Parts: ``taken`` of
        accounts that are there, ``nobodys`` of others. Pay-outs by state; ``escrow_<reason>`` all that ever went there.
        """
        found = {"share": 0, "gone": 0, "taken": 0, "nobodys": 0, **dict.fromkeys(STATES, 0)}
        found |= {f"escrow_{reason}": 0 for reason in (OF_RUN, OF_ERASED, OF_FAILED)}
        for kind, fen in self._book.query(_summed(payback_share.c.kind, payback_share.c.amount)):
            found["share" if kind == SHARE else "gone"] += int(fen) if kind == SHARE else -int(fen)
        named = sa.case((payback_part.c.account == NOBODY, "nobodys"), else_="taken")
        found |= {name: int(fen) for name, fen in self._book.query(_summed(named, payback_part.c.fen))}
        states = self._book.query(_summed(payback_payout.c.state, payback_payout.c.value))
        found |= {state: int(fen) for state, fen in states}
        reasons = self._book.query(_summed(payback_escrow.c.reason, payback_escrow.c.fen))
        return found | {f"escrow_{reason}": int(fen) for reason, fen in reasons}

    # -- pay-outs ---------------------------------------------------------------------------------------------

    def payout(self, name: str, con: sa.Connection | None = None) -> Any | None:
        """A pay-out by its id."""
        rows = self._rows(sa.select(payback_payout).where(payback_payout.c.id == name), con)
        return rows[0] if rows else None

    def payouts(self, *conditions: sa.ColumnElement[bool], limit: int | None = None) -> list[Any]:
        """Pay-outs that meet conditions, in their order."""
        return self._book.query(
            sa.select(payback_payout).where(*conditions).order_by(payback_payout.c.seq).limit(limit)
        )

    def payouts_of(self, accounts: Sequence[str], *, before: int | None = None, limit: int | None = None) -> list[Any]:
        """The pay-outs of accounts, the latest first, those before number ``before``."""
        own = sa.select(payback_payout).where(payback_payout.c.account.in_(list(accounts)))
        if before is not None:
            own = own.where(payback_payout.c.seq < before)
        return self._book.query(own.order_by(payback_payout.c.seq.desc()).limit(limit))

    def parts(self, payout: str | None = None) -> list[Any]:
        """The parts of a pay-out, or of all."""
        own = sa.select(payback_part).order_by(payback_part.c.payout, payback_part.c.place)
        return self._book.query(own if payout is None else own.where(payback_part.c.payout == payout))

    def untake(self, con: sa.Connection, payout: str) -> int:
        """Let the accounts of a pay-out have again what it took; returns what accounts had that are gone, in fen."""
        own = payback_part.c.payout == payout
        nobodys = sa.select(sa.func.sum(payback_part.c.fen)).where(own, payback_part.c.account == NOBODY)
        fen = int(con.execute(nobodys).scalar() or 0)
        con.execute(payback_part.delete().where(own))
        return fen

    def ask(self, con: sa.Connection, values: Mapping[str, Any], parts: Mapping[uuid.UUID, int]) -> None:
        """Keep the next pay-out, asked for, and what it takes of which account."""
        same = {"file": None, "note": None, "state": ASKED, "value": sum(parts.values())}
        con.execute(payback_payout.insert(), {**same, **values, "seq": _next(con, payback_payout)})
        rows = [
            {"payout": values["id"], "place": place, "account": str(account), "fen": fen}
            for place, (account, fen) in enumerate(parts.items())
        ]
        con.execute(payback_part.insert(), rows)

    def change(self, con: sa.Connection, name: str, state: str, values: Mapping[str, Any]) -> bool:
        """Change a pay-out that is in a state; whether it was."""
        own = (payback_payout.c.id == name) & (payback_payout.c.state == state)
        return bool(con.execute(payback_payout.update().where(own).values(**values)).rowcount)

    # -- what nobody can be paid ------------------------------------------------------------------------------

    def escrow(self, *, state: str | None = None, until: str | None = None) -> list[Any]:
        """What is or was in escrow, in order; in one state, since a day up to and with ``until``."""
        own = sa.select(payback_escrow).order_by(payback_escrow.c.seq)
        own = own if state is None else own.where(payback_escrow.c.state == state)
        return self._book.query(own if until is None else own.where(payback_escrow.c.since <= until))

    def hold(self, con: sa.Connection, reason: str, fen: int, *, since: str, at: str) -> int:
        """Put an amount into escrow; its number there."""
        number = _next(con, payback_escrow)
        same = {"state": HELD, "purpose": None, "ended_at": None, "made_at": at, "since": since}
        con.execute(payback_escrow.insert(), {**same, "seq": number, "reason": reason, "fen": fen})
        return number

    def end_escrow(self, con: sa.Connection, number: int, purpose: str, at: str) -> bool:
        """Say for what an amount was given out of escrow; whether it was there."""
        own = (payback_escrow.c.seq == number) & (payback_escrow.c.state == HELD)
        said = {"state": ENDED, "purpose": purpose, "ended_at": at}
        return bool(con.execute(payback_escrow.update().where(own).values(**said)).rowcount)

    # -- erased persons ---------------------------------------------------------------------------------------

    def has_of(self, accounts: Iterable[str]) -> bool:
        """Whether any of some accounts has a share, or a pay-out."""
        names = list(accounts)
        if self.runs(limit=1) and any(sum(self.shares_of(uuid.UUID(each)).values()) for each in names):
            return True
        return any(self.payouts_of(some, limit=1) for some in _some(names))

    def forget(self, con: sa.Connection, accounts: Sequence[str], at: str) -> int:
        """Let accounts go that are erased; returns what they were owed, in fen, which is nobody's now.

        Pay-outs that no file has yet are never paid; those in a file are paid without saying to whom.
        """
        owed, out = 0, []
        for some in _some(accounts):
            asked = sa.select(payback_payout.c.id).where(payback_payout.c.account.in_(some))
            for name in con.execute(asked.where(payback_payout.c.state == ASKED)).scalars().all():
                self.change(con, name, ASKED, {"state": ERASED, "changed_at": at})
                owed += self.untake(con, name)
        for account in sorted(uuid.UUID(each) for each in accounts):
            shared = sum(self.shares_of(account, con).values())
            if shared:
                owed += shared - self.taken(account, con)
                out.append((account.bytes, -shared))
        if out:
            last = con.execute(sa.select(sa.func.max(payback_share.c.number)).where(payback_share.c.kind == GONE))
            number = last.scalar()
            names, fen = zip(*out, strict=True)
            gone = pa.table({"account": pa.array(names, pa.binary(16)), "amount": pa.array(fen, pa.int64())})
            _add_pages(con, GONE, 0 if number is None else int(number) + 1, gone)
        forgotten = {"account": NOBODY, "payee": None, "note": None}
        for some in _some(accounts):
            con.execute(payback_part.update().where(payback_part.c.account.in_(some)).values(account=NOBODY))
            con.execute(payback_payout.update().where(payback_payout.c.account.in_(some)).values(**forgotten))
        return owed

    def _rows(self, statement: sa.Select[Any], con: sa.Connection | None, **values: Any) -> list[Any]:
        return self._book.query(statement, values) if con is None else list(con.execute(statement, values))


_RUNS = sa.select(payback_run, entry.c.text).select_from(payback_run.join(entry, entry.c.seq == payback_run.c.entry))


def _some(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[start : start + _AT_ONCE] for start in range(0, len(names), _AT_ONCE))


def _summed(by: sa.ColumnElement[str], fen: sa.ColumnElement[int]) -> sa.Select[Any]:
    columns: tuple[Any, ...] = (by.label("name"), sa.func.sum(fen))
    return sa.select(*columns).group_by(columns[0])


def _next(con: sa.Connection, table: sa.Table) -> int:
    last = con.execute(sa.select(sa.func.max(table.c.seq))).scalar()
    return 0 if last is None else int(last) + 1


def _add_pages(con: sa.Connection, kind: str, number: int, shares: pa.Table) -> None:
    rows = [{**page, "kind": kind, "number": number} for page in pages(shares, kind)]
    for row in rows:
        del row["unit"]
    if rows:
        con.execute(payback_share.insert(), rows)


def _pages_of() -> sa.Select[Any]:
    """The page of each run that has account ``account``, if it has one."""
    page, others = payback_share.alias(), payback_share.alias()
    own = (others.c.kind == SHARE) & (others.c.number == payback_run.c.seq)
    last = sa.select(others.c.first).where(own, others.c.first <= sa.bindparam("account"))
    first = last.order_by(others.c.first.desc()).limit(1).correlate(payback_run).scalar_subquery()
    same = (page.c.kind == SHARE) & (page.c.number == payback_run.c.seq) & (page.c.first == first)
    return sa.select(page).select_from(payback_run.join(page, same)).where(page.c.last >= sa.bindparam("account"))


# Asked with every look at what somebody is owed, so they are not put together each time.
_PAGES_OF = _pages_of()
_GONE_OF = sa.select(payback_share).where(
    payback_share.c.kind == GONE,
    payback_share.c.first <= sa.bindparam("account"),
    payback_share.c.last >= sa.bindparam("account"),
)
