"""Carbon units in the book, on both databases: what the database itself refuses; a reference has one effect."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
import sqlalchemy as sa

from tanzhang.core.errors import TanzhangError
from tanzhang.core.units import TERMINAL, Block, Kind, Pick, State
from tanzhang.stores.book.chains import check_chains
from tanzhang.stores.home import Home
from tanzhang.stores.register.units import unit_block

from ..units import AT, begin


def test_units_begin_once_and_the_same_asked_again_answers_the_same(home: Home) -> None:
    first = begin(home, 1, 100)
    assert begin(home, 1, 100) == first == home.units.blocks()
    with pytest.raises(TanzhangError, match="reference-taken"):
        begin(home, 1, 101)
    with pytest.raises(TanzhangError, match="lot-issued"):
        begin(home, 1, 100, reference="another")
    begun = home.units.begun(1)
    assert begun is not None
    assert begun.serial(0, 100).text.startswith("TZ1-CN110000-BEIJING-L000001-2025-T-1-100-")


@pytest.mark.parametrize(("lo", "hi"), [(0, 100), (0, 1), (99, 100), (50, 150), (10, 20)])
def test_the_database_itself_refuses_blocks_that_overlap(home: Home, lo: int, hi: int) -> None:
    begin(home, 1, 100)
    begin(home, 2, 100)
    row = {**asdict(Block(1, lo, hi, 2025, "party:a", State.HELD, "t")), "since": 0}
    with pytest.raises(sa.exc.IntegrityError), home.book.transaction() as con:
        con.execute(unit_block.insert(), row)
    with home.book.transaction() as con:
        con.execute(unit_block.insert(), {**row, "lo": 100, "hi": 200})
    with pytest.raises(sa.exc.IntegrityError), home.book.transaction() as con:
        con.execute(unit_block.update().where(unit_block.c.hi == 200).values(lo=lo))
    with home.book.transaction() as con:
        con.execute(unit_block.update().where(unit_block.c.hi == 200).values(hi=199))
    assert [(each.lot, each.lo, each.hi) for each in home.units.blocks()] == [(1, 0, 100), (1, 100, 199), (2, 0, 100)]


@pytest.mark.parametrize(("lo", "hi"), [(-1, 5), (5, 5), (6, 5), (0, 2**32 + 1)])
def test_the_database_itself_refuses_a_range_that_is_none(home: Home, lo: int, hi: int) -> None:
    row = {**asdict(Block(1, lo, hi, 2025, "party:a", State.HELD, "t")), "since": 0}
    with pytest.raises(sa.exc.DBAPIError), home.book.transaction() as con:
        con.execute(unit_block.insert(), row)


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_the_database_itself_refuses_to_change_or_delete_a_terminal_block(home: Home, state: State) -> None:
    with home.book.transaction() as con:
        con.execute(unit_block.insert(), {**asdict(Block(1, 0, 5, 2025, "party:a", state, "t")), "since": 0})
    for values in ({"state": "held"}, {"holder": "party:b"}, {"hi": 6}, {"since": 1}):
        with pytest.raises(Exception, match="never changes"), home.book.transaction() as con:  # the driver's own error
            con.execute(unit_block.update().values(**values))
    with pytest.raises(Exception, match="never changes"), home.book.transaction() as con:
        con.execute(unit_block.delete())


def test_events_are_chained_and_refuse_to_change(home: Home) -> None:
    begin(home, 1, 100)
    with home.book.transaction() as con:
        home.units.reserve(con, "programme", 1, 10, "deal-1", AT)
    assert check_chains(home.book)[1] == []
    for table in ("unit_event", "unit_lot"):
        with pytest.raises(Exception, match="append-only"), home.book.transaction() as con:
            con.execute(sa.text(f"UPDATE {table} SET lot = 2"))


def test_reserved_units_are_delivered_or_released_whole_and_each_is_done_once(home: Home) -> None:
    begin(home, 1, 100)
    with home.book.transaction() as con:
        reserved = home.units.reserve(con, "programme", 1, 10, "deal-1", AT)
        assert home.units.reserve(con, "programme", 1, 10, "deal-1", AT) == reserved
        home.units.reserve(con, "programme", 1, 30, "deal-2", AT)
    assert [(each.lo, each.hi, each.held_for) for each in reserved] == [(0, 10, "deal-1")]
    with home.book.transaction() as con:
        delivered = home.units.deliver(con, "deal-1", "party:a", AT)
        released = home.units.release(con, "deal-2", AT)
        assert home.units.deliver(con, "deal-1", "party:a", AT) == delivered
        assert home.units.release(con, "deal-2", AT) == released
    assert [(each.lo, each.hi, each.holder, each.state) for each in home.units.blocks()] == [
        (0, 10, "party:a", State.HELD), (10, 40, "programme", State.HELD), (40, 100, "programme", State.HELD)
    ]  # fmt: skip
    for reference, to, refusal in (
        ("deal-1", "party:b", "reference-taken"),
        ("deal-2", "party:a", "reservation-unknown"),
    ):
        with pytest.raises(TanzhangError, match=refusal), home.book.transaction() as con:
            home.units.deliver(con, reference, to, AT)
    with pytest.raises(TanzhangError, match="reservation-unknown"), home.book.transaction() as con:
        home.units.release(con, "deal-1", AT)


def test_only_what_its_holder_has_and_nobody_waits_for_is_retired(home: Home) -> None:
    begin(home, 1, 100)
    with home.book.transaction() as con:
        home.units.reserve(con, "programme", 1, 10, "deal-1", AT, [Pick(1, 50, 60)])
    for holder, pick, refusal in (
        ("programme", Pick(1, 55, 65), "unit-state"),
        ("programme", Pick(1, 95, 105), "block-outside"),
        ("party:a", Pick(1, 0, 5), "block-outside"),
        ("programme", Pick(2, 0, 5), "block-outside"),
    ):
        with pytest.raises(TanzhangError, match=refusal), home.book.transaction() as con:
            home.units.retire(con, holder, [pick], "r-1", {}, AT)
    with home.book.transaction() as con:
        retired = home.units.retire(con, "programme", [Pick(1, 0, 5), Pick(1, 60, 70)], "r-1", {"for": "a run"}, AT)
    assert [(each.lo, each.hi, each.state) for each in retired] == [
        (0, 5, State.RETIRED), (60, 70, State.RETIRED)
    ]  # fmt: skip
    with pytest.raises(TanzhangError, match="unit-state"), home.book.transaction() as con:
        home.units.retire(con, "programme", [Pick(1, 0, 5)], "r-2", {}, AT)
    with pytest.raises(TanzhangError, match="lots-mixed"), home.book.transaction() as con:
        home.units.retire(con, "programme", [Pick(1, 5, 6), Pick(2, 5, 6)], "r-2", {}, AT)


def test_the_error_reserve_is_not_sold_retired_or_exported(home: Home) -> None:
    begin(home, 1, 100, holder="reserve")
    for act in ("retire", "cancel", "expire", "export"):
        with pytest.raises(TanzhangError, match="reserve-kept"), home.book.transaction() as con:
            getattr(home.units, act)(con, "reserve", [Pick(1, 0, 5)], "x", {}, AT)
    with pytest.raises(TanzhangError, match="reserve-kept"), home.book.transaction() as con:
        home.units.reserve(con, "reserve", 1, 5, "x", AT)
    with home.book.transaction() as con:
        (gone,) = home.units.compensate(con, 1, 3, "c-1", {}, AT)
    assert (gone.lo, gone.hi, gone.state) == (0, 3, State.CANCELLED)


def test_a_split_and_a_merge_change_nothing_but_the_blocks(home: Home) -> None:
    (whole,) = begin(home, 1, 100)
    with home.book.transaction() as con:
        parts = home.units.split(con, 1, 0, [30, 60], "s-1", AT)
        assert home.units.split(con, 1, 0, [60, 30], "s-1", AT) == parts == home.units.blocks_in(con)
        assert home.units.merge(con, 1, 0, 60, "m-1", AT) == [replace(whole, hi=60)]
        home.units.merge(con, 1, 0, 100, "m-2", AT)
    assert home.units.blocks() == [whole]
    for places in ([0], [100], []):
        with pytest.raises(TanzhangError, match="block-outside"), home.book.transaction() as con:
            home.units.split(con, 1, 0, places, "s-2", AT)
    with pytest.raises(TanzhangError, match="blocks-differ"), home.book.transaction() as con:
        home.units.merge(con, 1, 0, 99, "m-3", AT)


def test_an_export_waits_and_then_is_there_or_back(home: Home) -> None:
    begin(home, 1, 100)
    with home.book.transaction() as con:
        home.units.export(con, "programme", [Pick(1, 0, 10)], "e-1", {"registry": "other"}, AT)
        home.units.export(con, "programme", [Pick(1, 10, 20)], "e-2", {"registry": "other"}, AT)
        home.units.exported(con, "e-1", {"there": "GS1-9"}, AT)
        home.units.export_back(con, "e-2", {"why": "refused"}, AT)
    assert [each.state for each in home.units.blocks()] == [State.EXPORTED, State.HELD, State.HELD]
    for act, reference in (("export_back", "e-1"), ("exported", "e-2"), ("exported", "e-3")):
        with pytest.raises(TanzhangError, match="export-unknown"), home.book.transaction() as con:
            getattr(home.units, act)(con, reference, {}, AT)
    assert [row.kind for row in home.units.events(lot=1)] == [
        Kind.ISSUE, Kind.EXPORT, Kind.EXPORT, Kind.EXPORTED, Kind.EXPORT_BACK
    ]  # fmt: skip


def test_nothing_stays_of_an_event_whose_transaction_fails(home: Home) -> None:
    begin(home, 1, 100)

    def retire_and_fail() -> None:
        with home.book.transaction() as con:
            home.units.retire(con, "programme", [Pick(1, 0, 5)], "r-1", {}, AT)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        retire_and_fail()
    assert home.units.event(Kind.RETIRE, "r-1") is None
    assert [each.state for each in home.units.blocks()] == [State.HELD]
