"""Samples of lots: the seed, the picks, and on which records they fall."""

from __future__ import annotations

import base64
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tanzhang.core.errors import TanzhangError
from tanzhang.core.sample import CONFIDENCE, LEAST_PICKS, TOLERABLE, least_picks, picked, picks, seed

ROOT = bytes(range(32))


def checkpoint(size: int) -> str:
    return f"log.example/x\n{size}\n{base64.b64encode(bytes(32)).decode()}\n"


def test_seed_is_the_digest_that_the_document_declares() -> None:
    wanted = sha256(b"tanzhang.sample/1\0" + ROOT + checkpoint(5).encode()).digest()
    assert seed(ROOT, 4, checkpoint(5)) == wanted
    assert seed(ROOT, 4, checkpoint(6)) != wanted


def test_a_checkpoint_from_before_the_lot_gives_no_seed() -> None:
    with pytest.raises(TanzhangError, match="sample-checkpoint"):
        seed(ROOT, 5, checkpoint(5))


def test_the_nth_pick_is_a_digest_of_seed_and_number_modulo_the_total() -> None:
    wanted = [int.from_bytes(sha256(ROOT + number.to_bytes(8, "big")).digest(), "big") % 1_000 for number in range(7)]
    assert list(picks(ROOT, 7, 1_000)) == wanted


def test_a_longer_sample_begins_with_the_shorter_one() -> None:
    assert picks(ROOT, 100, 10**12)[:LEAST_PICKS] == picks(ROOT, LEAST_PICKS, 10**12)


def test_59_clean_picks_bound_the_wrong_share_and_58_do_not() -> None:
    assert least_picks(TOLERABLE, CONFIDENCE) == LEAST_PICKS
    assert (1 - TOLERABLE) ** (LEAST_PICKS - 1) > 1 - CONFIDENCE >= (1 - TOLERABLE) ** LEAST_PICKS


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(0, 10**9), st.data())
def test_a_pick_falls_on_the_record_that_holds_its_milligram(
    amounts: list[int], first: int, data: st.DataObject
) -> None:
    ends = [first + sum(amounts[: n + 1]) for n in range(len(amounts))]
    wanted = data.draw(st.lists(st.integers(0, ends[-1] + 50), max_size=30))
    found = picked(wanted, ends, first)
    for pick in wanted:
        holders = [n for n, end in enumerate(ends) if end - amounts[n] <= pick < end]
        assert [n for n, own in found.items() if pick in own] == holders
