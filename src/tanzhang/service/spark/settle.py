"""The driver of a settlement on a cluster: five stages, two shuffles of acts, one commit.

1. survey: read what decides of each report; keys go to the part of the key, settled records that may matter are found;
2. meet: accounts that meet in a key become edges, edges components (:mod:`tanzhang.engine.spark.components`);
3. decide: reports and settled records go to the part of their component, where the embedded engine decides them;
4. write: records go to the range of their account, which is batch order, and every range writes a part of the batch;
5. commit, as for any batch: :func:`tanzhang.service.seal.commit`.

Nothing before the commit is true. A driver that dies leaves files that no row of the book names; the next call starts
again from the reports and comes to the same records.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import pyarrow as pa

from tanzhang.core.errors import refuse
from tanzhang.core.settlement import Rules, rules_of
from tanzhang.engine.columns import fixed_bytes
from tanzhang.engine.hashing import merkle_root
from tanzhang.engine.kernel import connect
from tanzhang.engine.spark import survey as look
from tanzhang.engine.spark.blocks import Block, from_bytes, to_bytes
from tanzhang.engine.spark.components import components
from tanzhang.engine.spark.sieve import Sieve
from tanzhang.engine.spark.subtrees import stitch
from tanzhang.service.history import History
from tanzhang.service.links import consents_of
from tanzhang.service.progress import Progress
from tanzhang.service.recount import double_entry, tally_from, totals_of
from tanzhang.service.seal import NextBatch, Written, commit, next_batch
from tanzhang.service.settle import consumed_rows
from tanzhang.service.spark import tasks
from tanzhang.service.spark.stages import Flow, Shared, Stages
from tanzhang.stores.files import make_folder
from tanzhang.stores.home import Home
from tanzhang.stores.parts import PARTS, RecordFile, all_record_files, record_slices, write_parts
from tanzhang.stores.records import ROW_GROUP, SUBTREES, write_subtrees
from tanzhang.stores.reports import ReportFile, report_slices

ROWS_A_PART = 500_000
_TASKS_A_CORE = 2


class ClusterSettlement:
    """Settles on a cluster; given to :func:`tanzhang.service.settle.settle` as its engine."""

    def __init__(self, stages: Stages, *, rows_a_part: int = ROWS_A_PART) -> None:
        """``rows_a_part`` is about how many reports one task decides, and at most reads, at a time."""
        self._stages = stages
        self._rows = rows_a_part

    def settle(
        self, home: Home, files: list[ReportFile], *, through: date, now: datetime, progress: Progress
    ) -> dict[str, Any] | None:
        """Settle what is due in these files; None if nothing is."""
        slices = report_slices(files, ROW_GROUP)
        if not slices:
            return None
        rows = sum(part.rows for part in slices)
        before = record_slices(all_record_files(home.storage, home.book.batches()), ROW_GROUP)
        work = tasks.Work(
            reports=shares(slices, self._share(slices)),
            settled=shares(before, self._share(before)),
            consents=consents_of(home),
            plans=tuple(sorted(home.book.plans().items())),
            parts=max(self._stages.cores, -(-rows // self._rows)),
            sieve_keys=4 * rows,
            storage=home.storage,
        )
        with _keeping() as kept:
            rules = rules_of(home.programme, home.identity_key)
            run = _Run(self._stages, work, self._stages.shared(work), rules, kept)
            progress("surveying reports", 5, rows)
            surveyed, counts, window, sieve = run.survey()
            if not counts:
                return None
            progress("finding accounts that meet", 25, rows)
            settled = run.settled(sieve, window)
            met = run.components(surveyed, settled)
            progress("deciding", 40, rows)
            decided, sizes = run.decide(met, settled)
            if sum(sizes) != sum(counts.values()):
                raise refuse(
                    "spark-lost-rows",
                    f"{sum(counts.values())} reports went in, {sum(sizes)} records came out",
                    where="settlement on Spark",
                    remedy="nothing was booked; report this as a bug and settle with --engine embedded",
                )
            progress("writing", 70, rows)
            opened = next_batch(home)
            if isinstance(opened.folder, Path):
                make_folder(opened.folder)
            parts = run.write(home, opened, decided, sizes)
        progress("booking and sealing", 90, rows)
        con = connect()
        sums = pa.concat_tables([part.sums for part in parts], promote_options="default")
        con.register("part_sums", sums)
        con.register("part_postings", pa.concat_tables([part.postings for part in parts], promote_options="default"))
        sealed = commit(
            home,
            opened,
            lambda: _publish_files(home, opened, parts),
            totals_of(con, "part_sums"),
            double_entry(con, "part_postings", "part_sums"),
            tally_from(con, "part_sums"),
            consumed=consumed_rows(counts, through),
            through=through,
            now=now,
        )
        History(home).catch_up(keep=True)
        return sealed

    def _share(self, slices: Sequence[_Slice]) -> int:
        """How many rows one task reads: few enough for every core to have a few tasks, and never too many to hold."""
        return min(self._rows, -(-sum(each.rows for each in slices) // (_TASKS_A_CORE * self._stages.cores)))


class _Slice(Protocol):
    """Some rows of a file."""

    @property
    def rows(self) -> int:
        """How many at most."""


Slice = TypeVar("Slice", bound=_Slice)


def shares(slices: Sequence[Slice], rows: int) -> tuple[tuple[Slice, ...], ...]:
    """Slices in their order, as many together as hold about so many rows: small files are read by one task."""
    found: list[list[Slice]] = []
    held = rows
    for each in slices:
        if held >= rows:
            found.append([])
            held = 0
        found[-1].append(each)
        held += each.rows
    return tuple(map(tuple, found))


def _publish_files(home: Home, opened: NextBatch, parts: list[tasks.Part]) -> Written:
    """The list of parts and the subtree roots of the whole batch, after the parts that they speak of."""
    files = [RecordFile(opened.folder / part.name, part.piece.first, part.piece.count, part.digest) for part in parts]
    roots = stitch(part.piece for part in parts)
    digest = write_parts(opened.folder, files, home=home.storage)
    subtrees = write_subtrees(opened.folder / SUBTREES, roots, home=home.storage)
    return Written(sum(file.rows for file in files), PARTS, digest, subtrees, merkle_root(roots).hex())


@dataclass(frozen=True, slots=True)
class _Run:
    """The stages of one settlement; ``shared`` is ``work`` as executors get it."""

    stages: Stages
    work: tasks.Work
    shared: Shared
    rules: Rules
    kept: list[Flow]

    def keep(self, flow: Flow) -> Flow:
        """Compute a flow once, until the run is over."""
        self.kept.append(flow.kept())
        return self.kept[-1]

    def survey(self) -> tuple[Flow, dict[int, int], look.Window, Sieve]:
        """The keys of pending acts; how many there are by submission; what settled records have to be looked for."""
        task = partial(tasks.survey, self.shared, self.rules)
        surveyed = self.keep(self.stages.each(len(self.work.reports), task))
        counts: dict[int, int] = {}
        window, sieve = look.Window(None, None), Sieve(self.work.sieve_keys)
        corrected = []
        for message in surveyed.messages():
            if message.part == tasks.SIFTED:
                sieve.join(message.data)
            elif message.part == tasks.CORRECTED:
                corrected.append(message.data)
            else:
                said = json.loads(message.data)
                for submission, count in said["counts"]:
                    counts[submission] = counts.get(submission, 0) + count
                window = window.joined(tasks.counted_window(said))
        if corrected:
            self._sift_moved(sieve, from_bytes(corrected))
        return surveyed, dict(sorted(counts.items())), window, sieve

    def _sift_moved(self, sieve: Sieve, corrected: pa.Table) -> None:
        """An act that corrects a settled one moves to the account where that is booked, and meets what is there."""
        wanted = self.stages.shared(to_bytes(corrected.select(["withdraws"])))
        found = self.stages.each(len(self.work.settled), partial(tasks.targets, self.shared, wanted)).blocks()
        if not found:
            return
        con = connect()
        con.register("corrected", corrected)
        con.register("targets", from_bytes(block.data for block in found))
        moved = con.sql("SELECT c.*, t.account FROM corrected c JOIN targets t ON c.withdraws = t.action_id")
        look.sift(sieve, look.with_claims(con, moved.to_arrow_table(), self.work.recipes, self.rules))

    def settled(self, sieve: Sieve, window: look.Window) -> Flow | None:
        """Settled records that may matter; None before the first batch."""
        if not self.work.settled:
            return None
        task = partial(tasks.settled, self.shared, self.stages.shared(sieve), window, self.rules)
        return self.keep(self.stages.each(len(self.work.settled), task))

    def components(self, surveyed: Flow, settled: Flow | None) -> Shared:
        """Accounts that have to be decided together."""
        keys = surveyed
        if settled is not None:
            keys = surveyed.plus(settled.through(partial(tasks.settled_keys, self.work.parts)))
        met = from_bytes(block.data for block in keys.shuffled(self.work.parts).through(tasks.edges).blocks())
        none = np.zeros((0, 16), dtype=np.uint8)
        ends = [fixed_bytes(met[name], 16) if met.num_rows else none for name in ("one", "other")]
        return self.stages.shared(components(*ends))

    def decide(self, met: Shared, settled: Flow | None) -> tuple[Flow, list[int]]:
        """The decided records, and how many there are in each range of accounts."""
        acts = self.stages.each(len(self.work.reports), partial(tasks.route_pending, self.shared, met))
        if settled is not None:
            acts = acts.plus(settled.through(partial(tasks.route_settled, met, self.work.parts)))
        task = partial(tasks.decide, self.shared, self.rules, self.work.parts)
        decided = self.keep(acts.shuffled(self.work.parts).through(task))
        sizes = [0] * self.work.parts
        for part, rows in decided.sizes():
            sizes[part] += rows
        return decided, sizes

    def write(self, home: Home, opened: NextBatch, decided: Flow, sizes: list[int]) -> list[tasks.Part]:
        """Every range as a part of the batch, in batch order."""
        firsts = tuple(int(first) for first in np.cumsum([0, *sizes[:-1]]))
        task = partial(tasks.write, home.storage, opened.folder, opened.key, firsts)
        written: list[Block] = decided.shuffled(self.work.parts).through(task).blocks()
        return [tasks.Part.read(block, firsts[block.part]) for block in sorted(written, key=lambda each: each.part)]


@contextmanager
def _keeping() -> Iterator[list[Flow]]:
    """What is kept on the executors is released at the end, whatever happened."""
    kept: list[Flow] = []
    try:
        yield kept
    finally:
        for flow in kept:
            flow.release()
