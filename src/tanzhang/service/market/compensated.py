"""Which members of a lot were taken back since it was frozen, and how much of each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from tanzhang.core.record import ERASED
from tanzhang.engine.columns import Numbers, integers
from tanzhang.engine.kernel import quote
from tanzhang.engine.lot import keys_of
from tanzhang.stores.home import Home
from tanzhang.stores.lot_files import members_at
from tanzhang.stores.parts import record_files


def taken_back_members(home: Home, row: Any) -> tuple[Numbers, Numbers]:
    """Indexes of members of a frozen lot whose acts were taken back since, and what the lot has of each [mg].

    An act is always taken back as a whole, so all that the lot has of it is lost. Records of batches that were settled
    after the lot was frozen are looked through for what they take back, and those of the lot for what that was; of
    erased records both references are left.
    """
    nothing = np.zeros(0, np.int64), np.zeros(0, np.int64)
    batches = home.book.batch_files()
    since = [str(f.path) for each in batches if each.seq >= row.batches for f in record_files(home.storage, each)]
    if not since:
        return nothing
    con = home.connect()
    con.execute(
        f"CREATE TEMP TABLE back AS SELECT DISTINCT withdraws AS action FROM read_parquet([{_listed(since)}]) "
        "WHERE (reversed_mg > 0 AND kind = 'reduction' AND outcome NOT IN ('repeat', 'conflict')) "
        f"OR (outcome = {quote(ERASED)} AND withdraws IS NOT NULL)"
    )
    if con.execute("SELECT count(*) FROM back").fetchall() == [(0,)]:
        return nothing
    keys: list[Numbers] = []
    for each in batches[row.first_batch : row.last_batch + 1]:
        for file in record_files(home.storage, each):
            found = con.sql(
                f"SELECT file_row_number + {file.first} AS place FROM read_parquet({quote(str(file.path))}, "
                "file_row_number = true) WHERE action_id IN (SELECT action FROM back)"
            ).to_arrow_table()
            keys.append(keys_of(each.seq, np.sort(integers(found["place"], pa.int64()))))
    ordered = np.concatenate(keys) if keys else nothing[0]
    indexes, amounts = members_at(home.storage, row, ordered)
    return indexes[amounts > 0], amounts[amounts > 0]


def _listed(files: list[str]) -> str:
    return ", ".join(map(quote, files))
