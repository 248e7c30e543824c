"""Erase: whose a record was, what it said and its salt go; leaf, amounts and sealed totals stay and still verify.

Each record file, report file, verdict file and file of links that holds something of these persons is written once more
without it, however many persons are erased together. One transaction then says which file stands for which, and the
files of before are removed. Whatever dies in between, the same call again comes to the same end.

What is not settled yet stays until it is: erase again then. A report that comes later is a new life of its platform
account, which knows no earlier link. docs/privacy.md says what is left and what it tells.
"""

from __future__ import annotations

import csv
import io
import json
import secrets
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from tanzhang.core.claim import ACTION, identity_text
from tanzhang.core.errors import refuse
from tanzhang.core.record import ERASED
from tanzhang.core.settlement import rules_of
from tanzhang.engine.columns import IDENTITY_BYTES, fixed_bytes
from tanzhang.engine.erase import what_is_left, without_content
from tanzhang.engine.identities import identity_column
from tanzhang.engine.kernel import quote
from tanzhang.engine.leaves import leaf_hashes
from tanzhang.service.by_account import make_again
from tanzhang.service.epoch import leaves_of
from tanzhang.service.gather import gather
from tanzhang.service.giving import go_along
from tanzhang.service.history import History, recipes_of
from tanzhang.service.links import links_relation
from tanzhang.service.mall import forget as forget_orders
from tanzhang.service.market.available import left_behind
from tanzhang.service.market.compensate import look
from tanzhang.service.market.payback import forget as forget_payback
from tanzhang.service.moments import received_at, received_day
from tanzhang.service.outbox import telling
from tanzhang.service.progress import Progress, silent
from tanzhang.service.recount import erased_totals, plain_sums_sql
from tanzhang.stores.boards import drop as drop_boards
from tanzhang.stores.book import append, consumption, is_erased_link, link, points_move, replacement, transfer
from tanzhang.stores.erased import ErasedLeaves
from tanzhang.stores.home import Home
from tanzhang.stores.parts import (
    RecordFile,
    erased_file,
    erased_leaves,
    is_list,
    part_name,
    record_files,
    write_erased_parts,
)
from tanzhang.stores.records import digest_of, writing_table
from tanzhang.stores.register.deliveries import inflated
from tanzhang.stores.register.guard import HELD, REFUSED
from tanzhang.stores.reports import writing_reports
from tanzhang.stores.storage import Place, open_binary, parquet_file, remove, write_durably

if TYPE_CHECKING:
    import duckdb

_SAME_REPORT = "outcome NOT IN ('repeat', 'conflict')"


def erase(
    home: Home,
    accounts: Iterable[uuid.UUID],
    *,
    reason: str | None = None,
    now: datetime,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Erase everything that is settled of these accounts and of the platform accounts that are linked to them alone.

    Many accounts at once cost hardly more than one. ``reason`` is kept for good, so it must name nobody. Returns what
    was erased, and under ``open`` the reports of these persons that are not settled yet and stay until then.
    Raises ``account-is-linked`` for a platform account whose acts are booked in another one that is not to be erased,
    ``record-file-changed`` or ``report-file-changed`` for a damaged file, ``book-moved`` if somebody was linked
    meanwhile, ``book-behind-log`` for a book that is an old copy; nothing was erased then.
    """
    with home.settling():
        home.publish()
        clear_leftovers(home)
        gather(home, now=now)
        look(home, now=now)  # of an erased record nobody can say any more how much of a lot it took back
        erasing = _Erasing(home, home.connect(), home.book.heads(), now, progress)
        erasing.name_persons(sorted(set(accounts)))
        return erasing.run(reason)


def clear_leftovers(home: Home) -> None:
    """Remove what an erasing or a disposal that died left to be removed, under the home's write lock."""
    names = home.book.leftovers("file")
    for name in names:
        if (home.storage / name).is_file():
            remove_file(home.storage / name)
    batches = home.book.leftovers("keys")
    if batches:
        drop_boards(home.folder)
        History(home).make_again(map(int, batches))
        make_again(home, map(int, batches))
    for kind, done in (("file", names), ("keys", batches)):
        if done:
            home.book.cleared(kind, done)
    if names:
        home.book.forget_deleted()


def remove_file(place: Place) -> None:
    """Remove a file, and its folder if that is empty then."""
    remove(place)
    if isinstance(place, Path):
        with suppress(OSError):
            place.parent.rmdir()


@dataclass(slots=True)
class _Counts:
    """How much was erased of what."""

    records: int = 0
    batches: int = 0
    reports: int = 0
    verdict_lines: int = 0
    answers: int = 0
    links: int = 0


@dataclass
class _Erasing:
    """One erasing: tables ``erasing`` (account) and ``erased`` (of each record its batch and what tells it apart)."""

    home: Home
    con: duckdb.DuckDBPyConnection
    heads: Mapping[str, Any]
    now: datetime
    progress: Progress
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    counts: _Counts = field(default_factory=_Counts)
    replaced: list[dict[str, Any]] = field(default_factory=list)
    leftovers: list[tuple[str, str]] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)
    by_partner: Counter[str] = field(default_factory=Counter)

    def name_persons(self, accounts: list[uuid.UUID]) -> None:
        """Table ``erasing``: these accounts, and the platform accounts that are or were linked to no other."""
        self.con.execute("CREATE TEMP TABLE erasing (account UUID PRIMARY KEY)")
        self.con.register("asked", pa.table({"account": pa.array([each.bytes for each in accounts], pa.uuid())}))
        self.con.execute("INSERT INTO erasing FROM asked")
        consents = links_relation(self.home, self.con)
        if consents is None:
            return
        elsewhere = self.con.execute(
            f"SELECT child, account FROM {consents} WHERE child IN (FROM erasing) AND account NOT IN (FROM erasing) "
            "ORDER BY ALL LIMIT 1"
        ).fetchall()
        for child, account in elsewhere:
            raise refuse(
                "account-is-linked",
                f"acts of {child} are booked in account {account}",
                where="account",
                remedy="erase that account, which takes its platform accounts with it",
            )
        own = f"SELECT DISTINCT child FROM {consents} WHERE account IN (FROM erasing)"
        others = f"SELECT child FROM {consents} WHERE account NOT IN (FROM erasing)"
        new = f"SELECT child FROM ({own}) WHERE child NOT IN ({others}) AND child NOT IN (FROM erasing)"
        while self.con.execute(f"SELECT count(*) FROM ({new})").fetchall() != [(0,)]:
            self.con.execute(f"INSERT INTO erasing {new}")  # those of a merged account are found by it
        shared = f"SELECT child::VARCHAR FROM ({own}) WHERE child NOT IN (FROM erasing) ORDER BY 1"
        self.shared = [child for (child,) in self.con.execute(shared).fetchall()]

    def run(self, reason: str | None) -> dict[str, Any]:
        """Write what is to stand, say so in one transaction, remove what stood before."""
        self.progress("looking for records", 0, 0)
        batches = self._find_records()
        for number, row in enumerate(batches):
            self.progress("record files", 5 + 70 * number // len(batches), self.counts.records)
            self._rewrite_batch(row)
        self.progress("report files", 75, self.counts.records)
        self._find_withheld()
        actions = self.con.sql(
            "SELECT action_id FROM erased WHERE action_id IS NOT NULL UNION SELECT action FROM withheld"
        ).to_arrow_table()
        known = _Actions(self.home.identity_key, actions["action_id"].combine_chunks())
        touched = self._rewrite_reports()
        self._rewrite_verdicts(known)
        answers = self._answers(touched, known)
        links = self._erase_links()
        persons = [account for (account,) in self.con.execute("FROM erasing").fetchall()]
        leaves = leaves_of(self.home, persons)
        erasure: int | None = None
        names = [str(account) for account in persons]
        if self.replaced or answers or links or self._joined(names):
            said = {
                "made_at": self._said_at,
                "reason": reason,
                "accounts": len(persons),
                "records": self.counts.records,
                "reports": self.counts.reports,
            }
            erasure = self.home.book.replace_files(
                self.heads,
                self.replaced,
                self.leftovers,
                erased=said,
                links=links,
                also=lambda con: self._forget(con, answers, leaves, names),
            )
            self.progress("removing", 95, self.counts.records)
            clear_leftovers(self.home)
            self.home.book.forget_deleted()
        else:
            with self.home.book.transaction() as con:
                forgotten = self.home.people.forget(con, names) + forget_orders(self.home, con, names, now=self.now)
                forgotten += self.home.certificates.forget(con, names, received_at(self.now))
                forgotten += self.home.guard.forget(con, names)
                forgotten += self.home.authorisations.forget(con, persons)
            if forgotten:
                self.home.book.forget_deleted()
        return {
            "status": "nothing" if erasure is None else "erased",
            "erasure": erasure,
            "accounts": len(persons),
            **{name: getattr(self.counts, name) for name in _Counts.__slots__},
            "open": self._open(),
            "shared_children": self.shared,
        }

    def _joined(self, accounts: list[str]) -> bool:
        """Whether anything went from or to these accounts, or would, was given away or used, or they have points."""
        joined = any(self.home.joinings.of_source(each) or self.home.joinings.into(each) for each in accounts)
        used = self.home.donations.has_of(accounts) or self.home.benefits.has_of(accounts)
        used = used or self.home.payback.has_of(accounts)
        used = used or self.home.passings.has_of(accounts)
        return joined or used or any(self.home.points.units(uuid.UUID(each)) for each in accounts)

    def _forget(
        self,
        con: sa.Connection,
        answers: Mapping[int, bytes],
        leaves: Mapping[uuid.UUID, list[dict[str, Any]]],
        persons: list[str],
    ) -> None:
        today = received_day(self.home, self.now).isoformat()
        at = received_at(self.now)
        parted = partial(go_along, self.home, con, at=at)
        for number in self.home.joinings.forget(con, persons, at, today, parted):
            append(con, replacement, self._nameless(transfer, number))
        accounts = [uuid.UUID(each) for each in persons]
        for number in self.home.points.forget(con, accounts):
            append(con, replacement, self._nameless(points_move, number))
        self.home.points_runs.forget(con, [each.bytes for each in accounts])
        forget_payback(self.home, con, persons, now=self.now)
        self.home.lots.forget(con, left_behind(self.home, accounts))
        self.home.donations.forget(con, persons)
        self.home.passings.forget(con, persons)
        self.home.benefits.forget(con, persons)
        self.home.people.forget(con, persons)
        forget_orders(self.home, con, persons, now=self.now)
        self.home.certificates.forget(con, persons, received_at(self.now))
        self.home.guard.forget(con, persons)
        self.home.authorisations.forget(con, accounts)
        for partner, records in sorted(self.by_partner.items()):
            telling(self.home, "erased", partner, {"records": str(records)}, now=self.now)(con)
        self.home.deliveries.rewrite(con, answers)
        self.home.epochs.forget(con, leaves, [leaf for own in leaves.values() for leaf in own])

    @cached_property
    def _said_at(self) -> str:
        return self.now.astimezone(UTC).isoformat(timespec="seconds")

    # -- records -----------------------------------------------------------------------------------------------

    def _find_records(self) -> list[Any]:
        """Table ``erased``; returns the batches that have any."""
        batches = self.home.book.batches()
        files = {str(file.path): row.seq for row in batches for file in record_files(self.home.storage, row)}
        columns = "action_id, child, day, ended, withdraws, outcome"
        if not files:
            self.con.execute(
                "CREATE TEMP TABLE erased (batch INTEGER, filename VARCHAR, action_id UUID, child UUID, day DATE, "
                "ended TIMESTAMP, withdraws UUID, outcome VARCHAR)"
            )
            return []
        self.con.register("numbered", pa.table({"filename": [*files], "batch": pa.array(files.values(), pa.int32())}))
        named = ", ".join(map(quote, files))
        self.con.execute(
            f"CREATE TEMP TABLE erased AS SELECT batch, filename, {columns} FROM (SELECT filename, {columns} "
            f"FROM read_parquet([{named}], filename = true) WHERE account IN (FROM erasing)) "
            "JOIN numbered USING (filename)"
        )
        touched = {number for (number,) in self.con.execute("SELECT DISTINCT batch FROM erased").fetchall()}
        return [row for row in batches if row.seq in touched]

    @cached_property
    def _accounts(self) -> pa.Array:
        found = self.con.sql("SELECT account FROM erasing").to_arrow_table()["account"].combine_chunks()
        return pa.array(found.cast(pa.binary(IDENTITY_BYTES)))

    @cached_property
    def _released(self) -> pa.ChunkedArray:
        """References of acts that were taken back: their claims are free."""
        query = f"SELECT DISTINCT withdraws FROM erased WHERE withdraws IS NOT NULL AND {_SAME_REPORT}"
        return self.con.sql(query).to_arrow_table()["withdraws"]

    @cached_property
    def _erased_before(self) -> pa.ChunkedArray:
        """References of erased acts that a withdrawal names which is to be erased now; files are as they were."""
        batches = self.home.book.batches()
        files = [quote(str(file.path)) for row in batches for file in record_files(self.home.storage, row)]
        asked = "SELECT withdraws FROM erased WHERE withdraws IS NOT NULL"
        if not files or self.con.execute(f"SELECT count(*) FROM ({asked})").fetchall() == [(0,)]:
            return pa.chunked_array([], pa.uuid())
        query = (
            f"SELECT action_id FROM read_parquet([{', '.join(files)}]) "
            f"WHERE outcome = {quote(ERASED)} AND action_id IN ({asked})"
        )
        return self.con.sql(query).to_arrow_table()["action_id"]

    @cached_property
    def _recipes(self) -> Any:
        return recipes_of(self.home)

    @cached_property
    def _rules(self) -> Any:
        return rules_of(self.home.programme, self.home.identity_key)

    def _rewrite_batch(self, row: Any) -> None:
        """Files of a batch without what is erased, their list, and what the erased records came to."""
        storage = self.home.storage
        with_some = {
            name
            for (name,) in self.con.execute(
                "SELECT DISTINCT filename FROM erased WHERE batch = ?", [row.seq]
            ).fetchall()
        }
        files, leaves, sums = [], erased_leaves(storage, row), []
        for number, file in enumerate(record_files(storage, row)):
            if str(file.path) not in with_some:
                files.append(file)
                continue
            self._check(file.path, file.digest, "record-file-changed")
            written, own, table = self._rewrite_records(file, storage / row.folder / part_name(number, self.token))
            files.append(written)
            leaves = leaves.plus(own)
            sums.append(table)
            self.leftovers.append(("file", f"{row.folder}/{file.path.name}"))
        erased = pa.concat_tables(sums)
        for each in pc.value_counts(erased["partner"].cast(pa.string())).to_pylist():
            self.by_partner[each["values"]] += each["counts"]
        self.con.register("own_sums", erased)
        totals = erased_totals(self.con, row.totals, plain_sums_sql("own_sums"))
        self.con.unregister("own_sums")
        listed, digest = write_erased_parts(storage / row.folder, files, leaves, self.token, home=storage)
        self.replaced.append(self._replacement("records", row.seq, listed, digest, len(leaves), totals))
        if is_list(row.records_file):
            self.leftovers.append(("file", f"{row.folder}/{row.records_file}"))
            before = erased_file(storage, row)
            if before is not None:
                self.leftovers.append(("file", f"{row.folder}/{before[0].name}"))
        self.leftovers.append(("keys", str(row.seq)))
        self.counts.batches += 1

    def _rewrite_records(self, file: RecordFile, path: Place) -> tuple[RecordFile, ErasedLeaves, pa.Table]:
        """A record file once more; the leaves of what is erased of it, and columns to count that by."""
        leaves, counted, first = ErasedLeaves(), [], file.first
        with parquet_file(file.path) as parquet, writing_table(path, home=self.home.storage) as written:
            for number in range(parquet.num_row_groups):
                table = parquet.read_row_group(number)
                account = table["account"].cast(pa.binary(IDENTITY_BYTES))
                erased = np.asarray(pc.is_in(account, value_set=self._accounts))
                if erased.any():
                    own = table.filter(pa.array(erased))
                    place = first + np.flatnonzero(erased)
                    made = leaf_hashes(own, fixed_bytes(own["seed"], 16), index=place)
                    leaves = leaves.plus(ErasedLeaves(place, made))
                    left = self._what_is_left(own)
                    counted.append(own.select(["partner", "kind", "outcome", "granted_mg", "reversed_mg"]))
                    table = without_content(table, erased, left)
                    self.counts.records += len(place)
                else:
                    table = without_content(table, erased, table.slice(0, 0))
                written.add(table)
                first += table.num_rows
        return RecordFile(path, file.first, file.rows, written.digest), leaves, pa.concat_tables(counted)

    def _what_is_left(self, own: pa.Table) -> pa.Table:
        known = {"recipes": self._recipes, "rules": self._rules}
        return what_is_left(self.con, own, self._released, erased_before=self._erased_before, **known)

    # -- what was reported -------------------------------------------------------------------------------------

    def _rewrite_reports(self) -> list[int]:
        """Report files without the reports of erased records; returns their submissions."""
        settled: dict[int, list[tuple[str, int]]] = {}
        for row in self.home.book.rows(consumption):
            settled.setdefault(row.submission, []).append((row.through, row.batch))
        touched = {number for (number,) in self.con.execute("SELECT DISTINCT batch FROM erased").fetchall()}
        held, waiting = self.home.guard.held_rows(), self.home.guard.waiting()
        rewritten = []
        for row in self.home.book.submissions():
            if row.file is None:
                continue
            consumed = sorted(settled.get(row.seq, []))
            places: set[int] = set()
            if touched & {number for _, number in consumed}:
                places |= {*self._own_rows(self.home.storage / row.file, consumed).tolist()}
            if row.seq in held:
                places = self._without_waiting(row, held[row.seq], waiting.get(row.seq, set()), places)
            found = np.array(sorted(places), dtype=np.int64)
            if len(found):
                self._rewrite_report(row, found)
                rewritten.append(row.seq)
        return rewritten

    def _names(self) -> list[str]:
        return [str(account) for (account,) in self.con.execute("FROM erasing").fetchall()]

    def _find_withheld(self) -> None:
        """Table ``withheld``: the references of acts of these persons that were refused and never had a record."""
        found = [uuid.UUID(row.action).bytes for row in self.home.guard.of_children(self._names(), (REFUSED,))]
        self.con.register("withheld", pa.table({"action": pa.array(found, pa.uuid())}))

    def _without_waiting(self, row: Any, held: tuple[int, ...], waiting: set[int], places: set[int]) -> set[int]:
        """Places to erase in a file with held reports: not those that wait for a decision, all that were decided."""
        table = self.con.execute(
            f"SELECT file_row_number, row, child IN (FROM erasing) FROM read_parquet("
            f"{quote(str(self.home.storage / row.file))}, file_row_number = true) WHERE row IN (SELECT unnest(?))",
            [list(held)],
        ).fetchall()
        wait = {place for place, number, _ in table if number in waiting}
        return (places | {place for place, _, is_own in table if is_own}) - wait

    def _own_rows(self, path: Place, consumed: list[tuple[str, int]]) -> Any:
        """The places in a report file of the reports of erased records, sorted.

        A report is told by its batch and by what its record has of it; equal ones of one batch are one person's.
        """
        cases = " ".join(f"WHEN close_day <= DATE '{through}' THEN {number}" for through, number in consumed)
        return self.con.execute(
            f"""
            WITH reports AS (
                SELECT *, CASE {cases} END AS batch FROM read_parquet({quote(str(path))}, file_row_number = true)
            )
            SELECT file_row_number AS place FROM reports r SEMI JOIN erased e ON r.batch = e.batch
                AND r.action_id = e.action_id AND r.child = e.child AND r.day = e.day AND r.ended = e.ended
                AND r.withdraws IS NOT DISTINCT FROM e.withdraws
            ORDER BY place
            """
        ).fetchnumpy()["place"]

    def _rewrite_report(self, row: Any, own: Any) -> None:
        storage = self.home.storage
        before = storage / row.file
        self._check(before, row.file_digest, "report-file-changed")
        path, first = before.parent / f"accepted-{self.token}.parquet", 0
        received = date.fromisoformat(row.received_day)
        with parquet_file(before) as parquet, writing_reports(path, received, home=storage) as (writer, written):
            for number in range(parquet.num_row_groups):
                table = parquet.read_row_group(number)
                keep = np.ones(table.num_rows, dtype=bool)
                low, high = np.searchsorted(own, (first, first + table.num_rows))
                keep[own[low:high] - first] = False
                writer.add(table.filter(pa.array(keep)))
                first += table.num_rows
        name = path.relative_to(storage).as_posix()
        self.replaced.append(self._replacement("reports", row.seq, name, written.digest, row.erased + len(own)))
        self.leftovers.append(("file", row.file))
        self.counts.reports += len(own)

    def _rewrite_verdicts(self, known: _Actions) -> None:
        """Verdict files without the references of refused rows that were sent again and then accepted."""
        storage = self.home.storage
        for row in self.home.book.submissions():
            if not row.refused or row.verdicts is None or not known:
                continue
            with io.TextIOWrapper(open_binary(storage / row.verdicts), encoding="utf-8", newline="") as file:
                lines = list(csv.DictReader(file))
            partners = [row.partner] if row.partner else [*self.home.programme.partners]
            own = known.among([line["reference"] for line in lines], partners)
            if not own.any():
                continue
            self._check(storage / row.verdicts, row.verdicts_digest, "report-file-changed")
            buffer = io.StringIO()
            writer = csv.DictWriter(buffer, lines[0].keys())
            writer.writeheader()
            for line, is_own in zip(lines, own.tolist(), strict=True):
                writer.writerow({**line, "reference": "", "message": ""} if is_own else line)
            path = (storage / row.verdicts).parent / f"verdicts-{self.token}.csv"
            write_durably(path, buffer.getvalue().encode(), up_to=storage)
            digest = digest_of(path)
            name = path.relative_to(storage).as_posix()
            self.replaced.append(self._replacement("verdicts", row.seq, name, digest, int(own.sum())))
            self.leftovers.append(("file", row.verdicts))
            self.counts.verdict_lines += int(own.sum())

    def _answers(self, submissions: list[int], known: _Actions) -> dict[int, bytes]:
        """Delivery -> its answer without the verdicts of erased records, where it has any."""
        found: dict[int, bytes] = {}
        if not known:
            return found
        for delivery in self.home.deliveries.answered(submissions):
            answer = json.loads(inflated(delivery.answer))
            verdicts = answer["verdicts"]
            actions = [verdict.get("action") for verdict in verdicts]
            references = [verdict["id"] if verdict["verdict"] == "refused" else None for verdict in verdicts]
            own = known.are(actions) | known.among(references, [delivery.partner])
            if own.any():
                answer["verdicts"] = [
                    {"position": verdict["position"], "id": None, "verdict": "erased"} if is_own else verdict
                    for verdict, is_own in zip(verdicts, own.tolist(), strict=True)
                ]
                found[delivery.id] = json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()
                self.counts.answers += int(own.sum())
        return found

    # -- links, and what stays ---------------------------------------------------------------------------------

    def _erase_links(self) -> list[int]:
        """Rows of table link that go, by number; files of links without those that go are written."""
        persons = {str(account) for (account,) in self.con.execute("FROM erasing").fetchall()}
        rows = [row.seq for row in self.home.book.rows(link) if not is_erased_link(row) and row.account in persons]
        self.counts.links += len(rows)
        storage = self.home.storage
        for row in self.home.book.link_files():
            consents = f"FROM read_parquet({quote(str(storage / row.file))})"
            own = f"SELECT count(*) {consents} WHERE account IN (FROM erasing)"
            ((count,),) = self.con.execute(own).fetchall()
            if not count:
                continue
            self._check(storage / row.file, row.file_digest, "report-file-changed")
            kept = self.con.sql(f"{consents} WHERE account NOT IN (FROM erasing)").to_arrow_table()
            path = storage / "links" / f"{row.fingerprint[:12]}-{self.token}.parquet"
            with writing_table(path, home=storage) as written:
                written.add(kept)
            name = path.relative_to(storage).as_posix()
            self.replaced.append(self._replacement("links", row.seq, name, written.digest, row.erased + count))
            self.leftovers.append(("file", row.file))
            self.counts.links += count
        return rows

    def _open(self) -> list[dict[str, Any]]:
        """Reports of these persons that are not settled yet, by platform account."""
        found: dict[str, list[Any]] = {}
        held = self.home.guard.held_rows()
        for row in self.home.book.open_submissions():
            since = f"AND close_day > DATE '{row.settled_through}'" if row.settled_through else ""
            if row.seq in held:
                since += f" AND row NOT IN ({', '.join(map(str, held[row.seq]))})"
            reports = self.con.execute(
                "SELECT child::VARCHAR, count(*), max(close_day) FROM "
                f"read_parquet({quote(str(self.home.storage / row.file))}) "
                f"WHERE child IN (FROM erasing) {since} GROUP BY 1"
            ).fetchall()
            for child, count, day in reports:
                before = found.setdefault(child, [0, day])
                found[child] = [before[0] + count, max(before[1], day)]
        today = received_day(self.home, self.now)
        for case in self.home.guard.of_children(self._names(), (HELD,)):  # for as long as nobody decides
            before = found.setdefault(case.child, [0, today])
            found[case.child] = [before[0] + 1, max(before[1], today)]
        return [
            {"account": child, "reports": count, "last_closes_on": day.isoformat()}
            for child, (count, day) in sorted(found.items())
        ]

    def _nameless(self, table: sa.Table, number: int) -> dict[str, Any]:
        """That a leg of a transfer, or a move of points, says no more whose it was."""
        said = {"kind": table.name, "number": number, "file": None, "file_digest": None}
        return {**said, "erased": 1, "totals": None, "recorded_at": self._said_at}

    def _replacement(
        self, kind: str, number: int, file: str, digest: str | None, erased: int, totals: str | None = None
    ) -> dict[str, Any]:
        return {
            "kind": kind,
            "number": number,
            "file": file,
            "file_digest": digest,
            "erased": erased,
            "totals": totals,
            "recorded_at": self._said_at,
        }

    def _check(self, path: Place, digest: str, code: str) -> None:
        """Refuse a file that is not what was written: what it says now would become what stands."""
        if digest_of(path) != digest:
            name = path.relative_to(self.home.storage).as_posix()
            raise refuse(
                code,
                f"{name} is not what was written",
                where=name,
                remedy="restore it from a backup, then erase again; nothing was erased",
            )


class _Actions:
    """The references of erased records, to be known again as identities and as partners' texts."""

    def __init__(self, key: bytes, actions: Any) -> None:
        self._key = key
        self._known = pa.array(actions.cast(pa.binary(IDENTITY_BYTES)))

    def __bool__(self) -> bool:
        return len(self._known) > 0

    def are(self, actions: list[str | None]) -> Any:
        """Which action ids are among them."""
        found = [None if action is None else uuid.UUID(action).bytes for action in actions]
        return np.asarray(pc.is_in(pa.array(found, pa.binary(IDENTITY_BYTES)), value_set=self._known))

    def among(self, references: list[str | None], partners: list[str]) -> Any:
        """Which texts are references that one of some partners gave."""
        found = np.zeros(len(references), dtype=bool)
        for partner in partners:
            texts = [identity_text(ACTION, partner, each) if each else None for each in references]
            made = identity_column(pa.array(texts, pa.string()), self._key).storage
            found |= np.asarray(pc.is_in(made, value_set=self._known))
        return found
