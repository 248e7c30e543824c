"""Lots (批次): draft, freeze, dissolve, show.

A draft says what a lot is to take. Freezing decides it, once and for all::

    select            everything authorised that nobody took, in the order of the log; cut to whole units
    leaves, tree      from the record files; the lot's files are written
    one transaction   lot, shares of accounts, the log's entry; then the log

It holds the home's lock, so that nothing is settled or erased meanwhile. People give, join and revoke all the same: the
transaction looks at what they did since the selection, and if any of it touches the lot, all of it is done again.
Nothing is ever taken that somebody gave away. Killed anywhere, the same call again comes to the same end.
docs/lots.md, docs/adr/0034-lots.md.
"""

from __future__ import annotations

import json
import uuid
from bisect import bisect_left
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, NamedTuple

import msgspec
import pyarrow as pa
import sqlalchemy as sa

from tanzhang.core.access import Actor
from tanzhang.core.errors import refuse
from tanzhang.core.lot import TRANSITIONS, LotEntry, LotState, check_transition, lot_text
from tanzhang.core.market import MarketRules
from tanzhang.core.methodology import canonical_json
from tanzhang.core.region import check_region
from tanzhang.engine.columns import Bytes, Numbers, identities
from tanzhang.engine.lot import Members, batches_of, lot_tree
from tanzhang.service.cursors import cursor_of, place_after
from tanzhang.service.joining import own_accounts
from tanzhang.service.market.available import available_mg
from tanzhang.service.market.lot_leaves import leaves_of_members
from tanzhang.service.market.rules import market_rules
from tanzhang.service.market.selection import Seen, Wanted, select, vintage_over
from tanzhang.service.market.terms import check_notice
from tanzhang.service.moments import received_at, received_day
from tanzhang.service.progress import Progress, silent
from tanzhang.stores.book import batch, transfer
from tanzhang.stores.book.schema import end_of
from tanzhang.stores.home import Home
from tanzhang.stores.lot_files import write_lot
from tanzhang.stores.register.joinings import CARRIED

_TRIES = 5
_OLDEST = 1990
Reference = Annotated[str, msgspec.Meta(min_length=1, max_length=100, examples=["2025-first"])]
Why = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class LotSaid(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a lot is to take: acts of a ``vintage`` (calendar year) in a ``region``, of some ``behaviours`` (null: all).

    ``units`` is how many at most, null for all that fit. ``reference`` is the operator's own key: the same again is the
    same lot. ``early`` says why it is frozen before its vintage is over; without it such a lot is refused.
    """

    reference: Reference
    vintage: int
    region: Annotated[str, msgspec.Meta(max_length=20, examples=["CN-110000"])]
    behaviours: Annotated[list[str], msgspec.Meta(min_length=1, max_length=200)] | None = None
    units: Annotated[str, msgspec.Meta(pattern="^[1-9][0-9]{0,11}$", examples=["100"])] | None = None
    early: Why | None = None


# -- drafts -----------------------------------------------------------------------------------------------------


def draft(home: Home, said: LotSaid, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Draft a lot; nothing is taken yet. The same ``reference`` again is the same lot.

    Raises ``lot-malformed``, ``region-malformed``, ``reference-taken``, ``no-market``, ``market-not-in-force``.
    """
    market_rules(home, received_day(home, now))
    _check(home, said)
    behaviours = None if said.behaviours is None else canonical_json(sorted(set(said.behaviours)))
    values = {
        "reference": said.reference,
        "vintage": said.vintage,
        "region": said.region,
        "behaviours": behaviours,
        "wanted": None if said.units is None else int(said.units),
        "early": said.early,
    }
    with home.book.transaction() as con:
        known = home.lots.of_reference(said.reference)
        if known is None:
            home.lots.draft(con, values, actor=actor, at=received_at(now))
        elif any(getattr(known, name) != value for name, value in values.items()):
            raise refuse(
                "reference-taken",
                f"{lot_text(known.number)} has this reference, and says otherwise",
                where="#/reference",
                remedy="give each lot a reference of its own; send the same again only to retry",
            )
    return shown(home.lots.of_reference(said.reference))


def _check(home: Home, said: LotSaid) -> None:
    check_region(said.region, where="#/region")
    if not _OLDEST <= said.vintage <= 9998:
        raise refuse(
            "lot-malformed",
            f"{said.vintage} is no calendar year of acts",
            where="#/vintage",
            remedy="give the year of the local days of the acts",
        )
    known = {each.behaviour for each in home.catalogue.all_methodologies()}
    unknown = sorted(set(said.behaviours or ()) - known)
    if unknown:
        raise refuse(
            "lot-malformed",
            f"no methodology is of {', '.join(unknown)}",
            where="#/behaviours",
            remedy="name behaviours of the catalogue: tanzhang catalogue list",
        )


# -- freezing ---------------------------------------------------------------------------------------------------


def freeze(home: Home, number: int, *, actor: Actor, now: datetime, progress: Progress = silent) -> dict[str, Any]:
    """Fix the members of a draft for good; a lot that is frozen already is told again.

    Raises ``unknown-lot``, ``lot-state``, ``notice-too-short``, ``vintage-open``, ``lot-short`` if less than asked for
    fits, ``home-busy``, ``book-moved`` if it was never the moment.
    """
    day = received_day(home, now)
    with home.settling():
        home.publish()
        row = home.lots.one(number)
        if row.entry is not None:
            return shown(row)
        check_transition(number, LotState(row.state), LotState.FROZEN)
        rules = market_rules(home, day)
        check_notice(home, rules, day)
        if row.early is None and not vintage_over(row.vintage, day):
            raise refuse(
                "vintage-open",
                f"acts of {row.vintage} are still being done on {day}",
                where="early",
                remedy="wait until the year is over, or draft the lot with the reason why it is frozen before",
            )
        for _ in range(_TRIES):
            if _try(home, row, rules, actor, now, progress):
                break
        else:
            raise refuse(
                "book-moved",
                "what the lot would take was given, joined or revoked each time it was built",
                where=lot_text(number),
                remedy="freeze it when fewer people are about",
            )
        home.publish()
    return shown(home.lots.one(number))


def _try(home: Home, row: Any, rules: MarketRules, actor: Actor, now: datetime, progress: Progress) -> bool:
    """Build a lot and book it, unless something moved that it rests on."""
    wanted = Wanted(row.vintage, row.region, None if row.behaviours is None else tuple(json.loads(row.behaviours)))
    found = select(home, wanted, progress=progress)
    members = found.members.cut(_units(row, found.members, rules) * rules.unit_mass_mg)
    accounts, sums = members.by_account()  # before there are leaves, since both take much memory
    progress("leaves", 40, len(members))
    made = leaves_of_members(home, members.keys, members.amounts, with_records=False)
    tree = lot_tree(members.amounts, made.leaves)
    if tree.root.amount != members.total_mg or tree.root.amount % rules.unit_mass_mg:
        raise AssertionError(f"members of {lot_text(row.number)} do not come to whole units")
    progress("files", 85, len(members))
    written = write_lot(home.storage, row.number, members.keys, members.amounts, tree)
    batches = batches_of(members.keys[[0, -1]])
    entry = LotEntry(
        number=row.number,
        programme=home.programme.id,
        vintage=row.vintage,
        region=row.region,
        methodologies=_methodologies(home, made.plans),
        terms=rules.digest,
        unit_mass_mg=rules.unit_mass_mg,
        units=tree.root.amount // rules.unit_mass_mg,
        members=len(members),
        leaves=tree.leaves,
        root=tree.root.hash,
        total_mg=tree.root.amount,
        first_batch=int(batches[0]),
        last_batch=int(batches[1]),
    )
    values = {
        "market": rules.key,
        "terms": entry.terms,
        "methodologies": canonical_json({name: list(each) for name, each in entry.methodologies.items()}),
        "unit_mass_mg": entry.unit_mass_mg,
        "units": entry.units,
        "total_mg": entry.total_mg,
        "members": entry.members,
        "accounts": len(accounts),
        "leaves": entry.leaves,
        "root": entry.root.hex(),
        "batches": found.seen.batches,
        "first_batch": entry.first_batch,
        "last_batch": entry.last_batch,
        **written,
    }
    progress("booking", 95, len(members))
    with home.book.transaction() as con:
        if _moved(home, con, found.seen, accounts, sums):
            return False
        shares = pa.table({"account": identities(accounts), "amount": pa.array(sums)})
        home.lots.freeze(con, row.number, values, entry.to_text(), shares, actor=actor, at=received_at(now))
    return True


def _units(row: Any, members: Members, rules: MarketRules) -> int:
    """How many whole units a lot comes to; ``lot-short``."""
    fit = members.total_mg // rules.unit_mass_mg
    wanted = row.wanted or fit
    if not 0 < wanted <= fit:
        raise refuse(
            "lot-short",
            f"{members.total_mg} mg fit, {fit} whole units of {rules.unit_mass_mg} mg; "
            f"{'one at least' if row.wanted is None else row.wanted} is wanted",
            where=lot_text(row.number),
            remedy="draft a lot of fewer units or of more acts, or have more authorised: tanzhang authorise load",
        )
    return int(wanted)


def _methodologies(home: Home, digests: frozenset[str]) -> dict[str, list[str]]:
    """``id@version`` -> digests of the plans that members were quantified by."""
    found: dict[str, list[str]] = {}
    for digest, document in sorted(home.book.plans(digests).items()):
        said = json.loads(document)
        found.setdefault(f"{said['methodology']}@{said['version']}", []).append(digest)
    return found


class _Held(NamedTuple):
    """Accounts of a lot, sorted, and what is of each."""

    accounts: Bytes
    amounts: Numbers

    def of(self, account: uuid.UUID) -> int:
        """What is of an account, 0 if it is not in the lot."""
        own = self.accounts
        found = bisect_left(range(len(own)), account.bytes, key=lambda number: own[number].tobytes())
        return int(self.amounts[found]) if found < len(own) and own[found].tobytes() == account.bytes else 0


def _moved(home: Home, con: sa.Connection, seen: Seen, accounts: Bytes, sums: Numbers) -> bool:
    """Whether anything happened since that a lot must not be booked over.

    Who gave something since may have, if enough is left for lot and gifts: gifts pass over what lots name.
    """
    if end_of(con, batch) != (seen.batches, seen.head):
        return True
    held = _Held(accounts, sums)
    own = sa.select(transfer.c.account, transfer.c.kind).where(transfer.c.seq >= seen.legs, transfer.c.account != "")
    touched = [(uuid.UUID(row.account), row.kind) for row in con.execute(own.distinct())]
    carried = {account for account, kind in touched if kind in CARRIED}
    if any(held.of(each) for account in carried for each in own_accounts(home, account)):
        return True
    for account in {account for account, kind in touched if kind not in CARRIED}:
        share = sum(held.of(each) for each in own_accounts(home, account))
        if share and available_mg(home, account) < share:
            return True
    narrowed = home.authorisations.narrowed_since(con, seen.revision)
    return any(held.of(each) for account in narrowed for each in own_accounts(home, account))


# -- dissolving -------------------------------------------------------------------------------------------------


def dissolve(home: Home, number: int, *, why: str, actor: Actor, now: datetime) -> dict[str, Any]:
    """Give a draft or a lot that is not being verified up; what it held is free again. Twice is once.

    Raises ``unknown-lot``, ``lot-state``.
    """
    with home.book.transaction() as con:
        if home.lots.one(number).state != LotState.DISSOLVED:
            detail = {"why": why}
            home.lots.advance(con, number, LotState.DISSOLVED, detail=detail, actor=actor, at=received_at(now))
    return shown(home.lots.one(number))


# -- looking ----------------------------------------------------------------------------------------------------


def lot_page(home: Home, number: int, *, public: bool = False) -> dict[str, Any]:
    """A lot with what became of it; ``public`` for everybody: no draft, no reference. ``unknown-lot``."""
    row = home.lots.one(number)
    if public and row.entry is None:
        raise refuse(
            "unknown-lot",
            f"there is no lot {lot_text(number)}",
            where="lot",
            remedy="see the lots there are: tanzhang lot list",
        )
    events = [
        {"state": each.kind, "at": each.made_at, **({} if public else {"detail": json.loads(each.detail)})}
        for each in home.lots.events(number)
    ]
    return {**shown(row, public=public), "events": events, "log": home.values["origin"]}


def lots(home: Home, *, cursor: str | None = None, limit: int = 50, public: bool = False) -> dict[str, Any]:
    """Lots, the latest first, a page at a time; for everybody those alone that were frozen. ``cursor-malformed``."""
    before = None if cursor is None else int(place_after(cursor, int)[0])
    rows = home.lots.all(before=before, limit=limit + 1, frozen=public)
    following = cursor_of(rows[limit - 1].number) if len(rows) > limit else None
    return {"items": [shown(row, public=public) for row in rows[:limit]], "next": following}


def shares_of(home: Home, account: uuid.UUID) -> list[dict[str, Any]]:
    """What lots have of the acts of an account and of all whose holdings are in it, by lot."""
    found = home.lots.share_of(own_accounts(home, account))
    return [
        {"lot": lot_text(number), "mg": str(mg), "state": home.lots.one(number).state} for number, mg in found.items()
    ]


def shown(row: Any, *, public: bool = False) -> dict[str, Any]:
    """A lot as JSON members; what freezing decides is null before."""

    def text(value: int | None) -> str | None:
        return None if value is None else str(value)

    said: dict[str, Any] = {
        "lot": lot_text(row.number),
        "state": row.state,
        "vintage": row.vintage,
        "region": row.region,
        "behaviours": None if row.behaviours is None else json.loads(row.behaviours),
        "frozen_at": row.frozen_at,
        "market": row.market,
        "terms": row.terms,
        "methodologies": None if row.methodologies is None else json.loads(row.methodologies),
        **{name: text(getattr(row, name)) for name in ("unit_mass_mg", "units", "total_mg", "members", "leaves")},
        "root": row.root,
        "entry": row.entry,
        "early": row.early,
    }
    if not public:
        own: Mapping[str, Any] = {
            "reference": row.reference,
            "wanted": text(row.wanted),
            "accounts": text(row.accounts),
            "drafted_at": row.drafted_at,
            "next_states": sorted(TRANSITIONS[LotState(row.state)]),
        }
        said |= own
    return said
