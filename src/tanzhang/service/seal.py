"""Book and seal: record files, one SQL transaction, then the log. In this order, so that a crash loses nothing.

1. the batch's record files and subtree roots (temporary name, sync, rename);
2. one transaction: batch row with digests, root and totals, postings, tally, the reports it consumed, the next salt
   key; what goes on to joined accounts (stores/register/joinings.py);
3. log entries, tiles, checkpoint.

A file that no batch row names does not exist; a batch row whose manifest is not in the log yet gets there with the
next call of anything that writes.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from tanzhang.core.methodology import canonical_json
from tanzhang.core.receipt import MANIFEST_FORMAT
from tanzhang.core.record import LAYOUT_VERSION, next_seal_key
from tanzhang.engine.columns import Bytes, fixed_bytes, fixed_column, run_starts, runs
from tanzhang.engine.hashing import merkle_root, subtree_roots
from tanzhang.engine.leaves import leaf_hashes, salt_seeds
from tanzhang.engine.parallel import in_order
from tanzhang.engine.records import Decision
from tanzhang.engine.tally import tally_of
from tanzhang.service.moments import received_at
from tanzhang.service.observe import stepped
from tanzhang.service.outbox import telling_batch
from tanzhang.service.totals import batch_postings, batch_totals
from tanzhang.stores.home import Home, key_check
from tanzhang.stores.parts import clear_unnamed
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
    opened = next_batch(home)
    totals, postings, tally = batch_totals(decision), batch_postings(decision), tally_of(decision)
    with ThreadPoolExecutor(1) as writer:  # the files are written while the postings go into the open transaction
        writing = writer.submit(write_batch, opened.folder, decision, opened.key, home=home.storage)
        return commit(
            home, opened, writing.result, totals, postings, tally, consumed=consumed, through=through, now=now
        )


@dataclass(frozen=True, slots=True)
class NextBatch:
    """The batch that is being settled: its number and folder, its salt key, and the book as it was before."""

    number: int
    folder: Place
    key: bytes = field(repr=False)
    heads: dict[str, dict[str, str]]


@dataclass(frozen=True, slots=True)
class Written:
    """The files of a batch: how many records, the file that has or lists them, digests, the root of their tree."""

    records: int
    records_file: str
    records_digest: str
    subtrees_digest: str
    root: str


def next_batch(home: Home) -> NextBatch:
    """The next batch, under the home's write lock; what one that died left in its folder is cleared away."""
    number, key = home.book.next_seal_key()
    folder = home.storage / "records" / f"{number:08d}"
    clear_unnamed(folder)
    return NextBatch(number, folder, key, home.book.heads())


@stepped("seal")
def commit(
    home: Home,
    opened: NextBatch,
    written: Callable[[], Written],
    totals: dict[str, Any],
    postings: pa.Table,
    tally: pa.Table,
    *,
    consumed: list[dict[str, Any]],
    through: date,
    now: datetime,
) -> dict[str, Any]:
    """The one transaction of a batch, and then the log. ``written`` waits for its files.

    Whatever engine decided and wrote, this is how it becomes true. Returns the batch's number, root and totals.
    """
    following = next_seal_key(opened.key)
    described: dict[str, Any] = {"through": through.isoformat()}

    def batch_row() -> dict[str, Any]:
        files = written()
        described.update(records=files.records, root=files.root)
        manifest = {
            "format": MANIFEST_FORMAT,
            "programme": home.programme.id,
            "rehearsal": home.programme.rehearsal,
            "batch": str(opened.number),
            "through": through.isoformat(),
            "layout": LAYOUT_VERSION,
            "records": str(files.records),
            "root": files.root,
            **totals,
            "book": opened.heads,
            "next_seal_check": key_check(following),
        }
        return {
            "through": through.isoformat(),
            "records": files.records,
            "folder": opened.folder.relative_to(home.storage).as_posix(),
            "records_file": files.records_file,
            "records_digest": files.records_digest,
            "subtrees_digest": files.subtrees_digest,
            "manifest": canonical_json(manifest),
            "sealed_at": now.astimezone(UTC).isoformat(timespec="seconds"),
        }

    tell = telling_batch(home, opened.number, through.isoformat(), tally, now)

    def also(con: sa.Connection) -> None:
        tell(con)
        home.joinings.follow(con, postings, received_at(now))
        home.joinings.seal(con, home.programme.id)
        home.donations.seal(con, home.programme.id)
        home.passings.seal(con, home.programme.id)

    home.book.commit_batch(batch_row, opened.number, consumed, postings, tally, following, opened.heads, also=also)
    home.publish()
    return {"batch": opened.number, **described, **totals}


def write_batch(folder: Place, decision: Decision, seal_key: bytes, *, home: Place) -> Written:
    """Write a batch's record file and subtree roots, slice by slice on all cores."""

    def made(bounds: tuple[int, int]) -> tuple[pa.Table, Bytes]:
        start, stop = bounds
        records, leaves = salted(decision.records(start, stop), seal_key, start)
        return records, subtree_roots(leaves, cores=1)

    subtrees = []
    with writing_table(folder / RECORDS, home=home) as file:
        for records, roots in in_order(made, decision.slices(ROW_GROUP)):
            file.add(records)
            subtrees.append(roots)
    roots = np.concatenate(subtrees)
    # A tree whose leaves are the roots of whole subtrees has the same root.
    digest = write_subtrees(folder / SUBTREES, roots, home=home)
    return Written(len(decision), RECORDS, file.digest, digest, merkle_root(roots).hex())


def salted(records: pa.Table, seal_key: bytes, first_index: int) -> tuple[pa.Table, Bytes]:
    """Records in batch order from ``first_index`` with the seed of each, and their leaves, on the core that calls."""
    accounts = fixed_bytes(records["account"], 16)
    run = runs(accounts)
    seeds = salt_seeds(accounts[run_starts(run)], seal_key)[run]
    leaves = leaf_hashes(records, seeds, first_index=first_index)
    return records.append_column("seed", fixed_column(seeds)), leaves
