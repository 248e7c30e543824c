"""Make the data package of a lot: everything from which it can be checked elsewhere, without this home.

One for everybody, with nothing about persons: sums of the lot's tree over 1,024 members at least, of enough accounts.
One for a verifier, with the whole record of every member and what makes its leaf again: salts of these records, hashes
beside them in their batches, the recipes. It is made on demand and not kept, since it holds what an erasing takes away;
who makes one is written down. Memory is that of a part of the members, however many there are.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tanzhang.core.access import Actor
from tanzhang.core.checkpoint import Checkpoint
from tanzhang.core.errors import refuse
from tanzhang.core.lot import lot_text
from tanzhang.core.lot_package import (
    CELLS,
    CHECKPOINT,
    CONTENTS,
    ENTRIES,
    FINDINGS,
    LEAST_LEVEL,
    LOT,
    MEMBERS,
    NODES,
    NOTE,
    PLANS,
    PUBLIC,
    SIBLINGS,
    UNITS,
    VERIFICATION,
    VERIFIER,
    Contents,
    FileSaid,
    LogEntry,
    cut,
    entries_to_bytes,
    nodes_to_bytes,
)
from tanzhang.core.methodology import canonical_json
from tanzhang.core.note import parse_note, sign_note
from tanzhang.core.record import ERASED, SALT_BYTES
from tanzhang.core.sum_tree import Node
from tanzhang.engine.columns import Bytes, Numbers, fixed_bytes, fixed_column, integers, one_array, said
from tanzhang.engine.leaves import leaf_hashes, salts
from tanzhang.engine.partial_tree import HEIGHT, LEAVES, Siblings, siblings
from tanzhang.engine.records import ARROW_TYPES, RECORD_COLUMNS
from tanzhang.engine.sum_tree import Level
from tanzhang.service.market.issue import issued
from tanzhang.service.market.open_data import accounts_by_node, cells_of
from tanzhang.service.market.verification import findings_of, verification_said
from tanzhang.service.moments import received_at
from tanzhang.stores.home import Home
from tanzhang.stores.lot_files import read_lot_subtrees
from tanzhang.stores.ordered import END, OrderedRows
from tanzhang.stores.parts import erased_leaves, record_files, whole_subtrees
from tanzhang.stores.records import SUBTREES, TableFile, read_subtrees, writing_table

MEMBER_SCHEMA = pa.schema(
    [
        ("batch", pa.int32()),
        ("place", pa.uint32()),
        ("amount_mg", pa.int64()),
        ("salt", pa.binary(SALT_BYTES)),
        ("leaf", pa.binary(32)),
        *((name, ARROW_TYPES[kind]) for name, kind in RECORD_COLUMNS.items()),
    ]
)
"""A member: what of which record, the salt of the record's leaf, or of an erased record its leaf alone."""
SIBLING_SCHEMA = pa.schema(
    [
        ("batch", pa.int32()),
        ("subtree", pa.uint32()),
        ("level", pa.uint8()),
        ("index", pa.uint8()),
        ("hash", pa.binary(32)),
    ]
)
"""Hashes beside the members' leaves in the tree of their batch: :mod:`tanzhang.engine.partial_tree`."""


def make_package(home: Home, number: int, kind: str, out: Path, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Write the package of a lot to a new folder, or to a ZIP file if ``out`` ends with ``.zip``.

    ``kind`` is public or verifier. Raises ``unknown-lot``, ``lot-not-frozen``, ``package-exists``.
    """
    if out.exists():
        raise refuse("package-exists", f"{out} is there already", where=str(out), remedy="name a new file or folder")
    row = frozen_lot(home, number)
    if home.log.size <= row.entry:  # a crash came between the book and the log
        with home.settling():
            home.publish()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as made:
        folder = Path(made) / lot_text(number)
        folder.mkdir(mode=0o700)
        with home.book.snapshot():
            contents = _fill(home, row, kind, folder, now)
        if out.suffix == ".zip":
            zipped(folder, Path(made) / out.name)
            (Path(made) / out.name).rename(out)
        else:
            folder.rename(out)
    at = received_at(now)
    with home.book.transaction() as con:
        detail = {"kind": kind, "package": contents.files[LOT].sha256}
        home.audit.write(con, actor, "lot package made", f"lot {lot_text(number)}", at=at, detail=detail)
    return {
        "status": "made",
        "lot": lot_text(number),
        "kind": kind,
        "package": str(out),
        "files": {name: str(each.size_bytes) for name, each in contents.files.items()},
        "key": home.values["vkey"],
    }


def frozen_lot(home: Home, number: int) -> Any:
    """The row of a lot that was frozen; ``unknown-lot``, ``lot-not-frozen``."""
    row = home.lots.one(number)
    if row.entry is None:
        raise refuse(
            "lot-not-frozen",
            f"{lot_text(number)} was not frozen: its members are not fixed",
            where=lot_text(number),
            remedy="freeze it first",
        )
    return row


def zipped(folder: Path, path: Path) -> None:
    """The files of a package as one ZIP file; what is in it is compressed where that pays."""
    with zipfile.ZipFile(path, "x", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            kind = zipfile.ZIP_STORED if file.suffix == ".parquet" else zipfile.ZIP_DEFLATED
            archive.write(file, file.name, compress_type=kind)


def _fill(home: Home, row: Any, kind: str, folder: Path, now: datetime) -> Contents:
    entry = home.book.entries(row.entry)[0].text
    note = home.log.checkpoint_bytes()
    files: dict[str, FileSaid] = {}

    def write(name: str, data: bytes) -> None:
        (folder / name).write_bytes(data)
        files[name] = FileSaid(sha256(data).hexdigest(), len(data))

    write(LOT, entry.encode())
    write(CHECKPOINT, note)
    batches = _batches(home, row)
    write(ENTRIES, entries_to_bytes(_entries(home, note, [row.entry, *(each.entry for each in batches)], row.number)))
    digests = {digest for named in json.loads(entry)["methodologies"].values() for digest in named}
    write(PLANS, canonical_json(home.book.plans(digests)).encode())
    write(UNITS, canonical_json(units_said(home, row, with_holders=kind == VERIFIER)).encode())
    write(VERIFICATION, canonical_json(verification_said(home, row.number)).encode())
    if kind == PUBLIC:
        write(CELLS, canonical_json(cells_of(home, row.number, now=now)).encode())
        write(NODES, nodes_to_bytes(_nodes(home, row)))
    else:
        write(FINDINGS, canonical_json(findings_of(home, row.number)).encode())
        for name, digest in _write_members(home, row, batches, folder).items():
            files[name] = FileSaid(digest, (folder / name).stat().st_size)
    contents = Contents(kind, row.number, home.programme.id, home.values["origin"], received_at(now), files)
    (folder / CONTENTS).write_bytes(contents.to_bytes())
    (folder / NOTE).write_bytes(sign_note(contents.note_text(), [home.signer]))
    return contents


def _entries(home: Home, note: bytes, wanted: list[int], number: int) -> Iterator[LogEntry]:
    checkpoint = Checkpoint.parse(parse_note(note).text)
    tree = home.log.tree(checkpoint)
    said_by = [index for index, text in home.verifications.registered() if json.loads(text)["lot"] == lot_text(number)]
    if home.units.begun(number) is not None:
        said_by.append(int(issued(home, number)["entry"]))
    for index in sorted({*wanted, *said_by}):
        if index < checkpoint.size:
            yield LogEntry(index, home.log.entry(index).decode(), tuple(tree.inclusion_proof(index)))


def units_said(home: Home, row: Any, *, with_holders: bool) -> dict[str, Any]:
    """What became of a lot: its state, its units and their blocks; who holds them is no business of everybody."""
    blocks = home.units.blocks(lot=row.number)
    states: dict[str, int] = {}
    for block in blocks:
        states[block.state] = states.get(block.state, 0) + block.hi - block.lo
    return {
        "state": row.state,
        "issued": str(sum(states.values())),
        "unit_mass_mg": str(row.unit_mass_mg),
        "states": {name: str(count) for name, count in sorted(states.items())},
        "blocks": [
            {
                "lo": str(block.lo),
                "hi": str(block.hi),
                "vintage": block.vintage,
                "state": str(block.state),
                "tier": block.tier,
                **({"holder": block.holder} if with_holders else {}),
            }
            for block in blocks
        ],
    }


# -- public -----------------------------------------------------------------------------------------------------


def _nodes(home: Home, row: Any) -> Any:
    """The finest sums of the lot's tree that are of enough accounts each."""
    least = home.programme.disclosure.least_accounts_in_cell
    shown = np.asarray(accounts_by_node(home, row, 1 << LEAST_LEVEL)) >= least
    level = _level_8_of(read_lot_subtrees(home.storage, row))
    for _ in range(LEAST_LEVEL - HEIGHT):
        level = level.parents()
    levels, fine = [_nodes_of(level)], [[bool(each) for each in shown[: len(level.hash)]]]
    while len(levels[-1]) > 1:
        level = level.parents()
        below = fine[-1] + [False] * (len(fine[-1]) % 2)
        fine.append([below[n] or below[n + 1] for n in range(0, len(below), 2)])
        levels.append(_nodes_of(level))
    return cut(levels, fine, LEAST_LEVEL)


def _level_8_of(data: bytes) -> Level:
    """The nodes over every 256 leaves of a lot: sum (16 bytes) and hash of each."""
    rows = np.frombuffer(data, np.uint8).reshape(-1, 48)
    sums = np.ascontiguousarray(rows[:, :16]).view(">u8").astype(np.uint64)
    return Level(sums[:, 0].copy(), sums[:, 1].copy(), np.ascontiguousarray(rows[:, 16:]))


def _nodes_of(level: Level) -> list[Node]:
    return [level.node(place) for place in range(len(level.hash))]


# -- members and their records ----------------------------------------------------------------------------------


def _batches(home: Home, row: Any) -> list[Any]:
    """The batches that members of a lot may be of."""
    return [each for each in home.book.batches() if row.first_batch <= each.seq <= row.last_batch]


def member_key(rows: pa.Table) -> Numbers:
    """The place of members in their order: batch, then place."""
    return np.asarray((integers(rows["batch"], pa.int64()) << 32) | integers(rows["place"], pa.int64()))


def sibling_key(rows: pa.Table) -> Numbers:
    """The place of hashes in their order: batch, then subtree."""
    return np.asarray((integers(rows["batch"], pa.int64()) << 32) | integers(rows["subtree"], pa.int64()))


def _write_members(home: Home, row: Any, batches: list[Any], folder: Path) -> Mapping[str, str]:
    ordered = OrderedRows(home.storage / row.file, member_key)
    with (
        writing_table(folder / MEMBERS, home=folder) as members,
        writing_table(folder / SIBLINGS, home=folder) as beside,
    ):
        members.add(MEMBER_SCHEMA.empty_table())
        beside.add(SIBLING_SCHEMA.empty_table())
        for batch in batches:
            _write_batch(home, batch, ordered, members, beside)
    left = ordered.until(END).num_rows
    ordered.close()
    if left:
        raise AssertionError(f"{left} members of {lot_text(row.number)} are of no batch")
    return {MEMBERS: members.digest, SIBLINGS: beside.digest}


def _write_batch(home: Home, batch: Any, ordered: OrderedRows, members: TableFile, beside: TableFile) -> None:
    kept = np.frombuffer(b"".join(read_subtrees(home.storage / batch.folder / SUBTREES)), np.uint8).reshape(-1, 32)
    erased = erased_leaves(home.storage, batch)
    for first, records in whole_subtrees(record_files(home.storage, batch)):
        own = ordered.until((batch.seq << 32) + first + records.num_rows)
        local = integers(own["place"], pa.int64()) - first
        with_some = np.unique(local // LEAVES)
        subtrees = np.arange(first // LEAVES, -(-(first + records.num_rows) // LEAVES))
        without = np.delete(subtrees, with_some)
        parts = [_level_8(without, kept[without])]
        if len(local):
            leaves, seeds, is_erased = _leaves_of(records, first, with_some, erased)
            known = np.zeros(records.num_rows, bool)
            known[local] = True
            parts += _beside(first // LEAVES, with_some, leaves, known)
            members.add(_members(batch.seq, first, local, own, records, leaves, seeds, is_erased))
        found = Siblings.of(parts)
        if len(found):
            beside.add(_siblings(batch.seq, found))


def _leaves_of(records: pa.Table, first: int, with_some: Numbers, erased: Any) -> tuple[Bytes, Bytes, Any]:
    """Leaves of the records in subtrees that have members; zeros for others. Seeds, and which records are erased."""
    rows = (with_some[:, None] * LEAVES + np.arange(LEAVES)).ravel()
    rows = rows[rows < records.num_rows]
    part = records if len(rows) == records.num_rows else records.take(pa.array(rows))
    seeds = fixed_bytes(records["seed"], SALT_BYTES)
    leaves = np.zeros((records.num_rows, 32), np.uint8)
    leaves[rows] = leaf_hashes(part, seeds[rows], index=rows + first)
    is_erased = said(records["outcome"], (ERASED,))
    erased.put_into(leaves, first, is_erased)
    return leaves, seeds, is_erased


def _beside(number: int, with_some: Numbers, leaves: Bytes, known: npt.NDArray[np.bool_]) -> Iterator[Siblings]:
    """Hashes beside members in the subtrees that have some, the one at the end of a batch apart if it is smaller."""
    whole = len(leaves) // LEAVES
    full = with_some[with_some < whole]
    if len(full):
        shaped, mask = (
            leaves[: whole * LEAVES].reshape(whole, LEAVES, 32),
            known[: whole * LEAVES].reshape(whole, LEAVES),
        )
        yield siblings(full + number, shaped[full], mask[full])
    if len(with_some) > len(full):
        rest = slice(whole * LEAVES, None)
        yield siblings(np.array([whole + number]), leaves[None, rest], known[None, rest])


def _level_8(subtrees: Numbers, hashes: Bytes) -> Siblings:
    count = len(subtrees)
    return Siblings(subtrees, np.full(count, HEIGHT, np.int64), np.zeros(count, np.int64), hashes)


def _members(
    batch: int, first: int, local: Numbers, own: pa.Table, records: pa.Table, leaves: Bytes, seeds: Bytes, erased: Any
) -> pa.Table:
    gone = np.asarray(erased)[local]
    taken = records.take(pa.array(local))
    columns = {
        "batch": pa.array(np.full(len(local), batch, np.int32)),
        "place": pa.array((local + first).astype(np.uint32)),
        "amount_mg": own["amount_mg"],
        "salt": fixed_column(salts(seeds[local], local + first), ~gone),
        "leaf": fixed_column(leaves[local], gone),
    }
    for name, kind in RECORD_COLUMNS.items():
        wanted = ARROW_TYPES[kind]
        column = taken[name] if name in taken.column_names else pa.nulls(len(local), wanted)
        column = column if column.type == wanted else column.cast(wanted)
        columns[name] = _emptied(column, gone) if gone.any() else column
    return pa.table(columns, schema=MEMBER_SCHEMA)


def _emptied(column: Any, gone: npt.NDArray[np.bool_]) -> pa.Array:
    """A column without the values of records that are gone."""
    array = one_array(column)
    if isinstance(array, pa.ExtensionArray):
        return pa.ExtensionArray.from_storage(array.type, pc.if_else(pa.array(~gone), array.storage, None))
    return pc.if_else(pa.array(~gone), array, None)


def _siblings(batch: int, found: Siblings) -> pa.Table:
    columns = {
        "batch": pa.array(np.full(len(found), batch, np.int32)),
        "subtree": pa.array(found.subtree.astype(np.uint32)),
        "level": pa.array(found.level.astype(np.uint8)),
        "index": pa.array(found.index.astype(np.uint8)),
        "hash": fixed_column(found.hash),
    }
    return pa.table(columns, schema=SIBLING_SCHEMA)


def remove(path: Path) -> None:
    """Remove a package that was made for one download."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
