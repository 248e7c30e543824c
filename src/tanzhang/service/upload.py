"""Upload: a partner's large file in pieces, each durable before it is acknowledged, then taken in like any file.

A piece that was cut off is kept as far as it came; the client asks how far that is and goes on. Taking in may outlast a
request and a process: it is begun again wherever it was left, and the same file is never taken in twice
(:mod:`tanzhang.service.intake`).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO

import sqlalchemy as sa

from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.service.intake import check, intake
from tanzhang.service.moments import received_at
from tanzhang.stores.bodies import BATCH_TYPES, CSV_TYPE, NDJSON_TYPE, PARQUET_TYPE, unknown_type
from tanzhang.stores.book import submission
from tanzhang.stores.files import write_durably
from tanzhang.stores.home import Home
from tanzhang.stores.register.uploads import CHECKED, DONE, RECEIVING, REFUSED, TAKING_IN
from tanzhang.stores.storage import Place

MOST_UNFINISHED = 10
"""Uploads that a partner may have begun and not finished."""
LARGEST_BYTES = 4 << 30
"""Of one file."""
MOST_UNFINISHED_BYTES = 16 << 30
"""What the unfinished uploads of a partner may come to."""
LASTS = timedelta(hours=24)
"""How long an unfinished upload is kept after its last piece."""
_SPARE_BYTES = 1 << 30  # that an upload leaves free on the disk
_SHA256 = re.compile("[0-9a-f]{64}")
_ENDINGS = {CSV_TYPE: ".csv", PARQUET_TYPE: ".parquet", NDJSON_TYPE: ".ndjson"}
# What is wrong with the home and not with the file: it may be tried again.
_OURS = frozenset({"book-unusable", "storage-unusable", "home-busy", "book-moved"})


def begin(
    home: Home,
    partner: str,
    *,
    name: str,
    size: int,
    sha256: str,
    content_type: str,
    content_encoding: str | None = None,
    dry_run: bool = False,
    now: datetime,
) -> dict[str, Any]:
    """Begin an upload; its state, whose ``id`` the pieces are sent to. With ``dry_run`` it will be checked alone.

    Raises ``media-type-unknown``, ``upload-digest-malformed``, ``upload-size``, ``too-many-uploads`` and
    ``overloaded`` where the disk has no room for it.
    """
    ending = _ENDINGS.get(content_type, ".json" if content_type in BATCH_TYPES else None)
    if ending is None:
        raise unknown_type(content_type, BATCH_TYPES)
    if content_encoding not in (None, "gzip") or (content_encoding and content_type == PARQUET_TYPE):
        raise unknown_type(f"{content_type} packed by {content_encoding}", BATCH_TYPES)
    digest = sha256.lower()
    if not _SHA256.fullmatch(digest):
        raise refuse(
            "upload-digest-malformed",
            "sha256 is not the SHA-256 of a file in hex",
            where="#/sha256",
            remedy="write the 64 digits that sha256sum prints",
        )
    if not 0 < size <= LARGEST_BYTES:
        raise refuse(
            "upload-size",
            f"a file of {size:,} bytes cannot be uploaded",
            where="#/size",
            remedy=f"send files of 1 to {LARGEST_BYTES:,} bytes",
        )
    expire(home, now=now)
    count, bytes_begun = home.uploads.unfinished(partner)
    if count >= MOST_UNFINISHED or bytes_begun + size > MOST_UNFINISHED_BYTES:
        raise refuse(
            "too-many-uploads",
            f"{partner} has {count} unfinished uploads of {bytes_begun:,} bytes",
            where="uploads",
            remedy="finish or delete one of them; GET /v1/uploads lists them",
            again_in_s=_expires_in_s(home, partner, now),
        )
    if shutil.disk_usage(home.folder).free < size + _SPARE_BYTES:
        raise refuse("overloaded", "there is no room for this file now", where="uploads", remedy="try again later")
    at = received_at(now)
    values: dict[str, Any] = {
        "id": secrets.token_hex(12),
        "partner": partner,
        "name": name,
        "ending": ending + (".gz" if content_encoding else ""),
        "size": size,
        "sha256": digest,
        "received": 0,
        "state": RECEIVING,
        "dry_run": dry_run,
        "created_at": at,
        "changed_at": at,
    }
    home.uploads.add(values)
    return state_of(home, partner, values["id"])


class Piece:
    """A piece of an upload that is being written; ``size`` bytes came so far. To be closed, however it ends."""

    def __init__(self, home: Home, partner: str, name: str, offset: int) -> None:
        """Open an upload for a piece that begins at ``offset``.

        Raises ``unknown-upload``, ``upload-finished``, ``upload-busy``, ``upload-offset`` where it does not follow.
        """
        self._home, self.size = home, 0
        with ExitStack() as opened:
            self._file = opened.enter_context(home.uploads.alone(_own(home, partner, name)))
            self._row = row = _own(home, partner, name)
            if row.state != RECEIVING:
                raise refuse(
                    "upload-finished",
                    "the upload is finished; it takes no more pieces",
                    where="upload",
                    remedy="begin another one",
                )
            if offset != row.received:
                raise refuse(
                    "upload-offset",
                    f"the piece begins at byte {offset:,}, but {row.received:,} bytes are here",
                    where="header: Upload-Offset",
                    remedy="go on where header Upload-Offset of a HEAD request says",
                )
            self._file.truncate(row.received)  # what a crash left behind what was acknowledged
            self._file.seek(row.received)
            self._opened = opened.pop_all()

    def write(self, data: bytes) -> None:
        """Add bytes; ``upload-too-long`` for more than the file was announced to have."""
        if self._row.received + self.size + len(data) > self._row.size:
            raise refuse(
                "upload-too-long",
                "more bytes came than the file was announced to have",
                where="body",
                remedy="begin another upload with the right size",
            )
        self._file.write(data)
        self.size += len(data)

    def close(self, now: datetime) -> int:
        """Make durable what came, and say so; returns where the next piece begins."""
        received = int(self._row.received) + self.size
        with self._opened:
            self._file.flush()
            os.fsync(self._file.fileno())
            values = {"received": received, "answer": None}
            if self.size and not self._home.uploads.change(self._row, received_at(now), **values):
                raise _unknown()  # it expired at this moment
        return received


def finish(home: Home, partner: str, name: str, *, now: datetime) -> None:
    """Say that all of an upload is there; from now on :func:`take_in` may be called for it, by any process.

    Nothing happens to one that is finished already. Raises ``unknown-upload`` and ``upload-incomplete``.
    """
    row = _own(home, partner, name)
    if row.state != RECEIVING:
        return
    if row.received < row.size:
        raise refuse(
            "upload-incomplete",
            f"{row.received:,} of {row.size:,} bytes are here",
            where="upload",
            remedy="send the rest from there on",
        )
    home.uploads.change(row, received_at(now), state=TAKING_IN)


def take_in(home: Home, name: str, *, now: datetime) -> None:
    """Take a finished upload in, unless another process is doing that; what came of it is its state.

    A file with another digest than was announced is asked for again from its first byte.
    """
    row = home.uploads.get(name)
    if row is None or row.state != TAKING_IN:
        return
    try:
        with home.uploads.alone(row) as file:
            row = home.uploads.get(name)
            if row is None or row.state != TAKING_IN:
                return
            digest = _digest(file)
            if digest != row.sha256:
                problem = Problem(
                    "upload-digest-differs",
                    f"the bytes that came have SHA-256 {digest}, not {row.sha256}",
                    row.name,
                    "send the file again from its first byte",
                )
                answer = json.dumps({"problems": [problem.as_dict()]})
                home.uploads.change(row, received_at(now), state=RECEIVING, received=0, answer=answer)
                return
            _take_in(home, row, now)
    except TanzhangError as error:
        if error.code != "upload-busy":
            raise


def _take_in(home: Home, row: Any, now: datetime) -> None:
    path = home.uploads.path(row)
    try:
        if row.dry_run:
            counts, lines = check(home, path, partner=row.partner, now=now)
            write_durably(home.uploads.verdicts(row), lines)
        else:
            counts = intake(home, path, partner=row.partner, now=now)
    except TanzhangError as error:
        if error.code in _OURS:
            raise
        problems = [
            Problem(each.code, each.message.replace(path.name, row.name), row.name, each.remedy).as_dict()
            for each in error.problems
        ]
        home.uploads.change(row, received_at(now), state=REFUSED, answer=json.dumps({"problems": problems}))
    else:
        kept = {each: counts[each] for each in ("rows", "accepted", "refused", "refused_by_code", "quantified")}
        state = CHECKED if row.dry_run else DONE
        number = counts["submission"]
        home.uploads.change(row, received_at(now), state=state, submission=number, answer=json.dumps(kept))
    home.uploads.clear(row)


def _digest(file: BinaryIO) -> str:
    state = hashlib.sha256()
    while part := file.read(1 << 20):
        state.update(part)
    return state.hexdigest()


def left_over(home: Home) -> list[str]:
    """Uploads that are finished and not taken in: in work somewhere, or left by a process that died."""
    return [row.id for row in home.uploads.in_state(TAKING_IN)]


def state_of(home: Home, partner: str, name: str) -> dict[str, Any]:
    """An upload as its partner sees it; ``unknown-upload``."""
    return _described(_own(home, partner, name))


def list_of(home: Home, partner: str, *, after: tuple[str, str] = ("", ""), limit: int = 50) -> list[dict[str, Any]]:
    """A partner's uploads in the order of their beginning, behind one of this moment and id."""
    return [_described(row) for row in home.uploads.of_partner(partner, after=after, limit=limit)]


def cancel(home: Home, partner: str, name: str) -> None:
    """Forget an upload that was not finished; ``unknown-upload``, ``upload-finished``, ``upload-busy``."""
    row = _own(home, partner, name)
    if row.state != RECEIVING:
        raise refuse(
            "upload-finished", "the upload is finished", where="upload", remedy="nothing can be taken back of it here"
        )
    with home.uploads.alone(row):
        home.uploads.remove(_own(home, partner, name))


def expire(home: Home, *, now: datetime) -> int:
    """Forget uploads that nothing happened to for a day, unfinished or only checked, and files that none needs.

    Returns how many uploads.
    """
    before, count = received_at(now - LASTS), 0
    for row in (*home.uploads.in_state(RECEIVING), *home.uploads.in_state(CHECKED)):
        if row.changed_at < before:
            count += home.uploads.remove(row)
    for path in home.uploads.stray_files():
        if time.time() - path.stat().st_mtime > LASTS.total_seconds():
            path.unlink(missing_ok=True)
    return count


def verdict_file(home: Home, partner: str, name: str) -> tuple[Place, str]:
    """The file with a line for each mistake of an upload that was taken in or checked, and its SHA-256.

    Raises ``unknown-upload``, ``upload-not-taken-in`` and, where the programme no longer keeps it, ``verdicts-gone``.
    """
    row = _own(home, partner, name)
    if row.state == CHECKED:
        place = home.uploads.verdicts(row)
        return place, hashlib.sha256(place.read_bytes()).hexdigest()
    if row.state != DONE:
        raise refuse(
            "upload-not-taken-in",
            f"the upload is {row.state}",
            where="upload",
            remedy="ask again when its state is done",
        )
    rows = home.book.query(sa.select(submission).where(submission.c.seq == row.submission))
    (found,) = home.book.submissions(rows)
    if found.verdicts is None:
        raise refuse(
            "verdicts-gone",
            "the verdicts of this file are no longer kept",
            where="upload",
            remedy="its counts are in the upload's state",
        )
    return home.storage / found.verdicts, found.verdicts_digest


def _expires_in_s(home: Home, partner: str, now: datetime) -> float | None:
    """When the first unfinished upload of a partner expires if nothing is added; None if all are being taken in."""
    rows = [row for row in home.uploads.in_state(RECEIVING) if row.partner == partner]
    ends = [datetime.fromisoformat(row.changed_at) + LASTS for row in rows]
    return (min(ends) - now).total_seconds() if ends else None


def _own(home: Home, partner: str, name: str) -> Any:
    row = home.uploads.get(name)
    if row is None or row.partner != partner:
        raise _unknown()
    return row


def _unknown() -> TanzhangError:
    return refuse(
        "unknown-upload",
        "there is no such upload of yours",
        where="upload",
        remedy="begin one, or list them: GET /v1/uploads; unfinished ones end after a day",
    )


def _described(row: Any) -> dict[str, Any]:
    expires = None
    if row.state in (RECEIVING, CHECKED):
        expires = (datetime.fromisoformat(row.changed_at).astimezone(UTC) + LASTS).isoformat(timespec="seconds")
    said = {} if row.answer is None else json.loads(row.answer)
    return {
        "id": row.id,
        "name": row.name,
        "state": row.state,
        "dry_run": row.dry_run,
        "size": row.size,
        "received": row.received,
        "sha256": row.sha256,
        "created_at": row.created_at,
        "expires_at": expires,
        "counts": said if row.state in (DONE, CHECKED) else None,
        "problems": said.get("problems", []),
        "verdicts": f"/v1/uploads/{row.id}/verdicts" if row.state in (DONE, CHECKED) else None,
    }
