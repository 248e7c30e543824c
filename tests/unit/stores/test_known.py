"""Keys of settled records: every key that was added is found again, whatever was merged, lost or left behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tanzhang.stores.known import Known, entries, leading, slice_of

BATCHES = st.lists(
    st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 9)), max_size=40), min_size=1, max_size=9
)


def made(batch: list[tuple[int, int]]) -> np.ndarray:
    return entries(
        np.array([key for key, _ in batch], dtype=np.uint64), np.array([place for _, place in batch], dtype=np.int64)
    )


@settings(deadline=None, max_examples=40)
@given(batches=BATCHES, asked=st.lists(st.integers(0, 2**64 - 1), max_size=20))
def test_every_key_is_found_with_its_slices_and_no_other(tmp_path_factory, batches, asked):
    folder = tmp_path_factory.mktemp("known")
    known = Known(folder, "rules")
    for number, batch in enumerate(batches):
        known.add(number, made(batch))
    everything = [pair for batch in batches for pair in batch]
    keys = np.unique(np.array([*asked, *(key for key, _ in everything[::2])], dtype=np.uint64))
    wanted = sorted(
        (int(leading(np.array([key], dtype=np.uint64))[0]), place)
        for key, place in everything
        if leading(np.array([key], dtype=np.uint64))[0] in leading(keys)
    )
    for opened in (known, Known(folder, "rules")):
        found = opened.find(keys)
        assert sorted(zip(leading(found).tolist(), slice_of(found).tolist(), strict=True)) == wanted
        assert opened.last == len(batches) - 1
        assert all(opened.lacking(number, made(batch))[0] == 0 for number, batch in enumerate(batches))


def test_files_stay_few_while_batches_are_many(tmp_path: Path):
    known = Known(tmp_path, "rules")
    for number in range(64):
        known.add(number, made([(number << 40, 0)]))
    assert len(list((tmp_path / "rules").glob("*.keys"))) <= 7


def test_what_a_merge_left_behind_when_it_was_killed_is_not_read_twice(tmp_path: Path):
    known = Known(tmp_path, "rules")
    known.add(0, made([(1 << 30, 0)]))
    first = (tmp_path / "rules" / "00000000-00000000.keys").read_bytes()
    known.add(1, made([(1 << 31, 0)]))
    (tmp_path / "rules" / "00000000-00000000.keys").write_bytes(first)
    again = Known(tmp_path, "rules")
    assert len(again.find(np.array([1 << 30], dtype=np.uint64))) == 1
    again.add(2, made([(1 << 32, 0)]))
    assert len(list((tmp_path / "rules").glob("*.keys"))) <= 2


def test_a_missing_file_leaves_what_came_before_it(tmp_path: Path):
    known = Known(tmp_path, "rules")
    known.add(0, made([(number << 30, 0) for number in range(20)]))
    known.add(1, made([(1 << 41, 0)]))
    (tmp_path / "rules" / "00000001-00000001.keys").unlink()
    assert Known(tmp_path, "rules").last == 0


def test_keys_made_by_other_rules_are_not_used_and_are_removed(tmp_path: Path):
    Known(tmp_path, "before").add(0, made([(1 << 30, 0)]))
    known = Known(tmp_path, "now")
    assert known.last == -1
    known.add(0, made([(1 << 30, 1)]))
    assert [path.name for path in tmp_path.iterdir()] == ["now"]


def test_a_batch_out_of_turn_is_an_error(tmp_path: Path):
    with pytest.raises(AssertionError, match="do not follow"):
        Known(tmp_path, "rules").add(1, made([]))


def test_a_changed_key_is_missing(tmp_path: Path):
    known = Known(tmp_path, "rules")
    batch = made([(number << 30, 0) for number in range(20)])
    known.add(0, batch)
    path = tmp_path / "rules" / "00000000-00000000.keys"
    data = bytearray(path.read_bytes())
    data[5 * 8 + 5] ^= 1
    path.write_bytes(data)
    assert Known(tmp_path, "rules").lacking(0, batch)[0] >= 1


@settings(deadline=None, max_examples=40)
@given(batches=BATCHES, data=st.data())
def test_entries_of_some_batches_are_replaced_and_all_others_stay(tmp_path_factory, batches, data):
    folder = tmp_path_factory.mktemp("known")
    known = Known(folder, "rules")
    before = [[(key, 10 * number + place) for key, place in batch] for number, batch in enumerate(batches)]
    for number, batch in enumerate(before):
        known.add(number, made(batch))
    chosen = data.draw(st.sets(st.integers(0, len(batches) - 1)))
    after = [batch[::2] if number in chosen else batch for number, batch in enumerate(before)]
    slices = {number: range(10 * number, 10 * number + 10) for number in chosen}
    known.replace({number: made(after[number]) for number in chosen}, slices)
    for opened in (known, Known(folder, "rules")):
        kept = np.concatenate([run.entries for run in opened._runs])
        assert sorted(kept.tolist()) == sorted(np.concatenate([made(batch) for batch in after]).tolist())
        assert opened.last == len(batches) - 1
