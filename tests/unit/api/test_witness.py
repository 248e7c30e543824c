"""A witness answers as C2SP tlog-witness says, row by row, and never signs a log that went back or split."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from threading import Barrier

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from tanzhang.api.witness import witness_app
from tanzhang.core import merkle
from tanzhang.core.checkpoint import Checkpoint, add_checkpoint_body
from tanzhang.core.errors import TanzhangError
from tanzhang.core.note import Signature, VerifierKey, format_note, open_note, parse_note, sign_note
from tanzhang.core.witness import origin_id
from tanzhang.engine.signing import Cosigner, NoteSigner
from tanzhang.stores.witness_state import WitnessState

GOLDEN = Path(__file__).parents[2] / "golden" / "tlog"
# RFC 8032 section 7.1, TEST 1 and TEST 2.
LOG = NoteSigner(
    "log.carbon.example/vectors", bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
)
WITNESS = Cosigner(
    "witness.carbon.example/w1", bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
)
NOW = 1_700_000_000
LEAVES = [
    merkle.leaf_hash(bytes.fromhex(text))
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
Client = TestClient[Litestar]


@pytest.fixture
def state(tmp_path: Path) -> WitnessState:
    state = WitnessState.create(tmp_path / "witness", WITNESS)
    assert state.add_log(LOG.verifier_key)
    return state


@pytest.fixture
def client(state: WitnessState) -> Iterator[Client]:
    with TestClient(witness_app(state, lambda: NOW)) as client:
        yield client


def note(size: int, root: bytes | None = None, signer: NoteSigner = LOG, origin: str = LOG.name) -> bytes:
    root = merkle.root(LEAVES[:size]) if root is None else root
    return sign_note(f"{origin}\n{size}\n{_b64(root)}\n", [signer])


def _b64(data: bytes) -> str:
    return b64encode(data).decode()


def request(old: int, size: int, proof: list[bytes] | None = None, **more: object) -> bytes:
    if proof is None:
        proof = [] if old == 0 else merkle.consistency_proof(old, LEAVES[:size])
    return add_checkpoint_body(old, proof, note(size, **more))  # type: ignore[arg-type]


def post(client: Client, body: bytes) -> tuple[int, bytes]:
    answer = client.post("/add-checkpoint", content=body)
    return answer.status_code, answer.content


def held(state: WitnessState) -> int | None:
    return state.logs()[0][2]


def test_the_vector_from_size_6_to_8_gets_the_frozen_cosignature(client: Client) -> None:
    assert post(client, request(0, 6))[0] == 200
    body = (GOLDEN / "vectors-6-8.add-checkpoint").read_bytes()
    assert sha256(body).hexdigest() == "77f5084ba08d8a09b42c965ba0c26baf78c8d80c59cf8e2e27ea9701bc1d8f2d"
    status, answer = post(client, body)
    frozen = (GOLDEN / "vectors-5.tlog-proof").read_text().splitlines(keepends=True)[-1]
    assert (status, answer.decode()) == (200, frozen)


def test_a_cosigned_checkpoint_verifies_with_the_keys_of_log_and_witness(client: Client) -> None:
    body = request(0, 5)
    answer = client.post("/add-checkpoint", content=body)
    signed = body.partition(b"\n\n")[2] + answer.content
    opened = open_note(signed, [LOG.verifier, WITNESS.verifier])
    assert len(opened.verified) == 2
    assert client.get(f"/{origin_id(LOG.name)}/checkpoint").content == signed


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 0\n",
        b"old 0" + note(5),
        b"old -1\n\n" + note(5),
        b"old 00\n\n" + note(5),
        b"old  0\n\n" + note(5),
        b"old 0\r\n\r\n" + note(5),
        b"new 0\n\n" + note(5),
        b"old 0\nAAAA\n\n" + note(5),
        b"old 0\nnot base64\n\n" + note(5),
        b"old 0\n" + f"{_b64(bytes(32))}\n".encode() * 64 + b"\n" + note(5),
        b"old 0\n\n" + note(5)[:-1],
        b"old 0\n\n" + note(5).partition(b"\n\n")[0],
        b"old 0\n\nonly\n\n" + note(5).partition(b"\n\n")[2],
        b"old 0\n\n" + note(5, root=bytes(31)),
        b"old 4611686018427387905\n\n" + note(5),
        b"old \xff\n\n" + note(5),
    ],
)
def test_row_1_a_body_that_does_not_parse_is_a_bad_request(client: Client, state: WitnessState, body: bytes) -> None:
    status, text = post(client, body)
    assert (status, text.startswith(b"witness-request-invalid: ")) == (400, True)
    assert held(state) is None


def test_row_1_sixty_three_hashes_parse(client: Client) -> None:
    assert post(client, b"old 0\n" + f"{_b64(bytes(32))}\n".encode() * 63 + b"\n" + note(5))[0] == 422


def test_row_2_an_unknown_origin_is_not_found(client: Client) -> None:
    assert post(client, request(0, 5, origin="other.example"))[0] == 404


@pytest.mark.parametrize("line", ["stranger", "wrong", "short"])
def test_row_3_a_checkpoint_that_the_log_did_not_sign_is_forbidden(
    client: Client, state: WitnessState, line: str
) -> None:
    if line == "stranger":
        body = request(0, 5, signer=NoteSigner("stranger.example", bytes(32)))
    elif line == "wrong":
        body = request(0, 5).replace(note(5).splitlines()[-1], note(6).splitlines()[-1])
    else:
        text = parse_note(note(5)).text
        body = b"old 0\n\n" + format_note(text, [Signature(LOG.name, LOG.key_id, b"short")])
    assert post(client, body)[0] == 403
    assert held(state) is None


def test_row_3_lines_of_unknown_keys_are_ignored_and_not_shown(client: Client) -> None:
    text = parse_note(note(5)).text
    body = b"old 0\n\n" + sign_note(text, [NoteSigner("stranger.example", bytes(32)), LOG])
    assert post(client, body)[0] == 200
    shown = client.get(f"/{origin_id(LOG.name)}/checkpoint").content
    assert [line.name for line in parse_note(shown).signatures] == [LOG.name, WITNESS.name]


def test_row_4_an_old_size_above_the_new_one_is_a_bad_request(client: Client) -> None:
    assert post(client, request(0, 5))[0] == 200
    assert post(client, b"old 6\n\n" + note(5))[0] == 400


@pytest.mark.parametrize("old", [0, 3, 6])
def test_row_5_another_old_size_than_the_last_one_is_a_conflict_that_names_it(client: Client, old: int) -> None:
    assert post(client, request(0, 5))[0] == 200
    answer = client.post("/add-checkpoint", content=request(old, 8))
    assert (answer.status_code, answer.content) == (409, b"5\n")
    assert answer.headers["content-type"] == "text/x.tlog.size"


def test_row_5_a_log_that_was_never_seen_starts_from_nothing(client: Client) -> None:
    answer = client.post("/add-checkpoint", content=request(3, 8))
    assert (answer.status_code, answer.content) == (409, b"0\n")


def test_row_6_an_empty_log_has_the_root_of_the_empty_tree(client: Client, state: WitnessState) -> None:
    assert post(client, request(0, 0, root=bytes(32)))[0] == 422
    assert held(state) is None
    for _ in range(2):
        assert post(client, request(0, 0))[0] == 200
    assert held(state) == 0
    assert post(client, request(0, 5))[0] == 200


def test_row_7_a_second_tree_of_one_size_is_refused_and_the_same_one_is_signed_again(client: Client) -> None:
    assert post(client, request(0, 5))[0] == 200
    assert post(client, b"old 5\n\n" + note(5))[0] == 200
    assert post(client, b"old 5\n\n" + note(5, root=bytes(32)))[0] == 422
    assert post(client, b"old 5\n" + f"{_b64(bytes(32))}\n".encode() + b"\n" + note(5))[0] == 422


@pytest.mark.parametrize(("old", "change"), [(0, "extra"), (5, "bit"), (5, "extra"), (5, "missing"), (5, "root")])
def test_row_8_a_proof_that_does_not_hold_is_refused(
    client: Client, state: WitnessState, old: int, change: str
) -> None:
    if old:
        assert post(client, request(0, old))[0] == 200
    proof = merkle.consistency_proof(old, LEAVES) if old else []
    if change == "extra":
        proof = [*proof, bytes(32)]
    elif change == "bit":
        proof[0] = bytes(32)
    elif change == "missing":
        proof = proof[1:]
    root = bytes(32) if change == "root" else None
    assert post(client, request(old, 8, proof, root=root))[0] == 422
    assert held(state) == (old or None)


def test_row_9_what_was_signed_outlives_the_process(client: Client, state: WitnessState) -> None:
    assert post(client, request(0, 5))[0] == 200
    again = WitnessState.open(state.folder)
    with TestClient(witness_app(again, lambda: NOW)) as other:
        assert post(other, request(0, 8)) == (409, b"5\n")
        assert post(other, request(5, 8))[0] == 200
    assert post(client, request(5, 8)) == (409, b"8\n")


def test_row_9_nothing_is_signed_where_it_cannot_be_stored(client: Client, state: WitnessState) -> None:
    class FullError(Exception):
        pass

    def fails(*_: object) -> None:
        raise FullError

    with pytest.raises(FullError):
        state.replace(LOG.name, fails)  # type: ignore[arg-type]
    assert held(state) is None
    assert post(client, request(0, 5))[0] == 200


def test_of_two_updates_that_start_at_once_one_is_signed_and_the_size_never_goes_back(tmp_path: Path) -> None:
    race = json.loads((GOLDEN / "sigsum-race.json").read_text())
    key = VerifierKey.parse(race["vkey"])

    def body(number: int, old: int) -> bytes:
        said = race["checkpoints"][number]
        text = f"{race['origin']}\n{said['size']}\n{said['root']}\n"
        lines = "".join(f"{each}\n" for each in (said["proof_from_1"] if old else []))
        return f"old {old}\n{lines}\n{text}\n\u2014 {race['origin']} {said['signature']}\n".encode()

    for number in range(12):
        state = WitnessState.create(tmp_path / str(number), WITNESS)
        state.add_log(key)
        with TestClient(witness_app(state)) as client, ThreadPoolExecutor(2) as pool:
            assert post(client, body(0, 0))[0] == 200
            start = Barrier(2)

            def update(which: int, client: Client = client, start: Barrier = start) -> tuple[int, bytes]:
                start.wait()
                return post(client, body(which, 1))

            three, five = pool.map(update, (1, 2))
        assert sorted((three[0], five[0])) == [200, 409]
        assert held(state) == (3 if three[0] == 200 else 5)
        assert (five[1] == b"3\n") if three[0] == 200 else (three[1] == b"5\n")


def test_many_logs_are_kept_apart(client: Client, state: WitnessState) -> None:
    signers = [NoteSigner(f"log.example/{number}", bytes([number]) * 32) for number in range(40)]
    for signer in signers:
        assert state.add_log(signer.verifier_key)
        assert not state.add_log(signer.verifier_key)
    for number, signer in enumerate(signers):
        size = number % 8 + 1
        assert post(client, request(0, size, signer=signer, origin=signer.name))[0] == 200
    assert [size for origin, _, size in state.logs() if origin == "log.example/10"] == [3]
    assert held(state) is None


def test_two_keys_of_one_origin_are_both_trusted(client: Client, state: WitnessState) -> None:
    newer = NoteSigner(LOG.name, bytes(32))
    state.add_log(newer.verifier_key)
    assert post(client, request(0, 5))[0] == 200
    assert post(client, request(5, 8, signer=newer))[0] == 200


def test_the_latest_checkpoint_of_an_unknown_or_unsigned_log_is_not_found(client: Client) -> None:
    assert client.get(f"/{origin_id(LOG.name)}/checkpoint").status_code == 404
    assert client.get("/..%2fwitness.key/checkpoint").status_code == 404


def test_a_body_larger_than_any_request_is_not_read(client: Client) -> None:
    assert client.post("/add-checkpoint", content=b"x" * 2_000_000).status_code == 413


def test_a_witness_is_made_once_and_its_key_stays_private(state: WitnessState) -> None:
    with pytest.raises(TanzhangError, match="witness-exists"):
        WitnessState.create(state.folder, WITNESS)
    with pytest.raises(TanzhangError, match="witness-missing"):
        WitnessState.open(state.folder / "elsewhere")
    with pytest.raises(TanzhangError, match="vkey-invalid"):
        state.add_log(WITNESS.verifier_key)
    assert (state.folder / "witness.key").stat().st_mode & 0o777 == 0o600
    assert (state.folder / "witness.vkey").read_text() == WITNESS.verifier_key.to_text() + "\n"


def test_checkpoints_with_extension_lines_are_signed_with_them(client: Client) -> None:
    checkpoint = Checkpoint(LOG.name, 5, merkle.root(LEAVES[:5]), ("extension 1",))
    signed = sign_note(checkpoint.to_text(), [LOG])
    status, line = post(client, b"old 0\n\n" + signed)
    assert status == 200
    assert len(open_note(signed + line, [LOG.verifier, WITNESS.verifier]).verified) == 2
