"""Verify: rebuild everything from the files and the book, and say what was checked and what does not hold.

Every check runs, whatever the earlier ones found, and names the file, row or batch that is wrong. A batch whose file
changed is named once and left out of the checks that would read it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextvars import Context
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from tanzhang.core.errors import Problem, TanzhangError
from tanzhang.core.record import ERASED
from tanzhang.engine.columns import Bytes, fixed_bytes
from tanzhang.engine.erase import LEFT
from tanzhang.engine.hashing import merkle_root, subtree_roots
from tanzhang.engine.kernel import quote
from tanzhang.engine.leaves import leaf_hashes
from tanzhang.engine.parallel import in_order
from tanzhang.engine.records import RECORD_COLUMNS
from tanzhang.service.by_account import differing
from tanzhang.service.check_guard import check_guard
from tanzhang.service.check_points import check_points
from tanzhang.service.check_records import check_grants, check_once, check_quantities
from tanzhang.service.check_registers import REGISTER_CHECKS
from tanzhang.service.check_totals import Recounted, check_boards, check_epochs, check_tallies
from tanzhang.service.check_transfers import check_transfers
from tanzhang.service.findings import RESTORE, SHOWN, Check
from tanzhang.service.history import History
from tanzhang.service.progress import Progress, silent
from tanzhang.service.recount import (
    erased_tally,
    postings_by_batch,
    recounted_postings,
    recounted_tally,
    recounted_totals,
    tallies_by_batch,
    totals_by_batch,
)
from tanzhang.stores.book import (
    EMPTY_HEAD,
    consumption,
    erasure,
    genesis,
    manifest_of,
    plan,
    posting,
    unsettled,
)
from tanzhang.stores.book.chains import check_chains
from tanzhang.stores.erased import ErasedLeaves
from tanzhang.stores.home import Home, key_check
from tanzhang.stores.log import Log
from tanzhang.stores.parts import erased_file, erased_leaves, is_list, record_files, whole_subtrees
from tanzhang.stores.postings import pages, postings_of
from tanzhang.stores.records import SUBTREES, digest_of

if TYPE_CHECKING:
    import duckdb

_COUNTED_TOGETHER = 200_000


def _wrong(code: str, message: str, where: str, remedy: str = RESTORE) -> Problem:
    return Problem(code, message, where, remedy)


def _together(rows: list[Any]) -> Iterator[list[Any]]:
    """Batches of few records, of which none is erased, so many at a time as are counted together; others alone."""
    group: list[Any] = []
    held = 0
    for row in rows:
        if row.totals is not None:
            yield [row]
            continue
        if group and held + row.records > _COUNTED_TOGETHER:
            yield group
            group, held = [], 0
        group.append(row)
        held += row.records
    if group:
        yield group


def _manifest(row: Any) -> dict[str, Any]:
    """A batch row's manifest; empty where it is no longer one, so that every check still runs."""
    try:
        manifest = manifest_of(row)
    except ValueError:
        return {}
    return manifest if isinstance(manifest, dict) and isinstance(manifest.get("book"), dict) else {}


def _subtrees(erased: ErasedLeaves, group: tuple[int, pa.Table]) -> tuple[int, Bytes, bool]:
    """How many records a table of whole subtrees holds, their roots, and whether leaves are kept for erased ones only.

    A leaf that was kept counts only where the record is marked as erased; every other one is made of the record.
    """
    first, table = group
    leaves = leaf_hashes(table, fixed_bytes(table["seed"], 16), first_index=first)
    fits = erased.put_into(leaves, first, np.asarray(pc.equal(table["outcome"].cast(pa.string()), ERASED)))
    return table.num_rows, subtree_roots(leaves, cores=1), fits


def verify(home: Home, *, progress: Progress = silent) -> dict[str, Any]:
    """All checks of a home, in the order of the way of an action. ``status`` is ``verified`` or ``failed``."""
    checks: list[Check] = []
    with home.book.snapshot():  # reports may come in and be settled meanwhile
        verification = _Verification(home)
        rows = sum(row.records for row in verification.batches)
        for check in verification.run():
            checks.append(check)
            progress(check.name, 100 * len(checks) // len(verification.steps), rows)
    wrong = sum(len(check.problems) for check in checks)
    return {
        "status": "failed" if wrong else "verified",
        "problems": wrong,
        "checks": [check.as_dict() for check in checks],
    }


class _Verification:
    """The state of one run: the batches whose files are as they were written, and the engine that reads them."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.book = home.book
        self.con: duckdb.DuckDBPyConnection = home.connect()
        self.batches = self.book.batches()
        self.submissions = self.book.submissions()
        self.sound: list[Any] = []
        self.heads: dict[str, list[str]] = {}

    @property
    def steps(self) -> tuple[Callable[[], Check], ...]:
        """Every check, in the order of the way of an action."""
        return (
            self._pages,
            self._chains,
            self._keys,
            self._plans,
            self._reports,
            self._record_files,
            self._roots,
            self._erased,
            self._known,
            self._by_account,
            self._totals,
            self._postings,
            self._transfers,
            self._points,
            *map(self._of_register, REGISTER_CHECKS),
            self._tallies,
            self._boards,
            self._quantities,
            self._once,
            self._grants,
            self._conservation,
            self._guard,
            self._epochs,
            self._log,
        )

    def run(self) -> Iterator[Check]:
        """Every check; one that cannot even run because of what it met counts as failed, and the next one runs."""
        for step in self.steps:
            try:
                yield step()
            except TanzhangError as error:
                yield Check(step.__name__.strip("_").replace("_", " "), "could not be completed", 0, [*error.problems])
            except Exception as error:  # whatever was damaged, the other checks still have to run
                name = step.__name__.strip("_").replace("_", " ")
                reason = f"{type(error).__name__}: {error}".splitlines()[0]
                problem = _wrong("check-impossible", f"the check stopped at {reason}", name)
                yield Check(name, "could not be completed", 0, [problem])

    def _of_register(self, check: Callable[[Home], Check]) -> Callable[[], Check]:
        return wraps(check)(lambda: check(self.home))

    def _pages(self) -> Check:
        return Check("book file", self.book.integrity_check, 1, self.book.check_pages())

    def _chains(self) -> Check:
        """Rows of the book against their chains, and the chains against what the manifests say of them."""
        count, problems, heads = check_chains(self.book)
        self.heads = heads
        for row in self.batches:
            for table, said in _manifest(row).get("book", {}).items():
                count += 1
                rows = int(said["rows"])
                if len(heads[table]) <= rows or heads[table][rows] != said["head"]:
                    problems.append(
                        _wrong(
                            "book-history-changed",
                            f"the first {rows} rows of {table} are not those that batch {row.seq} sealed",
                            f"{self.book.name}: {table}",
                        )
                    )
        return Check("book rows", "rows of the book against their chain and the sealed heads", count, problems)

    def _keys(self) -> Check:
        check = Check("keys", "key files and the next salt key against what was committed to", 4)
        for read in (lambda: self.home.identity_key, lambda: self.home.signer, self.home.check_public_key):
            try:
                read()
            except TanzhangError as error:
                check.problems += error.problems
        self._personal(check)
        number, key = self.book.next_seal_key()
        last = _manifest(self.batches[-1]) if self.batches else {"next_seal_check": self.home.values["seal_check"]}
        if key_check(key) != last.get("next_seal_check") or number != len(self.batches):
            check.problems.append(
                _wrong("key-changed", "the next salt key is not the one committed to", f"{self.book.name}: seal_key")
            )
        return check

    def _personal(self, check: Check) -> None:
        """That personal fields open with the keys that are there."""
        try:
            count, problems = self.home.people.problems(self.home.personal_keys)
        except TanzhangError as error:
            count, problems = 0, [*error.problems]
        check.count += count + 1
        check.problems += problems

    def _plans(self) -> Check:
        check = Check("plans", "plan documents against their digests")
        for row in self.book.rows(plan):
            check.count += 1
            if hashlib.sha256(row.document.encode()).hexdigest() != row.digest:
                check.problems.append(
                    _wrong("plan-changed", f"plan {row.digest} has another text", f"{self.book.name}: plan {row.seq}")
                )
        return check

    def _reports(self) -> Check:
        check = Check("report files", "accepted reports, verdicts and links against their digests")
        disposed = {"report files": 0, "verdict files": 0}
        for row in self.submissions:
            named = (("report files", row.file, row.file_digest), ("verdict files", row.verdicts, row.verdicts_digest))
            for kind, file, digest in named:
                if file is None:
                    disposed[kind] += 1
                    continue
                check.count += 1
                self._same_file(check, "report-file", file, digest)
        for row in self.book.link_files():
            check.count += 1
            self._same_file(check, "report-file", row.file, row.file_digest)
        check.notes = [f"{count} {kind} were disposed of" for kind, count in disposed.items() if count]
        return check

    def _record_files(self) -> Check:
        check = Check("record files", "record files and subtree roots against their digests")
        for row in self.batches:
            before = len(check.problems)
            wanted = [(row.records_file, row.records_digest), (SUBTREES, row.subtrees_digest)]
            folder = self.home.storage / row.folder
            if is_list(row.records_file) and digest_of(folder / row.records_file) == row.records_digest:
                wanted += [(file.path.name, file.digest) for file in record_files(self.home.storage, row)]
                leaves = erased_file(self.home.storage, row)
                wanted += [(leaves[0].name, leaves[1])] if leaves is not None else []
            for name, digest in wanted:
                check.count += 1
                self._same_file(check, "record-file", f"{row.folder}/{name}", digest)
            if len(check.problems) == before:
                self.sound.append(row)
        self._read_records()
        return check

    def _same_file(self, check: Check, kind: str, file: str, digest: str) -> None:
        found = digest_of(self.home.storage / file)
        if found is None:
            check.problems.append(_wrong(f"{kind}-missing", f"{file} is missing", file))
        elif found != digest:
            check.problems.append(_wrong(f"{kind}-changed", f"{file} is not what was written", file))

    def _roots(self) -> Check:
        """Every record's leaf, every subtree, every root, from the records alone."""
        check = Check("record trees", "leaves recomputed from the records, roots against the manifests")
        for row in self.sound:
            roots = []
            made = partial(_subtrees, erased_leaves(self.home.storage, row))
            for records, subtrees, fits in in_order(made, whole_subtrees(record_files(self.home.storage, row))):
                check.count += records
                roots.append(subtrees)
                if not fits:
                    message = f"batch {row.seq}: leaves are not kept for exactly the records that are marked as erased"
                    check.problems.append(_wrong("erasure-mismatch", message, row.folder))
            found = np.concatenate(roots) if roots else np.zeros((0, 32), dtype=np.uint8)
            # A tree whose leaves are the roots of whole subtrees has the same root.
            if merkle_root(found).hex() != _manifest(row).get("root"):
                check.problems.append(
                    _wrong(
                        "root-mismatch",
                        f"batch {row.seq}: the records do not give the sealed root",
                        row.folder,
                    )
                )
            if found.tobytes() != (self.home.storage / row.folder / SUBTREES).read_bytes():
                check.problems.append(_wrong("subtree-mismatch", f"batch {row.seq}: subtree roots differ", row.folder))
        return check

    def _erased(self) -> Check:
        """That nothing is left of erased records but what has to be, and nothing still waits to be cleared away."""
        check = Check("erased records", "erased records hold nothing more; their number against the book")
        content = " OR ".join(
            f"{name} IS NOT NULL" for name in (*RECORD_COLUMNS, "seed") if name not in (*LEFT, "outcome")
        )
        left: dict[int, tuple[int, int]] = {}
        if self.sound:
            counts = f"SELECT batch, count(*), count(*) FILTER ({content}) FROM left_over GROUP BY 1"
            left = {number: (count, full) for number, count, full in self.con.execute(counts).fetchall()}
        for row in self.sound:
            count, full = left.get(row.seq, (0, 0))
            said_so = sum(records for records, _, _ in erased_tally(self.con, row.totals).values())
            check.count += count
            if full or not count == row.erased == said_so:
                message = (
                    f"batch {row.seq}: {count} erased records, the book says {row.erased}; {full} still hold something"
                )
                check.problems.append(_wrong("erasure-mismatch", message, row.folder))
        counted = sum(row.records for row in self.book.rows(erasure))
        stated = sum(row.erased for row in self.batches)
        if counted != stated:
            message = f"{stated} records are erased, the rows of erasings say {counted}"
            check.problems.append(_wrong("erasure-mismatch", message, f"{self.book.name}: erasure"))
        waiting = [*self.book.leftovers("file"), *self.book.leftovers("keys")]
        if waiting:
            remedy = "run 'tanzhang tidy'; it removes them"
            message = f"{len(waiting)} files or key files of before an erasing are still there"
            check.problems.append(_wrong("erasure-unfinished", message, f"{self.book.name}: leftover", remedy))
        if check.count:
            check.notes.append(f"{check.count:,} records were erased: only their leaves and sums can be checked")
        return check

    def _totals(self) -> Check:
        check = Check("totals", "outcomes and amounts of each batch against its manifest")
        whole = totals_by_batch(self.con, "sound") if self.sound else {}
        for row in self.sound:
            manifest = _manifest(row)
            totals = whole.get(row.seq)
            if totals is None or row.totals is not None:
                totals = recounted_totals(self.con, self._file(row), row.totals)
            check.count += 1
            said = {name: manifest.get(name) for name in totals}
            if (said, manifest.get("records"), manifest.get("batch")) != (totals, str(row.records), str(row.seq)):
                check.problems.append(
                    _wrong("totals-mismatch", f"batch {row.seq}: sealed {said}, found {totals}", row.folder)
                )
        return check

    def _known(self) -> Check:
        """That a second report of any settled act would find it."""
        check = Check("keys", "every settled record is found by its reference, claim, time and caps")
        try:
            history = History(self.home)
        except TanzhangError as error:
            check.problems += error.problems
            return check
        for row in self.sound:
            check.count += row.records
            lacking, path = history.lacking(row.seq)
            if path is not None and lacking:
                check.problems.append(
                    _wrong(
                        "keys-incomplete",
                        f"{lacking} keys of batch {row.seq} are missing",
                        path.relative_to(self.home.folder).as_posix(),
                        "remove folder 'known' of the home; the next settlement makes it again from the records",
                    )
                )
        return check

    def _by_account(self) -> Check:
        """That a person is shown what was settled and booked."""
        check = Check("accounts", "kept records and amounts by account against record files and postings")
        check.count = sum(row.records for row in self.sound)
        for path, what in differing(self.home, self.batches, [row.seq for row in self.sound]):
            where = path.relative_to(self.home.folder).as_posix()
            check.problems.append(
                _wrong("by-account-differs", what, where, "remove folder 'by-account' of the home; it is made again")
            )
        return check

    def _postings(self) -> Check:
        """Postings against the records they book, batch by batch, and the zero sum of every unit."""
        check = Check("postings", "postings against the sums of the records; every unit sums to zero")
        for rows in _together(self.sound):
            recounted = postings_by_batch(self.con, self._records_of(rows)) if len(rows) > 1 else {}
            for row in rows:
                self._booked(check, row, recounted.get(row.seq))
        strays = self.book.query(
            sa.select(posting.c.batch, sa.func.sum(posting.c.accounts))
            .where(posting.c.batch.not_in([row.seq for row in self.batches]))
            .group_by(posting.c.batch)
        )
        for number, count in strays:
            check.problems.append(
                _wrong("posting-stray", f"{count} postings of no batch", f"{self.book.name}: posting of batch {number}")
            )
        total = sa.func.sum(posting.c.amount)
        for unit, amount in self.book.query(sa.select(posting.c.unit, total).group_by(posting.c.unit)):
            check.count += 1
            if amount != 0:
                check.problems.append(_wrong("unbalanced", f"{unit} sums to {amount}", f"{self.book.name}: posting"))
        return check

    def _transfers(self) -> Check:
        """What went between accounts that are one person's."""
        what = "transfers between a person's accounts against their links; the log's word for them"
        return Check("transfers", what, *check_transfers(self.home, self.heads))

    def _points(self) -> Check:
        """What was awarded, and what accounts hold of it."""
        found = check_points(self.home, self.batches, [row.seq for row in self.sound], self.heads)
        what = "awards computed again from records and rules; lots against runs and moves; the log's word"
        return Check("points", what, found.count, found.problems, found.notes)

    def _tallies(self) -> Check:
        """Counts and amounts by day, behaviour, region and partner, on which pages of totals rest."""
        own = tallies_by_batch(self.con, "sound") if self.sound else {}
        recounted = {
            row.seq: Recounted(
                own[row.seq] if row.seq in own else recounted_tally(self.con, self._file(row)),
                erased_tally(self.con, row.totals),
            )
            for row in self.sound
        }
        count, problems = check_tallies(self.book, [row.seq for row in self.batches], recounted)
        return Check("tallies", "totals by day, behaviour, region and partner against the records", count, problems)

    def _boards(self) -> Check:
        """Kept rankings; only where every record can be read, since one batch less would give another board."""
        if len(self.sound) != len(self.batches):
            return Check("rankings", "not counted: records of a batch are missing or changed")
        return Check("rankings", "kept boards against the records", *check_boards(self.home, self.con))

    def _booked(self, check: Check, batch_row: Any, wanted: pa.Table | None) -> None:
        """A batch's pages against what its records sum to, page by page and account by account.

        What is booked in accounts of which no record is left has to be what the erased records came to.
        """
        number = batch_row.seq
        statement = sa.select(posting).where(posting.c.batch == number).order_by(posting.c.unit, posting.c.first)
        found = self.book.query(statement)
        where = f"{self.book.name}: posting of batch {number}"
        try:
            booked = postings_of(found)
        except TanzhangError as error:
            check.problems += error.problems
            return
        self.con.register("booked", booked)
        if wanted is None:
            wanted = recounted_postings(self.con, self._file(batch_row), batch_row.totals, booked="booked")
        check.count += wanted.num_rows
        if not booked.equals(wanted):
            self.con.register("wanted", wanted)
            differing = self.con.execute(
                f"""
                SELECT coalesce(b.account, w.account), coalesce(b.unit, w.unit), b.amount, w.amount
                FROM booked b FULL JOIN wanted w ON b.account = w.account AND b.unit = w.unit
                WHERE b.amount IS DISTINCT FROM w.amount ORDER BY 1, 2 LIMIT {SHOWN}
                """
            ).fetchall()
            for account, unit, said, right in differing:
                message = f"{unit}: {said or 'nothing'} is booked, the records sum to {right or 'nothing'}"
                check.problems.append(_wrong("posting-mismatch", message, f"{where}, account {account}"))
            if not differing:
                check.problems.append(_wrong("posting-mismatch", "postings are not in order, or not once each", where))
        units = sorted(set(booked["unit"].to_pylist())) if found else []
        right_pages = [page for unit in units for page in pages(booked.filter(pc.field("unit") == unit), unit)]
        said_pages = [{name: getattr(row, name) for name in right_pages[0]} for row in found] if right_pages else []
        if said_pages != right_pages:
            check.problems.append(_wrong("posting-mismatch", "a page does not say what it holds", where))

    def _records_of(self, rows: list[Any]) -> str:
        """The records of some batches, with their batch."""
        named = ", ".join(quote(str(file.path)) for row in rows for file in record_files(self.home.storage, row))
        return (
            f"(SELECT * FROM read_parquet([{named}], filename = true) JOIN batch_files USING (filename) "
            f"WHERE outcome <> {quote(ERASED)})"
        )

    def _file(self, row: Any) -> str:
        named = ", ".join(quote(str(file.path)) for file in record_files(self.home.storage, row))
        return f"(FROM read_parquet([{named}]) WHERE outcome <> {quote(ERASED)})"

    def _read_records(self) -> None:
        """Views ``sound`` and ``left_over``: the records of all batches whose files are as written, with their batch.

        The second one holds what is left of erased records.
        """
        files = {str(file.path): row.seq for row in self.sound for file in record_files(self.home.storage, row)}
        self.con.execute("CREATE OR REPLACE TEMP TABLE batch_files (filename VARCHAR, batch INTEGER)")
        if files:
            self.con.executemany("INSERT INTO batch_files VALUES (?, ?)", list(files.items()))
            named = ", ".join(quote(file) for file in files)
            for view, condition in (("sound", "<>"), ("left_over", "=")):
                self.con.execute(
                    f"CREATE OR REPLACE TEMP VIEW {view} AS SELECT * FROM read_parquet([{named}], filename = true) "
                    f"JOIN batch_files USING (filename) WHERE outcome {condition} {quote(ERASED)}"
                )

    def _quantities(self) -> Check:
        """Every record's milligrams, recomputed from the plan it names and its inputs."""
        check = Check("quantities", "milligrams recomputed from inputs and plan")
        if self.sound:
            check.count, check.problems = check_quantities(self.con, self.book.plans())
        return check

    def _once(self) -> Check:
        """One claim, one credited record; one reference, one decided record."""
        check = Check("counted once", "no claim credited twice, no reference decided twice")
        if self.sound:
            check.count, check.problems = check_once(self.con)
        return check

    def _grants(self) -> Check:
        """Nothing granted beyond what was quantified, to a loser, or taken back more than once or in part."""
        check = Check("grants", "granted within quantified, losers at zero, reversals equal to what was granted")
        if self.sound:
            check.count, check.problems = check_grants(self.con)
        return check

    def _conservation(self) -> Check:
        """Every accepted report is in exactly one batch, held, or still open; no record without its report."""
        check = Check("nothing lost", "accepted reports against records and open reports")
        consumed: dict[int, int] = {}
        by_batch: dict[int, int] = {}
        for row in self.book.rows(consumption):
            consumed[row.submission] = consumed.get(row.submission, 0) + row.rows
            by_batch[row.batch] = by_batch.get(row.batch, 0) + row.rows
        for row in self.batches:
            check.count += 1
            if by_batch.get(row.seq, 0) != row.records:
                message = f"batch {row.seq} consumed {by_batch.get(row.seq, 0)} reports and has {row.records} records"
                check.problems.append(
                    _wrong("reports-lost", message, f"{self.book.name}: consumption of batch {row.seq}")
                )
        through = self.book.settled_through()
        held = self.home.guard.held_rows()
        self._unsettled(check, consumed, held)
        rows_held = [(number, row) for number, own in held.items() for row in own]
        numbers, places = (list(each) for each in zip(*rows_held, strict=True)) if rows_held else ([], [])
        self.con.register("held", pa.table({"n": pa.array(numbers, pa.int32()), "row": pa.array(places, pa.int64())}))
        sound = {row.seq for row in self.sound}
        complete = len(sound) == len(self.batches)
        sound_files: list[tuple[str, str | None, int]] = []
        disposed = 0
        for row in self.submissions:
            if row.file is None:
                complete, disposed = False, disposed + row.accepted
                continue
            if digest_of(self.home.storage / row.file) != row.file_digest:
                complete = False
                continue
            check.count += row.accepted
            file = f"read_parquet({quote(str(self.home.storage / row.file))})"
            settled = f"close_day <= DATE '{through[row.seq][0]}'" if row.seq in through else "false"
            own = f"row IN (SELECT row FROM held WHERE n = {row.seq})" if row.seq in held else "false"
            ((rows, done, waits),) = self.con.execute(
                f"SELECT count(*), count(*) FILTER ({settled} AND NOT {own}), count(*) FILTER ({own}) FROM {file}"
            ).fetchall()
            gone = row.erased - (len(held.get(row.seq, ())) - waits)  # erased ones that a batch consumed
            if rows + row.erased != row.accepted or done + gone != consumed.get(row.seq, 0):
                message = (
                    f"{row.accepted} accepted, {rows} in the file, {row.erased} erased, {waits} held, {done} due, "
                    f"{consumed.get(row.seq, 0)} settled"
                )
                check.problems.append(_wrong("reports-lost", message, row.file))
            sound_files.append((str(self.home.storage / row.file), through.get(row.seq, (None,))[0], row.seq))
        if complete and sound_files and self.sound:
            self.con.register(
                "until", pa.table([*map(list, zip(*sound_files, strict=True))], ["filename", "last", "n"])
            )
            named = ", ".join(quote(name) for name, _, _ in sound_files)
            reported = (
                f"SELECT action_id, count(*) AS n FROM read_parquet([{named}], filename = true, union_by_name = true) "
                "JOIN until USING (filename) ANTI JOIN held USING (n, row) WHERE close_day <= last::DATE GROUP BY 1"
            )
            recorded = "SELECT action_id, count(*) AS n FROM sound GROUP BY 1"
            missing = self.con.execute(
                f"SELECT coalesce(a.action_id, b.action_id), coalesce(a.n, 0), coalesce(b.n, 0) FROM ({reported}) a "
                f"FULL JOIN ({recorded}) b USING (action_id) WHERE a.n IS DISTINCT FROM b.n LIMIT {SHOWN}"
            ).fetchall()
            for action, reports, records in missing:
                message = f"{reports} settled reports, {records} records"
                check.problems.append(_wrong("reports-lost", message, f"action {action}"))
        if disposed:
            check.notes.append(f"{disposed:,} settled reports were disposed of: records are not held against reports")
        return check

    def _unsettled(self, check: Check, consumed: dict[int, int], held: Mapping[int, tuple[int, ...]]) -> None:
        """What the book keeps of open submissions against what it says was accepted and settled."""
        done = {row.seq: consumed.get(row.seq, 0) + len(held.get(row.seq, ())) for row in self.submissions}
        counted = {row.seq: row.accepted - done[row.seq] for row in self.submissions if row.accepted != done[row.seq]}
        kept = {row.submission: row.reports for row in self.book.query(sa.select(unsettled))}
        for number in sorted(counted.items() ^ kept.items()):
            check.problems.append(
                _wrong(
                    "unsettled-changed",
                    f"submission {number[0]} has {counted.get(number[0], 0)} reports to settle, "
                    f"the book keeps {kept.get(number[0], 0)}",
                    f"{self.book.name}: unsettled",
                )
            )

    def _guard(self) -> Check:
        """What was held against what the operator decided, and against what batches say was held before them."""
        said = [_manifest(row).get("book", {}).get("guard_move", EMPTY_HEAD)["rows"] for row in self.batches]
        return Check("held acts", "holds, decisions and cases; what each batch left out", *check_guard(self.home, said))

    def _epochs(self) -> Check:
        """Root, total and cells of every epoch, computed again from postings, secrets and tallies."""
        return Check(
            "epochs", "leaves of every epoch's sum trees, its roots, totals and cells", *check_epochs(self.home)
        )

    def _log(self) -> Check:
        """The log's own files, and its entries against the book."""
        check = Check("log", "tiles, entries, checkpoint and signature; entries against the book")
        entries = self.book.entries()
        tables = [{"genesis": "home", "batch": "batch"}.get(row.kind, "entry") for row in entries]
        wanted = [(row.text or "").encode() for row in entries]
        if wanted[:1] != [genesis(self.home.values).encode()]:
            message = "the first entry is not what the home was set up with"
            check.problems.append(_wrong("log-book-mismatch", message, f"{self.book.name}: entry 0"))
        try:
            log = Log(self.home.storage / "log", self.home.values["origin"], self.home.verifier)
            check.problems += log.check()
        except TanzhangError as error:
            check.problems += error.problems
        check.count = len(wanted)
        if check.problems:
            return check
        published = log.entries()
        if len(published) > len(wanted):  # sealed since this verification began
            wanted = Context().run(self.home.log_entries)
        for number, (found, expected) in enumerate(zip(published, wanted, strict=False)):
            if found != expected:
                table = tables[number] if number < len(tables) else "entry"
                message = f"log entry {number} is not what table {table} of the book says"
                check.problems.append(_wrong("log-book-mismatch", message, f"{self.book.name}: {table}"))
        if len(published) > len(wanted):
            message = f"the log has {len(published)} entries, the book knows {len(wanted)}: the book is an old copy"
            check.problems.append(_wrong("book-behind-log", message, f"{self.book.name}: entry"))
        if len(published) < len(wanted):
            message = f"the book has {len(wanted)} entries, the log {len(published)}"
            check.problems.append(
                _wrong(
                    "log-behind-book",
                    message,
                    "log/checkpoint",
                    "run 'tanzhang log publish', or let a worker do it; of a home that was restored, make sure first "
                    "that nobody has a larger checkpoint (docs/operations.md)",
                )
            )
        return check
