from __future__ import annotations

import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.core.note import VerifierKey, format_note, open_note, parse_note, sign_note
from tanzhang.engine.signing import CosignatureVerifier, Cosigner, NoteSigner, NoteVerifier, verifier_of

# RFC 8032 section 7.1, TEST 1 and TEST 2.
SEED_1 = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
SEED_2 = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
LOG = NoteSigner("log.carbon.example/vectors", SEED_1)
WITNESS = Cosigner("witness.carbon.example/w1", SEED_2)
# The published example key of the Go implementation of signed notes.
PETER = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"


def test_seeds_give_the_published_keys() -> None:
    assert LOG.verifier_key.to_text() == (
        "log.carbon.example/vectors+0023a426+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea"
    )
    assert WITNESS.verifier_key.to_text() == (
        "witness.carbon.example/w1+10c8cd4f+BD1AF8PoQ4lakrcKp00bfrycmCzPLsSWjMDNVfEq9GYM"
    )


def test_a_key_of_the_go_tools_is_read_and_signs_the_same_bytes() -> None:
    signer = NoteSigner.parse(PETER)
    assert signer.to_text() == PETER
    assert signer.verifier_key.to_text() == "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    note = sign_note(
        "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n",
        [signer],
    )
    assert note.decode().endswith(
        "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    )


@pytest.mark.parametrize("kind", [NoteSigner, Cosigner])
def test_a_new_key_survives_its_text_form(kind: type[NoteSigner | Cosigner]) -> None:
    key = kind.generate("log.example")
    assert kind.parse(key.to_text()) == key
    assert kind.generate("log.example").seed != key.seed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PRIVATE+KEY+",
        "PRIVATE+KEY+PeterNeumann+c74f20a3",
        PETER.removeprefix("PRIVATE+KEY+"),
        PETER.replace("c74f20a3", "c74f20a4"),
        PETER.replace("PeterNeumann", "PeterNewman"),
        PETER.replace("PeterNeumann", "Peter Neumann"),
        PETER.replace("PeterNeumann", ""),
        PETER[:-4],
        PETER[:-1],
        PETER + "\n",
        PETER.replace("+AYEK", "+BYEK"),
        WITNESS.to_text(),
    ],
)
def test_a_wrong_private_key_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(TanzhangError) as refused:
        NoteSigner.parse(text)
    assert refused.value.code == "private-key-invalid"
    assert "FALVFGyNhPJEMzD1QIDr" not in str(refused.value)


def test_a_log_key_is_not_accepted_as_a_witness_key() -> None:
    with pytest.raises(TanzhangError, match="type 0x04"):
        Cosigner.parse(LOG.to_text())


def test_a_seed_of_another_length_is_refused() -> None:
    with pytest.raises(TanzhangError, match="31 bytes"):
        NoteSigner("log.example", SEED_1[:31])


def test_the_seed_is_not_shown_when_a_key_is_printed() -> None:
    assert SEED_1.hex() not in repr(LOG)
    assert repr(SEED_1) not in repr(LOG)


def test_the_type_of_a_vkey_decides_how_it_verifies() -> None:
    assert type(verifier_of(LOG.verifier_key.to_text())) is NoteVerifier
    assert type(verifier_of(WITNESS.verifier_key.to_text())) is CosignatureVerifier


def test_one_seed_has_different_ids_as_log_and_as_witness() -> None:
    assert NoteSigner("x", SEED_1).key_id != Cosigner("x", SEED_1).key_id


@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(64), bytes(65)])
def test_a_wrong_signature_is_no_signature(signature: bytes) -> None:
    assert not LOG.verifier.verify(b"text", signature)


def test_a_cosignature_is_bound_to_text_and_time() -> None:
    line = WITNESS.cosign("text\n", 1_700_000_000)
    verify = WITNESS.verifier.verify
    assert verify(b"text\n", line.data)
    assert not verify(b"test\n", line.data)
    assert not verify(b"text\n", (1_700_000_001).to_bytes(8, "big") + line.data[8:])
    assert not verify(b"text\n", bytes(8) + line.data[8:])
    assert not verify(b"text\n", b"\xff" * 8 + line.data[8:])
    assert not verify(b"text\n", line.data[8:])
    assert not LOG.verifier.verify(b"text\n", line.data)


def test_a_note_signature_is_not_accepted_as_a_cosignature() -> None:
    same_seed = NoteVerifier(VerifierKey(WITNESS.name, 1, WITNESS.verifier_key.public_key))
    assert not same_seed.verify(b"text\n", WITNESS.cosign("text\n", 7).data[8:])


def test_log_and_witness_sign_one_note() -> None:
    own = parse_note(sign_note("text\n", [LOG])).signatures
    note = format_note("text\n", [*own, WITNESS.cosign("text\n", 7)])
    opened = open_note(note, [LOG.verifier, WITNESS.verifier])
    assert [each.name for each in opened.verified] == [LOG.name, WITNESS.name]


@pytest.mark.parametrize("time_s", [0, -1, 1 << 63])
def test_a_witness_does_not_sign_an_impossible_time(time_s: int) -> None:
    with pytest.raises(TanzhangError) as refused:
        WITNESS.cosign("text\n", time_s)
    assert refused.value.code == "cosignature-invalid"
