"""The columnar settlement decides as the plain one does: same records, same order, every field."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings

from tanzhang.core.record import Record
from tanzhang.engine.kernel import connect
from tanzhang.engine.reference import settle

from .worlds import World, settle_columns, show, worlds

EXAMPLES = int(os.environ.get("TANZHANG_EXAMPLES", "60"))


@pytest.fixture(scope="module")
def con():
    return connect()


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(world=worlds())
def test_both_engines_settle_successive_batches_to_the_same_records(con, world: World):
    settled: list[Record] = []
    for batch in world.batches:
        expected = settle(batch, settled, world.links, world.recipes, world.rules)
        found = settle_columns(con, batch, settled, world.links, world.recipes, world.rules)
        assert [show(record) for record in found] == [show(record) for record in expected]
        assert found == expected
        settled += expected
