"""Carbon units in blocks (减排量单位): who holds which, in what state, and every event that made it so.

Table ``unit_block`` is what stands; ``unit_event``, ``unit_lot`` and ``unit_label`` (stores/book/schema.py) are
chained. An event replaces blocks by blocks that cover the same units, so what stands can be made again from events
alone (:class:`tanzhang.core.units.Standing`), and ``tanzhang verify`` does. The database refuses blocks that overlap,
and every change of a block in a terminal state.

A reference names an event of its kind for good: the same thing asked again answers what was done the first time,
something else under it is ``reference-taken``. Units of the error reserve go nowhere but into compensation.

Transactions that write stand one behind another on every database, so what is read inside one holds until its end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import sqlalchemy as sa

from tanzhang.core.access import Actor
from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.methodology import canonical_json
from tanzhang.core.serial import FIRST_IMPORT, Serial, lot_name
from tanzhang.core.units import (
    RESERVE,
    TERMINAL,
    Block,
    Cut,
    Kind,
    Pick,
    Standing,
    State,
    cut,
    lowest,
    merge,
    moved,
    split,
)
from tanzhang.stores.book import Book, append, unit_event, unit_label, unit_lot
from tanzhang.stores.book.schema import APART, NUMBER, ONLY_ADDED, REFUSALS, TEXT, metadata

_FINAL = ", ".join(f"'{state}'" for state in sorted(TERMINAL))
_ANSWER = "unit_block: what is retired, cancelled, expired or exported never changes"
_AT_ONCE = 500

unit_block = sa.Table(
    "unit_block",
    metadata,
    sa.Column("lot", sa.Integer, nullable=False),
    sa.Column("lo", sa.BigInteger, nullable=False),
    sa.Column("hi", sa.BigInteger, nullable=False),
    sa.Column("vintage", sa.Integer, nullable=False),
    sa.Column("holder", TEXT, nullable=False),
    sa.Column("state", TEXT, nullable=False),
    sa.Column("tier", TEXT, nullable=False),
    sa.Column("held_for", TEXT, nullable=False),  # the reference of the deal or export under way, else empty
    sa.Column("since", sa.Integer, nullable=False),  # the event that made it
    sa.PrimaryKeyConstraint("lot", "lo"),
    sa.CheckConstraint("lo >= 0 AND hi > lo AND hi <= 4294967296", name="unit_block_range_check"),
    sa.Index("unit_block_holder", "holder", "lot", "lo"),
    sa.Index("unit_block_held_for", "held_for", "state"),
    info={
        APART: ("lot", "lo", "hi"),
        REFUSALS: (
            ("final", "UPDATE", f"OLD.state IN ({_FINAL})", _ANSWER),
            ("final_kept", "DELETE", f"OLD.state IN ({_FINAL})", _ANSWER),
        ),
    },
)


# Batches that were looked at for acts of lots that they take back, and what that came to; lot 0 says that it was done.
unit_reversal = sa.Table(
    "unit_reversal",
    metadata,
    sa.Column("id", NUMBER, primary_key=True),
    sa.Column("batch", sa.Integer, nullable=False),
    sa.Column("lot", sa.Integer, nullable=False),
    sa.Column("reversed_mg", sa.BigInteger, nullable=False),
    sa.Column("made_at", TEXT, nullable=False),
    sa.UniqueConstraint("batch", "lot"),
    info={ONLY_ADDED: True},
)


@dataclass(frozen=True, slots=True)
class Begun:
    """How the units of a lot began; ``registry`` and ``foreign`` say where imported ones come from."""

    lot: int
    kind: Kind
    region: str
    programme: str
    vintage: int
    unit: str
    units: int
    tier: str
    registry: str | None = None
    foreign: str | None = None

    def serial(self, lo: int, hi: int) -> Serial:
        """The serial number of a range of its units."""
        return Serial(self.region, self.programme, self.lot, self.vintage, self.unit, lo, hi)


class Units:
    """The carbon units of a home."""

    def __init__(self, book: Book) -> None:
        self._book = book

    # -- reading ----------------------------------------------------------------------------------------------

    def blocks(
        self,
        *,
        holder: str | None = None,
        lot: int | None = None,
        states: Collection[State] | None = None,
        after: tuple[int, int] | None = None,
        limit: int | None = None,
    ) -> list[Block]:
        """Blocks by lot and serial, those behind the block at ``after`` (lot, lo)."""
        with self._book.reading() as con:
            return self.blocks_in(con, holder=holder, lot=lot, states=states, after=after, limit=limit)

    def blocks_in(
        self,
        con: sa.Connection,
        *,
        holder: str | None = None,
        lot: int | None = None,
        states: Collection[State] | None = None,
        held_for: str | None = None,
        after: tuple[int, int] | None = None,
        limit: int | None = None,
    ) -> list[Block]:
        """As :meth:`blocks`, in somebody's transaction."""
        own = sa.select(unit_block).order_by(unit_block.c.lot, unit_block.c.lo).limit(limit)
        for column, value in (("holder", holder), ("lot", lot), ("held_for", held_for)):
            if value is not None:
                own = own.where(unit_block.c[column] == value)
        if states is not None:
            own = own.where(unit_block.c.state.in_([str(state) for state in states]))
        if after is not None:
            own = own.where(sa.tuple_(unit_block.c.lot, unit_block.c.lo) > sa.tuple_(*map(sa.literal, after)))
        return [_block(row) for row in con.execute(own)]

    def begun(self, lot: int) -> Begun | None:
        """How the units of a lot began; None where it has none."""
        with self._book.reading() as con:
            return self.begun_in(con, lot)

    def begun_in(self, con: sa.Connection, lot: int) -> Begun | None:
        """As :meth:`begun`, in somebody's transaction."""
        row = con.execute(sa.select(unit_lot).where(unit_lot.c.lot == lot)).first()
        return None if row is None else _begun(row)

    def lots(self, numbers: Iterable[int] | None = None) -> dict[int, Begun]:
        """Lot -> how its units began, of some lots or (None) all that have any."""
        own = sa.select(unit_lot).order_by(unit_lot.c.seq)
        if numbers is not None:
            own = own.where(unit_lot.c.lot.in_(sorted(set(numbers))))
        return {row.lot: _begun(row) for row in self._book.query(own)}

    def event(self, kind: Kind, reference: str) -> Any | None:
        """The event of a kind and reference."""
        with self._book.reading() as con:
            return self.event_in(con, kind, reference)

    def event_in(self, con: sa.Connection, kind: Kind, reference: str) -> Any | None:
        """As :meth:`event`, in somebody's transaction."""
        own = (unit_event.c.kind == str(kind)) & (unit_event.c.reference == reference)
        return con.execute(sa.select(unit_event).where(own)).first()

    def events(self, *, lot: int | None = None, after: int = -1, limit: int | None = None) -> list[Any]:
        """Events in order, those after number ``after``, of a lot or of all."""
        own = sa.select(unit_event).where(unit_event.c.seq > after).order_by(unit_event.c.seq).limit(limit)
        return self._book.query(own if lot is None else own.where(unit_event.c.lot == lot))

    def labels(self, lot: int | None = None) -> list[Any]:
        """Facts about units, of a lot or of all, in the order in which they were recorded."""
        own = sa.select(unit_label).order_by(unit_label.c.seq)
        return self._book.query(own if lot is None else own.where(unit_label.c.lot == lot))

    # -- errors found later -----------------------------------------------------------------------------------

    def looked_through(self) -> int:
        """The last batch that was looked at for acts of lots that it takes back; -1 before the first."""
        last = self._book.query(sa.select(sa.func.max(unit_reversal.c.batch)))[0][0]
        return -1 if last is None else int(last)

    def reversed_mg(self, con: sa.Connection, lot: int) -> int:
        """What was taken back in all of what is in a lot since it was frozen."""
        own = sa.select(sa.func.sum(unit_reversal.c.reversed_mg)).where(unit_reversal.c.lot == lot)
        return int(con.execute(own).scalar() or 0)

    def made_good(self, con: sa.Connection, lot: int) -> int:
        """How many units were cancelled because of that: of the lot's reserve, and others in its name."""
        found = 0
        for kind in (Kind.COMPENSATE, Kind.CANCEL):
            for row in self.events_in(con, kind):
                detail = json.loads(row.detail)
                if detail["asked"].get("for_lot") == lot_name(lot):
                    found += detail["count"]
        return found

    def add_reversals(self, con: sa.Connection, batch: int, found: Mapping[int, int], at: str) -> None:
        """A batch was looked at: lot -> mg that it takes back of it."""
        rows = [{"batch": batch, "lot": lot, "reversed_mg": mg, "made_at": at} for lot, mg in {0: 0, **found}.items()]
        con.execute(unit_reversal.insert(), rows)

    # -- where units begin, in somebody's transaction ---------------------------------------------------------

    def begin(
        self, con: sa.Connection, begun: Begun, blocks: Sequence[Block], reference: str, at: str,
        *, actor: str = "", detail: Mapping[str, Any] | None = None,
    ) -> list[Block]:  # fmt: skip
        """Let the units of a lot begin as blocks that tile ``[0, units)``; once for each lot, whoever asks.

        Raises ``lot-issued`` where the lot has units, ``foreign-taken`` where an imported serial is here already,
        ``reference-taken``; the same asked again answers the blocks that it began with.
        """
        asked = {**asdict(begun), "blocks": [_as_list(block) for block in blocks]}
        done = self._done(con, begun.kind, reference, asked)
        if done is not None:
            return done
        if self.begun_in(con, begun.lot) is not None:
            raise refuse(
                "lot-issued",
                f"lot {lot_name(begun.lot)} has its units already",
                where="lot",
                remedy="a lot is issued once; see its units: tanzhang unit lot",
            )
        same = (unit_lot.c.registry == begun.registry) & (unit_lot.c.foreign == begun.foreign)
        if begun.foreign is not None and con.execute(sa.select(unit_lot.c.lot).where(same)).first() is not None:
            raise refuse(
                "foreign-taken",
                f"{begun.foreign} of {begun.registry} is here already",
                where="foreign",
                remedy="look it up among imported lots; a serial number of a registry comes in once",
            )
        append(con, unit_lot, {**asdict(begun), "made_at": at})
        said = {"asked": asked, **(detail or {})}
        return self._write(con, begun.kind, reference, begun.lot, [], list(blocks), said, at, actor)

    def next_import(self, con: sa.Connection) -> int:
        """The number of the next lot that comes from another registry."""
        last = con.execute(sa.select(sa.func.max(unit_lot.c.lot)).where(unit_lot.c.lot > FIRST_IMPORT)).scalar()
        return int(last or FIRST_IMPORT) + 1

    # -- from one state to another, in somebody's transaction -------------------------------------------------

    def reserve(
        self, con: sa.Connection, holder: str, lot: int, count: int, reference: str, at: str,
        blocks: Sequence[Pick] | None = None, *, actor: str = "",
    ) -> list[Block]:  # fmt: skip
        """Reserve units of a holder for a deal: the lowest serials, or those named; they are held for ``reference``.

        ``units-short``, ``block-outside``, ``unit-state``, ``reserve-kept``, ``reference-taken``. One that was released
        is not reserved again under its reference.
        """
        return self._take(con, Kind.RESERVE, holder, lot, count, blocks, reference, at, actor, {})

    def release(self, con: sa.Connection, reference: str, at: str, *, actor: str = "") -> list[Block]:
        """Give reserved units back to who holds them; ``reservation-unknown``."""
        return self._end(con, Kind.RELEASE, reference, reference, at, actor, {})

    def deliver(self, con: sa.Connection, reference: str, to: str, at: str, *, actor: str = "") -> list[Block]:
        """Give reserved units to another holder; ``reservation-unknown``, ``reference-taken``."""
        return self._end(con, Kind.DELIVER, reference, reference, at, actor, {}, to=to)

    def retire(
        self, con: sa.Connection, holder: str, picks: Sequence[Pick], reference: str, detail: Mapping[str, Any],
        at: str, *, actor: str = "",
    ) -> list[Block]:  # fmt: skip
        """Use units of one lot for a claim, for good; all of them are ``held`` by ``holder`` or none is retired.

        Raises as :meth:`reserve` does, ``lots-mixed``.
        """
        return self._take_picks(con, Kind.RETIRE, holder, picks, reference, at, actor, detail)

    def cancel(
        self, con: sa.Connection, holder: str, picks: Sequence[Pick], reference: str, detail: Mapping[str, Any],
        at: str, *, actor: str = "",
    ) -> list[Block]:  # fmt: skip
        """Take units out without a claim, for good; as :meth:`retire`."""
        return self._take_picks(con, Kind.CANCEL, holder, picks, reference, at, actor, detail)

    def expire(
        self, con: sa.Connection, holder: str, picks: Sequence[Pick], reference: str, detail: Mapping[str, Any],
        at: str, *, actor: str = "",
    ) -> list[Block]:  # fmt: skip
        """End units whose time of use is over, for good; as :meth:`retire`."""
        return self._take_picks(con, Kind.EXPIRE, holder, picks, reference, at, actor, detail)

    def compensate(
        self, con: sa.Connection, lot: int, count: int, reference: str, detail: Mapping[str, Any], at: str,
        *, actor: str = "",
    ) -> list[Block]:  # fmt: skip
        """Cancel units of the error reserve of a lot, the lowest serials; ``units-short``."""
        return self._take(con, Kind.COMPENSATE, RESERVE, lot, count, None, reference, at, actor, detail)

    def freeze(
        self, con: sa.Connection, holder: str, picks: Sequence[Pick], reference: str, detail: Mapping[str, Any],
        at: str, *, actor: str = "",
    ) -> list[Block]:  # fmt: skip
        """Hold units back for an authority; as :meth:`retire`, and of the error reserve too."""
        return self._take_picks(con, Kind.FREEZE, holder, picks, reference, at, actor, detail)

    def thaw(
        self, con: sa.Connection, holder: str, picks: Sequence[Pick], reference: str, detail: Mapping[str, Any],
        at: str, *, actor: str = "",
    ) -> list[Block]:  # fmt: skip
        """End such a hold; as :meth:`freeze`."""
        return self._take_picks(con, Kind.THAW, holder, picks, reference, at, actor, detail)

    def export(
        self, con: sa.Connection, holder: str, picks: Sequence[Pick], reference: str, detail: Mapping[str, Any],
        at: str, *, actor: str = "",
    ) -> list[Block]:  # fmt: skip
        """Begin to move units to another registry: they wait under ``reference``; as :meth:`retire`."""
        return self._take_picks(con, Kind.EXPORT, holder, picks, reference, at, actor, detail)

    def exported(
        self, con: sa.Connection, reference: str, detail: Mapping[str, Any], at: str, *, actor: str = ""
    ) -> list[Block]:
        """The other registry has what waited under ``reference``; ``export-unknown``, ``reference-taken``."""
        return self._end(con, Kind.EXPORTED, reference, reference, at, actor, detail)

    def export_back(
        self, con: sa.Connection, reference: str, detail: Mapping[str, Any], at: str, *, actor: str = ""
    ) -> list[Block]:
        """The other registry did not take what waited under ``reference``; ``export-unknown``, ``reference-taken``."""
        return self._end(con, Kind.EXPORT_BACK, reference, reference, at, actor, detail)

    # -- without a change of state, in somebody's transaction -------------------------------------------------

    def split(
        self, con: sa.Connection, lot: int, lo: int, places: Sequence[int], reference: str, at: str, *, actor: str = ""
    ) -> list[Block]:
        """Cut the block that begins at ``lo`` at places; ``block-outside``, ``unit-state``, ``reference-taken``."""
        asked = {"lot": lot, "lo": lo, "places": sorted(set(places))}
        done = self._done(con, Kind.SPLIT, reference, asked)
        if done is not None:
            return done
        found = [block for block in self.blocks_in(con, lot=lot) if block.lo == lo]
        if not found or not places:
            raise refuse(
                "block-outside",
                f"no block of lot {lot_name(lot)} begins with unit {lo + 1}, or no place is named",
                where="block",
                remedy="list the lot's blocks and name the first unit of one, and where it is to be cut",
            )
        return self._write(
            con, Kind.SPLIT, reference, lot, found, list(split(found[0], places)), {"asked": asked}, at, actor
        )

    def merge(
        self, con: sa.Connection, lot: int, lo: int, hi: int, reference: str, at: str, *, actor: str = ""
    ) -> list[Block]:
        """Make one block of all those in ``[lo, hi)``; ``blocks-differ``, ``unit-state``, ``reference-taken``."""
        asked = {"lot": lot, "lo": lo, "hi": hi}
        done = self._done(con, Kind.MERGE, reference, asked)
        if done is not None:
            return done
        found = [block for block in self.blocks_in(con, lot=lot) if lo <= block.lo and block.hi <= hi]
        for fact in self.facts_in(con, lot):
            if lo < fact.lo < hi or lo < fact.hi < hi:
                raise refuse(
                    "blocks-differ",
                    f"a label of {fact.scheme} is of some of these units only",
                    where="blocks",
                    remedy="merge only blocks with the same labels",
                )
        return self._write(con, Kind.MERGE, reference, lot, found, [merge(found)], {"asked": asked}, at, actor)

    def label(
        self, con: sa.Connection, fact: Mapping[str, Any], tier_of: Callable[[Block], str], at: str, *, actor: str = ""
    ) -> tuple[int, list[Block]]:
        """Record a fact about units (columns of ``unit_label``); its number, and the blocks of it that are not final.

        Blocks are cut where the fact begins and ends, since a block has one set of labels; ``tier_of`` says
        the tier of each then. The same fact under one reference is recorded once; ``reference-taken``.
        """
        pick, reference = Pick(fact["lot"], fact["lo"], fact["hi"]), fact["reference"]
        asked = dict(fact)
        done = self._done(con, Kind.LABEL, reference, asked)
        if done is not None:
            own = sa.select(unit_label.c.seq).where(unit_label.c.reference == reference)
            return int(con.execute(own).scalar_one()), done
        number = append(con, unit_label, {**fact, "actor": actor, "made_at": at})
        there = self.blocks_in(con, lot=pick.lot, states=[state for state in State if state not in TERMINAL])
        inside = [
            Pick(each.lot, max(each.lo, pick.lo), min(each.hi, pick.hi))
            for each in there
            if each.lo < pick.hi and each.hi > pick.lo
        ]
        parts = cut(there, inside) if inside else Cut((), (), ())
        changed = [replace(each, tier=tier_of(each)) for each in parts.wanted]
        said = {"asked": asked, "label": number}
        children = [*changed, *parts.rest]
        self._write(con, Kind.LABEL, reference, pick.lot, parts.parents, children, said, at, actor, changed)
        return number, changed

    def fact_in(self, con: sa.Connection, number: int) -> Any | None:
        """A fact by its number."""
        return con.execute(sa.select(unit_label).where(unit_label.c.seq == number)).first()

    def fact_named(self, con: sa.Connection, reference: str) -> Any:
        """The fact that was recorded under a reference."""
        return con.execute(sa.select(unit_label).where(unit_label.c.reference == reference)).one()

    def events_in(self, con: sa.Connection, kind: Kind) -> list[Any]:
        """All events of a kind, in order."""
        return list(con.execute(sa.select(unit_event).where(unit_event.c.kind == str(kind)).order_by(unit_event.c.seq)))

    def facts_in(self, con: sa.Connection, lot: int) -> list[Any]:
        """Labels of a lot that were not revoked, in the order in which they were recorded."""
        rows = list(con.execute(sa.select(unit_label).where(unit_label.c.lot == lot).order_by(unit_label.c.seq)))
        return standing_facts(rows)

    # -- helpers ----------------------------------------------------------------------------------------------

    def _take_picks(
        self, con: sa.Connection, kind: Kind, holder: str, picks: Sequence[Pick], reference: str, at: str, actor: str,
        detail: Mapping[str, Any],
    ) -> list[Block]:  # fmt: skip
        lots = {pick.lot for pick in picks}
        if len(lots) > 1:
            raise refuse(
                "lots-mixed",
                f"units of {len(lots)} lots are named together",
                where="blocks",
                remedy="ask for each lot by itself, under a reference of its own",
            )
        count = sum(pick.count for pick in picks)
        return self._take(con, kind, holder, min(lots, default=0), count, picks, reference, at, actor, detail)

    def _take(
        self, con: sa.Connection, kind: Kind, holder: str, lot: int, count: int, picks: Sequence[Pick] | None,
        reference: str, at: str, actor: str, detail: Mapping[str, Any],
    ) -> list[Block]:  # fmt: skip
        """Cut units out of what a holder has and move them by an event; as it was the first time if it was."""
        named = None if picks is None else [[pick.lo, pick.hi] for pick in picks]
        asked = {"holder": holder, "lot": lot, "count": count, "blocks": named, **detail}
        done = self._done(con, kind, reference, asked)
        if done is not None:
            return done
        if holder == RESERVE and kind not in _OF_RESERVE:
            raise refuse(
                "reserve-kept",
                f"units of the error reserve are not there to {kind}",
                where="holder",
                remedy="leave them: they stand for errors that are found later",
            )
        own = self.blocks_in(con, holder=holder, lot=lot)
        if picks is None:
            before = [block for block in own if block.state is State.HELD]
            picks = lowest(before, count)
        parts = cut(own, picks)
        waiting = reference if kind in (Kind.RESERVE, Kind.EXPORT) else ""
        changed = moved(parts.wanted, kind, held_for=waiting)
        said = {"asked": asked, "holder": holder}
        return self._write(con, kind, reference, lot, parts.parents, [*changed, *parts.rest], said, at, actor, changed)

    def _end(
        self, con: sa.Connection, kind: Kind, held_for: str, reference: str, at: str, actor: str,
        detail: Mapping[str, Any], *, to: str | None = None,
    ) -> list[Block]:  # fmt: skip
        """End what waits under a reference, whole."""
        asked = {"held_for": held_for, "to": to, **detail}
        done = self._done(con, kind, reference, asked)
        if done is not None:
            return done
        state = State.RESERVED if kind in (Kind.RELEASE, Kind.DELIVER) else State.PENDING_EXPORT
        waiting = self.blocks_in(con, held_for=held_for, states=[state])
        if not waiting:
            code = "reservation-unknown" if state is State.RESERVED else "export-unknown"
            raise refuse(
                code,
                f"no units are {state} under {held_for}",
                where="reference",
                remedy="look up the reference: it was never begun, or it has ended the other way",
            )
        changed = moved(waiting, kind, to=to)
        return self._write(
            con, kind, reference, waiting[0].lot, waiting, changed, {"asked": asked, "to": to}, at, actor
        )

    def _done(self, con: sa.Connection, kind: Kind, reference: str, asked: Mapping[str, Any]) -> list[Block] | None:
        """The answer of an event that was booked under a reference before; ``reference-taken`` if it was another."""
        row = self.event_in(con, kind, reference)
        if row is None:
            return None
        detail = json.loads(row.detail)
        if canonical_json(detail["asked"]) != canonical_json(asked):
            raise reference_taken(kind, reference)
        return answer_of(row)

    def _write(
        self, con: sa.Connection, kind: Kind, reference: str, lot: int, parents: Sequence[Block],
        children: Sequence[Block], detail: Mapping[str, Any], at: str, actor: str,
        answer: Sequence[Block] | None = None,
    ) -> list[Block]:  # fmt: skip
        """Book an event: what it says, and the blocks that stand since."""
        ranges = [(each.lo, each.hi) for each in parents]
        Standing(parents).apply(kind, ranges, children)
        answered = sorted(children if answer is None else answer, key=lambda each: each.lo)
        said = {
            **detail,
            "parents": [list(each) for each in ranges],
            "children": [_as_list(each) for each in sorted(children, key=lambda each: each.lo)],
            "units": [[each.lo, each.hi] for each in answered],
            "count": sum(each.count for each in answered),
        }
        event = {"kind": str(kind), "reference": reference, "lot": lot, "detail": canonical_json(said)}
        number = append(con, unit_event, {**event, "actor": actor, "made_at": at})
        lows = [each.lo for each in parents]
        for start in range(0, len(lows), _AT_ONCE):
            some = unit_block.c.lo.in_(lows[start : start + _AT_ONCE])
            con.execute(unit_block.delete().where((unit_block.c.lot == lot) & some))
        if children:
            con.execute(unit_block.insert(), [{**asdict(each), "since": number} for each in children])
        return list(answered)


def actor_text(actor: Actor) -> str:
    """Who did something, as events say it."""
    return f"{actor.role}:{actor.subject}"


def reference_taken(kind: Kind, reference: str) -> TanzhangError:
    """``reference-taken``."""
    return refuse(
        "reference-taken",
        f"{kind} {reference} is booked already, and was something else",
        where="reference",
        remedy="give each request a reference of its own; the same request again answers what was done",
    )


def standing_facts(rows: Iterable[Any]) -> list[Any]:
    """The labels among facts that no later one revokes."""
    facts = list(rows)
    revoked = {row.revokes for row in facts}
    return [row for row in facts if row.revokes is None and row.seq not in revoked]


def children_of(row: Any) -> list[Block]:
    """The blocks that stand since an event."""
    return [_of_list(row.lot, each) for each in json.loads(row.detail)["children"]]


def parents_of(row: Any) -> list[tuple[int, int]]:
    """The ranges of the blocks that an event replaced."""
    return [(lo, hi) for lo, hi in json.loads(row.detail)["parents"]]


def answer_of(row: Any) -> list[Block]:
    """The blocks that an event was about, as it left them."""
    wanted = {tuple(each) for each in json.loads(row.detail)["units"]}
    return [each for each in children_of(row) if (each.lo, each.hi) in wanted]


_OF_RESERVE = frozenset({Kind.COMPENSATE, Kind.FREEZE, Kind.THAW})


def _block(row: Any) -> Block:
    return Block(row.lot, row.lo, row.hi, row.vintage, row.holder, State(row.state), row.tier, row.held_for)


def _begun(row: Any) -> Begun:
    where = (row.region, row.programme, row.vintage, row.unit, row.units, row.tier, row.registry, row.foreign)
    return Begun(row.lot, Kind(row.kind), *where)


def _as_list(block: Block) -> list[Any]:
    """A block as an event says it, without its lot."""
    return [block.lo, block.hi, block.vintage, block.holder, str(block.state), block.tier, block.held_for]


def _of_list(lot: int, said: Sequence[Any]) -> Block:
    lo, hi, vintage, holder, state, tier, held_for = said
    return Block(lot, lo, hi, vintage, holder, State(state), tier, held_for)
