"""Records of a lot that a verifier looks at: where picked milligrams fall, what the record says, quantified again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tanzhang.core.errors import TanzhangError
from tanzhang.core.recipe import compute, read_recipe
from tanzhang.core.record import ERASED, Record, to_json
from tanzhang.core.sample import picked
from tanzhang.engine.columns import integers
from tanzhang.stores.home import Home
from tanzhang.stores.parts import read_span, record_files
from tanzhang.stores.records import to_record
from tanzhang.stores.storage import parquet_file


def sampled_members(home: Home, row: Any, wanted: Sequence[int], *, content: bool = True) -> list[dict[str, Any]]:
    """The members of a lot that picks fall on, in the lot's order, with the content of their records if wanted."""
    found: list[dict[str, Any]] = []
    running = index = 0
    with parquet_file(home.storage / row.file) as file:
        for part in file.iter_batches(columns=["batch", "place", "amount_mg"]):
            table = pa.Table.from_batches([part])
            batches, places = integers(table["batch"], pa.int64()), integers(table["place"], pa.int64())
            amounts = integers(table["amount_mg"], pa.int64())
            ends = np.cumsum(amounts) + running
            end = int(ends[-1]) if len(ends) else running
            if any(running <= pick < end for pick in wanted):
                for n, picks in picked(wanted, ends.tolist(), running).items():
                    found.append(_member(index + n, batches[n], places[n], amounts[n], ends[n], picks))
            running, index = end, index + len(amounts)
    return [{**each, **_content(home, each)} for each in found] if content else found


def _member(index: int, batch: Any, place: Any, amount: Any, end: Any, picks: Sequence[int]) -> dict[str, Any]:
    return {
        "index": str(index),
        "batch": str(int(batch)),
        "place": str(int(place)),
        "amount_mg": str(int(amount)),
        "before_mg": str(int(end) - int(amount)),
        "picks": [str(pick) for pick in picks],
    }


def _content(home: Home, member: dict[str, Any]) -> dict[str, Any]:
    """A record's content, and what comes out when it is quantified again; of an erased one that it is gone."""
    batch, place = int(member["batch"]), int(member["place"])
    files = record_files(home.storage, home.book.batches()[batch])
    (values,) = read_span(files, place, place + 1).to_pylist()
    if values["outcome"] == ERASED:
        return {"erased": True, "record": None, "again": None}
    record = to_record(values)
    return {"erased": False, "record": to_json(record), "again": quantified_again(home, record, member["amount_mg"])}


def quantified_again(home: Home, record: Record, amount_mg: str) -> dict[str, Any]:
    """A record's milligrams by the recipe that the book keeps, exactly and with each step; whether all of it agrees."""
    documents = {} if record.plan is None else home.book.plans([record.plan])
    try:
        found = compute(read_recipe(documents[record.plan or ""]), record.inputs, explain=True)
    except (TanzhangError, KeyError, ArithmeticError) as error:
        return {"mg": None, "steps": [], "agrees": False, "why": str(error).splitlines()[0]}
    agrees = found.mg == record.quantified_mg and int(amount_mg) <= record.granted_mg <= found.mg
    return {"mg": str(found.mg), "steps": list(found.steps), "agrees": agrees, "why": None}


def is_member(home: Home, row: Any, batch: int, place: int) -> bool:
    """Whether a record is in a lot; reads the row groups that it may be in."""
    with parquet_file(home.storage / row.file) as file:
        for number in range(file.num_row_groups):
            bounds = file.metadata.row_group(number).column(0).statistics
            if bounds is not None and not bounds.min <= batch <= bounds.max:
                continue
            table = file.read_row_group(number, columns=["batch", "place"])
            same = integers(table["batch"], pa.int64()) == batch
            if (integers(table["place"], pa.int64())[same] == place).any():
                return True
    return False
