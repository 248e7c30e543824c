"""Pledges (赞助加价): a sponsor raises what a gram is worth, by so many fen for each unit or tonne that is sold.

A pledge adds to sales of units that were entrusted to the programme, since what is added is paid back to persons with
the price. It is booked in the transaction that delivers the units, as money that the sponsor owes from then on; it
stops when its cap is reached, the last sale gets what is left. Several pledges add up, the older ones first.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
import sqlalchemy as sa

from tanzhang.core.access import Actor
from tanzhang.core.deal import pledged_fen
from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.market import UNIT_MASS_MG
from tanzhang.core.payment_reference import PLEDGE, payment_reference
from tanzhang.core.serial import lot_name, lot_number
from tanzhang.service.donations import Amount
from tanzhang.service.market.parties import Id, Reference, check_approved
from tanzhang.service.moments import received_at
from tanzhang.stores.home import Home
from tanzhang.stores.register.pledges import ENDED, OPEN, TONNE

LotName = Annotated[str, msgspec.Meta(pattern="^[LX][0-9]{6,10}$", examples=["L000042"])]
Vintage = Annotated[int, msgspec.Meta(ge=1000, le=9999, examples=[2025])]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class PledgeSaid(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a sponsor, an approved party, adds: ``fen`` for each unit or tonne, up to ``cap_fen`` in all.

    Only to units of ``lot`` or of ``vintage`` where these are given. ``source`` is where the sponsor said so.
    """

    sponsor: Id
    reference: Reference
    fen: Amount
    per: Literal["unit", "tonne"]
    cap_fen: Amount
    source: Text
    lot: LotName | None = None
    vintage: Vintage | None = None


def pledge(home: Home, said: PledgeSaid, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Take a pledge; the same ``reference`` again is the same pledge.

    ``unknown-party``, ``party-not-approved``, ``reference-taken``, ``serial-malformed``.
    """
    at, lot = received_at(now), None if said.lot is None else lot_number(said.lot, where="#/lot")
    row = {"sponsor": said.sponsor, "fen": int(said.fen), "per": said.per, "cap_fen": int(said.cap_fen), "lot": lot}
    row |= {"vintage": said.vintage, "reference": said.reference, "source": said.source}
    with home.book.transaction() as con:
        known = home.pledges.named(con, said.sponsor, said.reference)
        if known is None:
            check_approved(home, con, said.sponsor, "pledge")
            number = home.pledges.add(con, {**row, "made_at": at, "ended_at": None})
            detail = {"fen": said.fen, "per": said.per, "cap_fen": said.cap_fen}
            home.audit.write(con, actor, "pledge made", f"pledge {number}", at=at, detail=detail)
        elif any(getattr(known, name) != value for name, value in row.items()):
            raise reference_taken("pledge")
        else:
            number = known.id
    return described(home.pledges.one(number))


def end_pledge(home: Home, number: int, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """A pledge adds to nothing any more; what it added is owed. A second time changes nothing. ``unknown-pledge``."""
    at = received_at(now)
    with home.book.transaction() as con:
        row = home.pledges.one_in(con, number)
        if row is None:
            raise unknown_pledge(number)
        if row.state == OPEN:
            home.pledges.change(con, number, {"state": ENDED, "ended_at": at})
            home.audit.write(con, actor, "pledge ended", f"pledge {number}", at=at, detail={})
    return described(home.pledges.one(number))


def add_to_sale(home: Home, con: sa.Connection, deal: Any, at: str) -> Mapping[str, int]:
    """In the transaction that delivers a deal of the programme: what each sponsor adds to it, sponsor -> fen."""
    begun = home.units.lots([deal.lot])[deal.lot]
    mass_mg, added = UNIT_MASS_MG[begun.unit], dict[str, int]()
    for row in home.pledges.open_for(con, deal.lot, begun.vintage):
        left = row.cap_fen - row.spent_fen
        fen = pledged_fen(deal.units, mass_mg, fen=row.fen, per_tonne=row.per == TONNE, left_fen=left)
        if fen:
            home.pledges.spend(con, row, deal.id, fen, at)
            added[row.sponsor] = added.get(row.sponsor, 0) + fen
    return added


def listed(
    home: Home, before: int | None = None, limit: int = 10_000, sponsor: str | None = None
) -> list[dict[str, Any]]:
    """Pledges, the latest first."""
    return [described(row) for row in home.pledges.page(before, limit, sponsor=sponsor)]


def pledge_named(home: Home, number: int) -> Any:
    """The row of a pledge; ``unknown-pledge``."""
    row = home.pledges.one(number)
    if row is None:
        raise unknown_pledge(number)
    return row


def described(row: Any) -> dict[str, Any]:
    """A pledge as JSON members; ``payment_reference`` is what its sponsor writes when it pays what it owes."""
    return {
        "number": row.id,
        "sponsor": row.sponsor,
        "reference": row.reference,
        "fen": str(row.fen),
        "per": row.per,
        "cap_fen": str(row.cap_fen),
        "spent_fen": str(row.spent_fen),
        "lot": None if row.lot is None else lot_name(row.lot),
        "vintage": row.vintage,
        "state": row.state,
        "source": row.source,
        "payment_reference": payment_reference(PLEDGE, row.id),
        "made_at": row.made_at,
        "ended_at": row.ended_at,
    }


def unknown_pledge(number: int) -> TanzhangError:
    """The refusal of a pledge that there is not."""
    return refuse(
        "unknown-pledge",
        f"there is no pledge {number}",
        where="pledge",
        remedy="list the pledges: tanzhang pledge list",
    )


def reference_taken(what: str) -> TanzhangError:
    """The refusal of a reference under which something else was asked for."""
    return refuse(
        "reference-taken",
        f"another {what} of yours has this reference",
        where="#/reference",
        remedy=f"give each {what} a reference of its own; send the same again only to retry",
    )
