"""What a witness keeps: its key, the logs it watches, and the checkpoint it last signed for each.

One folder: ``witness.key`` (readable by its owner only), ``witness.vkey`` (public) and ``witness.sqlite``. What was
signed is compared and replaced in one transaction that is on disk before a signature leaves, so the size of a log
never goes back, whoever asks at once. A copy of this folder must never be used again: it would sign a past twice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tanzhang.core.errors import refuse
from tanzhang.core.note import KEY_ED25519, VerifierKey
from tanzhang.core.witness import Cosigned, origin_id
from tanzhang.engine.signing import Cosigner, NoteVerifier
from tanzhang.stores.files import make_folder, write_durably

_KEY, _VKEY, _STATE = "witness.key", "witness.vkey", "witness.sqlite"
_WAIT_S = 10
_TABLES = """
CREATE TABLE log (origin TEXT NOT NULL, vkey TEXT NOT NULL PRIMARY KEY) STRICT;
CREATE TABLE cosigned (
    origin TEXT NOT NULL PRIMARY KEY, id TEXT NOT NULL UNIQUE, size INTEGER NOT NULL, root BLOB NOT NULL,
    note BLOB NOT NULL
) STRICT;
"""


class WitnessState:
    """The folder of one witness. Holds no connection, so any number of threads and processes may use it."""

    def __init__(self, folder: Path, cosigner: Cosigner) -> None:
        self.folder = folder
        self.cosigner = cosigner

    @classmethod
    def create(cls, folder: Path, cosigner: Cosigner) -> WitnessState:
        """A new witness. ``witness-exists`` if the folder holds one, or what is left of one."""
        make_folder(folder)
        if any((folder / name).exists() for name in (_STATE, _KEY)):
            raise refuse(
                "witness-exists",
                "there is a witness already, or what is left of one",
                where=str(folder),
                remedy="choose another folder; a witness that lost its state must take a new key",
            )
        folder.chmod(0o700)  # before the key is in it
        write_durably(folder / _VKEY, cosigner.verifier_key.to_text().encode() + b"\n")
        write_durably(folder / _KEY, cosigner.to_text().encode() + b"\n")
        (folder / _KEY).chmod(0o600)
        state = cls(folder, cosigner)
        with closing(state._connect()) as con:
            con.execute("PRAGMA journal_mode = WAL")
            con.executescript(f"BEGIN; {_TABLES} COMMIT;")
        return state

    @classmethod
    def open(cls, folder: Path) -> WitnessState:
        """An existing witness. ``witness-missing``, ``private-key-invalid``."""
        if not (folder / _STATE).is_file() or not (folder / _KEY).is_file():
            raise refuse(
                "witness-missing",
                "there is no witness here",
                where=str(folder),
                remedy="run 'tanzhang witness init' first, or give the right --folder",
            )
        text = (folder / _KEY).read_bytes().decode("ascii", "replace").removesuffix("\n")
        return cls(folder, Cosigner.parse(text))

    def add_log(self, key: VerifierKey) -> bool:
        """Watch the log with this key, whose name is its origin; False if it is watched already."""
        if key.key_type != KEY_ED25519:
            raise refuse(
                "vkey-invalid",
                f"key type 0x{key.key_type:02x} is not that of a log",
                where=f"vkey of {key.name!r}",
                remedy="give the public key that the log publishes",
            )
        with self._writing() as con:
            values = (key.name, key.to_text())
            return con.execute("INSERT OR IGNORE INTO log (origin, vkey) VALUES (?, ?)", values).rowcount == 1

    def logs(self) -> list[tuple[str, str, int | None]]:
        """Origin, key, and the size that was last signed, of every log that is watched."""
        statement = "SELECT log.origin, vkey, size FROM log LEFT JOIN cosigned USING (origin) ORDER BY 1, 2"
        with closing(self._connect()) as con:
            return con.execute(statement).fetchall()

    def verifiers(self, origin: str) -> list[NoteVerifier]:
        """The keys trusted for an origin; none where it is not watched."""
        with closing(self._connect()) as con:
            rows = con.execute("SELECT vkey FROM log WHERE origin = ?", (origin,)).fetchall()
        return [NoteVerifier(VerifierKey.parse(vkey)) for (vkey,) in rows]

    def replace(self, origin: str, decide: Callable[[Cosigned | None], tuple[Cosigned, bytes]]) -> None:
        """Compare and swap: ``decide`` sees what was signed last, and gives or refuses what takes its place.

        It gives the new size and root and the note to show. When this returns, they are on disk.
        """
        with self._writing() as con:
            row = con.execute("SELECT size, root FROM cosigned WHERE origin = ?", (origin,)).fetchone()
            new, note = decide(None if row is None else Cosigned(*row))
            con.execute(
                "INSERT OR REPLACE INTO cosigned (origin, id, size, root, note) VALUES (?, ?, ?, ?, ?)",
                (origin, origin_id(origin), new.size, new.root, note),
            )

    def latest(self, origin_id: str) -> bytes | None:
        """The checkpoint last signed for an origin, with the log's and this witness's signatures."""
        with closing(self._connect()) as con:
            row = con.execute("SELECT note FROM cosigned WHERE id = ?", (origin_id,)).fetchone()
        return None if row is None else bytes(row[0])

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with closing(self._connect()) as con:
            con.execute("BEGIN IMMEDIATE")
            try:
                yield con
            except BaseException:
                con.execute("ROLLBACK")
                raise
            con.execute("COMMIT")

    def _connect(self) -> sqlite3.Connection:
        con = sqlite3.connect(self.folder / _STATE, timeout=_WAIT_S, isolation_level=None)
        con.execute("PRAGMA synchronous = FULL")
        return con
