"""Files of award runs: what each record of a batch was awarded, by its place in the batch, so that they name no person.

``records/<batch>/points-<programme>.parquet`` beside the batch's records; a file that no row of table points_run or
points_open names does not exist. When a person is erased nothing is written anew: what the record was goes, its place
stays. While a run is booked in slices, ``used-<programme>.parquet`` has what it adds to limits, each account named by
the place of its first record in the batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tanzhang.core.errors import refuse
from tanzhang.stores.records import digest_of, write_table
from tanzhang.stores.register.points_runs import OpenRun
from tanzhang.stores.storage import Place, parquet_file

SCHEMA = pa.schema(
    {
        "place": pa.uint32(),  # of the record in its batch
        "version": pa.uint16(),  # place among the rules that the run names
        "rule": pa.uint16(),  # place among the rules of that version
        "sponsor": pa.string(),
        "points": pa.int64(),  # below zero: taken back, by the record that withdraws the act
        "first_day": pa.date32(),
        "last_day": pa.date32(),
        "collect_by": pa.date32(),
        "of_batch": pa.uint32(),  # of what is taken back: where the act was awarded
        "of_place": pa.uint32(),
    }
)
"""Columns of a file, sorted by place, version, rule and sponsor."""
USED_BY_PLACE = pa.schema({"place": pa.uint32(), "key": pa.string(), "period": pa.date32(), "amount": pa.int64()})
"""What a run adds to limits, by the first place of the account in its batch, sorted by all but the amount."""


def file_name(folder: str, programme: str) -> str:
    """The name of a run's file in the home's storage; ``folder`` is the batch's."""
    return f"{folder}/points-{programme}.parquet"


def used_name(folder: str, programme: str) -> str:
    """The name of the file with what a run adds to limits."""
    return f"{folder}/used-{programme}.parquet"


def write_run(storage: Place, name: str, rows: pa.Table) -> str:
    """Write a run's file, whole and durably; returns its SHA-256."""
    return write_table(storage / name, rows.select(SCHEMA.names).cast(SCHEMA), home=storage)


def write_used(storage: Place, name: str, used: pa.Table) -> str:
    """Write what a run adds to limits (:data:`USED_BY_PLACE`), whole and durably; returns its SHA-256."""
    return write_table(storage / name, used, home=storage)


def read_used(storage: Place, run: OpenRun) -> pa.Table:
    """What a run that is not whole adds to limits; ``points-file-missing``."""
    if run.used_file is None:
        return USED_BY_PLACE.empty_table()
    path = _there(storage, run.used_file)
    with parquet_file(path) as parquet:
        return parquet.read().cast(USED_BY_PLACE)


def read_run(storage: Place, run: Any, places: Iterable[int] | None = None) -> pa.Table:
    """The rows of a run (of table points_run), of some places or all; a run without a file has none.

    Only row groups that may have these places are read. Raises ``points-file-missing``.
    """
    if run.file is None:
        return SCHEMA.empty_table()
    path = _there(storage, run.file)
    with parquet_file(path) as parquet:
        if places is None:
            return parquet.read().cast(SCHEMA)
        wanted = sorted(set(places))
        groups = _groups(parquet, wanted)
        if not groups:
            return SCHEMA.empty_table()
        rows = parquet.read_row_groups(groups).cast(SCHEMA)
    return rows.filter(pc.is_in(rows["place"], value_set=pa.array(wanted, pa.uint32())))


def is_as_written(storage: Place, run: Any) -> bool:
    """Whether a run's file is the one that was written."""
    return run.file is None or digest_of(storage / run.file) == run.file_digest


def is_used_as_written(storage: Place, run: OpenRun) -> bool:
    """Whether the file with what a run adds to limits is the one that was written."""
    return run.used_file is None or digest_of(storage / run.used_file) == run.used_digest


def _there(storage: Place, name: str) -> Place:
    path = storage / name
    if not path.is_file():
        raise refuse(
            "points-file-missing",
            f"{name} is missing",
            where=name,
            remedy="restore it from a backup; what each account holds is in the book",
        )
    return path


def _groups(parquet: pq.ParquetFile, wanted: Sequence[int]) -> list[int]:
    """The row groups whose places are within those that are wanted."""
    found = []
    for number in range(parquet.num_row_groups):
        statistics = parquet.metadata.row_group(number).column(0).statistics
        if statistics is None or any(statistics.min <= place <= statistics.max for place in wanted):
            found.append(number)
    return found
