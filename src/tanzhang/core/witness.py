"""What a witness decides: one request to cosign a checkpoint, and each answer that it may get (C2SP tlog-witness).

The checks and their order are those of ``add-checkpoint``. Nothing is stored or signed here: whoever keeps the last
size asks :func:`decide` inside the same transaction in which it stores the new one, and signs after that.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from hashlib import sha256

from tanzhang.core.checkpoint import MAX_PROOF_HASHES, Checkpoint, decode_decimal, read_lines
from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.merkle import EMPTY_ROOT, HASH_BYTES, verify_consistency
from tanzhang.core.note import MAX_NOTE_BYTES, Signature, Verifier, decode_base64, open_note, parse_note

MAX_REQUEST_BYTES = MAX_NOTE_BYTES + 64 * 64
SIZE_TYPE = "text/x.tlog.size"
TEXT_TYPE = "text/plain; charset=utf-8"
SAME_SIZE_OTHER_ROOT = 422
"""Status for a second tree of one size: 422 in the editor's copy of the protocol, 409 in its release 1.0.0."""

_OLD = re.compile("old (.+)")


@dataclass(frozen=True, slots=True)
class Request:
    """A request that parses. ``origin``, ``size`` and ``root`` are said by the note and not believed yet."""

    old: int
    proof: tuple[bytes, ...]
    note: bytes
    text: str
    origin: str
    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Cosigned:
    """What a witness last signed for an origin."""

    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, body and content type of an answer over HTTP."""

    status: int
    body: bytes
    content_type: str = TEXT_TYPE


class ConflictError(TanzhangError):
    """The request starts from another size than the one that was last signed; ``size`` is that one."""

    def __init__(self, size: int) -> None:
        super().__init__(
            refuse(
                "witness-conflict",
                f"the checkpoint last signed has size {size}",
                where="old line of the request",
                remedy=f"send the request again with old {size} and a proof from there",
            ).problems
        )
        self.size = size


def parse_request(body: bytes) -> Request:
    """Read the body of ``add-checkpoint``. Raises: TanzhangError ``witness-request-invalid``."""
    head, blank, note = body.partition(b"\n\n")
    try:
        if len(body) > MAX_REQUEST_BYTES or not blank:
            raise _invalid("it is too long, or no blank line ends the proof")
        first, *hashes = head.decode("ascii").split("\n")
        old = _OLD.fullmatch(first)
        if old is None or len(hashes) > MAX_PROOF_HASHES:
            raise _invalid("the first line is not 'old <size>', or there are more than 63 hashes")
        size = decode_decimal(old[1], code="witness-request-invalid", where="old line")
        proof = tuple(decode_base64(line, code="witness-request-invalid", where="proof line") for line in hashes)
        if any(len(value) != HASH_BYTES for value in proof):
            raise _invalid("a hash is not 32 bytes long")
        text = parse_note(note).text
        origin, new_size, root, extension_lines = read_lines(text)
        # That an empty log has the empty root is asked later, in the order of the protocol.
        Checkpoint(origin, new_size or 1, root, extension_lines)
    except UnicodeDecodeError:
        raise _invalid("the lines above the checkpoint are not ASCII") from None
    except TanzhangError as error:
        raise _invalid(error.problems[0].message) from None
    return Request(size, proof, note, text, origin, new_size, root)


def check_signed(request: Request, keys: Collection[Verifier]) -> None:
    """Rows 2 and 3: the log is one of ours, and signed. ``witness-log-unknown``, ``witness-log-unsigned``.

    ``keys`` are those trusted for the request's origin. A wrong signature of any of them refuses the request.
    """
    if not keys:
        raise refuse(
            "witness-log-unknown",
            f"this witness does not watch the log {request.origin[:200]!r}",
            where="origin of the checkpoint",
            remedy="ask the witness's operator to add the log's key",
        )
    try:
        open_note(request.note, keys)
    except TanzhangError as error:
        raise refuse(
            "witness-log-unsigned",
            error.problems[0].message,
            where="signatures of the checkpoint",
            remedy="send a checkpoint signed with the key that this witness knows for the log",
        ) from None


def decide(request: Request, last: Cosigned | None) -> Checkpoint:
    """Rows 4 to 8: the checkpoint that may be signed now, given what was signed last for its origin.

    Raises: TanzhangError ``witness-request-invalid``, :class:`ConflictError`, ``witness-tree-forked``,
            ``witness-tree-inconsistent``.
    """
    held = 0 if last is None else last.size
    if request.old > request.size:
        raise _invalid(f"old size {request.old} is larger than the checkpoint's {request.size}")
    if request.old != held:
        raise ConflictError(held)
    if request.size == 0 and request.root != EMPTY_ROOT:
        raise _inconsistent("a log without entries has the root of the empty tree and no other")
    if request.old == request.size and last is not None and request.root != last.root:
        raise refuse(
            "witness-tree-forked",
            f"another root of size {request.size} was signed before",
            where="root of the checkpoint",
            remedy="keep both checkpoints: if the log signed them, they prove that it was rewritten",
        )
    if request.old == 0 or last is None:
        if request.proof:
            raise _inconsistent("there is nothing to prove from size 0")
    else:
        try:
            verify_consistency(last.size, request.size, last.root, request.root, request.proof)
        except TanzhangError as error:
            raise _inconsistent(error.problems[0].message) from None
    return Checkpoint.parse(request.text)


def signed(lines: Collection[Signature]) -> Answer:
    """The answer with cosignatures."""
    return Answer(200, "".join(line.to_line() for line in lines).encode())


def refused(error: TanzhangError) -> Answer:
    """The answer to a request that was refused; any other error is not for the outside and is raised again."""
    if isinstance(error, ConflictError):
        return Answer(409, b"%d\n" % error.size, SIZE_TYPE)
    if error.code not in _STATUS:
        raise error
    return Answer(_STATUS[error.code], f"{error.code}: {error.problems[0].message}\n".encode())


def origin_id(origin: str) -> str:
    """What stands for an origin in the address of its latest cosigned checkpoint."""
    return sha256(origin.encode()).hexdigest()


_STATUS = {
    "witness-request-invalid": 400,
    "witness-log-unknown": 404,
    "witness-log-unsigned": 403,
    "witness-tree-forked": SAME_SIZE_OTHER_ROOT,
    "witness-tree-inconsistent": 422,
}


def _invalid(message: str) -> TanzhangError:
    return refuse(
        "witness-request-invalid",
        message,
        where="add-checkpoint request",
        remedy="write the request as c2sp.org/tlog-witness says",
    )


def _inconsistent(message: str) -> TanzhangError:
    return refuse(
        "witness-tree-inconsistent",
        message,
        where="consistency proof of the request",
        remedy="keep both checkpoints: if the log signed them, they may prove that it was rewritten",
    )
