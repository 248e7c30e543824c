"""Red packets (现金红包) on their way: asked, in a file, paid or given back.

A pay-out is in one file for good. What is to be in a file is booked before it is given out, so a process that dies
between the two leaves a file that is made again, with the same content, and never a pay-out in two files. Files are not
kept, since they name people; whom a pay-out was for is forgotten once it is paid or has failed.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from tanzhang.core.access import Actor
from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.service.benefits import RedPacket, give_back, offer_named, read_offer
from tanzhang.service.moments import file_moment, received_at
from tanzhang.stores.home import Home
from tanzhang.stores.payout_files import ADAPTERS, PAID, Answer, Payout, PayoutAdapter
from tanzhang.stores.register import benefits as register
from tanzhang.stores.register.benefits import ASKED, IN_FILE, REFUNDED, benefit_use, payout_file
from tanzhang.stores.register.people import place_of

MOST = 10_000
"""Pay-outs in one file, by default."""


def new_file(home: Home, adapter: str, *, actor: Actor, now: datetime, most: int = MOST) -> dict[str, Any]:
    """Put what was asked for into a new file of an adapter; its ``id``, and how many it has. ``nothing-to-pay``.

    The file itself is given by :func:`file_data`, as often as it is needed.
    """
    _adapter(adapter)
    at, name = received_at(now), f"pay-{file_moment(now)}-{secrets.token_hex(4)}"
    offered = sorted({row.id for row in home.benefits.said.versions() if _adapter_of(row) == adapter})
    with home.book.transaction() as con:
        rows = home.benefits.uses(benefit_use.c.state == ASKED, benefit_use.c.benefit.in_(offered), limit=most)
        if not rows:
            raise refuse(
                "nothing-to-pay", "nothing is asked for that is in no file yet", where=adapter, remedy="try later"
            )
        for row in rows:
            home.benefits.change(con, row.id, ASKED, {"state": IN_FILE, "file": name, "changed_at": at})
        fen = sum(row.value for row in rows)
        said = {"id": name, "adapter": adapter, "rows": len(rows), "fen": fen}
        con.execute(payout_file.insert(), {**said, "made_at": at})
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


def file_data(home: Home, name: str) -> bytes:
    """The bytes of a file; pay-outs that have ended, or whose persons were erased, are left out. ``not-found``."""
    found = home.benefits.files(name)
    if not found:
        raise refuse("not-found", f"there is no file {name[:60]}", where="file", remedy="list the files")
    in_it = (benefit_use.c.file == name, benefit_use.c.state == IN_FILE, benefit_use.c.payee.is_not(None))
    return ADAPTERS[found[0].adapter].write([_payout(home, row) for row in home.benefits.uses(*in_it)])


def _payout(home: Home, row: Any) -> Payout:
    payee = home.personal_keys.open(row.payee, place_of(benefit_use, "payee", row.id))
    offer = offer_named(home, row.benefit, row.version)[1]
    return Payout(row.id, payee, row.value, offer.title_zh)


def files(home: Home) -> list[dict[str, Any]]:
    """Every file, the latest first, and how many of its pay-outs have not ended."""
    open_ = home.benefits.uses(benefit_use.c.state == IN_FILE)
    counts: dict[str, int] = {}
    for row in open_:
        counts[row.file] = counts.get(row.file, 0) + 1
    return [
        {
            "id": row.id,
            "adapter": row.adapter,
            "rows": row.rows,
            "fen": str(row.fen),
            "made_at": row.made_at,
            "open": counts.get(row.id, 0),
        }
        for row in home.benefits.files()
    ]


def take_answers(home: Home, adapter: str, data: bytes, name: str, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Book what became of pay-outs, by a file of whoever paid: all of it, or nothing if any of it is wrong.

    Read again it changes nothing. Raises ``confirmation-malformed``, ``payout-unknown`` and ``payout-conflict`` (it was
    said otherwise before, or it never was in a file), all together.
    """
    answers = _adapter(adapter).read(data, name)
    counts = {"paid": 0, "refunded": 0, "known": 0}
    at = received_at(now)
    with home.book.transaction() as con:
        rows = _checked(answers, [home.benefits.use(each.id) for each in answers])
        for each, row in zip(answers, rows, strict=True):
            if row.state != IN_FILE:
                counts["known"] += 1
            elif each.status == PAID:
                ended = {"state": register.PAID, "payee": None, "changed_at": at}
                counts["paid"] += home.benefits.change(con, row.id, IN_FILE, ended)
            else:
                counts["refunded"] += give_back(home, con, row, IN_FILE, note=each.reason or None, now=now)
        detail = {key: str(value) for key, value in counts.items()}
        home.audit.write(con, actor, "pay-outs answered", f"file {name}", at=at, detail=detail)
    return {"status": "taken", **counts}


def _checked(answers: Sequence[Answer], rows: Sequence[Any | None]) -> list[Any]:
    """The uses that answers are about, in their order, if what is said of each can be."""
    problems = []
    for each, row in zip(answers, rows, strict=True):
        wanted = register.PAID if each.status == PAID else REFUNDED
        if row is None or row.value is None:
            message, code = f"there is no pay-out {each.id[:40]}", "payout-unknown"
        elif row.file is None or row.state not in (IN_FILE, wanted):
            message, code = f"{each.id} is {row.state}, and the file says {each.status}", "payout-conflict"
        else:
            continue
        problems.append(Problem(code, message, each.where, "settle it with whoever paid; nothing was booked"))
    if problems:
        raise TanzhangError(problems)
    return [*rows]
