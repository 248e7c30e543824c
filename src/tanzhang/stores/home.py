"""A home: one folder with everything one programme owns, on the embedded default.

::

    book.sqlite        what is decided (stores/book); on PostgreSQL, keys/book.url says where instead
    reports/           accepted reports and the verdicts beside them
    records/<batch>/   settled records (stores/records.py)
    lots/<lot>/        members of frozen lots (stores/lot_files.py)
    known/             keys of settled records, made again if missing (stores/known.py)
    by-account/        records and amounts by account, made again if missing (stores/by_account.py)
    boards/            rankings, made again if missing (stores/boards.py)
    links/             files of linked accounts
    pictures/          pictures of offers of the mall
    uploads/           files of partners on their way in (stores/register/uploads.py)
    packages/          public packages of lots, made again if missing (service/market/published_packages.py)
    log/               the transparency log, publishable as it is (stores/log.py)
    keys/              identity.key, log.key and personal.key, readable by the owner only; log.vkey is public;
                       issuer.key where certificates are issued
    witnesses.json     what each witness of the log signed last (stores/witnesses.py), where keys/witness.policy is

Reports, records, lots, links and log may be elsewhere (stores/storage); then keys/storage.url says where.
Any number of processes take reports in and read; one settles, seals and publishes at a time (a lock on the folder).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.methodology import canonical_json
from tanzhang.core.note import VerifierKey, is_key_name
from tanzhang.core.programme import Programme
from tanzhang.core.rates import Rates
from tanzhang.engine.data_integrity import IssuerKey
from tanzhang.engine.kernel import connect
from tanzhang.engine.personal import PersonalKeys, personal_keys
from tanzhang.engine.signing import NoteSigner, NoteVerifier
from tanzhang.stores.book import Book, BookAddress
from tanzhang.stores.catalogue import Catalogue
from tanzhang.stores.files import make_folder, sync_again, write_durably
from tanzhang.stores.log import Log
from tanzhang.stores.register.uploads import Uploads
from tanzhang.stores.registers import Registers
from tanzhang.stores.storage import Place, StorageAddress, let_read, open_storage
from tanzhang.stores.storage.claim import check_free, claim

if TYPE_CHECKING:
    import duckdb

    from tanzhang.stores.witnesses import Witnesses

KNOWN = "known"
"""The folder of keys of settled records; always in the home itself."""

POLICY = "witness.policy"
"""In folder ``keys``: which witnesses the log has (docs/log.md)."""

ACCESS_VARIABLE = "TANZHANG_BOOK"
"""Names the environment variable that the command line takes the address of a book on PostgreSQL from."""

PERSONAL_KEYS = "personal.key"
"""In folder ``keys``: the keys of personal fields, the current one first."""
ISSUER_KEY = "issuer.key"
"""In folder ``keys``: what certificates are signed with; made by its own command alone."""
PERSONAL_VARIABLE = "TANZHANG_PERSONAL_KEY"
"""Names the environment variable that has these keys instead, its lines separated by commas."""


class Home(Registers):
    """An opened home. Its parts are opened when they are first used."""

    def __init__(self, folder: Path, *, book_access: str | None = None, migrating: bool = False) -> None:
        """Open a home. ``book_access`` is another address of the same book on PostgreSQL, such as one with a password.

        ``migrating`` opens one whose schema is older too. Raises: ``home-missing``, ``schema-unknown``,
        ``schema-outdated``, ``book-unusable``, ``book-address-malformed``; and, as soon as files are used,
        ``storage-address-malformed``, ``storage-driver-missing``, ``storage-unusable``.
        """
        self.folder = folder
        self.book = Book.open(_place_of_book(folder, book_access), migrating=migrating)
        self.values = self.book.values()
        self.kept: dict[str, Any] = {}  # what services keep in memory from one call to the next

    @classmethod
    def create(
        cls,
        folder: Path,
        *,
        programme: str,
        origin: str,
        overlays: tuple[Path, ...] = (),
        now: datetime,
        seed: bytes | None = None,
        book: str | None = None,
        book_access: str | None = None,
        storage: str | None = None,
    ) -> Home:
        """Set up a new home; a home is created by this alone, never by a missing file.

        It is a home from the moment its book is there, which is written last. What an interrupted call left is cleared
        away by the next one. ``seed`` makes every key reproducible (demonstrations and tests); otherwise keys come from
        the system. ``book`` is the address of a book on PostgreSQL, kept as it is in ``keys/book.url`` and nowhere
        else; ``book_access`` is used and not kept, or, if it is the only one, kept without its password. ``storage`` is
        the address of the place for reports, records, links and log, kept in ``keys/storage.url``.
        Raises: ``home-exists``, ``home-busy``, ``origin-malformed``, ``unknown-programme``, ``book-unusable``,
        ``book-address-malformed``, ``postgres-driver-missing``, ``storage-address-malformed``, ``storage-in-use``,
        ``storage-driver-missing``, ``storage-unusable``.
        """
        kept = None
        if book is not None:
            kept = BookAddress.parse(book, where="--book", schema=_default_schema(programme))
        elif book_access is not None:
            kept = BookAddress.parse(book_access, where=ACCESS_VARIABLE, schema=_default_schema(programme))
            kept = kept.without_password()
        place = folder / _BOOK if kept is None else _accessed(kept, book_access)
        _check_free(folder, book_access)
        files = None if storage is None else _storage_address(storage, folder)
        root = folder if files is None else open_storage(files)
        if not is_key_name(origin):
            raise refuse(
                "origin-malformed",
                f"{origin!r} cannot name a log",
                where="--origin",
                remedy="write a name without white space and '+', best the log's public URL without https://",
            )
        catalogue = Catalogue(*overlays)
        catalogue.programme(programme)

        def secret(name: str) -> bytes:
            return secrets.token_bytes(32) if seed is None else hashlib.sha256(seed + name.encode()).digest()

        signer = NoteSigner(origin, secret("log"))
        identity = secret("identity")
        first_seal_key = secret("seal")
        values = {
            "programme": programme,
            "origin": origin,
            "vkey": signer.verifier_key.to_text(),
            "catalogue_digest": catalogue.digest(),
            "overlays": canonical_json([str(path.resolve()) for path in overlays]),
            "created_at": now.astimezone(UTC).isoformat(timespec="seconds"),
            "identity_check": key_check(identity),
            "seal_check": key_check(first_seal_key),
        }
        Book.check_free(place)
        if files is not None:
            check_free(root, _token(folder))
        make_folder(folder)
        with _locked(folder):
            _check_free(folder, book_access)
            token = _token(folder) or secrets.token_hex(16)
            (folder / _UNFINISHED).touch()
            sync_again(folder / _UNFINISHED)
            if files is not None:
                write_durably(folder / _UNFINISHED, token.encode())
            for name in (*_PRIVATE, KNOWN, "log"):
                shutil.rmtree(folder / name, ignore_errors=True)
            if files is not None:
                claim(root, token, f"files of a home of programme {programme}, log {origin}")
            keys = folder / "keys"
            for private in (keys, folder / KNOWN, *(root / name for name in _PRIVATE[1:])):
                if isinstance(private, Path):
                    private.mkdir(mode=0o700, exist_ok=True)
            _write_secret(keys / "identity.key", identity.hex(), folder)
            _write_secret(keys / "log.key", signer.to_text(), folder)
            _write_secret(keys / PERSONAL_KEYS, personal_keys(secret("personal")).to_text().rstrip("\n"), folder)
            write_durably(keys / "log.vkey", signer.verifier_key.to_text().encode() + b"\n", up_to=folder)
            Log.create(root / "log", origin, signer)
            if files is not None:
                write_durably(keys / _STORAGE_ADDRESS, f"{files.text}\n".encode(), up_to=folder)
            if kept is not None:
                _write_secret(keys / _BOOK_ADDRESS, kept.text, folder)
            Book.create(place, values, first_seal_key)
            (folder / _UNFINISHED).unlink()
            home = cls(folder, book_access=book_access)
            home.publish()
        return home

    @cached_property
    def storage(self) -> Place:
        """What reports, records, links and log are in: the home's own folder, or what ``keys/storage.url`` names."""
        kept = self.folder / "keys" / _STORAGE_ADDRESS
        if not kept.is_file():
            return self.folder
        text = kept.read_text(encoding="utf-8", errors="replace").removesuffix("\n")
        return open_storage(StorageAddress.parse(text, where=str(kept)))

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A private engine that can read the home's files wherever they are."""
        con = connect()
        let_read(con, self.storage)
        return con

    @cached_property
    def kept_engine(self) -> duckdb.DuckDBPyConnection:
        """An engine that is not made again for each of many small settlements; for whoever holds the home's lock."""
        return self.connect()

    @cached_property
    def catalogue(self) -> Catalogue:
        """The catalogue this home computes by."""
        return Catalogue(*(Path(path) for path in json.loads(self.values["overlays"])))

    @property
    def programme(self) -> Programme:
        """The programme this home runs, with the partners that were registered or changed since, in any process.

        Within :data:`tanzhang.stores.register.partners.LOOKED_UP_S` of a change; the same object until there is one.
        """
        return self.partners.over(self.catalogue.programme(self.values["programme"]))

    @property
    def identity_key(self) -> bytes:
        """The key of all identities; ``key-changed`` if it is not the one the home was set up with."""
        text = self._key("identity.key")
        try:
            key = bytes.fromhex(text)
        except ValueError:
            key = b""
        if key.hex() != text or key_check(key) != self.values["identity_check"]:
            raise refuse(
                "key-changed",
                "identity.key is not the key this home was set up with",
                where=str(self.folder / "keys" / "identity.key"),
                remedy="restore the key; with another one no earlier act would be recognised",
            )
        return key

    @property
    def signer(self) -> NoteSigner:
        """Signs checkpoints; ``key-changed`` if its key is not the one the log was started with."""
        text = self._key("log.key")
        try:
            signer = NoteSigner.parse(text)
        except TanzhangError:
            signer = None
        if signer is None or signer.to_text() != text or signer.verifier_key.to_text() != self.values["vkey"]:
            raise refuse(
                "key-changed",
                "log.key is not the key this log is published under",
                where=str(self.folder / "keys" / "log.key"),
                remedy="restore the key; checkpoints under another key would be refused by everyone",
            )
        return signer

    @property
    def verifier(self) -> NoteVerifier:
        """Verifies checkpoints with the public key alone."""
        return NoteVerifier(VerifierKey.parse(self.values["vkey"]))

    @cached_property
    def rates(self) -> Rates:
        """How often partners did what they may do only so often, in this process."""
        return Rates()

    @cached_property
    def uploads(self) -> Uploads:
        """Files of partners that are on their way."""
        return Uploads(self.book, self.folder)

    @property
    def personal_keys(self) -> PersonalKeys:
        """The keys of personal fields: those of the environment, or of ``keys/personal.key``; ``key-missing``."""
        given = os.environ.get(PERSONAL_VARIABLE)
        if given:
            return PersonalKeys.parse(given.replace(",", "\n"), where=PERSONAL_VARIABLE)
        path = self.folder / "keys" / PERSONAL_KEYS
        if not path.is_file():
            raise refuse(
                "key-missing",
                f"{path} is missing",
                where=str(path),
                remedy="restore it from your backup; a home from before there were persons gets one by "
                "'tanzhang people rotate-key'",
            )
        return PersonalKeys.parse(path.read_text(encoding="ascii", errors="replace"), where=str(path))

    def keep_personal_keys(self, keys: PersonalKeys) -> None:
        """Write the keys of personal fields, whole or not at all."""
        _write_secret(self.folder / "keys" / PERSONAL_KEYS, keys.to_text().rstrip("\n"), self.folder)

    @property
    def issuer_key(self) -> IssuerKey | None:
        """What certificates are signed with; None where none was made. ``multibase-malformed``."""
        if not (self.folder / "keys" / ISSUER_KEY).is_file():
            return None
        return IssuerKey.parse(self._key(ISSUER_KEY))

    def keep_issuer_key(self, key: IssuerKey) -> None:
        """Write the key of certificates, whole or not at all."""
        _write_secret(self.folder / "keys" / ISSUER_KEY, key.to_text(), self.folder)

    @property
    def log(self) -> Log:
        """The transparency log."""
        return Log.open(self.storage / "log", self.values["origin"], self.verifier)

    def log_entries(self, first: int = 0) -> list[bytes]:
        """What the log must have from index ``first`` on, from the book: the genesis, then what was sealed since."""
        return [(row.text or "").encode() for row in self.book.entries(first)]

    def publish(self) -> None:
        """Bring the log up to the book. The same call on a normal day and after a crash.

        Of what is published only the last entry is compared: a book that has another one, or none, is an older copy.
        """
        log = self.log
        first = max(log.size - 1, 0)
        entries = self.log_entries(first)
        if not entries:
            first, entries = 0, self.log_entries()
        witnesses = self.witnesses
        log.publish(entries, self.signer, first_index=first, release=witnesses)
        if witnesses is not None:
            witnesses.collect(log)

    @property
    def witnesses(self) -> Witnesses | None:
        """Those of the log's policy; None where none was set. Loading them takes the HTTP client with it."""
        if not (self.folder / "keys" / POLICY).is_file():
            return None
        from tanzhang.stores.witnesses import Witnesses

        return Witnesses.of(self.folder, self.verifier)

    @contextmanager
    def settling(self) -> Iterator[None]:
        """Settle, seal and publish alone; ``home-busy`` if another process does. Reports come in meanwhile."""
        with _locked(self.folder), self.book.writing():
            self.check_storage()
            yield

    def check_storage(self) -> None:
        """Refuse files that are not this home's, before new ones are written beside them.

        On a disk that is not mounted, or under a mistyped prefix, they would be acknowledged and never found again.
        ``log-missing``, ``log-checkpoint-changed``.
        """
        if self.storage != self.folder:
            self.log  # noqa: B018 - opening it looks at the checkpoint

    def check_public_key(self) -> None:
        """That ``log.vkey``, which is handed out, is the key of this log; ``key-changed``."""
        if self._key("log.vkey") != self.values["vkey"]:
            raise refuse(
                "key-changed",
                "log.vkey is not the key this log is published under",
                where=str(self.folder / "keys" / "log.vkey"),
                remedy=f"write {self.values['vkey']} into it; whoever was given the other key would refuse this log",
            )

    def _key(self, name: str) -> str:
        """The one line of a key file, exactly."""
        path = self.folder / "keys" / name
        if not path.is_file():
            raise refuse("key-missing", f"{path} is missing", where=str(path), remedy="restore it from your backup")
        return path.read_bytes().decode("ascii", "replace").removesuffix("\n")


def new_home_folder(folder: Path) -> Path:
    """A folder in which a home may be made; ``home-exists``."""
    _check_free(folder, None)
    return folder


def place_files(folder: Path, storage: str | None, origin: str) -> Place:
    """Where the files of a home that comes back go: its own folder, or a place of its own, which it keeps.

    Raises ``storage-address-malformed``, ``storage-in-use``, ``storage-driver-missing``, ``storage-unusable``.
    """
    (folder / "keys").mkdir(mode=0o700, parents=True)
    root: Place = folder
    if storage is not None:
        address = _storage_address(storage, folder)
        root = open_storage(address)
        claim(root, secrets.token_hex(16), f"files of a home that was restored, log {origin}")
        write_durably(folder / "keys" / _STORAGE_ADDRESS, f"{address.text}\n".encode(), up_to=folder)
    for private in (folder / KNOWN, *(root / name for name in _PRIVATE[1:])):
        if isinstance(private, Path):
            private.mkdir(mode=0o700, exist_ok=True)
    return root


def place_keys(folder: Path, keys: Mapping[str, bytes], book: BookAddress | None) -> None:
    """Put secret keys into a home that comes back, and the address of its book, if it is on PostgreSQL."""
    for name, data in keys.items():
        if name != _BOOK_ADDRESS:
            write_durably(folder / "keys" / name, data, up_to=folder)
            (folder / "keys" / name).chmod(0o600)
    if book is not None:
        _write_secret(folder / "keys" / _BOOK_ADDRESS, book.text, folder)


def is_home(folder: Path) -> bool:
    """Whether a home was set up in a folder, wherever its book is."""
    return (folder / _BOOK).exists() or (
        (folder / "keys" / _BOOK_ADDRESS).is_file() and not (folder / _UNFINISHED).exists()
    )


def key_check(key: bytes) -> str:
    """What is published of a secret key: enough to see that it is the same one, nothing to compute it from."""
    return hashlib.sha256(b"tanzhang key check" + key).hexdigest()


_PRIVATE = ("keys", "reports", "records", "links")  # keys first; the log is what others may read
_LOCK, _UNFINISHED = ".lock", "unfinished-init"
_BOOK, _BOOK_ADDRESS, _STORAGE_ADDRESS = "book.sqlite", "book.url", "storage.url"
_HALF_WRITTEN = (f".{_BOOK}.new", f".{_UNFINISHED}.")


def _default_schema(programme: str) -> str:
    return "tanzhang_" + re.sub("[^a-z0-9]", "_", programme.lower())


def _accessed(kept: BookAddress, access: str | None) -> BookAddress:
    return kept if access is None else kept.reached_by(access, where=ACCESS_VARIABLE)


def _place_of_book(folder: Path, access: str | None) -> Path | BookAddress:
    """Where a home's book is: on the server that ``keys/book.url`` names, or else in its file."""
    kept = folder / "keys" / _BOOK_ADDRESS
    if (folder / _BOOK).exists() or not kept.is_file():
        return folder / _BOOK
    text = kept.read_text(encoding="utf-8", errors="replace").removesuffix("\n")
    return _accessed(BookAddress.parse(text, where=str(kept)), access)


def _storage_address(text: str, folder: Path) -> StorageAddress:
    """Where a new home's files are to be, which must not be inside it."""
    address = StorageAddress.parse(text, where="--storage")
    if address.folder is not None and address.folder.resolve().is_relative_to(folder.resolve()):
        raise refuse(
            "storage-address-malformed",
            "the files are to be in the home itself",
            where="--storage",
            remedy="leave --storage out: that is where they are by default",
        )
    return address


def _token(folder: Path) -> str | None:
    """By what an interrupted setting up marked its place for files, if it got that far."""
    mark = folder / _UNFINISHED
    return (mark.read_text(encoding="ascii", errors="replace") if mark.is_file() else "") or None


def _check_free(folder: Path, access: str | None) -> None:
    """Refuse a folder that holds anything but what an interrupted setting up left: its mark, no book, nothing in it."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    names.discard(_LOCK)
    if _UNFINISHED in names and not Book.is_at(_place_of_book(folder, access)):
        names -= {name for name in names if name in (_UNFINISHED, "keys", "log") or name.startswith(_HALF_WRITTEN)}
        names -= {name for name in ("reports", "records", "links", KNOWN) if not any((folder / name).glob("*"))}
    if names or folder.is_file():
        raise refuse(
            "home-exists",
            f"{folder} is {'not empty' if names else 'a file'}",
            where=str(folder),
            remedy="choose another folder, or a new one; an existing home is used with --home, never set up again",
        )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise refuse(
                "home-busy",
                "another process is settling this home",
                where=str(folder),
                remedy="wait until it has finished and try again",
            ) from None
        yield
    finally:
        os.close(handle)


def _write_secret(path: Path, text: str, home: Path) -> None:
    write_durably(path, text.encode() + b"\n", up_to=home)
    path.chmod(0o600)
