"""Carbon units (减排量单位) in blocks: states, what leads from one to another, and how blocks are split and merged.

A block is a run ``[lo, hi)`` of units of one lot with one holder, one state and one tier. Every change is an event that
replaces blocks (``parents``) by blocks (``children``) which cover exactly the same units; :class:`Standing` is the one
place that says which event may do what, for the register that books it and for the check that does it all again.

::

    issue ─▶ held ⇄ reserved          a sale under way; delivered to another holder, or released
             held ⇄ frozen            an administrative hold
             held ⇄ pending_export ─▶ exported
             held ─▶ retired | cancelled | expired

``retired``, ``cancelled``, ``expired`` and ``exported`` are terminal: from them nothing leads anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from itertools import pairwise

from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.market import CANCELLED, MarketRules
from tanzhang.core.serial import lot_name

PROGRAMME, RESERVE, LEVY, PARTY = "programme", "reserve", "levy:", "party:"
"""Holders: the programme (units entrusted to it until they are sold), the error reserve; what others begin with."""


class State(StrEnum):
    """What may be done with a block."""

    HELD = "held"
    RESERVED = "reserved"
    FROZEN = "frozen"
    PENDING_EXPORT = "pending_export"
    RETIRED = "retired"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    EXPORTED = "exported"


TERMINAL = frozenset({State.RETIRED, State.CANCELLED, State.EXPIRED, State.EXPORTED})


class Kind(StrEnum):
    """What an event does."""

    ISSUE = "issue"
    IMPORT = "import"
    SPLIT = "split"
    MERGE = "merge"
    RESERVE = "reserve"
    RELEASE = "release"
    DELIVER = "deliver"
    FREEZE = "freeze"
    THAW = "thaw"
    RETIRE = "retire"
    CANCEL = "cancel"
    COMPENSATE = "compensate"
    EXPIRE = "expire"
    EXPORT = "export"
    EXPORTED = "exported"
    EXPORT_BACK = "export_back"
    LABEL = "label"


MOVES: Mapping[Kind, tuple[State, State]] = {
    Kind.RESERVE: (State.HELD, State.RESERVED),
    Kind.RELEASE: (State.RESERVED, State.HELD),
    Kind.DELIVER: (State.RESERVED, State.HELD),
    Kind.FREEZE: (State.HELD, State.FROZEN),
    Kind.THAW: (State.FROZEN, State.HELD),
    Kind.RETIRE: (State.HELD, State.RETIRED),
    Kind.CANCEL: (State.HELD, State.CANCELLED),
    Kind.COMPENSATE: (State.HELD, State.CANCELLED),
    Kind.EXPIRE: (State.HELD, State.EXPIRED),
    Kind.EXPORT: (State.HELD, State.PENDING_EXPORT),
    Kind.EXPORTED: (State.PENDING_EXPORT, State.EXPORTED),
    Kind.EXPORT_BACK: (State.PENDING_EXPORT, State.HELD),
}
"""From which state to which an event leads the units that it touches; every other kind changes no state."""
BEGINNINGS = frozenset({Kind.ISSUE, Kind.IMPORT})
WAITING = frozenset({State.RESERVED, State.PENDING_EXPORT})
"""States in which a block says for what it is held."""


@dataclass(frozen=True, slots=True)
class Block:
    """The units ``[lo, hi)`` of a lot. ``held_for`` is the reference of the deal or export under way, else empty."""

    lot: int
    lo: int
    hi: int
    vintage: int
    holder: str
    state: State
    tier: str
    held_for: str = ""

    @property
    def count(self) -> int:
        """How many units it is."""
        return self.hi - self.lo

    def is_like(self, other: Block) -> bool:
        """Whether two blocks are equal in everything but their range."""
        return replace(self, lo=0, hi=1) == replace(other, lo=0, hi=1)


@dataclass(frozen=True, slots=True)
class Pick:
    """A range of units that somebody names."""

    lot: int
    lo: int
    hi: int

    @property
    def count(self) -> int:
        """How many units it is."""
        return self.hi - self.lo


@dataclass(frozen=True, slots=True)
class Cut:
    """What :func:`cut` makes of blocks: those that are touched, those parts that were asked for, and all the others."""

    parents: tuple[Block, ...]
    wanted: tuple[Block, ...]
    rest: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """Units of an issue that one holder gets, in one state; ``share`` names the levy, or is the holder."""

    share: str
    holder: str
    state: State
    count: int


def parts_of_issue(units: int, rules: MarketRules) -> list[Part]:
    """What a lot of so many units is issued as, lowest serials first; shares of nothing are left out.

    Each levy is a share of all units: rounded down, or up where it is for the environment. So is the error reserve, up:
    ours to say. What is left is entrusted to the programme. ``lot-too-small`` where nothing is left.

    Source: 5 % of proceeds and 2 % of overall mitigation leave 930 of 1,000 units (registry of Article 6.4).
    """
    shares = [Part(RESERVE, RESERVE, State.HELD, _up(units * rules.reserve_share))]
    for levy in rules.levies:
        gross = units * levy.share
        cancelled = levy.to == CANCELLED
        count = _up(gross) if levy.environment else math.floor(gross)
        holder = f"{LEVY}{levy.id}" if cancelled else levy.to
        shares.append(Part(levy.id, holder, State.CANCELLED if cancelled else State.HELD, count))
    rest = units - sum(each.count for each in shares)
    if rest <= 0:
        raise refuse(
            "lot-too-small",
            f"of {units} units nothing is left after the reserve and levies",
            where="lot",
            remedy="build a larger lot",
        )
    return [Part(PROGRAMME, PROGRAMME, State.HELD, rest), *(each for each in shares if each.count)]


def split(block: Block, places: Iterable[int]) -> tuple[Block, ...]:
    """A block cut at places inside it; ``block-outside`` for a place that is not. A terminal block stays whole."""
    cuts = sorted(set(places))
    if any(not block.lo < place < block.hi for place in cuts):
        raise _outside(block.lot, block.lo, block.hi)
    _check_open([block])
    ends = [block.lo, *cuts, block.hi]
    return tuple(replace(block, lo=lo, hi=hi) for lo, hi in pairwise(ends))


def merge(blocks: Sequence[Block]) -> Block:
    """Neighbours that are equal in everything, as one block; ``blocks-differ``."""
    ordered = sorted(blocks, key=lambda each: each.lo)
    if len(ordered) < 2:
        raise _differ("fewer than two blocks cannot be merged")
    _check_open(ordered)
    for left, right in pairwise(ordered):
        if left.hi != right.lo or not left.is_like(right):
            raise _differ(f"blocks {_named(left)} and {_named(right)} are no neighbours equal in everything")
    return replace(ordered[0], hi=ordered[-1].hi)


def cut(blocks: Sequence[Block], picks: Sequence[Pick]) -> Cut:
    """Cut what picks name out of blocks, which may hold more; a range named twice or that nobody of these has: refused.

    Blocks are of one lot and do not overlap. Raises ``block-outside``, ``pick-empty``.
    """
    ordered = sorted(picks, key=lambda each: (each.lo, each.hi))
    if not ordered or any(pick.lo >= pick.hi for pick in ordered):
        raise refuse("pick-empty", "no units are named", where="blocks", remedy="name a range with units in it")
    for left, right in pairwise(ordered):
        if right.lo < left.hi:
            raise _outside(right.lot, right.lo, right.hi)
    parents: list[Block] = []
    wanted: list[Block] = []
    rest: list[Block] = []
    for block in sorted(blocks, key=lambda each: each.lo):
        inside = [pick for pick in ordered if pick.lo < block.hi and pick.hi > block.lo]
        if not inside:
            continue
        parents.append(block)
        places = {place for pick in inside for place in (pick.lo, pick.hi) if block.lo < place < block.hi}
        for lo, hi in pairwise(sorted({block.lo, *places, block.hi})):
            named = any(pick.lo <= lo and hi <= pick.hi for pick in inside)
            (wanted if named else rest).append(replace(block, lo=lo, hi=hi))
    for pick in ordered:
        found = sum(each.count for each in wanted if pick.lo <= each.lo and each.hi <= pick.hi)
        if found != pick.count:
            raise _outside(pick.lot, pick.lo, pick.hi)
    return Cut(tuple(parents), tuple(wanted), tuple(rest))


def lowest(blocks: Sequence[Block], count: int) -> list[Pick]:
    """The lowest serials of blocks, ``count`` units in all; ``units-short``. Replays agree because of the order."""
    picks, missing = [], count
    for block in sorted(blocks, key=lambda each: each.lo):
        if missing <= 0:
            break
        taken = min(missing, block.count)
        picks.append(Pick(block.lot, block.lo, block.lo + taken))
        missing -= taken
    if count <= 0 or missing:
        raise units_short(count, count - missing)
    return picks


def moved(blocks: Iterable[Block], kind: Kind, *, to: str | None = None, held_for: str = "") -> list[Block]:
    """Blocks after an event that leads from one state to another (:data:`MOVES`); ``unit-state`` where none does.

    ``to`` is the new holder of what is delivered; ``held_for`` what a waiting block is held for.
    """
    before, after = MOVES[kind]
    found = []
    for block in blocks:
        if block.state is not before:
            raise _no_way(block, kind)
        holder = to if kind is Kind.DELIVER and to is not None else block.holder
        found.append(replace(block, state=after, holder=holder, held_for=held_for if after in WAITING else ""))
    return found


class Standing:
    """The blocks of one lot, as events make them one after the other."""

    def __init__(self, blocks: Iterable[Block] = ()) -> None:
        self._by_range = {(each.lo, each.hi): each for each in blocks}

    @property
    def blocks(self) -> list[Block]:
        """The blocks, the lowest first."""
        return sorted(self._by_range.values(), key=lambda each: each.lo)

    def apply(self, kind: Kind, parents: Sequence[tuple[int, int]], children: Sequence[Block]) -> None:
        """Replace the blocks at ``parents`` by ``children``; nothing is changed by an event that is refused.

        Raises ``unit-event`` where the parents do not stand, the children do not tile them exactly, or a unit would go
        where its event does not lead. What begins a lot has no parents, and tiles ``[0, n)``.
        """
        old = [self._by_range[each] for each in dict.fromkeys(parents) if each in self._by_range]
        begins = kind in BEGINNINGS
        empty = kind is Kind.LABEL and not parents and not children  # of final units alone: a fact, and no change
        if len(old) != len(parents) or begins != (not parents and not empty) or (begins and self._by_range):
            raise _event(kind, "its parents are not the blocks that stand")
        ranges = covered(children)
        if (begins and (len(ranges) != 1 or ranges[0][0])) or (not begins and ranges != covered(old)):
            raise _event(kind, "its children do not tile their parents")
        for child in children:
            if begins:
                _check_begun(kind, child)
            for parent in (each for each in old if each.lo < child.hi and each.hi > child.lo):
                _check_step(kind, parent, child)
        for each in old:
            del self._by_range[each.lo, each.hi]
        self._by_range |= {(each.lo, each.hi): each for each in children}


def covered(blocks: Iterable[Block]) -> list[tuple[int, int]]:
    """The ranges that blocks cover, neighbours joined; blocks that overlap are ``unit-event``."""
    ranges: list[tuple[int, int]] = []
    for block in sorted(blocks, key=lambda each: each.lo):
        if block.lo >= block.hi or (ranges and block.lo < ranges[-1][1]):
            raise _event(None, "blocks overlap or are empty")
        if ranges and ranges[-1][1] == block.lo:
            ranges[-1] = (ranges[-1][0], block.hi)
        else:
            ranges.append((block.lo, block.hi))
    return ranges


def totals(blocks: Iterable[Block]) -> dict[State, int]:
    """Units by state, every state named."""
    found = dict.fromkeys(State, 0)
    for block in blocks:
        found[block.state] += block.count
    return found


def units_short(wanted: int, there: int) -> TanzhangError:
    """``units-short``."""
    return refuse(
        "units-short",
        f"{wanted} units are asked for, and {there} are there to be used",
        where="units",
        remedy="ask for fewer, at least one, or from another lot; reserved and frozen units do not count",
    )


def _check_begun(kind: Kind, child: Block) -> None:
    """What begins is held, or a levy that is cancelled as it is issued."""
    cancelled = kind is Kind.ISSUE and child.state is State.CANCELLED and child.holder.startswith(LEVY)
    if not (child.state is State.HELD or cancelled) or child.held_for:
        raise _event(kind, "units begin held, or as a levy that is cancelled")


def _check_step(kind: Kind, old: Block, new: Block) -> None:
    """Whether an event may make ``new`` of units of ``old``: its one step, or nothing where it only touches others."""
    same = replace(old, lo=new.lo, hi=new.hi)
    if kind is not Kind.MERGE and not old.lo <= new.lo < new.hi <= old.hi:
        raise _event(kind, "a child is of two parents")
    if kind in MOVES:
        before, after = MOVES[kind]
        step = replace(same, state=after, held_for=new.held_for if after in WAITING else "")
        if kind is Kind.DELIVER:
            step = replace(step, holder=new.holder)
        right = new == same or (old.state is before and new == step)
    else:
        right = new == (replace(same, tier=new.tier) if kind is Kind.LABEL else same)
    if not right or old.state in TERMINAL:
        raise _event(kind, f"no {kind} leads from {old.state} of {old.holder} to {new.state} of {new.holder}")


def _check_open(blocks: Iterable[Block]) -> None:
    for block in blocks:
        if block.state in TERMINAL:
            raise refuse(
                "unit-state",
                f"block {_named(block)} is {block.state}, which is final",
                where="blocks",
                remedy="leave it as it is: what is retired, cancelled, expired or exported never changes",
            )


def _up(share: Fraction) -> int:
    return math.ceil(share)


def _named(block: Block) -> str:
    return f"{lot_name(block.lot)} {block.lo + 1}-{block.hi}"


def _no_way(block: Block, kind: Kind) -> TanzhangError:
    before, _ = MOVES[kind]
    return refuse(
        "unit-state",
        f"block {_named(block)} is {block.state}, and only what is {before} can be meant by {kind}",
        where="blocks",
        remedy="look at the block's state first; what is retired, cancelled, expired or exported never changes",
    )


def _outside(lot: int, lo: int, hi: int) -> TanzhangError:
    return refuse(
        "block-outside",
        f"{lot_name(lot)} {lo + 1}-{hi} is not within the blocks that are meant, or is named twice",
        where="blocks",
        remedy="name ranges that the holder has in this state, each unit once",
    )


def _differ(message: str) -> TanzhangError:
    return refuse(
        "blocks-differ",
        message,
        where="blocks",
        remedy="merge only neighbours of one lot with the same holder, state and tier",
    )


def _event(kind: Kind | None, message: str) -> TanzhangError:
    return refuse(
        "unit-event",
        f"event {kind}: {message}" if kind else message,
        where="events of units",
        remedy="restore the book from a backup; an event that was booked by the program is never like this",
    )
