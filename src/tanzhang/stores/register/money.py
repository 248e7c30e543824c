"""Money (资金): what each account of the market has, in fen, and every movement of it.

A **move** takes from some accounts what it gives to others. Its legs are chained rows of the book that sum to zero, so
that all balances of all accounts do. An account is a text that names no person: ``party:<id>`` (a buyer or another
market account), ``bank`` (everything outside: below zero by what came in and has not gone out again),
``sale:<deal>``, ``fee:<id>``, ``sponsor:<id>`` (below zero by what it owes), ``payback`` (what is owed to persons in
all), ``escrow``, ``public:<purpose>``, ``unclear`` and ``returning``. What of ``payback`` is whose,
stores/register/payback.py knows.

``kind`` and ``reference`` name a move once and for all: the same move booked again is the one that is there.
Transactions that write stand one behind another, so what is read inside one holds until its end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tanzhang.core.errors import refuse
from tanzhang.stores.book import Book, money_move
from tanzhang.stores.book.schema import append_many

BANK, PAYBACK, ESCROW = "bank", "payback", "escrow"
UNCLEAR, RETURNING = "unclear", "returning"
"""What came in and is nobody's yet; what is on its way back to who paid it."""
LARGEST_FEN = 2**62
"""More than any leg may have, so that no sum of what is booked leaves the 64 bits of its column."""
_ACCOUNT = re.compile("(bank|payback|escrow|unclear|returning|(party|sale|fee|sponsor|public):[^\\s:][^\\s]{0,127})")
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Move:
    """A movement of money: account -> what it has more, in fen, below zero what it has less; all legs sum to zero."""

    number: int
    kind: str
    reference: str
    legs: Mapping[str, int]
    made_at: str


class Money:
    """The money of a home."""

    def __init__(self, book: Book) -> None:
        self._book = book

    # -- reading ----------------------------------------------------------------------------------------------

    def balance(self, account: str, con: sa.Connection | None = None) -> int:
        """What an account has, in fen; ``con`` is somebody's transaction, whose own moves count then."""
        return self.balances([account], con).get(account, 0)

    def balances(self, accounts: Iterable[str] | None = None, con: sa.Connection | None = None) -> dict[str, int]:
        """Account -> what it has, of some accounts or (None) all that money was ever moved on, sorted."""
        sums = sa.select(money_move.c.account, sa.func.sum(money_move.c.amount_fen)).group_by(money_move.c.account)
        if accounts is not None:
            sums = sums.where(money_move.c.account.in_(sorted(set(accounts))))
        return {account: int(fen) for account, fen in sorted(map(tuple, self._rows(sums, con)))}

    def move(self, kind: str, reference: str, con: sa.Connection | None = None) -> Move | None:
        """The move of a kind and reference."""
        own = (money_move.c.kind == kind) & (money_move.c.reference == reference)
        found = _moves(self._rows(sa.select(money_move).where(own).order_by(money_move.c.seq), con))
        return found[0] if found else None

    def moves(self, account: str | None = None, *, before: int | None = None, limit: int = 50) -> list[Move]:
        """Moves, of one account or all, the latest first, those before number ``before``."""
        numbers = sa.select(money_move.c.number).distinct()
        if account is not None:
            numbers = numbers.where(money_move.c.account == account)
        if before is not None:
            numbers = numbers.where(money_move.c.number < before)
        named = [row.number for row in self._rows(numbers.order_by(money_move.c.number.desc()).limit(limit))]
        legs = sa.select(money_move).where(money_move.c.number.in_(named)).order_by(money_move.c.seq)
        return _moves(self._rows(legs))[::-1]

    # -- writing, in somebody's transaction -------------------------------------------------------------------

    def post(self, con: sa.Connection, kind: str, legs: Mapping[str, int], reference: str, at: str) -> int:
        """Book a move; returns its number. ``at`` is the moment in UTC. Legs of nothing are left out.

        One of this kind and reference with the same legs is not booked again; ``reference-taken`` if its legs differ.
        ValueError for legs that do not sum to zero or an account that is none: that is a mistake of the program.
        """
        return self.post_many(con, kind, [(reference, legs)], at)[0]

    def post_many(
        self, con: sa.Connection, kind: str, moves: Sequence[tuple[str, Mapping[str, int]]], at: str
    ) -> list[int]:
        """As :meth:`post`, many moves (reference, legs) of one kind by a few statements; their numbers, in order."""
        wanted = [(reference, _checked(legs)) for reference, legs in moves]
        known = self._named(con, kind, [reference for reference, _ in wanted])
        last = con.execute(sa.select(sa.func.max(money_move.c.number))).scalar()
        number = 0 if last is None else int(last) + 1
        numbers, rows = [], []
        for reference, legs in wanted:
            there = known.get(reference)
            if there is None:
                there = known[reference] = Move(number, kind, reference, legs, at)
                said = {"number": number, "kind": kind, "reference": reference, "made_at": at}
                rows += [{**said, "account": account, "amount_fen": fen} for account, fen in legs.items()]
                number += 1
            elif there.legs != legs:
                raise refuse(
                    "reference-taken",
                    f"another movement of money of kind {kind} is booked under {reference[:80]}",
                    where="reference",
                    remedy="give each movement a reference of its own; send the same again only to retry",
                )
            numbers.append(there.number)
        append_many(con, money_move, rows)
        return numbers

    def _named(self, con: sa.Connection, kind: str, references: Sequence[str]) -> dict[str, Move]:
        found: dict[str, Move] = {}
        names = sorted(set(references))
        for start in range(0, len(names), _AT_ONCE):
            own = (money_move.c.kind == kind) & money_move.c.reference.in_(names[start : start + _AT_ONCE])
            rows = self._rows(sa.select(money_move).where(own).order_by(money_move.c.seq), con)
            found |= {move.reference: move for move in _moves(rows)}
        return found

    def _rows(self, statement: sa.Select[Any], con: sa.Connection | None = None) -> list[Any]:
        return self._book.query(statement) if con is None else list(con.execute(statement))


def is_account(name: str) -> bool:
    """Whether money can be on an account of this name."""
    return _ACCOUNT.fullmatch(name) is not None


def _checked(legs: Mapping[str, int]) -> dict[str, int]:
    """Legs without those of nothing, by account."""
    wrong = [account for account in legs if not is_account(account)]
    if wrong:
        raise ValueError(f"{wrong} are no accounts of money")
    if sum(legs.values()) or any(not -LARGEST_FEN < fen < LARGEST_FEN for fen in legs.values()):
        raise ValueError(f"{dict(legs)} do not sum to zero, or are too large")
    if not any(legs.values()):
        raise ValueError("a movement of nothing is none")
    return {account: fen for account, fen in sorted(legs.items()) if fen}


def _moves(rows: Iterable[Any]) -> list[Move]:
    """Moves of their legs, by number."""
    legs: dict[int, dict[str, int]] = {}
    names: dict[int, Any] = {}
    for row in rows:
        legs.setdefault(row.number, {})[row.account] = row.amount_fen
        names[row.number] = row
    return [Move(number, row.kind, row.reference, legs[number], row.made_at) for number, row in sorted(names.items())]
