"""Pay-outs on their way to whoever pays them: asked for, in a file, paid or failed.

What is paid out is of some **source**: red packets (现金红包) that were bought with points, here, or what sales of
people's reductions brought (:mod:`tanzhang.service.market.payback_payouts`). A pay-out is in one file for good. What is
to be in a file is booked before it is given out, so a process that dies between the two leaves a file that is made
again, with the same content, and never a pay-out in two files. Files are not kept, since they name people; whom a
pay-out was for is forgotten once it is paid or has failed.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

import sqlalchemy as sa

from tanzhang.core.access import Actor
from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.service.benefits import RedPacket, give_back, offer_named, read_offer
from tanzhang.service.moments import file_moment, received_at
from tanzhang.stores.home import Home
from tanzhang.stores.payout_files import ADAPTERS, PAID, Answer, Payout, PayoutAdapter
from tanzhang.stores.register import benefits as register
from tanzhang.stores.register.benefits import ASKED, IN_FILE, RED_PACKET, REFUNDED, benefit_use, payout_file
from tanzhang.stores.register.people import place_of

MOST = 10_000
"""Pay-outs in one file, by default."""


class PayoutSource(Protocol):
    """A kind of pay-outs: rows with ``id``, ``value`` (fen), ``state`` and ``file``, which wait, are in files, and end.

    What changes them is called in the transaction that books it.
    """

    kind: str
    failed_state: str

    def waiting(self, home: Home, adapter: str, most: int) -> list[Any]:
        """Those in no file yet that an adapter can pay."""
        ...

    def in_file(self, home: Home, name: str) -> list[Any]:
        """Those in a file that have not ended, and whose persons are there."""
        ...

    def open_rows(self, home: Home) -> list[Any]:
        """All in files that have not ended."""
        ...

    def row(self, home: Home, name: str) -> Any | None:
        """One by its id."""
        ...

    def take_in(self, home: Home, con: sa.Connection, row: Any, name: str, at: str) -> None:
        """Put one that waits into a file."""
        ...

    def payout(self, home: Home, row: Any) -> Payout:
        """One as a file says it."""
        ...

    def paid(self, home: Home, con: sa.Connection, rows: Sequence[Any], now: datetime) -> int:
        """Some in files were paid; how many that ended."""
        ...

    def failed(self, home: Home, con: sa.Connection, row: Any, reason: str | None, now: datetime) -> bool:
        """One in a file was not paid; whether that ended it."""
        ...


class RedPackets(PayoutSource):
    """Red packets that were bought with points."""

    kind = RED_PACKET
    failed_state = REFUNDED

    def waiting(self, home: Home, adapter: str, most: int) -> list[Any]:
        offered = sorted({row.id for row in home.benefits.said.versions() if _adapter_of(row) == adapter})
        return home.benefits.uses(benefit_use.c.state == ASKED, benefit_use.c.benefit.in_(offered), limit=most)

    def in_file(self, home: Home, name: str) -> list[Any]:
        in_it = (benefit_use.c.file == name, benefit_use.c.state == IN_FILE, benefit_use.c.payee.is_not(None))
        return home.benefits.uses(*in_it)

    def open_rows(self, home: Home) -> list[Any]:
        return home.benefits.uses(benefit_use.c.state == IN_FILE)

    def row(self, home: Home, name: str) -> Any | None:
        row = home.benefits.use(name)
        return None if row is None or row.value is None else row

    def take_in(self, home: Home, con: sa.Connection, row: Any, name: str, at: str) -> None:
        home.benefits.change(con, row.id, ASKED, {"state": IN_FILE, "file": name, "changed_at": at})

    def payout(self, home: Home, row: Any) -> Payout:
        payee = home.personal_keys.open(row.payee, place_of(benefit_use, "payee", row.id))
        return Payout(row.id, payee, row.value, offer_named(home, row.benefit, row.version)[1].title_zh)

    def paid(self, home: Home, con: sa.Connection, rows: Sequence[Any], now: datetime) -> int:
        ended = {"state": register.PAID, "payee": None, "changed_at": received_at(now)}
        return sum(home.benefits.change(con, row.id, IN_FILE, ended) for row in rows)

    def failed(self, home: Home, con: sa.Connection, row: Any, reason: str | None, now: datetime) -> bool:
        return give_back(home, con, row, IN_FILE, note=reason, now=now)


RED_PACKETS = RedPackets()


def new_file(
    home: Home, adapter: str, *, actor: Actor, now: datetime, most: int = MOST, of: PayoutSource = RED_PACKETS
) -> dict[str, Any]:
    """Put what was asked for into a new file of an adapter; its ``id``, and how many it has. ``nothing-to-pay``.

    The file itself is given by :func:`file_data`, as often as it is needed.
    """
    _adapter(adapter)
    at, name = received_at(now), f"pay-{file_moment(now)}-{secrets.token_hex(4)}"
    with home.book.transaction() as con:
        rows = of.waiting(home, adapter, most)
        if not rows:
            raise refuse(
                "nothing-to-pay", "nothing is asked for that is in no file yet", where=adapter, remedy="try later"
            )
        for row in rows:
            of.take_in(home, con, row, name, at)
        fen = sum(row.value for row in rows)
        said = {"id": name, "adapter": adapter, "rows": len(rows), "fen": fen}
        con.execute(payout_file.insert(), {**said, "kind": of.kind, "made_at": at})
        detail = {"rows": len(rows), "fen": str(fen)}
        home.audit.write(con, actor, "pay-outs in a file", f"pay-out file {name}", at=at, detail=detail)
    return {"status": "made", **said, "fen": str(fen)}


def _adapter(name: str) -> PayoutAdapter:
    if name not in ADAPTERS:
        remedy = f"use one of {', '.join(ADAPTERS)}"
        raise refuse("adapter-unknown", f"there is no adapter {name[:40]!r}", where="--adapter", remedy=remedy)
    return ADAPTERS[name]


def _adapter_of(row: Any) -> str | None:
    offer = read_offer(row)
    return offer.adapter if isinstance(offer, RedPacket) else None


def file_data(home: Home, name: str, *, of: PayoutSource = RED_PACKETS) -> bytes:
    """The bytes of a file; pay-outs that have ended, or whose persons were erased, are left out. ``not-found``."""
    found = home.benefits.files(of.kind, name)
    if not found:
        raise refuse("not-found", f"there is no file {name[:60]}", where="file", remedy="list the files")
    return ADAPTERS[found[0].adapter].write([of.payout(home, row) for row in of.in_file(home, name)])


def files(home: Home, *, of: PayoutSource = RED_PACKETS) -> list[dict[str, Any]]:
    """Every file, the latest first, and how many of its pay-outs have not ended."""
    counts = Counter(row.file for row in of.open_rows(home))
    return [
        {
            "id": row.id,
            "adapter": row.adapter,
            "rows": row.rows,
            "fen": str(row.fen),
            "made_at": row.made_at,
            "open": counts[row.id],
        }
        for row in home.benefits.files(of.kind)
    ]


def take_answers(
    home: Home, adapter: str, data: bytes, name: str, *, actor: Actor, now: datetime, of: PayoutSource = RED_PACKETS
) -> dict[str, Any]:
    """Book what became of pay-outs, by a file of whoever paid: all of it, or nothing if any of it is wrong.

    Read again it changes nothing. Raises ``confirmation-malformed``, ``payout-unknown`` and ``payout-conflict`` (it was
    said otherwise before, or it never was in a file), all together.
    """
    answers = _adapter(adapter).read(data, name)
    counts = {"paid": 0, of.failed_state: 0, "known": 0}
    at = received_at(now)
    with home.book.transaction() as con:
        rows = _checked(answers, [of.row(home, each.id) for each in answers], of.failed_state)
        paid = []
        for each, row in zip(answers, rows, strict=True):
            if row.state != IN_FILE:
                counts["known"] += 1
            elif each.status == PAID:
                paid.append(row)
            else:
                counts[of.failed_state] += of.failed(home, con, row, each.reason or None, now)
        counts["paid"] = of.paid(home, con, paid, now)
        detail = {key: str(value) for key, value in counts.items()}
        home.audit.write(con, actor, "pay-outs answered", f"file {name}", at=at, detail=detail)
    return {"status": "taken", **counts}


def _checked(answers: Sequence[Answer], rows: Sequence[Any | None], failed_state: str) -> list[Any]:
    """The rows that answers are about, in their order, if what is said of each can be."""
    problems = []
    for each, row in zip(answers, rows, strict=True):
        wanted = register.PAID if each.status == PAID else failed_state
        if row is None:
            message, code = f"there is no pay-out {each.id[:40]}", "payout-unknown"
        elif row.file is None or row.state not in (IN_FILE, wanted):
            message, code = f"{each.id} is {row.state}, and the file says {each.status}", "payout-conflict"
        else:
            continue
        problems.append(Problem(code, message, each.where, "settle it with whoever paid; nothing was booked"))
    if problems:
        raise TanzhangError(problems)
    return [*rows]
