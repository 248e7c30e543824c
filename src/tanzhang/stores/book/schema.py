"""Tables of the book, the same on every database, and the chain that the rows of the small ones form.

Each row's ``chain`` is a hash over the row and the chain before it; every batch manifest commits to the head, so that a
changed value shows. Integers are exact; amounts are in the unit named.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from tanzhang.core.methodology import canonical_json

SCHEMA_VERSION = 3
EMPTY_HEAD = {"rows": "0", "head": "0" * 64}
metadata = sa.MetaData()

# Texts are compared byte by byte on every database, whatever language its server speaks.
_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _chained(name: str, *columns: sa.Column[Any]) -> sa.Table:
    return sa.Table(
        name,
        metadata,
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        *columns,
        sa.Column("chain", _TEXT, nullable=False),
    )


# What the home was set up with; written once, repeated in the log's first entry.
home = sa.Table(
    "home",
    metadata,
    sa.Column("key", _TEXT, primary_key=True),
    sa.Column("value", _TEXT, nullable=False),
)
# Plan documents by digest: what every record's number can be recomputed from.
plan = _chained(
    "plan", sa.Column("digest", _TEXT, nullable=False, unique=True), sa.Column("document", _TEXT, nullable=False)
)
# One per accepted file: the catalogue of report files.
submission = _chained(
    "submission",
    sa.Column("partner", _TEXT),
    sa.Column("name", _TEXT, nullable=False),
    sa.Column("received_at", _TEXT, nullable=False),
    sa.Column("received_day", _TEXT, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("accepted", sa.BigInteger, nullable=False),
    sa.Column("refused", sa.BigInteger, nullable=False),
    sa.Column("fingerprint", _TEXT, nullable=False, unique=True),
    sa.Column("answer", _TEXT, nullable=False),
    sa.Column("file", _TEXT, nullable=False),
    sa.Column("file_digest", _TEXT, nullable=False),
    sa.Column("verdicts", _TEXT, nullable=False),
    sa.Column("verdicts_digest", _TEXT, nullable=False),
)
# Child account -> account with the person's consent from-to (1+N, 子母账户).
link = _chained(
    "link",
    sa.Column("child", _TEXT, nullable=False),
    sa.Column("account", _TEXT, nullable=False),
    sa.Column("valid_from", _TEXT, nullable=False),
    sa.Column("valid_until", _TEXT),
    sa.Column("recorded_at", _TEXT, nullable=False),
)
# One per file of consents: the catalogue of link files.
link_file = _chained(
    "link_file",
    sa.Column("name", _TEXT, nullable=False),
    sa.Column("fingerprint", _TEXT, nullable=False, unique=True),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("file", _TEXT, nullable=False),
    sa.Column("file_digest", _TEXT, nullable=False),
    sa.Column("recorded_at", _TEXT, nullable=False),
)
# The catalogue of record files; the manifest is the log entry of the same index.
batch = _chained(
    "batch",
    sa.Column("through", _TEXT, nullable=False),
    sa.Column("records", sa.BigInteger, nullable=False),
    sa.Column("folder", _TEXT, nullable=False),
    sa.Column("records_file", _TEXT, nullable=False),
    sa.Column("records_digest", _TEXT, nullable=False),
    sa.Column("subtrees_digest", _TEXT, nullable=False),
    sa.Column("manifest", _TEXT, nullable=False),
    sa.Column("sealed_at", _TEXT, nullable=False),
)
# Which reports a batch consumed: all rows of the submission whose window closed by ``through``.
consumption = _chained(
    "consumption",
    sa.Column("batch", sa.Integer, nullable=False),
    sa.Column("submission", sa.Integer, nullable=False),
    sa.Column("through", _TEXT, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
)
# Double entry: per batch and unit the amounts sum to zero. A row is a page of many accounts: stores/postings.py.
posting = sa.Table(
    "posting",
    metadata,
    sa.Column("batch", sa.Integer, nullable=False),
    sa.Column("unit", _TEXT, nullable=False),
    sa.Column("first", sa.LargeBinary, nullable=False),
    sa.Column("last", sa.LargeBinary, nullable=False),
    sa.Column("accounts", sa.Integer, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
    sa.PrimaryKeyConstraint("batch", "unit", "first"),
)
# The key of the next batch's salts. The one row that is overwritten: what is gone cannot be made again.
seal_key = sa.Table(
    "seal_key",
    metadata,
    sa.Column("only", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("batch", sa.Integer, nullable=False),
    sa.Column("key", sa.LargeBinary, nullable=False),
    sa.CheckConstraint('"only" = 1', name="seal_key_only_check"),
)

CHAINED: tuple[sa.Table, ...] = (plan, submission, link, link_file, batch, consumption)
APPEND_ONLY = (home, posting, *CHAINED)


def refusal_of(table: sa.Table) -> str:
    """What the database itself answers to whoever would change what is booked."""
    return f"{table.name} is append-only: book an opposite entry"


def append(con: sa.Connection, table: sa.Table, values: Mapping[str, Any]) -> int:
    """Add the next row of a chained table; returns its number."""
    last = con.execute(sa.select(table.c.seq, table.c.chain).order_by(table.c.seq.desc()).limit(1)).first()
    seq, head = (last.seq + 1, last.chain) if last else (0, EMPTY_HEAD["head"])
    row = {column.name: values.get(column.name) for column in table.c if column.name != "chain"} | {"seq": seq}
    con.execute(table.insert(), {**row, "chain": chain_link(head, table.name, row)})
    return seq


def chain_link(head: str, table: str, values: Mapping[str, Any]) -> str:
    """The chain of a row: a hash over the chain before it, the table's name and the row as texts."""
    text = {name: None if value is None else str(value) for name, value in values.items()}
    return hashlib.sha256(f"{head}|{table}|{canonical_json(text)}".encode()).hexdigest()


def settings_check(settings: Mapping[str, str]) -> str:
    """What shows a changed, missing or added row of table ``home``; itself in the log's first entry."""
    return hashlib.sha256(canonical_json(dict(settings)).encode()).hexdigest()


def system_account(name: str) -> uuid.UUID:
    """The counter-account of a name such as ``partner:amap``; the other side of what its citizens were granted."""
    return uuid.UUID(bytes=hashlib.sha256(f"tanzhang account {name}".encode()).digest()[:16])


def manifest_of(row: Any) -> dict[str, Any]:
    """A batch row's manifest as data."""
    manifest: dict[str, Any] = json.loads(row.manifest)
    return manifest
