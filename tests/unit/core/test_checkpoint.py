from __future__ import annotations

import json
from base64 import b64decode, b64encode
from hashlib import sha256
from pathlib import Path

import pytest

from tanzhang.core import merkle
from tanzhang.core.checkpoint import (
    MAX_TREE_SIZE,
    Checkpoint,
    add_checkpoint_body,
    cosignature_message,
    cosigned_at,
    decode_cosignature,
    encode_cosignature,
    open_checkpoint,
)
from tanzhang.core.errors import TanzhangError
from tanzhang.core.merkle import EMPTY_ROOT
from tanzhang.core.note import KEY_ED25519, VerifierKey, format_note, parse_note, sign_note
from tanzhang.engine.signing import Cosigner, NoteSigner, verifier_of

GOLDEN = Path(__file__).parents[2] / "golden" / "tlog"
ROOT = bytes(range(32))
TEXT = f"log.example/a\n7\n{b64encode(ROOT).decode()}\n"

# RFC 8032 section 7.1, TEST 1 and TEST 2.
LOG = NoteSigner(
    "log.carbon.example/vectors", bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
)
WITNESS = Cosigner(
    "witness.carbon.example/w1", bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
)
LEAVES = ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
HASHES = [merkle.leaf_hash(bytes.fromhex(leaf)) for leaf in LEAVES]


def test_a_checkpoint_survives_writing_and_parsing() -> None:
    checkpoint = Checkpoint("log.example/a", 7, ROOT)
    assert checkpoint.to_text() == TEXT
    assert Checkpoint.parse(TEXT) == checkpoint


def test_extension_lines_are_kept_byte_for_byte() -> None:
    text = TEXT + "anything — goes\nhere\n"
    assert Checkpoint.parse(text).extension_lines == ("anything — goes", "here")
    assert Checkpoint.parse(text).to_text() == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "newline"),
        (TEXT[:-1], "newline"),
        ("log.example/a\n7\n", "2 lines instead"),
        (TEXT.removeprefix("log.example/a"), "origin"),
        (TEXT.replace("\n7\n", "\n07\n"), "decimal"),
        (TEXT.replace("\n7\n", "\n+7\n"), "decimal"),
        (TEXT.replace("\n7\n", "\n-7\n"), "decimal"),
        (TEXT.replace("\n7\n", "\n7 \n"), "decimal"),
        (TEXT.replace("\n7\n", "\n\n"), "decimal"),
        (TEXT.replace("\n7\n", "\n7_0\n"), "decimal"),
        (TEXT.replace("\n7\n", "\n\u0667\n"), "decimal"),
        (TEXT.replace("\n7\n", f"\n{MAX_TREE_SIZE + 1}\n"), "decimal"),
        (TEXT.replace("\n7\n", f"\n{'9' * 5000}\n"), "decimal"),
        (TEXT.replace("\n7\n", "\n0\n"), "empty tree"),
        (TEXT.replace("=\n", "\n"), "strict form"),
        (TEXT.replace("AAEC", "AAE C"), "strict form"),
        (f"log.example/a\n7\n{b64encode(ROOT[:31]).decode()}\n", "31 bytes"),
        (f"log.example/a\n7\n{b64encode(ROOT + b'x').decode()}\n", "33 bytes"),
        ("log.example/a\n7\n\n", "0 bytes"),
        (TEXT + "\n", "extension line"),
        (TEXT + "line\n\nline\n", "extension line"),
        (TEXT.replace("\n", "\r\n"), "decimal"),
    ],
)
def test_a_malformed_checkpoint_is_refused(text: str, says: str) -> None:
    with pytest.raises(TanzhangError, match=says) as refused:
        Checkpoint.parse(text)
    assert refused.value.code == "checkpoint-invalid"


def test_the_largest_size_is_accepted_and_the_next_one_is_not() -> None:
    assert Checkpoint.parse(Checkpoint("o", MAX_TREE_SIZE, ROOT).to_text()).size == MAX_TREE_SIZE
    with pytest.raises(TanzhangError, match="2\\^62"):
        Checkpoint("o", MAX_TREE_SIZE + 1, ROOT)


def test_an_empty_log_has_the_root_of_the_empty_tree() -> None:
    text = Checkpoint("o", 0, EMPTY_ROOT).to_text()
    assert text == "o\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
    assert Checkpoint.parse(text).size == 0


@pytest.mark.parametrize("origin", ["", "two\nlines", "tab\t", "half\ud800"])
def test_an_origin_that_cannot_stand_on_a_line_is_refused(origin: str) -> None:
    with pytest.raises(TanzhangError, match="origin"):
        Checkpoint(origin, 7, ROOT)


def test_the_checkpoint_of_the_public_sample_log_opens() -> None:
    origin = "example.com/log/testdata"
    log = verifier_of(f"{origin}+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx")
    checkpoint, _ = open_checkpoint((GOLDEN / "tessera-9.checkpoint").read_bytes(), origin, log)
    assert checkpoint.size == 9
    assert checkpoint.root == b64decode("CvhHViE3S9E3htHLR+25mapWoGCJ3WckMq1UtC3VmEY=")


def test_a_checkpoint_of_a_public_log_opens_with_the_time_of_its_witness() -> None:
    origin = "arche2025h1.staging.ct.transparency.dev"
    log = verifier_of(f"{origin}+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f")
    witness = verifier_of("remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2")
    checkpoint, note = open_checkpoint((GOLDEN / "arche2025h1.checkpoint").read_bytes(), origin, log, [witness])
    assert checkpoint.size == 1432088532
    assert cosigned_at(note.verified[1]) == 1779573024


def test_both_updates_of_the_witness_race_are_signed_and_consistent_with_their_start() -> None:
    race = json.loads((GOLDEN / "sigsum-race.json").read_text())
    log = verifier_of(race["vkey"])
    opened = []
    for each in race["checkpoints"]:
        note = f"{race['origin']}\n{each['size']}\n{each['root']}\n\n— {race['origin']} {each['signature']}\n"
        opened.append(open_checkpoint(note.encode(), race["origin"], log)[0])
    start = opened[0]
    for checkpoint, each in zip(opened[1:], race["checkpoints"][1:], strict=True):
        proof = [b64decode(text) for text in each["proof_from_1"]]
        merkle.verify_consistency(start.size, checkpoint.size, start.root, checkpoint.root, proof)
    with pytest.raises(TanzhangError):  # whoever holds size 5 must not follow to size 3
        merkle.verify_consistency(5, 3, opened[2].root, opened[1].root, [])


def test_a_checkpoint_of_another_origin_is_refused_even_with_a_valid_signature() -> None:
    note = sign_note(TEXT, [LOG])
    with pytest.raises(TanzhangError) as refused:
        open_checkpoint(note, "log.example/b", LOG.verifier)
    assert refused.value.code == "checkpoint-of-another-log"


def test_a_checkpoint_that_only_a_witness_signed_is_refused() -> None:
    note = format_note(TEXT, [WITNESS.cosign(TEXT, 1)])
    with pytest.raises(TanzhangError) as refused:
        open_checkpoint(note, "log.example/a", LOG.verifier, [WITNESS.verifier])
    assert refused.value.code == "note-not-trusted"


def test_a_signed_text_that_is_no_checkpoint_is_refused() -> None:
    with pytest.raises(TanzhangError) as refused:
        open_checkpoint(sign_note("hello\n", [LOG]), "hello", LOG.verifier)
    assert refused.value.code == "checkpoint-invalid"


def test_our_size_0_checkpoint_has_the_frozen_signature() -> None:
    text = Checkpoint(LOG.name, 0, EMPTY_ROOT).to_text()
    line = parse_note(sign_note(text, [LOG])).signatures[0].to_line()
    assert line == (
        "— log.carbon.example/vectors "
        "ACOkJm0aLVmaQxoX57sVwH9b5CrFsl+De+lqH+TyunR+RkmXUkuW3SHRIYVcpGwHTk4WraqGGnIZ2LIFpDtlNlovWws=\n"
    )


def test_origin_hash_of_the_vectors() -> None:
    assert sha256(LOG.name.encode()).hexdigest() == "3038813ede314c3006b4d362811681f4ecf2dfb6904510032cdac94b18d0bba0"
    assert VerifierKey.parse(LOG.verifier_key.to_text()).key_type == KEY_ED25519


def test_the_request_to_a_witness_has_the_frozen_bytes() -> None:
    note = sign_note(Checkpoint(LOG.name, 8, merkle.root(HASHES)).to_text(), [LOG])
    body = add_checkpoint_body(6, merkle.consistency_proof(6, HASHES), note)
    assert body == (GOLDEN / "vectors-6-8.add-checkpoint").read_bytes()
    assert len(body) == 341
    assert sha256(body).hexdigest() == "77f5084ba08d8a09b42c965ba0c26baf78c8d80c59cf8e2e27ea9701bc1d8f2d"


def test_the_first_request_to_a_witness_has_no_proof() -> None:
    assert add_checkpoint_body(0, [], b"NOTE") == b"old 0\n\nNOTE"


@pytest.mark.parametrize(("old", "proof"), [(-1, []), (MAX_TREE_SIZE + 1, []), (6, [bytes(31)]), (6, [bytes(32)] * 64)])
def test_a_request_that_no_witness_would_read_is_refused(old: int, proof: list[bytes]) -> None:
    with pytest.raises(TanzhangError) as refused:
        add_checkpoint_body(old, proof, b"")
    assert refused.value.code == "witness-request-invalid"


def test_a_cosignature_covers_time_and_all_lines() -> None:
    assert cosignature_message(b"o\n0\nr\nx\n", 5) == b"cosignature/v1\ntime 5\no\n0\nr\nx\n"
    assert decode_cosignature(encode_cosignature(5, bytes(64))) == (5, bytes(64))


@pytest.mark.parametrize("time_s", [-1, 0, 1 << 63])
def test_a_cosignature_without_a_possible_time_is_refused(time_s: int) -> None:
    with pytest.raises(TanzhangError) as refused:
        cosignature_message(b"", time_s)
    assert refused.value.code == "cosignature-invalid"


@pytest.mark.parametrize("length", [0, 7, 64, 71, 73])
def test_a_cosignature_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(TanzhangError) as refused:
        decode_cosignature(bytes(length))
    assert refused.value.code == "cosignature-invalid"
