"""Status lists: what is set is found, and nothing that is no list is unpacked."""

from __future__ import annotations

import gzip
from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tanzhang.core.errors import TanzhangError
from tanzhang.core.status_list import MOST_PLACES, PLACES, decode_list, encode_list, is_set

# Of a list in which nothing is set, from the example of the recommendation (section 1.1 of Bitstring Status List v1.0).
EXAMPLE = "uH4sIAAAAAAAAA-3BMQEAAADCoPVPbQwfoAAAAAAAAAAAAAAAAAAAAIC3AYbSVKsAQAAA"


def packed(data: bytes) -> str:
    return "u" + urlsafe_b64encode(data).decode().rstrip("=")


@given(st.sets(st.integers(0, PLACES - 1), max_size=20), st.integers(0, PLACES - 1))
def test_exactly_what_is_set_is_found(places: set[int], other: int) -> None:
    bits = decode_list(encode_list(places))
    assert all(is_set(bits, place) for place in places)
    assert is_set(bits, other) == (other in places)
    assert sum(byte.bit_count() for byte in bits) == len(places)


def test_the_first_place_is_the_leftmost_bit() -> None:
    assert decode_list(encode_list([0, 7, 8]))[:2] == bytes([0b10000001, 0b10000000])
    assert encode_list([3, 5]) == encode_list([5, 3])


def test_the_example_of_the_recommendation_is_read() -> None:
    bits = decode_list(EXAMPLE)
    assert len(bits) * 8 == PLACES
    assert not any(bits)


WRONG = {
    "no multibase": EXAMPLE[1:],
    "padding": EXAMPLE + "=",
    "no base64": "u\u00e9",
    "no gzip": packed(bytes(100)),
    "cut off": EXAMPLE[:-8],
    "something behind": packed(gzip.compress(bytes(PLACES // 8)) + b"more"),
    "too short": packed(gzip.compress(bytes(PLACES // 8 - 1))),
    "a bomb": packed(gzip.compress(bytes(MOST_PLACES // 8 + 1))),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_list_is_refused(name: str) -> None:
    with pytest.raises(TanzhangError) as refused:
        decode_list(WRONG[name])
    assert refused.value.code == "status-list-malformed"


@pytest.mark.parametrize("place", [-1, PLACES])
def test_a_place_outside_the_list_is_refused_not_taken_for_standing(place: int) -> None:
    with pytest.raises(TanzhangError) as refused:
        is_set(decode_list(EXAMPLE), place)
    assert refused.value.code == "status-place-unknown"
