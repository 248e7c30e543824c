"""What an operator or a holder does with units: look, split, merge, hold back, cancel, move to and from registries.

Units are named by serial numbers, several of one lot at a time. Who does something is in its event and in the audit
trail. A reference names a request of its kind for good: the same again answers what was done, also after a crash. What
a buyer names is its party's own (:func:`own_reference`), so that two of them may choose one name.
Selling is in deals.py, use for a claim in retire.py, labels in labels.py, errors found later in compensate.py.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import sqlalchemy as sa

from tanzhang.core.access import Actor, Role
from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.region import check_region
from tanzhang.core.serial import FIRST_IMPORT, MOST_UNITS, Serial, code_of, lot_name, lot_number
from tanzhang.core.units import PARTY, PROGRAMME, RESERVE, Block, Kind, Pick, State, totals
from tanzhang.service.cursors import cursor_of, place_after
from tanzhang.service.market.due import cancel_due
from tanzhang.service.market.parties import check_approved
from tanzhang.service.market.rules import market_rules
from tanzhang.service.moments import received_at, received_day
from tanzhang.stores.home import Home
from tanzhang.stores.register.units import Begun, actor_text, standing_facts

LONGEST = 200
"""How many characters a reference, or a name of another registry's, has at most."""
_DIGEST = re.compile("[0-9a-f]{64}")


# -- looking ----------------------------------------------------------------------------------------------------


def blocks_page(
    home: Home,
    *,
    holder: str | None = None,
    lot: str | None = None,
    state: str | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> dict[str, Any]:
    """Blocks by lot and serial, a page at a time.

    ``cursor-malformed``, ``serial-malformed``, ``unit-state-unknown``.
    """
    after = None if cursor is None else place_after(cursor, int, int)
    number = None if lot is None else lot_number(lot, where="query: lot")
    states = None if state is None else [_state(state)]
    rows = home.units.blocks(holder=holder, lot=number, states=states, after=after, limit=limit + 1)
    following = cursor_of(rows[limit - 1].lot, rows[limit - 1].lo) if len(rows) > limit else None
    begun = home.units.lots({each.lot for each in rows[:limit]})
    return {"items": [shown(begun[each.lot], each) for each in rows[:limit]], "next": following}


def block_page(home: Home, serial: str) -> dict[str, Any]:
    """The units of a serial number as they stand: blocks, labels and every event that was about any of them.

    With holders, references and who did it; what everybody sees is in unit_pages.py. ``serial-malformed``,
    ``serial-check``, ``unknown-serial``.
    """
    with home.book.snapshot():
        begun, pick = named(home, serial)
        blocks = [_within(each, pick) for each in home.units.blocks(lot=pick.lot) if _meets(each, pick)]
        facts = [
            each for each in standing_facts(home.units.labels(pick.lot)) if each.lo < pick.hi and each.hi > pick.lo
        ]
        events = [
            _event_shown(begun, row)
            for row in home.units.events(lot=pick.lot)
            if any(lo < pick.hi and hi > pick.lo for lo, hi in json.loads(row.detail)["units"])
        ]
    return {
        "serial": serial,
        **_lot_shown(begun),
        "count": str(pick.count),
        "blocks": [shown(begun, each) for each in blocks],
        "labels": [label_shown(begun, each) for each in facts],
        "events": events,
    }


def lot_units(home: Home, name: str) -> dict[str, Any]:
    """The units of a lot in all, by state: they always add up to what was issued. ``not-issued``."""
    number = lot_number(name)
    with home.book.snapshot():
        begun, blocks = home.units.begun(number), home.units.blocks(lot=number)
    if begun is None:
        raise refuse("not-issued", f"{name} has no units", where="lot", remedy="issue it once it is registered")
    states = {str(state): str(count) for state, count in totals(blocks).items()}
    reserve = sum(each.count for each in blocks if each.holder == RESERVE and each.state is State.HELD)
    return {**_lot_shown(begun), "units": str(begun.units), "states": states, "reserve": str(reserve)}


def labels_of(home: Home, serial: str) -> dict[str, Any]:
    """The labels over the units of a serial number that were not revoked; as :func:`block_page`."""
    with home.book.snapshot():
        begun, pick = named(home, serial)
        facts = standing_facts(home.units.labels(pick.lot))
    own = [each for each in facts if each.lo < pick.hi and each.hi > pick.lo]
    return {"serial": serial, "labels": [label_shown(begun, each) for each in own]}


def shown(begun: Begun, block: Block) -> dict[str, Any]:
    """A block as JSON members."""
    return {
        "serial": begun.serial(block.lo, block.hi).text,
        "lot": lot_name(block.lot),
        "count": str(block.count),
        "vintage": block.vintage,
        "state": str(block.state),
        "tier": block.tier,
        "holder": block.holder,
        "held_for": block.held_for or None,
    }


def label_shown(begun: Begun, fact: Any) -> dict[str, Any]:
    """A label as JSON members."""
    return {
        "number": str(fact.seq),
        "serial": begun.serial(fact.lo, fact.hi).text,
        "scheme": fact.scheme,
        "scope": fact.scope,
        "tier": fact.tier,
        "granted_by": fact.granted_by,
        "evidence": fact.evidence,
        "first_day": fact.first_day,
        "until_day": fact.until_day,
    }


def named(home: Home, serial: str, *, where: str = "serial") -> tuple[Begun, Pick]:
    """The units that a serial number names; ``serial-malformed``, ``serial-check``, ``unknown-serial``."""
    read = Serial.parse(serial, where=where)
    begun = home.units.begun(read.lot)
    if begun is None or begun.serial(read.lo, read.hi) != read or read.hi > begun.units:
        raise refuse(
            "unknown-serial",
            f"no units were issued here under {serial}",
            where=where,
            remedy="see the lot's blocks; the number may be another registry's",
        )
    return begun, Pick(read.lot, read.lo, read.hi)


# -- splitting and merging --------------------------------------------------------------------------------------


def split(
    home: Home, serial: str, counts: Sequence[int], *, reference: str, actor: Actor, now: datetime
) -> dict[str, Any]:
    """Cut the block of a serial number into blocks of so many units, the rest last.

    ``block-outside``, ``unit-state``, ``reference-taken``.
    """
    begun, pick = named(home, serial)
    _check_reference(reference)
    places = [pick.lo + sum(counts[: number + 1]) for number in range(len(counts))]
    if not counts or min(counts) <= 0 or places[-1] > pick.hi:
        raise refuse(
            "block-outside",
            f"{pick.count} units cannot be cut into {', '.join(map(str, counts)) or 'nothing'} and a rest",
            where="counts",
            remedy="give counts above zero that come to the block's units at most",
        )
    inside = [place for place in places if place < pick.hi]
    with home.book.transaction() as con:
        known = home.units.event_in(con, Kind.SPLIT, reference)
        if known is None and not any((each.lo, each.hi) == (pick.lo, pick.hi) for each in _of_lot(home, con, pick.lot)):
            raise _no_block(serial)
        made = home.units.split(con, pick.lot, pick.lo, inside, reference, received_at(now), actor=actor_text(actor))
        _write(home, con, known, actor, "unit split", serial, now, {"reference": reference})
    return _answer("split", begun, made, reference)


def merge(home: Home, serial: str, *, reference: str, actor: Actor, now: datetime) -> dict[str, Any]:
    """Make one block of all those in the range of a serial number; ``blocks-differ``, ``unit-state``."""
    begun, pick = named(home, serial)
    _check_reference(reference)
    with home.book.transaction() as con:
        known = home.units.event_in(con, Kind.MERGE, reference)
        if (
            known is None
            and sum(each.count for each in _of_lot(home, con, pick.lot) if _inside(each, pick)) != pick.count
        ):
            raise _no_block(serial)
        made = home.units.merge(con, pick.lot, pick.lo, pick.hi, reference, received_at(now), actor=actor_text(actor))
        _write(home, con, known, actor, "unit merge", serial, now, {"reference": reference})
    return _answer("merged", begun, made, reference)


# -- from one state to another ----------------------------------------------------------------------------------


Check = Callable[[sa.Connection, Sequence[Pick]], None]
"""What may refuse, in the transaction, that units move; it is given those that are named."""


class _Verb(Protocol):
    def __call__(
        self, con: sa.Connection, holder: str, picks: Sequence[Pick], reference: str, detail: Mapping[str, Any],
        at: str, *, actor: str = "",
    ) -> list[Block]: ...  # fmt: skip


def freeze(
    home: Home, serials: Sequence[str], *, reference: str, why: str, actor: Actor, now: datetime
) -> dict[str, Any]:
    """Hold units back for an authority or a court, visible to everybody; only what is held can be."""
    return _move(home, home.units.freeze, "frozen", serials, None, reference, {"why": why}, actor, now)


def thaw(
    home: Home, serials: Sequence[str], *, reference: str, why: str, actor: Actor, now: datetime
) -> dict[str, Any]:
    """End such a hold; units of an error reserve then stand for what was taken back of their lot meanwhile."""

    def make_good(con: sa.Connection, lot: int) -> None:
        cancel_due(home, con, lot, f"thaw {reference}", received_at(now), actor)

    return _move(home, home.units.thaw, "thawed", serials, None, reference, {"why": why}, actor, now, also=make_good)


def cancel(
    home: Home, holder: str | None, serials: Sequence[str], *, reference: str, why: str, actor: Actor, now: datetime,
    for_lot: str | None = None, check: Check | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Take units out without a claim, for good, and with them the right to claim them.

    ``holder`` is whose they must be, None where the operator does it for whoever holds them; ``for_lot`` the lot whose
    shortfall they make good (:func:`compensate.make_good`), ``check`` what may refuse that.
    """
    detail = {"why": why} if for_lot is None else {"why": why, "for_lot": for_lot}
    return _move(home, home.units.cancel, "cancelled", serials, holder, reference, detail, actor, now, check)


def expire(
    home: Home, serials: Sequence[str], *, reference: str, why: str, actor: Actor, now: datetime
) -> dict[str, Any]:
    """End units whose time of use is over by a rule, which ``why`` names."""
    return _move(home, home.units.expire, "expired", serials, None, reference, {"why": why}, actor, now)


def export(
    home: Home,
    holder: str | None,
    serials: Sequence[str],
    *,
    registry: str,
    reference: str,
    actor: Actor,
    now: datetime,
) -> dict[str, Any]:
    """Begin to move units to another registry: they wait until :func:`exported` or :func:`export_back`."""
    detail = {"registry": request_text(registry, "registry")}
    return _move(home, home.units.export, "pending_export", serials, holder, reference, detail, actor, now)


def exported(home: Home, reference: str, *, there: str, actor: Actor, now: datetime) -> dict[str, Any]:
    """The other registry has them, under its own reference ``there``, which it gave no other export.

    ``export-unknown``, ``foreign-taken``, ``reference-taken``.
    """
    foreign = normal(there, "there")

    def act(con: sa.Connection, at: str) -> list[Block]:
        begun = home.units.event_in(con, Kind.EXPORT, reference)
        registry = None if begun is None else json.loads(begun.detail)["asked"]["registry"]
        for row in home.units.events_in(con, Kind.EXPORTED):
            detail = json.loads(row.detail)["asked"]
            if (detail["registry"], detail["there"]) == (registry, foreign) and row.reference != reference:
                raise _foreign_taken(foreign, registry)
        said = {"there": foreign, "registry": registry}
        return home.units.exported(con, reference, said, at, actor=actor_text(actor))

    return _end(home, act, "exported", Kind.EXPORTED, reference, actor, now)


def export_back(home: Home, reference: str, *, why: str, actor: Actor, now: datetime) -> dict[str, Any]:
    """The other registry did not take them: they are held again. ``export-unknown``, ``reference-taken``."""

    def act(con: sa.Connection, at: str) -> list[Block]:
        return home.units.export_back(con, reference, {"why": why}, at, actor=actor_text(actor))

    return _end(home, act, "export_back", Kind.EXPORT_BACK, reference, actor, now)


def import_units(
    home: Home,
    *,
    registry: str,
    foreign: str,
    units: int,
    unit: str,
    vintage: int,
    region: str,
    tier: str,
    holder: str,
    evidence: str,
    reference: str,
    actor: Actor,
    now: datetime,
) -> dict[str, Any]:
    """Take units of another registry in, as a lot of their own (``X``) that never mixes with the programme's.

    ``foreign`` is their serial number there, compared in capitals without blanks; ``evidence`` the SHA-256 (hex) of
    what shows that they were taken out there. Raises ``import-malformed`` with every mistake, ``import-own`` for a
    number of this registry, ``foreign-taken``, ``reference-taken``, ``region-malformed``, ``no-market``.
    """
    _check_reference(reference)
    rules = market_rules(home, received_day(home, now))
    number = normal(foreign, "foreign")
    wrong = [
        (not 1 <= units <= MOST_UNITS, "units", "give a whole number of units"),
        (unit not in ("T", "K"), "unit", "write T for 1 t or K for 1 kg"),
        (not 1990 <= vintage <= received_day(home, now).year, "vintage", "give the year in which it was avoided"),
        (
            tier not in {each.id for each in rules.tiers},
            "tier",
            f"use one of {', '.join(each.id for each in rules.tiers)}",
        ),
        (not _DIGEST.fullmatch(evidence), "evidence", "give the SHA-256 of the other registry's certificate in hex"),
        (
            holder != PROGRAMME and not holder.startswith(PARTY),
            "holder",
            f"name who holds them: {PROGRAMME}, or party: and its id",
        ),
    ]
    _refuse_all("import-malformed", wrong)
    check_region(region, where="region")
    if _is_own(home, number):
        raise refuse(
            "import-own",
            f"{number} is a number of this registry",
            where="foreign",
            remedy="what was to leave comes back by ending its export",
        )
    detail = {"evidence": evidence}
    with home.book.transaction() as con:
        known = home.units.event_in(con, Kind.IMPORT, reference)
        lot = home.units.next_import(con) if known is None else known.lot
        where = (request_text(registry, "registry"), number)
        begun = Begun(lot, Kind.IMPORT, region, code_of(home.programme.id), vintage, unit, units, tier, *where)
        block = Block(lot, 0, units, vintage, holder, State.HELD, tier)
        at = received_at(now)
        if known is None and holder.startswith(PARTY):
            check_approved(home, con, holder.removeprefix(PARTY), "hold units")
        made = home.units.begin(con, begun, [block], reference, at, actor=actor_text(actor), detail=detail)
        said = {"reference": reference, "registry": registry, "foreign": number, **detail}
        _write(home, con, known, actor, "unit import", f"lot {lot_name(lot)}", now, said)
    return {**_answer("imported", begun, made, reference), **_lot_shown(begun)}


def own_reference(holder: str | None, reference: str, actor: Actor) -> str:
    """Under which reference an event of units is booked: as it is said, a buyer's behind the name of its party.

    What waits for an export is ``held_for`` it, and the operator ends the export by it.
    """
    return f"{holder} {reference}" if actor.role is Role.BUYER else reference


def normal(text: str, where: str) -> str:
    """Another registry's number or reference as it is compared: full width as half, capitals, no blanks."""
    return request_text("".join(unicodedata.normalize("NFKC", text).upper().split()), where)


# -- helpers ----------------------------------------------------------------------------------------------------


def _move(
    home: Home, verb: _Verb, status: str, serials: Sequence[str], holder: str | None, reference: str,
    detail: Mapping[str, Any], actor: Actor, now: datetime, check: Check | None = None,
    also: Callable[[sa.Connection, int], None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Move units that serial numbers name from one state to another, in one event; ``also`` is done with their lot.

    ``check`` is asked in the transaction, of what is not told again.

    A buyer's party has to be approved: ``unknown-party``, ``party-not-approved``.
    """
    _check_reference(reference)
    key = own_reference(holder, reference, actor)
    for name, value in detail.items():
        request_text(value, name, longest=1000)
    found = [named(home, serial, where=f"serials/{number}") for number, serial in enumerate(serials)]
    if not found:
        raise refuse("pick-empty", "no units are named", where="serials", remedy="name a serial number at least")
    picks = [pick for _, pick in found]
    with home.book.transaction() as con:
        owner = holder or _holder(home, con, picks)
        kind = _KIND[status]
        known = home.units.event_in(con, kind, key)
        if known is not None and holder is None:
            owner = json.loads(known.detail)["holder"]  # what they were of when it was done
        if known is None and actor.role is Role.BUYER:
            check_approved(home, con, owner.removeprefix(PARTY), "move units")
        if known is None and check is not None:
            check(con, picks)
        made = verb(con, owner, picks, key, detail, received_at(now), actor=actor_text(actor))
        said = {"reference": key, "serials": list(serials), **detail}
        _write(home, con, known, actor, f"unit {kind}", f"lot {lot_name(picks[0].lot)}", now, said)
        if known is None and also is not None:
            also(con, picks[0].lot)
    return _answer(status, found[0][0], made, reference)


def _end(
    home: Home, act: Callable[[sa.Connection, str], list[Block]], status: str, kind: Kind, reference: str,
    actor: Actor, now: datetime,
) -> dict[str, Any]:  # fmt: skip
    """End an export, one way or the other."""
    with home.book.transaction() as con:
        known = home.units.event_in(con, kind, reference)
        made = act(con, received_at(now))
        _write(
            home,
            con,
            known,
            actor,
            f"unit {kind}",
            f"lot {lot_name(made[0].lot)}",
            now,
            {"reference": reference},
        )
        begun = home.units.begun_in(con, made[0].lot)
    if begun is None:
        raise AssertionError(f"{lot_name(made[0].lot)} has units and never began")
    return _answer(status, begun, made, reference)


_KIND = {
    "frozen": Kind.FREEZE,
    "thawed": Kind.THAW,
    "cancelled": Kind.CANCEL,
    "expired": Kind.EXPIRE,
    "pending_export": Kind.EXPORT,
}


def _holder(home: Home, con: sa.Connection, picks: Sequence[Pick]) -> str:
    """Who holds the units that are named; ``holders-mixed`` where it is not one."""
    there = _of_lot(home, con, picks[0].lot)
    holders = {each.holder for each in there for pick in picks if _meets(each, pick)}
    if len(holders) != 1:
        raise refuse(
            "holders-mixed",
            f"{len(holders)} holders have the units that are named",
            where="serials",
            remedy="ask for the units of each holder by themselves, under a reference of their own",
        )
    return holders.pop()


def _of_lot(home: Home, con: sa.Connection, lot: int) -> list[Block]:
    return home.units.blocks_in(con, lot=lot)


def _meets(block: Block, pick: Pick) -> bool:
    return block.lot == pick.lot and block.lo < pick.hi and block.hi > pick.lo


def _inside(block: Block, pick: Pick) -> bool:
    return pick.lo <= block.lo and block.hi <= pick.hi


def _within(block: Block, pick: Pick) -> Block:
    """The part of a block that a serial number names."""
    lo, hi = max(block.lo, pick.lo), min(block.hi, pick.hi)
    return Block(block.lot, lo, hi, block.vintage, block.holder, block.state, block.tier, block.held_for)


def _write(
    home: Home, con: sa.Connection, known: Any | None, actor: Actor, act: str, subject: str, now: datetime,
    detail: Mapping[str, Any],
) -> None:  # fmt: skip
    """Write an act to the audit trail, unless it is told again."""
    if known is None:
        home.audit.write(con, actor, act, subject, at=received_at(now), detail=detail)


def _answer(status: str, begun: Begun, blocks: Sequence[Block], reference: str) -> dict[str, Any]:
    count = sum(each.count for each in blocks)
    return {
        "status": status,
        "reference": reference,
        "count": str(count),
        "blocks": [shown(begun, each) for each in blocks],
    }


def _lot_shown(begun: Begun) -> dict[str, Any]:
    said = {
        "lot": lot_name(begun.lot),
        "kind": "import" if begun.lot > FIRST_IMPORT else "issue",
        "programme": begun.programme,
        "region": begun.region,
        "vintage": begun.vintage,
        "unit": begun.unit,
    }
    return said if begun.registry is None else {**said, "registry": begun.registry, "foreign": begun.foreign}


def _event_shown(begun: Begun, row: Any) -> dict[str, Any]:
    detail = json.loads(row.detail)
    return {
        "event": row.kind,
        "at": row.made_at,
        "count": str(detail["count"]),
        "serials": [begun.serial(lo, hi).text for lo, hi in detail["units"]],
        "reference": row.reference,
        "actor": row.actor,
    }


def _state(text: str) -> State:
    try:
        return State(text)
    except ValueError:
        raise refuse(
            "unit-state-unknown",
            f"{text[:40]!r} is no state of units",
            where="query: state",
            remedy=f"use one of {', '.join(State)}",
        ) from None


def _is_own(home: Home, number: str) -> bool:
    """Whether a number is one of this registry's own, its check right or not."""
    return number.startswith("TZ1-") and f"-{code_of(home.programme.id)}-" in number


def _check_reference(reference: str) -> None:
    request_text(reference, "reference")


def request_text(text: str, where: str, *, longest: int = LONGEST) -> str:
    """A text that is not empty, not too long and on one line; ``unit-request-malformed``."""
    if not text.strip() or len(text) > longest or not text.isprintable():
        raise refuse(
            "unit-request-malformed",
            f"{where} is empty, has more than {longest} characters or is not one line",
            where=where,
            remedy="write a text on one line",
        )
    return text


def _refuse_all(code: str, checks: Sequence[tuple[bool, str, str]]) -> None:
    """Refuse all mistakes of one request together."""
    problems = [
        problem
        for wrong, where, remedy in checks
        if wrong
        for problem in refuse(code, f"{where} is not as it has to be", where=where, remedy=remedy).problems
    ]
    if problems:
        raise TanzhangError(problems)


def _foreign_taken(foreign: str, registry: str | None) -> TanzhangError:
    return refuse(
        "foreign-taken",
        f"{foreign} of {registry} names another export already",
        where="there",
        remedy="ask the other registry for the reference of this one",
    )


def _no_block(serial: str) -> TanzhangError:
    return refuse(
        "block-outside",
        f"{serial} is not the number of one block, or of several that are whole",
        where="serial",
        remedy="list the lot's blocks, and name from the first unit of one to the last unit of one",
    )
