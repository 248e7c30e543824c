from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tanzhang.core import merkle
from tanzhang.core.checkpoint import Checkpoint
from tanzhang.core.errors import TanzhangError
from tanzhang.core.merkle import verify_consistency, verify_inclusion
from tanzhang.core.note import Signature, VerifierKey, format_note, open_note, parse_note, sign_note
from tanzhang.core.tiles import Tile, decode_bundle, encode_bundle, encode_tile, level_hashes, tiles_for
from tanzhang.core.tlog_proof import TlogProof
from tanzhang.engine.hashing import merkle_root
from tanzhang.engine.signing import NoteSigner

T = TypeVar("T")
MOST = 3_000
SIGNER = NoteSigner("log.example", bytes(32))


@cache
def leaves() -> list[bytes]:
    return [merkle.leaf_hash(index.to_bytes(4, "big")) for index in range(MOST)]


@cache
def root(size: int) -> bytes:
    return merkle.root(leaves()[:size])


sizes = st.integers(1, MOST)


@st.composite
def inside(draw: st.DrawFn) -> tuple[int, int]:
    size = draw(sizes)
    return draw(st.integers(0, size - 1)), size


@st.composite
def growth(draw: st.DrawFn) -> tuple[int, int]:
    new = draw(sizes)
    return draw(st.integers(1, new)), new


@st.composite
def changed(draw: st.DrawFn, proof: list[bytes]) -> list[bytes]:
    """The proof with one bit changed, two hashes swapped, one left out, or one more anywhere."""
    changes = ["extra"]
    if proof:
        changes += ["bit", "without"]
    if len(proof) > 1:
        changes.append("swap")
    change = draw(st.sampled_from(changes))
    result = list(proof)
    if change == "extra":
        value = draw(st.one_of(st.binary(min_size=32, max_size=32), st.sampled_from(proof or [merkle.EMPTY_ROOT])))
        result.insert(draw(st.integers(0, len(proof))), value)
    elif change == "bit":
        position = draw(st.integers(0, len(proof) - 1))
        result[position] = flipped(result[position], draw(st.integers(0, 255)))
    elif change == "without":
        del result[draw(st.integers(0, len(proof) - 1))]
    else:
        first, second = draw(st.lists(st.integers(0, len(proof) - 1), min_size=2, max_size=2, unique=True))
        result[first], result[second] = result[second], result[first]
    return result


def flipped(value: bytes, bit: int) -> bytes:
    return (int.from_bytes(value, "big") ^ 1 << bit).to_bytes(len(value), "big")


@given(inside(), st.data())
def test_every_inclusion_proof_verifies_and_no_changed_one_does(place: tuple[int, int], data: st.DataObject) -> None:
    index, size = place
    leaf = leaves()[index]
    proof = merkle.inclusion_proof(index, leaves()[:size])
    verify_inclusion(index, size, leaf, proof, root(size))
    bit = data.draw(st.integers(0, 255))
    other = data.draw(st.integers(0, size))
    attempts = [
        (index, size, leaf, data.draw(changed(proof)), root(size)),
        (index, size, flipped(leaf, bit), proof, root(size)),
        (index, size, leaf, proof, flipped(root(size), bit)),
        (other + (other >= index), size, leaf, proof, root(size)),
    ]
    for attempt in attempts:
        with pytest.raises(TanzhangError, match="inclusion-proof-invalid"):
            verify_inclusion(*attempt)


@given(growth(), st.data())
def test_every_consistency_proof_verifies_and_no_changed_one_does(places: tuple[int, int], data: st.DataObject) -> None:
    old, new = places
    proof = merkle.consistency_proof(old, leaves()[:new])
    verify_consistency(old, new, root(old), root(new), proof)
    bit = data.draw(st.integers(0, 255))
    attempts = [
        (old, new, root(old), root(new), data.draw(changed(proof))),
        (old, new, flipped(root(old), bit), root(new), proof),
        (old, new, root(old), flipped(root(new), bit), proof),
    ]
    for attempt in attempts:
        with pytest.raises(TanzhangError, match="consistency-proof-invalid"):
            verify_consistency(*attempt)


@given(inside())
def test_stored_subtrees_give_the_proofs_of_all_leaves(place: tuple[int, int]) -> None:
    index, size = place
    hashes = leaves()[:size]
    roots = [merkle.root(hashes[start : start + 256]) for start in range(0, size, 256)]
    own = hashes[index // 256 * 256 :][:256]
    assert merkle.proof_from_subtrees(index, size, own, roots) == merkle.inclusion_proof(index, hashes)


@given(sizes)
def test_bulk_hashing_gives_the_same_root(size: int) -> None:
    rows = np.frombuffer(b"".join(leaves()[:size]), np.uint8).reshape(-1, 32)
    assert merkle_root(rows) == root(size)


@given(sizes)
def test_the_hash_of_a_tile_is_the_root_of_the_full_tile_below(size: int) -> None:
    levels = level_hashes(leaves()[:size])
    for tile in tiles_for(size):
        content = levels[tile.level or 0][tile.positions]
        assert len(encode_tile(content)) == 32 * tile.width
        if tile.level == 1:
            assert content[0] == merkle.root(leaves()[tile.index * 65_536 :][:256])


# The parsers below face bytes from strangers: whatever comes in, they answer or refuse, and nothing else.
GOOD = sign_note(Checkpoint("log.example", 5, bytes(32)).to_text(), [SIGNER])
PROOF = TlogProof(3, (bytes(32), bytes(32), bytes(32)), GOOD, b"hint").to_bytes()
PIECES = st.sampled_from([b"\n", b"\n\n", "— ".encode(), b" ", b"+", b"=", b"AAAA", b"\r", b"\xff", b"\x00", b"0", b""])


def answer(parse: Callable[[Any], T], given_: bytes | str, *codes: str) -> T | None:
    """What the parser makes of it, or None if it refuses with one of these codes."""
    try:
        return parse(given_)
    except TanzhangError as error:
        if error.code not in codes:
            raise
        return None


@st.composite
def mutated(draw: st.DrawFn, good: bytes) -> bytes:
    data = good
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 8)))
        data = data[:start] + draw(st.one_of(PIECES, st.binary(max_size=4))) + data[end:]
    return data


@given(st.one_of(st.binary(), st.text().map(str.encode), mutated(GOOD)))
def test_any_bytes_are_a_note_or_refused(data: bytes) -> None:
    note = answer(parse_note, data, "note-malformed")
    if note is not None:
        assert format_note(note.text, note.signatures) == data
        assert "\r" not in note.text
        assert note.text.endswith("\n")


@given(mutated(GOOD))
def test_a_changed_note_opens_only_with_its_signed_text(data: bytes) -> None:
    codes = ("note-malformed", "note-signature-invalid", "note-not-trusted")
    note = answer(lambda data: open_note(data, [SIGNER.verifier]), data, *codes)
    assert note is None or note.text.encode() == GOOD.partition(b"\n\n")[0] + b"\n"


@given(st.text(), st.lists(st.tuples(st.text(), st.binary(max_size=6), st.binary(max_size=80))))
def test_any_note_is_written_so_that_it_is_read_back_or_refused(
    text: str, signatures: list[tuple[str, bytes, bytes]]
) -> None:
    lines = tuple(Signature(*each) for each in signatures)
    data = answer(lambda text: format_note(text, lines), text, "note-malformed")
    if data is not None:
        assert (parse_note(data).text, parse_note(data).signatures) == (text, lines)


@given(st.one_of(st.text(), mutated(SIGNER.verifier_key.to_text().encode()).map(lambda data: data.decode("latin-1"))))
def test_any_text_is_a_vkey_or_refused(text: str) -> None:
    key = answer(VerifierKey.parse, text, "vkey-invalid")
    assert key is None or key.to_text() == text


@given(st.one_of(st.text(), mutated(GOOD.partition(b"\n\n")[0] + b"\n").map(lambda data: data.decode("latin-1"))))
def test_any_text_is_a_checkpoint_or_refused(text: str) -> None:
    checkpoint = answer(Checkpoint.parse, text, "checkpoint-invalid")
    assert checkpoint is None or checkpoint.to_text() == text


@given(st.one_of(st.binary(), mutated(PROOF)))
def test_any_bytes_are_a_proof_file_or_refused(data: bytes) -> None:
    proof = answer(TlogProof.parse, data, "tlog-proof-invalid", "note-malformed", "checkpoint-invalid")
    assert proof is None or proof.to_bytes() == data


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=40), st.data())
def test_a_bundle_is_read_back_and_a_cut_one_refused(entries: list[bytes], data: st.DataObject) -> None:
    bundle = Tile(None, 0, len(entries))
    encoded = encode_bundle(entries)
    assert decode_bundle(bundle, encoded) == entries
    with pytest.raises(TanzhangError):
        decode_bundle(bundle, encoded[: data.draw(st.integers(0, len(encoded) - 1))])


@given(st.binary(max_size=200), st.integers(1, 256))
def test_any_bytes_are_a_bundle_or_refused(data: bytes, width: int) -> None:
    entries = answer(lambda data: decode_bundle(Tile(None, 0, width), data), data, "bundle-invalid")
    assert entries is None or encode_bundle(entries) == data


@given(st.integers(0, 63), st.integers(0, (1 << 62) - 1), st.integers(1, 256))
def test_every_tile_has_one_path(level: int, index: int, width: int) -> None:
    for tile in (Tile(level, index, width), Tile(None, index, width)):
        assert Tile.parse(tile.path) == tile


@given(st.one_of(st.text(), st.text("tile/0x19.pen", max_size=30)))
def test_any_text_is_a_tile_path_or_refused(path: str) -> None:
    tile = answer(Tile.parse, path, "tile-path-invalid")
    assert tile is None or tile.path == path
