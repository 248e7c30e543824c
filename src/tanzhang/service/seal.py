"""Book and seal: record files, one SQL transaction, then the log. In this order, so that a crash loses nothing.

1. the batch's record file and subtree roots (temporary name, sync, rename);
2. one transaction: batch row with digests, root and totals, postings, the reports it consumed, the next salt key;
3. log entries, tiles, checkpoint.

A file that no batch row names does not exist; a batch row whose manifest is not in the log yet gets there with the
next call of anything that writes.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from tanzhang.core.methodology import canonical_json
from tanzhang.core.receipt import MANIFEST_FORMAT
from tanzhang.core.record import LAYOUT_VERSION, next_seal_key
from tanzhang.engine.columns import Bytes, fixed_bytes, fixed_column, runs
from tanzhang.engine.hashing import merkle_root, subtree_roots
from tanzhang.engine.leaves import leaf_hashes, salt_seeds
from tanzhang.engine.parallel import in_order
from tanzhang.engine.records import Decision
from tanzhang.service.totals import batch_postings, batch_totals
from tanzhang.stores.home import Home, key_check
from tanzhang.stores.records import RECORDS, ROW_GROUP, SUBTREES, write_subtrees, writing_table
from tanzhang.stores.storage import Place


def seal(
    home: Home,
    decision: Decision,
    *,
    consumed: list[dict[str, Any]],
    through: date,
    now: datetime,
) -> dict[str, Any]:
    """Make what was decided the next batch. Returns its number, root and totals."""
    number, key = home.book.next_seal_key()
    folder = home.storage / "records" / f"{number:08d}"
    totals, postings = batch_totals(decision), batch_postings(decision)
    heads = home.book.heads()
    following = next_seal_key(key)
    described: dict[str, Any] = {"through": through.isoformat(), "records": len(decision)}

    def batch_row(written: Written) -> dict[str, Any]:
        described["root"] = written.root
        manifest = {
            "format": MANIFEST_FORMAT,
            "programme": home.programme.id,
            "rehearsal": home.programme.rehearsal,
            "batch": str(number),
            "through": through.isoformat(),
            "layout": LAYOUT_VERSION,
            "records": str(len(decision)),
            "root": written.root,
            **totals,
            "book": heads,
            "next_seal_check": key_check(following),
        }
        return {
            "through": through.isoformat(),
            "records": len(decision),
            "folder": folder.relative_to(home.storage).as_posix(),
            "records_digest": written.records_digest,
            "subtrees_digest": written.subtrees_digest,
            "manifest": canonical_json(manifest),
            "sealed_at": now.astimezone(UTC).isoformat(timespec="seconds"),
        }

    with ThreadPoolExecutor(1) as writer:  # the files are written while the postings go into the open transaction
        writing = writer.submit(write_batch, folder, decision, key, home=home.storage)
        home.book.commit_batch(lambda: batch_row(writing.result()), number, consumed, postings, following, heads)
    home.publish()
    return {"batch": number, **described, **totals}


@dataclass(frozen=True, slots=True)
class Written:
    """The files of a batch: their digests and the root of the records' tree."""

    records_digest: str
    subtrees_digest: str
    root: str


def write_batch(folder: Place, decision: Decision, seal_key: bytes, *, home: Place) -> Written:
    """Write a batch's record file and subtree roots, slice by slice on all cores."""

    def made(bounds: tuple[int, int]) -> tuple[pa.Table, Bytes]:
        start, stop = bounds
        records = decision.records(start, stop)
        accounts = fixed_bytes(records["account"], 16)
        run = runs(accounts)
        starts = np.flatnonzero(np.diff(run, prepend=-1))
        seeds = salt_seeds(accounts[starts], seal_key)[run]
        leaves = leaf_hashes(records, seeds, first_index=start)
        return records.append_column("seed", fixed_column(seeds)), subtree_roots(leaves, cores=1)

    subtrees = []
    with writing_table(folder / RECORDS, home=home) as file:
        for records, roots in in_order(made, decision.slices(ROW_GROUP)):
            file.add(records)
            subtrees.append(roots)
    roots = np.concatenate(subtrees)
    # A tree whose leaves are the roots of whole subtrees has the same root.
    return Written(file.digest, write_subtrees(folder / SUBTREES, roots, home=home), merkle_root(roots).hex())
