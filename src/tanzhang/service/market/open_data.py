"""Open data of lots (开放数据): by region and behaviour, without cells of few accounts, for every registered lot.

What is published of a lot is made once and kept: it would differ by what an erased person had had if it were made anew.
The rule that hides small cells is :mod:`tanzhang.core.cells`; a lot is published in this one breakdown alone.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tanzhang.core.cells import RULE, Cell, Shown, published
from tanzhang.core.errors import refuse
from tanzhang.core.lot import ISSUED, LotState, lot_text
from tanzhang.core.methodology import canonical_json
from tanzhang.core.record import ERASED
from tanzhang.engine.kernel import quote
from tanzhang.service.moments import received_at
from tanzhang.stores.home import Home
from tanzhang.stores.parts import record_files

FORMAT = "tanzhang.lots-open-data/1"
PUBLISHED = (LotState.REGISTERED, *sorted(ISSUED))
_NOWHERE = ""
"""Region and behaviour of what was erased before this was made."""
COLUMNS = ("lot", "vintage", "state", "region", "behaviour", "total", "records", "accounts", "reduction_mg")


def cells_of(home: Home, number: int, *, now: datetime) -> dict[str, Any]:
    """What is published of a lot by region and behaviour, made at the first time that it is asked for."""
    kept = home.verifications.cells(number)
    if kept:
        found: dict[str, Any] = json.loads(kept[0].document)
        return found
    row, least = home.lots.one(number), home.programme.disclosure.least_accounts_in_cell
    con = home.connect()
    con.execute("CREATE TEMP TABLE held (account UUID, region VARCHAR, behaviour VARCHAR, records BIGINT, mg HUGEINT)")
    for members in _members_with_records(home, row):
        con.execute(
            "INSERT INTO held SELECT account, coalesce(region, ''), coalesce(behaviour, ''), count(*), sum(amount_mg) "
            f"FROM {members} GROUP BY ALL"
        )
    regions = con.execute("SELECT region, count(DISTINCT account) FROM held GROUP BY 1").fetchall()
    cells = con.execute(
        "SELECT region, behaviour, sum(records), count(DISTINCT account), sum(mg) FROM held GROUP BY 1, 2"
    ).fetchall()
    con.close()
    shown = published(
        dict(regions),
        [Cell((region, what), int(records), accounts, int(mg)) for region, what, records, accounts, mg in cells],
        least,
    )
    document = {
        "rule": RULE,
        "least_accounts": str(least),
        "lot": lot_text(number),
        "cells": [_said(each) for each in shown],
    }
    kept_text = home.verifications.keep_cells(number, canonical_json(document), received_at(now))
    made: dict[str, Any] = json.loads(kept_text)
    return made


def _said(cell: Shown) -> dict[str, Any]:
    return {
        "region": cell.part,
        "behaviour": cell.below,
        "total": cell.is_total,
        "records": str(cell.records),
        "accounts": None if cell.accounts is None else str(cell.accounts),
        "reduction_mg": str(cell.amount_mg),
    }


def accounts_by_node(home: Home, row: Any, leaves: int) -> list[int]:
    """Of how many accounts at least each node over so many leaves of a lot's tree is, from left to right.

    Of a node over several batches it is the most of one of them. Erased persons are not counted.
    """
    counted = [0] * -(-row.leaves // leaves)
    con = home.connect()
    for members in _members_with_records(home, row):
        found = con.execute(
            f"SELECT index // {leaves}, count(DISTINCT account) FROM {members} WHERE account IS NOT NULL GROUP BY 1"
        ).fetchall()
        for node, accounts in found:
            counted[node] = max(counted[node], accounts)
    con.close()
    return counted


def _members_with_records(home: Home, row: Any) -> Iterator[str]:
    """Batch by batch, members with what is asked of their records, as SQL.

    Columns: index (the member's place in the lot), amount_mg, account, region, behaviour.
    """
    members = f"read_parquet({quote(str(home.storage / row.file))}, file_row_number = true)"
    for batch in home.book.batches()[row.first_batch : row.last_batch + 1]:
        parts = " UNION ALL ".join(
            f"SELECT file_row_number + {file.first} AS place, outcome, account, region, behaviour "
            f"FROM read_parquet({quote(str(file.path))}, file_row_number = true)"
            for file in record_files(home.storage, batch)
        )
        gone = f"outcome = {quote(ERASED)}"
        yield (
            f"(SELECT m.file_row_number AS index, m.amount_mg, "
            f"CASE WHEN {gone} THEN NULL ELSE r.account END AS account, "
            f"CASE WHEN {gone} THEN {quote(_NOWHERE)} ELSE r.region END AS region, "
            f"CASE WHEN {gone} THEN {quote(_NOWHERE)} ELSE r.behaviour END AS behaviour "
            f"FROM (SELECT * FROM {members} WHERE batch = {batch.seq}) m JOIN ({parts}) r ON m.place = r.place)"
        )


# -- the export -------------------------------------------------------------------------------------------------


def open_data(home: Home, *, now: datetime) -> dict[str, Any]:
    """Every registered lot with its cells, which are made when it is registered; and what each column means."""
    kept = {row.lot for row in home.verifications.cells()}
    lots = [row for row in home.lots.all(states=PUBLISHED)[::-1] if row.number in kept]
    return {
        "format": FORMAT,
        "programme": home.programme.id,
        "log": home.values["origin"],
        "made_at": received_at(now),
        "columns": dict(zip(COLUMNS, _MEANING, strict=True)),
        "lots": [_lot(home, row, now) for row in lots],
    }


_MEANING = (
    "number of the lot",
    "calendar year of the local day of the acts",
    "registered, issued or closed; its milligrams are counted as confirmed, issued or retired by its units",
    "GB/T 2260 region of the acts as reported; empty for all regions together that are of too few accounts alone",
    "behaviour of the catalogue; empty for the total of a region, or for all behaviours together of too few accounts",
    "true for the total of a region, over all its behaviours",
    "records that have a part in the lot",
    "accounts whose records these are; empty where it is not told",
    "reduction in the lot [mg CO2e]",
)


def _lot(home: Home, row: Any, now: datetime) -> dict[str, Any]:
    return {
        "lot": lot_text(row.number),
        "vintage": str(row.vintage),
        "state": row.state,
        "entry": str(row.entry),
        "root": row.root,
        "units": str(row.units),
        "unit_mass_mg": str(row.unit_mass_mg),
        "total_mg": str(row.total_mg),
        **cells_of(home, row.number, now=now),
    }


def export_open_data(home: Home, out: Path, *, now: datetime) -> dict[str, Any]:
    """Write the open data to a ZIP file: cells as CSV and Parquet, lots and columns as JSON; ``export-exists``."""
    if out.exists():
        raise refuse("export-exists", f"{out} is there already", where="--out", remedy="name a new file")
    for row in home.lots.all(states=PUBLISHED):
        cells_of(home, row.number, now=now)  # a crash may have come between registering and this
    said = open_data(home, now=now)
    rows = rows_of(said)
    try:
        with zipfile.ZipFile(out, "x", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("cells.csv", as_csv(rows))
            archive.writestr("cells.parquet", _parquet(rows))
            archive.writestr("description.json", json.dumps(said, ensure_ascii=False, indent=1))
    except BaseException:
        out.unlink(missing_ok=True)
        raise
    return {"status": "exported", "lots": str(len(said["lots"])), "cells": str(len(rows)), "file": str(out)}


def as_csv(rows: list[dict[str, Any]]) -> str:
    """Rows of cells as CSV with a line of names."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, "total": str(row["total"]).lower()} for row in rows)
    return text.getvalue()


def rows_of(said: dict[str, Any]) -> list[dict[str, Any]]:
    """The cells of what :func:`open_data` says, each with its lot."""
    found = []
    for lot in said["lots"]:
        named = {name: lot[name] for name in ("lot", "vintage", "state")}
        found += [{**named, **cell} for cell in lot["cells"]]
    return found


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    whole = ("vintage", "records", "accounts", "reduction_mg")
    columns = {
        name: pa.array([None if row[name] is None else int(row[name]) for row in rows], pa.int64())
        if name in whole
        else pa.array([row[name] for row in rows], pa.bool_() if name == "total" else pa.string())
        for name in COLUMNS
    }
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()
