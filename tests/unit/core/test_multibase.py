"""Keys as texts: one spelling each, and no other is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tanzhang.core.errors import TanzhangError
from tanzhang.core.multibase import (
    decode_base58,
    did_key,
    did_web,
    encode_base58,
    key_of_did,
    parse_public_key,
    parse_secret_key,
    public_key_text,
    secret_key_text,
)


@given(st.binary(min_size=1, max_size=70))
def test_any_bytes_come_back_from_their_text(data: bytes) -> None:
    assert decode_base58(encode_base58(data)) == data


@pytest.mark.parametrize(
    ("data", "text"),
    [  # draft-msporny-base58-03, section 5
        (b"Hello World!", "z2NEpo7TZRRrLZSi2U"),
        (
            b"The quick brown fox jumps over the lazy dog.",
            "zUSm3fpXnKG5EUBx2ndxBDMPVciP5hGey2Jh4NDv6gmeo1LkMeiKrLJUUBk6Z",
        ),
        (bytes.fromhex("0000287fb4cd"), "z11233QC4"),
    ],
)
def test_the_published_vectors_come_out(data: bytes, text: str) -> None:
    assert encode_base58(data) == text
    assert decode_base58(text) == data


@pytest.mark.parametrize("text", ["", "z", "m1", "2NEpo", "z0", "zl", "zé", "z" + "2" * 300])
def test_what_is_no_base58_is_refused(text: str) -> None:
    with pytest.raises(TanzhangError) as refused:
        decode_base58(text)
    assert refused.value.code == "multibase-malformed"


@given(st.binary(min_size=32, max_size=32))
def test_a_key_is_read_from_its_own_text_alone(key: bytes) -> None:
    assert parse_public_key(public_key_text(key)) == key_of_did(did_key(key)) == key
    assert parse_secret_key(secret_key_text(key)) == key
    assert public_key_text(key).startswith("z6Mk")
    assert secret_key_text(key).startswith("z3")
    for wrong in (secret_key_text(key), encode_base58(key), encode_base58(b"\xed\x01" + key[1:])):
        with pytest.raises(TanzhangError):
            parse_public_key(wrong)


@pytest.mark.parametrize("did", ["did:web:a.example", "z6MkrJVnaZkeFzdQyMZu1cgjg7k1pZZ6pvBQ7XJPt4swbTQ2", "did:key:"])
def test_what_is_no_key_is_refused(did: str) -> None:
    with pytest.raises(TanzhangError):
        key_of_did(did)


@pytest.mark.parametrize(
    ("url", "did"),
    [
        ("https://carbon.example", "did:web:carbon.example"),
        ("https://carbon.example:3000/", "did:web:carbon.example%3A3000"),
        ("https://carbon.example/a/b", "did:web:carbon.example:a:b"),
        ("http://carbon.example", None),
        ("https://127.0.0.1", None),
        ("https://[::1]", None),
    ],
)
def test_a_service_has_the_identifier_of_its_address(url: str, did: str | None) -> None:
    assert did_web(url) == did
