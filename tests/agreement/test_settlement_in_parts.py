"""Settlement in parts decides as settlement in one: accounts that meet are kept together, history finds its way.

The stages of a cluster run in one process here; tests/integration/test_spark.py runs them on Spark.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tanzhang.core.recipe import Recipe
from tanzhang.core.record import Record
from tanzhang.engine.kernel import connect
from tanzhang.engine.reference import Accepted, Link
from tanzhang.engine.spark.blocks import from_bytes, in_batch_order
from tanzhang.service.links import Consents
from tanzhang.service.spark.settle import _Run, shares
from tanzhang.service.spark.tasks import Work
from tanzhang.stores.parts import RecordFile, record_slices
from tanzhang.stores.records import write_table
from tanzhang.stores.reports import ReportFile, report_slices

from ..stages import LocalStages
from .worlds import World, load_pending, load_records, read_records, settle_columns, show, worlds

EXAMPLES = int(os.environ.get("TANZHANG_EXAMPLES", "12"))


@dataclass(frozen=True)
class WorldWork(Work):
    """Work whose recipes were never documents."""

    known: dict[str, Recipe] = field(default_factory=dict)

    @property
    def recipes(self) -> dict[str, Recipe]:
        return self.known


@pytest.fixture(scope="module")
def con():
    return connect()


def settle_in_parts(
    con: Any, folder: Path, batch: Sequence[Accepted], settled: Sequence[Record], world: World, parts: int, cut: int
) -> list[Record]:
    """The records of a batch whose reports come in files of ``cut`` rows and are decided in ``parts`` parts."""
    files, known = [], []
    for number, start in enumerate(range(0, len(batch), cut)):
        load_pending(con, "pending", batch[start : start + cut])
        for received in sorted({accepted.received for accepted in batch[start : start + cut]}):
            rows = con.sql(f"SELECT * EXCLUDE (received) FROM pending WHERE received = DATE '{received}'")
            path = folder / f"{number}-{received}.parquet"
            write_table(path, rows.to_arrow_table(), home=folder)
            files.append(ReportFile(path, number, received, None, date(2100, 1, 1)))
    for number, start in enumerate(range(0, len(settled), cut)):
        load_records(con, "settled", settled[start : start + cut])
        path = folder / f"settled-{number}.parquet"
        digest = write_table(path, con.sql("SELECT * FROM settled").to_arrow_table(), home=folder)
        known.append(RecordFile(path, start, cut, digest))
    work = WorldWork(
        reports=shares(report_slices(files, cut), cut),
        settled=shares(record_slices(known, cut), cut),
        consents=Consents(
            tuple((str(k.child), str(k.account), k.valid_from.isoformat(), _day(k)) for k in world.links), ()
        ),
        plans=(),
        parts=parts,
        sieve_keys=4 * len(batch),
        known=world.recipes,
    )
    stages = LocalStages(seed=len(batch))
    run = _Run(stages, work, stages.shared(work), world.rules, [])
    surveyed, counts, window, sieve = run.survey()
    if not counts:
        return []
    history = run.settled(sieve, window)
    decided, sizes = run.decide(run.components(surveyed, history), history)
    assert sum(sizes) == len(batch)
    con.register("records", in_batch_order(from_bytes(block.data for block in decided.blocks())))
    return read_records(con, "records")


def _day(link: Link) -> str | None:
    return None if link.valid_until is None else link.valid_until.isoformat()


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(world=worlds(), parts=st.sampled_from((2, 5, 16)), cut=st.sampled_from((5, 12, 30)))
def test_a_batch_decided_in_parts_has_the_records_of_one_decided_whole(con, world: World, parts: int, cut: int):
    settled: list[Record] = []
    for batch in world.batches:
        # Files are read by the day they were received, so that is the order of arrival for both.
        arrived = [
            each
            for start in range(0, len(batch), cut)
            for each in sorted(batch[start : start + cut], key=lambda accepted: accepted.received)
        ]
        expected = settle_columns(con, arrived, settled, world.links, world.recipes, world.rules)
        with tempfile.TemporaryDirectory() as folder:
            found = settle_in_parts(con, Path(folder), arrived, settled, world, parts, cut)
        assert [show(record) for record in found] == [show(record) for record in expected]
        assert found == expected
        settled += expected
