"""Boards: what every account was confirmed in one period, best first, so that a ranking is read and not computed.

``boards/<period>~<first day>~<region>~<partner>.arrow`` in the home itself holds accounts and amounts and, in its
schema, how many batches it counts and the record root of the last of them. A board is derived: any process may write
it, one that does not fit the book is made again, and removing the folder loses nothing. It names accounts, so whoever
erases a person removes the folder (:func:`drop`).
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from tanzhang.core.methodology import canonical_json
from tanzhang.engine.columns import IDENTITY_BYTES, Bytes, Numbers, fixed_bytes, integers

BOARDS = "boards"
_SCHEMA = pa.schema([("account", pa.binary(IDENTITY_BYTES)), ("amount", pa.int64())])
_SAYS = b"tanzhang.board"


@dataclass(frozen=True, slots=True)
class Board:
    """Accounts and their amounts in mg, largest first, then by account; over the first ``batches`` batches."""

    table: pa.Table
    batches: int
    last_root: str

    @property
    def accounts(self) -> Bytes:
        """(n, 16) bytes."""
        return fixed_bytes(self.table["account"], IDENTITY_BYTES)

    @property
    def amounts(self) -> Numbers:
        """In the same order."""
        return integers(self.table["amount"], pa.int64())


def board_path(home: Path, name: str) -> Path:
    """Where a board of a name is kept."""
    return home / BOARDS / f"{name}.arrow"


def read_board(path: Path) -> Board | None:
    """A kept board, mapped into memory and not read; None where there is none, or none that can be read."""
    try:
        with pa.memory_map(str(path)) as file:
            table = pa.ipc.open_file(file).read_all()
        said = json.loads((table.schema.metadata or {})[_SAYS])
        if not table.schema.remove_metadata().equals(_SCHEMA):
            return None
        return Board(table.combine_chunks(), int(said["batches"]), said["last_root"])
    except (OSError, ValueError, KeyError, pa.ArrowException):
        return None


def empty_board() -> Board:
    """A board before the first batch."""
    return Board(_SCHEMA.empty_table(), 0, "")


def write_board(path: Path, board: Board) -> None:
    """Keep a board; whoever reads meanwhile has the one before."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    said = canonical_json({"batches": str(board.batches), "last_root": board.last_root}).encode()
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            with pa.ipc.new_file(file, _SCHEMA.with_metadata({_SAYS: said})) as writer:
                writer.write_table(board.table.cast(_SCHEMA).combine_chunks())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def kept_boards(home: Path) -> list[Path]:
    """Every kept board."""
    return sorted((home / BOARDS).glob("*.arrow"))


def drop(home: Path) -> None:
    """Remove all boards; they are made again when they are asked for."""
    shutil.rmtree(home / BOARDS, ignore_errors=True)
