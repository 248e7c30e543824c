from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from tanzhang.core import merkle
from tanzhang.core.checkpoint import Checkpoint, cosigned_at
from tanzhang.core.errors import TanzhangError
from tanzhang.core.note import format_note, parse_note, sign_note
from tanzhang.core.tlog_proof import TlogProof
from tanzhang.engine.signing import Cosigner, NoteSigner, verifier_of

GOLDEN = Path(__file__).parents[2] / "golden" / "tlog"
FILE = (GOLDEN / "vectors-5.tlog-proof").read_bytes()
# RFC 8032 section 7.1, TEST 1 and TEST 2.
LOG = NoteSigner(
    "log.carbon.example/vectors", bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
)
WITNESS = Cosigner(
    "witness.carbon.example/w1", bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
)
LEAVES = ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
HASHES = [merkle.leaf_hash(bytes.fromhex(leaf)) for leaf in LEAVES]


def test_the_frozen_proof_file_is_rebuilt_byte_for_byte() -> None:
    text = Checkpoint(LOG.name, 8, merkle.root(HASHES)).to_text()
    own = parse_note(sign_note(text, [LOG])).signatures
    note = format_note(text, [*own, WITNESS.cosign(text, 1_700_000_000)])
    proof = TlogProof(5, tuple(merkle.inclusion_proof(5, HASHES)), note)
    assert proof.to_bytes() == FILE
    assert len(FILE) == 501
    assert sha256(FILE).hexdigest() == "15f2b4974fe1d7186aa64d6bfc75db466dea9399e72faf98ffada6d3d3a23be7"


def test_the_frozen_proof_file_verifies_with_published_keys_alone() -> None:
    log = verifier_of("log.carbon.example/vectors+0023a426+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea")
    witness = verifier_of("witness.carbon.example/w1+10c8cd4f+BD1AF8PoQ4lakrcKp00bfrycmCzPLsSWjMDNVfEq9GYM")
    checkpoint, note = TlogProof.parse(FILE).verify(HASHES[5], log.name, log, [witness])
    assert checkpoint.size == 8
    assert cosigned_at(note.verified[1]) == 1_700_000_000


def test_a_proof_survives_writing_and_parsing_with_and_without_extra() -> None:
    proof = TlogProof.parse(FILE)
    for extra in (None, b"", b"record 4711 \x00\xff"):
        written = replace(proof, extra=extra)
        assert TlogProof.parse(written.to_bytes()) == written


def test_extra_stands_before_the_index() -> None:
    lines = replace(TlogProof.parse(FILE), extra=b"hello").to_bytes().split(b"\n")
    assert lines[:3] == [b"c2sp.org/tlog-proof@v1", b"extra aGVsbG8=", b"index 5"]


def test_the_only_entry_of_a_log_has_a_proof_without_hashes() -> None:
    note = sign_note(Checkpoint(LOG.name, 1, HASHES[0]).to_text(), [LOG])
    data = TlogProof(0, (), note).to_bytes()
    assert data.startswith(b"c2sp.org/tlog-proof@v1\nindex 0\n\nlog.carbon")
    TlogProof.parse(data).verify(HASHES[0], LOG.name, LOG.verifier)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"@v1", b"@v2"),
        (b"c2sp", b"\nc2sp"),
        (b"index 5", b"index 05"),
        (b"index 5", b"index +5"),
        (b"index 5", b"index -5"),
        (b"index 5", b"index  5"),
        (b"index 5", b"index 5 "),
        (b"index 5", b"index"),
        (b"index 5", b"Index 5"),
        (b"index 5", b"index \xd9\xa5"),
        (b"index 5", b"index 8"),
        (b"index 5\n", b""),
        (b"index 5\n", b"index 5\nindex 5\n"),
        (b"index 5\n", b"index 5\nextra AAAA\n"),
        (b"index 5\n", b"extra AAAA\nextra AAAA\nindex 5\n"),
        (b"index 5\n", b"extra AAA\nindex 5\n"),
        (b"index 5\n", b"index 5\r\n"),
        (b"index 5\n", b"index 5\nAAAA\n"),
        (b"vBoG", b"vBo"),
        (b"vBoG", b"vBo "),
        (b"vBoGQ7EuTS18d5GPROD095qDi2z57FtcKD4fTYhZnms=\n", b"AAAA\n" * 64),
        (b"vBoGQ7EuTS18d5GPROD095qDi2z57FtcKD4fTYhZnms=\n", b"vBoGQ7EuTS18d5GPROD095qDi2z57FtcKD4fTYhZnms=\n" * 64),
        (b"\n\n", b"\n"),
    ],
)
def test_a_malformed_proof_file_is_refused(old: bytes, new: bytes) -> None:
    assert old in FILE
    data = FILE.replace(old, new) if old == b"\n\n" else FILE.replace(old, new, 1)
    with pytest.raises(TanzhangError) as refused:
        TlogProof.parse(data)
    assert refused.value.code == "tlog-proof-invalid"


def test_a_proof_file_with_a_broken_checkpoint_is_refused() -> None:
    for broken, code in (
        (FILE[:-1], "note-malformed"),
        (FILE.replace(b"\n8\n", b"\n08\n"), "checkpoint-invalid"),
        (FILE.partition(b"\n\n")[0] + b"\n\n", "note-malformed"),
    ):
        with pytest.raises(TanzhangError) as refused:
            TlogProof.parse(broken)
        assert refused.value.code == code


def test_a_proof_file_of_absurd_size_is_refused_before_it_is_read() -> None:
    with pytest.raises(TanzhangError, match="more than"):
        TlogProof.parse(FILE + bytes(4_000_000))
    with pytest.raises(TanzhangError, match="extra line"):
        replace(TlogProof.parse(FILE), extra=bytes(1_000_001))


def test_a_proof_is_refused_for_another_entry_log_or_path() -> None:
    proof = TlogProof.parse(FILE)
    stranger = NoteSigner("stranger.example", bytes(32)).verifier
    with pytest.raises(TanzhangError) as refused:
        proof.verify(HASHES[4], LOG.name, LOG.verifier)
    assert refused.value.code == "inclusion-proof-invalid"
    with pytest.raises(TanzhangError) as refused:
        replace(proof, index=4).verify(HASHES[5], LOG.name, LOG.verifier)
    assert refused.value.code == "inclusion-proof-invalid"
    with pytest.raises(TanzhangError) as refused:
        proof.verify(HASHES[5], "log.carbon.example/other", LOG.verifier)
    assert refused.value.code == "checkpoint-of-another-log"
    with pytest.raises(TanzhangError) as refused:
        proof.verify(HASHES[5], LOG.name, stranger)
    assert refused.value.code == "note-not-trusted"
    with pytest.raises(TanzhangError) as refused:
        proof.verify(HASHES[5], LOG.name, stranger, [WITNESS.verifier])
    assert refused.value.code == "note-not-trusted"
