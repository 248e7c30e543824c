"""Tables of the book, the same on every database, and the chain that the rows of the small ones form.

Each row's ``chain`` is a hash over the row and the chain before it; every batch manifest commits to the head, so that a
changed value shows. Integers are exact; amounts are in the unit named.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tanzhang.core.methodology import canonical_json

SCHEMA_VERSION = 4
"""What a new book says that it was made as; it stays when the book is migrated."""
SCHEMA_REVISION = "4.0"
"""What the tables below are; the last one in :mod:`tanzhang.stores.migrations`."""
EMPTY_HEAD = {"rows": "0", "head": "0" * 64}
metadata = sa.MetaData()

# Texts are compared byte by byte on every database, whatever language its server speaks.
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
# A number that the database gives out.
NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _chained(name: str, *columns: sa.Column[Any] | sa.Index) -> sa.Table:
    return sa.Table(
        name,
        metadata,
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        *columns,
        sa.Column("chain", TEXT, nullable=False),
    )


# What the home was set up with; written once, repeated in the log's first entry.
home = sa.Table(
    "home",
    metadata,
    sa.Column("key", TEXT, primary_key=True),
    sa.Column("value", TEXT, nullable=False),
)
# Which revision the book has come to; Alembic's own table, whose one row changes with every migration.
schema_revision = sa.Table(
    "alembic_version",
    metadata,
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
# Plan documents by digest: what every record's number can be recomputed from.
plan = _chained(
    "plan", sa.Column("digest", TEXT, nullable=False, unique=True), sa.Column("document", TEXT, nullable=False)
)
# One per accepted file: the catalogue of report files.
submission = _chained(
    "submission",
    sa.Column("partner", TEXT),
    sa.Column("name", TEXT, nullable=False),
    sa.Column("received_at", TEXT, nullable=False),
    sa.Column("received_day", TEXT, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("accepted", sa.BigInteger, nullable=False),
    sa.Column("refused", sa.BigInteger, nullable=False),
    sa.Column("fingerprint", TEXT, nullable=False, unique=True),
    sa.Column("answer", TEXT, nullable=False),
    sa.Column("file", TEXT, nullable=False),
    sa.Column("file_digest", TEXT, nullable=False),
    sa.Column("verdicts", TEXT, nullable=False),
    sa.Column("verdicts_digest", TEXT, nullable=False),
)
# Child account -> account with the person's consent from-to (1+N, 子母账户). A row of a child to itself ends what stood
# before: from that day on it belongs to nobody else.
link = _chained(
    "link",
    sa.Column("child", TEXT, nullable=False),
    sa.Column("account", TEXT, nullable=False),
    sa.Column("valid_from", TEXT, nullable=False),
    sa.Column("valid_until", TEXT),
    sa.Column("recorded_at", TEXT, nullable=False),
    sa.Index("link_child", "child"),
    sa.Index("link_account", "account"),
)
# One per file of consents: the catalogue of link files.
link_file = _chained(
    "link_file",
    sa.Column("name", TEXT, nullable=False),
    sa.Column("fingerprint", TEXT, nullable=False, unique=True),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("file", TEXT, nullable=False),
    sa.Column("file_digest", TEXT, nullable=False),
    sa.Column("recorded_at", TEXT, nullable=False),
)
# What the log publishes, in its order. The text of a batch's entry is the manifest in its own row.
entry = _chained("entry", sa.Column("kind", TEXT, nullable=False), sa.Column("text", TEXT))
# The catalogue of record files.
batch = _chained(
    "batch",
    sa.Column("entry", sa.Integer, nullable=False, unique=True),
    sa.Column("through", TEXT, nullable=False),
    sa.Column("records", sa.BigInteger, nullable=False),
    sa.Column("folder", TEXT, nullable=False),
    sa.Column("records_file", TEXT, nullable=False),
    sa.Column("records_digest", TEXT, nullable=False),
    sa.Column("subtrees_digest", TEXT, nullable=False),
    sa.Column("manifest", TEXT, nullable=False),
    sa.Column("sealed_at", TEXT, nullable=False),
)
# Which reports a batch consumed: all rows of the submission whose window closed by ``through``.
consumption = _chained(
    "consumption",
    sa.Column("batch", sa.Integer, nullable=False),
    sa.Column("submission", sa.Integer, nullable=False),
    sa.Column("through", TEXT, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
)
# Double entry: per batch and unit the amounts sum to zero. A row is a page of many accounts: stores/postings.py.
posting = sa.Table(
    "posting",
    metadata,
    sa.Column("batch", sa.Integer, nullable=False),
    sa.Column("unit", TEXT, nullable=False),
    sa.Column("first", sa.LargeBinary, nullable=False),
    sa.Column("last", sa.LargeBinary, nullable=False),
    sa.Column("accounts", sa.Integer, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
    sa.PrimaryKeyConstraint("batch", "unit", "first"),
)
# What the records of a batch, or of a run of batches, come to without any person: stores/tallies.py.
tally = sa.Table(
    "tally",
    metadata,
    sa.Column("last", sa.Integer, nullable=False),
    sa.Column("first", sa.Integer, nullable=False),
    sa.Column("first_day", TEXT),
    sa.Column("last_day", TEXT),
    sa.Column("cells", sa.Integer, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
    sa.PrimaryKeyConstraint("last", "first"),
)
# One per erasing of persons. ``links`` lists the rows of table link that say no more whose they were.
erasure = _chained(
    "erasure",
    sa.Column("made_at", TEXT, nullable=False),
    sa.Column("reason", TEXT),
    sa.Column("accounts", sa.BigInteger, nullable=False),
    sa.Column("records", sa.BigInteger, nullable=False),
    sa.Column("reports", sa.BigInteger, nullable=False),
    sa.Column("links", TEXT, nullable=False),
)
# A file that stands for one named above (the last one for each counts), or none: it was disposed of. ``kind`` is
# records, reports, verdicts or links, ``number`` the row of its catalogue, ``erased`` how many of its rows are gone in
# all; ``totals`` what erased records of a batch came to.
replacement = _chained(
    "replacement",
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("erasure", sa.Integer),
    sa.Column("file", TEXT),
    sa.Column("file_digest", TEXT),
    sa.Column("erased", sa.BigInteger, nullable=False),
    sa.Column("totals", TEXT),
    sa.Column("recorded_at", TEXT, nullable=False),
    sa.Index("replacement_latest", "kind", "number", "seq"),
)
# Double entry between accounts of persons (1+N): the legs of one ``number`` and unit sum to zero. ``batches`` is how
# many were settled before; ``kind`` join, follow, part or used (stores/register/joinings.py), or donate, to the account
# of a project (stores/register/donations.py), or pass_on and receive, to and from that of a scheme (passings.py). A leg
# of an erased person has no account.
transfer = _chained(
    "transfer",
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("batches", sa.Integer, nullable=False),
    sa.Column("account", TEXT, nullable=False),
    sa.Column("unit", TEXT, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("made_at", TEXT, nullable=False),
    sa.Index("transfer_account", "account"),
)
# One movement of points between an account and a counter; what it adds to the account, the counter has less, so that a
# row sums to zero (stores/register/points.py). ``lots`` are the parts: last day, first day, amount, and the last day to
# collect it where it waits for that. A move of an erased person has no account.
points_move = _chained(
    "points_move",
    sa.Column("unit", TEXT, nullable=False),
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("reference", TEXT, nullable=False),
    sa.Column("account", TEXT, nullable=False),
    sa.Column("counter", TEXT, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("lots", TEXT, nullable=False),
    sa.Column("memo", TEXT),
    sa.Column("made_at", TEXT, nullable=False),
    sa.Index("points_move_account", "account", "seq"),
    sa.Index("points_move_reference", "unit", "kind", "reference", unique=True),
)
# The rules by which points were awarded, by digest: what every award can be recomputed from.
points_rules = _chained(
    "points_rules",
    sa.Column("unit", TEXT, nullable=False),
    sa.Column("digest", TEXT, nullable=False, unique=True),
    sa.Column("document", TEXT, nullable=False),
)
# One per award run over a batch (kind award), and per day on which lots ended (kind expire): what all accounts were
# granted, what was taken back of earlier awards, what ended unspent, below zero if it was taken back after it had ended
# (stores/register/points_runs.py). ``file`` has
# the rows of an award by the record's place in its batch; none where there are no rows. ``sponsors`` is sponsor ->
# spent, less what came back (JSON).
points_run = _chained(
    "points_run",
    sa.Column("unit", TEXT, nullable=False),
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("batch", sa.Integer),
    sa.Column("rules", TEXT),
    sa.Column("day", TEXT, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("granted", sa.BigInteger, nullable=False),
    sa.Column("taken_back", sa.BigInteger, nullable=False),
    sa.Column("ended", sa.BigInteger, nullable=False),
    sa.Column("sponsors", TEXT, nullable=False),
    sa.Column("file", TEXT),
    sa.Column("file_digest", TEXT),
    sa.Column("made_at", TEXT, nullable=False),
    sa.Index("points_run_once", "unit", "kind", "batch", unique=True),
)
# What the guard and the operator decided of accepted reports (stores/register/guard.py): ``kind`` hold, release or
# refuse. ``rows`` are those of the ``submission`` (JSON), ``reports`` how many; ``batches`` how many were settled
# before. A held report is never settled from its own submission; a released one is, from submission ``released_as``.
guard_move = _chained(
    "guard_move",
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("submission", sa.Integer, nullable=False),
    sa.Column("rows", TEXT, nullable=False),
    sa.Column("reports", sa.BigInteger, nullable=False),
    sa.Column("batches", sa.Integer, nullable=False),
    sa.Column("released_as", sa.Integer),
    sa.Column("made_at", TEXT, nullable=False),
    sa.Index("guard_move_submission", "submission"),
)


# -- the market: lots, how they are verified, money, units, retirements ---------------------------------------

# What became of a lot, from its draft on (stores/register/lots.py): ``kind`` is the state that it came to; ``detail``
# JSON.
lot_event = _chained(
    "lot_event",
    sa.Column("lot", sa.Integer, nullable=False),
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("detail", TEXT, nullable=False),
    sa.Column("made_at", TEXT, nullable=False),
    sa.Index("lot_event_lot", "lot", "seq"),
)
# What was done to verify a lot, one row an act (stores/register/verifications.py); ``detail`` is canonical JSON. Rows
# name records by batch and place, and never a person.
verification_event = _chained(
    "verification_event",
    sa.Column("lot", sa.Integer, nullable=False),
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("reference", TEXT, nullable=False),
    sa.Column("detail", TEXT, nullable=False),
    sa.Column("actor", TEXT, nullable=False),
    sa.Column("made_at", TEXT, nullable=False),
    sa.Index("verification_event_reference", "lot", "kind", "reference", unique=True),
)
# One leg of a movement of money, in fen: the legs of one ``number`` sum to zero, and ``kind`` and ``reference`` name it
# once and for all (stores/register/money.py). Accounts are texts that name no person.
money_move = _chained(
    "money_move",
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("reference", TEXT, nullable=False),
    sa.Column("account", TEXT, nullable=False),
    sa.Column("amount_fen", sa.BigInteger, nullable=False),
    sa.Column("made_at", TEXT, nullable=False),
    sa.Index("money_move_account", "account", "seq"),
    sa.Index("money_move_number", "number"),
    sa.Index("money_move_reference", "kind", "reference", "account", unique=True),
)
# One for each sale of entrusted units whose money was divided (stores/register/payback.py); entry number ``entry`` of
# the log says what it brought and what was shared of it. ``nobodys_fen`` is the part of records that are erased.
payback_run = _chained(
    "payback_run",
    sa.Column("deal", sa.Integer, nullable=False, unique=True),
    sa.Column("delivered", sa.Integer, nullable=False),
    sa.Column("lot", sa.Integer, nullable=False),
    sa.Column("shared_fen", sa.BigInteger, nullable=False),
    sa.Column("accounts", sa.BigInteger, nullable=False),
    sa.Column("nobodys_fen", sa.BigInteger, nullable=False),
    sa.Column("entry", sa.Integer, nullable=False),
    sa.Column("made_at", TEXT, nullable=False),
)
# How the units of a lot began (stores/register/units.py): ``kind`` issue, of the programme's own lot of this number, or
# import, of what left another ``registry`` under ``foreign`` (its own serial number there).
unit_lot = _chained(
    "unit_lot",
    sa.Column("lot", sa.Integer, nullable=False, unique=True),
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("region", TEXT, nullable=False),
    sa.Column("programme", TEXT, nullable=False),
    sa.Column("vintage", sa.Integer, nullable=False),
    sa.Column("unit", TEXT, nullable=False),
    sa.Column("units", sa.BigInteger, nullable=False),
    sa.Column("tier", TEXT, nullable=False),  # that they began in
    sa.Column("registry", TEXT),
    sa.Column("foreign", TEXT),
    sa.Column("made_at", TEXT, nullable=False),
    sa.Index("unit_lot_foreign", "registry", "foreign", unique=True),
)
# Every change of blocks of units: ``detail`` (JSON) names the blocks that it replaced and those that stand since. The
# reference is the client's, and names an event of its kind once and for all.
unit_event = _chained(
    "unit_event",
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("reference", TEXT, nullable=False),
    sa.Column("lot", sa.Integer, nullable=False),
    sa.Column("detail", TEXT, nullable=False),
    sa.Column("actor", TEXT, nullable=False),
    sa.Column("made_at", TEXT, nullable=False),
    sa.Index("unit_event_reference", "kind", "reference", unique=True),
    sa.Index("unit_event_lot", "lot", "seq"),
)
# Dated facts about ranges of units: a label of a scheme from a day on, until another one; ``revokes`` is the number of
# an earlier fact that holds no longer from ``first_day`` on.
unit_label = _chained(
    "unit_label",
    sa.Column("reference", TEXT, nullable=False, unique=True),
    sa.Column("lot", sa.Integer, nullable=False),
    sa.Column("lo", sa.BigInteger, nullable=False),
    sa.Column("hi", sa.BigInteger, nullable=False),
    sa.Column("scheme", TEXT, nullable=False),
    sa.Column("scope", TEXT, nullable=False),
    sa.Column("tier", TEXT, nullable=False),
    sa.Column("granted_by", TEXT, nullable=False),
    sa.Column("evidence", TEXT, nullable=False),
    sa.Column("first_day", TEXT, nullable=False),
    sa.Column("until_day", TEXT),
    sa.Column("revokes", sa.Integer),
    sa.Column("actor", TEXT, nullable=False),
    sa.Column("made_at", TEXT, nullable=False),
    sa.Index("unit_label_lot", "lot", "seq"),
)
# Units that were used for a claim (stores/register/retirements.py): ``serials`` are their numbers (JSON), ``event`` the
# row of ``unit_event`` that retired them, ``entry`` that of the log, ``commitment`` the one to beneficiary, using
# entity and note.
retirement = _chained(
    "retirement",
    sa.Column("id", TEXT, nullable=False, unique=True),
    sa.Column("holder", TEXT, nullable=False),
    sa.Column("lot", sa.Integer, nullable=False),
    sa.Column("vintage", sa.Integer, nullable=False),
    sa.Column("serials", TEXT, nullable=False),
    sa.Column("units", sa.BigInteger, nullable=False),
    sa.Column("purpose", TEXT, nullable=False),
    sa.Column("market", TEXT, nullable=False),
    sa.Column("since", TEXT, nullable=False),
    sa.Column("until", TEXT, nullable=False),
    sa.Column("commitment", TEXT, nullable=False),
    sa.Column("request", TEXT, nullable=False),
    sa.Column("event", sa.Integer, nullable=False, unique=True),
    sa.Column("entry", sa.Integer, nullable=False),
    sa.Column("made_at", TEXT, nullable=False),
    sa.Index("retirement_lot", "lot", "seq"),
)


# -- what is overwritten or goes: keys, what waits ------------------------------------------------------------

# The key of the next batch's salts. The one row that is overwritten: what is gone cannot be made again.
seal_key = sa.Table(
    "seal_key",
    metadata,
    sa.Column("only", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("batch", sa.Integer, nullable=False),
    sa.Column("key", sa.LargeBinary, nullable=False),
    sa.CheckConstraint('"only" = 1', name="seal_key_only_check"),
)
# The key of the secrets of accounts that the next epoch has first (stores/register/epochs.py); overwritten too.
epoch_key = sa.Table(
    "epoch_key",
    metadata,
    sa.Column("only", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("key", sa.LargeBinary, nullable=False),
    sa.CheckConstraint('"only" = 1', name="epoch_key_only_check"),
)

# Submissions with reports that are not settled yet, and how many: what the rows above say, kept so that it is not
# counted again each time. Rows change and go.
unsettled = sa.Table(
    "unsettled",
    metadata,
    sa.Column("submission", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("reports", sa.BigInteger, nullable=False),
    sa.Column("next_close_day", TEXT, nullable=False),  # none of them closes before
    sa.Column("settled_through", TEXT),
    sa.Column("at_once", sa.Boolean, nullable=False),  # all of them are to be settled as soon as they come
)

# What an erasing still has to clear away once it is committed: files that no row names any more, and batches whose keys
# (stores/known.py) are those of before. Rows go when that is done.
leftover = sa.Table(
    "leftover",
    metadata,
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("name", TEXT, nullable=False),
    sa.PrimaryKeyConstraint("kind", "name"),
)

CHAINED: tuple[sa.Table, ...] = (
    plan,
    submission,
    link,
    link_file,
    entry,
    batch,
    consumption,
    erasure,
    replacement,
    transfer,
    points_move,
    points_rules,
    points_run,
    guard_move,
    lot_event,
    verification_event,
    money_move,
    payback_run,
    unit_lot,
    unit_event,
    unit_label,
    retirement,
)
APPEND_ONLY = (home, posting, tally, *CHAINED)
ONLY_ADDED = "append_only"
"""Member of a table's ``info``: rows of it are only added. Such a table has a number ``id`` that the database gives."""
REFUSALS = "refusals"
"""Member of a table's ``info``: what else the database refuses of it, the fields of a :class:`Refusal` each."""
APART = "apart"
"""Member of a table's ``info``: the columns of an owner and of a range ``[lo, hi)``; ranges of one owner never overlap.

Owners are below 2^31 and ranges end at 2^32 at most.
"""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the database refuses of a row of a table: a condition over OLD and NEW that both databases understand."""

    name: str
    event: str  # INSERT, UPDATE or DELETE
    condition: str
    answer: str


def refusals() -> Iterator[tuple[sa.Table, Refusal]]:
    """All that tables say of theirs (``info``)."""
    for table in metadata.sorted_tables:
        for each in table.info.get(REFUSALS, ()):
            yield table, Refusal(*each)


def kept_apart() -> Iterator[tuple[sa.Table, tuple[str, str, str]]]:
    """Tables of ranges that never overlap, with their columns (``info``)."""
    for table in metadata.sorted_tables:
        if APART in table.info:
            yield table, table.info[APART]


# Tables whose rows come with their batch and never later, and the column that names it.
WITH_BATCH: tuple[tuple[sa.Table, str], ...] = ((posting, "batch"), (tally, "last"))


def append_only() -> tuple[sa.Table, ...]:
    """Every table whose rows nobody changes: those above, and what registers say of theirs (``info``)."""
    return (*APPEND_ONLY, *(table for table in metadata.sorted_tables if table.info.get(ONLY_ADDED)))


# The tables whose rows can be made to say no more whose they were, and the columns that are emptied then.
ERASABLE: Mapping[sa.Table, tuple[str, ...]] = {
    link: ("child", "account"),
    transfer: ("account",),
    points_move: ("account",),
}


def erasing_sql(table: sa.Table, same: str) -> str:
    """The one change of a row of :data:`ERASABLE` that the database lets through: it says no more whose it was.

    ``same`` is the database's comparison that holds of two NULLs.
    """
    emptied = [f"NEW.{name} = ''" for name in ERASABLE[table]]
    kept = [column.name for column in table.c if column.name not in ERASABLE[table]]
    return " AND ".join([*emptied, *(f"NEW.{name} {same} OLD.{name}" for name in kept)])


def refusal_of(table: sa.Table) -> str:
    """What the database itself answers to whoever would change what is booked."""
    return f"{table.name} is append-only: book an opposite entry"


def is_erased_link(row: Any) -> bool:
    """Whether a row of table ``link`` says no more whose it was."""
    return bool(row.child == row.account == "")


def is_erased(table: sa.Table, row: Any) -> bool:
    """Whether a row of a table of :data:`ERASABLE` says no more whose it was."""
    return all(getattr(row, name) == "" for name in ERASABLE[table])


def append(con: sa.Connection, table: sa.Table, values: Mapping[str, Any]) -> int:
    """Add the next row of a chained table; returns its number."""
    return append_many(con, table, [values])


def append_many(con: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Add rows to a chained table, in their order; returns the number of the first one."""
    first, head = end_of(con, table)
    names = [column.name for column in table.c if column.name != "chain"]
    added = []
    for seq, values in enumerate(rows, first):
        row = {name: values.get(name) for name in names} | {"seq": seq}
        head = chain_link(head, table.name, row)
        added.append({**row, "chain": head})
    if added:
        con.execute(table.insert(), added)
    return first


def end_of(con: sa.Connection, table: sa.Table) -> tuple[int, str]:
    """How many rows a chained table has, and the head of its chain."""
    last = con.execute(sa.select(table.c.seq, table.c.chain).order_by(table.c.seq.desc()).limit(1)).first()
    return (last.seq + 1, last.chain) if last else (0, EMPTY_HEAD["head"])


def chain_link(head: str, table: str, values: Mapping[str, Any]) -> str:
    """The chain of a row: a hash over the chain before it, the table's name and the row as texts."""
    text = {name: None if value is None else str(value) for name, value in values.items()}
    return hashlib.sha256(f"{head}|{table}|{canonical_json(text)}".encode()).hexdigest()


def settings_check(settings: Mapping[str, str]) -> str:
    """What shows a changed, missing or added row of table ``home``; itself in the log's first entry."""
    return hashlib.sha256(canonical_json(dict(settings)).encode()).hexdigest()


def genesis(values: Mapping[str, str]) -> str:
    """The log's first entry: what the home was set up with. Folders of this machine are left out."""
    public = {key: value for key, value in values.items() if key != "overlays"}
    return canonical_json({"format": "tanzhang.genesis/1", **public})


def system_account(name: str) -> uuid.UUID:
    """The counter-account of a name such as ``partner:amap``; the other side of what its citizens were granted."""
    return uuid.UUID(bytes=hashlib.sha256(f"tanzhang account {name}".encode()).digest()[:16])


def manifest_of(row: Any) -> dict[str, Any]:
    """A batch row's manifest as data."""
    manifest: dict[str, Any] = json.loads(row.manifest)
    return manifest
