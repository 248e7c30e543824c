"""Check the members of a lot from a verifier's package: their records, their leaves, their batches and the lot's tree.

Members are read once, in their order, some thousand subtrees at a time, so memory does not grow with them. What is
found wrong is told by batch and place; of each kind the first few.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tanzhang.core.errors import Problem
from tanzhang.core.lot import LotEntry, zero_leaf
from tanzhang.core.lot_package import MEMBERS, SIBLINGS
from tanzhang.core.record import HOLDERS, SALT_BYTES
from tanzhang.core.region import COUNTRY
from tanzhang.core.sample import picked
from tanzhang.core.sum_tree import Node, padded_leaves
from tanzhang.engine.columns import Bytes, Numbers, fixed_bytes, integers
from tanzhang.engine.hashing import merkle_root
from tanzhang.engine.kernel import connect, quote
from tanzhang.engine.leaves import salted_leaf_hashes
from tanzhang.engine.lot import member_leaves
from tanzhang.engine.partial_tree import HEIGHT, LEAVES, Siblings, roots
from tanzhang.engine.sum_tree import Level
from tanzhang.service.check_records import check_quantities
from tanzhang.service.findings import SHOWN, Check
from tanzhang.service.market.package import MEMBER_SCHEMA, SIBLING_SCHEMA, member_key, sibling_key
from tanzhang.service.progress import Progress, silent
from tanzhang.stores.ordered import END, OrderedRows
from tanzhang.stores.storage import parquet_file

if TYPE_CHECKING:
    import duckdb

_SUBTREES_AT_ONCE = 512
_CLAIMS_AT_ONCE = 2_000_000
PLACES = (1 << 32) - 1
"""What of a member's key is its place in the batch."""
REMEDY = (
    "do not rely on this package; ask the operator for another one, and keep this one as evidence if that is so too"
)
_ROOT = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class BatchSaid:
    """What the manifest of a batch says of its records."""

    records: int
    root: str


@dataclass(slots=True)
class Found:
    """What the members came to: checks, and which members the picks of the sample fall on."""

    checks: list[Check]
    sampled: list[tuple[int, int]] = field(default_factory=list)


def check_members(
    folder: Path,
    lot: LotEntry,
    batches: Mapping[int, BatchSaid],
    plans: Mapping[str, str],
    wanted: Sequence[int] = (),
    *,
    progress: Progress = silent,
) -> Found:
    """Check the members of a lot, whose entry and whose batches' manifests the caller has proved.

    ``wanted`` are the picks of the sample. Raises ``rows-not-in-order``; whatever else is wrong is in the checks.
    """
    return _Members(folder, lot, batches, plans, wanted, progress).run()


class _Members:
    """One run over the members of a package."""

    def __init__(
        self,
        folder: Path,
        lot: LotEntry,
        batches: Mapping[int, BatchSaid],
        plans: Mapping[str, str],
        wanted: Sequence[int],
        progress: Progress,
    ) -> None:
        self.lot, self.batches, self.plans, self.progress = lot, batches, plans, progress
        self.path = folder / MEMBERS
        self.wanted = sorted(wanted)
        self.con: duckdb.DuckDBPyConnection = connect()
        self.total_mg = self.count = self.erased = self.erased_mg = 0
        self.last_key = -1
        self.tree = _LotTree()
        self.order = Check("members", "each record once, in order, with more than nothing; their sum and their number")
        self.fits = Check("records", "vintage, region, methodology and grant of each member against the lot")
        self.again = Check("quantities", "milligrams recomputed from inputs and recipe")
        self.leaves = Check("record trees", "leaves of members and the hashes beside them against the batches' roots")
        self.once = Check("counted once", "no claim twice in the lot")
        self.root = Check("lot tree", "the sum tree over members against root and total in the log")
        self.sampled: list[tuple[int, int]] = []
        self.members = OrderedRows(self.path, member_key)
        self.beside = OrderedRows(folder / SIBLINGS, sibling_key)

    def run(self) -> Found:
        """Everything, batch by batch; then what is asked of all members together."""
        checks = [self.order, self.fits, self.again, self.leaves, self.once, self.root]
        if not self._has_schemas():
            return Found(checks)
        for number, said in sorted(self.batches.items()):
            self._batch(number, said)
        left, more = self.members.until(END).num_rows, self.beside.until(END).num_rows
        if left or more:
            self._wrong(
                self.leaves, "member-batch", f"{left} members and {more} hashes are of no batch of the package", ""
            )
        self.members.close()
        self.beside.close()
        self._sums()
        self._claims()
        self._lot_tree()
        if self.erased:
            self.again.notes.append(
                f"{self.erased:,} members ({self.erased_mg} mg) are of erased records: of them only leaf and amount "
                "can be checked"
            )
        return Found(checks, self.sampled)

    def _has_schemas(self) -> bool:
        fine = True
        for name, schema in ((MEMBERS, MEMBER_SCHEMA), (SIBLINGS, SIBLING_SCHEMA)):
            with parquet_file(self.path.parent / name) as file:
                if not file.schema_arrow.equals(schema):
                    self._wrong(self.order, "package-malformed", f"{name} has other columns than packages have", name)
                    fine = False
        return fine

    # -- a batch ----------------------------------------------------------------------------------------------

    def _batch(self, number: int, said: BatchSaid) -> None:
        subtrees = -(-said.records // LEAVES)
        found, fine = np.zeros((subtrees, 32), np.uint8), np.zeros(subtrees, bool)
        for first in range(0, subtrees, _SUBTREES_AT_ONCE):
            stop = min(first + _SUBTREES_AT_ONCE, subtrees)
            end = (number << 32) + (stop * LEAVES if stop < subtrees else said.records)
            own, beside = self.members.until(end), self.beside.until((number << 32) + stop)
            self._window(own, _siblings_of(beside), first, stop, said.records, found, fine)
        beyond = self.members.until((number + 1) << 32).num_rows
        if beyond:
            message = f"{beyond} members are beyond the {said.records} records of the batch"
            self._wrong(self.leaves, "member-batch", message, f"batch {number}")
        if not fine.all() or merkle_root(found).hex() != said.root:
            lacking = int((~fine).sum())
            reason = f"{lacking} of {subtrees} subtrees cannot be computed" if lacking else "they lead to another root"
            self._wrong(
                self.leaves, "root-mismatch", f"members are not what the log commits to: {reason}", f"batch {number}"
            )
        percent = 100 * self.count // max(self.lot.members, 1)
        self.progress("members", min(percent, 100), self.count)

    def _window(
        self,
        own: pa.Table,
        beside: Siblings,
        first: int,
        stop: int,
        records: int,
        found: Bytes,
        fine: npt.NDArray[np.bool_],
    ) -> None:
        """Members of subtrees ``[first, stop)`` of a batch: their roots into ``found``, and whether into ``fine``."""
        top = (beside.level == HEIGHT) & (beside.index == 0)
        found[beside.subtree[top]], fine[beside.subtree[top]] = beside.hash[top], True
        keys = member_key(own)
        places = keys & PLACES
        subtrees, row = np.unique(places // LEAVES, return_inverse=True)
        needless = np.isin(subtrees, beside.subtree[top])  # the whole subtree is told, and members of it
        if len(np.setdiff1d(beside.subtree[~top], subtrees)):
            fine[first:stop] = False  # a hash inside a subtree without members
        if not own.num_rows:
            return
        leaves = self._look_at(own, keys)
        rest = Siblings(*(getattr(beside, name)[~top] for name in Siblings.__slots__))
        whole = records // LEAVES
        for chosen, width in ((subtrees < whole, LEAVES), (subtrees >= whole, records % LEAVES)):
            if not chosen.any():
                continue
            mine = np.flatnonzero(chosen[row])
            shape = (int(chosen.sum()), width)
            shaped, known = np.zeros((*shape, 32), np.uint8), np.zeros(shape, bool)
            at = (row[mine] - int(np.argmax(chosen)), places[mine] % LEAVES)
            shaped[at], known[at] = leaves[mine], True
            found[subtrees[chosen]], well = roots(subtrees[chosen], shaped, known, rest)
            fine[subtrees[chosen]] = well & ~needless[chosen]

    def _look_at(self, own: pa.Table, keys: Numbers) -> Bytes:
        """Check some members one by one, add them to the lot's tree; their leaves in their batch."""
        amounts = integers(own["amount_mg"], pa.int64())
        gone = np.asarray(own["leaf"].is_valid())
        where = f"member {self.count} and following"
        if keys[0] <= self.last_key or (np.diff(keys) <= 0).any():
            self._wrong(self.order, "member-twice", "a record is a member twice", where)
        if int(amounts.min()) <= 0:
            self._wrong(self.order, "member-amount", "a member has nothing, or less", where)
        if (np.asarray(own["salt"].is_valid()) == gone).any():
            self._wrong(self.leaves, "member-leaf", "a member has both a salt and a leaf, or neither", where)
        self._sample(keys, amounts)
        leaves = salted_leaf_hashes(own, fixed_bytes(own["salt"], SALT_BYTES))
        leaves[gone] = fixed_bytes(own["leaf"], 32)[gone]
        self.tree.add(member_leaves(leaves, keys, np.maximum(amounts, 0)), np.maximum(amounts, 0))
        self.last_key, self.count = int(keys[-1]), self.count + own.num_rows
        self.leaves.count = self.count
        self.total_mg += int(amounts.sum())
        self.erased, self.erased_mg = self.erased + int(gone.sum()), self.erased_mg + int(amounts[gone].sum())
        self._records(own.filter(pa.array(~gone)) if gone.any() else own)
        if gone.any():
            self._nothing_left(own.filter(pa.array(gone)))
        return leaves

    def _sample(self, keys: Numbers, amounts: Numbers) -> None:
        first, last = self.total_mg, self.total_mg + int(amounts.sum())
        wanted = [pick for pick in self.wanted if first <= pick < last]
        if wanted:
            ends = (np.cumsum(amounts) + first).tolist()
            self.sampled += [(int(keys[n]) >> 32, int(keys[n]) & PLACES) for n in picked(wanted, ends, first)]

    def _nothing_left(self, own: pa.Table) -> None:
        named = ("batch", "place", "amount_mg", "leaf")
        if any(own[name].null_count < own.num_rows for name in own.column_names if name not in named):
            self._wrong(self.leaves, "member-leaf", "an erased record has content, which its leaf does not show", "")

    # -- what records say -------------------------------------------------------------------------------------

    def _records(self, own: pa.Table) -> None:
        """Of members whose records are there: quantities again, and whether each fits the lot."""
        self.con.register("sound", own)
        count, problems = check_quantities(self.con, self.plans)
        self.again.count += count
        _add(self.again, problems)
        self.fits.count += own.num_rows
        if len(self.fits.problems) < SHOWN:
            for batch, place, what in self.con.execute(self._unfit()).fetchall():
                self._wrong(self.fits, "member-unfit", what, f"batch {batch}, record {place}")
        self.con.unregister("sound")

    def _unfit(self) -> str:
        lot = self.lot
        named = sorted({digest for digests in lot.methodologies.values() for digest in digests})
        digits = lot.region.removeprefix("CN-")
        while digits.endswith("00"):
            digits = digits[:-2]
        inside = "true" if lot.region == COUNTRY else f"starts_with(region, {quote(f'CN-{digits}')})"
        wrong = (
            ("kind IS DISTINCT FROM 'reduction'", "'its record is no reduction'"),
            (f"outcome NOT IN ({', '.join(map(quote, HOLDERS))})", "'its record was not granted, but ' || outcome"),
            ("amount_mg > granted_mg", "amount_mg || ' mg are in the lot, and ' || granted_mg || ' were granted'"),
            ("granted_mg > quantified_mg", "granted_mg || ' mg granted of ' || quantified_mg"),
            ("outcome = 'granted' AND granted_mg <> quantified_mg", "'it was granted in part, and says in full'"),
            (f"year(day) <> {lot.vintage}", "'it is of ' || day"),
            (f"NOT {inside}", "'it is of region ' || region"),
            (f"plan NOT IN ({', '.join(map(quote, named)) or quote('')})", "'it is of a methodology the lot has not'"),
        )
        cases = " ".join(f"WHEN NOT coalesce(NOT ({condition}), false) THEN {text}" for condition, text in wrong)
        query = f"SELECT batch, place, CASE {cases} END AS what FROM sound"
        return f"SELECT batch, place, coalesce(what, '') FROM ({query}) WHERE what IS NOT NULL LIMIT {SHOWN}"

    # -- all members together ---------------------------------------------------------------------------------

    def _sums(self) -> None:
        self.order.count = self.count
        if (self.count, self.total_mg) != (self.lot.members, self.lot.total_mg):
            message = (
                f"{self.count} members come to {self.total_mg} mg; the log says {self.lot.members} and "
                f"{self.lot.total_mg}, {self.lot.units} units of {self.lot.unit_mass_mg} mg"
            )
            self._wrong(self.order, "member-sum", message, MEMBERS)

    def _claims(self) -> None:
        """Claims that stand twice; some of them at a time, told apart by their own bytes."""
        file = f"read_parquet({quote(str(self.path))})"
        parts = max(1, -(-self.lot.members // _CLAIMS_AT_ONCE))
        self.once.count = self.count
        for part in range(parts):
            twice = self.con.execute(
                f"SELECT claim, count(*) FROM {file} WHERE claim IS NOT NULL AND hash(claim) % {parts} = {part} "
                f"GROUP BY 1 HAVING count(*) > 1 LIMIT {SHOWN}"
            ).fetchall()
            for claim, count in twice:
                self._wrong(self.once, "claim-twice", f"claim {claim} is in the lot {count} times", MEMBERS)

    def _lot_tree(self) -> None:
        self.root.count = 1
        root, leaves = self.tree.root()
        if (root, leaves) != (Node(self.lot.total_mg, self.lot.root), self.lot.leaves):
            message = f"the members give root {root.hash.hex()} over {root.amount} mg and {leaves} leaves"
            self._wrong(self.root, "lot-root-mismatch", f"{message}; the log says another", MEMBERS)

    def _wrong(self, check: Check, code: str, message: str, where: str) -> None:
        _add(check, [Problem(code, message, f"package: {where or MEMBERS}", REMEDY)])


class _LotTree:
    """The sum tree over members as they come: nodes over every 256 leaves, and what does not fill one yet."""

    def __init__(self) -> None:
        self._levels: list[Level] = []
        self._leaves, self._amounts = np.zeros((0, 32), np.uint8), np.zeros(0, np.int64)
        self._count = 0

    def add(self, leaves: Bytes, amounts: Numbers) -> None:
        """The next leaves in order."""
        self._count += len(leaves)
        leaves, amounts = np.concatenate([self._leaves, leaves]), np.concatenate([self._amounts, amounts])
        whole = len(leaves) - len(leaves) % LEAVES
        if whole:
            level = Level(np.zeros(whole, np.uint64), amounts[:whole].astype(np.uint64), leaves[:whole])
            for _ in range(HEIGHT):
                level = level.parents()
            self._levels.append(level)
        self._leaves, self._amounts = leaves[whole:], amounts[whole:]

    def root(self) -> tuple[Node, int]:
        """Root with the total, and how many leaves with the zero leaves that are added here."""
        members = self._count
        size = padded_leaves(members)
        zeros = b"".join(zero_leaf(place).hash for place in range(members, size))
        self.add(np.frombuffer(zeros, np.uint8).reshape(-1, 32), np.zeros(size - members, np.int64))
        columns = ([getattr(each, name) for each in self._levels] for name in Level.__slots__)
        level = Level(*(np.concatenate(column) for column in columns))
        while len(level.hash) > 1:
            level = level.parents()
        return level.node(0), size


def _siblings_of(rows: pa.Table) -> Siblings:
    subtree, level, index = (integers(rows[name], pa.int64()) for name in ("subtree", "level", "index"))
    return Siblings(subtree, level, index, fixed_bytes(rows["hash"], 32))


def _add(check: Check, problems: Sequence[Problem]) -> None:
    check.problems += problems[: max(SHOWN - len(check.problems), 0)]


def manifest_said(manifest: Mapping[str, Any]) -> BatchSaid | None:
    """Records and root of a batch's manifest; None where it does not say them."""
    records, root = str(manifest.get("records")), str(manifest.get("root"))
    if not (records.isascii() and records.isdigit() and _ROOT.fullmatch(root)):
        return None
    return BatchSaid(int(records), root)
