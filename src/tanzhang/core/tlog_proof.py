"""Proof files (``.tlog-proof``, C2SP tlog-proof): one entry's path to a signed checkpoint, verifiable offline.

The file holds no entry: whoever verifies computes the leaf hash from what they were told. Refused are other headers
or line orders, indexes that are not plain decimals or lie outside the tree, hashes that are not 32 bytes, paths of
more than 63 hashes, and anything but a well-formed signed checkpoint after the blank line.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass

from tanzhang.core import merkle
from tanzhang.core.checkpoint import (
    MAX_PROOF_HASHES,
    Checkpoint,
    decode_decimal,
    open_checkpoint,
)
from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.note import MAX_NOTE_BYTES, OpenedNote, Verifier, decode_base64, parse_note

HEADER = "c2sp.org/tlog-proof@v1"
MAX_EXTRA_BYTES = 1_000_000

_MAX_BYTES = MAX_NOTE_BYTES + 2 * MAX_EXTRA_BYTES


@dataclass(frozen=True, slots=True)
class TlogProof:
    """Index of an entry, its path, leaf's sibling first, and the signed checkpoint byte for byte.

    ``extra`` is a place for a hint such as an identifier; nobody signs it, so it must never be believed.
    """

    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None

    def __post_init__(self) -> None:
        if len(self.path) > MAX_PROOF_HASHES or any(len(value) != merkle.HASH_BYTES for value in self.path):
            raise _invalid("the path has more than 63 hashes, or one that is not 32 bytes long")
        if self.extra is not None and len(self.extra) > MAX_EXTRA_BYTES:
            raise _invalid(f"the extra line holds more than {MAX_EXTRA_BYTES} bytes")
        size = Checkpoint.parse(parse_note(self.checkpoint).text).size
        if not 0 <= self.index < size:
            raise _invalid(f"index {self.index} is not in a tree of {size} entries")

    def to_bytes(self) -> bytes:
        """The file."""
        lines = [HEADER]
        if self.extra is not None:
            lines.append(f"extra {base64.b64encode(self.extra).decode()}")
        lines.append(f"index {self.index}")
        lines.extend(base64.b64encode(value).decode() for value in self.path)
        return "".join(f"{line}\n" for line in lines).encode() + b"\n" + self.checkpoint

    @classmethod
    def parse(cls, data: bytes) -> TlogProof:
        """Read a proof file without believing any of it.

        Raises: TanzhangError ``tlog-proof-invalid``, or the code of the note or checkpoint inside.
        """
        if len(data) > _MAX_BYTES:
            raise _invalid(f"the file has {len(data)} bytes, more than {_MAX_BYTES}")
        head, blank, checkpoint = data.partition(b"\n\n")
        if not blank:
            raise _invalid("no blank line separates the path from the checkpoint")
        try:
            lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError as error:
            raise _invalid("the part above the blank line is not ASCII") from error
        if lines.pop(0) != HEADER:
            raise _invalid(f"the first line is not {HEADER}")
        extra = None
        if lines and lines[0].startswith("extra "):
            encoded = lines.pop(0).removeprefix("extra ")
            extra = decode_base64(encoded, code="tlog-proof-invalid", where="proof file, extra line")
        if not lines or not lines[0].startswith("index "):
            raise _invalid("there is no index line where it belongs")
        index = decode_decimal(
            lines.pop(0).removeprefix("index "), code="tlog-proof-invalid", where="proof file, index line"
        )
        path = tuple(
            decode_base64(line, code="tlog-proof-invalid", where=f"proof file, hash {number}")
            for number, line in enumerate(lines, 1)
        )
        return cls(index, path, checkpoint, extra)

    def verify(
        self, leaf_hash: bytes, origin: str, log: Verifier, witnesses: Iterable[Verifier] = ()
    ) -> tuple[Checkpoint, OpenedNote]:
        """Accept only if the log ``origin`` signed a tree that holds ``leaf_hash`` at this index.

        ``leaf_hash`` is computed by the caller from the entry, never taken from a file. The opened note tells which
        witnesses signed; whether they suffice is the caller's policy.

        Raises: TanzhangError as :func:`~tanzhang.core.checkpoint.open_checkpoint` does, or
                ``inclusion-proof-invalid``.
        """
        checkpoint, note = open_checkpoint(self.checkpoint, origin, log, witnesses)
        merkle.verify_inclusion(self.index, checkpoint.size, leaf_hash, self.path, checkpoint.root)
        return checkpoint, note


def _invalid(message: str) -> TanzhangError:
    return refuse(
        "tlog-proof-invalid",
        message,
        where="proof file",
        remedy="fetch the proof again from the log's operator; do not rely on the entry until it verifies",
    )
