"""A reader answers what the record files, the book and the columnar engine come to, whatever happened before."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tanzhang.core.claim import ACTION, identity
from tanzhang.core.errors import TanzhangError
from tanzhang.core.record import Record, to_json
from tanzhang.service import by_account, view
from tanzhang.service.accounts import read_records
from tanzhang.service.erase import erase
from tanzhang.service.intake import intake
from tanzhang.service.links import link_child
from tanzhang.service.reading import Reader
from tanzhang.service.settle import decide_pending, open_reports, settle, settled_records
from tanzhang.stores.home import Home

from ..homes import DAY, Event, account, box, children_of, event, local, new_home, on, power, ride, withdrawal, write

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
    st.builds(lambda n, m, who: withdrawal(ride(f"r{n}", who), f"v{m}"), _numbers, _numbers, _subjects),
    st.builds(
        lambda n, who: event("alipay", f"i{n}", "finance.e_invoice", who, local(9, int(n)), count=1),
        _numbers, _subjects,
    ),
)  # fmt: skip
_acts = st.sampled_from(("settle", "keep", "erase", "link", ""))
_steps = st.tuples(st.lists(_events, max_size=8), _acts, _subjects)


def told(home: Home, own: uuid.UUID) -> dict[str, Any] | str:
    """One account by the columnar engine over all record files and all open reports."""
    con = home.connect()
    settled = settled_records(home, con)
    con.execute(f"CREATE TEMP TABLE own AS FROM {settled} WHERE account = '{own}'")
    records = read_records(con, "FROM own ORDER BY ended DESC, action_id")
    pending = open_reports(home, None).table
    preview: list[Record] = []
    if pending.num_rows:
        con.register("decided", decide_pending(home, con, pending).records())
        preview = read_records(con, f"FROM decided WHERE account = '{own}' ORDER BY ended DESC, action_id")
    booked = home.book.balance(own)
    if not records and not preview and not children_of(home, con, own):
        return "account-erased" if any(booked.values()) else "unknown-account"

    def amount(found: list[Record], kind: str) -> str:
        return str(sum(each.granted_mg - each.reversed_mg for each in found if each.kind == kind))

    return {
        "confirmed": [str(booked.get(unit, 0)) for unit in ("co2e_mg", "footprint_mg")],
        "recorded": [amount(records, kind) for kind in ("reduction", "emission")],
        "provisional": [amount(preview, kind) for kind in ("reduction", "emission")],
        "latest": sorted_texts(records),
        "open": sorted_texts(preview),
        "children": children_of(home, con, own),
    }


def sorted_texts(records: list[Record]) -> list[Any]:
    """Records as JSON; those of one moment and reference, whose order is open, by what they say."""
    return sorted((to_json(each) for each in records), key=lambda each: (each["ended"], str(each)))


def answered(reader: Reader, own: uuid.UUID) -> dict[str, Any] | str:
    try:
        said = reader.statement(own, recent=None)
    except TanzhangError as error:
        return error.code
    erased = said.get("erased", {})
    confirmed = [said["confirmed"][name] for name in ("reduction_mg", "footprint_mg")]
    without = [int(erased.get(name, 0)) for name in ("reduction_mg", "footprint_mg")]
    paged: list[Any] = []
    if said["latest"]:
        page = reader.records(own, limit=2)
        paged += page["items"]
        while page["next"]:
            page = reader.records(own, limit=2, cursor=page["next"])
            paged += page["items"]
        assert [each["ended"] for each in paged] == sorted((each["ended"] for each in paged), reverse=True)
    assert [{name: value for name, value in each.items() if name != "batch"} for each in paged] == said["latest"]
    assert sum(said["outcomes"].values()) == sum(each["records"] for each in said["by_behaviour"]) == len(paged)
    return {
        "confirmed": confirmed,
        "recorded": [str(int(one) - two) for one, two in zip(confirmed, without, strict=True)],
        "provisional": [said["provisional"][name] for name in ("reduction_mg", "footprint_mg")],
        "latest": sorted(said["latest"], key=lambda each: (each["ended"], str(each))),
        "open": sorted(said["open"], key=lambda each: (each["ended"], str(each))),
        "children": said["children"],
    }


@contextmanager
def refused_at_most(*codes: str) -> Iterator[None]:
    """What may be refused with one of some codes, and with no other."""
    try:
        yield
    except TanzhangError as error:
        if error.code not in codes:
            raise


def check(home: Home, reader: Reader) -> None:
    """The reader's answers against all files."""
    for subject in SUBJECTS:
        for partner in PARTNERS:
            own = account(home, partner, subject)
            assert answered(reader, own) == told(home, own)
            assert reader.balance(own) == {unit: each for unit, each in home.book.balance(own).items() if each}
    con = home.connect()
    settled = settled_records(home, con)
    found = read_records(con, f"FROM {settled} WHERE outcome NOT IN ('repeat', 'conflict')")
    wanted = {each.action_id: to_json(each) for each in found}
    for number in range(6):
        for partner, letter in (("cainiao", "b"), ("amap", "r"), ("yikatong", "r"), ("alipay", "p"), ("cainiao", "u")):
            action = identity(home.identity_key, ACTION, partner, f"{letter}{number}")
            said: dict[str, Any] = {"status": "refused"}
            with refused_at_most("unknown-action", "record-erased"):
                said = reader.record(action)
            settled_as = said["record"] if said["status"] == "settled" else None
            assert settled_as == wanted.get(action)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(_steps, min_size=1, max_size=4), looked_through=st.booleans())
def test_a_reader_answers_what_all_files_come_to(
    in_memory: Path, steps: list[tuple[list[Event], str, str]], looked_through: bool
) -> None:
    at_once = view.AT_ONCE
    view.AT_ONCE = 0 if looked_through else at_once
    try:
        with tempfile.TemporaryDirectory(dir=in_memory) as name:
            folder = Path(name)
            home = new_home(folder / "home")
            kept = Reader(home)
            for number, (events, act, who) in enumerate(steps):
                now = on(6 + number)
                if events:
                    intake(home, write(folder / f"{number}.ndjson", events), now=now)
                if act in ("settle", "erase"):
                    settle(home, through=DAY + timedelta(days=number), now=on(8 + number))
                if act == "keep":
                    by_account.keep(home)
                if act == "link":
                    child, own = account(home, "amap", who), account(home, "cainiao", "anna")
                    with refused_at_most("link-overlaps"):
                        link_child(home, child, own, valid_from=date(2025, 6, 1), valid_until=None, now=now)
                if act == "erase":
                    with refused_at_most("account-is-linked"):
                        erase(home, [account(home, "cainiao", who)], now=now)
                check(home, kept)
            check(home, Reader(Home(folder / "home")))
    finally:
        view.AT_ONCE = at_once
