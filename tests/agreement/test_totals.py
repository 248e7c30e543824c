"""A batch's totals and postings: summed in columns when it is sealed, counted again in SQL when it is verified."""

from __future__ import annotations

import os

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, given, settings

from tanzhang.engine.kernel import connect
from tanzhang.engine.settle import settle
from tanzhang.engine.tally import merged, tally_of
from tanzhang.service.recount import recounted_postings, recounted_tally, recounted_totals
from tanzhang.service.totals import batch_postings, batch_totals

from .worlds import World, load_links, load_pending, worlds

EXAMPLES = int(os.environ.get("TANZHANG_EXAMPLES", "60"))


@pytest.fixture(scope="module")
def con():
    return connect()


def decided(con, world: World, amounts: list[int] | None = None):
    assume(world.batches[0])
    load_pending(con, "pending", world.batches[0])
    load_links(con, "links", world.links)
    pending = con.sql("SELECT * FROM pending").to_arrow_table()
    if amounts is not None:
        place = pending.column_names.index("quantified_mg")
        column = pa.array((amounts * pending.num_rows)[: pending.num_rows], pa.int64())
        pending = pending.set_column(place, "quantified_mg", column)
    links = "links" if world.links else None
    return settle(con, pending=pending, settled=None, links=links, recipes=world.recipes, rules=world.rules)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(world=worlds())
def test_sums_in_columns_are_those_of_sql(con, world: World):
    decision = decided(con, world)
    con.register("records", decision.records())
    assert batch_totals(decision) == recounted_totals(con, "records")
    assert batch_postings(decision).to_pylist() == recounted_postings(con, "records").to_pylist()
    assert tally_of(decision).equals(merged([tally_of(decision)]))
    assert tally_of(decision).to_pylist() == recounted_tally(con, "records").to_pylist()


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(world=worlds())
def test_a_total_may_pass_64_bits(con, world: World):
    decision = decided(con, world, [2**62, 2**62 - 1])
    con.register("records", decision.records())
    assert batch_totals(decision) == recounted_totals(con, "records")
