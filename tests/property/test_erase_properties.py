"""Whoever is erased, whenever, and whatever comes later: all that was sealed verifies, and nobody else notices."""

from __future__ import annotations

import os
import tempfile
import uuid
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tanzhang.core.claim import ACTION, identity
from tanzhang.core.errors import TanzhangError
from tanzhang.service.accounts import statement
from tanzhang.service.erase import erase
from tanzhang.service.intake import intake
from tanzhang.service.links import link_child
from tanzhang.service.receipt import create_receipt
from tanzhang.service.settle import settle
from tanzhang.service.spark.settle import ClusterSettlement
from tanzhang.stores.home import Home

from ..homes import Event, account, assert_verified, box, new_home, on, power, records, ride, withdrawal, write
from ..stages import LocalStages

EXAMPLES = int(os.environ.get("TANZHANG_EXAMPLES", "12"))
SUBJECTS = ("anna", "bob", "carl")
PARTNERS = ("cainiao", "amap", "yikatong", "alipay")

_subjects = st.sampled_from(SUBJECTS)
_numbers = st.integers(0, 5).map(str)
_events = st.one_of(
    st.builds(lambda n, who, claim: box(f"b{n}", who, number=f"YT-{claim}"), _numbers, _subjects, _numbers),
    st.builds(
        lambda n, who, by, minute: ride(f"r{n}", who, source=by, minute=minute),
        _numbers, _subjects, st.sampled_from(("amap", "yikatong")), st.sampled_from((0, 10, 29)),
    ),
    st.builds(lambda n, who: power(f"p{n}", who), _numbers, _subjects),
    st.builds(lambda n, m, who: withdrawal(box(f"b{n}", who), f"u{m}"), _numbers, _numbers, _subjects),
    st.builds(lambda n, who: {**box(f"b{n}", who), "type": "use.nothing"}, _numbers, _subjects),
)  # fmt: skip
_steps = st.tuples(st.lists(_events, max_size=8), st.sets(_subjects, max_size=2), st.booleans())


def all_of(subject: str, home: Home) -> list[uuid.UUID]:
    return [account(home, partner, subject) for partner in PARTNERS]


def seen(home: Home, subjects: set[str]) -> dict[Any, Any]:
    """What some people see of themselves, and the receipts of their records."""
    found: dict[Any, Any] = {}
    own = {each for subject in subjects for each in all_of(subject, home)}
    for each in own:
        try:
            found[each] = statement(home, each)
        except TanzhangError as error:
            found[each] = error.code
    for row in records(home).select(["account", "action_id", "outcome"]).to_pylist():
        if row["account"] in own and row["outcome"] not in ("repeat", "conflict"):
            found[row["action_id"]] = create_receipt(home, row["action_id"])
    return found


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(_steps, min_size=1, max_size=3), linked=st.sets(_subjects))
def test_erasing_anyone_at_any_time_leaves_everything_else_as_it_was(
    in_memory: Path, steps: list[tuple[list[Event], set[str], bool]], linked: set[str]
) -> None:
    with tempfile.TemporaryDirectory(dir=in_memory) as name:
        folder = Path(name)
        home = new_home(folder / "home")
        for subject in sorted(linked):
            child, parent = account(home, "cainiao", subject), account(home, "amap", subject)
            link_child(home, child, parent, valid_from=date(2025, 1, 1), valid_until=None, now=on(1))
        gone: set[uuid.UUID] = set()
        credited: dict[Any, int] = {}
        for number, (events, subjects, in_parts) in enumerate(steps):
            now = on(6) + timedelta(days=10 * number)
            intake(home, write(folder / f"{number}.ndjson", [*events, box(f"own{number}", "carl")]), now=now)
            engine = ClusterSettlement(LocalStages(cores=3), rows_a_part=3) if in_parts else None
            settle(home, now=now + timedelta(days=9), engine=engine)
            for row in records(home).to_pylist():
                if row["granted_mg"] and row["claim"] and row["account"] not in gone:
                    credited.setdefault(row["claim"], row["action_id"])
            others = set(SUBJECTS) - subjects
            before = seen(home, others)
            erase(home, [each for subject in sorted(subjects) for each in all_of(subject, home)], now=now)
            assert seen(home, others) == before
            assert_verified(home)
            left = records(home)
            mine = {each for subject in subjects for each in all_of(subject, home)}
            assert not mine & set(left["account"].to_pylist())
            # A withdrawal that was reported under another name is the other person's record.
            children = {row["child"] for row in left.to_pylist() if row["withdraws"] is None}
            assert not mine & children
            gone |= mine
        taken = {identity(home.identity_key, ACTION, "cainiao", f"u{n}") for n in range(6)}
        undone = set(records(home)["action_id"].to_pylist()) & taken
        again = [box(f"again{n}", "carl", number=f"YT-{n}") for n in range(6)]
        intake(home, write(folder / "again.ndjson", again), now=on(6) + timedelta(days=40))
        settle(home, now=on(6) + timedelta(days=60))
        if not undone:  # a claim that was credited, to whomever, is credited once
            claims = [row["claim"] for row in records(home).to_pylist() if row["granted_mg"]]
            new = [row for row in records(home).to_pylist() if row["granted_mg"] and row["claim"] in credited]
            assert len(claims) == len(set(claims))
            assert all(row["action_id"] == credited[row["claim"]] for row in new)
        assert_verified(home)
