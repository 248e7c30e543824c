"""Book and seal: record files, one SQL transaction, then the log. In this order, so that a crash loses nothing.

1. the batch's record file and subtree roots (temporary name, sync, rename);
2. one transaction: batch row with digests, root and totals, postings, the reports it consumed, the next salt key;
3. log entries, tiles, checkpoint.

A file that no batch row names does not exist; a batch row whose manifest is not in the log yet gets there with the
next call of anything that writes.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tanzhang.core.methodology import canonical_json
from tanzhang.core.receipt import MANIFEST_FORMAT
from tanzhang.core.record import LAYOUT_VERSION, UNIT_OF_KIND, next_seal_key
from tanzhang.engine.hashing import merkle_root, subtree_roots
from tanzhang.engine.leaves import fixed_bytes, leaf_hashes, salt_seeds
from tanzhang.engine.settle import RECORD_COLUMNS
from tanzhang.stores.book import system_account
from tanzhang.stores.home import Home, key_check
from tanzhang.stores.records import RECORDS, SUBTREES, write_subtrees, write_table

if TYPE_CHECKING:
    import duckdb


def seal(
    home: Home,
    con: duckdb.DuckDBPyConnection,
    records: str,
    *,
    consumed: list[dict[str, Any]],
    through: date,
    now: datetime,
) -> dict[str, Any]:
    """Make a table of records the next batch. Returns its number, root and totals."""
    number, key = home.book.next_seal_key()
    table = con.sql(f"SELECT {', '.join(RECORD_COLUMNS)} FROM {records}").to_arrow_table()
    seeds = salt_seeds(table["account"], key)
    seed_column = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(seeds), [None, pa.py_buffer(seeds)])
    folder = home.folder / "records" / f"{number:08d}"
    with ThreadPoolExecutor(1) as writer:  # the file is written while leaves are hashed and sums are made
        writing = writer.submit(
            write_table, folder / RECORDS, table.append_column("seed", seed_column), home=home.folder
        )
        leaves = leaf_hashes(table, seeds)
        root, subtrees = merkle_root(leaves).hex(), subtree_roots(leaves)
        totals = batch_totals(con, records)
        postings = [(account, unit, number, amount) for account, unit, amount in batch_postings(con, records)]
        records_digest = writing.result()
    subtrees_digest = write_subtrees(folder / SUBTREES, subtrees, home=home.folder)
    heads = home.book.heads()
    following = next_seal_key(key)
    manifest = {
        "format": MANIFEST_FORMAT,
        "programme": home.programme.id,
        "rehearsal": home.programme.rehearsal,
        "batch": str(number),
        "through": through.isoformat(),
        "layout": LAYOUT_VERSION,
        "records": str(table.num_rows),
        "root": root,
        **totals,
        "book": heads,
        "next_seal_check": key_check(following),
    }
    home.book.commit_batch(
        {
            "through": through.isoformat(),
            "records": table.num_rows,
            "folder": folder.relative_to(home.folder).as_posix(),
            "records_digest": records_digest,
            "subtrees_digest": subtrees_digest,
            "manifest": canonical_json(manifest),
            "sealed_at": now.astimezone(UTC).isoformat(timespec="seconds"),
        },
        consumed,
        postings,
        following,
        heads,
    )
    home.publish()
    return {
        "batch": number,
        "through": through.isoformat(),
        "records": table.num_rows,
        "root": root,
        **totals,
    }


def batch_totals(con: duckdb.DuckDBPyConnection, records: str) -> dict[str, Any]:
    """What a manifest says of its records: how many of each outcome, and the amounts granted and reversed by unit."""
    outcomes = con.execute(f"SELECT outcome, count(*)::VARCHAR FROM {records} GROUP BY 1 ORDER BY 1").fetchall()
    amounts = con.execute(
        f"SELECT kind, sum(granted_mg)::VARCHAR, sum(reversed_mg)::VARCHAR FROM {records} GROUP BY 1 ORDER BY 1"
    ).fetchall()
    return {
        "outcomes": dict(outcomes),
        "granted": {UNIT_OF_KIND[kind]: granted for kind, granted, _ in amounts},
        "reversed": {UNIT_OF_KIND[kind]: reversed_mg for kind, _, reversed_mg in amounts},
    }


def batch_postings(con: duckdb.DuckDBPyConnection, records: str) -> list[tuple[bytes, str, int]]:
    """The double entry of a batch: each account's net amount by unit, against the partners who reported it.

    (account, unit, amount), sorted by account and unit; amounts of one unit sum to zero; no zero amounts.
    """
    unit = "CASE kind " + " ".join(f"WHEN '{kind}' THEN '{name}'" for kind, name in UNIT_OF_KIND.items()) + " END"
    own = con.sql(
        f"""
        SELECT account, {unit} AS unit, sum(granted_mg - reversed_mg)::BIGINT AS amount FROM {records}
        GROUP BY ALL HAVING amount <> 0 ORDER BY account, unit
        """
    ).to_arrow_table()
    accounts = [each.tobytes() for each in fixed_bytes(own["account"], 16)]
    postings = list(zip(accounts, own["unit"].to_pylist(), own["amount"].to_pylist(), strict=True))
    partners = con.execute(
        f"""
        SELECT partner, {unit} AS unit, -sum(granted_mg - reversed_mg)::BIGINT AS amount FROM {records}
        GROUP BY ALL HAVING amount <> 0
        """
    ).fetchall()
    postings += [(system_account(f"partner:{partner}").bytes, name, amount) for partner, name, amount in partners]
    return sorted(postings)
