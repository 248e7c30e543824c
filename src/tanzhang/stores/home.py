"""A home: one folder with everything one programme owns, on the embedded default.

::

    book.sqlite        what is decided (stores/book.py)
    reports/           accepted reports and the verdicts beside them
    records/<batch>/   settled records (stores/records.py)
    log/               the transparency log, publishable as it is (stores/log.py)
    keys/              identity.key and log.key, readable by the owner only; log.vkey is public

One process writes at a time (a lock on the folder); any number may read.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from tanzhang.core.errors import refuse
from tanzhang.core.methodology import canonical_json
from tanzhang.core.note import VerifierKey
from tanzhang.core.programme import Programme
from tanzhang.engine.signing import NoteSigner, NoteVerifier
from tanzhang.stores.book import Book, batch
from tanzhang.stores.catalogue import Catalogue
from tanzhang.stores.files import write_durably
from tanzhang.stores.log import Log


class Home:
    """An opened home. Its parts are opened when they are first used."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.book = Book.open(folder / "book.sqlite")
        self.values = self.book.values()

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
    ) -> Home:
        """Set up a new home; a home is created by this alone, never by a missing file.

        ``seed`` makes every key reproducible (demonstrations and tests); otherwise keys come from the system.
        Raises: ``home-exists``, ``unknown-programme``.
        """
        if folder.exists() and any(folder.iterdir()):
            raise refuse(
                "home-exists", f"{folder} is not empty", where=str(folder), remedy="choose another folder, or a new one"
            )
        catalogue = Catalogue(*overlays)
        catalogue.programme(programme)

        def secret(name: str) -> bytes:
            return secrets.token_bytes(32) if seed is None else hashlib.sha256(seed + name.encode()).digest()

        signer = NoteSigner(origin, secret("log"))
        identity = secret("identity")
        first_seal_key = secret("seal")
        folder.mkdir(parents=True, exist_ok=True)
        keys = folder / "keys"
        keys.mkdir(mode=0o700)
        _write_secret(keys / "identity.key", identity.hex(), folder)
        _write_secret(keys / "log.key", signer.to_text(), folder)
        write_durably(keys / "log.vkey", signer.verifier_key.to_text().encode() + b"\n", up_to=folder)
        (folder / "reports").mkdir()
        (folder / "records").mkdir()
        folders = canonical_json([str(path.resolve()) for path in overlays])
        values = {
            "programme": programme,
            "origin": origin,
            "vkey": signer.verifier_key.to_text(),
            "catalogue_digest": catalogue.digest(),
            "overlays": folders,
            "overlays_check": hashlib.sha256(folders.encode()).hexdigest(),
            "created_at": now.astimezone(UTC).isoformat(timespec="seconds"),
            "identity_check": key_check(identity),
            "seal_check": key_check(first_seal_key),
        }
        Book.create(folder / "book.sqlite", values, first_seal_key)
        home = cls(folder)
        Log.create(folder / "log", origin, signer)
        home.publish()
        return home

    @cached_property
    def catalogue(self) -> Catalogue:
        """The catalogue this home computes by."""
        return Catalogue(*(Path(path) for path in json.loads(self.values["overlays"])))

    @cached_property
    def programme(self) -> Programme:
        """The programme this home runs."""
        return self.catalogue.programme(self.values["programme"])

    @cached_property
    def identity_key(self) -> bytes:
        """The key of all identities; ``key-changed`` if it is not the one the home was set up with."""
        key = bytes.fromhex(self._key("identity.key"))
        if key_check(key) != self.values["identity_check"]:
            raise refuse(
                "key-changed",
                "identity.key is not the key this home was set up with",
                where=str(self.folder / "keys" / "identity.key"),
                remedy="restore the key; with another one no earlier act would be recognised",
            )
        return key

    @cached_property
    def signer(self) -> NoteSigner:
        """Signs checkpoints."""
        signer = NoteSigner.parse(self._key("log.key"))
        if signer.verifier_key.to_text() != self.values["vkey"]:
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

    @property
    def log(self) -> Log:
        """The transparency log."""
        return Log.open(self.folder / "log", self.values["origin"], self.verifier)

    def genesis(self) -> str:
        """The log's first entry: what the home was set up with. Folders of this machine are left out."""
        public = {key: value for key, value in self.values.items() if key != "overlays"}
        return canonical_json({"format": "tanzhang.genesis/1", **public})

    def log_entries(self) -> list[bytes]:
        """Every entry the log must have, from the book: the genesis, then one manifest a batch."""
        return [self.genesis().encode(), *(row.manifest.encode() for row in self.book.rows(batch))]

    def publish(self) -> None:
        """Bring the log up to the book. The same call on a normal day and after a crash."""
        self.log.publish(self.log_entries(), self.signer, first_index=0)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the home's write lock; ``home-busy`` if another process holds it."""
        handle = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise refuse(
                    "home-busy",
                    "another process is writing to this home",
                    where=str(self.folder),
                    remedy="wait until it has finished and try again",
                ) from None
            yield
        finally:
            os.close(handle)

    def _key(self, name: str) -> str:
        path = self.folder / "keys" / name
        if not path.is_file():
            raise refuse("key-missing", f"{path} is missing", where=str(path), remedy="restore it from your backup")
        return path.read_text(encoding="ascii").strip()


def key_check(key: bytes) -> str:
    """What is published of a secret key: enough to see that it is the same one, nothing to compute it from."""
    return hashlib.sha256(b"tanzhang key check" + key).hexdigest()


def _write_secret(path: Path, text: str, home: Path) -> None:
    write_durably(path, text.encode() + b"\n", up_to=home)
    path.chmod(0o600)
