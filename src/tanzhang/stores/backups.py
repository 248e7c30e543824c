"""A folder of backups of one home: files that never change once, and for each backup what does.

::

    backups.json                 whose they are
    files/<path in the home>     reports, records, links and tiles of the log, shared by all backups
    <moment>/book.sqlite, book.dump, checkpoint, home/...   what a backup has of its own
    <moment>/keys.sealed         secret keys, if they were asked for, locked with a passphrase
    <moment>/manifest.json       every file with size and SHA-256; written last: without it there is no backup

Refused are a folder of another home, and, when a backup is read, any file that is not what its manifest says.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.stores.files import durable_file, write_durably
from tanzhang.stores.storage import Place, open_binary
from tanzhang.stores.storage import durable_file as durable_place

FORMAT = "tanzhang.backup/1"
MANIFEST, SHARED = "manifest.json", "files"
_OWNER = "backups.json"
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Copied:
    """A file of a backup: its path below ``files`` or in the backup's own folder, its size and digest."""

    path: str
    bytes: int
    sha256: str


@dataclass(slots=True)
class Manifest:
    """What a backup holds. ``log_size`` and ``log_root`` are those of its checkpoint."""

    made_at: str
    programme: str
    origin: str
    vkey: str
    revision: str
    book: str
    log_size: int
    log_root: str
    keys: str
    overlays: list[str] = field(default_factory=list)
    own: list[Copied] = field(default_factory=list)
    files: list[Copied] = field(default_factory=list)
    format: str = FORMAT

    def to_bytes(self) -> bytes:
        """As it is written."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1).encode() + b"\n"

    @classmethod
    def parse(cls, data: bytes, where: str) -> Manifest:
        """Read one; ``backup-damaged``."""
        try:
            said = json.loads(data)
            own, files = ([Copied(**each) for each in said.pop(name)] for name in ("own", "files"))
            found = cls(**said, own=own, files=files)
            if found.format != FORMAT or not all(_is_inside(each.path) for each in (*own, *files)):
                raise ValueError(found.format)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise _damaged(f"the manifest cannot be read: {error}", where) from None
        return found


class Backups:
    """One folder of backups."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> list[str]:
        """The backups that are whole, the oldest first."""
        return sorted(path.parent.name for path in self.folder.glob(f"*/{MANIFEST}"))

    def manifest(self, name: str | None = None) -> tuple[str, Manifest]:
        """A backup's name and manifest, by default of the last one. ``backup-unknown``, ``backup-damaged``."""
        names = self.names()
        chosen = name or (names[-1] if names else "")
        if chosen not in names:
            raise refuse(
                "backup-unknown",
                f"there is no backup {chosen}" if chosen else "there is no backup",
                where=str(self.folder),
                remedy=f"name one of {', '.join(names)}" if names else "give the folder that backups were made to",
            )
        file = self.folder / chosen / MANIFEST
        return chosen, Manifest.parse(file.read_bytes(), str(file))

    def claim(self, origin: str, vkey: str) -> None:
        """Make the folder one of this home's backups; ``backup-of-another`` if it is another's."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = json.dumps({"format": FORMAT, "origin": origin, "vkey": vkey}).encode() + b"\n"
        file = self.folder / _OWNER
        if not file.exists():
            write_durably(file, owner)
        elif file.read_bytes() != owner:
            raise refuse(
                "backup-of-another",
                "the folder has backups of another home",
                where=str(self.folder),
                remedy="choose a folder of its own for each home",
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make a backup alone; ``backup-busy``."""
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise refuse(
                    "backup-busy",
                    "another process makes a backup here",
                    where=str(self.folder),
                    remedy="wait until it has finished",
                ) from None
            yield
        finally:
            os.close(handle)

    def begin(self, moment: str) -> Path:
        """The folder of a new backup; what is left of one that was interrupted in this second goes."""
        folder = self.folder / moment
        if (folder / MANIFEST).exists():
            raise refuse(
                "backup-busy", f"there is a backup {moment}", where=str(folder), remedy="try again in a second"
            )
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        return folder

    def share(self, source: Place, path: str, size: int, known: Mapping[str, Copied]) -> tuple[Copied, bool]:
        """Have a file that never changes among the shared ones; whether it had to be copied. FileNotFoundError."""
        target = self.folder / SHARED / path
        before = known.get(path)
        if before is not None and before.bytes == size and target.is_file() and target.stat().st_size == size:
            return before, False
        return copy(source, target, path, up_to=self.folder), True

    def known(self) -> dict[str, Copied]:
        """The shared files of all backups, by path."""
        return {each.path: each for name in self.names() for each in self.manifest(name)[1].files}

    def keep_last(self, count: int) -> list[str]:
        """Remove all but the last ``count`` backups, and the shared files that none of these names; returns names."""
        gone = self.names()[:-count]
        for name in gone:
            (self.folder / name / MANIFEST).unlink()  # from here on it is no backup
            shutil.rmtree(self.folder / name)
        named = self.known().keys()
        shared = self.folder / SHARED
        for path in sorted(shared.rglob("*")) if gone else ():
            if path.is_file() and path.relative_to(shared).as_posix() not in named:
                path.unlink()
        return gone

    def check(self, name: str, manifest: Manifest) -> None:
        """That every file is what the manifest says; all that are not are named. ``backup-damaged``."""
        problems: list[Problem] = []
        for root, files in ((self.folder / name, manifest.own), (self.folder / SHARED, manifest.files)):
            for each in files:
                path = root / each.path
                if not path.is_file():
                    problems += _damaged("the file is missing", str(path)).problems
                elif path.stat().st_size != each.bytes or _digest(path) != each.sha256:
                    problems += _damaged("the file is not the one that was backed up", str(path)).problems
        if problems:
            raise TanzhangError(problems)


def copy(source: Place, target: Path, path: str, *, up_to: Path | None = None) -> Copied:
    """Copy a file durably, and say what it was. FileNotFoundError."""
    with open_binary(source) as file, durable_file(target, up_to=up_to) as written:
        size, digest = _pump(file, written)
    return Copied(path, size, digest)


def put(source: Path, target: Place, *, up_to: Place) -> None:
    """Copy a file of a backup to where a home has it."""
    with source.open("rb") as file, durable_place(target, up_to=up_to) as written:
        _pump(file, written)


def described(folder: Path, names: Iterable[str]) -> list[Copied]:
    """Files of a backup's own folder as its manifest lists them."""
    return [Copied(name, (folder / name).stat().st_size, _digest(folder / name)) for name in sorted(names)]


def _pump(file: Any, written: Any) -> tuple[int, str]:
    size, digest = 0, hashlib.sha256()
    while data := file.read(_CHUNK):
        written.write(data)
        digest.update(data)
        size += len(data)
    return size, digest.hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_inside(path: str) -> bool:
    """Whether a path of a manifest stays where it belongs."""
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith("/") and ".." not in parts


def _damaged(message: str, where: str) -> TanzhangError:
    return refuse("backup-damaged", message, where=where, remedy="take another backup, or another copy of this one")
