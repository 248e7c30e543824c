"""Book and seal: record files, one SQL transaction, then the log. In this order, so that a crash loses nothing.

1. the batch's record files and subtree roots (temporary name, sync, rename);
2. one transaction: batch row with digests, root and totals, postings, the reports it consumed, the next salt key;
3. log entries, tiles, checkpoint.

A file that no batch row names does not exist; a batch row whose manifest is not in the log yet gets there with the
next call of anything that writes.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tanzhang.core.methodology import canonical_json
from tanzhang.core.receipt import MANIFEST_FORMAT
from tanzhang.core.record import LAYOUT_VERSION, UNIT_OF_KIND, next_seal_key
from tanzhang.engine.columns import Bytes, fixed_bytes, fixed_column, runs
from tanzhang.engine.hashing import merkle_root, subtree_roots
from tanzhang.engine.kernel import quote
from tanzhang.engine.leaves import leaf_hashes, salt_seeds
from tanzhang.engine.parallel import in_order
from tanzhang.engine.records import Decision
from tanzhang.stores.book import system_account
from tanzhang.stores.home import Home, key_check
from tanzhang.stores.parts import clear_unnamed
from tanzhang.stores.records import RECORDS, ROW_GROUP, SUBTREES, write_subtrees, writing_table

if TYPE_CHECKING:
    import duckdb


def seal(
    home: Home,
    con: duckdb.DuckDBPyConnection,
    decision: Decision,
    *,
    consumed: list[dict[str, Any]],
    through: date,
    now: datetime,
) -> dict[str, Any]:
    """Make what was decided the next batch. Returns its number, root and totals."""
    opened = next_batch(home)
    partner = decision.reports["partner"].take(pa.array(decision.order))
    con.register("decided", decision.decided().append_column("partner", partner))
    totals, postings = batch_totals(con, "decided"), batch_postings(con, "decided")
    con.unregister("decided")
    with ThreadPoolExecutor(1) as writer:  # the files are written while the postings go into the open transaction
        writing = writer.submit(write_batch, opened.folder, decision, opened.key, home=home.folder)
        return commit(home, opened, writing.result, totals, postings, consumed=consumed, through=through, now=now)


@dataclass(frozen=True, slots=True)
class NextBatch:
    """The batch that is being settled: its number and folder, its salt key, and the book as it was before."""

    number: int
    folder: Path
    key: bytes = field(repr=False)
    heads: dict[str, dict[str, str]]


@dataclass(frozen=True, slots=True)
class Written:
    """The files of a batch: how many records, their digests and the root of the records' tree."""

    records: int
    records_digest: str
    subtrees_digest: str
    root: str


def next_batch(home: Home) -> NextBatch:
    """The next batch, under the home's write lock; what one that died left in its folder is cleared away."""
    number, key = home.book.next_seal_key()
    folder = home.folder / "records" / f"{number:08d}"
    clear_unnamed(folder)
    return NextBatch(number, folder, key, home.book.heads())


def commit(
    home: Home,
    opened: NextBatch,
    written: Callable[[], Written],
    totals: dict[str, Any],
    postings: pa.Table,
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
            "folder": opened.folder.relative_to(home.folder).as_posix(),
            "records_digest": files.records_digest,
            "subtrees_digest": files.subtrees_digest,
            "manifest": canonical_json(manifest),
            "sealed_at": now.astimezone(UTC).isoformat(timespec="seconds"),
        }

    home.book.commit_batch(batch_row, opened.number, consumed, postings, following, opened.heads)
    home.publish()
    return {"batch": opened.number, **described, **totals}


def write_batch(folder: Path, decision: Decision, seal_key: bytes, *, home: Path) -> Written:
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
    return Written(len(decision), file.digest, digest, merkle_root(roots).hex())


def salted(records: pa.Table, seal_key: bytes, first_index: int) -> tuple[pa.Table, Bytes]:
    """Records in batch order from ``first_index`` with the seed of each, and their leaves, on the core that calls."""
    accounts = fixed_bytes(records["account"], 16)
    run = runs(accounts)
    seeds = salt_seeds(accounts[np.searchsorted(run, np.arange(run[-1] + 1))], seal_key)[run]
    leaves = leaf_hashes(records, seeds, first_index=first_index)
    return records.append_column("seed", fixed_column(seeds)), leaves


def batch_totals(con: duckdb.DuckDBPyConnection, records: str) -> dict[str, Any]:
    """What a manifest says of its records: how many of each outcome, and the amounts granted and reversed by unit."""
    return totals_of(con, f"({record_sums_sql(records)})")


def record_sums_sql(records: str) -> str:
    """Count and amounts of records by partner, kind and outcome; sums of parts add up to those of the whole."""
    return (
        "SELECT partner, kind, outcome, count(*) AS records, sum(granted_mg) AS granted_mg, "
        f"sum(reversed_mg) AS reversed_mg FROM {records} GROUP BY ALL"
    )


def totals_of(con: duckdb.DuckDBPyConnection, sums: str) -> dict[str, Any]:
    """:func:`batch_totals` from the sums of a batch, or of its parts."""
    outcomes = con.execute(f"SELECT outcome, sum(records)::VARCHAR FROM {sums} GROUP BY 1 ORDER BY 1").fetchall()
    amounts = con.execute(
        f"SELECT kind, sum(granted_mg)::VARCHAR, sum(reversed_mg)::VARCHAR FROM {sums} GROUP BY 1 ORDER BY 1"
    ).fetchall()
    return {
        "outcomes": dict(outcomes),
        "granted": {UNIT_OF_KIND[kind]: granted for kind, granted, _ in amounts},
        "reversed": {UNIT_OF_KIND[kind]: reversed_mg for kind, _, reversed_mg in amounts},
    }


def batch_postings(con: duckdb.DuckDBPyConnection, records: str) -> pa.Table:
    """The double entry of a batch: each account's net amount by unit, against the partners who reported it.

    Columns account, unit and amount, sorted by unit and account; amounts of one unit sum to zero; no zero
    amounts.
    """
    return double_entry(con, f"({account_postings_sql(records)})", f"({record_sums_sql(records)})")


def account_postings_sql(records: str) -> str:
    """Each account's net amount by unit, not zero; of parts that share no account they are those of the whole."""
    return f"SELECT account, {_UNIT} AS unit, {_NET} AS amount FROM {records} GROUP BY ALL HAVING amount <> 0"


def double_entry(con: duckdb.DuckDBPyConnection, accounts: str, sums: str) -> pa.Table:
    """:func:`batch_postings` from postings of accounts and sums, of a batch or of its parts."""
    partners = [text for (text,) in con.execute(f"SELECT DISTINCT partner FROM {sums}").fetchall()]
    own = " ".join(
        f"WHEN {quote(name)} THEN {quote(str(system_account(f'partner:{name}')))}::UUID" for name in partners
    )
    return con.sql(
        f"""
        SELECT account, unit, amount FROM {accounts}
        UNION ALL
        SELECT CASE partner {own} END AS account, {_UNIT} AS unit, -{_NET} AS amount FROM {sums}
        GROUP BY ALL HAVING amount <> 0
        ORDER BY unit, account
        """
    ).to_arrow_table()


_UNIT = "CASE kind " + " ".join(f"WHEN '{kind}' THEN '{name}'" for kind, name in UNIT_OF_KIND.items()) + " END"
_NET = "sum(granted_mg - reversed_mg)::BIGINT"
