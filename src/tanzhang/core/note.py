"""Signed notes: a text with signature lines under it (C2SP signed-note v1.0.0), the envelope of every checkpoint.

Needs no crypto library: whoever opens a note brings the verifiers. A note is refused as a whole if anything in it is
malformed (encoding, control bytes, line form, base64 that is not in its one strict form, more than 100 signatures,
more than 1 MB), if a signature of a trusted key is wrong, or if no trusted key signed. Lines of unknown keys are
kept and ignored.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from tanzhang.core.errors import TanzhangError, refuse

MAX_SIGNATURES = 100
MAX_NOTE_BYTES = 1_000_000
KEY_ED25519 = 0x01
"""Type of a key that signs the text of a note."""
KEY_COSIGNATURE = 0x04
"""Type of a witness key, which signs the text together with a time."""

_PUBLIC_KEY_BYTES = {KEY_ED25519: 32, KEY_COSIGNATURE: 32}
_KEY_ID_BYTES = 4
_LINE_START = "\u2014 "
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_HALF_SURROGATE = re.compile("[\ud800-\udfff]")
_COPY_AGAIN = "fetch the file again and keep it byte for byte, without an editor in between"


class Verifier(Protocol):
    """Someone whose signatures we trust, known by a name and a key id."""

    @property
    def name(self) -> str:
        """Key name as it stands in the signature line."""

    @property
    def key_id(self) -> bytes:
        """Four bytes that tell the keys of one name apart."""

    def verify(self, text: bytes, signature: bytes) -> bool:
        """True only if ``signature``, without the key id, is this key's over ``text``; never raises."""


class Signer(Protocol):
    """Someone who can sign the text of a note."""

    @property
    def name(self) -> str:
        """Key name as it will stand in the signature line."""

    @property
    def key_id(self) -> bytes:
        """Four bytes that tell the keys of one name apart."""

    def sign(self, text: bytes) -> bytes:
        """Signature over ``text``, without the key id; the same text gives the same bytes."""


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key with its name; its text form is a vkey, ``<name>+<key id>+<base64>``.

    Only the types 0x01 and 0x04 are known; the others of C2SP are refused as keys, not as signature lines.
    """

    name: str
    key_type: int
    public_key: bytes

    def __post_init__(self) -> None:
        if not is_key_name(self.name):
            raise _bad_key("the key name is empty or contains white space, a control byte or '+'", self.name)
        if self.key_type not in _PUBLIC_KEY_BYTES:
            raise _bad_key(f"key type 0x{self.key_type:02x} is not known here", self.name)
        if len(self.public_key) != _PUBLIC_KEY_BYTES[self.key_type]:
            raise _bad_key(f"the public key has {len(self.public_key)} bytes instead of 32", self.name)

    @property
    def key_id(self) -> bytes:
        """Four bytes that tell the keys of one name apart."""
        return key_id(self.name, self.key_type, self.public_key)

    def to_text(self) -> str:
        """The vkey."""
        return f"{self.name}+{self.key_id.hex()}+{_base64(bytes([self.key_type]) + self.public_key)}"

    @classmethod
    def parse(cls, vkey: str) -> VerifierKey:
        """Read a vkey. Raises: TanzhangError ``vkey-invalid``, also when the key id does not belong to the key."""
        name, *rest = vkey.split("+", 2)  # the base64 may contain '+' itself
        if len(rest) != 2:
            raise _bad_key("a vkey has three parts joined by '+'", name)
        data = decode_base64(rest[1], code="vkey-invalid", where=f"vkey of {name!r}")
        if not data:
            raise _bad_key("the vkey holds no key", name)
        key = cls(name, data[0], data[1:])
        if rest[0] != key.key_id.hex():
            raise _bad_key(f"key id {rest[0]!r} does not belong to this name and key", name)
        return key


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line. ``data`` is what follows the key id; its form depends on the type of the key."""

    name: str
    key_id: bytes
    data: bytes

    def to_line(self) -> str:
        """The line with its newline."""
        return f"{_LINE_START}{self.name} {_base64(self.key_id + self.data)}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A well-formed note. That it parses says nothing about who signed it."""

    text: str
    signatures: tuple[Signature, ...]


@dataclass(frozen=True, slots=True)
class OpenedNote:
    """A note that at least one trusted key signed."""

    text: str
    verified: tuple[Signature, ...]
    unverified: tuple[Signature, ...]


def key_id(name: str, key_type: int, public_key: bytes) -> bytes:
    """First four bytes of SHA-256 over name, newline, type and key."""
    return sha256(name.encode() + b"\n" + bytes([key_type]) + public_key).digest()[:_KEY_ID_BYTES]


def is_key_name(name: str) -> bool:
    """Whether a name may stand in a signature line: non-empty, no white space, control byte or ``+``."""
    return (
        bool(name)
        and "+" not in name
        and not any(character.isspace() for character in name)
        and not _CONTROL.search(name)
        and not _HALF_SURROGATE.search(name)
    )


def parse_note(data: bytes) -> Note:
    """Read a note without checking any signature.

    Raises: TanzhangError ``note-malformed``.
    """
    if len(data) > MAX_NOTE_BYTES:
        raise _malformed(f"the note has {len(data)} bytes, more than {MAX_NOTE_BYTES}")
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _malformed("the note is not UTF-8") from error
    if _CONTROL.search(whole):
        raise _malformed("the note contains a control byte other than a newline")
    # The text may contain blank lines itself, so the last one ends it.
    end = whole.rfind("\n\n")
    if end < 0:
        raise _malformed("no blank line separates the text from its signatures")
    block = whole[end + 2 :]
    if not block.endswith("\n"):
        raise _malformed("there is no signature line, or the last one does not end with a newline")
    lines = block[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise _malformed(f"the note has {len(lines)} signature lines, more than {MAX_SIGNATURES}")
    return Note(whole[: end + 1], tuple(_parse_line(line, number) for number, line in enumerate(lines, 1)))


def open_note(data: bytes, verifiers: Iterable[Verifier]) -> OpenedNote:
    """Read a note and check it against the trusted keys.

    A second line of a key that has signed already is ignored.

    Raises: TanzhangError ``note-malformed``; ``note-keys-ambiguous`` if two verifiers share name and key id;
            ``note-signature-invalid`` if a trusted key's signature is wrong; ``note-not-trusted`` if none signed.
    """
    note = parse_note(data)
    trusted: dict[tuple[str, bytes], Verifier] = {}
    for verifier in verifiers:
        pair = (verifier.name, verifier.key_id)
        if pair in trusted:
            raise refuse(
                "note-keys-ambiguous",
                f"two trusted keys share the name {verifier.name} and the id {verifier.key_id.hex()}",
                where="list of trusted keys",
                remedy="list every key once",
            )
        trusted[pair] = verifier
    text = note.text.encode()
    verified: dict[tuple[str, bytes], Signature] = {}
    unverified = []
    for signature in note.signatures:
        pair = (signature.name, signature.key_id)
        if pair not in trusted:
            unverified.append(signature)
        elif pair not in verified:
            if not trusted[pair].verify(text, signature.data):
                raise refuse(
                    "note-signature-invalid",
                    f"the signature of {signature.name} does not fit the text",
                    where=f"signature line of {signature.name}, key {signature.key_id.hex()}",
                    remedy="do not use the text; fetch the note again and tell its publisher if it stays wrong",
                )
            verified[pair] = signature
    if not verified:
        raise refuse(
            "note-not-trusted",
            "no trusted key signed this note",
            where=f"{len(note.signatures)} signature lines, {len(trusted)} trusted keys",
            remedy="do not use the text; check that the trusted keys are those of this publisher",
        )
    return OpenedNote(note.text, tuple(verified.values()), tuple(unverified))


def sign_note(text: str, signers: Iterable[Signer]) -> bytes:
    """The note with one signature line per signer, in their order."""
    # A text that cannot be encoded signs nothing: format_note refuses it before a signature leaves.
    encoded = text.encode(errors="replace")
    return format_note(text, (Signature(each.name, each.key_id, each.sign(encoded)) for each in signers))


def format_note(text: str, signatures: Iterable[Signature]) -> bytes:
    """The note with these lines, for example a log's own followed by those of its witnesses.

    Raises: TanzhangError ``note-malformed`` for anything that :func:`parse_note` would not give back unchanged.
    """
    note = Note(text, tuple(signatures))
    whole = text + "\n" + "".join(signature.to_line() for signature in note.signatures)
    if _HALF_SURROGATE.search(whole):
        raise _malformed("the note is not valid Unicode")
    data = whole.encode()
    if parse_note(data) != note:
        raise _malformed("the text does not end with a newline, or a key id is not four bytes")
    return data


def decode_base64(text: str, *, code: str, where: str) -> bytes:
    """Decode the one strict form: standard alphabet, padded, no white space, unused bits zero.

    Raises: TanzhangError with the caller's code and place.
    """
    try:
        decoded = base64.b64decode(text.encode("ascii"), validate=True)
    except ValueError:  # also of characters outside ASCII
        decoded = None
    if decoded is None or _base64(decoded) != text:
        raise refuse(code, "the base64 is not in its strict form", where=where, remedy=_COPY_AGAIN)
    return decoded


def _parse_line(line: str, number: int) -> Signature:
    where = f"signature line {number}"
    if not line.startswith(_LINE_START):
        raise _malformed("a signature line starts with an em dash and a space", where)
    name, _, encoded = line[len(_LINE_START) :].partition(" ")
    if not is_key_name(name):
        raise _malformed("the key name is empty or contains white space or '+'", where)
    data = decode_base64(encoded, code="note-malformed", where=where)
    if len(data) <= _KEY_ID_BYTES:
        raise _malformed("the line holds no signature", where)
    return Signature(name, data[:_KEY_ID_BYTES], data[_KEY_ID_BYTES:])


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _malformed(message: str, where: str = "signed note") -> TanzhangError:
    return refuse("note-malformed", message, where=where, remedy=_COPY_AGAIN)


def _bad_key(message: str, name: str) -> TanzhangError:
    return refuse(
        "vkey-invalid",
        message,
        where=f"vkey of {name[:80]!r}",
        remedy="copy the key again from where its owner publishes it",
    )
