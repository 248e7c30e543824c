"""Any sequence of events of units, on both databases, against a model that knows single units and no blocks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tanzhang.core.errors import TanzhangError
from tanzhang.core.serial import Serial
from tanzhang.core.units import MOVES, TERMINAL, Kind, Pick, Standing, State, covered, totals
from tanzhang.service.market.check_units import check_units
from tanzhang.stores.home import Home
from tanzhang.stores.register.units import children_of, parents_of

from ..units import AT, LABEL, TIER, imported

UNITS = 24
Step = tuple[str, int, int, str, int]
HOLDERS = ("programme", "party:a")
_STEPS = st.lists(
    st.tuples(
        st.sampled_from([
            "reserve", "release", "deliver", "retire", "cancel", "expire", "freeze", "thaw", "export", "exported",
            "export_back", "split", "merge", "label",
        ]),
        st.integers(0, UNITS),
        st.integers(1, UNITS),
        st.sampled_from(HOLDERS),
        st.integers(0, 3),
    ),
    max_size=14,
)  # fmt: skip


@dataclass(frozen=True)
class Unit:
    """What is true of one unit."""

    holder: str = "programme"
    state: State = State.HELD
    tier: str = TIER
    held_for: str = ""


class Model:
    """Units one by one, and what each request of a reference was."""

    def __init__(self) -> None:
        self.units = [Unit()] * UNITS
        self.done: dict[tuple[str, str], Any] = {}

    def take(self, kind: Kind, holder: str, lo: int, hi: int, held_for: str = "") -> bool:
        """Move ``[lo, hi)`` if all of it is there to be moved."""
        before, after = MOVES[kind]
        own = range(lo, hi)
        if hi > UNITS or any(self.units[n].holder != holder or self.units[n].state is not before for n in own):
            return False
        for n in own:
            self.units[n] = Unit(holder, after, self.units[n].tier, held_for)
        return True

    def end(self, kind: Kind, held_for: str, to: str | None = None) -> bool:
        """End what waits under a reference."""
        before, after = MOVES[kind]
        own = [n for n, unit in enumerate(self.units) if unit.state is before and unit.held_for == held_for]
        for n in own:
            self.units[n] = Unit(to or self.units[n].holder, after, self.units[n].tier)
        return bool(own)


def plan(home: Home, con: Any, model: Model, lot: int, step: Step) -> tuple[bool, Callable[[], object]]:
    """Do a step in the model: whether it lets it happen, and what does the same in the book."""
    what, lo, count, holder, order = step
    hi, waiting = lo + count, f"{lot}-{order}"
    pick, register = Pick(lot, lo, hi), home.units
    verb = getattr(register, what)
    if what in ("reserve", "export"):
        asked = (holder, lo, hi)
        known = model.done.get((what, waiting))
        allowed = known == asked if known else model.take(Kind(what), holder, lo, hi, waiting)
        model.done |= {(what, waiting): asked} if allowed else {}
        if what == "reserve":
            return allowed, lambda: register.reserve(con, holder, lot, count, waiting, AT, [pick])
        return allowed, lambda: register.export(con, holder, [pick], waiting, {}, AT)
    if what in ("release", "deliver", "exported", "export_back"):
        to = ("party:b",) if what == "deliver" else ({},) if what.startswith("export") else ()
        allowed = (what, waiting) in model.done or model.end(
            Kind(what), waiting, "party:b" if to == ("party:b",) else None
        )
        model.done |= {(what, waiting): True} if allowed else {}
        return allowed, lambda: verb(con, waiting, *to, AT)
    reference = f"{lot}-{step}"
    known = model.done.get((what, reference))
    if known:  # the very same again: the same answer, and nothing more
        allowed = True
    elif what in ("split", "merge", "label"):
        allowed = _shape(home, con, model, lot, step)
    else:
        allowed = model.take(Kind(what), holder, lo, hi)
    start = max((each.lo for each in register.blocks_in(con, lot=lot) if each.lo < lo), default=0)
    start = known[0] if known else start
    model.done |= {(what, reference): (start,)} if allowed else {}
    fact = {**LABEL, "reference": reference, "lot": lot, "lo": lo, "hi": min(hi, UNITS), "tier": f"t{order}"}
    shapes: dict[str, Callable[[], object]] = {
        "split": lambda: register.split(con, lot, start, [lo], reference, AT),
        "merge": lambda: register.merge(con, lot, lo, hi, reference, AT),
        "label": lambda: register.label(con, fact, lambda _: f"t{order}", AT),
    }
    return allowed, shapes.get(what, lambda: verb(con, holder, [pick], reference, {}, AT))


def _shape(home: Home, con: Any, model: Model, lot: int, step: Step) -> bool:
    """Whether blocks may be cut or joined there, and what a label makes of units."""
    what, lo, count, _, order = step
    hi = lo + count
    if what == "label":
        for n in range(lo, min(hi, UNITS)):
            if model.units[n].state not in TERMINAL:
                old = model.units[n]
                model.units[n] = Unit(old.holder, old.state, f"t{order}", old.held_for)
        return True
    blocks = home.units.blocks_in(con, lot=lot)
    if what == "split":
        return any(each.lo < lo < each.hi and each.state not in TERMINAL for each in blocks)
    inside = [each for each in blocks if lo <= each.lo and each.hi <= hi]
    facts = home.units.facts_in(con, lot)
    whole = all(not (lo < end < hi) for fact in facts for end in (fact.lo, fact.hi))
    like = len({(each.holder, each.state, each.tier, each.held_for) for each in inside}) == 1
    return len(inside) > 1 and like and whole and inside[0].state not in TERMINAL


class _Refused(Exception):  # noqa: N818 - it is no error
    """Ends a transaction without its effect."""


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS)
def test_any_sequence_of_events_keeps_blocks_tiled_totals_whole_and_final_units_final(
    home: Home, steps: list[Step]
) -> None:
    (begun,) = imported(home, UNITS)
    lot, model = begun.lot, Model()
    final: dict[int, Unit] = {}
    named = home.units.begun(lot)
    assert named is not None
    for step in steps:
        if step[0] == "label" and step[1] >= UNITS:
            continue  # a label of no unit: the service refuses its serial number
        with suppress(_Refused), home.book.transaction() as con:
            allowed, do = plan(home, con, model, lot, step)
            if allowed:
                do()
            else:
                with pytest.raises(TanzhangError):
                    do()
                raise _Refused  # so that nothing of it is kept
        blocks = home.units.blocks(lot=lot)
        assert covered(blocks) == [(0, UNITS)]
        assert sum(totals(blocks).values()) == UNITS
        there = [Unit(each.holder, each.state, each.tier, each.held_for) for each in blocks for _ in range(each.count)]
        assert there == model.units
        for number, unit in final.items():
            assert there[number] == unit
        final |= {number: unit for number, unit in enumerate(there) if unit.state in TERMINAL}
        for each in blocks:
            serial = named.serial(each.lo, each.hi)
            assert Serial.parse(serial.text) == serial
            assert serial.count == each.count
    again_made = Standing()
    for row in home.units.events(lot=lot):
        again_made.apply(Kind(row.kind), parents_of(row), children_of(row))
    assert again_made.blocks == home.units.blocks(lot=lot)


def test_what_random_events_made_verifies(home: Home) -> None:
    (begun,) = imported(home, UNITS)
    with home.book.transaction() as con:
        home.units.reserve(con, "programme", begun.lot, 5, "r", AT)
        home.units.deliver(con, "r", "party:a", AT)
        home.units.retire(con, "party:a", [Pick(begun.lot, 1, 3)], "x", {}, AT)
    count, problems = check_units(home)
    assert (count, problems) == (5, [])
