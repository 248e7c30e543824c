"""What the guard holds is as if it had not been reported: the others win as they would, in any order of arrival."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tanzhang.service.intake import intake
from tanzhang.service.settle import settle
from tanzhang.service.spark.settle import ClusterSettlement
from tanzhang.stores.home import Home

from ..homes import FAST, Event, booked, guarded, on, ride, write
from ..stages import LocalStages

FEW = settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=3, database=None)


@st.composite
def days(draw: st.DrawFn) -> list[Event]:
    """Rides of a few people, some too fast, several of one claim or at one time, reported by two partners."""
    drawn = st.tuples(
        st.sampled_from(["amap", "yikatong"]),
        st.sampled_from("abc"),
        st.integers(6, 9),
        st.booleans(),
        st.integers(0, 3),
    )
    events = []
    for number, (source, subject, hour, is_fast, claim) in enumerate(draw(st.lists(drawn, min_size=2, max_size=14))):
        more: dict[str, Any] = {"claim": {"issuer": "gate", "identifier": f"G{claim}"}} if claim else {}
        distance_m = FAST + number if is_fast else 9_000 + number
        events.append(
            ride(f"r{number}", subject, source=source, hour=hour, minute=number, distance_m=distance_m, **more)
        )
    return events


def settled(folder: Path, name: str, events: list[Event], *, in_parts: bool = False) -> Home:
    home = guarded(folder / name)
    files = (events[::2], events[1::2])
    for number, part in enumerate(files):
        if part:
            intake(home, write(folder / f"{name}-{number}.ndjson", part), now=on(5, 15 + number))
    settle(home, now=on(8), engine=ClusterSettlement(LocalStages()) if in_parts else None)
    return home


@FEW
@given(events=days(), data=st.data())
def test_the_others_are_decided_as_if_the_held_ones_had_never_come(events: list[Event], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(events))
    slow = [each for each in events if each["data"]["distance_m"] < FAST]
    with tempfile.TemporaryDirectory() as folder:
        watched = settled(Path(folder), "watched", shuffled)
        in_parts = settled(Path(folder), "parts", events, in_parts=True)
        assert watched.guard.counts()["held"] == len(events) - len(slow)
        if not slow:
            assert watched.book.batches() == []
            return
        wanted = booked(settled(Path(folder), "slow", slow))["records"]
        assert booked(watched)["records"] == wanted
        assert sorted(map(str, booked(in_parts)["records"])) == sorted(map(str, wanted))
