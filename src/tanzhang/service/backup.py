"""Back a home up while it is used, and bring it back elsewhere.

Order decides that a backup is consistent: first the checkpoint of the log, then the book, then the files. So the book
has every entry that the checkpoint covers, and every file that the book names is there; what came later does no harm.
Only erasing and disposal take files away: if either happened meanwhile, it is done again.

A restored log goes on where its checkpoint is, and its next publication adds what the book has beyond. Nothing is
signed by restoring. Whether something newer was published elsewhere is for witnesses to say, or for ``published``.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from tanzhang.core import merkle
from tanzhang.core.checkpoint import Checkpoint, open_checkpoint
from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.merkle import leaf_hash
from tanzhang.core.tiles import bundles_for, tiles_for
from tanzhang.service.progress import Progress, silent
from tanzhang.stores.backups import SHARED, Backups, Copied, Manifest, copy, described, put
from tanzhang.stores.book import Book, BookAddress
from tanzhang.stores.files import make_folder, write_durably
from tanzhang.stores.home import Home, new_home_folder, place_files, place_keys
from tanzhang.stores.sealing import seal, unseal
from tanzhang.stores.storage import Place, files_under
from tanzhang.stores.storage import write_durably as write_place

_BULK = ("reports", "records", "lots", "links", "pictures")
# Of folder keys: what is no secret. Everything else there is one.
_PUBLIC_KEYS = ("log.vkey", "witness.policy", "witness.use", "storage.url")
_STATE = ("witnesses.json", "signed.checkpoint")
CHECKPOINT, SEALED = "checkpoint", "keys.sealed"
_TRIES = 3


# -- making one -----------------------------------------------------------------------------------------------


def backup(
    home: Home,
    folder: Path,
    *,
    now: datetime,
    passphrase: str | None = None,
    keep: int | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Add a backup to a folder of them; files that an earlier one has are not copied again.

    With a ``passphrase`` the secret keys are in it, locked; without one they are left out. ``keep`` removes all but so
    many, and with them what was erased since. Raises ``backup-of-another``, ``backup-busy``, ``passphrase-short``,
    ``postgres-tools-missing``, ``book-copy-failed``, ``book-moved``.
    """
    backups = Backups(folder)
    backups.claim(home.values["origin"], home.values["vkey"])
    with backups.locked():
        own = backups.begin(now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ"))
        checkpoint = _copy_small(home, own)
        if passphrase is not None:
            write_durably(own / SEALED, seal(_secret_keys(home), passphrase))
            (own / SEALED).chmod(0o600)
        copied = _copy_consistently(home, backups, own, checkpoint, progress)
        manifest = Manifest(
            made_at=now.astimezone(UTC).isoformat(timespec="seconds"),
            programme=home.values["programme"],
            origin=home.values["origin"],
            vkey=home.values["vkey"],
            revision=home.book.revision() or "",
            book=copied.book,
            log_size=checkpoint.size,
            log_root=checkpoint.root.hex(),
            keys="by reference" if passphrase is None else "sealed",
            overlays=json.loads(home.values["overlays"]),
            own=described(own, (path.relative_to(own).as_posix() for path in own.rglob("*") if path.is_file())),
            files=copied.files,
        )
        write_durably(own / "manifest.json", manifest.to_bytes())
        gone = [] if keep is None else backups.keep_last(keep)
    return {
        "status": "backed up",
        "backup": own.name,
        "folder": str(folder),
        "book": copied.book,
        "book_bytes": (own / copied.book).stat().st_size,
        "files": len(copied.files),
        "copied": copied.new,
        "copied_bytes": copied.new_bytes,
        "log_size": checkpoint.size,
        "keys": manifest.keys,
        "removed": gone,
    }


@dataclass(slots=True)
class _Copy:
    """What was copied: the name of the book's copy, all shared files, and how many of them are new."""

    book: str
    files: list[Copied]
    new: int = 0
    new_bytes: int = 0


def _copy_small(home: Home, own: Path) -> Checkpoint:
    """Copy what says where the log stands, before the book; returns its checkpoint."""
    note = home.log.checkpoint_bytes()
    write_durably(own / CHECKPOINT, note)
    kept = [home.folder / "keys" / name for name in _PUBLIC_KEYS] + [home.folder / name for name in _STATE]
    for file in kept:
        if file.is_file():
            name = file.relative_to(home.folder).as_posix()
            copy(file, own / "home" / name, name)
    return open_checkpoint(note, home.values["origin"], home.verifier)[0]


def _copy_consistently(home: Home, backups: Backups, own: Path, checkpoint: Checkpoint, progress: Progress) -> _Copy:
    for _ in range(_TRIES):
        before = _taken_away(home)
        progress("copying the book", 0, 0)
        found = _Copy(home.book.copy_to(own).name, [])
        known = backups.known()
        listed = [*_bulk_files(home), *_log_files(home, checkpoint)]
        for number, (place, path, size) in enumerate(listed):
            if number % 100 == 0:
                progress("copying files", 20 + 80 * number // len(listed), number)
            try:
                copied, is_new = backups.share(place, path, size, known)
            except FileNotFoundError:
                continue  # taken away meanwhile: of an interrupted run, or seen below
            found.files.append(copied)
            found.new += is_new
            found.new_bytes += copied.bytes if is_new else 0
        if _taken_away(home) == before:
            return found
    raise refuse(
        "book-moved",
        "persons were erased or files disposed of all the time that the backup was made",
        where="backup",
        remedy="make it again when that has ended",
    )


def _taken_away(home: Home) -> list[str]:
    """What tells of every erasing and disposal."""
    heads = home.book.heads()
    return [heads[name]["head"] for name in ("erasure", "replacement")]


def _bulk_files(home: Home) -> Iterator[tuple[Place, str, int]]:
    """Place, path and size of reports, records, links and pictures; unfinished files start with a dot and are none."""
    for name in _BULK:
        for path, size in files_under(home.storage / name):
            if not path.name.startswith("."):
                yield home.storage / name / path.as_posix(), f"{name}/{path.as_posix()}", size


def _log_files(home: Home, checkpoint: Checkpoint) -> Iterator[tuple[Place, str, int]]:
    """The tiles and bundles of a checkpoint; the full one where a partial one was tidied away."""
    sizes = {path.as_posix(): size for path, size in files_under(home.storage / "log" / "tile")}
    for tile in (*bundles_for(checkpoint.size), *tiles_for(checkpoint.size)):
        path = tile.path if tile.path.removeprefix("tile/") in sizes else tile.full.path
        size = sizes.get(path.removeprefix("tile/"))
        if size is None:
            raise refuse(
                "log-file-unknown",
                "a file of the log is missing",
                where=tile.path,
                remedy="run 'tanzhang verify', and restore the file from a copy of the log",
            )
        yield home.storage / "log" / path, f"log/{path}", size


def _secret_keys(home: Home) -> bytes:
    """The secret keys as a tar file; ``key-missing``, ``key-changed`` if those of log and identities are not there."""
    home.signer, home.identity_key  # noqa: B018 - refuses keys that are not this home's
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for file in _secret_files(home.folder / "keys"):
            tar.add(file, file.name)
    return buffer.getvalue()


def _secret_files(keys: Path) -> list[Path]:
    """Every file of a folder of keys that is a secret."""
    return [each for each in sorted(keys.iterdir()) if each.is_file() and each.name not in _PUBLIC_KEYS]


# -- listing --------------------------------------------------------------------------------------------------


def backups_in(folder: Path) -> list[dict[str, Any]]:
    """Every backup of a folder, the last one first."""
    backups = Backups(folder)
    found = [backups.manifest(name) for name in reversed(backups.names())]
    return [
        {
            "backup": name,
            "made_at": each.made_at,
            "programme": each.programme,
            "log_size": each.log_size,
            "keys": each.keys,
            "files": len(each.files),
            "bytes": sum(file.bytes for file in (*each.own, *each.files)),
        }
        for name, each in found
    ]


# -- bringing it back -----------------------------------------------------------------------------------------


def restore(
    folder: Path,
    to: Path,
    *,
    name: str | None = None,
    passphrase: str | None = None,
    keys: Path | None = None,
    book: str | None = None,
    storage: str | None = None,
    published: bytes | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Make a home again from a backup (default: the last) in a new folder. Nothing is signed.

    Secret keys come from the backup with its ``passphrase``, or from a folder of ``keys``; without either the home can
    be read, neither takes reports in nor settles, and ``verify`` says so. ``book`` is the address of a database for
    a book from PostgreSQL, ``storage`` a new place for files. ``published`` is the newest checkpoint that is known: a
    backup from before it is refused with ``backup-behind-log``, for a log is never signed twice.
    Raises ``backup-unknown``, ``backup-damaged``, ``home-exists``, ``passphrase-wrong``, ``key-changed``,
    ``book-address-needed``, ``postgres-tools-missing``, ``book-copy-failed``.
    """
    backups = Backups(folder)
    chosen, manifest = backups.manifest(name)
    progress("checking the backup", 0, 0)
    backups.check(chosen, manifest)
    own = backups.folder / chosen
    address = _address(manifest, book)
    opened = None if not (own / SEALED).is_file() or passphrase is None else _unsealed(own / SEALED, passphrase)
    if passphrase is not None and opened is None:
        raise refuse(
            "backup-unknown",
            "the backup has no keys in it",
            where=str(own),
            remedy="give the folder of the keys with --keys, or leave the passphrase out",
        )
    make_folder(new_home_folder(to))
    if address is not None:
        Book.check_free(address)
    root = place_files(to, storage, manifest.origin)
    progress("copying files", 10, 0)
    for each in manifest.files:
        put(backups.folder / SHARED / each.path, root / each.path, up_to=root)
    write_place(root / "log" / CHECKPOINT, (own / CHECKPOINT).read_bytes(), up_to=root)
    for each in manifest.own:
        kept = each.path.removeprefix("home/")
        if kept != each.path and kept != "keys/storage.url":
            make_folder((to / kept).parent)
            write_durably(to / kept, (own / each.path).read_bytes())
    place_keys(to, opened or _keys_in(keys), address)
    progress("bringing back the book", 80, 0)
    place = to / "book.sqlite" if address is None else address
    Book.load(place, own / manifest.book)
    home = Home(to)
    try:
        _check_log(home, published)
    except TanzhangError:
        (to / "keys" / "log.key").unlink(missing_ok=True)  # so that it cannot sign
        raise
    behind = len(home.log_entries(manifest.log_size))
    return {
        "status": "restored",
        "backup": chosen,
        "home": str(to),
        "book": home.book.name,
        "files": len(manifest.files),
        "log_size": manifest.log_size,
        "entries": len(home.log_entries()),
        "log_behind_book": behind,
        "next": _next_steps(behind),
        "keys": [file.name for file in _secret_files(to / "keys")],
        "missing_overlays": [each for each in manifest.overlays if not Path(each).is_dir()],
    }


def _next_steps(behind: int) -> list[str]:
    """What an operator does with a home that has come back."""
    steps = ["compare its checkpoint with the newest that anybody has: --published, or 'tanzhang log witness'"]
    if behind:
        entries = f"{behind} {'entry' if behind == 1 else 'entries'}"
        steps.append(
            f"run 'tanzhang log publish': the book was copied after the checkpoint, so the log lacks {entries}; until "
            "then 'tanzhang verify' says log-behind-book and ends with 1"
        )
    return [*steps, "run 'tanzhang verify'; it ends with 0 when everything holds"]


def _address(manifest: Manifest, book: str | None) -> BookAddress | None:
    """Where a book from PostgreSQL goes; None for a file. ``book-address-needed``."""
    if PurePosixPath(manifest.book).suffix == ".sqlite":
        return None
    if book is None:
        raise refuse(
            "book-address-needed",
            "the book of this backup is of PostgreSQL",
            where="--book",
            remedy="give the address of a database with --book; the schema comes back under its own name",
        )
    return BookAddress.parse(book, where="--book", schema=PurePosixPath(manifest.book).stem.partition("book.")[2])


def _unsealed(file: Path, passphrase: str) -> dict[str, bytes]:
    """Secret keys by name, out of a backup."""
    data = unseal(file.read_bytes(), passphrase, where=str(file))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = {each.name: tar.extractfile(each) for each in tar if _is_name(each.name)}
        return {name: file.read() for name, file in members.items() if file is not None}


def _keys_in(folder: Path | None) -> dict[str, bytes]:
    if folder is None:
        return {}
    return {file.name: file.read_bytes() for file in _secret_files(folder)}


def _is_name(name: str) -> bool:
    return bool(name) and "/" not in name and name not in (".", "..", *_PUBLIC_KEYS)


def _check_log(home: Home, published: bytes | None) -> None:
    """That the book has what the log says, and that nothing newer was published. ``backup-behind-log``."""
    hashes = [leaf_hash(each) for each in home.log_entries()]
    seen = [home.log.checkpoint()]
    if published is not None:
        seen.append(open_checkpoint(published, home.values["origin"], home.verifier)[0])
    for checkpoint in seen:
        if checkpoint.size > len(hashes) or merkle.root(hashes[: checkpoint.size]) != checkpoint.root:
            raise refuse(
                "backup-behind-log",
                f"a log of {checkpoint.size} entries was published; the book has {len(hashes)}, or other ones",
                where=str(home.folder),
                remedy="restore a newer backup, or bring the database to its last commit; this home can be read, and "
                "its log key was taken out: it would sign a second past",
            )


def checkpoint_given(file: Path) -> bytes:
    """The newest checkpoint that is known, out of its file; ``file-missing``."""
    try:
        return file.read_bytes()
    except OSError as error:
        message = error.strerror or str(error)
        raise TanzhangError(
            refuse("file-missing", message, where=str(file), remedy="download /log/checkpoint again").problems
        ) from None
