"""Bank statements (银行对账单) as they are read: one adapter for each form, pure; booking is the caller's."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from tanzhang.core.errors import Problem, TanzhangError

COLUMNS = ("entry", "booked_on", "amount_fen", "payer", "payer_account", "memo")
_ENTRY = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}")
_AMOUNT = re.compile(r"-?[1-9][0-9]{0,14}")
_LONGEST = 300


@dataclass(frozen=True, slots=True)
class Line:
    """Money that came in: the bank's own number of it, its local day, fen, who paid from where, and with what words.

    ``where`` is its place in the file.
    """

    entry: str
    booked_on: date
    amount_fen: int
    payer: str
    payer_account: str
    memo: str
    where: str


@dataclass(frozen=True, slots=True)
class Statement:
    """What came in, in the order of the file, and how many lines were of money that went out."""

    lines: tuple[Line, ...]
    went_out: int


class StatementAdapter(Protocol):
    """A form of statements; ``read`` raises all mistakes of a file together: ``statement-malformed``."""

    def read(self, data: bytes, name: str) -> Statement: ...


class BankStatement:
    """CSV in UTF-8, with or without a mark, of columns :data:`COLUMNS`; amounts below zero went out."""

    def read(self, data: bytes, name: str) -> Statement:
        """The lines of a file; an entry that stands twice in it is a mistake, even if both say the same."""
        try:
            reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
            rows = [row for row in reader if row]
        except (UnicodeDecodeError, csv.Error) as error:
            raise TanzhangError(_malformed(f"it cannot be read: {error}", name)) from None
        if not rows or tuple(rows[0]) != COLUMNS:
            raise TanzhangError(_malformed(f"its header is not {','.join(COLUMNS)}", f"{name}:1"))
        lines: dict[str, Line] = {}
        problems: list[Problem] = []
        for number, row in enumerate(rows[1:], 2):
            where = f"{name}:{number}"
            line = _line(row, where)
            if isinstance(line, Problem):
                problems.append(line)
            elif line.entry in lines:
                problems.append(_malformed(f"entry {line.entry} stands twice", where))
            else:
                lines[line.entry] = line
        if problems:
            raise TanzhangError(problems)
        came_in = tuple(line for line in lines.values() if line.amount_fen > 0)
        return Statement(came_in, len(lines) - len(came_in))


def _line(row: list[str], where: str) -> Line | Problem:
    if len(row) != len(COLUMNS) or any(len(each) > _LONGEST for each in row):
        return _malformed(f"it has not {len(COLUMNS)} fields of at most {_LONGEST} characters", where)
    entry, day, amount, payer, payer_account, memo = (each.strip() for each in row)
    if not _ENTRY.fullmatch(entry):
        return _malformed(f"{entry[:40]!r} is no number of an entry", where)
    if not _AMOUNT.fullmatch(amount):
        return _malformed(f"{amount[:40]!r} is no whole number of fen other than 0", where)
    try:
        booked_on = date.fromisoformat(day)
    except ValueError:
        return _malformed(f"{day[:40]!r} is no day", where)
    return Line(entry, booked_on, int(amount), payer, payer_account, memo, where)


def check_line(line: Line) -> None:
    """Refuse a line that no statement could have, or of money that did not come in: ``statement-malformed``."""
    row = [line.entry, line.booked_on.isoformat(), str(line.amount_fen), line.payer, line.payer_account, line.memo]
    found = _line(row, line.where)
    if isinstance(found, Problem) or line.amount_fen <= 0:
        what = found if isinstance(found, Problem) else _malformed("it did not come in", line.where)
        raise TanzhangError(what)


ADAPTERS: Mapping[str, StatementAdapter] = {"bank_statement": BankStatement()}


def _malformed(message: str, where: str) -> Problem:
    return Problem("statement-malformed", message, where, "ask the bank for the file again; nothing was booked")
