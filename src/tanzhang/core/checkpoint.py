"""Checkpoints: what a log says about itself at one size (C2SP tlog-checkpoint v1.0.0), and what witnesses add.

Refused are an empty origin or one with a line break, sizes that are not plain decimals or exceed 2^62, roots that
are not 32 bytes, a size-0 checkpoint with any root but that of the empty tree, empty extension lines, and, when a
checkpoint is opened, another origin or a note that the log itself did not sign.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.merkle import EMPTY_ROOT, HASH_BYTES
from tanzhang.core.note import OpenedNote, Signature, Verifier, decode_base64, open_note

MAX_TREE_SIZE = 1 << 62
MAX_PROOF_HASHES = 63
MAX_TIME_S = (1 << 63) - 1

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")
_LINE_BREAK_OR_CONTROL = re.compile(r"[\x00-\x1f\ud800-\udfff]")
_COSIGNATURE_BYTES = 8 + 64


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Origin, number of entries, and Merkle root of a log. ``extension_lines`` are kept and mean nothing here."""

    origin: str
    size: int
    root: bytes
    extension_lines: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.origin or _LINE_BREAK_OR_CONTROL.search(self.origin):
            raise _invalid("the origin is empty or contains a line break or control byte", "line 1")
        if not 0 <= self.size <= MAX_TREE_SIZE:
            raise _invalid(f"size {self.size} is not between 0 and 2^62", "line 2")
        if len(self.root) != HASH_BYTES:
            raise _invalid(f"the root has {len(self.root)} bytes instead of 32", "line 3")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise _invalid("a log without entries has the root of the empty tree and no other", "line 3")
        for number, line in enumerate(self.extension_lines, 4):
            if not line or _LINE_BREAK_OR_CONTROL.search(line):
                raise _invalid("an extension line is empty or contains a control byte", f"line {number}")

    def to_text(self) -> str:
        """The text that the log signs, with its final newline."""
        lines = (self.origin, str(self.size), base64.b64encode(self.root).decode(), *self.extension_lines)
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read the text of a checkpoint. Raises: TanzhangError ``checkpoint-invalid``."""
        return cls(*read_lines(text))


def read_lines(text: str) -> tuple[str, int, bytes, tuple[str, ...]]:
    """Origin, size, root and extension lines of a checkpoint's text, not yet held against each other.

    Raises: TanzhangError ``checkpoint-invalid``.
    """
    if not text.endswith("\n"):
        raise _invalid("the text does not end with a newline", "last line")
    lines = text[:-1].split("\n")
    if len(lines) < 3:
        raise _invalid(f"there are {len(lines)} lines instead of origin, size and root", "text")
    size = decode_decimal(lines[1], code="checkpoint-invalid", where="checkpoint, line 2")
    root = decode_base64(lines[2], code="checkpoint-invalid", where="checkpoint, line 3")
    return lines[0], size, root, tuple(lines[3:])


def open_checkpoint(
    data: bytes, origin: str, log: Verifier, witnesses: Iterable[Verifier] = ()
) -> tuple[Checkpoint, OpenedNote]:
    """Open a signed checkpoint of the log ``origin``; whether enough witnesses signed is the caller's policy.

    Raises: TanzhangError as :func:`~tanzhang.core.note.open_note` and :meth:`Checkpoint.parse` do;
            ``note-not-trusted`` if only witnesses signed; ``checkpoint-of-another-log`` for another origin.
    """
    note = open_note(data, (log, *witnesses))
    if not any((each.name, each.key_id) == (log.name, log.key_id) for each in note.verified):
        raise refuse(
            "note-not-trusted",
            f"{log.name} did not sign this checkpoint, only witnesses did",
            where="signature lines of the checkpoint",
            remedy="do not use it; fetch the checkpoint from the log itself",
        )
    checkpoint = Checkpoint.parse(note.text)
    if checkpoint.origin != origin:
        raise refuse(
            "checkpoint-of-another-log",
            f"the checkpoint is of {checkpoint.origin!r}, not of {origin!r}",
            where="checkpoint, line 1",
            remedy="check which log was meant; one key must not sign for two logs",
        )
    return checkpoint, note


def cosignature_message(text: bytes, time_s: int) -> bytes:
    """The bytes that a witness signs at POSIX second ``time_s`` for the checkpoint text.

    Raises: TanzhangError ``cosignature-invalid`` unless 0 < time_s < 2^63.
    """
    if not 0 < time_s <= MAX_TIME_S:
        raise _bad_cosignature(f"time {time_s} is not between 1 and 2^63 - 1 seconds")
    return b"cosignature/v1\ntime %d\n" % time_s + text


def encode_cosignature(time_s: int, signature: bytes) -> bytes:
    """What follows the key id in a witness's line: eight bytes of time, then the 64-byte signature."""
    return time_s.to_bytes(8, "big") + signature


def decode_cosignature(data: bytes) -> tuple[int, bytes]:
    """Time [POSIX s] and Ed25519 signature of a witness's line.

    Raises: TanzhangError ``cosignature-invalid``.
    """
    if len(data) != _COSIGNATURE_BYTES:
        raise _bad_cosignature(f"a cosignature has {_COSIGNATURE_BYTES} bytes, not {len(data)}")
    return int.from_bytes(data[:8], "big"), data[8:]


def cosigned_at(signature: Signature) -> int:
    """When a witness signed [POSIX s]; believe it only of a verified line of a cosignature key."""
    return decode_cosignature(signature.data)[0]


def add_checkpoint_body(old: int, proof: Sequence[bytes], note: bytes) -> bytes:
    """The request that asks a witness, which last signed size ``old``, to cosign this signed checkpoint.

    Raises: TanzhangError ``witness-request-invalid``.
    """
    if not 0 <= old <= MAX_TREE_SIZE or len(proof) > MAX_PROOF_HASHES or any(len(h) != HASH_BYTES for h in proof):
        raise refuse(
            "witness-request-invalid",
            f"old size {old} with {len(proof)} proof hashes is not a valid request",
            where="add-checkpoint request",
            remedy="give an old size up to 2^62 and at most 63 hashes of 32 bytes",
        )
    lines = "".join(f"{base64.b64encode(value).decode()}\n" for value in proof)
    return f"old {old}\n{lines}\n".encode() + note


def decode_decimal(text: str, *, code: str, where: str) -> int:
    """A number up to 2^62 in ASCII digits, without sign and without leading zero.

    Raises: TanzhangError with the caller's code and place.
    """
    if not _DECIMAL.fullmatch(text) or int(text) > MAX_TREE_SIZE:
        raise refuse(
            code,
            f"{text[:40]!r} is not a plain decimal number up to 2^62",
            where=where,
            remedy="write digits only, without sign, space or leading zero",
        )
    return int(text)


def _invalid(message: str, line: str) -> TanzhangError:
    return refuse(
        "checkpoint-invalid",
        message,
        where=f"checkpoint, {line}",
        remedy="fetch the checkpoint again; if it stays so, its log is faulty and must not be trusted",
    )


def _bad_cosignature(message: str) -> TanzhangError:
    return refuse(
        "cosignature-invalid",
        message,
        where="witness signature line",
        remedy="leave this line out and ask the witness again",
    )
