from __future__ import annotations

from pathlib import Path

import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.core.note import (
    KEY_ED25519,
    Note,
    Signature,
    VerifierKey,
    format_note,
    open_note,
    parse_note,
    sign_note,
)
from tanzhang.engine.signing import NoteSigner, verifier_of

GOLDEN = Path(__file__).parents[2] / "golden" / "tlog"
ALICE = NoteSigner("alice.example/log", bytes(32))
BOB = NoteSigner("bob.example/log", bytes([1]) * 32)
GOOD = sign_note("first line\nsecond line\n", [ALICE])
LINE = GOOD.split(b"\n\n")[1]

SPEC_VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
SPEC_NOTE = (
    "This is an example message.\n\n"
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
).encode()
PETER_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
PETER_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


def test_the_note_of_the_specification_verifies() -> None:
    opened = open_note(SPEC_NOTE, [verifier_of(SPEC_VKEY)])
    assert opened.text == "This is an example message.\n"
    assert [signature.name for signature in opened.verified] == ["example.com/foo"]


def test_the_note_of_the_go_implementation_verifies() -> None:
    note = f"{PETER_TEXT}\n{PETER_LINE}".encode()
    assert open_note(note, [verifier_of(PETER_VKEY)]).text == PETER_TEXT
    assert format_note(PETER_TEXT, parse_note(note).signatures) == note


def test_a_note_with_unknown_kinds_of_signatures_opens_for_those_who_know_one() -> None:
    note = (GOLDEN / "arche2025h1.checkpoint").read_bytes()
    log = verifier_of("arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f")
    witness = verifier_of("remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2")
    opened = open_note(note, [log, witness])
    assert [signature.name for signature in opened.verified] == [log.name, witness.name]
    assert len(opened.unverified) == 4


def test_a_vkey_survives_parsing_and_writing() -> None:
    for vkey in (SPEC_VKEY, PETER_VKEY):
        assert VerifierKey.parse(vkey).to_text() == vkey


@pytest.mark.parametrize(
    ("vkey", "says"),
    [
        ("PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==", "strict form"),
        ("PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEQ==", "36 bytes instead of 32"),
        ("PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "type 0x65 is not known"),
        ("PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "does not belong"),
        ("PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "does not belong"),
        ("Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "white space"),
        ("Peter\u00a0Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "white space"),
        ("Peter\ud800+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "control byte"),
        ("+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "empty"),
        ("PeterNeumann+c74f20a3+", "no key"),
        ("PeterNeumann+c74f20a3", "three parts"),
        ("", "three parts"),
    ],
)
def test_a_wrong_vkey_is_refused(vkey: str, says: str) -> None:
    with pytest.raises(TanzhangError, match=says) as refused:
        VerifierKey.parse(vkey)
    assert refused.value.code == "vkey-invalid"


def test_a_vkey_whose_base64_contains_a_plus_is_split_at_the_first_two_only() -> None:
    key = VerifierKey("example.com", KEY_ED25519, b"\xfb" * 32)
    assert key.to_text().count("+") > 2
    assert VerifierKey.parse(key.to_text()) == key


def test_text_may_contain_blank_lines() -> None:
    note = sign_note("one\n\n\n— two\n", [ALICE])
    assert open_note(note, [ALICE.verifier]).text == "one\n\n\n— two\n"


def test_the_signature_covers_the_text_with_its_newline_and_nothing_else() -> None:
    signature = parse_note(GOOD).signatures[0]
    assert ALICE.verifier.verify(b"first line\nsecond line\n", signature.data)


@pytest.mark.parametrize(
    ("note", "says"),
    [
        (b"", "blank line"),
        (b"\n", "blank line"),
        (b"\n\n", "no signature line"),
        (b"text\n", "blank line"),
        (b"text\n\n", "no signature line"),
        (b"text\n" + LINE, "blank line"),
        (GOOD[:-1], "does not end with a newline"),
        (GOOD + b"\n", "no signature line"),
        (GOOD + b"text\n", "em dash"),
        (GOOD + LINE.replace(b"\xe2\x80\x94", b"-"), "em dash"),
        (GOOD.replace(b"\n", b"\r\n"), "control byte"),
        (GOOD.replace(b"first", b"fir\x00st"), "control byte"),
        (GOOD.replace(b"first", b"fir\tst"), "control byte"),
        (GOOD.replace(b"first", b"fir\xffst"), "UTF-8"),
        (GOOD.replace(b"first", b"fir\xed\xa0\x80st"), "UTF-8"),
        (GOOD.replace(b"first", b"fir\xc0\x80st"), "UTF-8"),
        (b"\xef\xbb\xbf"[:2] + GOOD, "UTF-8"),
        (GOOD.replace(b"=\n", b"\n"), "strict form"),
        (GOOD.replace(b"=\n", b"==\n"), "strict form"),
        (GOOD.replace(b"=\n", b" =\n"), "strict form"),
        (GOOD.replace(b"=\n", b"= \n"), "strict form"),
        (GOOD.replace(b"=\n", "\u2003=\n".encode()), "strict form"),
        (GOOD.replace(b"log ", b"log  "), "strict form"),
        (GOOD.replace(b"alice.example/log ", b" "), "key name"),
        (GOOD.replace(b"alice.example/log", b"alice+log"), "key name"),
        (GOOD.replace(b"alice.example/log", "alice\u3000log".encode()), "key name"),
        (b"text\n\n\xe2\x80\x94 alice\n", "no signature"),
        (b"text\n\n\xe2\x80\x94 alice AAAAAA==\n", "no signature"),
        (b"text\n\n\xe2\x80\x94 alice AAAAAAB=\n", "strict form"),
        (b"text\n\n\xe2\x80\x94 alice AAAA_A==\n", "strict form"),
    ],
)
def test_a_malformed_note_is_refused(note: bytes, says: str) -> None:
    with pytest.raises(TanzhangError, match=says) as refused:
        open_note(note, [ALICE.verifier])
    assert refused.value.code == "note-malformed"


def test_one_blank_line_more_is_another_text() -> None:
    with pytest.raises(TanzhangError) as refused:
        open_note(GOOD.replace(b"\n\n", b"\n\n\n"), [ALICE.verifier])
    assert refused.value.code == "note-signature-invalid"


def test_a_blank_line_inside_the_signatures_makes_the_lines_above_it_text() -> None:
    note = sign_note("text\n", [ALICE, BOB]).replace(b"=\n", b"=\n\n", 1)
    assert parse_note(note).text.startswith("text\n\n— alice")
    with pytest.raises(TanzhangError) as refused:
        open_note(note, [ALICE.verifier, BOB.verifier])
    assert refused.value.code == "note-signature-invalid"


def test_a_wrong_signature_of_a_trusted_key_refuses_the_whole_note() -> None:
    signed = parse_note(sign_note("text\n", [ALICE, BOB])).signatures
    note = format_note("text\n", [signed[0], Signature(signed[1].name, signed[1].key_id, bytes(64))])
    assert open_note(note, [ALICE.verifier]).text == "text\n"
    with pytest.raises(TanzhangError, match="bob") as refused:
        open_note(note, [ALICE.verifier, BOB.verifier])
    assert refused.value.code == "note-signature-invalid"


def test_a_second_line_of_a_key_that_signed_is_ignored() -> None:
    signed = parse_note(GOOD).signatures[0]
    note = format_note("first line\nsecond line\n", [signed, Signature(signed.name, signed.key_id, bytes(64))])
    assert open_note(note, [ALICE.verifier]).verified == (signed,)


def test_a_note_that_no_trusted_key_signed_is_refused() -> None:
    for verifiers in ([], [BOB.verifier]):
        with pytest.raises(TanzhangError) as refused:
            open_note(GOOD, verifiers)
        assert refused.value.code == "note-not-trusted"


def test_a_key_with_the_right_name_and_another_id_is_another_key() -> None:
    impostor = NoteSigner(ALICE.name, bytes([9]) * 32)
    with pytest.raises(TanzhangError) as refused:
        open_note(GOOD, [impostor.verifier])
    assert refused.value.code == "note-not-trusted"


def test_two_trusted_keys_with_one_name_and_id_are_refused() -> None:
    with pytest.raises(TanzhangError) as refused:
        open_note(GOOD, [ALICE.verifier, ALICE.verifier])
    assert refused.value.code == "note-keys-ambiguous"


def test_a_hundred_signatures_are_read_and_one_more_is_refused() -> None:
    unknown = Signature("x", b"abcd", b"y")
    known = parse_note(GOOD).signatures[0]
    text = "first line\nsecond line\n"
    note = format_note(text, [unknown] * 99 + [known])
    assert open_note(note, [ALICE.verifier]).verified == (known,)
    with pytest.raises(TanzhangError, match="101 signature lines"):
        format_note(text, [unknown] * 101)
    with pytest.raises(TanzhangError, match="101 signature lines"):
        parse_note(note + unknown.to_line().encode())


def test_a_note_of_more_than_a_megabyte_is_refused() -> None:
    size = 1_000_000 - len(sign_note("\n", [ALICE]))
    assert len(sign_note("x" * size + "\n", [ALICE])) == 1_000_000
    with pytest.raises(TanzhangError, match="more than 1000000"):
        sign_note("x" * (size + 1) + "\n", [ALICE])


@pytest.mark.parametrize(
    ("text", "signatures"),
    [
        ("no newline", [Signature("a", b"abcd", b"y")]),
        ("blank\n\nno newline", [Signature("a", b"abcd", b"y")]),
        ("", [Signature("a", b"abcd", b"y")]),
        ("tab\t\n", [Signature("a", b"abcd", b"y")]),
        ("half\ud800\n", [Signature("a", b"abcd", b"y")]),
        ("text\n", []),
        ("text\n", [Signature("a b", b"abcd", b"y")]),
        ("text\n", [Signature("a", b"abc", b"yy")]),
        ("text\n", [Signature("a", b"abcd", b"")]),
    ],
)
def test_a_note_that_would_not_be_read_back_is_not_written(text: str, signatures: list[Signature]) -> None:
    with pytest.raises(TanzhangError) as refused:
        format_note(text, signatures)
    assert refused.value.code == "note-malformed"


def test_a_text_that_cannot_be_encoded_is_not_signed() -> None:
    with pytest.raises(TanzhangError):
        sign_note("half\ud800\n", [ALICE])


def test_writing_what_was_read_gives_the_same_bytes() -> None:
    for note in (GOOD, SPEC_NOTE, (GOLDEN / "arche2025h1.checkpoint").read_bytes()):
        read = parse_note(note)
        assert isinstance(read, Note)
        assert format_note(read.text, read.signatures) == note
